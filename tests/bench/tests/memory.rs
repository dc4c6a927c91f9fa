//! The memory of a worker that imports 100,000 events.

use calfleet_harness::{Durability, Postgres, Redis};
use serde_json::json;

use crate::figure::{Bound, figure};
use crate::fleet::{Account, Fleet, free_port, listens};
use crate::process::Program;
use crate::samples::{CALENDAR, PASSWORD, USER};

const EVENTS: usize = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn memory_of_an_import_of_100_000_events() {
    let (Some(postgres), Some(redis)) = (Postgres::start(Durability::Full), Redis::start()) else { return };
    let port = free_port();
    // A process of its own: a hundred thousand texts need more memory than what is measured.
    let _sandbox = Program::start(&["sandbox", "--empty", "--listen", &format!("127.0.0.1:{port}")], &[]);
    listens(port).await;
    let control = Control { url: format!("http://127.0.0.1:{port}/control") };
    let account = json!({ "name": USER, "secret": PASSWORD, "calendars": [{ "slug": CALENDAR }] });
    let created = control.post("/accounts", account).await;
    let generate = format!("/accounts/{USER}/calendars/{CALENDAR}/generate");
    control.post(&generate, json!({ "events": EVENTS, "seed": 1 })).await;
    let account = Account {
        url: created["url"].as_str().unwrap().to_owned(),
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
    };

    let fleet = Fleet::start(&postgres, &redis, &account).await;
    let (idle, processor) = (fleet.worker().memory_mib("VmRSS"), fleet.cpu());
    let wall = fleet.import().await;
    let peak = fleet.worker().memory_mib("VmHWM");

    let held = fleet.database.execute("SELECT count(*) FROM events WHERE state = 0").unwrap();
    assert_eq!(held, EVENTS.to_string());
    let name = |what: &str| format!("memory.{EVENTS}.{what}");
    figure(&name("idle"), idle, "MiB", Bound::None);
    figure(&name("peak_above_idle"), peak - idle, "MiB", Bound::AtMost(64.0));
    figure(&name("wall"), wall.as_secs_f64(), "s", Bound::None);
    figure(&name("cpu"), fleet.cpu().saturating_sub(processor).as_secs_f64(), "s", Bound::None);
    figure(&name("turns"), crate::figure::number(fleet.runs().await.len()), "runs", Bound::None);
}

/// The sandbox's controls.
struct Control {
    url: String,
}

impl Control {
    async fn post(&self, path: &str, body: serde_json::Value) -> serde_json::Value {
        let request = reqwest::Client::builder().build().unwrap().post(format!("{}{path}", self.url));
        let request = request.header("Content-Type", "application/json").body(body.to_string());
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }
}
