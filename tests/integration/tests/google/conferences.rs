//! Conferences: Google makes a Meet in its own time or not at all, and what is there outlives every other edit.

use std::time::Duration;

use calfleet_domain::model::{Conference, ConferenceStatus, ConferenceType, EventId, Notify};
use calfleet_sandbox::{ConferenceHabit, GoogleHabits};
use calfleet_service::write::Reach;
use calfleet_store::calendar_sync;
use serde_json::{Value, json};

use super::desk::Desk;
use super::fleet::ADA;
use super::outbound::{is_in_step, open, remote, review};
use crate::databases::{TestStore, on_both_databases};

on_both_databases![
    a_meet_that_is_pending_is_looked_for_in_growing_steps_until_it_is_there,
    a_meet_that_failed_is_told_and_can_be_asked_for_again,
    a_meet_outlives_a_hundred_other_edits_byte_for_byte,
    a_link_of_another_kind_is_shown_to_guests_and_known_again,
];

fn with_meet() -> Value {
    let mut input = review();
    input["conference"] = json!("google_meet");
    input
}

fn habit(desk: &Desk<'_>, conference: ConferenceHabit) {
    desk.fleet.google().set_habits(GoogleHabits { conference, ..GoogleHabits::default() });
}

async fn conference(desk: &Desk<'_>, id: EventId) -> Option<Conference> {
    desk.row(id).await.event.event.unwrap().fields().unwrap().conference.clone()
}

/// How long until the calendar is due.
async fn due_in(desk: &Desk<'_>) -> Duration {
    let tx = desk.fleet.database.store.read(desk.scope()).await.unwrap();
    let sync = calendar_sync::of_calendar(&tx, desk.calendar().await).await.unwrap().unwrap();
    sync.due_at.since(desk.fleet.service.now())
}

async fn a_meet_that_is_pending_is_looked_for_in_growing_steps_until_it_is_there(database: &TestStore) {
    let desk = open(database).await;
    habit(&desk, ConferenceHabit::Pending);

    let id = desk.create(with_meet(), Notify::None).await.unwrap().event_id;
    desk.push().await;

    let pending = Conference::without_link(ConferenceType::GoogleMeet, ConferenceStatus::Pending);
    assert_eq!(conference(&desk, id).await, Some(pending.clone()));
    assert!(due_in(&desk).await <= Duration::from_secs(1), "{:?}", due_in(&desk).await);
    let mut waits = Vec::new();
    for _ in 0..3 {
        desk.fleet.sync(desk.connection).await;
        waits.push(due_in(&desk).await.as_secs());
        desk.fleet.advance(due_in(&desk).await);
    }
    assert!(waits.is_sorted_by(|one, next| one < next) && waits[2] < 600, "{waits:?}");
    assert_eq!(conference(&desk, id).await, Some(pending));

    habit(&desk, ConferenceHabit::Success);
    let name = desk.row(id).await.event.provider_id;
    desk.fleet.google().settle_conference(ADA, name.as_str()).unwrap();
    desk.fleet.sync(desk.connection).await;

    let shown = remote(&desk, id).await.unwrap();
    let link = shown["hangoutLink"].as_str().unwrap();
    assert_eq!(conference(&desk, id).await, Some(Conference::ready(ConferenceType::GoogleMeet, link)));
    assert!(due_in(&desk).await > Duration::from_mins(1), "nothing is looked for any more");
    is_in_step(&desk, id).await;
}

async fn a_meet_that_failed_is_told_and_can_be_asked_for_again(database: &TestStore) {
    let desk = open(database).await;
    habit(&desk, ConferenceHabit::Failure);

    let id = desk.create(with_meet(), Notify::None).await.unwrap().event_id;
    desk.push().await;

    let failed = Conference::without_link(ConferenceType::GoogleMeet, ConferenceStatus::Failed);
    assert_eq!(conference(&desk, id).await, Some(failed));
    assert!(desk.is_settled().await, "the event itself is there");
    desk.edit(id, json!({ "title": "Renamed" }), Reach::ALL).await;
    desk.push().await;
    assert_eq!(remote(&desk, id).await.unwrap()["summary"], "Renamed");

    habit(&desk, ConferenceHabit::Success);
    desk.edit(id, json!({ "conference": "google_meet" }), Reach::ALL).await;
    desk.push().await;
    let made = conference(&desk, id).await.unwrap();
    assert_eq!(
        (made.status, made.link.starts_with("https://meet.google.com/")),
        (ConferenceStatus::Ready, true)
    );
    is_in_step(&desk, id).await;
}

