//! When an event is, in Graph's form (`dateTimeTimeZone`, `patternedRecurrence`): the way back from [`super::times`].
//!
//! Graph has no floating times: they are written in the calendar's zone. A zone whose rules came with the event has
//! no name there: a single event is written as the instants it stands for, a series is refused. All-day events are
//! midnights in UTC, of which only the day counts.

use calfleet_domain::model::{End, Fields, Master, When, Zone};
use calfleet_domain::recurrence::windows_zones::{preferred, windows_ids};
use calfleet_domain::recurrence::{Recurrence, end_of, zone};
use chrono::{NaiveDateTime, NaiveTime};
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::recurrence;
use super::render::{Body, Unsayable};

/// Puts start, end and whether they are days.
pub(super) fn put(body: &mut Body, fields: &Fields, calendar: Option<Tz>) {
    let reader = calendar.unwrap_or(Tz::UTC);
    let mut end = end_of(&fields.start, &fields.end, &fields.start, reader);
    if end.is_date() != fields.start.is_date() {
        end = end_of(&fields.start, &End::Unspecified, &fields.start, reader);
    }
    body.insert("start".to_owned(), moment(&named(&fields.start, calendar)));
    body.insert("end".to_owned(), moment(&named(&end, calendar)));
    body.insert("isAllDay".to_owned(), json!(fields.start.is_date()));
}

/// When a series recurs.
pub(super) fn pattern(master: &Master, calendar: Option<Tz>) -> Result<Value, Unsayable> {
    if matches!(master.fields.start.zone(), Some(Zone::Custom(_))) {
        return Err(Unsayable::CustomZone);
    }
    let [rule] = master.rules.as_slice() else { return Err(Unsayable::SeveralRules) };
    if !master.additions.is_empty() {
        return Err(Unsayable::Additions);
    }
    let rule: Recurrence = rule.0.parse().map_err(|_| Unsayable::Pattern(recurrence::NoPattern::Kind))?;
    let start = named(&master.fields.start, calendar);
    let pattern = recurrence::recurrence(&rule, &start).map_err(Unsayable::Pattern)?;
    Ok(json!(pattern))
}

/// The same point in a form that Graph has: a date, an instant, or a time in a zone of the IANA database.
fn named(when: &When, calendar: Option<Tz>) -> When {
    match when {
        When::Floating(wall) => When::Zoned { wall: *wall, zone: Zone::Iana(calendar.unwrap_or(Tz::UTC)) },
        When::Zoned { zone: Zone::Custom(_), .. } => When::Utc(zone::instant_of(when, Tz::UTC).0),
        when => when.clone(),
    }
}

fn moment(when: &When) -> Value {
    let (wall, zone) = match when {
        When::Date(date) => (date.and_time(NaiveTime::MIN), "UTC"),
        // A time that does not stand on the clock is written as the one that it means.
        When::Zoned { wall, zone: Zone::Iana(zone) } => {
            (zone::instant_in(*zone, *wall).0.with_timezone(zone).naive_local(), name(*zone))
        }
        when => (zone::instant_of(when, Tz::UTC).0.naive_utc(), "UTC"),
    };
    json!({ "dateTime": spelled(wall), "timeZone": zone })
}

fn spelled(wall: NaiveDateTime) -> String {
    wall.format("%Y-%m-%dT%H:%M:%S.0000000").to_string()
}

/// The Windows name of a zone that is the first of its kind; any other is known to Graph by its own.
fn name(zone: Tz) -> &'static str {
    let zone = preferred(zone);
    if zone == Tz::Etc__UTC {
        return "UTC";
    }
    windows_ids().find(|(_, known)| *known == zone).map_or(zone.name(), |(windows, _)| windows)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use calfleet_domain::model::{NominalDuration, Rule};

    use super::*;

    const PARIS: Option<Tz> = Some(Tz::Europe__Paris);

    fn wall(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    fn at(text: &str, zone: Tz) -> When {
        When::Zoned { wall: wall(text), zone: Zone::Iana(zone) }
    }

    fn span(start: When, end: End) -> Value {
        let mut body = Body::new();
        put(&mut body, &Fields::new(start, end), PARIS);
        Value::Object(body)
    }

    fn said(start: (&str, &str), end: (&str, &str), is_all_day: bool) -> Value {
        let moment =
            |(time, zone): (&str, &str)| json!({ "dateTime": format!("{time}.0000000"), "timeZone": zone });
        json!({ "start": moment(start), "end": moment(end), "isAllDay": is_all_day })
    }

    #[test]
    fn every_form_of_a_time_has_one_at_graph() {
        let tea = at("2026-03-16T16:00:00", Tz::Europe__Brussels);
        assert_eq!(
            span(at("2026-03-16T10:00:00", Tz::America__New_York), End::At(tea)),
            said(
                ("2026-03-16T10:00:00", "Eastern Standard Time"),
                ("2026-03-16T16:00:00", "Europe/Brussels"),
                false
            )
        );
        assert_eq!(
            span(
                When::Floating(wall("2026-03-16T10:00:00")),
                End::After(NominalDuration { days: 1, seconds: 60 })
            ),
            said(
                ("2026-03-16T10:00:00", "Romance Standard Time"),
                ("2026-03-17T10:01:00", "Romance Standard Time"),
                false
            )
        );
        let utc = When::Utc(wall("2026-03-16T10:00:00").and_utc());
        assert_eq!(
            span(utc, End::Unspecified),
            said(("2026-03-16T10:00:00", "UTC"), ("2026-03-16T10:00:00", "UTC"), false)
        );
    }

    #[test]
    fn days_are_midnights_and_end_with_the_day_after() {
        let day = || When::Date("2026-03-16".parse().unwrap());
        let expected = said(("2026-03-16T00:00:00", "UTC"), ("2026-03-17T00:00:00", "UTC"), true);

        for end in [End::Unspecified, End::At(at("2026-03-16T16:00:00", Tz::Europe__Paris))] {
            assert_eq!(span(day(), end), expected);
        }
    }

    #[test]
    fn an_hour_that_does_not_stand_on_the_clock_is_the_one_we_say_it_is() {
        let gap = span(at("2026-03-29T02:30:00", Tz::Europe__Paris), End::Unspecified);

        assert_eq!(gap["start"]["dateTime"], "2026-03-29T03:30:00.0000000");
    }

    #[test]
    fn a_series_recurs_by_one_rule_and_nothing_else() {
        let fields = Fields::new(at("2026-03-16T10:00:00", Tz::Europe__Paris), End::Unspecified);
        let rules = vec![Rule("FREQ=WEEKLY;UNTIL=20260401T080000Z".to_owned())];
        let master = Master { fields, rules, additions: BTreeMap::new(), exclusions: BTreeSet::new() };

        assert_eq!(
            pattern(&master, None).unwrap(),
            json!({ "pattern": { "type": "weekly", "interval": 1, "daysOfWeek": ["monday"], "firstDayOfWeek": "monday" },
                "range": { "type": "endDate", "startDate": "2026-03-16", "endDate": "2026-04-01" } })
        );
        let with = |rules: &[&str]| {
            let rules = rules.iter().map(|rule| Rule((*rule).to_owned())).collect();
            pattern(&Master { rules, ..master.clone() }, None).unwrap_err()
        };
        assert_eq!(with(&[]), Unsayable::SeveralRules);
        assert_eq!(with(&["FREQ=HOURLY"]), Unsayable::Pattern(recurrence::NoPattern::Kind));
        assert_eq!(with(&["FREQ=WEEKLY;BYDAY=TU"]), Unsayable::Pattern(recurrence::NoPattern::Start));
    }
}
