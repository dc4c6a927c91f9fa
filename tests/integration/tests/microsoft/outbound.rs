//! From a request of the application to the event at Microsoft and back: the service, the outbox, the jobs and the
//! driver against the simulated Microsoft, on both databases.

use std::time::Duration;

use calfleet_domain::model::{ConferenceType, EditScope, EventId, Notify, ParticipationStatus, ProviderId};
use calfleet_sandbox::{Fault, FaultRule, MicrosoftAccountSpec};
use calfleet_service::write::{Answer, Reach, Terms, WriteError};
use calfleet_store::events::EventState;
use serde_json::{Value, json};

use super::{DAY, Outlook, held, live, start, start_writing};
use crate::databases::{TestStore, on_both_databases};
use crate::google::desk::Desk;
use crate::google::fleet::ADA;

on_both_databases![
    an_event_is_made_changed_and_deleted_at_microsoft,
    a_lost_answer_of_a_create_makes_one_event_and_one_mail,
    an_event_that_comes_in_before_its_answer_is_one_event,
    an_event_deleted_before_its_answer_is_deleted_there,
    one_instance_of_a_series_is_moved_and_one_called_off,
    a_series_is_split_and_keeps_what_departs_from_it,
    both_sides_edit_different_fields_and_both_survive,
    an_invitation_is_answered_and_nothing_else_is_sent,
    who_calls_a_meeting_off_says_why,
    guests_of_a_new_series_with_gaps_are_mailed_once,
    guests_are_not_invited_where_nobody_is_to_be_mailed,
    what_microsoft_cannot_say_is_refused_before_anything_is_stored,
    a_teams_link_is_made_and_known,
    an_account_connected_for_reading_refuses_writes_with_the_way_out,
];

const BOB: &str = "bob@example.com";

async fn open(database: &TestStore) -> Desk<'_> {
    Desk::over(start_writing(database).await).await
}

fn calendar(desk: &Desk<'_>) -> String {
    desk.fleet.sandbox.microsoft().default_calendar(ADA).unwrap()
}

fn count(desk: &Desk<'_>) -> usize {
    desk.fleet.sandbox.microsoft().event_count(&calendar(desk)).unwrap()
}

async fn name(desk: &Desk<'_>, id: EventId) -> String {
    let ProviderId(name) = desk.row(id).await.event.provider_id;
    name
}

async fn remote(desk: &Desk<'_>, id: EventId) -> Option<Value> {
    desk.fleet.sandbox.microsoft().event(ADA, &name(desk, id).await)
}

/// Nothing is pending, and what Microsoft shows is what we hold.
async fn is_in_step(desk: &Desk<'_>, id: EventId) {
    let calendar = calendar(desk);
    desk.assert_in_step(id, |fleet| fleet.sandbox.microsoft().expire_deltas(&calendar).unwrap()).await;
}

fn review() -> Value {
    json!({
        "title": "Review", "time_zone": "Europe/Paris",
        "start": "2026-10-05T10:00:00", "end": "2026-10-05T11:00:00",
    })
}

fn this(day: &str) -> Reach {
    Reach { scope: EditScope::This, recurrence_id: Some(day.parse().unwrap()) }
}

async fn an_event_is_made_changed_and_deleted_at_microsoft(database: &TestStore) {
    let desk = open(database).await;

    let id = desk.create(review(), Notify::None).await.unwrap().event_id;
    assert_eq!(remote(&desk, id).await, None);
    desk.push().await;
    let shown = remote(&desk, id).await.unwrap();
    assert_eq!(
        (&shown["subject"], &shown["originalStartTimeZone"]),
        (&json!("Review"), &json!("Romance Standard Time"))
    );
    assert_eq!(desk.row(id).await.event.event.unwrap().uid.as_str(), shown["iCalUId"]);
    is_in_step(&desk, id).await;

    desk.edit(id, json!({ "title": "Retro", "location": "Room 1" }), Reach::ALL).await;
    desk.push().await;
    let shown = remote(&desk, id).await.unwrap();
    assert_eq!((&shown["subject"], &shown["location"]["displayName"]), (&json!("Retro"), &json!("Room 1")));
    is_in_step(&desk, id).await;

    desk.delete(id, Reach::ALL).await;
    desk.push().await;
    assert_eq!(remote(&desk, id).await, None);
    assert_eq!(desk.row(id).await.state, EventState::Tombstone);
    assert!(desk.is_settled().await);
}

