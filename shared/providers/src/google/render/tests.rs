use calfleet_domain::model::{
    Attendee, Conference, ConferenceStatus, ConferenceType, End, ParticipationStatus, Uid, When,
};

use super::super::wire;
use super::*;

fn setting() -> Setting {
    let entry: wire::CalendarEntry = serde_json::from_value(json!({ "timeZone": "Europe/Paris",
        "accessRole": "owner", "defaultReminders": [{ "method": "popup", "minutes": 10 }] }))
    .unwrap();
    Setting::of_entry(&entry, None)
}

fn body(value: &Value) -> Body {
    value.as_object().unwrap().clone()
}

fn day() -> Fields {
    Fields::new(When::Date("2026-03-16".parse().unwrap()), End::Unspecified)
}

#[expect(clippy::unnecessary_wraps, reason = "an event may be without a conference")]
fn meet(link: &str) -> Option<Conference> {
    Some(Conference::ready(ConferenceType::GoogleMeet, link))
}

fn single(fields: Fields) -> Event {
    Event { uid: Uid("abc@google.com".to_owned()), body: model::Body::Single(fields) }
}

fn object_patch(before: Fields, after: Fields, raw: &Value) -> Result<Body, Unsayable> {
    let (id, revision) = (ProviderId("abc".to_owned()), Revision("\"31-7\"".to_owned()));
    object_changes((&single(before), &single(after)), (&id, &revision), &body(raw), &setting())
}

#[test]
fn a_new_event_bears_its_marker_and_nothing_that_it_does_not_say() {
    let made = new_event((&ProviderId("abc01".to_owned()), "m"), &single(day()), &setting()).unwrap();

    let expected = json!({ "id": "abc01", "start": { "date": "2026-03-16" }, "end": { "date": "2026-03-17" },
        "extendedProperties": { "private": { "calfleet": "m" } },
        "reminders": { "useDefault": false, "overrides": [] } });
    assert_eq!(Value::Object(made), expected);
}

#[test]
fn what_is_emptied_is_deleted_and_what_is_said_already_is_not_said_again() {
    let mut before = day();
    before.title = Some("Review".to_owned());
    before.description = Some("Bring numbers".to_owned());
    let mut after = day();
    after.location = Some("Room 4".to_owned());

    let patch =
        changes((&before, &after), &body(&json!({ "summary": "Review", "location": "Room 4" })), &setting());

    assert_eq!(Value::Object(patch.unwrap()), json!({ "summary": null }));
}

#[test]
fn a_meet_is_asked_for_once_and_taken_away_when_that_is_meant() {
    let (mut wanted, mut held) = (day(), day());
    wanted.conference = Some(Conference::without_link(ConferenceType::GoogleMeet, ConferenceStatus::Pending));
    held.conference = meet("https://meet.google.com/abc-defg-hij");
    let request = object_patch(day(), wanted.clone(), &json!({})).unwrap();

    assert_eq!(
        request["conferenceData"],
        json!({ "createRequest": { "requestId": "abc-317", "conferenceSolutionKey": { "type": "hangoutsMeet" } } })
    );
    for raw in [json!({ "conferenceData": { "createRequest": {} } }), json!({ "hangoutLink": "https://x" })] {
        assert_eq!(object_patch(day(), wanted.clone(), &raw), Ok(Body::new()), "{raw}");
    }
    let failed = json!({ "conferenceData": { "createRequest": { "status": { "statusCode": "failure" } } } });
    assert!(object_patch(day(), wanted, &failed).unwrap().contains_key("conferenceData"));
    let mut moved = held.clone();
    moved.location = Some("Room 4".to_owned());
    let raw = json!({ "conferenceData": {}, "hangoutLink": "https://meet.google.com/abc-defg-hij" });
    assert_eq!(object_patch(held.clone(), moved, &raw), Ok(body(&json!({ "location": "Room 4" }))));
    assert_eq!(object_patch(held, day(), &raw), Ok(body(&json!({ "conferenceData": null }))));
}

