//! Processes die, Redis forgets, Postgres restarts: nothing is lost, nothing is doubled, and nobody has to do
//! anything (laws 6, 8, 9).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use calfleet_harness::{Database, Durability, Ending, Postgres, Redis, Size};
use calfleet_sandbox::{Fault, FaultRule, Sandbox};
use serde_json::Value;

use crate::api_client::Api;
use crate::fleet::{Fleet, PATIENCE, Program, database, holds, reaching};
use crate::provider::{PASSWORD, account, start};

/// From when Redis is back until everything that was asked for before is fresh.
const FRESH: Duration = Duration::from_secs(10);

/// Objects that one multiget asks for.
const BATCH: usize = 250;

/// Short leases, so that a dead worker is noticed within seconds.
fn settings(sandbox: &Sandbox) -> Vec<(&'static str, String)> {
    let mut settings = reaching(&[sandbox.address().port()]);
    let quick = [("work.lease", "2s"), ("work.renew_every", "500ms"), ("work.hand_out", "2s")];
    settings.extend(quick.map(|(key, value)| (key, value.to_owned())));
    settings
}

/// Makes each multiget take a while, so that an import can be struck in the middle.
fn slow_down(sandbox: &Sandbox, latency: Duration) {
    let latency = u64::try_from(latency.as_millis()).unwrap();
    sandbox.inject(FaultRule::next(Fault::Latency(latency)).body("calendar-multiget").always());
}

/// How many objects were asked for so far.
fn asked_for(sandbox: &Sandbox) -> usize {
    let entries = sandbox.log().entries();
    let multigets = entries.iter().filter(|entry| entry.report.as_deref() == Some("calendar-multiget"));
    multigets.map(|entry| entry.hrefs).sum()
}

async fn reaches(sandbox: &Sandbox, objects: usize) {
    let reached = holds(PATIENCE, async || asked_for(sandbox) >= objects).await;
    assert!(reached, "only {} of {objects} objects were asked for", asked_for(sandbox));
}

/// Waits until every calendar of a connection was proven fresh at or after `at`, in milliseconds.
async fn fresh_since(api: &Api, connection: &str, at: i64, patience: Duration) -> bool {
    let path = format!("/connections/{connection}");
    holds(patience, async || {
        let answer = api.ask(&path).await;
        answer.status == 200 && fresh_at(&answer.body).is_some_and(|fresh| fresh >= at)
    })
    .await
}

/// When the stalest calendar was last proven fresh; `None` while one never was.
fn fresh_at(connection: &Value) -> Option<i64> {
    let calendars = connection["calendars"].as_array().unwrap();
    let times: Option<Vec<i64>> = calendars.iter().map(|calendar| calendar["fresh_at"].as_i64()).collect();
    times?.into_iter().min()
}

/// The store holds each object of the account once and nothing else, and no lease is left.
pub(crate) async fn assert_whole(
    fleet: &Fleet,
    database: &Database<'_>,
    sandbox: &Sandbox,
    name: &str,
    connection: &str,
) {
    let mut expected = BTreeSet::new();
    for calendar in sandbox.calendars(name).unwrap() {
        let held = sandbox.resources(name, &calendar).unwrap();
        expected
            .extend(held.into_iter().map(|resource| (format!("{calendar}/{}", resource.name), resource.uid)));
    }
    let shown = fleet.events(connection).await;
    let item = |event: &Value| {
        let href = event["provider_event_id"].as_str().unwrap();
        let segments: Vec<&str> = href.rsplit('/').take(2).collect();
        (format!("{}/{}", segments[1], segments[0]), event["ical_uid"].as_str().unwrap().to_owned())
    };
    let stored: BTreeSet<_> = shown.iter().map(item).collect();
    let missing: Vec<_> = expected.difference(&stored).take(3).collect();
    let surplus: Vec<_> = stored.difference(&expected).take(3).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:?}, too many {surplus:?}");
    assert_eq!(shown.len(), expected.len(), "an event is stored twice");
    let is_free = holds(PATIENCE, async || leases(database) == 0).await;
    assert!(is_free, "a lease is left");
}

