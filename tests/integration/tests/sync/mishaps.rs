//! What goes wrong around a listing: the list of calendars, a person's word in the middle of a run, rows to be read
//! singly, and what could not be read.

use std::time::Duration;

use calfleet_domain::failure::FailureClass;
use calfleet_domain::recurrence::zone::DATA_VERSION;
use calfleet_providers::driver::Problem;
use calfleet_service::overview;
use calfleet_service::status::Health;
use calfleet_store::apply::{self, Applied, CalendarKey, PageWrites, Stamp, Touched};
use calfleet_store::{Priority, calendar_sync};

use super::on_both_databases;
use super::server::Fault;
use super::world::{Backend, World};

on_both_databases![
    calendars_that_are_known_go_on_when_they_cannot_be_listed,
    a_confirmation_in_the_middle_of_a_run_is_not_lost,
    a_confirmation_does_not_cover_another_doubt,
    what_could_not_be_read_is_read_again_with_the_daily_comparison,
    a_run_that_dies_after_reading_singly_leaves_its_calendar_due,
    the_wait_for_the_next_poll_is_drawn_once,
    a_publisher_that_wants_fewer_polls_gets_them_and_is_not_called_late,
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
        world.ask(calendar_sync::Thoroughness::Changes).await;

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
    let calendar = CalendarKey {
        organization_id: world.organization,
        connection_id: world.connection,
        calendar_id: world.calendar("work").await.id,
    };
    let writes = PageWrites { recheck: vec![row], ..PageWrites::default() };
    let now = world.now();
    let tx = world.store.begin(world.scope(), Priority::Interactive).await.unwrap();
    let stamp = Stamp { now, requested_at: now, zone_data: DATA_VERSION, cause_id: None };
    assert_eq!(apply::apply(&tx, calendar, &writes, &stamp).await.unwrap(), Applied::Written);
    tx.commit().await.unwrap();
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
