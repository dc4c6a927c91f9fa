//! Writing events through the API of real processes: from the request to the event at the provider, and
//! what a crash between the answer and the push leaves.

use calfleet_harness::{Postgres, Redis};
use calfleet_sandbox::{Access, AccountSpec, CalendarSpec, Fault, FaultRule, Profile, Sandbox};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::problem;
use crate::api_client::{Answer, Api};
use crate::fleet::{Fleet, PATIENCE, Program, database, holds, reaching};
use crate::provider::{PASSWORD, account, start};

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
pub(crate) async fn writer(fleet: &Fleet, solo: &Program, options: &[&str]) -> Api {
    let mut arguments = vec!["key", "create", "app", "--write"];
    arguments.extend(options);
    Api::new(solo.url(), fleet.admin(&arguments).await["key"].as_str().unwrap())
}

/// The id of a calendar of that name.
pub(crate) async fn named(fleet: &Fleet, connection: &str, name: &str) -> String {
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
    let title = &history["data"][1]["fields"][1];
    assert_eq!((&title["before"], &title["after"]), (&json!("Review"), &json!("Retro")));
    let at = |entry: usize| history["data"][entry]["at"].as_i64().unwrap();
    let then = desk.api.get(&format!("{path}?at={}", at(2))).await;
    assert_eq!(
        (&then["title"], &then["since"], &then["until"]),
        (&json!("Review"), &json!(at(2)), &json!(at(1)))
    );
    assert_eq!(problem(&desk.api.ask(&format!("{path}?at={}", at(2) - 1)).await, 404), "not_yet");
    assert_eq!(problem(&desk.api.ask(&format!("{path}?at={}", at(0))).await, 410), "deleted");
    assert_eq!(problem(&desk.api.ask(&format!("{path}?at=2999-01-01")).await, 400), "bad_parameter");
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
    let mut other = review();
    other["title"] = json!("Another");
    let used = desk.api.send_with(Method::POST, &create, &other, &key).await;
    assert_eq!(problem(&used, 422), "idempotency_key_used");
    let elsewhere = format!("/events/{}", id(&once));
    let used = desk.api.send_with(Method::PATCH, &elsewhere, &review(), &key).await;
    assert_eq!(problem(&used, 422), "idempotency_key_used");
    let refused = [("Idempotency-Key", "request-2")];
    let bad = desk.api.send_with(Method::POST, &create, &json!({ "title": "x" }), &refused).await;
    assert_eq!(problem(&bad, 422), "required");
    let same = [("Idempotency-Key", "request-3")];
    let idle = desk.api.send_with(Method::PATCH, &elsewhere, &json!({ "title": "Review" }), &same).await;
    desk.api.send_json(Method::PATCH, &elsewhere, &json!({ "title": "Later" })).await;
    let repeated = desk.api.send_with(Method::PATCH, &elsewhere, &json!({ "title": "Review" }), &same).await;
    assert_eq!((&idle.body["intents"], &repeated.body["intents"]), (&json!([]), &json!([])));
    assert_eq!(repeated.body["event"]["title"], "Later", "a repeated request does nothing a second time");
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
    let intent = waiting["data"][0]["id"].as_str().unwrap();
    let told = desk.api.get(&format!("/outbox/{intent}/explain")).await;
    assert_eq!(
        (&told["writes"][0]["operation"], &told["mail"]["people"]),
        (&json!("create"), &json!(0)),
        "{told}"
    );
    assert_eq!((&told["reads_first"], &told["requests"]), (&json!(true), &json!(2)), "{told}");
    assert_eq!(told["intents"][0]["id"], waiting["data"][0]["id"]);
    let by_shell = desk.fleet.admin(&["explain", "intent", intent]).await;
    assert_eq!(by_shell["writes"], told["writes"]);
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
    assert_eq!(plan.body["requests"], 1, "{}", plan.body);

    assert_eq!(plan.status, 200, "{}", plan.body);
    assert_eq!(plan.body["writes"][0]["operation"], "create");
    assert_eq!(desk.api.get("/events").await["data"], json!([]));
    assert_eq!(desk.api.get("/outbox").await["data"], json!([]));
    assert_eq!(desk.held(), Vec::<String>::new());

    let made = desk.create("?wait=10s", &event).await;
    let path = format!("/events/{}?dry_run=true", id(&made));
    let message = json!({ "message": "The room has burned down." });
    let plan = desk.api.send_json(Method::DELETE, &path, &message).await;
    let carried = &plan.body["mail"]["message"];
    assert_eq!(carried["is_carried"], false, "{}", plan.body);
    assert!(carried["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{}", plan.body);
    let long = json!({ "message": "x".repeat(1_001) });
    let refused = desk.api.send_json(Method::DELETE, &path, &long).await;
    assert_eq!((problem(&refused, 422), &refused.body["field"]), ("too_long".to_owned(), &json!("message")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_next_sync_reads_is_what_it_was_said_to_read() {
    let desk = Desk::open().await;
    let path = format!("/calendars/{}/explain", desk.calendar);
    let told = desk.api.get(&path).await;
    assert_eq!((&told["listing"], &told["mails"]), (&json!("delta"), &json!(0)), "{told}");
    assert_eq!((&told["held_by"], &told["requests"]), (&Value::Null, &json!(1)), "{told}");
    assert_eq!((&told["pending"], &told["read_singly"]), (&json!([]), &json!([])), "{told}");
    desk.sandbox.inject(FaultRule::next(Fault::CutBefore).method("PUT").always());
    desk.create("", &review()).await;
    let told = desk.api.get(&path).await;
    assert_eq!(
        (&told["pending"][0]["operation"], &told["budget"]),
        (&json!("create"), &json!("limits.caldav"))
    );
    let shown = desk.fleet.admin(&["explain", "calendar", &desk.calendar]).await;
    assert_eq!(shown["listing"], told["listing"]);
    let reports = || {
        let log = desk.sandbox.log().entries();
        log.iter().filter(|entry| entry.method == "REPORT" && entry.path.contains("work")).count()
    };
    let before = reports();

    desk.fleet.sync(&desk.connection).await;

    assert_eq!(reports() - before, 1, "as many requests as were said");
    desk.fleet.admin(&["pause", &desk.connection]).await;
    assert_eq!(desk.api.get(&path).await["held_by"], "paused");
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

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_race_under_one_key_make_one_event() {
    let (Some(postgres), Some(redis)) = (Postgres::shared(), Redis::shared()) else { return };
    let (database, sandbox) = (database(postgres).await, start().await);
    account(&sandbox, "ada", &[("work", 0)]);
    let fleet = Fleet::full(&database, redis, &reaching(&[sandbox.address().port()]));
    let (scheduler, _worker) = (fleet.start("scheduler").await, fleet.start("worker").await);
    let connection = fleet.connect(sandbox.url(), "ada", PASSWORD, &[]).await;
    fleet.sync(&connection).await;
    let api = writer(&fleet, &scheduler, &[]).await;
    let calendar = named(&fleet, &connection, "work").await;

    let mut requests = Vec::new();
    for _ in 0..8 {
        let (api, path) = (api.clone(), format!("/calendars/{calendar}/events"));
        requests.push(tokio::spawn(async move {
            let saved = api.send_json(Method::PUT, &format!("{path}/by-key/visit%2F7"), &review()).await;
            let key = [("Idempotency-Key", "request-7")];
            let mut made = api.send_with(Method::POST, &path, &review(), &key).await;
            while made.status == 409 {
                assert_eq!(problem(&made, 409), "request_underway");
                made = api.send_with(Method::POST, &path, &review(), &key).await;
            }
            assert!(saved.status < 300 && made.status < 300, "{} {}", saved.body, made.body);
            (id(&saved), id(&made))
        }));
    }
    let mut events = std::collections::BTreeSet::new();
    for request in requests {
        events.insert(request.await.unwrap());
    }

    assert_eq!(events.len(), 1, "{events:?}");
    let is_settled = async || api.get("/outbox").await["data"] == json!([]);
    assert!(holds(PATIENCE, is_settled).await);
    assert_eq!(sandbox.resource_count("ada", "work").unwrap(), 2);
    assert_eq!(fleet.events(&connection).await.len(), 2);
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
