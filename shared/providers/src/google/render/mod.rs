//! Our nouns → what Google is sent: a new event whole, of a held one only what differs, laid over its raw payload.
//!
//! What is not mentioned in a patch stays at Google, objects are merged by key, lists are replaced whole, and `null`
//! deletes (`Events: patch`). So nothing is mentioned that did not change, and lists start from the raw ones.

mod conference;

use std::collections::BTreeSet;

use calfleet_domain::model::{
    self, Event, Fields, Master, Override, ProviderId, Reminder, Revision, Series, Status, Transparency,
    Visibility,
};
use calfleet_domain::reconcile::Atom;
use calfleet_domain::reconcile::diff::{differing_fields, has_same_frame};
use serde_json::{Map, Value, json};

use super::normalise::Setting;
use super::{fields, guests, times};
use crate::instances::has_stray;
use crate::marker;

/// The body of a request, or the raw payload that it is laid over.
pub(super) type Body = Map<String, Value>;

/// The private property that holds a link to join by which is not Google's.
pub(super) const CONFERENCE_MARKER: &str = "calfleetConference";
/// Most reminders of an event at Google.
const MOST_REMINDERS: usize = 5;
/// The earliest reminder at Google: four weeks.
const MOST_MINUTES: i64 = 40_320;

/// What Google cannot be told; completes "this provider cannot …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsayable {
    #[error("repeat an event in a time zone with rules of its own")]
    CustomZone,
    #[error("add dates of a length of their own to a series")]
    Periods,
    #[error("repeat an event by a rule that names a calendar system")]
    NamedCalendar,
    #[error("change the guests of an event whose guests it shows only in part")]
    PartOfGuests,
    #[error("make instances of a series without the series")]
    NoMaster,
    #[error("change an instance that its series does not have")]
    NoInstance,
}

/// What a write of a copy may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everything.
    Everything,
    /// A guest's copy: the own answer, by address, and what is personal.
    Own(String),
    /// An event that Gmail made: what is personal, visibility and status.
    Gmail,
}

impl Reach {
    /// By Google's own flags, never by comparing addresses.
    pub(super) fn of(raw: &Body) -> Self {
        let is_organizer =
            raw.get("organizer").is_some_and(|organizer| organizer.get("self") == Some(&json!(true)));
        match guests::own_address(raw) {
            Some(own) if !is_organizer => Self::Own(own),
            _ if raw.get("eventType") == Some(&json!("fromGmail")) => Self::Gmail,
            _ => Self::Everything,
        }
    }

    fn admits(&self, atom: &Atom) -> bool {
        match self {
            Self::Everything => true,
            Self::Own(own) => match atom {
                Atom::Answer(address) => address == own,
                atom => matches!(atom, Atom::Reminders | Atom::Color | Atom::Transparency),
            },
            Self::Gmail => {
                matches!(atom, Atom::Reminders | Atom::Color | Atom::Visibility | Atom::Status)
            }
        }
    }
}

/// Whether there is anything in the frame of a series that cannot be said, and was not said before.
pub(super) fn check(before: Option<&Event>, after: &Event) -> Result<(), Unsayable> {
    let Some((_, Some((_, master)))) = face(after) else { return Ok(()) };
    match before.and_then(face) {
        Some((_, Some((_, old)))) if has_same_frame(old, master) => Ok(()),
        _ => times::check(master),
    }
}

/// A new event under a name of ours, with our mark: the single event, or the master with all exclusions.
pub(super) fn new_event(
    (id, mark): (&ProviderId, &str),
    event: &Event,
    setting: &Setting,
) -> Result<Body, Unsayable> {
    let (fields, series) = match &event.body {
        model::Body::Single(fields) => (fields, None),
        model::Body::Series(series) => {
            let master = series.master.as_ref().ok_or(Unsayable::NoMaster)?;
            (&master.fields, Some((series, master)))
        }
    };
    let mut body = whole(fields, setting);
    if let Some((series, master)) = series {
        if has_stray(series, master) {
            return Err(Unsayable::NoInstance);
        }
        let lines = times::recurrence(series, master, &[], setting.zone)?;
        body.insert("recurrence".to_owned(), Value::Array(lines));
    }
    body.insert("id".to_owned(), json!(id.as_str()));
    body.insert("extendedProperties".to_owned(), json!({ "private": { marker::GOOGLE: mark } }));
    let empty = Fields::new(fields.start.clone(), fields.end.clone());
    conference::say((&empty, fields), &Body::new(), (id, None), &mut body);
    Ok(body)
}

