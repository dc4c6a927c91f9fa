//! From what the provider shows to the rows to be written. Pure: the decision is the reconciler's.

use calfleet_domain::clock::{Rng, Timestamp};
use calfleet_domain::model::{Event, EventId, MeetingId, ProviderId, ProviderKind, RemoteEvent, StoredEvent};
use calfleet_domain::reconcile::{Context, Decision, Plan, Remote, found_again, look_again_at, reconcile};
use calfleet_domain::recurrence::span;
use calfleet_providers::naming;
use calfleet_store::apply::{
    CalendarKey, ConflictWrite, Deletion, EventWrite, PageWrites, ReadAgain, RevisionWrite, Touched,
};
use calfleet_store::calendars::Calendar;
use calfleet_store::events::StoredRow;
use calfleet_store::history::{Cause, HistoryWrite};
use serde_json::json;
use uuid::Uuid;

/// Where and when a row is settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The event's calendar.
    pub(super) key: CalendarKey,
    /// The same, as its provider lists it.
    pub(super) calendar: &'a Calendar,
    /// Which provider.
    pub(super) provider: ProviderKind,
    /// For the reconciler.
    pub(super) context: &'a Context,
    /// The instant of the writes.
    pub(super) now: Timestamp,
    /// Where ids of new rows come from.
    pub(super) rng: &'a dyn Rng,
}

/// What the provider shows of an object that was read or written just now.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shown<'a> {
    /// It is there.
    Present(&'a RemoteEvent),
    /// It is not.
    Absent,
}

/// What is to be written about a row.
#[derive(Debug)]
pub(super) struct Settled {
    /// The rows.
    pub(super) writes: PageWrites,
    /// What remains to be done at the provider.
    pub(super) remains: Remains,
}

/// What remains to be done at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remains {
    /// Nothing: both sides agree.
    Nothing,
    /// Local edits that the provider does not have.
    Edits,
    /// A person has to decide first.
    Decision,
}

/// The object was read: local edits meet what is there. That may be what an earlier attempt `sent`, or half of it.
pub(super) fn after_reading(
    row: &StoredRow,
    sent: Option<&Event>,
    shown: Shown<'_>,
    place: &Place<'_>,
) -> Settled {
    let mut base = row.event.base.clone();
    if let (Shown::Present(remote), Some(_), Some(sent)) = (shown, &row.event.event, sent) {
        base = found_again(base, sent, &remote.event);
    }
    settled(row, base, shown, place)
}

/// The object was written so that it says `sent`; it reads as `shown` now. What was edited since `sent` remains.
pub(super) fn after_writing(
    row: &StoredRow,
    sent: Option<&Event>,
    shown: Shown<'_>,
    place: &Place<'_>,
) -> Settled {
    let base = match (shown, &row.event.event) {
        // Deleted here meanwhile: what is there now is what the deletion is about.
        (Shown::Present(remote), None) => Some(remote.event.clone()),
        _ => sent.cloned(),
    };
    let mut settled = settled(row, base, shown, place);
    settled.writes.settled.push(row.event.id);
    if sent.is_none() && matches!(shown, Shown::Absent) {
        // Brought back here while it was being deleted there: it is made again, and not under the dead name.
        for write in &mut settled.writes.updates {
            write.provider_id = new_name(place);
        }
    }
    settled
}

/// Puts what is to be written about another row beside it.
pub(super) fn join(writes: &mut PageWrites, other: PageWrites) {
    let PageWrites { updates, revisions, deletions, settled, read_again, history, conflicts, .. } = other;
    writes.updates.extend(updates);
    writes.revisions.extend(revisions);
    writes.deletions.extend(deletions);
    writes.settled.extend(settled);
    writes.read_again.extend(read_again);
    writes.history.extend(history);
    writes.conflicts.extend(conflicts);
}

