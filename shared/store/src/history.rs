//! The history: who changed what, when, why and on which side. Rows are added, never changed.
//!
//! A first import writes one row a page, about the calendar and not about an event: ten thousand rows that say
//! "was there already" would say less than the events' own creation times, and cost as much as the events.

use std::collections::HashMap;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{CalendarId, EventId, HistoryId, Revision, RunId};
use serde_json::Value;
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

/// What wrote entries, by its id: what the history is asked for when all of it is to be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CauseId<'a> {
    /// A run of a job.
    Run(RunId),
    /// A request of a person or a program, as it was named.
    Request(&'a str),
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
    pub changes: Value,
}

/// What entries written together have in common, and the revisions of the events that they are about.
#[derive(Debug, Default)]
pub(crate) struct Origin<'a> {
    /// What wrote them, where that has an id.
    pub(crate) cause_id: Option<CauseId<'a>>,
    /// What the provider called the state that was taken over, or that the change was made from.
    pub(crate) revisions: HashMap<EventId, &'a Revision>,
}

impl Origin<'_> {
    fn complete(&self, entry: &HistoryWrite) -> Value {
        let mut changes = entry.changes.clone();
        let revision = entry.event.and_then(|event| self.revisions.get(&event));
        if let Some(object) = changes.as_object_mut() {
            object.extend(revision.map(|Revision(text)| ("revision".to_owned(), text.clone().into())));
        }
        changes
    }
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
    /// The id of the request or the run.
    pub cause_id: Option<String>,
    /// What was decided.
    pub decision: String,
    /// The fields before and after, and what else is known of it.
    pub changes: Option<Value>,
}

pub(crate) async fn append(
    tx: &Tx,
    calendar: CalendarId,
    entries: &[HistoryWrite],
    origin: &Origin<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    const OPERATION: &str = "write history";
    if entries.is_empty() {
        return Ok(());
    }
    let organization = tx.organization(OPERATION)?;
    let changes = entries
        .iter()
        .map(|entry| to_json(OPERATION, "changes", &origin.complete(entry)))
        .collect::<Result<Vec<_>, _>>()?;
    let cause_id = origin.cause_id.map(|cause| match cause {
        CauseId::Run(run) => run.0.to_string(),
        CauseId::Request(name) => name.to_owned(),
    });
    let input = Input::new()
        .column("id", entries.iter().map(|entry| entry.id))
        .column("event_id", entries.iter().map(|entry| entry.event))
        .column("side", entries.iter().map(|entry| entry.cause.side()))
        .column("cause", entries.iter().map(|entry| entry.cause.as_str()))
        .column("decision", entries.iter().map(|entry| entry.decision))
        .column("changes", changes);
    let sql = "WITH {input} INSERT INTO history
            (id, organization_id, calendar_id, event_id, at, side, cause, cause_id, decision, changes)
         SELECT id, $1, $2, event_id, $3, side, cause, $4, decision, changes FROM input";
    input.execute(tx, OPERATION, sql, values![organization, calendar, now, cause_id]).await?;
    Ok(())
}

/// The newest entries about an event, newest first.
///
/// # Errors
/// When the database fails.
pub async fn of_event(tx: &Tx, event: EventId, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
    const OPERATION: &str = "read an event's history";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT id, at, side, cause, cause_id, decision, changes FROM history
         WHERE organization_id = $1 AND event_id = $2 ORDER BY at DESC, id DESC LIMIT $3";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx.all(OPERATION, sql, values![organization, event, limit]).await?;
    rows.iter().map(read).collect()
}

/// The entries about an event that are later than an instant, newest first; at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn since(
    tx: &Tx,
    event: EventId,
    after: Timestamp,
    limit: usize,
) -> Result<Vec<HistoryEntry>, StoreError> {
    const OPERATION: &str = "read an event's history since an instant";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT id, at, side, cause, cause_id, decision, changes FROM history
         WHERE organization_id = $1 AND event_id = $2 AND at > $3 ORDER BY at DESC, id DESC LIMIT $4";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx.all(OPERATION, sql, values![organization, event, after, limit]).await?;
    rows.iter().map(read).collect()
}

/// The last entry about an event that is not later than an instant.
///
/// # Errors
/// When the database fails.
pub async fn last_before(tx: &Tx, event: EventId, at: Timestamp) -> Result<Option<HistoryEntry>, StoreError> {
    const OPERATION: &str = "read what was last changed of an event";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT id, at, side, cause, cause_id, decision, changes FROM history
         WHERE organization_id = $1 AND event_id = $2 AND at <= $3 ORDER BY at DESC, id DESC LIMIT 1";
    tx.one(OPERATION, sql, values![organization, event, at]).await?.as_ref().map(read).transpose()
}

/// Whether it is told how an event came to be that was first seen then: by an entry of its own, or with all that was
/// imported into its calendar in the same instant. Where it is not, entries have been removed.
///
/// # Errors
/// When the database fails.
pub async fn has_beginning(tx: &Tx, event: EventId, created_at: Timestamp) -> Result<bool, StoreError> {
    const OPERATION: &str = "look for the beginning of an event's history";
    let organization = tx.organization(OPERATION)?;
    let own = "SELECT 1 FROM history WHERE organization_id = $1 AND event_id = $2 AND at <= $3 LIMIT 1";
    if tx.one(OPERATION, own, values![organization, event, created_at]).await?.is_some() {
        return Ok(true);
    }
    let import = "SELECT 1 FROM history WHERE organization_id = $1 AND event_id IS NULL AND at = $2 LIMIT 1";
    Ok(tx.one(OPERATION, import, values![organization, created_at]).await?.is_some())
}

/// One entry, with the event it is about.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: HistoryId) -> Result<Option<(Option<EventId>, HistoryEntry)>, StoreError> {
    const OPERATION: &str = "read an entry of the history";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT id, at, side, cause, cause_id, decision, changes, event_id FROM history
         WHERE organization_id = $1 AND id = $2";
    let row = tx.one(OPERATION, sql, values![organization, id]).await?;
    row.map(|row| Ok((row.get::<Option<Uuid>>("event_id")?.map(EventId), read(&row)?))).transpose()
}

/// The entries about events that one request or one run wrote, newest first; at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn of_cause(
    tx: &Tx,
    cause_id: &str,
    limit: usize,
) -> Result<Vec<(EventId, HistoryEntry)>, StoreError> {
    const OPERATION: &str = "read what one cause changed";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT id, at, side, cause, cause_id, decision, changes, event_id FROM history
         WHERE organization_id = $1 AND cause_id = $2 AND event_id IS NOT NULL
         ORDER BY at DESC, id DESC LIMIT $3";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx.all(OPERATION, sql, values![organization, cause_id, limit]).await?;
    rows.iter().map(|row| Ok((EventId(row.get("event_id")?), read(row)?))).collect()
}

fn read(row: &Row) -> Result<HistoryEntry, StoreError> {
    Ok(HistoryEntry {
        id: HistoryId(row.get("id")?),
        at: Timestamp(row.get("at")?),
        side: row.get("side")?,
        cause: row.get("cause")?,
        cause_id: row.get("cause_id")?,
        decision: row.get("decision")?,
        changes: row.json("changes")?,
    })
}
