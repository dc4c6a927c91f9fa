//! Copies: reading the rows of `events`, with their overrides and with what the outbox says about them.
//!
//! Writing is in [`crate::apply`]. A row's `body` holds a single event or a series without its overrides; those
//! are rows of `overrides`, so that merges and range reads of long series stay narrow. Everything is read in a
//! bounded number of statements, whatever the number of rows.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    Body, CalendarId, ConnectionId, DetailLevel, Event, EventId, Fields, InstanceRef, MeetingId,
    OrganizationId, Override, ProviderId, RecurrenceId, Revision, Role, StoredEvent, Version,
};
use uuid::Uuid;

use crate::bulk::Input;
use crate::error::StoreError;
use crate::transaction::{Row, Tx, values};

/// What has become of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EventState {
    /// In its calendar.
    #[default]
    Live,
    /// No longer where it was; becomes a tombstone unless it turns up elsewhere in its connection.
    Missing,
    /// Deleted. Known, so that it does not come back through a stale page.
    Tombstone,
    /// Outside what the provider shows; no deletion.
    OutOfWindow,
}

impl EventState {
    /// The number in the table.
    pub fn code(self) -> i16 {
        match self {
            Self::Live => 0,
            Self::Missing => 1,
            Self::Tombstone => 2,
            Self::OutOfWindow => 3,
        }
    }

    /// The one with that number.
    pub fn from_code(code: i16) -> Option<Self> {
        [Self::Live, Self::Missing, Self::Tombstone, Self::OutOfWindow]
            .into_iter()
            .find(|state| state.code() == code)
    }
}

/// A row: the copy and its bookkeeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// What the reconciler needs to know.
    pub event: StoredEvent,
    /// Its connection.
    pub connection_id: ConnectionId,
    /// What has become of it.
    pub state: EventState,
    /// Objects of their own behind overrides, by original start.
    pub instances: BTreeMap<RecurrenceId, InstanceRef>,
    /// Why it cannot be read; what it said before is kept.
    pub problem: Option<String>,
    /// From when on it is to be read singly: at once because a page about it was stale, or later because its provider
    /// still makes its conference.
    pub recheck_at: Option<Timestamp>,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// What a sweep needs to know of a live row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The row.
    pub id: EventId,
    /// The provider's id.
    pub provider_id: ProviderId,
    /// As of this reading.
    pub lock_version: i64,
    /// When a push of it was last answered.
    pub settled_at: Option<Timestamp>,
    /// Whether it has local edits that have not been pushed, or a push under way.
    pub is_pending: bool,
    /// Whether it was made here and has not reached the provider, as far as is known.
    pub is_undelivered: bool,
    /// The start of its span; `None` where it was never readable.
    pub span_start: Option<Timestamp>,
    /// The end of its span; `None` where it is endless or was never readable.
    pub span_end: Option<Timestamp>,
}

pub(crate) const COLUMNS: &str =
    "e.id, e.organization_id, e.connection_id, e.calendar_id, e.meeting_id, e.provider_id,
    e.body, e.base, e.version, e.revision, e.role, e.detail, e.state, e.problem, e.lock_version, e.recheck_at,
    e.edited_at, e.settled_at, e.created_at, e.updated_at,
    EXISTS (SELECT 1 FROM outbox o WHERE o.event_id = e.id AND o.state = 'pending' AND o.sent_at IS NOT NULL)
        AS is_in_flight,
    CASE WHEN e.edited_at IS NOT NULL THEN (SELECT min(o.received_at) FROM outbox o
        WHERE o.event_id = e.id AND o.state IN ('pending', 'dead')) END AS edited_since";

