//! What stays and what goes when an object that somebody else made is changed.

use super::*;
use crate::ics::{Item as Read, read};
use crate::model::{
    Attendee, Body, Master, Override, ParticipationStatus, RecurrenceId, Reminder, Series, When, Zone,
};
use chrono_tz::Tz;
use std::collections::BTreeSet;

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
    assert_eq!(patch(RAW, &event(RAW), &event(RAW), None, Timestamp(0)), RAW);
}

#[test]
fn only_the_lines_that_say_what_changed_are_written() {
    let before = event(RAW);
    let after = changed(&before, |fields| {
        fields.title = Some("New".to_owned());
        fields.attendees.retain(|guest| guest.address != "bob@example.com");
        fields.attendees.push(Attendee::new("eve@example.com"));
    });

    let text = patch(RAW, &before, &after, None, Timestamp(1_800_000_000_000));

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

    let text = patch(RAW, &before, &after, None, Timestamp(0));

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
    let with = patch(&raw, &before, &after, None, stamp);

    assert_eq!(event(&with), after);
    assert_eq!(patch(&with, &after, &before, None, stamp), raw);
}

/// An object of these `VEVENT`s, each given by its lines but `UID` and `DTSTAMP`.
fn object(events: &[&str]) -> String {
    let event = |lines: &&str| {
        let begin = "BEGIN:VEVENT\r\nUID:a\r\nDTSTAMP:20260101T000000Z\r\n";
        [begin, &lines.replace('\n', "\r\n"), "\r\nX-KEPT;X=1:of it\r\nEND:VEVENT\r\n"].concat()
    };
    let events: String = events.iter().map(event).collect();
    format!("BEGIN:VCALENDAR\r\nPRODID:-//Somebody//EN\r\nVERSION:2.0\r\n{events}END:VCALENDAR\r\n")
}

fn event_in(raw: &str, zone: Option<Tz>) -> Event {
    match read(raw, zone, &Limits::default()).unwrap().items.remove(0) {
        Read::Read(object) => object.event,
        Read::Unreadable { reason, .. } => panic!("{reason}"),
    }
}

fn series(event: &mut Event) -> &mut Series {
    match &mut event.body {
        Body::Series(series) => series,
        Body::Single(_) => panic!("a series"),
    }
}

fn master(event: &mut Event) -> &mut Master {
    series(event).master.as_mut().unwrap()
}

fn overrides(event: &mut Event) -> impl Iterator<Item = &mut Fields> {
    series(event).overrides.values_mut().filter_map(|over| match over {
        Override::Changed(fields) => Some(fields.as_mut()),
        Override::Cancelled => None,
    })
}

fn key(text: &str) -> RecurrenceId {
    text.parse().unwrap()
}

/// The event without the times of its changes.
fn unstamped(mut event: Event) -> Event {
    match &mut event.body {
        Body::Single(fields) => fields.stamps.updated = None,
        Body::Series(_) => {
            overrides(&mut event).for_each(|fields| fields.stamps.updated = None);
            if let Some(master) = &mut series(&mut event).master {
                master.fields.stamps.updated = None;
            }
        }
    }
    event
}

/// The text of `raw` after `change`, which says what it has to.
fn after(raw: &str, zone: Option<Tz>, change: impl FnOnce(&mut Event)) -> String {
    let before = event_in(raw, zone);
    let mut after = before.clone();
    change(&mut after);
    let text = patch(raw, &before, &after, zone, Timestamp(1_800_000_000_000));
    assert_eq!(unstamped(event_in(&text, zone)), unstamped(after), "{text}");
    text
}

/// The `VEVENT`s of a text, as they stand there.
fn events(text: &str) -> Vec<&str> {
    text.split("BEGIN:VEVENT").skip(1).collect()
}

#[test]
fn a_cancelled_instance_that_another_zone_names_stays_cancelled() {
    let raw = object(&[
        "DTSTART;TZID=Europe/London:20260302T093000\nRRULE:FREQ=WEEKLY",
        "RECURRENCE-ID;TZID=Europe/Paris:20260309T093000\nDTSTART;TZID=Europe/Paris:20260309T093000\nSTATUS:CANCELLED",
    ]);
    let mut before = event_in(&raw, None);
    assert!(master(&mut before).exclusions.contains(&key("20260309T093000")));

    let text = after(&raw, None, |event| master(event).fields.title = Some("New".to_owned()));

    assert_eq!(events(&text)[1], events(&raw)[1]);
}

