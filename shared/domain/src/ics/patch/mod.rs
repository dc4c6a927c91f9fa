//! Changes to an object that somebody else made: the lines that say what changed are written anew, every other
//! line stays byte for byte (unknown properties and components, alarms, folding, order).
//!
//! New lines are taken from what [`super::write()`] would write for the whole part, so there is one way to spell
//! things. Which part a `VEVENT` is, is for the reader to say ([`super::series::names`]): it takes more forms than one
//! would think of twice. A `VEVENT` of which neither version of the event speaks is not ours to touch.

mod key;
mod pairs;
mod part;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use chrono_tz::Tz;

use self::key::Key;
pub use self::pairs::counterparts;
use self::part::{Part, edited};
use super::Limits;
use super::component::{Component, EventSpan, Outline, outline};
use super::fields;
use super::line::{Line, Lines, fold};
use super::parse;
use super::series::{self, Keys, Reading};
use super::timezones::{NamedZone, Zones};
use super::write::{part_text, value, write, zone_texts};
use crate::clock::Timestamp;
use crate::model::{Body, Event, Fields, Master, Override, RecurrenceId, Status, Uid};
use crate::recurrence::expand::start_of;

/// Texts and where they go; what stood there is replaced.
type Edits = Vec<(Range<usize>, String)>;

/// Changes `raw`, which says `before`, so that it says `after`. `zone` is the calendar's own, in which `raw` was read;
/// `stamp` becomes `DTSTAMP` and `LAST-MODIFIED` of the parts that change. Where `raw` is no object of that event, `after`
/// is written from the model alone.
pub fn patch(raw: &str, before: &Event, after: &Event, zone: Option<Tz>, stamp: Timestamp) -> String {
    let limits = Limits { bytes: usize::MAX, line_bytes: usize::MAX, ..Limits::default() };
    let Ok(outline) = outline(raw, &limits) else { return write(after, stamp) };
    let reading = Reading { limits: &limits, zone: parse::zone_of(&outline, zone), is_message: false };
    let Some(held) = held(raw, &outline, &after.uid, reading) else { return write(after, stamp) };
    let starts = held.iter().map(|event| event.span.start).min();
    let ends = held.iter().map(|event| event.span.end).max();
    let (Some(first), Some(last)) = (starts, ends) else { return write(after, stamp) };

    let mut change = Changing::new(raw, before, after, reading.zone, stamp);
    // the version that counts comes last
    held.iter().rev().for_each(|event| change.event(event));
    let added = change.added();
    let mut edits = change.edits;
    edits.push((last..last, added));
    let missing = missing_zones(raw, &outline, after, &edits);
    edits.push((first..first, missing));
    apply(raw, edits)
}

/// A `VEVENT` of the object.
struct Held<'o> {
    span: &'o Range<usize>,
    /// Which part it is; `None` for the single event or the master.
    name: Option<RecurrenceId>,
    /// What it says by itself.
    read: fields::Part,
}

/// The parts of the object by version; `None` where the reader would make no event of it.
fn held<'o>(raw: &str, outline: &'o Outline<'_>, uid: &Uid, reading: Reading<'_>) -> Option<Vec<Held<'o>>> {
    let is_named = |event: &&EventSpan| event.uid.as_deref() == Some(uid.normalised());
    let mut spans: Vec<&EventSpan> = outline.events.iter().filter(is_named).collect();
    if spans.is_empty() {
        spans = outline.events.iter().filter(|event| event.uid.is_none()).collect();
    }
    let mut zones: Vec<Zones<'_>> = outline
        .calendars
        .iter()
        .map(|calendar| {
            let embedded = calendar.zones.iter().filter_map(|span| NamedZone::at(raw, span));
            Zones::new(embedded.collect(), reading.zone)
        })
        .collect();
    let mut parts = Vec::with_capacity(spans.len());
    for (position, event) in spans.iter().enumerate() {
        let component = Component::at(raw, &event.span);
        let zones = zones.get_mut(event.calendar)?;
        let part = fields::part(&component, zones, reading.limits, &mut Vec::new()).ok()?;
        parts.push(fields::Part { position, ..part });
    }
    let held = series::names(parts, reading).into_iter().filter_map(|(name, read)| {
        let event = spans.get(read.position)?;
        Some(Held { span: &event.span, name, read })
    });
    Some(held.collect())
}

