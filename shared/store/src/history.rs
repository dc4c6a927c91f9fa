//! The history: who changed what, when, why and on which side. Rows are added, never changed.
//!
//! A first import writes one row a page, about the calendar and not about an event: ten thousand rows that say
//! "was there already" would say less than the events' own creation times, and cost as much as the events.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{CalendarId, EventId, HistoryId};
use uuid::Uuid;

use crate::bulk::Input;
use crate::error::StoreError;
use crate::transaction::{Row, Tx, to_json, values};

/// Why something was found to have changed, or was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A calendar's first listing.
    Import,
    /// A listing of what changed.
    Sync,
    /// A complete listing: the cursor had died, or the day's comparison was due.
    FullSync,
    /// A single reading of an event whose page had been stale.
    Recheck,
    /// A request of a person or a program.
    Request,
    /// The provider's answer to a write of ours.
    Push,
}

impl Cause {
    /// The name used in the table and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Sync => "sync",
            Self::FullSync => "full_sync",
            Self::Recheck => "recheck",
            Self::Request => "request",
            Self::Push => "push",
        }
    }

    /// Which side made the change.
    fn side(self) -> &'static str {
        match self {
            Self::Request => "local",
            Self::Import | Self::Sync | Self::FullSync | Self::Recheck | Self::Push => "remote",
        }
    }
}

/// An entry to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryWrite {
    /// The entry.
    pub id: Uuid,
    /// About which event; `None` is about the calendar.
    pub event: Option<EventId>,
    /// Why we looked.
    pub cause: Cause,
    /// What was decided.
    pub decision: &'static str,
    /// The fields before and after, and the loser of a conflict.
    pub changes: serde_json::Value,
}

/// An entry as it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The entry.
    pub id: HistoryId,
    /// When.
    pub at: Timestamp,
    /// Which side changed: `remote` or `local`.
    pub side: String,
    /// Why we looked, or who asked.
    pub cause: String,
    /// What was decided.
    pub decision: String,
    /// The fields before and after.
    pub changes: Option<serde_json::Value>,
}

pub(crate) async fn append(
    tx: &Tx,
    calendar: CalendarId,
    entries: &[HistoryWrite],
    now: Timestamp,
) -> Result<(), StoreError> {
    const OPERATION: &str = "write history";
    if entries.is_empty() {
        return Ok(());
    }
    let organization = tx.organization(OPERATION)?;
    let changes = entries
        .iter()
        .map(|entry| to_json(OPERATION, "changes", &entry.changes))
        .collect::<Result<Vec<_>, _>>()?;
    let input = Input::new()
        .column("id", entries.iter().map(|entry| entry.id))
        .column("event_id", entries.iter().map(|entry| entry.event))
        .column("side", entries.iter().map(|entry| entry.cause.side()))
        .column("cause", entries.iter().map(|entry| entry.cause.as_str()))
        .column("decision", entries.iter().map(|entry| entry.decision))
        .column("changes", changes);
    let sql = "WITH {input} INSERT INTO history
            (id, organization_id, calendar_id, event_id, at, side, cause, decision, changes)
         SELECT id, $1, $2, event_id, $3, side, cause, decision, changes FROM input";
    input.execute(tx, OPERATION, sql, values![organization, calendar, now]).await?;
    Ok(())
}

/// The newest entries about an event, newest first.
///
/// # Errors
/// When the database fails.
pub async fn of_event(tx: &Tx, event: EventId, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
    const OPERATION: &str = "read an event's history";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT id, at, side, cause, decision, changes FROM history
         WHERE organization_id = $1 AND event_id = $2 ORDER BY at DESC, id DESC LIMIT $3";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx.all(OPERATION, sql, values![organization, event, limit]).await?;
    rows.iter().map(read).collect()
}

/// One entry, with the event it is about.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: HistoryId) -> Result<Option<(Option<EventId>, HistoryEntry)>, StoreError> {
    const OPERATION: &str = "read an entry of the history";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT id, at, side, cause, decision, changes, event_id FROM history
         WHERE organization_id = $1 AND id = $2";
    let row = tx.one(OPERATION, sql, values![organization, id]).await?;
    row.map(|row| Ok((row.get::<Option<Uuid>>("event_id")?.map(EventId), read(&row)?))).transpose()
}

fn read(row: &Row) -> Result<HistoryEntry, StoreError> {
    Ok(HistoryEntry {
        id: HistoryId(row.get("id")?),
        at: Timestamp(row.get("at")?),
        side: row.get("side")?,
        cause: row.get("cause")?,
        decision: row.get("decision")?,
        changes: row.json("changes")?,
    })
}
