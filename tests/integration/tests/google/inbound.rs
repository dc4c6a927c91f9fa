//! What stands in Google comes in, and stays so.

use calfleet_domain::model::ConnectionId;
use calfleet_domain::recurrence::{Budget, expand};
use calfleet_store::Scope;
use calfleet_store::calendars;
use calfleet_store::events::{self, EventState, RangeQuery, StoredRow};
use chrono::{DateTime, TimeDelta};
use chrono_tz::Tz;
use serde_json::json;

use super::fleet::{ADA, Fleet};
use crate::databases::{TestStore, on_both_databases};

on_both_databases![
    singles_and_series_with_exceptions_come_in_as_they_are,
    edits_cancellations_and_deletions_by_another_client_follow,
    a_dead_token_ends_as_a_fresh_account_would_and_a_quiet_poll_is_one_request,
];

fn standup() -> serde_json::Value {
    json!({
        "id": "standup", "summary": "Standup",
        "start": { "dateTime": "2026-10-05T09:00:00+02:00", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-10-05T09:15:00+02:00", "timeZone": "Europe/Paris" },
        "recurrence": ["RRULE:FREQ=WEEKLY;COUNT=6"],
    })
}

fn lunch(number: u32) -> serde_json::Value {
    json!({
        "id": format!("lunch{number}"), "summary": format!("Lunch {number}"),
        "start": { "dateTime": "2026-10-06T12:00:00+02:00", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-10-06T13:00:00+02:00", "timeZone": "Europe/Paris" },
    })
}

fn instance(start: &str) -> String {
    format!("/calendars/{ADA}/events/standup_{start}")
}

/// Live rows with a title, and the instants and titles of all instances.
async fn held(fleet: &Fleet<'_>, id: ConnectionId) -> Vec<(String, String)> {
    let mut held = Vec::new();
    for row in live(fleet, id).await {
        let event = row.event.event.as_ref().unwrap();
        let from = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let expansion = expand(event, from..from + TimeDelta::days(365), Tz::UTC, &Budget::default());
        for one in &expansion.instances {
            held.push((one.starts_at.format("%m-%d %H:%M").to_string(), one.fields.title.clone().unwrap()));
        }
    }
    held.sort();
    held
}

async fn live(fleet: &Fleet<'_>, id: ConnectionId) -> Vec<StoredRow> {
    let tx = fleet.database.store.read(Scope::Organization(fleet.database.here)).await.unwrap();
    let calendars = calendars::list(&tx, id).await.unwrap().into_iter().map(|calendar| calendar.id).collect();
    let query = RangeQuery { calendars, from: None, until: None, after: None, limit: 1000 };
    let rows = events::in_range(&tx, &query).await.unwrap();
    rows.into_iter().map(|(_, row)| row).filter(|row| row.state == EventState::Live).collect()
}

fn expected(instances: &[(&str, &str)]) -> Vec<(String, String)> {
    instances.iter().map(|(at, title)| ((*at).to_owned(), (*title).to_owned())).collect()
}

async fn with_standup(database: &TestStore) -> (Fleet<'_>, ConnectionId) {
    let fleet = Fleet::start(database).await;
    fleet.google().plant(ADA, &standup()).unwrap();
    fleet.google().plant(ADA, &lunch(1)).unwrap();
    let moved = json!({
        "summary": "Standup, late",
        "start": { "dateTime": "2026-10-12T11:00:00+02:00", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-10-12T11:15:00+02:00", "timeZone": "Europe/Paris" },
    });
    let (status, _) = fleet.google().call(ADA, "PATCH", &instance("20261012T070000Z"), &moved);
    assert_eq!(status, 200);
    let (status, _) = fleet.google().call(ADA, "DELETE", &instance("20261019T070000Z"), &json!(null));
    assert_eq!(status, 204);
    let id = fleet.connect().await;
    fleet.sync(id).await;
    (fleet, id)
}

const AT_FIRST: &[(&str, &str)] = &[
    ("10-05 07:00", "Standup"),
    ("10-06 10:00", "Lunch 1"),
    ("10-12 09:00", "Standup, late"),
    ("10-26 08:00", "Standup"),
    ("11-02 08:00", "Standup"),
    ("11-09 08:00", "Standup"),
];

async fn singles_and_series_with_exceptions_come_in_as_they_are(database: &TestStore) {
    let (fleet, id) = with_standup(database).await;

    assert_eq!(held(&fleet, id).await, expected(AT_FIRST));
    let rows = live(&fleet, id).await;
    assert_eq!(rows.len(), 2, "an exception is part of its series");
    fleet.sync(id).await;
    assert_eq!(live(&fleet, id).await, rows, "a second look writes nothing");
}

async fn edits_cancellations_and_deletions_by_another_client_follow(database: &TestStore) {
    let (fleet, id) = with_standup(database).await;
    let google = fleet.google();

    google.call(ADA, "DELETE", &instance("20261026T080000Z"), &json!(null));
    google.call(ADA, "PATCH", &format!("/calendars/{ADA}/events/standup"), &json!({ "summary": "Daily" }));
    google.call(ADA, "DELETE", &format!("/calendars/{ADA}/events/lunch1"), &json!(null));
    google.plant(ADA, &lunch(2)).unwrap();
    fleet.sync(id).await;

    assert_eq!(
        held(&fleet, id).await,
        expected(&[
            ("10-05 07:00", "Daily"),
            ("10-06 10:00", "Lunch 2"),
            ("10-12 09:00", "Standup, late"),
            ("11-02 08:00", "Daily"),
            ("11-09 08:00", "Daily"),
        ])
    );
}

async fn a_dead_token_ends_as_a_fresh_account_would_and_a_quiet_poll_is_one_request(database: &TestStore) {
    let (fleet, id) = with_standup(database).await;
    let google = fleet.google();
    google.call(ADA, "DELETE", &instance("20261109T080000Z"), &json!(null));
    for number in 2..9 {
        google.plant(ADA, &lunch(number)).unwrap();
    }
    google.call(ADA, "DELETE", &format!("/calendars/{ADA}/events/lunch1"), &json!(null));

    google.expire_sync_tokens(ADA).unwrap();
    fleet.sync(id).await;

    let held = held(&fleet, id).await;
    assert_eq!(held.len(), 4 + 7, "{held:?}");
    assert!(!held.iter().any(|(_, title)| title == "Lunch 1"));
    let before = fleet.sandbox.log().entries().len();
    fleet.sync(id).await;
    assert_eq!(fleet.sandbox.log().entries().len() - before, 1);
}
