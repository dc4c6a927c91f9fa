//! The laws that a sync keeps: what is in the database is what the provider holds, whatever happened on the way.

use std::time::Duration;

use calfleet_domain::job::WorkState;
use calfleet_domain::model::{CalendarState, ConnectionState, DetailLevel, Event, EventId};
use calfleet_store::apply;
use calfleet_store::calendar_sync::{Phase, Thoroughness};
use calfleet_store::events::EventState;
use calfleet_store::history;
use calfleet_store::outbox::{self, OutboxState};
use calfleet_store::runs;
use calfleet_worker::jobs::Handler;

use super::on_both_databases;
use super::server::{Fault, Habit, refused, throttled};
use super::world::{Backend, World};
use calfleet_domain::failure::FailureClass;
use calfleet_providers::driver::Problem;

on_both_databases![
    an_import_holds_what_the_provider_holds_and_a_second_sync_writes_nothing,
    changes_deletions_and_new_events_come_in_with_the_next_poll,
    pages_of_any_size_with_changes_in_between_end_as_if_there_were_none,
    a_run_that_dies_at_any_step_loses_and_doubles_nothing,
    a_poll_that_dies_at_any_step_loses_and_doubles_nothing,
    a_long_import_gives_its_slot_up_and_goes_on_where_it_stopped,
    a_dead_token_ends_as_a_fresh_account_would,
    an_empty_or_broken_listing_deletes_nothing,
    a_large_deletion_waits_for_a_second_listing_that_agrees,
    an_event_moved_between_calendars_stays_the_same_event,
    a_renamed_object_stays_the_same_event,
    an_unreadable_event_keeps_what_was_known_and_blocks_nobody,
    one_forbidden_calendar_waits_by_itself_and_the_others_go_on,
    a_calendar_that_vanishes_is_gone_and_its_events_stay,
    one_refusal_is_asked_about_again_and_two_need_new_credentials,
    a_throttle_is_obeyed_by_the_whole_connection_and_is_no_attempt,
    less_detail_is_no_edit,
    what_is_hidden_withdrawn_and_given_back_is_neither_edited_nor_deleted,
    an_ask_during_a_run_is_not_taken_for_the_one_it_answers,
    the_past_that_leaves_a_feed_is_not_deleted,
    a_failing_read_keeps_what_was_applied_and_goes_on_later,
];

async fn an_import_holds_what_the_provider_holds_and_a_second_sync_writes_nothing(on: Backend) {
    let world = World::start(on).await;
    world.server.add_calendar("work");
    world.server.fill("work", 25);
    world.server.put_garbage("work", "bad.ics");

    world.run_until_done().await;

    world.assert_equal_to_server().await;
    let before = world.live(world.calendar("work").await.id).await;
    let listings = world.server.state().listings;
    let reads = world.server.state().reads;
    world.sync().await;
    assert_eq!(world.live(world.calendar("work").await.id).await, before);
    assert_eq!(world.server.state().listings, listings + 1, "one request for a poll without change");
    assert_eq!(world.server.state().reads, reads);
    assert_eq!(world.titles_in_range(world.calendar("work").await.id).await, 25);
    let tx = world.store.read(world.scope()).await.unwrap();
    assert_eq!(runs::list(&tx, world.connection, 10).await.unwrap().len(), 1, "polls leave no row");
    let payload = apply::payload(&tx, before[0].event.id).await.unwrap();
    assert!(payload.is_some_and(|payload| payload.starts_with("BEGIN:")));
    drop(tx);
    world.server.state().habit = Habit::Contents;
    world.sync_in_full().await;
    let after = world.live(world.calendar("work").await.id).await;
    assert_eq!(after, before, "nor does a listing write that shows everything");
}

async fn changes_deletions_and_new_events_come_in_with_the_next_poll(on: Backend) {
    for habit in [Habit::Names, Habit::Contents] {
        let world = World::start(on).await;
        world.server.state().habit = habit;
        world.server.add_calendar("work");
        world.server.fill("work", 12);
        world.run_until_done().await;

        world.server.put("work", "0003.ics", "work-3", "Review");
        world.server.delete("work", "0005.ics");
        world.server.put("work", "new.ics", "work-new", "Lunch");
        world.sync().await;

        world.assert_equal_to_server().await;
        assert_eq!(world.state_of("work", "0005.ics").await, EventState::Tombstone);
    }
}

