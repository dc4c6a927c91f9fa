//! What changed, in atoms: the smallest parts of an event that are taken from one side whole.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::anchor::moved;
use super::atoms::value;
use super::canonical::{self, guests, is_same, of_address};
use super::point::Recurs;
use super::sheet::{Face, Instance, Sheet, differing};
use crate::model::{Event, Fields, Master, RecurrenceId};

/// A part of an event that is never mixed from two sides. The order of the variants is that in which the departures
/// of an override are hashed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Atom {
    /// Whether the event or the instance is there at all: deleted or not, cancelled or not.
    Existence,
    /// Start, end, zone, all-day; of a series its whole frame, with rules and additions.
    When,
    /// Location.
    Location,
    /// How to join from afar.
    Conference,
    /// Title.
    Title,
    /// Description.
    Text,
    /// Link.
    Url,
    /// Who called it.
    Organizer,
    /// One guest, by lower-case address: on the list or not, name, role and kind.
    Guest(String),
    /// What that guest answered.
    Answer(String),
    /// Reminders; merged as a set.
    Reminders,
    /// Confirmed, tentative or cancelled.
    Status,
    /// Public, private or confidential.
    Visibility,
    /// Busy or free.
    Transparency,
    /// Categories; merged as a set.
    Categories,
    /// Colour.
    Color,
}

impl Atom {
    /// Whether a guest may change it on the own copy, and whether it is too little to revive what was deleted.
    pub fn is_personal(&self) -> bool {
        matches!(
            self,
            Self::Answer(_)
                | Self::Reminders
                | Self::Visibility
                | Self::Transparency
                | Self::Categories
                | Self::Color
        )
    }

    /// Whether both sides' additions and removals can stand together.
    pub(super) fn is_set(&self) -> bool {
        matches!(self, Self::Reminders | Self::Categories)
    }
}

/// One changed atom, before and after, for the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Which instance of a series; `None` for a single event or the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<RecurrenceId>,
    /// Which atom.
    pub atom: Atom,
    /// What it said before; `None` where it said nothing. Of a deleted event the whole, so that it can be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it says now; `None` where it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// What changed from one state of an event to the next; empty when both mean the same. An event that came to be is
/// one change of its existence without values: its content is what it says.
pub fn changes(before: Option<&Event>, after: Option<&Event>) -> Vec<FieldChange> {
    let existence = |before| FieldChange { instance: None, atom: Atom::Existence, before, after: None };
    match (before, after) {
        (None, None) => Vec::new(),
        (None, Some(_)) => vec![existence(None)],
        (Some(before), None) => vec![existence(serde_json::to_value(before).ok())],
        (Some(before), Some(after)) => {
            let (before, after) = (Sheet::of(before), Sheet::of(after));
            let mut differences = between(&before, &after);
            differences.extend(placeless(&before, &after));
            differences.into_iter().map(Difference::spelled).collect()
        }
    }
}

/// The atoms that changed, by instance.
pub fn changed_atoms(before: &Event, after: &Event) -> BTreeSet<(Option<RecurrenceId>, Atom)> {
    let differences = between(&Sheet::of(before), &Sheet::of(after));
    differences.into_iter().map(|difference| (difference.instance, difference.atom)).collect()
}

/// The atoms in which two sets of fields differ that stand by themselves: single events, or instances.
pub fn differing_fields(before: &Fields, after: &Fields) -> BTreeSet<Atom> {
    let mut atoms = differing(before, after);
    if !is_same(&Atom::When, before, after, Recurs::No) {
        atoms.insert(Atom::When);
    }
    atoms
}

/// Whether two masters recur in the same way at the same time: start, end, zone, rules and additions.
pub fn has_same_frame(before: &Master, after: &Master) -> bool {
    let before = Face { fields: &before.fields, master: Some(before) };
    before.has_frame_of(&Face { fields: &after.fields, master: Some(after) })
}

/// One changed atom, its values not yet spelled out.
struct Difference<'a> {
    instance: Option<RecurrenceId>,
    atom: Atom,
    before: Says<'a>,
    after: Says<'a>,
}

/// What one side says of an atom.
enum Says<'a> {
    Nothing,
    Word(&'static str),
    Fields(Face<'a>),
}

impl<'a> Says<'a> {
    fn of(face: Option<Face<'a>>) -> Self {
        face.map_or(Self::Nothing, Self::Fields)
    }

    /// Whether an instance takes place.
    fn takes_place(instance: Option<&Instance<'_>>) -> Self {
        Self::Word(if matches!(instance, Some(Instance::Cancelled)) { "cancelled" } else { "takes place" })
    }

    fn spelled(&self, atom: &Atom) -> Option<Value> {
        match self {
            Self::Nothing => None,
            Self::Word(word) => Some(Value::from(*word)),
            Self::Fields(face) => value(atom, face),
        }
    }
}

impl Difference<'_> {
    fn spelled(self) -> FieldChange {
        let (before, after) = (self.before.spelled(&self.atom), self.after.spelled(&self.atom));
        FieldChange { instance: self.instance, atom: self.atom, before, after }
    }
}