/// The edit of that number: each field in turn, to something and to nothing.
fn edit(number: usize) -> Value {
    let text = format!("Text {number}\nof two lines");
    match number % 10 {
        0 => json!({ "title": format!("Title {number}") }),
        1 => json!({ "description": text }),
        2 => json!({ "description": null }),
        3 => json!({ "location": format!("Room {number}") }),
        4 => json!({ "location": null }),
        5 => json!({ "start": format!("2026-10-05T10:{:02}:00", number % 50), "end": "2026-10-05T11:30:00" }),
        6 => json!({ "attendees": [{ "address": format!("guest{number}@example.com") }] }),
        7 => json!({ "reminders": [{ "before_start": 60 * number }] }),
        8 => json!({ "visibility": if number.is_multiple_of(4) { "private" } else { "public" } }),
        _ => json!({ "transparency": if number.is_multiple_of(3) { "transparent" } else { "opaque" } }),
    }
}

async fn a_meet_outlives_a_hundred_other_edits_byte_for_byte(database: &TestStore) {
    let desk = open(database).await;
    let id = desk.create(with_meet(), Notify::None).await.unwrap().event_id;
    desk.push().await;
    let made = remote(&desk, id).await.unwrap();
    assert!(made["hangoutLink"].is_string());

    for number in 0..100 {
        desk.edit(id, edit(number), Reach::ALL).await;
        if number % 7 == 0 {
            // somebody else is at it as well, and the two meet
            let name = desk.row(id).await.event.provider_id;
            let path = format!("calendars/{ADA}/events/{}", name.as_str());
            let other = json!({ "location": format!("Their room {number}") });
            assert_eq!(desk.fleet.google().call(ADA, "PATCH", &path, &other).0, 200);
        }
        if number % 3 == 0 {
            desk.push().await;
        }
    }
    desk.push().await;

    let shown = remote(&desk, id).await.unwrap();
    assert_eq!(shown["hangoutLink"], made["hangoutLink"]);
    assert_eq!(shown["conferenceData"], made["conferenceData"]);
    is_in_step(&desk, id).await;

    desk.edit(id, json!({ "conference": "none" }), Reach::ALL).await;
    desk.push().await;
    let shown = remote(&desk, id).await.unwrap();
    assert!(shown["hangoutLink"].is_null() && shown["conferenceData"].is_null(), "{shown}");
    is_in_step(&desk, id).await;
}

async fn a_link_of_another_kind_is_shown_to_guests_and_known_again(database: &TestStore) {
    let desk = open(database).await;
    let link = "https://rooms.example.com/7";
    let mut input = review();
    input["conference"] = json!({ "kind": "custom", "link": link });

    let id = desk.create(input, Notify::None).await.unwrap().event_id;
    desk.push().await;

    assert_eq!(remote(&desk, id).await.unwrap()["location"], link);
    assert_eq!(conference(&desk, id).await, Some(Conference::ready(ConferenceType::Custom, link)));
    is_in_step(&desk, id).await;
    desk.edit(id, json!({ "location": "Room 4", "title": "Moved" }), Reach::ALL).await;
    desk.push().await;
    assert_eq!(conference(&desk, id).await, Some(Conference::ready(ConferenceType::Custom, link)));
    desk.edit(id, json!({ "conference": null }), Reach::ALL).await;
    desk.push().await;
    assert_eq!(conference(&desk, id).await, None);
    is_in_step(&desk, id).await;
}
