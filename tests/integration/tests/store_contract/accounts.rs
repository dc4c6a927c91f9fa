//! Connections and their calendars.

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    Access, CalendarId, CalendarState, ConnectionId, ConnectionState, RemoteCalendar, SyncToken, WatchId,
};
use calfleet_store::calendar_sync::{self, CalendarSync, Due, Phase};
use calfleet_store::calendars::{self, ListingChanges};
use calfleet_store::connections::{self, Bound, ConnectionSettings};
use calfleet_store::doors::{DoorKind, SecretHash};
use calfleet_store::watches::{self, About, Agreed, NewWatch, Notice};
use calfleet_store::{LastProblem, StoreError, Tx, organizations};

use crate::databases::{NOW, TestStore, new_id, on_both_databases, settings};

on_both_databases! {
    an_account_that_connects_again_gets_its_connection_back,
    connections_are_listed_page_by_page,
    a_problem_keeps_the_time_when_it_was_first_seen,
    a_probe_is_read_back_as_it_was_stored,
    a_name_is_taken_once,
    a_listing_of_calendars_writes_only_what_differs,
    calendars_that_vanish_or_show_less_change_their_state_only,
    a_primary_calendar_whose_account_is_renamed_keeps_its_row,
    a_calendar_that_takes_the_place_of_another_is_another,
}

const LATER: Timestamp = Timestamp(NOW.0 + 60_000);
const DAY: Duration = Duration::from_hours(24);

async fn an_account_that_connects_again_gets_its_connection_back(test: &TestStore) {
    let first = test.connection("ada").await;
    let tx = test.begin().await;
    connections::set_state(&tx, first, ConnectionState::NeedsReauth, NOW).await.unwrap();
    let renamed = ConnectionSettings { username: Some("countess".to_owned()), ..settings("ada") };
    let elsewhere = ConnectionSettings { environment: Some("staging".to_owned()), ..settings("ada") };

    let again = connections::bind(&tx, ConnectionId(new_id()), &renamed, LATER).await.unwrap();
    let other = connections::bind(&tx, ConnectionId(new_id()), &elsewhere, LATER).await.unwrap();

    assert_eq!(again, Bound::Rebound(first));
    assert!(matches!(other, Bound::Created(_)));
    let connection = connections::load(&tx, first).await.unwrap().unwrap();
    assert_eq!(connection.settings, renamed);
    assert_eq!(connection.state, ConnectionState::Active);
    assert_eq!((connection.created_at, connection.updated_at), (NOW, LATER));
}

async fn connections_are_listed_page_by_page(test: &TestStore) {
    let mut ids = Vec::new();
    for account in ["a", "b", "c"] {
        ids.push(test.connection(account).await);
    }
    let tx = test.begin().await;
    let page = async |after, limit| {
        let connections = connections::list(&tx, after, limit).await.unwrap();
        connections.iter().map(|connection| connection.id).collect::<Vec<_>>()
    };

    assert_eq!(page(None, 2).await, ids[..2]);
    assert_eq!(page(Some(ids[1]), 2).await, ids[2..]);
    assert!(page(Some(ids[2]), 2).await.is_empty());
}

async fn a_problem_keeps_the_time_when_it_was_first_seen(test: &TestStore) {
    let id = test.connection("ada").await;
    let tx = test.begin().await;
    let first = LastProblem { code: "timeout".to_owned(), text: "Too slow.".to_owned(), at: NOW };
    let again = LastProblem { at: LATER, ..first.clone() };

    assert!(connections::set_problem(&tx, id, Some(&first), NOW).await.unwrap());
    assert!(!connections::set_problem(&tx, id, Some(&again), LATER).await.unwrap());
    assert_eq!(connections::load(&tx, id).await.unwrap().unwrap().last_problem, Some(first));

    assert!(connections::set_problem(&tx, id, None, LATER).await.unwrap());
    assert!(!connections::set_problem(&tx, id, None, LATER).await.unwrap());
    assert_eq!(connections::load(&tx, id).await.unwrap().unwrap().last_problem, None);
}

