//! In which order things come in, and what stays the same where they move.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use calfleet_domain::model::{ConflictPolicy, ConnectionState, Listing, ProviderId, RemoteChange, UserId};
use calfleet_service::connect::ConnectRequest;
use calfleet_store::calendar_sync::Thoroughness;
use calfleet_store::connections::ConnectionSettings;
use calfleet_worker::jobs::Handler;
use uuid::Uuid;

use super::on_both_databases;
use super::server::refused;
use super::world::{Backend, World};

on_both_databases![
    what_takes_place_soon_is_read_first_of_a_calendar_that_takes_long,
    what_takes_place_soon_comes_with_the_second_turn_where_the_first_is_spent,
    a_calendar_that_is_here_in_seconds_is_read_in_its_own_order,
    an_event_moved_between_calendars_that_are_listed_in_full_stays_the_same_event,
    the_next_page_is_asked_for_while_one_is_applied,
    a_reconnect_ends_the_run_that_is_on_with_the_old_credentials,
    an_account_that_is_connected_again_keeps_what_was_chosen_for_it,
];

/// A calendar of thirty events on a server that takes so long for a batch; a turn ends after so many of them.
async fn thirty_events(on: Backend, turn_pages: usize, read_takes: Duration) -> World {
    let mut world = World::start(on).await;
    world.settings.turn_pages = turn_pages;
    world.server.add_calendar("work");
    world.server.fill("work", 30);
    world.server.state().read_takes = read_takes;
    world
}

async fn what_takes_place_soon_is_read_first_of_a_calendar_that_takes_long(on: Backend) {
    const DAY: i64 = 86_400_000;
    let world = thirty_events(on, 2, Duration::from_secs(2)).await;
    let now = world.now().0;
    // the first of them is in the batch that shows how long all would take
    for (name, days) in
        [("0001.ics", 2), ("0011.ics", 29), ("0027.ics", 1), ("0029.ics", 31), ("0025.ics", -1)]
    {
        let start = calfleet_domain::clock::Timestamp(now + days * DAY);
        world.server.state().starts.insert(name.to_owned(), start);
    }

    world.run().await;
    let names: Vec<String> = world.content().await.into_keys().map(|(_, name)| name).collect();
    let is_fresh = world.progress("work").await.fresh_at.is_some();
    world.run_until_done().await;

    assert!(names.contains(&"0011.ics".to_owned()) && names.contains(&"0027.ics".to_owned()), "{names:?}");
    assert!(!names.contains(&"0029.ics".to_owned()) && !names.contains(&"0025.ics".to_owned()), "{names:?}");
    assert!(!is_fresh, "the rest is still to come");
    world.assert_equal_to_server().await;
    assert_eq!(world.server.state().read_ids, 30, "each is read once");
}

async fn what_takes_place_soon_comes_with_the_second_turn_where_the_first_is_spent(on: Backend) {
    let world = thirty_events(on, 1, Duration::from_secs(2)).await;
    let tomorrow = world.now().plus(Duration::from_hours(24));
    world.server.state().starts.insert("0027.ics".to_owned(), tomorrow);

    world.run().await;
    world.run().await;
    let names: Vec<String> = world.content().await.into_keys().map(|(_, name)| name).collect();
    world.run_until_done().await;

    assert!(names.contains(&"0027.ics".to_owned()), "{names:?}");
    assert_eq!(world.server.state().asked_by_time, 1, "nobody is asked in vain");
    world.assert_equal_to_server().await;
    assert_eq!(world.server.state().read_ids, 30, "each is read once");
}

async fn a_calendar_that_is_here_in_seconds_is_read_in_its_own_order(on: Backend) {
    let world = thirty_events(on, 2, Duration::from_millis(900)).await;

    world.run_until_done().await;

    world.assert_equal_to_server().await;
    assert_eq!(world.server.state().asked_by_time, 0);
}

