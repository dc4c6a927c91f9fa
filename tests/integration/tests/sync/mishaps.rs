//! What goes wrong around a listing: the list of calendars, a person's word in the middle of a run, rows to be read
//! singly, and what could not be read.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{ProviderId, RemoteChange};
use calfleet_domain::recurrence::zone::DATA_VERSION;
use calfleet_providers::driver::Problem;
use calfleet_service::overview;
use calfleet_service::status::Health;
use calfleet_store::apply::{
    self, Applied, CalendarKey, Deletion, PageWrites, RevisionWrite, Stamp, Touched,
};
use calfleet_store::calendar_sync::{self, Phase, Thoroughness};
use calfleet_store::events::{self, EventState};
use calfleet_store::{Priority, Tx, history};
use calfleet_worker::jobs::Handler;

use super::on_both_databases;
use super::server::{Fault, Habit};
use super::world::{Backend, World};

on_both_databases![
    calendars_that_are_known_go_on_when_they_cannot_be_listed,
    a_confirmation_in_the_middle_of_a_run_is_not_lost,
    a_confirmation_does_not_cover_another_doubt,
    what_could_not_be_read_is_read_again_with_the_daily_comparison,
    what_a_server_fails_to_give_out_is_kept_and_asked_for_again_soon,
    a_run_that_dies_after_reading_singly_leaves_its_calendar_due,
    a_page_from_before_a_deletion_does_not_bring_its_event_back,
    a_dead_cursor_is_told_until_the_last_page_is_applied_and_each_deletion_once,
    what_times_mean_is_derived_again_when_the_zone_data_have_changed,
    the_wait_for_the_next_poll_is_drawn_once,
    a_publisher_that_wants_fewer_polls_gets_them_and_is_not_called_late,
    a_listing_says_nothing_of_what_is_younger,
    what_is_to_be_read_singly_is_read_in_this_run_or_at_once_in_the_next,
    what_leaves_a_feed_is_set_aside_though_others_write_meanwhile,
    what_is_called_unchanged_for_a_day_is_listed_as_a_whole_all_the_same,
    the_past_of_a_feed_does_not_vouch_for_what_is_to_come,
];

async fn filled(on: Backend, events: usize) -> World {
    let world = World::start(on).await;
    world.server.add_calendar("work");
    world.server.fill("work", events);
    world.run_until_done().await;
    world
}

async fn calendars_that_are_known_go_on_when_they_cannot_be_listed(on: Backend) {
    let world = filled(on, 5).await;
    world.advance(2 * 3600);

    world.server.put("work", "0001.ics", "work-1", "Moved");
    let trouble = Problem::ServerError { status: 500 };
    world.server.state().calendar_faults.push_back(Fault::Fails(FailureClass::Transient, trouble.clone()));
    world.sync().await;

    world.assert_equal_to_server().await;
    let noted = world.stored_connection().await.last_problem.expect("the failure is shown");
    assert_eq!(noted.text, trouble.to_string());
    world.sync().await;
    assert_eq!(world.stored_connection().await.last_problem, None);
}

async fn in_doubt(on: Backend) -> World {
    let world = filled(on, 30).await;
    for number in 0..25 {
        world.server.delete("work", &format!("{number:04}.ics"));
    }
    world.server.expire_tokens();
    world.sync().await;
    world
}

async fn a_confirmation_in_the_middle_of_a_run_is_not_lost(on: Backend) {
    let world = in_doubt(on).await;
    let as_the_run_knows_it = world.progress("work").await;
    assert!(as_the_run_knows_it.sweep.is_some());

    let tx = world.store.begin(world.scope(), Priority::Interactive).await.unwrap();
    let calendar = as_the_run_knows_it.calendar_id;
    assert!(calendar_sync::approve_sweep(&tx, calendar, world.now()).await.unwrap());
    let due = calendar_sync::Due { read: as_the_run_knows_it.due_at, next: world.now() };
    calendar_sync::save(&tx, &[(&as_the_run_knows_it, due)]).await.unwrap();
    tx.commit().await.unwrap();

    assert!(world.progress("work").await.sweep.expect("it still waits").is_approved);
    world.run_until_done().await;
    world.assert_equal_to_server().await;
}

