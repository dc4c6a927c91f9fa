//! A document → its events, each with its own text.
//!
//! Two passes. The first finds where events and zones stand ([`super::component::outline`]), because a zone may
//! follow the events that use it and the parts of a series may lie anywhere; the second reads the parts of one
//! `UID` after another. Zones are looked up in their own `VCALENDAR` only.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::time::Duration;

use chrono_tz::Tz;
use sha2::{Digest, Sha256};

use super::component::{CalendarSpan, Component, EventSpan, Outline, outline};
use super::fault::Fault;
use super::fields::{self, Part};
use super::line::{Line, Lines};
use super::series::{self, Reading};
use super::timezones::{NamedZone, Zones, warn_once};
use super::{IcsError, Limits, value};
use crate::clock::Timestamp;
use crate::model::{Event, Uid};
use crate::recurrence::zone;

/// An object that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadObject {
    /// What it says.
    pub event: Event,
    /// The latest `LAST-MODIFIED` of its parts, else their `DTSTAMP` (which in a document with `METHOD` is the
    /// time of the message and does not count); `None` when nothing says.
    pub changed_at: Option<Timestamp>,
    /// A `VCALENDAR` with this `UID` only: verbatim when the document holds no other, else the header, the zones
    /// it needs and its parts, each verbatim.
    pub raw: String,
    /// What was repaired or could not be understood; for people.
    pub warnings: Vec<String>,
}

/// One object of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// It can be read.
    Read(Box<ReadObject>),
    /// It is there and cannot be read. Never a deletion.
    Unreadable {
        /// Its `UID`, if it has one.
        uid: Option<Uid>,
        /// Why, in words for people.
        reason: String,
        /// Its text.
        raw: String,
    },
}

/// A document, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// `NAME` or `X-WR-CALNAME`.
    pub name: Option<String>,
    /// `X-WR-TIMEZONE` as written.
    pub time_zone: Option<String>,
    /// `REFRESH-INTERVAL` or `X-PUBLISHED-TTL`: how often the publisher wants to be asked at most.
    pub refresh_interval: Option<Duration>,
    /// `METHOD`, upper case.
    pub method: Option<String>,
    /// Its objects, in the order in which their first part stands.
    pub items: Vec<Item>,
    /// Whether the text ends inside a component: what is missing then was cut off, not deleted.
    pub is_truncated: bool,
}

