//! Who is mailed (law 18): nobody where nobody is to be told, and otherwise exactly those whom the write concerns, once
//! each, as the plan had said.
//!
//! Over the events of the corpus that an application can make. The simulated CalDAV server mails nobody whatever it is
//! asked, so it proves nothing here.

use std::collections::BTreeSet;
use std::fs;

use calfleet_domain::ics::{self, Item, Limits};
use calfleet_domain::model::{Body, End, EventId, Fields, Notify, ProviderKind, Status, When};
use calfleet_harness::repository_root;
use calfleet_sandbox::MailKind;
use calfleet_service::view::Time;
use calfleet_service::write::{EventPatch, Outcome, Reach, WriteError};
use serde_json::{Value, json};

use super::office::Office;
use crate::databases::TestStore;
use crate::google::fleet::ADA;

const MAILING: [ProviderKind; 2] = [ProviderKind::Google, ProviderKind::Microsoft];

/// Receivers, and what they are mailed.
type Mails = BTreeSet<(String, &'static str)>;

/// What an application would say to make the corpus' events.
fn corpus() -> Vec<Value> {
    let folder = repository_root().join("tests/data/ics");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let documents = files
        .iter()
        .filter_map(|file| ics::read(&ics::decode(&fs::read(file).unwrap()), None, &Limits::default()).ok());
    let mut inputs = Vec::new();
    for item in documents.flat_map(|document| document.items) {
        let Item::Read(object) = item else { continue };
        match &object.event.body {
            Body::Single(fields) => inputs.extend(input(fields, &[])),
            Body::Series(series) => {
                let master = series.master.iter();
                inputs.extend(master.filter_map(|one| input(&one.fields, &ics::recurrence_lines(one))));
            }
        }
    }
    inputs
}

fn input(fields: &Fields, recurrence: &[String]) -> Option<Value> {
    // The simulated Google refuses periods, and nobody documents what Google does.
    if fields.status == Status::Cancelled || recurrence.iter().any(|line| line.contains("VALUE=PERIOD")) {
        return None;
    }
    let guests = fields.attendees.iter().map(|guest| json!({ "address": guest.address, "name": guest.name }));
    let mut input = json!({
        "title": fields.title, "description": fields.description, "location": fields.location,
        "start": Time::from(&fields.start), "attendees": guests.collect::<Value>(), "reminders": [],
        "is_all_day": matches!(fields.start, When::Date(_)),
    });
    match &fields.end {
        End::At(end) => input["end"] = json!(Time::from(end)),
        _ => input["end"] = input["start"].clone(),
    }
    if !recurrence.is_empty() {
        input["recurrence"] = json!(recurrence);
    }
    Some(input)
}

async fn change(office: &Office<'_>, id: EventId, patch: Value, notify: Notify) -> Outcome {
    let patch: EventPatch = serde_json::from_value(patch).unwrap();
    let terms = office.desk.terms(notify);
    office.fleet().service.edit_event(id, &patch, Reach::ALL, &terms).await.unwrap()
}

async fn delete(office: &Office<'_>, id: EventId, notify: Notify) -> Outcome {
    office.fleet().service.delete_event(id, Reach::ALL, &office.desk.terms(notify)).await.unwrap()
}

/// Delivers a write; the mails that it caused, each once. Nobody got one who was not named before.
async fn mailed(office: &Office<'_>, written: &Outcome, what: &Value) -> Mails {
    office.desk.push().await;
    office.assert_settled(&what.to_string()).await;
    let found = office.fleet().sandbox.mails();
    office.fleet().sandbox.clear_mails();
    let kind = |kind| match kind {
        MailKind::Invitation => "invitation",
        MailKind::Update => "update",
        MailKind::Cancellation => "cancellation",
        MailKind::Response => "response",
    };
    let mails: Mails = found.iter().map(|mail| (mail.to.clone(), kind(mail.kind))).collect();
    assert_eq!(mails.len(), found.len(), "somebody was mailed twice: {found:?}");
    let named = &written.plan.as_ref().unwrap().mail.addresses;
    assert!(mails.iter().all(|(to, _)| named.contains(to)), "{mails:?} beyond {named:?}");
    mails
}

fn all(guests: &[&str], kind: &'static str) -> Mails {
    guests.iter().map(|guest| ((*guest).to_owned(), kind)).collect()
}

async fn silent_over_the_corpus(provider: ProviderKind) {
    let store = TestStore::sqlite().await.unwrap();
    let office = Office::open(&store, provider).await;
    let (mut made, mut invited) = (0, 0);
    for mut input in corpus() {
        let mut written = office.desk.create(input.clone(), Notify::None).await;
        if matches!(&written, Err(WriteError::Refused(refusal)) if refusal.code == "cannot_be_silent") {
            // Microsoft mails whoever is invited, so nobody is.
            assert!(provider == ProviderKind::Microsoft && input["attendees"] != json!([]));
            input["attendees"] = json!([]);
            written = office.desk.create(input.clone(), Notify::None).await;
        }
        let written = match written {
            Ok(written) => written,
            Err(WriteError::Invalid(_)) => continue,
            Err(other) => panic!("{other:?}"),
        };
        made += 1;
        invited += usize::from(input["attendees"] != json!([]));
        let id = written.event_id;
        assert_eq!(mailed(&office, &written, &input).await, Mails::new(), "{input}");
        let patch = json!({ "title": "Other", "location": "Elsewhere" });
        let written = change(&office, id, patch, Notify::None).await;
        assert_eq!(mailed(&office, &written, &input).await, Mails::new(), "{input}");
        let written = delete(&office, id, Notify::None).await;
        assert_eq!(mailed(&office, &written, &input).await, Mails::new(), "{input}");
    }
    assert!(made > 40, "{provider}: {made} events prove nothing");
    assert!(invited > 3 || provider == ProviderKind::Microsoft, "{provider}: {invited} with guests");
}

#[tokio::test]
async fn no_write_over_the_corpus_mails_anybody_where_nobody_is_to_be_told() {
    for provider in MAILING {
        silent_over_the_corpus(provider).await;
    }
}

async fn told_over_the_corpus(provider: ProviderKind) {
    const GUESTS: [&str; 3] = ["bob@example.com", "carl@example.com", "dora@example.com"];
    let store = TestStore::sqlite().await.unwrap();
    let office = Office::open(&store, provider).await;
    let addresses = |guests: &[&str]| guests.iter().map(|one| json!({ "address": one })).collect::<Value>();
    let mut made = 0;
    for mut input in corpus() {
        if provider == ProviderKind::Microsoft && input["recurrence"].to_string().contains("EXDATE") {
            // It has no words for exclusions: each is an instance that is called off, with a mail of its own.
            continue;
        }
        input["attendees"] = addresses(&[&GUESTS[..2], &[ADA]].concat());
        let written = match office.desk.create(input.clone(), Notify::All).await {
            Ok(written) => written,
            Err(WriteError::Invalid(_)) => continue,
            Err(other) => panic!("{other:?}"),
        };
        made += 1;
        let id = written.event_id;
        assert_eq!(mailed(&office, &written, &input).await, all(&GUESTS[..2], "invitation"), "{input}");

        let written = change(&office, id, json!({ "title": "Other" }), Notify::All).await;
        assert_eq!(mailed(&office, &written, &input).await, all(&GUESTS[..2], "update"), "{input}");

        // Bob is no longer wanted, Dora is; Google tells Carl of that, Microsoft does not.
        let patch = json!({ "attendees": addresses(&GUESTS[1..]) });
        let written = change(&office, id, patch, Notify::All).await;
        let mut expected = all(&GUESTS[..1], "cancellation");
        expected.extend(all(&GUESTS[2..], "invitation"));
        if provider == ProviderKind::Google {
            expected.extend(all(&GUESTS[1..2], "update"));
        }
        assert_eq!(mailed(&office, &written, &input).await, expected, "{input}");

        let written = delete(&office, id, Notify::All).await;
        assert_eq!(mailed(&office, &written, &input).await, all(&GUESTS[1..], "cancellation"), "{input}");
    }
    assert!(made > 40, "{provider}: {made} events prove nothing");
}

#[tokio::test]
async fn every_write_over_the_corpus_mails_whom_it_concerns_once() {
    for provider in MAILING {
        told_over_the_corpus(provider).await;
    }
}