async fn pages_of_any_size_with_changes_in_between_end_as_if_there_were_none(on: Backend) {
    for size in [1, 2, 3, 7] {
        for habit in [Habit::Names, Habit::Contents] {
            let world = World::start(on).await;
            world.server.state().habit = habit;
            world.server.state().page_size = Some(size);
            world.server.add_calendar("work");
            world.server.fill("work", 17);
            let meanwhile = Fault::Meanwhile("0001.ics".to_owned(), "work-1".to_owned(), "Later");
            world.server.state().list_faults.push_back(meanwhile);

            world.run_until_done().await;
            world.sync().await;

            world.assert_equal_to_server().await;
            assert_eq!(world.progress("work").await.phase, Phase::Idle);
            world.server.delete("work", "0005.ics");
            let later = Fault::Meanwhile("0001.ics".to_owned(), "work-1".to_owned(), "Last");
            let lost = Fault::Fails(FailureClass::Transient, Problem::ServerError { status: 502 });
            world.server.state().list_faults.extend([later, lost]);
            world.sync_in_full().await;
            world.advance(3600);
            world.sync().await;
            world.assert_equal_to_server().await;
            assert_eq!(world.state_of("work", "0005.ics").await, EventState::Tombstone);
        }
    }
}

async fn a_run_that_dies_at_any_step_loses_and_doubles_nothing(on: Backend) {
    let mut has_ended = false;
    let mut steps = 1;
    while !has_ended {
        let mut world = World::start(on).await;
        world.settings.turn_pages = 2;
        world.server.add_calendar("home");
        world.server.add_calendar("work");
        world.server.fill("work", 7);
        world.server.fill("home", 2);
        has_ended = world.run_for(steps).await.is_some();
        world.server.put("work", "0002.ics", "work-2", "Review");
        world.server.delete("work", "0004.ics");
        let _ = world.run_for(steps / 2 + 1).await;

        world.sync().await;

        world.assert_equal_to_server().await;
        let tx = world.store.read(world.scope()).await.unwrap();
        let missing = apply::missing_since(&tx, world.connection).await.unwrap();
        assert!(missing.is_empty(), "after {steps} steps: {missing:?}");
        steps += steps / 8 + 1;
    }
    assert!(steps > 20, "{steps} steps are no run");
}

async fn a_poll_that_dies_at_any_step_loses_and_doubles_nothing(on: Backend) {
    for habit in [Habit::Names, Habit::Contents] {
        let world = World::start(on).await;
        world.server.state().habit = habit;
        world.server.add_calendar("work");
        world.server.fill("work", 9);
        world.run_until_done().await;
        // how many steps a poll takes varies: it is over when it has ended several times in a row
        let (mut ended, mut steps) = (0, 1);
        while ended < 8 {
            for number in 0..5 {
                let uid = format!("work-{number}");
                world.server.put("work", &format!("{number:04}.ics"), &uid, &format!("Version {steps}"));
            }
            world.server.put("work", &format!("new {steps}.ics"), &format!("new-{steps}"), "New");
            world.server.delete("work", &format!("new {}.ics", steps - 1));
            world.ask(Thoroughness::Changes).await;

            ended = if world.run_for(steps).await.is_some() { ended + 1 } else { 0 };

            world.sync().await;
            assert_eq!(world.content().await, world.server.content(), "{habit:?}, after {steps} steps");
            steps += 1;
        }
        assert!(steps > 20, "{steps} steps are no run");
    }
}

