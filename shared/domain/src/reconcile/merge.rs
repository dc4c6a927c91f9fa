//! The three-way merge of one event, atom by atom, and of a series as a whole.
//!
//! The frame of a series comes first, then the master's other atoms, then the instances by recurrence id under
//! the frame that won. An atom that one side left alone is the other side's. Guests merge one by one, reminders
//! and categories as sets. What both sides changed otherwise is a contest, decided by the rules that are passed in;
//! whatever loses is named in the result.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::anchor::{Moved, moved};
use super::atoms::{self, Sides, Sources, value};
use super::canonical::{self, guest};
use super::contest::{Contest, Deletion, Judge, LessDetail, Rules, Side, Verdict};
use super::diff::{Atom, departures, own};
use super::point::Recurs;
use super::sheet::{Face, Instance, Sheet, differing, whole};
use super::version;
use crate::model::{Body, Event, Fields, Master, Override, RecurrenceId, Role, Series};

/// What came of a merge.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// Both sides' changes together.
    pub event: Event,
    /// What both sides wanted otherwise.
    pub contests: Vec<Contest>,
}

/// Merges the changes of two sides since `base`; without it everything that differs is a contest.
pub fn merge(base: Option<&Event>, local: &Event, remote: &Event, judge: &Judge) -> Merged {
    let alone = |event: &Event| Merged { event: event.clone(), contests: Vec::new() };
    if version::is_same(local, remote) || base.is_some_and(|base| version::is_same(base, local)) {
        return alone(remote);
    }
    if judge.role != Role::Attendee && base.is_some_and(|base| version::is_same(base, remote)) {
        return alone(local);
    }
    merge_by(base, local, remote, judge)
}

/// What we know after a copy was shown with less detail than before: times, status and busy state as shown, all
/// else as known.
pub fn fill_in(known: &Event, shown: &Event) -> Event {
    let mut event = merge_by(None, known, shown, &LessDetail).event;
    event.uid.clone_from(&known.uid);
    event
}

fn merge_by(base: Option<&Event>, local: &Event, remote: &Event, rules: &impl Rules) -> Merged {
    let sheets = Three { base: base.map(Sheet::of), local: Sheet::of(local), remote: Sheet::of(remote) };
    let mut merging = Merging { rules, contests: Vec::new() };
    let body = merging.bodies(&sheets);
    Merged { event: Event { uid: remote.uid.clone(), body }, contests: merging.contests }
}

/// The same thing three times. `base` is `None` where nothing was ever agreed on.
#[derive(Debug, Clone)]
struct Three<T> {
    base: Option<T>,
    local: T,
    remote: T,
}

/// What one side says of an atom: its own value, or (`None`) what it inherits.
type Said<'a> = Option<&'a Fields>;

/// Where the merged value of an atom comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Of(Side),
    Union,
}

struct Merging<'r, R> {
    rules: &'r R,
    contests: Vec<Contest>,
}

