//! An event laid out for comparison: its frame and master, and per instance only what departs from the master.
//!
//! Stored overrides are complete. Laid out, an override is the set of atoms in which it differs from what its
//! instance inherits, so that an edit of the master does not look like an edit of every override (and the other
//! way round). A single event is laid out as a master without rules.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use super::anchor::Frame;
use super::canonical::{self, FIXED, address_of, guests, is_same};
use super::diff::Atom;
use super::point::{Recurs, instant_of, key_in, seconds_between, start_at, write_key, write_when};
use crate::model::{
    Attendee, Body, End, Event, Fields, Master, Override, RecurrenceId, Rule, Series, Status, When, Zone,
};
use crate::recurrence::meaning::meaning;

/// An event laid out.
#[derive(Debug, Clone)]
pub(super) struct Sheet<'a> {
    /// The single event or the master; `None` when only instances are known.
    pub(super) master: Option<Face<'a>>,
    /// What departs from it, by key in the form of the series.
    pub(super) instances: BTreeMap<RecurrenceId, Instance<'a>>,
}

/// What all instances share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Face<'a> {
    /// Its fields; start and end belong to the frame.
    pub(super) fields: &'a Fields,
    /// The master, where the event is a series.
    pub(super) master: Option<&'a Master>,
}

/// How an instance departs.
#[derive(Debug, Clone)]
pub(super) enum Instance<'a> {
    /// It does not take place.
    Cancelled,
    /// It has other values for these atoms.
    Changed {
        /// The complete fields.
        fields: &'a Fields,
        /// Where they differ from what is inherited; all atoms where there is no master.
        departs: BTreeSet<Atom>,
    },
}

/// All that is said of an instance, inherited or not; `None` where it does not take place.
pub(super) fn whole<'a>(instance: Option<&Instance<'a>>, master: Option<&'a Fields>) -> Option<&'a Fields> {
    match instance {
        Some(Instance::Changed { fields, .. }) => Some(fields),
        Some(Instance::Cancelled) => None,
        None => master,
    }
}

impl<'a> Face<'a> {
    pub(super) fn recurs(&self) -> Recurs {
        self.master.map_or(Recurs::No, Recurs::of)
    }

    /// Rules as they are spelled, sorted, each once.
    pub(super) fn rules(&self) -> Vec<&'a Rule> {
        let mut rules: Vec<&Rule> = self.master.iter().flat_map(|master| &master.rules).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    /// What the rules mean, sorted, each once.
    fn meanings(&self) -> BTreeSet<String> {
        let rules = self.master.iter().flat_map(|master| &master.rules);
        rules.map(|rule| meaning(rule, &self.fields.start)).collect()
    }

    /// Additions by key in the form of the series.
    pub(super) fn additions(&self) -> BTreeMap<RecurrenceId, Option<&'a End>> {
        let additions = self.master.iter().flat_map(|master| &master.additions);
        additions.map(|(key, end)| (key_in(&self.fields.start, key), end.as_ref())).collect()
    }

    /// Whether both recur in the same way at the same time.
    pub(super) fn has_frame_of(&self, other: &Self) -> bool {
        self.recurs() == other.recurs()
            && is_same(&Atom::When, self.fields, other.fields, self.recurs())
            && (self.rules() == other.rules() || self.meanings() == other.meanings())
            && self.additions_bytes() == other.additions_bytes()
    }

    fn additions_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_additions(&mut bytes);
        bytes
    }

    fn write_additions(&self, sink: &mut Vec<u8>) {
        for (key, end) in self.additions() {
            sink.extend_from_slice(b"A");
            write_key(&key, sink);
            if let Some(end) = end {
                write_when(&start_at(&self.fields.start, &key), end, Recurs::No, sink);
            }
        }
    }
}

impl<'a> Sheet<'a> {
    /// Lays an event out.
    pub(super) fn of(event: &'a Event) -> Self {
        match &event.body {
            Body::Single(fields) => {
                Self { master: Some(Face { fields, master: None }), instances: BTreeMap::new() }
            }
            Body::Series(series) => Self::of_series(series),
        }
    }

    fn of_series(series: &'a Series) -> Self {
        let face = series.master.as_ref().map(|master| Face { fields: &master.fields, master: Some(master) });
        let key_of = |key: &RecurrenceId| face.map_or(*key, |face| key_in(&face.fields.start, key));
        let mut instances = BTreeMap::new();
        let mut frame = None;
        for key in face.iter().filter_map(|face| face.master).flat_map(|master| &master.exclusions) {
            instances.insert(key_of(key), Instance::Cancelled);
        }
        for (key, over) in &series.overrides {
            let key = key_of(key);
            // An override that takes place outdoes an exclusion of the same instance.
            if let Some(instance) =
                laid_out(face.as_ref(), &mut frame, &key, over, instances.contains_key(&key))
            {
                instances.insert(key, instance);
            }
        }
        Self { master: face, instances }
    }

