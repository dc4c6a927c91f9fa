//! From our nouns to the text of one object. Pure.
//!
//! A new object is written from the model; one that the server holds is patched line by line, so that nothing we do
//! not model is lost. `SEQUENCE` rises by one with every change that guests have to hear of (RFC 5546 §2.1.4).

use std::collections::BTreeMap;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::ics::{self, Item, Limits};
use calfleet_domain::model::{Body, Event, Fields, Override, RecurrenceId};

use chrono_tz::Tz;

use crate::driver::Agreed;
use crate::marker;

/// The text of a new object, which bears our mark.
pub(super) fn new_object(event: &Event, mark: &str, now: Timestamp) -> String {
    let named = format!("\r\nUID:{}\r\n", event.uid.as_str());
    ics::write(event, now).replace(&named, &format!("{named}{}:{mark}\r\n", marker::CALDAV))
}

/// The text of an object that says `after` from now on, in a calendar of that zone.
pub(super) fn changed_object(held: &Agreed<'_>, after: &Event, zone: Option<Tz>, now: Timestamp) -> String {
    let Some(raw) = held.raw else { return ics::write(&in_sequence(held.event, after, zone), now) };
    let before = numbered_as(raw, held.event, zone);
    ics::patch(raw, &before, &in_sequence(&before, after, zone), zone, now)
}

/// `event` with the sequence numbers that its object has: others may have raised them without any other change.
fn numbered_as(raw: &str, event: &Event, zone: Option<Tz>) -> Event {
    let mut event = event.clone();
    let items = ics::read(raw, zone, &Limits::default()).map(|document| document.items).unwrap_or_default();
    let shown = items.iter().find_map(|item| match item {
        Item::Read(object) if object.event.uid.normalised() == event.uid.normalised() => Some(&object.event),
        _ => None,
    });
    let Some(shown) = shown else { return event };
    let numbers = parts(shown);
    for (id, fields) in parts_mut(&mut event) {
        let number = numbers.get(&id).map_or(0, |shown| shown.stamps.sequence);
        fields.stamps.sequence = fields.stamps.sequence.max(number);
    }
    event
}

/// `after` with the sequence numbers that it has to go by.
fn in_sequence(before: &Event, after: &Event, zone: Option<Tz>) -> Event {
    let mut after = after.clone();
    let held = parts(before);
    let counterparts = ics::counterparts(before, &after, zone);
    let is_rule_other = rules(before) != rules(&after);
    let master_number = held.get(&None).map_or(0, |master| master.stamps.sequence);
    for (id, fields) in parts_mut(&mut after) {
        let was = id.map(|id| counterparts.get(&id).copied().unwrap_or(id));
        let Some(old) = held.get(&was).or_else(|| held.get(&None)) else { continue };
        // an instance of another name is another one to its guests
        let is_new = was != id || !held.contains_key(&was);
        let is_significant = is_new || is_other_meeting(old, fields) || (id.is_none() && is_rule_other);
        let number = if is_new { old.stamps.sequence.max(master_number) } else { old.stamps.sequence };
        let least = number.max(fields.stamps.sequence);
        fields.stamps.sequence = if is_significant { number.saturating_add(1) } else { least };
    }
    after
}

fn is_other_meeting(before: &Fields, after: &Fields) -> bool {
    before.start != after.start
        || before.end != after.end
        || before.location != after.location
        || before.status != after.status
}

/// What decides when a series takes place.
fn rules(event: &Event) -> Option<impl PartialEq> {
    let Body::Series(series) = &event.body else { return None };
    let master = series.master.as_ref()?;
    Some((master.rules.clone(), master.additions.clone(), master.exclusions.clone()))
}

fn parts(event: &Event) -> BTreeMap<Option<RecurrenceId>, &Fields> {
    match &event.body {
        Body::Single(fields) => BTreeMap::from([(None, fields)]),
        Body::Series(series) => {
            let master = series.master.iter().map(|master| (None, &master.fields));
            let overrides = series.overrides.iter().filter_map(|(id, over)| match over {
                Override::Changed(fields) => Some((Some(*id), fields.as_ref())),
                Override::Cancelled => None,
            });
            master.chain(overrides).collect()
        }
    }
}

