//! Instances that are objects of their own at Google, while what departs from their series is edited or deleted here:
//! they are still there, under their own ids.

use std::time::Duration;

use calfleet_domain::model::{EditScope, EventId, Notify, ParticipationStatus};
use calfleet_sandbox::{Fault, FaultRule};
use calfleet_service::write::{Answer, Reach};
use calfleet_store::events::EventState;
use serde_json::{Value, json};

use super::desk::Desk;
use super::fleet::ADA;
use super::outbound::{is_in_step, open, review};
use crate::databases::{TestStore, on_both_databases};
use crate::microsoft::live;

on_both_databases![
    an_exception_keeps_its_object_through_an_edit_that_is_taken_back,
    an_exception_that_was_cut_off_here_is_itself_when_theirs_wins,
    an_invitation_to_one_instance_that_is_deleted_here_is_deleted_there,
    an_invitation_to_one_instance_is_read_again_by_its_own_id,
    an_answer_to_one_instance_whose_answer_was_lost_is_given_once,
];

/// A series of four weeks, the second of which another client calls off, and the third of which it renames.
async fn with_exceptions(desk: &Desk<'_>) -> (EventId, String) {
    let mut input = review();
    input["recurrence"] = json!(["RRULE:FREQ=WEEKLY;COUNT=4"]);
    let id = desk.create(input, Notify::None).await.unwrap().event_id;
    desk.push().await;
    let name = desk.row(id).await.event.provider_id.0;
    let path = |day: &str| format!("calendars/{ADA}/events/{name}_{day}T080000Z");
    let google = desk.fleet.google();
    assert_eq!(google.call(ADA, "DELETE", &path("20261012"), &Value::Null).0, 204);
    assert_eq!(google.call(ADA, "PATCH", &path("20261019"), &json!({ "summary": "Long review" })).0, 200);
    desk.fleet.sync(desk.connection).await;
    assert_eq!(desk.row(id).await.instances.len(), 2);
    (id, name)
}

async fn an_exception_keeps_its_object_through_an_edit_that_is_taken_back(database: &TestStore) {
    let desk = open(database).await;
    let (id, _) = with_exceptions(&desk).await;

    for title in ["Retro", "Review"] {
        desk.edit(id, json!({ "title": title }), Reach::ALL).await;
    }
    desk.push().await;

    assert_eq!(desk.row(id).await.instances.len(), 2);
    is_in_step(&desk, id).await;
}

async fn an_exception_that_was_cut_off_here_is_itself_when_theirs_wins(database: &TestStore) {
    let desk = open(database).await;
    let (id, name) = with_exceptions(&desk).await;

    let this = Reach { scope: EditScope::This, recurrence_id: Some("20261019T100000".parse().unwrap()) };
    desk.delete(id, this).await;
    let objects = desk.row(id).await.instances;
    let path = format!("calendars/{ADA}/events/{name}");
    desk.fleet.google().call(ADA, "PATCH", &path, &json!({ "location": "Room 1" }));
    desk.fleet.sync(desk.connection).await;

    assert_eq!(objects.len(), 2);
    assert_eq!(desk.row(id).await.instances, objects);
    desk.push().await;
    is_in_step(&desk, id).await;
}

/// An invitation to one instance of a series that Ada does not see.
async fn invited(desk: &Desk<'_>) -> (EventId, String) {
    let at = |hour: u32| json!({ "dateTime": format!("2026-10-12T{hour}:00:00+02:00"), "timeZone": "Europe/Paris" });
    let invitation = json!({
        "id": "theirs01_20261012T080000Z", "recurringEventId": "theirs01", "iCalUID": "theirs01@google.com",
        "originalStartTime": at(10), "start": at(10), "end": at(11), "summary": "Theirs",
        "organizer": { "email": "bob@example.com" }, "attendees": [{ "email": ADA, "self": true }],
    });
    let name = desk.fleet.google().plant(ADA, &invitation).unwrap();
    desk.fleet.sync(desk.connection).await;
    let [row] = &live(&desk.fleet, desk.connection).await[..] else { panic!("one invitation") };
    (row.event.id, name)
}

async fn an_invitation_to_one_instance_that_is_deleted_here_is_deleted_there(database: &TestStore) {
    let desk = open(database).await;
    let google = desk.fleet.google();
    let (id, name) = invited(&desk).await;

    desk.delete(id, Reach::ALL).await;
    desk.push().await;

    assert_eq!(google.event(ADA, &name).unwrap()["status"], "cancelled");
    google.expire_sync_tokens(ADA).unwrap();
    desk.fleet.sync(desk.connection).await;
    assert_eq!(desk.row(id).await.state, EventState::Tombstone);
    assert!(desk.is_settled().await);
}

async fn an_invitation_to_one_instance_is_read_again_by_its_own_id(database: &TestStore) {
    let desk = open(database).await;
    let (id, _) = invited(&desk).await;
    database.sql("UPDATE events SET recheck_at = 1").await.unwrap();

    desk.fleet.sync(desk.connection).await;

    let row = desk.row(id).await;
    assert_eq!((row.state, row.recheck_at), (EventState::Live, None));
    is_in_step(&desk, id).await;
}

async fn an_answer_to_one_instance_whose_answer_was_lost_is_given_once(database: &TestStore) {
    let desk = open(database).await;
    let (id, name) = invited(&desk).await;
    let answer = Answer { status: ParticipationStatus::Accepted, comment: None };
    desk.fleet.sandbox.inject(FaultRule::next(Fault::AnswerLost).method("PATCH"));

    let terms = desk.terms(Notify::All);
    let reach =
        Reach { scope: EditScope::This, recurrence_id: desk.row(id).await.instances.keys().next().copied() };
    desk.fleet.service.respond_to_event(id, &answer, reach, &terms).await.unwrap();
    for _ in 0..4 {
        desk.push().await;
        desk.fleet.advance(Duration::from_mins(30));
    }

    assert_eq!(desk.row(id).await.state, EventState::Live);
    let told = desk.fleet.google().event(ADA, &name).unwrap();
    assert_eq!(told["attendees"][0]["responseStatus"], "accepted", "{told}");
    let log = desk.fleet.sandbox.log().entries();
    let applied = log.iter().filter(|entry| entry.method == "PATCH" && entry.status != 412);
    assert_eq!(applied.count(), 1, "what was applied is not applied again");
    is_in_step(&desk, id).await;
}