/// Everything that a set of fields says, over nothing.
pub(super) fn whole(fields: &Fields, setting: &Setting) -> Body {
    let empty = Fields::new(fields.start.clone(), fields.end.clone());
    let mut atoms = differing_fields(&empty, fields);
    atoms.extend([Atom::When, Atom::Reminders]);
    let mut body = say(&atoms, fields, &Body::new(), setting);
    body.retain(|_, value| !value.is_null());
    for moment in body.values_mut().filter_map(Value::as_object_mut) {
        moment.retain(|_, value| !value.is_null());
    }
    body
}

/// What has to be patched so that a single event or an instance says `after` where it said `before`.
pub(super) fn changes(
    (before, after): (&Fields, &Fields),
    raw: &Body,
    setting: &Setting,
) -> Result<Body, Unsayable> {
    patch(differing_fields(before, after), after, raw, setting)
}

/// The same of a whole object: a single event or a master, either of which may become the other.
pub(super) fn object_changes(
    (before, after): (&Event, &Event),
    (id, revision): (&ProviderId, &Revision),
    raw: &Body,
    setting: &Setting,
) -> Result<Body, Unsayable> {
    let (Some((old, old_series)), Some((new, new_series))) = (face(before), face(after)) else {
        return Err(Unsayable::NoMaster);
    };
    let mut atoms = differing_fields(old, new);
    let recurs_anew = recurs_anew(old_series, new_series);
    if recurs_anew && new_series.is_some() {
        atoms.insert(Atom::When);
    }
    let has_conference = atoms.contains(&Atom::Conference);
    let mut body = patch(atoms, new, raw, setting)?;
    if Reach::of(raw) != Reach::Everything {
        return Ok(body);
    }
    if recurs_anew {
        let held = raw.get("recurrence").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let lines = match new_series {
            Some((series, master)) => Value::Array(times::recurrence(series, master, held, setting.zone)?),
            None => Value::Null,
        };
        body.insert("recurrence".to_owned(), lines);
    }
    if has_conference {
        conference::say((old, new), raw, (id, Some(revision)), &mut body);
    }
    without_repetition(&mut body, raw);
    Ok(body)
}

/// The fields of a single event or a master, with its series.
type Face<'e> = (&'e Fields, Option<(&'e Series, &'e Master)>);

fn face(event: &Event) -> Option<Face<'_>> {
    match &event.body {
        model::Body::Single(fields) => Some((fields, None)),
        model::Body::Series(series) => {
            let master = series.master.as_ref()?;
            Some((&master.fields, Some((series, master))))
        }
    }
}

/// Whether the lines of recurrence have to be written: another frame, or an exclusion among them that is lifted.
pub(super) fn recurs_anew(before: Option<(&Series, &Master)>, after: Option<(&Series, &Master)>) -> bool {
    let (Some((_, old)), Some((series, new))) = (before, after) else {
        return before.is_some() || after.is_some();
    };
    let stays_out =
        |key| new.exclusions.contains(key) || series.overrides.get(key) == Some(&Override::Cancelled);
    !has_same_frame(old, new) || !old.exclusions.iter().all(stays_out)
}

fn patch(
    mut atoms: BTreeSet<Atom>,
    after: &Fields,
    raw: &Body,
    setting: &Setting,
) -> Result<Body, Unsayable> {
    let reach = Reach::of(raw);
    atoms.retain(|atom| reach.admits(atom));
    let touches_guests = atoms.iter().any(|atom| matches!(atom, Atom::Guest(_) | Atom::Answer(_)));
    let is_part = raw.get("attendeesOmitted") == Some(&json!(true));
    if touches_guests && is_part && reach == Reach::Everything {
        return Err(Unsayable::PartOfGuests);
    }
    let mut body = say(&atoms, after, raw, setting);
    if matches!(reach, Reach::Own(_)) && body.remove("attendees").is_some() {
        // Of a guest Google takes nothing else; it then leaves the others alone, whatever became of them since.
        if let Some(own) = guests::own_answer(raw, after) {
            body.insert("attendees".to_owned(), json!([own]));
            body.insert("attendeesOmitted".to_owned(), json!(true));
        }
        return Ok(body);
    }
    without_repetition(&mut body, raw);
    Ok(body)
}

