use calfleet_domain::model::{Attendee, End, EventId, Uid, When};

use super::*;
use crate::graph::wire::Calendar;
use crate::naming;

const ADA: &str = "ada@example.com";

fn setting() -> Setting {
    let calendar = json!({ "id": "c", "owner": { "address": "Ada@example.com" } });
    let calendar: Calendar = serde_json::from_value(calendar).unwrap();
    Setting::of(&calendar, Some("Europe/Paris"))
}

fn raw(value: &Value) -> Body {
    value.as_object().unwrap().clone()
}

fn day() -> Fields {
    Fields::new(When::Date("2026-03-16".parse().unwrap()), End::Unspecified)
}

fn changed(edit: impl FnOnce(&mut Fields), held: &Value) -> Value {
    let (before, mut after) = (day(), day());
    edit(&mut after);
    Value::Object(changes((&before, &after), &raw(held), &setting()).unwrap())
}

#[test]
fn a_new_event_says_its_reminder_even_if_there_is_none_and_is_found_by_its_name() {
    let event = Event { uid: Uid::from("a"), body: model::Body::Single(day()) };
    let names = naming::names(model::ProviderKind::Microsoft, &"c".into(), EventId(Uuid::from_u128(0xab)));
    let transaction = naming::transaction(&names.provider_id).unwrap();

    let body = new_event((transaction, "m"), &event, &setting()).unwrap();

    let midnight = |day: &str| json!({ "dateTime": format!("{day}T00:00:00.0000000"), "timeZone": "UTC" });
    let name = "00000000-0000-0000-0000-0000000000ab";
    assert_eq!(
        Value::Object(body),
        json!({ "start": midnight("2026-03-16"), "end": midnight("2026-03-17"), "isAllDay": true,
            "isReminderOn": false, "transactionId": name,
            "singleValueExtendedProperties": [{ "id": MARKER, "value": "m" }] })
    );
}

#[test]
fn only_what_differs_is_mentioned() {
    let own = json!({ "isOrganizer": true });

    assert_eq!(changed(|_| (), &own), json!({}));
    assert_eq!(changed(|fields| fields.title = Some("A".to_owned()), &own), json!({ "subject": "A" }));
    let place = json!({ "location": { "displayName": "Room 4" } });
    assert_eq!(changed(|fields| fields.location = Some("Room 4".to_owned()), &own), place);
    let reminder = json!({ "isReminderOn": true, "reminderMinutesBeforeStart": 10 });
    let wanted = vec![Reminder::BeforeEnd(60), Reminder::BeforeStart(600)];
    assert_eq!(changed(|fields| fields.reminders = wanted, &own), reminder);
    let busy = json!({ "sensitivity": "private", "showAs": "free" });
    let hidden = |fields: &mut Fields| {
        fields.visibility = Visibility::Private;
        fields.transparency = Transparency::Transparent;
    };
    assert_eq!(changed(hidden, &own), busy);
}

#[test]
fn of_a_guests_copy_only_what_is_personal_is_written_and_the_answer_by_itself() {
    let theirs = json!({ "isOrganizer": false, "organizer": { "emailAddress": { "address": "bob@example.com" } },
        "attendees": [{ "emailAddress": { "address": ADA } }] });
    let mut before = day();
    before.attendees = vec![Attendee::new(ADA)];
    let mut after = before.clone();
    after.title = Some("Mine".to_owned());
    after.transparency = Transparency::Transparent;
    after.attendees[0].status = ParticipationStatus::Tentative;
    after.attendees[0].comment = Some("late".to_owned());

    let body = changes((&before, &after), &raw(&theirs), &setting()).unwrap();
    let reach = Reach::of(&raw(&theirs), &setting());

    assert_eq!(Value::Object(body), json!({ "showAs": "free" }));
    let wanted = Answer { verb: "tentativelyAccept", comment: Some("late".to_owned()) };
    assert_eq!(answer(&reach, (&before, &after)), Ok(Some(wanted)));
    assert_eq!(answer(&reach, (&after, &before)), Err(Unsayable::NoAnswer));
    assert_eq!(answer(&Reach::Everything, (&before, &after)), Ok(None));
}

#[test]
fn graph_mails_the_guests_of_whom_organizes_and_nobody_else() {
    let guest = json!([{ "emailAddress": { "address": "bob@example.com" } }]);
    let own = raw(&json!({ "isOrganizer": true, "attendees": guest }));
    let theirs = raw(&json!({ "isOrganizer": false, "attendees": guest }));
    let alone = raw(&json!({ "isOrganizer": true, "attendees": [] }));
    let (nothing, invites) = (Body::new(), raw(&json!({ "attendees": guest })));

    let of = |raw, patch| mails(raw, patch, &setting());
    assert_eq!([of(&own, &nothing), of(&theirs, &nothing), of(&alone, &nothing)], [true, false, false]);
    assert!(of(&alone, &invites));
}

#[test]
fn a_teams_meeting_is_asked_for_once() {
    let wanted = |held: &Value| {
        let (before, mut after) = (day(), day());
        after.conference =
            Some(Conference::without_link(ConferenceType::MicrosoftTeams, ConferenceStatus::Pending));
        let event = |fields: Fields| Event { uid: Uid::from("a"), body: model::Body::Single(fields) };
        let events = (&event(before), &event(after));
        Value::Object(object_changes(events, &raw(held), &setting()).unwrap())
    };

    let asked = json!({ "isOnlineMeeting": true, "onlineMeetingProvider": "teamsForBusiness" });
    assert_eq!(wanted(&json!({ "isOrganizer": true, "isOnlineMeeting": false })), asked);
    assert_eq!(wanted(&json!({ "isOrganizer": true, "isOnlineMeeting": true })), json!({}));
    assert_eq!(wanted(&json!({ "isOrganizer": false, "organizer": {} })), json!({}));
}