/// Reads a document. `default_zone` is the calendar's own zone, for times whose zone nobody can know; the
/// document's `X-WR-TIMEZONE` goes before it. Bytes become a text by [`super::decode()`].
///
/// # Errors
/// Only when the text is no iCalendar at all, or over the limit of the whole document.
pub fn read(text: &str, default_zone: Option<Tz>, limits: &Limits) -> Result<Document, IcsError> {
    if text.len() > limits.bytes {
        return Err(IcsError::TooLarge { bytes: text.len(), limit: limits.bytes });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let outline = outline(text, limits)?;
    let header = |name: &str| header(&outline, name);
    let interval = header("REFRESH-INTERVAL").or_else(|| header("X-PUBLISHED-TTL"));
    let time_zone = header("X-WR-TIMEZONE");
    let mut document = Document {
        name: header("NAME").or_else(|| header("X-WR-CALNAME")),
        refresh_interval: interval
            .and_then(|interval| value::duration(&interval))
            .and_then(|interval| u64::try_from(interval.seconds()).ok())
            .map(Duration::from_secs),
        method: header("METHOD").map(|method| method.to_ascii_uppercase()),
        items: Vec::new(),
        is_truncated: outline.is_truncated,
        time_zone,
    };
    let zone = zone_of(&outline, default_zone);
    let mut reader = Reader {
        text,
        scopes: outline.calendars.iter().map(|calendar| Scope::new(text, calendar, zone)).collect(),
        reading: Reading { limits, zone, is_message: document.method.is_some() },
        is_one: false,
        is_damaged: text.contains(char::REPLACEMENT_CHARACTER),
        repeatable_bytes: limits.repeated_bytes,
    };
    let groups = by_uid(text, &outline);
    reader.is_one = groups.len() == 1 && starts_calendar(text);
    document.items = groups.into_iter().map(|(uid, parts)| reader.item(uid, &parts)).collect();
    Ok(document)
}

/// What a document says of itself under that name.
fn header(outline: &Outline<'_>, name: &str) -> Option<String> {
    let mut lines = outline.calendars.iter().flat_map(|calendar| &calendar.lines);
    let (line, _) = lines.find(|(line, _)| line.is(name))?;
    Some(value::text(line.value()).trim().to_owned()).filter(|value| !value.is_empty())
}

/// The zone in which the times of a document are read whose zone nobody can know: its own, else the calendar's.
pub(crate) fn zone_of(outline: &Outline<'_>, default: Option<Tz>) -> Option<Tz> {
    header(outline, "X-WR-TIMEZONE").as_deref().and_then(zone::iana).or(default)
}

fn starts_calendar(text: &str) -> bool {
    Lines::new(text).next().is_some_and(|line| line.unfolded().trim().eq_ignore_ascii_case("BEGIN:VCALENDAR"))
}

/// The `UID` of a group, and whether it was made from the content because there is none.
struct Name {
    uid: String,
    is_made: bool,
}

/// The events of a document by `UID`, in order of appearance.
fn by_uid<'o>(text: &str, outline: &'o Outline<'_>) -> Vec<(Name, Vec<&'o EventSpan>)> {
    let mut groups: Vec<(Name, Vec<&EventSpan>)> = Vec::new();
    let mut places: HashMap<Cow<'_, str>, usize> = HashMap::new();
    let mut lossy: HashMap<String, usize> = HashMap::new();
    for event in &outline.events {
        let uid = match &event.uid {
            Some(uid) => Cow::Borrowed(uid.as_str()),
            // what was lost may be what told two of them apart
            None if is_lossy(text, event) => {
                let made = made_uid(text, event);
                let before = lossy.entry(made.clone()).or_default();
                *before += 1;
                Cow::Owned(format!("{before}-{made}"))
            }
            None => Cow::Owned(made_uid(text, event)),
        };
        if let Some(group) = places.get(&uid).and_then(|place| groups.get_mut(*place)) {
            group.1.push(event);
        } else {
            let name = Name { uid: uid.clone().into_owned(), is_made: event.uid.is_none() };
            places.insert(uid, groups.len());
            groups.push((name, vec![event]));
        }
    }
    groups
}

fn is_lossy(text: &str, event: &EventSpan) -> bool {
    text.get(event.span.clone()).is_some_and(|text| text.contains(char::REPLACEMENT_CHARACTER))
}

/// A `UID` for an event that has none: the same as long as its content is.
fn made_uid(text: &str, event: &EventSpan) -> String {
    const VOLATILE: [&str; 4] = ["DTSTAMP", "LAST-MODIFIED", "CREATED", "SEQUENCE"];
    let mut hash = Sha256::new();
    for line in Lines::within(text, &event.span) {
        if !VOLATILE.iter().any(|volatile| line.is(volatile)) {
            hash.update(line.unfolded().as_ref());
            hash.update(b"\n");
        }
    }
    let mut digest = hex::encode(hash.finalize());
    digest.truncate(32);
    format!("{digest}@calfleet.invalid")
}

/// The zones and the header of one `VCALENDAR`.
struct Scope<'t> {
    zones: Zones<'t>,
    header: Vec<Range<usize>>,
}

impl<'t> Scope<'t> {
    fn new(text: &'t str, calendar: &CalendarSpan<'_>, zone: Option<Tz>) -> Self {
        let embedded = calendar.zones.iter().filter_map(|span| NamedZone::at(text, span)).collect();
        let kept = |name: &str| matches!(name, "PRODID" | "VERSION" | "CALSCALE");
        let header =
            calendar.lines.iter().filter(|(line, _)| kept(&line.name())).map(|(_, span)| span.clone());
        Self { zones: Zones::new(embedded, zone), header: header.collect() }
    }
}

const DAMAGED: &str = "a line has letters that cannot be read (U+FFFD)";

