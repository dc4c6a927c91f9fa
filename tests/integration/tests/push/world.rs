//! An account that is written to: local writes as the service makes them, and the jobs as the worker runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use calfleet_domain::clock::{Rng as _, Timestamp};
use calfleet_domain::job::{Ask, Asker, Claim, Finish, Kind, Lane, WorkKey};
use calfleet_domain::model::{
    Authentication, Body, ConflictPolicy, ConnectionId, DetailLevel, EditScope, End, Event, EventId, Fields,
    LeaseOwner, Master, MeetingId, Notify, Operation, OutboxId, ProviderKind, Role, Rule, Series, When,
};
use calfleet_domain::reconcile::version;
use calfleet_domain::recurrence::span;
use calfleet_domain::recurrence::zone::DATA_VERSION;
use calfleet_providers::caldav::services::DnsServices;
use calfleet_providers::http::HttpClient;
use calfleet_providers::naming;
use calfleet_providers::registry::Registry;
use calfleet_providers::surroundings::Endpoints;
use calfleet_sandbox::{AccountSpec, CalendarSpec, Sandbox, SandboxClock, SandboxOptions, StoredResource};
use calfleet_service::connect::ConnectRequest;
use calfleet_service::drivers::Drivers;
use calfleet_service::{Actor, Nudge, Service};
use calfleet_store::apply::{self, Applied, CalendarKey, Deletion, EventWrite, PageWrites, Stamp, Touched};
use calfleet_store::calendars::{self, Calendar};
use calfleet_store::events::{self, StoredRow};
use calfleet_store::outbox::{self, OutboxEntry, OutboxState};
use calfleet_store::vault::KeyRing;
use calfleet_store::work::{self, Fairness, HintedRow, Marks};
use calfleet_store::{Scope, StoreError};
use calfleet_worker::jobs::{Handler, PushOutbox, SyncConnection};
use calfleet_worker::push::PushSettings;
use calfleet_worker::sync::SyncSettings;
use uuid::Uuid;

use crate::databases::{NOW, TestStore};
use crate::driver_contract::settings;
use crate::sync::world::{Counting, HandClock, Steps};

const ADA: &str = "ada";
const WORK: &str = "work";

#[derive(Debug)]
struct Silence;

impl Nudge for Silence {
    fn nudge(&self) {}
}

pub(crate) struct World<'a> {
    pub(crate) database: &'a TestStore,
    pub(crate) sandbox: Sandbox,
    pub(crate) connection: ConnectionId,
    pub(crate) service: Service,
    clock: Arc<HandClock>,
    rng: Arc<Counting>,
}

impl<'a> World<'a> {
    /// An account with one calendar, connected and in step.
    pub(crate) async fn start(database: &'a TestStore) -> Self {
        Self::start_with(database, ConflictPolicy::LastWriteWins).await
    }

    pub(crate) async fn start_with(database: &'a TestStore, conflict_policy: ConflictPolicy) -> Self {
        let clock = SandboxClock::standing_at(NOW.0);
        let sandbox = Sandbox::start(SandboxOptions { clock, ..SandboxOptions::default() }).await.unwrap();
        let access = sandbox.create_account(AccountSpec::new(ADA, "secret")).unwrap();
        sandbox.create_calendar(ADA, CalendarSpec::new(WORK)).unwrap();
        let clock = Arc::new(HandClock::at(NOW));
        let rng = Arc::new(Counting::default());
        let http = HttpClient::new(settings(&[sandbox.address().port()])).unwrap();
        let endpoints = Endpoints::production().unwrap();
        let registry =
            Registry::with_client(http, Arc::new(DnsServices), endpoints, clock.clone(), rng.clone());
        let ring = Arc::new(KeyRing::new("a", [("a".to_owned(), [7_u8; 32])]).unwrap());
        let service = Service {
            store: database.store.clone(),
            drivers: Drivers::new(database.store.clone(), ring, Arc::new(registry)),
            sign_in: Arc::default(),
            clock: clock.clone(),
            rng: rng.clone(),
            nudge: Arc::new(Silence),
        };
        let request = ConnectRequest {
            organization_id: database.here,
            user_id: None,
            provider: ProviderKind::Caldav,
            address: access.url.clone(),
            authentication: Authentication::Password,
            username: Some(access.username.clone()),
            secret: Some(access.secret.clone().into()),
            label: None,
            poll_interval: Some(Duration::from_mins(5)),
            conflict_policy: Some(conflict_policy),
        };
        let connected = service.connect(&request, &Actor::operator()).await.unwrap();
        let connection = connected.connection.id();
        let world = Self { database, sandbox, connection, service, clock, rng };
        world.sync().await;
        world
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.service.now()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.sandbox.clock().advance(by);
    }

