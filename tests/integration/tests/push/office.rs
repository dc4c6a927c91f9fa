//! The same application over an account at any of the providers that are written to: what a law says of one of them it
//! says of all.

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{Authentication, ConflictPolicy, EventId, ProviderId, ProviderKind};
use calfleet_sandbox::{AccountSpec, CalendarSpec, Fault, FaultRule};
use calfleet_service::Actor;
use calfleet_service::connect::ConnectRequest;
use calfleet_store::outbox::{self, OutboxEntry, OutboxState};
use calfleet_store::{Priority, connections, events};
use serde_json::{Value, json};

use crate::databases::TestStore;
use crate::google::desk::Desk;
use crate::google::fleet::{ADA, Fleet};
use crate::microsoft::{DAY, start_writing_over};

/// The providers that are written to.
pub(super) const ALL: [ProviderKind; 3] =
    [ProviderKind::Caldav, ProviderKind::Google, ProviderKind::Microsoft];

/// The user and the calendar at the CalDAV server.
const USER: &str = "ada";
const WORK: &str = "work";

pub(super) struct Office<'a> {
    pub(super) desk: Desk<'a>,
    pub(super) provider: ProviderKind,
}

impl<'a> Office<'a> {
    /// An account that may be written to, connected and in step.
    pub(super) async fn open(database: &'a TestStore, provider: ProviderKind) -> Self {
        Self::open_over(database, provider, 30 * DAY, 365 * DAY).await
    }

    /// The same, where Microsoft's window reaches as far.
    pub(super) async fn open_over(
        database: &'a TestStore,
        provider: ProviderKind,
        past: Duration,
        future: Duration,
    ) -> Self {
        let desk = match provider {
            ProviderKind::Microsoft => Desk::over(start_writing_over(database, past, future).await).await,
            ProviderKind::Google => Desk::over(Fleet::start_writing(database).await).await,
            _ => {
                let fleet = Fleet::start(database).await;
                let spec = AccountSpec::new(USER, "secret").calendar(CalendarSpec::new(WORK));
                fleet.sandbox.create_account(spec).unwrap();
                over_caldav(fleet).await
            }
        };
        Self { desk, provider }
    }

    /// The same account, connected to the same deployment after it lost its database.
    pub(super) async fn with_lost_database(self, database: &'a TestStore) -> Self {
        let fleet = self.desk.fleet.with_lost_database(database);
        let desk = match self.provider {
            ProviderKind::Caldav => over_caldav(fleet).await,
            _ => Desk::over(fleet).await,
        };
        Self { desk, ..self }
    }