#[test]
fn an_override_is_named_in_the_zone_of_the_calendar() {
    let raw = object(&[
        "DTSTART;VALUE=DATE:20260301\nRRULE:FREQ=DAILY",
        "RECURRENCE-ID:20260308T110000Z\nDTSTART;VALUE=DATE:20260309\nSUMMARY:Own",
    ]);
    let zone = Some(Tz::Pacific__Auckland);

    let text = after(&raw, zone, |event| master(event).fields.title = Some("New".to_owned()));

    assert_eq!(events(&text)[1..], events(&raw)[1..]);
}

#[test]
fn an_instance_of_an_unknown_series_keeps_its_lines_when_its_guest_answers() {
    let guest = "ATTENDEE;X-OWN=1:mailto:ada@example.com\nX-OTHER:2";
    for id in ["RECURRENCE-ID;VALUE=DATE:20260714", "RECURRENCE-ID:20260714T100000"] {
        let raw = object(&[&format!("{id}\nDTSTART;VALUE=DATE:20260714\n{guest}")]);

        let text = after(&raw, None, |event| {
            overrides(event).for_each(|fields| fields.attendees[0].status = ParticipationStatus::Accepted);
        });

        assert!(text.contains("X-KEPT;X=1:of it\r\n") && text.contains("X-OTHER:2\r\n"), "{text}");
        assert!(text.contains(&format!("{id}\r\n")), "{text}");
    }
}

#[test]
fn a_cancelled_instance_of_an_unknown_series_stays_beside_another_one() {
    let raw = object(&[
        "RECURRENCE-ID:20260714T100000Z\nDTSTART:20260714T100000Z\nSTATUS:CANCELLED",
        "RECURRENCE-ID:20260721T100000Z\nDTSTART:20260721T100000Z",
    ]);

    let text = after(&raw, None, |event| {
        overrides(event).for_each(|fields| fields.title = Some("New".to_owned()));
    });

    assert_eq!(events(&text)[0], events(&raw)[0]);
}

#[test]
fn an_instance_of_an_unknown_series_is_cancelled_and_revived_in_its_own_object() {
    let raw = object(&[
        "RECURRENCE-ID:20260714T100000Z\nDTSTART:20260714T100000Z\nSUMMARY:One",
        "RECURRENCE-ID:20260721T100000Z\nDTSTART:20260721T100000Z",
    ]);
    let fields = overrides(&mut event_in(&raw, None)).next().unwrap().clone();
    let first = key("20260714T100000Z");

    let cancelled = after(&raw, None, |event| {
        series(event).overrides.insert(first, Override::Cancelled);
        series(event).overrides.insert(key("20260728T100000Z"), Override::Cancelled);
    });
    let revived = after(&cancelled, None, |event| {
        series(event).overrides.insert(first, Override::Changed(Box::new(fields)));
    });

    assert!(events(&cancelled)[0].contains("X-KEPT"), "{cancelled}");
    assert!(events(&cancelled)[2].contains("STATUS:CANCELLED"), "{cancelled}");
    assert!(events(&revived)[0].contains("X-KEPT"), "{revived}");
}

#[test]
fn an_event_that_the_text_has_and_nobody_speaks_of_stays() {
    let raw = object(&[
        "DTSTART:20260302T093000Z\nRRULE:FREQ=WEEKLY",
        "RECURRENCE-ID:20260309T093000Z\nDTSTART:20260309T113000Z",
    ]);
    let mut before = event(&raw);
    series(&mut before).overrides.clear();
    let mut after = before.clone();
    master(&mut after).fields.title = Some("New".to_owned());

    let text = patch(&raw, &before, &after, None, Timestamp(0));

    assert_eq!(events(&text)[1], events(&raw)[1]);
}

#[test]
fn exclusions_and_overrides_follow_their_series_into_another_zone() {
    let raw = object(&[
        "DTSTART;TZID=Europe/Paris:20260302T093000\nRRULE:FREQ=WEEKLY\n\
         EXDATE;TZID=Europe/Paris:20260309T093000\nRDATE;TZID=Europe/Paris:20260310T093000",
        "RECURRENCE-ID;TZID=Europe/Paris:20260316T093000\nDTSTART;TZID=Europe/Paris:20260316T110000",
        "RECURRENCE-ID;TZID=Europe/Paris:20260323T093000\nDTSTART;TZID=Europe/Paris:20260323T093000\nSTATUS:CANCELLED",
    ]);

    let text = after(&raw, None, |event| {
        let start = &mut master(event).fields.start;
        *start = When::Zoned { wall: start.wall(), zone: Zone::Iana(Tz::Europe__London) };
    });

    for line in [
        "DTSTART;TZID=Europe/London:20260302T093000",
        "EXDATE;TZID=Europe/London:20260309T093000",
        "RDATE;TZID=Europe/London:20260310T093000",
        "RECURRENCE-ID;TZID=Europe/London:20260316T093000",
        "RECURRENCE-ID;TZID=Europe/London:20260323T093000",
        "DTSTART;TZID=Europe/Paris:20260316T110000",
    ] {
        assert!(text.contains(&format!("{line}\r\n")), "{line} in {text}");
    }
    assert_eq!(text.matches("EXDATE").count(), 2, "{text}");
    assert_eq!(text.matches("RECURRENCE-ID;TZID=Europe/Paris").count(), 0, "{text}");
    assert_eq!(text.matches("X-KEPT").count(), 3, "{text}");
}

