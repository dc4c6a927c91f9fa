//! Redis is wiped, restarted and away under load, and a backlog falls due unattended (law 8).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::job::{Claim, Finish, Kind};
use calfleet_harness::{Ending, Size};
use calfleet_queue::Queue;
use calfleet_runtime::clock::SystemRng;
use calfleet_store::{Priority, Scope, StoreError, work};
use calfleet_worker::FrameSettings;
use calfleet_worker::jobs::{Handler, Registry};

use crate::fleet::{Fleet, ask_for, holds};

/// From when Redis is back until everything that was asked before is served.
const FRESH: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
struct Brief {
    clock: Arc<dyn Clock>,
    work: Duration,
    runs: Arc<AtomicUsize>,
}

#[async_trait]
impl Handler for Brief {
    async fn run(&self, _: &Claim) -> Result<Finish, StoreError> {
        if !self.work.is_zero() {
            self.clock.sleep_until(self.clock.now().plus(SystemRng.jitter(self.work))).await;
        }
        self.runs.fetch_add(1, Ordering::SeqCst);
        Ok(Finish::done(Timestamp::NEVER))
    }
}

impl Brief {
    fn on(fleet: &Fleet, work: Duration) -> Self {
        Self { clock: fleet.clock.clone(), work, runs: Arc::default() }
    }

    fn registry(&self) -> Registry {
        Registry::default().with(Kind::Sync, Duration::from_mins(1), self.clone())
    }
}

/// How the queue loses what it holds.
#[derive(Debug, Clone, Copy)]
enum Misfortune {
    Flushed,
    Restarted,
    Away(Duration),
}

async fn befall(fleet: &Fleet, misfortune: Misfortune) {
    match (&fleet.queue, &fleet.redis) {
        (Queue::Memory(memory), _) => memory.wipe(&SystemRng),
        (Queue::Redis(_), None) => unreachable!(),
        (Queue::Redis(_), Some(redis)) => match misfortune {
            Misfortune::Flushed => redis.flush(),
            Misfortune::Restarted => {
                redis.stop(Ending::Kill);
                redis.start_again();
            }
            Misfortune::Away(length) => {
                redis.stop(Ending::Kill);
                fleet.clock.sleep_until(fleet.clock.now().plus(length)).await;
                redis.start_again();
            }
        },
    }
}

/// Some 400 asks a second over 2,000 rows, for ever.
async fn load(fleet: &Fleet) {
    loop {
        let now = fleet.clock.now();
        let asks: Vec<_> = (0..4).map(|_| ask_for(u128::from(SystemRng.next_u64() % 2_000), now)).collect();
        let tx = fleet.store.begin(Scope::Fleet, Priority::Interactive).await.unwrap();
        work::ask(&tx, &asks).await.unwrap();
        tx.commit().await.unwrap();
        fleet.queue.nudge();
        fleet.clock.sleep_until(now.plus(Duration::from_millis(10))).await;
    }
}

/// Wipes the queue again and again under load; each time everything asked before must be served soon after.
async fn wipe(fleet: Fleet, misfortunes: &[Misfortune]) {
    let handler = Brief::on(&fleet, Duration::from_millis(20));
    let settings = FrameSettings { slots: 16, ..FrameSettings::default() };
    let _tickers = [fleet.start_ticker(), fleet.start_ticker()];
    let _workers =
        [fleet.start_worker(handler.registry(), settings), fleet.start_worker(handler.registry(), settings)];

    for misfortune in misfortunes {
        let loaded = async {
            // hints are under way when it happens
            let runs = handler.runs.load(Ordering::SeqCst);
            assert!(holds(FRESH, async || handler.runs.load(Ordering::SeqCst) > runs + 50).await);
            let is_full = async || {
                fleet.ask(1..=300).await;
                waiting(&fleet).await >= 16
            };
            assert!(holds(FRESH, is_full).await, "nothing waits in the lanes");
            befall(&fleet, *misfortune).await;
            let asked_before = unserved_rows(&fleet).await;
            let before = fleet.clock.now();
            let fresh = holds(FRESH, async || all_served(&fleet, &asked_before).await).await;
            assert!(fresh, "{misfortune:?}: not fresh again within {FRESH:?}");
            eprintln!("{misfortune:?}: fresh after {:?}", fleet.clock.now().since(before));
        };
        tokio::select! {
            () = loaded => {}
            () = load(&fleet) => unreachable!(),
        }
    }

    assert!(holds(FRESH, async || fleet.unserved().await == 0).await);
}

/// Hints in the lanes.
async fn waiting(fleet: &Fleet) -> usize {
    fleet.queue.depths().await.map_or(0, |depths| depths.iter().sum())
}

async fn unserved_rows(fleet: &Fleet) -> Vec<work::WorkRow> {
    let tx = fleet.store.read(Scope::Fleet).await.unwrap();
    let rows = work::of_connection(&tx, crate::fleet::CONNECTION).await.unwrap();
    rows.into_iter().filter(|row| row.served < row.asked).collect()
}

async fn all_served(fleet: &Fleet, rows: &[work::WorkRow]) -> bool {
    let tx = fleet.store.read(Scope::Fleet).await.unwrap();
    let now = work::of_connection(&tx, crate::fleet::CONNECTION).await.unwrap();
    rows.iter().all(|before| now.iter().any(|row| row.key == before.key && row.served >= before.asked))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_redis_loses_nothing_but_time() {
    use Misfortune::{Away, Flushed, Restarted};
    let Some(fleet) = Fleet::full().await else { return };
    let once = [Flushed, Restarted, Away(Duration::from_secs(3)), Flushed, Restarted];
    let wipes = match Size::of_this_run() {
        Size::Ci => once.to_vec(),
        Size::Full => {
            let mut all = once.repeat(19);
            all.extend([Away(Duration::from_secs(10)); 5]);
            all
        }
    };
    wipe(fleet, &wipes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_in_memory_lose_nothing_either() {
    wipe(Fleet::solo().await, &[Misfortune::Flushed; 5]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_that_fell_due_while_no_worker_ran_drains_each_row_once() {
    for fleet in Fleet::each().await {
        let _ticker = fleet.start_ticker();
        fleet.ask(1..=20_000).await;
        let ripe = fleet.clock.now().plus(Duration::from_secs(1));
        fleet.clock.sleep_until(ripe).await;

        let handler = Brief::on(&fleet, Duration::ZERO);
        let began = fleet.clock.now();
        let settings = FrameSettings { slots: 512, ..FrameSettings::default() };
        let _worker = fleet.start_worker(handler.registry(), settings);

        let drained = holds(Duration::from_mins(2), async || {
            handler.runs.load(Ordering::SeqCst) >= 20_000 && fleet.unserved().await == 0
        });
        assert!(drained.await, "only {} ran", handler.runs.load(Ordering::SeqCst));
        eprintln!("20,000 rows drained in {:?}", fleet.clock.now().since(began));
        assert_eq!(handler.runs.load(Ordering::SeqCst), 20_000);
    }
}
