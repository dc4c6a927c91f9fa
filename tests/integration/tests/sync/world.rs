//! A connection on a database of its own, a clock that is moved by hand, and the job as the worker would run it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::job::{Ask, Asker, Claim, Finish, Kind, Lane, WorkKey};
use calfleet_domain::model::{Authentication, CalendarId, ConnectionId, LeaseOwner, OrganizationId};
use calfleet_service::clients::OauthClients;
use calfleet_service::connect::ConnectRequest;
use calfleet_service::drivers::{Drivers, OpenAccount};
use calfleet_service::service::{Actor, Nudge, Service};
use calfleet_service::tokens::Tokens;
use calfleet_store::calendar_sync::{self, CalendarSync, Due, Target, Thoroughness};
use calfleet_store::calendars::{self, Calendar};
use calfleet_store::connections::{self, Bound, Connection, ConnectionSettings};
use calfleet_store::events::{self, EventState, RangeQuery, StoredRow};
use calfleet_store::vault::KeyRing;
use calfleet_store::work::{self, Fairness, HintedRow, Marks};
use calfleet_store::{Priority, Scope, Store, StoreError, Tx};
use calfleet_worker::jobs::{Handler, SyncConnection};
use calfleet_worker::sync::SyncSettings;
use uuid::Uuid;

use super::server::Server;
use crate::databases::{self, NOW, TestStore};

/// Which database.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

#[derive(Debug)]
pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    /// Whoever sleeps is alone: time passes for him at once.
    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.fetch_max(at.0, Ordering::SeqCst);
        Box::pin(std::future::ready(()))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counting(AtomicU64);

impl Rng for Counting {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct Silence;

impl Nudge for Silence {
    fn nudge(&self) {}
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) server: Server,
    pub(crate) connection: ConnectionId,
    pub(crate) organization: OrganizationId,
    /// Who opens drivers: the server above, unless a test puts another in its place.
    pub(crate) accounts: Arc<dyn OpenAccount>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) rng: Arc<Counting>,
    pub(crate) settings: SyncSettings,
    pub(crate) database: TestStore,
}

impl World {
    /// A connection without a calendar.
    pub(crate) async fn start(on: Backend) -> Self {
        let database = match on {
            Backend::Sqlite => TestStore::sqlite().await.unwrap(),
            Backend::Postgres => TestStore::postgres().await.unwrap().expect("Postgres was there before"),
        };
        let clock = Arc::new(HandClock(AtomicI64::new(NOW.0)));
        let server = Server::new(clock.clone());
        let world = Self {
            accounts: Arc::new(server.clone()),
            server,
            store: database.store.clone(),
            connection: ConnectionId(Uuid::from_u128(2)),
            organization: database.here,
            clock,
            rng: Arc::default(),
            settings: SyncSettings { spacing: Duration::ZERO, ..SyncSettings::default() },
            database,
        };
        world.connect().await;
        world
    }

