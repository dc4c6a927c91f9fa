//! When an event takes place, read from a request: dates stay dates, a wall clock keeps its zone, and a time that the
//! clocks skip or repeat is decided by the one rule of `recurrence::zone`, which the answer names.

use calfleet_domain::model::{End, When, Zone};
use calfleet_domain::recurrence::zone::{self, Adjusted, instant_in, instant_of};
use chrono::{DateTime, Datelike, Days, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};
use chrono_tz::Tz;

use super::findings::{Adjustment, Findings};
use super::input::{EventPatch, Given, TimeInput};
use super::limits::YEARS;

/// What times are read against.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeGround<'a> {
    /// Start and end as they were; `None` for a new event.
    pub(super) before: Option<(&'a When, &'a End)>,
    /// The calendar's zone.
    pub(super) calendar_zone: Option<Tz>,
    /// Whether the event recurs: then its wall clock is its rule's, and stays even where the clocks skip it.
    pub(super) recurs: bool,
}

/// A point as it was given.
#[derive(Debug, Clone)]
enum Raw {
    Date(NaiveDate),
    Wall(NaiveDateTime, Option<Tz>),
    Instant(DateTime<FixedOffset>, Option<Tz>),
    /// It was not given: as it was before.
    Kept(When),
}

/// Start and end after the change; `None` where something about them cannot be used.
pub(super) fn apply(
    patch: &EventPatch,
    ground: &TimeGround<'_>,
    findings: &mut Findings,
) -> Option<(When, End)> {
    let is_mentioned = patch.start.is_mentioned()
        || patch.end.is_mentioned()
        || patch.time_zone.is_mentioned()
        || patch.is_all_day.is_mentioned();
    if let Some((start, end)) = ground.before.filter(|_| !is_mentioned) {
        return Some((start.clone(), end.clone()));
    }
    let zone = named_zone(patch.time_zone.value(), "time_zone", findings)?;
    let raw = raw_start(patch, ground, findings)?;
    let is_all_day = match patch.is_all_day {
        Given::Value(is_all_day) => is_all_day,
        _ => raw.is_date(),
    };
    let start = Reading { field: "start", zone, ground, is_all_day }.point(&raw, None, findings)?;
    let end = match &patch.end {
        Given::Value(end) => {
            let raw = Raw::read(end, "end", findings)?;
            let reading = Reading { field: "end", zone, ground, is_all_day };
            closed(&start, reading.point(&raw, start.zone(), findings)?, findings)?
        }
        Given::Absent | Given::Cleared => kept_end(&start, zone, ground, findings)?,
    };
    Some((start, end))
}

fn raw_start(patch: &EventPatch, ground: &TimeGround<'_>, findings: &mut Findings) -> Option<Raw> {
    match (&patch.start, ground.before) {
        (Given::Value(start), _) => Raw::read(start, "start", findings),
        (Given::Absent, Some((start, _))) => Some(Raw::Kept(start.clone())),
        _ => {
            findings.refuse("start", "required", "Say when the event starts.");
            None
        }
    }
}

/// `None` where a name is no zone; `Some(None)` where none was given.
#[expect(clippy::option_option, reason = "nothing given and something unusable are two things")]
fn named_zone(name: Option<&String>, field: &'static str, findings: &mut Findings) -> Option<Option<Tz>> {
    let Some(name) = name else { return Some(None) };
    if let Some(Zone::Iana(zone)) = zone::resolve(name) {
        return Some(Some(zone));
    }
    findings.refuse(field, "unknown_zone", "Give an IANA name such as Europe/Paris.");
    None
}

impl Raw {
    fn is_date(&self) -> bool {
        matches!(self, Self::Date(_) | Self::Kept(When::Date(_)))
    }

    fn read(given: &TimeInput, field: &'static str, findings: &mut Findings) -> Option<Self> {
        let (text, zone) = match given {
            TimeInput::Text(text) => (text, None),
            TimeInput::Parts(parts) => {
                let zone = named_zone(parts.time_zone.as_ref(), field, findings)?;
                match (&parts.date, &parts.date_time) {
                    (Some(text), None) | (None, Some(text)) => (text, zone),
                    _ => {
                        findings.refuse(field, "not_a_time", "Give either date or date_time.");
                        return None;
                    }
                }
            }
        };
        let raw = Self::parse(text.trim(), zone);
        let Some(raw) = raw else {
            let example = "Give a date (2026-07-14), a time (2026-07-14T08:00:00), or one with its offset.";
            findings.refuse(field, "not_a_time", example);
            return None;
        };
        if !YEARS.contains(&raw.date().year()) {
            let (first, last) = (YEARS.start(), YEARS.end());
            findings.refuse(field, "year_out_of_range", format!("Give a year from {first} to {last}."));
            return None;
        }
        Some(raw)
    }

