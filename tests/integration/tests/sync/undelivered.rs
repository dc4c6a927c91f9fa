//! Listings of what waits to be delivered: what they do not name was perhaps never there (law 7), and what they name
//! changes nothing (law 5).

use calfleet_domain::model::{Body, Event};
use calfleet_domain::reconcile::version;
use calfleet_domain::recurrence::span;
use calfleet_store::apply::{CalendarKey, Deletion, EventWrite, PageWrites, Touched};
use calfleet_store::events::{EventState, StoredRow};
use calfleet_store::{history, runs};

use super::mishaps::{marked, write};
use super::on_both_databases;
use super::server::{Fault, Habit};
use super::world::{Backend, World};

on_both_databases![
    what_never_reached_the_provider_is_not_missing_there,
    what_never_reached_the_provider_does_not_vouch_for_the_rest,
    what_waits_to_be_delivered_does_not_vouch_for_the_rest,
    a_listing_of_what_waits_to_be_delivered_writes_nothing,
    what_waits_to_be_delivered_is_read_singly_once,
];

async fn filled(on: Backend, events: usize) -> World {
    let world = World::start(on).await;
    world.server.state().habit = Habit::Contents;
    world.server.add_calendar("work");
    world.server.fill("work", events);
    world.run_until_done().await;
    world
}

/// Makes of these events such as were made here and refused there.
async fn never_delivered(world: &World, names: &str) {
    let sql = format!("UPDATE events SET edited_at = 1 WHERE provider_id LIKE '{names}'");
    world.database.sql(&sql).await.unwrap();
}

async fn what_never_reached_the_provider_is_not_missing_there(on: Backend) {
    let world = filled(on, 1).await;
    never_delivered(&world, "0000.ics").await;
    world.server.delete("work", "0000.ics");
    let reads = world.server.state().reads;

    world.sync_in_full().await;

    let progress = world.progress("work").await;
    assert_eq!((progress.sweep, progress.requires_full), (None, false));
    assert_eq!(world.state_of("work", "0000.ics").await, EventState::Live);
    assert_eq!((marked(&world).await, world.server.state().reads), (Vec::new(), reads));
}

async fn what_never_reached_the_provider_does_not_vouch_for_the_rest(on: Backend) {
    let world = filled(on, 17).await;
    never_delivered(&world, "001%").await;
    for number in 0..17 {
        if number != 3 && number != 4 {
            world.server.delete("work", &format!("{number:04}.ics"));
        }
    }

    world.sync_in_full().await;

    let doubt = world.progress("work").await.sweep.expect("a listing with so little is not believed at once");
    assert_eq!((doubt.missing, doubt.known), (8, 10));
}

/// An event whose edit waits, and one whose deletion does.
async fn edited_and_deleted(world: &World) {
    let edited = world.event("work", "0001.ics").await;
    let deleted = world.event("work", "0002.ics").await.event;
    let row = Touched { id: deleted.id, lock_version: deleted.lock_version };
    let deletions = vec![Deletion { row, base: deleted.event, edited_at: Some(world.now()) }];
    let updates = vec![retitled(world, edited)];
    write(world, PageWrites { updates, deletions, ..PageWrites::default() }).await;
    world.advance(1);
}

fn retitled(world: &World, row: StoredRow) -> EventWrite {
    let StoredRow { event: stored, connection_id, instances, .. } = row;
    let base = stored.event.unwrap();
    let Body::Single(mut fields) = base.body.clone() else { panic!("a single event") };
    fields.title = Some("Ours".to_owned());
    let event = Event { uid: base.uid.clone(), body: Body::Single(fields) };
    let reach = span(&event);
    let organization_id = stored.organization_id;
    EventWrite {
        id: stored.id,
        lock_version: stored.lock_version,
        calendar: CalendarKey { organization_id, connection_id, calendar_id: stored.calendar_id },
        meeting_id: stored.meeting_id,
        uid: event.uid.clone(),
        provider_id: stored.provider_id,
        version: version::of(&event),
        event: Some(event),
        base: Some(base),
        revision: stored.revision,
        role: stored.role,
        detail: stored.detail,
        problem: None,
        span_start: Some(reach.start),
        span_end: reach.end,
        edited_at: Some(world.now()),
        raw: None,
        instances,
    }
}

/// Everything that a listing could write.
async fn written(world: &World) -> (Vec<StoredRow>, usize, usize) {
    let rows = [world.event("work", "0001.ics").await, world.event("work", "0002.ics").await];
    let tx = world.store.read(world.scope()).await.unwrap();
    let mut noted = 0;
    for row in &rows {
        noted += history::of_event(&tx, row.event.id, 100).await.unwrap().len();
    }
    let recorded = runs::list(&tx, world.connection, 100).await.unwrap().len();
    (rows.to_vec(), noted, recorded)
}

async fn what_waits_to_be_delivered_does_not_vouch_for_the_rest(on: Backend) {
    let world = filled(on, 6).await;
    edited_and_deleted(&world).await;
    world.server.state().list_faults.push_back(Fault::Empty);

    world.sync_in_full().await;

    let doubt = world.progress("work").await.sweep.expect("all of which the listing could tell is gone");
    assert_eq!((doubt.missing, doubt.known), (4, 4));
}

async fn a_listing_of_what_waits_to_be_delivered_writes_nothing(on: Backend) {
    let world = filled(on, 3).await;
    edited_and_deleted(&world).await;
    let before = written(&world).await;

    world.sync_in_full().await;
    assert_eq!(written(&world).await, before);

    // the provider counts it as another state, of which it says nothing else
    world.server.put("work", "0001.ics", "work-1", "Standup");
    world.sync_in_full().await;
    let row = world.event("work", "0001.ics").await;
    assert_ne!(row.event.revision, before.0[0].event.revision);
    assert_eq!(
        (row.event.event, row.event.base),
        (before.0[0].event.event.clone(), before.0[0].event.base.clone())
    );
    assert_eq!(written(&world).await.1, before.1);
}

async fn what_waits_to_be_delivered_is_read_singly_once(on: Backend) {
    let world = filled(on, 3).await;
    edited_and_deleted(&world).await;
    let before = written(&world).await;
    world.database.sql("UPDATE events SET recheck_at = 0 WHERE provider_id = '0001.ics'").await.unwrap();
    let reads = world.server.state().reads;

    world.sync().await;
    world.sync().await;

    assert_eq!((marked(&world).await, world.server.state().reads), (Vec::new(), reads + 1));
    assert_eq!(written(&world).await, before);
}
