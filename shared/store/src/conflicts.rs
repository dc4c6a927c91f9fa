//! Conflicts: two versions of an event that only a person can join. They are opened by [`crate::apply`].

use std::collections::HashSet;

use calfleet_domain::model::EventId;

use crate::bulk::Input;
use crate::error::StoreError;
use crate::transaction::{Tx, values};

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
