//! Writing events at Google through the API of a real process: guests, mail, invitations, and answers that get lost.

use calfleet_sandbox::{Fault, FaultRule, GoogleAccountSpec, Sandbox};
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::api::problem;
use crate::api_client::Api;
use crate::fleet::{Fleet, PATIENCE, Program, holds};
use crate::sign_in::{ADA, agree_to, fleet, google, visit};
use crate::writes::{id, review};

const BOB: &str = "bob@example.com";
const SCOPES: [&str; 4] = [
    "openid",
    "email",
    "https://www.googleapis.com/auth/calendar.events",
    "https://www.googleapis.com/auth/calendar.calendarlist.readonly",
];

/// Ada's account, connected for writing.
struct Desk {
    sandbox: Sandbox,
    fleet: Fleet,
    solo: Program,
    api: Api,
    connection: String,
    calendar: String,
}

impl Desk {
    async fn open() -> Self {
        let sandbox = google().await;
        sandbox.google().create_account(GoogleAccountSpec::new(BOB)).unwrap();
        let fleet = fleet(&sandbox);
        let solo = fleet.start("solo").await;
        let made = fleet.admin(&["key", "create", "app", "--connect", "--write"]).await;
        let api = Api::new(solo.url(), made["key"].as_str().unwrap());
        let wanted = json!({ "return_url": "https://app.example.com/calendar", "access": "write" });
        let begun = api.send_json(Method::POST, "/calendar/google/connect", &wanted).await;
        let callback = agree_to(begun.body["authorize_url"].as_str().unwrap(), ADA, &SCOPES).await;
        let back: Url = visit(&solo, &callback).await.1.unwrap();
        let ticket = back.query_pairs().find(|(name, _)| name == "connect").unwrap().1.into_owned();
        let confirmed =
            api.send_json(Method::POST, &format!("/connections/{ticket}/confirm"), &json!({})).await;
        assert_eq!(confirmed.status, 201, "{}", confirmed.body);
        let connection = confirmed.body["id"].as_str().unwrap().to_owned();
        fleet.sync(&connection).await;
        let view = fleet.connection(&connection).await;
        let calendar = view["calendars"][0]["id"].as_str().unwrap().to_owned();
        Self { sandbox, fleet, solo, api, connection, calendar }
    }

    fn path(&self) -> String {
        format!("/calendars/{}/events", self.calendar)
    }

    fn titled(&self, title: &str) -> Vec<Value> {
        let events = self.sandbox.google().events(ADA).unwrap();
        events.into_iter().filter(|event| event["summary"] == title).collect()
    }

    fn mailed(&self) -> Vec<String> {
        self.sandbox.mails().into_iter().map(|mail| mail.to).collect()
    }
}

