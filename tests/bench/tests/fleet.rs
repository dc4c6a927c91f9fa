//! A scheduler and a worker, the release binaries, on a database and a Redis of the harness; asked from here through
//! the service that the command line and the API use.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::job::{Ask, Asker, Kind, Lane, WorkKey};
use calfleet_domain::model::{
    Authentication, CalendarId, ConnectionId, Notify, OrganizationId, ProviderKind,
};
use calfleet_harness::{Database, Postgres, Redis, wait_until};
use calfleet_providers::http::HttpSettings;
use calfleet_providers::registry::Registry;
use calfleet_providers::surroundings::Endpoints;
use calfleet_queue::{Queue, RedisQueue, RedisSettings};
use calfleet_runtime::clock::{SystemClock, SystemRng};
use calfleet_service::connect::ConnectRequest;
use calfleet_service::drivers::Drivers;
use calfleet_service::write::{EventInput, Terms};
use calfleet_service::{Actor, Nudge, Service};
use calfleet_store::apply::CalendarKey;
use calfleet_store::calendar_sync::{self, Target, Thoroughness};
use calfleet_store::outbox::{self, OutboxState};
use calfleet_store::runs::{self, Run};
use calfleet_store::vault::KeyRing;
use calfleet_store::{Options, Priority, Scope, Store, calendars, events, organizations, work};

use crate::process::Program;

/// Longer than anything that is measured.
const PATIENCE: Duration = Duration::from_mins(30);
/// Between two looks at whether a calendar is fresh; a look costs the database a tenth of a millisecond.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The account whose calendars are brought in.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) url: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

#[derive(Debug)]
struct Bell(Queue);

impl Nudge for Bell {
    fn nudge(&self) {
        self.0.nudge();
    }
}

/// One account, connected, and who works for it.
#[derive(Debug)]
pub(crate) struct Fleet<'a> {
    /// Where the scheduler's API listens.
    pub(crate) api_port: u16,
    scheduler: Option<Program>,
    worker: Option<Program>,
    pub(crate) database: Database<'a>,
    service: Service,
    organization: OrganizationId,
    connection: ConnectionId,
}

impl<'a> Fleet<'a> {
    /// Connects the account, stops before its import, and starts the programs.
    pub(crate) async fn start(postgres: &'a Postgres, redis: &Redis, account: &Account) -> Self {
        let request = ConnectRequest {
            // given below
            organization_id: OrganizationId(uuid::Uuid::nil()),
            user_id: None,
            provider: ProviderKind::Caldav,
            address: account.url.clone(),
            authentication: Authentication::Password,
            username: Some(account.user.clone()),
            secret: Some(account.password.clone().into()),
            label: None,
            poll_interval: Some(Duration::from_hours(1)),
            conflict_policy: None,
        };
        Self::start_with(postgres, redis, request, &[]).await
    }

    /// The same for any account; a Google one lives where `request.address` says. `settings` are variables of the
    /// programs' environment.
    pub(crate) async fn start_with(
        postgres: &'a Postgres,
        redis: &Redis,
        mut request: ConnectRequest,
        settings: &[(&str, String)],
    ) -> Self {
        let migrate = |url: String| async move { Ok(calfleet_migrations::run(&url).await.map(drop)?) };
        let database = postgres.database(migrate).await.unwrap();
        let queue = RedisSettings { url: redis.url(), prefix: redis.key_prefix().replace(':', "") };
        let address = url::Url::parse(&request.address).unwrap();
        let port = address.port().unwrap();
        let production = Endpoints::production().unwrap();
        let endpoints = Endpoints { google: address.clone(), microsoft: address.clone(), ..production };
        let service = service(database.url(), &queue, port, endpoints).await;
        let organization: OrganizationId = service.id();
        request.organization_id = organization;
        let scope = Scope::Organization(organization);
        let tx = service.store.begin(scope, Priority::Interactive).await.unwrap();
        organizations::create(&tx, "bench", service.now()).await.unwrap();
        tx.commit().await.unwrap();
        let connected = service.connect(&request, &Actor::operator()).await.unwrap();
        let connection = connected.connection.id();
        service.pause(organization, connection, &Actor::operator()).await.unwrap();
        let mut environment = vec![
            ("CALFLEET__PROVIDERS__GOOGLE__API_URL", address.to_string()),
            ("CALFLEET__PROVIDERS__MICROSOFT__API_URL", address.to_string()),
        ];
        environment.extend_from_slice(settings);
        let (api_port, scheduler, worker) = programs(&database.url(), &queue, port, &environment).await;
        let (scheduler, worker) = (Some(scheduler), Some(worker));
        Self { api_port, scheduler, worker, database, service, organization, connection }
    }

