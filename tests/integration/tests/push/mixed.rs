//! A conflict that is left to a person and decided field by field: one write, once, at each provider (SPEC X5, law 2).

use std::collections::BTreeMap;

use calfleet_domain::model::{ConflictId, ConflictPolicy, EventId, Notify, ProviderKind};
use calfleet_service::write::{Choice, Mix, Reach, WriteError};
use calfleet_store::conflicts::Which;
use serde_json::{Value, json};

use super::office::{ALL, Office, text};
use crate::databases::TestStore;
use crate::google::fleet::ADA;
use crate::microsoft::Outlook;

/// An account whose conflicts are left to people.
async fn left_to_people(store: &TestStore, provider: ProviderKind) -> Office<'_> {
    let office = Office::open(store, provider).await;
    office.decide_by(ConflictPolicy::Manual).await;
    office
}

/// Another client gives the only event another title, place and text.
fn change_there(office: &Office<'_>) {
    let [event] = &office.held()[..] else { panic!("one event") };
    match office.provider {
        ProviderKind::Microsoft => {
            let change = json!({
                "subject": "Theirs", "location": { "displayName": "Their room" },
                "body": { "contentType": "text", "content": "Their text" },
            });
            let path = format!("me/events/{}", text(&event["id"]));
            Outlook::of(office.fleet()).call("PATCH", &path, &change);
        }
        ProviderKind::Google => {
            let change =
                json!({ "summary": "Theirs", "location": "Their room", "description": "Their text" });
            let path = format!("calendars/{ADA}/events/{}", text(&event["id"]));
            let (status, answer) = office.fleet().google().call(ADA, "PATCH", &path, &change);
            assert_eq!(status, 200, "{answer}");
        }
        _ => {
            let [resource] = &office.fleet().sandbox.resources("ada", "work").unwrap()[..] else { panic!() };
            let body = resource.body.replace("SUMMARY:Review", "SUMMARY:Theirs");
            let body = body.replace("LOCATION:Room", "LOCATION:Their room");
            let body = body.replace("DESCRIPTION:Text", "DESCRIPTION:Their text");
            office.fleet().sandbox.put("ada", "work", &resource.name, &body).unwrap();
        }
    }
}

/// Title, place and text as the provider has them.
fn said_there(office: &Office<'_>) -> [String; 3] {
    let [event] = &office.held()[..] else { panic!("one event") };
    let line = |name: &str| {
        let body = text(event);
        body.lines().find_map(|line| Some(line.strip_prefix(name)?.to_owned())).unwrap_or_default()
    };
    match office.provider {
        ProviderKind::Microsoft => {
            [&event["subject"], &event["location"]["displayName"], &event["bodyPreview"]].map(text)
        }
        ProviderKind::Google => [&event["summary"], &event["location"], &event["description"]].map(text),
        _ => ["SUMMARY:", "LOCATION:", "DESCRIPTION:"].map(line),
    }
}

async fn open(office: &Office<'_>) -> Vec<ConflictId> {
    let service = &office.fleet().service;
    let found = service.conflicts(office.fleet().organization, Which::Open, None, 10).await.unwrap();
    found.into_iter().map(|view| view.id).collect()
}

/// Both sides have given the event another title, place and text.
async fn contested(office: &Office<'_>) -> (EventId, ConflictId) {
    let input = json!({
        "title": "Review", "location": "Room", "description": "Text", "time_zone": "UTC",
        "start": "2026-10-06T10:00:00", "end": "2026-10-06T11:00:00",
    });
    let id = office.desk.create(input, Notify::None).await.unwrap().event_id;
    office.desk.push().await;
    office.list().await;
    change_there(office);
    let ours = json!({ "title": "Ours", "location": "Our room", "description": "Our text" });
    office.desk.edit(id, ours, Reach::ALL).await;
    office.desk.push().await;
    let [conflict] = open(office).await[..] else { panic!("{}: one conflict", office.provider) };
    (id, conflict)
}

fn mix(fields: &[(&str, Choice)], rest: Option<Choice>) -> Mix {
    let fields: BTreeMap<String, Choice> =
        fields.iter().map(|(name, choice)| ((*name).to_owned(), *choice)).collect();
    Mix { fields, rest }
}