fn lost() -> FaultRule {
    FaultRule::next(Fault::AnswerLost).method("POST").path("*/events")
}

async fn a_lost_answer_of_a_create_makes_one_event_and_one_mail(database: &TestStore) {
    let desk = open(database).await;
    desk.fleet.sandbox.inject(lost());
    let mut input = review();
    input["attendees"] = json!([{ "address": BOB }]);

    let id = desk.create(input, Notify::All).await.unwrap().event_id;
    for _ in 0..3 {
        desk.push().await;
        desk.fleet.advance(Duration::from_mins(20));
    }

    assert_eq!(count(&desk), 1);
    assert_eq!(desk.fleet.sandbox.mails().len(), 1, "{:?}", desk.fleet.sandbox.mails());
    is_in_step(&desk, id).await;
}

async fn an_event_that_comes_in_before_its_answer_is_one_event(database: &TestStore) {
    let desk = open(database).await;
    desk.fleet.sandbox.inject(lost());
    let id = desk.create(review(), Notify::None).await.unwrap().event_id;
    desk.push().await;

    desk.fleet.sync(desk.connection).await;
    assert_eq!(live(&desk.fleet, desk.connection).await.len(), 1, "while nobody knows what became of it");
    desk.fleet.advance(Duration::from_mins(20));
    desk.push().await;
    desk.fleet.sync(desk.connection).await;

    assert_eq!((count(&desk), live(&desk.fleet, desk.connection).await.len()), (1, 1));
    assert_eq!(desk.row(id).await.event.provider_id.as_str(), remote(&desk, id).await.unwrap()["id"]);
    is_in_step(&desk, id).await;
}

async fn an_event_deleted_before_its_answer_is_deleted_there(database: &TestStore) {
    let desk = open(database).await;
    desk.fleet.sandbox.inject(lost());
    let id = desk.create(review(), Notify::None).await.unwrap().event_id;
    desk.push().await;
    assert_eq!(count(&desk), 1);

    desk.delete(id, Reach::ALL).await;
    for _ in 0..3 {
        desk.fleet.advance(Duration::from_mins(20));
        desk.push().await;
        desk.fleet.sync(desk.connection).await;
    }

    assert_eq!((count(&desk), live(&desk.fleet, desk.connection).await.len()), (0, 0));
    assert!(desk.is_settled().await);
}

async fn weekly(desk: &Desk<'_>) -> EventId {
    let mut input = review();
    input["recurrence"] = json!(["RRULE:FREQ=WEEKLY;COUNT=4"]);
    let id = desk.create(input, Notify::None).await.unwrap().event_id;
    desk.push().await;
    id
}

async fn one_instance_of_a_series_is_moved_and_one_called_off(database: &TestStore) {
    let desk = open(database).await;
    let id = weekly(&desk).await;

    let moved = json!({ "start": "2026-10-13T15:00:00", "end": "2026-10-13T16:00:00", "title": "Moved" });
    desk.edit(id, moved, this("20261012T100000")).await;
    desk.delete(id, this("20261019T100000")).await;
    desk.push().await;

    let expected = [("10-05 08:00", "Review"), ("10-13 13:00", "Moved"), ("10-26 09:00", "Review")];
    let shown = Outlook::of(&desk.fleet).year();
    assert_eq!(shown, super::expected(&expected));
    assert_eq!(held(&desk.fleet, desk.connection).await, shown);
    is_in_step(&desk, id).await;
}

async fn a_series_is_split_and_keeps_what_departs_from_it(database: &TestStore) {
    let desk = open(database).await;
    let id = weekly(&desk).await;
    desk.edit(id, json!({ "title": "First" }), this("20261005T100000")).await;
    desk.edit(id, json!({ "title": "Last" }), this("20261026T100000")).await;
    desk.push().await;

    let following = Reach { scope: EditScope::Following, ..this("20261019T100000") };
    let second = desk.edit(id, json!({ "location": "Room 2" }), following).await.event_id;
    desk.push().await;

    let expected = [("10-05 08:00", "First"), ("10-12 08:00", "Review"), ("10-19 08:00", "Review")];
    let mut expected = super::expected(&expected);
    expected.extend(super::expected(&[("10-26 09:00", "Last")]));
    assert_eq!(Outlook::of(&desk.fleet).year(), expected);
    assert_eq!(held(&desk.fleet, desk.connection).await, expected);
    assert_eq!(count(&desk), 2);
    is_in_step(&desk, id).await;
    is_in_step(&desk, second).await;
}