async fn a_long_import_gives_its_slot_up_and_goes_on_where_it_stopped(on: Backend) {
    let mut world = World::start(on).await;
    world.settings.turn_pages = 2;
    world.server.add_calendar("work");
    world.server.fill("work", 30);

    let first = world.run().await;
    let progress = world.progress("work").await;
    assert_eq!(first.next, world.now().minus(Duration::from_secs(1)), "asked for again at once");
    assert_eq!((progress.phase, progress.items_listed, progress.items_done), (Phase::Fetching, 30, 6));
    world.run_until_done().await;

    world.assert_equal_to_server().await;
    assert_eq!(world.server.state().listings, 2, "everything once, then what changed meanwhile");
    assert_eq!(world.server.state().read_ids, 30, "each is read once");
}

async fn a_dead_token_ends_as_a_fresh_account_would(on: Backend) {
    for hides in [false, true] {
        for habit in [Habit::Names, Habit::Contents] {
            if hides && habit == Habit::Contents {
                continue;
            }
            let world = World::start(on).await;
            world.server.state().habit = habit;
            world.server.state().hides_dead_tokens = hides;
            world.server.add_calendar("work");
            world.server.fill("work", 20);
            world.run_until_done().await;
            let kept = world.event("work", "0000.ics").await.event.id;

            world.server.delete("work", "0007.ics");
            world.server.put("work", "0009.ics", "work-9", "Review");
            world.server.expire_tokens();
            world.sync().await;

            world.assert_equal_to_server().await;
            assert_eq!(world.state_of("work", "0007.ics").await, EventState::Tombstone);
            assert_eq!(world.event("work", "0000.ics").await.event.id, kept);
            assert!(!world.progress("work").await.requires_full);
        }
    }
}

async fn an_empty_or_broken_listing_deletes_nothing(on: Backend) {
    for fault in [Fault::Empty, Fault::BreaksOff] {
        let world = World::start(on).await;
        world.server.add_calendar("work");
        world.server.fill("work", 30);
        world.run_until_done().await;
        world.server.state().list_faults.push_back(fault);

        world.sync_in_full().await;

        assert_eq!(world.live(world.calendar("work").await.id).await.len(), 30);
        world.advance(3600);
        world.sync().await;
        world.assert_equal_to_server().await;
        assert_eq!(world.progress("work").await.sweep, None);
    }
}

async fn a_large_deletion_waits_for_a_second_listing_that_agrees(on: Backend) {
    let world = World::start(on).await;
    world.server.add_calendar("work");
    world.server.fill("work", 30);
    world.run_until_done().await;
    for number in 0..25 {
        world.server.delete("work", &format!("{number:04}.ics"));
    }
    world.server.expire_tokens();
    let fresh_at = world.progress("work").await.fresh_at;
    world.advance(5);

    let finish = world.sync().await;
    let progress = world.progress("work").await;
    assert_eq!(progress.fresh_at, fresh_at, "no fresher than what was believed");
    assert_eq!(progress.sweep.as_ref().map(|sweep| (sweep.missing, sweep.known)), Some((25, 30)));
    assert_eq!(world.live(world.calendar("work").await.id).await.len(), 30);
    assert!(finish.next <= world.now().plus(Duration::from_secs(61)), "the second listing comes soon");
    world.advance(61);
    world.run_until_done().await;

    world.assert_equal_to_server().await;
    assert_eq!(world.progress("work").await.sweep, None);
}

async fn an_event_moved_between_calendars_stays_the_same_event(on: Backend) {
    for (from, to) in [("home", "work"), ("work", "home")] {
        let world = World::start(on).await;
        world.server.add_calendar("home");
        world.server.add_calendar("work");
        world.server.fill("home", 3);
        world.server.fill("work", 3);
        world.run_until_done().await;
        let moved = world.event(from, "0001.ics").await.event.id;

        world.server.delete(from, "0001.ics");
        world.server.put(to, "moved.ics", &format!("{from}-1"), "Standup");
        world.sync().await;

        world.assert_equal_to_server().await;
        assert_eq!(world.event(to, "moved.ics").await.event.id, moved, "from {from} to {to}");
    }
}

