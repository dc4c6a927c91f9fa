//! What a page becomes, written in one transaction with a bounded number of statements: one or two a table,
//! never one an event.
//!
//! The order is fixed, so that two transactions never wait for one another in a circle: rows of `events` are
//! locked in the order of their ids and compared with the `lock_version` that the plan was made from, then
//! meetings in the order of theirs, then everything that hangs on them. The caller adds the calendar's row and,
//! last of all, the fence.
//!
//! A row that has another `lock_version`, or an id that somebody else has just taken, means that the plan was
//! made from what is no longer so: nothing may be committed, and the page is planned again ([`Applied`]).

mod deletions;
mod moves;
mod payloads;
mod rows;
mod spans;

use std::collections::{BTreeMap, BTreeSet};

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    CalendarId, ConflictId, ConnectionId, DetailLevel, Event, EventId, InstanceRef, MeetingId,
    OrganizationId, ProviderId, RecurrenceId, Revision, Role, Uid, Version,
};
use calfleet_domain::reconcile::ConflictDraft;
use uuid::Uuid;

use crate::bulk::Input;
use crate::conflicts;
use crate::error::StoreError;
use crate::history::{self, CauseId, HistoryWrite, Origin};
use crate::meetings;
use crate::occurrences;
use crate::transaction::{Tx, to_json, values};

pub use moves::{Buried, bury, missing_since};
pub use payloads::{Marked, marked, payload};
pub use rows::{agree, lock_versions};
pub use spans::{derive_spans, has_old_spans};

/// Which calendar, of which connection, of which organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalendarKey {
    /// The tenant.
    pub organization_id: OrganizationId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// The calendar.
    pub calendar_id: CalendarId,
}

/// A row that is written, as the plan saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    /// The row.
    pub id: EventId,
    /// What its `lock_version` was.
    pub lock_version: i64,
}

/// A row that is live afterwards, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct EventWrite {
    /// The row.
    pub id: EventId,
    /// What its `lock_version` was; of no meaning for a new one.
    pub lock_version: i64,
    /// Where it is afterwards.
    pub calendar: CalendarKey,
    /// Its meeting; nil while no UID is known.
    pub meeting_id: MeetingId,
    /// Its UID; empty while none is known.
    pub uid: Uid,
    /// The provider's id.
    pub provider_id: ProviderId,
    /// What it says; `None` for what was never readable.
    pub event: Option<Event>,
    /// What both sides last agreed on, while local edits are pending.
    pub base: Option<Event>,
    /// Of `event`.
    pub version: Version,
    /// The provider's revision.
    pub revision: Option<Revision>,
    /// The owner's part in it.
    pub role: Role,
    /// How much is known of it.
    pub detail: DetailLevel,
    /// Why it cannot be read.
    pub problem: Option<String>,
    /// Start of the span; `None` while nothing readable is known.
    pub span_start: Option<Timestamp>,
    /// End of the span; `None` for endless.
    pub span_end: Option<Timestamp>,
    /// Receipt of the local edits that remain pending.
    pub edited_at: Option<Timestamp>,
    /// The payload verbatim; `None` leaves the one that is there.
    pub raw: Option<String>,
    /// Objects of their own behind overrides.
    pub instances: BTreeMap<RecurrenceId, InstanceRef>,
}

/// A row that is to be read singly later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadAgain {
    /// The row.
    pub id: EventId,
    /// From when on.
    pub at: Timestamp,
}

/// A row of which only the provider's revision moved on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionWrite {
    /// The row.
    pub row: Touched,
    /// The revision.
    pub revision: Option<Revision>,
    /// The payload of that revision; `None` leaves the one that is there.
    pub raw: Option<String>,
}

/// A row that takes the place of a newer one of the same meeting: a move whose arrival was seen first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adoption {
    /// Stays, with its history and links.
    pub row: Touched,
    /// Goes; calendar, provider id and content are taken from it.
    pub place: Touched,
}

