//! The table of what is done where both sides changed, through the real drivers, at each provider and under each policy;
//! and what lost is brought back by one call (SPEC X2, X3; law 2).

use std::time::Duration;

use calfleet_domain::model::{ConflictPolicy, EventId, Notify, ProviderId, ProviderKind};
use calfleet_service::write::Reach;
use calfleet_store::conflicts::Which;
use calfleet_store::history;
use serde_json::{Value, json};

use super::office::{ALL, Office, text};
use crate::databases::TestStore;
use crate::google::fleet::ADA;
use crate::microsoft::Outlook;

const MINUTE: Duration = Duration::from_mins(1);

/// What a side did to the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Did {
    Nothing,
    Title(&'static str),
    Place(&'static str),
    Deletion,
}

/// What comes of it on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Says(&'static str, &'static str),
    Gone,
    Open,
}

use ConflictPolicy::{AppWins, LastWriteWins, Manual, ProviderWins};
use Did::{Deletion, Nothing, Place, Title};
use End::{Gone, Open, Says};

/// Ours, theirs, which is always the later one, and what comes of it.
const TABLE: &[(Did, Did, ConflictPolicy, End)] = &[
    (Nothing, Nothing, LastWriteWins, Says("Review", "Room")),
    (Nothing, Title("Theirs"), LastWriteWins, Says("Theirs", "Room")),
    (Nothing, Deletion, LastWriteWins, Gone),
    (Title("Ours"), Nothing, LastWriteWins, Says("Ours", "Room")),
    (Deletion, Nothing, LastWriteWins, Gone),
    (Title("Same"), Title("Same"), LastWriteWins, Says("Same", "Room")),
    (Deletion, Deletion, LastWriteWins, Gone),
    (Title("Ours"), Place("Their room"), LastWriteWins, Says("Ours", "Their room")),
    (Title("Ours"), Place("Their room"), Manual, Says("Ours", "Their room")),
    (Title("Ours"), Title("Theirs"), LastWriteWins, Says("Theirs", "Room")),
    (Title("Ours"), Title("Theirs"), ProviderWins, Says("Theirs", "Room")),
    (Title("Ours"), Title("Theirs"), AppWins, Says("Ours", "Room")),
    (Title("Ours"), Title("Theirs"), Manual, Open),
    (Title("Ours"), Deletion, LastWriteWins, Gone),
    (Title("Ours"), Deletion, ProviderWins, Gone),
    (Title("Ours"), Deletion, AppWins, Says("Ours", "Room")),
    (Title("Ours"), Deletion, Manual, Open),
    (Deletion, Title("Theirs"), LastWriteWins, Says("Theirs", "Room")),
    (Deletion, Title("Theirs"), ProviderWins, Says("Theirs", "Room")),
    (Deletion, Title("Theirs"), AppWins, Gone),
    (Deletion, Title("Theirs"), Manual, Open),
];

async fn ours(office: &Office<'_>, id: EventId, did: Did) {
    let patch = match did {
        Nothing => return,
        Deletion => return drop(office.desk.delete(id, Reach::ALL).await),
        Title(title) => json!({ "title": title }),
        Place(place) => json!({ "location": place }),
    };
    office.desk.edit(id, patch, Reach::ALL).await;
}

/// Another client does it.
async fn theirs(office: &Office<'_>, id: EventId, did: Did) {
    let ProviderId(name) = office.desk.row(id).await.event.provider_id;
    let fleet = office.fleet();
    let is_google = office.provider == ProviderKind::Google;
    let (method, change) = match did {
        Nothing => return,
        Deletion => ("DELETE", Value::Null),
        Title(title) => ("PATCH", json!({ if is_google { "summary" } else { "subject" }: title })),
        Place(place) if is_google => ("PATCH", json!({ "location": place })),
        Place(place) => ("PATCH", json!({ "location": { "displayName": place } })),
    };
    match office.provider {
        ProviderKind::Microsoft => {
            Outlook::of(fleet).call(method, &format!("me/events/{name}"), &change);
        }
        ProviderKind::Google => {
            let (status, answer) =
                fleet.google().call(ADA, method, &format!("calendars/{ADA}/events/{name}"), &change);
            assert!((200..300).contains(&status), "{answer}");
        }
        _ => {
            let file = name.rsplit('/').next().unwrap();
            let body = text(&office.shown(id).await.unwrap());
            match did {
                Title(title) => {
                    let body = body.replace("SUMMARY:Review", &format!("SUMMARY:{title}"));
                    fleet.sandbox.put("ada", "work", file, &body).unwrap();
                }
                Place(place) => {
                    let body = body.replace("LOCATION:Room", &format!("LOCATION:{place}"));
                    fleet.sandbox.put("ada", "work", file, &body).unwrap();
                }
                Deletion | Nothing => fleet.sandbox.delete("ada", "work", file).unwrap(),
            }
        }
    }
}