pub(crate) fn leases(database: &Database<'_>) -> usize {
    database.execute("SELECT count(*) FROM work WHERE lease_owner IS NOT NULL").unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_worker_is_killed_goes_on_in_another_one_where_it_was() {
    let (Some(postgres), Some(redis)) = (Postgres::shared(), Redis::shared()) else { return };
    let (database, sandbox) = (database(postgres).await, start().await);
    account(&sandbox, "ada", &[("work", 3_000)]);
    slow_down(&sandbox, Duration::from_millis(200));
    let fleet = Fleet::full(&database, redis, &settings(&sandbox));
    let scheduler = fleet.start("scheduler").await;
    let mut worker = fleet.start("worker").await;
    let connection = fleet.connect(sandbox.url(), "ada", PASSWORD, &[]).await;
    let api = fleet.api(scheduler.url(), None).await;

    for struck_at in [700, 1_800] {
        reaches(&sandbox, struck_at).await;
        let other = fleet.start("worker").await;
        worker.kill();
        worker = other;
    }

    assert!(fresh_since(&api, &connection, 0, PATIENCE).await, "{}", worker.log());
    assert_whole(&fleet, &database, &sandbox, "ada", &connection).await;
    // Each death costs what was being applied and what was being read ahead.
    assert!(asked_for(&sandbox) <= 3_000 + 2 * 3 * BATCH, "{} objects were asked for", asked_for(&sandbox));
    let listings = sandbox.log().reports("sync-collection");
    eprintln!("2 kills: {} objects asked for, {listings} listings", asked_for(&sandbox));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_outlives_an_immediate_restart_of_postgres() {
    let (Some(postgres), Some(redis)) = (Postgres::start(Durability::Relaxed), Redis::shared()) else {
        return;
    };
    let (database, sandbox) = (database(&postgres).await, start().await);
    account(&sandbox, "ada", &[("work", 2_000), ("home", 100)]);
    slow_down(&sandbox, Duration::from_millis(200));
    let fleet = Fleet::full(&database, redis, &settings(&sandbox));
    let scheduler = fleet.start("scheduler").await;
    let _workers = [fleet.start("worker").await, fleet.start("worker").await];
    let connection = fleet.connect(sandbox.url(), "ada", PASSWORD, &[]).await;
    let api = fleet.api(scheduler.url(), None).await;

    for struck_at in [500, 1_200] {
        reaches(&sandbox, struck_at).await;
        postgres.stop(Ending::Orderly);
        postgres.start_again();
    }

    assert!(fresh_since(&api, &connection, 0, PATIENCE).await, "{}", scheduler.log());
    assert_whole(&fleet, &database, &sandbox, "ada", &connection).await;
    eprintln!("2 restarts of Postgres: {} of 2,100 objects asked for", asked_for(&sandbox));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_ends_well_and_leaves_no_lease_and_little_work_to_repeat() {
    let (Some(postgres), Some(redis)) = (Postgres::shared(), Redis::shared()) else { return };
    let (database, sandbox) = (database(postgres).await, start().await);
    account(&sandbox, "ada", &[("work", 2_000)]);
    slow_down(&sandbox, Duration::from_millis(200));
    let mut settings = settings(&sandbox);
    settings.extend([("work.drain", "1s".to_owned()), ("work.lease", "10m".to_owned())]);
    let fleet = Fleet::full(&database, redis, &settings);
    let scheduler = fleet.start("scheduler").await;
    let worker = fleet.start("worker").await;
    let connection = fleet.connect(sandbox.url(), "ada", PASSWORD, &[]).await;
    let api = fleet.api(scheduler.url(), None).await;
    reaches(&sandbox, 500).await;

    let ended = worker.drain();

    assert!(ended.success(), "{ended}");
    assert_eq!(leases(&database), 0);
    let worker = fleet.start("worker").await;
    assert!(fresh_since(&api, &connection, 0, PATIENCE).await, "{}", worker.log());
    assert_whole(&fleet, &database, &sandbox, "ada", &connection).await;
    assert!(asked_for(&sandbox) <= 2_000 + 3 * BATCH, "{} objects were asked for", asked_for(&sandbox));
    assert!(worker.drain().success() && scheduler.drain().success());
}

/// Syncs of accounts that are asked for without pause, and when each was last asked for.
#[derive(Debug, Clone, Default)]
struct Load {
    asked_at: Arc<Mutex<BTreeMap<String, i64>>>,
}

impl Load {
    /// Asks for one connection after the other, for ever.
    async fn run(&self, fleet: &Fleet, connections: &[String]) {
        for connection in connections.iter().cycle() {
            let at = now();
            fleet.admin(&["sync", connection]).await;
            self.asked_at.lock().unwrap().insert(connection.clone(), at);
        }
    }

    fn asked(&self) -> BTreeMap<String, i64> {
        self.asked_at.lock().unwrap().clone()
    }
}

fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_or_restarts_under_load_costs_seconds_and_nothing_else() {
    let (Some(postgres), Some(redis)) = (Postgres::shared(), Redis::start()) else { return };
    let (database, sandbox) = (database(postgres).await, start().await);
    let mut settings = settings(&sandbox);
    // a person's patience with the server is not what is struck here
    settings.push(("limits.caldav.account.requests", "1000000".to_owned()));
    let fleet = Fleet::full(&database, &redis, &settings);
    let scheduler = fleet.start("scheduler").await;
    let _workers = [fleet.start("worker").await, fleet.start("worker").await];
    let mut connections = Vec::new();
    let names: Vec<String> = (0..6).map(|number| format!("user{number}")).collect();
    for name in &names {
        account(&sandbox, name, &[("work", 60), ("home", 20)]);
        connections.push(fleet.connect(sandbox.url(), name, PASSWORD, &[]).await);
    }
    let api = fleet.api(scheduler.url(), None).await;
    for connection in &connections {
        assert!(fresh_since(&api, connection, 0, PATIENCE).await, "{}", scheduler.log());
    }
    sandbox.inject(FaultRule::next(Fault::Latency(100)).method("REPORT").always());
    let load = Load::default();

    let wipes = async {
        for wipe in 0..Size::of_this_run().pick(5, 100) {
            for name in &names {
                sandbox.mutate(name, "work", 3, wipe).unwrap();
            }
            strike(&redis, &load, wipe).await;
            let (back, asked) = (Instant::now(), load.asked());
            for (connection, at) in &asked {
                let left = FRESH.saturating_sub(back.elapsed());
                assert!(
                    fresh_since(&api, connection, *at, left).await,
                    "wipe {wipe}: not fresh {FRESH:?} after Redis was back: {}",
                    api.get(&format!("/connections/{connection}")).await
                );
            }
            eprintln!("wipe {wipe}: {} connections fresh after {:?}", asked.len(), back.elapsed());
        }
    };
    tokio::select! {
        () = wipes => {}
        () = load.run(&fleet, &connections) => unreachable!(),
    }

    for (connection, name) in connections.iter().zip(&names) {
        fleet.sync(connection).await;
        assert_whole(&fleet, &database, &sandbox, name, connection).await;
    }
}

/// Lets the load run for two rounds of asks, then takes the contents of Redis away, in turn by a flush and a restart.
async fn strike(redis: &Redis, load: &Load, wipe: u64) {
    let before = now();
    let loaded =
        holds(PATIENCE, async || load.asked().values().filter(|at| **at > before).count() >= 3).await;
    assert!(loaded, "nothing could be asked for");
    if wipe.is_multiple_of(2) {
        redis.flush();
    } else {
        redis.stop(Ending::Kill);
        redis.start_again();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_solo_process_that_is_killed_in_an_import_goes_on_and_drains_when_told() {
    let sandbox = start().await;
    account(&sandbox, "ada", &[("work", 2_000)]);
    slow_down(&sandbox, Duration::from_millis(200));
    let fleet = Fleet::solo(&reaching(&[sandbox.address().port()]));
    let solo = fleet.start("solo").await;
    let connection = fleet.connect(sandbox.url(), "ada", PASSWORD, &[]).await;
    reaches(&sandbox, 700).await;

    solo.kill();
    let solo: Program = fleet.start("solo").await;

    let api = fleet.api(solo.url(), None).await;
    assert!(fresh_since(&api, &connection, 0, PATIENCE).await, "{}", solo.log());
    let shown = fleet.events(&connection).await;
    let hrefs: BTreeSet<_> = shown.iter().map(|event| event["provider_event_id"].as_str().unwrap()).collect();
    assert_eq!((shown.len(), hrefs.len()), (2_000, 2_000));
    assert!(asked_for(&sandbox) <= 2_000 + 3 * BATCH, "{} objects were asked for", asked_for(&sandbox));
    assert!(solo.drain().success());
}
