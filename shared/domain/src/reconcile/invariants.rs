//! The laws of merging and planning, by name, as functions that tests run over generated cases.
//!
//! Each returns what is wrong in words; they are public so that every test that makes events can ask them.

use std::collections::BTreeSet;

use super::contest::{Contest, Judge};
use super::diff::{self, Atom};
use super::merge::merge;
use super::plan::{Context, Decision, Plan, Remote};
use super::point::Recurs;
use super::sheet::{Instance, Sheet};
use super::{canonical, table, version};
use crate::model::{Event, RecurrenceId, Role, StoredEvent};

/// A law that does not hold for a case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("law {law}: {problem}")]
pub struct Broken {
    /// Which law.
    pub law: &'static str,
    /// In what way.
    pub problem: String,
}

fn law(law: &'static str, holds: bool, problem: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { law, problem: problem() }) }
}

/// merge(b, b, x) = x, merge(b, x, b) = x and merge(b, x, x) = x, each without a contest. The second does not hold
/// on a guest's copy, where not every local edit counts.
///
/// # Errors
/// When it does not hold.
pub fn merge_is_identity_on_one_change(base: &Event, changed: &Event, judge: &Judge) -> Result<(), Broken> {
    let mut sides = vec![("merge(b, b, x) = x", base, changed), ("merge(b, x, x) = x", changed, changed)];
    if judge.role != Role::Attendee {
        sides.push(("merge(b, x, b) = x", changed, base));
    }
    for (name, local, remote) in sides {
        let merged = merge(Some(base), local, remote, judge);
        law(name, version::is_same(&merged.event, changed) && merged.contests.is_empty(), || {
            format!("{merged:#?} instead of {changed:#?}")
        })?;
    }
    Ok(())
}

/// Edits of different atoms merge to the same whichever side made which, without a contest. Says nothing where both
/// sides touched an atom, or one changed what the other cancelled.
///
/// # Errors
/// When it does not hold.
pub fn disjoint_edits_commute(base: &Event, one: &Event, other: &Event, judge: &Judge) -> Result<(), Broken> {
    if !are_disjoint(&diff::changed_atoms(base, one), &diff::changed_atoms(base, other)) {
        return Ok(());
    }
    let (there, back) = (merge(Some(base), one, other, judge), merge(Some(base), other, one, judge));
    law("disjoint edits commute", version::is_same(&there.event, &back.event), || {
        format!("{there:#?}\nother way round {back:#?}")
    })?;
    law("disjoint edits are no contest", there.contests.is_empty(), || format!("{:#?}", there.contests))
}

type Changed = BTreeSet<(Option<RecurrenceId>, Atom)>;

/// Whether two sets of changes touch nothing in common. A moved frame touches every instance.
pub fn are_disjoint(one: &Changed, other: &Changed) -> bool {
    let moves = |changes: &Changed| changes.contains(&(None, Atom::When));
    let has_instances = |changes: &Changed| changes.iter().any(|(instance, _)| instance.is_some());
    let gone = |changes: &Changed, others: &Changed| {
        changes.iter().any(|(instance, atom)| {
            *atom == Atom::Existence && others.iter().any(|(other, _)| other == instance)
        })
    };
    let guests = |changes: &Changed, others: &Changed| {
        changes.iter().any(|(instance, atom)| match atom {
            // off the list of the series, a guest is off that of every instance
            Atom::Guest(address) => others.iter().any(|(other, answer)| {
                *answer == Atom::Answer(address.clone()) && (instance.is_none() || other == instance)
            }),
            _ => false,
        })
    };
    one.is_disjoint(other)
        && !(moves(one) && has_instances(other) || moves(other) && has_instances(one))
        && !(gone(one, other) || gone(other, one))
        && !(guests(one, other) || guests(other, one))
}

/// What we hold once a plan has been applied: the least that every store has to do.
pub fn applied(stored: &StoredEvent, remote: &Remote<'_>, plan: &Plan) -> StoredEvent {
    if plan.decision == Decision::Stale {
        return stored.clone();
    }
    let shown = match remote {
        Remote::Present(shown) => Some(shown),
        Remote::Deleted => None,
    };
    let remains_pending = plan.must_push || plan.base.is_some() || plan.conflict.is_some();
    StoredEvent {
        event: plan.event.clone(),
        version: plan.version.unwrap_or(stored.version),
        base: plan.base.clone(),
        edited_at: stored.edited_at.filter(|_| remains_pending),
        revision: shown.map_or_else(|| stored.revision.clone(), |shown| shown.revision.clone()),
        role: shown.map_or(stored.role, |shown| shown.role),
        detail: plan.detail,
        lock_version: stored.lock_version + 1,
        ..stored.clone()
    }
}

