//! Connections and their calendars.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    Access, CalendarId, CalendarState, ConnectionId, ConnectionState, RemoteCalendar,
};
use calfleet_store::calendars::{self, ListingChanges};
use calfleet_store::connections::{self, Bound, ConnectionSettings};
use calfleet_store::{LastProblem, StoreError, calendar_sync, organizations};

use crate::databases::{NOW, TestStore, new_id, on_both_databases, settings};

on_both_databases! {
    an_account_that_connects_again_gets_its_connection_back,
    connections_are_listed_page_by_page,
    a_problem_keeps_the_time_when_it_was_first_seen,
    a_probe_is_read_back_as_it_was_stored,
    a_name_is_taken_once,
    a_listing_of_calendars_writes_only_what_differs,
    calendars_that_vanish_or_show_less_change_their_state_only,
}

const LATER: Timestamp = Timestamp(NOW.0 + 60_000);

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