/// The calendar's rows of these ids, whatever their state, in two statements.
///
/// # Errors
/// When the database fails.
pub async fn load_for_page(
    tx: &Tx,
    calendar: CalendarId,
    ids: &[&ProviderId],
) -> Result<Vec<StoredRow>, StoreError> {
    const OPERATION: &str = "load the events of a page";
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let organization = tx.organization(OPERATION)?;
    let each = of_each_name(tx);
    let sql = format!("WITH {{input}} SELECT {COLUMNS} FROM input {each}");
    let input = Input::new().column("provider_id", ids.iter().copied());
    let rows = input.all(tx, OPERATION, &sql, values![organization, calendar]).await?;
    finish(tx, rows).await
}

/// Joins each name of the input to its row of `events`. Postgres, which knows nothing yet of a calendar that is being
/// imported, would rather walk through all its rows for every page; the fence keeps it to one look-up a name.
pub(crate) fn of_each_name(tx: &Tx) -> &'static str {
    if tx.is_postgres() {
        "CROSS JOIN LATERAL (SELECT * FROM events WHERE organization_id = $1 AND calendar_id = $2
            AND provider_id = input.provider_id OFFSET 0) AS e"
    } else {
        "JOIN events e ON e.organization_id = $1 AND e.calendar_id = $2 AND e.provider_id = input.provider_id"
    }
}

/// The connection's live and missing copies of these meetings.
///
/// # Errors
/// When the database fails.
pub async fn load_elsewhere(
    tx: &Tx,
    connection: ConnectionId,
    meetings: &[MeetingId],
) -> Result<Vec<StoredRow>, StoreError> {
    const OPERATION: &str = "load the copies of meetings";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "WITH {{input}} SELECT {COLUMNS} FROM input JOIN events e ON e.meeting_id = input.meeting_id
         WHERE e.organization_id = $1 AND e.connection_id = $2 AND e.state IN (0, 1)"
    );
    let input = Input::new().column("meeting_id", meetings.iter().copied());
    let rows = input.all(tx, OPERATION, &sql, values![organization, connection]).await?;
    finish(tx, rows).await
}

/// A row that is to be read singly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToRead {
    /// From when on.
    pub at: Timestamp,
    /// The row.
    pub id: EventId,
    /// The provider's id.
    pub provider_id: ProviderId,
}

/// The rows of the calendar that are to be read singly and whose push is not under way, the earliest first, after
/// `after`.
///
/// # Errors
/// When the database fails.
pub async fn to_recheck(
    tx: &Tx,
    calendar: CalendarId,
    after: Option<(Timestamp, EventId)>,
    limit: usize,
) -> Result<Vec<ToRead>, StoreError> {
    const OPERATION: &str = "load the events to be read singly";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT e.recheck_at, e.id, e.provider_id FROM events e
         WHERE e.organization_id = $1 AND e.calendar_id = $2 AND e.recheck_at IS NOT NULL AND e.state <> 2
            AND (e.recheck_at > $3 OR e.recheck_at = $3 AND e.id > $4)
            AND NOT EXISTS (SELECT 1 FROM outbox o
                WHERE o.event_id = e.id AND o.state = 'pending' AND o.sent_at IS NOT NULL)
         ORDER BY e.recheck_at, e.id LIMIT $5";
    let (at, id) = after.unwrap_or((Timestamp(i64::MIN), EventId(Uuid::nil())));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx.all(OPERATION, sql, values![organization, calendar, at, id, limit]).await?;
    let read = |row: &Row| {
        Ok(ToRead { at: Timestamp(row.at(0)?), id: EventId(row.at(1)?), provider_id: ProviderId(row.at(2)?) })
    };
    rows.iter().map(read).collect()
}