    /// Ends the programs; the database stays.
    pub(crate) fn stop(&mut self) {
        self.scheduler = None;
        self.worker = None;
    }

    pub(crate) fn worker(&self) -> &Program {
        self.worker.as_ref().unwrap()
    }

    /// User and system time of scheduler and worker.
    pub(crate) fn cpu(&self) -> Duration {
        self.worker().cpu() + self.scheduler.as_ref().unwrap().cpu()
    }

    /// The first import: from the ask until every calendar is fresh.
    pub(crate) async fn import(&self) -> Duration {
        let began = Instant::now();
        self.service.resume(self.organization, self.connection, &Actor::operator()).await.unwrap();
        self.fresh_since(Timestamp::ZERO).await;
        began.elapsed()
    }

    /// One poll: from a person's ask until every calendar is fresh again.
    pub(crate) async fn poll(&self) -> Duration {
        let last = self.fresh_at().await.unwrap_or(Timestamp::ZERO);
        let began = Instant::now();
        self.ask().await;
        self.fresh_since(last).await;
        began.elapsed()
    }

    /// Asks for a poll as a person.
    pub(crate) async fn ask(&self) {
        let (organization, connection) = (self.organization, self.connection);
        self.service
            .sync_now(organization, connection, Thoroughness::Changes, &Actor::operator())
            .await
            .unwrap();
    }

    /// Connects a feed so many times, each for a person of its own.
    pub(crate) async fn subscribe(&self, feed: &str, times: usize) -> Vec<ConnectionId> {
        let mut ids = Vec::with_capacity(times);
        for number in 0..times {
            let request = ConnectRequest {
                organization_id: self.organization,
                user_id: None,
                provider: ProviderKind::Feed,
                address: format!("{feed}?person={number}"),
                authentication: Authentication::None,
                username: None,
                secret: None,
                label: None,
                poll_interval: Some(Duration::from_hours(24)),
                conflict_policy: None,
            };
            let connected = self.service.connect(&request, &Actor::operator()).await.unwrap();
            ids.push(connected.connection.id());
        }
        ids
    }

    /// Asks for a poll of each, in the background.
    pub(crate) async fn ask_in_background(&self, ids: &[ConnectionId]) {
        let at = self.service.now();
        let ask = |id: &ConnectionId| Ask {
            key: WorkKey { kind: Kind::Sync, target: id.0 },
            organization_id: self.organization,
            connection_id: Some(*id),
            lane: Lane::Sync,
            at,
            asker: Asker::Machine,
        };
        for some in ids.chunks(500) {
            let scope = Scope::Organization(self.organization);
            let tx = self.service.store.begin(scope, Priority::Background).await.unwrap();
            for id in some {
                let target = Target::Connection(*id);
                calendar_sync::ask(&tx, target, Thoroughness::Changes, at).await.unwrap();
            }
            work::ask(&tx, &some.iter().map(ask).collect::<Vec<_>>()).await.unwrap();
            tx.commit().await.unwrap();
        }
    }

    /// What became of the jobs that changed something, newest first.
    pub(crate) async fn runs(&self) -> Vec<Run> {
        let tx = self.service.store.read(Scope::Organization(self.organization)).await.unwrap();
        runs::list(&tx, self.connection, 10_000).await.unwrap()
    }

