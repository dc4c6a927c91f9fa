//! A small fleet for a test: a database, a queue, tickers and workers in this process.

use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::{Clock, Timestamp};
use calfleet_domain::job::{Ask, Asker, Kind, WorkKey};
use calfleet_domain::model::{ConnectionId, OrganizationId};
use calfleet_harness::{Database, Postgres, Redis};
use calfleet_queue::{MemoryQueue, Queue, RedisQueue, RedisSettings};
use calfleet_runtime::clock::{SystemClock, SystemRng};
use calfleet_scheduler::tick::{TickSettings, Ticker};
use calfleet_store::work::{self, WorkRow};
use calfleet_store::{Options, Priority, Scope, Store};
use calfleet_worker::jobs::Registry;
use calfleet_worker::{Frame, FrameSettings};
use tempfile::TempDir;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The organization of tests that need only one.
pub(crate) const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(0xA));

/// What a fleet stands on.
pub(crate) struct Fleet {
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) redis: Option<Redis>,
    _database: Keep,
}

#[expect(dead_code, reason = "held so that the database lives as long as the fleet")]
enum Keep {
    Folder(TempDir),
    Database(Database<'static>),
}

impl Fleet {
    /// SQLite and lanes in memory.
    pub(crate) async fn solo() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("calfleet.db").display());
        calfleet_migrations::run(&url).await.unwrap();
        let store = Store::connect(&Options::new(url)).await.unwrap();
        let queue = Queue::Memory(MemoryQueue::new(&SystemRng));
        let clock = Arc::new(SystemClock::default());
        Self { store, queue, clock, redis: None, _database: Keep::Folder(folder) }
    }

    /// Postgres and a Redis of its own. `None`: not installed.
    pub(crate) async fn full() -> Option<Self> {
        let database = postgres().await?;
        let redis = Redis::start()?;
        let store = Store::connect(&Options::new(database.url())).await.unwrap();
        let queue = Queue::Redis(lanes(&redis));
        let clock = Arc::new(SystemClock::default());
        Some(Self { store, queue, clock, redis: Some(redis), _database: Keep::Database(database) })
    }

    /// Both kinds, as far as installed.
    pub(crate) async fn each() -> Vec<Self> {
        let mut fleets = vec![Self::solo().await];
        fleets.extend(Self::full().await);
        fleets
    }

    /// Asks for rows, each by its number, as a machine.
    pub(crate) async fn ask(&self, targets: impl IntoIterator<Item = u128>) {
        let now = self.clock.now();
        let asks: Vec<Ask> = targets.into_iter().map(|target| ask_for(target, now)).collect();
        let tx = self.store.begin(Scope::Fleet, Priority::Interactive).await.unwrap();
        work::ask(&tx, &asks).await.unwrap();
        tx.commit().await.unwrap();
        self.queue.nudge();
    }

    /// A row, which must be there.
    pub(crate) async fn row(&self, key: WorkKey) -> WorkRow {
        let tx = self.store.read(Scope::Fleet).await.unwrap();
        work::load(&tx, key).await.unwrap().unwrap()
    }

    /// How many rows were not served as often as they were asked for, are leased, or are not active.
    pub(crate) async fn unserved(&self) -> usize {
        let tx = self.store.read(Scope::Fleet).await.unwrap();
        let rows = work::of_connection(&tx, CONNECTION).await.unwrap();
        rows.iter().filter(|row| row.served < row.asked || row.lease_until > Timestamp::ZERO).count()
    }

    /// A ticker that runs until the handle is dropped or told to stop.
    pub(crate) fn start_ticker(&self) -> Running {
        let ticker =
            Ticker::new(self.store.clone(), self.queue.clone(), self.clock.clone(), TickSettings::default());
        Running::start(|stop| async move {
            ticker.run(stop).await;
        })
    }

    /// A worker that runs until the handle is dropped (which is a crash) or told to stop.
    pub(crate) fn start_worker(&self, registry: Registry, settings: FrameSettings) -> Running {
        let frame = Frame {
            store: self.store.clone(),
            queue: self.queue.clone(),
            clock: self.clock.clone(),
            rng: Arc::new(SystemRng),
            registry,
            settings,
        };
        Running::start(|stop| async move {
            calfleet_worker::run(frame, stop).await.unwrap();
        })
    }
}

/// The connection of every row that [`ask_for`] makes.
pub(crate) const CONNECTION: ConnectionId = ConnectionId(Uuid::from_u128(0xC));

/// A machine's ask for a sync.
pub(crate) fn ask_for(target: u128, at: Timestamp) -> Ask {
    Ask {
        key: sync_of(target),
        organization_id: ORGANIZATION,
        connection_id: Some(CONNECTION),
        lane: Kind::Sync.default_lane(),
        at,
        asker: Asker::Machine,
    }
}

/// The key of a sync.
pub(crate) fn sync_of(target: u128) -> WorkKey {
    WorkKey { kind: Kind::Sync, target: Uuid::from_u128(target) }
}

/// A part of the fleet in a task of its own.
pub(crate) struct Running {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
    abort: AbortHandle,
}

impl Running {
    fn start<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(CancellationToken) -> F) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(stop.clone()));
        Self { stop, abort: task.abort_handle(), task: Some(task) }
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// A migrated database. `None`: Postgres is not installed.
pub(crate) async fn postgres() -> Option<Database<'static>> {
    let migrate = |url: String| async move { Ok(calfleet_migrations::run(&url).await.map(drop)?) };
    Some(Postgres::shared()?.database(migrate).await.unwrap())
}

/// The lanes of a Redis.
pub(crate) fn lanes(redis: &Redis) -> RedisQueue {
    let settings = RedisSettings { url: redis.url(), prefix: Uuid::from_u128(1).to_string() };
    RedisQueue::new(&settings, Arc::new(SystemRng)).unwrap()
}

/// Waits until something holds, for at most `limit`; whether it does.
pub(crate) async fn holds<F: Future<Output = bool>>(limit: Duration, mut check: impl FnMut() -> F) -> bool {
    let clock = SystemClock::default();
    let deadline = clock.now().plus(limit);
    loop {
        if check().await {
            return true;
        }
        if clock.now() >= deadline {
            return false;
        }
        clock.sleep_until(clock.now().plus(Duration::from_millis(10))).await;
    }
}