fn settled(row: &StoredRow, base: Option<Event>, shown: Shown<'_>, place: &Place<'_>) -> Settled {
    // The question whether this row is in flight is the one that is being answered.
    let stored = StoredEvent { base, is_in_flight: false, settled_at: None, ..row.event.clone() };
    let remote = match shown {
        Shown::Present(remote) => Remote::Present(remote),
        Shown::Absent => Remote::Deleted,
    };
    let plan = reconcile(Some(&stored), &remote, place.context);
    let mut writes = PageWrites::default();
    let remains = remains(&plan);
    if let Some(draft) = &plan.conflict {
        let id = fresh(place);
        writes.conflicts.push(ConflictWrite { id, event: row.event.id, draft: draft.clone() });
    }
    write_row(row, shown, &plan, place, &mut writes);
    note(row.event.id, &plan, place, &mut writes);
    Settled { writes, remains }
}

fn write_row(row: &StoredRow, shown: Shown<'_>, plan: &Plan, place: &Place<'_>, writes: &mut PageWrites) {
    // Where a person has to decide about what is gone there, nothing else marks the row as ours.
    let is_pending = plan.must_push || plan.base.is_some() || plan.conflict.is_some();
    let edited_at = row.event.edited_at.filter(|_| is_pending);
    let Some(event) = &plan.event else {
        let deletion = Deletion { row: touched(row), base: plan.base.clone(), edited_at };
        writes.deletions.push(deletion);
        if let (Shown::Present(remote), true) = (shown, plan.must_push) {
            // The deletion is of what is there now.
            let (revision, raw) = (remote.revision.clone(), remote.raw.clone());
            writes.revisions.push(RevisionWrite { row: touched(row), revision, raw });
        }
        return;
    };
    let reach = span(event);
    let mut write = EventWrite {
        id: row.event.id,
        lock_version: row.event.lock_version,
        calendar: place.key,
        meeting_id: MeetingId::of(place.key.organization_id, &event.uid),
        uid: event.uid.clone(),
        provider_id: row.event.provider_id.clone(),
        event: Some(event.clone()),
        base: plan.base.clone(),
        version: plan.version.unwrap_or(row.event.version),
        revision: row.event.revision.clone(),
        role: row.event.role,
        detail: plan.detail,
        problem: None,
        span_start: Some(reach.start),
        span_end: reach.end,
        edited_at,
        raw: None,
        instances: row.instances.clone(),
    };
    match shown {
        Shown::Present(remote) => {
            write.provider_id = remote.provider_id.clone();
            write.revision.clone_from(&remote.revision);
            write.role = remote.role;
            write.raw.clone_from(&remote.raw);
            write.instances.clone_from(&remote.instances);
        }
        Shown::Absent if plan.must_push && plan.base.is_none() => {
            // Made again under a new name: the old one stays that of what was deleted there.
            if plan.decision == Decision::Revive {
                write.provider_id = new_name(place);
            }
            write.revision = None;
            write.instances.clear();
        }
        Shown::Absent => {}
    }
    if let (Shown::Present(_), Remains::Nothing) = (shown, remains(plan))
        && let Some(at) = look_again_at(event, place.now, place.now)
    {
        writes.read_again.push(ReadAgain { id: row.event.id, at });
    }
    writes.updates.push(write);
}

fn remains(plan: &Plan) -> Remains {
    match plan.decision {
        Decision::Conflict => Remains::Decision,
        _ if plan.must_push => Remains::Edits,
        _ => Remains::Nothing,
    }
}

/// What differs afterwards from what we held, or lost: otherwise the history says it all already.
fn note(event: EventId, plan: &Plan, place: &Place<'_>, writes: &mut PageWrites) {
    if plan.changes.is_empty() && plan.loser.is_none() {
        return;
    }
    let changes = json!({ "reason": plan.reason, "fields": plan.changes, "loser": plan.loser });
    let decision = match plan.decision {
        Decision::TakeDeletion => "take_deletion",
        Decision::Merge => "merge",
        Decision::Revive => "revive",
        Decision::Conflict => "conflict",
        _ => "take",
    };
    let id = fresh(place);
    writes.history.push(HistoryWrite { id, event: Some(event), cause: Cause::Push, decision, changes });
}

fn new_name(place: &Place<'_>) -> ProviderId {
    naming::names(place.provider, &place.calendar.remote.provider_id, EventId(fresh(place))).provider_id
}

fn touched(row: &StoredRow) -> Touched {
    Touched { id: row.event.id, lock_version: row.event.lock_version }
}

fn fresh(place: &Place<'_>) -> Uuid {
    place.rng.uuid(place.now)
}