/// A plan that was applied gives, seen again, a plan that is idle, and the same event.
///
/// # Errors
/// When it does not hold.
pub fn second_reconcile_is_idle(
    stored: &StoredEvent,
    remote: &Remote<'_>,
    context: &Context,
) -> Result<(), Broken> {
    let first = table::reconcile(Some(stored), remote, context);
    let after = applied(stored, remote, &first);
    let second = table::reconcile(Some(&after), remote, context);
    let is_settled = second.is_idle() || matches!((remote, &first.event), (Remote::Deleted, Some(_)));
    law("a second reconcile is idle", is_settled && second.version == first.version, || {
        format!("first {first:#?}\nthen {second:#?}")
    })
}

/// Whatever either side changed is in the plan's event, among its changes with the value before, or among what
/// lost or waits for a person.
///
/// # Errors
/// When it does not hold.
pub fn nothing_is_lost(stored: &StoredEvent, remote: &Event, plan: &Plan) -> Result<(), Broken> {
    let (Some(local), Some(event)) = (&stored.event, &plan.event) else {
        return Ok(());
    };
    let base = stored.base.as_ref().unwrap_or(local);
    let contests: Vec<&Contest> = plan
        .loser
        .iter()
        .flat_map(|loser| &loser.contests)
        .chain(plan.conflict.iter().flat_map(|conflict| &conflict.contests))
        .collect();
    let is_noted = |instance: &Option<RecurrenceId>, atom: &Atom| {
        contests.iter().any(|contest| {
            contest.instance == *instance && (contest.atom == *atom || contest.atom == Atom::Existence)
        })
    };
    // A moved frame renames the instances: there the test of the values themselves has to do.
    if diff::changed_atoms(base, local).contains(&(None, Atom::When))
        || diff::changed_atoms(base, remote).contains(&(None, Atom::When))
    {
        return Ok(());
    }
    for (name, side) in [("local", local), ("remote", remote)] {
        let missing = diff::changed_atoms(side, event);
        for (instance, atom) in diff::changed_atoms(base, side) {
            // A departure that the other side's edit of the master caught up with is no longer one.
            let is_kept = !missing.contains(&(instance, atom.clone()))
                || says_same(&atom, instance, side, event)
                || went_with_the_guest(&atom, instance, plan);
            law("nothing is lost", is_kept || atom.is_set() || is_noted(&instance, &atom), || {
                format!("{name} change of {atom:?} in {instance:?} is gone: {plan:#?}")
            })?;
        }
    }
    Ok(())
}

/// Whether an answer is gone because its giver is no longer on the list, there or of the whole series, and stands
/// among the changes.
fn went_with_the_guest(atom: &Atom, instance: Option<RecurrenceId>, plan: &Plan) -> bool {
    let Atom::Answer(address) = atom else { return false };
    let is_off_the_list = plan.changes.iter().any(|change| {
        change.atom == Atom::Guest(address.clone())
            && (change.instance.is_none() || change.instance == instance)
            && change.before.is_some()
            && change.after.is_none()
    });
    let is_noted = plan
        .changes
        .iter()
        .any(|change| change.instance == instance && change.atom == *atom && change.before.is_some());
    is_off_the_list && is_noted
}

/// Whether an instance, or the whole, says the same of an atom in two events, inherited or not.
fn says_same(atom: &Atom, instance: Option<RecurrenceId>, one: &Event, other: &Event) -> bool {
    let (one, other) = (Sheet::of(one), Sheet::of(other));
    let Some(key) = instance else { return false };
    let fields = |sheet: &Sheet<'_>| match sheet.instances.get(&key) {
        Some(Instance::Cancelled) => None,
        Some(Instance::Changed { fields, .. }) => Some((*fields).clone()),
        None => sheet.inherited(&key).map(|inherited| inherited.to_fields()),
    };
    match (fields(&one), fields(&other)) {
        (Some(one), Some(other)) => canonical::is_same(atom, &one, &other, Recurs::No),
        (one, other) => one.is_none() && other.is_none(),
    }
}