    fn parse(text: &str, zone: Option<Tz>) -> Option<Self> {
        if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            return Some(Self::Date(date));
        }
        if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
            return Some(Self::Instant(instant.with_nanosecond(0)?, zone));
        }
        let wall = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
            .into_iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
        Some(Self::Wall(wall.with_nanosecond(0)?, zone))
    }

    /// The date as written.
    fn date(&self) -> NaiveDate {
        match self {
            Self::Date(date) => *date,
            Self::Wall(wall, _) => wall.date(),
            Self::Instant(instant, _) => instant.date_naive(),
            Self::Kept(when) => when.wall().date(),
        }
    }
}

/// How one point is read.
struct Reading<'a> {
    field: &'static str,
    /// The zone that the request names for both.
    zone: Option<Tz>,
    ground: &'a TimeGround<'a>,
    is_all_day: bool,
}

impl Reading<'_> {
    /// The point; `near` is the zone of the other one, which counts before the calendar's.
    fn point(&self, raw: &Raw, near: Option<&Zone>, findings: &mut Findings) -> Option<When> {
        if self.is_all_day {
            return Some(When::Date(raw.date()));
        }
        let near = match near {
            Some(Zone::Iana(zone)) => Some(*zone),
            _ => None,
        };
        match raw {
            Raw::Date(_) | Raw::Kept(When::Date(_)) => {
                findings.refuse(
                    self.field,
                    "needs_time",
                    "Give a time as well, or say is_all_day and give two dates.",
                );
                None
            }
            Raw::Kept(when) => Some(match self.zone {
                Some(zone) => self.wall(when.wall(), zone, findings),
                None => when.clone(),
            }),
            Raw::Wall(wall, own) => {
                let before = self.ground.before.map(|(start, _)| start);
                let was = match before.and_then(When::zone) {
                    Some(Zone::Iana(zone)) => Some(*zone),
                    _ => None,
                };
                let zone = own.or(self.zone).or(near).or(was);
                if zone.is_none() && matches!(before, Some(When::Floating(_))) {
                    return Some(When::Floating(*wall));
                }
                let Some(zone) = zone.or(self.ground.calendar_zone) else {
                    let message = "Say in which zone: the calendar has none of its own.";
                    findings.refuse("time_zone", "required", message);
                    return None;
                };
                Some(self.wall(*wall, zone, findings))
            }
            Raw::Instant(instant, own) => {
                let zone = own.or(self.zone).or(near).or(self.ground.calendar_zone);
                Some(at_instant(instant.with_timezone(&Utc), zone))
            }
        }
    }

    /// A wall clock in a zone, by the rule for hours that are skipped or repeated.
    fn wall(&self, wall: NaiveDateTime, zone: Tz, findings: &mut Findings) -> When {
        if is_utc(zone) {
            return When::Utc(wall.and_utc());
        }
        let (instant, adjusted) = instant_in(zone, wall);
        let local = instant.with_timezone(&zone).naive_local();
        let reason = match adjusted {
            Adjusted::No => None,
            Adjusted::Gap => Some("gap"),
            Adjusted::Overlap => Some("overlap"),
        };
        if let Some(reason) = reason {
            findings.adjusted.push(Adjustment {
                field: self.field,
                given: wall.format("%Y-%m-%dT%H:%M:%S").to_string(),
                chosen: format!("{} {zone} ({})", local.format("%Y-%m-%dT%H:%M:%S"), stamp(instant)),
                reason,
            });
        }
        let wall = if adjusted == Adjusted::Gap && !self.ground.recurs { local } else { wall };
        When::Zoned { wall, zone: Zone::Iana(zone) }
    }
}

/// An instant on the clock of a zone. The second of two equal wall clocks can only be said as an instant.
fn at_instant(instant: DateTime<Utc>, zone: Option<Tz>) -> When {
    let Some(zone) = zone.filter(|zone| !is_utc(*zone)) else { return When::Utc(instant) };
    let wall = instant.with_timezone(&zone).naive_local();
    if instant_in(zone, wall).0 == instant {
        When::Zoned { wall, zone: Zone::Iana(zone) }
    } else {
        When::Utc(instant)
    }
}

/// The end that was given, if it lies behind the start.
fn closed(start: &When, end: When, findings: &mut Findings) -> Option<End> {
    if let (When::Date(first), When::Date(last)) = (start, &end) {
        if last < first {
            findings.refuse("end", "end_before_start", "The event has to end after it starts.");
            return None;
        }
        // the same date twice is how people write one day
        let end = if last == first { first.checked_add_days(Days::new(1))? } else { *last };
        return Some(End::At(When::Date(end)));
    }
    if instant_of(&end, Tz::UTC).0 <= instant_of(start, Tz::UTC).0 {
        findings.refuse("end", "end_before_start", "The event has to end after it starts.");
        return None;
    }
    Some(End::At(end))
}

