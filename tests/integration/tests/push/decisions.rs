//! What people decide: which side of a conflict is kept, and what becomes of what a provider refused (laws 2, 3, 4).

use calfleet_domain::model::{ConflictId, ConflictPolicy, EventId, OutboxId};
use calfleet_sandbox::{Fault, FaultRule};
use calfleet_service::Actor;
use calfleet_service::write::{Choice, Mode, Terms, WriteError};
use calfleet_store::conflicts::Which;
use calfleet_store::events::EventState;
use calfleet_store::outbox::OutboxState;

use super::world::World;
use crate::databases::{TestStore, on_both_databases};

on_both_databases![
    our_side_is_kept_and_brought_to_the_provider,
    their_side_is_kept_and_ours_can_be_restored,
    what_the_provider_deleted_is_made_again_or_goes,
    what_was_deleted_here_goes_there_too_or_comes_back,
    a_deletion_that_a_listing_contests_waits_for_a_person,
    a_conflict_is_decided_once,
    an_edit_that_was_refused_is_dropped_and_the_event_says_what_the_provider_has,
    a_creation_that_was_refused_is_dropped_with_its_event,
    a_deletion_that_was_refused_is_dropped_and_the_event_is_back,
];

fn terms(world: &World<'_>) -> Terms {
    let terms = Terms::of_person(world.database.here, Actor::operator());
    Terms { notify: calfleet_domain::model::Notify::None, ..terms }
}

/// An event that both sides have, on a connection whose conflicts are left to people.
async fn agreed(store: &TestStore) -> (World<'_>, EventId) {
    let world = World::start_with(store, ConflictPolicy::Manual).await;
    let id = world.create("Review").await;
    world.push().await;
    world.sync().await;
    (world, id)
}

async fn open(world: &World<'_>) -> Vec<ConflictId> {
    let found = world.service.conflicts(world.database.here, Which::Open, None, 10).await.unwrap();
    found.into_iter().map(|view| view.id).collect()
}

/// The same after both sides have given it another title.
async fn contested(store: &TestStore) -> (World<'_>, EventId, ConflictId) {
    let (world, id) = agreed(store).await;
    world.retitle(id, "Ours").await;
    world.replace("SUMMARY:Review", "SUMMARY:Theirs");
    world.push().await;
    let [conflict] = open(&world).await[..] else { panic!("one conflict") };
    (world, id, conflict)
}

async fn title(world: &World<'_>, id: EventId) -> Option<String> {
    world.row(id).await.event.event?.fields()?.title.clone()
}

async fn our_side_is_kept_and_brought_to_the_provider(store: &TestStore) {
    let (world, id, conflict) = contested(store).await;
    let view = world.service.conflict(world.database.here, conflict).await.unwrap().unwrap();
    assert_eq!(view.contested.len(), 1);
    assert_eq!(
        (&view.contested[0].ours, &view.contested[0].theirs),
        (&Some("Ours".into()), &Some("Theirs".into()))
    );

    let dry = Terms { mode: Mode::Explain, ..terms(&world) };
    let planned = world.service.resolve_conflict(conflict, Choice::Ours, &dry).await.unwrap();
    assert_eq!((planned.intents.len(), planned.plan.unwrap().writes.len()), (0, 1));
    assert_eq!(open(&world).await, [conflict]);
    let outcome = world.service.resolve_conflict(conflict, Choice::Ours, &terms(&world)).await.unwrap();
    world.push().await;

    assert_eq!(outcome.intents.len(), 1);
    assert!(world.resources()[0].body.contains("SUMMARY:Ours"));
    assert_eq!(title(&world, id).await.as_deref(), Some("Ours"));
    assert_eq!(open(&world).await, []);
    world.assert_in_step().await;
}

async fn their_side_is_kept_and_ours_can_be_restored(store: &TestStore) {
    let (world, id, conflict) = contested(store).await;
    let puts = world.requests("PUT");

    world.service.resolve_conflict(conflict, Choice::Theirs, &terms(&world)).await.unwrap();
    world.push().await;

    assert_eq!(title(&world, id).await.as_deref(), Some("Theirs"));
    assert_eq!(world.requests("PUT"), puts);
    world.assert_in_step().await;
    let last = world.service.last_request(world.database.here, id).await.unwrap();
    world.service.undo_change(id, last, &terms(&world)).await.unwrap();
    world.push().await;
    assert!(world.resources()[0].body.contains("SUMMARY:Ours"));
    world.assert_in_step().await;
}

async fn what_the_provider_deleted_is_made_again_or_goes(store: &TestStore) {
    let (world, id) = agreed(store).await;
    for choice in [Choice::Ours, Choice::Theirs] {
        world.retitle(id, &format!("{choice:?}")).await;
        world.remove();
        world.push().await;
        let [conflict] = open(&world).await[..] else { panic!("one conflict") };
        world.sync().await;
        assert_eq!((open(&world).await, world.live().await.len()), (vec![conflict], 1), "it waits");

        world.service.resolve_conflict(conflict, choice, &terms(&world)).await.unwrap();
        world.push().await;

        let expected = usize::from(choice == Choice::Ours);
        assert_eq!((world.resources().len(), world.live().await.len()), (expected, expected));
        world.assert_in_step().await;
    }
    assert_eq!(world.row(id).await.state, EventState::Tombstone);
}

