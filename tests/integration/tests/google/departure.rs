//! Disconnecting: what ends, what is erased, what stays, and coming back (laws 25, 42).

use std::collections::BTreeMap;
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::job::Kind;
use calfleet_domain::model::{ConnectionId, ConnectionState, EventId};
use calfleet_sandbox::{Fault, FaultRule};
use calfleet_service::Actor;
use calfleet_store::departures::{self, Departure, Ending, Events};
use calfleet_store::events::{self, RangeQuery, StoredRow};
use calfleet_store::vault::{self, SecretField};
use calfleet_store::{StoreError, audit, calendars, grants, history, purge, work};
use serde_json::{Value, json};

use super::fleet::{ADA, Fleet};
use super::watched::Watched;
use crate::databases::{TestStore, on_both_databases};

on_both_databases![
    a_disconnect_ends_the_grant_erases_the_secrets_and_is_done_once,
    a_running_sync_is_cut_off_and_asks_the_provider_nothing_more,
    a_grant_that_another_connection_lives_on_goes_on_until_that_one_leaves,
    what_was_kept_is_bound_again_without_a_write,
    what_was_purged_is_gone_and_comes_back_whole,
    an_account_that_comes_back_in_the_middle_keeps_its_new_grant_and_all_its_events,
    a_provider_that_cannot_be_told_is_tried_for_a_day_and_then_it_is_said,
    a_page_of_a_proxy_is_not_taken_for_the_end_of_the_grant,
    kept_events_can_still_be_purged_and_nobody_else_can_disconnect,
    channels_are_stopped_before_the_grant_ends_and_again_when_that_failed,
    a_grant_that_the_provider_has_ended_already_is_no_obstacle,
];

