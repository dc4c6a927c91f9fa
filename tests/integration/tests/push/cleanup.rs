//! Taking back what we wrote, with nothing left of our own database: exactly that, whoever copied, marked or sent
//! something like it.

use calfleet_domain::model::{Notify, ProviderKind};
use calfleet_sandbox::{CalendarSpec, GoogleAccountSpec};
use calfleet_service::write::{Mode, Terms};
use serde_json::{Value, json};

use super::office::{Office, text};
use crate::databases::{TestStore, on_both_databases};
use crate::google::desk::Desk;
use crate::google::fleet::ADA;
use crate::microsoft::Outlook;

on_both_databases![
    events_made_here_leave_a_caldav_server_and_no_others,
    events_made_here_leave_google_and_no_others,
    events_made_here_leave_microsoft_and_no_others,
];

const BOB: &str = "bob@example.com";
/// The property that our mark stands in at Microsoft.
const MARK: &str = "String {8d1f6f0b-6f7c-4a53-9c0e-5c1a8b0c5d27} Name calfleet";

/// An account with three events made here, of which one recurs.
async fn office(database: &TestStore, provider: ProviderKind) -> Office<'_> {
    let office = Office::open(database, provider).await;
    for title in ["One", "Two", "Three"] {
        let mut event = json!({
            "title": title, "time_zone": "Europe/Paris",
            "start": "2026-10-05T10:00:00", "end": "2026-10-05T11:00:00",
        });
        if title == "Three" {
            event["recurrence"] = json!(["RRULE:FREQ=WEEKLY;COUNT=4"]);
        }
        office.desk.create(event, Notify::None).await.unwrap();
    }
    office.desk.push().await;
    office
}

/// Loses the database; then looks, deletes, and looks again.
async fn clean(office: Office<'_>, left: &[&str]) {
    let database = TestStore::sqlite().await.unwrap();
    let office = office.with_lost_database(&database).await;
    office.fleet().sandbox.clear_mails();
    let desk: &Desk<'_> = &office.desk;
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
    assert_eq!(office.fleet().sandbox.mails().len(), 0);
    assert_eq!(office.titles(), left);
}

async fn events_made_here_leave_a_caldav_server_and_no_others(database: &TestStore) {
    let office = office(database, ProviderKind::Caldav).await;
    let sandbox = &office.fleet().sandbox;
    let ours = sandbox.resources("ada", "work").unwrap().remove(0).body;
    let (before, after) = ours.split_once("\r\nSUMMARY:").unwrap();
    let (_, after) = after.split_once("\r\n").unwrap();
    let renamed = |title: &str| format!("{before}\r\nSUMMARY:{title}\r\n{after}");
    let uid = ours.lines().find_map(|line| line.strip_prefix("UID:")).unwrap();
    let with_uid =
        |text: &str, new: &str| text.replace(&format!("\r\nUID:{uid}\r\n"), &format!("\r\nUID:{new}\r\n"));
    let copy = with_uid(&renamed("Copy"), "copy@example.com");
    sandbox.put("ada", "work", "copy.ics", &copy).unwrap();
    let mark = ours.lines().find_map(|line| line.strip_prefix("X-CALFLEET-MARK:")).unwrap();
    let forged = with_uid(&renamed("Forged").replace(mark, "forged@example.com"), "forged@example.com");
    sandbox.put("ada", "work", "forged.ics", &forged).unwrap();
    // the whole object, in a calendar where we never put it
    sandbox.create_calendar("ada", CalendarSpec::new("home")).unwrap();
    sandbox.put("ada", "home", "same.ics", &ours).unwrap();
    let sandbox = sandbox.control();

    clean(office, &["Copy", "Forged"]).await;

    assert_eq!(sandbox.resources("ada", "home").unwrap().len(), 1);
}

async fn events_made_here_leave_google_and_no_others(database: &TestStore) {
    let office = office(database, ProviderKind::Google).await;
    let google = office.fleet().google();
    google.create_account(GoogleAccountSpec::new(BOB)).unwrap();
    let call = |who: &str, method: &str, body: &Value| {
        let (status, answer) = google.call(who, method, &format!("calendars/{who}/events"), body);
        assert!((200..300).contains(&status), "{answer}");
        answer
    };
    let ours = call(ADA, "GET", &Value::Null)["items"][0].clone();
    let mark = ours["extendedProperties"].clone();
    assert!(mark.is_object(), "{ours}");
    let at = json!({ "dateTime": "2026-10-07T10:00:00Z" });
    call(ADA, "POST", &json!({ "summary": "Copy", "start": at, "end": at, "extendedProperties": mark }));
    let own = json!({ "private": { "calfleet": "forged0001" } });
    let forged = json!({ "id": "forged0001", "summary": "Forged", "start": at, "end": at,
        "extendedProperties": own });
    call(ADA, "POST", &forged);
    let guests = json!([{ "email": ADA }]);
    call(BOB, "POST", &json!({ "summary": "Theirs", "start": at, "end": at, "attendees": guests }));

    clean(office, &["Copy", "Forged", "Theirs"]).await;
}

async fn events_made_here_leave_microsoft_and_no_others(database: &TestStore) {
    let office = office(database, ProviderKind::Microsoft).await;
    let outlook = Outlook::of(office.fleet());
    let at = json!({ "dateTime": "2026-10-07T10:00:00", "timeZone": "UTC" });
    let name = |number: usize| format!("0191f0a0-0000-7000-8000-00000000000{number}");
    // another application's, which names its requests as we do
    let other = json!({ "subject": "Other", "start": at, "end": at, "transactionId": name(1) });
    let other = outlook.call("POST", "me/events", &other);
    assert_eq!(text(&other["subject"]), "Other");
    let property = json!([{ "id": MARK, "value": name(2) }]);
    outlook.call(
        "POST",
        "me/events",
        &json!({ "subject": "Forged", "start": at, "end": at,
        "transactionId": name(2), "singleValueExtendedProperties": property }),
    );

    clean(office, &["Forged", "Other"]).await;
}
