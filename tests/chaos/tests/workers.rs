//! The worker's frame: leases, limits, panics, an orderly end and a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::{Claim, Finish, Kind};
use calfleet_domain::model::UserId;
use calfleet_store::{Priority, Scope, StoreError, work};
use calfleet_worker::FrameSettings;
use calfleet_worker::jobs::{Handler, Registry};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::fleet::{Fleet, holds, sync_of};

const SOON: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_mins(1);
const QUICK: FrameSettings = FrameSettings {
    slots: 8,
    lease: Duration::from_secs(1),
    renewal: Duration::from_millis(200),
    grace: Duration::from_millis(500),
};

/// Does as its target says, and counts.
#[derive(Debug, Clone, Default)]
struct Scripted {
    started: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    gate: Arc<Option<Semaphore>>,
}

const PANICS: u128 = 666;
const STORE_FAILS: u128 = 500;

#[async_trait]
impl Handler for Scripted {
    async fn run(&self, claim: &Claim) -> Result<Finish, StoreError> {
        self.started.fetch_add(1, Ordering::SeqCst);
        assert!(claim.key.target != Uuid::from_u128(PANICS), "as the test wants it");
        if claim.key.target == Uuid::from_u128(STORE_FAILS) {
            return Err(StoreError::NoOrganization { operation: "fail as the test wants it" });
        }
        if let Some(gate) = &*self.gate {
            gate.acquire().await.unwrap().forget();
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
        Ok(Finish::done(Timestamp::NEVER))
    }
}

impl Scripted {
    fn gated() -> Self {
        Self { gate: Arc::new(Some(Semaphore::new(0))), ..Self::default() }
    }

    fn open(&self, runs: usize) {
        (*self.gate).as_ref().unwrap().add_permits(runs);
    }

    fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    fn registry(&self, limit: Duration) -> Registry {
        Registry::default().with(Kind::Sync, limit, self.clone())
    }
}

#[tokio::test]
async fn what_is_asked_is_run_and_served() {
    for fleet in Fleet::each().await {
        let handler = Scripted::default();
        let (ticker, worker) = (fleet.start_ticker(), fleet.start_worker(handler.registry(LONG), QUICK));

        fleet.ask(1..=100).await;

        assert!(holds(SOON, async || fleet.unserved().await == 0).await);
        assert_eq!(handler.ended(), 100);
        worker.stop().await;
        ticker.stop().await;
    }
}

#[tokio::test]
async fn a_job_longer_than_its_lease_keeps_it_and_one_longer_than_its_limit_is_ended() {
    for fleet in Fleet::each().await {
        let handler = Scripted::gated();
        let limit = Duration::from_secs(3);
        let (_ticker, _worker) = (fleet.start_ticker(), fleet.start_worker(handler.registry(limit), QUICK));

        fleet.ask([1, 2]).await;
        assert!(holds(SOON, async || handler.started() == 2).await);
        let claimed = fleet.clock.now();
        fleet.clock.sleep_until(claimed.plus(Duration::from_millis(1800))).await;
        handler.open(1);
        assert!(holds(SOON, async || handler.ended() == 1).await);
        assert!(
            holds(SOON, async || {
                let rows = [fleet.row(sync_of(1)).await, fleet.row(sync_of(2)).await];
                rows.iter().any(|row| row.last_class == Some(FailureClass::Transient) && row.attempt == 1)
            })
            .await
        );

        let rows = [fleet.row(sync_of(1)).await, fleet.row(sync_of(2)).await];
        assert_eq!(rows.iter().map(|row| row.fence).max(), Some(1), "a lease was lost while the job ran");
        assert_eq!(handler.started(), 2);
    }
}

#[tokio::test]
async fn a_panic_or_a_failing_store_stops_nobody_else_and_the_row_comes_again() {
    for fleet in Fleet::each().await {
        let handler = Scripted::default();
        let (_ticker, _worker) = (fleet.start_ticker(), fleet.start_worker(handler.registry(LONG), QUICK));

        fleet.ask([1, PANICS, STORE_FAILS, 2]).await;

        assert!(holds(SOON, async || handler.ended() == 2).await);
        assert!(holds(SOON, async || fleet.row(sync_of(PANICS)).await.fence >= 2).await);
        assert!(holds(SOON, async || fleet.row(sync_of(STORE_FAILS)).await.fence >= 2).await);
    }
}

#[tokio::test]
async fn a_withdrawn_row_ends_its_handler() {
    for fleet in Fleet::each().await {
        let handler = Scripted::gated();
        let (_ticker, worker) = (fleet.start_ticker(), fleet.start_worker(handler.registry(LONG), QUICK));
        fleet.ask([1]).await;
        assert!(holds(SOON, async || handler.started() == 1).await);

        let tx = fleet.store.begin(Scope::Fleet, Priority::Interactive).await.unwrap();
        work::pause(&tx, &[sync_of(1)], fleet.clock.now()).await.unwrap();
        tx.commit().await.unwrap();

        // an orderly end waits for running handlers, so it can only be quick when there is none
        let before = fleet.clock.now();
        fleet.clock.sleep_until(before.plus(QUICK.renewal * 3)).await;
        worker.stop().await;
        assert_eq!((handler.ended(), fleet.row(sync_of(1)).await.served), (0, 0));
    }
}

#[tokio::test]
async fn an_orderly_end_waits_for_what_runs_and_gives_the_rest_back_unpunished() {
    for fleet in Fleet::each().await {
        let handler = Scripted::gated();
        let (_ticker, worker) = (fleet.start_ticker(), fleet.start_worker(handler.registry(LONG), QUICK));
        fleet.ask([1, 2]).await;
        assert!(holds(SOON, async || handler.started() == 2).await);
        handler.open(1);

        worker.stop().await;

        assert_eq!(handler.ended(), 1);
        let rows = [fleet.row(sync_of(1)).await, fleet.row(sync_of(2)).await];
        assert_eq!(rows.iter().map(|row| row.deliveries).sum::<i32>(), 0);
        assert!(rows.iter().all(|row| row.lease_until == Timestamp::ZERO));
        let other = Scripted::default();
        let _worker = fleet.start_worker(other.registry(LONG), QUICK);
        assert!(holds(Duration::from_secs(3), async || other.ended() == 1).await);
    }
}

#[tokio::test]
async fn a_crashed_worker_is_replaced_by_another_when_its_leases_run_out() {
    for fleet in Fleet::each().await {
        let (dying, other) = (Scripted::gated(), Scripted::default());
        let _ticker = fleet.start_ticker();
        let worker = fleet.start_worker(dying.registry(LONG), QUICK);
        fleet.ask(1..=5).await;
        assert!(holds(SOON, async || dying.started() == 5).await);

        drop(worker);
        let _worker = fleet.start_worker(other.registry(LONG), QUICK);

        assert!(holds(SOON, async || fleet.unserved().await == 0).await);
        assert_eq!((dying.ended(), other.ended()), (0, 5));
        assert_eq!(fleet.row(sync_of(1)).await.fence, 2);
    }
}

#[tokio::test]
async fn a_person_does_not_wait_behind_the_background() {
    for fleet in Fleet::each().await {
        let slow = Scripted::gated();
        let quick = Scripted::default();
        let registry = slow.registry(LONG).with(Kind::Push, LONG, quick.clone());
        let (_ticker, _worker) = (fleet.start_ticker(), fleet.start_worker(registry, QUICK));
        fleet.ask(1..=50).await;
        assert!(holds(SOON, async || slow.started() == 7).await, "one of eight slots is kept for people");

        let now = fleet.clock.now();
        let mut ask = crate::fleet::ask_for(1, now);
        ask.key.kind = Kind::Push;
        ask.key.target = UserId(Uuid::from_u128(9)).0;
        ask.lane = Kind::Push.default_lane();
        let tx = fleet.store.begin(Scope::Fleet, Priority::Interactive).await.unwrap();
        work::ask(&tx, &[ask]).await.unwrap();
        tx.commit().await.unwrap();
        fleet.queue.nudge();

        assert!(holds(Duration::from_secs(2), async || quick.ended() == 1).await);
        slow.open(50);
    }
}
