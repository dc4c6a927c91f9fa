//! What the API and the command line show of an event: plain values with the names of the field.
//!
//! Private and confidential events are never more than busy time here: whoever reads through an API key or a
//! shell is not the calendar's owner.

use calfleet_domain::model::{
    Attendee, Body, Conference, DetailLevel, End, Event, Fields, Organizer, Override, RecurrenceId, Reminder,
    Role, Status, Transparency, Visibility, When,
};
use serde::Serialize;

/// The title of an event whose details are hidden.
const HIDDEN_TITLE: &str = "Busy";

/// A point in a calendar: either `date`, or `date_time` with `time_zone` (absent for floating times, `UTC` for
/// instants).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Time {
    /// `2026-07-14`, for all-day events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Wall clock `2026-07-14T08:00:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date_time: Option<String>,
    /// Whose wall clock: an IANA name, `UTC`, or the name of a zone that came with the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

impl From<&When> for Time {
    fn from(when: &When) -> Self {
        let clock = |wall: &chrono::NaiveDateTime| Some(wall.format("%Y-%m-%dT%H:%M:%S").to_string());
        match when {
            When::Date(date) => Self { date: Some(date.to_string()), date_time: None, time_zone: None },
            When::Floating(wall) => Self { date: None, date_time: clock(wall), time_zone: None },
            When::Zoned { wall, zone } => {
                Self { date: None, date_time: clock(wall), time_zone: Some(zone.name().to_owned()) }
            }
            When::Utc(instant) => {
                let wall = instant.naive_utc();
                Self { date: None, date_time: clock(&wall), time_zone: Some("UTC".to_owned()) }
            }
        }
    }
}

/// What an event says as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Content {
    /// The iCalendar `UID`.
    pub ical_uid: Option<String>,
    /// Start of the single event or of the first instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// Its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<EndTime>,
    /// What it says; absent for an object that was never readable.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// `RRULE`s of a series.
    pub recurrence: Vec<String>,
    /// Original starts of instances that do not take place.
    pub exclusions: Vec<RecurrenceId>,
    /// Original starts of instances that differ from the series.
    pub overrides: Vec<RecurrenceId>,
}

impl Content {
    /// What a reader who is not the owner may see of an event.
    pub fn of(event: Option<&Event>, detail: DetailLevel) -> Self {
        let fields = event.and_then(Event::fields);
        let mut content = Self {
            ical_uid: event.map(|event| event.uid.0.clone()),
            start: fields.map(|fields| Time::from(&fields.start)),
            end: fields.map(|fields| EndTime::from(&fields.end)),
            details: fields.map(|fields| Details::of(fields, detail)),
            recurrence: Vec::new(),
            exclusions: Vec::new(),
            overrides: Vec::new(),
        };
        if let Some(Body::Series(series)) = event.map(|event| &event.body) {
            content.overrides = series.overrides.keys().copied().collect();
            if let Some(master) = &series.master {
                content.recurrence = master.rules.iter().map(|rule| format!("RRULE:{}", rule.0)).collect();
                content.exclusions = master.exclusions.iter().copied().collect();
            }
        }
        content
    }
}

/// What an event, a master or one instance says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Details {
    /// Title; the policy's text where details are hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Location.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// A link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether it takes place.
    pub status: Status,
    /// Whether it makes its owner busy.
    pub transparency: Transparency,
    /// Who may see it at the provider.
    pub visibility: Visibility,
    /// Who called it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organizer: Option<Organizer>,
    /// Guests.
    pub attendees: Vec<Attendee>,
    /// Reminders of the calendar's owner.
    pub reminders: Vec<Reminder>,
    /// How to join from afar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conference: Option<Conference>,
    /// Whether details are hidden from this reader or unknown to us.
    pub is_reduced: bool,
}

impl Details {
    /// What a reader who is not the owner may see of these fields.
    pub fn of(fields: &Fields, detail: DetailLevel) -> Self {
        let is_reduced = fields.visibility != Visibility::Public || detail == DetailLevel::FreeBusy;
        let mut details = Self {
            title: Some(HIDDEN_TITLE.to_owned()),
            description: None,
            location: None,
            url: None,
            status: fields.status,
            transparency: fields.transparency,
            visibility: fields.visibility,
            organizer: None,
            attendees: Vec::new(),
            reminders: Vec::new(),
            conference: None,
            is_reduced,
        };
        if !is_reduced {
            details.title.clone_from(&fields.title);
            details.description.clone_from(&fields.description);
            details.location.clone_from(&fields.location);
            details.url.clone_from(&fields.url);
            details.organizer.clone_from(&fields.organizer);
            details.attendees.clone_from(&fields.attendees);
            details.reminders.clone_from(&fields.reminders);
            details.conference.clone_from(&fields.conference);
        }
        details
    }
}

/// The end of an event as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndTime {
    /// Exclusive end.
    At(Time),
    /// Length: days on the calendar and seconds on the clock.
    After {
        /// Calendar days.
        days: u32,
        /// Seconds.
        seconds: u32,
    },
    /// None given: one day for a date, no time otherwise.
    Unspecified,
}

impl From<&End> for EndTime {
    fn from(end: &End) -> Self {
        match end {
            End::At(when) => Self::At(when.into()),
            End::After(length) => Self::After { days: length.days, seconds: length.seconds },
            End::Unspecified => Self::Unspecified,
        }
    }
}

/// Whether everything that an event says is public: by itself, and each instance that departs from its series.
pub(crate) fn is_all_public(event: &Event) -> bool {
    let is_public = |fields: &Fields| fields.visibility == Visibility::Public;
    match &event.body {
        Body::Single(fields) => is_public(fields),
        Body::Series(series) => {
            series.master.iter().all(|master| is_public(&master.fields))
                && series.overrides.values().all(|departure| match departure {
                    Override::Changed(fields) => is_public(fields),
                    Override::Cancelled => true,
                })
        }
    }
}

/// The name of a role in API and tables.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Organizer => "organizer",
        Role::Attendee => "attendee",
        Role::None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_event_is_busy_time_and_nothing_else() {
        let start = When::Date(chrono::NaiveDate::from_ymd_opt(2026, 7, 14).unwrap());
        let mut fields = Fields::new(start, End::Unspecified);
        fields.title = Some("Surgery".to_owned());
        fields.location = Some("Hospital".to_owned());
        fields.attendees = vec![Attendee::new("ada@example.com")];
        assert_eq!(Details::of(&fields, DetailLevel::Full).title.as_deref(), Some("Surgery"));

        fields.visibility = Visibility::Confidential;
        let seen = serde_json::to_string(&Details::of(&fields, DetailLevel::Full)).unwrap();

        assert!(!seen.contains("Surgery") && !seen.contains("Hospital") && !seen.contains("ada"), "{seen}");
        assert!(seen.contains("Busy"));
    }
}
