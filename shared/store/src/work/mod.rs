//! The table of due work: one row for every thing that ever needs attention.
//!
//! A row is its kind and target. *Ask* makes it due, *tick* marks it as handed out so that a hint can travel
//! through the queue, *claim* clears the mark and takes the lease, *finish* gives the lease back and says when to
//! look again. Everything that can go wrong is one of: the mark runs out (the hint was lost), the lease runs out (the
//! worker was), the fence moved (another has taken over). No clock of a database is compared: `now` is passed in.
//!
//! Why a claim sets `due_at` to never: an ask made during the run, also one for later, survives because the finish
//! takes the least of both. Why a claim compares no clock: with 3 ms of skew it would drop a live hint.
//!
//! In every transaction `work` comes last, in the order (kind, target). What a transaction of an application or a
//! job does here ([`ask`], [`fence`], steering) takes the transaction; what the fleet's clockwork does has one of its
//! own, which is forgotten without harm when the database's machine dies.

mod ask;
mod claim;
mod count;
mod finish;
mod steer;
mod tick;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::{Kind, Lane, WorkKey, WorkState};
use calfleet_domain::model::{ConnectionId, OrganizationId};

pub use self::ask::{Ticket, ask};
pub use self::claim::{Claimed, HintedRow, claim, claim_free, fence, renew};
pub use self::count::{Count, counts, load, of_connection};
pub use self::finish::{Finished, finish, release};
pub use self::steer::{cancel, free_all, hold, pause, resume, retry};
pub use self::tick::{Fairness, HandedOut, Marks, Seen, hand_out, look, recover, unmark};

use crate::error::StoreError;
use crate::transaction::{Row, Tx};

/// After so many claims without a committed page a row runs alone in the fleet.
const SUSPECT_DELIVERIES: i32 = 2;
/// The claim that sets a row aside without running it.
const LAST_DELIVERY: i32 = 5;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkRow {
    /// What, for whom.
    pub key: WorkKey,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// The connection it belongs to, if any.
    pub connection_id: Option<ConnectionId>,
    /// The most urgent lane since the last finish.
    pub lane: Lane,
    /// Whether it takes part.
    pub state: WorkState,
    /// When it is wanted; never while it runs, unless it was asked for again.
    pub due_at: Timestamp,
    /// Before when no machine's ask may run it.
    pub not_before: Timestamp,
    /// How often it was asked for.
    pub asked: i64,
    /// The `asked` that the last finished run saw.
    pub served: i64,
    /// Handed out until then; zero: not handed out.
    pub enqueued_until: Timestamp,
    /// Leased until then; zero: not leased.
    pub lease_until: Timestamp,
    /// Rises with every claim.
    pub fence: i64,
    /// Failures in a row.
    pub attempt: i32,
    /// Claims since a page was last committed.
    pub deliveries: i32,
    /// The class of the last failure.
    pub last_class: Option<FailureClass>,
    /// The last failure in words for people.
    pub last_error: Option<String>,
}

impl WorkRow {
    /// Whether a run has seen everything that was asked for up to a ticket.
    pub fn is_served(&self, ticket: Ticket) -> bool {
        self.served >= ticket.0
    }

    const COLUMNS: &str =
        "kind, target_id, organization_id, connection_id, lane, state, due_at, not_before, asked,
        served, enqueued_until, lease_until, fence, attempt, deliveries, last_class, last_error";

    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            key: key(row)?,
            organization_id: OrganizationId(row.get("organization_id")?),
            connection_id: row.get::<Option<uuid::Uuid>>("connection_id")?.map(ConnectionId),
            lane: row.numbered("lane", Lane::from_code)?,
            state: row.numbered("state", WorkState::from_code)?,
            due_at: Timestamp(row.get("due_at")?),
            not_before: Timestamp(row.get("not_before")?),
            asked: row.get("asked")?,
            served: row.get("served")?,
            enqueued_until: Timestamp(row.get("enqueued_until")?),
            lease_until: Timestamp(row.get("lease_until")?),
            fence: row.get("fence")?,
            attempt: row.get("attempt")?,
            deliveries: row.get("deliveries")?,
            last_class: row.get::<Option<i16>>("last_class")?.and_then(FailureClass::from_code),
            last_error: row.get("last_error")?,
        })
    }
}

/// Repeats a transaction once that met another on its way.
macro_rules! twice {
    ($once:expr) => {
        match $once.await {
            Err(error) if error.is_busy() => $once.await,
            other => other,
        }
    };
}
use twice;

/// The key in the columns `kind` and `target_id`.
fn key(row: &Row) -> Result<WorkKey, StoreError> {
    Ok(WorkKey { kind: row.numbered("kind", Kind::from_code)?, target: row.get("target_id")? })
}

/// One spelling for both databases: SQLite has one writer, so it locks no rows, and names two functions otherwise.
pub(crate) fn spell(tx: &Tx, sql: &str) -> String {
    let [least, greatest, locked, skipping] = if tx.is_postgres() {
        ["least", "greatest", "FOR UPDATE OF w", "FOR UPDATE OF w SKIP LOCKED"]
    } else {
        ["min", "max", "", ""]
    };
    sql.replace("{least}", least)
        .replace("{greatest}", greatest)
        .replace("{locked}", locked)
        .replace("{skipping}", skipping)
}