async fn both_sides_edit_different_fields_and_both_survive(database: &TestStore) {
    let desk = open(database).await;
    let id = desk.create(review(), Notify::None).await.unwrap().event_id;
    desk.push().await;
    let theirs = json!({ "location": { "displayName": "Theirs" } });
    Outlook::of(&desk.fleet).patch(&name(&desk, id).await, &theirs);

    desk.edit(id, json!({ "title": "Ours" }), Reach::ALL).await;
    desk.push().await;

    let shown = remote(&desk, id).await.unwrap();
    assert_eq!((&shown["subject"], &shown["location"]["displayName"]), (&json!("Ours"), &json!("Theirs")));
    is_in_step(&desk, id).await;
}

async fn an_invitation_is_answered_and_nothing_else_is_sent(database: &TestStore) {
    let desk = open(database).await;
    let microsoft = desk.fleet.sandbox.microsoft();
    microsoft.create_account(MicrosoftAccountSpec::new(BOB)).unwrap();
    let mut invitation = super::event("Theirs", "2026-10-06T12:00:00", "2026-10-06T13:00:00");
    invitation["attendees"] = json!([{ "emailAddress": { "address": ADA } }]);
    let (status, made) = microsoft.call(BOB, "POST", "me/events", &invitation);
    assert_eq!(status, 201, "{made}");
    desk.fleet.sync(desk.connection).await;
    let id = desk.titled("Theirs").await;
    desk.fleet.sandbox.clear_mails();

    let answer = Answer { status: ParticipationStatus::Accepted, comment: Some("with pleasure".to_owned()) };
    desk.fleet.service.respond_to_event(id, &answer, Reach::ALL, &desk.terms(Notify::All)).await.unwrap();
    desk.push().await;

    let event = microsoft.event(BOB, made["id"].as_str().unwrap()).unwrap();
    assert_eq!(event["attendees"][0]["status"]["response"], "accepted", "{event}");
    assert_eq!(desk.fleet.sandbox.mails().len(), 1);
    is_in_step(&desk, id).await;

    // In silence: nobody organizes anything here that could be mailed about.
    desk.delete(id, Reach::ALL).await;
    desk.push().await;
    assert_eq!((count(&desk), desk.fleet.sandbox.mails().len()), (0, 1));
    assert!(desk.is_settled().await);
}

async fn who_calls_a_meeting_off_says_why(database: &TestStore) {
    let desk = open(database).await;
    let mut input = review();
    input["attendees"] = json!([{ "address": BOB }]);
    let id = desk.create(input, Notify::All).await.unwrap().event_id;
    desk.push().await;
    desk.fleet.sandbox.clear_mails();
    let message = Some("The room has burned down.\u{7}".to_owned());
    let terms = Terms { message, ..desk.terms(Notify::All) };

    let outcome = desk.fleet.service.delete_event(id, Reach::ALL, &terms).await.unwrap();
    desk.push().await;

    assert!(outcome.plan.unwrap().mail.message.unwrap().is_carried);
    let mails = desk.fleet.sandbox.mails();
    let told: Vec<_> = mails.iter().map(|mail| (mail.to.as_str(), mail.comment.as_deref())).collect();
    assert_eq!((count(&desk), told), (0, vec![(BOB, Some("The room has burned down."))]));
    assert!(desk.is_settled().await);
}

