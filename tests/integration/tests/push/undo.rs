//! What was written can be taken back (law 11): after an edit, and after a deletion, an undo leaves the provider with
//! what it held before, down to the last field that is not the provider's own.

use calfleet_domain::model::{EditScope, EventId, Notify, ProviderKind};
use calfleet_service::write::{Reach, WriteError};
use calfleet_store::history::{self, HistoryEntry};
use serde_json::{Value, json};

use super::office::{ALL, Office, text};
use crate::databases::TestStore;
use crate::microsoft::held;

/// What the provider says anew of everything that is written: marks of the version, and when it came to be.
const OF_A_VERSION: [&str; 10] = [
    "etag",
    "updated",
    "sequence", // Google
    "@odata.etag",
    "changeKey",
    "lastModifiedDateTime", // Microsoft
    "DTSTAMP",
    "LAST-MODIFIED",
    "SEQUENCE",
    "CREATED", // CalDAV
];

/// What it says anew of a copy as well: a deleted event does not come back under its own name, at no provider. The
/// marker that tells our events from others is bound to the name.
///
/// Google shows an instance that was called off as an event of its own, and a series that is made without it by `EXDATE`;
/// so what takes place is compared as well.
const OF_A_COPY: [&str; 15] = [
    "id",
    "iCalUID",
    "htmlLink",
    "recurringEventId",
    "created",
    "extendedProperties",
    "EXDATE;", // Google
    "iCalUId",
    "uid",
    "seriesMasterId",
    "webLink",
    "createdDateTime",
    "transactionId", // Microsoft
    "UID",           // CalDAV
    "X-CALFLEET-MARK",
];

/// All that the provider holds, without what it says anew.
fn content(office: &Office<'_>, forced: &[&str]) -> Vec<Value> {
    let mut content: Vec<Value> = office.held().iter().map(|event| without(event, forced)).collect();
    content.sort_by_key(Value::to_string);
    content
}

fn without(value: &Value, forced: &[&str]) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| !forced.contains(&name.as_str()));
            kept.map(|(name, value)| (name.clone(), without(value, forced))).collect()
        }
        Value::Array(items) => {
            let kept = items.iter().filter(|item| !forced.iter().any(|name| text(item).starts_with(name)));
            kept.map(|item| without(item, forced)).collect()
        }
        Value::String(body) if body.starts_with("BEGIN:VCALENDAR") => {
            let body = body.replace("\r\n ", "");
            let name = |line: &str| line.split([':', ';']).next().unwrap_or_default().to_owned();
            // The order of lines means nothing, and what is cleared and said again comes last.
            let mut kept: Vec<&str> =
                body.lines().filter(|line| !forced.contains(&name(line).as_str())).collect();
            kept.sort_unstable();
            json!(kept)
        }
        other => other.clone(),
    }
}

fn rich() -> Value {
    json!({
        "title": "Review", "description": "What was <done>; and, what not\nNext", "location": "Room 1; left",
        "time_zone": "Europe/Paris", "start": "2026-10-05T10:00:00", "end": "2026-10-05T11:30:00",
        "reminders": [{ "before_start": 900 }], "transparency": "transparent", "visibility": "private",
    })
}

fn series() -> Value {
    let mut input = rich();
    input["recurrence"] = json!(["RRULE:FREQ=WEEKLY;COUNT=6"]);
    input
}

fn all_day() -> Value {
    json!({ "title": "Fair", "is_all_day": true, "start": "2026-10-05", "end": "2026-10-08", "reminders": [] })
}

fn this(day: &str) -> Reach {
    Reach { scope: EditScope::This, recurrence_id: Some(day.parse().unwrap()) }
}

async fn undo(office: &Office<'_>, id: EventId) -> EventId {
    let service = &office.fleet().service;
    let last = service.last_request(office.fleet().organization, id).await.unwrap();
    let outcome = service.undo_change(id, last, &office.desk.terms(Notify::None)).await.unwrap();
    office.desk.push().await;
    assert!(office.desk.is_settled().await);
    outcome.event_id
}

async fn edit(office: &Office<'_>, id: EventId, patch: Value, reach: Reach) {
    office.desk.edit(id, patch, reach).await;
    office.desk.push().await;
}

/// The events that the edits and deletions of one round are about.
async fn make(office: &Office<'_>, input: &Value) -> EventId {
    let is_series = !input["recurrence"].is_null();
    let id = office.desk.create(input.clone(), Notify::None).await.unwrap().event_id;
    office.desk.push().await;
    if is_series {
        let moved = json!({ "start": "2026-10-13T15:00:00", "end": "2026-10-13T16:00:00", "title": "Moved" });
        edit(office, id, moved, this("20261012T100000")).await;
        office.desk.delete(id, this("20261019T100000")).await;
        office.desk.push().await;
    }
    assert!(!content(office, &[]).is_empty() && office.desk.is_settled().await);
    id
}

