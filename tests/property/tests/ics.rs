//! iCalendar text: what is written is read again, and nothing hostile hurts (law 34).

use std::time::{Duration, Instant};

use calfleet_domain::clock::Timestamp;
use calfleet_domain::ics::{self, IcsError, Item, Limits};
use calfleet_domain::model::Event;
use calfleet_domain::reconcile::version;
use calfleet_domain::recurrence::{Budget, expand, span};
use chrono_tz::Tz;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::cases;
use crate::corpus::without_stamps;
use crate::generators::{a_series, a_single, an_orphan};

fn read_one(text: &str) -> Event {
    let document = ics::read(text, None, &Limits::default()).unwrap();
    assert_eq!(document.items.len(), 1, "{text}");
    match document.items.into_iter().next() {
        Some(Item::Read(object)) => {
            assert_eq!(object.raw, text);
            object.event
        }
        other => panic!("{other:?} of\n{text}"),
    }
}

/// The text with its lines folded elsewhere, ended otherwise, and its properties in another order.
fn disguised(text: &str, width: usize) -> String {
    let unfolded = text.replace("\r\n ", "");
    let mut lines = Vec::new();
    for line in unfolded.lines() {
        let letters: Vec<char> = line.chars().collect();
        let folded: Vec<String> = letters.chunks(width).map(|chunk| chunk.iter().collect()).collect();
        lines.push(folded.join("\n\t"));
    }
    lines.join("\n")
}

/// The bytes of the text with its lines folded anywhere, inside of characters too.
fn cut(text: &str, width: usize) -> Vec<u8> {
    let unfolded = text.replace("\r\n ", "");
    let lines =
        unfolded.lines().map(|line| line.as_bytes().chunks(width).collect::<Vec<_>>().join(&b"\r\n "[..]));
    lines.collect::<Vec<_>>().join(&b"\r\n"[..])
}

proptest! {
    #![proptest_config(cases(1_000, 100_000))]

    #[test]
    fn characters_that_were_cut_in_folding_are_read_whole(event in a_single(), width in 1..80_usize) {
        let bytes = cut(&ics::write(&event, Timestamp(0)), width);
        let document = ics::read(&ics::decode(&bytes), None, &Limits::default()).unwrap();
        let [Item::Read(object)] = document.items.as_slice() else { panic!("{document:?}") };
        prop_assert_eq!(&object.event, &event);
        prop_assert_eq!(&object.warnings, &Vec::<String>::new());
    }

    #[test]
    fn a_single_event_survives_writing_and_reading(event in a_single()) {
        prop_assert_eq!(read_one(&ics::write(&event, Timestamp(0))), event);
    }

    #[test]
    fn a_series_survives_writing_and_reading(event in a_series()) {
        prop_assert_eq!(read_one(&ics::write(&event, Timestamp(0))), event);
    }

    #[test]
    fn an_invitation_to_instances_survives_writing_and_reading(event in an_orphan()) {
        prop_assert_eq!(read_one(&ics::write(&event, Timestamp(0))), event);
    }

    #[test]
    fn folding_and_line_ends_mean_nothing(event in a_single(), width in 20_usize..200) {
        prop_assert_eq!(read_one(&disguised(&ics::write(&event, Timestamp(0)), width)), event);
    }

    #[test]
    fn a_patched_text_says_what_the_event_became(before in a_series(), after in a_series()) {
        let raw = ics::write(&before, Timestamp(0)).replace("END:VEVENT", "X-UNKNOWN;A=\"b:c\":kept\r\nEND:VEVENT");

        let text = ics::patch(&raw, &before, &after, None, Timestamp(0));

        prop_assert_eq!(without_stamps(&read_one(&text)), without_stamps(&after));
        prop_assert!(text.contains("X-UNKNOWN;A=\"b:c\":kept"));
    }

    #[test]
    fn a_single_event_is_patched_by_its_lines(before in a_single(), after in a_single()) {
        let text = ics::patch(&ics::write(&before, Timestamp(0)), &before, &after, None, Timestamp(0));

        prop_assert_eq!(without_stamps(&read_one(&text)), without_stamps(&after));
    }

    #[test]
    fn no_line_is_longer_than_allowed(event in a_series()) {
        let text = ics::write(&event, Timestamp(0));
        prop_assert!(text.split("\r\n").all(|line| line.len() <= 75));
    }
}

