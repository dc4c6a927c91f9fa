//! A calendar as its provider describes it, and what has become of it.

use serde::{Deserialize, Serialize};

use super::ids::ProviderId;

/// A calendar as a provider lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteCalendar {
    /// The provider's id; a CalDAV collection's href.
    pub provider_id: ProviderId,
    /// Its name for people.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// `#RRGGBB`.
    pub color: Option<String>,
    /// IANA name of the calendar's own zone, for floating times.
    pub time_zone: Option<String>,
    /// What the connection may do in it.
    pub access: Access,
    /// Whether the provider calls it the account's main calendar.
    pub is_primary: bool,
    /// What its driver would have to ask again before it writes, in the driver's own words; nobody else reads it.
    /// `None` for drivers that ask nothing.
    pub setting: Option<String>,
}

/// What a connection may do in a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// See when it is busy.
    FreeBusy,
    /// Read everything.
    Read,
    /// Read and write.
    Write,
}

impl Access {
    /// The name used in tables and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FreeBusy => "free_busy",
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// The access of that name; unknown names are `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::FreeBusy, Self::Read, Self::Write].into_iter().find(|access| access.as_str() == name)
    }
}

/// What has become of a calendar; none of these deletes an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalendarState {
    /// Lists and answers.
    #[default]
    Reachable,
    /// Shows less than it did (lowered to free/busy).
    Reduced,
    /// Hidden, unshared or deleted at the provider.
    Gone,
}

impl CalendarState {
    /// The name used in tables and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Reduced => "reduced",
            Self::Gone => "gone",
        }
    }

    /// The state of that name; unknown names are `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Reachable, Self::Reduced, Self::Gone].into_iter().find(|state| state.as_str() == name)
    }
}
