//! An event as both sides agree to see it: single, or a series with what departs from its rule.
//!
//! A value here is the content of one *copy* (one calendar's object), normalised: equal events compare equal
//! whatever the provider's spelling. What a provider sends besides stays in the raw payload, never here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

use super::attendee::{Attendee, Organizer, is_default};
use super::ids::Uid;
use super::when::When;
use crate::clock::Timestamp;

/// The content of one copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The `UID` as written.
    pub uid: Uid,
    /// What happens when.
    pub body: Body,
}

impl Event {
    /// The fields that stand for the whole: those of the single or the master, else of the first override.
    /// `None` only for a series without anything, which no reader makes.
    pub fn fields(&self) -> Option<&Fields> {
        match &self.body {
            Body::Single(fields) => Some(fields),
            Body::Series(series) => match &series.master {
                Some(master) => Some(&master.fields),
                None => series.overrides.values().find_map(|over| match over {
                    Override::Changed(fields) => Some(fields.as_ref()),
                    Override::Cancelled => None,
                }),
            },
        }
    }
}

/// A single event or a series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// Happens once.
    Single(Fields),
    /// Happens again, or is part of what does.
    Series(Series),
}

/// A recurring event: its rule and what departs from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// The master; `None` when only some instances are known (an invitation to one of them).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<Master>,
    /// Instances that differ from the master, by their original start.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<RecurrenceId, Override>,
}

/// What all instances of a series share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Master {
    /// Start, end and everything else of the first instance.
    pub fields: Fields,
    /// `RRULE`s; usually one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// `RDATE`s: additional starts, with an end of their own where a `PERIOD` gave one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub additions: BTreeMap<RecurrenceId, Option<End>>,
    /// `EXDATE`s and cancelled instances that say nothing else, by original start.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclusions: BTreeSet<RecurrenceId>,
}

/// How one instance departs from its series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Override {
    /// It has these fields instead; an override is complete and inherits nothing.
    Changed(Box<Fields>),
    /// It does not take place. Means the same as an exclusion; kept apart where the provider has an object for it.
    Cancelled,
}

/// The original start of an instance: wall time in the master's start zone, or a date for all-day series, or UTC
/// while the master is unknown or written in UTC.
///
/// Written as RFC 5545 writes it: `20260714`, `20260714T080000`, `20260714T080000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecurrenceId {
    /// A day of an all-day series.
    Date(NaiveDate),
    /// Wall time in the master's start zone, or floating.
    Wall(NaiveDateTime),
    /// An instant.
    Utc(DateTime<Utc>),
}

impl fmt::Display for RecurrenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Date(date) => write!(f, "{}", date.format("%Y%m%d")),
            Self::Wall(wall) => write!(f, "{}", wall.format("%Y%m%dT%H%M%S")),
            Self::Utc(instant) => write!(f, "{}", instant.format("%Y%m%dT%H%M%SZ")),
        }
    }
}

/// A text that is no recurrence id.
#[derive(Debug, thiserror::Error)]
#[error("read recurrence id {0:?}")]
pub struct RecurrenceIdError(String);

impl FromStr for RecurrenceId {
    type Err = RecurrenceIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let failed = |_| RecurrenceIdError(text.to_owned());
        if let Some(wall) = text.strip_suffix('Z') {
            let wall = NaiveDateTime::parse_from_str(wall, "%Y%m%dT%H%M%S").map_err(failed)?;
            return Ok(Self::Utc(wall.and_utc()));
        }
        if text.contains('T') {
            return NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%S").map(Self::Wall).map_err(failed);
        }
        NaiveDate::parse_from_str(text, "%Y%m%d").map(Self::Date).map_err(failed)
    }
}

impl Serialize for RecurrenceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecurrenceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The value of an `RRULE` in canonical text: upper case, parts in a fixed order, defaults left out.
/// Read by `recurrence::rule`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rule(pub String);