/// What an event says of one of its parts.
enum Said<'e> {
    Part(Part<'e>),
    /// It does not take place, and there is no master to exclude it.
    Cancelled,
}

/// One version of the event.
struct Version<'e> {
    event: &'e Event,
    master: Option<&'e Master>,
    /// What has an object of its own, and the id that the event has for it; `None` is the single event or the master.
    parts: BTreeMap<Option<RecurrenceId>, (Option<RecurrenceId>, Said<'e>)>,
    /// Instances that its master leaves out.
    excluded: BTreeSet<RecurrenceId>,
}

impl<'e> Version<'e> {
    fn new(event: &'e Event, zone: Option<Tz>) -> Self {
        let (mut parts, mut excluded) = (BTreeMap::new(), BTreeSet::new());
        let part = |fields: &'e Fields, master| Said::Part(Part { fields, master });
        let series = match &event.body {
            Body::Single(fields) => {
                parts.insert(None, (None, part(fields, None)));
                return Self { event, master: None, parts, excluded };
            }
            Body::Series(series) => series,
        };
        let master = series.master.as_ref();
        let key = Key::of(event, zone);
        if let Some(master) = master {
            parts.insert(None, (None, part(&master.fields, Some(master))));
            excluded.extend(master.exclusions.iter().map(|id| key.of_id(*id)));
        }
        for (id, over) in &series.overrides {
            let said = match over {
                Override::Changed(fields) => part(fields, None),
                Override::Cancelled if master.is_none() => Said::Cancelled,
                Override::Cancelled => {
                    excluded.insert(key.of_id(*id));
                    continue;
                }
            };
            parts.insert(Some(key.of_id(*id)), (Some(*id), said));
        }
        Self { event, master, parts, excluded }
    }

    /// Whether it says anything of that part.
    fn knows(&self, name: Option<RecurrenceId>) -> bool {
        self.parts.contains_key(&name) || name.is_some_and(|id| self.excluded.contains(&id))
    }
}

/// The object while it changes, part by part.
struct Changing<'e> {
    raw: &'e str,
    old: Version<'e>,
    new: Version<'e>,
    /// Which instance of `new` is which of `old`, by the latter.
    places: BTreeMap<RecurrenceId, RecurrenceId>,
    zone: Option<Tz>,
    stamp: Timestamp,
    edits: Edits,
    /// Parts of which the `VEVENT` that counts was seen, and what of them changes or goes.
    seen: BTreeSet<Option<RecurrenceId>>,
    changed: BTreeSet<Option<RecurrenceId>>,
    /// Parts of `new` that have a `VEVENT`.
    written: BTreeSet<Option<RecurrenceId>>,
}

impl<'e> Changing<'e> {
    fn new(raw: &'e str, before: &'e Event, after: &'e Event, zone: Option<Tz>, stamp: Timestamp) -> Self {
        let (from, to) = (Key::of(before, zone), Key::of(after, zone));
        let pairs = counterparts(before, after, zone);
        Self {
            raw,
            old: Version::new(before, zone),
            new: Version::new(after, zone),
            places: pairs.into_iter().map(|(new, old)| (from.of_id(old), to.of_id(new))).collect(),
            zone,
            stamp,
            edits: Edits::new(),
            seen: BTreeSet::new(),
            changed: BTreeSet::new(),
            written: BTreeSet::new(),
        }
    }

    fn event(&mut self, held: &Held<'_>) {
        let edits = if self.seen.insert(held.name) {
            self.edits_of(held)
        } else if self.changed.contains(&held.name) {
            // an older version of a part that changes could count again, by another clock
            gone(held)
        } else {
            Edits::new()
        };
        if !edits.is_empty() {
            self.changed.insert(held.name);
        }
        self.edits.extend(edits);
    }

    fn edits_of(&mut self, held: &Held<'_>) -> Edits {
        if self.has_no_place(held.name) {
            return gone(held);
        }
        let place = self.place_of(held.name);
        if self.new.parts.contains_key(&place) {
            return if self.written.insert(place) { self.rewritten(held, place) } else { gone(held) };
        }
        let is_cancelled = held.read.fields.status == Status::Cancelled;
        if is_cancelled && place.is_some_and(|id| self.new.excluded.contains(&id)) {
            // it says what the exclusion says, under whatever name
            return if self.is_stale_name(held, place) { self.renamed(held, place) } else { Edits::new() };
        }
        if self.old.knows(held.name) { gone(held) } else { Edits::new() }
    }

