//! A provider tells a fleet of real programs of a change: it arrives within moments, whatever else is away the
//! provider is answered, and a stranger's word counts for nothing.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use calfleet_harness::{Durability, Ending, Postgres, Redis};
use calfleet_sandbox::Sandbox;
use serde_json::{Value, json};
use url::Url;

use crate::api_client::Api;
use crate::fleet::{Fleet, PATIENCE, Program, database, holds};
use crate::sign_in::{ADA, agree, google, post, settings, visit};

/// Far below the interval of polls, with room for a machine that does ten other things.
const SOON: Duration = Duration::from_secs(30);

/// A port that nobody listens on just now.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Settings of programs that the sandbox reaches where their API listens.
fn reachable(sandbox: &Sandbox) -> Vec<(&'static str, String)> {
    let port = free_port();
    let mut settings = settings(sandbox, &format!("http://127.0.0.1:{port}/"));
    settings.push(("api.listen", format!("127.0.0.1:{port}")));
    settings.push(("sync.notification_spacing", "100ms".to_owned()));
    settings
}

/// Ada's account, connected through the API and told about; the connection's id.
async fn watched(fleet: &Fleet, program: &Program) -> (Api, String) {
    let made = fleet.admin(&["key", "create", "app", "--connect"]).await;
    let api = Api::new(program.url(), made["key"].as_str().unwrap());
    let begun =
        post(&api, "/calendar/google/connect", &json!({ "return_url": "https://app.example.com/calendar" }))
            .await;
    let callback = agree(begun.body["authorize_url"].as_str().unwrap(), ADA).await;
    let back: Url = visit(program, &callback).await.1.unwrap();
    let ticket = back.query_pairs().find(|(name, _)| name == "connect").unwrap().1.into_owned();
    let confirmed = post(&api, &format!("/connections/{ticket}/confirm"), &json!({})).await;
    assert_eq!(confirmed.status, 201, "{}", confirmed.body);
    let id = confirmed.body["id"].as_str().unwrap().to_owned();
    let is_watched = async || {
        let view = api.get(&format!("/connections/{id}")).await;
        view["watched"] == json!({ "proven": 1, "eligible": 1 }) && view["health"] == "healthy"
    };
    assert!(holds(PATIENCE, is_watched).await, "{}", api.get(&format!("/connections/{id}")).await);
    (api, id)
}

async fn arrives(api: &Api, title: &str) -> bool {
    holds(SOON, async || {
        let events = api.get("/events?from=2026-11-01&to=2027-01-01").await;
        events["data"].as_array().is_some_and(|events| events.iter().any(|event| event["title"] == title))
    })
    .await
}

fn plant(sandbox: &Sandbox, id: &str, title: &str) {
    let event = json!({
        "id": id, "summary": title,
        "start": { "dateTime": "2026-12-01T12:00:00Z", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-12-01T13:00:00Z", "timeZone": "Europe/Paris" },
    });
    sandbox.google().plant(ADA, &event).unwrap();
}

/// A push as Google would send it to a channel of somebody's; the status, and how long the answer took.
async fn push(program: &Program, token: &str) -> (u16, Duration) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let began = Instant::now();
    let answer = client
        .post(format!("{}/notifications/google", program.url()))
        .header("x-goog-channel-id", "channel")
        .header("x-goog-channel-token", token)
        .header("x-goog-resource-id", "resource")
        .header("x-goog-resource-state", "exists")
        .header("x-goog-message-number", "7")
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_at_google_arrives_at_once_and_the_provider_is_answered_whatever_is_away() {
    let (Some(postgres), Some(redis)) = (Postgres::start(Durability::Relaxed), Redis::start()) else {
        return;
    };
    let (database, sandbox) = (database(&postgres).await, google().await);
    let fleet = Fleet::full(&database, &redis, &reachable(&sandbox));
    let (scheduler, _worker) = (fleet.start("scheduler").await, fleet.start("worker").await);
    let (api, id) = watched(&fleet, &scheduler).await;

    plant(&sandbox, "lunch", "Lunch");
    assert!(arrives(&api, "Lunch").await);
    let view = api.get(&format!("/connections/{id}")).await;
    let calendar: &Value = &view["calendars"][0];
    assert_eq!(calendar["watch"]["state"], "proven", "{calendar}");
    assert!(calendar["watch"]["notified_at"].is_i64() && calendar["next_at"].is_i64(), "{calendar}");

    assert_eq!(push(&scheduler, "a guess").await.0, 202, "a stranger learns nothing");
    redis.stop(Ending::Kill);
    plant(&sandbox, "supper", "Supper");
    let (status, took) = push(&scheduler, "a guess").await;
    assert!(status == 202 && took < Duration::from_secs(1), "{status} after {took:?} without Redis");
    let told =
        async || sandbox.deliveries().iter().filter(|delivery| delivery.status == Some(202)).count() >= 3;
    assert!(holds(PATIENCE, told).await, "{:?}", sandbox.deliveries());
    redis.start_again();
    assert!(arrives(&api, "Supper").await, "what was told meanwhile is not forgotten");

    postgres.stop(Ending::Kill);
    let (status, took) = push(&scheduler, "a guess").await;
    assert!(status == 503 && took < Duration::from_secs(1), "{status} after {took:?} without Postgres");
    postgres.start_again();
    assert!(holds(PATIENCE, async || push(&scheduler, "a guess").await.0 == 202).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_is_told_too_and_a_handshake_is_repeated_as_text() {
    let sandbox = google().await;
    let fleet = Fleet::solo(&reachable(&sandbox));
    let solo = fleet.start("solo").await;
    let (api, _) = watched(&fleet, &solo).await;

    plant(&sandbox, "lunch", "Lunch");
    assert!(arrives(&api, "Lunch").await);
    let listed = fleet.admin(&["list"]).await;
    assert_eq!(listed[0]["watched"]["proven"], 1);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let address = format!("{}/notifications/microsoft?validationToken=Validation%3a+%3cb%3e", solo.url());
    let answer = client.post(address).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert_eq!(answer.text().await.unwrap(), "Validation: <b>", "as it was meant, or Microsoft refuses");
    let nobody = client.post(format!("{}/notifications/nobody", solo.url())).send().await.unwrap();
    assert_eq!(nobody.status(), 404);
    let empty = client.post(format!("{}/notifications/google", solo.url())).send().await.unwrap();
    assert_eq!(empty.status(), 400);
    for secret in ["X-Goog-Channel-Token", "x-goog-channel-token"] {
        assert!(!solo.log().contains(secret), "{secret} stands in the log");
    }
}