    /// What the instance of that key inherits; `None` without a master.
    pub(super) fn inherited(&self, key: &RecurrenceId) -> Option<Inherited<'a>> {
        self.master.map(|face| Inherited::of(face.fields, key))
    }

    /// Writes the canonical form of the whole.
    pub(super) fn write(&self, sink: &mut Vec<u8>) {
        if let Some(face) = &self.master {
            sink.extend_from_slice(b"M");
            canonical::write_fields(face.fields, face.recurs(), sink);
            for rule in face.meanings() {
                sink.extend_from_slice(b"R");
                canonical::write_text(Some(&rule), sink);
            }
            face.write_additions(sink);
        }
        for (key, instance) in &self.instances {
            match instance {
                Instance::Cancelled => {
                    sink.extend_from_slice(b"X");
                    write_key(key, sink);
                }
                Instance::Changed { fields, departs } => {
                    sink.extend_from_slice(b"O");
                    write_key(key, sink);
                    let invited = guests(fields);
                    for atom in departs {
                        canonical::write_departure(atom, fields, &invited, sink);
                    }
                    sink.push(canonical::END_OF_TEXT);
                }
            }
        }
    }
}

/// How an override departs; `None` when it only repeats what it inherits. One that brings an instance which the
/// rule does not have, or which is excluded, departs by being there.
fn laid_out<'a>(
    face: Option<&Face<'a>>,
    frame: &mut Option<Frame<'a>>,
    key: &RecurrenceId,
    over: &'a Override,
    is_excluded: bool,
) -> Option<Instance<'a>> {
    let fields = match over {
        Override::Cancelled => return Some(Instance::Cancelled),
        Override::Changed(fields) => fields.as_ref(),
    };
    let Some(face) = face else {
        return Some(Instance::Changed { fields, departs: all_atoms(fields) });
    };
    if fields.status == Status::Cancelled && face.fields.status != Status::Cancelled {
        return Some(Instance::Cancelled);
    }
    let mut departs = Inherited::of(face.fields, key).departures(fields);
    if departs.is_empty() && (is_excluded || !frame.get_or_insert_with(|| Frame::new(face)).has(key)) {
        departs.insert(Atom::Existence);
    }
    (!departs.is_empty()).then_some(Instance::Changed { fields, departs })
}

/// Every atom that a set of fields can say.
fn all_atoms(fields: &Fields) -> BTreeSet<Atom> {
    let guests = guests(fields).into_iter().map(|guest| address_of(guest).into_owned());
    let people = guests.flat_map(|address| [Atom::Guest(address.clone()), Atom::Answer(address)]);
    FIXED.into_iter().chain(people).collect()
}

/// What an instance has where its override says nothing: the master's fields at the instance's time.
#[derive(Debug, Clone)]
pub(super) struct Inherited<'a> {
    fields: &'a Fields,
    start: When,
    end: End,
}

impl<'a> Inherited<'a> {
    fn of(master: &'a Fields, key: &RecurrenceId) -> Self {
        let start = start_at(&master.start, key);
        let end = match &master.end {
            End::At(end) => end_of(&start, &master.start, end),
            other => other.clone(),
        };
        Self { fields: master, start, end }
    }

    /// The same as fields that stand by themselves.
    pub(super) fn to_fields(&self) -> Fields {
        Fields { start: self.start.clone(), end: self.end.clone(), ..self.fields.clone() }
    }

    /// The atoms in which an override differs from this.
    fn departures(&self, own: &Fields) -> BTreeSet<Atom> {
        let mut atoms = differing(self.fields, own);
        let (mut inherited, mut its) = (Vec::new(), Vec::new());
        write_when(&self.start, &self.end, Recurs::No, &mut inherited);
        write_when(&own.start, &own.end, Recurs::No, &mut its);
        if inherited != its {
            atoms.insert(Atom::When);
        }
        atoms
    }
}

/// The end of an instance as exactly long as the first one, in the form and zone of the first one's end.
fn end_of(start: &When, first_start: &When, first_end: &When) -> End {
    let length = seconds_between(first_start, first_end).and_then(TimeDelta::try_seconds);
    let instant = length.zip(instant_of(start)).and_then(|(length, start)| start.checked_add_signed(length));
    if let (Some(instant), When::Zoned { zone: Zone::Iana(zone), .. }) = (instant, first_end) {
        return End::At(first_end.with_wall(instant.with_timezone(zone).naive_local()));
    }
    // Elsewhere no clock changes, or only by rules of its own: the same shift on the wall.
    let shifted = first_end.wall().checked_add_signed(start.wall() - first_start.wall());
    End::At(shifted.map_or_else(|| first_end.clone(), |wall| first_end.with_wall(wall)))
}

/// The atoms, but for *when*, in which two sets of fields differ.
pub(super) fn differing(one: &Fields, other: &Fields) -> BTreeSet<Atom> {
    let fixed = FIXED.into_iter().filter(|atom| *atom != Atom::When);
    let mut atoms: BTreeSet<Atom> = fixed.filter(|atom| !is_same(atom, one, other, Recurs::No)).collect();
    if one.attendees == other.attendees {
        return atoms;
    }
    let mut pairs: BTreeMap<Cow<'_, str>, (Option<&Attendee>, Option<&Attendee>)> = BTreeMap::new();
    for guest in guests(one) {
        pairs.entry(address_of(guest)).or_default().0 = Some(guest);
    }
    for guest in guests(other) {
        pairs.entry(address_of(guest)).or_default().1 = Some(guest);
    }
    for (address, (one, other)) in pairs {
        if !canonical::is_same_guest(one, other) {
            atoms.insert(Atom::Guest(address.clone().into_owned()));
        }
        if !canonical::is_same_answer(one, other) {
            atoms.insert(Atom::Answer(address.into_owned()));
        }
    }
    atoms
}