/// Everything that a single event, a master or an override says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// Start.
    pub start: When,
    /// End, in the form it was given.
    pub end: End,
    /// `SUMMARY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// `DESCRIPTION`, plain text with `\n`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `LOCATION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// `URL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// `STATUS`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: Status,
    /// `TRANSP`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub transparency: Transparency,
    /// `CLASS`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub visibility: Visibility,
    /// `ORGANIZER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organizer: Option<Organizer>,
    /// Guests, sorted by address, each address once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attendees: Vec<Attendee>,
    /// Alarms a person would recognise, sorted, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reminders: Vec<Reminder>,
    /// How to join from afar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conference: Option<Conference>,
    /// `CATEGORIES`, sorted, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// `COLOR`, a CSS3 name or `#RRGGBB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// What moves without meaning: kept, never compared.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stamps: Stamps,
}

impl Fields {
    /// An event that says only when it is.
    pub fn new(start: When, end: End) -> Self {
        Self {
            start,
            end,
            title: None,
            description: None,
            location: None,
            url: None,
            status: Status::default(),
            transparency: Transparency::default(),
            visibility: Visibility::default(),
            organizer: None,
            attendees: Vec::new(),
            reminders: Vec::new(),
            conference: None,
            categories: Vec::new(),
            color: None,
            stamps: Stamps::default(),
        }
    }
}

/// Counters and times that a provider moves by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    /// `SEQUENCE`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sequence: u32,
    /// When the provider says it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When the provider says it was last changed; another client's clock in CalDAV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Timestamp>,
}

/// How the end was given. The form matters across a change of the clocks (RFC 5545 §3.8.5.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// An exclusive end (`DTEND`); instances keep the exact duration.
    At(When),
    /// A nominal length (`DURATION`): days on the calendar, seconds on the clock.
    After(NominalDuration),
    /// None given: one day for a date, no time at all otherwise.
    Unspecified,
}

/// A length in calendar days and exact seconds (RFC 5545 §3.3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NominalDuration {
    /// Days on the calendar; a week is seven.
    pub days: u32,
    /// Seconds on the clock.
    pub seconds: u32,
}

/// `STATUS`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Takes place.
    #[default]
    Confirmed,
    /// May take place.
    Tentative,
    /// Does not take place.
    Cancelled,
}

/// `TRANSP`: whether it makes the owner busy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transparency {
    /// Busy.
    #[default]
    Opaque,
    /// Free.
    Transparent,
}

/// `CLASS`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// As the calendar.
    #[default]
    Public,
    /// Its owner only.
    Private,
    /// Its owner only, said more strongly.
    Confidential,
}

/// When to be reminded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reminder {
    /// Seconds before the start; negative is after it.
    BeforeStart(i64),
    /// Seconds before the end; negative is after it.
    BeforeEnd(i64),
    /// At an instant.
    At(Timestamp),
}

/// How to join from afar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conference {
    /// Whose conference.
    pub kind: ConferenceType,
    /// The link to join by; empty until it is ready.
    pub link: String,
    /// What has become of it.
    #[serde(default, skip_serializing_if = "ConferenceStatus::is_ready")]
    pub status: ConferenceStatus,
}

impl Conference {
    /// One that can be joined.
    pub fn ready(kind: ConferenceType, link: impl Into<String>) -> Self {
        Self { kind, link: link.into(), status: ConferenceStatus::Ready }
    }

    /// One that the provider is to make, or has not made.
    pub fn without_link(kind: ConferenceType, status: ConferenceStatus) -> Self {
        Self { kind, link: String::new(), status }
    }
}

/// What has become of a conference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConferenceStatus {
    /// It can be joined.
    #[default]
    Ready,
    /// It is wanted, and the provider has not made it yet.
    Pending,
    /// The provider could not make it.
    Failed,
}

impl ConferenceStatus {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
    fn is_ready(&self) -> bool {
        *self == Self::Ready
    }
}

/// Whose conference it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConferenceType {
    /// Google Meet.
    GoogleMeet,
    /// Microsoft Teams.
    MicrosoftTeams,
    /// Any other link.
    Custom,
}

/// The part the calendar's owner has in the event, from the provider's own flag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Called it, or it has no guests.
    Organizer,
    /// Was invited.
    Attendee,
    /// Not known.
    #[default]
    None,
}

/// How much the listing it came from was allowed to show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetailLevel {
    /// Busy time only: missing fields are unknown, not empty.
    FreeBusy,
    /// Everything.
    #[default]
    Full,
}
