//! The one transaction of a write: events, history, intents and the ask for the job, together or not at all.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::job::{Ask, Asker, Kind, Lane, WorkKey};
use calfleet_domain::model::{
    ConflictId, DetailLevel, Event, EventId, MeetingId, Notify, Operation, OrganizationId, OutboxId,
    ProviderId, Role,
};
use calfleet_domain::reconcile::version;
use calfleet_domain::recurrence::span;
use calfleet_domain::recurrence::zone::DATA_VERSION;
use calfleet_store::apply::{self, Applied, CalendarKey, Deletion, EventWrite, PageWrites, Stamp, Touched};
use calfleet_store::events::StoredRow;
use calfleet_store::history::{Cause, CauseId, HistoryWrite};
use calfleet_store::outbox::{self, OutboxEntry, OutboxState};
use calfleet_store::{StoreError, Tx, work};
use serde_json::{Value, json};

use super::permit::Place;
use super::plan::Plan;
use super::scope::Reach;
use crate::service::{Actor, Service};

/// Writes of people go before those of programs that nobody waits for.
const URGENCY: i16 = 0;

/// How a write is to be done.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Whose event.
    pub organization_id: OrganizationId,
    /// Who wants it.
    pub actor: Actor,
    /// Whom the provider may mail.
    pub notify: Notify,
    /// What is said to those who are mailed, where the provider can carry it.
    pub message: Option<String>,
    /// The key under which a repeated request is answered as the first one was.
    pub idempotency_key: Option<String>,
    /// What the request is called in the history.
    pub request_id: Option<String>,
    /// What the event's [`etag`](crate::read::etag) has to be; `None` is any.
    pub expected: Option<String>,
    /// Whether it is done, or only said what would be.
    pub mode: Mode,
}

impl Terms {
    /// A person's write: the guests are told.
    pub fn of_person(organization_id: OrganizationId, actor: Actor) -> Self {
        Self {
            organization_id,
            actor,
            notify: Notify::All,
            message: None,
            idempotency_key: None,
            request_id: None,
            expected: None,
            mode: Mode::Store,
        }
    }
}

/// Whether a write is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    Store,
    /// Nothing is stored: the same checks and the same plan are answered.
    Explain,
}

/// One row that is written.
pub(super) struct RowWrite {
    pub(super) row: RowChange,
    pub(super) operation: Operation,
    pub(super) reach: Reach,
    /// What the history calls it.
    pub(super) decision: &'static str,
    /// What the history says besides.
    pub(super) note: Value,
    /// The conflict that it decides, and the side that is kept.
    pub(super) resolves: Option<(ConflictId, &'static str)>,
}

/// What happens to a row.
pub(super) enum RowChange {
    /// It is new.
    Insert { id: EventId, provider_id: ProviderId, event: Event },
    /// It says something else.
    Update { row: Box<StoredRow>, event: Event },
    /// It is deleted.
    Delete { row: Box<StoredRow> },
    /// It says what the provider has: nothing is to be told, and what was is withdrawn.
    Agree { row: Box<StoredRow>, event: Option<Event> },
}

impl RowChange {
    pub(super) fn id(&self) -> EventId {
        match self {
            Self::Insert { id, .. } => *id,
            Self::Update { row, .. } | Self::Delete { row } | Self::Agree { row, .. } => row.event.id,
        }
    }
}

/// What came of the transaction so far.
pub(super) enum Written {
    /// Everything is written; the intents, in order.
    Done(Vec<OutboxId>),
    /// Somebody else changed the event: read again.
    Outdated,
    /// Another request with the same key was faster.
    Repeated,
}

impl Service {
    /// Writes the rows, their history and their intents, and asks for the push; the caller commits. The key of the
    /// request goes with the last of the intents.
    pub(super) async fn write_rows(
        &self,
        tx: &Tx,
        place: &Place,
        rows: &[RowWrite],
        plan: &Plan,
        terms: &Terms,
    ) -> Result<Written, StoreError> {
        let now = self.now();
        let calendar = CalendarKey {
            organization_id: terms.organization_id,
            connection_id: place.connection.id,
            calendar_id: place.calendar.id,
        };
        let writes = self.page(calendar, rows, plan, terms, now);
        let cause_id = terms.request_id.as_deref().map(CauseId::Request);
        let stamp = Stamp { now, requested_at: now, zone_data: DATA_VERSION, cause_id };
        if apply::apply(tx, calendar, &writes, &stamp).await? == Applied::Outdated {
            return Ok(Written::Outdated);
        }
        let mut intents = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let is_last = index + 1 == rows.len();
            if matches!(row.row, RowChange::Agree { .. }) {
                outbox::withdraw(tx, row.row.id(), now).await?;
                continue;
            }
            let entry = OutboxEntry {
                id: self.id(),
                connection_id: calendar.connection_id,
                calendar_id: calendar.calendar_id,
                event_id: row.row.id(),
                operation: row.operation,
                scope: row.reach.scope,
                recurrence_id: row.reach.recurrence_id,
                notify: terms.notify,
                message: terms.message.clone(),
                urgency: URGENCY,
                idempotency_key: terms.idempotency_key.clone().filter(|_| is_last),
                state: OutboxState::Pending,
                received_at: now,
                sent_at: None,
                answered_at: None,
                not_before: Timestamp::ZERO,
                attempt: 0,
                class: None,
                problem: None,
            };
            if !outbox::append(tx, &entry).await? {
                return Ok(Written::Repeated);
            }
            intents.push(entry.id);
        }
        if !intents.is_empty() {
            work::ask(tx, &[push_ask(calendar, now)]).await?;
        }
        Ok(Written::Done(intents))
    }

