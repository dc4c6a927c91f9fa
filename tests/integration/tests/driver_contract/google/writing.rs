//! Events written to Google: one effect, in place, and nothing that others put there is lost.

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{
    Attendee, Body, Conference, ConferenceStatus, ConferenceType, End, Fields, NominalDuration, Notify,
    ProviderId, Reminder, RemoteEvent, Revision, Status, Transparency, Visibility, When,
};
use calfleet_domain::reconcile::version;
use calfleet_providers::driver::{CalendarRef, Change, Errand, Problem, Write, Written};
use calfleet_sandbox::{ConferenceHabit, Fault, FaultRule, GoogleHabits, GoogleRole};
use serde_json::{Value, json};

use super::super::relay::Sent;
use super::ada;
use super::desk::{ADA, BOB, CAROL, Desk, agreed, at, fields, foreign, ours, review};

/// What of the foreign event nobody here may touch.
const THEIRS: [&str; 9] = [
    "attachments",
    "hangoutLink",
    "conferenceData",
    "extendedProperties",
    "gadget",
    "guestsCanModify",
    "guestsCanInviteOthers",
    "iCalUID",
    "organizer",
];

#[expect(clippy::unnecessary_wraps, reason = "most fields of an event may be absent")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn a_new_event_is_made_whole_under_its_own_name() {
    let desk = Desk::open().await;
    let mut wanted = review();
    wanted.description = text("Bring numbers\nand coffee");
    wanted.location = text("Room 4");
    wanted.url = text("https://app.example.com/7");
    wanted.attendees = vec![Attendee::new(BOB), Attendee::new(CAROL)];
    wanted.reminders = vec![Reminder::BeforeStart(900)];
    wanted.visibility = Visibility::Private;
    wanted.transparency = Transparency::Transparent;
    wanted.color = text("#DC2127");
    wanted.conference = Some(asked());
    let event = ours(1, Body::Single(wanted));

    let made = desk.create(&event, Notify::None).await.unwrap().unwrap();

    let stored = desk.stored(made.provider_id.as_str());
    assert!(stored["extendedProperties"]["private"]["calfleet"].is_string(), "{stored}");
    assert_eq!((made.event.uid.clone(), &stored["colorId"]), (event.uid.clone(), &json!("11")));
    let mut expected = event.clone();
    let link = stored["hangoutLink"].as_str().unwrap().to_owned();
    fields(&mut expected).conference = Some(Conference::ready(ConferenceType::GoogleMeet, link));
    fields(&mut expected).organizer = made.event.fields().unwrap().organizer.clone();
    assert!(version::is_same(&expected, &made.event), "{expected:#?} became {:#?}", made.event);
    assert_eq!(made.revision.as_ref().map(Revision::as_str), stored["etag"].as_str());
    let writes = desk.relay.take_writes();
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].parameter("supportsAttachments"), Some("true"));
    assert_eq!(writes[0].parameter("sendUpdates"), Some("none"));
    assert_eq!(writes[0].parameter("maxAttendees"), None);
    desk.close();
}

#[tokio::test]
async fn a_lost_answer_is_found_again_and_the_event_is_made_once() {
    let desk = Desk::open().await;
    let mut wanted = review();
    wanted.attendees = vec![Attendee::new(BOB), Attendee::new(CAROL)];
    let event = ours(2, Body::Single(wanted));
    desk.sandbox.inject(FaultRule::next(Fault::AnswerLost).method("POST"));

    let lost = desk.create(&event, Notify::All).await;
    let writes = desk.relay.take_writes().len();
    let found = desk.create(&event, Notify::All).await.unwrap().unwrap();

    assert_eq!(lost.unwrap_err().0, FailureClass::Transient);
    assert_eq!(writes, 1, "a write is not repeated by itself");
    assert_eq!(desk.google().event_count(ADA).unwrap(), 1);
    assert_eq!(found.event.fields().unwrap().title, text("Review"));
    let told = [BOB, CAROL].map(|guest| (guest.to_owned(), "Invitation".to_owned()));
    assert_eq!(desk.mails(), told.into());
    desk.close();
}