impl<R: Rules> Merging<'_, R> {
    fn bodies(&mut self, sheets: &Three<Sheet<'_>>) -> Body {
        let master = self.masters(sheets);
        let face = master.as_ref().map(|master| Face { fields: &master.fields, master: Some(master) });
        let mut placed = Three {
            base: sheets.base.as_ref().map(|sheet| moved(sheet, face.as_ref())),
            local: moved(&sheets.local, face.as_ref()),
            remote: moved(&sheets.remote, face.as_ref()),
        };
        self.drop_unanchored(&mut placed);
        let result = Sheet { master: face, instances: BTreeMap::new() };
        let instances = self.instances(sheets, &placed, &result);
        compose(master, instances)
    }

    /// The merged master; `None` when the winner knows only instances.
    fn masters(&mut self, sheets: &Three<Sheet<'_>>) -> Option<Master> {
        let base = sheets.base.as_ref().and_then(|sheet| sheet.master);
        let (local, remote) = match (sheets.local.master, sheets.remote.master) {
            (Some(local), Some(remote)) => (local, remote),
            (None, None) => return None,
            (Some(known), None) => return self.lost_master(Side::Remote, base, &known),
            (None, Some(known)) => return self.lost_master(Side::Local, base, &known),
        };
        let mut master = to_master(&remote);
        for atom in differing(local.fields, remote.fields) {
            let said = Three {
                base: base.map(|base| Some(base.fields)),
                local: Some(local.fields),
                remote: Some(remote.fields),
            };
            let sources = Sources {
                base: base.map(|base| base.fields),
                local: Some(local.fields),
                remote: Some(remote.fields),
            };
            let source = self.atom(None, &atom, &said);
            apply(source, &atom, &said, &sources, &mut master.fields);
            self.note_lost_answer(None, &atom, &said, &master.fields);
        }
        if self.frame(base.as_ref(), &local, &remote) == Side::Local {
            let ours = to_master(&local);
            master.rules = ours.rules;
            master.additions = ours.additions;
            master.fields.start = ours.fields.start;
            master.fields.end = ours.fields.end;
        }
        Some(master)
    }

    /// One side knows only instances. It has lost the master if there was one; else the other side has found it.
    fn lost_master(&mut self, by: Side, base: Option<Face<'_>>, known: &Face<'_>) -> Option<Master> {
        let Some(base) = base else {
            return Some(to_master(known));
        };
        let mut changed = differing(base.fields, known.fields);
        if !base.has_frame_of(known) {
            changed.insert(Atom::When);
        }
        if changed.is_empty() {
            return None;
        }
        let deletion = Deletion {
            by,
            against_personal: changed.iter().all(Atom::is_personal),
            has_guests: !known.fields.attendees.is_empty(),
        };
        let (winner, verdict) = self.rules.decide_deletion(deletion);
        let (base, known_value) = (value(&Atom::Existence, &base), value(&Atom::Existence, known));
        let (local, remote) = match by {
            Side::Local => (None, known_value),
            Side::Remote => (known_value, None),
        };
        let atom = Atom::Existence;
        self.contests.push(Contest { instance: None, atom, winner, verdict, base, local, remote });
        (winner != by).then(|| to_master(known))
    }

    fn frame(&mut self, base: Option<&Face<'_>>, local: &Face<'_>, remote: &Face<'_>) -> Side {
        if local.has_frame_of(remote) {
            return Side::Remote;
        }
        let is_local_same = base.is_some_and(|base| base.has_frame_of(local));
        let is_remote_same = base.is_some_and(|base| base.has_frame_of(remote));
        let values = Sides {
            base: base.and_then(|base| value(&Atom::When, base)),
            local: value(&Atom::When, local),
            remote: value(&Atom::When, remote),
        };
        self.decide(None, &Atom::When, is_local_same, is_remote_same, values)
    }

    /// Where an atom comes from.
    fn atom(&mut self, instance: Option<RecurrenceId>, atom: &Atom, said: &Three<Said<'_>>) -> Source {
        let is_same = |one: Said<'_>, other: Said<'_>| match (one, other) {
            (Some(one), Some(other)) => canonical::is_same(atom, one, other, Recurs::No),
            (one, other) => one.is_none() && other.is_none(),
        };
        if is_same(said.local, said.remote) {
            return Source::Of(Side::Remote);
        }
        let is_local_same = said.base.is_some_and(|base| is_same(base, said.local));
        let is_remote_same = said.base.is_some_and(|base| is_same(base, said.remote));
        if atom.is_set() && !is_local_same && !is_remote_same && !self.rules.forbids(atom) {
            return Source::Union;
        }
        let value = |said: Said<'_>| said.and_then(|fields| value(atom, &Face { fields, master: None }));
        let values =
            Sides { base: said.base.and_then(value), local: value(said.local), remote: value(said.remote) };
        Source::Of(self.decide(instance, atom, is_local_same, is_remote_same, values))
    }

    /// Notes the answer of a guest whom our side has taken off the list.
    fn note_lost_answer(
        &mut self,
        instance: Option<RecurrenceId>,
        atom: &Atom,
        said: &Three<Said<'_>>,
        merged: &Fields,
    ) {
        let Atom::Answer(address) = atom else {
            return;
        };
        let is_new = |answered: &&Fields| match said.base.flatten() {
            Some(base) => !canonical::is_same(atom, base, answered, Recurs::No),
            None => true,
        };
        let answer = said.remote.filter(is_new);
        let answer = answer.and_then(|fields| value(atom, &Face { fields, master: None }));
        if answer.is_none() || guest(merged, address).is_some() {
            return;
        }
        self.contests.push(Contest {
            instance,
            atom: atom.clone(),
            winner: Side::Local,
            verdict: Verdict::NeverRevives,
            base: None,
            local: None,
            remote: answer,
        });
    }

    /// Whose value an atom gets that the sides have differently.
    fn decide(
        &mut self,
        instance: Option<RecurrenceId>,
        atom: &Atom,
        is_local_same: bool,
        is_remote_same: bool,
        values: Sides<Option<Value>>,
    ) -> Side {
        if is_local_same {
            return Side::Remote;
        }
        let (winner, verdict) = if self.rules.forbids(atom) {
            (Side::Remote, Verdict::NotTheOrganizer)
        } else if is_remote_same {
            return Side::Local;
        } else {
            self.rules.decide(atom)
        };
        let Sides { base, local, remote } = values;
        self.contests.push(Contest { instance, atom: atom.clone(), winner, verdict, base, local, remote });
        winner
    }

    fn instances<'a>(
        &mut self,
        sheets: &Three<Sheet<'a>>,
        placed: &Three<Moved<'a>>,
        result: &Sheet<'_>,
    ) -> BTreeMap<RecurrenceId, Override> {
        let keys: BTreeSet<RecurrenceId> =
            placed.local.instances.keys().chain(placed.remote.instances.keys()).copied().collect();
        let mut merged = BTreeMap::new();
        for key in keys {
            let three = Three {
                base: placed.base.as_ref().map(|base| base.instances.get(&key)),
                local: placed.local.instances.get(&key),
                remote: placed.remote.instances.get(&key),
            };
            if let Some(over) = self.instance(key, sheets, &three, result) {
                merged.insert(key, over);
            }
        }
        merged
    }

    fn instance<'a>(
        &mut self,
        key: RecurrenceId,
        sheets: &Three<Sheet<'a>>,
        three: &Three<Option<&Instance<'a>>>,
        result: &Sheet<'_>,
    ) -> Option<Override> {
        let is_absent = |instance: Option<&Instance<'_>>, sheet: &Sheet<'_>| match instance {
            Some(Instance::Cancelled) => true,
            Some(Instance::Changed { .. }) => false,
            None => sheet.master.is_none(),
        };
        let local_absent = is_absent(three.local, &sheets.local);
        let remote_absent = is_absent(three.remote, &sheets.remote);
        let base_absent = sheets.base.as_ref().map(|sheet| is_absent(three.base.flatten(), sheet));
        let winner = match (local_absent, remote_absent) {
            (true, true) => Side::Remote,
            (false, false) => return self.departures(key, sheets, three, result),
            (true, false) => self.absence(key, Side::Local, base_absent, three),
            (false, true) => self.absence(key, Side::Remote, base_absent, three),
        };
        let (instance, sheet) = match winner {
            Side::Local => (three.local, &sheets.local),
            Side::Remote => (three.remote, &sheets.remote),
        };
        match instance {
            Some(Instance::Cancelled) => Some(Override::Cancelled),
            None if sheet.master.is_none() => None,
            // The other side is absent: what the winner says of the instance stands alone.
            other => {
                let alone = Three { base: None, local: other, remote: other };
                self.departures(key, sheets, &alone, result)
            }
        }
    }

    /// Who wins when one side has an instance and the other has it not.
    fn absence(
        &mut self,
        key: RecurrenceId,
        by: Side,
        base_absent: Option<bool>,
        three: &Three<Option<&Instance<'_>>>,
    ) -> Side {
        let other = match by {
            Side::Local => three.remote,
            Side::Remote => three.local,
        };
        if base_absent == Some(true) {
            // Only the other side changed: it is there again.
            return by.other();
        }
        let base = three.base.flatten();
        let changed: Vec<Atom> = departures(base)
            .union(&departures(other))
            .filter(|atom| match (own(base, atom), own(other, atom)) {
                (Some(one), Some(other)) => !canonical::is_same(atom, one, other, Recurs::No),
                (one, other) => one.is_some() || other.is_some(),
            })
            .cloned()
            .collect();
        if base_absent.is_some() && changed.is_empty() {
            return by;
        }
        let deletion = Deletion {
            by,
            against_personal: !changed.is_empty() && changed.iter().all(Atom::is_personal),
            has_guests: matches!(other, Some(Instance::Changed { fields, .. }) if !fields.attendees.is_empty()),
        };
        let (winner, verdict) = self.rules.decide_deletion(deletion);
        let value = |instance: Option<&Instance<'_>>| match instance {
            Some(Instance::Changed { fields, .. }) => value(&Atom::Existence, &Face { fields, master: None }),
            Some(Instance::Cancelled) => Some("cancelled".into()),
            None => None,
        };
        let (base, local, remote) = (value(base), value(three.local), value(three.remote));
        let (instance, atom) = (Some(key), Atom::Existence);
        self.contests.push(Contest { instance, atom, winner, verdict, base, local, remote });
        winner
    }

    /// An instance that takes place on both sides: its departures, atom by atom.
    fn departures<'a>(
        &mut self,
        key: RecurrenceId,
        sheets: &Three<Sheet<'a>>,
        three: &Three<Option<&Instance<'a>>>,
        result: &Sheet<'_>,
    ) -> Option<Override> {
        let mut fields = match (result.inherited(&key), three.remote, three.local) {
            (Some(inherited), _, _) => inherited.to_fields(),
            (None, Some(Instance::Changed { fields, .. }), _)
            | (None, _, Some(Instance::Changed { fields, .. })) => (*fields).clone(),
            _ => return None,
        };
        let master = |sheet: &Sheet<'a>| sheet.master.map(|face| face.fields);
        let masters = Sides {
            base: sheets.base.as_ref().and_then(master),
            local: master(&sheets.local),
            remote: master(&sheets.remote),
        };
        let mut departs = false;
        for atom in departures(three.local).union(&departures(three.remote)) {
            let said = Three {
                base: three.base.map(|base| own(base, atom)),
                local: own(three.local, atom),
                remote: own(three.remote, atom),
            };
            let sources = Sources {
                base: said.base.flatten().or(masters.base),
                local: said.local.or(masters.local),
                remote: said.remote.or(masters.remote),
            };
            let source = self.atom(Some(key), atom, &said);
            departs |= apply(source, atom, &said, &sources, &mut fields);
            let (decided, other) = match source {
                Source::Of(Side::Remote) => (said.remote, whole(three.local, masters.local)),
                _ => (said.local, whole(three.remote, masters.remote)),
            };
            atoms::answer_as_invited(atom, decided, other, &mut fields);
            self.note_lost_answer(Some(key), atom, &said, &fields);
        }
        if let Some(Instance::Changed { fields: own, .. }) = three.remote.or(three.local) {
            fields.stamps = own.stamps;
        }
        departs.then(|| Override::Changed(Box::new(fields)))
    }

    /// Takes out what only one side says of instances that the other side's frame has cut away: no provider keeps what
    /// departs from a series that has no such instance. What was edited there has lost, and is named.
    fn drop_unanchored(&mut self, placed: &mut Three<Moved<'_>>) {
        for by in [Side::Remote, Side::Local] {
            let (cut, other) = match by {
                Side::Remote => (&mut placed.local, &placed.remote),
                Side::Local => (&mut placed.remote, &placed.local),
            };
            for key in std::mem::take(&mut cut.unanchored) {
                if other.instances.contains_key(&key) {
                    continue;
                }
                let instance = cut.instances.remove(&key);
                let base = placed.base.as_ref().map(|base| base.instances.get(&key));
                if base.is_some_and(|base| says_the_same(base, instance.as_ref())) {
                    continue;
                }
                let value = instance.and_then(|instance| match instance {
                    Instance::Changed { fields, .. } => {
                        value(&Atom::Existence, &Face { fields, master: None })
                    }
                    Instance::Cancelled => None,
                });
                let (local, remote) = match by {
                    Side::Remote => (value, None),
                    Side::Local => (None, value),
                };
                self.contests.push(Contest {
                    instance: Some(key),
                    atom: Atom::Existence,
                    winner: by,
                    verdict: Verdict::Unanchored,
                    base: None,
                    local,
                    remote,
                });
            }
        }
    }
}

