//! Who takes part (RFC 5545 §3.8.4.1, §3.8.4.3).

use serde::{Deserialize, Serialize};

/// A guest of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attendee {
    /// Mail address without `mailto:`, lower case, or the value as written where it is no mail address.
    pub address: String,
    /// `CN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `PARTSTAT`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: ParticipationStatus,
    /// `ROLE`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub role: AttendeeRole,
    /// `CUTYPE`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: AttendeeKind,
    /// What the guest wrote with the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl Attendee {
    /// A required individual who has not answered.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            name: None,
            status: ParticipationStatus::default(),
            role: AttendeeRole::default(),
            kind: AttendeeKind::default(),
            comment: None,
        }
    }
}

/// Who called the meeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organizer {
    /// Mail address without `mailto:`, lower case.
    pub address: String,
    /// `CN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `PARTSTAT`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParticipationStatus {
    /// Not answered yet.
    #[default]
    NeedsAction,
    /// Will come.
    Accepted,
    /// Will not come.
    Declined,
    /// May come.
    Tentative,
    /// Sends somebody else.
    Delegated,
}

/// `ROLE`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttendeeRole {
    /// Leads the meeting.
    Chair,
    /// Is needed.
    #[default]
    Required,
    /// Is welcome.
    Optional,
    /// Is only informed.
    NonParticipant,
}

/// `CUTYPE`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttendeeKind {
    /// A person.
    #[default]
    Individual,
    /// A list of people.
    Group,
    /// Equipment.
    Resource,
    /// A room.
    Room,
    /// Not said.
    Unknown,
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
