//! The Graph driver against a small Graph that knows its description by heart.

mod contract;
mod desk;
mod fake;
mod series;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{
    Authentication, Body, Listing, Member, Override, ParticipationStatus, ProviderId, ProviderKind,
    RemoteChange, SyncToken,
};
use calfleet_providers::driver::{
    Account, CalendarRef, ChangePage, Coverage, Driver, DriverError, Next, Problem, Since, Watch,
    WatchRequest,
};
use calfleet_providers::registry::Registry;
use calfleet_providers::surroundings::Endpoints;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use self::fake::{Fake, refusal};
use super::mirror::{self, Mirror};
use super::{Fixed, NOW, Still, marks, settings};

fn open(fake: &Fake, token: &str) -> Arc<dyn Driver> {
    open_at(&fake.base(), token)
}

fn open_at(base: &Url, token: &str) -> Arc<dyn Driver> {
    let endpoints = Endpoints { microsoft: base.clone(), ..Endpoints::production().unwrap() };
    let settings = settings(&[base.port().unwrap()]);
    let registry = Registry::new(settings, endpoints, Arc::new(Still), Arc::new(Fixed)).unwrap();
    let account = Account {
        provider: ProviderKind::Microsoft,
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

fn calendar() -> CalendarRef {
    CalendarRef { provider_id: ProviderId::from("cal-1"), time_zone: None, setting: None }
}

fn moment(wall: &str) -> Value {
    json!({ "dateTime": format!("{wall}.0000000"), "timeZone": "UTC" })
}

fn single(number: usize) -> Value {
    json!({ "id": format!("e{number:03}"), "type": "singleInstance", "iCalUId": format!("uid{number}"), "isOrganizer": true,
        "subject": format!("Event {number}"), "start": moment("2026-03-02T08:00:00"), "end": moment("2026-03-02T09:00:00"),
        "originalStartTimeZone": "Romance Standard Time", "originalEndTimeZone": "Romance Standard Time" })
}

fn instance(id: &str, series: &str, start: &str) -> Value {
    json!({ "id": id, "type": "occurrence", "seriesMasterId": series, "start": moment(start), "end": moment(start),
        "originalStartTimeZone": "Romance Standard Time" })
}

/// A weekly standup: the third one is cancelled, the sixth is late.
fn put_series(fake: &Fake, id: &str) {
    let late = json!({ "id": format!("{id}-late"), "type": "exception", "seriesMasterId": id, "subject": "Standup, late",
        "isOrganizer": true, "changeKey": "late", "originalStart": "2026-04-06T07:30:00Z", "start": moment("2026-04-06T09:30:00"),
        "end": moment("2026-04-06T10:00:00"), "originalStartTimeZone": "Romance Standard Time" });
    fake.put(json!({ "id": id, "type": "seriesMaster", "iCalUId": format!("uid-{id}"), "isOrganizer": true, "subject": "Standup",
        "start": moment("2026-03-02T08:30:00"), "end": moment("2026-03-02T09:00:00"),
        "originalStartTimeZone": "Romance Standard Time", "originalEndTimeZone": "Romance Standard Time",
        "recurrence": { "pattern": { "type": "weekly", "interval": 1, "daysOfWeek": ["monday"], "firstDayOfWeek": "sunday" },
            "range": { "type": "noEnd", "startDate": "2026-03-02", "recurrenceTimeZone": "Romance Standard Time" } },
        "cancelledOccurrences": [format!("OID.{id}.2026-03-16")], "exceptionOccurrences": [late.clone()] }));
    for (number, start) in
        [(1, "2026-03-02T08:30:00"), (2, "2026-03-09T08:30:00"), (4, "2026-03-23T08:30:00")]
    {
        fake.put(instance(&format!("{id}-{number}"), id, start));
    }
    fake.put(late);
}

async fn page(driver: &dyn Driver, since: Since) -> Result<(ChangePage, Vec<Member>), DriverError> {
    mirror::list(driver, &calendar(), &since).await
}

async fn failed(driver: &dyn Driver, since: Since) -> (FailureClass, Problem) {
    let error = page(driver, since).await.unwrap_err();
    (error.class, error.problem)
}

fn overrides(change: &RemoteChange) -> Vec<(String, bool)> {
    let RemoteChange::Upsert(series) = change else { panic!("{change:?}") };
    let Body::Series(body) = &series.event.body else { panic!("no series") };
    let is_changed = |over: &Override| matches!(over, Override::Changed(_));
    let excluded =
        body.master.iter().flat_map(|master| &master.exclusions).map(|key| (key.to_string(), false));
    body.overrides.iter().map(|(key, over)| (key.to_string(), is_changed(over))).chain(excluded).collect()
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
    assert_eq!(names, [("Birthdays", false), ("Calendar", true)]);
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn everything_is_listed_page_by_page_and_then_only_what_changed() {
    let fake = Fake::start().await;
    fake.with(|state| state.page_size = 5);
    (0..12).for_each(|number| fake.put(single(number)));
    put_series(&fake, "standup");
    let driver = open(&fake, "ada-token");
    let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[1]);

    assert_eq!(mirror.sync(driver.as_ref()).await.unwrap(), Listing::Full);
    assert_eq!((mirror.pages, mirror.objects.len()), (4, 13));
    let sent = driver.requests_sent();
    assert_eq!(mirror.sync(driver.as_ref()).await.unwrap(), Listing::Delta);
    assert_eq!(driver.requests_sent(), sent + 1, "a quiet poll is one request");
    let mut changed = single(4);
    changed["subject"] = json!("Changed");
    fake.put(changed);
    let before = mirror.objects.clone();
    mirror.sync(driver.as_ref()).await.unwrap();

    assert_ne!(mirror.objects["e004"], before["e004"]);
    assert_eq!(mirror.objects["e005"], before["e005"]);
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_page_has_its_series_whole_and_says_whose_its_instances_are() {
    let fake = Fake::start().await;
    put_series(&fake, "standup");
    fake.put(single(1));
    let driver = open(&fake, "ada-token");

    let (page, members) = page(driver.as_ref(), Since::Beginning).await.unwrap();

    assert!(members.is_empty(), "nothing is left to be read: {members:?}");
    let instances = page.changes.iter().filter(|change| {
        matches!(change, RemoteChange::Occurrence { series_id, .. } if series_id.as_str() == "standup")
    });
    assert_eq!(instances.count(), 4);
    let upserts = page.changes.iter().filter(|change| matches!(change, RemoteChange::Upsert(_)));
    let mut names: Vec<_> = upserts.map(|change| change.provider_id().as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["e001", "standup"], "each once, however many of its instances are listed");
    assert!(matches!(page.coverage, Coverage::Window { .. }));
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_series_is_read_once_a_listing_and_again_with_a_page_that_is_asked_for_again() {
    let fake = Fake::start().await;
    fake.with(|state| state.page_size = 2);
    put_series(&fake, "standup");
    let driver = open(&fake, "ada-token");
    let has_series = |page: &ChangePage| {
        page.changes.iter().any(
            |change| matches!(change, RemoteChange::Upsert(event) if event.provider_id.as_str() == "standup"),
        )
    };
    let next = |page: &ChangePage| match &page.next {
        Next::Page(token) => Since::Page(token.clone()),
        next => panic!("{next:?}"),
    };

    let (first, _) = page(driver.as_ref(), Since::Beginning).await.unwrap();
    let (second, _) = page(driver.as_ref(), next(&first)).await.unwrap();
    let (begun_again, _) = page(driver.as_ref(), Since::Beginning).await.unwrap();
    let afterwards = open(&fake, "ada-token");
    let (resumed, _) = page(afterwards.as_ref(), next(&first)).await.unwrap();
    let (repeated, _) = page(afterwards.as_ref(), next(&first)).await.unwrap();

    let pages = [first, second, begun_again, resumed, repeated];
    assert_eq!(pages.each_ref().map(has_series), [true, false, true, true, true]);
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn series_are_read_whole_in_one_batch() {
    let fake = Fake::start().await;
    put_series(&fake, "standup");
    put_series(&fake, "retro");
    let driver = open(&fake, "ada-token");
    page(driver.as_ref(), Since::Beginning).await.unwrap();
    let ids = ["standup", "retro"].map(|id| ProviderId(id.to_owned()));
    let sent = driver.requests_sent();

    let read = driver.read(&calendar(), &ids).await.unwrap();

    assert_eq!(driver.requests_sent(), sent + 1);
    let departed = [("20260406T093000".to_owned(), true), ("20260316T093000".to_owned(), false)];
    assert_eq!(overrides(&read[0]), departed);
    assert_eq!(overrides(&read[1]), departed);
    let ids: Vec<_> = read.iter().map(|change| change.provider_id().as_str()).collect();
    assert_eq!(ids, ["standup", "retro"], "in the order of the asking");
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_not_known_to_be_a_series_is_asked_as_what_it_is() {
    let fake = Fake::start().await;
    put_series(&fake, "standup");
    fake.put(single(1));
    fake.with(|state| {
        state.refused_events.push(("odd".to_owned(), (400, None, refusal("ErrorInvalidIdMalformed"))));
    });
    let driver = open(&fake, "ada-token");
    let ids = ["standup", "e001", "never", "odd", "standup-late"].map(ProviderId::from);

    let read = driver.read(&calendar(), &ids).await.unwrap();

    assert_eq!(overrides(&read[0]).len(), 2);
    assert!(matches!(&read[1], RemoteChange::Upsert(_)), "{:?}", read[1]);
    assert!(matches!(&read[2], RemoteChange::Removed { .. }), "{:?}", read[2]);
    assert!(matches!(&read[3], RemoteChange::Unreadable { .. }), "{:?}", read[3]);
    assert!(matches!(&read[4], RemoteChange::Instance(_)), "{:?}", read[4]);
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_series_that_has_become_a_single_event_is_read_as_one() {
    let fake = Fake::start().await;
    put_series(&fake, "standup");
    let driver = open(&fake, "ada-token");
    page(driver.as_ref(), Since::Beginning).await.unwrap();
    let mut now_single = single(1);
    now_single["id"] = json!("standup");
    fake.put(now_single);

    let read = driver.read(&calendar(), &[ProviderId::from("standup")]).await.unwrap();

    let RemoteChange::Upsert(event) = &read[0] else { panic!("{:?}", read[0]) };
    assert!(matches!(event.event.body, Body::Single(_)));
}

#[tokio::test]
async fn a_server_that_does_not_say_what_departs_has_its_instances_compared() {
    let fake = Fake::start().await;
    fake.with(|state| state.tells_departures = false);
    put_series(&fake, "standup");
    let driver = open(&fake, "ada-token");

    let read = driver.read(&calendar(), &[ProviderId::from("standup")]).await.unwrap();

    let departed = overrides(&read[0]);
    assert!(departed.contains(&("20260406T093000".to_owned(), true)), "{departed:?}");
    assert!(departed.contains(&("20260316T093000".to_owned(), false)), "{departed:?}");
    assert!(!departed.iter().any(|(key, _)| key == "20260309T093000"), "{departed:?}");
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_no_longer_shown_is_not_called_deleted_until_it_is_read() {
    let fake = Fake::start().await;
    (0..3).for_each(|number| fake.put(single(number)));
    let driver = open(&fake, "ada-token");
    let (first, _) = page(driver.as_ref(), Since::Beginning).await.unwrap();
    let Next::Token(token) = first.next else { panic!("{:?}", first.next) };
    fake.unlist("e000", true);
    fake.unlist("e001", false);

    let (second, _) = page(driver.as_ref(), Since::Token(token)).await.unwrap();

    assert!(second.changes.iter().all(|change| matches!(change, RemoteChange::Unlisted { .. })));
    let ids: Vec<ProviderId> = second.changes.iter().map(|change| change.provider_id().clone()).collect();
    assert_eq!(ids, ["e000", "e001"].map(ProviderId::from));
    let read = driver.read(&calendar(), &ids).await.unwrap();
    assert!(matches!(&read[0], RemoteChange::Removed { .. }));
    assert!(matches!(&read[1], RemoteChange::Upsert(_)));
}

#[tokio::test]
async fn a_dead_link_is_gone_wherever_it_dies() {
    let fake = Fake::start().await;
    let driver = open(&fake, "ada-token");
    fake.with(|state| state.page_size = 1);
    (0..2).for_each(|number| fake.put(single(number)));
    let (first, _) = page(driver.as_ref(), Since::Beginning).await.unwrap();
    let Next::Page(next) = first.next else { panic!("one page") };

    let gone = (FailureClass::Gone, Problem::CursorExpired);
    let foreign = Since::Token(SyncToken::from("google:{}"));
    assert_eq!(failed(driver.as_ref(), foreign).await, gone);
    for (status, code) in [
        (410, "syncStateNotFound"),
        (410, "resyncRequired"),
        (400, "SyncStateNotFound"),
        (404, "SyncStateInvalid"),
    ] {
        fake.with(|state| state.refusals.push_back((status, None, refusal(code))));
        assert_eq!(failed(driver.as_ref(), Since::Page(next.clone())).await, gone, "{status} {code}");
    }
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_link_to_another_server_is_not_followed() {
    let fake = Fake::start().await;
    let driver = open(&fake, "ada-token");
    for link in ["https://elsewhere.example.com/v1.0/me/calendars", "not a link"] {
        let body = json!({ "value": [], "@odata.nextLink": link });
        fake.with(|state| state.refusals.push_back((200, None, body)));
        let (class, _) = failed(driver.as_ref(), Since::Beginning).await;
        assert_eq!(class, FailureClass::Transient, "{link}");
    }

    let (elsewhere, _) = page(driver.as_ref(), Since::Beginning).await.unwrap();
    let Next::Token(token) = elsewhere.next else { panic!("{:?}", elsewhere.next) };
    let moved = SyncToken(token.as_str().replace(&fake.address.to_string(), "127.0.0.1:1"));

    assert_eq!(failed(driver.as_ref(), Since::Token(moved)).await.0, FailureClass::Gone);
}

#[tokio::test]
async fn events_of_a_calendar_that_was_taken_away_are_not_deleted() {
    let fake = Fake::start().await;
    fake.put(single(1));
    let driver = open(&fake, "ada-token");
    page(driver.as_ref(), Since::Beginning).await.unwrap();
    fake.with(|state| state.is_shared = false);

    let read = driver.read(&calendar(), &[ProviderId::from("e001")]).await;

    assert_eq!(read.unwrap_err().problem, Problem::NotFound);
}

#[tokio::test]
async fn refusals_have_their_class_and_words() {
    let fake = Fake::start().await;
    let driver = open(&fake, "ada-token");
    let wait = FailureClass::Throttled { retry_after: Some(Duration::from_secs(7)) };

    for (status, code, class, problem) in [
        (429, "ApplicationThrottled", wait, Problem::Throttled),
        (404, "MailboxNotEnabledForRESTAPI", FailureClass::Permanent, Problem::NoMailbox),
        (404, "ErrorItemNotFound", FailureClass::Permanent, Problem::NotFound),
    ] {
        fake.with(|state| state.refusals.push_back((status, Some(7), refusal(code))));
        assert_eq!(failed(driver.as_ref(), Since::Beginning).await, (class, problem), "{code}");
    }
    let stranger = open(&fake, "old-token");
    let refused = failed(stranger.as_ref(), Since::Beginning).await;
    assert_eq!(refused, (FailureClass::Auth, Problem::AccessRevoked));
}

#[tokio::test]
async fn a_throttled_part_of_a_batch_throttles_the_whole_reading() {
    let fake = Fake::start().await;
    (0..3).for_each(|number| fake.put(single(number)));
    fake.with(|state| {
        state.refused_events.push(("e001".to_owned(), (429, Some(9), refusal("ApplicationThrottled"))));
    });
    let driver = open(&fake, "ada-token");
    let ids = ["e000", "e001", "e002"].map(ProviderId::from);

    let error = driver.read(&calendar(), &ids).await.unwrap_err();

    assert_eq!(error.class, FailureClass::Throttled { retry_after: Some(Duration::from_secs(9)) });
}

#[tokio::test]
async fn the_own_answer_to_an_invitation_is_found_and_the_calendar_looked_at_once() {
    let fake = Fake::start().await;
    let invited = |number| {
        let mut event = single(number);
        event["isOrganizer"] = json!(false);
        event["organizer"] = json!({ "emailAddress": { "name": "Eve", "address": "eve@example.com" } });
        event["responseStatus"] = json!({ "response": "accepted", "time": "2026-03-01T00:00:00Z" });
        event["attendees"] = json!([{ "type": "required", "status": { "response": "none" },
            "emailAddress": { "name": "Ada", "address": "Ada@example.com" } }]);
        event
    };
    fake.put(single(1));
    let driver = open(&fake, "ada-token");
    page(driver.as_ref(), Since::Beginning).await.unwrap();
    assert_eq!(fake.count("GET", "/me/calendars/cal-1"), 0, "nothing has to be known of one's own events");
    (2..5).for_each(|number| fake.put(invited(number)));

    for _ in 0..2 {
        let (page, _) = page(driver.as_ref(), Since::Beginning).await.unwrap();
        let answer = |change: &RemoteChange| match change {
            RemoteChange::Upsert(event) => event.event.fields()?.attendees.first().map(|guest| guest.status),
            _ => None,
        };
        let answers: Vec<_> = page.changes.iter().filter_map(answer).collect();
        assert_eq!(answers, [ParticipationStatus::Accepted; 3]);
    }

    assert_eq!(fake.count("GET", "/me/calendars/cal-1"), 1);
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_watch_is_begun_prolonged_begun_anew_when_it_is_gone_and_stopped_once() {
    let fake = Fake::start().await;
    let driver = open(&fake, "ada-token");
    let request = WatchRequest {
        id: Uuid::from_u128(1),
        url: "https://calfleet.example.com/notifications/microsoft".parse().unwrap(),
        secret: "s3cret".into(),
        until: Timestamp(NOW).plus(Duration::from_hours(24)),
    };
    let refuse = |status, code| fake.with(|state| state.refusals.push_back((status, None, refusal(code))));

    let first = driver.watch(&calendar(), &request, None).await.unwrap();
    let longer = driver.watch(&calendar(), &request, Some(&first)).await.unwrap();
    refuse(404, "ResourceNotFound");
    let anew =
        driver.watch(&calendar(), &request, Some(&Watch { id: "sub-0".to_owned(), ..first.clone() })).await;
    driver.unwatch(&first).await.unwrap();
    refuse(404, "ResourceNotFound");
    driver.unwatch(&first).await.unwrap();
    refuse(403, "ErrorAccessDenied");
    let refused = driver.watch(&calendar(), &request, None).await.unwrap_err();

    let until = |expires_at| Watch { id: "sub-1".to_owned(), resource: None, expires_at };
    assert_eq!(first, until(Timestamp(NOW).plus(Duration::from_hours(24))));
    assert_eq!((longer.id.as_str(), anew.unwrap().id.as_str()), ("sub-1", "sub-1"));
    assert!(matches!(refused.problem, Problem::Unsupported { .. }));
    let bodies = fake.with(|state| state.bodies.clone());
    assert_eq!(bodies[0]["resource"], "/me/calendars/cal-1/events");
    assert_eq!(bodies[0]["clientState"], "s3cret");
    assert_eq!(bodies[1], json!({ "expirationDateTime": "2026-03-03T09:00:00Z" }));
    assert_eq!(fake.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_looked_at_first_is_named_by_series_and_singles() {
    let fake = Fake::start().await;
    put_series(&fake, "standup");
    fake.put(single(1));
    let driver = open(&fake, "ada-token");
    let until = Timestamp(NOW).plus(Duration::from_hours(24 * 30));

    let ids = driver.list_within(&calendar(), Timestamp(NOW), until, 10).await.unwrap();

    let ids: Vec<_> = ids.iter().map(ProviderId::as_str).collect();
    assert_eq!(ids, ["standup", "e001"]);
    assert_eq!(fake.faults(), Vec::<String>::new());
}
