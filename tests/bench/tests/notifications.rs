//! A provider tells of changes: how soon a change is stored, how many syncs a burst is, and how many notifications
//! are answered how fast, with and without Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use calfleet_domain::model::{Authentication, OrganizationId, ProviderKind};
use calfleet_harness::{Durability, Ending, Postgres, Redis, wait_until};
use calfleet_sandbox::{Delivery, GoogleAccountSpec, Sandbox, SandboxOptions};
use calfleet_service::connect::ConnectRequest;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::figure::{Bound, figure, number};
use crate::fleet::Fleet;

const ADA: &str = "ada@example.com";
const SCOPE: &str = "https://www.googleapis.com/auth/calendar";
const CHANGES: usize = 100;
/// Between two changes: longer than a change takes to be stored.
const PAUSE: Duration = Duration::from_millis(250);
/// Notifications a second, and for how long.
const A_SECOND: usize = 1_000;
const SECONDS: usize = 30;
/// How long a burst lasts; the spacing of syncs.
const BURST_SECONDS: usize = 10;
/// As many connections as a provider's senders might use.
const SENDERS: usize = 50;
const PATIENCE: Duration = Duration::from_mins(1);

/// A watched account, and the push that opened its channel.
async fn watched<'a>(postgres: &'a Postgres, redis: &Redis, spacing: &str) -> (Sandbox, Fleet<'a>, Delivery) {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    sandbox.google().create_account(GoogleAccountSpec::new(ADA)).unwrap();
    let (access, _) = sandbox.google().tokens(ADA, "bench", &[SCOPE]).unwrap();
    let request = ConnectRequest {
        organization_id: OrganizationId(Uuid::nil()),
        user_id: None,
        provider: ProviderKind::Google,
        address: format!("{}/calendar/v3/", sandbox.google().url()),
        authentication: Authentication::Bearer,
        username: None,
        secret: Some(access.into()),
        label: None,
        poll_interval: Some(Duration::from_hours(1)),
        conflict_policy: None,
    };
    // four changes a second of one account are more than Google's quota, which is not what is measured
    let settings = [
        ("CALFLEET__SYNC__NOTIFICATION_SPACING", spacing.to_owned()),
        ("CALFLEET__LIMITS__GOOGLE__ACCOUNT__REQUESTS", "1000000".to_owned()),
    ];
    let fleet = Fleet::start_with(postgres, redis, request, &settings).await;
    fleet.import().await;
    let is_open = wait_until(PATIENCE, || sandbox.deliveries().iter().any(|sent| sent.status == Some(202)));
    assert!(is_open.await, "no channel was opened: {:?}", sandbox.deliveries());
    let opened = sandbox.deliveries().swap_remove(0);
    (sandbox, fleet, opened)
}

fn at(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn from_a_change_at_the_provider_to_the_stored_event() {
    let (Some(postgres), Some(redis)) = (Postgres::start(Durability::Full), Redis::start()) else { return };
    let (sandbox, fleet, _) = watched(&postgres, &redis, "0s").await;
    let mut took = Vec::new();
    for change in 0..CHANGES {
        fleet.wait(PAUSE).await;
        let began = Instant::now();
        let event = json!({
            "id": format!("change{change}"), "summary": "Change",
            "start": { "dateTime": "2026-12-01T12:00:00Z" }, "end": { "dateTime": "2026-12-01T13:00:00Z" },
        });
        sandbox.google().plant(ADA, &event).unwrap();
        fleet.holds(change + 1).await;
        took.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    figure("notification.to_stored.p50", at(&took, 50), "ms", Bound::None);
    figure("notification.to_stored.p95", at(&took, 95), "ms", Bound::AtMost(100.0));
    figure("notification.to_stored.worst", at(&took, 100), "ms", Bound::None);
}

/// Sends pushes of one channel at a steady pace, numbered on from `first`; how long each answer took, in
/// milliseconds, sorted, and how many were answered otherwise than with 202.
async fn storm(fleet: &Fleet<'_>, opened: &Delivery, first: usize, seconds: usize) -> (Vec<f64>, usize) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = Arc::new(format!("http://127.0.0.1:{}/notifications/google", fleet.api_port));
    let kept = |name: &str| {
        let found = opened.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).unwrap()
    };
    let names: Arc<[String; 3]> =
        Arc::new(["x-goog-channel-id", "x-goog-channel-token", "x-goog-resource-id"].map(kept));
    let mut senders = JoinSet::new();
    let began = Instant::now();
    for sender in 0..SENDERS {
        let (client, url, names) = (client.clone(), Arc::clone(&url), Arc::clone(&names));
        let turns = (sender..A_SECOND * seconds).step_by(SENDERS);
        senders.spawn(async move {
            let (mut took, mut odd) = (Vec::new(), 0);
            for turn in turns {
                let due = began + Duration::from_micros(u64::try_from(turn * 1_000_000 / A_SECOND).unwrap());
                tokio::time::sleep_until(due.into()).await;
                let [id, token, resource] = &*names;
                let answer = client
                    .post(url.as_str())
                    .header("x-goog-channel-id", id)
                    .header("x-goog-channel-token", token)
                    .header("x-goog-resource-id", resource)
                    .header("x-goog-resource-state", "exists")
                    .header("x-goog-message-number", (first + turn).to_string())
                    .send()
                    .await
                    .unwrap();
                odd += usize::from(answer.status() != 202);
                // from when it was due: a sender that is held up does not hide what comes after
                took.push(due.elapsed().as_secs_f64() * 1000.0);
            }
            (took, odd)
        });
    }
    let (mut took, mut odd) = (Vec::new(), 0);
    for (some, others) in senders.join_all().await {
        took.extend(some);
        odd += others;
    }
    took.sort_by(f64::total_cmp);
    (took, odd)
}

fn show(name: &str, (took, odd): &(Vec<f64>, usize), seconds: usize) {
    figure(&format!("notification.{name}.sent"), number(took.len()) / number(seconds), "/s", Bound::None);
    figure(&format!("notification.{name}.p50"), at(took, 50), "ms", Bound::None);
    figure(&format!("notification.{name}.p99"), at(took, 99), "ms", Bound::AtMost(200.0));
    figure(&format!("notification.{name}.sent_away"), number(*odd), "answers", Bound::AtMost(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn a_burst_and_a_steady_thousand_a_second_with_and_without_redis() {
    let (Some(postgres), Some(redis)) = (Postgres::start(Durability::Full), Redis::start()) else { return };
    let (sandbox, fleet, opened) = watched(&postgres, &redis, "10s").await;
    let listings = || {
        let log = sandbox.log().entries();
        log.iter().filter(|entry| entry.method == "GET" && entry.path.ends_with("/events")).count()
    };
    fleet.wait(Duration::from_secs(11)).await;
    let before = listings();
    let burst = storm(&fleet, &opened, 100, BURST_SECONDS).await;
    fleet.wait(Duration::from_secs(11)).await;
    show("burst", &burst, BURST_SECONDS);
    figure("notification.burst.syncs", number(listings() - before), "syncs", Bound::AtMost(2.0));

    let steady = storm(&fleet, &opened, 100_000, SECONDS).await;
    show("steady", &steady, SECONDS);
    redis.stop(Ending::Kill);
    let without = storm(&fleet, &opened, 200_000, SECONDS).await;
    show("without_redis", &without, SECONDS);
}
