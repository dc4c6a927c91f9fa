//! Events and instances as readers see them: what the API and the command line answer.
//!
//! A page holds whole events or instances and the cursor that continues after it; nothing here returns more than
//! it was asked for, however large the calendar.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{CalendarId, DetailLevel, EventId, MeetingId, OrganizationId, RecurrenceId};
use calfleet_domain::recurrence::expand::{Budget, Instance, expand};
use calfleet_store::events::{self, EventState, RangeCursor, RangeQuery, StoredRow};
use calfleet_store::{Scope, Store, StoreError, Tx, unreadable};
use chrono_tz::Tz;
use serde::Serialize;

use crate::standing::{Standing, Standings, SyncView};
use crate::view::{Content, Details, Time, is_all_public, role_name};
use crate::write::Allowed;

/// Most events expanded for one page of instances.
const EVENTS_PER_EXPANSION: usize = 5_000;

/// Most instances looked at for one page of them.
const INSTANCES_PER_EXPANSION: usize = 50_000;

/// A copy of an event, as it is in one calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventView {
    /// The copy.
    pub id: EventId,
    /// The meeting that its copies share.
    pub meeting_id: MeetingId,
    /// Its calendar.
    pub calendar_id: CalendarId,
    /// What it says.
    #[serde(flatten)]
    pub content: Content,
    /// The part that the calendar's owner has in it: `organizer`, `attendee`, `none`.
    pub role: &'static str,
    /// How it stands with its provider.
    pub sync: SyncView,
    /// What may be done with it.
    pub allowed: Allowed,
    /// The application's own key, where it was saved under one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_key: Option<String>,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The provider's id.
    pub provider_event_id: String,
    /// Changes with what the event says; what `If-Match` takes.
    pub etag: String,
}

/// One occurrence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceView {
    /// The copy it belongs to.
    pub event_id: EventId,
    /// The meeting.
    pub meeting_id: MeetingId,
    /// Its calendar.
    pub calendar_id: CalendarId,
    /// The original start, in a series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recurrence_id: Option<RecurrenceId>,
    /// Start as it is written.
    pub start: Time,
    /// End as it is written, exclusive.
    pub end: Time,
    /// Start as an instant (UTC).
    pub starts_at: String,
    /// End as an instant (UTC), exclusive.
    pub ends_at: String,
    /// Whether it departs from its series.
    pub is_override: bool,
    /// What it says.
    #[serde(flatten)]
    pub details: Details,
}

/// A page and where it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// What was asked for.
    pub data: Vec<T>,
    /// Give it back as `cursor` for the next page; `null` on the last.
    pub next_cursor: Option<String>,
    /// `false` when a limit ended the search and there may be more than can be paged through.
    pub is_complete: bool,
}

/// A stretch of time to look for instances in.
#[derive(Debug, Clone)]
pub struct InstancesQuery {
    /// Which calendars.
    pub calendars: Vec<CalendarId>,
    /// From when on.
    pub from: chrono::DateTime<chrono::Utc>,
    /// Until when, exclusive.
    pub until: chrono::DateTime<chrono::Utc>,
    /// The reader's zone: gives dates and floating times their place.
    pub zone: Tz,
    /// Most instances.
    pub limit: usize,
    /// How many instances of the same stretch the pages before held.
    pub offset: usize,
}

/// One event of an organization.
///
/// # Errors
/// When the database fails.
pub async fn event(
    store: &Store,
    organization: OrganizationId,
    id: EventId,
) -> Result<Option<EventView>, StoreError> {
    let tx = store.read(Scope::Organization(organization)).await?;
    let Some(row) = events::load(&tx, id).await?.filter(is_shown) else { return Ok(None) };
    let standing = Standings::read(&tx, &[&row]).await?.of(&row);
    Ok(Some(event_view(&row, standing)))
}

/// The events whose span touches a stretch of time, by start; before them those that were never readable.
///
/// # Errors
/// When the database fails.
pub async fn events(
    store: &Store,
    organization: OrganizationId,
    query: &RangeQuery,
) -> Result<Page<EventView>, StoreError> {
    let tx = store.read(Scope::Organization(organization)).await?;
    let rows = page(&tx, query).await?;
    let is_full = rows.len() == query.limit;
    let next_cursor = rows.last().filter(|_| is_full).map(|(cursor, _)| write_cursor(*cursor));
    let shown: Vec<&StoredRow> = rows.iter().map(|(_, row)| row).collect();
    let standings = Standings::read(&tx, &shown).await?;
    let data = shown.into_iter().map(|row| event_view(row, standings.of(row))).collect();
    Ok(Page { data, next_cursor, is_complete: true })
}

/// Where events stand in a listing of which nobody knows when they take place: before all others, in any stretch.
const NOWHERE: Timestamp = Timestamp(i64::MIN);

/// The rows of a page: first what was never readable, then the rest by start.
async fn page(tx: &Tx, query: &RangeQuery) -> Result<Vec<(RangeCursor, StoredRow)>, StoreError> {
    let mut rows = Vec::new();
    if query.after.is_none_or(|after| after.span_start == NOWHERE) {
        let after = query.after.map(|after| after.id);
        let found = unreadable::never_read(tx, &query.calendars, after, query.limit).await?;
        rows.extend(
            found.into_iter().map(|row| (RangeCursor { span_start: NOWHERE, id: row.event.id }, row)),
        );
    }
    if rows.len() < query.limit {
        let limit = query.limit - rows.len();
        let after = query.after.filter(|after| after.span_start != NOWHERE);
        rows.extend(events::in_range(tx, &RangeQuery { after, limit, ..query.clone() }).await?);
    }
    Ok(rows)
}