async fn a_confirmation_does_not_cover_another_doubt(on: Backend) {
    let world = in_doubt(on).await;
    let mut state = world.progress("work").await;
    let calendar = state.calendar_id;

    let mut other = state.sweep.clone().unwrap();
    other.digest = "another".to_owned();
    state.sweep = Some(other);
    let tx = world.store.begin(world.scope(), Priority::Interactive).await.unwrap();
    assert!(calendar_sync::approve_sweep(&tx, calendar, world.now()).await.unwrap());
    let due = calendar_sync::Due { read: state.due_at, next: world.now() };
    calendar_sync::save(&tx, &[(&state, due)]).await.unwrap();
    tx.commit().await.unwrap();

    let waiting = world.progress("work").await.sweep.expect("it waits");
    assert!(!waiting.is_approved, "a person confirmed the sweep of other rows");
}

async fn what_could_not_be_read_is_read_again_with_the_daily_comparison(on: Backend) {
    let world = filled(on, 3).await;
    world.server.put_garbage("work", "bad.ics");
    world.sync().await;
    assert!(world.event("work", "bad.ics").await.problem.is_some());

    world.server.repair("work", "bad.ics", "work-bad", "Readable");
    let reads = world.server.state().read_ids;
    world.sync().await;
    assert_eq!(world.server.state().read_ids, reads, "a poll does not ask for it again and again");
    world.sync_in_full().await;

    world.assert_equal_to_server().await;
    assert_eq!(world.server.state().read_ids, reads + 1);
}

async fn what_a_server_fails_to_give_out_is_kept_and_asked_for_again_soon(on: Backend) {
    let world = filled(on, 3).await;
    let before = world.event("work", "0001.ics").await;
    world.server.put("work", "0001.ics", "work-1", "Moved");
    world.server.put("work", "new.ics", "work-new", "Lunch");
    for name in ["0001.ics", "new.ics"] {
        let (provider_id, reason) = (ProviderId::from(name), "Its server fails at it.".to_owned());
        let withheld = RemoteChange::Withheld { provider_id, reason };
        world.server.state().scripted_reads.insert(name.to_owned(), withheld);
    }

    let mut waits = Vec::new();
    let mut finish = world.sync().await;
    for _ in 0..3 {
        let row = world.event("work", "0001.ics").await;
        assert_eq!((row.state, &row.event.event), (EventState::Live, &before.event.event), "it is kept");
        assert_eq!(row.event.revision, before.event.revision, "a write would be made against what is held");
        assert!(row.problem.is_some());
        assert_eq!(world.progress("work").await.problem, None, "its calendar goes on");
        let read_at = world.event("work", "new.ics").await.recheck_at.expect("it is read again");
        let wait = read_at.since(world.now()).as_secs();
        waits.push(wait.div_ceil(60));
        assert!(finish.next <= read_at, "in time for it");
        world.advance(i64::try_from(wait).unwrap() + 1);
        finish = world.sync().await;
    }
    assert_eq!(waits, [1, 15, 15], "minutes");
    world.server.state().scripted_reads.clear();
    world.advance(15 * 60 + 1);
    world.sync().await;

    world.assert_equal_to_server().await;
    assert_eq!(marked(&world).await, Vec::<String>::new());
}

