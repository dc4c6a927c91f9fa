//! What a page becomes: from what a provider shows and what we hold to the rows to be written. Pure.
//!
//! The decision about one copy is the reconciler's; this module finds the copy that a change is about, and turns
//! decisions into writes:
//!
//! - What was made by us under a name of ours, and bears its provider's now, is the row of that name.
//! - An id that is known is that row, whatever its state: a tombstone or a missing row that is shown again comes
//!   back as itself.
//! - An unknown id whose UID went missing elsewhere in the connection, or in this very page, is a **move**: the
//!   row is re-pointed and keeps its history, links and pending edits. A removal whose UID has just appeared
//!   elsewhere is the same move seen in the other order: the older row **adopts** the newer one's place.
//! - Any other removal makes a row *missing*; it becomes a tombstone when a pass over the connection's calendars
//!   has not found it (see [`super`]).
//! - What cannot be read keeps what we knew of it and notes the problem; it is never a deletion, and never in the
//!   way of its neighbours.
//! - An id named twice counts once, as it was named last; parts of series are folded into them first
//!   ([`super::series`])

use std::collections::{HashMap, HashSet};

use calfleet_domain::clock::{Rng, Timestamp};
use calfleet_domain::model::{
    DetailLevel, Event, EventId, MeetingId, ProviderId, RemoteChange, RemoteEvent, Revision, Role, Uid,
    Version,
};
use calfleet_domain::reconcile::diff::changes;
use calfleet_domain::reconcile::{Context, Decision, Plan, Remote, look_again_at, reconcile};
use calfleet_domain::recurrence::span;
use calfleet_store::apply::{
    Adoption, CalendarKey, ConflictWrite, Deletion, EventWrite, OccurrenceWrite, PageWrites, ReadAgain,
    RevisionWrite, Touched,
};
use calfleet_store::events::{EventState, StoredRow};
use calfleet_store::history::{Cause, HistoryWrite};
use serde_json::json;
use uuid::Uuid;

use super::WITHHELD_FOR;
use super::counts::Counts;
use super::series::{Folded, fold};

/// What we hold that a page may be about.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The calendar's rows of the page's ids.
    pub(super) rows: HashMap<ProviderId, StoredRow>,
    /// Series of which an instance was removed under an id of its own.
    pub(super) bereft: Vec<StoredRow>,
    /// Rows of the connection that are missing where they were, and rows whose meeting the page's removals are
    /// about and that appeared since the calendar was last fresh.
    pub(super) elsewhere: Vec<StoredRow>,
}

/// Under which circumstances a page is planned.
#[derive(Debug)]
pub(super) struct Circumstances<'a> {
    /// The calendar the page is about.
    pub(super) calendar: CalendarKey,
    /// For the reconciler; `requested_at` is the page's.
    pub(super) context: Context,
    /// Why we looked.
    pub(super) cause: Cause,
    /// The instant of the writes.
    pub(super) now: Timestamp,
    /// Where ids of new rows come from.
    pub(super) rng: &'a dyn Rng,
}

/// What a page becomes.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// The rows to be written.
    pub(super) writes: PageWrites,
    /// What that changes.
    pub(super) counts: Counts,
}

/// Plans a page.
pub(super) fn plan(changes: &[RemoteChange], held: Held, circumstances: &Circumstances<'_>) -> Planned {
    let Folded { changes: current, doubtful } = fold(changes, &held.rows);
    let mut planner = Planner { circumstances, held, doubtful, planned: Planned::default() };
    planner.occurrences(changes);
    // Removals first, so that an object renamed inside the page is found missing when its new name comes.
    for change in &current {
        if let RemoteChange::Removed { provider_id } = change.as_ref() {
            planner.removed(provider_id);
        }
    }
    for change in &current {
        match change.as_ref() {
            // Folded into their series before a page is planned.
            RemoteChange::Instance(_)
            | RemoteChange::Occurrence { .. }
            | RemoteChange::Removed { .. }
            | RemoteChange::Unlisted { .. } => {}
            RemoteChange::Upsert(remote) => planner.shown(remote),
            RemoteChange::Unreadable { provider_id, revision, reason, raw } => {
                planner.unreadable(provider_id, revision.as_ref(), reason, raw.as_deref());
            }
            RemoteChange::Withheld { provider_id, reason } => planner.withheld(provider_id, reason),
        }
    }
    planner.finish()
}