/// The instances in a stretch of time, by start.
///
/// # Errors
/// When the database fails.
pub async fn instances(
    store: &Store,
    organization: OrganizationId,
    query: &InstancesQuery,
) -> Result<Page<InstanceView>, StoreError> {
    let tx = store.read(Scope::Organization(organization)).await?;
    let range = RangeQuery {
        calendars: query.calendars.clone(),
        from: Some(Timestamp::from_utc(query.from)),
        until: Some(Timestamp::from_utc(query.until)),
        after: None,
        limit: EVENTS_PER_EXPANSION,
    };
    let rows = events::in_range(&tx, &range).await?;
    drop(tx);
    let mut is_complete = rows.len() < EVENTS_PER_EXPANSION;
    let mut found = Found::default();
    for (_, row) in &rows {
        is_complete &= found.expand(row, query);
        // a deadline of the caller's gets a chance between two events, however dear each of them is
        tokio::task::yield_now().await;
        if found.0.len() >= INSTANCES_PER_EXPANSION {
            is_complete = false;
            break;
        }
    }
    Ok(found.into_page(query, is_complete))
}

/// The instances of one event in a stretch of time.
///
/// # Errors
/// When the database fails.
pub async fn instances_of(
    store: &Store,
    organization: OrganizationId,
    id: EventId,
    query: &InstancesQuery,
) -> Result<Option<Page<InstanceView>>, StoreError> {
    let tx = store.read(Scope::Organization(organization)).await?;
    let Some(row) = events::load(&tx, id).await?.filter(is_shown) else { return Ok(None) };
    drop(tx);
    let mut found = Found::default();
    let is_complete = found.expand(&row, query);
    Ok(Some(found.into_page(query, is_complete)))
}

fn is_shown(row: &StoredRow) -> bool {
    row.state != EventState::Tombstone
}

/// Instances that were found, before any of them is written out: only those of a page are.
#[derive(Default)]
struct Found<'a>(Vec<(&'a StoredRow, Instance<'a>)>);

impl<'a> Found<'a> {
    /// Adds the row's instances; whether all were found within the budget.
    fn expand(&mut self, row: &'a StoredRow, query: &InstancesQuery) -> bool {
        let Some(event) = &row.event.event else { return true };
        let expansion = expand(event, query.from..query.until, query.zone, &Budget::default());
        self.0.extend(expansion.instances.into_iter().map(|instance| (row, instance)));
        expansion.is_complete
    }

    /// The page that was asked for, by start.
    fn into_page(mut self, query: &InstancesQuery, is_complete: bool) -> Page<InstanceView> {
        self.0.sort_by_key(|(row, instance)| (instance.starts_at, row.event.id, instance.recurrence_id));
        let end = query.offset.saturating_add(query.limit);
        let next_cursor = (self.0.len() > end).then(|| end.to_string());
        let shown = self.0.iter().skip(query.offset).take(query.limit);
        let data = shown.map(|(row, instance)| instance_view(row, instance)).collect();
        Page { data, next_cursor, is_complete }
    }
}

fn instance_view(row: &StoredRow, instance: &Instance<'_>) -> InstanceView {
    let stamp = |instant: chrono::DateTime<chrono::Utc>| instant.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    InstanceView {
        event_id: row.event.id,
        meeting_id: row.event.meeting_id,
        calendar_id: row.event.calendar_id,
        recurrence_id: instance.recurrence_id,
        start: Time::from(&instance.start),
        end: Time::from(&instance.end),
        starts_at: stamp(instance.starts_at),
        ends_at: stamp(instance.ends_at),
        is_override: instance.is_override,
        details: Details::of(instance.fields, row.event.detail),
    }
}

/// The entity tag (RFC 9110 §8.8.3) of an event: another one with everything else that the event says, and the same when
/// the provider has only confirmed it. Of what is private, whose hash could be guessed at, another one with every write.
pub fn etag(row: &StoredRow) -> String {
    match &row.event.event {
        Some(event) if row.event.detail == DetailLevel::Full && is_all_public(event) => {
            format!("\"{}\"", row.event.version)
        }
        _ => format!("\"{}\"", row.event.lock_version),
    }
}

fn event_view(row: &StoredRow, standing: Standing) -> EventView {
    let stored = &row.event;
    EventView {
        id: stored.id,
        meeting_id: stored.meeting_id,
        calendar_id: stored.calendar_id,
        content: Content::of(stored.event.as_ref(), stored.detail),
        role: role_name(stored.role),
        sync: standing.sync,
        allowed: standing.allowed,
        app_key: standing.app_key,
        problem: row.problem.clone(),
        provider_event_id: stored.provider_id.0.clone(),
        etag: etag(row),
    }
}

/// A cursor as text.
fn write_cursor(cursor: RangeCursor) -> String {
    format!("{}.{}", cursor.span_start.0, cursor.id.0.simple())
}

/// The cursor of a text that [`events`] gave; `None` for any other text.
pub fn read_cursor(text: &str) -> Option<RangeCursor> {
    let (start, id) = text.split_once('.')?;
    Some(RangeCursor { span_start: Timestamp(start.parse().ok()?), id: EventId(id.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_and_any_other_text_is_none() {
        let cursor = RangeCursor { span_start: Timestamp(-42), id: EventId(uuid::Uuid::from_u128(7)) };

        assert_eq!(read_cursor(&write_cursor(cursor)), Some(cursor));
        for text in ["", ".", "1", "x.y", "1.zz", "99999999999999999999.0"] {
            assert_eq!(read_cursor(text), None, "{text}");
        }
    }
}
