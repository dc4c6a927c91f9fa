//! From a request of the application to the event at Google and back: the service, the outbox, the jobs and the driver
//! against the simulated Google, on both databases.

use std::time::Duration;

use calfleet_domain::model::{EventId, Notify, ParticipationStatus, ProviderId};
use calfleet_sandbox::{Fault, FaultRule};
use calfleet_service::write::{Answer, Reach, WriteError};
use calfleet_store::events::EventState;
use serde_json::{Value, json};

use super::desk::Desk;
use super::fleet::{ADA, Fleet};
use crate::databases::{TestStore, on_both_databases};
use crate::microsoft::live;

on_both_databases![
    an_event_is_made_changed_and_deleted_at_google,
    a_lost_answer_of_a_create_makes_one_event_and_one_mail,
    one_instance_of_a_series_is_moved_and_one_called_off,
    both_sides_edit_different_fields_and_both_survive,
    an_invitation_is_answered_and_nothing_else_is_sent,
    what_google_cannot_say_is_refused_before_anything_is_stored,
    an_account_connected_for_reading_refuses_writes_with_the_way_out,
    a_push_goes_by_what_the_last_sync_said_of_the_calendar,
];

pub(super) async fn open(database: &TestStore) -> Desk<'_> {
    Desk::over(Fleet::start_writing(database).await).await
}

pub(super) async fn remote(desk: &Desk<'_>, id: EventId) -> Option<Value> {
    let ProviderId(name) = desk.row(id).await.event.provider_id;
    desk.fleet.google().event(ADA, &name).filter(|event| event["status"] != "cancelled")
}

/// Nothing is pending, and what Google shows is what we hold.
pub(super) async fn is_in_step(desk: &Desk<'_>, id: EventId) {
    desk.assert_in_step(id, |fleet| fleet.google().expire_sync_tokens(ADA).unwrap()).await;
}

pub(super) fn review() -> Value {
    json!({
        "title": "Review", "time_zone": "Europe/Paris",
        "start": "2026-10-05T10:00:00", "end": "2026-10-05T11:00:00",
    })
}

async fn an_event_is_made_changed_and_deleted_at_google(database: &TestStore) {
    let desk = open(database).await;

    let id = desk.create(review(), Notify::None).await.unwrap().event_id;
    assert_eq!(remote(&desk, id).await, None);
    desk.push().await;
    let shown = remote(&desk, id).await.unwrap();
    assert_eq!((&shown["summary"], &shown["start"]["timeZone"]), (&json!("Review"), &json!("Europe/Paris")));
    is_in_step(&desk, id).await;

    desk.edit(id, json!({ "title": "Retro", "location": "Room 1" }), Reach::ALL).await;
    desk.push().await;
    let shown = remote(&desk, id).await.unwrap();
    assert_eq!((&shown["summary"], &shown["location"]), (&json!("Retro"), &json!("Room 1")));
    is_in_step(&desk, id).await;

    desk.delete(id, Reach::ALL).await;
    desk.push().await;
    assert_eq!(remote(&desk, id).await, None);
    assert_eq!(desk.row(id).await.state, EventState::Tombstone);
    assert!(desk.is_settled().await);
}

async fn a_lost_answer_of_a_create_makes_one_event_and_one_mail(database: &TestStore) {
    let desk = open(database).await;
    let before = desk.fleet.google().event_count(ADA).unwrap();
    let lost = FaultRule::next(Fault::AnswerLost).method("POST").path("*/events");
    desk.fleet.sandbox.inject(lost);
    let mut input = review();
    input["attendees"] = json!([{ "address": "bob@example.com" }]);

    let id = desk.create(input, Notify::All).await.unwrap().event_id;
    for _ in 0..3 {
        desk.push().await;
        desk.fleet.advance(Duration::from_mins(20));
    }

    assert_eq!(desk.fleet.google().event_count(ADA).unwrap(), before + 1);
    assert_eq!(desk.fleet.sandbox.mails().len(), 1, "{:?}", desk.fleet.sandbox.mails());
    is_in_step(&desk, id).await;
}

async fn one_instance_of_a_series_is_moved_and_one_called_off(database: &TestStore) {
    let desk = open(database).await;
    let mut input = review();
    input["recurrence"] = json!(["RRULE:FREQ=WEEKLY;COUNT=4"]);
    let id = desk.create(input, Notify::None).await.unwrap().event_id;
    desk.push().await;
    let this = |day: &str| Reach {
        scope: calfleet_domain::model::EditScope::This,
        recurrence_id: Some(day.parse().unwrap()),
    };

    desk.edit(
        id,
        json!({ "start": "2026-10-13T15:00:00", "end": "2026-10-13T16:00:00" }),
        this("20261012T100000"),
    )
    .await;
    desk.delete(id, this("20261019T100000")).await;
    desk.push().await;

    let ProviderId(name) = desk.row(id).await.event.provider_id;
    let path = format!("calendars/{ADA}/events/{name}/instances");
    let (_, answer) = desk.fleet.google().call(ADA, "GET", &path, &Value::Null);
    let items = answer["items"].as_array().unwrap();
    let start = |item: &Value| item["start"]["dateTime"].as_str().unwrap().chars().take(16).collect();
    let starts: Vec<String> = items.iter().map(start).collect();
    assert_eq!(starts, ["2026-10-05T10:00", "2026-10-13T15:00", "2026-10-26T10:00"]);
    is_in_step(&desk, id).await;
}