fn between<'a>(before: &Sheet<'a>, after: &Sheet<'a>) -> Vec<Difference<'a>> {
    let mut differences = Vec::new();
    let mut push = |atom, before, after| {
        differences.push(Difference {
            instance: None,
            atom,
            before: Says::of(before),
            after: Says::of(after),
        });
    };
    let instances = match (&before.master, &after.master) {
        (Some(old), Some(new)) => {
            if !old.has_frame_of(new) {
                push(Atom::When, Some(*old), Some(*new));
            }
            for atom in differing(old.fields, new.fields) {
                push(atom, Some(*old), Some(*new));
            }
            moved(before, Some(new)).instances
        }
        (None, None) => before.instances.clone(),
        (old, new) => {
            push(Atom::Existence, *old, *new);
            before.instances.clone()
        }
    };
    let keys: BTreeSet<&RecurrenceId> = instances.keys().chain(after.instances.keys()).collect();
    for key in keys {
        instance_differences(*key, instances.get(key), after.instances.get(key), &mut differences);
    }
    differences
}

/// Exclusions, by the names that they had, for which the new frame has no place: they say nothing any more, and are
/// what would be missed if the frame came back.
fn placeless<'a>(before: &Sheet<'a>, after: &Sheet<'a>) -> Vec<Difference<'a>> {
    let (Some(_), Some(new)) = (&before.master, &after.master) else { return Vec::new() };
    let dropped = moved(before, Some(new)).dropped;
    let exclusions = dropped.into_iter().map(|key| Difference {
        instance: Some(key),
        atom: Atom::Existence,
        before: Says::takes_place(Some(&Instance::Cancelled)),
        after: Says::takes_place(None),
    });
    exclusions.collect()
}

fn instance_differences<'a>(
    key: RecurrenceId,
    before: Option<&Instance<'a>>,
    after: Option<&Instance<'a>>,
    differences: &mut Vec<Difference<'a>>,
) {
    let instance = Some(key);
    let is_cancelled = |instance: Option<&Instance<'_>>| matches!(instance, Some(Instance::Cancelled));
    if is_cancelled(before) != is_cancelled(after) {
        let (before, after) = (Says::takes_place(before), Says::takes_place(after));
        differences.push(Difference { instance, atom: Atom::Existence, before, after });
    }
    let invited = |instance: Option<&Instance<'a>>| match instance {
        Some(Instance::Changed { fields, .. }) => guests(fields),
        _ => Vec::new(),
    };
    let (guests_before, guests_after) = (invited(before), invited(after));
    for atom in departures(before).union(&departures(after)) {
        let (old, new) = (own(before, atom), own(after, atom));
        let is_unchanged = match (old, new) {
            (Some(old), Some(new)) => {
                let guest =
                    |address| (of_address(&guests_before, address), of_address(&guests_after, address));
                match atom {
                    Atom::Guest(address) => {
                        let (one, other) = guest(address);
                        canonical::is_same_guest(one, other)
                    }
                    Atom::Answer(address) => {
                        let (one, other) = guest(address);
                        canonical::is_same_answer(one, other)
                    }
                    _ => is_same(atom, old, new, Recurs::No),
                }
            }
            (old, new) => old.is_none() && new.is_none(),
        };
        if !is_unchanged {
            let says =
                |fields: Option<&'a Fields>| Says::of(fields.map(|fields| Face { fields, master: None }));
            let (before, after) = (says(old), says(new));
            differences.push(Difference { instance, atom: atom.clone(), before, after });
        }
    }
}

/// The atoms in which an instance departs from its master.
pub(super) fn departures(instance: Option<&Instance<'_>>) -> BTreeSet<Atom> {
    match instance {
        Some(Instance::Changed { departs, .. }) => departs.clone(),
        _ => BTreeSet::new(),
    }
}

/// The fields in which an instance says this atom itself; `None` where it inherits it.
pub(super) fn own<'a>(instance: Option<&Instance<'a>>, atom: &Atom) -> Option<&'a Fields> {
    match instance {
        Some(Instance::Changed { fields, departs }) if departs.contains(atom) => Some(fields),
        _ => None,
    }
}