/// A row that is deleted on our side.
#[derive(Debug, Clone, PartialEq)]
pub struct Deletion {
    /// The row.
    pub row: Touched,
    /// What both sides last agreed on, while the provider has yet to be told; `None` where there is nothing to tell.
    pub base: Option<Event>,
    /// Receipt of the request that has yet to be told.
    pub edited_at: Option<Timestamp>,
}

/// An instance's id, and the series it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OccurrenceWrite {
    /// The instance's.
    pub provider_id: ProviderId,
    /// The series'.
    pub series_id: ProviderId,
}

/// A conflict that a person has to decide.
#[derive(Debug, Clone, PartialEq)]
pub struct ConflictWrite {
    /// The conflict.
    pub id: Uuid,
    /// About which event.
    pub event: EventId,
    /// Both versions, and what they last agreed on.
    pub draft: ConflictDraft,
}

/// Everything that a page changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PageWrites {
    /// New rows.
    pub inserts: Vec<EventWrite>,
    /// Changed rows, or rows that are live again.
    pub updates: Vec<EventWrite>,
    /// Rows of which only the revision moved on.
    pub revisions: Vec<RevisionWrite>,
    /// Rows that are no longer where they were.
    pub missing: Vec<Touched>,
    /// Rows outside what the provider shows.
    pub out_of_window: Vec<Touched>,
    /// Rows that are deleted on our side.
    pub deletions: Vec<Deletion>,
    /// Rows about which the provider has answered a write of ours: what it showed before says nothing.
    pub settled: Vec<EventId>,
    /// Rows to be read singly at once.
    pub recheck: Vec<Touched>,
    /// Rows that have been read singly and stay as they are.
    pub looked_at: Vec<Touched>,
    /// Rows among those that are written, to be read singly later.
    pub read_again: Vec<ReadAgain>,
    /// Moves whose arrival was seen first.
    pub adoptions: Vec<Adoption>,
    /// The history.
    pub history: Vec<HistoryWrite>,
    /// Conflicts.
    pub conflicts: Vec<ConflictWrite>,
    /// Conflicts that a person has decided, with what is kept: `ours`, `theirs` or `mixed`.
    pub resolutions: Vec<(ConflictId, &'static str)>,
    /// Instances that are as their series says, and have ids.
    pub occurrences: Vec<OccurrenceWrite>,
}

impl PageWrites {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn touched(&self) -> Vec<Touched> {
        let of = |write: &EventWrite| Touched { id: write.id, lock_version: write.lock_version };
        let mut touched: Vec<Touched> = self.updates.iter().map(of).collect();
        touched.extend(self.revisions.iter().map(|write| write.row));
        touched.extend(self.missing.iter().chain(&self.out_of_window).copied());
        touched.extend(self.recheck.iter().chain(&self.looked_at).copied());
        touched.extend(self.deletions.iter().map(|deletion| deletion.row));
        touched.extend(self.adoptions.iter().flat_map(|adoption| [adoption.row, adoption.place]));
        touched
    }

    /// What the provider calls the states that are written.
    fn origin<'o>(&'o self, cause_id: Option<CauseId<'o>>) -> Origin<'o> {
        let rows = self.inserts.iter().chain(&self.updates).map(|write| (write.id, write.revision.as_ref()));
        let rows = rows.chain(self.revisions.iter().map(|write| (write.row.id, write.revision.as_ref())));
        let known = rows.filter_map(|(id, revision)| Some((id, revision.filter(|one| !one.0.is_empty())?)));
        Origin { cause_id, revisions: known.collect() }
    }
}

/// What came of applying a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Applied {
    /// It is written, and may be committed.
    Written,
    /// The plan was made from what is no longer so: roll back, read again and plan again.
    Outdated,
}

/// Under which circumstances a page is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp<'a> {
    /// The instant of the writes.
    pub now: Timestamp,
    /// When the page was asked for: what is missing has been missing since then.
    pub requested_at: Timestamp,
    /// The version of the zone data that spans were derived with.
    pub zone_data: &'a str,
    /// What writes, where that has an id.
    pub cause_id: Option<CauseId<'a>>,
}

