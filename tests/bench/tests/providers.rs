//! The first import of 10,000 events from the simulated Google: what it takes beside the sandbox itself and beside
//! writing the same rows without any of our work.

use std::time::{Duration, Instant};

use calfleet_domain::model::{Authentication, ConflictPolicy, OrganizationId, ProviderKind};
use calfleet_harness::{Durability, Postgres, Redis};
use calfleet_sandbox::{GoogleAccountSpec, Sandbox, SandboxOptions};
use calfleet_service::connect::ConnectRequest;
use sea_orm::Database;
use serde_json::json;
use url::Url;
use uuid::Uuid;

use crate::figure::{Bound, figure, median, median_seconds, number};
use crate::fleet::Fleet;
use crate::rows::copy_plainly;

const ADA: &str = "ada@example.com";
const SCOPE: &str = "https://www.googleapis.com/auth/calendar";
const EVENTS: usize = 10_000;
const ROUNDS: usize = 3;
/// Events of a page, as the driver asks for them.
const PAGE: usize = 2_500;

fn fill(sandbox: &Sandbox) {
    sandbox.google().create_account(GoogleAccountSpec::new(ADA)).unwrap();
    for event in 0..EVENTS {
        let (day, hour) = (event % 28 + 1, event % 10 + 8);
        let time = |minute: u32| json!({ "dateTime": format!("2026-11-{day:02}T{hour:02}:{minute:02}:00Z"), "timeZone": "Europe/Paris" });
        let mut planted = json!({
            "id": format!("event{event:06}"), "summary": format!("Review {event}"),
            "description": "Bring numbers, coffee and the plan of last week.",
            "location": "Room 4", "start": time(0), "end": time(30),
        });
        if event % 20 == 0 {
            planted["recurrence"] = json!(["RRULE:FREQ=WEEKLY;COUNT=10"]);
        }
        if event % 3 == 0 {
            planted["attendees"] = json!([{ "email": ADA }, { "email": "bob@example.com" }]);
        }
        sandbox.google().plant(ADA, &planted).unwrap();
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    next_page_token: Option<String>,
}

/// A client that only reads: the same pages, thrown away.
async fn read_alone(sandbox: &Sandbox, access: &str) -> Duration {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/calendar/v3/calendars/primary/events", sandbox.google().url());
    let began = Instant::now();
    let mut page: Option<String> = None;
    loop {
        let mut url = Url::parse(&url).unwrap();
        url.query_pairs_mut()
            .append_pair("maxResults", &PAGE.to_string())
            .append_pair("prettyPrint", "false");
        if let Some(token) = page.take() {
            url.query_pairs_mut().append_pair("pageToken", &token);
        }
        let request = client.get(url).bearer_auth(access);
        let body = request.send().await.unwrap().bytes().await.unwrap();
        let listed: Listed = serde_json::from_slice(&body).unwrap();
        page = listed.next_page_token;
        if page.is_none() {
            return began.elapsed();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn import_of_10_000_events_from_google() {
    let (Some(postgres), Some(redis)) = (Postgres::start(Durability::Full), Redis::start()) else { return };
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    fill(&sandbox);
    let (access, _) = sandbox.google().tokens(ADA, "bench", &[SCOPE]).unwrap();
    // a budget that begins to be kept is taken for used up, which is not what is measured
    let settings = [
        ("CALFLEET__LIMITS__GOOGLE__ACCOUNT__REQUESTS", "1000000".to_owned()),
        ("CALFLEET__LIMITS__GOOGLE__PROJECT__REQUESTS", "1000000".to_owned()),
    ];
    let [mut alone, mut ours, mut cpu, mut plain] = [(); 4].map(|()| Vec::new());
    let mut ratios = Vec::new();
    let mut rows = 0;
    for _ in 0..ROUNDS {
        alone.push(read_alone(&sandbox, &access).await);
        let request = ConnectRequest {
            organization_id: OrganizationId(Uuid::nil()),
            user_id: None,
            provider: ProviderKind::Google,
            address: format!("{}/calendar/v3/", sandbox.google().url()),
            authentication: Authentication::Bearer,
            username: None,
            secret: Some(access.clone().into()),
            label: None,
            poll_interval: Duration::from_hours(1),
            conflict_policy: ConflictPolicy::default(),
        };
        let fleet = Fleet::start_with(&postgres, &redis, request, &settings).await;
        let before = fleet.cpu();
        ours.push(fleet.import().await);
        cpu.push(fleet.cpu().saturating_sub(before));
        let migrate = |url: String| async move { Ok(calfleet_migrations::run(&url).await.map(drop)?) };
        let copy = postgres.database(migrate).await.unwrap();
        let source = Database::connect(fleet.database.url()).await.unwrap();
        let target = Database::connect(copy.url()).await.unwrap();
        let (took, written) = copy_plainly(&source, &target).await;
        rows = written;
        plain.push(took);
        let own = ours.last().unwrap().saturating_sub(*alone.last().unwrap());
        ratios.push(took.as_secs_f64() / own.as_secs_f64());
        for database in [source, target] {
            database.close().await.unwrap();
        }
    }
    let name = |what: &str| format!("import.google.{EVENTS}.{what}");
    figure(&name("sandbox_alone"), median_seconds(&alone), "s", Bound::None);
    figure(&name("wall"), median_seconds(&ours), "s", Bound::None);
    figure(&name("own_cpu"), median_seconds(&cpu), "s", Bound::None);
    figure(&name("rows"), number(rows), "rows", Bound::None);
    figure(&name("plain_insert"), median_seconds(&plain), "s", Bound::None);
    figure(&name("speed_of_plain_insert"), median(ratios), "x", Bound::AtLeast(0.6));
}