async fn both_sides_edit_different_fields_and_both_survive(database: &TestStore) {
    let desk = open(database).await;
    let id = desk.create(review(), Notify::None).await.unwrap().event_id;
    desk.push().await;
    let ProviderId(name) = desk.row(id).await.event.provider_id;
    let path = format!("calendars/{ADA}/events/{name}");
    let (status, _) = desk.fleet.google().call(ADA, "PATCH", &path, &json!({ "location": "Theirs" }));
    assert_eq!(status, 200);

    desk.edit(id, json!({ "title": "Ours" }), Reach::ALL).await;
    desk.push().await;

    let shown = remote(&desk, id).await.unwrap();
    assert_eq!((&shown["summary"], &shown["location"]), (&json!("Ours"), &json!("Theirs")));
    is_in_step(&desk, id).await;
}

async fn an_invitation_is_answered_and_nothing_else_is_sent(database: &TestStore) {
    let desk = open(database).await;
    let google = desk.fleet.google();
    google.create_account(calfleet_sandbox::GoogleAccountSpec::new("bob@example.com")).unwrap();
    let invitation = json!({
        "summary": "Theirs", "attendees": [{ "email": ADA }],
        "start": { "dateTime": "2026-10-06T12:00:00+02:00", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-10-06T13:00:00+02:00", "timeZone": "Europe/Paris" },
    });
    let (status, made) = google.call(
        "bob@example.com",
        "POST",
        "calendars/bob@example.com/events?sendUpdates=all",
        &invitation,
    );
    assert_eq!(status, 200, "{made}");
    desk.fleet.sync(desk.connection).await;
    let id = desk.titled("Theirs").await;
    desk.fleet.sandbox.clear_mails();

    let refused = desk
        .fleet
        .service
        .edit_event(
            id,
            &serde_json::from_value(json!({ "title": "Mine" })).unwrap(),
            Reach::ALL,
            &desk.terms(Notify::All),
        )
        .await;
    let answer = Answer { status: ParticipationStatus::Accepted, comment: Some("with pleasure".to_owned()) };
    desk.fleet.service.respond_to_event(id, &answer, Reach::ALL, &desk.terms(Notify::All)).await.unwrap();
    desk.push().await;

    assert!(matches!(refused, Err(WriteError::Refused(refusal)) if refusal.code == "not_the_organizer"));
    let event = google.event("bob@example.com", made["id"].as_str().unwrap()).unwrap();
    assert_eq!(event["attendees"][0]["responseStatus"], "accepted", "{event}");
    assert_eq!(event["summary"], "Theirs");
    assert_eq!(desk.fleet.sandbox.mails().len(), 1);
    is_in_step(&desk, id).await;
}

async fn what_google_cannot_say_is_refused_before_anything_is_stored(database: &TestStore) {
    let desk = open(database).await;
    let mut input = review();
    input["recurrence"] =
        json!(["RRULE:FREQ=WEEKLY;COUNT=3", "RDATE;VALUE=PERIOD:20261006T080000Z/20261006T120000Z"]);

    let refused = desk.create(input, Notify::None).await.unwrap_err();

    let WriteError::Invalid(invalid) = refused else { panic!("{refused:?}") };
    assert_eq!((invalid[0].field.as_str(), invalid[0].code), ("recurrence", "not_supported"));
    assert_eq!(
        invalid[0].message,
        "This provider cannot add dates of a length of their own to a series; choose a simpler recurrence, or make several events."
    );
    assert!(live(&desk.fleet, desk.connection).await.is_empty());
    assert!(desk.is_settled().await);
}

async fn an_account_connected_for_reading_refuses_writes_with_the_way_out(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let connection = fleet.connect().await;
    fleet.sync(connection).await;
    let desk = Desk { fleet, connection };

    let refused = desk.create(review(), Notify::None).await.unwrap_err();

    assert!(
        matches!(&refused, WriteError::Refused(refusal) if refusal.code == "missing_scope"),
        "{refused:?}"
    );
    assert!(desk.is_settled().await);
}

/// Reminders that are the calendar's own are said so; another push does not ask which those are.
async fn a_push_goes_by_what_the_last_sync_said_of_the_calendar(database: &TestStore) {
    let desk = open(database).await;
    let reminders = json!({ "defaultReminders": [{ "method": "popup", "minutes": 25 }] });
    let path = format!("users/me/calendarList/{ADA}");
    assert_eq!(desk.fleet.google().call(ADA, "PATCH", &path, &reminders).0, 200);
    desk.fleet.sync(desk.connection).await;
    let log = desk.fleet.sandbox.log();
    log.clear();

    let mut input = review();
    input["reminders"] = json!([{ "before_start": 25 * 60 }]);
    let id = desk.create(input, Notify::None).await.unwrap().event_id;
    desk.push().await;

    assert_eq!(log.entries().len(), 1, "the create alone");
    assert_eq!(remote(&desk, id).await.unwrap()["reminders"], json!({ "useDefault": true }));
    is_in_step(&desk, id).await;
}
