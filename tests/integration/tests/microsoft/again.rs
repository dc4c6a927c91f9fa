//! The same account again (law 42): connected twice, or after it had left: no write, no double, everything bound.

use std::time::Duration;

use calfleet_domain::model::{ConnectionId, EventId};
use calfleet_service::Actor;
use calfleet_service::write::Reach;
use calfleet_store::departures::Events;
use calfleet_store::events::StoredRow;
use calfleet_store::history;
use serde_json::json;

use super::inbound::{Standup, with_standup};
use super::{Outlook, event, held, live, start_writing};
use crate::databases::{TestStore, on_both_databases};
use crate::google::desk::Desk;
use crate::google::fleet::{ADA, Fleet};

on_both_databases![
    an_account_that_is_connected_again_is_the_same,
    an_account_that_comes_back_is_bound_to_what_was_kept,
    a_renamed_account_keeps_its_connection_its_calendar_and_its_events,
];

const COUNTESS: &str = "countess@example.com";

/// Nothing was written since: not there, not here.
async fn assert_untouched(fleet: &Fleet<'_>, id: ConnectionId, before: &[StoredRow]) {
    let after = live(fleet, id).await;
    let told = |rows: &[StoredRow]| {
        rows.iter().map(|row| (row.event.id, row.event.event.clone())).collect::<Vec<_>>()
    };
    assert_eq!(told(&after), told(before));
    let tx = fleet.database.store.read(fleet.scope()).await.unwrap();
    for row in before {
        let entries = history::of_event(&tx, row.event.id, 10).await.unwrap();
        let is_old = |at| fleet.service.now().since(at) > Duration::from_hours(1);
        assert!(entries.iter().all(|entry| is_old(entry.at)), "{entries:?}");
    }
    let log = fleet.sandbox.log().entries();
    let is_write = |method: &str, path: &str| method != "GET" && path.contains("/events");
    assert!(!log.iter().any(|entry| is_write(&entry.method, &entry.path)));
}

async fn an_account_that_is_connected_again_is_the_same(database: &TestStore) {
    let Standup { fleet, id, .. } = with_standup(database).await;
    let (before, shown) = (live(&fleet, id).await, held(&fleet, id).await);
    fleet.advance(Duration::from_hours(2));
    fleet.sandbox.log().clear();

    assert_eq!(fleet.connect().await, id);
    fleet.sync(id).await;

    assert_untouched(&fleet, id, &before).await;
    assert_eq!(held(&fleet, id).await, shown);
}

async fn an_account_that_comes_back_is_bound_to_what_was_kept(database: &TestStore) {
    let Standup { fleet, id, .. } = with_standup(database).await;
    let (before, shown) = (live(&fleet, id).await, held(&fleet, id).await);
    let left = fleet.service.disconnect(fleet.organization, id, Events::Keep, &Actor::operator()).await;
    assert!(left.unwrap());
    fleet.leave(id).await;
    fleet.advance(Duration::from_hours(30));
    fleet.sandbox.log().clear();

    assert_eq!(fleet.connect().await, id);
    fleet.sync(id).await;

    assert_untouched(&fleet, id, &before).await;
    assert_eq!(held(&fleet, id).await, shown);
}

/// Ids, provider ids and titles of the copies that are there.
async fn copies(fleet: &Fleet<'_>, id: ConnectionId) -> Vec<(EventId, String)> {
    let rows = live(fleet, id).await;
    let mut copies: Vec<_> = rows.into_iter().map(|row| (row.event.id, row.event.provider_id.0)).collect();
    copies.sort();
    copies
}

async fn a_renamed_account_keeps_its_connection_its_calendar_and_its_events(database: &TestStore) {
    let desk = Desk::over(start_writing(database).await).await;
    let (outlook, microsoft) = (Outlook::of(&desk.fleet), desk.fleet.sandbox.microsoft());
    let mut standup = event("Standup", "2026-10-05T09:00:00", "2026-10-05T09:15:00");
    standup["recurrence"] = json!({
        "pattern": { "type": "weekly", "interval": 1, "daysOfWeek": ["monday"] },
        "range": { "type": "numbered", "startDate": "2026-10-05", "numberOfOccurrences": 6 },
    });
    let guests = json!([{ "type": "required", "emailAddress": { "address": "bob@example.com" } }]);
    standup["attendees"] = guests;
    let series = outlook.plant(&standup);
    let lunch = outlook.plant(&event("Lunch", "2026-10-06T12:00:00", "2026-10-06T13:00:00"));
    outlook.patch(&outlook.instance(&series, "2026-10-12"), &json!({ "subject": "Standup, late" }));
    desk.fleet.sync(desk.connection).await;
    let (here, calendar) = (desk.titled("Lunch").await, desk.calendar().await);
    desk.edit(here, json!({ "title": "Lunch, long" }), Reach::ALL).await;
    let (before, shown) =
        (copies(&desk.fleet, desk.connection).await, held(&desk.fleet, desk.connection).await);
    assert_eq!((before.len(), shown.len()), (2, 7));

    microsoft.rename_account(ADA, COUNTESS).unwrap();
    desk.fleet.sandbox.clear_mails();
    desk.fleet.sandbox.log().clear();
    desk.fleet.sync(desk.connection).await;
    desk.push().await;
    let again = desk.fleet.connect_as(COUNTESS).await;
    let default = microsoft.default_calendar(COUNTESS).unwrap();
    desk.assert_in_step(here, |_| microsoft.expire_deltas(&default).unwrap()).await;

    assert_eq!((again, desk.calendar().await), (desk.connection, calendar));
    let after = (copies(&desk.fleet, desk.connection).await, held(&desk.fleet, desk.connection).await);
    assert_eq!(after, (before, shown));
    let organizer = &microsoft.event(COUNTESS, &series).unwrap()["organizer"];
    assert_eq!(organizer["emailAddress"]["address"], COUNTESS);
    assert_eq!(microsoft.event(COUNTESS, &lunch).unwrap()["subject"], "Lunch, long");
    let log = desk.fleet.sandbox.log().entries();
    let writes = log.iter().filter(|entry| entry.method != "GET" && entry.path.contains("/events"));
    assert_eq!((writes.count(), desk.fleet.sandbox.mails().len()), (1, 0));
}
