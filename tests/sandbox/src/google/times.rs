//! Google's times: `{"date"}` or `{"dateTime", "timeZone"}`, and the instances of a series.

use chrono::{DateTime, Duration, LocalResult, NaiveDate, NaiveDateTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde_json::{Map, Value, json};

use crate::clock;

/// Instances that one expansion yields at most.
const MOST_INSTANCES: u16 = 3_000;

/// How far ahead of today an endless series is expanded, in days.
const HORIZON_DAYS: i64 = 730;

/// An instant as Google writes `updated` and `created`.
pub(crate) fn stamp(milliseconds: i64) -> String {
    clock::utc_of(milliseconds).format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// An RFC 3339 instant in milliseconds.
pub(crate) fn instant(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.timestamp_millis())
}

fn zone(name: &str) -> Tz {
    name.parse().unwrap_or(Tz::UTC)
}

/// A wall time in a zone; in a gap the time an hour later, in an overlap the first.
fn in_zone(wall: NaiveDateTime, zone: Tz) -> DateTime<Tz> {
    match zone.from_local_datetime(&wall) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at,
        LocalResult::None => match zone.from_local_datetime(&(wall + Duration::hours(1))) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at,
            LocalResult::None => Utc.from_utc_datetime(&wall).with_timezone(&zone),
        },
    }
}

/// A start, end or original start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// A day.
    Date(NaiveDate),
    /// An instant, shown in a zone.
    Time(DateTime<Tz>),
}

impl When {
    /// Reads one; `None` when it is neither, or both.
    pub(crate) fn read(value: &Value, default_zone: &str) -> Option<Self> {
        let field = |name: &str| value.get(name).and_then(Value::as_str);
        match (field("date"), field("dateTime")) {
            (Some(date), None) => date.parse().ok().map(Self::Date),
            (None, Some(time)) => {
                let named = field("timeZone");
                let zone = match named {
                    Some(name) => name.parse().ok()?,
                    None => zone(default_zone),
                };
                if let Ok(at) = DateTime::parse_from_rfc3339(time) {
                    return Some(Self::Time(at.with_timezone(&zone)));
                }
                let wall: NaiveDateTime = time.parse().ok()?;
                named.map(|_| Self::Time(in_zone(wall, zone)))
            }
            _ => None,
        }
    }

    /// The instant; of a day its beginning in the calendar's zone.
    pub(crate) fn milliseconds(self, default_zone: &str) -> i64 {
        match self {
            Self::Date(date) => {
                in_zone(date.and_time(chrono::NaiveTime::MIN), zone(default_zone)).timestamp_millis()
            }
            Self::Time(at) => at.timestamp_millis(),
        }
    }

    /// As the API writes it.
    pub(crate) fn value(self) -> Value {
        match self {
            Self::Date(date) => json!({ "date": date.to_string() }),
            Self::Time(at) => json!({
                "dateTime": if at.timezone() == Tz::UTC {
                    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
                } else {
                    at.format("%Y-%m-%dT%H:%M:%S%:z").to_string()
                },
                "timeZone": at.timezone().name(),
            }),
        }
    }

    /// What stands behind the underscore in the id of an instance.
    pub(crate) fn suffix(self) -> String {
        match self {
            Self::Date(date) => date.format("%Y%m%d").to_string(),
            Self::Time(at) => at.with_timezone(&Utc).format("%Y%m%dT%H%M%SZ").to_string(),
        }
    }

    /// So much later, by the wall for days, by the clock for times.
    fn later(self, by: Duration) -> Self {
        match self {
            Self::Date(date) => Self::Date(date + by),
            Self::Time(at) => Self::Time(at + by),
        }
    }
}

/// Start and end of an event.
pub(crate) fn bounds(event: &Map<String, Value>, default_zone: &str) -> Option<(When, When)> {
    let of = |name: &str| event.get(name).and_then(|value| When::read(value, default_zone));
    Some((of("start")?, of("end")?))
}

/// Start and end in milliseconds.
pub(crate) fn span(event: &Map<String, Value>, default_zone: &str) -> Option<(i64, i64)> {
    let (start, end) = bounds(event, default_zone)?;
    Some((start.milliseconds(default_zone), end.milliseconds(default_zone)))
}