    fn page(
        &self,
        calendar: CalendarKey,
        rows: &[RowWrite],
        plan: &Plan,
        terms: &Terms,
        now: Timestamp,
    ) -> PageWrites {
        let mut page = PageWrites::default();
        for (row, planned) in rows.iter().zip(&plan.writes) {
            match &row.row {
                RowChange::Insert { id, provider_id, event } => {
                    page.inserts.push(inserted(calendar, *id, provider_id, event, now));
                }
                RowChange::Update { row, event } => page.updates.push(updated(calendar, row, event, now)),
                RowChange::Delete { row } => page.deletions.push(deleted(row, now)),
                RowChange::Agree { row, event: Some(event) } => {
                    let write = updated(calendar, row, event, now);
                    page.updates.push(EventWrite { base: None, edited_at: None, ..write });
                }
                RowChange::Agree { row, event: None } => {
                    page.deletions.push(Deletion { base: None, edited_at: None, ..deleted(row, now) });
                }
            }
            page.resolutions.extend(row.resolves);
            let mut changes = json!({
                "reason": "requested",
                "actor": terms.actor.0,
                "scope": row.reach.scope,
                "recurrence_id": row.reach.recurrence_id,
                "notify": terms.notify,
                "fields": planned.fields,
                "lost": plan.lost,
            });
            if let (Some(changes), Some(note)) = (changes.as_object_mut(), row.note.as_object()) {
                changes.extend(note.clone());
                changes.retain(|_, value| !value.is_null());
            }
            page.history.push(HistoryWrite {
                id: self.id(),
                event: Some(row.row.id()),
                cause: Cause::Request,
                decision: row.decision,
                changes,
            });
        }
        page
    }
}

/// An ask, by a person, for a connection's outbox to be sent.
pub(super) fn push_ask(calendar: CalendarKey, now: Timestamp) -> Ask {
    Ask {
        key: WorkKey { kind: Kind::Push, target: calendar.connection_id.0 },
        organization_id: calendar.organization_id,
        connection_id: Some(calendar.connection_id),
        lane: Lane::Interactive,
        at: now,
        asker: Asker::Person,
    }
}

fn inserted(
    calendar: CalendarKey,
    id: EventId,
    provider_id: &ProviderId,
    event: &Event,
    now: Timestamp,
) -> EventWrite {
    let span = span(event);
    EventWrite {
        id,
        lock_version: 0,
        calendar,
        meeting_id: MeetingId::of(calendar.organization_id, &event.uid),
        uid: event.uid.clone(),
        provider_id: provider_id.clone(),
        event: Some(event.clone()),
        base: None,
        version: version::of(event),
        revision: None,
        role: Role::Organizer,
        detail: DetailLevel::Full,
        problem: None,
        span_start: Some(span.start),
        span_end: span.end,
        edited_at: Some(now),
        raw: None,
        instances: std::collections::BTreeMap::new(),
    }
}

fn updated(calendar: CalendarKey, row: &StoredRow, event: &Event, now: Timestamp) -> EventWrite {
    let held = &row.event;
    let span = span(event);
    EventWrite {
        id: held.id,
        lock_version: held.lock_version,
        calendar,
        meeting_id: held.meeting_id,
        uid: event.uid.clone(),
        provider_id: held.provider_id.clone(),
        event: Some(event.clone()),
        base: agreed(row),
        version: version::of(event),
        revision: held.revision.clone(),
        role: held.role,
        detail: held.detail,
        problem: None,
        span_start: Some(span.start),
        span_end: span.end,
        edited_at: Some(now),
        raw: None,
        instances: row.instances.clone(),
    }
}

fn deleted(row: &StoredRow, now: Timestamp) -> Deletion {
    let touched = Touched { id: row.event.id, lock_version: row.event.lock_version };
    Deletion { row: touched, base: agreed(row), edited_at: Some(now) }
}

/// What both sides last agreed on: what an earlier edit that is still pending started from, else what is there. Nothing
/// was ever agreed on about an event that the provider has not heard of.
fn agreed(row: &StoredRow) -> Option<Event> {
    match row.event.edited_at {
        Some(_) => row.event.base.clone(),
        None => row.event.event.clone(),
    }
}