    /// Waits until so many events are stored.
    pub(crate) async fn holds(&self, events: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let tx = self.service.store.read(Scope::Organization(self.organization)).await.unwrap();
            let mut live = 0;
            for calendar in calendar_sync::of_connection(&tx, self.connection).await.unwrap() {
                live += events::count(&tx, calendar.sync.calendar_id).await.unwrap().live;
            }
            if usize::try_from(live).unwrap() >= events {
                return;
            }
            assert!(Instant::now() < deadline, "the change is not stored after half an hour");
            self.wait(Duration::from_millis(1)).await;
        }
    }

    /// The same, as its rows are keyed.
    pub(crate) async fn calendar_key(&self) -> CalendarKey {
        let (organization_id, connection_id) = (self.organization, self.connection);
        CalendarKey { organization_id, connection_id, calendar_id: self.calendar().await }
    }

    /// Its database.
    pub(crate) fn store(&self) -> &Store {
        &self.service.store
    }

    /// The first of the account's calendars.
    pub(crate) async fn calendar(&self) -> CalendarId {
        let tx = self.service.store.read(Scope::Organization(self.organization)).await.unwrap();
        calendars::list(&tx, self.connection).await.unwrap()[0].id
    }

    /// Makes an event, and waits until the provider has confirmed it.
    pub(crate) async fn create(&self, calendar: CalendarId, input: &serde_json::Value, notify: Notify) {
        let input: EventInput = serde_json::from_value(input.clone()).unwrap();
        let terms = Terms { notify, ..Terms::of_person(self.organization, Actor::operator()) };
        let outcome = self.service.create_event(calendar, &input, &terms).await.unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let tx = self.service.store.read(Scope::Organization(self.organization)).await.unwrap();
            let entry = outbox::load(&tx, outcome.intents[0]).await.unwrap().unwrap();
            drop(tx);
            match entry.state {
                OutboxState::Done => return,
                OutboxState::Pending => self.wait(Duration::from_millis(1)).await,
                OutboxState::Folded | OutboxState::Dead => panic!("{entry:?}"),
            }
            assert!(Instant::now() < deadline, "the write is not confirmed after half an hour");
        }
    }

    /// Lets real time pass.
    pub(crate) async fn wait(&self, time: Duration) {
        self.service.clock.sleep_until(self.service.now().plus(time)).await;
    }

    async fn fresh_since(&self, last: Timestamp) {
        let deadline = Instant::now() + PATIENCE;
        while self.fresh_at().await.is_none_or(|at| at <= last) {
            assert!(Instant::now() < deadline, "the calendars are not fresh after half an hour");
            self.wait(LOOK_EVERY).await;
        }
    }

    /// When the calendar was proven fresh that has been so for longest; `None` while one has not been.
    async fn fresh_at(&self) -> Option<Timestamp> {
        let tx = self.service.store.read(Scope::Organization(self.organization)).await.unwrap();
        let calendars = calendar_sync::of_connection(&tx, self.connection).await.unwrap();
        for calendar in &calendars {
            let problem = &calendar.sync.problem;
            assert!(problem.is_none(), "{problem:?}");
        }
        calendars.iter().map(|calendar| calendar.sync.fresh_at).min().flatten()
    }
}

async fn service(database: String, settings: &RedisSettings, port: u16, endpoints: Endpoints) -> Service {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let rng: Arc<dyn Rng> = Arc::new(SystemRng);
    let store = Store::connect(&Options::new(database)).await.unwrap();
    let http = HttpSettings {
        allowed_networks: vec!["127.0.0.0/8".parse().unwrap()],
        allowed_ports: vec![port],
        ..HttpSettings::default()
    };
    let accounts = Registry::new(http, endpoints, Arc::clone(&clock), Arc::clone(&rng)).unwrap();
    let ring = KeyRing::new("bench", [("bench".to_owned(), [7; 32])]).unwrap();
    let queue = Queue::Redis(RedisQueue::new(settings, Arc::clone(&rng)).unwrap());
    Service {
        sign_in: Arc::default(),
        drivers: Drivers::new(store.clone(), Arc::new(ring), Arc::new(accounts)),
        store,
        clock,
        rng,
        nudge: Arc::new(Bell(queue)),
    }
}

async fn programs(
    database: &str,
    queue: &RedisSettings,
    port: u16,
    settings: &[(&str, String)],
) -> (u16, Program, Program) {
    let (api, health) = (free_port(), free_port());
    let mut environment = vec![
        ("CALFLEET__DATABASE__URL", database.to_owned()),
        ("CALFLEET__QUEUE__URL", queue.url.clone()),
        ("CALFLEET__QUEUE__PREFIX", queue.prefix.clone()),
        // 32 bytes of 7, as in the ring above
        ("CALFLEET__VAULT__KEYS", format!("bench:{}Bwc=", "BwcH".repeat(10))),
        ("CALFLEET__API__LISTEN", format!("127.0.0.1:{api}")),
        ("CALFLEET__API__PUBLIC_URL", format!("http://127.0.0.1:{api}/")),
        ("CALFLEET__API__WORKER_LISTEN", format!("127.0.0.1:{health}")),
        ("CALFLEET__PROVIDERS__HTTP__ALLOWED_NETWORKS", r#"["127.0.0.0/8"]"#.to_owned()),
        ("CALFLEET__PROVIDERS__HTTP__ALLOWED_PORTS", format!("[{port}]")),
        // one account is polled as fast as the fleet can: budgets are kept all the same, but are not reached
        ("CALFLEET__LIMITS__CALDAV__ACCOUNT__REQUESTS", "1000000".to_owned()),
    ];
    environment.extend_from_slice(settings);
    let scheduler = Program::start(&["scheduler"], &environment);
    let worker = Program::start(&["worker"], &environment);
    for port in [api, health] {
        listens(port).await;
    }
    (api, scheduler, worker)
}

/// Waits until somebody listens there.
pub(crate) async fn listens(port: u16) {
    let patience = Duration::from_mins(1);
    let is_up = wait_until(patience, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()).await;
    assert!(is_up, "nobody listens on port {port}");
}

/// A port that nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
