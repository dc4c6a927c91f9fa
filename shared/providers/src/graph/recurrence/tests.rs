use std::collections::{BTreeMap, BTreeSet};

use calfleet_domain::model::{Body, End, Event, Fields, Master, Series, Uid, Zone};
use calfleet_domain::recurrence::rule::canonical;
use calfleet_domain::recurrence::{Budget, expand};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;

fn read(text: &str) -> wire::Recurrence {
    serde_json::from_str(text).unwrap()
}

fn paris(day: &str) -> When {
    let wall = day.parse::<NaiveDate>().unwrap().and_hms_opt(9, 30, 0).unwrap();
    When::Zoned { wall, zone: Zone::Iana(Tz::Europe__Paris) }
}

fn text_of(pattern: &str, start: &str) -> String {
    let recurrence = read(&format!(r#"{{"pattern":{pattern},"range":{{"type":"noEnd"}}}}"#));
    rule(&recurrence, &paris(start)).map(|rule| rule.to_string()).unwrap_or_default()
}

fn written(rule: &str, start: &When) -> Result<serde_json::Value, NoPattern> {
    let rule: Rule = canonical(rule, start, None).unwrap().0.parse().unwrap();
    recurrence(&rule, start).map(|written| serde_json::to_value(written).unwrap())
}

fn back(rule: &str, start: &str) -> Result<String, NoPattern> {
    let start = paris(start);
    let rule: Rule = rule.parse().unwrap();
    recurrence(&rule, &start).map(|written| super::rule(&written, &start).unwrap().to_string())
}

#[test]
fn every_pattern_has_its_rule() {
    // Graph fills what a type does not use with zeros and defaults.
    let rest = r#""month":0,"dayOfMonth":0,"firstDayOfWeek":"sunday","index":"first""#;
    for (pattern, rule) in [
        (format!(r#"{{"type":"daily","interval":3,{rest}}}"#), "FREQ=DAILY;INTERVAL=3"),
        (
            format!(r#"{{"type":"weekly","interval":1,{rest},"daysOfWeek":["wednesday","monday"]}}"#),
            "FREQ=WEEKLY;BYDAY=MO,WE",
        ),
        (
            format!(r#"{{"type":"weekly","interval":2,{rest},"daysOfWeek":["monday"]}}"#),
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO;WKST=SU",
        ),
        (format!(r#"{{"type":"weekly","interval":1,{rest}}}"#), "FREQ=WEEKLY;BYDAY=MO"),
        (r#"{"type":"absoluteMonthly","interval":1,"dayOfMonth":16}"#.to_owned(), "FREQ=MONTHLY;BYMONTHDAY=16"),
        (
            r#"{"type":"absoluteMonthly","interval":1,"dayOfMonth":30}"#.to_owned(),
            "FREQ=MONTHLY;BYMONTHDAY=28,29,30;BYSETPOS=-1",
        ),
        (r#"{"type":"absoluteMonthly","interval":1,"dayOfMonth":31}"#.to_owned(), "FREQ=MONTHLY;BYMONTHDAY=-1"),
        (
            r#"{"type":"relativeMonthly","interval":1,"daysOfWeek":["tuesday"],"index":"second"}"#.to_owned(),
            "FREQ=MONTHLY;BYDAY=2TU",
        ),
        (
            r#"{"type":"relativeMonthly","interval":1,"daysOfWeek":["friday"],"index":"last"}"#.to_owned(),
            "FREQ=MONTHLY;BYDAY=-1FR",
        ),
        (
            r#"{"type":"relativeMonthly","interval":1,"daysOfWeek":["monday","tuesday","wednesday","thursday","friday"],"index":"last"}"#.to_owned(),
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        ),
        (
            r#"{"type":"relativeMonthly","interval":1,"daysOfWeek":["sunday","monday","tuesday","wednesday","thursday","friday","saturday"],"index":"last"}"#.to_owned(),
            "FREQ=MONTHLY;BYMONTHDAY=-1",
        ),
        (
            r#"{"type":"absoluteYearly","interval":1,"month":2,"dayOfMonth":29}"#.to_owned(),
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=28,29;BYSETPOS=-1",
        ),
        (
            r#"{"type":"absoluteYearly","interval":1,"month":12,"dayOfMonth":31}"#.to_owned(),
            "FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=31",
        ),
        (
            r#"{"type":"relativeYearly","interval":1,"month":11,"daysOfWeek":["thursday"],"index":"fourth"}"#.to_owned(),
            "FREQ=YEARLY;BYMONTH=11;BYDAY=4TH",
        ),
    ] {
        assert_eq!(text_of(&pattern, "2026-03-16"), rule, "{pattern}");
    }
}

#[test]
fn a_pattern_of_a_kind_to_come_is_not_guessed_at() {
    for pattern in [
        r"{}",
        r#"{"type":"lunarMonthly","interval":1}"#,
        r#"{"type":"weekly","interval":1,"daysOfWeek":["someday"]}"#,
        r#"{"type":"absoluteMonthly","interval":1,"dayOfMonth":32}"#,
        r#"{"type":"absoluteYearly","interval":1,"month":13,"dayOfMonth":1}"#,
        r#"{"type":"relativeMonthly","interval":1,"daysOfWeek":[],"index":"first"}"#,
        r#"{"type":"daily","interval":-1}"#,
    ] {
        assert_eq!(text_of(pattern, "2026-03-16"), "", "{pattern}");
    }
}

#[test]
fn ends_are_read_and_written_on_the_clock_of_the_series() {
    let of = |range: &str, start: &When| {
        let recurrence = read(&format!(r#"{{"pattern":{{"type":"daily","interval":1}},"range":{range}}}"#));
        let rule = rule(&recurrence, start).map(|rule| rule.to_string()).unwrap_or_default();
        canonical(&rule, start, None).map(|rule| rule.0).unwrap_or_default()
    };
    let day = When::Date("2026-06-01".parse().unwrap());

    assert_eq!(
        of(r#"{"type":"endDate","startDate":"2026-06-01","endDate":"2026-06-05"}"#, &paris("2026-06-01")),
        "FREQ=DAILY;UNTIL=20260605T215959Z"
    );
    assert_eq!(of(r#"{"type":"endDate","endDate":"2026-06-05"}"#, &day), "FREQ=DAILY;UNTIL=20260605");
    assert_eq!(
        of(r#"{"type":"numbered","endDate":"0001-01-01","numberOfOccurrences":9}"#, &day),
        "FREQ=DAILY;COUNT=9"
    );
    assert_eq!(of(r#"{"type":"numbered","numberOfOccurrences":0}"#, &day), "");
    let end = |rule: &str, start: &When| written(rule, start).unwrap()["range"].clone();
    assert_eq!(end("FREQ=DAILY;UNTIL=20260605T073000Z", &paris("2026-06-01"))["endDate"], "2026-06-05");
    assert_eq!(end("FREQ=DAILY;UNTIL=20260605T072959Z", &paris("2026-06-01"))["endDate"], "2026-06-04");
    assert_eq!(end("FREQ=DAILY;UNTIL=20260605", &day)["endDate"], "2026-06-05");
    assert_eq!(
        end("FREQ=DAILY;COUNT=9", &day),
        serde_json::json!({ "type": "numbered", "startDate": "2026-06-01", "numberOfOccurrences": 9 })
    );
}

#[test]
fn rules_are_written_with_what_their_type_uses_and_nothing_else() {
    let monday = paris("2026-03-16");

    assert_eq!(
        written("FREQ=WEEKLY", &monday).unwrap()["pattern"],
        serde_json::json!({ "type": "weekly", "interval": 1, "daysOfWeek": ["monday"], "firstDayOfWeek": "monday" })
    );
    assert_eq!(
        written("FREQ=YEARLY", &monday).unwrap()["pattern"],
        serde_json::json!({ "type": "absoluteYearly", "interval": 1, "dayOfMonth": 16, "month": 3 })
    );
    assert_eq!(written("FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR", &monday).unwrap()["pattern"]["type"], "weekly");
}

#[test]
fn what_graph_cannot_say_is_refused_with_the_reason() {
    for (rule, start, reason) in [
        ("FREQ=HOURLY", "2026-03-16", NoPattern::Kind),
        ("FREQ=DAILY;BYHOUR=9,17", "2026-03-16", NoPattern::Kind),
        ("FREQ=DAILY;INTERVAL=2;BYDAY=MO", "2026-03-16", NoPattern::Kind),
        ("FREQ=WEEKLY;BYMONTH=3", "2026-03-16", NoPattern::Kind),
        ("FREQ=MONTHLY;BYMONTHDAY=1,16", "2026-03-16", NoPattern::Kind),
        ("FREQ=MONTHLY;BYMONTHDAY=-2", "2026-03-30", NoPattern::Kind),
        ("FREQ=MONTHLY;BYDAY=5MO", "2026-03-30", NoPattern::Kind),
        ("FREQ=MONTHLY;BYDAY=1MO,3MO", "2026-03-16", NoPattern::Kind),
        ("FREQ=MONTHLY;BYDAY=MO,WE;BYSETPOS=1", "2026-03-02", NoPattern::Kind),
        ("FREQ=YEARLY;BYMONTH=3,9;BYMONTHDAY=16", "2026-03-16", NoPattern::Kind),
        ("FREQ=YEARLY;BYMONTHDAY=16", "2026-03-16", NoPattern::Kind),
        ("FREQ=YEARLY;BYWEEKNO=12", "2026-03-16", NoPattern::Kind),
        ("FREQ=DAILY;COUNT=3;UNTIL=20270101T000000Z", "2026-03-16", NoPattern::Kind),
        ("FREQ=MONTHLY;BYMONTHDAY=31", "2026-03-31", NoPattern::ShortMonths),
        ("FREQ=MONTHLY", "2026-03-30", NoPattern::ShortMonths),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "2028-02-29", NoPattern::ShortMonths),
        ("FREQ=WEEKLY;BYDAY=TU", "2026-03-16", NoPattern::Start),
        ("FREQ=MONTHLY;BYDAY=2MO", "2026-03-16", NoPattern::Start),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", "2026-03-30", NoPattern::Start),
    ] {
        assert_eq!(back(rule, start), Err(reason), "{rule} from {start}");
    }
}

fn patterns() -> impl Strategy<Value = wire::Pattern> {
    let name = |name: &str| Some(name.to_owned());
    let days = prop::sample::subsequence(WEEKDAYS.map(|(_, name)| name.to_owned()).to_vec(), 1..=7);
    let set = prop_oneof![
        prop::sample::select(WEEKDAYS.to_vec()).prop_map(|(_, day)| vec![day.to_owned()]),
        Just(WEEKDAYS[..5].iter().map(|(_, day)| (*day).to_owned()).collect::<Vec<_>>()),
        Just(WEEKDAYS[5..].iter().map(|(_, day)| (*day).to_owned()).collect::<Vec<_>>()),
        Just(WEEKDAYS.iter().map(|(_, day)| (*day).to_owned()).collect::<Vec<_>>()),
    ];
    let index = prop::sample::select(vec!["first", "second", "third", "fourth", "last"]);
    let first = prop::sample::select(WEEKDAYS.to_vec());
    (0..6_u8, 1..4_i64, days, set, index, first, 1..=12_i64, 1..=31_i64).prop_map(
        move |(kind, interval, days, set, index, (_, first), month, day)| {
            let pattern = wire::Pattern { interval: Some(interval), ..wire::Pattern::default() };
            let (set, index) = (set.clone(), name(index));
            match kind {
                0 => wire::Pattern { kind: name("daily"), ..pattern },
                1 => wire::Pattern {
                    kind: name("weekly"),
                    days_of_week: days,
                    first_day_of_week: name(first),
                    ..pattern
                },
                2 => wire::Pattern { kind: name("absoluteMonthly"), day_of_month: Some(day), ..pattern },
                3 => wire::Pattern { kind: name("relativeMonthly"), days_of_week: set, index, ..pattern },
                4 => wire::Pattern {
                    kind: name("absoluteYearly"),
                    month: Some(month),
                    day_of_month: Some(day),
                    ..pattern
                },
                _ => wire::Pattern {
                    kind: name("relativeYearly"),
                    month: Some(month),
                    days_of_week: set,
                    index,
                    ..pattern
                },
            }
        },
    )
}

/// The first day from `from` on which a series of this pattern may begin.
fn first_day(pattern: &wire::Pattern, from: NaiveDate) -> NaiveDate {
    from.iter_days().take(800).find(|day| super::pattern::is_on(pattern, *day)).expect("a day in two years")
}

/// Six years: two rounds of what happens every third one.
const DAYS: usize = 2200;

/// Instances of so many days.
fn instances(rule: &Rule, start: &When) -> Vec<DateTime<Utc>> {
    let rule = canonical(&rule.to_string(), start, None).unwrap();
    let fields = Fields::new(start.clone(), End::Unspecified);
    let master =
        Master { fields, rules: vec![rule], additions: BTreeMap::new(), exclusions: BTreeSet::new() };
    let body = Body::Series(Series { master: Some(master), overrides: BTreeMap::new() });
    let event = Event { uid: Uid::from("u"), body };
    let from = start.wall().date().and_time(chrono::NaiveTime::MIN).and_utc() - TimeDelta::days(2);
    let expansion = expand(
        &event,
        from..from + TimeDelta::days(i64::try_from(DAYS).unwrap() + 2),
        Tz::UTC,
        &Budget::default(),
    );
    expansion.instances.iter().map(|instance| instance.starts_at).collect()
}

/// The days of a pattern by its definition, day by day: the oracle.
fn oracle(pattern: &wire::Pattern, start: NaiveDate) -> Vec<NaiveDate> {
    use chrono::Datelike as _;
    let interval = pattern.interval.unwrap_or(1);
    let week_of = |date: NaiveDate| {
        let first = pattern.first_day_of_week.as_deref().and_then(weekday).unwrap_or(Weekday::Sun);
        let back = i64::from(date.weekday().days_since(first));
        (date - TimeDelta::days(back)).signed_duration_since(NaiveDate::MIN).num_days() / 7
    };
    let months = |date: NaiveDate| i64::from(date.year()) * 12 + i64::from(date.month0());
    let since = |date: NaiveDate| match pattern.kind.as_deref() {
        Some("daily") => date.signed_duration_since(start).num_days(),
        Some("weekly") => week_of(date) - week_of(start),
        Some("absoluteMonthly" | "relativeMonthly") => months(date) - months(start),
        _ => i64::from(date.year() - start.year()),
    };
    start
        .iter_days()
        .take(DAYS)
        .filter(|date| since(*date) % interval == 0 && super::pattern::is_on(pattern, *date))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_pattern_has_the_same_days_as_its_rule_and_comes_back_as_it_was(
        pattern in patterns(),
        from in (0..1500_u64).prop_map(|days| "2026-01-01".parse::<NaiveDate>().unwrap() + chrono::Days::new(days)),
    ) {
        let day = first_day(&pattern, from);
        let start = When::Zoned { wall: day.and_hms_opt(9, 30, 0).unwrap(), zone: Zone::Iana(Tz::Europe__Paris) };
        let range = wire::Range { kind: Some("noEnd".to_owned()), ..wire::Range::default() };
        let there = wire::Recurrence { pattern: pattern.clone(), range };

        let rule = super::rule(&there, &start).unwrap();
        let found = instances(&rule, &start);
        let days: Vec<NaiveDate> =
            found.iter().map(|at| at.with_timezone(&Tz::Europe__Paris).date_naive()).collect();
        prop_assert_eq!(&days, &oracle(&pattern, day), "{} {:?}", rule, pattern);

        let again = recurrence(&rule, &start).unwrap();
        prop_assert_eq!(super::rule(&again, &start).unwrap().to_string(), rule.to_string());
    }

    #[test]
    fn a_rule_that_can_be_written_has_the_same_instances_when_it_comes_back(
        text in prop::sample::select(vec![
            "FREQ=DAILY", "FREQ=DAILY;BYDAY=MO,WE", "FREQ=WEEKLY", "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,MO",
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,MO;WKST=SU", "FREQ=MONTHLY", "FREQ=MONTHLY;BYMONTHDAY=-1",
            "FREQ=MONTHLY;BYMONTHDAY=28,29;BYSETPOS=-1", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=2", "FREQ=MONTHLY;BYDAY=-1SU",
            "FREQ=YEARLY", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=28,29;BYSETPOS=-1", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1",
            "FREQ=YEARLY;BYMONTH=10;BYDAY=1MO",
        ]),
        end in prop::sample::select(vec!["", ";COUNT=7", ";UNTIL=20280316T083000Z", ";UNTIL=20280316T082959Z"]),
        from in (0..800_u64).prop_map(|days| "2026-01-01".parse::<NaiveDate>().unwrap() + chrono::Days::new(days)),
    ) {
        let rule: Rule = format!("{text}{end}").parse().unwrap();
        let starts = from.iter_days().take(1500).map(|day| paris(&day.to_string()));
        let start = starts.into_iter().find(|start| recurrence(&rule, start).is_ok()).expect("a day in four years");

        let back = super::rule(&recurrence(&rule, &start).unwrap(), &start).unwrap();

        prop_assert_eq!(instances(&back, &start), instances(&rule, &start), "{} came back as {}", rule, back);
    }
}
