//! Expansion: against python-dateutil (law 12), against a naive oracle, and between windows.

use std::collections::BTreeSet;

use calfleet_domain::ics::{self, Item, Limits};
use calfleet_domain::model::{Body, Event};
use calfleet_domain::recurrence::rule::Recurrence;
use calfleet_domain::recurrence::{Budget, Instance, expand, span, split};
use chrono::{DateTime, Datelike, Duration, NaiveDate, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;
use proptest::sample::select;
use serde::Deserialize;

use crate::cases;
use crate::generators::{a_rule, a_series, whole};

const GENEROUS: Budget = Budget { steps: 50_000_000, instances: 1_000_000 };

#[derive(Debug, Deserialize)]
struct Expected {
    count: usize,
    first: Vec<i64>,
    last: Vec<i64>,
    digest: String,
}

#[derive(Debug, Deserialize)]
struct Generated {
    start: String,
    zone: Option<String>,
    rule: String,
    exdates: Vec<String>,
    rdates: Vec<String>,
    #[serde(flatten)]
    expected: Expected,
}

/// FNV-1a over the instants as decimal text, as `tests/oracle/expansion.py` computes it.
fn digest(instants: &[i64]) -> String {
    let text = instants.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn differs(expected: &Expected, found: &[i64]) -> Option<String> {
    if expected.digest == digest(found) {
        return None;
    }
    let readable = |instants: &[i64]| -> Vec<String> {
        instants.iter().filter_map(|at| DateTime::from_timestamp(*at, 0)).map(|at| at.to_rfc3339()).collect()
    };
    let shown = &found[..found.len().min(5)];
    Some(format!(
        "expected {} from {:?} to {:?}, found {} from {:?} to {:?}",
        expected.count,
        readable(&expected.first),
        readable(&expected.last),
        found.len(),
        readable(shown),
        readable(&found[found.len().saturating_sub(1)..]),
    ))
}

fn event(text: &str) -> Event {
    let document = ics::read(text, None, &Limits::default()).unwrap();
    match document.items.into_iter().next() {
        Some(Item::Read(object)) => object.event,
        other => panic!("{other:?}"),
    }
}

/// When the instances start, as the oracle has it: an hour that the clocks skip starts with the next one. But none is
/// there twice.
fn starts(instances: &[Instance<'_>]) -> Vec<i64> {
    let (mut ids, mut starts) = (BTreeSet::new(), BTreeSet::new());
    for instance in instances {
        assert!(ids.insert(instance.recurrence_id), "{:?} takes place twice", instance.recurrence_id);
        starts.insert(instance.starts_at.timestamp());
    }
    starts.into_iter().collect()
}

fn year(year: i32) -> DateTime<Utc> {
    NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc()
}

#[test]
fn five_hundred_series_have_the_instances_that_python_dateutil_gives() {
    let rows: Vec<Generated> =
        serde_json::from_str(include_str!("../../data/expansion/generated.json")).unwrap();
    assert_eq!(rows.len(), 500);
    let mut wrong = Vec::new();
    for row in &rows {
        let line = |name: &str, value: &str| match &row.zone {
            None => format!("{name};VALUE=DATE:{value}\r\n"),
            Some(zone) => format!("{name};TZID={zone}:{value}\r\n"),
        };
        let mut text = format!(
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:x\r\n{}RRULE:{}\r\n",
            line("DTSTART", &row.start),
            row.rule
        );
        row.exdates.iter().for_each(|at| text.push_str(&line("EXDATE", at)));
        row.rdates.iter().for_each(|at| text.push_str(&line("RDATE", at)));
        text.push_str("END:VEVENT\r\nEND:VCALENDAR\r\n");

        let event = event(&text);
        let expansion = expand(&event, year(2024)..year(2034), Tz::UTC, &GENEROUS);

        assert!(expansion.is_complete, "{}", row.rule);
        if let Some(difference) = differs(&row.expected, &starts(&expansion.instances)) {
            wrong.push(format!("{} {:?} {}: {difference}", row.start, row.zone, row.rule));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// What the oracle, strict and without repairs, sees otherwise, and why we are right.
const DEVIATIONS: [(&str, &str, &str); 7] = [
    (
        "nodeical-biweekly-exdate-until.ics",
        "1234567-ABCD-ABCD-ABCD-123456789012",
        "EXDATEs with the wrong time of day mean the instance of their day",
    ),
    (
        "nodeical-duplicate-uid-sequence.ics",
        "duplicate-sequence-test@node-ical.test",
        "the higher SEQUENCE counts",
    ),
    ("nodeical-duplicate-uid-sequence.ics", "newer-wins-test@node-ical.test", "the higher SEQUENCE counts"),
    (
        "nodeical-recurrence-sequence.ics",
        "sequence-test@node-ical.test",
        "the higher SEQUENCE of an override counts",
    ),
    ("nodeical-windows-quoted-tz-rrule.ics", "0000001", "the display name of a Windows zone is a zone"),
    ("own-duplicate-uid-two-events-no-recurrence-id.ics", "dup@example.com", "the higher SEQUENCE counts"),
    ("own-range-thisandfuture.ics", "taf@example.com", "RANGE=THISANDFUTURE moves the later instances too"),
];

#[test]
fn the_corpus_has_the_instances_that_python_dateutil_gives() {
    type Files = std::collections::BTreeMap<String, std::collections::BTreeMap<String, Expected>>;
    let files: Files = serde_json::from_str(include_str!("../../data/expansion/corpus.json")).unwrap();
    let mut wrong = Vec::new();
    for (file, events) in &files {
        let text = crate::corpus::file(file);
        let document = ics::read(&ics::decode(&text), Some(Tz::Europe__Paris), &Limits::default()).unwrap();
        for (uid, expected) in events {
            if DEVIATIONS.iter().any(|(known, of, _)| known == file && of == uid) {
                continue;
            }
            let found = document.items.iter().find_map(|item| match item {
                Item::Read(object) if object.event.uid.normalised() == uid => Some(&object.event),
                _ => None,
            });
            let Some(event) = found else {
                wrong.push(format!("{file} {uid}: not read"));
                continue;
            };
            let expansion = expand(event, year(1)..year(2034), Tz::Europe__Paris, &GENEROUS);
            if let Some(difference) = differs(expected, &starts(&expansion.instances)) {
                wrong.push(format!("{file} {uid}: {difference}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rules_without_end_or_sense_cost_bounded_time() {
    let rules = [
        ("19700101T000000Z", "FREQ=SECONDLY"),
        ("19700101T000000Z", "FREQ=SECONDLY;COUNT=1000000000"),
        ("19700101T000000Z", "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30"),
        ("19700101T000000Z", "FREQ=SECONDLY;BYSECOND=7;BYMINUTE=3;COUNT=1000000000"),
        ("19700101T000000Z", "FREQ=MINUTELY;INTERVAL=7;BYHOUR=3;BYDAY=MO;COUNT=4000000000"),
        ("00010101T000000Z", "FREQ=DAILY;COUNT=1000000000"),
        ("00010101T000000Z", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"),
        ("20260101T000000Z", "FREQ=YEARLY;BYYEARDAY=366;BYMONTH=1"),
        ("20260101T000000Z", "FREQ=DAILY;INTERVAL=4294967295;COUNT=18446744073709551615"),
        (
            "20260101T000000Z",
            "FREQ=DAILY;BYHOUR=0,1,2,3,4,5,6,7,8,9;BYMINUTE=0,1,2,3,4,5;BYSECOND=0,1,2,3;BYSETPOS=-1",
        ),
    ];
    for (start, rule) in rules {
        let event =
            event(&format!("BEGIN:VEVENT\r\nUID:x\r\nDTSTART:{start}\r\nRRULE:{rule}\r\nEND:VEVENT\r\n"));
        let begun = std::time::Instant::now();
        let expansion = expand(&event, year(2026)..year(2027), Tz::UTC, &Budget::default());
        let _span = span(&event);

        assert!(expansion.instances.len() <= Budget::default().instances);
        assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{rule}: {:?}", begun.elapsed());
    }
}

/// Every wall time of ten years, tested one day at a time against what RFC 5545 says of it.
fn naive_days(rule: &Recurrence, start: NaiveDate, end: NaiveDate) -> Vec<NaiveDate> {
    use calfleet_domain::recurrence::rule::Frequency::{Daily, Monthly, Weekly, Yearly};
    let monday =
        |date: NaiveDate| date - Duration::days(i64::from(date.weekday().days_since(rule.week_start)));
    let interval = i64::from(rule.interval);
    let mut days = Vec::new();
    for date in start.iter_days().take_while(|date| *date < end) {
        let months =
            i64::from(date.year() - start.year()) * 12 + i64::from(date.month0()) - i64::from(start.month0());
        let period = match rule.frequency {
            Yearly => i64::from(date.year() - start.year()),
            Monthly => months,
            Weekly => (monday(date) - monday(start)).num_days() / 7,
            _ => (date - start).num_days(),
        };
        let last = (28..=31).rev().find(|day| date.with_day(*day).is_some()).unwrap();
        let (from_start, from_end) = (i64::from(date.day()), i64::from(date.day()) - i64::from(last) - 1);
        let is_listed = |day: &i8| i64::from(*day) == from_start || i64::from(*day) == from_end;
        let is_month = if rule.by_month.is_empty() {
            rule.frequency != Yearly
                || !rule.by_month_day.is_empty()
                || !rule.by_day.is_empty()
                || date.month() == start.month()
        } else {
            rule.by_month.iter().any(|month| u32::from(*month) == date.month())
        };
        let is_day = match (rule.by_month_day.is_empty(), rule.by_day.is_empty()) {
            (true, true) => match rule.frequency {
                Yearly | Monthly => date.day() == start.day(),
                Weekly => date.weekday() == start.weekday(),
                _ => true,
            },
            (no_month_day, no_day) => {
                (no_month_day || rule.by_month_day.iter().any(is_listed))
                    && (no_day || rule.by_day.iter().any(|(_, day)| *day == date.weekday()))
            }
        };
        let is_first = date == start;
        if is_first
            || (period % interval == 0
                && is_month
                && is_day
                && matches!(rule.frequency, Daily | Weekly | Monthly | Yearly))
        {
            days.push(date);
        }
    }
    let most = rule.count.map_or(usize::MAX, |count| usize::try_from(count).unwrap());
    days.truncate(most);
    days
}

/// What a rule of days may say of times, and must not mean.
const TIMES: [&str; 4] = ["", ";BYHOUR=9;BYMINUTE=0;BYSECOND=0", ";BYHOUR=9,15", ";BYMINUTE=0,30"];

proptest! {
    #![proptest_config(cases(1_000, 100_000))]

    #[test]
    fn a_rule_yields_what_a_search_through_every_day_yields(text in a_rule(), times in select(TIMES.to_vec()), offset in 0_i64..1000) {
        let start = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap() + Duration::days(offset);
        let end = start + Duration::days(3650);
        let source = format!("BEGIN:VEVENT\r\nUID:x\r\nDTSTART;VALUE=DATE:{}\r\nRRULE:{text}{times}\r\nEND:VEVENT\r\n", start.format("%Y%m%d"));
        let event = event(&source);
        let window = start.and_hms_opt(0, 0, 0).unwrap().and_utc()..end.and_hms_opt(0, 0, 0).unwrap().and_utc();

        let found = expand(&event, window, Tz::UTC, &GENEROUS);

        let days: Vec<NaiveDate> = found.instances.iter().map(|instance| instance.starts_at.date_naive()).collect();
        prop_assert_eq!(days, naive_days(&text.parse().unwrap(), start, end));
    }

    #[test]
    fn the_canonical_text_of_a_rule_is_its_own(text in a_rule()) {
        let once = text.parse::<Recurrence>().unwrap();
        let twice = once.to_string().parse::<Recurrence>().unwrap();

        prop_assert_eq!(once.to_string(), twice.to_string());
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn a_window_holds_what_its_slices_hold(event in a_series(), cuts in proptest::collection::vec(0_i64..1200, 1..5)) {
        let mut edges: Vec<i64> = cuts.into_iter().chain([0, 1200]).collect();
        edges.sort_unstable();
        edges.dedup();
        let day = |days: i64| year(2025) + Duration::days(days);
        let key = |instance: &Instance<'_>| (instance.starts_at, instance.recurrence_id, instance.ends_at);

        let all = expand(&event, day(0)..day(1200), Tz::Europe__Paris, &GENEROUS);

        let mut sliced = BTreeSet::new();
        for pair in edges.windows(2) {
            let slice = expand(&event, day(pair[0])..day(pair[1]), Tz::Europe__Paris, &GENEROUS);
            prop_assert!(slice.is_complete);
            sliced.extend(slice.instances.iter().map(key));
        }
        prop_assert_eq!(all.instances.iter().map(key).collect::<BTreeSet<_>>(), sliced);
    }

    #[test]
    fn a_span_holds_every_instance(event in a_series(), zone in proptest::sample::select(vec![Tz::Pacific__Kiritimati, Tz::Etc__GMTPlus12, Tz::Europe__Paris])) {
        let span = span(&event);

        let all = expand(&event, year(1990)..year(2040), zone, &GENEROUS);

        for instance in &all.instances {
            prop_assert!(instance.starts_at.timestamp_millis() >= span.start.0);
            if let Some(end) = span.end {
                prop_assert!(instance.ends_at.timestamp_millis() <= end.0, "{} after {end}", instance.ends_at);
            }
        }
    }

    #[test]
    fn what_was_written_and_read_again_happens_at_the_same_times(event in a_series()) {
        let text = ics::write(&event, calfleet_domain::clock::Timestamp(0));
        let again = self::event(&text);

        let window = || year(2024)..year(2030);
        let before = expand(&event, window(), Tz::Asia__Tokyo, &GENEROUS);
        let after = expand(&again, window(), Tz::Asia__Tokyo, &GENEROUS);

        prop_assert_eq!(whole(&before), whole(&after));
    }
}

proptest! {
    #![proptest_config(cases(1_000, 100_000))]

    #[test]
    fn the_two_halves_of_a_split_unite_to_the_original(event in a_series(), cut in any::<prop::sample::Index>()) {
        let window = || year(2024)..year(2030);
        let all = expand(&event, window(), Tz::Europe__Paris, &GENEROUS);
        let ids: Vec<_> = all.instances.iter().filter_map(|instance| instance.recurrence_id).collect();
        prop_assume!(!ids.is_empty());
        let Ok((before, after)) = split(&event, *cut.get(&ids), "later".into()) else { return Ok(()) };

        let (before, after) = (
            expand(&before, window(), Tz::Europe__Paris, &GENEROUS),
            expand(&after, window(), Tz::Europe__Paris, &GENEROUS),
        );

        let mut united: Vec<_> = whole(&before).into_iter().chain(whole(&after)).collect();
        let mut original = whole(&all);
        united.sort();
        original.sort();
        prop_assert_eq!(united, original);
    }
}

#[test]
fn an_exclusion_and_a_cancelled_override_are_the_same() {
    let series = |rest: &str, part: &str| {
        event(&format!(
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:x\r\nDTSTART;TZID=Europe/Paris:20260302T093000\r\nRRULE:FREQ=WEEKLY\r\n{rest}END:VEVENT\r\n{part}END:VCALENDAR\r\n"
        ))
    };
    let excluded = series("EXDATE;TZID=Europe/Paris:20260309T093000\r\n", "");
    let cancelled = series(
        "",
        "BEGIN:VEVENT\r\nUID:x\r\nRECURRENCE-ID:20260309T083000Z\r\nDTSTART:20260309T083000Z\r\nSTATUS:CANCELLED\r\nEND:VEVENT\r\n",
    );

    assert_eq!(excluded, cancelled);
    let Body::Series(series) = excluded.body else { panic!("a series") };
    assert_eq!(series.master.unwrap().exclusions.len(), 1);
}
