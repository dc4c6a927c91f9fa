//! Documents that were made to cost more than they are worth (law 34), beside those in [`super::ics`].

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use calfleet_domain::ics::{self, Document, Item, Limits};
use calfleet_domain::model::{Body, Event, Override};
use calfleet_domain::reconcile::diff::changes;
use calfleet_domain::reconcile::version;
use calfleet_domain::recurrence::span;

fn read(text: &str) -> Document {
    ics::read(text, None, &Limits::default()).unwrap()
}

fn calendar(lines: &str) -> Document {
    read(&format!("BEGIN:VCALENDAR\r\n{lines}END:VCALENDAR\r\n"))
}

fn one(lines: &str) -> Event {
    let document = calendar(&format!("BEGIN:VEVENT\r\nUID:1\r\n{lines}END:VEVENT\r\n"));
    match document.items.as_slice() {
        [Item::Read(object)] => object.event.clone(),
        [Item::Unreadable { reason, .. }] => panic!("{reason}"),
        items => panic!("{} items", items.len()),
    }
}

fn raw(item: &Item) -> &str {
    match item {
        Item::Read(object) => &object.raw,
        Item::Unreadable { raw, .. } => raw,
    }
}

/// `{n}` numbered lines of one form.
fn numbered(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        writeln!(text, "{}\r", line(number)).unwrap();
        text
    })
}

#[test]
fn a_header_that_is_folded_without_end_is_not_repeated_for_each_event() {
    let folds = "\r\n ".repeat(100_000);
    let events = numbered(2_000, |n| format!("BEGIN:VEVENT\r\nUID:{n}\r\nEND:VEVENT"));
    let text = format!("PRODID:x{folds}\r\n{events}");

    let document = calendar(&text);

    assert_eq!(document.items.len(), 2_000);
    let bytes: usize = document.items.iter().map(|item| raw(item).len()).sum();
    assert!(bytes < 2 * text.len(), "{bytes} bytes of {}", text.len());
}

