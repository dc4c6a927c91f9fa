//! The first import of 10,000 events from the simulated Google and the simulated Microsoft: what it takes beside the
//! provider's own part and beside writing the same rows of all tables by the same statements.
//!
//! The provider's part is what a client takes that sends the same requests one after the other and throws the answers
//! away; it is subtracted.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use calfleet_domain::model::{Authentication, OrganizationId, ProviderKind};
use calfleet_harness::{Durability, Postgres, Redis};
use calfleet_sandbox::{GoogleAccountSpec, GraphHabits, MicrosoftAccountSpec, Sandbox, SandboxOptions};
use calfleet_service::connect::ConnectRequest;
use calfleet_store::{Options, Store};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::figure::{Bound, figure, median};
use crate::fleet::Fleet;
use crate::rows::write_again;

const ADA: &str = "ada@example.com";
const EVENTS: usize = 10_000;
const ROUNDS: usize = 3;
const MANY: usize = 100_000;

/// A simulated provider with Ada's calendar in it.
struct Provider {
    name: &'static str,
    kind: ProviderKind,
    sandbox: Sandbox,
    api_url: String,
    access: String,
}

/// When the event of that number takes place; the months after `2026-11`.
fn time(event: usize, minute: u32) -> String {
    format!("{}T{:02}:{minute:02}:00", day(event), event % 10 + 8)
}

fn day(event: usize) -> String {
    format!("2026-12-{:02}", event % 28 + 1)
}

impl Provider {
    async fn google(events: usize) -> Self {
        let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
        let google = sandbox.google();
        google.create_account(GoogleAccountSpec::new(ADA)).unwrap();
        for event in 0..events {
            let at = |minute: u32| json!({ "dateTime": time(event, minute), "timeZone": "Europe/Paris" });
            let mut planted = json!({
                "id": format!("event{event:06}"), "summary": format!("Review {event}"),
                "description": "Bring numbers, coffee and the plan of last week.",
                "location": "Room 4", "start": at(0), "end": at(30),
            });
            if event % 20 == 0 {
                planted["recurrence"] = json!(["RRULE:FREQ=WEEKLY;COUNT=10"]);
            }
            if event % 3 == 0 {
                planted["attendees"] = json!([{ "email": ADA }, { "email": "bob@example.com" }]);
            }
            google.plant(ADA, &planted).unwrap();
        }
        let scopes = ["https://www.googleapis.com/auth/calendar"];
        let (access, _) = google.tokens(ADA, "bench", &scopes).unwrap();
        let api_url = format!("{}/calendar/v3/", google.url());
        Self { name: "google", kind: ProviderKind::Google, sandbox, api_url, access }
    }

    async fn microsoft(events: usize) -> Self {
        let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
        let microsoft = sandbox.microsoft();
        microsoft.set_habits(GraphHabits { requests_per_ten_minutes: None, ..microsoft.habits() });
        microsoft.create_account(MicrosoftAccountSpec::new(ADA).zone("Romance Standard Time")).unwrap();
        for event in 0..events {
            let at =
                |minute: u32| json!({ "dateTime": time(event, minute), "timeZone": "Romance Standard Time" });
            let mut made = json!({
                "subject": format!("Review {event}"), "location": { "displayName": "Room 4" },
                "body": { "contentType": "text", "content": "Bring numbers, coffee and the plan of last week." },
                "start": at(0), "end": at(30),
            });
            if event % 20 == 0 {
                made["recurrence"] = json!({
                    "pattern": { "type": "daily", "interval": 7 },
                    "range": { "type": "numbered", "startDate": day(event), "numberOfOccurrences": 10 },
                });
            }
            if event % 3 == 0 {
                let bob = json!({ "address": "bob@example.com" });
                made["attendees"] = json!([{ "emailAddress": bob, "type": "required" }]);
            }
            let (status, answer) = microsoft.call(ADA, "POST", "me/events", &made);
            assert_eq!(status, 201, "{answer}");
        }
        let (access, _) = microsoft.tokens(ADA, "bench", &["Calendars.ReadWrite", "offline_access"]).unwrap();
        let api_url = microsoft.api_url();
        Self { name: "microsoft", kind: ProviderKind::Microsoft, sandbox, api_url, access }
    }

