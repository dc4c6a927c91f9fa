//! A deployment that its provider can reach: the API's notifications on a real socket, and every job that is due run
//! by hand.

use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::job::{Finish, Kind, WorkKey};
use calfleet_domain::model::{CalendarId, ConnectionId, LeaseOwner};
use calfleet_harness::wait_until;
use calfleet_queue::{MemoryQueue, Queue};
use calfleet_runtime::clock::SystemRng;
use calfleet_runtime::config::Config;
use calfleet_runtime::telemetry::Telemetry;
use calfleet_scheduler::app::App;
use calfleet_scheduler::serve;
use calfleet_service::overview::{self, ConnectionView};
use calfleet_store::calendar_sync::{self, SyncedCalendar};
use calfleet_store::watches::{self, Watch};
use calfleet_store::work::{self, Fairness, HintedRow, Marks, WorkRow};
use calfleet_store::{Scope, Tx};
use calfleet_worker::jobs::{Handler, RefreshToken, RenewWatch, SyncConnection, WatchSettings};
use calfleet_worker::sync::SyncSettings;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;
use uuid::Uuid;

use super::fleet::{ADA, Fleet};
use crate::databases::TestStore;

/// For the sandbox's courier, which runs in real time.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than any spacing.
pub(crate) const A_MOMENT: Duration = Duration::from_secs(11);

pub(crate) struct Watched<'a> {
    pub(crate) fleet: Fleet<'a>,
    pub(crate) connection: ConnectionId,
    pub(crate) public_url: Option<Url>,
    told: usize,
    _serving: DropGuard,
}

impl<'a> Watched<'a> {
    /// Ada's account, connected, imported, and watched by a channel that has proved alive.
    pub(crate) async fn start(database: &'a TestStore) -> Self {
        let mut watched = Self::connected(database).await;
        watched.run_due().await;
        watched.is_told(1).await;
        watched.run_due().await;
        watched
    }

    /// Ada's account, connected and nothing else.
    pub(crate) async fn connected(database: &'a TestStore) -> Self {
        Self::over(Fleet::start(database).await).await
    }

    /// The same at whatever provider the fleet has.
    pub(crate) async fn over(fleet: Fleet<'a>) -> Self {
        let stop = CancellationToken::new();
        let config = Config::from_text("").unwrap();
        let socket = serve::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = socket.address().unwrap();
        let app = App {
            service: fleet.service.clone(),
            queue: Queue::Memory(MemoryQueue::new(&SystemRng)),
            telemetry: Arc::new(Telemetry::install(&config.telemetry).unwrap()),
            notification_spacing: SyncSettings::default().spacing,
            longest_wait: config.api.longest_wait(),
            full_sync_every: Duration::from_hours(24),
            draining: stop.clone(),
        };
        tokio::spawn(async move { socket.serve_api(app, &config.api).await });
        let connection = fleet.connect().await;
        let public_url = Some(Url::parse(&format!("http://{address}/")).unwrap());
        Self { fleet, connection, public_url, told: 0, _serving: stop.drop_guard() }
    }

    /// Waits until so many more notifications were delivered.
    pub(crate) async fn is_told(&mut self, times: usize) {
        self.told += times;
        let delivered = || {
            let mut all = self.fleet.sandbox.deliveries();
            all.retain(|one| !one.address.contains("validationToken"));
            all
        };
        assert!(wait_until(PATIENCE, || delivered().len() >= self.told).await, "{:?}", delivered());
        let all = delivered();
        assert_eq!(all.len(), self.told, "{all:?}");
        // on a busy machine an answer may be late for the sender and written all the same
        assert!(all.iter().all(|delivery| matches!(delivery.status, Some(202 | 503))), "{all:?}");
    }

    /// Runs everything that is due, and what becomes due by it.
    pub(crate) async fn run_due(&self) {
        for _ in 0..100 {
            if self.run_once().await == 0 {
                return;
            }
        }
        panic!("the work does not come to an end");
    }