/// The calendar's rows that have been missing since `until` or before, locked in the order of their ids.
pub(crate) async fn missing(
    tx: &Tx,
    calendar: CalendarId,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<StoredRow>, StoreError> {
    const OPERATION: &str = "load the missing events of a calendar";
    let organization = tx.organization(OPERATION)?;
    let locking = if tx.is_postgres() { "FOR UPDATE OF e" } else { "" };
    let sql = format!(
        "SELECT {COLUMNS} FROM events e WHERE e.organization_id = $1 AND e.calendar_id = $2 AND e.state = 1
            AND e.deleted_at <= $3 ORDER BY e.id LIMIT $4 {locking}"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx.all(OPERATION, &sql, values![organization, calendar, until, limit]).await?;
    finish(tx, rows).await
}

/// The calendar's rows whose spans were derived with other zone data, locked in the order of their ids.
pub(crate) async fn of_other_zone_data(
    tx: &Tx,
    calendar: CalendarId,
    zone_data: &str,
    limit: usize,
) -> Result<Vec<StoredRow>, StoreError> {
    const OPERATION: &str = "load events of other zone data";
    let organization = tx.organization(OPERATION)?;
    let locking = if tx.is_postgres() { "FOR UPDATE OF e" } else { "" };
    let sql = format!(
        "SELECT {COLUMNS} FROM events e WHERE e.organization_id = $1 AND e.calendar_id = $2
            AND e.body IS NOT NULL AND e.zone_data <> $3 ORDER BY e.id LIMIT $4 {locking}"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx.all(OPERATION, &sql, values![organization, calendar, zone_data, limit]).await?;
    finish(tx, rows).await
}

/// One copy.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: EventId) -> Result<Option<StoredRow>, StoreError> {
    const OPERATION: &str = "load an event";
    let organization = tx.organization(OPERATION)?;
    let sql = format!("SELECT {COLUMNS} FROM events e WHERE e.organization_id = $1 AND e.id = $2");
    let rows = tx.all(OPERATION, &sql, values![organization, id]).await?;
    Ok(finish(tx, rows).await?.pop())
}

/// A stretch of a calendar to read, a page at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeQuery {
    /// Which calendars; others are not looked at.
    pub calendars: Vec<CalendarId>,
    /// Only what ends after this instant, if given.
    pub from: Option<Timestamp>,
    /// Only what starts before this instant, if given.
    pub until: Option<Timestamp>,
    /// Where the last page ended.
    pub after: Option<RangeCursor>,
    /// Most rows.
    pub limit: usize,
}

/// Where a page of a range ended: the order is by start of the span, then by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeCursor {
    /// The last row's start.
    pub span_start: Timestamp,
    /// The last row.
    pub id: EventId,
}

/// The readable, live copies whose span touches the range, by start; spans of all-day and floating events are
/// wider than they are in any one zone, so the caller filters once more. With each the cursor that continues
/// after it.
///
/// # Errors
/// When the database fails.
pub async fn in_range(tx: &Tx, query: &RangeQuery) -> Result<Vec<(RangeCursor, StoredRow)>, StoreError> {
    const OPERATION: &str = "list events in a range";
    if query.calendars.is_empty() {
        return Ok(Vec::new());
    }
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "WITH {{input}} SELECT {COLUMNS}, e.span_start FROM input JOIN events e ON e.calendar_id = input.calendar_id
         WHERE e.organization_id = $1 AND e.state IN (0, 1, 3) AND e.body IS NOT NULL
            AND (e.span_end IS NULL OR e.span_end > $2 OR e.span_start = e.span_end AND e.span_start >= $2)
            AND e.span_start < $3
            AND (e.span_start > $4 OR e.span_start = $4 AND e.id > $5)
         ORDER BY e.span_start, e.id LIMIT $6"
    );
    let after =
        query.after.unwrap_or(RangeCursor { span_start: Timestamp(i64::MIN), id: EventId(Uuid::nil()) });
    let input = Input::new().column("calendar_id", query.calendars.iter().copied());
    let values = values![
        organization,
        query.from.unwrap_or(Timestamp(i64::MIN)),
        query.until.unwrap_or(Timestamp::NEVER),
        after.span_start,
        after.id,
        i64::try_from(query.limit).unwrap_or(i64::MAX),
    ];
    let rows = input.all(tx, OPERATION, &sql, values).await?;
    let starts: HashMap<Uuid, i64> = rows
        .iter()
        .map(|row| Ok((row.get::<Uuid>("id")?, row.get::<i64>("span_start")?)))
        .collect::<Result<_, StoreError>>()?;
    let rows = finish(tx, rows).await?;
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|row| {
            let span_start = Timestamp(starts.get(&row.event.id.0).copied().unwrap_or_default());
            (RangeCursor { span_start, id: row.event.id }, row)
        })
        .collect();
    // SQLite may have been asked in several statements, each of which obeyed the limit.
    rows.sort_by_key(|(cursor, _)| (cursor.span_start, cursor.id));
    rows.truncate(query.limit);
    Ok(rows)
}

