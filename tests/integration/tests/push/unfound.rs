//! Writes that are answered 404: a calendar that was unshared or deleted, and a proxy before a server that restarts,
//! say it of everything. What is not found is not deleted, and nothing is taken for delivered.

use std::time::Duration;

use calfleet_domain::failure::FailureClass;
use calfleet_sandbox::{CalendarSpec, Fault, FaultRule, Profile, PutNowhere};
use calfleet_store::events::EventState;
use calfleet_store::outbox::OutboxState;

use super::world::World;
use crate::databases::{TestStore, on_both_databases};

on_both_databases![
    a_create_at_a_server_that_knows_nothing_for_a_while_is_sent_again,
    an_edit_at_a_server_that_knows_nothing_for_a_while_is_sent_again,
    a_deletion_at_a_server_that_knows_nothing_for_a_while_is_sent_again,
    what_waits_for_a_calendar_that_is_gone_is_sent_once_it_is_back,
    the_same_where_a_write_to_nowhere_is_called_a_conflict,
    a_create_that_is_not_found_in_a_calendar_that_is_there_is_given_up_with_its_reason,
];

fn not_found() -> FaultRule {
    FaultRule::next(Fault::Status { code: 404, retry_after: None }).always()
}

/// The problem and the class that the only entry in this state shows.
async fn reason(world: &World<'_>, state: OutboxState) -> (String, Option<FailureClass>) {
    let [entry] = &world.outbox(state).await[..] else { panic!("there is one entry") };
    (entry.problem.clone().expect("it has a reason").0, entry.class)
}

/// A push at a server that answers 404 to everything; then it is back, and time has passed.
async fn push_in_vain(world: &World<'_>) {
    world.sandbox.inject(not_found());
    world.push().await;
    world.sandbox.clear_faults();
    let waiting = reason(world, OutboxState::Pending).await;
    assert_eq!(waiting, ("not_found".to_owned(), Some(FailureClass::Transient)));
    world.advance(Duration::from_mins(20));
}

async fn a_create_at_a_server_that_knows_nothing_for_a_while_is_sent_again(store: &TestStore) {
    let world = World::start(store).await;
    let id = world.create("Review").await;

    push_in_vain(&world).await;

    assert_eq!(world.row(id).await.state, EventState::Live);
    world.push().await;
    assert_eq!(world.resources().len(), 1);
    world.assert_in_step().await;
}

async fn an_edit_at_a_server_that_knows_nothing_for_a_while_is_sent_again(store: &TestStore) {
    let world = World::start(store).await;
    let id = world.create("Review").await;
    world.push().await;
    world.retitle(id, "Retro").await;

    push_in_vain(&world).await;

    assert_eq!(world.row(id).await.state, EventState::Live);
    world.push().await;
    assert!(world.resources()[0].body.contains("SUMMARY:Retro"));
    world.assert_in_step().await;
}

async fn a_deletion_at_a_server_that_knows_nothing_for_a_while_is_sent_again(store: &TestStore) {
    let world = World::start(store).await;
    let id = world.create("Review").await;
    world.push().await;
    world.delete(id).await;

    push_in_vain(&world).await;

    world.push().await;
    assert_eq!(world.resources(), []);
    world.assert_in_step().await;
}

async fn what_waits_for_a_calendar_that_is_gone_is_sent_once_it_is_back(store: &TestStore) {
    outlives_its_calendar(store, PutNowhere::NotFound).await;
}

async fn the_same_where_a_write_to_nowhere_is_called_a_conflict(store: &TestStore) {
    outlives_its_calendar(store, PutNowhere::Conflict).await;
}

async fn outlives_its_calendar(store: &TestStore, put_nowhere: PutNowhere) {
    let world = World::start(store).await;
    world.sandbox.set_profile("ada", Profile { put_nowhere, ..Profile::standard() }).unwrap();
    world.sandbox.create_calendar("ada", CalendarSpec::new("home")).unwrap();
    world.sandbox.remove_calendar("ada", "work").unwrap();
    let id = world.create("Review").await;

    world.push().await;
    let waiting = reason(&world, OutboxState::Pending).await;
    assert_eq!(waiting, ("not_found".to_owned(), Some(FailureClass::Transient)));
    world.advance(Duration::from_hours(2));
    world.sync().await;
    world.push().await;
    let given_up = reason(&world, OutboxState::Dead).await;
    assert_eq!(given_up, ("not_found".to_owned(), Some(FailureClass::Permanent)));
    assert_eq!(world.row(id).await.state, EventState::Live);

    world.sandbox.create_calendar("ada", CalendarSpec::new("work")).unwrap();
    world.advance(Duration::from_hours(2));
    world.sync().await;
    world.push().await;
    assert_eq!(world.resources().len(), 1);
    assert_eq!(world.outbox(OutboxState::Dead).await, []);
    world.assert_in_step().await;
}

async fn a_create_that_is_not_found_in_a_calendar_that_is_there_is_given_up_with_its_reason(
    store: &TestStore,
) {
    let world = World::start(store).await;
    world.sandbox.inject(not_found().method("PUT"));
    let id = world.create("Review").await;

    world.push().await;

    let given_up = reason(&world, OutboxState::Dead).await;
    assert_eq!(given_up, ("not_found".to_owned(), Some(FailureClass::Permanent)));
    assert_eq!(world.row(id).await.state, EventState::Live);
}