fn lunch(number: u32) -> Value {
    json!({
        "id": format!("lunch{number}"), "summary": format!("Lunch {number}"),
        "start": { "dateTime": "2026-10-06T12:00:00+02:00", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-10-06T13:00:00+02:00", "timeZone": "Europe/Paris" },
    })
}

/// Ada's account with three lunches and a series with an exception, connected and synced.
async fn synced(fleet: &Fleet<'_>) -> ConnectionId {
    for number in 1..=3 {
        fleet.google().plant(ADA, &lunch(number)).unwrap();
    }
    let series = json!({
        "id": "standup", "summary": "Standup",
        "start": { "dateTime": "2026-10-05T09:00:00+02:00", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-10-05T09:15:00+02:00", "timeZone": "Europe/Paris" },
        "recurrence": ["RRULE:FREQ=WEEKLY;COUNT=6"],
    });
    fleet.google().plant(ADA, &series).unwrap();
    let path = format!("calendars/{ADA}/events/standup_20261012T070000Z");
    assert_eq!(fleet.google().call(ADA, "PATCH", &path, &json!({ "summary": "Moved" })).0, 200);
    let id = fleet.connect().await;
    fleet.sync(id).await;
    assert_eq!(rows(fleet, id).await.len(), 4);
    id
}

async fn disconnect(fleet: &Fleet<'_>, id: ConnectionId, events: Events) -> bool {
    fleet.service.disconnect(fleet.organization, id, events, &Actor::operator()).await.unwrap()
}

/// How often the provider was asked for something whose path ends so.
fn asked(fleet: &Fleet<'_>, path: &str) -> usize {
    fleet.sandbox.log().entries().iter().filter(|entry| entry.path.ends_with(path)).count()
}

fn requests(fleet: &Fleet<'_>) -> usize {
    fleet.sandbox.log().entries().len()
}

async fn rows(fleet: &Fleet<'_>, id: ConnectionId) -> BTreeMap<EventId, StoredRow> {
    let tx = fleet.database.store.read(fleet.scope()).await.unwrap();
    let calendars = calendars::list(&tx, id).await.unwrap().into_iter().map(|calendar| calendar.id).collect();
    let query = RangeQuery { calendars, from: None, until: None, after: None, limit: 1000 };
    let rows = events::in_range(&tx, &query).await.unwrap();
    rows.into_iter().map(|(_, row)| (row.event.id, row)).collect()
}

async fn departure(fleet: &Fleet<'_>, id: ConnectionId) -> Option<Departure> {
    let tx = fleet.database.store.read(fleet.scope()).await.unwrap();
    departures::load(&tx, id).await.unwrap()
}

async fn has_secrets(fleet: &Fleet<'_>, id: ConnectionId) -> bool {
    let tx = fleet.database.store.read(fleet.scope()).await.unwrap();
    let mut found = grants::load(&tx, id).await.unwrap().is_some();
    for field in [SecretField::RefreshToken, SecretField::AccessToken] {
        let ring = fleet.service.drivers.ring();
        found |= vault::open(&tx, ring, id, field).await.unwrap().is_some();
    }
    found
}

async fn audited(fleet: &Fleet<'_>) -> Vec<String> {
    let tx = fleet.database.store.read(fleet.scope()).await.unwrap();
    let mut actions: Vec<String> =
        audit::list(&tx, None, 100).await.unwrap().into_iter().map(|entry| entry.action).collect();
    actions.retain(|action| action.starts_with("connection."));
    actions.sort_unstable();
    actions
}

async fn a_disconnect_ends_the_grant_erases_the_secrets_and_is_done_once(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let id = synced(&fleet).await;
    let plan = fleet.service.plan_disconnect(fleet.organization, id, Events::Keep).await.unwrap();
    assert_eq!((plan.event_count, plan.grant, plan.is_disconnected), (4, "revoked", false));

    let first = disconnect(&fleet, id, Events::Keep).await;
    let again = disconnect(&fleet, id, Events::Keep).await;
    let finish = fleet.leave(id).await;
    let third = disconnect(&fleet, id, Events::Keep).await;
    fleet.leave(id).await;

    assert_eq!((first, again, third), (true, false, false));
    assert_eq!(finish.next, Timestamp::NEVER);
    assert_eq!(asked(&fleet, "/google/revoke"), 1);
    assert!(!has_secrets(&fleet, id).await);
    let departure = departure(&fleet, id).await.unwrap();
    assert_eq!((departure.ending, departure.ended_at.is_some()), (Some(Ending::Revoked), true));
    assert_eq!(fleet.connection(id).await.state, ConnectionState::Disconnected);
    assert_eq!(rows(&fleet, id).await.len(), 4);
    let actions = audited(&fleet).await;
    assert_eq!(actions, ["connection.connect", "connection.disconnect", "connection.erase_secrets"]);
}

async fn a_running_sync_is_cut_off_and_asks_the_provider_nothing_more(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let id = synced(&fleet).await;
    let claim = fleet.claim(Kind::Sync, id).await;

    disconnect(&fleet, id, Events::Keep).await;

    let tx = database.begin().await;
    let fenced = work::fence(&tx, &claim, Duration::from_secs(30), fleet.service.now()).await;
    assert!(matches!(fenced, Err(StoreError::LeaseLost { .. })), "{fenced:?}");
    tx.rollback().await.unwrap();
    let before = requests(&fleet);
    assert_eq!(fleet.run_sync(&claim).await.next, Timestamp::NEVER);
    assert_eq!(fleet.sync(id).await.next, Timestamp::NEVER);
    assert_eq!(requests(&fleet), before);
    let tx = database.begin().await;
    let due = work::of_connection(&tx, id).await.unwrap();
    let due: Vec<Kind> =
        due.iter().filter(|row| row.due_at < Timestamp::NEVER).map(|row| row.key.kind).collect();
    assert_eq!(due, [Kind::Revoke]);
}

async fn a_grant_that_another_connection_lives_on_goes_on_until_that_one_leaves(database: &TestStore) {
    let mut fleet = Fleet::start(database).await;
    let here = fleet.connect().await;
    fleet.organization = database.there;
    let there = fleet.connect().await;
    fleet.organization = database.here;

    let plan = fleet.service.plan_disconnect(database.here, here, Events::Keep).await.unwrap();
    disconnect(&fleet, here, Events::Keep).await;
    fleet.leave(here).await;

    assert_eq!(plan.grant, "shared");
    assert_eq!(asked(&fleet, "/google/revoke"), 0);
    assert_eq!(departure(&fleet, here).await.unwrap().ending, Some(Ending::Shared));
    assert!(!has_secrets(&fleet, here).await);
    fleet.organization = database.there;
    fleet.advance(Duration::from_hours(2));
    fleet.sync(there).await;
    assert_eq!(fleet.connection(there).await.state, ConnectionState::Active);
    disconnect(&fleet, there, Events::Keep).await;
    fleet.leave(there).await;
    assert_eq!(asked(&fleet, "/google/revoke"), 1);
}

async fn what_was_kept_is_bound_again_without_a_write(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let id = synced(&fleet).await;
    let before = rows(&fleet, id).await;
    let listed = asked(&fleet, "/events");
    disconnect(&fleet, id, Events::Keep).await;
    fleet.leave(id).await;
    fleet.advance(Duration::from_hours(30));

    assert_eq!(fleet.connect().await, id);
    fleet.sync(id).await;

    assert_eq!(rows(&fleet, id).await, before);
    let tx = database.begin().await;
    for event in before.keys() {
        let entries = history::of_event(&tx, *event, 10).await.unwrap();
        assert!(
            entries.iter().all(|entry| fleet.service.now().since(entry.at) > Duration::from_hours(1)),
            "{entries:?}"
        );
    }
    drop(tx);
    assert!(fleet.connection(id).await.last_problem.is_none());
    assert!(departure(&fleet, id).await.is_none());
    assert!(asked(&fleet, "/events") > listed);
    let writes = fleet.sandbox.log().entries();
    let writes: Vec<_> =
        writes.iter().filter(|entry| entry.path.contains("/calendar/v3/") && entry.method != "GET").collect();
    assert!(writes.is_empty(), "{writes:?}");
}

async fn what_was_purged_is_gone_and_comes_back_whole(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let id = synced(&fleet).await;
    fleet.google().plant(ADA, &json!({ "summary": "Lunch", "id": "lunch1", "start": lunch(1)["start"], "end": lunch(1)["end"] })).unwrap();
    fleet.sync(id).await;

    disconnect(&fleet, id, Events::Purge).await;
    let finish = fleet.leave(id).await;

    assert_eq!(finish.next, Timestamp::NEVER);
    let departure = departure(&fleet, id).await.unwrap();
    assert_eq!((departure.purged, departure.ended_at.is_some()), (4, true));
    for table in
        ["events", "event_payloads", "overrides", "meetings", "occurrences", "listing_items", "listing_pages"]
    {
        is_empty(database, &format!("SELECT 1 FROM {table}")).await;
    }
    is_empty(database, "SELECT 1 FROM history WHERE event_id IS NOT NULL").await;
    assert_eq!(fleet.connect().await, id);
    fleet.sync(id).await;
    assert_eq!(rows(&fleet, id).await.len(), 4);
}

/// Fails when a query has an answer.
async fn is_empty(database: &TestStore, query: &str) {
    // a table whose only column refuses every row
    let sql = format!(
        "DROP TABLE IF EXISTS refusing; CREATE TABLE refusing (a integer CHECK (a = 0));
         INSERT INTO refusing {query}"
    );
    let result = database.sql(&sql).await;
    assert!(result.is_ok(), "{query} has an answer: {result:?}");
}

async fn an_account_that_comes_back_in_the_middle_keeps_its_new_grant_and_all_its_events(
    database: &TestStore,
) {
    let fleet = Fleet::start(database).await;
    let id = synced(&fleet).await;
    disconnect(&fleet, id, Events::Purge).await;
    let claim = fleet.claim(Kind::Revoke, id).await;
    let tx = database.begin().await;
    assert_eq!(purge::events(&tx, id, 2).await.unwrap(), 2);
    tx.commit().await.unwrap();

    assert_eq!(fleet.connect().await, id);
    let late = fleet.run_revoke(&claim).await.unwrap();
    fleet.leave(id).await;
    fleet.sync(id).await;

    assert_eq!(late.next, Timestamp::NEVER);
    assert_eq!(asked(&fleet, "/google/revoke"), 0);
    assert_eq!(rows(&fleet, id).await.len(), 4);
    fleet.advance(Duration::from_hours(2));
    fleet.sync(id).await;
    assert_eq!(fleet.connection(id).await.state, ConnectionState::Active);
}

async fn a_provider_that_cannot_be_told_is_tried_for_a_day_and_then_it_is_said(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let id = synced(&fleet).await;
    let trouble = Fault::Status { code: 503, retry_after: None };
    fleet.sandbox.inject(FaultRule::next(trouble).path("/google/revoke").always());
    disconnect(&fleet, id, Events::Keep).await;

    let mut attempts = 0;
    let begun = fleet.service.now();
    while has_secrets(&fleet, id).await {
        let finish = fleet.leave(id).await;
        attempts += 1;
        if finish.next < Timestamp::NEVER {
            assert!(finish.class.is_some());
            fleet.advance(finish.next.since(fleet.service.now()));
        }
        assert!(attempts < 1000, "it never ends");
    }

    assert!(attempts > 20, "{attempts}");
    assert_eq!(fleet.service.now().since(begun), Duration::from_hours(24));
    assert_eq!(asked(&fleet, "/google/revoke"), attempts);
    assert_eq!(departure(&fleet, id).await.unwrap().ending, Some(Ending::GaveUp));
    let problem = fleet.connection(id).await.last_problem.unwrap();
    assert!(problem.text.contains("could not be told"), "{}", problem.text);
    fleet.sandbox.clear_faults();
    assert_eq!(fleet.connect().await, id);
    assert!(fleet.connection(id).await.last_problem.is_none());
}

async fn a_page_of_a_proxy_is_not_taken_for_the_end_of_the_grant(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let id = synced(&fleet).await;
    disconnect(&fleet, id, Events::Keep).await;
    for trouble in [
        Fault::Html,
        Fault::Status { code: 400, retry_after: None },
        Fault::Refused { code: 400, reason: "invalid_request".to_owned() },
        Fault::CutBefore,
    ] {
        let told = format!("{trouble:?}");
        fleet.sandbox.inject(FaultRule::next(trouble).path("/google/revoke").always());

        fleet.leave(id).await;

        assert!(has_secrets(&fleet, id).await, "{told}");
        assert_eq!(departure(&fleet, id).await.unwrap().ending, None, "{told}");
        fleet.sandbox.clear_faults();
        fleet.advance(Duration::from_mins(30));
    }
    fleet.google().revoke(ADA);
    fleet.leave(id).await;
    assert_eq!(departure(&fleet, id).await.unwrap().ending, Some(Ending::Revoked));
}

async fn kept_events_can_still_be_purged_and_nobody_else_can_disconnect(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let id = synced(&fleet).await;
    let stranger =
        fleet.service.disconnect(database.there, id, Events::Purge, &Actor::operator()).await.unwrap_err();
    assert_eq!(stranger.to_string(), "find the connection");
    assert_eq!(fleet.connection(id).await.state, ConnectionState::Active);
    disconnect(&fleet, id, Events::Keep).await;
    fleet.leave(id).await;

    assert!(disconnect(&fleet, id, Events::Purge).await);
    assert!(!disconnect(&fleet, id, Events::Keep).await, "what is gone does not come back");
    fleet.leave(id).await;

    assert!(rows(&fleet, id).await.is_empty());
    assert_eq!(asked(&fleet, "/google/revoke"), 1);
}

async fn channels_are_stopped_before_the_grant_ends_and_again_when_that_failed(database: &TestStore) {
    let watched = Watched::start(database).await;
    let (fleet, id) = (&watched.fleet, watched.connection);
    assert_eq!(fleet.google().channels().len(), 1);
    let trouble = Fault::Status { code: 503, retry_after: None };
    fleet.sandbox.inject(FaultRule::next(trouble).path("*/channels/stop").always());
    disconnect(fleet, id, Events::Keep).await;

    fleet.leave(id).await;
    assert_eq!((asked(fleet, "/google/revoke"), fleet.google().channels().len()), (0, 1));
    fleet.sandbox.clear_faults();
    // past the life of the access token: it is refreshed to stop the channels with
    fleet.advance(Duration::from_hours(2));
    fleet.leave(id).await;

    assert!(fleet.google().channels().is_empty());
    assert!(watched.known().await.is_empty());
    assert_eq!(asked(fleet, "/google/revoke"), 1);
    assert!(!has_secrets(fleet, id).await);
    assert_eq!(fleet.connection(id).await.state, ConnectionState::Disconnected);
}

async fn a_grant_that_the_provider_has_ended_already_is_no_obstacle(database: &TestStore) {
    let watched = Watched::start(database).await;
    let (fleet, id) = (&watched.fleet, watched.connection);
    fleet.google().revoke(ADA);
    fleet.advance(Duration::from_hours(2));
    disconnect(fleet, id, Events::Keep).await;

    fleet.leave(id).await;

    assert_eq!(departure(fleet, id).await.unwrap().ending, Some(Ending::Revoked));
    assert!(watched.known().await.is_empty());
    let connection = fleet.connection(id).await;
    assert_eq!((connection.state, connection.last_problem), (ConnectionState::Disconnected, None));
}