    /// Lets time pass, and runs what is due then; also what has to wait a moment for a token to be refreshed.
    pub(crate) async fn after(&self, time: Duration) {
        self.fleet.advance(time);
        self.run_due().await;
        self.fleet.advance(Duration::from_secs(2));
        self.run_due().await;
    }

    /// One tick and its jobs; how many.
    async fn run_once(&self) -> usize {
        let (store, now) = (&self.fleet.database.store, self.fleet.service.now());
        let marks = Marks { epoch: 1, last: Duration::from_secs(5) };
        let seen = work::look(store, now).await.unwrap();
        let rows = work::hand_out(store, seen, [99; 4], marks, &mut Fairness::default(), now).await.unwrap();
        let hints = rows.iter().map(|row| HintedRow {
            key: row.key,
            organization_id: row.organization_id,
            lane: row.lane,
        });
        let owner = LeaseOwner(Uuid::from_u128(9));
        let hints: Vec<HintedRow> = hints.collect();
        let claimed = work::claim(store, &hints, owner, Duration::from_secs(30), now).await.unwrap();
        for claim in &claimed.claims {
            let finish: Finish = match claim.key.kind {
                Kind::Sync => self.syncs().run(claim).await.unwrap(),
                Kind::Watch => self.watches().run(claim).await.unwrap(),
                Kind::Refresh => self.refreshes().run(claim).await.unwrap(),
                other => panic!("{other} is due"),
            };
            work::finish(store, &[(claim, &finish)], self.fleet.service.now()).await.unwrap();
        }
        claimed.claims.len()
    }

    fn syncs(&self) -> SyncConnection {
        let settings = SyncSettings { watches: self.public_url.is_some(), ..SyncSettings::default() };
        SyncConnection { settings, ..self.fleet.syncs() }
    }

    fn refreshes(&self) -> RefreshToken {
        let SyncConnection { store, clock, rng, tokens, .. } = self.fleet.syncs();
        RefreshToken { store, clock, rng, tokens }
    }

    fn watches(&self) -> RenewWatch {
        let SyncConnection { store, clock, rng, drivers, tokens, .. } = self.fleet.syncs();
        RenewWatch {
            store,
            clock,
            rng,
            drivers,
            tokens,
            settings: WatchSettings {
                public_url: self.public_url.clone(),
                lifetime: Duration::from_hours(24),
                lease: Duration::from_secs(30),
            },
        }
    }

    pub(crate) async fn read(&self) -> Tx {
        let database = self.fleet.database;
        database.store.read(Scope::Organization(database.here)).await.unwrap()
    }

    /// Ada's calendar, as far as its listing has come.
    pub(crate) async fn calendar(&self) -> SyncedCalendar {
        let tx = self.read().await;
        let mut calendars = calendar_sync::of_connection(&tx, self.connection).await.unwrap();
        let is_hers = |calendar: &SyncedCalendar| calendar.provider_id.as_str() == ADA;
        let place = calendars.iter().position(is_hers).unwrap_or_default();
        calendars.swap_remove(place)
    }

    pub(crate) async fn id(&self) -> CalendarId {
        self.calendar().await.sync.calendar_id
    }

    /// What is known of the watches of Ada's account.
    pub(crate) async fn known(&self) -> Vec<Watch> {
        let tx = self.read().await;
        watches::of_connection(&tx, self.connection).await.unwrap()
    }

    /// The row of `work` that looks after the watch of Ada's calendar.
    pub(crate) async fn row(&self) -> WorkRow {
        let key = WorkKey { kind: Kind::Watch, target: self.id().await.0 };
        let tx = self.read().await;
        work::load(&tx, key).await.unwrap().unwrap()
    }

    pub(crate) async fn view(&self) -> ConnectionView {
        let Fleet { database, service, .. } = &self.fleet;
        let view = overview::connection(&database.store, database.here, self.connection, service.now()).await;
        view.unwrap().unwrap()
    }

    /// How often the events of a calendar were listed.
    pub(crate) fn listings(&self) -> usize {
        let log = self.fleet.sandbox.log().entries();
        log.iter().filter(|entry| entry.method == "GET" && entry.path.ends_with("/events")).count()
    }
}
