//! Every file of the corpus with what is expected of it: how many objects can be read, how many cannot, and why.

use std::path::PathBuf;

use calfleet_domain::ics::{self, Item, Limits};
use calfleet_domain::model::{Body, Event, Fields, Override, Stamps};
use calfleet_domain::recurrence::{Budget, expand};
use chrono_tz::Tz;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../data/ics")
}

pub(crate) fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".ics"))
        .collect();
    names.sort();
    names
}

pub(crate) fn file(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// File, objects that can be read, instances of all of them from 1990 to 2036 in Paris, and the reasons of those
/// that cannot be read.
const EXPECTED: &[(&str, usize, usize, &[&str])] = &[
    ("nodeical-Office-2012-owa.ics", 4, 90, &[]),
    ("nodeical-bad_custom_ms_tz.ics", 3, 3, &[]),
    ("nodeical-bad_ms_tz.ics", 1, 34, &[]),
    ("nodeical-biweekly-exdate-until.ics", 2, 979, &[]),
    ("nodeical-daily-count-exdate-recurrence-id.ics", 1, 8, &[]),
    ("nodeical-duplicate-uid-sequence.ics", 2, 2, &[]),
    ("nodeical-exchange-custom-tz.ics", 1, 1, &[]),
    ("nodeical-exchange_whole_day_moved_recurrence.ics", 1, 52, &[]),
    ("nodeical-exchange_whole_day_moved_recurrence_offset_tz.ics", 1, 52, &[]),
    ("nodeical-floating-dtstart-custom-vtimezone.ics", 1, 1, &[]),
    ("nodeical-google-calendar-kiev-tz.ics", 1, 4, &[]),
    ("nodeical-mixed-timezone-handling.ics", 5, 5, &[]),
    ("nodeical-ms_timezones.ics", 4, 372, &[]),
    ("nodeical-multi-era-vtimezone.ics", 2, 1, &[]),
    ("nodeical-non-utc-until-ny.ics", 1, 15, &[]),
    ("nodeical-non-utc-until.ics", 1, 53, &[]),
    ("nodeical-recurrence-sequence.ics", 1, 7, &[]),
    ("nodeical-tentative-apple-calendar.ics", 4, 4, &[]),
    ("nodeical-test_date_duration.ics", 1, 1, &[]),
    ("nodeical-test_date_time_duration.ics", 1, 1, &[]),
    ("nodeical-test_with_int_tzid.ics", 2, 2, &[]),
    ("nodeical-vtimezone-year-0001-dtstart.ics", 1, 1, &[]),
    ("nodeical-whole_day_moved_over_dst_change_berlin.ics", 1, 3, &[]),
    ("nodeical-windows-quoted-tz-rrule.ics", 1, 8, &[]),
    ("own-allday-multiday-floating.ics", 5, 5, &[]),
    ("own-dst-gap-and-overlap.ics", 3, 7, &[]),
    ("own-duplicate-uid-two-events-no-recurrence-id.ics", 1, 1, &[]),
    ("own-feed-conventions.ics", 1, 1, &[]),
    ("own-folding-escaping-multibyte.ics", 1, 1, &[]),
    ("own-itip-cancel-one-instance.ics", 1, 0, &[]),
    ("own-itip-reply.ics", 1, 1, &[]),
    ("own-itip-request.ics", 1, 1, &[]),
    ("own-master-two-overrides-exdate.ics", 1, 9, &[]),
    ("own-orphan-override-only.ics", 1, 1, &[]),
    ("own-range-thisandfuture.ics", 1, 10, &[]),
    ("own-rdate-exdate-mixed.ics", 1, 8, &[]),
    ("own-until-type-mismatches.ics", 3, 15, &[]),
    ("pyical-bom_calendar.ics", 0, 0, &[]),
    ("pyical-broken_dtstart.ics", 0, 0, &["DTSTART is unreadable: \"INVALID-DATE\""]),
    ("pyical-empty_RDATE.ics", 0, 0, &[]),
    ("pyical-invalid_duration.ics", 1, 1, &[]),
    ("pyical-issue_156_RDATE_with_PERIOD_TZID_khal.ics", 1, 1, &[]),
    ("pyical-issue_218_bad_tzid.ics", 1, 1, &[]),
    ("pyical-issue_237_fail_to_parse_timezone_with_non_ascii_tzid.ics", 1, 1, &[]),
    ("pyical-issue_313_globally_unique_tzid.ics", 3, 3, &[]),
    ("pyical-issue_348_exception_parsing_value.ics", 1, 1, &[]),
    ("pyical-issue_350.ics", 1, 1, &[]),
    ("pyical-issue_464_invalid_rdate.ics", 1, 2, &[]),
    ("pyical-issue_55_parse_error_on_utc_offset_with_seconds.ics", 0, 0, &[]),
    ("pyical-issue_64_event_with_non_ascii_summary.ics", 0, 0, &["the event has no DTSTART"]),
    ("pyical-pacific_fiji.ics", 1, 1, &[]),
    (
        "pyical-rfc_5545_RDATE_example.ics",
        0,
        0,
        &[
            "the event has no DTSTART",
            "the event has no DTSTART",
            "the event has no DTSTART",
            "the event has no DTSTART",
            "the event has no DTSTART",
            "the event has no DTSTART",
        ],
    ),
    ("pyical-rfc_6868.ics", 0, 0, &["the event has no DTSTART"]),
    ("pyical-rfc_7529.ics", 4, 4, &[]),
    ("pyical-rfc_7986_conferences.ics", 0, 0, &["the event has no DTSTART"]),
    ("pyical-rfc_7986_properties.ics", 0, 0, &[]),
    ("pyical-rfc_9074_example_1.ics", 1, 1, &[]),
    ("vobject-ms_tzid.ics", 1, 1, &[]),
    ("vobject-radicale-0827.ics", 1, 26, &[]),
];

#[test]
fn every_file_of_the_corpus_is_read_as_stated() {
    let window = "1990-01-01T00:00:00Z".parse().unwrap().."2036-01-01T00:00:00Z".parse().unwrap();
    let budget = Budget::default();
    let mut found = Vec::new();
    for name in names() {
        let document = ics::read(&ics::decode(&file(&name)), None, &Limits::default()).unwrap();
        let (mut readable, mut instances, mut reasons) = (0, 0, Vec::new());
        for item in &document.items {
            match item {
                Item::Read(object) => {
                    readable += 1;
                    instances +=
                        expand(&object.event, window.clone(), Tz::Europe__Paris, &budget).instances.len();
                }
                Item::Unreadable { reason, raw, .. } => {
                    assert!(raw.contains("BEGIN:VEVENT"));
                    reasons.push(reason.clone());
                }
            }
        }
        found.push((name, readable, instances, reasons));
    }

    let expected = EXPECTED.iter().map(|(name, readable, instances, reasons)| {
        let reasons: Vec<String> = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        ((*name).to_owned(), *readable, *instances, reasons)
    });

    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(*found, expected);
    }
    assert_eq!(found.len(), EXPECTED.len());
}

#[test]
fn the_text_of_each_object_stands_by_itself() {
    for name in names() {
        let document =
            ics::read(&ics::decode(&file(&name)), Some(Tz::Europe__Paris), &Limits::default()).unwrap();
        for item in &document.items {
            let Item::Read(object) = item else { continue };
            let again = ics::read(&object.raw, Some(Tz::Europe__Paris), &Limits::default()).unwrap();
            let [Item::Read(single)] = again.items.as_slice() else { panic!("{name}: {}", object.raw) };
            // METHOD is the document's and not the object's, and with it the meaning of DTSTAMP
            assert_eq!(without_stamps(&single.event), without_stamps(&object.event), "{name}");
        }
    }
}

/// The event without what moves by itself.
pub(crate) fn without_stamps(event: &Event) -> Event {
    let mut event = event.clone();
    let clear = |fields: &mut Fields| fields.stamps = Stamps::default();
    match &mut event.body {
        Body::Single(fields) => clear(fields),
        Body::Series(series) => {
            series.master.iter_mut().for_each(|master| clear(&mut master.fields));
            for over in series.overrides.values_mut() {
                if let Override::Changed(fields) = over {
                    clear(fields);
                }
            }
        }
    }
    event
}
