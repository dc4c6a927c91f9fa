//! Points in a calendar, in the form in which they were written (RFC 5545 §3.3.4, §3.3.5).
//!
//! The form is kept: an all-day event is dates, never a midnight, and a zoned time is wall clock and zone,
//! never an offset. What instant a form stands for is worked out in `recurrence::zone`.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// One point in a calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// A calendar day anywhere; never converted by a zone.
    Date(NaiveDate),
    /// The same wall clock everywhere.
    Floating(NaiveDateTime),
    /// A wall clock in a zone.
    Zoned {
        /// What the clock on the wall shows.
        wall: NaiveDateTime,
        /// Where that wall is.
        zone: Zone,
    },
    /// An instant.
    Utc(DateTime<Utc>),
}

impl When {
    /// Whether this is a date without a time.
    pub fn is_date(&self) -> bool {
        matches!(self, Self::Date(_))
    }

    /// The wall clock: midnight for a date, the clock of UTC for an instant.
    pub fn wall(&self) -> NaiveDateTime {
        match self {
            Self::Date(date) => date.and_time(chrono::NaiveTime::MIN),
            Self::Floating(wall) | Self::Zoned { wall, .. } => *wall,
            Self::Utc(instant) => instant.naive_utc(),
        }
    }

    /// The zone it was written in; `None` for dates, floating times and instants.
    pub fn zone(&self) -> Option<&Zone> {
        match self {
            Self::Zoned { zone, .. } => Some(zone),
            _ => None,
        }
    }

    /// The same form with another wall clock (a date keeps only its day).
    #[must_use]
    pub fn with_wall(&self, wall: NaiveDateTime) -> Self {
        match self {
            Self::Date(_) => Self::Date(wall.date()),
            Self::Floating(_) => Self::Floating(wall),
            Self::Zoned { zone, .. } => Self::Zoned { wall, zone: zone.clone() },
            Self::Utc(_) => Self::Utc(wall.and_utc()),
        }
    }
}

/// A time zone: one of the IANA database, or rules that came with the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zone {
    /// A zone of the IANA database.
    Iana(Tz),
    /// A `VTIMEZONE` that corresponds to no zone of the IANA database.
    Custom(Arc<CustomZone>),
}

impl Zone {
    /// The name under which the zone is shown and written.
    pub fn name(&self) -> &str {
        match self {
            Self::Iana(zone) => zone.name(),
            Self::Custom(zone) => &zone.tzid,
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A `VTIMEZONE` (RFC 5545 §3.6.5), valid inside the object it came with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomZone {
    /// The `TZID` as written.
    pub tzid: String,
    /// Its observances, by onset. Never empty.
    pub observances: Vec<Observance>,
}

/// A `STANDARD` or `DAYLIGHT` part of a [`CustomZone`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observance {
    /// First onset, on the wall clock before the change.
    pub onset: NaiveDateTime,
    /// The `RRULE` of later onsets, if any, in canonical text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<super::event::Rule>,
    /// Onsets listed singly (`RDATE`), on the wall clock before the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub onsets: Vec<NaiveDateTime>,
    /// Seconds east of UTC before the change; -86399 to 86399.
    pub offset_before_seconds: i32,
    /// Seconds east of UTC from the change on; -86399 to 86399.
    pub offset_after_seconds: i32,
}