/// Why a recurrence cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read a recurrence")]
pub(crate) struct Unreadable;

/// Original starts of a series up to an instant (the horizon when there is none), in order.
pub(crate) fn starts(
    event: &Map<String, Value>,
    default_zone: &str,
    until: Option<i64>,
    now: i64,
) -> Result<Vec<When>, Unreadable> {
    let (start, _) = bounds(event, default_zone).ok_or(Unreadable)?;
    let lines = event.get("recurrence").and_then(Value::as_array).ok_or(Unreadable)?;
    let head = match start {
        When::Date(date) => format!("DTSTART:{}T000000Z", date.format("%Y%m%d")),
        When::Time(at) if at.timezone() == Tz::UTC => format!("DTSTART:{}", at.format("%Y%m%dT%H%M%SZ")),
        When::Time(at) => format!("DTSTART;TZID={}:{}", at.timezone().name(), at.format("%Y%m%dT%H%M%S")),
    };
    let mut text = head;
    for line in lines {
        text.push('\n');
        text.push_str(&as_rule_set_line(line.as_str().ok_or(Unreadable)?, start));
    }
    let set: rrule::RRuleSet = text.parse().map_err(|_| Unreadable)?;
    let end = until.unwrap_or(now + HORIZON_DAYS * 86_400_000);
    let end = clock::utc_of(end).with_timezone(&rrule::Tz::UTC);
    let found = set.before(end).all(MOST_INSTANCES);
    Ok(found
        .dates
        .into_iter()
        .map(|at| match start {
            When::Date(_) => When::Date(at.with_timezone(&Utc).date_naive()),
            When::Time(first) => When::Time(at.with_timezone(&first.timezone())),
        })
        .collect())
}

/// A line with days written as UTC midnights where the series is one of days.
fn as_rule_set_line(line: &str, start: When) -> String {
    let When::Date(_) = start else { return line.to_owned() };
    let (name, values) = line.split_once(':').unwrap_or((line, ""));
    if name.starts_with("RDATE") || name.starts_with("EXDATE") {
        let name = name.split(';').next().unwrap_or(name);
        let days: Vec<String> = values.split(',').map(midnight).collect();
        return format!("{name}:{}", days.join(","));
    }
    let parts: Vec<String> = values
        .split(';')
        .map(|part| match part.strip_prefix("UNTIL=") {
            Some(until) => format!("UNTIL={}", midnight(until)),
            None => part.to_owned(),
        })
        .collect();
    format!("{name}:{}", parts.join(";"))
}

fn midnight(day: &str) -> String {
    if day.len() == 8 { format!("{day}T000000Z") } else { day.to_owned() }
}

/// The instance of a master that originally starts then, as an event of its own.
pub(crate) fn instance(
    master: &Map<String, Value>,
    original: When,
    default_zone: &str,
) -> Map<String, Value> {
    let mut event = master.clone();
    let id = super::calendar::text(master, "id").to_owned();
    event.remove("recurrence");
    if let Some((start, end)) = bounds(master, default_zone) {
        let length = match (start, end) {
            (When::Date(start), When::Date(end)) => end - start,
            (start, end) => {
                Duration::milliseconds(end.milliseconds(default_zone) - start.milliseconds(default_zone))
            }
        };
        event.insert("start".to_owned(), original.value());
        event.insert("end".to_owned(), original.later(length).value());
    }
    event.insert("id".to_owned(), format!("{id}_{}", original.suffix()).into());
    event.insert("recurringEventId".to_owned(), id.into());
    event.insert("originalStartTime".to_owned(), original.value());
    event
}

/// The instant just after the one that the suffix of an instance's id names, in milliseconds.
pub(crate) fn after_suffix(suffix: &str) -> Option<i64> {
    let time = match suffix.len() {
        8 => NaiveDate::parse_from_str(suffix, "%Y%m%d").ok()?.and_hms_opt(23, 59, 59)?,
        _ => NaiveDateTime::parse_from_str(suffix, "%Y%m%dT%H%M%SZ").ok()?,
    };
    Some(time.and_utc().timestamp_millis() + 1_000)
}