/// How many copies a calendar holds, and how many of them cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Live copies.
    pub live: u64,
    /// Those that the provider has or has had: not those that were made here and have not reached it.
    pub delivered: u64,
    /// Those that cannot be read.
    pub unreadable: u64,
    /// Missing ones, which wait for a pass over the connection's calendars.
    pub missing: u64,
}

/// Counts a calendar's copies.
///
/// # Errors
/// When the database fails.
pub async fn count(tx: &Tx, calendar: CalendarId) -> Result<EventCounts, StoreError> {
    const OPERATION: &str = "count the events of a calendar";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT count(CASE WHEN state = 0 THEN 1 END) AS live,
            count(CASE WHEN state = 0 AND (base IS NOT NULL OR edited_at IS NULL) THEN 1 END) AS delivered,
            count(CASE WHEN state = 0 AND problem IS NOT NULL THEN 1 END) AS unreadable,
            count(CASE WHEN state = 1 THEN 1 END) AS missing
         FROM events WHERE organization_id = $1 AND calendar_id = $2";
    let Some(row) = tx.one(OPERATION, sql, values![organization, calendar]).await? else {
        return Ok(EventCounts::default());
    };
    let number = |column| row.get::<i64>(column).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(EventCounts {
        live: number("live")?,
        delivered: number("delivered")?,
        unreadable: number("unreadable")?,
        missing: number("missing")?,
    })
}

/// The calendar's live rows after `after` that were there before `began`, in the order of their ids: what a sweep
/// compares a listing with that began then, and which says nothing of younger ones.
///
/// # Errors
/// When the database fails.
pub async fn known(
    tx: &Tx,
    calendar: CalendarId,
    began: Timestamp,
    after: Option<EventId>,
    limit: usize,
) -> Result<Vec<Known>, StoreError> {
    const OPERATION: &str = "list what is known of a calendar";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT e.id, e.provider_id, e.lock_version, e.settled_at, e.span_end, e.span_start,
            (e.base IS NOT NULL OR EXISTS (SELECT 1 FROM outbox o WHERE o.event_id = e.id
                AND o.state = 'pending')) AS is_pending,
            (e.base IS NULL AND e.edited_at IS NOT NULL) AS is_undelivered
         FROM events e
         WHERE e.organization_id = $1 AND e.calendar_id = $2 AND e.state = 0 AND e.id > $3
            AND e.created_at < $4
         ORDER BY e.id LIMIT $5";
    let after = after.map_or(Uuid::nil(), |id| id.0);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx.all(OPERATION, sql, values![organization, calendar, after, began, limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(Known {
                id: EventId(row.at(0)?),
                provider_id: ProviderId(row.at(1)?),
                lock_version: row.at(2)?,
                settled_at: row.at::<Option<i64>>(3)?.map(Timestamp),
                span_end: row.at::<Option<i64>>(4)?.map(Timestamp),
                span_start: row.at::<Option<i64>>(5)?.map(Timestamp),
                is_pending: row.at(6)?,
                is_undelivered: row.at(7)?,
            })
        })
        .collect()
}

pub(crate) async fn finish(tx: &Tx, rows: Vec<Row>) -> Result<Vec<StoredRow>, StoreError> {
    let mut rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    attach_overrides(tx, &mut rows).await?;
    Ok(rows)
}

