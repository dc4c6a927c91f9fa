//! The application's own keys of events, each of which names one event of its organization.

use std::collections::HashMap;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::EventId;

use crate::bulk::Input;
use crate::error::StoreError;
use crate::transaction::{Tx, values};

/// The event that a key names.
///
/// # Errors
/// When the database fails.
pub async fn find(tx: &Tx, key: &str) -> Result<Option<EventId>, StoreError> {
    const OPERATION: &str = "find an event by the application's key";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT event_id FROM app_keys WHERE organization_id = $1 AND app_key = $2";
    let row = tx.one(OPERATION, sql, values![organization, key]).await?;
    row.map(|row| row.get("event_id").map(EventId)).transpose()
}

/// Makes a key name `event` in place of `before`; whether it did. It does not when the key names another event by now.
///
/// # Errors
/// When the database fails.
pub async fn bind(
    tx: &Tx,
    key: &str,
    event: EventId,
    before: Option<EventId>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const OPERATION: &str = "bind the application's key to an event";
    let organization = tx.organization(OPERATION)?;
    let sql = "INSERT INTO app_keys (organization_id, app_key, event_id, bound_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (organization_id, app_key) DO UPDATE SET event_id = excluded.event_id,
            bound_at = excluded.bound_at WHERE app_keys.event_id = $5";
    let before = before.map_or(uuid::Uuid::nil(), |event| event.0);
    Ok(tx.execute(OPERATION, sql, values![organization, key, event, now, before]).await? == 1)
}

/// The keys that name these events.
///
/// # Errors
/// When the database fails.
pub async fn of_events(tx: &Tx, events: &[EventId]) -> Result<HashMap<EventId, String>, StoreError> {
    const OPERATION: &str = "read the application's keys of events";
    let organization = tx.organization(OPERATION)?;
    let sql = "WITH {input} SELECT app_keys.event_id, app_key FROM app_keys
         JOIN input ON input.event_id = app_keys.event_id WHERE organization_id = $1 ORDER BY bound_at DESC";
    let input = Input::new().column("event_id", events.iter().copied());
    let rows = input.all(tx, OPERATION, sql, values![organization]).await?;
    rows.iter().map(|row| Ok((EventId(row.get("event_id")?), row.get("app_key")?))).collect()
}