/// Whether an instance departs from its master in the same atoms and by the same values.
fn says_the_same(one: Option<&Instance<'_>>, other: Option<&Instance<'_>>) -> bool {
    let atoms = departures(one);
    atoms == departures(other)
        && atoms.iter().all(|atom| match (own(one, atom), own(other, atom)) {
            (Some(one), Some(other)) => canonical::is_same(atom, one, other, Recurs::No),
            (one, other) => one.is_none() && other.is_none(),
        })
}

/// Puts the merged value of an atom into `fields`; returns whether it is an own value.
fn apply(
    source: Source,
    atom: &Atom,
    said: &Three<Said<'_>>,
    all: &Sources<'_>,
    fields: &mut Fields,
) -> bool {
    let said = match source {
        Source::Of(Side::Local) => said.local,
        Source::Of(Side::Remote) => said.remote,
        Source::Union => {
            atoms::unite(atom, all, fields);
            return true;
        }
    };
    if let Some(said) = said {
        atoms::copy(atom, said, fields);
    }
    said.is_some()
}

fn to_master(face: &Face<'_>) -> Master {
    face.master.cloned().unwrap_or_else(|| Master {
        fields: face.fields.clone(),
        rules: Vec::new(),
        additions: BTreeMap::new(),
        exclusions: BTreeSet::new(),
    })
}

/// The body of a merged master and its instances, in the plainest form.
fn compose(master: Option<Master>, mut instances: BTreeMap<RecurrenceId, Override>) -> Body {
    let Some(mut master) = master else {
        return Body::Series(Series { master: None, overrides: instances });
    };
    let is_cancelled = |over: &Override| matches!(over, Override::Cancelled);
    master.exclusions =
        instances.iter().filter(|(_, over)| is_cancelled(over)).map(|(key, _)| *key).collect();
    instances.retain(|_, over| !is_cancelled(over));
    let is_single = master.rules.is_empty() && master.additions.is_empty();
    if is_single && master.exclusions.is_empty() && instances.is_empty() {
        return Body::Single(master.fields);
    }
    Body::Series(Series { master: Some(master), overrides: instances })
}