#[tokio::test]
async fn a_name_whose_event_was_deleted_since_is_gone() {
    let desk = Desk::open().await;
    let event = ours(3, Body::Single(review()));
    let made = desk.create(&event, Notify::None).await.unwrap().unwrap();
    desk.call(ADA, "DELETE", &format!("calendars/{ADA}/events/{}", made.provider_id), &Value::Null);

    let again = desk.create(&event, Notify::None).await;

    assert_eq!(again, Ok(None));
    assert_eq!(desk.google().event_count(ADA).unwrap(), 0);
    desk.close();
}

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// One edit of a person, of every kind there is.
fn edited(fields: &mut Fields, dice: &mut Dice, round: usize) {
    match dice.roll(12) {
        0 => fields.title = text(&format!("Title {round}")),
        1 => fields.title = None,
        2 => fields.description = text(&format!("Text {round}\nsecond line")),
        3 => fields.location = [None, text(&format!("Room {round}"))].into_iter().nth(round % 2).unwrap(),
        4 => {
            fields.start = at(&format!("2026-03-{:02}T10:00:00", 1 + dice.roll(28)));
            fields.end = End::After(NominalDuration { days: 0, seconds: 1800 });
        }
        5 => {
            fields.start = When::Date("2026-04-01".parse().unwrap());
            fields.end = End::At(When::Date("2026-04-03".parse().unwrap()));
        }
        6 => fields.reminders = vec![Reminder::BeforeStart(60 * i64::try_from(dice.roll(90)).unwrap())],
        7 => fields.transparency = Transparency::Transparent,
        8 => fields.visibility = [Visibility::Public, Visibility::Confidential][round % 2],
        9 => fields.status = [Status::Confirmed, Status::Tentative][round % 2],
        10 => fields.color = [None, text("#5484ED")].into_iter().nth(round % 2).unwrap(),
        _ => {
            let address = format!("guest{}@elsewhere.test", dice.roll(4));
            let known = fields.attendees.iter().position(|guest| guest.address == address);
            match known {
                Some(index) => drop(fields.attendees.remove(index)),
                None => fields.attendees.push(Attendee::new(address)),
            }
        }
    }
}

