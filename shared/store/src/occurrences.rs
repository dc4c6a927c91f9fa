//! Which series an instance's id belongs to, where the provider gives one to every instance.
//!
//! Kept as hashes: a series of two years is a few kilobytes. What no listing names any more goes with the next
//! complete one.

use std::collections::BTreeMap;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{CalendarId, ProviderId};

use crate::apply::OccurrenceWrite;
use crate::bulk::Input;
use crate::error::StoreError;
use crate::listing::ListingHash;
use crate::transaction::{Tx, values};

/// Notes what a page named.
pub(crate) async fn note(
    tx: &Tx,
    calendar: CalendarId,
    named: &[OccurrenceWrite],
    listed_at: Timestamp,
) -> Result<(), StoreError> {
    const OPERATION: &str = "note occurrences";
    let organization = tx.organization(OPERATION)?;
    let named: BTreeMap<ListingHash, &ProviderId> =
        named.iter().map(|one| (ListingHash::of(&one.provider_id), &one.series_id)).collect();
    let sql =
        "WITH {input} INSERT INTO occurrences (calendar_id, hash, organization_id, series_id, listed_at)
         SELECT $1, hash, $2, series_id, $3 FROM input WHERE TRUE
         ON CONFLICT (calendar_id, hash) DO UPDATE SET series_id = excluded.series_id,
            listed_at = excluded.listed_at";
    Input::new()
        .column("hash", named.keys().map(|hash| hash.bytes().to_vec()))
        .column("series_id", named.values().copied())
        .execute(tx, OPERATION, sql, values![calendar, organization, listed_at])
        .await?;
    Ok(())
}

/// The series that these ids are instances of: by their overrides, else by the occurrences noted.
///
/// # Errors
/// When the database fails.
pub async fn series_of(
    tx: &Tx,
    calendar: CalendarId,
    instances: &[&ProviderId],
) -> Result<Vec<ProviderId>, StoreError> {
    const OPERATION: &str = "find the series of instances";
    if instances.is_empty() {
        return Ok(Vec::new());
    }
    let organization = tx.organization(OPERATION)?;
    let sql = "WITH {input} SELECT o.series_key FROM input JOIN overrides o
            ON o.calendar_id = $2 AND o.provider_id = input.provider_id WHERE o.organization_id = $1
         UNION SELECT o.series_id FROM input JOIN occurrences o
            ON o.calendar_id = $2 AND o.hash = input.hash WHERE o.organization_id = $1";
    let rows = Input::new()
        .column("provider_id", instances.iter().copied())
        .column("hash", instances.iter().map(|id| ListingHash::of(id).bytes().to_vec()))
        .all(tx, OPERATION, sql, values![organization, calendar])
        .await?;
    rows.iter().map(|row| row.at::<String>(0).map(ProviderId)).collect()
}

/// Forgets what no listing has named since `before`.
///
/// # Errors
/// When the database fails.
pub async fn forget(tx: &Tx, calendar: CalendarId, before: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "forget occurrences";
    let organization = tx.organization(OPERATION)?;
    let sql = "DELETE FROM occurrences WHERE organization_id = $1 AND calendar_id = $2 AND listed_at < $3";
    tx.execute(OPERATION, sql, values![organization, calendar, before]).await?;
    Ok(())
}

/// Instances of live series that have an object of their own: the series' id with each of theirs.
///
/// # Errors
/// When the database fails.
pub async fn objects(tx: &Tx, calendar: CalendarId) -> Result<Vec<(ProviderId, ProviderId)>, StoreError> {
    const OPERATION: &str = "list the objects of instances";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT o.series_key, o.provider_id FROM overrides o JOIN events e ON e.id = o.event_id
         WHERE o.organization_id = $1 AND o.calendar_id = $2 AND o.provider_id IS NOT NULL AND e.state = 0";
    let rows = tx.all(OPERATION, sql, values![organization, calendar]).await?;
    rows.iter().map(|row| Ok((ProviderId(row.at(0)?), ProviderId(row.at(1)?)))).collect()
}