async fn what_was_deleted_here_goes_there_too_or_comes_back(store: &TestStore) {
    let (world, id) = agreed(store).await;
    for (choice, from, to) in [(Choice::Theirs, "Review", "Other"), (Choice::Ours, "Other", "Third")] {
        world.delete(id).await;
        world.replace(&format!("SUMMARY:{from}"), &format!("SUMMARY:{to}"));
        world.push().await;
        let [conflict] = open(&world).await[..] else { panic!("one conflict") };

        world.service.resolve_conflict(conflict, choice, &terms(&world)).await.unwrap();
        world.push().await;

        let expected = usize::from(choice == Choice::Theirs);
        assert_eq!((world.resources().len(), world.live().await.len()), (expected, expected));
        world.assert_in_step().await;
    }
}

async fn a_deletion_that_a_listing_contests_waits_for_a_person(store: &TestStore) {
    let (world, id) = agreed(store).await;
    world.delete(id).await;
    world.replace("SUMMARY:Review", "SUMMARY:Theirs");

    world.sync().await;
    world.push().await;

    let [conflict] = open(&world).await[..] else { panic!("one conflict") };
    assert!(
        world.resources()[0].body.contains("SUMMARY:Theirs"),
        "nothing is deleted before that is decided"
    );
    world.service.resolve_conflict(conflict, Choice::Theirs, &terms(&world)).await.unwrap();
    world.push().await;
    assert_eq!(title(&world, id).await.as_deref(), Some("Theirs"));
    world.assert_in_step().await;
}

async fn a_conflict_is_decided_once(store: &TestStore) {
    let (world, id, conflict) = contested(store).await;
    world.service.resolve_conflict(conflict, Choice::Theirs, &terms(&world)).await.unwrap();
    let before = world.row(id).await;

    let again = world.service.resolve_conflict(conflict, Choice::Ours, &terms(&world)).await;
    let unknown = world.service.resolve_conflict(ConflictId(id.0), Choice::Ours, &terms(&world)).await;
    let foreign = Terms { organization_id: world.database.there, ..terms(&world) };
    let foreign = world.service.resolve_conflict(conflict, Choice::Ours, &foreign).await;

    assert!(
        matches!(&again, Err(WriteError::Refused(refusal)) if refusal.code == "already_resolved"),
        "{again:?}"
    );
    assert!(matches!(unknown, Err(WriteError::NotFound("conflict"))));
    assert!(matches!(foreign, Err(WriteError::NotFound("conflict"))));
    assert_eq!(world.row(id).await, before);
}

/// What was wanted last is refused for good; its intent.
async fn refused(world: &World<'_>, method: &str) -> OutboxId {
    let refusal = FaultRule::next(Fault::Status { code: 403, retry_after: None });
    world.sandbox.inject(refusal.method(method));
    world.push().await;
    let [dead] = &world.outbox(OutboxState::Dead).await[..] else { panic!("one is given up") };
    dead.id
}

async fn drop_it(world: &World<'_>, intent: OutboxId) {
    world.service.discard_intent(intent, &terms(world)).await.unwrap();
    assert_eq!(world.outbox(OutboxState::Dead).await, []);
    world.assert_in_step().await;
    let again = world.service.discard_intent(intent, &terms(world)).await;
    assert!(
        matches!(&again, Err(WriteError::Refused(refusal)) if refusal.code == "not_given_up"),
        "{again:?}"
    );
}

async fn an_edit_that_was_refused_is_dropped_and_the_event_says_what_the_provider_has(store: &TestStore) {
    let (world, id) = agreed(store).await;
    world.retitle(id, "Refused").await;

    drop_it(&world, refused(&world, "PUT").await).await;

    assert_eq!(title(&world, id).await.as_deref(), Some("Review"));
    assert!(world.resources()[0].body.contains("SUMMARY:Review"));
}

async fn a_creation_that_was_refused_is_dropped_with_its_event(store: &TestStore) {
    let world = World::start(store).await;
    let id = world.create("Refused").await;

    drop_it(&world, refused(&world, "PUT").await).await;

    assert_eq!((world.row(id).await.state, world.resources().len()), (EventState::Tombstone, 0));
}

async fn a_deletion_that_was_refused_is_dropped_and_the_event_is_back(store: &TestStore) {
    let (world, id) = agreed(store).await;
    world.delete(id).await;

    drop_it(&world, refused(&world, "DELETE").await).await;

    assert_eq!((title(&world, id).await.as_deref(), world.resources().len()), (Some("Review"), 1));
}