async fn a_probe_is_read_back_as_it_was_stored(test: &TestStore) {
    let id = test.connection("ada").await;
    let tx = test.begin().await;
    let (capabilities, probe) = (serde_json::json!({"writes": false}), serde_json::json!(["ü", 1, null]));
    let url = "https://dav.example.com/principals/ada/";

    assert!(connections::set_probe(&tx, id, url, &capabilities, &probe, LATER).await.unwrap());
    connections::set_calendars_listed(&tx, id, LATER).await.unwrap();

    let connection = connections::load(&tx, id).await.unwrap().unwrap();
    assert_eq!(connection.settings.url, url);
    assert_eq!((connection.capabilities, connection.probe), (Some(capabilities), Some(probe)));
    assert_eq!(connection.calendars_listed_at, Some(LATER));
}

async fn a_name_is_taken_once(test: &TestStore) {
    let newcomer = new_id().into();
    let tx = test.begin_in(newcomer).await;

    let taken = organizations::create(&tx, " HERE ", NOW).await;

    assert!(taken.as_ref().is_err_and(StoreError::is_duplicate), "{taken:?}");
    tx.rollback().await.unwrap();
    let tx = test.begin_in(newcomer).await;
    assert_eq!(organizations::load(&tx).await.unwrap(), None);
}

async fn a_listing_of_calendars_writes_only_what_differs(test: &TestStore) {
    let connection = test.connection("ada").await;
    let two = [calendar("work"), calendar("home"), calendar("work")];

    let first = list(test, connection, &two, NOW).await;
    let again = list(test, connection, &two, LATER).await;
    let renamed = [RemoteCalendar { name: "Office".to_owned(), ..calendar("work") }, calendar("home")];
    let third = list(test, connection, &renamed, LATER).await;

    assert_eq!(first.added.len(), 2);
    assert_eq!(again, ListingChanges::default());
    assert_eq!(third, ListingChanges { renamed: vec![first.added[0]], ..ListingChanges::default() });
    let tx = test.begin().await;
    let stored = calendars::list(&tx, connection).await.unwrap();
    assert_eq!(stored.iter().map(|calendar| calendar.remote.clone()).collect::<Vec<_>>(), renamed);
    assert_eq!(stored.iter().map(|calendar| calendar.updated_at).collect::<Vec<_>>(), [LATER, NOW]);
    let due = calendar_sync::of_connection(&tx, connection).await.unwrap();
    assert_eq!(due.iter().map(|one| one.sync.due_at).collect::<Vec<_>>(), [NOW, NOW]);
}

async fn calendars_that_vanish_or_show_less_change_their_state_only(test: &TestStore) {
    let connection = test.connection("ada").await;
    let (work, home) = (calendar("work"), calendar("home"));
    let lowered = RemoteCalendar { access: Access::FreeBusy, ..calendar("home") };
    let added = list(test, connection, &[work.clone(), home.clone()], NOW).await.added;
    let tx = test.begin().await;
    calendars::set_selected(&tx, added[0], false, NOW).await.unwrap();
    tx.commit().await.unwrap();

    let worse = list(test, connection, std::slice::from_ref(&lowered), LATER).await;
    assert_eq!((worse.gone, worse.reduced), (vec![added[0]], vec![added[1]]));
    let still = list(test, connection, &[lowered], LATER).await;
    assert_eq!(still, ListingChanges::default());
    let tx = test.begin().await;
    assert_eq!(state(calendars::load(&tx, added[0]).await.unwrap()), CalendarState::Gone);
    assert_eq!(state(calendars::load(&tx, added[1]).await.unwrap()), CalendarState::Reduced);
    drop(tx);

    let back = list(test, connection, &[work, home], LATER).await;
    assert_eq!(back.restored, added);
    let tx = test.begin().await;
    let stored = calendars::list(&tx, connection).await.unwrap();
    assert_eq!(stored.iter().map(|calendar| calendar.is_selected).collect::<Vec<_>>(), [false, true]);
    assert!(stored.iter().all(|calendar| calendar.state == CalendarState::Reachable));
}