fn with_bob() -> Value {
    let mut event = review();
    event["title"] = json!("Interview");
    event["attendees"] = json!([{ "address": BOB }]);
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_are_mailed_as_asked_and_a_dry_run_says_whom() {
    let desk = Desk::open().await;

    let plan = desk.api.send_json(Method::POST, &format!("{}?dry_run=true", desk.path()), &with_bob()).await;
    assert_eq!(plan.body["mail"], json!({ "notify": "all", "people": 1, "addresses": [BOB] }));
    let quiet = format!("{}?notify=none&wait=10s", desk.path());
    let made = desk.api.send_json(Method::POST, &quiet, &with_bob()).await;
    assert_eq!((made.status, &made.body["sync"]), (201, &json!("synced")), "{}", made.body);
    assert_eq!(desk.mailed(), Vec::<String>::new());
    let [event] = &desk.titled("Interview")[..] else { panic!("one event") };
    assert_eq!(
        (&event["attendees"][0]["email"], &event["id"]),
        (&json!(BOB), &made.body["event"]["provider_event_id"])
    );

    let path = format!("/events/{}", id(&made));
    let moved = json!({ "start": "2026-12-02T10:00:00" });
    let moved = desk.api.send_json(Method::PATCH, &format!("{path}?wait=10s"), &moved).await;
    assert_eq!((moved.status, desk.mailed()), (200, vec![BOB.to_owned()]), "{}", moved.body);
    desk.sandbox.clear_mails();
    let undone = desk.api.send(Method::POST, &format!("{path}/undo?wait=10s")).await;
    assert_eq!((undone.status, desk.mailed()), (200, Vec::new()), "{}", undone.body);
    let gone = desk.api.send(Method::DELETE, &format!("{path}?wait=10s&notify=external")).await;
    assert_eq!((gone.status, desk.titled("Interview").len()), (200, 0), "{}", gone.body);
    for secret in ["Interview", BOB] {
        assert!(!desk.solo.log().contains(secret), "{secret} stands in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_answered_and_nothing_else_of_it_can_be_changed() {
    let desk = Desk::open().await;
    let invitation = json!({
        "summary": "Theirs", "attendees": [{ "email": ADA }],
        "start": { "dateTime": "2026-12-06T12:00:00+01:00", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-12-06T13:00:00+01:00", "timeZone": "Europe/Paris" },
    });
    let path = format!("calendars/{BOB}/events?sendUpdates=all");
    let (status, theirs) = desk.sandbox.google().call(BOB, "POST", &path, &invitation);
    assert_eq!(status, 200, "{theirs}");
    desk.sandbox.clear_mails();
    desk.fleet.sync(&desk.connection).await;
    let events = desk.api.all("/events?from=2026-12-06&to=2026-12-07").await;
    let event = events.iter().find(|event| event["title"] == "Theirs").unwrap();
    let path = format!("/events/{}", event["id"].as_str().unwrap());

    let refused = desk.api.send_json(Method::PATCH, &path, &json!({ "title": "Mine" })).await;
    let answer = json!({ "response": "accepted", "comment": "with pleasure" });
    let answered = desk.api.send_json(Method::POST, &format!("{path}/respond?wait=10s"), &answer).await;

    assert_eq!(problem(&refused, 422), "not_the_organizer");
    assert_eq!((answered.status, &answered.body["sync"]), (200, &json!("synced")), "{}", answered.body);
    let seen = desk.sandbox.google().event(BOB, theirs["id"].as_str().unwrap()).unwrap();
    let ada =
        seen["attendees"].as_array().unwrap().iter().find(|guest| guest["email"] == ADA).unwrap().clone();
    assert_eq!((&ada["responseStatus"], &ada["comment"]), (&json!("accepted"), &json!("with pleasure")));
    assert_eq!(desk.mailed(), [BOB]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_makes_one_event_and_one_mail() {
    let desk = Desk::open().await;
    desk.sandbox.inject(FaultRule::next(Fault::AnswerLost).method("POST").path("*/events"));
    let key = [("Idempotency-Key", "interview-42")];

    let made = desk.api.send_with(Method::POST, &desk.path(), &with_bob(), &key).await;
    let again =
        desk.api.send_with(Method::POST, &format!("{}?wait=10s", desk.path()), &with_bob(), &key).await;

    assert_eq!((made.status, id(&made)), (202, id(&again)));
    let path = format!("/events/{}", id(&made));
    let is_synced = async || desk.api.get(&path).await["sync"]["status"] == "synced";
    assert!(holds(PATIENCE, is_synced).await, "{}", desk.api.get(&path).await);
    assert_eq!((desk.titled("Interview").len(), desk.mailed()), (1, vec![BOB.to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_connected_for_reading_refuses_writes_with_the_way_out() {
    let sandbox = google().await;
    let fleet = fleet(&sandbox);
    let solo = fleet.start("solo").await;
    let made = fleet.admin(&["key", "create", "app", "--connect", "--write"]).await;
    let api = Api::new(solo.url(), made["key"].as_str().unwrap());
    let wanted = json!({ "return_url": "https://app.example.com/calendar" });
    let begun = api.send_json(Method::POST, "/calendar/google/connect", &wanted).await;
    let callback = crate::sign_in::agree(begun.body["authorize_url"].as_str().unwrap(), ADA).await;
    let back: Url = visit(&solo, &callback).await.1.unwrap();
    let ticket = back.query_pairs().find(|(name, _)| name == "connect").unwrap().1.into_owned();
    let confirmed = api.send_json(Method::POST, &format!("/connections/{ticket}/confirm"), &json!({})).await;
    let connection = confirmed.body["id"].as_str().unwrap();
    fleet.sync(connection).await;
    let view = fleet.connection(connection).await;
    let path = format!("/calendars/{}/events", view["calendars"][0]["id"].as_str().unwrap());

    let refused = api.send_json(Method::POST, &path, &review()).await;

    assert_eq!(problem(&refused, 422), "missing_scope");
    assert!(refused.body["detail"].as_str().unwrap().contains("access \"write\""), "{}", refused.body);
}

/// How many a plan would mail, and whether it says whom.
fn told(plan: &Value) -> (u64, bool) {
    (plan["mail"]["people"].as_u64().unwrap_or_else(|| panic!("{plan}")), plan.to_string().contains(BOB))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guests_of_a_private_event_stay_hidden_when_it_is_deleted() {
    let desk = Desk::open().await;
    let reader = desk.fleet.api(desk.solo.url(), None).await;
    for (visibility, is_shown) in [("private", false), ("public", true)] {
        let mut event = with_bob();
        event["visibility"] = json!(visibility);
        let made = desk.api.send_json(Method::POST, &format!("{}?wait=10s", desk.path()), &event).await;
        assert_eq!(made.body["sync"], "synced", "{}", made.body);
        let path = format!("/events/{}", id(&made));
        let down = Fault::Status { code: 503, retry_after: None };
        desk.sandbox.inject(FaultRule::next(down).method("DELETE").always());

        let gone = desk.api.send(Method::DELETE, &path).await;

        let intent = gone.body["intents"][0].as_str().unwrap();
        let explained = reader.get(&format!("/outbox/{intent}/explain")).await;
        assert_eq!(told(&explained), (1, is_shown), "{explained}");
        let undo = desk.api.send(Method::POST, &format!("{path}/undo?dry_run=true&notify=all")).await;
        assert_eq!(told(&undo.body), (1, is_shown), "{}", undo.body);
        desk.sandbox.clear_faults();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guests_of_a_private_instance_of_a_public_series_stay_hidden() {
    let desk = Desk::open().await;
    let mut weekly = review();
    weekly["recurrence"] = json!(["FREQ=WEEKLY;COUNT=4"]);
    let made = desk.api.send_json(Method::POST, &format!("{}?wait=10s", desk.path()), &weekly).await;
    let path = format!("/events/{}", id(&made));
    let one = format!("{path}?instance=20261208T100000&wait=10s");
    let patch = json!({ "visibility": "private", "attendees": [{ "address": BOB }] });
    let patched = desk.api.send_json(Method::PATCH, &one, &patch).await;
    assert_eq!((patched.status, &patched.body["event"]["visibility"]), (200, &json!("public")));

    let plan = desk.api.send(Method::DELETE, &format!("{path}?dry_run=true")).await;

    assert_eq!(told(&plan.body), (1, false), "{}", plan.body);
}
