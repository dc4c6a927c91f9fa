//! The decision table: what we hold and what the provider shows → what is to be done, as a value.
//!
//! | local vs base | remote vs base | decision |
//! |---|---|---|
//! | same | same | [`Decision::Nothing`] |
//! | same | changed / deleted | [`Decision::Take`] / [`Decision::TakeDeletion`] |
//! | changed / deleted | same | [`Decision::Push`] / [`Decision::PushDeletion`] |
//! | changed | changed to the same | [`Decision::Agree`] |
//! | changed | changed | [`Decision::Merge`], or `Take` / `Push` where one side won throughout |
//! | deleted | changed, or the other way round | the winner's: `TakeDeletion`, `PushDeletion` or [`Decision::Revive`] |
//!
//! A contest that the policy leaves to a person is a [`Decision::Conflict`].

use std::borrow::Cow;

use super::contest::{Contest, Deletion, Interval, Judge, Rules, Side, Verdict};
use super::diff::{self, Atom};
use super::plan::{ConflictDraft, Context, Decision, Loser, Plan, Reason, Remote};
use super::{merge, version};
use crate::clock::Timestamp;
use crate::model::{DetailLevel, Event, RemoteEvent, StoredEvent};

/// Decides what is to be done about one copy.
///
/// `stored` is `None` for an object we do not know. A plan that was applied gives, seen again, a plan that is idle.
pub fn reconcile(stored: Option<&StoredEvent>, remote: &Remote<'_>, context: &Context) -> Plan {
    let Some(stored) = stored else {
        return match remote {
            Remote::Present(shown) => {
                Plan::new(Decision::Insert, Reason::New, Some(shown.event.clone()), shown.detail)
            }
            Remote::Deleted => {
                Plan::new(Decision::Nothing, Reason::AlreadyAbsent, None, DetailLevel::default())
            }
        };
    };
    if let Some(reason) = staleness(stored, context) {
        let stale = Plan::new(Decision::Stale, reason, stored.event.clone(), stored.detail);
        return Plan { base: stored.base.clone(), must_push: is_pending(stored), ..stale };
    }
    match (remote, &stored.event) {
        (Remote::Present(shown), Some(local)) => both_present(stored, local, shown, context),
        (Remote::Present(shown), None) => only_remote(stored, shown, context),
        (Remote::Deleted, Some(local)) => only_local(stored, local, context),
        (Remote::Deleted, None) if is_pending(stored) => {
            Plan::new(Decision::Agree, Reason::BothDeleted, None, stored.detail)
        }
        (Remote::Deleted, None) => Plan::new(Decision::Nothing, Reason::AlreadyAbsent, None, stored.detail),
    }
}

/// Why what was shown says nothing about this row, if so.
fn staleness(stored: &StoredEvent, context: &Context) -> Option<Reason> {
    if stored.is_in_flight {
        return Some(Reason::InFlight);
    }
    stored.settled_at.is_some_and(|settled| settled > context.requested_at).then_some(Reason::SettledSince)
}

fn is_pending(stored: &StoredEvent) -> bool {
    stored.base.is_some() || stored.edited_at.is_some()
}

/// What the provider has, with what it no longer shows filled in from what was agreed on.
fn as_known<'a>(
    agreed: Option<&Event>,
    stored: &StoredEvent,
    shown: &'a RemoteEvent,
) -> (Cow<'a, Event>, DetailLevel) {
    match agreed {
        Some(agreed) if shown.detail < stored.detail => {
            (Cow::Owned(merge::fill_in(agreed, &shown.event)), stored.detail)
        }
        _ => (Cow::Borrowed(&shown.event), shown.detail),
    }
}

