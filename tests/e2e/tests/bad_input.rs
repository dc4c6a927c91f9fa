//! Everything that people and servers get wrong ends in one clear sentence that says what to do; what is connected
//! beside it goes on (law 33, and the list of bad input).

use calfleet_sandbox::{Fault, FaultRule, FeedSpec, FeedState, Sandbox};
use serde_json::Value;

use crate::api_client::Api;
use crate::fleet::{Fleet, PATIENCE, holds, reaching};
use crate::provider::{PASSWORD, account, an_event, start};
use crate::strangers::{Parrot, SelfSigned, closed_port};

/// The least that the configuration allows.
const MOST_BYTES: &str = "1000000";

const PAGE: &str = "<!DOCTYPE html><html><body>Welcome to our shop</body></html>";

/// What `admin connect` says when it fails: one line, which is a sentence.
async fn complaint(fleet: &Fleet, settings: &[(String, String)], arguments: &[&str]) -> String {
    complaint_with(fleet, settings, arguments, PASSWORD).await
}

async fn complaint_with(
    fleet: &Fleet,
    settings: &[(String, String)],
    arguments: &[&str],
    password: &str,
) -> String {
    let arguments = [&["connect"], arguments].concat();
    let output = fleet.run(settings, &arguments, &format!("{password}\n")).await;
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?} connected something");
    let said: Vec<&str> = errors.lines().filter_map(|line| line.strip_prefix("calfleet: ")).collect();
    assert_eq!(said.len(), 1, "{arguments:?}: {errors}");
    assert!(said[0].ends_with('.') && said[0].len() < 300, "{arguments:?}: not a sentence: {}", said[0]);
    said[0].to_owned()
}