async fn guests_are_not_invited_where_nobody_is_to_be_mailed(database: &TestStore) {
    let desk = open(database).await;
    let mut input = review();
    input["attendees"] = json!([{ "address": BOB }]);

    for (notify, code) in [(Notify::None, "cannot_be_silent"), (Notify::External, "cannot_choose_whom")] {
        let refused = desk.create(input.clone(), notify).await.unwrap_err();
        assert!(matches!(&refused, WriteError::Refused(refusal) if refusal.code == code), "{refused:?}");
    }

    let id = desk.create(input, Notify::All).await.unwrap().event_id;
    desk.push().await;
    desk.fleet.sandbox.clear_mails();
    let patch = serde_json::from_value(json!({ "reminders": [{ "before_start": 600 }] })).unwrap();
    let terms = desk.terms(Notify::None);
    let refused = desk.fleet.service.edit_event(id, &patch, Reach::ALL, &terms).await.unwrap_err();

    assert!(matches!(&refused, WriteError::Refused(refusal) if refusal.code == "cannot_be_silent"));
    assert_eq!(desk.fleet.sandbox.mails(), []);
    assert!(desk.is_settled().await);
}

async fn guests_of_a_new_series_with_gaps_are_mailed_once(database: &TestStore) {
    let desk = open(database).await;
    let mut input = review();
    input["recurrence"] = json!([
        "RRULE:FREQ=WEEKLY;COUNT=6",
        "EXDATE;TZID=Europe/Paris:20261012T100000",
        "EXDATE;TZID=Europe/Paris:20261026T100000",
    ]);
    input["attendees"] = json!([{ "address": BOB }]);
    // The first gap is made, and nobody hears of it.
    desk.fleet.sandbox.inject(FaultRule::next(Fault::AnswerLost).method("DELETE"));

    let id = desk.create(input, Notify::All).await.unwrap().event_id;
    for _ in 0..3 {
        desk.push().await;
        desk.fleet.advance(Duration::from_mins(20));
    }

    let mails = desk.fleet.sandbox.mails();
    assert_eq!(mails.iter().map(|mail| mail.to.as_str()).collect::<Vec<_>>(), [BOB], "{mails:?}");
    let shown = remote(&desk, id).await.unwrap();
    assert_eq!(shown["attendees"][0]["emailAddress"]["address"], BOB);
    assert_eq!(held(&desk.fleet, desk.connection).await.len(), 4);
    assert_eq!(Outlook::of(&desk.fleet).year().len(), 4);
    is_in_step(&desk, id).await;
}

async fn what_microsoft_cannot_say_is_refused_before_anything_is_stored(database: &TestStore) {
    let desk = open(database).await;
    let mut input = review();
    input["recurrence"] = json!(["RRULE:FREQ=MONTHLY;BYDAY=1MO,3MO"]);

    let refused = desk.create(input, Notify::None).await.unwrap_err();

    let WriteError::Invalid(invalid) = refused else { panic!("{refused:?}") };
    assert_eq!((invalid[0].field.as_str(), invalid[0].code), ("recurrence", "not_supported"));
    assert_eq!(
        invalid[0].message,
        "This provider cannot repeat an event by a rule of this kind; choose a simpler recurrence, or make several events."
    );
    assert!(live(&desk.fleet, desk.connection).await.is_empty());
}

async fn a_teams_link_is_made_and_known(database: &TestStore) {
    let desk = open(database).await;
    let mut input = review();
    input["conference"] = json!("microsoft_teams");
    input["description"] = json!("Agenda");

    let id = desk.create(input, Notify::None).await.unwrap().event_id;
    desk.push().await;
    desk.edit(id, json!({ "description": "Another agenda" }), Reach::ALL).await;
    desk.push().await;

    let event = desk.row(id).await.event.event.unwrap();
    let fields = event.fields().unwrap();
    let conference = fields.conference.as_ref().unwrap();
    assert_eq!(
        (conference.kind, fields.description.as_deref()),
        (ConferenceType::MicrosoftTeams, Some("Another agenda"))
    );
    let shown = remote(&desk, id).await.unwrap();
    assert_eq!(shown["onlineMeeting"]["joinUrl"], conference.link);
    is_in_step(&desk, id).await;
}

async fn an_account_connected_for_reading_refuses_writes_with_the_way_out(database: &TestStore) {
    let desk = Desk::over(start(database, 30 * DAY, 365 * DAY).await).await;

    let refused = desk.create(review(), Notify::None).await.unwrap_err();

    assert!(
        matches!(&refused, WriteError::Refused(refusal) if refusal.code == "missing_scope"),
        "{refused:?}"
    );
    assert!(desk.is_settled().await);
}
