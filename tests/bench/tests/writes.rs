//! From a write of the application to the provider's word for it: through the service, the outbox, a scheduler and a
//! worker, one at a time, on an idle fleet and on one that has ten thousand polls to do.

use std::time::{Duration, Instant};

use calfleet_domain::model::{Authentication, Notify, OrganizationId, ProviderKind};
use calfleet_harness::{Durability, Postgres, Redis};
use calfleet_sandbox::{
    AccountSpec, CalendarSpec, Fault, FaultRule, FeedSpec, GoogleAccountSpec, MicrosoftAccountSpec, Sandbox,
    SandboxOptions,
};
use calfleet_service::connect::ConnectRequest;
use serde_json::json;
use uuid::Uuid;

use crate::figure::{Bound, figure, number};
use crate::fleet::Fleet;

const ADA: &str = "ada@example.com";
const SCOPE: &str = "https://www.googleapis.com/auth/calendar";
const CREATES: usize = 300;
/// Feeds that wait to be polled.
const POLLS: usize = 10_000;
/// Not measured: connections are opened, plans are prepared.
const WARMING_UP: usize = 20;
/// Between two: a person's pace would be slower.
const PAUSE: Duration = Duration::from_millis(20);

async fn google() -> (Sandbox, ConnectRequest) {
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
    (sandbox, request)
}

async fn microsoft() -> (Sandbox, ConnectRequest) {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let microsoft = sandbox.microsoft();
    microsoft.create_account(MicrosoftAccountSpec::new(ADA)).unwrap();
    let (access, _) = microsoft.tokens(ADA, "bench", &["openid", "email", "Calendars.ReadWrite"]).unwrap();
    let request = ConnectRequest {
        organization_id: OrganizationId(Uuid::nil()),
        user_id: None,
        provider: ProviderKind::Microsoft,
        address: microsoft.api_url(),
        authentication: Authentication::Bearer,
        username: None,
        secret: Some(access.into()),
        label: None,
        poll_interval: Some(Duration::from_hours(1)),
        conflict_policy: None,
    };
    (sandbox, request)
}

async fn caldav() -> (Sandbox, ConnectRequest) {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let access = sandbox.create_account(AccountSpec::new("ada", "secret")).unwrap();
    sandbox.create_calendar("ada", CalendarSpec::new("work")).unwrap();
    let request = ConnectRequest {
        organization_id: OrganizationId(Uuid::nil()),
        user_id: None,
        provider: ProviderKind::Caldav,
        address: access.url,
        authentication: Authentication::Password,
        username: Some(access.username),
        secret: Some(access.secret.into()),
        label: None,
        poll_interval: Some(Duration::from_hours(1)),
        conflict_policy: None,
    };
    (sandbox, request)
}

/// Budgets are kept, but are not reached.
fn roomy() -> [(&'static str, String); 5] {
    [
        "CALFLEET__LIMITS__GOOGLE__ACCOUNT__REQUESTS",
        "CALFLEET__LIMITS__GOOGLE__PROJECT__REQUESTS",
        "CALFLEET__LIMITS__MICROSOFT__ACCOUNT__REQUESTS",
        "CALFLEET__LIMITS__MICROSOFT__PROJECT__REQUESTS",
        "CALFLEET__LIMITS__FEED__ACCOUNT__REQUESTS",
    ]
    .map(|name| (name, "1000000".to_owned()))
}

/// How long so many creates take, one after the other, in order; in milliseconds.
async fn creates(fleet: &Fleet<'_>, count: usize) -> Vec<f64> {
    let calendar = fleet.calendar().await;
    let mut took = Vec::new();
    for number in 0..count {
        fleet.wait(PAUSE).await;
        let input = json!({
            "title": format!("Review {number}"), "time_zone": "Europe/Paris",
            "start": "2026-12-01T10:00:00", "end": "2026-12-01T11:00:00",
        });
        let began = Instant::now();
        fleet.create(calendar, &input, Notify::None).await;
        took.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    took
}

fn at(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn from_a_create_to_its_confirmation() {
    let (Some(postgres), Some(redis)) = (Postgres::start(Durability::Full), Redis::start()) else { return };
    let accounts = [("google", google().await), ("microsoft", microsoft().await), ("caldav", caldav().await)];
    for (name, (_sandbox, request)) in accounts {
        let fleet = Fleet::start_with(&postgres, &redis, request, &roomy()).await;
        fleet.import().await;
        let mut took = creates(&fleet, CREATES + WARMING_UP).await.split_off(WARMING_UP);
        took.sort_by(f64::total_cmp);
        figure(&format!("create.{name}.to_confirmed.p50"), at(&took, 50), "ms", Bound::AtMost(25.0));
        figure(&format!("create.{name}.to_confirmed.p99"), at(&took, 99), "ms", Bound::AtMost(100.0));
        figure(&format!("create.{name}.to_confirmed.worst"), at(&took, 100), "ms", Bound::None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn a_create_overtakes_ten_thousand_polls_where_every_answer_takes_a_second() {
    let (Some(postgres), Some(redis)) = (Postgres::start(Durability::Full), Redis::start()) else { return };
    let (sandbox, request) = google().await;
    let fleet = Fleet::start_with(&postgres, &redis, request, &roomy()).await;
    fleet.import().await;
    let feed = sandbox.set_feed("holidays", FeedSpec::default());
    let feeds = fleet.subscribe(&feed, POLLS).await;
    sandbox.inject(FaultRule::next(Fault::Latency(1000)).always());
    let polled = || sandbox.log().entries().iter().filter(|entry| entry.path.starts_with("/feeds/")).count();
    let before = polled();

    fleet.ask_in_background(&feeds).await;
    let mut took = creates(&fleet, 100).await;

    let done = polled() - before;
    took.sort_by(f64::total_cmp);
    figure("create.beside_polls.to_confirmed.p50", at(&took, 50), "ms", Bound::None);
    figure("create.beside_polls.to_confirmed.p99", at(&took, 99), "ms", Bound::Below(3000.0));
    figure("create.beside_polls.to_confirmed.worst", at(&took, 100), "ms", Bound::None);
    figure("create.beside_polls.polls_meanwhile", number(done), "", Bound::AtLeast(1.0));
    assert!(done < POLLS, "all polls were done before the last create");
}