    pub(super) fn fleet(&self) -> &Fleet<'a> {
        &self.desk.fleet
    }

    fn calendar(&self) -> String {
        self.fleet().sandbox.microsoft().default_calendar(ADA).unwrap()
    }

    /// Every event that the provider holds, as the provider shows it; of CalDAV the text.
    pub(super) fn held(&self) -> Vec<Value> {
        let sandbox = &self.fleet().sandbox;
        match self.provider {
            ProviderKind::Microsoft => sandbox.microsoft().events(&self.calendar()).unwrap(),
            ProviderKind::Google => {
                let events = sandbox.google().events(ADA).unwrap();
                events.into_iter().filter(|event| event["status"] != "cancelled").collect()
            }
            _ => sandbox.resources(USER, WORK).unwrap().into_iter().map(|one| json!(one.body)).collect(),
        }
    }

    /// The titles of all that the provider holds, in order.
    pub(super) fn titles(&self) -> Vec<String> {
        let title = |event: &Value| match self.provider {
            ProviderKind::Microsoft => text(&event["subject"]),
            ProviderKind::Google => text(&event["summary"]),
            _ => {
                text(event).lines().find_map(|line| Some(line.strip_prefix("SUMMARY:")?.to_owned())).unwrap()
            }
        };
        let mut titles: Vec<String> = self.held().iter().map(title).collect();
        titles.sort();
        titles
    }

    /// An event as the provider shows it.
    pub(super) async fn shown(&self, id: EventId) -> Option<Value> {
        let ProviderId(name) = self.desk.row(id).await.event.provider_id;
        let sandbox = &self.fleet().sandbox;
        match self.provider {
            ProviderKind::Microsoft => sandbox.microsoft().event(ADA, &name),
            ProviderKind::Google => {
                sandbox.google().event(ADA, &name).filter(|event| event["status"] != "cancelled")
            }
            _ => {
                let found = sandbox.resources(USER, WORK).unwrap();
                let file = name.rsplit('/').next().unwrap();
                found.into_iter().find(|one| one.name == file).map(|one| json!(one.body))
            }
        }
    }

    /// The titles of our live copies, in order.
    pub(super) async fn ours(&self) -> Vec<String> {
        let calendar = self.desk.calendar().await;
        let mut titles = Vec::new();
        let mut after = None;
        loop {
            let tx = self.fleet().database.store.read(self.desk.scope()).await.unwrap();
            let page = events::known(&tx, calendar, Timestamp::NEVER, after, 500).await.unwrap();
            for known in &page {
                let row = events::load(&tx, known.id).await.unwrap().unwrap();
                titles.push(row.event.event.unwrap().fields().unwrap().title.clone().unwrap());
            }
            let Some(last) = page.last() else { break };
            after = Some(last.id);
        }
        titles.sort();
        titles
    }

    pub(super) async fn outbox(&self, state: OutboxState) -> Vec<OutboxEntry> {
        let tx = self.fleet().database.store.read(self.desk.scope()).await.unwrap();
        outbox::list(&tx, state, None, 1000).await.unwrap()
    }

    /// Nothing waits, and nothing was given up.
    pub(super) async fn assert_settled(&self, what: &str) {
        for state in [OutboxState::Pending, OutboxState::Dead] {
            assert_eq!(self.outbox(state).await, [], "{}: {what}", self.provider);
        }
    }

    /// Something goes wrong with the next request that writes events, after so many that go well.
    pub(super) fn disturb(&self, fault: Fault, skip: u32) {
        self.fleet().sandbox.inject(self.rule(fault).after(skip));
    }

    /// A fault of requests that write events.
    pub(super) fn rule(&self, fault: Fault) -> FaultRule {
        match self.provider {
            ProviderKind::Caldav => FaultRule::next(fault).method("PUT"),
            _ => FaultRule::next(fault).method("POST").path("*/events"),
        }
    }

    /// Pushes until nothing waits, as it is when the provider is well.
    pub(super) async fn deliver(&self) {
        self.fleet().sandbox.clear_faults();
        for _ in 0..4 {
            self.fleet().advance(Duration::from_mins(30));
            self.desk.push().await;
        }
    }

    /// What is done from now on where both sides changed the same.
    pub(super) async fn decide_by(&self, conflict_policy: ConflictPolicy) {
        let connection = self.fleet().connection(self.desk.connection).await;
        let settings = connections::ConnectionSettings { conflict_policy, ..connection.settings };
        let store = &self.fleet().database.store;
        let tx = store.begin(self.desk.scope(), Priority::Interactive).await.unwrap();
        connections::bind(&tx, connection.id, &settings, self.fleet().service.now()).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// A complete listing.
    pub(super) async fn list(&self) {
        let sandbox = &self.fleet().sandbox;
        match self.provider {
            ProviderKind::Microsoft => sandbox.microsoft().expire_deltas(&self.calendar()).unwrap(),
            ProviderKind::Google => sandbox.google().expire_sync_tokens(ADA).unwrap(),
            _ => sandbox.expire_tokens(USER, WORK).unwrap(),
        }
        self.fleet().sync(self.desk.connection).await;
    }
}

async fn over_caldav(fleet: Fleet<'_>) -> Desk<'_> {
    let access = fleet.sandbox.accounts().remove(0);
    let request = ConnectRequest {
        organization_id: fleet.organization,
        user_id: None,
        provider: ProviderKind::Caldav,
        address: access.url,
        authentication: Authentication::Password,
        username: Some(access.username),
        secret: Some(access.secret.into()),
        label: None,
        poll_interval: Some(Duration::from_mins(5)),
        conflict_policy: None,
    };
    let connected = fleet.service.connect(&request, &Actor::operator()).await.unwrap();
    let connection = connected.connection.id();
    fleet.sync(connection).await;
    Desk { fleet, connection }
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
