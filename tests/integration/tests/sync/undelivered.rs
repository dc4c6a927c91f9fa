//! Listings of what waits to be delivered: what they do not name was perhaps never there (law 7).

use calfleet_store::events::EventState;

use super::mishaps::marked;
use super::on_both_databases;
use super::server::Habit;
use super::world::{Backend, World};

on_both_databases![
    what_never_reached_the_provider_is_not_missing_there,
    what_never_reached_the_provider_does_not_vouch_for_the_rest,
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
