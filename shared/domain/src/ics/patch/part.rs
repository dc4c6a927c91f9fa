//! What changes inside one `VEVENT`: the lines that say something else.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Edits;
use crate::ics::component::Component;
use crate::ics::line::{Line, Lines};
use crate::ics::{guests, reminders};
use crate::model::{Fields, Master, When};

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
    let has_guests = old.fields.attendees != new.fields.attendees;
    let has_alarms = old.fields.reminders != new.fields.reminders;
    if stale.is_empty() && !has_guests && !has_alarms {
        return Edits::new();
    }
    stale.extend(["DTSTAMP", "LAST-MODIFIED"]);
    let changed_guests: BTreeSet<&str> = {
        let kept = |address: &str| new.fields.attendees.iter().find(|guest| guest.address == address);
        let gone = old.fields.attendees.iter().filter(|guest| kept(&guest.address) != Some(*guest));
        let came = new.fields.attendees.iter().filter(|guest| !old.fields.attendees.contains(guest));
        gone.chain(came).map(|guest| guest.address.as_str()).collect()
    };
    let is_stale = |line: &Line<'_>| {
        let name = line.name();
        stale.contains(name.as_ref())
            || (name == "ATTENDEE"
                && guests::attendee(line)
                    .is_some_and(|guest| changed_guests.contains(guest.address.as_str())))
    };
    let mut edits = Edits::new();
    let mut place = None;
    for (item, at) in items(raw, span) {
        match item {
            Item::Line(line) if is_stale(&line) => edits.push((at, String::new())),
            Item::Line(_) => {}
            Item::Inner(component) if has_alarms => {
                place = place.or(Some(at.start));
                if reminders::reminder(&component).is_some() {
                    edits.push((at, String::new()));
                }
            }
            Item::Inner(_) | Item::End => place = place.or(Some(at.start)),
        }
    }
    let mut lines = String::new();
    let mut alarms = String::new();
    for (item, at) in items(fresh, &(0..fresh.len())) {
        let text = fresh.get(at).unwrap_or_default();
        match item {
            Item::Line(line) if is_stale(&line) => lines.push_str(text),
            Item::Inner(_) if has_alarms => alarms.push_str(text),
            _ => {}
        }
    }
    let place = place.unwrap_or(span.end);
    edits.push((place..place, lines + &alarms));
    edits
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
