//! Events that the provider holds and that cannot be read: shown with the reason, so that nothing is absent in silence.

use calfleet_domain::model::{CalendarId, ConnectionId, EventId, ProviderId};

use crate::bulk::Input;
use crate::error::StoreError;
use crate::events::{COLUMNS, StoredRow, finish};
use crate::transaction::{Row, Tx, values};

/// A copy that the provider holds and that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableCopy {
    /// The copy.
    pub id: EventId,
    /// Its calendar.
    pub calendar_id: CalendarId,
    /// The provider's id.
    pub provider_id: ProviderId,
    /// Why it cannot be read.
    pub problem: String,
}

/// At most `limit` of the connection's copies that cannot be read, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn of_connection(
    tx: &Tx,
    connection: ConnectionId,
    limit: u32,
) -> Result<Vec<UnreadableCopy>, StoreError> {
    const OPERATION: &str = "list the unreadable events of a connection";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT id, calendar_id, provider_id, problem FROM events
         WHERE organization_id = $1 AND connection_id = $2 AND state = 0 AND problem IS NOT NULL
         ORDER BY id LIMIT $3";
    let rows = tx.all(OPERATION, sql, values![organization, connection, i64::from(limit)]).await?;
    let copy = |row: &Row| {
        Ok(UnreadableCopy {
            id: EventId(row.get("id")?),
            calendar_id: CalendarId(row.get("calendar_id")?),
            provider_id: ProviderId(row.get("provider_id")?),
            problem: row.get("problem")?,
        })
    };
    rows.iter().map(copy).collect()
}

/// At most `limit` of the calendars' copies that were never readable, after the given one, in the order of their ids:
/// nobody knows when they take place.
///
/// # Errors
/// When the database fails.
pub async fn never_read(
    tx: &Tx,
    calendars: &[CalendarId],
    after: Option<EventId>,
    limit: usize,
) -> Result<Vec<StoredRow>, StoreError> {
    const OPERATION: &str = "list the events that were never readable";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "WITH {{input}} SELECT {COLUMNS} FROM input JOIN calendars c ON c.id = input.calendar_id
         JOIN events e ON e.connection_id = c.connection_id AND e.calendar_id = c.id
         WHERE e.organization_id = $1 AND e.problem IS NOT NULL AND e.state = 0 AND e.body IS NULL AND e.id > $2
         ORDER BY e.id LIMIT $3"
    );
    let after = after.map_or(uuid::Uuid::nil(), |id| id.0);
    let input = Input::new().column("calendar_id", calendars.iter().copied());
    let limit_rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows =
        finish(tx, input.all(tx, OPERATION, &sql, values![organization, after, limit_rows]).await?).await?;
    // SQLite may have been asked in several statements, each of which obeyed the limit.
    rows.sort_by_key(|row| row.event.id);
    rows.truncate(limit);
    Ok(rows)
}