fn parts_mut(event: &mut Event) -> Vec<(Option<RecurrenceId>, &mut Fields)> {
    match &mut event.body {
        Body::Single(fields) => vec![(None, fields)],
        Body::Series(series) => {
            let master = series.master.iter_mut().map(|master| (None, &mut master.fields));
            let overrides = series.overrides.iter_mut().filter_map(|(id, over)| match over {
                Override::Changed(fields) => Some((Some(*id), fields.as_mut())),
                Override::Cancelled => None,
            });
            master.chain(overrides).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use calfleet_domain::model::{End, Master, Rule, Series, Uid, When};
    use calfleet_domain::recurrence::expand::id_of;

    use super::*;

    fn event(title: &str, day: u32) -> Event {
        let date = chrono::NaiveDate::from_ymd_opt(2026, 7, day).unwrap();
        let mut fields = Fields::new(When::Date(date), End::Unspecified);
        fields.title = Some(title.to_owned());
        fields.stamps.sequence = 4;
        Event { uid: Uid("a".to_owned()), body: Body::Single(fields) }
    }

    #[test]
    fn the_sequence_rises_with_a_move_and_not_with_a_new_title() {
        let sequence =
            |after: &Event| in_sequence(&event("Review", 1), after, None).fields().unwrap().stamps.sequence;

        assert_eq!(sequence(&event("Review", 2)), 5);
        assert_eq!(sequence(&event("Retro", 1)), 4);
    }

    /// What an object whose last lines are `lines` says after a change of [`event`] to `after`.
    fn changed(lines: &str, after: &Event) -> String {
        let raw = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:a\r\nDTSTAMP:20260101T000000Z\r\n\
             DTSTART;VALUE=DATE:20260701\r\nSUMMARY:Review\r\n{lines}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        let (before, instances) = (event("Review", 1), BTreeMap::new());
        let held = Agreed { event: &before, revision: None, raw: Some(&raw), instances: &instances };
        changed_object(&held, after, None, Timestamp(0))
    }

    #[test]
    fn the_sequence_goes_on_from_what_others_raised_it_to() {
        let moved = changed("SEQUENCE:9", &event("Review", 2));
        let renamed = changed("SEQUENCE:9", &event("Retro", 1));

        assert!(moved.contains("SEQUENCE:10\r\n"), "{moved}");
        assert!(renamed.contains("SEQUENCE:9\r\n"), "{renamed}");
    }

    #[test]
    fn a_change_leaves_lines_that_we_do_not_know() {
        let text = changed("SEQUENCE:4\r\nX-KEPT:1", &event("Retro", 1));

        assert!(text.contains("X-KEPT:1\r\n") && text.contains("SUMMARY:Retro\r\n"), "{text}");
        assert!(text.contains("SEQUENCE:4\r\n"), "{text}");
    }

    #[test]
    fn the_sequence_of_an_override_goes_on_when_its_series_moves() {
        let of = |number, hour: u32, day: u32| {
            let date = chrono::NaiveDate::from_ymd_opt(2026, 3, day).unwrap();
            let mut fields =
                Fields::new(When::Floating(date.and_hms_opt(hour, 30, 0).unwrap()), End::Unspecified);
            fields.stamps.sequence = number;
            fields
        };
        let series = |hour: u32, days: &[u32]| {
            let rules = vec![Rule("FREQ=DAILY".to_owned())];
            let (additions, exclusions) = (BTreeMap::new(), BTreeSet::new());
            let master = Some(Master { fields: of(2, hour, 1), rules, additions, exclusions });
            let over = |day: &u32| {
                let id = id_of(&of(0, hour, *day).start);
                (id, Override::Changed(Box::new(of(if *day == 2 { 7 } else { 1 }, 20, *day))))
            };
            let overrides = days.iter().map(over).collect();
            Event { uid: Uid("a".to_owned()), body: Body::Series(Series { master, overrides }) }
        };

        let after = in_sequence(&series(9, &[2, 3]), &series(10, &[2, 3, 4]), None);

        let numbers: Vec<u32> = parts(&after).values().map(|fields| fields.stamps.sequence).collect();
        assert_eq!(numbers, [3, 8, 3, 3]);
    }
}