/// The end of an event whose new end was not given: as long as before, or one day.
fn kept_end(start: &When, zone: Option<Tz>, ground: &TimeGround<'_>, findings: &mut Findings) -> Option<End> {
    let (before, end) = match (start, ground.before) {
        (When::Date(day), None) => return Some(End::At(When::Date(day.checked_add_days(Days::new(1))?))),
        (_, None) => {
            findings.refuse("end", "required", "Say when the event ends.");
            return None;
        }
        (_, Some((before, end))) => (before, end),
    };
    match (before.is_date(), start.is_date(), end) {
        (true, false, _) => {
            findings.refuse("end", "required", "Say when the event ends, now that it has a time.");
            None
        }
        (false, true, End::At(end)) => {
            // the dates as written; an end at midnight belongs to the day before
            let is_midnight = end.wall().time() == NaiveTime::MIN;
            let last = end.wall().date().checked_sub_days(Days::new(u64::from(is_midnight)))?;
            let days = (last - before.wall().date()).num_days().max(0);
            let days = u64::try_from(days).unwrap_or(0) + 1;
            Some(End::At(When::Date(start.wall().date().checked_add_days(Days::new(days))?)))
        }
        (false, true, _) => Some(End::Unspecified),
        (_, _, End::At(end)) => {
            let length = match (before, end) {
                (When::Date(_), _) => end.wall() - before.wall(),
                _ => instant_of(end, Tz::UTC).0 - instant_of(before, Tz::UTC).0,
            };
            Some(End::At(shifted(start, end, zone, length)?))
        }
        (_, _, end) => Some(end.clone()),
    }
}

/// The point so much after `start`, in the zone in which the end was written, or in the newly named one.
fn shifted(start: &When, end: &When, zone: Option<Tz>, length: chrono::Duration) -> Option<When> {
    match start {
        When::Date(day) => Some(When::Date(day.checked_add_signed(length)?)),
        When::Floating(wall) => Some(When::Floating(wall.checked_add_signed(length)?)),
        When::Zoned { .. } | When::Utc(_) => {
            let instant = instant_of(start, Tz::UTC).0.checked_add_signed(length)?;
            let own = match (zone, end.zone()) {
                (Some(zone), _) => Some(zone),
                (None, Some(Zone::Iana(zone))) => Some(*zone),
                _ => None,
            };
            Some(at_instant(instant, own))
        }
    }
}

fn is_utc(zone: Tz) -> bool {
    matches!(zone, Tz::UTC | Tz::Etc__UTC | Tz::Zulu | Tz::Etc__Zulu)
}

