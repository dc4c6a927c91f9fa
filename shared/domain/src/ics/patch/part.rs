//! What changes inside one `VEVENT`: the lines of properties that say something else, of guests and alarms one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::Edits;
use crate::ics::component::Component;
use crate::ics::line::{Line, Lines, fold};
use crate::ics::{guests, reminders};
use crate::model::{Attendee, Fields, Master, Reminder, When};

/// What one `VEVENT` says.
#[derive(Clone, Copy)]
pub(super) struct Part<'e> {
    pub(super) fields: &'e Fields,
    /// Only for the master of a series.
    pub(super) master: Option<&'e Master>,
}

/// The properties that say one thing, and whether two versions of a part say it differently.
type Group = (&'static [&'static str], fn(&Part<'_>, &Part<'_>) -> bool);

const GROUPS: [Group; 17] = [
    (&["DTSTART"], |a, b| a.fields.start != b.fields.start),
    (&["DTEND", "DURATION"], |a, b| a.fields.end != b.fields.end),
    (&["RRULE"], |a, b| a.master.map(|m| &m.rules) != b.master.map(|m| &m.rules)),
    (&["RDATE"], |a, b| {
        a.master.map(|m| &m.additions) != b.master.map(|m| &m.additions) || is_written_otherwise(a, b)
    }),
    (&["EXDATE", "EXRULE"], |a, b| {
        a.master.map(|m| &m.exclusions) != b.master.map(|m| &m.exclusions) || is_written_otherwise(a, b)
    }),
    (&["SUMMARY"], |a, b| a.fields.title != b.fields.title),
    // the same text as HTML would be stale
    (&["DESCRIPTION", "X-ALT-DESC"], |a, b| a.fields.description != b.fields.description),
    (&["LOCATION"], |a, b| a.fields.location != b.fields.location),
    (&["URL"], |a, b| a.fields.url != b.fields.url),
    (&["STATUS"], |a, b| a.fields.status != b.fields.status),
    (&["TRANSP", "X-MICROSOFT-CDO-BUSYSTATUS"], |a, b| a.fields.transparency != b.fields.transparency),
    (&["CLASS"], |a, b| a.fields.visibility != b.fields.visibility),
    (&["ORGANIZER"], |a, b| a.fields.organizer != b.fields.organizer),
    (&["CATEGORIES"], |a, b| a.fields.categories != b.fields.categories),
    (&["COLOR"], |a, b| a.fields.color != b.fields.color),
    (
        &[
            "CONFERENCE",
            "X-GOOGLE-CONFERENCE",
            "X-MICROSOFT-SKYPETEAMSMEETINGURL",
            "X-MICROSOFT-ONLINEMEETINGCONFLINK",
        ],
        |a, b| a.fields.conference != b.fields.conference,
    ),
    (&["SEQUENCE"], |a, b| a.fields.stamps.sequence != b.fields.stamps.sequence),
];

/// Whether instances of a series are named in another form or zone than before: then the same ids are other lines.
fn is_written_otherwise(a: &Part<'_>, b: &Part<'_>) -> bool {
    a.master.is_some() && b.master.is_some() && is_other_form(&a.fields.start, &b.fields.start)
}

/// Whether two points in time are written in different forms or zones.
pub(super) fn is_other_form(a: &When, b: &When) -> bool {
    match (a, b) {
        (When::Date(_), When::Date(_))
        | (When::Floating(_), When::Floating(_))
        | (When::Utc(_), When::Utc(_)) => false,
        (When::Zoned { zone: a, .. }, When::Zoned { zone: b, .. }) => a != b,
        _ => true,
    }
}

/// The edits that make one `VEVENT` say the second of two versions instead of the first; none when it says so already.
/// Lines of the properties `stale` are written anew in any case; `fresh` is the whole part from the model.
pub(super) fn edited(
    raw: &str,
    span: &Range<usize>,
    (old, new): (&Part<'_>, &Part<'_>),
    stale: &[&str],
    fresh: &str,
) -> Edits {
    let differing = GROUPS.iter().filter(|(_, differ)| differ(old, new)).flat_map(|(names, _)| *names);
    let mut stale: BTreeSet<&str> = stale.iter().chain(differing).copied().collect();
    let mut guests = Guests::new(&old.fields.attendees, &new.fields.attendees, fresh);
    let mut alarms = Alarms::new(&old.fields.reminders, &new.fields.reminders);
    if stale.is_empty() && !guests.has_changes() && !alarms.has_changes() {
        return Edits::new();
    }
    stale.extend(["DTSTAMP", "LAST-MODIFIED"]);
    let mut edits = Edits::new();
    let mut place = None;
    for (item, at) in items(raw, span) {
        let new = match item {
            Item::Line(line) if stale.contains(line.name().as_ref()) => Some(String::new()),
            Item::Line(line) if line.is("ATTENDEE") => guests.line(&line),
            Item::Line(_) => None,
            Item::Inner(component) => {
                place = place.or(Some(at.start));
                (!alarms.keeps(&component)).then(String::new)
            }
            Item::End => {
                place = place.or(Some(at.start));
                None
            }
        };
        edits.extend(new.map(|new| (at, new)));
    }
    let (mut lines, mut inner) = (String::new(), String::new());
    for (item, at) in items(fresh, &(0..fresh.len())) {
        let text = fresh.get(at).unwrap_or_default();
        match item {
            Item::Line(line) if stale.contains(line.name().as_ref()) || guests.is_missing(&line) => {
                lines.push_str(text);
            }
            Item::Inner(component) if alarms.is_missing(&component) => inner.push_str(text),
            _ => {}
        }
    }
    let place = place.unwrap_or(span.end);
    edits.push((place..place, lines + &inner));
    edits
}

