//! Writes that are refused: with one problem that names code, field and remedy, and with nothing stored or sent.

use calfleet_sandbox::FeedSpec;
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::problem;
use crate::provider::an_event;
use crate::writes::{Desk, id, named, review, writer};

/// An id that nobody has.
const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Body, status, code and field of requests that are refused.
fn bad_bodies() -> Vec<(Value, u16, &'static str, Option<&'static str>)> {
    let but = |field: &str, value: Value| {
        let mut event = review();
        event[field] = value;
        event
    };
    let crowd = |size: u32| -> Vec<Value> {
        (0..size).map(|number| json!({ "address": format!("guest-{number}@example.com") })).collect()
    };
    let nobody = json!([{ "address": "bob@example.com" }, { "address": "nobody" }]);
    let deep = json!([{ "address": "bob@example.com" }, { "address": 7 }]);
    vec![
        (but("time_zone", json!("Atlantis/Capital")), 422, "unknown_zone", Some("time_zone")),
        (but("end", json!("2026-12-01T09:00:00")), 422, "end_before_start", Some("end")),
        (but("start", json!("soon")), 422, "not_a_time", Some("start")),
        (but("start", Value::Null), 422, "required", Some("start")),
        (but("colour", json!("blue")), 400, "bad_body", Some("colour")),
        (but("title", json!(5)), 400, "bad_body", Some("title")),
        (but("title", json!("x".repeat(1_001))), 422, "too_long", Some("title")),
        (but("attendees", json!(crowd(501))), 422, "too_many", Some("attendees")),
        (but("attendees", json!(crowd(10_000))), 422, "too_many", Some("attendees")),
        (but("attendees", nobody), 422, "not_an_address", Some("attendees.1.address")),
        (but("attendees", deep), 400, "bad_body", Some("attendees.1.address")),
        (but("recurrence", json!(["FREQ=SOMETIMES"])), 422, "malformed", Some("recurrence.0")),
        (
            but("recurrence", json!(["FREQ=DAILY;UNTIL=20200101T000000Z"])),
            422,
            "no_instances",
            Some("recurrence.0"),
        ),
        (but("url", json!("javascript:alert(1)")), 422, "not_a_link", Some("url")),
        (json!([]), 400, "bad_body", None),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_refused_with_code_field_and_remedy() {
    let desk = Desk::open().await;
    for (body, status, code, field) in bad_bodies() {
        let answer = desk.create("", &body).await;
        let told = (problem(&answer, status), answer.body["field"].as_str());
        assert_eq!(told, (code.to_owned(), field), "{}", answer.body);
    }

    let path = format!("/calendars/{}/events", desk.calendar);
    for (text, status, code) in [
        ("{", 400, "bad_body"),
        ("", 400, "bad_body"),
        ("{} {}", 400, "bad_body"),
        ("\u{0}", 400, "bad_body"),
    ] {
        let answer = desk.api.send_text(Method::POST, &path, text).await;
        assert_eq!(problem(&answer, status), code, "{text:?}");
    }
    let large = format!("{{\"title\": \"{}\"}}", "x".repeat(2_000_000));
    let answer = desk.api.send_text(Method::POST, &path, &large).await;
    assert_eq!(problem(&answer, 413), "too_large");

    for (query, field) in [
        ("?notify=everybody", "notify"),
        ("?wait=soon", "wait"),
        ("?scope=all", "scope"),
        ("?colour=blue", "colour"),
        ("?dry_run=maybe", "dry_run"),
        ("?wait=1s&wait=2s", "wait"),
    ] {
        let answer = desk.create(query, &review()).await;
        assert_eq!(
            (problem(&answer, 400), &answer.body["field"]),
            ("bad_parameter".to_owned(), &json!(field))
        );
    }
    for header in [("If-Match", "\"1\""), ("Idempotency-Key", " ")] {
        let answer = desk.api.send_with(Method::POST, &path, &review(), &[header]).await;
        assert_eq!(
            (problem(&answer, 400), &answer.body["field"]),
            ("bad_parameter".to_owned(), &json!(header.0))
        );
    }
    assert_eq!(desk.api.get("/events").await["data"], json!([]));
    assert_eq!(desk.held(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn calendars_and_keys_that_only_read_refuse_writes_with_the_way_out() {
    let desk = Desk::open().await;
    let url = desk.sandbox.set_feed("holidays", FeedSpec::default());
    desk.sandbox.put_in_feed("holidays", "one", &an_event("one@example.com", "One", "")).unwrap();
    let feed = desk.fleet.admin(&["connect", "feed", &url]).await;
    let feed = feed["connection"].as_str().unwrap();
    desk.fleet.sync(feed).await;
    let calendars = desk.fleet.connection(feed).await["calendars"].clone();
    let feed = calendars[0]["id"].as_str().unwrap().to_owned();
    let read = named(&desk.fleet, &desk.connection, "read").await;

    desk.fleet.admin(&["organization", "allow-writes", "default", "--revoke"]).await;
    let off = desk.create("", &review()).await;
    assert_eq!(problem(&off, 422), "feature_off");
    desk.fleet.admin(&["organization", "allow-writes", "default"]).await;
    for (calendar, code) in [(read, "calendar_read_only"), (feed, "provider_read_only")] {
        let path = format!("/calendars/{calendar}/events");
        let answer = desk.api.send_json(Method::POST, &path, &review()).await;
        assert_eq!(problem(&answer, 422), code);
    }
    let reader = desk.fleet.api(desk.solo.url(), None).await;
    let path = format!("/calendars/{}/events", desk.calendar);
    let answer = reader.send_json(Method::POST, &path, &review()).await;
    assert_eq!(problem(&answer, 403), "forbidden");
    assert!(answer.body["detail"].as_str().unwrap().contains("calendar.schedule"), "{}", answer.body);
    assert_eq!(
        problem(&reader.stranger().send_json(Method::POST, &path, &review()).await, 401),
        "unauthorized"
    );
    let made = desk.create("", &review()).await;
    let path = format!("/events/{}/respond", id(&made));
    let answer = desk.api.send_json(Method::POST, &path, &json!({ "response": "accepted" })).await;
    assert_eq!(
        (problem(&answer, 422), &answer.body["field"]),
        ("not_invited".to_owned(), &json!("response"))
    );
    let answer = desk.api.send_json(Method::POST, &path, &json!({ "response": "perhaps" })).await;
    assert_eq!((problem(&answer, 400), &answer.body["field"]), ("bad_body".to_owned(), &json!("response")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_taken_back_with_any_body_that_says_nothing() {
    let desk = Desk::open().await;
    for body in ["", "null", " null ", "{}"] {
        let made = desk.create("", &review()).await;
        let path = format!("/events/{}/undo", id(&made));

        let undone = desk.api.send_text(Method::POST, &path, body).await;

        let is_gone = undone.body["event"] == Value::Null;
        assert!(undone.status < 300 && is_gone, "{body:?}: {}", undone.body);
    }
    let made = desk.create("", &review()).await;
    let undone = desk.api.send_text(Method::POST, &format!("/events/{}/undo", id(&made)), "[]").await;
    assert_eq!(problem(&undone, 400), "bad_body");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organization_can_write_nothing_and_learns_nothing() {
    let desk = Desk::open().await;
    let made = desk.create("?wait=10s", &review()).await;
    let (event, intent) = (id(&made), made.body["intents"][0].as_str().unwrap().to_owned());
    desk.fleet.organizations(&["strangers"]).await;
    let stranger = writer(&desk.fleet, &desk.solo, &["--organization", "strangers"]).await;

    for (method, path, own) in [
        (Method::POST, "/calendars/{}/events", &desk.calendar),
        (Method::PUT, "/calendars/{}/events/by-key/x", &desk.calendar),
        (Method::PATCH, "/events/{}", &event),
        (Method::DELETE, "/events/{}", &event),
        (Method::POST, "/events/{}/undo", &event),
        (Method::GET, "/events/{}/history", &event),
        (Method::POST, "/outbox/{}/retry", &intent),
        (Method::POST, "/outbox/{}/discard", &intent),
        (Method::POST, "/events/{}/respond", &event),
    ] {
        let body = match path.rsplit_once('/') {
            Some((_, "undo")) => json!({}),
            _ if method == Method::DELETE => json!({}),
            Some((_, "respond")) => json!({ "response": "accepted" }),
            _ => review(),
        };
        let at = |id: &str| path.replace("{}", id);
        let foreign = stranger.send_json(method.clone(), &at(own), &body).await;
        let unknown = stranger.send_json(method.clone(), &at(NOBODY), &body).await;
        assert_eq!(problem(&foreign, 404), "not_found", "{method} {path}");
        assert_eq!(foreign.body, unknown.body, "{method} {path}");
    }
    for state in ["pending", "done", "dead", "folded"] {
        assert_eq!(stranger.get(&format!("/outbox?state={state}")).await["data"], json!([]));
    }
    assert_eq!(desk.held().len(), 1);
}