async fn a_run_that_dies_after_reading_singly_leaves_its_calendar_due(on: Backend) {
    let world = filled(on, 3).await;
    let row = world.event("work", "0001.ics").await.event;
    let mut steps = 1;
    loop {
        flag(
            &world,
            Touched { id: row.id, lock_version: world.event("work", "0001.ics").await.event.lock_version },
        )
        .await;
        world.server.put("work", "0002.ics", "work-2", &format!("Version {steps}"));
        world.ask(Thoroughness::Changes).await;

        let ended = world.run_for(steps).await;

        if ended.is_some() {
            break;
        }
        let is_current = world.content().await == world.server.content();
        let is_due = world.progress("work").await.due_at <= world.now();
        assert!(is_current || is_due, "after {steps} steps nobody would look before the next poll");
        world.run_until_done().await;
        steps += 1;
    }
    assert!(steps > 5);
    world.assert_equal_to_server().await;
}

async fn flag(world: &World, row: Touched) {
    write(world, PageWrites { recheck: vec![row], ..PageWrites::default() }).await;
}

pub(super) async fn write(world: &World, writes: PageWrites) {
    let tx = world.store.begin(world.scope(), Priority::Interactive).await.unwrap();
    write_in(&tx, world, writes).await;
    tx.commit().await.unwrap();
}

async fn write_in(tx: &Tx, world: &World, writes: PageWrites) {
    let calendar = CalendarKey {
        organization_id: world.organization,
        connection_id: world.connection,
        calendar_id: world.calendar("work").await.id,
    };
    let now = world.now();
    let stamp = Stamp { now, requested_at: now, zone_data: DATA_VERSION, cause_id: None };
    assert_eq!(apply::apply(tx, calendar, &writes, &stamp).await.unwrap(), Applied::Written);
}

async fn a_page_from_before_a_deletion_does_not_bring_its_event_back(on: Backend) {
    for thoroughness in [Thoroughness::Changes, Thoroughness::Everything] {
        let world = World::start(on).await;
        world.server.state().habit = Habit::Contents;
        world.server.add_calendar("work");
        world.server.fill("work", 5);
        world.run_until_done().await;
        world.server.put("work", "0001.ics", "work-1", "Moved");
        world.ask(thoroughness).await;
        let (claim, job) = (world.claim().await, world.job());
        let mut run = pin!(job.run(&claim));
        let listings = world.server.state().listings;
        while world.server.state().listings == listings {
            let polled = poll_fn(|context| Poll::Ready(run.as_mut().poll(context))).await;
            assert!(polled.is_pending(), "{polled:?}");
            tokio::task::yield_now().await;
        }

        // while the page is on its way our deletion reaches the provider, and its answer us
        world.advance(1);
        world.server.delete("work", "0001.ics");
        let event = world.event("work", "0001.ics").await.event;
        let row = Touched { id: event.id, lock_version: event.lock_version };
        let deletions = vec![Deletion { row, base: None, edited_at: None }];
        write(&world, PageWrites { deletions, settled: vec![event.id], ..PageWrites::default() }).await;
        run.await.unwrap();

        assert_eq!(world.state_of("work", "0001.ics").await, EventState::Tombstone, "{thoroughness:?}");
        world.advance(1);
        world.sync_in_full().await;
        world.assert_equal_to_server().await;
    }
}

async fn a_dead_cursor_is_told_until_the_last_page_is_applied_and_each_deletion_once(on: Backend) {
    let mut world = filled(on, 20).await;
    world.settings.turn_pages = 2;
    world.server.delete("work", "0007.ics");
    for number in 10..20 {
        world.server.put("work", &format!("{number:04}.ics"), &format!("work-{number}"), "Moved");
    }
    world.server.expire_tokens();
    world.ask(Thoroughness::Changes).await;

    let (mut told, mut at) = (Vec::new(), world.now());
    while world.run().await.next <= at {
        let is_over = world.progress("work").await.phase == Phase::Idle;
        told.push((is_over, health(&world).await));
        at = world.now();
    }

    let is_true = |(is_over, health): &(bool, Health)| *is_over == (*health == Health::Healthy);
    assert!(told.contains(&(false, Health::Resyncing)) && told.iter().all(is_true), "{told:?}");
    assert_eq!(health(&world).await, Health::Healthy);
    world.assert_equal_to_server().await;
    let gone = world.event("work", "0007.ics").await.event.id;
    let tx = world.store.read(world.scope()).await.unwrap();
    let noted = history::of_event(&tx, gone, 9).await.unwrap();
    assert_eq!(noted.iter().filter(|entry| entry.decision == "take_deletion").count(), 1, "{noted:?}");
}

