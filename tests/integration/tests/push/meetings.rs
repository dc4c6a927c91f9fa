//! Ours meets another client's change (DESIGN 6): nothing of either is lost without trace.

use std::time::Duration;

use calfleet_domain::model::{Body, ConflictPolicy};
use calfleet_store::events::EventState;
use calfleet_store::history;
use calfleet_store::outbox::OutboxState;

use super::world::World;
use crate::databases::{TestStore, on_both_databases};

on_both_databases![
    edits_of_different_fields_both_survive,
    of_two_edits_of_one_field_the_later_wins_and_the_other_is_kept,
    a_deletion_there_takes_an_older_edit_here,
    where_the_application_wins_an_edit_brings_back_what_was_deleted_there,
    a_deletion_here_and_there_is_one,
    a_page_from_before_the_answer_says_nothing,
    lines_that_we_do_not_know_survive_our_edits,
];

/// An event that both sides have.
async fn agreed(world: &World<'_>) -> calfleet_domain::model::EventId {
    let id = world.create("Review").await;
    world.push().await;
    world.sync().await;
    id
}

async fn title(world: &World<'_>, id: calfleet_domain::model::EventId) -> Option<String> {
    world.row(id).await.event.event.and_then(|event| event.fields()?.title.clone())
}

async fn edits_of_different_fields_both_survive(store: &TestStore) {
    let world = World::start(store).await;
    let id = agreed(&world).await;

    world.replace("SUMMARY:Review", "SUMMARY:Review\r\nLOCATION:Room 1");
    world.retitle(id, "Retro").await;
    world.push().await;

    let body = world.resources()[0].body.clone();
    assert!(body.contains("SUMMARY:Retro") && body.contains("LOCATION:Room 1"), "{body}");
    let event = world.row(id).await.event.event.unwrap();
    let fields = event.fields().unwrap();
    assert_eq!((fields.title.as_deref(), fields.location.as_deref()), (Some("Retro"), Some("Room 1")));
    world.assert_in_step().await;
}

async fn of_two_edits_of_one_field_the_later_wins_and_the_other_is_kept(store: &TestStore) {
    let world = World::start(store).await;
    let id = agreed(&world).await;

    world.replace("SUMMARY:Review", "SUMMARY:Theirs");
    world.advance(Duration::from_mins(1));
    world.sync().await; // so that theirs is known to be the older one
    world.advance(Duration::from_mins(1));
    world.retitle(id, "Ours").await;
    world.push().await;

    assert!(world.resources()[0].body.contains("SUMMARY:Ours"));
    world.assert_in_step().await;
    let tx = world.database.store.read(calfleet_store::Scope::Organization(store.here)).await.unwrap();
    let entries = history::of_event(&tx, id, 10).await.unwrap();
    let text =
        serde_json::to_string(&entries.iter().map(|entry| &entry.changes).collect::<Vec<_>>()).unwrap();
    assert!(text.contains("Theirs"), "{text}");
}

async fn a_deletion_there_takes_an_older_edit_here(store: &TestStore) {
    let world = World::start(store).await;
    let id = agreed(&world).await;

    world.retitle(id, "Ours").await;
    world.advance(Duration::from_mins(5));
    world.sync().await; // listed without the deletion
    world.remove();
    world.advance(Duration::from_mins(5));
    world.push().await;

    assert_eq!(world.resources(), []);
    assert_eq!(world.row(id).await.state, EventState::Tombstone);
    assert_eq!(world.outbox(OutboxState::Pending).await, []);
    world.assert_in_step().await;
}

async fn where_the_application_wins_an_edit_brings_back_what_was_deleted_there(store: &TestStore) {
    let world = World::start_with(store, ConflictPolicy::AppWins).await;
    let id = agreed(&world).await;

    world.remove();
    world.retitle(id, "Ours").await;
    world.push().await;

    assert_eq!(title(&world, id).await.as_deref(), Some("Ours"));
    assert_eq!(world.resources().len(), 1);
    world.assert_in_step().await;
    assert_eq!(world.live().await, [id]);
}

async fn a_deletion_here_and_there_is_one(store: &TestStore) {
    let world = World::start(store).await;
    let id = agreed(&world).await;

    world.remove();
    world.delete(id).await;
    world.push().await;

    assert_eq!(world.row(id).await.state, EventState::Tombstone);
    world.assert_in_step().await;
}

async fn a_page_from_before_the_answer_says_nothing(store: &TestStore) {
    let world = World::start(store).await;
    let id = agreed(&world).await;
    world.retitle(id, "Ours").await;

    // the listing shows the old title while ours waits
    world.replace("DTSTAMP", "X-TOUCHED:1\r\nDTSTAMP");
    world.sync().await;
    assert_eq!(title(&world, id).await.as_deref(), Some("Ours"));
    world.push().await;

    let body = world.resources()[0].body.clone();
    assert!(body.contains("SUMMARY:Ours") && body.contains("X-TOUCHED:1"), "{body}");
    world.assert_in_step().await;
}

async fn lines_that_we_do_not_know_survive_our_edits(store: &TestStore) {
    let world = World::start(store).await;
    world.put(
        "theirs.ics",
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:theirs\r\nBEGIN:VEVENT\r\nUID:theirs\r\nDTSTAMP:20260101T000000Z\r\n\
         DTSTART:20270101T090000Z\r\nDTEND:20270101T100000Z\r\nSUMMARY:Theirs\r\nX-KEPT;A=1:b\r\nBEGIN:VALARM\r\n\
         ACTION:DISPLAY\r\nTRIGGER:-PT7M\r\nDESCRIPTION:soon\r\nX-MORE:2\r\nEND:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
    );
    world.sync().await;
    let [id] = world.live().await[..] else { panic!("one event") };

    for round in 0..20 {
        world
            .edit(id, |event| {
                let Body::Single(fields) = &mut event.body else { panic!("a single event") };
                fields.title = Some(format!("Ours {round}"));
                fields.location = (round % 2 == 0).then(|| format!("Room {round}"));
            })
            .await;
        world.push().await;
    }

    let body = world.resources()[0].body.clone();
    for line in ["X-KEPT;A=1:b\r\n", "TRIGGER:-PT7M\r\n", "X-MORE:2\r\n", "SUMMARY:Ours 19\r\n"] {
        assert!(body.contains(line), "{line} is not in {body}");
    }
    assert!(!body.contains("LOCATION"), "{body}");
    world.assert_in_step().await;
}