#[tokio::test]
async fn a_hundred_edits_leave_what_others_put_there_byte_for_byte() {
    let desk = Desk::open().await;
    desk.google().plant(ADA, &foreign()).unwrap();
    let before = desk.stored("foreign01");
    let mut held = desk.held("foreign01").await;
    let mut dice = Dice(7);

    for round in 0..100 {
        held = desk.edit(&held, |fields| edited(fields, &mut dice, round)).await;

        let now = desk.stored("foreign01");
        for name in THEIRS {
            assert_eq!(now[name].to_string(), before[name].to_string(), "{name} after edit {round}");
        }
        assert_eq!(now["attendees"][1], before["attendees"][1], "Bob after edit {round}");
    }

    let mentioned: Vec<String> = desk
        .relay
        .take_writes()
        .iter()
        .flat_map(|sent| sent.mentions().into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(THEIRS.iter().all(|name| !mentioned.iter().any(|found| found == name)), "{mentioned:?}");
    assert_eq!(desk.sandbox.mails(), []);
    desk.close();
}

#[tokio::test]
async fn a_write_says_only_what_differs_and_nothing_is_written_for_nothing() {
    let desk = Desk::open().await;
    desk.google().plant(ADA, &foreign()).unwrap();
    let held = desk.held("foreign01").await;
    desk.relay.take();

    let held = desk.edit(&held, |fields| fields.title = text("Renamed")).await;
    let renamed = desk.relay.take_writes();
    let held = desk.edit(&held, |_| {}).await;
    let nothing = desk.relay.take_writes();
    desk.edit(&held, |fields| fields.reminders.push(Reminder::BeforeStart(1800))).await;

    assert_eq!(renamed.iter().map(|sent| sent.mentions()).collect::<Vec<_>>(), [["summary"]]);
    assert!(nothing.is_empty());
    let reminders = &desk.stored("foreign01")["reminders"]["overrides"];
    let methods: Vec<_> = reminders.as_array().unwrap().iter().map(|entry| entry["method"].clone()).collect();
    assert_eq!(methods, ["popup", "popup", "email"]);
    desk.close();
}

#[tokio::test]
async fn somebody_who_was_faster_is_not_overwritten() {
    let desk = Desk::open().await;
    desk.google().plant(ADA, &foreign()).unwrap();
    let held = desk.held("foreign01").await;
    let path = format!("calendars/{ADA}/events/foreign01");
    desk.call(ADA, "PATCH", &path, &json!({ "summary": "Theirs" }));
    let mut after = held.event.clone();
    fields(&mut after).title = text("Ours");

    let written = desk.update(&held, &after, Notify::None).await;
    let deleted = desk.delete(&held, Notify::None).await;

    let conflict = Err((FailureClass::Conflict, Problem::ChangedMeanwhile));
    assert_eq!((&written, &deleted), (&conflict, &conflict));
    assert_eq!(desk.stored("foreign01")["summary"], "Theirs");
    assert!(desk.relay.take_writes().iter().all(|sent| sent.if_match.is_some()));
    desk.close();
}

#[tokio::test]
async fn what_was_deleted_is_a_conflict_for_an_edit_and_no_more_for_a_deletion() {
    let desk = Desk::open().await;
    desk.google().plant(ADA, &foreign()).unwrap();
    let held = desk.held("foreign01").await;
    let gone = desk.delete(&held, Notify::None).await;
    desk.sandbox.clear_faults();

    let again = desk.delete(&held, Notify::None).await;
    let never = ProviderId::from("never000");
    let change = Change::Update { held: agreed(&held), after: &ours(9, Body::Single(review())) };
    let edited = desk.write(&ada(), &never, change, Notify::None).await;

    assert_eq!((gone, again), (Ok(None), Ok(None)));
    assert_eq!(edited, Err((FailureClass::Conflict, Problem::ChangedMeanwhile)));
    desk.close();
}

#[tokio::test]
async fn events_of_a_calendar_that_was_taken_away_are_neither_deleted_nor_changed() {
    let desk = Desk::open().await;
    let team = desk.google().create_calendar(CAROL, "Team").unwrap();
    desk.google().share(&team, ADA, Some(GoogleRole::Writer)).unwrap();
    desk.google().plant(&team, &foreign()).unwrap();
    let calendar =
        CalendarRef { provider_id: ProviderId::from(team.as_str()), time_zone: None, setting: None };
    let held = desk.read(&calendar, "foreign01").await;
    desk.google().share(&team, ADA, None).unwrap();

    let change = Change::Delete { held: agreed(&held) };
    let deleted = desk.write(&calendar, &held.provider_id, change, Notify::None).await;

    assert_eq!(deleted.unwrap_err().0, FailureClass::Permanent);
    assert_eq!(desk.google().event_count(&team).unwrap(), 1);
}

#[tokio::test]
async fn a_calendar_that_can_only_be_read_says_so() {
    let desk = Desk::open().await;
    let team = desk.google().create_calendar(CAROL, "Team").unwrap();
    desk.google().share(&team, ADA, Some(GoogleRole::Reader)).unwrap();
    let calendar =
        CalendarRef { provider_id: ProviderId::from(team.as_str()), time_zone: None, setting: None };
    let event = ours(4, Body::Single(review()));

    let refused =
        desk.write(&calendar, &ProviderId::from("abcde"), Change::Create(&event), Notify::None).await;

    assert_eq!(refused, Err((FailureClass::Permanent, Problem::ReadOnlyCalendar)));
    desk.close();
}

/// A Meet that is wanted.
fn asked() -> Conference {
    Conference::without_link(ConferenceType::GoogleMeet, ConferenceStatus::Pending)
}

#[tokio::test]
async fn a_meet_that_is_pending_or_has_failed_is_not_asked_for_again() {
    let desk = Desk::open().await;
    let wanted = Some(asked());
    for (number, habit, shown) in [
        (1, ConferenceHabit::Pending, ConferenceStatus::Pending),
        (2, ConferenceHabit::Failure, ConferenceStatus::Failed),
    ] {
        desk.google().set_habits(GoogleHabits { conference: habit, ..GoogleHabits::default() });
        let mut fields_of = review();
        fields_of.conference = wanted.clone();
        let held = desk.create(&ours(number, Body::Single(fields_of)), Notify::None).await.unwrap().unwrap();
        desk.relay.take();
        let mut after = held.event.clone();
        fields(&mut after).title = text("Renamed");

        let now = desk.update(&held, &after, Notify::None).await.unwrap().unwrap();

        let writes = desk.relay.take_writes();
        assert_eq!(writes.iter().map(Sent::mentions).collect::<Vec<_>>(), [["summary"]], "{habit:?}");
        let expected = Conference::without_link(ConferenceType::GoogleMeet, shown);
        assert_eq!(now.event.fields().unwrap().conference, Some(expected));
    }
    desk.google().set_habits(GoogleHabits::default());
    let id = ours(1, Body::Single(review())).uid.as_str().trim_end_matches("@google.com").to_owned();
    desk.google().settle_conference(ADA, &id).unwrap();
    let link = desk.held(&id).await.event.fields().unwrap().conference.clone();
    assert_eq!(link.map(|found| found.kind), Some(ConferenceType::GoogleMeet));
    desk.close();
}

#[tokio::test]
async fn times_of_every_form_are_the_instants_they_stand_for() {
    let desk = Desk::open().await;
    let wall = |text: &str| text.parse::<chrono::NaiveDateTime>().unwrap();
    for (number, start, expected) in [
        (
            1,
            When::Floating(wall("2026-07-01T10:00:00")),
            json!({ "dateTime": "2026-07-01T10:00:00+02:00", "timeZone": "Europe/Paris" }),
        ),
        (
            2,
            When::Utc(wall("2026-07-01T10:00:00").and_utc()),
            json!({ "dateTime": "2026-07-01T10:00:00Z", "timeZone": "UTC" }),
        ),
        (3, When::Date("2026-07-01".parse().unwrap()), json!({ "date": "2026-07-01" })),
    ] {
        let mut wanted = review();
        (wanted.start, wanted.end) = (start, End::Unspecified);

        let held = desk.create(&ours(number, Body::Single(wanted)), Notify::None).await.unwrap().unwrap();
        let stored = desk.stored(held.provider_id.as_str());
        let moved = desk.edit(&held, |fields| {
            (fields.start, fields.end) = (at("2026-07-02T10:00:00"), End::At(at("2026-07-02T11:00:00")));
        });

        assert_eq!(stored["start"], expected);
        assert_eq!(moved.await.event.fields().unwrap().start, at("2026-07-02T10:00:00"));
    }
    desk.close();
}

#[tokio::test]
async fn errands_travel_together_and_each_is_what_it_would_be_alone() {
    let desk = Desk::open().await;
    let events: Vec<_> = (1..=4).map(|number| ours(number, Body::Single(review()))).collect();
    let kept = desk.create(&events[0], Notify::None).await.unwrap().unwrap();
    let dropped = desk.create(&events[1], Notify::None).await.unwrap().unwrap();
    let mut after = events[0].clone();
    fields(&mut after).title = text("Retro");
    let new = |number: usize| ProviderId::from(events[number].uid.as_str().trim_end_matches("@google.com"));
    let (third, fourth, calendar, notify) = (new(2), new(3), ada(), Notify::None);
    desk.relay.take();
    let write =
        |provider_id, change| Errand::Write(&calendar, Write { provider_id, change, notify, message: None });

    let results = desk
        .driver
        .together(&[
            write(&kept.provider_id, Change::Update { held: agreed(&kept), after: &after }),
            write(&dropped.provider_id, Change::Delete { held: agreed(&dropped) }),
            write(&third, Change::Create(&events[2])),
            Errand::Look(&calendar, &fourth),
        ])
        .await;

    let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    let [Written::Held(edited), Written::Gone, Written::Held(made), Written::Gone] = &results[..] else {
        panic!("{results:?}")
    };
    assert!(version::is_same(&after, &edited.event) && made.provider_id == third);
    assert_eq!(desk.relay.take_batches(), [4]);
    let writes = desk.relay.take_writes();
    assert_eq!(
        writes.iter().map(|sent| sent.method.as_str()).collect::<Vec<_>>(),
        ["PATCH", "DELETE", "POST"]
    );
    assert_eq!((&writes[0].if_match, &writes[1].if_match), (&revision(&kept), &revision(&dropped)));
    desk.close();
}

fn revision(held: &RemoteEvent) -> Option<String> {
    held.revision.as_ref().map(|Revision(text)| text.clone())
}
