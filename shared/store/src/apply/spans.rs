//! Spans that were derived with other zone data are derived again: wall times and zones stay, what they mean in UTC
//! may have changed.

use calfleet_domain::model::CalendarId;
use calfleet_domain::recurrence::span;

use crate::bulk::Input;
use crate::error::StoreError;
use crate::events;
use crate::transaction::{Tx, values};

/// Most rows that are derived again in one transaction.
const DERIVED_AT_ONCE: usize = 500;

/// Whether the calendar has spans that were derived with other zone data than `zone_data`.
///
/// # Errors
/// When the database fails.
pub async fn has_old_spans(tx: &Tx, calendar: CalendarId, zone_data: &str) -> Result<bool, StoreError> {
    const OPERATION: &str = "look for spans of other zone data";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT 1 FROM events WHERE organization_id = $1 AND calendar_id = $2 AND body IS NOT NULL
            AND zone_data <> $3 LIMIT 1";
    Ok(tx.one(OPERATION, sql, values![organization, calendar, zone_data]).await?.is_some())
}

/// Derives some of these spans again; how many there were. That is no change of the rows: their `lock_version`s stay.
///
/// # Errors
/// When the database fails.
pub async fn derive_spans(tx: &Tx, calendar: CalendarId, zone_data: &str) -> Result<usize, StoreError> {
    const OPERATION: &str = "derive spans again";
    let organization = tx.organization(OPERATION)?;
    let rows = events::of_other_zone_data(tx, calendar, zone_data, DERIVED_AT_ONCE).await?;
    let spans: Vec<_> =
        rows.iter().filter_map(|row| Some((row.event.id, span(row.event.event.as_ref()?)))).collect();
    let input = Input::new()
        .column("id", spans.iter().map(|(id, _)| *id))
        .column("span_start", spans.iter().map(|(_, span)| span.start))
        .column("span_end", spans.iter().map(|(_, span)| span.end));
    let sql = "WITH {input} UPDATE events SET span_start = input.span_start, span_end = input.span_end, zone_data = $2
         FROM input WHERE events.id = input.id AND events.organization_id = $1";
    input.execute(tx, OPERATION, sql, values![organization, zone_data]).await?;
    Ok(spans.len())
}
