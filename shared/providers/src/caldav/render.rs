//! From our nouns to the text of one object. Pure.
//!
//! A new object is written from the model; one that the server holds is patched line by line, so that nothing we do
//! not model is lost. `SEQUENCE` rises by one with every change that guests have to hear of (RFC 5546 §2.1.4).

use std::collections::BTreeMap;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::ics::{self, Item, Limits};
use calfleet_domain::model::{Body, Event, Fields, Override, RecurrenceId};

use crate::driver::Agreed;
use crate::marker;

/// The text of a new object, which bears our mark.
pub(super) fn new_object(event: &Event, mark: &str, now: Timestamp) -> String {
    let named = format!("\r\nUID:{}\r\n", event.uid.as_str());
    ics::write(event, now).replace(&named, &format!("{named}{}:{mark}\r\n", marker::CALDAV))
}

/// The text of an object that says `after` from now on.
pub(super) fn changed_object(held: &Agreed<'_>, after: &Event, now: Timestamp) -> String {
    let Some(raw) = held.raw else { return ics::write(&in_sequence(held.event, after), now) };
    let before = numbered_as(raw, held.event);
    ics::patch(raw, &before, &in_sequence(&before, after), None, now)
}

/// `event` with the sequence numbers that its object has: others may have raised them without any other change.
fn numbered_as(raw: &str, event: &Event) -> Event {
    let mut event = event.clone();
    let items = ics::read(raw, None, &Limits::default()).map(|document| document.items).unwrap_or_default();
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
fn in_sequence(before: &Event, after: &Event) -> Event {
    let mut after = after.clone();
    let held = parts(before);
    let is_rule_other = rules(before) != rules(&after);
    for (id, fields) in parts_mut(&mut after) {
        let Some(old) = held.get(&id).or_else(|| held.get(&None)) else { continue };
        let is_significant =
            !held.contains_key(&id) || is_other_meeting(old, fields) || (id.is_none() && is_rule_other);
        let least = old.stamps.sequence.max(fields.stamps.sequence);
        fields.stamps.sequence = if is_significant { old.stamps.sequence.saturating_add(1) } else { least };
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
    use calfleet_domain::model::{End, Uid, When};

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
            |after: &Event| in_sequence(&event("Review", 1), after).fields().unwrap().stamps.sequence;

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
        changed_object(&held, after, Timestamp(0))
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
}
