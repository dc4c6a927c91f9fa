//! A person edits an event while nobody knows whether its last write arrived: our own write, found at the provider
//! afterwards, is no edit of somebody else's, and the person's stands (law 2).

use std::time::Duration;

use calfleet_domain::model::{EventId, Notify, ProviderId, ProviderKind};
use calfleet_sandbox::{Fault, FaultRule};
use calfleet_service::write::Reach;
use calfleet_store::history;
use serde_json::{Value, json};

use super::office::{ALL, Office};
use crate::databases::TestStore;
use crate::google::fleet::ADA;
use crate::microsoft::Outlook;

fn titled(title: &str) -> Value {
    json!({ "title": title, "time_zone": "Europe/Paris", "reminders": [],
        "start": "2026-10-05T10:00:00", "end": "2026-10-05T11:00:00" })
}

/// The next write is applied and its answer lost, and what became of it cannot be seen.
fn lose_the_answer(office: &Office<'_>, method: &str) {
    let method = if office.provider == ProviderKind::Caldav { "PUT" } else { method };
    let sandbox = &office.fleet().sandbox;
    sandbox.inject(FaultRule::next(Fault::AnswerLost).method(method));
    sandbox.inject(FaultRule::next(Fault::CutBefore).method("GET").always());
}

/// Another client names the place of the only event.
fn move_it(office: &Office<'_>, name: &str) {
    let sandbox = &office.fleet().sandbox;
    match office.provider {
        ProviderKind::Caldav => {
            let held = sandbox.resources("ada", "work").unwrap().remove(0);
            let moved = held.body.replace("\r\nSUMMARY:", "\r\nLOCATION:Room 1\r\nSUMMARY:");
            sandbox.put("ada", "work", &held.name, &moved).unwrap();
        }
        ProviderKind::Microsoft => {
            let place = json!({ "location": { "displayName": "Room 1" } });
            Outlook::of(office.fleet()).call("PATCH", &format!("me/events/{name}"), &place);
        }
        _ => {
            let path = format!("calendars/{ADA}/events/{name}");
            let answer = sandbox.google().call(ADA, "PATCH", &path, &json!({ "location": "Room 1" }));
            assert_eq!(answer.0, 200);
        }
    }
}

/// How often one side lost against the other.
async fn contests(office: &Office<'_>, id: EventId) -> usize {
    let tx = office.fleet().database.store.read(office.desk.scope()).await.unwrap();
    let entries = history::of_event(&tx, id, 100).await.unwrap();
    let is_contested = |changes: &Value| changes["reason"] == "contested";
    entries.iter().filter(|entry| entry.changes.as_ref().is_some_and(is_contested)).count()
}

#[tokio::test]
async fn an_edit_beats_the_echo_of_a_create_whose_answer_was_lost() {
    for provider in ALL {
        let store = TestStore::sqlite().await.unwrap();
        let office = Office::open(&store, provider).await;
        lose_the_answer(&office, "POST");
        let id = office.desk.create(titled("Review"), Notify::None).await.unwrap().event_id;
        office.desk.push().await;
        assert_eq!(office.titles(), ["Review"], "{provider}: it has arrived");

        office.fleet().advance(Duration::from_secs(20));
        office.desk.edit(id, json!({ "title": "Retro" }), Reach::ALL).await;
        office.deliver().await;

        assert_eq!(
            (office.titles(), office.ours().await),
            (vec!["Retro".to_owned()], vec!["Retro".to_owned()])
        );
        assert_eq!(contests(&office, id).await, 0, "{provider}");
        office.assert_settled("after an edit").await;
    }
}

#[tokio::test]
async fn an_edit_beats_the_echo_of_another_whose_answer_was_lost_and_leaves_what_others_did() {
    for provider in ALL {
        let store = TestStore::sqlite().await.unwrap();
        let office = Office::open(&store, provider).await;
        let id = office.desk.create(titled("Review"), Notify::None).await.unwrap().event_id;
        office.desk.push().await;
        lose_the_answer(&office, "PATCH");
        office.desk.edit(id, json!({ "title": "Retro" }), Reach::ALL).await;
        office.desk.push().await;
        assert_eq!(office.titles(), ["Retro"], "{provider}: it has arrived");

        office.fleet().advance(Duration::from_secs(20));
        let ProviderId(name) = office.desk.row(id).await.event.provider_id;
        move_it(&office, &name);
        office.desk.edit(id, json!({ "title": "Planning" }), Reach::ALL).await;
        office.deliver().await;

        assert_eq!(office.titles(), ["Planning"], "{provider}");
        let row = office.desk.row(id).await;
        let fields = row.event.event.as_ref().unwrap().fields().unwrap();
        assert_eq!(fields.location.as_deref(), Some("Room 1"), "{provider}");
        assert!(office.shown(id).await.unwrap().to_string().contains("Room 1"), "{provider}");
        assert_eq!(contests(&office, id).await, 0, "{provider}");
        office.assert_settled("after two edits").await;
    }
}
