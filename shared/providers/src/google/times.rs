//! When an event is, in Google's form (`EventDateTime` and `recurrence` of the reference): the way back from
//! [`super::fields`].
//!
//! Google has no floating times: they are written in the calendar's zone. A zone whose rules came with the event has
//! no name there: a single event is written as the instants it stands for, a series is refused.

use calfleet_domain::ics;
use calfleet_domain::model::{End, Fields, Master, Override, RecurrenceId, Rule, Series, When, Zone};
use calfleet_domain::recurrence::expand::start_of;
use calfleet_domain::recurrence::{end_of, rule, zone};
use chrono::SecondsFormat;
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::render::Unsayable;

/// Start and end as a patch says them: what the other form would say is deleted.
pub(super) fn span(fields: &Fields, calendar: Option<Tz>) -> (Value, Value) {
    let reader = calendar.unwrap_or(Tz::UTC);
    let mut end = end_of(&fields.start, &fields.end, &fields.start, reader);
    if end.is_date() != fields.start.is_date() {
        end = end_of(&fields.start, &End::Unspecified, &fields.start, reader);
    }
    (moment(&named(&fields.start, calendar)), moment(&named(&end, calendar)))
}

/// Whether Google has words for when a series takes place.
pub(super) fn check(master: &Master) -> Result<(), Unsayable> {
    if matches!(master.fields.start.zone(), Some(Zone::Custom(_))) {
        return Err(Unsayable::CustomZone);
    }
    // RFC 7529; Google refuses the whole event.
    let names_one = |rule: &Rule| rule.0.to_ascii_uppercase().contains("RSCALE=");
    if master.rules.iter().any(names_one) {
        return Err(Unsayable::NamedCalendar);
    }
    // It refuses `RDATE;VALUE=PERIOD`.
    if master.additions.values().any(Option::is_some) { Err(Unsayable::Periods) } else { Ok(()) }
}

/// The lines of a series, with its cancelled instances among the exclusions; lines of `held` that we do not model stay.
pub(super) fn recurrence(
    series: &Series,
    master: &Master,
    held: &[Value],
    calendar: Option<Tz>,
) -> Result<Vec<Value>, Unsayable> {
    check(master)?;
    let start = named(&master.fields.start, calendar);
    let mut written = master.clone();
    for rule in &mut written.rules {
        // UNTIL of a floating series has no zone.
        if let Ok(fitted) = rule::canonical(&rule.0, &start, calendar) {
            *rule = fitted;
        }
    }
    let cancelled = series.overrides.iter().filter(|(_, over)| **over == Override::Cancelled);
    written.exclusions.extend(cancelled.map(|(key, _)| *key));
    written.fields.start = start;
    let is_ours = |line: &&Value| {
        let line = line.as_str().unwrap_or_default();
        ["RRULE", "RDATE", "EXDATE"].iter().any(|name| {
            let begins = line.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name));
            begins && matches!(line.as_bytes().get(name.len()), Some(b':' | b';'))
        })
    };
    let kept = held.iter().filter(|line| !is_ours(line)).cloned();
    Ok(ics::recurrence_lines(&written).into_iter().map(Value::from).chain(kept).collect())
}

/// The original start of an instance, as `events.instances` asks for it.
pub(super) fn original_start(key: RecurrenceId, master: &When, calendar: Option<Tz>) -> String {
    match named(&start_of(key, master), calendar) {
        When::Date(date) => date.format("%Y-%m-%d").to_string(),
        when => {
            let (instant, _) = zone::instant_of(&when, calendar.unwrap_or(Tz::UTC));
            instant.to_rfc3339_opts(SecondsFormat::Secs, true)
        }
    }
}

/// The same point in a form that Google has: a date, an instant, or a time in a zone of the IANA database.
fn named(when: &When, calendar: Option<Tz>) -> When {
    match when {
        When::Floating(wall) => When::Zoned { wall: *wall, zone: Zone::Iana(calendar.unwrap_or(Tz::UTC)) },
        When::Zoned { zone: Zone::Custom(_), .. } => When::Utc(zone::instant_of(when, Tz::UTC).0),
        when => when.clone(),
    }
}