fn read(row: &Row) -> Result<StoredRow, StoreError> {
    Ok(StoredRow {
        event: StoredEvent {
            id: EventId(row.get("id")?),
            organization_id: OrganizationId(row.get("organization_id")?),
            calendar_id: CalendarId(row.get("calendar_id")?),
            meeting_id: MeetingId(row.get("meeting_id")?),
            provider_id: ProviderId(row.get("provider_id")?),
            revision: row.get::<Option<String>>("revision")?.map(Revision),
            version: row.numbered("version", |bytes: Vec<u8>| bytes.try_into().ok().map(Version))?,
            lock_version: row.get("lock_version")?,
            event: row.json("body")?,
            base: row.json("base")?,
            edited_at: row.instant("edited_at")?,
            edited_since: row.instant("edited_since")?,
            settled_at: row.instant("settled_at")?,
            is_in_flight: row.get("is_in_flight")?,
            role: row.named("role", role_from_name)?,
            detail: row.named("detail", detail_from_name)?,
        },
        connection_id: ConnectionId(row.get("connection_id")?),
        state: row.numbered("state", EventState::from_code)?,
        instances: BTreeMap::new(),
        problem: row.get("problem")?,
        recheck_at: row.instant("recheck_at")?,
        created_at: Timestamp(row.get("created_at")?),
        updated_at: Timestamp(row.get("updated_at")?),
    })
}

/// Puts the overrides of all series among `rows` back into them, and the objects of instances beside them, in one
/// statement; or none where there is no series, nor an edit of what may have been one.
async fn attach_overrides(tx: &Tx, rows: &mut [StoredRow]) -> Result<(), StoreError> {
    const OPERATION: &str = "load overrides";
    let is_series = |event: &Option<Event>| matches!(event, Some(Event { body: Body::Series(_), .. }));
    let places: HashMap<EventId, usize> = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| is_series(&row.event.event) || is_series(&row.event.base))
        .map(|(index, row)| (row.event.id, index))
        .collect();
    if places.is_empty() {
        return Ok(());
    }
    let organization = tx.organization(OPERATION)?;
    let sql = "WITH {input} SELECT o.event_id, o.recurrence_key, o.body, o.provider_id, o.revision, o.is_said
         FROM input JOIN overrides o ON o.event_id = input.event_id WHERE o.organization_id = $1";
    let input = Input::new().column("event_id", places.keys().copied());
    for found in input.all(tx, OPERATION, sql, values![organization]).await? {
        let key = found.named("recurrence_key", |text| RecurrenceId::from_str(text).ok())?;
        let over = match found.json::<Fields>("body")? {
            Some(fields) => Override::Changed(Box::new(fields)),
            None => Override::Cancelled,
        };
        let row = places.get(&EventId(found.get("event_id")?)).and_then(|index| rows.get_mut(*index));
        let Some(row) = row else { continue };
        if let Some(provider_id) = found.get::<Option<String>>("provider_id")?.map(ProviderId) {
            let revision = found.get::<Option<String>>("revision")?.map(Revision);
            row.instances.insert(key, InstanceRef { provider_id, revision });
        }
        if let (true, Some(Event { body: Body::Series(series), .. })) =
            (found.get("is_said")?, row.event.event.as_mut())
        {
            series.overrides.insert(key, over);
        }
    }
    Ok(())
}

pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Organizer => "organizer",
        Role::Attendee => "attendee",
        Role::None => "none",
    }
}

pub(crate) fn role_from_name(name: &str) -> Option<Role> {
    [Role::Organizer, Role::Attendee, Role::None].into_iter().find(|role| role_name(*role) == name)
}

pub(crate) fn detail_name(detail: DetailLevel) -> &'static str {
    match detail {
        DetailLevel::FreeBusy => "free_busy",
        DetailLevel::Full => "full",
    }
}

fn detail_from_name(name: &str) -> Option<DetailLevel> {
    [DetailLevel::FreeBusy, DetailLevel::Full].into_iter().find(|detail| detail_name(*detail) == name)
}
