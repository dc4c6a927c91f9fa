//! What hangs on an event's row: the raw payload, compressed, and the overrides of a series.

use std::collections::BTreeSet;
use std::io;

use calfleet_domain::model::{
    Body, CalendarId, Event, EventId, InstanceRef, Override, ProviderId, RecurrenceId, Role, Uid,
};
use zstd::bulk::{Compressor, decompress};

use super::{EventWrite, PageWrites};
use crate::bulk::Input;
use crate::error::StoreError;
use crate::events::role_from_name;
use crate::transaction::{Tx, to_json, values};

/// Without entropy coding, which for payloads of a few kilobytes costs more time than it saves room: level 1 takes
/// twice as long for a tenth less.
const LEVEL: i32 = -1;

/// No payload is larger; the providers' limits on one object are below.
const LARGEST_BYTES: usize = 256 << 20;

/// Writes the payloads of everything whose payload is new.
pub(super) async fn write(tx: &Tx, writes: &PageWrites) -> Result<(), StoreError> {
    const OPERATION: &str = "write payloads";
    let organization = tx.organization(OPERATION)?;
    let events = writes.inserts.iter().chain(&writes.updates).map(|write| (write.id, write.raw.as_ref()));
    let revisions = writes.revisions.iter().map(|write| (write.row.id, write.raw.as_ref()));
    let raws: Vec<(EventId, &String)> =
        events.chain(revisions).filter_map(|(id, raw)| raw.map(|raw| (id, raw))).collect();
    if raws.is_empty() {
        return Ok(());
    }
    let failed = |source| StoreError::Uncompressed { operation: OPERATION, source };
    let mut compressor = Compressor::new(LEVEL).map_err(failed)?;
    let payloads = raws
        .iter()
        .map(|(_, raw)| compressor.compress(raw.as_bytes()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed)?;
    let sql = "WITH {input} INSERT INTO event_payloads (event_id, organization_id, payload)
         SELECT event_id, $1, payload FROM input WHERE TRUE
         ON CONFLICT (event_id) DO UPDATE SET payload = excluded.payload";
    let input = Input::new().column("event_id", raws.iter().map(|(id, _)| *id)).column("payload", payloads);
    input.execute(tx, OPERATION, sql, values![organization]).await?;
    Ok(())
}

/// The payload of one event, verbatim.
///
/// # Errors
/// When the database fails, or what it holds cannot be read.
pub async fn payload(tx: &Tx, event: EventId) -> Result<Option<String>, StoreError> {
    const OPERATION: &str = "read a payload";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT payload FROM event_payloads WHERE organization_id = $1 AND event_id = $2";
    let Some(row) = tx.one(OPERATION, sql, values![organization, event]).await? else { return Ok(None) };
    unpacked(OPERATION, &row.at::<Vec<u8>>(0)?).map(Some)
}

/// An event with its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The event.
    pub id: EventId,
    /// The provider's id.
    pub provider_id: ProviderId,
    /// Its `UID`.
    pub uid: Uid,
    /// The owner's part in it.
    pub role: Role,
    /// The payload verbatim.
    pub raw: String,
}

/// A page of a calendar's live events with their payloads, in the order of their ids.
///
/// # Errors
/// When the database fails, or what it holds cannot be read.
pub async fn marked(
    tx: &Tx,
    calendar: CalendarId,
    after: Option<EventId>,
    limit: usize,
) -> Result<Vec<Marked>, StoreError> {
    const OPERATION: &str = "read the payloads of a calendar";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT e.id, e.provider_id, e.uid, e.role, p.payload
         FROM events e JOIN event_payloads p ON p.event_id = e.id
         WHERE e.organization_id = $1 AND e.calendar_id = $2 AND e.state = 0 AND e.id > $3
         ORDER BY e.id LIMIT $4";
    let after = after.map_or(uuid::Uuid::nil(), |id| id.0);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx.all(OPERATION, sql, values![organization, calendar, after, limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(Marked {
                id: EventId(row.at(0)?),
                provider_id: ProviderId(row.at(1)?),
                uid: Uid(row.at(2)?),
                role: row.named("role", role_from_name)?,
                raw: unpacked(OPERATION, &row.at::<Vec<u8>>(4)?)?,
            })
        })
        .collect()
}