    async fn connect(&self) {
        let tx = self.store.begin(self.scope(), Priority::Interactive).await.unwrap();
        let settings =
            ConnectionSettings { authentication: Authentication::None, ..databases::settings("/ada/") };
        connections::bind(&tx, self.connection, &settings, self.now()).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// The same account is connected again, by a person.
    pub(crate) async fn reconnect(&self) {
        self.reconnect_choosing(|request| request).await;
    }

    /// The same with what that person chooses.
    pub(crate) async fn reconnect_choosing(&self, choose: impl FnOnce(ConnectRequest) -> ConnectRequest) {
        let settings = databases::settings("/ada/");
        let request = ConnectRequest {
            organization_id: self.organization,
            user_id: None,
            provider: settings.provider,
            address: settings.url,
            authentication: Authentication::None,
            username: None,
            secret: None,
            label: None,
            poll_interval: None,
            conflict_policy: None,
        };
        let service = Service {
            sign_in: Arc::default(),
            store: self.store.clone(),
            drivers: self.job().drivers,
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            nudge: Arc::new(Silence),
        };
        let connected = service.connect(&choose(request), &Actor::operator()).await.unwrap();
        assert_eq!(connected.connection, Bound::Rebound(self.connection));
    }

    pub(crate) fn scope(&self) -> Scope {
        Scope::Organization(self.organization)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    fn key(&self) -> WorkKey {
        WorkKey { kind: Kind::Sync, target: self.connection.0 }
    }

    /// Asks for the connection and claims its row.
    pub(crate) async fn claim(&self) -> Claim {
        let now = self.now();
        let tx = self.store.begin(self.scope(), Priority::Interactive).await.unwrap();
        let ask = Ask {
            key: self.key(),
            organization_id: self.organization,
            connection_id: Some(self.connection),
            lane: Lane::Sync,
            at: now,
            asker: Asker::Person,
        };
        work::ask(&tx, &[ask]).await.unwrap();
        tx.commit().await.unwrap();
        // what a crashed worker held is free again
        let later = now.plus(Duration::from_hours(1));
        work::recover(&self.store, 1, later).await.unwrap();
        let marks = Marks { epoch: 1, last: Duration::from_secs(5) };
        let seen = work::look(&self.store, later).await.unwrap();
        work::hand_out(&self.store, seen, [9; 4], marks, &mut Fairness::default(), later).await.unwrap();
        let hint = HintedRow { key: self.key(), organization_id: self.organization, lane: Lane::Sync };
        let owner = LeaseOwner(self.rng.uuid(now));
        let claimed = work::claim(&self.store, &[hint], owner, Duration::from_secs(30), now).await.unwrap();
        claimed.claims.into_iter().next().expect("the row can be claimed")
    }

    pub(crate) fn job(&self) -> SyncConnection {
        let ring = KeyRing::new("a", [("a".to_owned(), [7_u8; 32])]).unwrap();
        let ring = Arc::new(ring);
        SyncConnection {
            tokens: Tokens {
                store: self.store.clone(),
                ring: ring.clone(),
                clients: OauthClients::default(),
                clock: self.clock.clone(),
                rng: self.rng.clone(),
            },
            store: self.store.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            drivers: Drivers::new(self.store.clone(), ring, self.accounts.clone()),
            settings: self.settings,
        }
    }

    /// One run, and a second later.
    pub(crate) async fn run(&self) -> Finish {
        let claim = self.claim().await;
        let finish = self.job().run(&claim).await.unwrap();
        work::finish(&self.store, &[(&claim, &finish)], self.now()).await.unwrap();
        self.advance(1);
        finish
    }

    /// A run that is dropped after so many steps; `None` when it was.
    pub(crate) async fn run_for(&self, steps: u32) -> Option<Result<Finish, StoreError>> {
        let claim = self.claim().await;
        let job = self.job();
        let ended = Steps::of(job.run(&claim), steps).await;
        if let Some(Ok(finish)) = &ended {
            work::finish(&self.store, &[(&claim, finish)], self.now()).await.unwrap();
        }
        self.advance(1);
        ended
    }

    /// Everybody's calendars, due or not, at once.
    pub(crate) async fn sync(&self) -> Finish {
        self.ask(Thoroughness::Changes).await;
        self.run_until_done().await
    }

    pub(crate) async fn sync_in_full(&self) -> Finish {
        self.ask(Thoroughness::Everything).await;
        self.run_until_done().await
    }

    pub(crate) async fn run_until_done(&self) -> Finish {
        for _ in 0..1000 {
            let finish = self.run().await;
            if finish.next >= self.now() {
                return finish;
            }
        }
        panic!("the sync does not come to an end");
    }

    /// Nothing about this calendar can be committed until what is given back is dropped.
    pub(crate) async fn hold_back(&self, name: &str) -> Tx {
        let state = self.progress(name).await;
        let tx = self.store.begin(self.scope(), Priority::Interactive).await.unwrap();
        let due = Due { read: state.due_at, next: state.due_at };
        calendar_sync::save(&tx, &[(&state, due)]).await.unwrap();
        tx
    }

    pub(crate) async fn ask(&self, thoroughness: Thoroughness) {
        let tx = self.store.begin(self.scope(), Priority::Interactive).await.unwrap();
        calendar_sync::ask(&tx, Target::Connection(self.connection), thoroughness, self.now()).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(crate) async fn stored_connection(&self) -> Connection {
        let tx = self.store.read(self.scope()).await.unwrap();
        connections::load(&tx, self.connection).await.unwrap().unwrap()
    }

    pub(crate) async fn calendars(&self) -> Vec<Calendar> {
        let tx = self.store.read(self.scope()).await.unwrap();
        calendars::list(&tx, self.connection).await.unwrap()
    }

    pub(crate) async fn calendar(&self, name: &str) -> Calendar {
        self.calendars().await.into_iter().find(|calendar| calendar.remote.name == name).unwrap()
    }

    pub(crate) async fn progress(&self, name: &str) -> CalendarSync {
        let id = self.calendar(name).await.id;
        let tx = self.store.read(self.scope()).await.unwrap();
        calendar_sync::of_calendar(&tx, id).await.unwrap().unwrap()
    }

    /// What we hold, in the form of [`Server::content`].
    pub(crate) async fn content(&self) -> BTreeMap<(String, String), Option<String>> {
        let mut content = BTreeMap::new();
        for calendar in self.calendars().await {
            for row in self.live(calendar.id).await {
                let title = row.event.event.as_ref().and_then(|event| event.fields()?.title.clone());
                let title = title.filter(|_| row.problem.is_none());
                content.insert((calendar.remote.name.clone(), row.event.provider_id.0.clone()), title);
            }
        }
        content
    }

    pub(crate) async fn live(&self, calendar: CalendarId) -> Vec<StoredRow> {
        let tx = self.store.read(self.scope()).await.unwrap();
        let mut rows = Vec::new();
        let mut after = None;
        loop {
            let known = events::known(&tx, calendar, Timestamp::NEVER, after, 100).await.unwrap();
            let Some(last) = known.last() else { return rows };
            after = Some(last.id);
            for known in known {
                rows.push(events::load(&tx, known.id).await.unwrap().unwrap());
            }
        }
    }

    pub(crate) async fn event(&self, calendar: &str, name: &str) -> StoredRow {
        let id = self.calendar(calendar).await.id;
        let tx = self.store.read(self.scope()).await.unwrap();
        let ids = [&calfleet_domain::model::ProviderId::from(name)];
        events::load_for_page(&tx, id, &ids).await.unwrap().into_iter().next().expect("the event is known")
    }

    pub(crate) async fn titles_in_range(&self, calendar: CalendarId) -> usize {
        let tx = self.store.read(self.scope()).await.unwrap();
        let query =
            RangeQuery { calendars: vec![calendar], from: None, until: None, after: None, limit: 1000 };
        events::in_range(&tx, &query).await.unwrap().len()
    }

    pub(crate) async fn assert_equal_to_server(&self) {
        assert_eq!(self.content().await, self.server.content());
    }

    pub(crate) async fn state_of(&self, calendar: &str, name: &str) -> EventState {
        self.event(calendar, name).await.state
    }
}

/// Polls a future so many times and then drops it.
pub(crate) struct Steps<F> {
    run: Pin<Box<F>>,
    left: u32,
}

impl<F> Steps<F> {
    pub(crate) fn of(run: F, left: u32) -> Self {
        Self { run: Box::pin(run), left }
    }
}

impl<F: Future> Future for Steps<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.run.as_mut().poll(context).map(Some)
    }
}
