//! From a write of the application to the provider's word for it: through the service, the outbox, a scheduler and a
//! worker, one at a time on an idle fleet.

use std::time::{Duration, Instant};

use calfleet_domain::model::{Authentication, ConflictPolicy, Notify, OrganizationId, ProviderKind};
use calfleet_harness::{Durability, Postgres, Redis};
use calfleet_sandbox::{AccountSpec, CalendarSpec, GoogleAccountSpec, Sandbox, SandboxOptions};
use calfleet_service::connect::ConnectRequest;
use serde_json::json;
use uuid::Uuid;

use crate::figure::{Bound, figure};
use crate::fleet::Fleet;

const ADA: &str = "ada@example.com";
const SCOPE: &str = "https://www.googleapis.com/auth/calendar";
const CREATES: usize = 300;
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
        poll_interval: Duration::from_hours(1),
        conflict_policy: ConflictPolicy::default(),
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
        poll_interval: Duration::from_hours(1),
        conflict_policy: ConflictPolicy::default(),
    };
    (sandbox, request)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn from_a_create_to_its_confirmation() {
    let (Some(postgres), Some(redis)) = (Postgres::start(Durability::Full), Redis::start()) else { return };
    let settings = [
        ("CALFLEET__LIMITS__GOOGLE__ACCOUNT__REQUESTS", "1000000".to_owned()),
        ("CALFLEET__LIMITS__GOOGLE__PROJECT__REQUESTS", "1000000".to_owned()),
    ];
    for (name, (_sandbox, request)) in [("google", google().await), ("caldav", caldav().await)] {
        let fleet = Fleet::start_with(&postgres, &redis, request, &settings).await;
        fleet.import().await;
        let calendar = fleet.calendar().await;
        let mut took = Vec::new();
        for number in 0..CREATES + WARMING_UP {
            fleet.wait(PAUSE).await;
            let input = json!({
                "title": format!("Review {number}"), "time_zone": "Europe/Paris",
                "start": "2026-12-01T10:00:00", "end": "2026-12-01T11:00:00",
            });
            let began = Instant::now();
            fleet.create(calendar, &input, Notify::None).await;
            took.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        let mut took = took.split_off(WARMING_UP);
        took.sort_by(f64::total_cmp);
        let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
        figure(&format!("create.{name}.to_confirmed.p50"), at(50), "ms", Bound::AtMost(25.0));
        figure(&format!("create.{name}.to_confirmed.p99"), at(99), "ms", Bound::AtMost(100.0));
        figure(&format!("create.{name}.to_confirmed.worst"), at(100), "ms", Bound::None);
    }
}
