//! Many askers, tickers and workers at once, with stolen hints, crashes and a worker that sleeps through its leases:
//! no wake-up is lost, no claim runs twice, nobody commits with a lease that he lost (laws 9 and 10).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::job::{Ask, Asker, Claim, Finish, Kind, Lane, WorkKey};
use calfleet_harness::Size;
use calfleet_queue::{LANES, Room};
use calfleet_runtime::clock::SystemRng;
use calfleet_store::work::{self, Ticket};
use calfleet_store::{Priority, Scope, Store, StoreError};
use calfleet_worker::FrameSettings;
use calfleet_worker::jobs::{Handler, Registry};

use crate::fleet::{Fleet, ask_for, holds};

/// Rows that everybody fights for.
const ROWS: u64 = 400;
const LEASE: Duration = Duration::from_secs(1);

/// What all handlers of a fleet have done.
#[derive(Debug, Default)]
struct Ledger {
    /// Claims that began to run.
    begun: BTreeSet<(WorkKey, i64)>,
    /// The fence of the last commit of each row.
    committed: BTreeMap<WorkKey, i64>,
    runs: usize,
    refused: usize,
    wrongs: Vec<String>,
}

/// Works a little, commits a page under its fence, and finishes.
#[derive(Clone)]
struct Page {
    store: Store,
    clock: Arc<dyn Clock>,
    ledger: Arc<Mutex<Ledger>>,
    /// How long it sleeps before it commits, at most.
    work: Duration,
}

#[async_trait]
impl Handler for Page {
    async fn run(&self, claim: &Claim) -> Result<Finish, StoreError> {
        {
            let mut ledger = self.ledger.lock().unwrap();
            ledger.runs += 1;
            if !ledger.begun.insert((claim.key, claim.fence)) {
                ledger.wrongs.push(format!("claim {} of {:?} ran twice", claim.fence, claim.key));
            }
        }
        self.clock.sleep_until(self.clock.now().plus(SystemRng.jitter(self.work))).await;
        let tx = self.store.begin(Scope::Organization(claim.organization_id), Priority::Background).await?;
        match work::fence(&tx, claim, LEASE, self.clock.now()).await {
            Ok(()) => {}
            Err(StoreError::LeaseLost { .. }) => {
                self.ledger.lock().unwrap().refused += 1;
                return Ok(Finish::done(Timestamp::NEVER));
            }
            Err(error) => return Err(error),
        }
        // the row is locked until the commit, so nobody can be between the check and this
        {
            let mut ledger = self.ledger.lock().unwrap();
            let last = ledger.committed.insert(claim.key, claim.fence).unwrap_or(0);
            if last > claim.fence {
                ledger.wrongs.push(format!("{:?} committed fence {} after {last}", claim.key, claim.fence));
            }
        }
        tx.commit().await?;
        Ok(Finish::done(Timestamp::NEVER))
    }
}

/// Asks for random rows, now or a little later, until the time is up; answers the last ticket of each row.
async fn ask_at_random(fleet: &Fleet, until: Timestamp) -> BTreeMap<WorkKey, Ticket> {
    let mut tickets = BTreeMap::new();
    while fleet.clock.now() < until {
        let now = fleet.clock.now();
        let count = SystemRng.next_u64() % 8 + 1;
        let asks: Vec<Ask> = (0..count).map(|_| random_ask(now)).collect();
        let tx = fleet.store.begin(Scope::Fleet, Priority::Interactive).await.unwrap();
        tickets.extend(work::ask(&tx, &asks).await.unwrap());
        tx.commit().await.unwrap();
        fleet.queue.nudge();
        fleet.clock.sleep_until(now.plus(SystemRng.jitter(Duration::from_millis(20)))).await;
    }
    tickets
}

fn random_ask(now: Timestamp) -> Ask {
    let later = SystemRng.jitter(Duration::from_millis(400));
    let at = if SystemRng.next_u64().is_multiple_of(2) { now } else { now.plus(later) };
    let lane = if SystemRng.next_u64().is_multiple_of(4) { Lane::Interactive } else { Lane::Sync };
    Ask { lane, asker: Asker::Machine, ..ask_for(u128::from(SystemRng.next_u64() % ROWS), at) }
}

/// Takes about one hint in ten and loses it.
async fn steal(fleet: &Fleet) {
    let mut room = Room::of(8, [0; LANES]);
    room.total = 1;
    loop {
        let stolen = fleet.queue.pop(&room, Duration::from_millis(50)).await.map_or(0, |popped| popped.len());
        let rest = Duration::from_millis(10 + 20 * stolen as u64);
        fleet.clock.sleep_until(fleet.clock.now().plus(rest)).await;
    }
}

/// Whether every row comes to be served. A wake-up that is lost shows as a number that no longer falls; how fast it falls
/// is the machine's affair.
async fn drains(fleet: &Fleet) -> bool {
    let mut least = usize::MAX;
    while least > 0 {
        if !holds(Duration::from_secs(20), async || fleet.unserved().await < least).await {
            return false;
        }
        least = fleet.unserved().await.min(least - 1);
    }
    true
}

async fn hammer(fleet: Fleet, length: Duration) {
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let handler = |work| Page {
        store: fleet.store.clone(),
        clock: fleet.clock.clone(),
        ledger: Arc::clone(&ledger),
        work,
    };
    let registry = |work| Registry::default().with(Kind::Sync, Duration::from_mins(1), handler(work));
    let brisk = registry(Duration::from_millis(30));
    let settings = FrameSettings {
        slots: 8,
        lease: LEASE,
        renewal: Duration::from_millis(250),
        grace: Duration::from_secs(1),
    };
    // renews nothing, and sleeps through two leases before it commits
    let sleepy = FrameSettings { slots: 1, renewal: Duration::from_hours(1), ..settings };
    let _tickers = [fleet.start_ticker(), fleet.start_ticker()];
    let _sleeper = fleet.start_worker(registry(LEASE * 2), sleepy);
    let mut workers =
        [fleet.start_worker(brisk.clone(), settings), fleet.start_worker(brisk.clone(), settings)];

    let end = fleet.clock.now().plus(length);
    let crash = async {
        while fleet.clock.now() < end {
            fleet.clock.sleep_until(fleet.clock.now().plus(Duration::from_millis(700))).await;
            let victim = usize::from(SystemRng.next_u64().is_multiple_of(2));
            workers[victim] = fleet.start_worker(brisk.clone(), settings);
        }
    };
    let asking = async {
        tokio::join!(
            ask_at_random(&fleet, end),
            ask_at_random(&fleet, end),
            ask_at_random(&fleet, end),
            crash
        )
    };
    let (first, second, third, ()) = tokio::select! {
        asked = asking => asked,
        () = steal(&fleet) => unreachable!(),
    };

    let served = drains(&fleet).await;
    for (key, ticket) in first.into_iter().chain(second).chain(third) {
        let row = fleet.row(key).await;
        assert!(row.is_served(ticket), "a wake-up was lost: {row:?}");
    }
    assert!(served);
    let ledger = ledger.lock().unwrap();
    assert_eq!(ledger.wrongs, Vec::<String>::new());
    assert!(ledger.runs > 200, "only {} runs", ledger.runs);
    eprintln!("{} runs, {} stale commits refused", ledger.runs, ledger.refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_of_one_process_survives_the_hammer() {
    hammer(Fleet::solo().await, length()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_on_postgres_and_redis_survives_the_hammer() {
    if let Some(fleet) = Fleet::full().await {
        hammer(fleet, length()).await;
    }
}

fn length() -> Duration {
    Duration::from_secs(Size::of_this_run().pick(6, 120))
}
