//! What a listing says has changed, and what we hold to compare it with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{DetailLevel, Event, Fields, RecurrenceId, Role};
use super::ids::{CalendarId, EventId, MeetingId, OrganizationId, ProviderId, Revision, Uid, Version};
use crate::clock::Timestamp;

/// What a listing covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listing {
    /// What changed since the token; absence means nothing.
    Delta,
    /// Everything there is; absence may mean deletion, once the listing is complete.
    Full,
}

/// An object that a listing names without its content (CalDAV).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// The href, exactly as received.
    pub provider_id: ProviderId,
    /// Its entity tag; `None` where the server gave none, which always means "read it".
    pub revision: Option<Revision>,
}

/// One item of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteChange {
    /// It exists, and this is what it says.
    Upsert(Box<RemoteEvent>),
    /// An instance that departs from its series, where the provider keeps it as an object of its own.
    Instance(Box<RemoteInstance>),
    /// An instance that is as its series says, where the provider gives it an id: should that id ever be removed,
    /// the instance was.
    Occurrence {
        /// The instance's id.
        provider_id: ProviderId,
        /// The series' id.
        series_id: ProviderId,
    },
    /// The provider says that it was deleted.
    Removed {
        /// Whose deletion.
        provider_id: ProviderId,
    },
    /// The provider no longer shows it, which may mean that it was deleted, or only that it has left the window that
    /// is looked at, and it says so of what it never showed as well. Read singly, it tells which.
    Unlisted {
        /// Which object, or instance of a series.
        provider_id: ProviderId,
    },
    /// It exists, but what it says cannot be read or is over a limit. Never a deletion.
    Unreadable {
        /// Which object.
        provider_id: ProviderId,
        /// Its revision, so that it is not fetched again while unchanged.
        revision: Option<Revision>,
        /// What a person can do something about.
        reason: String,
        /// The payload verbatim, where it came at all.
        raw: Option<String>,
    },
    /// It exists, but the provider fails to give it out for now: what is known of it stays, and it is asked for again
    /// soon. Never a deletion.
    Withheld {
        /// Which object.
        provider_id: ProviderId,
        /// What is said of that to people.
        reason: String,
    },
}

impl RemoteChange {
    /// Which object the change is about.
    pub fn provider_id(&self) -> &ProviderId {
        match self {
            Self::Upsert(event) => &event.provider_id,
            Self::Instance(instance) => &instance.provider_id,
            Self::Occurrence { provider_id, .. }
            | Self::Removed { provider_id }
            | Self::Unlisted { provider_id }
            | Self::Unreadable { provider_id, .. }
            | Self::Withheld { provider_id, .. } => provider_id,
        }
    }
}

/// An event as a provider holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteEvent {
    /// The provider's id: a CalDAV href, a feed's UID.
    pub provider_id: ProviderId,
    /// The name that we gave it before its provider named it, where the provider says so; `None` of what somebody
    /// else made, and where names of ours last.
    pub created_as: Option<ProviderId>,
    /// What changes whenever the object does.
    pub revision: Option<Revision>,
    /// What it says, normalised.
    pub event: Event,
    /// Whether `event` holds all that departs from a series.
    pub parts: Parts,
    /// Objects of their own that overrides in `event` came from, by original start; empty where one object holds
    /// the whole series.
    pub instances: BTreeMap<RecurrenceId, InstanceRef>,
    /// The owner's part in it.
    pub role: Role,
    /// How much the listing was allowed to show.
    pub detail: DetailLevel,
    /// The payload verbatim: iCalendar text or JSON; `None` where only parts of a series were shown, and the
    /// payload held stays.
    pub raw: Option<String>,
    /// When the provider says it was last changed, on the provider's clock; `None` where it does not say.
    pub changed_at: Option<Timestamp>,
    /// What was repaired or could not be understood while reading it; for people.
    pub warnings: Vec<String>,
}

/// How much of a series an object tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// All of it: an override that is not there does not exist.
    Whole,
    /// The master only: overrides come as [`RemoteChange::Instance`], and those known before stay.
    MasterOnly,
}

/// The object of its own that a provider keeps for an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRef {
    /// Its id.
    pub provider_id: ProviderId,
    /// Its revision.
    pub revision: Option<Revision>,
}

/// An instance that departs from its series, as a provider holds it apart from the series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteInstance {
    /// Its own id.
    pub provider_id: ProviderId,
    /// The id of its series, which may be out of sight: an invitation to one instance only.
    pub series_id: ProviderId,
    /// The series' UID, where the object tells it.
    pub uid: Option<Uid>,
    /// Its original start: a date, or an instant in UTC. Brought into the series' zone once that is known.
    pub recurrence_id: RecurrenceId,
    /// What changes whenever the object does.
    pub revision: Option<Revision>,
    /// What it says; `None` for a cancelled instance.
    pub fields: Option<Fields>,
    /// The owner's part in it.
    pub role: Role,
    /// How much the listing was allowed to show.
    pub detail: DetailLevel,
    /// The payload verbatim.
    pub raw: String,
    /// When the provider says it was last changed, on the provider's clock.
    pub changed_at: Option<Timestamp>,
}

/// An event as we hold it: what the reconciler needs to know about one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// The row.
    pub id: EventId,
    /// Its tenant.
    pub organization_id: OrganizationId,
    /// Its calendar.
    pub calendar_id: CalendarId,
    /// The meeting that its copies share.
    pub meeting_id: MeetingId,
    /// The provider's id.
    pub provider_id: ProviderId,
    /// The revision last agreed on.
    pub revision: Option<Revision>,
    /// Our hash of `event` as it stands.
    pub version: Version,
    /// Raised by every write: an apply that finds another value reads again and reconciles again.
    pub lock_version: i64,
    /// What it says, with local edits. `None` for a tombstone and for an object that was never readable.
    pub event: Option<Event>,
    /// What both sides last agreed on; present only while local edits are pending.
    pub base: Option<Event>,
    /// When the last of the local edits was received; `None` when none are pending.
    pub edited_at: Option<Timestamp>,
    /// When the first of those was received that the provider has yet to answer; `None` when none waits.
    pub edited_since: Option<Timestamp>,
    /// When a push of it was last answered; a page requested before that is stale for it.
    pub settled_at: Option<Timestamp>,
    /// Whether a push of it was sent and has not been answered.
    pub is_in_flight: bool,
    /// The owner's part in it.
    pub role: Role,
    /// How much the listing it came from was allowed to show.
    pub detail: DetailLevel,
}