    fn scope(&self) -> Scope {
        Scope::Organization(self.database.here)
    }

    pub(crate) async fn calendar(&self) -> Calendar {
        let tx = self.database.store.read(self.scope()).await.unwrap();
        let calendars = calendars::list(&tx, self.connection).await.unwrap();
        calendars
            .into_iter()
            .find(|calendar| calendar.remote.provider_id.as_str().ends_with("/work/"))
            .unwrap()
    }

    /// What the server holds.
    pub(crate) fn resources(&self) -> Vec<StoredResource> {
        self.sandbox.resources(ADA, WORK).unwrap()
    }

    /// Another client stores an object.
    pub(crate) fn put(&self, name: &str, body: &str) {
        self.sandbox.put(ADA, WORK, name, body).unwrap();
    }

    /// Another client changes text of the only object.
    pub(crate) fn replace(&self, from: &str, to: &str) {
        let [resource] = &self.resources()[..] else { panic!("there is one object") };
        assert!(resource.body.contains(from), "{}", resource.body);
        self.put(&resource.name, &resource.body.replace(from, to));
    }

    /// Another client deletes the only object.
    pub(crate) fn remove(&self) {
        let [resource] = &self.resources()[..] else { panic!("there is one object") };
        self.sandbox.delete(ADA, WORK, &resource.name).unwrap();
    }

    /// Another client deletes an object.
    pub(crate) fn take_away(&self, name: &str) {
        self.sandbox.delete(ADA, WORK, name).unwrap();
    }

    pub(crate) async fn row(&self, id: EventId) -> StoredRow {
        let tx = self.database.store.read(self.scope()).await.unwrap();
        events::load(&tx, id).await.unwrap().unwrap()
    }

    pub(crate) async fn outbox(&self, state: OutboxState) -> Vec<OutboxEntry> {
        let tx = self.database.store.read(self.scope()).await.unwrap();
        outbox::list(&tx, state, None, 100).await.unwrap()
    }

    /// The ids of the calendar's live rows.
    pub(crate) async fn live(&self) -> Vec<EventId> {
        let calendar = self.calendar().await.id;
        let tx = self.database.store.read(self.scope()).await.unwrap();
        let known = events::known(&tx, calendar, Timestamp::NEVER, None, 1000).await.unwrap();
        known.into_iter().map(|known| known.id).collect()
    }

    /// A person makes an event of an hour, tomorrow.
    pub(crate) async fn create(&self, title: &str) -> EventId {
        self.make(title, Body::Single).await
    }

    /// A person makes a series of six such events.
    pub(crate) async fn create_series(&self, title: &str) -> EventId {
        self.make(title, |fields| {
            let rules = vec![Rule("FREQ=DAILY;COUNT=6".to_owned())];
            let (additions, exclusions) = (BTreeMap::new(), BTreeSet::new());
            let master = Master { fields, rules, additions, exclusions };
            Body::Series(Series { master: Some(master), overrides: BTreeMap::new() })
        })
        .await
    }

    async fn make(&self, title: &str, body: impl FnOnce(Fields) -> Body) -> EventId {
        let calendar = self.calendar().await;
        let id = EventId(self.rng.uuid(self.now()));
        let names = naming::names(ProviderKind::Caldav, &calendar.remote.provider_id, id);
        let start = self.now().plus(Duration::from_hours(24)).to_utc().unwrap();
        let mut fields =
            Fields::new(When::Utc(start), End::At(When::Utc(start + chrono::TimeDelta::hours(1))));
        fields.title = Some(title.to_owned());
        let event = Event { uid: names.uid.clone(), body: body(fields) };
        let write = EventWrite {
            provider_id: names.provider_id,
            edited_at: Some(self.now()),
            ..self.write(id, 0, &calendar, event)
        };
        let writes = PageWrites { inserts: vec![write], ..PageWrites::default() };
        self.commit(id, &calendar, writes, Operation::Create).await;
        id
    }

    fn write(&self, id: EventId, lock_version: i64, calendar: &Calendar, event: Event) -> EventWrite {
        let reach = span(&event);
        EventWrite {
            id,
            lock_version,
            calendar: self.key(calendar),
            meeting_id: MeetingId::of(self.database.here, &event.uid),
            uid: event.uid.clone(),
            provider_id: calfleet_domain::model::ProviderId(String::new()),
            version: version::of(&event),
            event: Some(event),
            base: None,
            revision: None,
            role: Role::Organizer,
            detail: DetailLevel::Full,
            problem: None,
            span_start: Some(reach.start),
            span_end: reach.end,
            edited_at: Some(self.now()),
            raw: None,
            instances: BTreeMap::new(),
        }
    }