fn both_present(stored: &StoredEvent, local: &Event, shown: &RemoteEvent, context: &Context) -> Plan {
    let base = stored.base.as_ref();
    let (remote, detail) = as_known(base.or(Some(local)), stored, shown);
    let remote = remote.as_ref();
    let plan = |decision, reason, event: &Event| Plan {
        changes: diff::changes(Some(local), Some(event)),
        ..Plan::new(decision, reason, Some(event.clone()), detail)
    };
    if !is_pending(stored) {
        // The stored version may be of an older canonical form: then the events themselves decide.
        if version::of(remote) == stored.version || version::is_same(local, remote) {
            return Plan::new(Decision::Nothing, Reason::Unchanged, Some(local.clone()), detail);
        }
        return plan(Decision::Take, Reason::RemoteChanged, remote);
    }
    if version::is_same(local, remote) {
        return plan(Decision::Agree, Reason::SameChange, remote);
    }
    if base.is_some_and(|base| version::is_same(base, local)) {
        return plan(Decision::Take, Reason::RemoteChanged, remote);
    }
    let judge = judge(stored, base, Some((shown, remote)), context);
    let merged = merge::merge(base, local, remote, &judge);
    let is_alone = base.is_some_and(|base| version::is_same(base, remote));
    let reason = match merged.contests.is_empty() {
        true if is_alone => Reason::LocalChanged,
        true => Reason::DisjointChanges,
        false => Reason::Contested,
    };
    let versions = Versions { base, local: Some(local), remote: Some(remote) };
    let (conflict, loser) = versions.settle(merged.contests, &judge);
    let remains = Some(remote.clone());
    let merged = if conflict.is_some() {
        let held = plan(Decision::Conflict, Reason::LeftToPerson, &merged.event);
        Plan { base: remains, ..held }
    } else if version::is_same(&merged.event, remote) {
        plan(Decision::Take, reason, remote)
    } else if version::is_same(&merged.event, local) {
        plan(Decision::Push, reason, local).pending(remains)
    } else {
        plan(Decision::Merge, reason, &merged.event).pending(remains)
    };
    Plan { loser, conflict, ..merged }
}

/// The provider has it; we have deleted it, or hold it without content.
fn only_remote(stored: &StoredEvent, shown: &RemoteEvent, context: &Context) -> Plan {
    let Some(base) = &stored.base else {
        if is_pending(stored) {
            // Deleted here after its creation was sent: what has turned up is that creation.
            let gone = Plan::new(Decision::PushDeletion, Reason::LocalDeleted, None, shown.detail);
            return gone.pending(Some(shown.event.clone()));
        }
        return Plan::new(Decision::Insert, Reason::Appeared, Some(shown.event.clone()), shown.detail);
    };
    let (remote, detail) = as_known(Some(base), stored, shown);
    let remote = remote.as_ref();
    let absent = |decision, reason| Plan::new(decision, reason, None, detail);
    let remains = Some(remote.clone());
    if version::is_same(base, remote) {
        return absent(Decision::PushDeletion, Reason::LocalDeleted).pending(remains);
    }
    let judge = judge(stored, Some(base), Some((shown, remote)), context);
    let contest = whole_contest(Side::Local, base, remote, &judge);
    let (winner, verdict) = (contest.winner, contest.verdict);
    let versions = Versions { base: Some(base), local: None, remote: Some(remote) };
    let (conflict, loser) = versions.settle(vec![contest], &judge);
    let plan = match (winner, verdict) {
        (_, Verdict::Person) => Plan { base: remains, ..absent(Decision::Conflict, Reason::LeftToPerson) },
        (Side::Local, _) => absent(Decision::PushDeletion, Reason::Contested).pending(remains),
        (Side::Remote, _) => Plan {
            changes: diff::changes(None, Some(remote)),
            ..Plan::new(Decision::Revive, Reason::Contested, remains, detail)
        },
    };
    Plan { loser, conflict, ..plan }
}

/// We have it; the provider has not, or no longer.
fn only_local(stored: &StoredEvent, local: &Event, context: &Context) -> Plan {
    let present = |decision, reason| Plan::new(decision, reason, Some(local.clone()), stored.detail);
    let absent = |reason| Plan {
        changes: diff::changes(Some(local), None),
        ..Plan::new(Decision::TakeDeletion, reason, None, stored.detail)
    };
    if !is_pending(stored) {
        return absent(Reason::RemoteDeleted);
    }
    let Some(base) = &stored.base else {
        return present(Decision::Push, Reason::NotYetCreated).pending(None);
    };
    if version::is_same(base, local) {
        return absent(Reason::RemoteDeleted);
    }
    let judge = judge(stored, Some(base), None, context);
    let contest = whole_contest(Side::Remote, base, local, &judge);
    let (winner, verdict) = (contest.winner, contest.verdict);
    let versions = Versions { base: Some(base), local: Some(local), remote: None };
    let (conflict, loser) = versions.settle(vec![contest], &judge);
    let plan = match (winner, verdict) {
        (_, Verdict::Person) => present(Decision::Conflict, Reason::LeftToPerson),
        (Side::Remote, _) => absent(Reason::Contested),
        (Side::Local, _) => present(Decision::Revive, Reason::Contested).pending(None),
    };
    Plan { loser, conflict, ..plan }
}

