//! The statements about `events` itself.

use std::collections::{BTreeMap, HashMap};

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{Body, Event, EventId, Series};
use uuid::Uuid;

use super::{EventWrite, PageWrites, RevisionWrite, Stamp, Touched};
use crate::bulk::Input;
use crate::error::StoreError;
use crate::events::{EventState, detail_name, role_name};
use crate::transaction::{Tx, to_json, values};

/// Locks the rows in the order of their ids; whether all are as the plan saw them.
pub(super) async fn lock(tx: &Tx, touched: Vec<Touched>) -> Result<bool, StoreError> {
    const OPERATION: &str = "lock the events of a page";
    let expected: BTreeMap<Uuid, i64> = touched.iter().map(|row| (row.id.0, row.lock_version)).collect();
    if expected.is_empty() {
        return Ok(true);
    }
    let organization = tx.organization(OPERATION)?;
    let input = Input::new().column("id", expected.keys().copied());
    // SQLite has one writer at a time, and does not know the clause.
    let locking = if tx.is_postgres() { "ORDER BY e.id FOR UPDATE OF e" } else { "" };
    let sql = format!(
        "WITH {{input}} SELECT e.id, e.lock_version FROM events e JOIN input ON input.id = e.id
         WHERE e.organization_id = $1 {locking}"
    );
    let rows = input.all(tx, OPERATION, &sql, values![organization]).await?;
    if rows.len() != expected.len() {
        return Ok(false);
    }
    for row in rows {
        if expected.get(&row.at::<Uuid>(0)?) != Some(&row.at::<i64>(1)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The `lock_version` of these rows by now.
///
/// # Errors
/// When the database fails.
pub async fn lock_versions(tx: &Tx, rows: &[Touched]) -> Result<HashMap<EventId, i64>, StoreError> {
    const OPERATION: &str = "read which events have changed";
    let organization = tx.organization(OPERATION)?;
    let sql = "WITH {input} SELECT e.id, e.lock_version FROM input JOIN events e ON e.id = input.id
         WHERE e.organization_id = $1";
    let input = Input::new().column("id", rows.iter().map(|row| row.id));
    let rows = input.all(tx, OPERATION, sql, values![organization]).await?;
    rows.iter().map(|row| Ok((EventId(row.at(0)?), row.at(1)?))).collect()
}

/// Inserts new rows; whether all their ids were free.
pub(super) async fn insert(tx: &Tx, inserts: &[EventWrite], stamp: &Stamp<'_>) -> Result<bool, StoreError> {
    const OPERATION: &str = "insert events";
    if inserts.is_empty() {
        return Ok(true);
    }
    let organization = tx.organization(OPERATION)?;
    let sql = "WITH {input} INSERT INTO events (id, organization_id, connection_id, calendar_id, meeting_id,
            provider_id, uid, is_series, body, base, version, revision, role, detail, state, problem,
            span_start, span_end, zone_data, lock_version, edited_at, created_at, updated_at)
         SELECT id, $1, connection_id, calendar_id, meeting_id,
            provider_id, uid, is_series, body, base, version, revision, role, detail, 0, problem,
            span_start, span_end, $2, 1, edited_at, $3, $3 FROM input WHERE TRUE ON CONFLICT DO NOTHING";
    let fixed = values![organization, stamp.zone_data, stamp.now];
    let inserted = input(OPERATION, inserts)?.execute(tx, OPERATION, sql, fixed).await?;
    Ok(inserted == u64::try_from(inserts.len()).unwrap_or(u64::MAX))
}

/// Rewrites rows that are live afterwards.
pub(super) async fn update(tx: &Tx, updates: &[EventWrite], stamp: &Stamp<'_>) -> Result<(), StoreError> {
    const OPERATION: &str = "update events";
    if updates.is_empty() {
        return Ok(());
    }
    let organization = tx.organization(OPERATION)?;
    let sql = "WITH {input} UPDATE events SET calendar_id = input.calendar_id,
            meeting_id = input.meeting_id, provider_id = input.provider_id, uid = input.uid,
            is_series = input.is_series, body = input.body, base = input.base, version = input.version,
            revision = input.revision, role = input.role, detail = input.detail, state = 0,
            problem = input.problem, span_start = input.span_start, span_end = input.span_end,
            zone_data = $2, lock_version = events.lock_version + 1, recheck_at = NULL,
            edited_at = input.edited_at, updated_at = $3, deleted_at = NULL
         FROM input WHERE events.id = input.id AND events.organization_id = $1";
    let fixed = values![organization, stamp.zone_data, stamp.now];
    input(OPERATION, updates)?.execute(tx, OPERATION, sql, fixed).await?;
    Ok(())
}

fn input(operation: &'static str, writes: &[EventWrite]) -> Result<Input, StoreError> {
    let bodies = writes
        .iter()
        .map(|write| write.event.as_ref().map(|event| body_json(operation, event)).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let bases = writes
        .iter()
        .map(|write| write.base.as_ref().map(|event| to_json(operation, "base", event)).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let is_series = |write: &EventWrite| matches!(write.event, Some(Event { body: Body::Series(_), .. }));
    Ok(Input::new()
        .column("id", writes.iter().map(|write| write.id))
        .column("connection_id", writes.iter().map(|write| write.calendar.connection_id))
        .column("calendar_id", writes.iter().map(|write| write.calendar.calendar_id))
        .column("meeting_id", writes.iter().map(|write| write.meeting_id))
        .column("provider_id", writes.iter().map(|write| &write.provider_id))
        .column("uid", writes.iter().map(|write| &write.uid))
        .column("is_series", writes.iter().map(is_series))
        .column("body", bodies)
        .column("base", bases)
        .column("version", writes.iter().map(|write| write.version))
        .column("revision", writes.iter().map(|write| write.revision.clone()))
        .column("role", writes.iter().map(|write| role_name(write.role)))
        .column("detail", writes.iter().map(|write| detail_name(write.detail)))
        .column("problem", writes.iter().map(|write| write.problem.clone()))
        .column("span_start", writes.iter().map(|write| write.span_start))
        .column("span_end", writes.iter().map(|write| write.span_end))
        .column("edited_at", writes.iter().map(|write| write.edited_at)))
}

/// The content without its overrides, which are rows of their own.
fn body_json(operation: &'static str, event: &Event) -> Result<String, StoreError> {
    match &event.body {
        Body::Series(series) if !series.overrides.is_empty() => {
            let master = Series { master: series.master.clone(), overrides: BTreeMap::new() };
            let event = Event { uid: event.uid.clone(), body: Body::Series(master) };
            to_json(operation, "body", &event)
        }
        _ => to_json(operation, "body", event),
    }
}

/// Notes new revisions of rows that otherwise stay as they are.
pub(super) async fn revise(tx: &Tx, revisions: &[RevisionWrite], now: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "write revisions";
    let organization = tx.organization(OPERATION)?;
    let input = Input::new()
        .column("id", revisions.iter().map(|write| write.row.id))
        .column("revision", revisions.iter().map(|write| write.revision.clone()));
    let sql = "WITH {input} UPDATE events SET revision = input.revision,
            lock_version = events.lock_version + 1, updated_at = $2
         FROM input WHERE events.id = input.id AND events.organization_id = $1";
    input.execute(tx, OPERATION, sql, values![organization, now]).await?;
    Ok(())
}

/// Marks rows as missing or as outside the window.
pub(super) async fn set_states(tx: &Tx, writes: &PageWrites, stamp: &Stamp<'_>) -> Result<(), StoreError> {
    const OPERATION: &str = "mark events as missing";
    let organization = tx.organization(OPERATION)?;
    let states: BTreeMap<EventId, EventState> = writes
        .missing
        .iter()
        .map(|row| (row.id, EventState::Missing))
        .chain(writes.out_of_window.iter().map(|row| (row.id, EventState::OutOfWindow)))
        .collect();
    let input = Input::new()
        .column("id", states.keys().copied())
        .column("state", states.values().map(|state| state.code()));
    let sql = "WITH {input} UPDATE events SET state = input.state, recheck_at = NULL,
            lock_version = events.lock_version + 1, updated_at = $2,
            deleted_at = CASE WHEN input.state = 1 THEN $3 ELSE events.deleted_at END
         FROM input WHERE events.id = input.id AND events.organization_id = $1";
    input.execute(tx, OPERATION, sql, values![organization, stamp.now, stamp.requested_at]).await?;
    Ok(())
}

/// Marks rows to be read singly, at once or later, or no more. One to be read at once has been shown otherwise than it stands here:
/// whoever plans without knowing that has to plan again.
pub(super) async fn flag(tx: &Tx, writes: &PageWrites) -> Result<(), StoreError> {
    const OPERATION: &str = "mark events to be read singly";
    let organization = tx.organization(OPERATION)?;
    let no_more = writes.looked_at.iter().map(|row| (row.id, None));
    let later = writes.read_again.iter().map(|again| (again.id, Some(again.at)));
    let at_once = writes.recheck.iter().map(|row| (row.id, Some(Timestamp::ZERO)));
    let marks: BTreeMap<EventId, Option<Timestamp>> = no_more.chain(later).chain(at_once).collect();
    let sql = "WITH {input} UPDATE events SET recheck_at = input.recheck_at,
            lock_version = events.lock_version + CASE WHEN input.recheck_at = 0 THEN 1 ELSE 0 END
         FROM input WHERE events.id = input.id AND events.organization_id = $1";
    let input =
        Input::new().column("id", marks.keys().copied()).column("recheck_at", marks.values().copied());
    input.execute(tx, OPERATION, sql, values![organization]).await?;
    Ok(())
}

/// Notes that the provider has answered a write of ours.
pub(super) async fn settle(tx: &Tx, rows: &[EventId], now: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "note answered writes";
    let organization = tx.organization(OPERATION)?;
    let sql = "WITH {input} UPDATE events SET settled_at = $2
         FROM input WHERE events.id = input.id AND events.organization_id = $1";
    let input = Input::new().column("id", rows.iter().copied());
    input.execute(tx, OPERATION, sql, values![organization, now]).await?;
    Ok(())
}

/// Forgets the edits of a row that turned out to be none, unless it was written since.
///
/// # Errors
/// When the database fails.
pub async fn agree(tx: &Tx, row: Touched, now: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "forget edits";
    let organization = tx.organization(OPERATION)?;
    let sql =
        "UPDATE events SET base = NULL, edited_at = NULL, updated_at = $4, lock_version = lock_version + 1
         WHERE organization_id = $1 AND id = $2 AND lock_version = $3";
    tx.execute(OPERATION, sql, values![organization, row.id, row.lock_version, now]).await?;
    Ok(())
}