/// Writes a page.
///
/// # Errors
/// When the database fails; nothing may be committed then.
pub async fn apply(
    tx: &Tx,
    calendar: CalendarKey,
    writes: &PageWrites,
    stamp: &Stamp<'_>,
) -> Result<Applied, StoreError> {
    if !rows::lock(tx, writes.touched()).await? {
        return Ok(Applied::Outdated);
    }
    let meetings: BTreeMap<MeetingId, &Uid> = writes
        .inserts
        .iter()
        .chain(&writes.updates)
        .filter(|write| !write.meeting_id.0.is_nil())
        .map(|write| (write.meeting_id, &write.uid))
        .collect();
    meetings::ensure(tx, &meetings, stamp.now).await?;
    moves::adopt(tx, &writes.adoptions, stamp.now).await?;
    if !rows::insert(tx, &writes.inserts, stamp).await? {
        return Ok(Applied::Outdated);
    }
    rows::update(tx, &writes.updates, stamp).await?;
    rows::revise(tx, &writes.revisions, stamp.now).await?;
    rows::set_states(tx, writes, stamp).await?;
    rows::flag(tx, writes).await?;
    deletions::write(tx, &writes.deletions, stamp.now).await?;
    rows::settle(tx, &writes.settled, stamp.now).await?;
    payloads::write(tx, writes).await?;
    payloads::replace_overrides(tx, writes).await?;
    occurrences::note(tx, calendar.calendar_id, &writes.occurrences, stamp.requested_at).await?;
    let origin = writes.origin(stamp.cause_id);
    history::append(tx, calendar.calendar_id, &writes.history, &origin, stamp.now).await?;
    open_conflicts(tx, calendar, &writes.conflicts, stamp.now).await?;
    conflicts::resolve(tx, &writes.resolutions, stamp.now).await?;
    Ok(Applied::Written)
}

async fn open_conflicts(
    tx: &Tx,
    calendar: CalendarKey,
    conflicts: &[ConflictWrite],
    now: Timestamp,
) -> Result<(), StoreError> {
    const OPERATION: &str = "open conflicts";
    if conflicts.is_empty() {
        return Ok(());
    }
    let json = |column: &'static str, side: fn(&ConflictDraft) -> &Option<Event>| {
        conflicts
            .iter()
            .map(|write| {
                side(&write.draft).as_ref().map(|event| to_json(OPERATION, column, event)).transpose()
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let verdicts = conflicts
        .iter()
        .map(|write| {
            let ConflictDraft { contests, local_at, remote_at, .. } = &write.draft;
            let verdict = serde_json::json!({
                "contests": contests, "local_at": local_at, "remote_at": remote_at,
            });
            to_json(OPERATION, "verdict", &verdict)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let input = Input::new()
        .column("id", conflicts.iter().map(|write| write.id))
        .column("event_id", conflicts.iter().map(|write| write.event))
        .column("base", json("base", |draft| &draft.base)?)
        .column("local", json("local", |draft| &draft.local)?)
        .column("remote", json("remote", |draft| &draft.remote)?)
        .column("verdict", verdicts);
    // An event has one open conflict: what came since makes it a conflict about newer versions.
    let sql = "WITH {input} INSERT INTO conflicts
            (organization_id, id, connection_id, calendar_id, event_id, base, local, remote, verdict, opened_at)
         SELECT $1, id, $2, $3, event_id, base, local, remote, verdict, $4 FROM input";
    let resolve = "WITH {input} UPDATE conflicts SET resolved_at = $2, resolved_by = 'newer'
         FROM input WHERE conflicts.event_id = input.event_id AND conflicts.organization_id = $1
            AND conflicts.resolved_at IS NULL";
    let events: BTreeSet<EventId> = conflicts.iter().map(|write| write.event).collect();
    let superseded = Input::new().column("event_id", events);
    superseded.execute(tx, OPERATION, resolve, values![calendar.organization_id, now]).await?;
    let fixed = values![calendar.organization_id, calendar.connection_id, calendar.calendar_id, now];
    input.execute(tx, OPERATION, sql, fixed).await?;
    Ok(())
}