/// The guests of two versions by address, and what is left to say of them.
struct Guests<'e> {
    old: BTreeMap<&'e str, &'e Attendee>,
    new: BTreeMap<&'e str, &'e Attendee>,
    /// The lines of the model.
    fresh: BTreeMap<String, Line<'e>>,
    /// Guests who came or changed and are not written yet.
    missing: BTreeSet<&'e str>,
}

impl<'e> Guests<'e> {
    fn new(old: &'e [Attendee], new: &'e [Attendee], fresh: &'e str) -> Self {
        let by_address = |guests: &'e [Attendee]| -> BTreeMap<&'e str, &'e Attendee> {
            guests.iter().map(|guest| (guest.address.as_str(), guest)).collect()
        };
        let has_changes = old != new;
        let (old, new) = (by_address(old), by_address(new));
        let missing = new.iter().filter(|(address, guest)| old.get(*address) != Some(guest));
        let missing = missing.map(|(address, _)| *address).collect();
        let mut lines = BTreeMap::new();
        if has_changes {
            for (item, _) in items(fresh, &(0..fresh.len())) {
                if let Item::Line(line) = item
                    && line.is("ATTENDEE")
                    && let Some(guest) = guests::attendee(&line)
                {
                    lines.insert(guest.address, line);
                }
            }
        }
        Self { old, new, fresh: lines, missing }
    }

    fn has_changes(&self) -> bool {
        self.old != self.new
    }

    /// What becomes of a line; `None` when it stays.
    fn line(&mut self, line: &Line<'_>) -> Option<String> {
        let said = guests::attendee(line)?;
        let address = said.address.as_str();
        let Some(new) = self.new.get(address) else {
            return self.old.contains_key(address).then(String::new);
        };
        let old = self.old.get(address);
        if old == Some(new) {
            return None;
        }
        // of several lines for one guest the one that counted is the one to change
        let counted = old.filter(|old| ***old == said && self.missing.contains(address));
        let Some(fresh) = self.fresh.get(address).filter(|_| counted.is_some()) else {
            return Some(String::new());
        };
        let mut text = String::new();
        fold(&line.with_parameters(&differing(&said, new), fresh), &mut text);
        self.missing.remove(address);
        Some(text)
    }

    /// Whether a line of the model names a guest who is not written yet.
    fn is_missing(&self, line: &Line<'_>) -> bool {
        line.is("ATTENDEE")
            && guests::attendee(line).is_some_and(|guest| self.missing.contains(guest.address.as_str()))
    }
}

/// The parameters in which two versions of a guest differ.
fn differing(old: &Attendee, new: &Attendee) -> Vec<&'static str> {
    let parameters = [
        ("CN", old.name != new.name),
        ("CUTYPE", old.kind != new.kind),
        ("ROLE", old.role != new.role),
        ("PARTSTAT", old.status != new.status),
        ("X-RESPONSE-COMMENT", old.comment != new.comment),
    ];
    parameters.into_iter().filter(|(_, is_other)| *is_other).map(|(name, _)| name).collect()
}

/// The reminders of two versions, and which of them stand in the `VEVENT`.
struct Alarms<'e> {
    old: &'e [Reminder],
    new: &'e [Reminder],
    standing: BTreeSet<Reminder>,
}

impl<'e> Alarms<'e> {
    fn new(old: &'e [Reminder], new: &'e [Reminder]) -> Self {
        Self { old, new, standing: BTreeSet::new() }
    }

    fn has_changes(&self) -> bool {
        self.old != self.new
    }

    /// Whether a component inside the `VEVENT` stays.
    fn keeps(&mut self, component: &Component<'_>) -> bool {
        let Some(reminder) = reminders::reminder(component).filter(|_| self.has_changes()) else {
            return true;
        };
        let is_kept = self.new.contains(&reminder);
        self.standing.insert(reminder);
        is_kept
    }

    /// Whether a component of the model is a reminder that does not stand yet.
    fn is_missing(&self, component: &Component<'_>) -> bool {
        let reminder = reminders::reminder(component).filter(|_| self.has_changes());
        reminder.is_some_and(|reminder| !self.standing.contains(&reminder))
    }
}

enum Item<'a> {
    /// A property of the event itself.
    Line(Line<'a>),
    /// A component inside it.
    Inner(Component<'a>),
    /// Its last line.
    End,
}

/// What stands inside a `VEVENT`, and where.
fn items<'a>(text: &'a str, span: &Range<usize>) -> Vec<(Item<'a>, Range<usize>)> {
    let mut items = Vec::new();
    let mut depth = 0_usize;
    let mut begin = 0;
    for folded in Lines::within(text, span) {
        let at = folded.span.clone();
        let line = Line::new(folded.unfolded());
        match line.name().as_ref() {
            "BEGIN" => {
                depth += 1;
                if depth == 2 {
                    begin = at.start;
                }
            }
            "END" => {
                depth = depth.saturating_sub(1);
                if depth == 1 {
                    let inner = begin..at.end;
                    items.push((Item::Inner(Component::at(text, &inner)), inner));
                } else if depth == 0 {
                    items.push((Item::End, at));
                }
            }
            _ if depth == 1 => items.push((Item::Line(line), at)),
            _ => {}
        }
    }
    items
}