struct Planner<'a> {
    circumstances: &'a Circumstances<'a>,
    held: Held,
    /// Known series that are to be read singly, whatever this page makes of them.
    doubtful: HashSet<ProviderId>,
    planned: Planned,
}

impl Planner<'_> {
    fn occurrences(&mut self, changes: &[RemoteChange]) {
        for change in changes {
            if let RemoteChange::Occurrence { provider_id, series_id } = change {
                let (provider_id, series_id) = (provider_id.clone(), series_id.clone());
                self.planned.writes.occurrences.push(OccurrenceWrite { provider_id, series_id });
            }
        }
        for row in std::mem::take(&mut self.held.bereft) {
            self.recheck(&row);
        }
    }

    fn shown(&mut self, remote: &RemoteEvent) {
        if self.doubtful.remove(&remote.provider_id)
            && let Some(row) = self.held.rows.get(&remote.provider_id).cloned()
        {
            self.recheck(&row);
        }
        let former = remote.created_as.as_ref();
        let held = self.held.rows.remove(&remote.provider_id);
        match held.or_else(|| self.held.rows.remove(former?)) {
            Some(row) => self.known(&row, remote),
            None => match self.take_missing(&remote.event.uid) {
                Some(row) => self.moved(&row, remote),
                None => self.unknown(remote),
            },
        }
    }

    fn unknown(&mut self, remote: &RemoteEvent) {
        let mut plan = reconcile(None, &Remote::Present(remote), &self.circumstances.context);
        let id = self.fresh_id();
        let Some(write) = self.event_write(EventId(id), 0, remote, &mut plan, None) else { return };
        self.read_again(write.id, write.event.as_ref(), self.circumstances.now);
        self.planned.writes.inserts.push(write);
        self.planned.counts.inserted += 1;
        if self.circumstances.cause != Cause::Import {
            self.note(EventId(id), &plan, None);
        }
    }

    fn known(&mut self, row: &StoredRow, remote: &RemoteEvent) {
        let mut plan = reconcile(Some(&row.event), &Remote::Present(remote), &self.circumstances.context);
        match plan.decision {
            Decision::Stale => self.recheck(row),
            _ if is_echo(row, remote, &plan) => self.echo(row, remote),
            Decision::Nothing => self.refresh(row, remote, &mut plan),
            _ => self.update(row, remote, &mut plan),
        }
    }

    /// Nothing changed; but bookkeeping may have: the revision, or whether it is to be read singly.
    fn echo(&mut self, row: &StoredRow, remote: &RemoteEvent) {
        self.planned.counts.unchanged += 1;
        if row.event.revision != remote.revision {
            self.planned.writes.revisions.push(RevisionWrite {
                row: touched(row),
                revision: remote.revision.clone(),
                raw: remote.raw.clone(),
            });
        }
        if self.is_awaited(row) {
            self.planned.writes.looked_at.push(touched(row));
            self.read_again(row.event.id, row.event.event.as_ref(), since(row));
        }
    }

    /// The same where this listing disproves the state that it was in, or shows another role or other objects.
    fn refresh(&mut self, row: &StoredRow, remote: &RemoteEvent, plan: &mut Plan) {
        self.planned.counts.unchanged += 1;
        if let Some(write) = self.event_write(row.event.id, row.event.lock_version, remote, plan, Some(row)) {
            self.overwrite(row, write);
        }
    }

    /// Whether the row is to be read singly by now.
    fn is_awaited(&self, row: &StoredRow) -> bool {
        row.recheck_at.is_some_and(|at| at <= self.circumstances.now)
    }

    /// Writes a row over, and has it read again where its provider is not done with it.
    fn overwrite(&mut self, row: &StoredRow, write: EventWrite) {
        self.read_again(write.id, write.event.as_ref(), since(row));
        self.planned.writes.updates.push(write);
    }

    fn read_again(&mut self, id: EventId, event: Option<&Event>, since: Timestamp) {
        let now = self.circumstances.now;
        if let Some(at) = event.and_then(|event| look_again_at(event, since, now)) {
            self.planned.writes.read_again.push(ReadAgain { id, at });
        }
    }

    fn update(&mut self, row: &StoredRow, remote: &RemoteEvent, plan: &mut Plan) {
        if let Some(draft) = plan.conflict.take() {
            let id = self.fresh_id();
            self.planned.writes.conflicts.push(ConflictWrite { id, event: row.event.id, draft });
        }
        let Some(write) = self.event_write(row.event.id, row.event.lock_version, remote, plan, Some(row))
        else {
            // Deleted here and not yet there: the deletion waits in the outbox or for a person, and is of what is
            // there now.
            if plan.loser.is_some() {
                self.note(row.event.id, plan, None);
            }
            let (row, edited_at) = (touched(row), row.event.edited_at);
            let (revision, raw) = (remote.revision.clone(), remote.raw.clone());
            self.planned.writes.deletions.push(Deletion { row, base: plan.base.take(), edited_at });
            self.planned.writes.revisions.push(RevisionWrite { row, revision, raw });
            return;
        };
        self.overwrite(row, write);
        self.planned.counts.updated += 1;
        self.note(row.event.id, plan, None);
    }

    fn moved(&mut self, row: &StoredRow, remote: &RemoteEvent) {
        let mut plan = reconcile(Some(&row.event), &Remote::Present(remote), &self.circumstances.context);
        if let Some(write) =
            self.event_write(row.event.id, row.event.lock_version, remote, &mut plan, Some(row))
        {
            self.planned.writes.missing.retain(|missing| missing.id != row.event.id);
            self.overwrite(row, write);
            self.planned.counts.moved += 1;
            let from = (&row.event.calendar_id, &row.event.provider_id);
            self.note(row.event.id, &plan, Some(json!({ "from": from })));
        }
    }

    fn removed(&mut self, provider_id: &ProviderId) {
        let Some(row) = self.held.rows.get(provider_id) else { return };
        if !matches!(row.state, EventState::Live | EventState::OutOfWindow) {
            return;
        }
        let plan = reconcile(Some(&row.event), &Remote::Deleted, &self.circumstances.context);
        match plan.decision {
            Decision::Stale => {
                let row = row.clone();
                self.recheck(&row);
            }
            Decision::TakeDeletion => self.gone(provider_id),
            // The other decisions leave our side as it is: its edits are pushed, or a person decides.
            _ if self.is_awaited(row) => self.planned.writes.looked_at.push(touched(row)),
            _ => {}
        }
    }

    /// Missing where it was; unless it has already been seen in another place.
    fn gone(&mut self, provider_id: &ProviderId) {
        let Some(row) = self.held.rows.remove(provider_id) else { return };
        let since = self.circumstances.context.listed_without_at.unwrap_or(Timestamp::ZERO);
        let newer = self.held.elsewhere.iter().position(|other| is_new_place(&row, other, since));
        if let Some(index) = newer {
            let other = self.held.elsewhere.swap_remove(index);
            let from = (&row.event.calendar_id, &row.event.provider_id);
            let to = (&other.event.calendar_id, &other.event.provider_id);
            let fields = match row.event.base {
                None => changes(row.event.event.as_ref(), other.event.event.as_ref()),
                Some(_) => Vec::new(),
            };
            let changes = json!({ "from": from, "to": to, "fields": fields });
            self.planned.writes.adoptions.push(Adoption { row: touched(&row), place: touched(&other) });
            self.planned.counts.moved += 1;
            self.write_history(Some(row.event.id), "move", changes);
            return;
        }
        self.planned.writes.missing.push(touched(&row));
        self.planned.counts.missing += 1;
        self.held.elsewhere.push(StoredRow { state: EventState::Missing, ..row });
    }

    fn unreadable(
        &mut self,
        provider_id: &ProviderId,
        revision: Option<&Revision>,
        reason: &str,
        raw: Option<&str>,
    ) {
        self.planned.counts.unreadable += 1;
        let row = self.held.rows.remove(provider_id);
        if row.as_ref().is_some_and(|row| is_same_problem(row, revision, reason)) {
            return;
        }
        self.note_problem(provider_id, row.as_ref(), revision, (reason, raw));
    }

    /// Keeps what is known under the revision that it has, and has it read again.
    fn withheld(&mut self, provider_id: &ProviderId, reason: &str) {
        self.planned.counts.unreadable += 1;
        let row = self.held.rows.remove(provider_id);
        let revision = row.as_ref().and_then(|row| row.event.revision.as_ref());
        let (id, wait) = match row.as_ref() {
            Some(row) if row.problem.as_deref() == Some(reason) => (row.event.id, WITHHELD_FOR.1),
            row => (self.note_problem(provider_id, row, revision, (reason, None)), WITHHELD_FOR.0),
        };
        self.planned.writes.read_again.push(ReadAgain { id, at: self.circumstances.now.plus(wait) });
    }

    /// Writes down why a row, perhaps a new one, cannot be brought up to date.
    fn note_problem(
        &mut self,
        provider_id: &ProviderId,
        row: Option<&StoredRow>,
        revision: Option<&Revision>,
        (reason, raw): (&str, Option<&str>),
    ) -> EventId {
        let stored = row.map(|row| &row.event);
        let event = stored.and_then(|stored| stored.event.clone());
        let reach = event.as_ref().map(span);
        let uid = event.as_ref().map_or_else(|| Uid(String::new()), |event| event.uid.clone());
        let write = EventWrite {
            id: stored.map_or_else(|| EventId(self.fresh_id()), |stored| stored.id),
            lock_version: stored.map_or(0, |stored| stored.lock_version),
            calendar: self.circumstances.calendar,
            meeting_id: stored.map_or(MeetingId(Uuid::nil()), |stored| stored.meeting_id),
            uid,
            provider_id: provider_id.clone(),
            span_start: reach.as_ref().map(|reach| reach.start),
            span_end: reach.as_ref().and_then(|reach| reach.end),
            base: stored.and_then(|stored| stored.base.clone()),
            version: stored.map_or(Version([0; 16]), |stored| stored.version),
            revision: revision.cloned(),
            role: stored.map_or(Role::None, |stored| stored.role),
            detail: stored.map_or(DetailLevel::Full, |stored| stored.detail),
            problem: Some(reason.to_owned()),
            edited_at: stored.and_then(|stored| stored.edited_at),
            raw: raw.map(str::to_owned),
            instances: row.map(|row| row.instances.clone()).unwrap_or_default(),
            event,
        };
        let id = write.id;
        match row {
            Some(_) => self.planned.writes.updates.push(write),
            None => self.planned.writes.inserts.push(write),
        }
        id
    }

    fn recheck(&mut self, row: &StoredRow) {
        self.planned.counts.rechecked += 1;
        if row.recheck_at != Some(Timestamp::ZERO) {
            self.planned.writes.recheck.push(touched(row));
        }
    }

    /// The row as it is after `plan`, whose event it takes; `None` when nothing remains of it on our side.
    fn event_write(
        &self,
        id: EventId,
        lock_version: i64,
        remote: &RemoteEvent,
        plan: &mut Plan,
        row: Option<&StoredRow>,
    ) -> Option<EventWrite> {
        let event: Event = plan.event.take()?;
        let version = plan.version?;
        let reach = span(&event);
        let is_pending = plan.must_push || plan.base.is_some();
        Some(EventWrite {
            id,
            lock_version,
            calendar: self.circumstances.calendar,
            meeting_id: MeetingId::of(self.circumstances.calendar.organization_id, &event.uid),
            uid: event.uid.clone(),
            provider_id: remote.provider_id.clone(),
            span_start: Some(reach.start),
            span_end: reach.end,
            event: Some(event),
            base: plan.base.take(),
            version,
            revision: remote.revision.clone(),
            role: remote.role,
            detail: plan.detail,
            problem: None,
            edited_at: row.and_then(|row| row.event.edited_at).filter(|_| is_pending),
            raw: remote.raw.clone(),
            instances: remote.instances.clone(),
        })
    }

    fn take_missing(&mut self, uid: &Uid) -> Option<StoredRow> {
        let same = |row: &StoredRow| {
            let held = row.event.event.as_ref();
            row.state == EventState::Missing
                && held.is_some_and(|event| event.uid.normalised() == uid.normalised())
        };
        let index = self.held.elsewhere.iter().position(same)?;
        Some(self.held.elsewhere.swap_remove(index))
    }

    fn note(&mut self, event: EventId, plan: &Plan, moved: Option<serde_json::Value>) {
        let decision = if moved.is_some() { "move" } else { decision_name(plan.decision) };
        let mut changes = json!({ "reason": plan.reason });
        if let Some(object) = changes.as_object_mut() {
            if let Some(moved) = moved {
                object.insert("moved".to_owned(), moved);
            }
            if !plan.changes.is_empty() {
                object.insert("fields".to_owned(), json!(plan.changes));
            }
            if let Some(loser) = &plan.loser {
                object.insert("loser".to_owned(), json!(loser));
            }
        }
        self.write_history(Some(event), decision, changes);
    }

    fn write_history(&mut self, event: Option<EventId>, decision: &'static str, changes: serde_json::Value) {
        let id = self.fresh_id();
        self.planned.writes.history.push(HistoryWrite {
            id,
            event,
            cause: self.circumstances.cause,
            decision,
            changes,
        });
    }

    fn fresh_id(&self) -> Uuid {
        self.circumstances.rng.uuid(self.circumstances.now)
    }

    /// A first import leaves one compact row a page in the history, not one an event.
    fn finish(mut self) -> Planned {
        let imported = self.planned.writes.inserts.len();
        if self.circumstances.cause == Cause::Import && imported > 0 {
            self.write_history(None, "import", json!({ "imported": imported }));
        }
        self.planned
    }
}