async fn a_renamed_object_stays_the_same_event(on: Backend) {
    let world = World::start(on).await;
    world.server.add_calendar("work");
    world.server.fill("work", 3);
    world.run_until_done().await;
    let renamed = world.event("work", "0001.ics").await.event.id;

    world.server.delete("work", "0001.ics");
    world.server.put("work", "other.ics", "work-1", "Standup");
    world.sync().await;

    world.assert_equal_to_server().await;
    assert_eq!(world.event("work", "other.ics").await.event.id, renamed);
}

async fn an_unreadable_event_keeps_what_was_known_and_blocks_nobody(on: Backend) {
    let world = World::start(on).await;
    world.server.add_calendar("work");
    world.server.fill("work", 5);
    world.run_until_done().await;

    world.server.put_garbage("work", "0001.ics");
    world.server.put("work", "0004.ics", "work-4", "Review");
    world.sync().await;
    let row = world.event("work", "0001.ics").await;
    assert_eq!(row.state, EventState::Live);
    assert!(row.problem.is_some());
    assert!(row.event.event.is_some(), "what it said is kept");
    world.assert_equal_to_server().await;
    world.server.put("work", "0001.ics", "work-1", "Repaired");
    world.sync().await;

    world.assert_equal_to_server().await;
}

async fn one_forbidden_calendar_waits_by_itself_and_the_others_go_on(on: Backend) {
    let world = World::start(on).await;
    for calendar in ["home", "work"] {
        world.server.add_calendar(calendar);
        world.server.fill(calendar, 4);
    }
    world.server.state().forbidden.insert("home".to_owned());

    let finish = world.run_until_done().await;

    assert_eq!(finish.attempt, 0);
    assert_eq!(world.live(world.calendar("work").await.id).await.len(), 4);
    let home = world.progress("home").await;
    assert_eq!(home.problem.map(|problem| problem.code), Some("forbidden".to_owned()));
    assert!(home.not_before > world.now());
    assert_eq!(world.stored_connection().await.last_problem, None);
}

async fn a_calendar_that_vanishes_is_gone_and_its_events_stay(on: Backend) {
    let world = World::start(on).await;
    for calendar in ["home", "work"] {
        world.server.add_calendar(calendar);
        world.server.fill(calendar, 4);
    }
    world.run_until_done().await;

    world.server.remove_calendar("home");
    world.sync().await;

    let home = world.calendar("home").await;
    assert_eq!(home.state, CalendarState::Gone);
    assert_eq!(world.live(home.id).await.len(), 4);
}

async fn one_refusal_is_asked_about_again_and_two_need_new_credentials(on: Backend) {
    let world = World::start(on).await;
    world.server.add_calendar("work");
    world.server.fill("work", 2);
    world.server.state().list_faults.push_back(refused());

    let once = world.run_until_done().await;
    assert_eq!(once.state, WorkState::Active);
    world.assert_equal_to_server().await;
    world.server.state().list_faults.extend([refused(), refused()]);
    let twice = world.sync().await;

    assert_eq!(twice.state, WorkState::Held);
    let connection = world.stored_connection().await;
    assert_eq!(connection.state, ConnectionState::NeedsReauth);
    assert_eq!(connection.last_problem.map(|problem| problem.code), Some("wrong_credentials".to_owned()));
}

async fn a_throttle_is_obeyed_by_the_whole_connection_and_is_no_attempt(on: Backend) {
    let world = World::start(on).await;
    world.server.add_calendar("work");
    world.server.fill("work", 2);
    world.server.state().list_faults.push_back(throttled(77));

    let at = world.now();
    let finish = world.run().await;

    assert_eq!((finish.not_before, finish.attempt), (at.plus(Duration::from_secs(77)), 0));
}

async fn less_detail_is_no_edit(on: Backend) {
    let world = World::start(on).await;
    world.server.add_calendar("work");
    world.server.fill("work", 4);
    world.run_until_done().await;

    world.server.state().detail = DetailLevel::FreeBusy;
    world.server.put("work", "0001.ics", "work-1", "Hidden");
    world.sync_in_full().await;

    let row = world.event("work", "0001.ics").await;
    let title = row.event.event.and_then(|event| event.fields()?.title.clone());
    assert_eq!(title.as_deref(), Some("Standup"));
}