fn stamp(instant: DateTime<Utc>) -> String {
    instant.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, before: Option<(&When, &End)>) -> (Option<(When, End)>, Findings) {
        let patch: EventPatch = serde_json::from_str(json).unwrap();
        let ground = TimeGround { before, calendar_zone: Some(Tz::Europe__Paris), recurs: false };
        let mut findings = Findings::default();
        (apply(&patch, &ground, &mut findings), findings)
    }

    fn wall(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M").unwrap()
    }

    fn paris(text: &str) -> When {
        When::Zoned { wall: wall(text), zone: Zone::Iana(Tz::Europe__Paris) }
    }

    fn date(text: &str) -> When {
        When::Date(text.parse().unwrap())
    }

    #[test]
    fn times_are_read_in_the_zone_named_or_the_calendars() {
        let london = When::Zoned { wall: wall("2026-07-14T08:00"), zone: Zone::Iana(Tz::Europe__London) };
        for (json, start, end) in [
            (
                r#"{"start": "2026-07-14T08:00:00", "end": "2026-07-14T09:00"}"#,
                paris("2026-07-14T08:00"),
                paris("2026-07-14T09:00"),
            ),
            (
                r#"{"start": "2026-07-14T06:00:00Z", "end": "2026-07-14T03:00:00-04:00"}"#,
                paris("2026-07-14T08:00"),
                paris("2026-07-14T09:00"),
            ),
            (
                r#"{"start": {"date_time": "2026-07-14T08:00:00", "time_zone": "Europe/London"},
                    "end": {"date_time": "2026-07-14T10:00:00", "time_zone": "Europe/Paris"}}"#,
                london,
                paris("2026-07-14T10:00"),
            ),
            (r#"{"start": "2026-07-14", "end": "2026-07-14"}"#, date("2026-07-14"), date("2026-07-15")),
            (r#"{"start": "2026-07-14", "end": "2026-07-16"}"#, date("2026-07-14"), date("2026-07-16")),
            (r#"{"start": "2026-07-14"}"#, date("2026-07-14"), date("2026-07-15")),
            (
                r#"{"start": "2026-07-14T23:00:00+09:00", "end": "2026-07-15T00:00:00+09:00", "is_all_day": true}"#,
                date("2026-07-14"),
                date("2026-07-15"),
            ),
        ] {
            let (read, findings) = read(json, None);
            assert_eq!(read, Some((start, End::At(end))), "{json} {findings:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_by_field_and_name() {
        for (json, field, code) in [
            (r#"{"end": "2026-07-14T09:00"}"#, "start", "required"),
            (r#"{"start": "2026-07-14T08:00"}"#, "end", "required"),
            (r#"{"start": "tomorrow", "end": "2026-07-14T09:00"}"#, "start", "not_a_time"),
            (r#"{"start": "2026-02-30", "end": "2026-03-01"}"#, "start", "not_a_time"),
            (r#"{"start": "2026-07-14T08:00", "end": "2026-07-14T08:00"}"#, "end", "end_before_start"),
            (r#"{"start": "2026-07-14", "end": "2026-07-13"}"#, "end", "end_before_start"),
            (
                r#"{"start": "2026-07-14", "end": "2026-07-14T08:00", "is_all_day": false}"#,
                "start",
                "needs_time",
            ),
            (r#"{"start": "2026-07-14T08:00", "end": "2026-07-14"}"#, "end", "needs_time"),
            (
                r#"{"start": "2026-07-14T08:00", "end": "2026-07-14T09:00", "time_zone": "Mars/Base"}"#,
                "time_zone",
                "unknown_zone",
            ),
            (r#"{"start": "12026-07-14T08:00", "end": "2026-07-14T09:00"}"#, "start", "not_a_time"),
            (r#"{"start": "1026-07-14T08:00", "end": "2026-07-14T09:00"}"#, "start", "year_out_of_range"),
            (r#"{"start": {"date": "2026-07-14", "date_time": "2026-07-14T08:00"}}"#, "start", "not_a_time"),
        ] {
            let (read, findings) = read(json, None);
            let found: Vec<_> = findings.invalid.iter().map(|one| (one.field.as_str(), one.code)).collect();
            assert_eq!((read, found), (None, vec![(field, code)]), "{json}");
        }
    }

    #[test]
    fn skipped_and_repeated_times_are_answered_with_what_was_chosen() {
        let (read_gap, findings) =
            read(r#"{"start": "2026-03-29T02:30:00", "end": "2026-03-29T04:00:00"}"#, None);
        assert_eq!(read_gap.unwrap().0, paris("2026-03-29T03:30"));
        assert_eq!(findings.adjusted[0].reason, "gap");
        assert_eq!(findings.adjusted[0].chosen, "2026-03-29T03:30:00 Europe/Paris (2026-03-29T01:30:00Z)");

        let (_, findings) = read(r#"{"start": "2026-10-25T02:30:00", "end": "2026-10-25T04:00:00"}"#, None);
        assert_eq!((findings.adjusted[0].reason, findings.adjusted.len()), ("overlap", 1));

        // the second of the two is an instant of its own
        let (second, findings) =
            read(r#"{"start": "2026-10-25T02:30:00+01:00", "end": "2026-10-25T04:00:00"}"#, None);
        assert_eq!(second.unwrap().0, When::Utc(wall("2026-10-25T01:30").and_utc()));
        assert_eq!(findings.adjusted, []);
    }

    #[test]
    fn a_new_start_alone_keeps_the_length() {
        let (start, end) = (paris("2026-07-14T08:00"), End::At(paris("2026-07-14T09:30")));
        let moved = |json| read(json, Some((&start, &end))).0.unwrap();

        assert_eq!(
            moved(r#"{"start": "2026-10-24T23:00:00"}"#),
            (paris("2026-10-24T23:00"), End::At(paris("2026-10-25T00:30")))
        );
        assert_eq!(moved(r#"{"title": "x"}"#), (start.clone(), end.clone()));
        assert_eq!(moved(r#"{"is_all_day": true}"#), (date("2026-07-14"), End::At(date("2026-07-15"))));
        let tokyo = |text| When::Zoned { wall: wall(text), zone: Zone::Iana(Tz::Asia__Tokyo) };
        assert_eq!(
            moved(r#"{"time_zone": "Asia/Tokyo"}"#),
            (tokyo("2026-07-14T08:00"), End::At(tokyo("2026-07-14T09:30")))
        );
        let (days, until) = (date("2026-07-14"), End::At(date("2026-07-16")));
        let read = read(r#"{"start": "2026-08-01"}"#, Some((&days, &until))).0;
        assert_eq!(read, Some((date("2026-08-01"), End::At(date("2026-08-03")))));
    }
}