fn say(atoms: &BTreeSet<Atom>, after: &Fields, raw: &Body, setting: &Setting) -> Body {
    let mut body = Body::new();
    for atom in atoms {
        let (name, value) = match atom {
            Atom::When => {
                let (start, end) = times::span(after, setting.zone);
                body.insert("start".to_owned(), start);
                ("end", end)
            }
            Atom::Location => ("location", text(after.location.as_ref())),
            Atom::Title => ("summary", text(after.title.as_ref())),
            Atom::Text => ("description", text(after.description.as_ref())),
            Atom::Url => match source(after, raw) {
                Some(source) => ("source", source),
                None => continue,
            },
            Atom::Reminders => ("reminders", reminders(&after.reminders, raw, setting)),
            Atom::Status => ("status", json!(status(after.status))),
            Atom::Visibility => ("visibility", json!(visibility(after.visibility))),
            Atom::Transparency => ("transparency", json!(transparency(after.transparency))),
            Atom::Color => match &after.color {
                None => ("colorId", Value::Null),
                Some(color) => match fields::color_id(color) {
                    Some(id) => ("colorId", json!(id)),
                    // Not on the palette: kept beside, and what Google shows stays.
                    None => continue,
                },
            },
            Atom::Guest(_) | Atom::Answer(_) => ("attendees", Value::Null),
            Atom::Organizer | Atom::Categories | Atom::Conference | Atom::Existence => continue,
        };
        body.insert(name.to_owned(), value);
    }
    if body.contains_key("attendees") {
        body.insert("attendees".to_owned(), Value::Array(guests::list(raw, after, atoms)));
    }
    body
}

fn text(text: Option<&String>) -> Value {
    text.filter(|text| !text.is_empty()).map_or(Value::Null, |text| json!(text))
}

/// Where the event came from. Google takes web addresses only, with a title.
fn source(after: &Fields, raw: &Body) -> Option<Value> {
    let Some(url) = &after.url else { return Some(Value::Null) };
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return None;
    }
    let has_title = raw.get("source").is_some_and(|source| source.get("title").is_some());
    let title = after.title.as_ref().unwrap_or(url);
    Some(if has_title { json!({ "url": url }) } else { json!({ "url": url, "title": title }) })
}

/// Those that Google can hold. One that is held already keeps its way, by mail or on a screen.
fn reminders(wanted: &[Reminder], raw: &Body, setting: &Setting) -> Value {
    if wanted == setting.reminders() && !wanted.is_empty() {
        return json!({ "useDefault": true, "overrides": null });
    }
    let held = raw.get("reminders").and_then(|held| held.get("overrides")).and_then(Value::as_array);
    let mut minutes: Vec<i64> = wanted
        .iter()
        .filter_map(|reminder| match reminder {
            Reminder::BeforeStart(seconds) => Some(seconds.div_euclid(60)),
            Reminder::BeforeEnd(_) | Reminder::At(_) => None,
        })
        .filter(|minutes| (0..=MOST_MINUTES).contains(minutes))
        .collect();
    minutes.sort_unstable();
    minutes.dedup();
    let mut overrides: Vec<Value> = Vec::new();
    for minutes in minutes {
        let is_this = |entry: &&Value| entry.get("minutes").and_then(Value::as_i64) == Some(minutes);
        let known: Vec<Value> = held.into_iter().flatten().filter(is_this).cloned().collect();
        if known.is_empty() {
            overrides.push(json!({ "method": "popup", "minutes": minutes }));
        } else {
            overrides.extend(known);
        }
    }
    overrides.truncate(MOST_REMINDERS);
    json!({ "useDefault": false, "overrides": overrides })
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Confirmed => "confirmed",
        Status::Tentative => "tentative",
        Status::Cancelled => "cancelled",
    }
}

fn visibility(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Public => "default",
        Visibility::Private => "private",
        Visibility::Confidential => "confidential",
    }
}

fn transparency(transparency: Transparency) -> &'static str {
    match transparency {
        Transparency::Opaque => "opaque",
        Transparency::Transparent => "transparent",
    }
}

/// Takes out what Google says already.
fn without_repetition(body: &mut Body, raw: &Body) {
    body.retain(|name, value| match raw.get(name) {
        Some(held) => laid_over(held, value) != *held,
        None => !value.is_null(),
    });
}

/// A patch laid over a value (RFC 7396).
fn laid_over(held: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut result = held.as_object().cloned().unwrap_or_default();
    for (name, value) in patch {
        if value.is_null() {
            result.remove(name);
        } else {
            let laid = laid_over(result.get(name).unwrap_or(&Value::Null), value);
            result.insert(name.clone(), laid);
        }
    }
    Value::Object(result)
}

#[cfg(test)]
mod tests;
