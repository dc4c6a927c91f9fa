//! Graph's times → points in a calendar.
//!
//! All times are asked for in UTC and brought into the zone that the event was written in, which Graph names beside
//! them by a Windows name: an answer's own zone would be whatever we asked for, and a series in it would move with
//! the clocks. All-day events are midnights in whatever zone; of those only the day counts.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{End, RecurrenceId, When, Zone};
use calfleet_domain::recurrence::windows_zones::preferred;
use calfleet_domain::recurrence::zone;
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;

use super::wire::{Event, Moment};

/// Whether a time has to stand for one instant, or for a wall clock again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recurs {
    No,
    Yes,
}

/// When an event begins and ends; `None` when its start is no time. `calendar` is the calendar's own zone.
pub(super) fn span(event: &Event, calendar: Option<Tz>, warnings: &mut Vec<String>) -> Option<(When, End)> {
    let (start, end) = (event.start.as_ref()?, event.end.as_ref());
    let start_zone = event.original_start_time_zone.as_deref();
    if event.is_all_day {
        let first = day(start, start_zone)?;
        // A day is the least that an all-day event takes.
        let end = end.and_then(|end| day(end, start_zone)).filter(|end| *end > first);
        return Some((When::Date(first), end.map_or(End::Unspecified, |end| End::At(When::Date(end)))));
    }
    let ranged = event.recurrence.as_ref().and_then(|found| found.range.recurrence_time_zone.as_deref());
    let recurs = if event.recurrence.is_some() { Recurs::Yes } else { Recurs::No };
    let start_zone = own_zone([ranged, start_zone], calendar, warnings);
    let begins = instant(start)?;
    let end_zone = event.original_end_time_zone.as_deref().and_then(zone::resolve);
    let from = in_zone(begins, start_zone.as_ref(), recurs)?;
    let until = end.and_then(instant).filter(|end| *end >= begins);
    let until = until.and_then(|until| in_zone(until, end_zone.as_ref().or(start_zone.as_ref()), recurs));
    if until.is_none() {
        warnings.push("its end does not go with its start and is left out".to_owned());
    }
    Some((from, until.map_or(End::Unspecified, End::At)))
}

/// The original start of an instance: a date, or an instant.
pub(super) fn original_start(event: &Event) -> Option<RecurrenceId> {
    let original = stamp(event.original_start.as_deref()?)?;
    if !event.is_all_day {
        return Some(RecurrenceId::Utc(original));
    }
    let zone = event.original_start_time_zone.as_deref().and_then(zone::resolve);
    Some(RecurrenceId::Date(midnight(original, zone.as_ref())))
}

/// The instance of a series starting at `start` that takes place on `day` of its own zone. Graph's rules never yield
/// two on one day.
pub(super) fn on_day(start: &When, day: NaiveDate) -> RecurrenceId {
    let wall = day.and_time(start.wall().time());
    match start {
        When::Date(_) => RecurrenceId::Date(day),
        When::Utc(_) => RecurrenceId::Utc(wall.and_utc()),
        When::Floating(_) | When::Zoned { .. } => RecurrenceId::Wall(wall),
    }
}

/// An RFC 3339 stamp on the provider's clock.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    stamp(text).map(Timestamp::from_utc)
}

fn stamp(text: &str) -> Option<DateTime<Utc>> {
    let instant = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    Some(instant).filter(|instant| is_sane(instant.date_naive()))
}

fn is_sane(date: NaiveDate) -> bool {
    // a day off both ends, so that every zone can show it
    (2..=9998).contains(&date.year())
}

