//! Changes to an object that somebody else made: the lines that say what changed are written anew, every other
//! line stays byte for byte (unknown properties and components, alarms, folding, order).
//!
//! New lines are taken from what [`super::write()`] would write for the whole part, so there is one way to spell
//! things. Guests are changed one by one: a line of a guest who did not change keeps its parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::component::{Component, EventSpan, outline};
use super::line::{Line, Lines};
use super::series::Keys;
use super::timezones::{NamedZone, Zones};
use super::write::{part_text, write, zone_texts};
use super::{Limits, guests, reminders};
use crate::clock::Timestamp;
use crate::model::{Body, Event, Fields, Master, Override, RecurrenceId, When};

/// The properties that say one thing, and whether two versions of a part say it differently.
type Group = (&'static [&'static str], fn(&Part<'_>, &Part<'_>) -> bool);

const GROUPS: [Group; 17] = [
    (&["DTSTART"], |a, b| a.fields.start != b.fields.start),
    (&["DTEND", "DURATION"], |a, b| a.fields.end != b.fields.end),
    (&["RRULE"], |a, b| a.master.map(|m| &m.rules) != b.master.map(|m| &m.rules)),
    (&["RDATE"], |a, b| a.master.map(|m| &m.additions) != b.master.map(|m| &m.additions)),
    (&["EXDATE", "EXRULE"], |a, b| a.master.map(|m| &m.exclusions) != b.master.map(|m| &m.exclusions)),
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

/// What one `VEVENT` says.
struct Part<'e> {
    fields: &'e Fields,
    /// Only for the master of a series.
    master: Option<&'e Master>,
}

/// Changes `raw`, which says `before`, so that it says `after`. `stamp` becomes `DTSTAMP` and `LAST-MODIFIED` of
/// the parts that change. Where `raw` is no object of that event, `after` is written from the model alone.
pub fn patch(raw: &str, before: &Event, after: &Event, stamp: Timestamp) -> String {
    let limits = Limits { bytes: usize::MAX, line_bytes: usize::MAX, ..Limits::default() };
    let Ok(outline) = outline(raw, &limits) else { return write(after, stamp) };
    let uid = after.uid.normalised();
    let spans: Vec<&EventSpan> =
        outline.events.iter().filter(|event| event.uid.as_deref().is_none_or(|found| found == uid)).collect();
    let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return write(after, stamp) };

    let spans_of_zones = outline.calendars.iter().flat_map(|calendar| &calendar.zones);
    let embedded: Vec<_> = spans_of_zones.filter_map(|span| NamedZone::at(raw, span)).collect();
    let known: BTreeSet<String> = embedded.iter().map(|zone| zone.tzid.clone()).collect();
    let mut zones = Zones::new(embedded, None);

    let (old, new) = (parts(before), parts(after));
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let mut written: BTreeSet<Option<RecurrenceId>> = BTreeSet::new();
    for event in &spans {
        let component = Component::at(raw, &event.span);
        let id = id_of(&component, before, &mut zones);
        match (old.get(&id), new.get(&id)) {
            (Some(old), Some(new)) if written.insert(id) => {
                edits.extend(edited(raw, &event.span, old, new, &fresh(after, id, stamp)));
            }
            // a cancelled instance that the master excludes now as before may keep its own object
            (None, None) if is_excluded(after, id) => {}
            _ => edits.push((event.span.clone(), String::new())),
        }
    }
    let added = new.keys().filter(|id| !written.contains(id)).map(|id| fresh(after, *id, stamp));
    edits.push((last.span.end..last.span.end, added.collect()));
    let missing = zone_texts(after)
        .into_iter()
        .filter(|(name, _)| !known.contains(name) && !raw.contains(name.as_str()));
    edits.push((first.span.start..first.span.start, missing.map(|(_, text)| text).collect()));
    apply(raw, edits)
}

fn fresh(event: &Event, id: Option<RecurrenceId>, stamp: Timestamp) -> String {
    part_text(event, id, stamp)
}

fn is_excluded(event: &Event, id: Option<RecurrenceId>) -> bool {
    let Body::Series(series) = &event.body else { return false };
    id.is_some_and(|id| series.master.as_ref().is_some_and(|master| master.exclusions.contains(&id)))
}

/// The parts of an event: `None` is the single event or the master.
fn parts(event: &Event) -> BTreeMap<Option<RecurrenceId>, Part<'_>> {
    match &event.body {
        Body::Single(fields) => BTreeMap::from([(None, Part { fields, master: None })]),
        Body::Series(series) => {
            let master = series
                .master
                .as_ref()
                .map(|master| (None, Part { fields: &master.fields, master: Some(master) }));
            let overrides = series.overrides.iter().filter_map(|(id, over)| match over {
                Override::Changed(fields) => Some((Some(*id), Part { fields, master: None })),
                Override::Cancelled => None,
            });
            master.into_iter().chain(overrides).collect()
        }
    }
}

/// Which part of `event` a `VEVENT` is.
fn id_of(component: &Component<'_>, event: &Event, zones: &mut Zones<'_>) -> Option<RecurrenceId> {
    let line = component.line("RECURRENCE-ID")?;
    let when = zones.when(line, line.value(), &mut Vec::new())?;
    let start = match &event.body {
        Body::Series(series) => series.master.as_ref().map(|master| &master.fields.start),
        Body::Single(fields) => Some(&fields.start),
    };
    let orphan = When::Utc(chrono::DateTime::UNIX_EPOCH);
    Some(Keys::new(start.unwrap_or(&orphan), None).id(&when))
}

