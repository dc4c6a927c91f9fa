//! What every entrance is handed: the database, drivers, time and chance, and the bell that wakes the tick.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::model::OrganizationId;
use calfleet_store::audit::{self, AuditEntry};
use calfleet_store::{Priority, Scope, Store, StoreError, Tx};
use url::Url;
use uuid::Uuid;

use crate::clients::OauthClients;
use crate::drivers::Drivers;
use crate::tokens::Tokens;

/// Tells the tick that something became due just now. Losing it costs a quarter of a second, nothing else.
pub trait Nudge: Send + Sync + fmt::Debug {
    /// Rings the bell; never fails.
    fn nudge(&self);
}

/// What every entrance is handed.
#[derive(Debug, Clone)]
pub struct Service {
    /// The database.
    pub store: Store,
    /// Drivers of connections.
    pub drivers: Drivers,
    /// Signing in at providers that use OAuth.
    pub sign_in: Arc<SignIn>,
    /// The fleet's clock.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub rng: Arc<dyn Rng>,
    /// The bell.
    pub nudge: Arc<dyn Nudge>,
}

/// Signing in at providers that use OAuth.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// Our clients there.
    pub clients: OauthClients,
    /// Where people may be sent back to: addresses of the application that begin so.
    pub return_urls: Vec<Url>,
    /// Between two polls of an account for which nobody chose.
    pub poll_interval: Duration,
}

impl Default for SignIn {
    fn default() -> Self {
        let poll_interval = Duration::from_mins(5);
        Self { clients: OauthClients::default(), return_urls: Vec::new(), poll_interval }
    }
}

/// Who does something, for the audit: `operator`, `user:…`, `api_key:…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(pub String);

impl Actor {
    /// Whoever has a shell on the machine.
    pub fn operator() -> Self {
        Self("operator".to_owned())
    }
}

impl Service {
    /// The instant now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Who keeps access tokens good.
    pub fn tokens(&self) -> Tokens {
        Tokens {
            store: self.store.clone(),
            ring: self.drivers.shared_ring(),
            clients: self.sign_in.clients.clone(),
            clock: Arc::clone(&self.clock),
            rng: Arc::clone(&self.rng),
        }
    }

    /// A fresh id.
    pub fn id<T: From<Uuid>>(&self) -> T {
        T::from(self.rng.uuid(self.clock.now()))
    }

    /// A transaction of a person's request.
    pub(crate) async fn begin(&self, organization: OrganizationId) -> Result<Tx, StoreError> {
        self.store.begin(Scope::Organization(organization), Priority::Interactive).await
    }

    /// Notes in the audit who did what to a connection.
    pub(crate) async fn audit(
        &self,
        tx: &Tx,
        actor: &Actor,
        action: &str,
        target: Uuid,
        detail: Option<serde_json::Value>,
    ) -> Result<(), StoreError> {
        self.audit_of(tx, actor, action, ("connection", target), detail).await
    }

    /// Notes in the audit who did what to a thing of that kind.
    pub(crate) async fn audit_of(
        &self,
        tx: &Tx,
        actor: &Actor,
        action: &str,
        (target_kind, target): (&str, Uuid),
        detail: Option<serde_json::Value>,
    ) -> Result<(), StoreError> {
        let entry = AuditEntry {
            id: self.id(),
            at: self.now(),
            actor: actor.0.clone(),
            action: action.to_owned(),
            target_kind: target_kind.to_owned(),
            target: Some(target),
            detail,
        };
        audit::record(tx, &entry).await
    }
}
