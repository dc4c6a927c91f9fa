//! Claims a second and the time from ask to start: ask, tick, queue, claim, finish, everything on one machine.

use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use calfleet_domain::clock::{Clock, Timestamp};
use calfleet_domain::job::{Ask, Asker, Claim, Finish, Kind, Lane, WorkKey};
use calfleet_domain::model::OrganizationId;
use calfleet_harness::requirement::{Program, is_available};
use calfleet_harness::{Durability, Postgres, Redis, repository_root};
use calfleet_queue::{MemoryQueue, Queue, RedisQueue, RedisSettings};
use calfleet_runtime::clock::{SystemClock, SystemRng};
use calfleet_scheduler::tick::{TickSettings, Ticker};
use calfleet_store::StoreError;
use calfleet_store::{Options, Priority, Scope, Store, work};
use calfleet_worker::jobs::{Handler, Registry};
use calfleet_worker::{Frame, FrameSettings};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::figure::{Bound, figure, median};

/// Notes when each target started.
#[derive(Debug, Clone, Default)]
struct Noop {
    runs: Arc<AtomicUsize>,
    starts: Arc<Mutex<HashMap<Uuid, Instant>>>,
}

#[async_trait]
impl Handler for Noop {
    async fn run(&self, claim: &Claim) -> Result<Finish, StoreError> {
        if claim.key.kind == Kind::Push {
            self.starts.lock().unwrap().insert(claim.key.target, Instant::now());
        }
        self.runs.fetch_add(1, Ordering::Relaxed);
        Ok(Finish::done(Timestamp::NEVER))
    }
}

struct Bench {
    store: Store,
    queue: Queue,
    clock: Arc<dyn Clock>,
    noop: Noop,
}

impl Bench {
    fn start(store: Store, queue: Queue, slots: usize) -> (Self, CancellationToken) {
        let stop = CancellationToken::new();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let noop = Noop::default();
        let registry = Registry::default().with(Kind::Sync, Duration::from_mins(1), noop.clone()).with(
            Kind::Push,
            Duration::from_mins(1),
            noop.clone(),
        );
        let ticker = Ticker::new(store.clone(), queue.clone(), clock.clone(), TickSettings::default());
        let frame = Frame {
            store: store.clone(),
            queue: queue.clone(),
            clock: clock.clone(),
            rng: Arc::new(SystemRng),
            registry,
            settings: FrameSettings { slots, ..FrameSettings::default() },
        };
        tokio::spawn(ticker.run(stop.clone()));
        let stopped = stop.clone();
        tokio::spawn(async move { calfleet_worker::run(frame, stopped).await.unwrap() });
        (Self { store, queue, clock, noop }, stop)
    }

    async fn ask(&self, kind: Kind, targets: impl Iterator<Item = u128>, lane: Lane) {
        let now = self.clock.now();
        let asks: Vec<Ask> = targets
            .map(|target| Ask {
                key: WorkKey { kind, target: Uuid::from_u128(target) },
                organization_id: OrganizationId(Uuid::from_u128(target % 50)),
                connection_id: None,
                lane,
                at: now,
                asker: Asker::Machine,
            })
            .collect();
        let tx = self.store.begin(Scope::Fleet, Priority::Interactive).await.unwrap();
        work::ask(&tx, &asks).await.unwrap();
        tx.commit().await.unwrap();
        self.queue.nudge();
    }

    async fn ran(&self, runs: usize) {
        while self.noop.runs.load(Ordering::Relaxed) < runs {
            self.clock.sleep_until(self.clock.now().plus(Duration::from_millis(1))).await;
        }
    }

    /// Jobs a second, from the first ask to the last run, asks included.
    async fn throughput(&self, jobs: u128, first: u128) -> f64 {
        let before = self.noop.runs.load(Ordering::Relaxed);
        let began = Instant::now();
        for chunk in 0..jobs / 500 {
            let from = first + chunk * 500;
            self.ask(Kind::Sync, from..from + 500, Lane::Sync).await;
        }
        self.ran(before + usize::try_from(jobs).unwrap()).await;
        f64::from(u32::try_from(jobs).unwrap()) / began.elapsed().as_secs_f64()
    }

