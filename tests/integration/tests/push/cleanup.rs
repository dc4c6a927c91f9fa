//! Taking back what we wrote: exactly that, whoever copied or was invited to it.

use calfleet_domain::model::Notify;
use calfleet_sandbox::GoogleAccountSpec;
use calfleet_service::Actor;
use calfleet_service::write::{Mode, Terms};
use serde_json::{Value, json};

use super::world::World;
use crate::databases::{TestStore, on_both_databases};
use crate::google::desk::Desk;
use crate::google::fleet::{ADA, Fleet};
use crate::microsoft::{Outlook, start_writing};

on_both_databases![
    events_made_here_leave_a_caldav_server_and_no_others,
    events_made_here_leave_google_and_no_others,
    events_made_here_leave_microsoft_and_no_others,
];

fn input(title: &str) -> Value {
    json!({
        "title": title, "time_zone": "Europe/Paris",
        "start": "2026-10-05T10:00:00", "end": "2026-10-05T11:00:00",
    })
}

/// Three events made here, of which one recurs.
async fn make(desk: &Desk<'_>) {
    for title in ["One", "Two", "Three"] {
        let mut event = input(title);
        if title == "Three" {
            event["recurrence"] = json!(["RRULE:FREQ=WEEKLY;COUNT=4"]);
        }
        desk.create(event, Notify::None).await.unwrap();
    }
    desk.push().await;
}

/// Looks, deletes, and looks again.
async fn clean(desk: &Desk<'_>) {
    let terms = desk.terms(Notify::None);
    let dry = Terms { mode: Mode::Explain, ..desk.terms(Notify::None) };
    let service = &desk.fleet.service;
    let planned = service.clean_up(desk.connection, &dry).await.unwrap();
    assert_eq!(planned.iter().map(|one| one.outcome).collect::<Vec<_>>(), ["found"; 3]);
    assert!(desk.is_settled().await, "a look stores nothing");
    let cleaned = service.clean_up(desk.connection, &terms).await.unwrap();
    assert_eq!(cleaned.iter().map(|one| one.outcome).collect::<Vec<_>>(), ["deleted"; 3]);
    desk.push().await;
    assert!(desk.is_settled().await);
    assert_eq!(service.clean_up(desk.connection, &terms).await.unwrap(), []);
    assert_eq!(desk.fleet.sandbox.mails().len(), 0);
}

async fn events_made_here_leave_a_caldav_server_and_no_others(database: &TestStore) {
    let world = World::start(database).await;
    world.create("Ours").await;
    world.push().await;
    let ours = world.resources().remove(0);
    let id = ours.body.lines().find_map(|line| line.strip_prefix("UID:")).unwrap().to_owned();
    // a copy that a client made bears our mark and a UID of its own
    let copy = ours.body.replace(&format!("\r\nUID:{id}"), "\r\nUID:copy@example.com");
    world.put("copy.ics", &copy);
    world.sync().await;
    let terms = Terms { notify: Notify::None, ..Terms::of_person(database.here, Actor::operator()) };

    let cleaned = world.service.clean_up(world.connection, &terms).await.unwrap();
    world.push().await;

    assert_eq!(cleaned.iter().map(|one| one.outcome).collect::<Vec<_>>(), ["deleted"], "{}", ours.body);
    let left: Vec<String> = world.resources().into_iter().map(|resource| resource.name).collect();
    assert_eq!(left, ["copy.ics"]);
}

async fn events_made_here_leave_google_and_no_others(database: &TestStore) {
    let desk = Desk::over(Fleet::start_writing(database).await).await;
    make(&desk).await;
    let google = desk.fleet.google();
    google.create_account(GoogleAccountSpec::new("bob@example.com")).unwrap();
    let call = |who: &str, method: &str, path: &str, body: &Value| google.call(who, method, path, body).1;
    let events = call(ADA, "GET", &format!("calendars/{ADA}/events"), &Value::Null);
    let mark = events["items"][0]["extendedProperties"].clone();
    assert!(mark.is_object(), "{events}");
    let times = json!({ "dateTime": "2026-10-07T10:00:00Z" });
    let copy = json!({ "summary": "Copy", "start": times, "end": times, "extendedProperties": mark });
    call(ADA, "POST", &format!("calendars/{ADA}/events"), &copy);
    let invitation =
        json!({ "summary": "Theirs", "start": times, "end": times, "attendees": [{ "email": ADA }] });
    call("bob@example.com", "POST", "calendars/bob@example.com/events", &invitation);
    desk.fleet.sandbox.clear_mails();
    desk.fleet.sync(desk.connection).await;

    clean(&desk).await;

    let left = call(ADA, "GET", &format!("calendars/{ADA}/events"), &Value::Null);
    let mut left: Vec<&str> =
        left["items"].as_array().unwrap().iter().filter_map(|item| item["summary"].as_str()).collect();
    left.sort_unstable();
    assert_eq!(left, ["Copy", "Theirs"]);
}

async fn events_made_here_leave_microsoft_and_no_others(database: &TestStore) {
    let desk = Desk::over(start_writing(database).await).await;
    make(&desk).await;
    let outlook = Outlook::of(&desk.fleet);
    let time = json!({ "dateTime": "2026-10-07T10:00:00", "timeZone": "UTC" });
    // another application's, which names its requests as we do
    let other = json!({ "subject": "Other", "start": time, "end": time,
        "transactionId": "0191f0a0-0000-7000-8000-000000000001" });
    outlook.call("POST", "me/events", &other);
    desk.fleet.sync(desk.connection).await;

    clean(&desk).await;

    let calendar = desk.fleet.sandbox.microsoft().default_calendar(ADA).unwrap();
    let left = desk.fleet.sandbox.microsoft().events(&calendar).unwrap();
    let left: Vec<&str> = left.iter().filter_map(|event| event["subject"].as_str()).collect();
    assert_eq!(left, ["Other"]);
}