/// Whether a row stays as it is: both sides say what they said, and edits of ours wait against just what is there,
/// stamps and all, because a write goes by those of its base.
fn is_echo(row: &StoredRow, remote: &RemoteEvent, plan: &Plan) -> bool {
    let is_settled = (row.state == EventState::Live || row.event.event.is_none()) && row.problem.is_none();
    let is_seen_as_before =
        row.event.role == remote.role && row.event.detail == plan.detail && row.instances == remote.instances;
    plan.is_idle() && row.event.base == plan.base && is_settled && is_seen_as_before
}

/// Since when the provider has had it.
fn since(row: &StoredRow) -> Timestamp {
    row.event.settled_at.unwrap_or(row.created_at)
}

/// Whether `other` is where `row` went: the same meeting, live, first seen since `row` was last seen in its place,
/// and untouched by us. A copy that has long been beside it stays a copy.
fn is_new_place(row: &StoredRow, other: &StoredRow, since: Timestamp) -> bool {
    other.state == EventState::Live
        && other.event.meeting_id == row.event.meeting_id
        && other.event.id != row.event.id
        && other.event.base.is_none()
        && !other.event.is_in_flight
        && other.created_at >= since
        && other.created_at > row.created_at
}

fn is_same_problem(row: &StoredRow, revision: Option<&Revision>, reason: &str) -> bool {
    row.problem.as_deref() == Some(reason)
        && revision.is_some()
        && row.event.revision.as_ref() == revision
        && row.state == EventState::Live
        && row.recheck_at.is_none()
}

fn touched(row: &StoredRow) -> Touched {
    Touched { id: row.event.id, lock_version: row.event.lock_version }
}

fn decision_name(decision: Decision) -> &'static str {
    match decision {
        Decision::Insert => "insert",
        Decision::Nothing => "nothing",
        Decision::Take => "take",
        Decision::TakeDeletion => "take_deletion",
        Decision::Push => "push",
        Decision::PushDeletion => "push_deletion",
        Decision::Agree => "agree",
        Decision::Merge => "merge",
        Decision::Revive => "revive",
        Decision::Conflict => "conflict",
        Decision::Stale => "stale",
    }
}