async fn what_is_hidden_withdrawn_and_given_back_is_neither_edited_nor_deleted(on: Backend) {
    let world = World::start(on).await;
    world.server.state().habit = Habit::Contents;
    world.server.add_calendar("home");
    world.server.add_calendar("work");
    world.server.fill("work", 30);
    world.run_until_done().await;
    let before = held(&world).await;

    for detail in [DetailLevel::FreeBusy, DetailLevel::Full, DetailLevel::FreeBusy] {
        world.server.state().detail = detail;
        world.sync_in_full().await;
        assert_eq!(held(&world).await, before, "{detail:?}");
    }
    world.server.remove_calendar("work");
    world.advance(2 * 3600);
    world.sync().await;
    assert_eq!(world.calendar("work").await.state, CalendarState::Gone);
    assert_eq!(held(&world).await, before, "withdrawn");
    world.server.add_calendar("work");
    world.server.fill("work", 30);
    world.server.state().detail = DetailLevel::Full;
    world.advance(2 * 3600);
    world.sync_in_full().await;

    assert_eq!(world.calendar("work").await.state, CalendarState::Reachable);
    assert_eq!(held(&world).await, before, "given back");
    let tx = world.store.read(world.scope()).await.unwrap();
    assert_eq!(outbox::list(&tx, OutboxState::Pending, None, 9).await.unwrap(), [], "nothing is to be sent");
}

/// The ids of the live events of `work`, with all that they say and all that was ever noted of them.
async fn held(world: &World) -> Vec<(EventId, Option<Event>, usize)> {
    let mut held = Vec::new();
    for row in world.live(world.calendar("work").await.id).await {
        let tx = world.store.read(world.scope()).await.unwrap();
        let noted = history::of_event(&tx, row.event.id, 100).await.unwrap().len();
        held.push((row.event.id, row.event.event, noted));
    }
    assert_eq!(held.len(), 30);
    held
}

async fn an_ask_during_a_run_is_not_taken_for_the_one_it_answers(on: Backend) {
    let world = World::start(on).await;
    world.server.add_calendar("work");
    world.server.fill("work", 2);
    world.run_until_done().await;
    world.ask(Thoroughness::Changes).await;
    let claim = world.claim().await;
    let job = world.job();
    let due = world.progress("work").await.due_at;
    let listings = world.server.state().listings;
    let asking = async {
        while world.server.state().listings == listings {
            tokio::task::yield_now().await;
        }
        world.ask(Thoroughness::Everything).await;
    };

    let (finish, ()) = tokio::join!(job.run(&claim), asking);

    let progress = world.progress("work").await;
    assert!(progress.requires_full, "the ask stands");
    assert!(progress.due_at <= due, "{} is after {due}", progress.due_at);
    assert!(finish.is_ok());
}

async fn the_past_that_leaves_a_feed_is_not_deleted(on: Backend) {
    let world = World::start(on).await;
    world.server.state().habit = Habit::Document;
    world.server.add_calendar("feed");
    world.server.fill("feed", 9);
    world.run_until_done().await;

    world.advance(1_000_000_000);
    world.server.delete("feed", "0001.ics");
    world.sync().await;

    assert_eq!(world.state_of("feed", "0001.ics").await, EventState::OutOfWindow);
}

async fn a_failing_read_keeps_what_was_applied_and_goes_on_later(on: Backend) {
    let world = World::start(on).await;
    world.server.add_calendar("work");
    world.server.fill("work", 9);
    let timeout = Problem::Timeout { host: "dav.example.com".to_owned() };
    let fault = Fault::Fails(FailureClass::Transient, timeout);
    world.server.state().read_faults.extend([Fault::Empty, fault]);

    let finish = world.run().await;
    let progress = world.progress("work").await;
    assert_eq!(world.live(world.calendar("work").await.id).await.len(), 3);
    assert_eq!((progress.attempt, finish.attempt), (1, 0));
    world.advance(5);
    world.run_until_done().await;

    world.assert_equal_to_server().await;
    assert_eq!(world.progress("work").await.problem, None);
}