/// Title and place here and there; `None` where it is not.
async fn said(office: &Office<'_>, id: EventId) -> [Option<[String; 2]>; 2] {
    let row = office.desk.row(id).await;
    let here = row
        .event
        .event
        .as_ref()
        .and_then(|event| event.fields())
        .map(|fields| [&fields.title, &fields.location].map(|text| text.clone().unwrap_or_default()));
    let there = office.shown(id).await.map(|event| match office.provider {
        ProviderKind::Microsoft => [&event["subject"], &event["location"]["displayName"]].map(text),
        ProviderKind::Google => [&event["summary"], &event["location"]].map(text),
        _ => {
            let body = text(&event);
            ["SUMMARY:", "LOCATION:"].map(|name| {
                let line = body.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().to_owned()
            })
        }
    });
    [here, there]
}

async fn agreed(office: &Office<'_>) -> EventId {
    let input = json!({
        "title": "Review", "location": "Room", "time_zone": "UTC",
        "start": "2026-10-06T10:00:00", "end": "2026-10-06T11:00:00",
    });
    let id = office.desk.create(input, Notify::None).await.unwrap().event_id;
    office.desk.push().await;
    office.list().await;
    office.fleet().advance(MINUTE);
    id
}

async fn settle(office: &Office<'_>) {
    for _ in 0..2 {
        office.fleet().advance(MINUTE);
        office.desk.push().await;
        office.list().await;
    }
}

async fn open_conflicts(office: &Office<'_>) -> usize {
    let service = &office.fleet().service;
    service.conflicts(office.fleet().organization, Which::Open, None, 100).await.unwrap().len()
}

#[tokio::test]
async fn what_both_sides_did_comes_to_what_the_table_says_at_each_provider() {
    let mut wrong = Vec::new();
    for provider in ALL {
        let store = TestStore::sqlite().await.unwrap();
        let office = Office::open(&store, provider).await;
        for (here, there, policy, end) in TABLE {
            office.decide_by(*policy).await;
            let id = agreed(&office).await;
            let conflicts = open_conflicts(&office).await;
            ours(&office, id, *here).await;
            office.fleet().advance(MINUTE);
            theirs(&office, id, *there).await;

            settle(&office).await;

            let found = said(&office, id).await;
            let is_open = open_conflicts(&office).await - conflicts;
            let is_met = match end {
                Says(title, place) => {
                    let wanted = Some([(*title).to_owned(), (*place).to_owned()]);
                    found == [wanted.clone(), wanted]
                }
                Gone => found == [None, None],
                Open => is_open == 1,
            };
            if !is_met || is_open != usize::from(*end == Open) {
                wrong.push(format!(
                    "{provider}: {here:?} here, {there:?} there, {policy:?}: {found:?}, not {end:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_lost_to_a_later_write_is_brought_back_by_one_call() {
    for provider in ALL {
        let store = TestStore::sqlite().await.unwrap();
        let office = Office::open(&store, provider).await;
        for (policy, winner, loser) in [(LastWriteWins, "Theirs", "Ours"), (AppWins, "Ours", "Theirs")] {
            office.decide_by(policy).await;
            let id = agreed(&office).await;
            ours(&office, id, Title("Ours")).await;
            office.fleet().advance(MINUTE);
            theirs(&office, id, Title("Theirs")).await;
            settle(&office).await;
            assert_eq!(said(&office, id).await[1].as_ref().unwrap()[0], winner, "{provider} {policy:?}");
            let tx = store.store.read(office.desk.scope()).await.unwrap();
            let entries = history::of_event(&tx, id, 10).await.unwrap();
            drop(tx);
            let has_loser = |entry: &&history::HistoryEntry| {
                entry.changes.as_ref().is_some_and(|changes| changes["loser"].is_object())
            };
            let entry = entries.iter().find(has_loser).unwrap_or_else(|| panic!("{provider}: {entries:?}"));

            let terms = office.desk.terms(Notify::None);
            office.fleet().service.undo_change(id, entry.id, &terms).await.unwrap();
            settle(&office).await;

            let wanted = Some([loser.to_owned(), "Room".to_owned()]);
            assert_eq!(said(&office, id).await, [wanted.clone(), wanted], "{provider} {policy:?}");
        }
    }
}