    /// Milliseconds from before the ask's transaction to the handler's start: median, 99th of a hundred, worst.
    async fn latency(&self, asks: u128) -> [f64; 3] {
        self.noop.starts.lock().unwrap().clear();
        let mut waits = Vec::new();
        for target in 0..asks {
            let target = 7_000_000 + target;
            let began = Instant::now();
            self.ask(Kind::Push, target..=target, Lane::Interactive).await;
            let started = loop {
                if let Some(started) = self.noop.starts.lock().unwrap().get(&Uuid::from_u128(target)) {
                    break *started;
                }
                tokio::task::yield_now().await;
                self.clock.sleep_until(self.clock.now().plus(Duration::from_millis(1))).await;
            };
            waits.push((started - began).as_secs_f64() * 1000.0);
            self.clock.sleep_until(self.clock.now().plus(Duration::from_millis(5))).await;
        }
        spread(waits)
    }

    /// The same of what nothing durable can do without: the commits of ask, hand-out and claim, one after the other, of
    /// rows that nobody is woken for.
    async fn three_commits(&self, times: u128) -> [f64; 3] {
        let mut took = Vec::new();
        for target in 0..times {
            let began = Instant::now();
            for commit in 0..3 {
                let key = WorkKey { kind: Kind::Watch, target: Uuid::from_u128(target) };
                let organization_id = OrganizationId(Uuid::from_u128(1));
                let at = self.clock.now().plus(Duration::from_hours(9_000 - commit));
                let (lane, asker) = (Lane::Upkeep, Asker::Machine);
                let ask = Ask { key, organization_id, connection_id: None, lane, at, asker };
                let tx = self.store.begin(Scope::Fleet, Priority::Interactive).await.unwrap();
                work::ask(&tx, &[ask]).await.unwrap();
                tx.commit().await.unwrap();
            }
            took.push(began.elapsed().as_secs_f64() * 1000.0);
            self.clock.sleep_until(self.clock.now().plus(Duration::from_millis(5))).await;
        }
        spread(took)
    }
}

/// Median, 99th of a hundred, worst.
fn spread(mut figures: Vec<f64>) -> [f64; 3] {
    figures.sort_by(f64::total_cmp);
    [figures[figures.len() / 2], figures[figures.len() * 99 / 100], figures[figures.len() - 1]]
}

/// From ask to start with `BullMQ` on the same Redis: median and 99th of a hundred milliseconds.
#[derive(Debug, Deserialize)]
struct Others {
    p50: f64,
    p99: f64,
}

