//! The registry: which handler does which kind of work.

mod account;
mod push_outbox;
mod refresh_token;
mod renew_watch;
mod revoke_grant;
mod sync_connection;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use calfleet_domain::job::{Claim, Finish, Kind};
use calfleet_store::StoreError;

pub use push_outbox::PushOutbox;
pub use refresh_token::RefreshToken;
pub use renew_watch::{RenewWatch, WatchSettings};
pub use revoke_grant::RevokeGrant;
pub use sync_connection::SyncConnection;

/// Does one kind of work. It reads the state afresh, may run twice, and the second run changes nothing.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Works on the claimed row and says what came of it. Dropped in the middle when the lease is lost, the time
    /// is up, or the process ends.
    ///
    /// # Errors
    /// Only when our own store failed; the lease then runs out and the row is due again.
    async fn run(&self, claim: &Claim) -> Result<Finish, StoreError>;
}

/// A handler and how long one run of it may take.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) limit: Duration,
}

/// The handlers of a worker, by kind.
#[derive(Clone, Default)]
pub struct Registry(HashMap<Kind, Job>);

impl Registry {
    /// One more kind, in place of what was registered for it before. A run that takes longer than `limit` is
    /// dropped and counts as a transient failure.
    #[must_use]
    pub fn with(mut self, kind: Kind, limit: Duration, handler: impl Handler + 'static) -> Self {
        self.0.insert(kind, Job { handler: Arc::new(handler), limit });
        self
    }

    pub(crate) fn get(&self, kind: Kind) -> Option<&Job> {
        self.0.get(&kind)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
