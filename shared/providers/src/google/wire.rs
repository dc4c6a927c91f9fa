//! Google's JSON as documented (Calendar API v3, discovery revision 20261030): what of it we read.
//!
//! Items of listings stay raw until they are looked at one by one, so that one which cannot be read does not hide
//! its neighbours, and so that each payload is kept verbatim.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// `Events`: one page of `events.list`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EventList<'a> {
    #[serde(borrow)]
    pub(super) items: Vec<&'a RawValue>,
    pub(super) next_page_token: Option<String>,
    pub(super) next_sync_token: Option<String>,
    /// The calendar's own zone, in which times without one are meant.
    pub(super) time_zone: Option<String>,
    /// What the account may do in the calendar.
    pub(super) access_role: Option<String>,
    pub(super) default_reminders: Vec<Reminder>,
}

/// Enough of an item to know which it is.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) id: String,
    pub(super) etag: Option<String>,
}

/// `Event`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) etag: Option<String>,
    pub(super) status: Option<String>,
    #[serde(rename = "iCalUID")]
    pub(super) ical_uid: Option<String>,
    pub(super) sequence: Option<i64>,
    pub(super) created: Option<String>,
    pub(super) updated: Option<String>,
    #[serde(rename = "eventType")]
    pub(super) kind: Option<String>,
    pub(super) start: Option<Moment>,
    pub(super) end: Option<Moment>,
    pub(super) end_time_unspecified: bool,
    pub(super) recurrence: Vec<String>,
    pub(super) recurring_event_id: Option<String>,
    pub(super) original_start_time: Option<Moment>,
    pub(super) summary: Option<String>,
    pub(super) description: Option<String>,
    pub(super) location: Option<String>,
    pub(super) source: Option<Source>,
    pub(super) color_id: Option<String>,
    pub(super) transparency: Option<String>,
    pub(super) visibility: Option<String>,
    pub(super) organizer: Option<Person>,
    pub(super) attendees: Vec<Person>,
    pub(super) attendees_omitted: bool,
    pub(super) hangout_link: Option<String>,
    pub(super) conference_data: Option<ConferenceData>,
    pub(super) extended_properties: Option<ExtendedProperties>,
    pub(super) reminders: Option<Reminders>,
}

/// `EventDateTime`: a date, or a time with its offset.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Moment {
    pub(super) date: Option<String>,
    pub(super) date_time: Option<String>,
    pub(super) time_zone: Option<String>,
}

/// An organizer or `EventAttendee`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Person {
    pub(super) email: Option<String>,
    pub(super) display_name: Option<String>,
    /// Whether this is the calendar on which the copy stands.
    #[serde(rename = "self")]
    pub(super) is_self: bool,
    pub(super) optional: bool,
    pub(super) resource: bool,
    pub(super) response_status: Option<String>,
    pub(super) comment: Option<String>,
}

/// Where an event came from, for people.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Source {
    pub(super) url: Option<String>,
}

/// `ConferenceData`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ConferenceData {
    pub(super) entry_points: Vec<EntryPoint>,
    pub(super) create_request: Option<ConferenceRequest>,
}

/// `CreateConferenceRequest`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ConferenceRequest {
    pub(super) status: Option<ConferenceRequestStatus>,
}

/// `ConferenceRequestStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ConferenceRequestStatus {
    pub(super) status_code: Option<String>,
}

/// `extendedProperties`, as far as they are ours.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ExtendedProperties {
    pub(super) private: PrivateProperties,
}

/// The private ones among them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PrivateProperties {
    #[serde(rename = "calfleetConference")]
    pub(super) conference: Option<String>,
}

/// `EntryPoint`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EntryPoint {
    pub(super) entry_point_type: Option<String>,
    pub(super) uri: Option<String>,
}

/// Reminders of one event.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Reminders {
    pub(super) use_default: bool,
    pub(super) overrides: Vec<Reminder>,
}

/// `EventReminder`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Reminder {
    /// Before the start.
    pub(super) minutes: i64,
}

/// `CalendarList`: one page of `calendarList.list`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CalendarList {
    pub(super) items: Vec<CalendarEntry>,
    pub(super) next_page_token: Option<String>,
}

/// `CalendarListEntry`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CalendarEntry {
    pub(super) id: String,
    pub(super) summary: Option<String>,
    pub(super) summary_override: Option<String>,
    pub(super) description: Option<String>,
    pub(super) time_zone: Option<String>,
    pub(super) background_color: Option<String>,
    pub(super) access_role: Option<String>,
    pub(super) default_reminders: Vec<Reminder>,
    pub(super) primary: bool,
    pub(super) hidden: bool,
    pub(super) deleted: bool,
}

/// `Channel`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Channel {
    pub(super) id: String,
    pub(super) resource_id: Option<String>,
    /// Milliseconds since 1970, as text.
    pub(super) expiration: Option<String>,
}

/// A refusal: `{"error": {…}}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refusal {
    pub(super) error: RefusalBody,
}

/// What a refusal says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RefusalBody {
    pub(super) message: String,
    pub(super) errors: Vec<RefusalItem>,
    pub(super) details: Vec<RefusalDetail>,
}

/// One of the reasons of a refusal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RefusalItem {
    pub(super) reason: String,
    pub(super) location: String,
}

/// A reason in the newer form.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RefusalDetail {
    pub(super) reason: String,
}