async fn an_event_moved_between_calendars_that_are_listed_in_full_stays_the_same_event(on: Backend) {
    for (from, to) in [("home", "work"), ("work", "home")] {
        let world = World::start(on).await;
        for calendar in ["home", "work"] {
            world.server.add_calendar(calendar);
            world.server.fill(calendar, 5);
        }
        world.run_until_done().await;
        let moved = world.event(from, "0001.ics").await.event.id;

        world.server.delete(from, "0001.ics");
        world.server.put(to, "moved.ics", &format!("{from}-1"), "Standup");
        world.server.expire_tokens();
        world.sync().await;

        world.assert_equal_to_server().await;
        assert_eq!(world.event(to, "moved.ics").await.event.id, moved, "from {from} to {to}");
    }
}

async fn the_next_page_is_asked_for_while_one_is_applied(on: Backend) {
    // Seconds; it takes milliseconds.
    const POLLS: usize = 200_000;
    let world = World::start(on).await;
    world.server.add_calendar("work");
    let page = |name: &str| {
        let provider_id = ProviderId(name.to_owned());
        let reason = "It is shown as it is.".to_owned();
        (Listing::Delta, vec![RemoteChange::Unreadable { provider_id, revision: None, reason, raw: None }])
    };
    world.run_until_done().await;
    world.server.state().script = ["one", "two", "three"].map(page).into();
    world.ask(Thoroughness::Changes).await;
    let (claim, job) = (world.claim().await, world.job());
    let held_back = world.hold_back("work").await;
    let mut run = pin!(job.run(&claim));

    for _ in 0..POLLS {
        if world.server.state().script.len() == 1 {
            break;
        }
        let polled = poll_fn(|context| Poll::Ready(run.as_mut().poll(context))).await;
        assert!(polled.is_pending(), "{polled:?}");
        tokio::task::yield_now().await;
    }
    assert_eq!(world.server.state().script.len(), 1, "the next page is asked for");
    let held = world.content().await.len();
    held_back.rollback().await.unwrap();
    run.await.unwrap();

    assert_eq!(held, 0, "the second page is asked for when the first is not yet stored");
    assert_eq!(world.content().await.len(), 3);
}

async fn a_reconnect_ends_the_run_that_is_on_with_the_old_credentials(on: Backend) {
    let world = World::start(on).await;
    world.server.add_calendar("work");
    world.server.fill("work", 3);
    world.run_until_done().await;
    let claim = world.claim().await;
    world.server.state().list_faults.extend([refused(), refused()]);

    world.reconnect().await;
    let ended = world.job().run(&claim).await;

    assert!(ended.is_err(), "{ended:?}");
    assert!(world.server.state().list_faults.is_empty(), "it was refused with what it had");
    let connection = world.stored_connection().await;
    assert_eq!((connection.state, connection.last_problem), (ConnectionState::Active, None));
    world.sync().await;
    world.assert_equal_to_server().await;
}

async fn an_account_that_is_connected_again_keeps_what_was_chosen_for_it(on: Backend) {
    let world = World::start(on).await;
    let (user, other) = (UserId(Uuid::from_u128(7)), UserId(Uuid::from_u128(8)));
    world
        .reconnect_choosing(|request| ConnectRequest {
            user_id: Some(user),
            label: Some("Office".to_owned()),
            poll_interval: Some(Duration::from_mins(1)),
            conflict_policy: Some(ConflictPolicy::Manual),
            ..request
        })
        .await;
    let chosen = world.stored_connection().await.settings;

    world.reconnect().await;
    let kept = world.stored_connection().await.settings;
    world.reconnect_choosing(|request| ConnectRequest { user_id: Some(other), ..request }).await;
    let given_away = world.stored_connection().await.settings;

    assert_eq!((chosen.user_id, chosen.label.as_str()), (Some(user), "Office"));
    assert_eq!(
        (chosen.poll_interval, chosen.conflict_policy),
        (Duration::from_mins(1), ConflictPolicy::Manual)
    );
    assert_eq!(kept, chosen);
    assert_eq!(given_away, ConnectionSettings { user_id: Some(other), ..chosen });
}