async fn comes_back(provider: ProviderKind, input: Value) {
    let store = TestStore::sqlite().await.unwrap();
    let office = Office::open(&store, provider).await;
    let id = make(&office, &input).await;
    let before = content(&office, &OF_A_VERSION);

    let mut patch = json!({ "title": "Retro", "location": null, "description": "Other", "reminders": [] });
    match (input["recurrence"].is_null(), input["is_all_day"].is_null()) {
        // What departs from a series has its place in its times.
        (false, _) => {}
        (true, true) => patch["start"] = json!("2026-10-06T14:00:00"),
        (true, false) => patch["end"] = json!("2026-10-07"),
    }
    edit(&office, id, patch.clone(), Reach::ALL).await;
    assert_ne!(content(&office, &OF_A_VERSION), before);
    assert_eq!(undo(&office, id).await, id);
    assert_eq!(content(&office, &OF_A_VERSION), before, "{provider}: an edit is taken back");

    edit(&office, id, patch, Reach::ALL).await;
    let edited = content(&office, &[&OF_A_VERSION[..], &OF_A_COPY[..]].concat());
    let instances = held(office.fleet(), office.desk.connection).await;
    office.desk.delete(id, Reach::ALL).await;
    office.desk.push().await;
    assert_eq!(office.held(), Vec::<Value>::new());
    let copy = undo(&office, id).await;
    let back = content(&office, &[&OF_A_VERSION[..], &OF_A_COPY[..]].concat());
    assert_eq!(back, edited, "{provider}: a deletion is taken back");
    office.list().await;
    office.desk.push().await;
    assert_eq!(office.ours().await.len(), 1);
    assert_eq!(held(office.fleet(), office.desk.connection).await, instances, "{provider}");
    assert!(office.shown(copy).await.is_some());
}

#[tokio::test]
async fn an_edit_and_a_deletion_of_an_event_are_taken_back() {
    for provider in ALL {
        comes_back(provider, rich()).await;
    }
}

#[tokio::test]
async fn an_edit_and_a_deletion_of_an_all_day_event_are_taken_back() {
    for provider in ALL {
        comes_back(provider, all_day()).await;
    }
}

#[tokio::test]
async fn an_edit_and_a_deletion_of_a_series_with_what_departs_from_it_are_taken_back() {
    for provider in ALL {
        comes_back(provider, series()).await;
    }
}

/// The edits of one instance and its cancellation, one after the other from the last to the first.
#[tokio::test]
async fn changes_of_instances_are_taken_back_one_by_one() {
    for provider in ALL {
        let store = TestStore::sqlite().await.unwrap();
        let office = Office::open(&store, provider).await;
        let id = office.desk.create(series(), Notify::None).await.unwrap().event_id;
        office.desk.push().await;
        let instances = async || held(office.fleet(), office.desk.connection).await;
        let mut before = instances().await;

        edit(&office, id, json!({ "title": "Other" }), this("20261012T100000")).await;
        office.desk.delete(id, this("20261019T100000")).await;
        office.desk.push().await;
        assert_ne!(instances().await, before);
        let tx = office.fleet().database.store.read(office.desk.scope()).await.unwrap();
        let entries = history::of_event(&tx, id, 10).await.unwrap();
        drop(tx);
        let mine = |entry: &&HistoryEntry| ["edit", "delete"].contains(&entry.decision.as_str());
        for entry in entries.iter().filter(mine) {
            let terms = office.desk.terms(Notify::None);
            let undone = office.fleet().service.undo_change(id, entry.id, &terms).await;
            if provider == ProviderKind::Microsoft && entry.decision == "delete" {
                let Err(WriteError::Invalid(invalid)) = undone else { panic!("{undone:?}") };
                assert_eq!(invalid[0].code, "not_supported", "Microsoft has no words for that");
                before.retain(|(at, _)| at != "10-19 08:00");
            } else {
                undone.unwrap();
            }
            office.desk.push().await;
        }

        assert!(office.desk.is_settled().await);
        assert_eq!(instances().await, before, "{provider}");
        office.list().await;
        assert_eq!(instances().await, before, "{provider}: as the provider shows them");
        let shown = office.shown(id).await.unwrap();
        assert!(!text(&shown).contains("EXDATE"), "{shown}");
    }
}