/// The edits that make one `VEVENT` say `new`; none when it says so already.
fn edited(
    raw: &str,
    span: &Range<usize>,
    old: &Part<'_>,
    new: &Part<'_>,
    fresh: &str,
) -> Vec<(Range<usize>, String)> {
    let mut stale: BTreeSet<&str> = GROUPS
        .iter()
        .filter(|(_, differ)| differ(old, new))
        .flat_map(|(names, _)| names.iter().copied())
        .collect();
    let has_guests = old.fields.attendees != new.fields.attendees;
    let has_alarms = old.fields.reminders != new.fields.reminders;
    if stale.is_empty() && !has_guests && !has_alarms {
        return Vec::new();
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
    let mut edits = Vec::new();
    let mut place = None;
    for (item, at) in items(raw, span) {
        match item {
            Item::Line(line) if is_stale(&line) => edits.push((at, String::new())),
            Item::Line(_) => {}
            Item::Alarm(component) if has_alarms => {
                place = place.or(Some(at.start));
                if reminders::reminder(&component).is_some() {
                    edits.push((at, String::new()));
                }
            }
            Item::Alarm(_) | Item::End => place = place.or(Some(at.start)),
        }
    }
    let mut lines = String::new();
    let whole = 0..fresh.len();
    let mut alarms = String::new();
    for (item, at) in items(fresh, &whole) {
        let text = fresh.get(at).unwrap_or_default();
        match item {
            Item::Line(line) if is_stale(&line) => lines.push_str(text),
            Item::Alarm(_) if has_alarms => alarms.push_str(text),
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
    Alarm(Component<'a>),
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
                    items.push((Item::Alarm(Component::at(text, &inner)), inner));
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

/// Applies edits that do not overlap.
fn apply(raw: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
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
mod tests {
    use super::*;
    use crate::ics::{Item as Read, read};
    use crate::model::{Attendee, Reminder};

    const RAW: &str = "BEGIN:VCALENDAR\r\nPRODID:-//Somebody//EN\r\nVERSION:2.0\r\nX-WR-THING:1\r\nBEGIN:VEVENT\r\n\
        X-MOZ-GENERATION:3\r\nUID:a\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20260714T080000Z\r\nSUMMARY;LANGUAGE=fr:An\r\n cien\r\n\
        ATTENDEE;X-NUM-GUESTS=2;PARTSTAT=ACCEPTED:mailto:ada@example.com\r\nATTENDEE:mailto:bob@example.com\r\n\
        BEGIN:VALARM\r\nACTION:AUDIO\r\nTRIGGER:-PT5M\r\nX-SOUND:bell\r\nEND:VALARM\r\n\
        X-LAST;X=\"a:b\":kept\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

    fn event(raw: &str) -> Event {
        match read(raw, None, &Limits::default()).unwrap().items.remove(0) {
            Read::Read(object) => object.event,
            Read::Unreadable { reason, .. } => panic!("{reason}"),
        }
    }

    fn changed(event: &Event, change: impl FnOnce(&mut Fields)) -> Event {
        let mut event = event.clone();
        let Body::Single(fields) = &mut event.body else { panic!("a single event") };
        change(fields);
        event
    }

    #[test]
    fn nothing_changes_where_nothing_changed() {
        assert_eq!(patch(RAW, &event(RAW), &event(RAW), Timestamp(0)), RAW);
    }

    #[test]
    fn only_the_lines_that_say_what_changed_are_written() {
        let before = event(RAW);
        let after = changed(&before, |fields| {
            fields.title = Some("New".to_owned());
            fields.attendees.retain(|guest| guest.address != "bob@example.com");
            fields.attendees.push(Attendee::new("eve@example.com"));
        });

        let text = patch(RAW, &before, &after, Timestamp(1_800_000_000_000));

        for kept in
            ["X-WR-THING:1", "X-MOZ-GENERATION:3", "X-NUM-GUESTS=2", "X-SOUND:bell", "X-LAST;X=\"a:b\":kept"]
        {
            assert!(text.contains(kept), "{kept} in {text}");
        }
        assert!(!text.contains("bob@") && !text.contains("cien"), "{text}");
        let mut read = event(&text);
        let Body::Single(fields) = &mut read.body else { panic!("a single event") };
        assert_eq!(fields.stamps.updated, Some(Timestamp(1_800_000_000_000)));
        fields.stamps = before.fields().unwrap().stamps;
        assert_eq!(read, after);
    }

    #[test]
    fn alarms_are_replaced_when_they_change() {
        let before = event(RAW);
        let after = changed(&before, |fields| fields.reminders = vec![Reminder::BeforeStart(600)]);

        let text = patch(RAW, &before, &after, Timestamp(0));

        assert!(text.contains("TRIGGER:-PT10M") && !text.contains("X-SOUND"), "{text}");
    }

    #[test]
    fn an_override_comes_and_goes_as_a_part_of_its_own() {
        let raw = RAW.replace("SUMMARY", "RRULE:FREQ=DAILY;COUNT=5\r\nSUMMARY");
        let before = event(&raw);
        let mut after = before.clone();
        let Body::Series(series) = &mut after.body else { panic!("a series") };
        let id: RecurrenceId = "20260715T080000Z".parse().unwrap();
        let mut fields = series.master.as_ref().unwrap().fields.clone();
        fields.start = When::Utc("2026-07-15T10:00:00Z".parse().unwrap());
        series.overrides.insert(id, Override::Changed(Box::new(fields)));

        // the stamp that the object has already
        let stamp = Timestamp(1_767_225_600_000);
        let with = patch(&raw, &before, &after, stamp);

        assert_eq!(event(&with), after);
        assert_eq!(patch(&with, &after, &before, stamp), raw);
    }
}
