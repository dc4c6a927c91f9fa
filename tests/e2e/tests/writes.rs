//! Writing events through the API of real processes: from the request to the event at the provider, what is refused and
//! how, and what a crash between the answer and the push leaves.

use calfleet_harness::{Postgres, Redis};
use calfleet_sandbox::{Access, AccountSpec, CalendarSpec, Fault, FaultRule, FeedSpec, Profile, Sandbox};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::problem;
use crate::api_client::{Answer, Api};
use crate::fleet::{Fleet, PATIENCE, Program, database, holds, reaching};
use crate::provider::{PASSWORD, account, an_event, start};

/// An id that nobody has.
const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Ada's account in a solo process, and an application that may write into it.
pub(crate) struct Desk {
    pub(crate) sandbox: Sandbox,
    pub(crate) fleet: Fleet,
    pub(crate) solo: Program,
    pub(crate) api: Api,
    pub(crate) connection: String,
    /// Its calendar `work`.
    pub(crate) calendar: String,
}

impl Desk {
    /// On a server that mails nobody.
    pub(crate) async fn open() -> Self {
        Self::with(Profile::radicale(), &[]).await
    }

    pub(crate) async fn with(profile: Profile, options: &[&str]) -> Self {
        let sandbox = start().await;
        let calendar = |name| CalendarSpec::new(name).titled(name);
        let spec = AccountSpec::new("ada@example.com", PASSWORD).profile(profile);
        let spec = spec.calendar(calendar("work")).calendar(calendar("read"));
        sandbox.create_account(spec).unwrap();
        sandbox.set_access("ada@example.com", "read", Access::Read).unwrap();
        let fleet = Fleet::solo(&reaching(&[sandbox.address().port()]));
        let solo = fleet.start("solo").await;
        let connection = fleet.connect(sandbox.url(), "ada@example.com", PASSWORD, options).await;
        fleet.sync(&connection).await;
        let api = writer(&fleet, &solo, &[]).await;
        let calendar = named(&fleet, &connection, "work").await;
        Self { sandbox, fleet, solo, api, connection, calendar }
    }

    pub(crate) async fn create(&self, query: &str, event: &Value) -> Answer {
        let path = format!("/calendars/{}/events{query}", self.calendar);
        self.api.send_json(Method::POST, &path, event).await
    }

    /// What the server holds in `work`.
    pub(crate) fn held(&self) -> Vec<String> {
        let held = self.sandbox.resources("ada@example.com", "work").unwrap();
        held.into_iter().map(|one| one.body.replace("\r\n ", "")).collect()
    }
}

/// A client with a key that may write.
async fn writer(fleet: &Fleet, solo: &Program, options: &[&str]) -> Api {
    let mut arguments = vec!["key", "create", "app", "--write"];
    arguments.extend(options);
    Api::new(solo.url(), fleet.admin(&arguments).await["key"].as_str().unwrap())
}

/// The id of a calendar of that name.
async fn named(fleet: &Fleet, connection: &str, name: &str) -> String {
    let view = fleet.connection(connection).await;
    let calendars = view["calendars"].as_array().unwrap();
    let found = calendars.iter().find(|calendar| calendar["name"] == name);
    found.unwrap_or_else(|| panic!("{view}"))["id"].as_str().unwrap().to_owned()
}

pub(crate) fn review() -> Value {
    json!({
        "title": "Review", "time_zone": "Europe/Paris",
        "start": "2026-12-01T10:00:00", "end": "2026-12-01T11:00:00",
    })
}

/// The event that a good answer is about.
pub(crate) fn id(answer: &Answer) -> String {
    answer.body["event_id"].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
}