/// The same as `latency`, by a queue that keeps its truth in Redis; producer and worker in one process.
fn bullmq(redis: &Redis, asks: u32) -> Option<Others> {
    if !is_available(Program::NodeClients) {
        return None;
    }
    let script = repository_root().join("tests/e2e/clients/bullmq.mjs");
    let output = Command::new("node").arg(script).args([redis.url(), asks.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Who asks is a task among the others, as a request to the API is. A test stands outside of the runtime's threads and
/// would be woken by one of them for every answer.
async fn on_the_runtime(measuring: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(measuring).await.unwrap();
}

async fn measure(name: &str, store: Store, queue: Queue, redis: Option<&Redis>) {
    let (bench, stop) = Bench::start(store, queue, 512);
    bench.ask(Kind::Push, 1..=1, Lane::Interactive).await;
    bench.ran(1).await;
    let [p50, p99, worst] = bench.latency(300).await;
    let [bare_p50, bare_p99, _] = bench.three_commits(300).await;
    let others = redis.and_then(|redis| bullmq(redis, 300));
    // SQLite with the memory lane is for small installations; the bounds are the fleet's.
    let is_fleet = name.starts_with("postgres");
    let most = |limit| if is_fleet { Bound::AtMost(limit) } else { Bound::None };
    figure(&format!("work.{name}.idle.ask_to_start.p50"), p50, "ms", most(3.0));
    figure(&format!("work.{name}.idle.ask_to_start.p99"), p99, "ms", most(10.0));
    figure(&format!("work.{name}.idle.ask_to_start.worst"), worst, "ms", Bound::None);
    figure(&format!("work.{name}.idle.three_commits.p50"), bare_p50, "ms", Bound::None);
    figure(&format!("work.{name}.idle.three_commits.p99"), bare_p99, "ms", Bound::None);
    if let Some(others) = others {
        figure(&format!("work.{name}.idle.bullmq.p50"), others.p50, "ms", Bound::None);
        figure(&format!("work.{name}.idle.bullmq.p99"), others.p99, "ms", Bound::None);
        // the bounds of 3 and 10 ms beside what BullMQ takes where they were set
        let ratio = |what: &str, value, bound| {
            figure(
                &format!("work.{name}.idle.ask_to_start_to_bullmq.{what}"),
                value,
                "x",
                Bound::AtMost(bound),
            );
        };
        ratio("p50", p50 / others.p50, 3.0 / 1.1);
        ratio("p99", p99 / others.p99, 10.0 / 5.3);
    }
    bench.throughput(5_000, 0).await;
    let mut rounds = Vec::new();
    for round in 1..=3 {
        rounds.push(bench.throughput(30_000, round * 1_000_000).await);
    }
    let least = if is_fleet { Bound::AtLeast(10_000.0) } else { Bound::None };
    figure(&format!("work.{name}.throughput"), median(rounds), "jobs/s", least);
    let [p50, p99, worst] = {
        let load = async {
            let mut first = 20_000_000;
            loop {
                bench.ask(Kind::Sync, first..first + 10, Lane::Sync).await;
                first += 10;
                bench.clock.sleep_until(bench.clock.now().plus(Duration::from_millis(10))).await;
            }
        };
        tokio::select! {
            waits = bench.latency(200) => waits,
            () = load => unreachable!(),
        }
    };
    // 1,000 jobs a second run beside.
    figure(&format!("work.{name}.loaded.ask_to_start.p50"), p50, "ms", Bound::None);
    figure(&format!("work.{name}.loaded.ask_to_start.p99"), p99, "ms", Bound::None);
    figure(&format!("work.{name}.loaded.ask_to_start.worst"), worst, "ms", Bound::None);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn claims_on_postgres_and_redis() {
    on_the_runtime(on_postgres_and_redis()).await;
}

async fn on_postgres_and_redis() {
    let (Some(postgres), Some(redis)) = (Postgres::start(Durability::Full), Redis::start()) else { return };
    let migrate = |url: String| async move { Ok(calfleet_migrations::run(&url).await.map(drop)?) };
    for (name, rows) in [("postgres.rows_0", 0), ("postgres.rows_1000000", 1_000_000)] {
        let database = postgres.database(migrate).await.unwrap();
        if rows > 0 {
            let sql = format!(
                "INSERT INTO work (kind, target_id, organization_id, lane, due_at)
                 SELECT 1, gen_random_uuid(), md5((n % 1000)::text)::uuid, 2, 9000000000000 + n
                 FROM generate_series(1, {rows}) n"
            );
            database.execute(&sql).unwrap();
            database.execute("VACUUM ANALYZE work").unwrap();
        }
        let store = Store::connect(&Options::new(database.url())).await.unwrap();
        let settings = RedisSettings { url: redis.url(), prefix: name.to_owned() };
        let queue = Queue::Redis(RedisQueue::new(&settings, Arc::new(SystemRng)).unwrap());
        measure(name, store, queue, Some(&redis)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn claims_on_sqlite_and_memory() {
    on_the_runtime(on_sqlite_and_memory()).await;
}

async fn on_sqlite_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("bench.db").display());
    calfleet_migrations::run(&url).await.unwrap();
    let store = Store::connect(&Options::new(url)).await.unwrap();
    measure("sqlite_and_memory", store, Queue::Memory(MemoryQueue::new(&SystemRng)), None).await;
}
