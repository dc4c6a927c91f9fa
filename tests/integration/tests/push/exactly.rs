//! Exactly as many events as were asked for (law 3): creates by the thousand, whose requests get cut, whose answers get
//! lost, whose providers are in trouble and whose workers die, and an answer to an invitation that is given once.
//!
//! A failure prints its seed; `CALFLEET_TEST_SIZE=full` makes 10,000 events at each provider.

use std::time::Duration;

use calfleet_domain::model::{Notify, ParticipationStatus, ProviderKind};
use calfleet_harness::Size;
use calfleet_sandbox::{Fault, FaultRule, GoogleAccountSpec, MailKind, MicrosoftAccountSpec, RetryAfter};
use calfleet_service::write::{Answer, Reach};
use serde_json::{Value, json};

use super::chance::Chance;
use super::office::Office;
use crate::databases::TestStore;
use crate::google::fleet::ADA;

/// Events that one run of a worker finds waiting, at most.
const BATCH: usize = 12;

const BOB: &str = "bob@example.com";

async fn exactly_as_many(provider: ProviderKind, seed: u64) {
    let wanted = Size::of_this_run().pick(170, 10_000);
    let store = TestStore::sqlite().await.unwrap();
    let office = Office::open(&store, provider).await;
    let mut chance = Chance::of(seed);
    let mut titles: Vec<String> = Vec::new();
    let (mut struck, mut died) = (0, 0);
    while titles.len() < wanted {
        for _ in 0..(1 + chance.below(BATCH)).min(wanted - titles.len()) {
            let title = format!("Event {:05}", titles.len());
            let input = json!({ "title": title, "time_zone": "Europe/Paris", "reminders": [],
                "start": "2027-01-04T10:00:00", "end": "2027-01-04T11:00:00" });
            office.desk.create(input, Notify::None).await.unwrap();
            titles.push(title);
        }
        for _ in 0..2 {
            struck += disturbed(&office, &mut chance, &mut died).await;
            // A throttled account is left alone for the half minute that was asked for.
            office.fleet().advance(Duration::from_secs(60 + u64::try_from(chance.below(400)).unwrap()));
        }
    }
    office.deliver().await;

    assert!(struck > wanted / 25 && died > wanted / 50, "{struck} faults and {died} deaths prove nothing");
    assert!(office.desk.is_settled().await, "{provider} seed {seed}");
    assert_eq!(office.titles(), titles, "{provider} seed {seed}");
    assert_eq!(office.ours().await, titles, "{provider} seed {seed}");
    let before = office.held();
    office.list().await;
    office.desk.push().await;
    assert_eq!(office.held(), before, "{provider} seed {seed}");
    assert_eq!(office.ours().await, titles, "{provider} seed {seed}");
    assert_eq!(office.fleet().sandbox.mails(), [], "{provider} seed {seed}");
}

/// One run in which something goes wrong; how many faults struck.
async fn disturbed(office: &Office<'_>, chance: &mut Chance, died: &mut usize) -> usize {
    let faults = 1 + chance.below(3);
    for _ in 0..faults {
        let fault = match chance.below(6) {
            0..=2 => Fault::AnswerLost,
            3 => Fault::CutBefore,
            4 => Fault::Status { code: 503, retry_after: None },
            _ => Fault::Status { code: 429, retry_after: Some(RetryAfter::Seconds(30)) },
        };
        office.disturb(fault, u32::try_from(chance.below(6)).unwrap());
    }
    match chance.below(3) {
        0 => {
            *died += 1;
            let steps = u32::try_from(1 + chance.below(400)).unwrap();
            office.fleet().push_for(office.desk.connection, steps).await;
        }
        _ => office.desk.push().await,
    }
    let left = office.fleet().sandbox.faults().len();
    office.fleet().sandbox.clear_faults();
    faults - left
}

#[tokio::test]
async fn caldav_holds_exactly_as_many_events_as_were_made() {
    exactly_as_many(ProviderKind::Caldav, 1).await;
}

#[tokio::test]
async fn google_holds_exactly_as_many_events_as_were_made() {
    exactly_as_many(ProviderKind::Google, 2).await;
}

#[tokio::test]
async fn microsoft_holds_exactly_as_many_events_as_were_made() {
    exactly_as_many(ProviderKind::Microsoft, 3).await;
}

/// Bob invites Ada.
fn invite(office: &Office<'_>) {
    let sandbox = &office.fleet().sandbox;
    let at = |hour: u32| json!({ "dateTime": format!("2026-10-06T{hour}:00:00Z"), "timeZone": "UTC" });
    let (status, made) = if office.provider == ProviderKind::Microsoft {
        sandbox.microsoft().create_account(MicrosoftAccountSpec::new(BOB)).unwrap();
        let at = |hour: u32| json!({ "dateTime": format!("2026-10-06T{hour}:00:00"), "timeZone": "UTC" });
        let event = json!({ "subject": "Theirs", "start": at(10), "end": at(11),
            "attendees": [{ "emailAddress": { "address": ADA } }] });
        sandbox.microsoft().call(BOB, "POST", "me/events", &event)
    } else {
        sandbox.google().create_account(GoogleAccountSpec::new(BOB)).unwrap();
        let event =
            json!({ "summary": "Theirs", "start": at(10), "end": at(11), "attendees": [{ "email": ADA }] });
        sandbox.google().call(BOB, "POST", &format!("calendars/{BOB}/events?sendUpdates=all"), &event)
    };
    assert!((200..300).contains(&status), "{made}");
}

/// Ada answers, and what would tell Bob goes wrong again and again.
async fn an_answer_mails_once(provider: ProviderKind, fault: Fault, times: u32) {
    let store = TestStore::sqlite().await.unwrap();
    let office = Office::open(&store, provider).await;
    invite(&office);
    office.fleet().sync(office.desk.connection).await;
    let id = office.desk.titled("Theirs").await;
    office.fleet().sandbox.clear_mails();
    let rule = match provider {
        ProviderKind::Google => FaultRule::next(fault.clone()).method("PATCH"),
        _ => FaultRule::next(fault.clone()).method("POST").path("*/accept"),
    };
    office.fleet().sandbox.inject(rule.times(times));

    let answer = Answer { status: ParticipationStatus::Accepted, comment: None };
    let terms = office.desk.terms(Notify::All);
    office.fleet().service.respond_to_event(id, &answer, Reach::ALL, &terms).await.unwrap();
    for _ in 0..times {
        office.fleet().advance(Duration::from_mins(30));
        office.desk.push().await;
    }
    office.deliver().await;
    office.list().await;
    office.deliver().await;

    assert!(office.desk.is_settled().await);
    let mails = office.fleet().sandbox.mails();
    let told: Vec<_> = mails.iter().map(|mail| (mail.to.as_str(), mail.kind)).collect();
    assert_eq!(told, [(BOB, MailKind::Response)], "{provider} {fault:?}");
    let shown = office.shown(id).await.unwrap();
    let answered = match provider {
        ProviderKind::Google => &shown["attendees"][0]["responseStatus"],
        _ => &shown["responseStatus"]["response"],
    };
    assert_eq!(answered, &Value::from("accepted"), "{shown}");
}

#[tokio::test]
async fn an_answer_to_an_invitation_mails_once_however_often_it_is_sent() {
    for provider in [ProviderKind::Google, ProviderKind::Microsoft] {
        an_answer_mails_once(provider, Fault::AnswerLost, 1).await;
        an_answer_mails_once(provider, Fault::CutBefore, 3).await;
        an_answer_mails_once(provider, Fault::Status { code: 503, retry_after: None }, 2).await;
    }
}