fn wall(moment: &Moment) -> Option<NaiveDateTime> {
    let wall = NaiveDateTime::parse_from_str(moment.date_time.as_deref()?, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    wall.with_nanosecond(0).filter(|wall| is_sane(wall.date()))
}

/// The instant of a time in the zone that the answer names.
fn instant(moment: &Moment) -> Option<DateTime<Utc>> {
    let wall = wall(moment)?;
    match moment.time_zone.as_deref().and_then(zone::resolve) {
        Some(zone) => Some(zone::ZoneClock::new(&zone).instant(wall).0),
        None => Some(wall.and_utc()),
    }
}

/// The first zone that has a meaning; without one, the calendar's own.
fn own_zone(names: [Option<&str>; 2], calendar: Option<Tz>, warnings: &mut Vec<String>) -> Option<Zone> {
    let mut unknown = None;
    for name in names.into_iter().flatten().filter(|name| !name.is_empty()) {
        match zone::resolve(name) {
            Some(zone) => return Some(zone),
            None => unknown = unknown.or(Some(name)),
        }
    }
    if let Some(name) = unknown {
        let name: String = name.chars().take(80).collect();
        let instead = if calendar.is_some() { "the calendar's own" } else { "UTC" };
        warnings.push(format!("the time zone {name:?} is unknown; {instead} is used"));
    }
    calendar.map(Zone::Iana)
}

fn is_utc(zone: &Zone) -> bool {
    matches!(zone, Zone::Iana(zone) if preferred(*zone) == Tz::Etc__UTC)
}

fn in_zone(instant: DateTime<Utc>, zone: Option<&Zone>, recurs: Recurs) -> Option<When> {
    let Some(zone) = zone.filter(|zone| !is_utc(zone)) else { return Some(When::Utc(instant)) };
    let wall = zone::ZoneClock::new(zone).wall(instant);
    let when = When::Zoned { wall, zone: zone.clone() };
    // The later of two equal wall times in autumn has no name of its own.
    if recurs == Recurs::No && zone::instant_of(&when, Tz::UTC).0 != instant {
        return Some(When::Utc(instant));
    }
    is_sane(wall.date()).then_some(when)
}

/// The day of an all-day event. A server that converts its midnight after all is understood by the zone it was
/// written in.
fn day(moment: &Moment, written_in: Option<&str>) -> Option<NaiveDate> {
    let shown = wall(moment)?;
    if shown.time() == NaiveTime::MIN {
        return Some(shown.date());
    }
    let zone = written_in.and_then(zone::resolve);
    Some(midnight(instant(moment)?, zone.as_ref()))
}

/// The day whose midnight an instant is: in the zone it was written in, in UTC, or else the nearest one.
fn midnight(instant: DateTime<Utc>, zone: Option<&Zone>) -> NaiveDate {
    let local = zone.map(|zone| zone::ZoneClock::new(zone).wall(instant));
    match local {
        Some(wall) if wall.time() == NaiveTime::MIN => wall.date(),
        _ if instant.time() == NaiveTime::MIN => instant.date_naive(),
        _ => (instant + TimeDelta::hours(12)).date_naive(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        serde_json::from_str(text).unwrap()
    }

    fn of(text: &str) -> ((When, End), Vec<String>) {
        let mut warnings = Vec::new();
        (span(&event(text), None, &mut warnings).unwrap(), warnings)
    }

    fn at(wall: &str, zone: Tz) -> When {
        When::Zoned { wall: wall.parse().unwrap(), zone: Zone::Iana(zone) }
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_time_is_brought_into_the_zone_it_was_written_in() {
        let ((start, end), warnings) = of(
            r#"{"start":{"dateTime":"2026-03-16T08:30:00.0000000","timeZone":"UTC"},"end":{"dateTime":"2026-03-16T14:00:00.0000000","timeZone":"UTC"},
            "originalStartTimeZone":"Romance Standard Time","originalEndTimeZone":"Eastern Standard Time"}"#,
        );

        assert_eq!(start, at("2026-03-16T09:30:00", Tz::Europe__Paris));
        assert_eq!(end, End::At(at("2026-03-16T10:00:00", Tz::America__New_York)));
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn a_zone_that_nobody_knows_leaves_the_instant_and_says_so() {
        let ((start, _), warnings) = of(
            r#"{"start":{"dateTime":"2026-03-16T09:30:00","timeZone":"Europe/Paris"},"end":{"dateTime":"2026-03-16T10:30:00","timeZone":"Europe/Paris"},
            "originalStartTimeZone":"tzone://Microsoft/Custom"}"#,
        );

        assert_eq!(start, When::Utc(utc("2026-03-16T08:30:00Z")));
        assert_eq!(warnings.len(), 1);
        let ((start, _), warnings) = of(
            r#"{"start":{"dateTime":"2026-03-16T09:30:00","timeZone":"UTC"},"end":{"dateTime":"2026-03-16T09:30:00"},"originalStartTimeZone":"tzone://Microsoft/Utc"}"#,
        );
        assert_eq!((start, warnings), (When::Utc(utc("2026-03-16T09:30:00Z")), Vec::new()));
    }

    #[test]
    fn a_series_keeps_the_zone_that_its_rule_runs_in() {
        let ((start, _), _) = of(
            r#"{"start":{"dateTime":"2026-10-25T00:30:00","timeZone":"UTC"},"end":{"dateTime":"2026-10-25T01:30:00","timeZone":"UTC"},
            "originalStartTimeZone":"Eastern Standard Time","recurrence":{"range":{"recurrenceTimeZone":"Romance Standard Time"}}}"#,
        );

        assert_eq!(start, at("2026-10-25T02:30:00", Tz::Europe__Paris));
    }

    #[test]
    fn the_later_of_two_equal_wall_times_keeps_its_instant() {
        let of_utc = |time: &str| {
            of(&format!(
                r#"{{"start":{{"dateTime":"{time}","timeZone":"UTC"}},"end":{{"dateTime":"2026-10-25T02:30:00","timeZone":"UTC"}},"originalStartTimeZone":"Romance Standard Time"}}"#
            ))
            .0
            .0
        };

        assert_eq!(of_utc("2026-10-25T01:30:00"), When::Utc(utc("2026-10-25T01:30:00Z")));
        assert_eq!(of_utc("2026-10-25T00:30:00"), at("2026-10-25T02:30:00", Tz::Europe__Paris));
    }

    #[test]
    fn an_all_day_event_is_its_days_however_its_midnight_is_shown() {
        let day = |text: &str| When::Date(text.parse().unwrap());

        for (start, end) in [
            ("2026-03-16T00:00:00.0000000", "2026-03-18T00:00:00.0000000"),
            ("2026-03-15T23:00:00.0000000", "2026-03-17T23:00:00.0000000"),
        ] {
            let (found, _) = of(&format!(
                r#"{{"isAllDay":true,"start":{{"dateTime":"{start}","timeZone":"UTC"}},"end":{{"dateTime":"{end}","timeZone":"UTC"}},"originalStartTimeZone":"Romance Standard Time"}}"#
            ));
            assert_eq!(found, (day("2026-03-16"), End::At(day("2026-03-18"))), "{start}");
        }
    }

    #[test]
    fn the_original_start_is_an_instant_or_a_day() {
        let of = |is_all_day: bool, start: &str| {
            original_start(&event(&format!(
                r#"{{"isAllDay":{is_all_day},"originalStart":"{start}","originalStartTimeZone":"Romance Standard Time"}}"#
            )))
        };

        assert_eq!(of(false, "2026-03-16T08:30:00Z"), Some(RecurrenceId::Utc(utc("2026-03-16T08:30:00Z"))));
        for start in ["2026-03-16T00:00:00Z", "2026-03-15T23:00:00Z"] {
            assert_eq!(of(true, start), Some(RecurrenceId::Date("2026-03-16".parse().unwrap())), "{start}");
        }
        assert_eq!(of(false, "99999-01-01T00:00:00Z"), None);
    }

    #[test]
    fn a_cancelled_day_is_the_instance_of_that_day() {
        let start = at("2026-03-02T09:30:00", Tz::Europe__Paris);
        let day: NaiveDate = "2026-07-06".parse().unwrap();

        assert_eq!(on_day(&start, day), RecurrenceId::Wall("2026-07-06T09:30:00".parse().unwrap()));
        assert_eq!(on_day(&When::Date(day), day), RecurrenceId::Date(day));
    }

    #[test]
    fn an_end_before_the_start_is_left_out_and_nonsense_is_no_time() {
        let ((_, end), warnings) = of(
            r#"{"start":{"dateTime":"2026-03-16T09:30:00","timeZone":"UTC"},"end":{"dateTime":"2026-03-16T08:30:00","timeZone":"UTC"}}"#,
        );

        assert_eq!((end, warnings.len()), (End::Unspecified, 1));
        for text in
            [r"{}", r#"{"start":{"dateTime":"soon"}}"#, r#"{"start":{"dateTime":"9999-12-31T23:00:00"}}"#]
        {
            assert_eq!(span(&event(text), None, &mut Vec::new()), None, "{text}");
        }
    }
}
