//! What single atoms say, and how they are carried from one set of fields to another.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::canonical::{address_of, guest, is_blank, write_text};
use super::diff::Atom;
use super::sheet::Face;
use crate::model::{
    Attendee, AttendeeKind, AttendeeRole, End, Fields, ParticipationStatus, RecurrenceId, Reminder, Rule,
    When,
};

/// The same thing on all three states.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides<T> {
    pub(super) base: T,
    pub(super) local: T,
    pub(super) remote: T,
}

/// Fields on all three states, what is inherited filled in.
pub(super) type Sources<'a> = Sides<Option<&'a Fields>>;

/// Copies one atom. Guests come before their answers: an answer of somebody who is not on the list is left out.
pub(super) fn copy(atom: &Atom, from: &Fields, to: &mut Fields) {
    match atom {
        Atom::Existence => {}
        Atom::When => {
            to.start = from.start.clone();
            to.end = from.end.clone();
        }
        Atom::Location => to.location.clone_from(&from.location),
        Atom::Conference => to.conference.clone_from(&from.conference),
        Atom::Title => to.title.clone_from(&from.title),
        Atom::Text => to.description.clone_from(&from.description),
        Atom::Url => to.url.clone_from(&from.url),
        Atom::Organizer => to.organizer.clone_from(&from.organizer),
        Atom::Guest(address) => copy_guest(address, guest(from, address), to),
        Atom::Answer(address) => copy_answer(address, guest(from, address), to),
        Atom::Reminders => to.reminders.clone_from(&from.reminders),
        Atom::Status => to.status = from.status,
        Atom::Visibility => to.visibility = from.visibility,
        Atom::Transparency => to.transparency = from.transparency,
        Atom::Categories => to.categories.clone_from(&from.categories),
        Atom::Color => to.color.clone_from(&from.color),
    }
}

fn copy_guest(address: &str, from: Option<&Attendee>, to: &mut Fields) {
    let place = to.attendees.iter().position(|guest| address_of(guest) == address);
    match (from, place.and_then(|place| to.attendees.get_mut(place))) {
        (Some(from), Some(guest)) => {
            *guest = Attendee { status: guest.status, comment: guest.comment.take(), ..from.clone() };
        }
        (Some(from), None) => {
            to.attendees.push(from.clone());
            to.attendees.sort_by(|one, other| one.address.cmp(&other.address));
        }
        (None, _) => to.attendees.retain(|guest| address_of(guest) != address),
    }
}

fn copy_answer(address: &str, from: Option<&Attendee>, to: &mut Fields) {
    let (Some(from), Some(guest)) =
        (from, to.attendees.iter_mut().find(|guest| address_of(guest) == address))
    else {
        return;
    };
    guest.status = from.status;
    guest.comment.clone_from(&from.comment);
}

/// Gives a guest whom only the `other` side has on its list the answer that is shown there: whoever `decided` the answer
/// does not know that guest.
pub(super) fn answer_as_invited(
    atom: &Atom,
    decided: Option<&Fields>,
    other: Option<&Fields>,
    to: &mut Fields,
) {
    let Atom::Answer(address) = atom else { return };
    if decided.is_some_and(|fields| guest(fields, address).is_none())
        && let Some(other) = other
    {
        copy_answer(address, guest(other, address), to);
    }
}

/// Merges a set: what either side added is in, what either side removed is out.
pub(super) fn unite(atom: &Atom, from: &Sources<'_>, to: &mut Fields) {
    match atom {
        Atom::Reminders => {
            let keyed = |fields: Option<&Fields>| -> BTreeMap<Reminder, Reminder> {
                let reminders = fields.map(|fields| fields.reminders.clone()).unwrap_or_default();
                reminders.into_iter().map(|reminder| (reminder.clone(), reminder)).collect()
            };
            to.reminders = united(&keyed(from.base), &keyed(from.local), &keyed(from.remote));
        }
        Atom::Categories => {
            let keyed = |fields: Option<&Fields>| -> BTreeMap<Vec<u8>, String> {
                let categories = fields.map(|fields| fields.categories.clone()).unwrap_or_default();
                let key = |category: &String| {
                    let mut bytes = Vec::new();
                    write_text(Some(category), &mut bytes);
                    bytes
                };
                categories.into_iter().map(|category| (key(&category), category)).collect()
            };
            to.categories = united(&keyed(from.base), &keyed(from.local), &keyed(from.remote));
            to.categories.sort_unstable();
        }
        _ => {}
    }
}

fn united<K: Ord, V: Clone>(
    base: &BTreeMap<K, V>,
    local: &BTreeMap<K, V>,
    remote: &BTreeMap<K, V>,
) -> Vec<V> {
    let mut united: BTreeMap<&K, &V> = BTreeMap::new();
    for (key, element) in local.iter().chain(remote) {
        let is_in_both = local.contains_key(key) && remote.contains_key(key);
        if is_in_both || !base.contains_key(key) {
            united.insert(key, element);
        }
    }
    united.into_values().cloned().collect()
}

/// What [`Atom::When`] says.
#[derive(Serialize)]
struct Frame<'a> {
    start: &'a When,
    end: &'a End,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<&'a Rule>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    additions: BTreeMap<RecurrenceId, Option<&'a End>>,
}

/// What [`Atom::Guest`] says.
#[derive(Serialize)]
struct Guest<'a> {
    name: &'a Option<String>,
    role: AttendeeRole,
    kind: AttendeeKind,
}

/// What [`Atom::Answer`] says.
#[derive(Serialize)]
struct Answer<'a> {
    status: ParticipationStatus,
    comment: &'a Option<String>,
}

/// What an atom says, for people and for restoring it; `None` where it says nothing.
pub(super) fn value(atom: &Atom, face: &Face<'_>) -> Option<Value> {
    let fields = face.fields;
    let text = |text: &Option<String>| text.clone().filter(|text| !is_blank(Some(text))).map(Value::from);
    match atom {
        Atom::Existence => serde_json::to_value(fields).ok(),
        Atom::When => {
            let frame = Frame {
                start: &fields.start,
                end: &fields.end,
                rules: face.rules(),
                additions: face.additions(),
            };
            serde_json::to_value(frame).ok()
        }
        Atom::Location => text(&fields.location),
        Atom::Conference => {
            fields.conference.as_ref().and_then(|conference| serde_json::to_value(conference).ok())
        }
        Atom::Title => text(&fields.title),
        Atom::Text => text(&fields.description),
        Atom::Url => text(&fields.url),
        Atom::Color => text(&fields.color),
        Atom::Organizer => {
            fields.organizer.as_ref().and_then(|organizer| serde_json::to_value(organizer).ok())
        }
        Atom::Guest(address) => guest(fields, address).and_then(|guest| {
            serde_json::to_value(Guest { name: &guest.name, role: guest.role, kind: guest.kind }).ok()
        }),
        Atom::Answer(address) => guest(fields, address).and_then(|guest| {
            serde_json::to_value(Answer { status: guest.status, comment: &guest.comment }).ok()
        }),
        Atom::Reminders if fields.reminders.is_empty() => None,
        Atom::Reminders => serde_json::to_value(&fields.reminders).ok(),
        Atom::Categories if fields.categories.is_empty() => None,
        Atom::Categories => serde_json::to_value(&fields.categories).ok(),
        Atom::Status => serde_json::to_value(fields.status).ok(),
        Atom::Visibility => serde_json::to_value(fields.visibility).ok(),
        Atom::Transparency => serde_json::to_value(fields.transparency).ok(),
    }
}