async fn what_times_mean_is_derived_again_when_the_zone_data_have_changed(on: Backend) {
    let world = filled(on, 700).await;
    let calendar = world.calendar("work").await.id;
    let rows = async || {
        let tx = world.store.read(world.scope()).await.unwrap();
        events::known(&tx, calendar, Timestamp::NEVER, None, 1000).await.unwrap()
    };
    let before = rows().await;
    let older = "UPDATE events SET zone_data = '2019a', span_start = span_start - 3600000, span_end = 0";
    world.database.sql(older).await.unwrap();
    assert_ne!(rows().await, before);

    world.sync_in_full().await;

    assert_eq!(rows().await, before);
    let tx = world.store.read(world.scope()).await.unwrap();
    assert!(!apply::has_old_spans(&tx, calendar, DATA_VERSION).await.unwrap());
}

async fn the_wait_for_the_next_poll_is_drawn_once(on: Backend) {
    let world = filled(on, 3).await;
    world.server.put("work", "0001.ics", "work-1", "Moved");

    let finish = world.sync().await;

    assert_eq!(finish.next, world.progress("work").await.due_at);
    assert!(finish.next > world.now().plus(Duration::from_secs(1)));
}

async fn a_publisher_that_wants_fewer_polls_gets_them_and_is_not_called_late(on: Backend) {
    let world = World::start(on).await;
    world.server.add_calendar("work");
    world.server.fill("work", 3);
    world.server.state().poll_interval = Some(Duration::from_hours(6));

    let finish = world.run_until_done().await;
    world.run_until_done().await;

    let due_at = world.progress("work").await.due_at;
    assert!(due_at >= world.now().plus(Duration::from_hours(5)), "{finish:?}");
    world.advance(3 * 3600);
    assert_eq!(health(&world).await, Health::Healthy);
    world.advance(4 * 3600);
    assert_eq!(health(&world).await, Health::Delayed);
}

async fn health(world: &World) -> Health {
    let view = overview::connection(&world.store, world.organization, world.connection, world.now()).await;
    view.unwrap().unwrap().status.health
}

async fn a_listing_says_nothing_of_what_is_younger(on: Backend) {
    let world = filled(on, 3).await;
    let calendar = world.calendar("work").await.id;
    let created_at = world.event("work", "0001.ics").await.created_at;
    let tx = world.store.read(world.scope()).await.unwrap();

    let of_a_listing_begun = async |at| events::known(&tx, calendar, at, None, 10).await.unwrap().len();

    assert_eq!(of_a_listing_begun(created_at).await, 0);
    assert_eq!(of_a_listing_begun(created_at.plus(Duration::from_millis(1))).await, 3);
}

async fn what_is_to_be_read_singly_is_read_in_this_run_or_at_once_in_the_next(on: Backend) {
    for turn_pages in [20, 2] {
        let mut world = filled(on, 10).await;
        world.settings.turn_pages = turn_pages;
        let reads = world.server.state().read_ids;

        world.database.sql("UPDATE events SET recheck_at = 0").await.unwrap();
        world.sync().await;

        assert_eq!(marked(&world).await, Vec::<String>::new(), "{turn_pages} pages a turn");
        assert_eq!(world.server.state().read_ids, reads + 10);

        // here it is the listing that marks them: it does not name what has edits
        world.database.sql("UPDATE events SET base = body, edited_at = 1").await.unwrap();
        world.server.state().list_faults.push_back(Fault::Empty);
        world.sync_in_full().await;

        assert_eq!(marked(&world).await, Vec::<String>::new(), "{turn_pages} pages a turn");
        assert_eq!(world.server.state().read_ids, reads + 20);
        world.assert_equal_to_server().await;
    }
}