fn assert_says(what: &str, sentence: &str, words: &[&str]) {
    for word in words {
        assert!(sentence.contains(word), "{what}: {word:?} is not in {sentence:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_cannot_be_used_is_refused_with_a_sentence_that_says_why() {
    let shop = Parrot::saying("200 OK", "text/html", PAGE).await;
    let api = Parrot::saying("404 Not Found", "text/plain", "no such thing\n").await;
    let (closed, forbidden) = (closed_port(), closed_port());
    let fleet = Fleet::solo(&reaching(&[shop.port(), api.port(), closed]));
    let _solo = fleet.start("solo").await;
    let outside = fleet.settings_but(&[("providers.http.allowed_networks", "[]")]);
    let local = |port: u16| format!("http://127.0.0.1:{port}/");

    let cases: [(&str, String, &[&str]); 10] = [
        ("no URL", "https://".to_owned(), &["not a usable URL", "https://dav.example.com/"]),
        (
            "a password in it",
            "https://ada:secret@dav.example.com/".to_owned(),
            &["password in it", "separately"],
        ),
        (
            "an unknown name",
            "https://calendar.invalid/".to_owned(),
            &["calendar.invalid", "check the address"],
        ),
        ("another port", local(forbidden), &["is not allowed", "providers.http.allowed_ports"]),
        ("nobody there", local(closed), &["127.0.0.1", "does not accept connections"]),
        ("a web page", local(shop.port()), &["web page", "enter the CalDAV"]),
        ("not a calendar", local(api.port()), &["no calendar", "enter the CalDAV address"]),
        ("a private address", "https://10.0.0.1/".to_owned(), &["private network", "ask the operator"]),
        ("one spelled otherwise", "https://0x7f.1/".to_owned(), &["private network"]),
        ("a name of this machine", "https://localhost/".to_owned(), &["private network", "localhost"]),
    ];
    for (what, url, words) in cases {
        let is_private = words.contains(&"private network");
        let settings = if is_private { outside.as_slice() } else { fleet.settings() };
        let said = complaint(&fleet, settings, &["caldav", &url, "--username", "ada"]).await;
        assert_says(what, &said, words);
    }
    let said = complaint(&fleet, &outside, &["caldav", "http://dav.example.com/", "--username", "ada"]).await;
    assert_says("plain http", &said, &["plain http", "use https"]);
    let said = complaint(&fleet, fleet.settings(), &["feed", &local(shop.port())]).await;
    assert_says("a web page for a feed", &said, &["web page", ".ics"]);

    assert_eq!(fleet.admin(&["list"]).await, serde_json::json!([]), "something was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_trusts_is_named_as_such() {
    let Some(server) = SelfSigned::start() else { return };
    let fleet = Fleet::solo(&reaching(&[server.port()]));
    let _solo = fleet.start("solo").await;

    let url = format!("https://127.0.0.1:{}/", server.port());
    let said = complaint(&fleet, fleet.settings(), &["caldav", &url, "--username", "ada"]).await;

    assert_says("self-signed", &said, &["certificate of 127.0.0.1", "not valid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_nonsense_at_connect_is_refused_and_nothing_is_stored() {
    let sandbox = start().await;
    account(&sandbox, "ada", &[("work", 5)]);
    let mut settings = reaching(&[sandbox.address().port()]);
    settings.push(("providers.http.max_listing_bytes", MOST_BYTES.to_owned()));
    let fleet = Fleet::solo(&settings);
    let _solo = fleet.start("solo").await;

    let login = ["caldav", sandbox.url(), "--username", "ada"];
    let said = complaint_with(&fleet, fleet.settings(), &login, "a wrong one").await;
    assert_says("a wrong password", &said, &["refused the user name or the password", "enter them again"]);
    let faults: [(&str, Fault, &[&str]); 6] = [
        ("html", Fault::Html, &["web page"]),
        ("truncated", Fault::TruncatedBody, &["broke off"]),
        ("cut", Fault::CutBody(100), &["broke off"]),
        ("endless", Fault::Endless, &["larger than 1000000 bytes", "providers.http.max_listing_bytes"]),
        ("an entity bomb", Fault::EntityBomb, &["could not be read"]),
        (
            "its own problem",
            Fault::Status { code: 500, retry_after: None },
            &["status 500", "problem of its own"],
        ),
    ];
    for (what, fault, words) in faults {
        sandbox.clear_faults();
        sandbox.inject(FaultRule::next(fault).method("PROPFIND").always());
        let said = complaint(&fleet, fleet.settings(), &login).await;
        assert_says(what, &said, words);
    }

    assert_eq!(fleet.admin(&["list"]).await, serde_json::json!([]), "something was stored");
}

/// A connected account with two calendars of which one will get into trouble.
struct Pair {
    fleet: Fleet,
    sandbox: Sandbox,
    connection: String,
    api: Api,
    _solo: crate::fleet::Program,
}

impl Pair {
    async fn connected() -> Self {
        let sandbox = start().await;
        account(&sandbox, "ada", &[("work", 20), ("home", 20)]);
        let mut settings = reaching(&[sandbox.address().port()]);
        settings.push(("providers.http.max_listing_bytes", MOST_BYTES.to_owned()));
        let fleet = Fleet::solo(&settings);
        let solo = fleet.start("solo").await;
        let connection = fleet.connect(sandbox.url(), "ada", PASSWORD, &[]).await;
        fleet.sync(&connection).await;
        let api = fleet.api(solo.url(), None).await;
        Self { fleet, sandbox, connection, api, _solo: solo }
    }

    /// The connection as the API shows it.
    async fn status(&self) -> Value {
        self.api.get(&format!("/connections/{}", self.connection)).await
    }

    /// The file names and titles of what is stored.
    async fn names(&self) -> Vec<String> {
        let events = self.api.all(&format!("/events?connection={}&limit=100", self.connection)).await;
        let name = |event: &Value| {
            event["provider_event_id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
        };
        events.iter().map(name).collect()
    }
}

fn calendar<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["calendars"].as_array().unwrap().iter().find(|calendar| calendar["name"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_in_trouble_says_so_while_the_others_go_on_and_heals_by_itself() {
    let pair = Pair::connected().await;
    let faults: [(&str, Fault, &[&str]); 7] = [
        ("html", Fault::Html, &["web page"]),
        ("truncated", Fault::TruncatedBody, &["broke off"]),
        ("cut", Fault::CutBody(60), &["broke off"]),
        ("endless", Fault::Endless, &["larger than 1000000 bytes", "providers.http.max_listing_bytes"]),
        ("entities", Fault::EntityBomb, &["could not be read"]),
        ("broken", Fault::Status { code: 500, retry_after: None }, &["status 500", "problem of its own"]),
        ("forbidden", Fault::Status { code: 403, retry_after: None }, &["does not allow", "permission"]),
    ];

    for (what, fault, words) in faults {
        let name = format!("{what}.ics");
        for calendar in ["work", "home"] {
            let event = an_event(&format!("{what}-{calendar}@example.com"), what, "");
            pair.sandbox.put("ada", calendar, &name, &event).unwrap();
        }
        pair.sandbox.inject(FaultRule::next(fault).method("REPORT").path("*/work/*").always());
        pair.fleet.admin(&["sync", &pair.connection]).await;

        let is_told = holds(PATIENCE, async || {
            let status = pair.status().await;
            let problem = calendar(&status, "work")["problem"].as_str().unwrap_or_default().to_owned();
            words.iter().all(|word| problem.contains(word))
        });
        assert!(is_told.await, "{what}: {}", pair.status().await);
        let goes_on = holds(PATIENCE, async || pair.names().await.contains(&name)).await;
        let status = pair.status().await;
        assert!(goes_on && calendar(&status, "home")["problem"].is_null(), "{what}: {status}");
        assert_says(what, status["message"].as_str().unwrap(), words);
        assert_eq!((&status["health"], &status["state"]), (&"delayed".into(), &"active".into()), "{status}");
        let listed = pair.fleet.connection(&pair.connection).await;
        assert_eq!(calendar(&listed, "work")["problem"], calendar(&status, "work")["problem"], "{what}");

        pair.sandbox.clear_faults();
        pair.fleet.sync(&pair.connection).await;
        let names = pair.names().await;
        assert_eq!(names.iter().filter(|other| **other == name).count(), 2, "{what}");
        assert!(calendar(&pair.status().await, "work")["problem"].is_null(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_cannot_be_read_is_shown_with_its_reason_and_blocks_nothing() {
    let pair = Pair::connected().await;
    pair.sandbox.plant("ada", "work", "broken.ics", "BEGIN:VCALENDAR\r\nwhat is this\r\n").unwrap();
    pair.sandbox.put("ada", "work", "sound.ics", &an_event("sound@example.com", "Sound", "")).unwrap();

    pair.fleet.sync(&pair.connection).await;

    assert!(pair.names().await.contains(&"sound.ics".to_owned()));
    let status = pair.status().await;
    assert_says(
        "unreadable",
        status["message"].as_str().unwrap(),
        &["1 event cannot be read", "at the provider"],
    );
    let (work, home) = (calendar(&status, "work"), calendar(&status, "home"));
    assert_eq!((&work["problem"], &home["unreadable"]), (&Value::Null, &serde_json::json!([])));
    let broken = &work["unreadable"][0];
    assert!(broken["provider_event_id"].as_str().unwrap().ends_with("/broken.ics"), "{broken}");
    let shown = pair.api.get(&format!("/events/{}", broken["event_id"].as_str().unwrap())).await;
    assert_eq!((&shown["sync"]["status"], &shown["problem"]), (&"unreadable".into(), &broken["problem"]));
    let listed = pair.fleet.connection(&pair.connection).await;
    assert_eq!(calendar(&listed, "work")["unreadable"], work["unreadable"]);
    // a listing of events leaves nothing out in silence, on whatever page and in whatever stretch
    let all = pair.api.all("/events?from=2026-01-01&to=2026-12-31&limit=1").await;
    let reasons: Vec<&str> = all.iter().filter_map(|event| event["problem"].as_str()).collect();
    assert_eq!(reasons, [broken["problem"].as_str().unwrap()]);
    let everything = pair.api.all("/events").await;
    let ids = |events: &[Value]| events.iter().map(|event| event["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&everything)[0], broken["event_id"]);

    pair.sandbox.put("ada", "work", "broken.ics", &an_event("mended@example.com", "Mended", "")).unwrap();
    pair.fleet.sync(&pair.connection).await;
    assert_eq!(calendar(&pair.status().await, "work")["unreadable"], serde_json::json!([]));
    assert!(pair.names().await.contains(&"broken.ics".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_changed_is_asked_for_and_the_new_one_brings_everything_back() {
    let pair = Pair::connected().await;
    account(&pair.sandbox, "grace", &[("work", 10)]);
    let other = pair.fleet.connect(pair.sandbox.url(), "grace", PASSWORD, &[]).await;
    pair.sandbox.set_secret("ada", "another one").unwrap();
    pair.sandbox.put("ada", "work", "late.ics", &an_event("late@example.com", "Late", "")).unwrap();

    pair.fleet.admin(&["sync", &pair.connection]).await;
    let is_told = holds(PATIENCE, async || pair.status().await["health"] == "needs_reauth").await;
    let status = pair.status().await;
    assert!(is_told, "{status}");
    assert_says(
        "refused",
        status["message"].as_str().unwrap(),
        &["user name or the password", "enter them again"],
    );
    pair.fleet.sync(&other).await;

    let again = pair.fleet.connect(pair.sandbox.url(), "ada", "another one", &[]).await;
    assert_eq!(again, pair.connection);
    pair.fleet.sync(&again).await;
    let names = pair.names().await;
    assert_eq!((names.len(), names.iter().filter(|name| *name == "late.ics").count()), (41, 1));
    assert_ne!(pair.status().await["health"], "needs_reauth");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_in_trouble_keeps_its_events_and_says_what_is_wrong() {
    let sandbox = start().await;
    let url = sandbox.set_feed("holidays", FeedSpec::default());
    sandbox.put_in_feed("holidays", "one", &an_event("one@example.com", "One", "")).unwrap();
    sandbox.put_in_feed("holidays", "two", &an_event("two@example.com", "Two", "")).unwrap();
    let mut settings = reaching(&[sandbox.address().port()]);
    settings.push(("providers.http.max_feed_bytes", "20000".to_owned()));
    let fleet = Fleet::solo(&settings);
    let solo = fleet.start("solo").await;
    let connected = fleet.admin(&["connect", "feed", &url]).await;
    let connection = connected["connection"].as_str().unwrap();
    fleet.sync(connection).await;
    let api = fleet.api(solo.url(), None).await;
    let troubles: [(FeedSpec, &[&str]); 5] = [
        (in_state(FeedState::Html), &["web page", ".ics"]),
        (in_state(FeedState::Garbage), &["no calendar"]),
        (in_state(FeedState::Truncated(300)), &["broke off"]),
        (in_state(FeedState::Missing), &["nothing at this address"]),
        (
            FeedSpec { pad_to: Some(40_000), ..FeedSpec::default() },
            &["larger than 20000 bytes", "max_feed_bytes"],
        ),
    ];

    for (spec, words) in troubles {
        // Else the server would answer that nothing has changed.
        sandbox.put_in_feed("holidays", "two", &an_event("two@example.com", words[0], "")).unwrap();
        sandbox.set_feed("holidays", spec.clone());
        fleet.admin(&["sync", connection]).await;
        let path = format!("/connections/{connection}");
        let is_told = holds(PATIENCE, async || {
            let message = api.get(&path).await["message"].as_str().unwrap().to_owned();
            words.iter().all(|word| message.contains(word))
        });
        assert!(is_told.await, "{spec:?}: {}", api.get(&path).await);
        assert_eq!(fleet.events(connection).await.len(), 2, "{spec:?}");
    }

    sandbox.set_feed("holidays", FeedSpec::default());
    fleet.sync(connection).await;
    assert_eq!(fleet.events(connection).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_cannot_go_on_ends_its_watch_with_the_reason() {
    let sandbox = start().await;
    let url = sandbox.set_feed("holidays", FeedSpec::default());
    sandbox.put_in_feed("holidays", "one", &an_event("one@example.com", "One", "")).unwrap();
    let fleet = Fleet::solo(&reaching(&[sandbox.address().port()]));
    assert!(fleet.start("solo").await.drain().success());
    let connected = fleet.admin(&["connect", "feed", &url]).await;
    let connection = connected["connection"].as_str().unwrap();
    sandbox.set_feed("holidays", in_state(FeedState::Missing));
    let _solo = fleet.start("solo").await;

    let watched = fleet.run(fleet.settings(), &["progress", connection, "--watch"], "").await;
    fleet.admin(&["pause", connection]).await;
    let paused = fleet.run(fleet.settings(), &["progress", connection, "--watch"], "").await;

    for (output, words) in [(watched, "nothing at this address"), (paused, "Paused")] {
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && told.contains(words), "{words}: {told}");
    }
}

fn in_state(state: FeedState) -> FeedSpec {
    FeedSpec { state, ..FeedSpec::default() }
}