#[test]
fn mutated_documents_neither_stop_nor_hurt_the_reader() {
    let seeds: Vec<Vec<u8>> = crate::corpus::names().iter().map(|name| crate::corpus::file(name)).collect();
    let mut chance = SmallRng::seed_from_u64(34);
    let window = "2026-01-01T00:00:00Z".parse().unwrap().."2027-01-01T00:00:00Z".parse().unwrap();
    let budget = Budget { steps: 100_000, instances: 1000 };
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut done = 0;
    while done < 10_000 && Instant::now() < deadline {
        let mut text = seeds[chance.random_range(0..seeds.len())].clone();
        for _ in 0..chance.random_range(1..8) {
            mutate(&mut text, &seeds, &mut chance);
        }
        let begun = Instant::now();
        if let Ok(document) = ics::read(&ics::decode(&text), Some(Tz::Europe__Paris), &Limits::default()) {
            for item in &document.items {
                if let Item::Read(object) = item {
                    let _found = expand(&object.event, window.clone(), Tz::Europe__Paris, &budget);
                    let _span = span(&object.event);
                    let _text = ics::write(&object.event, Timestamp(0));
                }
            }
        }
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?} for\n{}", String::from_utf8_lossy(&text));
        done += 1;
    }
    assert!(done >= 1000, "only {done} documents in a minute");
}

fn mutate(text: &mut Vec<u8>, seeds: &[Vec<u8>], chance: &mut SmallRng) {
    let at = |chance: &mut SmallRng, text: &[u8]| chance.random_range(0..=text.len());
    match chance.random_range(0..7) {
        0 if !text.is_empty() => {
            let index = chance.random_range(0..text.len());
            text[index] = chance.random();
        }
        1 => text.truncate(at(chance, text)),
        2 => {
            let (from, to) = (at(chance, text), at(chance, text));
            text.drain(from.min(to)..from.max(to));
        }
        3 => {
            let other = &seeds[chance.random_range(0..seeds.len())];
            let (from, to) = (at(chance, other), at(chance, other));
            let piece = other[from.min(to)..from.max(to)].to_vec();
            let index = at(chance, text);
            text.splice(index..index, piece);
        }
        4 => {
            let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
            let line = lines[chance.random_range(0..lines.len())].to_vec();
            let index = at(chance, text);
            text.splice(index..index, [line, b"\r\n".to_vec()].concat());
        }
        5 => {
            const SPITE: [&[u8]; 9] = [
                b"\r\nRRULE:FREQ=SECONDLY\r\n",
                b"\r\nRRULE:FREQ=MINUTELY;BYSECOND=1,2;COUNT=99999999\r\n",
                b"\r\nEXRULE:FREQ=SECONDLY\r\n",
                b"\r\nBEGIN:VEVENT\r\n",
                b"\r\nEND:VCALENDAR\r\n",
                b"00010101T000000",
                b"99991231T235959Z",
                b"\xff\xfe\0",
                b"DURATION:P36500D\r\n",
            ];
            let index = at(chance, text);
            text.splice(index..index, SPITE[chance.random_range(0..SPITE.len())].iter().copied());
        }
        _ => {
            let digits: Vec<usize> = (0..text.len()).filter(|index| text[*index].is_ascii_digit()).collect();
            if !digits.is_empty() {
                let index = digits[chance.random_range(0..digits.len())];
                text[index] = b'0' + chance.random_range(0..10);
            }
        }
    }
}