    fn key(&self, calendar: &Calendar) -> CalendarKey {
        CalendarKey {
            organization_id: self.database.here,
            connection_id: self.connection,
            calendar_id: calendar.id,
        }
    }

    /// A person edits an event.
    pub(crate) async fn edit(&self, id: EventId, edit: impl FnOnce(&mut Event)) {
        let (row, calendar) = (self.row(id).await, self.calendar().await);
        let mut event = row.event.event.clone().unwrap();
        edit(&mut event);
        // what is not at the provider yet has no base
        let is_new = row.event.base.is_none() && row.event.edited_at.is_some();
        let agreed = row.event.base.clone().or(row.event.event.clone()).filter(|_| !is_new);
        let write = EventWrite {
            provider_id: row.event.provider_id.clone(),
            revision: row.event.revision.clone(),
            instances: row.instances.clone(),
            base: agreed,
            ..self.write(id, row.event.lock_version, &calendar, event)
        };
        let writes = PageWrites { updates: vec![write], ..PageWrites::default() };
        self.commit(id, &calendar, writes, Operation::Update).await;
    }

    pub(crate) async fn retitle(&self, id: EventId, title: &str) {
        self.edit(id, |event| {
            let Body::Single(fields) = &mut event.body else { panic!("a single event") };
            fields.title = Some(title.to_owned());
        })
        .await;
    }

    /// A person deletes an event.
    pub(crate) async fn delete(&self, id: EventId) {
        let (row, calendar) = (self.row(id).await, self.calendar().await);
        let is_new = row.event.base.is_none() && row.event.edited_at.is_some();
        let deletion = Deletion {
            row: Touched { id, lock_version: row.event.lock_version },
            base: row.event.base.clone().or(row.event.event.clone()).filter(|_| !is_new),
            edited_at: Some(self.now()),
        };
        let writes = PageWrites { deletions: vec![deletion], ..PageWrites::default() };
        self.commit(id, &calendar, writes, Operation::Delete).await;
    }

    async fn commit(&self, id: EventId, calendar: &Calendar, writes: PageWrites, operation: Operation) {
        let now = self.now();
        let tx = self.database.begin().await;
        let stamp = Stamp { now, requested_at: now, zone_data: DATA_VERSION, cause_id: None };
        let applied = apply::apply(&tx, self.key(calendar), &writes, &stamp).await.unwrap();
        assert_eq!(applied, Applied::Written);
        let entry = OutboxEntry {
            id: OutboxId(self.rng.uuid(now)),
            connection_id: self.connection,
            calendar_id: calendar.id,
            event_id: id,
            operation,
            scope: EditScope::All,
            recurrence_id: None,
            notify: Notify::None,
            message: None,
            urgency: 0,
            idempotency_key: None,
            state: OutboxState::Pending,
            received_at: now,
            sent_at: None,
            answered_at: None,
            not_before: Timestamp::ZERO,
            attempt: 0,
            class: None,
            problem: None,
        };
        assert!(outbox::append(&tx, &entry).await.unwrap());
        tx.commit().await.unwrap();
        self.advance(Duration::from_secs(1));
    }

    fn syncing(&self) -> SyncConnection {
        SyncConnection {
            store: self.database.store.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            drivers: self.service.drivers.clone(),
            tokens: self.service.tokens(),
            settings: SyncSettings { spacing: Duration::ZERO, ..SyncSettings::default() },
        }
    }

    /// A sync that dies after so many steps.
    pub(crate) async fn sync_for(&self, steps: u32) {
        self.advance(Duration::from_mins(10));
        let claim = self.claim(Kind::Sync).await;
        let job = self.syncing();
        drop(Steps::of(job.run(&claim), steps).await);
        self.advance(Duration::from_mins(1));
    }

    pub(crate) async fn sync(&self) -> Finish {
        self.advance(Duration::from_mins(10));
        self.sync_at_once().await
    }

    /// A sync during which no lease of another job runs out.
    pub(crate) async fn sync_at_once(&self) -> Finish {
        let claim = self.claim(Kind::Sync).await;
        let finish = self.syncing().run(&claim).await.unwrap();
        work::finish(&self.database.store, &[(&claim, &finish)], self.now()).await.unwrap();
        finish
    }

    fn pushing(&self) -> PushOutbox {
        PushOutbox {
            store: self.database.store.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            drivers: self.service.drivers.clone(),
            tokens: self.service.tokens(),
            settings: PushSettings::default(),
        }
    }

    pub(crate) async fn push(&self) -> Finish {
        let claim = self.claim(Kind::Push).await;
        let finish = self.pushing().run(&claim).await.unwrap();
        work::finish(&self.database.store, &[(&claim, &finish)], self.now()).await.unwrap();
        self.advance(Duration::from_secs(1));
        finish
    }