struct Reader<'a, 'l> {
    text: &'a str,
    scopes: Vec<Scope<'a>>,
    reading: Reading<'l>,
    /// Whether the document is one object and its text therefore the object's.
    is_one: bool,
    /// Whether it holds letters that could not be read.
    is_damaged: bool,
    /// Bytes of headers and zones that may still be repeated.
    repeatable_bytes: usize,
}

impl Reader<'_, '_> {
    fn item(&mut self, name: Name, spans: &[&EventSpan]) -> Item {
        let mut warnings = Vec::new();
        if name.is_made {
            warnings.push("the event has no UID; one was made from its content".to_owned());
        }
        let mut used = BTreeSet::new();
        let read = self.parts(spans, &mut used, &mut warnings).and_then(|parts| {
            let uid = Uid(name.uid.clone());
            series::event(uid, parts, self.reading, &mut warnings)
        });
        let fault = match read {
            Ok((event, changed_at)) => match self.raw(spans, Some(&used)) {
                (raw, None) => {
                    return Item::Read(Box::new(ReadObject { event, changed_at, raw, warnings }));
                }
                (_, Some(missing)) => Fault::ZoneTooLarge(missing.chars().take(80).collect()),
            },
            Err(fault) => fault,
        };
        Item::Unreadable {
            uid: (!name.is_made).then_some(Uid(name.uid)),
            reason: fault.to_string(),
            raw: self.raw(spans, None).0,
        }
    }

    fn parts(
        &mut self,
        spans: &[&EventSpan],
        used: &mut BTreeSet<String>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Part>, Fault> {
        let mut parts = Vec::with_capacity(spans.len());
        for (position, event) in spans.iter().enumerate() {
            if let Some(fault) = &event.fault {
                return Err(fault.clone());
            }
            let component = Component::at(self.text, &event.span);
            if self.is_damaged && component.lines.iter().any(Line::is_damaged) {
                warn_once(warnings, DAMAGED.to_owned());
            }
            let Some(scope) = self.scopes.get_mut(event.calendar) else { continue };
            let mut part = fields::part(&component, &mut scope.zones, self.reading.limits, warnings)?;
            part.position = position;
            parts.push(part);
            if !self.is_one && !scope.zones.embedded().is_empty() {
                let tzids = component.lines.iter().filter_map(|line| line.parameter("TZID"));
                used.extend(tzids.map(|tzid| tzid.trim().to_owned()));
            }
        }
        Ok(parts)
    }

    /// The text of one object; `used` names the zones it needs, `None` stands for all. Also the zone that is missing in it
    /// and without which nobody can read its times.
    fn raw(&mut self, spans: &[&EventSpan], used: Option<&BTreeSet<String>>) -> (String, Option<String>) {
        if self.is_one {
            return (self.text.to_owned(), None);
        }
        let scope = spans.first().and_then(|event| self.scopes.get(event.calendar));
        let mut missing = None;
        let mut raw = String::from("BEGIN:VCALENDAR\r\n");
        let mut add = |span: &Range<usize>| {
            raw.push_str(self.text.get(span.clone()).unwrap_or_default());
            if !raw.ends_with('\n') {
                raw.push_str("\r\n");
            }
        };
        if let Some(scope) = scope {
            // one large zone that ten thousand events use is ten thousand times as large
            let left = &mut self.repeatable_bytes;
            let mut repeat = |span: &Range<usize>| match left.checked_sub(span.len()) {
                Some(rest) => {
                    *left = rest;
                    add(span);
                    true
                }
                None => false,
            };
            for span in &scope.header {
                repeat(span);
            }
            let zones = scope.zones.embedded().iter();
            for zone in zones.filter(|zone| used.is_none_or(|used| used.contains(&zone.tzid))) {
                if !repeat(&zone.span) && zone.is_needed() {
                    missing = Some(zone.tzid.clone());
                }
            }
        }
        spans.iter().map(|event| &event.span).for_each(&mut add);
        raw.push_str("END:VCALENDAR\r\n");
        (raw, missing)
    }
}