    async fn fleet<'a>(&self, postgres: &'a Postgres, redis: &Redis) -> Fleet<'a> {
        let request = ConnectRequest {
            organization_id: OrganizationId(Uuid::nil()),
            user_id: None,
            provider: self.kind,
            address: self.api_url.clone(),
            authentication: Authentication::Bearer,
            username: None,
            secret: Some(self.access.clone().into()),
            label: None,
            poll_interval: Some(Duration::from_hours(1)),
            conflict_policy: None,
        };
        // a budget that begins to be kept is taken for used up, which is not what is measured
        let settings = ["GOOGLE", "MICROSOFT"].map(|provider| {
            ["ACCOUNT", "PROJECT"].map(|whose| {
                (format!("CALFLEET__LIMITS__{provider}__{whose}__REQUESTS"), "1000000".to_owned())
            })
        });
        let settings: Vec<_> =
            settings.iter().flatten().map(|(name, value)| (name.as_str(), value.clone())).collect();
        Fleet::start_with(postgres, redis, request, &settings).await
    }

    /// A client that only reads.
    async fn read_alone(&self) -> Duration {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let began = Instant::now();
        match self.kind {
            ProviderKind::Google => self.read_google(&client).await,
            _ => self.read_microsoft(&client).await,
        }
        began.elapsed()
    }

    async fn read_google(&self, client: &reqwest::Client) {
        let first = format!("{}calendars/primary/events?maxResults=500&prettyPrint=false", self.api_url);
        let mut url = first.clone();
        loop {
            let page = self.get(client, &url, &[]).await;
            let Some(token) = page["nextPageToken"].as_str() else { return };
            url = format!("{first}&pageToken={token}");
        }
    }

    async fn read_microsoft(&self, client: &reqwest::Client) {
        let window = "startDateTime=2025-11-21T00:00:00Z&endDateTime=2028-11-21T00:00:00Z";
        let mut url = format!("{}me/calendarView/delta?{window}", self.api_url);
        let prefer = [("Prefer", "IdType=\"ImmutableId\""), ("Prefer", "odata.maxpagesize=200")];
        let mut known = BTreeSet::new();
        loop {
            let page = self.get(client, &url, &prefer).await;
            let named = page["value"].as_array().into_iter().flatten();
            let masters = named.filter_map(|item| item["seriesMasterId"].as_str().map(str::to_owned));
            let masters: BTreeSet<_> = masters.filter(|master| !known.contains(master)).collect();
            known.extend(masters.iter().cloned());
            for some in masters.into_iter().collect::<Vec<_>>().chunks(20) {
                self.read_masters(client, some).await;
            }
            let Some(link) = page["@odata.nextLink"].as_str() else { return };
            link.clone_into(&mut url);
        }
    }

    async fn read_masters(&self, client: &reqwest::Client, masters: &[String]) {
        let part = |(number, id): (usize, &String)| {
            let url = format!("/me/events/{id}?$expand=exceptionOccurrences");
            json!({ "id": number.to_string(), "method": "GET", "url": url })
        };
        let parts: Vec<_> = masters.iter().enumerate().map(part).collect();
        let request = client.post(format!("{}$batch", self.api_url)).bearer_auth(&self.access);
        let request = request.header("Content-Type", "application/json");
        let answer = request.body(json!({ "requests": parts }).to_string()).send().await.unwrap();
        answer.error_for_status().unwrap().bytes().await.unwrap();
    }

    async fn get(&self, client: &reqwest::Client, url: &str, headers: &[(&str, &str)]) -> Value {
        let mut request = client.get(url).bearer_auth(&self.access);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = request.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}

async fn import(provider: &Provider) {
    let (Some(postgres), Some(redis)) = (Postgres::start(Durability::Full), Redis::start()) else { return };
    let [mut alone, mut ours, mut cpu, mut again, mut ratios] = [(); 5].map(|()| Vec::new());
    for _ in 0..ROUNDS {
        provider.sandbox.log().clear();
        alone.push(provider.read_alone().await.as_secs_f64());
        let as_many = provider.sandbox.log().entries().len();
        let fleet = provider.fleet(&postgres, &redis).await;
        provider.sandbox.log().clear();
        let before = fleet.cpu();
        ours.push(fleet.import().await.as_secs_f64());
        cpu.push(fleet.cpu().saturating_sub(before).as_secs_f64());
        // one more lists the calendars, one opens a watch
        let requests = provider.sandbox.log().entries().len();
        assert!(requests.abs_diff(as_many) <= 2, "{requests} requests, where {as_many} do");
        let migrate = |url: String| async move { Ok(calfleet_migrations::run(&url).await.map(drop)?) };
        let copy = postgres.database(migrate).await.unwrap();
        let target = Store::connect(&Options::new(copy.url())).await.unwrap();
        let (took, written) = write_again(fleet.store(), &target, fleet.calendar_key().await).await;
        assert_eq!(written, EVENTS);
        again.push(took.as_secs_f64());
        let own = ours.last().unwrap() - alone.last().unwrap();
        ratios.push(took.as_secs_f64() / own);
    }
    let name = |what: &str| format!("import.{}.{EVENTS}.{what}", provider.name);
    figure(&name("provider_alone"), median(alone), "s", Bound::None);
    figure(&name("wall"), median(ours), "s", Bound::None);
    figure(&name("own_cpu"), median(cpu), "s", Bound::None);
    figure(&name("same_statements"), median(again), "s", Bound::None);
    figure(&name("speed_of_same_statements"), median(ratios), "x", Bound::AtLeast(0.6));
}

async fn memory(provider: &Provider) {
    let (Some(postgres), Some(redis)) = (Postgres::start(Durability::Full), Redis::start()) else { return };
    let fleet = provider.fleet(&postgres, &redis).await;
    let idle = fleet.worker().memory_mib("VmRSS");
    let wall = fleet.import().await;
    let peak = fleet.worker().memory_mib("VmHWM");
    let held = fleet.database.execute("SELECT count(*) FROM events WHERE state = 0").unwrap();
    assert_eq!(held, MANY.to_string());
    let name = |what: &str| format!("memory.{}.{MANY}.{what}", provider.name);
    figure(&name("idle"), idle, "MiB", Bound::None);
    figure(&name("peak_above_idle"), peak - idle, "MiB", Bound::AtMost(64.0));
    figure(&name("wall"), wall.as_secs_f64(), "s", Bound::None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn memory_of_100_000_events_from_google() {
    memory(&Provider::google(MANY).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn memory_of_100_000_events_from_microsoft() {
    memory(&Provider::microsoft(MANY).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn import_of_10_000_events_from_google() {
    import(&Provider::google(EVENTS).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn import_of_10_000_events_from_microsoft() {
    import(&Provider::microsoft(EVENTS).await).await;
}
