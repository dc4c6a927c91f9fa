//! Rows that change their place, and rows that have none any more.

use std::collections::{BTreeMap, BTreeSet};

use calfleet_domain::clock::{Rng, Timestamp};
use calfleet_domain::model::{CalendarId, ConnectionId, EventId, RunId};
use calfleet_domain::reconcile::diff::changes;
use serde_json::json;

use super::Adoption;
use crate::bulk::Input;
use crate::error::StoreError;
use crate::events::{self, StoredRow};
use crate::history::{self, Cause, CauseId, HistoryWrite, Origin};
use crate::transaction::{Row, Tx, values};

/// Older rows take over calendar, provider id and content of newer ones, which go. Local edits that an older row
/// has stay; it is then read singly, so that they meet what is there now.
///
/// An object has one row, so the newer one has to be gone before the older one takes its key.
pub(super) async fn adopt(tx: &Tx, adoptions: &[Adoption], now: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "move events";
    if adoptions.is_empty() {
        return Ok(());
    }
    let organization = tx.organization(OPERATION)?;
    let input = || {
        Input::new()
            .column("id", adoptions.iter().map(|adoption| adoption.row.id))
            .column("place", adoptions.iter().map(|adoption| adoption.place.id))
    };
    let statements = [
        "WITH {input} DELETE FROM event_payloads WHERE organization_id = $1
            AND event_id IN (SELECT id FROM input)",
        "WITH {input} DELETE FROM overrides WHERE organization_id = $1 AND event_id IN (SELECT id FROM input)",
        "WITH {input} UPDATE event_payloads SET event_id = input.id
         FROM input WHERE event_payloads.event_id = input.place AND event_payloads.organization_id = $1",
        "WITH {input} UPDATE overrides SET event_id = input.id
         FROM input WHERE overrides.event_id = input.place AND overrides.organization_id = $1",
    ];
    for sql in statements {
        input().execute(tx, OPERATION, sql, values![organization]).await?;
    }
    let places = adopted_places(tx, adoptions).await?;
    let gone: BTreeSet<EventId> = adoptions.iter().map(|adoption| adoption.place.id).collect();
    let copy = "WITH {input} UPDATE events SET meeting_id = place.meeting_id, uid = place.uid,
            is_series = CASE WHEN events.base IS NULL THEN place.is_series ELSE events.is_series END,
            body = CASE WHEN events.base IS NULL THEN place.body ELSE events.body END,
            version = CASE WHEN events.base IS NULL THEN place.version ELSE events.version END,
            recheck_at = CASE WHEN events.base IS NOT NULL THEN 0 END, revision = place.revision, role = place.role,
            detail = place.detail, state = 0, problem = place.problem, span_start = place.span_start,
            span_end = place.span_end, zone_data = place.zone_data,
            lock_version = events.lock_version + 1, updated_at = $2
         FROM input JOIN events place ON place.id = input.place
         WHERE events.id = input.id AND events.organization_id = $1";
    input().execute(tx, OPERATION, copy, values![organization, now]).await?;
    let remove =
        "WITH {input} DELETE FROM events WHERE organization_id = $1 AND id IN (SELECT id FROM input)";
    Input::new().column("id", gone).execute(tx, OPERATION, remove, values![organization]).await?;
    let settle =
        "WITH {input} UPDATE events SET calendar_id = input.calendar_id, provider_id = input.provider_id
         FROM input WHERE events.id = input.id AND events.organization_id = $1";
    let input = Input::new()
        .column("id", adoptions.iter().map(|adoption| adoption.row.id))
        .column("calendar_id", places.iter().map(|(calendar, _)| *calendar))
        .column("provider_id", places.iter().map(|(_, provider_id)| provider_id));
    input.execute(tx, OPERATION, settle, values![organization]).await?;
    Ok(())
}

