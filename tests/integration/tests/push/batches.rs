//! Many writes at once: few requests, and each write with everything that holds of it alone.

use std::time::Duration;

use calfleet_domain::model::{EditScope, EventId, Notify, ProviderId, ProviderKind};
use calfleet_sandbox::{Fault, FaultRule, RetryAfter};
use calfleet_service::write::Reach;
use calfleet_store::outbox::OutboxState;
use serde_json::{Value, json};

use super::office::Office;
use crate::databases::TestStore;
use crate::google::fleet::ADA;

/// The providers that take batches, and how many parts one has.
const PROVIDERS: [(ProviderKind, usize); 2] = [(ProviderKind::Google, 50), (ProviderKind::Microsoft, 20)];

/// At each of them, over each database.
async fn everywhere(test: impl AsyncFn(Office<'_>, usize)) {
    for (provider, most) in PROVIDERS {
        let store = TestStore::sqlite().await.unwrap();
        test(Office::open(&store, provider).await, most).await;
        if let Some(store) = TestStore::postgres().await.unwrap() {
            test(Office::open(&store, provider).await, most).await;
        }
    }
}

fn title(number: usize) -> String {
    format!("Event {number:03}")
}

fn titles(count: usize) -> Vec<String> {
    (0..count).map(title).collect()
}

fn input(number: usize) -> Value {
    json!({ "title": title(number), "time_zone": "Europe/Paris", "reminders": [],
        "start": "2026-10-05T10:00:00", "end": "2026-10-05T11:00:00" })
}

async fn create(office: &Office<'_>, count: usize) -> Vec<EventId> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(office.desk.create(input(number), Notify::None).await.unwrap().event_id);
    }
    ids
}

/// Pushes once; how many requests that took, and how many of them were batches.
async fn pushed(office: &Office<'_>) -> (usize, usize) {
    let log = office.fleet().sandbox.log();
    log.clear();
    office.desk.push().await;
    let is_batch = |path: &str| path.ends_with("/batch/calendar/v3") || path.ends_with("/$batch");
    (log.entries().len(), log.count_where(|entry| is_batch(&entry.path)))
}

#[tokio::test]
async fn hundreds_of_writes_travel_in_a_few_requests() {
    everywhere(async |office, most| {
        let provider = office.provider;
        let batches = 100 / most;
        // What the calendar is like is known from its last listing.
        let expected = (batches, batches);

        let ids = create(&office, 100).await;
        assert_eq!(pushed(&office).await, expected, "{provider}");
        assert_eq!(office.titles(), titles(100));

        for (number, id) in ids.iter().enumerate() {
            office.desk.edit(*id, json!({ "title": title(number + 100) }), Reach::ALL).await;
        }
        assert_eq!(pushed(&office).await, expected, "{provider}");
        assert_eq!(office.titles(), titles(200)[100..]);

        for id in &ids {
            office.desk.delete(*id, Reach::ALL).await;
        }
        assert_eq!(pushed(&office).await, expected, "{provider}");
        assert_eq!(office.titles(), [""; 0]);
        office.assert_settled("after all of it").await;

        // A few go one by one: a person waits for the first of them.
        create(&office, 3).await;
        assert_eq!(pushed(&office).await, (3, 0), "{provider}");
        office.assert_settled("after a few").await;
    })
    .await;
}