fn moment(when: &When) -> Value {
    match when {
        When::Date(date) => {
            json!({ "date": date.format("%Y-%m-%d").to_string(), "dateTime": null, "timeZone": null })
        }
        // With its offset, so that a time that stands twice a year says which it is.
        When::Zoned { wall, zone: Zone::Iana(zone) } => {
            let at = zone::instant_in(*zone, *wall).0.with_timezone(zone);
            let text = at.to_rfc3339_opts(SecondsFormat::Secs, false);
            json!({ "date": null, "dateTime": text, "timeZone": zone.name() })
        }
        when => {
            let text = zone::instant_of(when, Tz::UTC).0.to_rfc3339_opts(SecondsFormat::Secs, true);
            json!({ "date": null, "dateTime": text, "timeZone": "UTC" })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use calfleet_domain::model::{CustomZone, NominalDuration, Observance, Rule};
    use chrono::NaiveDateTime;

    use super::*;

    const PARIS: Option<Tz> = Some(Tz::Europe__Paris);

    fn wall(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    fn at(text: &str, zone: Tz) -> When {
        When::Zoned { wall: wall(text), zone: Zone::Iana(zone) }
    }

    /// Five hours and a half behind Greenwich, by rules that came with the event.
    fn custom() -> Zone {
        let observance = Observance {
            onset: wall("1970-01-01T00:00:00"),
            rule: None,
            onsets: Vec::new(),
            offset_before_seconds: -19_800,
            offset_after_seconds: -19_800,
        };
        Zone::Custom(Arc::new(CustomZone { tzid: "Ours".to_owned(), observances: vec![observance] }))
    }

    fn timed(text: &str, zone: &str) -> Value {
        json!({ "date": null, "dateTime": text, "timeZone": zone })
    }

    #[test]
    fn every_form_of_a_time_has_one_at_google() {
        for (start, end, expected) in [
            (
                at("2026-03-16T10:00:00", Tz::America__New_York),
                End::At(at("2026-03-16T16:00:00", Tz::Europe__Paris)),
                (
                    timed("2026-03-16T10:00:00-04:00", "America/New_York"),
                    timed("2026-03-16T16:00:00+01:00", "Europe/Paris"),
                ),
            ),
            (
                When::Floating(wall("2026-03-16T10:00:00")),
                End::After(NominalDuration { days: 1, seconds: 60 }),
                (
                    timed("2026-03-16T10:00:00+01:00", "Europe/Paris"),
                    timed("2026-03-17T10:01:00+01:00", "Europe/Paris"),
                ),
            ),
            (
                When::Utc(wall("2026-03-16T10:00:00").and_utc()),
                End::Unspecified,
                (timed("2026-03-16T10:00:00Z", "UTC"), timed("2026-03-16T10:00:00Z", "UTC")),
            ),
            (
                When::Zoned { wall: wall("2026-03-16T10:00:00"), zone: custom() },
                End::Unspecified,
                (timed("2026-03-16T15:30:00Z", "UTC"), timed("2026-03-16T15:30:00Z", "UTC")),
            ),
        ] {
            assert_eq!(span(&Fields::new(start.clone(), end), PARIS), expected, "{start:?}");
        }
    }

    #[test]
    fn days_end_with_the_day_after_and_never_at_a_time() {
        let day = When::Date("2026-03-16".parse().unwrap());
        let date = |day: &str| json!({ "date": day, "dateTime": null, "timeZone": null });

        for end in [End::Unspecified, End::At(at("2026-03-16T16:00:00", Tz::Europe__Paris))] {
            let days = span(&Fields::new(day.clone(), end), PARIS);
            assert_eq!(days, (date("2026-03-16"), date("2026-03-17")));
        }
    }

    #[test]
    fn an_hour_that_stands_twice_or_not_at_all_becomes_the_instant_we_say_it_is() {
        let start = |text| span(&Fields::new(at(text, Tz::Europe__Paris), End::Unspecified), PARIS).0;

        assert_eq!(start("2026-10-25T02:30:00")["dateTime"], "2026-10-25T02:30:00+02:00");
        assert_eq!(start("2026-03-29T02:30:00")["dateTime"], "2026-03-29T03:30:00+02:00");
    }

    fn series(start: When, rule: &str, excluded: RecurrenceId, cancelled: RecurrenceId) -> Series {
        let master = Master {
            fields: Fields::new(start, End::Unspecified),
            rules: vec![Rule(rule.to_owned())],
            additions: BTreeMap::new(),
            exclusions: BTreeSet::from([excluded]),
        };
        Series { master: Some(master), overrides: BTreeMap::from([(cancelled, Override::Cancelled)]) }
    }

    fn lines(series: &Series, held: &[Value]) -> Result<Vec<Value>, Unsayable> {
        recurrence(series, series.master.as_ref().unwrap(), held, PARIS)
    }

    #[test]
    fn a_series_recurs_by_lines_and_keeps_those_of_others() {
        let key = |text| RecurrenceId::Wall(wall(text));
        let (first, second) = (key("2026-03-23T10:00:00"), key("2026-03-30T10:00:00"));
        let zoned = series(at("2026-03-16T10:00:00", Tz::Europe__Paris), "FREQ=WEEKLY", first, second);
        let held = ["RRULE:FREQ=DAILY", "exdate:20260316T090000Z", "EXRULE:FREQ=YEARLY", "X-RDATE:1"]
            .map(Value::from);

        let excluded =
            ["EXDATE;TZID=Europe/Paris:20260323T100000", "EXDATE;TZID=Europe/Paris:20260330T100000"];
        let ours = ["RRULE:FREQ=WEEKLY", excluded[0], excluded[1], "EXRULE:FREQ=YEARLY", "X-RDATE:1"];
        assert_eq!(lines(&zoned, &held).unwrap(), ours);
        let floating = series(
            When::Floating(wall("2026-03-16T10:00:00")),
            "FREQ=WEEKLY;UNTIL=20260401T100000",
            first,
            second,
        );
        let ours = ["RRULE:FREQ=WEEKLY;UNTIL=20260401T080000Z", excluded[0], excluded[1]];
        assert_eq!(lines(&floating, &[]).unwrap(), ours);
        let custom = When::Zoned { wall: wall("2026-03-16T10:00:00"), zone: custom() };
        assert_eq!(lines(&series(custom, "FREQ=WEEKLY", first, second), &[]), Err(Unsayable::CustomZone));
    }

    #[test]
    fn an_instance_is_asked_for_by_its_original_start() {
        let key = |text: &str| text.parse::<RecurrenceId>().unwrap();
        let paris = at("2026-03-16T10:00:00", Tz::Europe__Paris);

        assert_eq!(original_start(key("20260330T100000"), &paris, None), "2026-03-30T08:00:00Z");
        let day = When::Date("2026-03-16".parse().unwrap());
        assert_eq!(original_start(key("20260330"), &day, None), "2026-03-30");
    }
}