/// Calendar and provider id of the newer rows, in the order of the adoptions.
async fn adopted_places(tx: &Tx, adoptions: &[Adoption]) -> Result<Vec<(CalendarId, String)>, StoreError> {
    let mut places = Vec::with_capacity(adoptions.len());
    // One row each: an event that moves is a rare thing, and a person moves them by ones and tens.
    for adoption in adoptions {
        if let Some(row) = events::load(tx, adoption.place.id).await? {
            places.push((row.event.calendar_id, row.event.provider_id.0));
        }
    }
    Ok(places)
}

/// Since when calendars of the connection have missing rows: the latest of each. Empty where there are none.
///
/// # Errors
/// When the database fails.
pub async fn missing_since(
    tx: &Tx,
    connection: ConnectionId,
) -> Result<BTreeMap<CalendarId, Timestamp>, StoreError> {
    const OPERATION: &str = "look for missing events";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT calendar_id, max(deleted_at) AS since FROM events
         WHERE organization_id = $1 AND connection_id = $2 AND state = 1 GROUP BY calendar_id";
    let rows = tx.all(OPERATION, sql, values![organization, connection]).await?;
    let since = |row: &Row| {
        let at = row.instant("since")?.unwrap_or(Timestamp::ZERO);
        Ok((CalendarId(row.get("calendar_id")?), at))
    };
    rows.iter().map(since).collect()
}

/// What became of missing rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Buried {
    /// How many became tombstones.
    pub count: u64,
    /// Whether there may be more.
    pub has_more: bool,
}

/// Most rows that become tombstones in one transaction.
const BURIED_AT_ONCE: usize = 500;

/// Makes tombstones of the calendar's rows that have been missing since `seen_elsewhere_at` or before: since then
/// every other calendar of the connection has been looked at, and they were in none of them.
///
/// What they said goes into the history; nothing else keeps it.
///
/// # Errors
/// When the database fails.
pub async fn bury(
    tx: &Tx,
    calendar: CalendarId,
    seen_elsewhere_at: Timestamp,
    run: RunId,
    now: Timestamp,
    rng: &dyn Rng,
) -> Result<Buried, StoreError> {
    const OPERATION: &str = "delete events";
    let organization = tx.organization(OPERATION)?;
    let rows = events::missing(tx, calendar, seen_elsewhere_at, BURIED_AT_ONCE).await?;
    if rows.is_empty() {
        return Ok(Buried::default());
    }
    let ids = || Input::new().column("id", rows.iter().map(|row| row.event.id));
    let sql = "WITH {input} UPDATE events SET state = 2, body = NULL, base = NULL, problem = NULL,
            span_start = NULL, span_end = NULL, recheck_at = NULL, edited_at = NULL,
            lock_version = events.lock_version + 1, updated_at = $2
         FROM input WHERE events.id = input.id AND events.organization_id = $1";
    ids().execute(tx, OPERATION, sql, values![organization, now]).await?;
    for table in ["event_payloads", "overrides"] {
        let sql = format!(
            "WITH {{input}} DELETE FROM {table} WHERE organization_id = $1
                AND event_id IN (SELECT id FROM input)"
        );
        ids().execute(tx, OPERATION, &sql, values![organization]).await?;
    }
    let entries: Vec<HistoryWrite> = rows.iter().map(|row| deletion(row, now, rng)).collect();
    let revisions = rows.iter().filter_map(|row| Some((row.event.id, row.event.revision.as_ref()?)));
    let origin = Origin { cause_id: Some(CauseId::Run(run)), revisions: revisions.collect() };
    history::append(tx, calendar, &entries, &origin, now).await?;
    let has_more = rows.len() == BURIED_AT_ONCE;
    Ok(Buried { count: u64::try_from(rows.len()).unwrap_or(u64::MAX), has_more })
}

fn deletion(row: &StoredRow, now: Timestamp, rng: &dyn Rng) -> HistoryWrite {
    HistoryWrite {
        id: rng.uuid(now),
        event: Some(row.event.id),
        cause: Cause::Sync,
        decision: "take_deletion",
        changes: json!({
            "reason": "remote_deleted",
            "fields": changes(row.event.event.as_ref(), None),
            "provider_id": row.event.provider_id,
        }),
    }
}