#[tokio::test]
async fn a_batch_whose_answer_is_lost_makes_each_event_once_and_mails_once() {
    everywhere(async |office, _| {
        let provider = office.provider;
        let mut guests = Vec::new();
        for number in 0..12 {
            let mut input = input(number);
            guests.push(format!("guest{number}@example.com"));
            input["attendees"] = json!([{ "address": guests[number] }]);
            office.desk.create(input, Notify::All).await.unwrap();
        }
        guests.sort();

        for skip in [0, 3] {
            office.fleet().sandbox.inject(FaultRule::next(Fault::AnswerLost).path("*batch*").after(skip));
            office.desk.push().await;
            office.fleet().sandbox.clear_faults();
        }
        office.deliver().await;

        assert_eq!(office.titles(), titles(12), "{provider}");
        office.assert_settled("after a lost answer").await;
        let mut told: Vec<String> = office.fleet().sandbox.mails().into_iter().map(|mail| mail.to).collect();
        told.sort();
        assert_eq!(told, guests, "{provider}");
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_is_cut_in_the_middle_is_finished_and_not_repeated() {
    everywhere(async |office, _| {
        let provider = office.provider;
        create(&office, 12).await;
        office.disturb(Fault::CutBefore, 7);

        office.desk.push().await;
        assert_eq!(office.titles().len(), 7, "{provider}");
        assert_eq!(office.outbox(OutboxState::Pending).await.len(), 12, "{provider}: all are in doubt");
        office.deliver().await;

        assert_eq!(office.titles(), titles(12), "{provider}");
        office.assert_settled("after a cut").await;
    })
    .await;
}

#[tokio::test]
async fn a_throttled_part_waits_alone_and_as_long_as_it_was_told() {
    everywhere(async |office, _| {
        let provider = office.provider;
        create(&office, 12).await;
        let fault = Fault::Status { code: 429, retry_after: Some(RetryAfter::Seconds(40)) };
        office.disturb(fault, 5);

        let finish = office.fleet().push(office.desk.connection).await;

        let now = office.fleet().service.now();
        let waiting = office.outbox(OutboxState::Pending).await;
        assert_eq!(waiting.len(), 1, "{provider}");
        assert_eq!((waiting[0].sent_at, waiting[0].attempt), (None, 0), "{provider}: nothing came of it");
        assert!(finish.next >= now.plus(Duration::from_secs(40)), "{provider} {finish:?}");
        office.deliver().await;
        assert_eq!(office.titles(), titles(12), "{provider}");
        office.assert_settled("after a throttle").await;
    })
    .await;
}

#[tokio::test]
async fn a_part_that_meets_another_client_is_merged_and_the_others_are_done() {
    everywhere(async |office, _| {
        let provider = office.provider;
        let ids = create(&office, 8).await;
        office.desk.push().await;
        let ProviderId(name) = office.desk.row(ids[4]).await.event.provider_id;
        let sandbox = &office.fleet().sandbox;
        let (status, _) = if provider == ProviderKind::Google {
            let path = format!("calendars/{ADA}/events/{name}");
            sandbox.google().call(ADA, "PATCH", &path, &json!({ "location": "Theirs" }))
        } else {
            let theirs = json!({ "location": { "displayName": "Theirs" } });
            sandbox.microsoft().call(ADA, "PATCH", &format!("me/events/{name}"), &theirs)
        };
        assert_eq!(status, 200);

        for (number, id) in ids.iter().enumerate() {
            office.desk.edit(*id, json!({ "title": title(number + 100) }), Reach::ALL).await;
        }
        office.desk.push().await;

        assert_eq!(office.titles(), titles(108)[100..], "{provider}");
        let shown = office.shown(ids[4]).await.unwrap();
        let location = if provider == ProviderKind::Google {
            &shown["location"]
        } else {
            &shown["location"]["displayName"]
        };
        assert_eq!(location, "Theirs", "{provider}");
        office.assert_settled("after a meeting of two").await;
    })
    .await;
}

#[tokio::test]
async fn a_part_that_is_refused_for_good_is_given_up_alone() {
    everywhere(async |office, _| {
        let provider = office.provider;
        create(&office, 8).await;
        office.disturb(Fault::Status { code: 400, retry_after: None }, 2);

        office.desk.push().await;

        assert_eq!(office.titles().len(), 7, "{provider}");
        assert_eq!(office.outbox(OutboxState::Dead).await.len(), 1, "{provider}");
        assert_eq!(office.outbox(OutboxState::Pending).await, [], "{provider}");
    })
    .await;
}

/// A worker dies wherever it may, again and again.
#[tokio::test]
async fn a_worker_that_dies_around_a_batch_leaves_each_event_made_once() {
    for (provider, _) in PROVIDERS {
        for steps in [4, 8, 12, 16, 24, 32, 48, 64] {
            let store = TestStore::sqlite().await.unwrap();
            let office = Office::open(&store, provider).await;
            create(&office, 9).await;

            office.fleet().push_for(office.desk.connection, steps).await;
            office.deliver().await;

            assert_eq!(office.titles(), titles(9), "{provider} {steps}");
            assert_eq!(office.ours().await, titles(9), "{provider} {steps}");
            office.assert_settled("after a death").await;
        }
    }
}

/// A refusal of one request says nothing about those before it.
#[tokio::test]
async fn a_new_series_that_is_refused_half_way_is_not_taken_for_the_providers() {
    everywhere(async |office, _| {
        let provider = office.provider;
        let mut series = input(1);
        series["recurrence"] = json!(["RRULE:FREQ=DAILY;COUNT=4"]);
        let id = office.desk.create(series, Notify::None).await.unwrap().event_id;
        let second =
            Reach { scope: EditScope::This, recurrence_id: Some("20261006T100000".parse().unwrap()) };
        let moved = json!({ "start": "2026-10-06T14:00:00", "end": "2026-10-06T15:00:00" });
        office.desk.edit(id, moved, second).await;
        let throttled = Fault::Status { code: 429, retry_after: Some(RetryAfter::Seconds(30)) };
        office.fleet().sandbox.inject(FaultRule::next(throttled).after(2));

        office.desk.push().await;
        assert_eq!(office.titles(), titles(2)[1..], "{provider}: the series is there");
        office.fleet().sandbox.clear_faults();
        office.fleet().advance(Duration::from_mins(1));
        office.list().await;
        office.deliver().await;

        office.assert_settled("after all").await;
        let ProviderId(name) = office.desk.row(id).await.event.provider_id;
        let sandbox = &office.fleet().sandbox;
        let (answer, moved) = if provider == ProviderKind::Google {
            let path = format!("calendars/{ADA}/events/{name}/instances");
            (sandbox.google().call(ADA, "GET", &path, &Value::Null).1["items"].take(), "2026-10-06T14:00")
        } else {
            let window = "startDateTime=2026-10-01T00:00:00Z&endDateTime=2026-11-01T00:00:00Z";
            let path = format!("me/events/{name}/instances?{window}");
            (sandbox.microsoft().call(ADA, "GET", &path, &Value::Null).1["value"].take(), "2026-10-06T12:00")
        };
        let starts = answer.as_array().unwrap().iter().filter_map(|one| one["start"]["dateTime"].as_str());
        assert!(starts.into_iter().any(|start| start.starts_with(moved)), "{provider}: {answer}");
    })
    .await;
}
