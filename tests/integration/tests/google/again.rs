//! The same account under another address (law 42): its primary calendar has another id then, and nothing else has
//! changed.

use calfleet_domain::model::{CalendarId, EventId};
use calfleet_service::write::Reach;
use calfleet_store::calendars;
use calfleet_store::events::EventState;
use serde_json::json;

use super::desk::Desk;
use super::fleet::{ADA, Fleet};
use crate::databases::{TestStore, on_both_databases};
use crate::microsoft::{held, live};

on_both_databases![
    a_renamed_account_keeps_its_connection_its_calendar_and_its_events,
    an_edit_that_is_sent_to_the_old_address_waits_for_the_new_one,
];

const COUNTESS: &str = "countess@example.com";

/// Ada's account with a meeting, a series with an exception and a cancelled instance, and a lunch.
struct Renamed<'a> {
    desk: Desk<'a>,
    lunch: EventId,
    calendar: CalendarId,
}

impl<'a> Renamed<'a> {
    /// Everything is in step but an edit of the lunch, which is pending; then the account is renamed.
    async fn with_a_pending_edit(database: &'a TestStore) -> Self {
        let desk = Desk::over(Fleet::start_writing(database).await).await;
        let google = desk.fleet.google();
        let at = |day: &str, hour: u32| json!({ "dateTime": format!("2026-10-{day}T{hour:02}:00:00Z"), "timeZone": "UTC" });
        for (id, more) in [
            (
                "standup",
                json!({ "start": at("05", 9), "end": at("05", 10), "recurrence": ["RRULE:FREQ=WEEKLY;COUNT=6"] }),
            ),
            ("lunch", json!({ "start": at("06", 12), "end": at("06", 13) })),
            (
                "meeting",
                json!({ "start": at("07", 12), "end": at("07", 13), "attendees": [{ "email": "bob@example.com" }] }),
            ),
        ] {
            let mut event = json!({ "id": id, "summary": id });
            event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            google.plant(ADA, &event).unwrap();
        }
        let late = json!({ "summary": "standup, late", "start": at("12", 11), "end": at("12", 12) });
        google.call(ADA, "PATCH", "calendars/primary/events/standup_20261012T090000Z", &late);
        google.call(ADA, "DELETE", "calendars/primary/events/standup_20261019T090000Z", &json!(null));
        desk.fleet.sync(desk.connection).await;
        let (lunch, calendar) = (desk.titled("lunch").await, desk.calendar().await);
        desk.edit(lunch, json!({ "title": "lunch, long" }), Reach::ALL).await;
        google.rename_account(ADA, COUNTESS).unwrap();
        desk.fleet.sandbox.clear_mails();
        desk.fleet.sandbox.log().clear();
        Self { desk, lunch, calendar }
    }

    /// The copies that are there: ids, provider ids, states.
    async fn copies(&self) -> Vec<(EventId, String)> {
        let rows = live(&self.desk.fleet, self.desk.connection).await;
        let mut copies: Vec<_> =
            rows.into_iter().map(|row| (row.event.id, row.event.provider_id.0)).collect();
        copies.sort();
        copies
    }

    /// One calendar, as it was, under the new address.
    async fn assert_same_calendar(&self) {
        let tx = self.desk.fleet.database.store.read(self.desk.scope()).await.unwrap();
        let calendars = calendars::list(&tx, self.desk.connection).await.unwrap();
        let ids: Vec<_> = calendars.iter().map(|one| (one.id, one.remote.provider_id.as_str())).collect();
        assert_eq!(ids, [(self.calendar, COUNTESS)]);
    }

    fn writes(&self) -> usize {
        let log = self.desk.fleet.sandbox.log().entries();
        log.iter().filter(|entry| entry.method != "GET" && entry.path.contains("/events")).count()
    }
}

async fn a_renamed_account_keeps_its_connection_its_calendar_and_its_events(database: &TestStore) {
    let renamed = Renamed::with_a_pending_edit(database).await;
    let Renamed { desk, lunch, .. } = &renamed;
    let (copies, shown) = (renamed.copies().await, held(&desk.fleet, desk.connection).await);
    assert_eq!((copies.len(), shown.len()), (3, 7));

    desk.fleet.sync(desk.connection).await;

    renamed.assert_same_calendar().await;
    assert_eq!(
        (renamed.copies().await, held(&desk.fleet, desk.connection).await),
        (copies.clone(), shown.clone())
    );
    assert_eq!(renamed.writes(), 0);
    desk.push().await;
    assert!(desk.is_settled().await);
    assert_eq!(desk.fleet.google().event(COUNTESS, "lunch").unwrap()["summary"], "lunch, long");

    let again = desk.fleet.connect_as(COUNTESS).await;
    desk.assert_in_step(*lunch, |fleet| fleet.google().expire_sync_tokens(COUNTESS).unwrap()).await;

    assert_eq!(again, desk.connection);
    renamed.assert_same_calendar().await;
    assert_eq!((renamed.copies().await, held(&desk.fleet, desk.connection).await), (copies, shown));
    assert_eq!((renamed.writes(), desk.fleet.sandbox.mails().len()), (1, 0));
}

async fn an_edit_that_is_sent_to_the_old_address_waits_for_the_new_one(database: &TestStore) {
    let renamed = Renamed::with_a_pending_edit(database).await;
    let Renamed { desk, lunch, .. } = &renamed;

    desk.push().await;
    for _ in 0..2 {
        desk.fleet.sync(desk.connection).await;
        desk.push().await;
    }

    assert_eq!(desk.row(*lunch).await.state, EventState::Live);
    assert_eq!(desk.fleet.google().event(COUNTESS, "lunch").unwrap()["summary"], "lunch, long");
    assert!(desk.is_settled().await);
    renamed.assert_same_calendar().await;
}