#[test]
fn an_alarm_stays_as_it_is_when_another_one_is_added_or_removed() {
    let alarm = "BEGIN:VALARM\nACTION:EMAIL\nUID:b\nTRIGGER:-P1D\nSUMMARY:Soon\n\
        ATTENDEE:mailto:ada@example.com\nACKNOWLEDGED:20260101T000000Z\nEND:VALARM\n";
    let sound = "BEGIN:VALARM\nACTION:AUDIO\nTRIGGER:-PT5M\nEND:VALARM";
    let raw = object(&[&format!("DTSTART:20260714T080000Z\n{alarm}{sound}")]);

    let with = after(&raw, None, |event| {
        let Body::Single(fields) = &mut event.body else { panic!("a single event") };
        fields.reminders.insert(1, Reminder::BeforeStart(600));
    });
    let without = after(&with, None, |event| {
        let Body::Single(fields) = &mut event.body else { panic!("a single event") };
        fields.reminders.retain(|reminder| *reminder != Reminder::BeforeStart(300));
    });

    let alarm = alarm.replace('\n', "\r\n");
    assert!(with.contains(&alarm) && with.contains(&sound.replace('\n', "\r\n")), "{with}");
    assert_eq!(with.matches("ACTION:DISPLAY").count(), 1, "{with}");
    assert!(without.contains(&alarm) && !without.contains("AUDIO"), "{without}");
}

#[test]
fn an_answer_changes_only_what_it_says_in_the_line_of_its_guest() {
    let guests = "ATTENDEE;CUTYPE=INDIVIDUAL;EMAIL=bob@x.org;DELEGATED-FROM=\"mailto:a@x.org\";\
        X-NUM-GUESTS=0;PARTSTAT=NEEDS-ACTION;CN=\"Bob; Ö\":urn:uuid:5A1\nattendee;rsvp=TRUE:mailto:Eve@x.org";
    let raw = object(&[&format!("DTSTART:20260714T080000Z\n{guests}")]);

    let text = after(&raw, None, |event| {
        let Body::Single(fields) = &mut event.body else { panic!("a single event") };
        fields.attendees[0].status = ParticipationStatus::Accepted;
        fields.attendees[0].comment = Some("with pleasure".to_owned());
    });

    let unfolded = text.replace("\r\n ", "");
    assert!(
        unfolded.contains(
            "ATTENDEE;CUTYPE=INDIVIDUAL;EMAIL=bob@x.org;DELEGATED-FROM=\"mailto:a@x.org\";X-NUM-GUESTS=0;\
             CN=\"Bob; Ö\";PARTSTAT=ACCEPTED;X-RESPONSE-COMMENT=\"with pleasure\":urn:uuid:5A1\r\n\
             attendee;rsvp=TRUE:mailto:Eve@x.org\r\n"
        ),
        "{text}"
    );
}

#[test]
fn of_two_lines_of_one_guest_the_one_that_counts_is_changed() {
    let guests = "ATTENDEE;CN=Other:mailto:bob@x.org\nATTENDEE;X-OWN=1;PARTSTAT=DECLINED:mailto:bob@x.org";
    let raw = object(&[&format!("DTSTART:20260714T080000Z\n{guests}")]);

    let text = after(&raw, None, |event| {
        let Body::Single(fields) = &mut event.body else { panic!("a single event") };
        fields.attendees[0].status = ParticipationStatus::NeedsAction;
    });

    assert!(text.contains("ATTENDEE;X-OWN=1;PARTSTAT=NEEDS-ACTION:mailto:bob@x.org\r\n"), "{text}");
}

