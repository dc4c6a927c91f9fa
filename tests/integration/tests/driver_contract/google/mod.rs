//! The Google driver against a small Google that knows the discovery document by heart.

mod answers;
mod contract;
mod departures;
mod desk;
mod fake;
mod series;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{
    Authentication, Body, Listing, Parts, ProviderId, ProviderKind, RemoteChange, SyncToken,
};
use calfleet_providers::driver::{Account, CalendarRef, Driver, Problem, Since, Watch, WatchRequest};
use calfleet_providers::registry::Registry;
use calfleet_providers::surroundings::Endpoints;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use url::Url;
use uuid::Uuid;

use self::fake::{Fake, refusal};
use super::mirror::Mirror;
use super::{Fixed, NOW, Still, marks, settings};

fn open(fake: &Fake, token: &str) -> Arc<dyn Driver> {
    open_at(&fake.base(), token)
}

fn open_at(base: &Url, token: &str) -> Arc<dyn Driver> {
    let endpoints = Endpoints { google: base.clone(), ..Endpoints::production().unwrap() };
    let settings = settings(&[base.port().unwrap()]);
    let registry = Registry::new(settings, endpoints, Arc::new(Still), Arc::new(Fixed)).unwrap();
    let account = Account {
        provider: ProviderKind::Google,
        url: base.clone(),
        authentication: Authentication::Oauth,
        username: None,
        secret: Some(token.into()),
        capabilities: None,
        payer: calfleet_providers::driver::Payer::default(),
        marks: marks(),
    };
    registry.open(account).unwrap()
}

fn ada() -> CalendarRef {
    CalendarRef {
        provider_id: ProviderId::from("ada@example.com"),
        time_zone: Some("Europe/Paris".to_owned()),
        setting: None,
    }
}

fn single(number: usize) -> Value {
    json!({ "id": format!("e{number:03}"), "iCalUID": format!("e{number}@example.com"), "status": "confirmed",
        "summary": format!("Event {number}"), "start": { "dateTime": "2026-03-02T09:00:00+01:00" },
        "end": { "dateTime": "2026-03-02T10:00:00+01:00" }, "reminders": { "useDefault": true } })
}