#[test]
fn large_content_costs_bounded_time_and_is_kept_whole() {
    let begun = Instant::now();
    let guests: Vec<String> =
        (0..10_000).map(|n| format!("ATTENDEE;CN=\"Guest {n}\":mailto:guest{n}@example.com\r\n")).collect();
    let guests = guests.concat();
    let long = "x".repeat(10 << 20);
    let text = format!(
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:guests\r\nDTSTART:20260101T000000Z\r\n{guests}END:VEVENT\r\n\
         BEGIN:VEVENT\r\nUID:long\r\nDTSTART:20260101T000000Z\r\nDESCRIPTION:{long}\r\nEND:VEVENT\r\n\
         BEGIN:VEVENT\r\nUID:fine\r\nDTSTART:20260101T000000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    );

    let document = ics::read(&text, None, &Limits::default()).unwrap();

    let [
        Item::Unreadable { reason: guests_reason, raw, .. },
        Item::Unreadable { reason, raw: long_raw, .. },
        Item::Read(fine),
    ] = document.items.as_slice()
    else {
        panic!("{}", document.items.len())
    };
    assert!(guests_reason.contains("10000 attendees"), "{guests_reason}");
    assert!(raw.contains("guest9999@example.com"));
    assert!(reason.contains("DESCRIPTION has"), "{reason}");
    assert!(long_raw.len() > long.len());
    assert_eq!(fine.event.uid.as_str(), "fine");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn large_zones_are_read_once_and_repeated_within_a_limit() {
    let begun = Instant::now();
    let rule = "BEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\nEND:STANDARD\r\n";
    let zone = format!("BEGIN:VTIMEZONE\r\nTZID:Large\r\n{}END:VTIMEZONE\r\n", rule.repeat(10_000));
    let others: Vec<String> =
        (0..200).map(|n| format!("EXDATE;TZID=Other {n}:20260101T000000\r\n")).collect();
    let others = others.concat();
    let values = vec!["20260101T000000"; 9_000].join(",");
    let series = format!(
        "BEGIN:VEVENT\r\nUID:series\r\nDTSTART:20260101T000000Z\r\nRRULE:FREQ=DAILY\r\n{others}\
         EXDATE;TZID=Large:{values}\r\nEND:VEVENT\r\n"
    );
    let event =
        |n: usize| format!("BEGIN:VEVENT\r\nUID:{n}\r\nDTSTART;TZID=Large:20260101T000000\r\nEND:VEVENT\r\n");
    let events = (0..1_000).map(event).collect::<Vec<_>>().concat();
    let text = format!("BEGIN:VCALENDAR\r\n{zone}{series}{events}END:VCALENDAR\r\n");
    let limits = Limits::default();

    let document = ics::read(&text, None, &limits).unwrap();

    let raws = document.items.iter().map(|item| match item {
        Item::Read(object) => object.raw.len(),
        Item::Unreadable { reason, .. } => panic!("{reason}"),
    });
    let (count, bytes) = (raws.clone().count(), raws.sum::<usize>());
    assert_eq!(count, 1_001);
    assert!(bytes > zone.len() && bytes < limits.repeated_bytes + 2 * text.len(), "{bytes} bytes");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_name_of_a_zone_that_goes_on_and_on_is_not_looked_for() {
    let begun = Instant::now();
    let name = "a/".repeat(200_000);
    let text = format!(
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;TZID={name}:20260101T000000\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    );

    let document = ics::read(&text, None, &Limits::default()).unwrap();

    let [Item::Read(object)] = document.items.as_slice() else { panic!("{}", document.items.len()) };
    assert!(object.warnings.iter().any(|warning| warning.contains("is unknown")), "{:?}", object.warnings);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn components_inside_each_other_without_end_take_no_stack() {
    let deep = "BEGIN:A\r\n".repeat(190_000);
    let text = format!(
        "BEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID:Nowhere\r\n{deep}END:VTIMEZONE\r\nBEGIN:VEVENT\r\nUID:1\r\n\
         DTSTART;TZID=Nowhere:20260101T000000\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    );

    let document = ics::read(&text, None, &Limits::default()).unwrap();

    let [Item::Read(object)] = document.items.as_slice() else { panic!("{} items", document.items.len()) };
    assert!(object.warnings.iter().any(|warning| warning.contains("is unknown")), "{:?}", object.warnings);
}

#[test]
fn the_parameters_of_a_line_are_looked_for_once_whatever_its_values() {
    let begun = Instant::now();
    let (parameters, values) = (";a".repeat(250_000), "20260102T000000,".repeat(32_000));
    let text = format!(
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20260101T000000\r\nEXDATE{parameters}:{values}\r\n\
         END:VEVENT\r\nEND:VCALENDAR\r\n"
    );

    let document = ics::read(&text, None, &Limits::default()).unwrap();

    let [Item::Unreadable { reason, .. }] = document.items.as_slice() else {
        panic!("{:?}", begun.elapsed())
    };
    assert!(reason.contains("32000 exclusions"), "{reason}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn an_instance_with_thousands_of_guests_has_its_version_at_once() {
    let guests: Vec<String> =
        (0..5_000).map(|n| format!("ATTENDEE:mailto:guest{n}@example.com\r\n")).collect();
    let guests = guests.concat();
    let event = read_one(&format!(
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nRECURRENCE-ID:20260101T000000Z\r\n\
         DTSTART:20260101T000000Z\r\n{guests}END:VEVENT\r\nEND:VCALENDAR\r\n"
    ));
    let begun = Instant::now();

    let one = version::of(&event);

    assert!(begun.elapsed() < Duration::from_millis(250), "{:?}", begun.elapsed());
    assert_eq!(one, version::of(&event.clone()));
}

#[test]
fn a_start_is_read_as_in_iso_8601_and_with_blanks_around_its_name() {
    let start = |line: &str| {
        let text =
            format!("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\n{line}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n");
        read_one(&text).fields().unwrap().start.clone()
    };

    for spelled in
        ["DTSTART:2026-01-02T09:00:00Z", "DTSTART\u{a0}:20260102T090000Z", "DTSTART :2026-01-02T09:00:00Z"]
    {
        assert_eq!(start(spelled), start("DTSTART:20260102T090000Z"), "{spelled}");
    }
}

#[test]
fn events_without_uid_that_only_lost_letters_tell_apart_stay_two() {
    let event = |title: &[u8]| {
        [b"BEGIN:VEVENT\nDTSTART:20260101T000000Z\nSUMMARY:", title, b"\nEND:VEVENT\n"].concat()
    };
    let bytes = [event(b"caf\xe9"), event(b"caf\xe8"), event(b"tea"), event(b"tea")].concat();

    let document = ics::read(&ics::decode(&bytes), None, &Limits::default()).unwrap();

    assert_eq!(document.items.len(), 3, "of two that are the same there is one");
}

#[test]
fn letters_that_are_lost_are_said_where_they_stood_and_everything_else_is_kept() {
    let event = |uid: &str, title: &[u8]| {
        let begin = format!("BEGIN:VEVENT\nUID:{uid}\nDTSTART:20260101T000000Z\nSUMMARY:");
        [begin.as_bytes(), title, b"\nEND:VEVENT\n"].concat()
    };
    let bytes = [
        &b"BEGIN:VCALENDAR\n"[..],
        &event("1", b"caf\xe9"),
        &event("2", b"caf\xc3\xa9\n  au lait"),
        b"END:VCALENDAR\n",
    ];

    let document = ics::read(&ics::decode(&bytes.concat()), None, &Limits::default()).unwrap();

    let [Item::Read(lost), Item::Read(kept)] = document.items.as_slice() else { panic!("{document:?}") };
    let title = |event: &Event| event.fields().unwrap().title.clone().unwrap();
    assert_eq!((title(&lost.event).as_str(), title(&kept.event).as_str()), ("caf\u{fffd}", "café au lait"));
    assert_eq!((lost.warnings.len(), kept.warnings.len()), (1, 0), "{:?}", lost.warnings);
    assert!(kept.raw.contains("SUMMARY:café\n  au lait\n"), "{}", kept.raw);
}

#[test]
fn what_is_no_calendar_and_what_was_cut_off_is_said() {
    let read = |text: &str| ics::read(text, None, &Limits::default());

    assert!(matches!(read("<!DOCTYPE html><html>"), Err(IcsError::NotCalendar(_))));
    assert!(matches!(read(""), Err(IcsError::NotCalendar(_))));
    let cut = read("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20260101T000000Z\r\nSUMM").unwrap();
    assert!(cut.is_truncated);
    assert!(matches!(cut.items.as_slice(), [Item::Unreadable { .. }]));
}