#[tokio::test]
async fn what_is_mixed_of_both_sides_reaches_each_provider_by_one_write() {
    for provider in ALL {
        let store = TestStore::sqlite().await.unwrap();
        let office = left_to_people(&store, provider).await;
        let (id, conflict) = contested(&office).await;
        let wanted = mix(&[("title", Choice::Ours), ("location", Choice::Theirs)], Some(Choice::Ours));
        let terms = office.desk.terms(Notify::None);

        let outcome = office.fleet().service.mix_conflict(conflict, &wanted, &terms).await.unwrap();
        assert_eq!(outcome.intents.len(), 1, "{provider}");
        office.desk.push().await;

        assert_eq!(said_there(&office), ["Ours", "Their room", "Our text"].map(str::to_owned), "{provider}");
        assert_eq!(open(&office).await, [], "{provider}");
        office.assert_settled("a conflict that was decided").await;
        let before = (office.held(), office.desk.row(id).await);
        office.list().await;
        office.desk.push().await;
        assert_eq!((office.held(), office.desk.row(id).await), before, "{provider}: it is decided for good");
        let again = office.fleet().service.mix_conflict(conflict, &wanted, &terms).await;
        assert!(matches!(again, Err(WriteError::Refused(refusal)) if refusal.code == "already_resolved"));

        // what lost is restored by one call
        let service = &office.fleet().service;
        let last = service.last_request(office.fleet().organization, id).await.unwrap();
        service.undo_change(id, last, &terms).await.unwrap();
        office.desk.push().await;
        assert_eq!(
            said_there(&office),
            ["Theirs", "Our room", "Their text"].map(str::to_owned),
            "{provider}: the losers of both sides are back"
        );
        office.assert_settled("losers that were restored").await;
    }
}

#[tokio::test]
async fn a_mix_names_every_contested_field_and_no_other() {
    let store = TestStore::sqlite().await.unwrap();
    let office = left_to_people(&store, ProviderKind::Caldav).await;
    let (_, conflict) = contested(&office).await;
    let terms = office.desk.terms(Notify::None);

    for (wanted, field, code) in [
        (mix(&[("title", Choice::Ours)], None), "fields.location", "undecided"),
        (mix(&[("when", Choice::Ours)], Some(Choice::Ours)), "fields.when", "not_contested"),
    ] {
        let refused = office.fleet().service.mix_conflict(conflict, &wanted, &terms).await;
        let Err(WriteError::Invalid(all)) = refused else { panic!("{refused:?}") };
        assert!(all.iter().any(|one| (one.field.as_str(), one.code) == (field, code)), "{all:?}");
    }
    assert_eq!(open(&office).await, [conflict]);
    let view = office.fleet().service.conflict(office.fleet().organization, conflict).await.unwrap().unwrap();
    let names: Vec<&str> = view.contested.iter().map(|contest| contest.field.as_str()).collect();
    assert_eq!(names, ["location", "title", "text"]);
}

#[tokio::test]
async fn what_another_client_cuts_away_while_it_is_edited_here_is_kept_in_the_history_and_comes_back() {
    let store = TestStore::sqlite().await.unwrap();
    let office = Office::open(&store, ProviderKind::Caldav).await;
    let input = json!({
        "title": "Daily", "start": "2026-10-05T10:00:00", "end": "2026-10-05T11:00:00", "time_zone": "UTC",
        "recurrence": ["FREQ=DAILY;COUNT=6"],
    });
    let id = office.desk.create(input, Notify::None).await.unwrap().event_id;
    office.desk.push().await;
    office.list().await;
    let [resource] = &office.fleet().sandbox.resources("ada", "work").unwrap()[..] else { panic!() };
    let body = resource.body.replace("COUNT=6", "COUNT=2");
    office.fleet().sandbox.put("ada", "work", &resource.name, &body).unwrap();
    let key = "20261009T100000Z".parse().unwrap();
    let reach = Reach { scope: calfleet_domain::model::EditScope::This, recurrence_id: Some(key) };
    office.desk.edit(id, json!({ "title": "Special" }), reach).await;

    office.desk.push().await;

    office.assert_settled("an instance that is gone").await;
    let history = office.fleet().service.event_history(office.fleet().organization, id, 10).await.unwrap();
    let text = serde_json::to_string(&history).unwrap();
    assert!(text.contains("Special"), "{text}");
    assert!(!Value::to_string(&office.held()[0]).contains("Special"));
    let service = &office.fleet().service;
    let terms = office.desk.terms(Notify::None);
    service.undo_change(id, history[0].id, &terms).await.unwrap();
    office.desk.push().await;
    let held = office.held()[0].to_string();
    assert!(held.contains("Special") && held.contains("COUNT=6"), "{held}");
    office.assert_settled("an instance that came back").await;
}
