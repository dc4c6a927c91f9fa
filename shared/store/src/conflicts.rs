//! Conflicts: two versions of an event that only a person can join. They are opened and closed by [`crate::apply`].

use std::collections::HashSet;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{CalendarId, ConflictId, ConnectionId, EventId};
use calfleet_domain::reconcile::{ConflictDraft, Contest, Interval};
use serde::Deserialize;

use crate::bulk::Input;
use crate::error::StoreError;
use crate::transaction::{Row, Tx, values};

/// A conflict as it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The conflict.
    pub id: ConflictId,
    /// Its connection.
    pub connection_id: ConnectionId,
    /// The event's calendar.
    pub calendar_id: CalendarId,
    /// Which event.
    pub event_id: EventId,
    /// Both versions, and what they last agreed on.
    pub draft: ConflictDraft,
    /// When it was found.
    pub opened_at: Timestamp,
    /// When it was decided; `None` while it is open.
    pub resolved_at: Option<Timestamp>,
    /// How: `ours`, `theirs`, `mixed`, or `newer` where a later conflict took its place.
    pub resolved_by: Option<String>,
}

/// What stands beside the versions.
#[derive(Debug, Deserialize)]
struct Verdict {
    contests: Vec<Contest>,
    local_at: Interval,
    remote_at: Interval,
}

/// Which conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that wait for a person.
    Open,
    /// Those that were decided.
    Resolved,
}

const COLUMNS: &str = "id, connection_id, calendar_id, event_id, base, local, remote, verdict, opened_at,
    resolved_at, resolved_by";

/// One conflict.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: ConflictId) -> Result<Option<Conflict>, StoreError> {
    const OPERATION: &str = "load a conflict";
    let organization = tx.organization(OPERATION)?;
    let sql = format!("SELECT {COLUMNS} FROM conflicts WHERE organization_id = $1 AND id = $2");
    tx.one(OPERATION, &sql, values![organization, id]).await?.as_ref().map(read).transpose()
}

/// Conflicts of an organization, newest first, older than the given one.
///
/// # Errors
/// When the database fails.
pub async fn list(
    tx: &Tx,
    which: Which,
    before: Option<ConflictId>,
    limit: u32,
) -> Result<Vec<Conflict>, StoreError> {
    const OPERATION: &str = "list conflicts";
    let organization = tx.organization(OPERATION)?;
    let is = match which {
        Which::Open => "IS NULL",
        Which::Resolved => "IS NOT NULL",
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM conflicts WHERE organization_id = $1 AND id < $2 AND resolved_at {is}
         ORDER BY id DESC LIMIT $3"
    );
    let before = before.map_or(uuid::Uuid::max(), |id| id.0);
    let rows = tx.all(OPERATION, &sql, values![organization, before, i64::from(limit)]).await?;
    rows.iter().map(read).collect()
}

/// Closes conflicts, each with the side that was kept.
pub(crate) async fn resolve(
    tx: &Tx,
    resolutions: &[(ConflictId, &'static str)],
    now: Timestamp,
) -> Result<(), StoreError> {
    const OPERATION: &str = "resolve conflicts";
    if resolutions.is_empty() {
        return Ok(());
    }
    let organization = tx.organization(OPERATION)?;
    let input = Input::new()
        .column("id", resolutions.iter().map(|(id, _)| *id))
        .column("kept", resolutions.iter().map(|(_, kept)| *kept));
    let sql = "WITH {input} UPDATE conflicts SET resolved_at = $2, resolved_by = input.kept
         FROM input WHERE conflicts.id = input.id AND conflicts.organization_id = $1
            AND conflicts.resolved_at IS NULL";
    input.execute(tx, OPERATION, sql, values![organization, now]).await?;
    Ok(())
}

/// Whether a person has yet to decide about the event: until then nothing of it is pushed.
///
/// # Errors
/// When the database fails.
pub async fn is_open(tx: &Tx, event: EventId) -> Result<bool, StoreError> {
    const OPERATION: &str = "look for an open conflict";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT 1 FROM conflicts WHERE organization_id = $1 AND event_id = $2 AND resolved_at IS NULL";
    Ok(tx.one(OPERATION, sql, values![organization, event]).await?.is_some())
}

/// Which of these events have an open conflict.
///
/// # Errors
/// When the database fails.
pub async fn open_among(tx: &Tx, events: &[EventId]) -> Result<HashSet<EventId>, StoreError> {
    const OPERATION: &str = "look for open conflicts";
    let organization = tx.organization(OPERATION)?;
    let sql = "WITH {input} SELECT conflicts.event_id FROM conflicts
         JOIN input ON input.event_id = conflicts.event_id
         WHERE organization_id = $1 AND resolved_at IS NULL";
    let input = Input::new().column("event_id", events.iter().copied());
    let rows = input.all(tx, OPERATION, sql, values![organization]).await?;
    rows.iter().map(|row| row.get("event_id").map(EventId)).collect()
}

fn read(row: &Row) -> Result<Conflict, StoreError> {
    let unreadable = StoreError::Unreadable { operation: "read a conflict", column: "verdict" };
    let verdict: Verdict = row.json("verdict")?.ok_or(unreadable)?;
    Ok(Conflict {
        id: ConflictId(row.get("id")?),
        connection_id: ConnectionId(row.get("connection_id")?),
        calendar_id: CalendarId(row.get("calendar_id")?),
        event_id: EventId(row.get("event_id")?),
        draft: ConflictDraft {
            base: row.json("base")?,
            local: row.json("local")?,
            remote: row.json("remote")?,
            contests: verdict.contests,
            local_at: verdict.local_at,
            remote_at: verdict.remote_at,
        },
        opened_at: Timestamp(row.get("opened_at")?),
        resolved_at: row.instant("resolved_at")?,
        resolved_by: row.get("resolved_by")?,
    })
}