/// A deletion on one side against the changes from `base` to `changed` on the other.
fn whole_contest(by: Side, base: &Event, changed: &Event, judge: &Judge) -> Contest {
    let atoms = diff::changed_atoms(base, changed);
    let deletion = Deletion {
        by,
        against_personal: atoms.iter().all(|(_, atom)| judge.is_too_little(by.other(), atom)),
        has_guests: changed.fields().is_some_and(|fields| !fields.attendees.is_empty()),
    };
    let (winner, verdict) = judge.decide_deletion(deletion);
    let (base, changed) = (serde_json::to_value(base).ok(), serde_json::to_value(changed).ok());
    let (local, remote) = match by {
        Side::Local => (None, changed),
        Side::Remote => (changed, None),
    };
    Contest { instance: None, atom: Atom::Existence, winner, verdict, base, local, remote }
}

/// Times and rules for one copy. `remote` is what was shown and what it means; `None` for a deletion.
fn judge(
    stored: &StoredEvent,
    base: Option<&Event>,
    remote: Option<(&RemoteEvent, &Event)>,
    context: &Context,
) -> Judge {
    let anywhere = Interval { after: context.listed_without_at, until: context.requested_at };
    let stamp = remote.and_then(|(shown, _)| shown.changed_at);
    let stamp = stamp.map(|stamp| Timestamp(stamp.0.saturating_sub(context.provider_clock_offset_ms)));
    // A stamp from outside the interval in which the change must lie is some other clock's: it says nothing.
    let stamp =
        stamp.filter(|stamp| *stamp <= anywhere.until && anywhere.after.is_none_or(|after| *stamp > after));
    let answered_at = stamp.map_or(anywhere, Interval::at);
    let has_answers = match (base, remote) {
        (Some(base), Some((_, remote))) => {
            diff::changed_atoms(base, remote).iter().any(|(_, atom)| matches!(atom, Atom::Answer(_)))
        }
        _ => false,
    };
    let remote_at = match stamp {
        Some(stamp) if has_answers => Interval { after: anywhere.after, until: stamp },
        _ => answered_at,
    };
    Judge {
        policy: context.policy,
        role: remote.map_or(stored.role, |(shown, _)| shown.role),
        local_at: edited_in(stored).unwrap_or(anywhere),
        remote_at,
        answered_at,
    }
}

/// When our side was written. Of several edits nobody keeps which one touched what: each may have been the first or the
/// last.
fn edited_in(stored: &StoredEvent) -> Option<Interval> {
    let last = stored.edited_at?;
    let first = stored.edited_since.filter(|first| *first < last);
    Some(Interval { after: Some(first.unwrap_or(last)), until: last })
}

/// The versions between which something was contested.
struct Versions<'a> {
    base: Option<&'a Event>,
    local: Option<&'a Event>,
    remote: Option<&'a Event>,
}

impl Versions<'_> {
    /// What a person has to decide, and what has lost by the other rules.
    fn settle(&self, contests: Vec<Contest>, judge: &Judge) -> (Option<ConflictDraft>, Option<Loser>) {
        let (open, settled): (Vec<Contest>, Vec<Contest>) =
            contests.into_iter().partition(|contest| contest.verdict == Verdict::Person);
        let conflict = (!open.is_empty()).then(|| ConflictDraft {
            base: self.base.cloned(),
            local: self.local.cloned(),
            remote: self.remote.cloned(),
            contests: open,
            local_at: judge.local_at,
            remote_at: judge.remote_at,
        });
        let has_lost = |side: Side| settled.iter().any(|contest| contest.winner == side.other());
        let local = self.local.filter(|_| has_lost(Side::Local)).cloned();
        let remote = self.remote.filter(|_| has_lost(Side::Remote)).cloned();
        let is_tie = settled.iter().any(|contest| contest.verdict == Verdict::Tie);
        let (local_at, remote_at) = (judge.local_at, judge.remote_at);
        let loser = (!settled.is_empty()).then_some(Loser {
            contests: settled,
            local,
            remote,
            local_at,
            remote_at,
            is_tie,
        });
        (conflict, loser)
    }
}