fn put_series(fake: &Fake) {
    fake.put(json!({ "id": "abc", "iCalUID": "abc@google.com", "status": "confirmed", "summary": "Standup",
        "start": { "dateTime": "2026-03-02T09:30:00+01:00", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-03-02T10:00:00+01:00", "timeZone": "Europe/Paris" },
        "recurrence": ["RRULE:FREQ=WEEKLY"] }));
    fake.put(json!({ "id": "abc_20260316T083000Z", "iCalUID": "abc@google.com", "status": "cancelled", "recurringEventId": "abc",
        "originalStartTime": { "dateTime": "2026-03-16T09:30:00+01:00", "timeZone": "Europe/Paris" } }));
    fake.put(json!({ "id": "abc_20260406T073000Z", "iCalUID": "abc@google.com", "status": "confirmed", "recurringEventId": "abc",
        "originalStartTime": { "dateTime": "2026-04-06T09:30:00+02:00", "timeZone": "Europe/Paris" },
        "start": { "dateTime": "2026-04-06T11:30:00+02:00", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-04-06T12:00:00+02:00", "timeZone": "Europe/Paris" } }));
}

async fn listed(driver: &dyn Driver, since: Since) -> Result<Vec<RemoteChange>, (FailureClass, Problem)> {
    let (members, _) = mpsc::channel(1);
    let page = driver.list_changes(&ada(), &since, &members).await;
    page.map(|page| page.changes).map_err(|error| (error.class, error.problem))
}

#[tokio::test]
async fn an_account_is_probed_and_its_calendars_listed_to_the_last_page() {
    let fake = Fake::start().await;
    let driver = open(&fake, "ada-token");

    let report = driver.probe().await.unwrap();
    let calendars = driver.list_calendars().await.unwrap();

    assert_eq!(report.account, "ada@example.com");
    assert!(report.capabilities.watches && report.capabilities.writes);
    let names: Vec<_> =
        calendars.iter().map(|calendar| (calendar.name.as_str(), calendar.is_primary)).collect();
    assert_eq!(names, [("Holidays", false), ("ada@example.com", true)]);
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn everything_is_listed_page_by_page_and_then_only_what_changed() {
    let fake = Fake::start().await;
    fake.with(|state| state.page_size = 5);
    (0..12).for_each(|number| fake.put(single(number)));
    put_series(&fake);
    let driver = open(&fake, "ada-token");
    let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[1]);

    assert_eq!(mirror.sync(driver.as_ref()).await.unwrap(), Listing::Full);
    assert_eq!((mirror.pages, mirror.objects.len()), (3, 13));
    let sent = driver.requests_sent();
    assert_eq!(mirror.sync(driver.as_ref()).await.unwrap(), Listing::Delta);
    assert_eq!(driver.requests_sent(), sent + 1);
    fake.put(json!({ "id": "e003", "status": "cancelled" }));
    fake.put(json!({ "summary": "Changed", "id": "e004", "iCalUID": "e4@example.com", "start": { "date": "2026-03-02" } }));
    let before = mirror.objects.clone();
    mirror.sync(driver.as_ref()).await.unwrap();

    assert_eq!(mirror.objects.len(), 12);
    assert!(!mirror.objects.contains_key("e003"));
    assert_ne!(mirror.objects["e004"], before["e004"]);
    assert_eq!(mirror.objects["e005"], before["e005"]);
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn every_page_of_a_listing_is_asked_for_with_the_same_parameters() {
    let fake = Fake::start().await;
    fake.with(|state| state.page_size = 5);
    (0..12).for_each(|number| fake.put(single(number)));
    let driver = open(&fake, "ada-token");
    let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[1]);

    mirror.sync(driver.as_ref()).await.unwrap();
    (0..12).for_each(|number| fake.put(single(number)));
    mirror.sync(driver.as_ref()).await.unwrap();

    let listings: Vec<_> = fake.with(|state| {
        let listings = state.asked.iter().filter(|(_, path, _)| path.ends_with("/events"));
        listings.map(|(_, _, query)| query.clone()).collect()
    });
    let fixed = |query: &[(String, String)]| -> Vec<(String, String)> {
        query.iter().filter(|(name, _)| !name.ends_with("Token")).cloned().collect()
    };
    assert_eq!(listings.len(), 6);
    assert!(listings.iter().all(|query| fixed(query) == fixed(&listings[0])));
    let tokens = |query: &[(String, String)]| query.iter().filter(|(name, _)| name == "syncToken").count();
    assert_eq!(listings.iter().map(|query| tokens(query)).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 1]);
}

#[tokio::test]
async fn a_dead_token_is_gone_wherever_it_dies() {
    let fake = Fake::start().await;
    let driver = open(&fake, "ada-token");
    let (members, _) = mpsc::channel(1);
    fake.with(|state| state.page_size = 1);
    (0..2).for_each(|number| fake.put(single(number)));
    let first = driver.list_changes(&ada(), &Since::Beginning, &members).await.unwrap();
    let calfleet_providers::driver::Next::Page(page) = first.next else { panic!("one page") };

    let gone = Err((FailureClass::Gone, Problem::CursorExpired));
    assert_eq!(listed(driver.as_ref(), Since::Token(SyncToken::from("dav:1"))).await, gone);
    for (status, reason, location) in [(410, "fullSyncRequired", "syncToken"), (400, "invalid", "pageToken")]
    {
        let since = Since::Page(page.clone());
        fake.with(|state| state.refusals.push_back((status, None, refusal(status, reason, location))));
        assert_eq!(listed(driver.as_ref(), since).await, gone, "{status}");
    }
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_series_read_singly_is_whole_and_what_is_absent_is_removed() {
    let fake = Fake::start().await;
    put_series(&fake);
    fake.put(json!({ "id": "dead", "status": "cancelled" }));
    let driver = open(&fake, "ada-token");
    let ids = ["abc", "never", "dead"].map(ProviderId::from);

    let read = driver.read(&ada(), &ids).await.unwrap();

    let RemoteChange::Upsert(series) = &read[0] else { panic!("{:?}", read[0]) };
    assert_eq!((series.parts, series.instances.len()), (Parts::Whole, 2));
    let Body::Series(body) = &series.event.body else { panic!("no series") };
    let keys: Vec<_> = body.overrides.keys().map(ToString::to_string).collect();
    assert_eq!(keys, ["20260316T093000", "20260406T093000"]);
    assert!(read[1..].iter().all(|change| matches!(change, RemoteChange::Removed { .. })));
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn events_of_a_calendar_that_was_taken_away_are_not_deleted() {
    let fake = Fake::start().await;
    fake.put(single(1));
    let driver = open(&fake, "ada-token");
    listed(driver.as_ref(), Since::Beginning).await.unwrap();
    fake.with(|state| state.is_shared = false);

    let read = driver.read(&ada(), &[ProviderId::from("e001")]).await;

    assert_eq!(read.unwrap_err().problem, Problem::NotFound);
}

#[tokio::test]
async fn refusals_have_their_class_and_words() {
    let fake = Fake::start().await;
    let driver = open(&fake, "ada-token");
    let wait = FailureClass::Throttled { retry_after: Some(Duration::from_secs(7)) };

    for (status, reason, class, problem) in [
        (403, "userRateLimitExceeded", wait, Problem::Throttled),
        (403, "insufficientPermissions", FailureClass::Auth, Problem::MissingScope),
        (404, "notFound", FailureClass::Permanent, Problem::NotFound),
    ] {
        fake.with(|state| state.refusals.push_back((status, Some(7), refusal(status, reason, ""))));
        assert_eq!(listed(driver.as_ref(), Since::Beginning).await, Err((class, problem)), "{reason}");
    }
    let stranger = open(&fake, "old-token");
    let refused = listed(stranger.as_ref(), Since::Beginning).await;
    assert_eq!(refused, Err((FailureClass::Auth, Problem::AccessRevoked)));
}

#[tokio::test]
async fn a_watch_is_begun_renewed_by_another_and_stopped_once() {
    let fake = Fake::start().await;
    let driver = open(&fake, "ada-token");
    let request = |number| WatchRequest {
        id: Uuid::from_u128(number),
        url: "https://calfleet.example.com/notifications/google".parse().unwrap(),
        secret: "s3cret".into(),
        until: Timestamp(NOW).plus(Duration::from_hours(24)),
    };

    let first = driver.watch(&ada(), &request(1), None).await.unwrap();
    let second = driver.watch(&ada(), &request(2), Some(&first)).await.unwrap();
    fake.with(|state| state.refusals.push_back((404, None, refusal(404, "notFound", ""))));
    driver.unwatch(&first).await.unwrap();
    driver.unwatch(&second).await.unwrap();

    let expires_at = Timestamp(1_772_528_400_000);
    let named = |number| Watch {
        id: Uuid::from_u128(number).to_string(),
        resource: Some("res-1".to_owned()),
        expires_at,
    };
    assert_eq!((first, second), (named(1), named(2)));
    let bodies = fake.with(|state| state.bodies.clone());
    assert_eq!(bodies[0]["params"]["ttl"], "86400");
    assert_eq!(bodies[0]["token"], "s3cret");
    assert_eq!(bodies[3], json!({ "id": Uuid::from_u128(2).to_string(), "resourceId": "res-1" }));
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_looked_at_first_is_named_by_masters_and_singles() {
    let fake = Fake::start().await;
    put_series(&fake);
    fake.put(single(1));
    let driver = open(&fake, "ada-token");
    let until = Timestamp(NOW).plus(Duration::from_hours(24 * 30));

    let ids = driver.list_within(&ada(), Timestamp(NOW), until, 10).await.unwrap();

    let ids: Vec<_> = ids.iter().map(ProviderId::as_str).collect();
    assert_eq!(ids, ["abc", "e001"]);
    assert_eq!(fake.faults(), Vec::<String>::new());
}