#[test]
fn overrides_keep_their_lines_when_their_series_moves() {
    let own = "ATTACH:https://example.com/a\nGEO:1;2\nCOMMENT:own\nATTENDEE;X-OWN=1:mailto:bob@x.org";
    let raw = object(&[
        "DTSTART;TZID=Europe/Paris:20260302T093000\nRRULE:FREQ=DAILY",
        &format!(
            "RECURRENCE-ID:20260303T083000Z\nDTSTART;TZID=Europe/Paris:20260303T110000\nSUMMARY:One\n{own}"
        ),
        &format!(
            "RECURRENCE-ID;TZID=Europe/Paris:20260304T093000\nDTSTART;TZID=Europe/Paris:20260304T120000\nSUMMARY:Two\n{own}"
        ),
        "RECURRENCE-ID;TZID=Europe/Paris:20260306T093000\nDTSTART;TZID=Europe/Paris:20260306T093000\nSTATUS:CANCELLED",
    ]);

    let text = after(&raw, None, |event| {
        let start = &mut master(event).fields.start;
        *start = start.with_wall(start.wall() + chrono::Duration::hours(1));
        master(event).exclusions = BTreeSet::from([key("20260306T103000")]);
        let overrides = &mut series(event).overrides;
        *overrides = std::mem::take(overrides)
            .into_iter()
            .map(|(id, over)| (key(&id.to_string().replace("T093000", "T103000")), over))
            .collect();
    });

    for (index, day) in [(1, 3), (2, 4)] {
        let old = events(&raw)[index];
        let new = events(&text)[index];
        let moved = format!("RECURRENCE-ID;TZID=Europe/Paris:2026030{day}T103000\r\n");
        assert!(new.contains(&moved), "{text}");
        for kept in old.lines().filter(|line| !line.contains("RECURRENCE-ID") && !line.contains("DTSTAMP")) {
            assert!(new.contains(kept), "{kept} in {text}");
        }
    }
    assert!(events(&text)[3].contains("RECURRENCE-ID;TZID=Europe/Paris:20260306T103000\r\n"), "{text}");
}

#[test]
fn of_two_events_for_one_part_the_later_version_is_changed() {
    let raw = object(&[
        "DTSTART:20260714T080000Z\nSEQUENCE:3\nX-LATER:1\nSUMMARY:Later",
        "DTSTART:20260714T070000Z\nSEQUENCE:1\nX-EARLIER:1\nSUMMARY:Earlier",
    ]);
    let unchanged = patch(&raw, &event(&raw), &event(&raw), None, Timestamp(0));

    let text = after(&raw, None, |event| {
        let Body::Single(fields) = &mut event.body else { panic!("a single event") };
        fields.title = Some("New".to_owned());
    });

    assert_eq!(unchanged, raw);
    assert!(text.contains("X-LATER:1") && !text.contains("X-EARLIER"), "{text}");
}

#[test]
fn a_zone_that_is_only_mentioned_is_described_when_it_is_used() {
    let raw = object(&["DTSTART:20260714T080000Z\nLOCATION:Europe/Berlin\nSUMMARY:One"]);
    let renamed = after(&raw, None, |event| {
        let Body::Single(fields) = &mut event.body else { panic!("a single event") };
        fields.title = Some("New".to_owned());
    });

    let text = after(&raw, None, |event| {
        let Body::Single(fields) = &mut event.body else { panic!("a single event") };
        let wall = fields.start.wall();
        fields.start = When::Zoned { wall, zone: Zone::Iana(Tz::Europe__Berlin) };
    });

    assert_eq!(text.matches("BEGIN:VTIMEZONE\r\nTZID:Europe/Berlin\r\n").count(), 1, "{text}");
    assert!(!renamed.contains("VTIMEZONE"), "{renamed}");
}

#[test]
fn a_zone_under_a_name_of_its_own_is_not_described_again() {
    let zone = "BEGIN:VTIMEZONE\r\nTZID:/mozilla.org/1/Europe/Berlin\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n\
        TZOFFSETFROM:+0100\r\nTZOFFSETTO:+0100\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT";
    let raw = object(&["DTSTART;TZID=/mozilla.org/1/Europe/Berlin:20260714T080000\nSUMMARY:One"])
        .replace("BEGIN:VEVENT", zone);

    let text = after(&raw, None, |event| {
        let Body::Single(fields) = &mut event.body else { panic!("a single event") };
        fields.title = Some("New".to_owned());
    });
    let moved = after(&raw, None, |event| {
        let Body::Single(fields) = &mut event.body else { panic!("a single event") };
        fields.start = fields.start.with_wall(fields.start.wall() + chrono::Duration::hours(1));
    });

    assert_eq!(text.matches("BEGIN:VTIMEZONE").count(), 1, "{text}");
    assert!(moved.contains("BEGIN:VTIMEZONE\r\nTZID:Europe/Berlin\r\n"), "{moved}");
}