/// Status, and how it stands with the provider.
fn said(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["sync"].as_str().unwrap_or_else(|| panic!("{}", answer.body)))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_made_changed_deleted_and_brought_back_at_the_provider() {
    let desk = Desk::open().await;

    let made = desk.create("?wait=10s", &review()).await;

    assert_eq!(said(&made), (201, "synced"), "{}", made.body);
    let path = format!("/events/{}", id(&made));
    assert_eq!(made.headers["location"], format!("/api/v1{path}"));
    assert!(desk.held().concat().contains("SUMMARY:Review"), "{:?}", desk.held());
    let read = desk.api.ask(&path).await;
    assert_eq!((&read.body, &read.headers["etag"]), (&made.body["event"], &made.headers["etag"]));

    let tag = ("If-Match", made.headers["etag"].as_str());
    let patch = json!({ "title": "Retro", "location": "Room 2", "description": null });
    let patched = desk.api.send_with(Method::PATCH, &format!("{path}?wait=10"), &patch, &[tag]).await;
    assert_eq!(said(&patched), (200, "synced"), "{}", patched.body);
    assert!(desk.held().concat().contains("SUMMARY:Retro"), "{:?}", desk.held());
    let outdated = desk.api.send_with(Method::PATCH, &path, &json!({ "title": "Lost" }), &[tag]).await;
    assert_eq!(problem(&outdated, 412), "outdated");
    assert_eq!(outdated.headers["etag"], patched.headers["etag"]);
    let deleted = desk.api.send_with(Method::DELETE, &path, &Value::Null, &[tag]).await;
    assert_eq!(problem(&deleted, 412), "outdated");

    let prefer = [("Prefer", "wait=10")];
    let deleted = desk.api.send_with(Method::DELETE, &path, &Value::Null, &prefer).await;
    assert_eq!((said(&deleted), &deleted.body["event"]), ((200, "synced"), &Value::Null));
    assert_eq!(desk.held(), Vec::<String>::new());
    assert_eq!(problem(&desk.api.ask(&path).await, 404), "not_found");
    assert_eq!(problem(&desk.api.send(Method::DELETE, &path).await, 404), "not_found");

    let history = desk.api.get(&format!("{path}/history")).await;
    let decisions: Vec<&str> =
        history["data"].as_array().unwrap().iter().filter_map(|one| one["decision"].as_str()).collect();
    assert_eq!(decisions, ["delete", "edit", "create"]);
    assert!(history["data"][1]["changes"] == json!(["location", "title"]), "{history}");
    let back = desk.api.send(Method::POST, &format!("{path}/undo?wait=10s")).await;
    assert_eq!(said(&back), (200, "synced"), "{}", back.body);
    assert_eq!(back.body["event"]["title"], "Retro");
    assert_eq!(desk.held().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_twice_under_one_key_is_one_event() {
    let desk = Desk::open().await;
    let path = format!("/calendars/{}/events/by-key/interview:42?wait=10s", desk.calendar);

    let first = desk.api.send_json(Method::PUT, &path, &review()).await;
    let second = desk.api.send_json(Method::PUT, &path, &review()).await;
    let mut later = review();
    later["title"] = json!("Second interview");
    let third = desk.api.send_json(Method::PUT, &path, &later).await;

    assert_eq!(said(&first), (201, "synced"));
    assert_eq!((said(&second), said(&third)), ((200, "synced"), (200, "synced")));
    assert_eq!((id(&first), id(&first)), (id(&second), id(&third)));
    assert_eq!(third.body["event"]["app_key"], "interview:42");
    let held = desk.held();
    assert!(held.len() == 1 && held[0].contains("SUMMARY:Second interview"), "{held:?}");

    let key = [("Idempotency-Key", "request-1")];
    let create = format!("/calendars/{}/events", desk.calendar);
    let once = desk.api.send_with(Method::POST, &create, &review(), &key).await;
    let again = desk.api.send_with(Method::POST, &create, &review(), &key).await;
    assert_eq!((once.status, id(&once)), (202, id(&again)));
    assert!(holds(PATIENCE, async || desk.held().len() == 2).await);
    let settled = async || desk.api.get("/outbox").await["data"] == json!([]);
    assert!(holds(PATIENCE, settled).await);
    assert_eq!(desk.held().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_and_the_rest_of_a_series_are_changed_by_themselves() {
    let desk = Desk::open().await;
    let mut weekly = review();
    weekly["recurrence"] = json!(["FREQ=WEEKLY;COUNT=6"]);
    let made = desk.create("?wait=10s", &weekly).await;
    let path = format!("/events/{}", id(&made));
    let titles = async || {
        let instances = desk.api.get("/instances?from=2026-12-01&to=2027-02-01").await;
        let titles = instances["data"].as_array().unwrap().iter().map(|one| one["title"].clone());
        titles.collect::<Vec<Value>>()
    };

    let one = format!("{path}?instance=20261208T100000&wait=10s");
    let one = desk.api.send_json(Method::PATCH, &one, &json!({ "title": "Other" })).await;
    let rest = format!("{path}?scope=following&instance=20261222T100000&wait=10s");
    let rest = desk.api.send_json(Method::PATCH, &rest, &json!({ "title": "Rest" })).await;
    let off = format!("{path}?scope=this&instance=20261215T100000&wait=10s");
    let off = desk.api.send(Method::DELETE, &off).await;

    assert_eq!((said(&one), said(&rest), said(&off)), ((200, "synced"), (200, "synced"), (200, "synced")));
    assert_eq!(rest.body["split_from"], made.body["event_id"]);
    assert_eq!(titles().await, ["Review", "Other", "Rest", "Rest", "Rest"]);
    assert_eq!(desk.held().len(), 2);
    let nameless = format!("{path}?scope=this");
    let nothing = desk.api.send_json(Method::PATCH, &nameless, &json!({ "title": "x" })).await;
    assert_eq!((problem(&nothing, 422), &nothing.body["field"]), ("required".to_owned(), &json!("instance")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_provider_in_trouble_is_pending_and_arrives() {
    let desk = Desk::open().await;
    let down = Fault::Status { code: 503, retry_after: None };
    desk.sandbox.inject(FaultRule::next(down).method("PUT").always());

    let made = desk.create("?wait=1s", &review()).await;

    assert_eq!(said(&made), (202, "pending"), "{}", made.body);
    assert_eq!(made.body["event"]["sync"]["status"], "pending");
    let waiting = desk.api.get("/outbox").await;
    assert_eq!(waiting["data"][0]["event_id"], made.body["event_id"]);
    let tag = &made.headers["etag"];
    assert_eq!(
        (&waiting["data"][0]["operation"], &waiting["data"][0]["state"]),
        (&json!("create"), &json!("pending"))
    );
    desk.sandbox.clear_faults();
    assert!(holds(PATIENCE, async || desk.held().len() == 1).await);
    let done = async || !desk.api.all("/outbox?state=done").await.is_empty();
    assert!(holds(PATIENCE, done).await);
    assert_eq!(desk.api.get("/outbox").await["data"], json!([]));
    let read = desk.api.ask(&format!("/events/{}", id(&made))).await;
    assert_eq!(&read.headers["etag"], tag, "what was only confirmed is still what the writer knows");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_of_a_dry_run() {
    let desk = Desk::with(Profile::standard(), &[]).await;
    let mut event = review();
    event["attendees"] = json!([{ "address": "bob@example.com" }]);

    let plan = desk.create("?dry_run=true", &event).await;

    assert_eq!(plan.status, 200, "{}", plan.body);
    assert_eq!(plan.body["writes"][0]["operation"], "create");
    assert_eq!(desk.api.get("/events").await["data"], json!([]));
    assert_eq!(desk.api.get("/outbox").await["data"], json!([]));
    assert_eq!(desk.held(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_drains_answers_who_waits() {
    let desk = Desk::open().await;
    let down = Fault::Status { code: 503, retry_after: None };
    desk.sandbox.inject(FaultRule::next(down).method("PUT").always());
    let (api, path) = (desk.api.clone(), format!("/calendars/{}/events?wait=10s", desk.calendar));
    let began = std::time::Instant::now();
    let waiting = tokio::spawn(async move { api.send_json(Method::POST, &path, &review()).await });
    let is_stored = async || desk.api.get("/outbox").await["data"] != json!([]);
    assert!(holds(PATIENCE, is_stored).await);

    let status = tokio::task::spawn_blocking(move || desk.solo.drain()).await.unwrap();

    let answer = waiting.await.unwrap();
    assert!(status.success());
    assert_eq!(said(&answer), (202, "pending"), "{}", answer.body);
    assert!(began.elapsed() < std::time::Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_confirm_a_write_soon_after_the_provider_answered() {
    let (Some(postgres), Some(redis)) = (Postgres::shared(), Redis::shared()) else { return };
    let (database, sandbox) = (database(postgres).await, start().await);
    account(&sandbox, "ada", &[("work", 3)]);
    let fleet = Fleet::full(&database, redis, &reaching(&[sandbox.address().port()]));
    let (scheduler, _worker) = (fleet.start("scheduler").await, fleet.start("worker").await);
    let connection = fleet.connect(sandbox.url(), "ada", PASSWORD, &[]).await;
    fleet.sync(&connection).await;
    let api = writer(&fleet, &scheduler, &[]).await;
    let path = format!("/calendars/{}/events?wait=10s", named(&fleet, &connection, "work").await);
    sandbox.inject(FaultRule::next(Fault::Latency(1_000)).method("PUT"));

    let began = std::time::Instant::now();
    let made = api.send_json(Method::POST, &path, &review()).await;

    let took = began.elapsed();
    assert_eq!(said(&made), (201, "synced"), "{}", made.body);
    assert!(took < std::time::Duration::from_secs(3), "{took:?}");
    assert_eq!(sandbox.resource_count("ada", "work").unwrap(), 4);
}

/// Body, status, code and field of requests that are refused.
fn bad_bodies() -> Vec<(Value, u16, &'static str, Option<&'static str>)> {
    let but = |field: &str, value: Value| {
        let mut event = review();
        event[field] = value;
        event
    };
    let crowd: Vec<Value> =
        (0..501).map(|number| json!({ "address": format!("guest-{number}@example.com") })).collect();
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
        (but("attendees", json!(crowd)), 422, "too_many", Some("attendees")),
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
async fn another_organization_can_write_nothing_and_learns_nothing() {
    let desk = Desk::open().await;
    let made = desk.create("?wait=10s", &review()).await;
    let (event, intent) = (id(&made), made.body["intents"][0].as_str().unwrap().to_owned());
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

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_answer_and_the_push_or_its_answer_leaves_exactly_one_event() {
    let desk = Desk::open().await;
    let Desk { sandbox, fleet, mut solo, api: _, connection, calendar } = desk;
    let mut made = 0;
    for fault in [Fault::CutBefore, Fault::AnswerLost] {
        sandbox.inject(FaultRule::next(fault).method("PUT").always());
        let api = writer(&fleet, &solo, &[]).await;
        let path = format!("/calendars/{calendar}/events");
        let answer = api.send_json(Method::POST, &path, &review()).await;
        assert_eq!(said(&answer), (202, "pending"));
        let puts = || sandbox.log().entries().iter().filter(|entry| entry.method == "PUT").count();
        let before = made;
        assert!(holds(PATIENCE, async || puts() > before).await, "the push has begun");
        solo.kill();
        sandbox.clear_faults();
        made = puts();

        solo = fleet.start("solo").await;

        let path = format!("/events/{}", id(&answer));
        let api = writer(&fleet, &solo, &[]).await;
        let is_synced = async || api.get(&path).await["sync"]["status"] == "synced";
        assert!(holds(PATIENCE, is_synced).await, "{}", api.get(&path).await);
        made = made.max(puts());
        fleet.sync(&connection).await;
    }
    assert_eq!(sandbox.resource_count("ada@example.com", "work").unwrap(), 2);
    assert_eq!(fleet.events(&connection).await.len(), 2);
}