fn unpacked(operation: &'static str, payload: &[u8]) -> Result<String, StoreError> {
    let unreadable = || StoreError::Unreadable { operation, column: "payload" };
    let size = zstd::zstd_safe::get_frame_content_size(payload).ok().flatten().ok_or_else(unreadable)?;
    let size = usize::try_from(size).unwrap_or(usize::MAX).min(LARGEST_BYTES);
    let raw = decompress(payload, size).map_err(|_| unreadable())?;
    String::from_utf8(raw).map_err(|_| unreadable())
}

/// Replaces the overrides of everything that is written: those of updated rows are removed, all new ones added. The
/// objects of instances of which the event says nothing stand among them.
pub(super) async fn replace_overrides(tx: &Tx, writes: &PageWrites) -> Result<(), StoreError> {
    const OPERATION: &str = "replace overrides";
    let organization = tx.organization(OPERATION)?;
    let rewritten: BTreeSet<EventId> = writes.updates.iter().map(|write| write.id).collect();
    let sql = "WITH {input} DELETE FROM overrides
         WHERE organization_id = $1 AND event_id IN (SELECT event_id FROM input)";
    Input::new().column("event_id", rewritten).execute(tx, OPERATION, sql, values![organization]).await?;

    let rows: Vec<OverrideRow<'_>> = writes
        .inserts
        .iter()
        .chain(&writes.updates)
        .map(overrides)
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect();
    let input = Input::new()
        .column("calendar_id", rows.iter().map(|row| row.write.calendar.calendar_id))
        .column("series_key", rows.iter().map(|row| &row.write.provider_id))
        .column("recurrence_key", rows.iter().map(|row| row.key.to_string()))
        .column("event_id", rows.iter().map(|row| row.write.id))
        .column("provider_id", rows.iter().map(|row| row.object().map(|object| object.provider_id.clone())))
        .column("revision", rows.iter().map(|row| row.object().and_then(|object| object.revision.clone())))
        .column("body", rows.iter().map(|row| row.body.clone()))
        .column("is_said", rows.iter().map(|row| row.is_said));
    let sql = "WITH {input} INSERT INTO overrides (calendar_id, series_key, recurrence_key, organization_id,
            event_id, provider_id, revision, body, is_said)
         SELECT calendar_id, series_key, recurrence_key, $1,
            event_id, provider_id, revision, body, is_said FROM input";
    input.execute(tx, OPERATION, sql, values![organization]).await?;
    Ok(())
}

/// What is known of one instance.
struct OverrideRow<'a> {
    write: &'a EventWrite,
    key: RecurrenceId,
    /// What it says; nothing of a cancelled one.
    body: Option<String>,
    /// Whether the event has it as an override.
    is_said: bool,
}

impl<'a> OverrideRow<'a> {
    /// The object of its own behind it.
    fn object(&self) -> Option<&'a InstanceRef> {
        self.write.instances.get(&self.key)
    }
}

/// The series key is the id of the object that holds the series: where one object holds all of it, two series of
/// one UID in one calendar stay two.
fn overrides(write: &EventWrite) -> Result<Vec<OverrideRow<'_>>, StoreError> {
    let said = match &write.event {
        Some(Event { body: Body::Series(series), .. }) => Some(&series.overrides),
        _ => None,
    };
    let body = |over: &Override| match over {
        Override::Changed(fields) => to_json("replace overrides", "body", fields.as_ref()).map(Some),
        Override::Cancelled => Ok(None),
    };
    let mut rows = Vec::new();
    for (key, over) in said.into_iter().flatten() {
        rows.push(OverrideRow { write, key: *key, body: body(over)?, is_said: true });
    }
    let silent = write.instances.keys().filter(|key| said.is_none_or(|said| !said.contains_key(key)));
    rows.extend(silent.map(|key| OverrideRow { write, key: *key, body: None, is_said: false }));
    Ok(rows)
}
