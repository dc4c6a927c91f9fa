//! Writing events from a shell beside a running process: events, the outbox, conflicts; what is refused says why.

use calfleet_sandbox::{Fault, FaultRule, Profile};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::problem;
use crate::fleet::{Fleet, PATIENCE, holds};
use crate::provider::an_event;
use crate::writes::{Desk, id, review};

const START: [&str; 6] =
    ["--start", "2026-12-01T10:00:00", "--end", "2026-12-01T11:00:00", "--time-zone", "Europe/Paris"];

async fn refused(fleet: &Fleet, arguments: &[&str]) -> String {
    let output = fleet.run(fleet.settings(), arguments, "").await;
    assert!(!output.status.success(), "{arguments:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!told.is_empty() && !told.contains("panicked"), "{arguments:?}: {told}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_changes_undoes_and_deletes_an_event() {
    let desk = Desk::open().await;
    let create = [&["event", "create", &desk.calendar, "--title", "Review"][..], &START].concat();

    let plan = desk.fleet.admin(&[&create[..], &["--dry-run"]].concat()).await;
    assert_eq!((&plan["writes"][0]["operation"], &plan["mail"]["people"]), (&json!("create"), &json!(0)));
    assert_eq!(desk.fleet.events(&desk.connection).await, Vec::<Value>::new());
    let made = desk.fleet.admin(&[&create[..], &["--wait", "30s"]].concat()).await;
    assert_eq!(made["sync"], "synced", "{made}");
    let event = made["event_id"].as_str().unwrap();
    let wait = ["--wait", "30s"];
    let edit = ["event", "edit", event, "--title", "Retro", "--location", "Room 2", "--clear", "description"];
    let edited = desk.fleet.admin(&[&edit[..], &wait].concat()).await;
    assert_eq!((&edited["sync"], &edited["event"]["location"]), (&json!("synced"), &json!("Room 2")));
    assert!(desk.held()[0].contains("SUMMARY:Retro"));

    let history = desk.fleet.admin(&["event", "history", event]).await;
    assert_eq!((&history[0]["decision"], &history[0]["actor"]), (&json!("edit"), &json!("operator")));
    let made_at = history[1]["at"].as_i64().unwrap();
    let at = chrono::DateTime::from_timestamp_millis(made_at).unwrap().to_rfc3339();
    let then = desk.fleet.admin(&["event", "show", event, "--at", &at]).await;
    assert_eq!((&then["title"], &then["since"]), (&json!("Review"), &json!(made_at)));
    let now = desk.fleet.admin(&["event", "show", event]).await;
    assert_eq!((&now["title"], &now["sync"]["status"]), (&json!("Retro"), &json!("synced")));
    let undone = desk.fleet.admin(&[&["event", "undo", event][..], &wait].concat()).await;
    assert_eq!((&undone["sync"], &undone["event"]["title"]), (&json!("synced"), &json!("Review")));
    let plan = desk.fleet.admin(&["event", "delete", event, "--dry-run"]).await;
    assert_eq!(plan["writes"][0]["changes"], json!(["existence"]));
    let deleted = desk.fleet.admin(&[&["event", "delete", event][..], &wait].concat()).await;
    assert_eq!((&deleted["sync"], &deleted["event"], desk.held().len()), (&json!("synced"), &Value::Null, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_refused_in_one_sentence() {
    let desk = Desk::open().await;
    let made =
        desk.fleet.admin(&[&["event", "create", &desk.calendar, "--key", "a"][..], &START].concat()).await;
    let event = made["event_id"].as_str().unwrap();
    desk.fleet.organizations(&["strangers"]).await;

    for (arguments, words) in [
        (&["event", "create", &desk.calendar, "--start", "soon", "--organization", "default"][..], "start"),
        (&["event", "edit", event, "--clear", "colour", "--organization", "default"], "colour"),
        (&["event", "respond", event, "accepted", "--organization", "default"], "guests"),
        (&["event", "respond", event, "perhaps", "--organization", "default"], "tentative"),
        (&["event", "delete", event, "--organization", "strangers"], "no such event"),
        (&["event", "history", event, "--organization", "strangers"], "no such event"),
        (&["event", "delete", event], "--organization"),
        (&["list", "--organization", event], "no such organization"),
        (&["key", "create", "y", "--organization", event], "no such organization"),
        (&["outbox", "retry", event, "--organization", "default"], "no such outbox entry"),
        (&["outbox", "discard", event, "--organization", "default"], "no such outbox entry"),
        (&["conflicts", "resolve", event, "--keep", "ours", "--organization", "default"], "no such conflict"),
        (&["conflicts", "resolve", event, "--keep", "both", "--organization", "default"], "theirs"),
    ] {
        let told = refused(&desk.fleet, arguments).await;
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_tried_again_or_dropped() {
    let desk = Desk::open().await;
    let refusal = Fault::Status { code: 403, retry_after: None };
    desk.sandbox.inject(FaultRule::next(refusal).method("PUT").always());
    let made = desk.create("?wait=10s", &review()).await;
    assert_eq!((made.status, &made.body["sync"]), (202, &json!("failed")), "{}", made.body);
    let other = desk.create("?wait=10s", &review()).await;
    assert!(other.body["error"].as_str().is_some_and(|error| !error.is_empty()), "{}", other.body);
    let dead = desk.fleet.admin(&["outbox", "list", "--state", "dead"]).await;
    assert_eq!(dead.as_array().unwrap().len(), 2);
    let of = |event: &str| {
        let found = dead.as_array().unwrap().iter().find(|one| one["event_id"] == event).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    let (retried, dropped) = (of(&id(&made)), of(&id(&other)));

    let plan = desk.fleet.admin(&["outbox", "retry", &retried, "--dry-run"]).await;
    assert_eq!(plan["writes"][0]["operation"], "create");
    let retry = format!("/outbox/{retried}/retry?dry_run=true");
    let told = desk.api.send(Method::POST, &retry).await;
    assert_eq!((told.status, &told.body), (200, &plan));
    let still = desk.fleet.admin(&["outbox", "list", "--state", "dead"]).await;
    assert_eq!(still.as_array().unwrap().len(), 2, "a dry run tries nothing again");
    desk.sandbox.clear_faults();
    desk.fleet.admin(&["outbox", "retry", &retried]).await;
    assert!(holds(PATIENCE, async || desk.held().len() == 1).await);
    let plan = desk.fleet.admin(&["outbox", "discard", &dropped, "--dry-run"]).await;
    assert_eq!((&plan["writes"][0]["operation"], &plan["mail"]["people"]), (&json!("delete"), &json!(0)));
    desk.fleet.admin(&["outbox", "discard", &dropped]).await;

    assert_eq!(desk.fleet.admin(&["outbox", "--state", "dead"]).await, json!([]));
    assert!(holds(PATIENCE, async || desk.fleet.admin(&["outbox"]).await == json!([])).await);
    let events = desk.fleet.events(&desk.connection).await;
    assert_eq!((events.len(), &events[0]["id"]), (1, &made.body["event_id"]));
    assert_eq!(desk.held().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_listed_and_decided_by_shell_or_api() {
    let desk = Desk::with(Profile::radicale(), &["--conflict-policy", "manual"]).await;
    let made = desk.create("?wait=10s", &review()).await;
    let path = format!("/events/{}", id(&made));
    for (round, keep) in ["theirs", "ours"].into_iter().enumerate() {
        let down = Fault::Status { code: 503, retry_after: None };
        desk.sandbox.inject(FaultRule::next(down).method("PUT").always());
        let (ours, theirs) = (format!("Ours {round}"), format!("Theirs {round}"));
        let edited = desk.api.send_json(reqwest::Method::PATCH, &path, &json!({ "title": ours })).await;
        assert_eq!(edited.status, 202, "{}", edited.body);
        let [resource] = &desk.sandbox.resources("ada@example.com", "work").unwrap()[..] else {
            panic!("one object")
        };
        let titled = |line: &str| {
            if line.starts_with("SUMMARY:") { format!("SUMMARY:{theirs}") } else { line.to_owned() }
        };
        let body: Vec<String> = resource.body.split("\r\n").map(titled).collect();
        desk.sandbox.put("ada@example.com", "work", &resource.name, &body.join("\r\n")).unwrap();
        desk.sandbox.clear_faults();
        desk.fleet.admin(&["sync", &desk.connection]).await;
        let is_open = async || desk.api.get("/conflicts").await["data"] != json!([]);
        assert!(holds(PATIENCE, is_open).await);

        let listed = desk.fleet.admin(&["conflicts"]).await;
        let conflict = listed[0]["id"].as_str().unwrap();
        assert_eq!(
            listed[0]["contested"],
            json!([{ "field": "title", "what": "title", "ours": ours, "theirs": theirs }])
        );
        assert_eq!(desk.api.get(&path).await["sync"]["status"], "conflict");
        if keep == "theirs" {
            let plan = desk
                .fleet
                .admin(&["conflicts", "resolve", conflict, "--field", "title=theirs", "--dry-run"])
                .await;
            assert_eq!(plan["writes"][0]["changes"], json!(["title"]));
            desk.fleet.admin(&["conflicts", "resolve", conflict, "--keep", keep]).await;
        } else {
            let resolve = format!("/conflicts/{conflict}/resolve?wait=10s");
            let unnamed = desk.api.send_json(reqwest::Method::POST, &resolve, &json!({ "fields": {} })).await;
            assert_eq!(problem(&unnamed, 400), "bad_body");
            let body = json!({ "fields": { "title": "local" } });
            let resolved = desk.api.send_json(reqwest::Method::POST, &resolve, &body).await;
            assert_eq!(
                (resolved.status, &resolved.body["sync"]),
                (200, &json!("synced")),
                "{}",
                resolved.body
            );
        }

        let kept = if keep == "ours" { ours } else { theirs };
        assert!(desk.held()[0].contains(&format!("SUMMARY:{kept}")), "{:?}", desk.held());
        let says = async || {
            let event = desk.api.get(&path).await;
            event["title"] == kept.as_str() && event["sync"]["status"] == "synced"
        };
        assert!(holds(PATIENCE, says).await, "{}", desk.api.get(&path).await);
        assert_eq!(desk.api.get("/conflicts").await["data"], json!([]));
    }
    assert_eq!(desk.api.get("/conflicts?state=resolved").await["data"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_request_changed_is_taken_back_by_its_name() {
    let desk = Desk::open().await;
    let create = format!("/calendars/{}/events?wait=10s", desk.calendar);
    let sprint = [("X-Request-Id", "sprint-7")];
    let made = desk.api.send_with(Method::POST, &create, &review(), &sprint).await;
    desk.api.send_with(Method::POST, &create, &review(), &sprint).await;
    let unnamed = desk.create("?wait=10s", &review()).await;
    assert_eq!((made.headers["x-request-id"].as_str(), desk.held().len()), ("sprint-7", 3));
    let name = &unnamed.headers["x-request-id"];
    let history = desk.api.get(&format!("/events/{}/history", id(&made))).await;
    assert_eq!(history["data"][0]["cause_id"], "sprint-7", "{history}");
    let outcomes = |answer: &Value| {
        let all = answer.as_array().unwrap_or_else(|| panic!("{answer}")).iter();
        all.map(|one| one["outcome"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    let sought = json!({ "cause_id": "sprint-7" });
    let asked = desk.api.send_json(Method::POST, "/undo?dry_run=true", &sought).await;
    assert_eq!((asked.status, outcomes(&asked.body)), (200, vec!["undoable".to_owned(); 2]));
    assert_eq!(desk.held().len(), 3);
    let keyed = [("Idempotency-Key", "undo-7")];
    for _ in 0..2 {
        let undone = desk.api.send_with(Method::POST, "/undo", &sought, &keyed).await;
        assert_eq!((undone.status, outcomes(&undone.body)), (200, vec!["undone".to_owned(); 2]));
    }
    let other = json!({ "cause_id": name });
    let foreign = desk.api.send_with(Method::POST, "/undo", &other, &keyed).await;
    assert_eq!(problem(&foreign, 422), "idempotency_key_used");
    let again = desk.api.send_json(Method::POST, "/undo", &sought).await;
    assert_eq!(again.body[0]["error"], "The event is gone already.");
    assert!(holds(PATIENCE, async || desk.held().len() == 1).await);
    let by_shell = desk.fleet.admin(&["undo", name]).await;
    assert_eq!(outcomes(&by_shell), ["undone"]);
    assert!(holds(PATIENCE, async || desk.held().is_empty()).await);

    let told = refused(&desk.fleet, &["undo", "sprint-8"]).await;
    assert!(told.contains("no such request or run"), "{told}");
    let unknown = desk.api.send_json(Method::POST, "/undo", &json!({ "cause_id": "sprint-8" })).await;
    assert_eq!(problem(&unknown, 404), "not_found");
    for odd in ["\u{0}", "", "sprint \u{e9}"] {
        let refused = desk.api.send_json(Method::POST, "/undo", &json!({ "cause_id": odd })).await;
        assert_eq!(
            (problem(&refused, 400), &refused.body["field"]),
            ("bad_body".to_owned(), &json!("cause_id"))
        );
    }
    let long = "x".repeat(201);
    let endless = desk.api.send_with(Method::POST, &create, &review(), &[("X-Request-Id", &long)]).await;
    assert_eq!(problem(&endless, 400), "bad_parameter");
    assert_eq!(desk.held().len(), 0);
}

/// Law 36: escape sequences, line breaks and turned letters in what others wrote reach no terminal.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_invitation_says_does_not_steer_the_terminal() {
    const SPITE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}gpj\u{2066}.exe\u{2028}";
    let desk = Desk::open().await;
    let made = desk.create("?wait=10s", &review()).await;
    desk.sandbox.put("ada@example.com", "work", "spite.ics", &spiteful(SPITE)).unwrap();
    desk.fleet.sync(&desk.connection).await;
    let events = desk.fleet.events(&desk.connection).await;
    let spiteful = events.iter().find(|event| event["id"] != made.body["event_id"]).unwrap();
    let event = spiteful["id"].as_str().unwrap();
    assert!(spiteful["title"].as_str().unwrap().contains('\u{9b}'), "the API tells what it says: {spiteful}");

    for round in 0..2 {
        for arguments in [
            &["list"][..],
            &["events"],
            &["events", "--instances", "--from", "2026-11-01", "--to", "2026-12-31"],
            &["event", "show", event],
            &["event", "history", event],
            &["event", "edit", event, "--title", SPITE, "--dry-run"],
        ] {
            let text = desk.fleet.shown(arguments).await;

            let found: Vec<char> = text.chars().filter(|letter| steers(*letter)).collect();
            assert!(found.is_empty(), "{arguments:?}: {found:?} in {text}");
            assert!(!text.lines().any(|line| line.starts_with("FORGED")), "{arguments:?}: {text}");
        }
        let title = format!("{SPITE}{round}");
        desk.fleet.admin(&["event", "edit", event, "--title", &title, "--wait", "30s"]).await;
    }
}

fn steers(letter: char) -> bool {
    letter.is_control() && letter != '\n'
        || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn spiteful(text: &str) -> String {
    let lines = format!("LOCATION:{text}\r\nDESCRIPTION:{text}\\nFORGED\r\n");
    an_event("spite@example.com", &format!("{text}\\nFORGED  line"), &lines)
}