async fn a_primary_calendar_whose_account_is_renamed_keeps_its_row(test: &TestStore) {
    let connection = test.connection("ada").await;
    let first = list(test, connection, &[primary("ada@example.com"), calendar("home")], NOW).await.added;
    progress(test, connection).await;

    let listed = [primary("countess@example.com"), calendar("home")];
    let renamed = list(test, connection, &listed, LATER).await;
    let again = list(test, connection, &listed, LATER).await;

    assert_eq!(renamed, ListingChanges { readdressed: vec![first[0]], ..ListingChanges::default() });
    assert_eq!(again, ListingChanges::default());
    let tx = test.begin().await;
    let stored = calendars::list(&tx, connection).await.unwrap();
    assert_eq!(stored.iter().map(|calendar| calendar.id).collect::<Vec<_>>(), first);
    assert_eq!(stored.iter().map(|calendar| calendar.remote.clone()).collect::<Vec<_>>(), listed);
    let synced = calendar_sync::of_connection(&tx, connection).await.unwrap();
    let of = |id| synced.iter().map(|one| &one.sync).find(|sync| sync.calendar_id == id).unwrap();
    let (begun, other) = (of(first[0]), of(first[1]));
    assert_eq!((begun.requires_full, &begun.sync_token, &begun.page_token), (true, &None, &None));
    assert!(begun.due_at <= LATER && begun.fresh_at == Some(NOW));
    assert_eq!((other.requires_full, other.sync_token.is_some()), (false, true));
    assert_eq!(renewals(&tx, first[0]).await, [(LATER, None)]);
    assert_eq!(renewals(&tx, first[1]).await, [(LATER.plus(DAY), Some(NOW))]);
}

async fn a_calendar_that_takes_the_place_of_another_is_another(test: &TestStore) {
    let connection = test.connection("ada").await;
    let first = list(test, connection, &[calendar("work")], NOW).await.added;

    let other = RemoteCalendar { is_primary: true, ..calendar("home") };
    let changes = list(test, connection, &[other], LATER).await;

    assert_eq!((changes.added.len(), changes.gone, changes.readdressed), (1, first, Vec::new()));
}

/// A primary calendar as Google lists it.
fn primary(address: &str) -> RemoteCalendar {
    RemoteCalendar { provider_id: address.into(), name: address.to_owned(), ..calendar("work") }
}

/// All calendars have been listed, are watched, and are listed again from a page.
async fn progress(test: &TestStore, connection: ConnectionId) {
    let tx = test.begin().await;
    let mut begun = Vec::new();
    for one in calendar_sync::of_connection(&tx, connection).await.unwrap() {
        let due = Due { read: one.sync.due_at, next: LATER.plus(DAY) };
        let sync = CalendarSync {
            sync_token: Some(SyncToken("token".to_owned())),
            page_token: Some("page".to_owned()),
            phase: Phase::Listing,
            fresh_at: Some(NOW),
            ..one.sync
        };
        calendar_sync::save(&tx, &[(&sync, due)]).await.unwrap();
        let id = WatchId(new_id());
        let (until, renew_at) = (LATER.plus(DAY * 2), LATER.plus(DAY));
        let new = NewWatch { id, connection_id: connection, calendar_id: sync.calendar_id, until, renew_at };
        let secret = SecretHash::of(DoorKind::Watch, id.0.as_bytes());
        watches::begin(&tx, &new, &secret, NOW).await.unwrap();
        let agreed = Agreed { provider_id: id.0.to_string(), resource: None, expires_at: until, renew_at };
        watches::agree(&tx, id, &agreed).await.unwrap();
        let (watch, about) = (id.0.to_string(), About::Proof);
        begun.push(Notice { secret, watch, resource: None, number: None, about });
    }
    tx.commit().await.unwrap();
    watches::notified(&test.store, &begun, Duration::ZERO, NOW).await.unwrap();
}

/// When the watches of a calendar are to be renewed, and when they proved alive.
async fn renewals(tx: &Tx, calendar: CalendarId) -> Vec<(Timestamp, Option<Timestamp>)> {
    let known = watches::of_calendar(tx, calendar).await.unwrap();
    known.into_iter().map(|watch| (watch.renew_at, watch.verified_at)).collect()
}

fn state(calendar: Option<calendars::Calendar>) -> CalendarState {
    calendar.unwrap().state
}

fn calendar(name: &str) -> RemoteCalendar {
    RemoteCalendar {
        provider_id: format!("/ada/{name}/").as_str().into(),
        name: name.to_owned(),
        description: None,
        color: Some("#00FF00".to_owned()),
        time_zone: Some("Europe/Berlin".to_owned()),
        access: Access::Write,
        is_primary: name == "work",
        setting: Some(format!("what the driver says of {name}")),
    }
}

async fn list(
    test: &TestStore,
    connection: ConnectionId,
    listed: &[RemoteCalendar],
    now: Timestamp,
) -> ListingChanges {
    let tx = test.begin().await;
    let new_id = || CalendarId(new_id());
    let changes = calendars::apply_listing(&tx, connection, listed, new_id, now).await.unwrap();
    tx.commit().await.unwrap();
    changes
}