#[test]
fn a_zone_costs_bounded_time_however_it_is_described() {
    let begun = Instant::now();
    let part = |rest: &str| {
        format!(
            "BEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\n{rest}\r\nEND:STANDARD\r\n"
        )
    };
    let monthly = "RRULE:FREQ=MONTHLY;BYMONTHDAY=1,2,3,4,5,6,7,8,9,10;BYHOUR=1,2,3;BYMINUTE=1,2,3";
    let onsets = numbered(200, |n| format!("RDATE:20200101T{:02}{:02}00", n / 60, n % 60));
    for (zone, is_believed) in [
        (part("RRULE:FREQ=SECONDLY").repeat(1_000), true),
        (part(monthly).repeat(100), true),
        (part(monthly).repeat(101), false),
        (part(&onsets).repeat(4), true),
        (part(&onsets).repeat(5), false),
        (part(&"RDATE:20200101T000000\r\n".repeat(30_000)), false),
    ] {
        let events = numbered(1_000, |n| {
            format!(
                "BEGIN:VEVENT\r\nUID:{n}\r\nDTSTART;TZID=Nowhere:20260101T000000\r\nDTEND;TZID=Nowhere:20260101T010000\r\nEND:VEVENT"
            )
        });

        let document =
            calendar(&format!("BEGIN:VTIMEZONE\r\nTZID:Nowhere\r\n{zone}END:VTIMEZONE\r\n{events}"));

        for item in &document.items {
            let Item::Read(object) = item else { continue };
            span(&object.event);
            let is_known = !object.warnings.iter().any(|warning| warning.contains("is unknown"));
            assert_eq!(is_known, is_believed, "{:?}", object.warnings);
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn a_zone_that_cannot_be_repeated_for_each_event_is_said_by_those_that_need_it() {
    let onsets = numbered(900, |n| format!("RDATE:20200101T{:02}{:02}00", n / 60, n % 60));
    let zone = format!(
        "BEGIN:VTIMEZONE\r\nTZID:Nowhere\r\nBEGIN:STANDARD\r\nTZOFFSETTO:+0200\r\n{onsets}END:STANDARD\r\nEND:VTIMEZONE\r\n"
    );
    let events = numbered(5_000, |n| {
        format!("BEGIN:VEVENT\r\nUID:{n}\r\nDTSTART;TZID=Nowhere:20260101T000000\r\nEND:VEVENT")
    });

    let document = calendar(&format!("{zone}{events}"));

    let (mut read, mut unreadable) = (0, 0);
    for item in &document.items {
        match item {
            Item::Read(object) => {
                read += 1;
                assert!(object.raw.contains("TZOFFSETTO"), "it can be read again");
            }
            Item::Unreadable { reason, .. } => {
                unreadable += 1;
                assert!(reason.contains("\"Nowhere\""), "{reason}");
            }
        }
    }
    let most = Limits::default().repeated_bytes / zone.len();
    assert_eq!((read, unreadable), (most, 5_000 - most));
}

#[test]
fn a_change_of_all_following_instances_is_spread_within_bounds() {
    let begun = Instant::now();
    let series = "BEGIN:VEVENT\r\nUID:1\r\nDTSTART:20260101T090000Z\r\nRRULE:FREQ=DAILY\r\nEND:VEVENT\r\n";
    let large = "x".repeat(1_000_000);
    let range = |day: usize, rest: &str| {
        format!(
            "BEGIN:VEVENT\r\nUID:1\r\nRECURRENCE-ID;RANGE=THISANDFUTURE:{0}T090000Z\r\nDTSTART:{0}T100000Z\r\n{rest}END:VEVENT",
            20_260_101 + 10_000 * day
        )
    };
    let texts = [range(0, &format!("DESCRIPTION:{large}\r\n")) + "\r\n", numbered(1_000, |n| range(n, ""))];
    for text in texts {
        let document = calendar(&format!("{series}{text}"));

        let [Item::Read(object)] = document.items.as_slice() else { panic!("{}", document.items.len()) };
        let Body::Series(series) = &object.event.body else { panic!("no series") };
        let bytes: usize = series.overrides.values().map(described).sum();
        assert!(bytes <= 17 << 20, "{bytes} bytes");
        assert!(series.overrides.len() <= Limits::default().instances + 1, "{}", series.overrides.len());
        assert!(
            object.warnings.iter().any(|warning| warning.contains("next ones only")),
            "{:?}",
            object.warnings
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

fn described(over: &Override) -> usize {
    match over {
        Override::Changed(fields) => fields.description.as_ref().map_or(0, String::len),
        Override::Cancelled => 0,
    }
}

#[test]
fn lines_and_rules_without_end_are_said_and_not_read() {
    for (lines, expected) in [
        ("A\r\n".repeat(1_000_000), "more than the 100000 lines allowed"),
        (
            numbered(10_000, |n| format!("RRULE:FREQ=DAILY;INTERVAL={}", n + 1)),
            "51 rules, more than the 50 allowed",
        ),
        (
            numbered(10_000, |n| format!("EXRULE:FREQ=DAILY;INTERVAL={}", n + 1)),
            "51 rules, more than the 50 allowed",
        ),
    ] {
        let document =
            calendar(&format!("BEGIN:VEVENT\r\nUID:1\r\nDTSTART:20260101T090000Z\r\n{lines}END:VEVENT\r\n"));

        let [Item::Unreadable { reason, raw, .. }] = document.items.as_slice() else {
            panic!("{expected}: {} items", document.items.len())
        };
        assert!(reason.contains(expected), "{reason}");
        assert!(raw.len() > lines.len(), "it is kept verbatim");
    }
}

#[test]
fn values_that_cannot_be_read_are_warned_of_so_often_and_no_more() {
    let begun = Instant::now();
    let values = (0..116_000).fold(String::new(), |mut values, number| {
        write!(values, "a{number:06},").unwrap();
        values
    });
    let rule = format!("FREQ={}", "x".repeat(900_000));
    let document = calendar(&format!(
        "BEGIN:VEVENT\r\nUID:1\r\nDTSTART:20260101T090000Z\r\nRRULE:{rule}\r\nEXDATE:{values}\r\nEND:VEVENT\r\n"
    ));

    let [Item::Read(object)] = document.items.as_slice() else { panic!("{}", document.items.len()) };
    assert!((1..=100).contains(&object.warnings.len()), "{} warnings", object.warnings.len());
    assert!(object.warnings.iter().all(|warning| warning.len() < 1_000), "{:?}", object.warnings.first());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn overrides_that_repeat_their_instances_have_their_version_at_once() {
    let date = |n: usize| format!("{}{:02}{:02}T090000Z", 2_300 + n / 336, n / 28 % 12 + 1, n % 28 + 1);
    let overrides = numbered(3_000, |n| {
        format!("BEGIN:VEVENT\r\nUID:1\r\nRECURRENCE-ID:{0}\r\nDTSTART:{0}\r\nEND:VEVENT", date(n))
    });
    let document = calendar(&format!(
        "BEGIN:VEVENT\r\nUID:1\r\nDTSTART:19700101T090000Z\r\nRRULE:FREQ=DAILY;BYHOUR=9;COUNT=200000\r\nEND:VEVENT\r\n{overrides}"
    ));
    let [Item::Read(object)] = document.items.as_slice() else { panic!("{}", document.items.len()) };
    let begun = Instant::now();

    let known = version::of(&object.event);

    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(known, version::of(&object.event.clone()));
}

#[test]
fn one_answer_among_thousands_of_guests_is_found_at_once() {
    let event = |answer: &str| {
        let guests = numbered(5_000, |n| {
            let answer = if n == 2_500 { answer } else { "NEEDS-ACTION" };
            format!("ATTENDEE;PARTSTAT={answer}:mailto:guest{n}@example.com")
        });
        one(&format!("RECURRENCE-ID:20260101T000000Z\r\nDTSTART:20260101T000000Z\r\n{guests}"))
    };
    let (before, after) = (event("NEEDS-ACTION"), event("ACCEPTED"));
    let begun = Instant::now();

    let found = changes(Some(&before), Some(&after));

    assert_eq!(found.len(), 1, "{found:?}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}
