//! Inbound sync: bringing the calendars of one connection up to date with their provider.
//!
//! ```text
//! connection ─▶ for each due calendar, deltas first, imports last and in turn
//!     turn: list ─▶ read what is named (one batch ahead) ─▶ page: plan ─▶ one transaction
//!           until the listing is complete ─▶ sweep (complete listings only) ─▶ cursor
//!     ─▶ one pass over the other calendars when something is missing ─▶ tombstones
//! ```
//! - No transaction is open while a provider is asked, and every transaction ends with the fence.
//! - What a page stands for and how far the listing has come are committed together; a crash repeats at most a
//!   page, and a repeated page is an echo.
//! - Time, cursors and failures are a calendar's own (`calendar_sync`): one that fails waits by itself, and the
//!   others go on. Only what must be the same for all of them (credentials, the host) ends the run.
//! - A turn is bounded in pages and time; what is left continues after others had the slot.
//!
//! Deciding is in [`page`] and [`sweep`], without I/O; everything else here only carries.

mod ahead;
mod calendars;
mod collect;
mod commit;
mod complete;
mod confirm;
mod counts;
mod fetch;
mod page;
mod run;
mod series;
mod sweep;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::{Clock, Rng};
use calfleet_domain::job::Claim;
use calfleet_domain::model::RunId;
use calfleet_providers::driver::{Driver, DriverError};
use calfleet_store::connections::Connection;
use calfleet_store::{Store, StoreError};

pub use counts::Counts;
pub use run::{Failure, Report, connection};

/// After how long what its provider failed to give out is asked for again: at first, and from then on. By then a server
/// that was restarted is well again; an object that it cannot give out costs a request every now and then.
const WITHHELD_FOR: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(15));

/// The numbers of a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncSettings {
    /// Each calendar is compared in full with its provider this often.
    pub full_sync_every: Duration,
    /// A connection's list of calendars is read again this often.
    pub calendars_every: Duration,
    /// Pages after which a long import gives up its slot.
    pub turn_pages: usize,
    /// Time after which a long import gives up its slot.
    pub turn_time: Duration,
    /// At least so long between the beginnings of two runs of a calendar that no person asked for.
    pub spacing: Duration,
    /// Between two polls of a calendar whose watch has proved alive, where that is longer than the connection's own.
    pub watched_poll_interval: Duration,
    /// Whether providers can reach us to tell of changes.
    pub watches: bool,
    /// How long a lease lasts from a committed page on.
    pub lease: Duration,
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self {
            full_sync_every: Duration::from_hours(24),
            calendars_every: Duration::from_hours(1),
            turn_pages: 20,
            turn_time: Duration::from_secs(20),
            spacing: Duration::from_secs(10),
            watched_poll_interval: Duration::from_hours(1),
            watches: false,
            lease: Duration::from_secs(30),
        }
    }
}

/// What a sync may touch, and for whom it runs.
#[derive(Debug, Clone, Copy)]
pub struct Sync<'a> {
    /// The database.
    pub store: &'a Store,
    /// The fleet's clock.
    pub clock: &'a Arc<dyn Clock>,
    /// Chance.
    pub rng: &'a dyn Rng,
    /// The account.
    pub driver: &'a Arc<dyn Driver>,
    /// The right to work on it.
    pub claim: &'a Claim,
    /// What the history and the list of runs call it.
    pub run: RunId,
    /// Whose account it is.
    pub connection: &'a Connection,
    /// The numbers.
    pub settings: &'a SyncSettings,
}

/// What ends a calendar's turn early.
#[derive(Debug, thiserror::Error)]
enum Stop {
    /// Our own store failed, or the lease was lost: the run ends, the row comes again.
    #[error("write what was listed")]
    Store(#[from] StoreError),
    /// The provider failed: data, recorded with the time of the next run.
    #[error("ask the provider")]
    Driver(#[from] DriverError),
    /// Others kept changing the rows of a page while it was planned.
    #[error("apply a page that others keep changing")]
    Contended,
}
