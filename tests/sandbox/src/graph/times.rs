//! Graph's times: `{dateTime, timeZone}` with a wall time of seven fractional digits, and instants in UTC.

use std::sync::Arc;

use chrono::{DateTime, Duration, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _};
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::error::ApiError;
use super::zones;
use crate::clock;

/// The time of nothing, as Graph writes it.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// An instant as Graph writes `createdDateTime`.
pub(crate) fn stamp(milliseconds: i64) -> String {
    clock::utc_of(milliseconds).format("%Y-%m-%dT%H:%M:%S%.3f0000Z").to_string()
}

/// An instant in whole seconds, as `originalStart` is written.
pub(crate) fn stamp_seconds(milliseconds: i64) -> String {
    clock::utc_of(milliseconds).format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An ISO 8601 instant of a query in milliseconds; UTC when it has no offset.
pub(crate) fn instant(text: &str) -> Option<i64> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.timestamp_millis());
    }
    wall(text).map(|at| at.and_utc().timestamp_millis())
}

/// A wall time, or a bare date.
fn wall(text: &str) -> Option<NaiveDateTime> {
    text.parse().ok().or_else(|| text.parse::<NaiveDate>().ok().map(|day| day.and_time(NaiveTime::MIN)))
}

/// A wall time in a zone, in milliseconds; in a gap the time an hour later, in an overlap the first.
pub(crate) fn in_zone(wall: NaiveDateTime, zone: Tz) -> i64 {
    match zone.from_local_datetime(&wall) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.timestamp_millis(),
        LocalResult::None => match zone.from_local_datetime(&(wall + Duration::hours(1))) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.timestamp_millis(),
            LocalResult::None => wall.and_utc().timestamp_millis(),
        },
    }
}

/// An instant as the wall shows it.
pub(crate) fn wall_of(milliseconds: i64, zone: Tz) -> NaiveDateTime {
    clock::utc_of(milliseconds).with_timezone(&zone).naive_local()
}

/// A zone with the name it was given by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Zone {
    pub(crate) tz: Tz,
    pub(crate) name: Arc<str>,
}

impl Zone {
    pub(crate) fn utc() -> Self {
        Self { tz: Tz::UTC, name: Arc::from("UTC") }
    }

    /// Whether Exchange keeps both by one name.
    fn is_same(&self, other: &Self) -> bool {
        self.tz == other.tz || zones::kept_name(&self.name) == zones::kept_name(&other.name)
    }

    pub(crate) fn read(name: &str) -> Option<Self> {
        Some(Self { tz: zones::read(name)?, name: Arc::from(name) })
    }
}

/// Reads `{dateTime, timeZone}`; UTC when no zone is named.
pub(crate) fn read(value: &Value, name: &str) -> Result<(NaiveDateTime, Zone), ApiError> {
    let wrong = || ApiError::property(&format!("Property {name} is not a valid dateTimeTimeZone."));
    let zone = match value.get("timeZone").and_then(Value::as_str) {
        None | Some("") => Zone::utc(),
        Some(zone) => Zone::read(zone).ok_or_else(|| ApiError::zone(zone))?,
    };
    let text = value.get("dateTime").and_then(Value::as_str).ok_or_else(wrong)?;
    // An offset wins over the zone's own.
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok((wall_of(at.timestamp_millis(), zone.tz), zone));
    }
    Ok((wall(text).ok_or_else(wrong)?, zone))
}

/// When something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The start by the wall of the zone.
    pub(crate) start: NaiveDateTime,
    pub(crate) zone: Zone,
    pub(crate) end_zone: Zone,
    pub(crate) length_ms: i64,
    pub(crate) is_all_day: bool,
}

impl Slot {
    /// Reads an event's start and end.
    pub(crate) fn read(start: &Value, end: &Value, is_all_day: bool) -> Result<Self, ApiError> {
        let ((start, zone), (end, end_zone)) = (read(start, "start")?, read(end, "end")?);
        if is_all_day {
            let is_midnight = |at: NaiveDateTime| at.time() == NaiveTime::MIN;
            if !is_midnight(start) || !is_midnight(end) || zone.tz != end_zone.tz || end <= start {
                return Err(ApiError::property(
                    "The Event.Start and Event.End properties of an all-day event must be midnight of the same time zone, a day or more apart.",
                ));
            }
            let length_ms = (end - start).num_milliseconds();
            return Ok(Self { start, zone, end_zone, length_ms, is_all_day });
        }
        let length_ms = in_zone(end, end_zone.tz) - in_zone(start, zone.tz);
        if length_ms < 0 {
            return Err(ApiError::new(
                400,
                "ErrorCalendarEndDateIsEarlierThanStartDate",
                "The calendar item's end date is earlier than its start date.",
            ));
        }
        Ok(Self { start, zone, end_zone, length_ms, is_all_day })
    }

    /// Start and end in milliseconds; days begin in the zone they were given in.
    pub(crate) fn span(&self) -> (i64, i64) {
        let start = in_zone(self.start, self.zone.tz);
        if self.is_all_day {
            return (start, in_zone(self.end_wall(), self.zone.tz));
        }
        (start, start + self.length_ms)
    }

    /// The end by the wall of an all-day event.
    fn end_wall(&self) -> NaiveDateTime {
        self.start + Duration::milliseconds(self.length_ms)
    }

    /// The same instant by the wall of another zone; days have none.
    pub(crate) fn in_zone(&self, zone: &Zone) -> Self {
        if self.is_all_day || self.zone.is_same(zone) {
            return self.clone();
        }
        Self { start: wall_of(self.span().0, zone.tz), zone: zone.clone(), ..self.clone() }
    }

    /// Whether both are at the same time by the same wall, whatever its name.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.start == other.start
            && self.zone.is_same(&other.zone)
            && self.length_ms == other.length_ms
            && self.is_all_day == other.is_all_day
    }

    /// The same at another day.
    pub(crate) fn on(&self, day: NaiveDate) -> Self {
        Self { start: day.and_time(self.start.time()), ..self.clone() }
    }

    /// Whether any of it lies in a half-open window; what takes no time counts by its start.
    pub(crate) fn is_within(&self, (from, until): (i64, i64)) -> bool {
        let (start, end) = self.span();
        start < until && (end > from || start >= from)
    }

    /// The instant that `originalStart` says; days count as in UTC.
    pub(crate) fn original_start(&self) -> i64 {
        if self.is_all_day { self.start.and_utc().timestamp_millis() } else { self.span().0 }
    }

    /// Start and end as the API shows them in a zone; days stay what they are.
    pub(crate) fn shown(&self, zone: &Zone) -> (Value, Value) {
        let write = |at: NaiveDateTime| json!({ "dateTime": at.format("%Y-%m-%dT%H:%M:%S%.3f0000").to_string(), "timeZone": &*zone.name });
        if self.is_all_day {
            return (write(self.start), write(self.end_wall()));
        }
        let (start, end) = self.span();
        (write(wall_of(start, zone.tz)), write(wall_of(end, zone.tz)))
    }
}