#[test]
fn a_link_of_another_kind_is_kept_beside() {
    let mut wanted = day();
    wanted.conference = Some(Conference::ready(ConferenceType::Custom, "https://rooms.example.com/7"));
    let beside = json!({ "extendedProperties": { "private": { "calfleetConference": "https://rooms.example.com/7" } } });

    assert_eq!(object_patch(day(), wanted.clone(), &json!({})), Ok(body(&beside)));
    let taken = object_patch(wanted, day(), &beside).unwrap();
    assert_eq!(taken["extendedProperties"]["private"]["calfleetConference"], Value::Null);
}

#[test]
fn a_list_that_is_shown_in_part_is_never_written_back() {
    let mut after = day();
    after.attendees.push(Attendee::new("bob@example.com"));
    let raw = json!({ "attendeesOmitted": true, "organizer": { "self": true }, "attendees": [] });

    assert_eq!(object_patch(day(), after.clone(), &raw), Err(Unsayable::PartOfGuests));
    let mut renamed = day();
    renamed.title = Some("Review".to_owned());
    assert_eq!(object_patch(day(), renamed, &raw), Ok(body(&json!({ "summary": "Review" }))));
}

#[test]
fn a_guest_answers_with_the_own_entry_even_when_it_is_all_that_is_shown() {
    let raw = json!({ "attendeesOmitted": true, "organizer": { "email": "ada@example.com" }, "visibility": "private",
        "attendees": [{ "email": "carol@example.com", "self": true, "responseStatus": "needsAction", "optional": true }] });
    let guest = |status| {
        let mut guest = Attendee::new("carol@example.com");
        guest.status = status;
        let mut fields = day();
        fields.attendees.push(guest);
        fields
    };
    let mut after = guest(ParticipationStatus::Tentative);
    after.title = Some("Hijacked".to_owned());
    after.visibility = Visibility::Private;

    let patch = object_patch(guest(ParticipationStatus::NeedsAction), after, &raw).unwrap();

    let own = json!({ "email": "carol@example.com", "self": true, "responseStatus": "tentative", "optional": true });
    assert_eq!(Value::Object(patch), json!({ "attendees": [own], "attendeesOmitted": true }));
}

#[test]
fn reminders_are_those_google_can_hold_in_the_way_they_were_held() {
    let raw = body(
        &json!({ "reminders": { "useDefault": false, "overrides": [{ "method": "email", "minutes": 60 }] } }),
    );
    let of = |wanted: &[Reminder]| reminders(wanted, &raw, &setting());
    let before = |minutes: i64| Reminder::BeforeStart(minutes * 60);
    let popup = |minutes: i64| json!({ "method": "popup", "minutes": minutes });

    assert_eq!(of(&[before(10)]), json!({ "useDefault": true, "overrides": null }));
    assert_eq!(of(&[]), json!({ "useDefault": false, "overrides": [] }));
    let odd = [before(5), before(60), before(-5), before(50_000), Reminder::BeforeEnd(0)];
    let kept = json!([popup(5), { "method": "email", "minutes": 60 }]);
    assert_eq!(of(&odd), json!({ "useDefault": false, "overrides": kept }));
    let many: Vec<Reminder> = (1..9).map(before).collect();
    assert_eq!(of(&many)["overrides"].as_array().unwrap().len(), MOST_REMINDERS);
}

#[test]
fn only_colours_of_the_palette_and_web_addresses_are_sent() {
    let mut after = day();
    after.color = Some("#123456".to_owned());
    after.url = Some("tel:+33123".to_owned());

    assert_eq!(object_patch(day(), after.clone(), &json!({})), Ok(Body::new()));
    after.color = Some("#dc2127".to_owned());
    after.url = Some("https://app.example.com/1".to_owned());
    let source = json!({ "url": "https://app.example.com/1", "title": "https://app.example.com/1" });
    let patch = object_patch(day(), after, &json!({})).unwrap();
    assert_eq!(Value::Object(patch), json!({ "colorId": "11", "source": source }));
}

#[test]
fn what_gmail_made_keeps_its_content() {
    let mut after = day();
    after.title = Some("Flight".to_owned());
    after.visibility = Visibility::Private;

    let patch = object_patch(day(), after, &json!({ "eventType": "fromGmail" })).unwrap();

    assert_eq!(Value::Object(patch), json!({ "visibility": "private" }));
}