/// What of the calendar is to be read singly.
pub(super) async fn marked(world: &World) -> Vec<String> {
    let rows = world.live(world.calendar("work").await.id).await;
    rows.into_iter().filter(|row| row.recheck_at.is_some()).map(|row| row.event.provider_id.0).collect()
}

async fn what_leaves_a_feed_is_set_aside_though_others_write_meanwhile(on: Backend) {
    let world = World::start(on).await;
    world.server.state().habit = Habit::Document;
    world.server.add_calendar("work");
    world.server.fill("work", 600);
    world.run_until_done().await;
    world.advance(1_000_000_000);
    world.sync().await;
    for number in 0..600 {
        world.server.delete("work", &format!("{number:04}.ics"));
    }
    world.ask(Thoroughness::Changes).await;
    let row = world.event("work", "0007.ics").await.event;
    let (claim, job) = (world.claim().await, world.job());

    // the run waits for this transaction with what it has found out before
    let tx = world.store.begin(world.scope(), Priority::Interactive).await.unwrap();
    let row = Touched { id: row.id, lock_version: row.lock_version };
    let revisions = vec![RevisionWrite { row, revision: None, raw: None }];
    write_in(&tx, &world, PageWrites { revisions, ..PageWrites::default() }).await;
    let mut run = pin!(job.run(&claim));
    for _ in 0..100 {
        let polled = poll_fn(|context| Poll::Ready(run.as_mut().poll(context))).await;
        assert!(polled.is_pending(), "{polled:?}");
        drop(world.progress("work").await);
    }
    tx.commit().await.unwrap();
    run.await.unwrap();

    assert_eq!(world.progress("work").await.problem, None);
    assert_eq!(world.live(world.calendar("work").await.id).await.len(), 1, "the one that was written");
    world.advance(1);
    world.sync().await;
    assert_eq!(world.state_of("work", "0007.ics").await, EventState::OutOfWindow);
}

async fn what_is_called_unchanged_for_a_day_is_listed_as_a_whole_all_the_same(on: Backend) {
    let world = World::start(on).await;
    world.server.state().habit = Habit::Document;
    world.server.add_calendar("feed");
    world.server.fill("feed", 3);
    world.run_until_done().await;
    let before = world.content().await;
    world.server.state().calls_unchanged = true;
    world.server.put("feed", "0001.ics", "feed-1", "Moved");

    let listings = world.server.state().listings;
    for _ in 0..23 {
        world.advance(3_600);
        world.sync().await;
    }
    assert_eq!(world.server.state().listings, listings + 23, "a poll without change is one request");
    assert_eq!(world.content().await, before);
    world.advance(2 * 3_600);
    world.sync().await;

    assert_eq!(world.server.state().listings, listings + 24);
    world.assert_equal_to_server().await;
}

async fn the_past_of_a_feed_does_not_vouch_for_what_is_to_come(on: Backend) {
    for (past, to_come) in [(3, 4), (20, 12)] {
        let world = World::start(on).await;
        world.server.state().habit = Habit::Document;
        world.server.add_calendar("feed");
        world.server.fill("feed", past + to_come);
        let yesterday = world.now().minus(Duration::from_hours(24));
        for number in 0..past {
            world.server.state().starts.insert(format!("{number:04}.ics"), yesterday);
        }
        world.run_until_done().await;
        world.server.state().list_faults.push_back(Fault::Empty);

        world.sync_in_full().await;

        let doubt = world.progress("feed").await.sweep.expect("what is to come is all gone at once");
        assert_eq!((doubt.missing, doubt.known), (to_come, to_come));
        for number in past..past + to_come {
            assert_eq!(world.state_of("feed", &format!("{number:04}.ics")).await, EventState::Live);
        }
        world.advance(3600);
        world.sync().await;
        world.assert_equal_to_server().await;
        assert_eq!(world.progress("feed").await.sweep, None);
    }
}
