//! The API as an application sees it: who is let in, what a refusal looks like, how lists are paged, and what
//! orchestrators are told.

use std::collections::BTreeSet;

use calfleet_harness::{Postgres, Redis};
use reqwest::Method;
use serde_json::Value;

use crate::api_client::{Answer, Api, get};
use crate::fleet::{Fleet, PATIENCE, database, holds, reaching};
use crate::provider::{PASSWORD, account, an_event, start};

/// An id that nobody has.
const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// A refusal is a problem document (RFC 9457) with this status; gives its code.
pub(crate) fn problem(answer: &Answer, status: u16) -> String {
    let body = &answer.body;
    assert_eq!(answer.status, status, "{body}");
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{body}");
    assert_eq!(body["status"], status, "{body}");
    assert!(!body["title"].as_str().unwrap().is_empty(), "{body}");
    assert!(body["detail"].as_str().unwrap().ends_with('.'), "{body}");
    let kind = body["type"].as_str().unwrap();
    kind.strip_prefix("urn:calfleet:problem:").unwrap_or_else(|| panic!("{body}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_valid_key_opens_the_api_and_every_refusal_is_a_problem_document() {
    let fleet = Fleet::solo(&[]);
    let solo = fleet.start("solo").await;
    let made = fleet.admin(&["key", "create", "test"]).await;
    let api = Api::new(solo.url(), made["key"].as_str().unwrap());
    assert_eq!(api.ask("/connections").await.status, 200);

    for stranger in
        [api.stranger(), Api::new(solo.url(), "no such key"), Api::new(solo.url(), &"x".repeat(4_000))]
    {
        let answer = stranger.ask("/connections").await;
        assert_eq!(problem(&answer, 401), "unauthorized");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    assert_eq!(problem(&api.ask("/nothing/here").await, 404), "no_route");
    assert_eq!(problem(&api.send(Method::DELETE, "/events").await, 405), "no_method");
    fleet.admin(&["key", "revoke", made["id"].as_str().unwrap()]).await;
    assert_eq!(problem(&api.ask("/connections").await, 401), "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_cannot_be_used_is_refused_by_its_name() {
    let fleet = Fleet::solo(&[]);
    let solo = fleet.start("solo").await;
    let api = fleet.api(solo.url(), None).await;
    let year = "from=2026-01-01&to=2027-01-01";

    let cases = [
        ("/events?limit=0".to_owned(), "limit"),
        ("/events?limit=many".to_owned(), "limit"),
        ("/events?from=yesterday".to_owned(), "from"),
        ("/events?cursor=mine".to_owned(), "cursor"),
        ("/events?calendar=work".to_owned(), "calendar"),
        ("/events?connection=1".to_owned(), "connection"),
        ("/connections?cursor=mine".to_owned(), "cursor"),
        ("/connections/mine".to_owned(), "id"),
        ("/calendars/mine".to_owned(), "id"),
        ("/events/mine".to_owned(), "id"),
        ("/events/%FF".to_owned(), "id"),
        ("/instances?to=2027-01-01".to_owned(), "from"),
        ("/instances?from=2027-01-01".to_owned(), "to"),
        ("/instances?from=2027-01-01&to=2026-01-01".to_owned(), "to"),
        ("/instances?from=2026-01-01&to=2036-01-01".to_owned(), "to"),
        (format!("/instances?{year}&time_zone=Atlantis"), "time_zone"),
        (format!("/instances?{year}&cursor=x"), "cursor"),
        ("/events?colour=blue".to_owned(), "colour"),
        ("/events?state=dead".to_owned(), "state"),
        ("/outbox?connection=x".to_owned(), "connection"),
        ("/conflicts?calendar=x".to_owned(), "calendar"),
        ("/connections?state=dead".to_owned(), "state"),
        (format!("/events/{NOBODY}?limit=1"), "limit"),
        (format!("/events/{NOBODY}/history?cursor=x"), "cursor"),
        (format!("/events/{NOBODY}/instances?{year}&calendar=x"), "calendar"),
        (format!("/instances?{year}&at=2026-01-01"), "at"),
        ("/events?limit=1&limit=2".to_owned(), "limit"),
        ("/events?from=2027-01-01&to=2026-01-01".to_owned(), "to"),
        (format!("/events?calendar={NOBODY}&connection=mine"), "connection"),
        (format!("/connections/{NOBODY}?fields=id"), "fields"),
        (format!("/calendars/{NOBODY}?limit=1"), "limit"),
        (format!("/calendars/{NOBODY}/explain?from=2026-01-01"), "from"),
        (format!("/conflicts/{NOBODY}?state=open"), "state"),
        (format!("/outbox/{NOBODY}/explain?state=dead"), "state"),
    ];
    for (path, field) in cases {
        let answer = api.ask(&path).await;
        assert_eq!(problem(&answer, 400), "bad_parameter", "{path}");
        assert_eq!(answer.body["field"], field, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organization_is_answered_like_nobody_and_a_key_without_the_permission_is_refused() {
    let (Some(postgres), Some(redis)) = (Postgres::shared(), Redis::shared()) else { return };
    let (database, sandbox) = (database(postgres).await, start().await);
    let fleet = Fleet::full(&database, redis, &reaching(&[sandbox.address().port()]));
    let (scheduler, _worker) = (fleet.start("scheduler").await, fleet.start("worker").await);
    fleet.organizations(&["ada", "grace"]).await;
    for name in ["ada", "grace"] {
        account(&sandbox, name, &[("work", 30)]);
        fleet.connect(sandbox.url(), name, PASSWORD, &["--organization", name]).await;
    }
    let ada = fleet.api(scheduler.url(), Some("ada")).await;
    let grace = fleet.api(scheduler.url(), Some("grace")).await;
    let is_in = async |api: &Api| api.get("/events?limit=100").await["data"].as_array().unwrap().len() == 30;
    assert!(holds(PATIENCE, async || is_in(&ada).await && is_in(&grace).await).await, "{}", scheduler.log());

    let connection = ada.get("/connections").await["data"][0].clone();
    let event = ada.get("/events?limit=1").await["data"][0].clone();
    let (theirs, calendar, event) = (&connection["id"], &connection["calendars"][0]["id"], &event["id"]);
    let year = "from=2026-01-01&to=2027-01-01";
    for (path, id) in [
        ("/connections/{}", theirs),
        ("/calendars/{}", calendar),
        ("/events/{}", event),
        ("/events?calendar={}", calendar),
        ("/events?connection={}", theirs),
    ] {
        let at = |id: &str| path.replace("{}", id);
        assert_eq!(ada.ask(&at(id.as_str().unwrap())).await.status, 200, "{path}");
        let (foreign, unknown) = (grace.ask(&at(id.as_str().unwrap())).await, grace.ask(&at(NOBODY)).await);
        assert_eq!(problem(&foreign, 404), "not_found");
        assert_eq!((foreign.status, &foreign.body), (unknown.status, &unknown.body), "{path}");
    }
    for path in ["/events/{}/instances?", "/instances?calendar={}&"] {
        let id = if path.starts_with("/events") { event } else { calendar };
        let at = |id: &str| format!("{}{year}", path.replace("{}", id));
        assert_eq!(ada.ask(&at(id.as_str().unwrap())).await.status, 200, "{path}");
        let foreign = grace.ask(&at(id.as_str().unwrap())).await;
        assert_eq!((foreign.status, foreign.body), (404, grace.ask(&at(NOBODY)).await.body), "{path}");
    }

    database.execute("UPDATE api_keys SET scopes = '[]'").unwrap();
    let answer = ada.ask("/events").await;
    assert_eq!(problem(&answer, 403), "forbidden");
    assert!(answer.body["detail"].as_str().unwrap().contains("calendar.view_all"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_page_through_everything_once_whatever_the_size_of_a_page() {
    let sandbox = start().await;
    account(&sandbox, "ada", &[("work", 200), ("home", 50)]);
    // Many events begin at the same time: a page may end among them.
    for number in 0..30 {
        let event = an_event(&format!("same-{number}@example.com"), "Same time", "");
        sandbox.put("ada", "home", &format!("same-{number}.ics"), &event).unwrap();
    }
    let fleet = Fleet::solo(&reaching(&[sandbox.address().port()]));
    let solo = fleet.start("solo").await;
    let connection = fleet.connect(sandbox.url(), "ada", PASSWORD, &[]).await;
    fleet.sync(&connection).await;
    let api = fleet.api(solo.url(), None).await;

    let id = |event: &Value| event["id"].as_str().unwrap().to_owned();
    let printed: BTreeSet<String> = fleet.events(&connection).await.iter().map(id).collect();
    assert_eq!(printed.len(), 280);
    for limit in [7, 140, 280, 1_000] {
        let listed = api.all(&format!("/events?limit={limit}")).await;
        assert_eq!(listed.len(), 280, "limit {limit}");
        assert_eq!(listed.iter().map(id).collect::<BTreeSet<_>>(), printed, "limit {limit}");
    }
    let range = "/instances?from=2026-11-01&to=2026-12-01&limit";
    let (small, large) = (api.all(&format!("{range}=9")).await, api.all(&format!("{range}=1000")).await);
    assert!(large.len() > 60 && small == large, "{} and {} instances", small.len(), large.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_event_is_busy_time_and_nothing_else() {
    let sandbox = start().await;
    account(&sandbox, "ada", &[("work", 0)]);
    let guest =
        "ATTENDEE:mailto:surgeon@example.com\r\nORGANIZER:mailto:ada@example.com\r\nLOCATION:Hospital\r\n";
    for class in ["PRIVATE", "CONFIDENTIAL", "PUBLIC"] {
        let event =
            an_event(&format!("{class}@example.com"), "Surgery", &format!("CLASS:{class}\r\n{guest}"));
        sandbox.put("ada", "work", &format!("{class}.ics"), &event).unwrap();
    }
    let fleet = Fleet::solo(&reaching(&[sandbox.address().port()]));
    let solo = fleet.start("solo").await;
    let connection = fleet.connect(sandbox.url(), "ada", PASSWORD, &[]).await;
    fleet.sync(&connection).await;
    let api = fleet.api(solo.url(), None).await;

    let events = api.all("/events?limit=100").await;
    let instances = api.all("/instances?from=2026-11-20&to=2026-11-21").await;
    for shown in [events, instances, fleet.events(&connection).await] {
        assert_eq!(shown.len(), 3);
        let (open, hidden): (Vec<Value>, Vec<Value>) =
            shown.into_iter().partition(|one| one["visibility"] == "public");
        assert_eq!((open[0]["title"].as_str(), hidden.len()), (Some("Surgery"), 2));
        for one in hidden {
            let text = one.to_string();
            assert_eq!((&one["title"], &one["is_reduced"]), (&"Busy".into(), &true.into()), "{text}");
            assert!(!["Surgery", "Hospital", "surgeon"].iter().any(|word| text.contains(word)), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_pages_and_measures_need_no_key_and_hold_no_data() {
    let (Some(postgres), Some(redis)) = (Postgres::shared(), Redis::shared()) else { return };
    let (database, sandbox) = (database(postgres).await, start().await);
    account(&sandbox, "ada", &[("work", 10)]);
    let fleet = Fleet::full(&database, redis, &reaching(&[sandbox.address().port()]));
    let (scheduler, worker) = (fleet.start("scheduler").await, fleet.start("worker").await);
    let connection = fleet.connect(sandbox.url(), "ada", PASSWORD, &[]).await;
    fleet.sync(&connection).await;

    for program in [&scheduler, &worker] {
        let page = async |path: &str| get(&format!("{}{path}", program.url())).await.unwrap();
        assert_eq!(page("/livez").await, (200, "alive\n".to_owned()));
        assert_eq!(page("/readyz").await, (200, "ready\n".to_owned()));
        let (status, measures) = page("/metrics").await;
        assert_eq!(status, 200);
        assert!(measures.contains("calfleet_queue_depth"), "{measures}");
        assert!(!measures.contains(&connection) && !measures.contains("ada"), "{measures}");
    }
    assert_eq!(
        get(&format!("{}/api/v1/connections", worker.url())).await.map(|(status, _)| status),
        Some(404)
    );
}