    /// Whether a part of the old version is none any more.
    fn has_no_place(&self, name: Option<RecurrenceId>) -> bool {
        name.is_some_and(|id| !self.places.contains_key(&id)) && self.old.knows(name)
    }

    /// Which part of the new version it is otherwise.
    fn place_of(&self, name: Option<RecurrenceId>) -> Option<RecurrenceId> {
        name.map(|id| self.places.get(&id).copied().unwrap_or(id))
    }

    fn rewritten(&self, held: &Held<'_>, place: Option<RecurrenceId>) -> Edits {
        let Some((id, said)) = self.new.parts.get(&place) else { return Edits::new() };
        let old = match self.old.parts.get(&held.name) {
            Some((_, Said::Part(part))) => *part,
            _ => Part { fields: &held.read.fields, master: None },
        };
        let cancelled = Fields { status: Status::Cancelled, ..old.fields.clone() };
        let new = match said {
            Said::Part(part) => *part,
            Said::Cancelled => Part { fields: &cancelled, master: None },
        };
        let stale: &[&str] = if self.is_stale_name(held, place) { &["RECURRENCE-ID"] } else { &[] };
        let fresh = part_text(self.new.event, *id, self.stamp);
        edited(self.raw, held.span, (&old, &new), stale, &fresh)
    }

    /// Whether a `VEVENT` would not be read as that part any more.
    fn is_stale_name(&self, held: &Held<'_>, place: Option<RecurrenceId>) -> bool {
        let (Some(old), Some(new)) = (self.old.master, self.new.master) else { return false };
        let (Some(name), Some(place)) = (&held.read.recurrence_id, place) else { return false };
        let (from, to) = (&old.fields.start, &new.fields.start);
        let has_moved = from != to || old.rules != new.rules || old.additions != new.additions;
        has_moved && (part::is_other_form(from, to) || Keys::new(to, self.zone).id(name) != place)
    }

    fn renamed(&self, held: &Held<'_>, place: Option<RecurrenceId>) -> Edits {
        let mut lines = Lines::within(self.raw, held.span);
        let (Some(line), Some(master), Some(id)) =
            (lines.find(|line| line.is("RECURRENCE-ID")), self.new.master, place)
        else {
            return Edits::new();
        };
        let mut name = String::new();
        fold(&format!("RECURRENCE-ID{}", value(&start_of(id, &master.fields.start))), &mut name);
        vec![(line.span, name)]
    }

    /// The parts that have no `VEVENT` yet.
    fn added(&self) -> String {
        let added = self.new.parts.iter().filter(|(place, _)| !self.written.contains(place));
        added.map(|(_, (id, _))| part_text(self.new.event, *id, self.stamp)).collect()
    }
}

fn gone(held: &Held<'_>) -> Edits {
    vec![(held.span.clone(), String::new())]
}

/// The zones that new lines use and the object does not describe.
fn missing_zones(raw: &str, outline: &Outline<'_>, event: &Event, edits: &Edits) -> String {
    let spans = outline.calendars.iter().flat_map(|calendar| &calendar.zones);
    let known: BTreeSet<String> =
        spans.filter_map(|span| NamedZone::at(raw, span)).map(|zone| zone.tzid).collect();
    let mut used = BTreeSet::new();
    for (_, text) in edits {
        let lines = Lines::new(text).map(|line| Line::new(line.unfolded()));
        used.extend(lines.filter_map(|line| line.parameter("TZID").map(Cow::into_owned)));
    }
    let missing = zone_texts(event).into_iter();
    missing.filter(|(name, _)| used.contains(name) && !known.contains(name)).map(|(_, text)| text).collect()
}

/// Applies edits that do not overlap.
fn apply(raw: &str, mut edits: Edits) -> String {
    edits.sort_by_key(|(at, _)| (at.start, at.end));
    let mut text = String::with_capacity(raw.len() + 512);
    let mut done = 0;
    for (at, new) in edits {
        text.push_str(raw.get(done..at.start).unwrap_or_default());
        if !new.is_empty() && !text.is_empty() && !text.ends_with('\n') {
            text.push_str("\r\n");
        }
        text.push_str(&new);
        done = done.max(at.end);
    }
    text.push_str(raw.get(done..).unwrap_or_default());
    text
}

#[cfg(test)]
mod tests;
