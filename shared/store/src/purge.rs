//! Removing the events of a connection that was disconnected, a few at a time, so that nobody waits for it.
//!
//! The calendars stay, so that they are recognised when the account comes back; their cursors are forgotten before the
//! first event is ([`crate::calendar_sync::restart`]), so that it comes back whole whenever that is. What stays besides
//! holds no content: the rows of `audit` and `runs`, what the history says of whole calendars, and entries of the
//! outbox that were answered.

use calfleet_domain::model::{CalendarId, ConnectionId, EventId, MeetingId};

use crate::bulk::Input;
use crate::error::StoreError;
use crate::transaction::{Tx, values};

/// What a purge would remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Events, tombstones included.
    pub events: i64,
    /// Local edits that the provider has not been told.
    pub pending: i64,
}

/// What there is of a connection.
///
/// # Errors
/// When the database fails.
pub async fn holdings(tx: &Tx, connection: ConnectionId) -> Result<Holdings, StoreError> {
    const OPERATION: &str = "count what there is of a connection";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT
            (SELECT count(*) FROM events e JOIN calendars c
                ON c.organization_id = e.organization_id AND c.id = e.calendar_id
                WHERE c.organization_id = $1 AND c.connection_id = $2) AS events,
            (SELECT count(*) FROM outbox WHERE organization_id = $1 AND connection_id = $2
                AND state = 'pending') AS pending";
    let row = tx.one(OPERATION, sql, values![organization, connection]).await?;
    let Some(row) = row else { return Ok(Holdings::default()) };
    Ok(Holdings { events: row.get("events")?, pending: row.get("pending")? })
}

/// Removes at most `limit` events of a connection with everything that hangs on them; how many it was. To be called
/// until that is none, and then [`rest`].
///
/// # Errors
/// When the database fails.
pub async fn events(tx: &Tx, connection: ConnectionId, limit: u32) -> Result<usize, StoreError> {
    const OPERATION: &str = "remove events";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT e.id, e.meeting_id FROM events e
         JOIN calendars c ON c.organization_id = e.organization_id AND c.id = e.calendar_id
         WHERE c.organization_id = $1 AND c.connection_id = $2 ORDER BY e.calendar_id, e.provider_id LIMIT $3";
    let rows = tx.all(OPERATION, sql, values![organization, connection, i64::from(limit)]).await?;
    let mut ids = Vec::with_capacity(rows.len());
    let mut meetings = Vec::with_capacity(rows.len());
    for row in &rows {
        ids.push(EventId(row.get("id")?));
        meetings.push(MeetingId(row.get("meeting_id")?));
    }
    ids.sort_unstable();
    meetings.sort_unstable();
    meetings.dedup();
    for (table, column, condition) in [
        ("event_payloads", "event_id", ""),
        ("overrides", "event_id", ""),
        ("history", "event_id", ""),
        ("outbox", "event_id", " AND outbox.state IN ('pending', 'dead')"),
        ("app_keys", "event_id", ""),
        ("events", "id", ""),
    ] {
        let sql = format!(
            "WITH {{input}} DELETE FROM {table} WHERE organization_id = $1
                AND {column} IN (SELECT id FROM input){condition}"
        );
        let input = Input::new().column("id", ids.iter().copied());
        input.execute(tx, OPERATION, &sql, values![organization]).await?;
    }
    let sql = "WITH {input} DELETE FROM meetings WHERE organization_id = $1 AND id IN (SELECT id FROM input)
            AND NOT EXISTS (SELECT 1 FROM events WHERE events.meeting_id = meetings.id)";
    let input = Input::new().column("id", meetings);
    input.execute(tx, OPERATION, sql, values![organization]).await?;
    Ok(rows.len())
}

/// Removes what hangs on no event: overrides and occurrences of series that were never seen, what listings remember,
/// conflicts. At most `limit` rows of each table and calendar; whether that was all.
///
/// # Errors
/// When the database fails.
pub async fn rest(tx: &Tx, connection: ConnectionId, limit: u32) -> Result<bool, StoreError> {
    const OPERATION: &str = "remove what hangs on no event";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT id FROM calendars WHERE organization_id = $1 AND connection_id = $2 ORDER BY id";
    let rows = tx.all(OPERATION, sql, values![organization, connection]).await?;
    let mut is_all = true;
    for row in &rows {
        let calendar = CalendarId(row.get("id")?);
        for (table, key) in [
            ("overrides", "calendar_id, series_key, recurrence_key"),
            ("occurrences", "calendar_id, hash"),
            ("listing_items", "calendar_id, generation, provider_id"),
            ("listing_pages", "calendar_id, generation, page"),
        ] {
            let sql = format!(
                "DELETE FROM {table} WHERE organization_id = $1 AND ({key}) IN (
                    SELECT {key} FROM {table} WHERE organization_id = $1 AND calendar_id = $2 LIMIT $3)"
            );
            let removed =
                tx.execute(OPERATION, &sql, values![organization, calendar, i64::from(limit)]).await?;
            is_all &= removed < u64::from(limit);
        }
    }
    let sql = "DELETE FROM conflicts WHERE organization_id = $1 AND connection_id = $2";
    tx.execute(OPERATION, sql, values![organization, connection]).await?;
    Ok(is_all)
}
