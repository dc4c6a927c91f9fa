//! What applications say of an event: the same form for making one and for changing one.
//!
//! What a reader of an event is shown can be given back as it is. A field that is absent stays as it was, `null`
//! clears it. What the values mean, and whether they can be used, is found out in `compose`.

use calfleet_domain::model::{
    AttendeeKind, AttendeeRole, ConferenceType, ParticipationStatus, Reminder, Status, Transparency,
    Visibility,
};
use serde::{Deserialize, Deserializer};

/// A field of a change: absent, cleared or given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Given<T> {
    /// It stays as it was.
    #[default]
    Absent,
    /// It says nothing from now on.
    Cleared,
    /// It says this.
    Value(T),
}

impl<T> Given<T> {
    /// The value that was given, if one was.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Cleared => None,
        }
    }

    /// Whether it was mentioned at all.
    pub fn is_mentioned(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Cleared, Self::Value))
    }
}

/// A new event: it has to say when it starts, and when it ends unless it is one whole day.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct EventInput(pub EventPatch);

/// A change of an event.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventPatch {
    /// Title.
    pub title: Given<String>,
    /// Description, plain text.
    pub description: Given<String>,
    /// Where it takes place.
    pub location: Given<String>,
    /// A link: `http`, `https`, `mailto` or `tel`.
    pub url: Given<String>,
    /// When it starts. A new start without a new end keeps the length.
    pub start: Given<TimeInput>,
    /// When it ends, exclusive; of an all-day event the day after, where the same day means one day.
    pub end: Given<TimeInput>,
    /// IANA name of the zone of start and end where they name none; the calendar's when absent.
    pub time_zone: Given<String>,
    /// Whether the dates count and the times do not.
    pub is_all_day: Given<bool>,
    /// The guests; who is not among them is no longer invited. Answers stay.
    pub attendees: Given<Vec<GuestInput>>,
    /// Reminders of the calendar's owner.
    pub reminders: Given<Vec<Reminder>>,
    /// `RRULE`, `RDATE` and `EXDATE` lines, or the bare value of a rule. Cleared: it happens once.
    pub recurrence: Given<Vec<String>>,
    /// Original starts of instances that do not take place, such as `20260714T080000`; all of them.
    pub exclusions: Given<Vec<String>>,
    /// How to join from afar.
    pub conference: Given<ConferenceInput>,
    /// Whether it makes its owner busy.
    pub transparency: Given<Transparency>,
    /// Who may see it at the provider.
    pub visibility: Given<Visibility>,
    /// Confirmed or tentative.
    pub status: Given<Status>,
}

impl EventPatch {
    /// Whether it says anything of when the event takes place.
    pub(super) fn says_when(&self) -> bool {
        self.start.is_mentioned()
            || self.end.is_mentioned()
            || self.time_zone.is_mentioned()
            || self.is_all_day.is_mentioned()
            || self.recurrence.is_mentioned()
            || self.exclusions.is_mentioned()
    }
}

/// A point in a calendar.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "a time is a text such as 2026-07-14, 2026-07-14T08:00:00 or 2026-07-14T08:00:00+02:00, or an object with date, or with date_time and time_zone"
)]
pub enum TimeInput {
    /// A date, a wall clock, or an instant with its offset.
    Text(String),
    /// As it is shown.
    Parts(TimeParts),
}

/// A point in a calendar as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeParts {
    /// `2026-07-14`.
    pub date: Option<String>,
    /// `2026-07-14T08:00:00`.
    pub date_time: Option<String>,
    /// Whose clock.
    pub time_zone: Option<String>,
}

/// A guest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestInput {
    /// Mail address.
    pub address: String,
    /// Name for people.
    #[serde(default)]
    pub name: Option<String>,
    /// How much the guest is needed.
    #[serde(default)]
    pub role: AttendeeRole,
    /// A person, a room or the like.
    #[serde(default)]
    pub kind: AttendeeKind,
    /// The answer as it is known: it is the guest's and cannot be changed here.
    #[serde(default)]
    pub status: Option<ParticipationStatus>,
    /// What the guest wrote with the answer; as `status`.
    #[serde(default)]
    pub comment: Option<String>,
}

/// A conference that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "a conference is none, google_meet or microsoft_teams, or an object with kind and, where that is custom, link"
)]
pub enum ConferenceInput {
    /// `none`, `google_meet` or `microsoft_teams`: the provider makes the link.
    Named(ConferenceName),
    /// As it is shown.
    Parts {
        /// Whose.
        kind: ConferenceType,
        /// The link; of a custom one.
        #[serde(default)]
        link: Option<String>,
    },
}

/// A conference by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConferenceName {
    /// None at all.
    None,
    /// Google Meet.
    GoogleMeet,
    /// Microsoft Teams.
    MicrosoftTeams,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_null_and_a_value_are_three_things() {
        let patch: EventPatch = serde_json::from_str(r#"{"title": null, "location": "Room 2"}"#).unwrap();

        assert_eq!(patch.title, Given::Cleared);
        assert_eq!(patch.location, Given::Value("Room 2".to_owned()));
        assert_eq!(patch.description, Given::Absent);
    }

    #[test]
    fn what_is_shown_of_an_event_can_be_given_back() {
        let text = r#"{
            "start": {"date_time": "2026-07-14T08:00:00", "time_zone": "Europe/Paris"}, "end": "2026-07-14T09:00:00",
            "attendees": [{"address": "ada@example.com", "status": "accepted"}],
            "reminders": [{"before_start": 600}], "conference": {"kind": "custom", "link": "https://example.com/x"},
            "visibility": "private", "recurrence": ["RRULE:FREQ=WEEKLY"]
        }"#;

        let EventInput(patch) = serde_json::from_str(text).unwrap();

        assert!(matches!(patch.start, Given::Value(TimeInput::Parts(_))));
        assert_eq!(patch.reminders, Given::Value(vec![Reminder::BeforeStart(600)]));
        let meet: EventPatch = serde_json::from_str(r#"{"conference": "google_meet"}"#).unwrap();
        assert_eq!(meet.conference, Given::Value(ConferenceInput::Named(ConferenceName::GoogleMeet)));
        assert!(serde_json::from_str::<EventPatch>(r#"{"titel": "x"}"#).is_err());
    }
}