    /// A push in the middle of which something happens: as soon as the server holds what was sent, and before the
    /// answer is taken.
    pub(crate) async fn push_while(&self, sent: &str, happening: impl Future<Output = ()>) {
        let claim = self.claim(Kind::Push).await;
        let job = self.pushing();
        let mut run = pin!(job.run(&claim));
        while !self.resources().iter().any(|resource| resource.body.contains(sent)) {
            let polled = poll_fn(|context| Poll::Ready(run.as_mut().poll(context))).await;
            assert!(polled.is_pending(), "{polled:?}");
            tokio::task::yield_now().await;
        }
        happening.await;
        let finish = run.await.unwrap();
        work::finish(&self.database.store, &[(&claim, &finish)], self.now()).await.unwrap();
    }

    /// A push that dies after so many steps; whether it came to its end before.
    pub(crate) async fn push_for(&self, steps: u32) -> bool {
        let claim = self.claim(Kind::Push).await;
        let job = self.pushing();
        let ended: Option<Result<Finish, StoreError>> = Steps::of(job.run(&claim), steps).await;
        self.advance(Duration::from_mins(1));
        ended.is_some()
    }

    async fn claim(&self, kind: Kind) -> Claim {
        // A row that ended its worker too often is set aside, until a person asks for it again; it is handed out when
        // no other such row is; and a throttle is shortened by nobody.
        for _ in 0..6 {
            if let Some(claim) = self.try_claim(kind).await {
                return claim;
            }
            self.make_way(kind).await;
            self.advance(Duration::from_secs(10));
        }
        panic!("the row can be claimed");
    }

    /// Runs the other row, if that is the one that was handed out: rows that ended their workers go one by one.
    async fn make_way(&self, kind: Kind) {
        let other = if kind == Kind::Sync { Kind::Push } else { Kind::Sync };
        let Some(claim) = self.handed_out(other).await else { return };
        let finish = match other {
            Kind::Push => self.pushing().run(&claim).await.unwrap(),
            _ => self.syncing().run(&claim).await.unwrap(),
        };
        work::finish(&self.database.store, &[(&claim, &finish)], self.now()).await.unwrap();
    }

    async fn try_claim(&self, kind: Kind) -> Option<Claim> {
        let (now, key) = (self.now(), WorkKey { kind, target: self.connection.0 });
        let tx = self.database.begin().await;
        let ask = Ask {
            key,
            organization_id: self.database.here,
            connection_id: Some(self.connection),
            lane: Lane::Interactive,
            at: now,
            asker: Asker::Person,
        };
        work::ask(&tx, &[ask]).await.unwrap();
        tx.commit().await.unwrap();
        // what a crashed worker held is free again
        let later = now.plus(Duration::from_hours(1));
        work::recover(&self.database.store, 1, later).await.unwrap();
        let marks = Marks { epoch: 1, last: Duration::from_secs(5) };
        let seen = work::look(&self.database.store, now).await.unwrap();
        work::hand_out(&self.database.store, seen, [9; 4], marks, &mut Fairness::default(), now)
            .await
            .unwrap();
        self.handed_out(kind).await
    }

    /// The row's claim, if it was handed out.
    async fn handed_out(&self, kind: Kind) -> Option<Claim> {
        let key = WorkKey { kind, target: self.connection.0 };
        let hint = HintedRow { key, organization_id: self.database.here, lane: Lane::Interactive };
        let owner = LeaseOwner(Uuid::from_u128(5));
        let (store, lease) = (&self.database.store, Duration::from_secs(30));
        let claimed = work::claim(store, &[hint], owner, lease, self.now()).await.unwrap();
        claimed.claims.into_iter().next()
    }

    /// Requests of a method that the server has seen.
    pub(crate) fn requests(&self, method: &str) -> usize {
        self.sandbox.log().entries().iter().filter(|entry| entry.method == method).count()
    }

    /// Both sides say the same, nothing is pending, and another round changes nothing.
    pub(crate) async fn assert_in_step(&self) {
        self.sync().await;
        assert_eq!(self.outbox(OutboxState::Pending).await, []);
        let live = self.live().await;
        assert_eq!(live.len(), self.resources().len(), "{:?}", self.resources());
        let mut rows = Vec::new();
        for id in live {
            let row = self.row(id).await;
            assert_eq!((&row.event.base, row.event.edited_at), (&None, None));
            rows.push(row);
        }
        let before = self.resources();
        self.push().await;
        // a complete listing compares everything that the server holds with what we do
        self.sandbox.expire_tokens(ADA, WORK).unwrap();
        self.sync().await;
        assert_eq!(self.resources(), before);
        for row in rows {
            assert_eq!(self.row(row.event.id).await, row);
        }
    }
}
