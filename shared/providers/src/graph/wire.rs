//! Graph's JSON as documented (v1.0, metadata of 2026-08-20): what of it we read.
//!
//! Graph writes `null` where it has nothing to say, in lists as well. Items of listings stay raw until they are
//! looked at one by one, so that one which cannot be read does not hide its neighbours, and so that each payload is
//! kept verbatim.

use std::collections::HashMap;

use calfleet_domain::model::Revision;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// `null` says no more than absence does.
fn lenient<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(input: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

/// Present, be it as `null`.
fn present<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<T>, D::Error> {
    lenient(input).map(Some)
}

/// One page of events.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EventPage<'a> {
    #[serde(borrow)]
    pub(super) value: Vec<&'a RawValue>,
    #[serde(rename = "@odata.nextLink")]
    pub(super) next_link: Option<String>,
    #[serde(rename = "@odata.deltaLink")]
    pub(super) delta_link: Option<String>,
}

/// Enough of an item to know which it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    pub(super) id: String,
    #[serde(default)]
    pub(super) change_key: Option<String>,
}

/// `event`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "as documented")]
pub(super) struct Event {
    pub(super) id: String,
    /// That it is no longer shown, in a delta only.
    #[serde(rename = "@removed")]
    pub(super) removed: Option<Removed>,
    pub(super) change_key: Option<String>,
    /// `W/"{changeKey}"`.
    #[serde(rename = "@odata.etag")]
    pub(super) etag: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<EventKind>,
    pub(super) series_master_id: Option<String>,
    #[serde(rename = "iCalUId")]
    pub(super) ical_uid: Option<String>,
    /// The client's name for its creation; of events that an application made.
    pub(super) transaction_id: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) body: Option<ItemBody>,
    pub(super) start: Option<Moment>,
    pub(super) end: Option<Moment>,
    /// An instant: RFC 3339.
    pub(super) original_start: Option<String>,
    pub(super) original_start_time_zone: Option<String>,
    pub(super) original_end_time_zone: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) is_all_day: bool,
    #[serde(deserialize_with = "lenient")]
    pub(super) is_cancelled: bool,
    pub(super) is_organizer: Option<bool>,
    pub(super) organizer: Option<Recipient>,
    #[serde(deserialize_with = "lenient")]
    pub(super) attendees: Vec<Attendee>,
    pub(super) response_status: Option<ResponseStatus>,
    pub(super) sensitivity: Option<String>,
    pub(super) show_as: Option<String>,
    pub(super) location: Option<Location>,
    #[serde(deserialize_with = "lenient")]
    pub(super) locations: Vec<Location>,
    #[serde(deserialize_with = "lenient")]
    pub(super) is_reminder_on: bool,
    pub(super) reminder_minutes_before_start: Option<i64>,
    pub(super) recurrence: Option<Recurrence>,
    #[serde(deserialize_with = "lenient")]
    pub(super) is_online_meeting: bool,
    pub(super) online_meeting_provider: Option<String>,
    pub(super) online_meeting: Option<OnlineMeeting>,
    pub(super) online_meeting_url: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) categories: Vec<String>,
    pub(super) created_date_time: Option<String>,
    pub(super) last_modified_date_time: Option<String>,
}

impl Event {
    /// Its change key, from wherever it stands: some answers have only an entity tag.
    pub(super) fn revision(&self) -> Option<Revision> {
        let of_tag = || self.etag.as_deref()?.strip_prefix("W/\"")?.strip_suffix('"');
        let key = self.change_key.as_deref().or_else(of_tag)?;
        (!key.is_empty()).then(|| Revision::from(key))
    }
}

/// `eventType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum EventKind {
    SingleInstance,
    Occurrence,
    Exception,
    SeriesMaster,
    #[serde(other)]
    Unknown,
}

/// Why an item of a delta is no longer shown: `deleted` or `changed`, which does not tell the one from the other.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Removed {}

/// What departs from a series, where it was asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Departures<'a> {
    /// `OID.{master's id}.{yyyy-MM-dd}`: the day in the series' own zone. `None` where the server does not say.
    #[serde(deserialize_with = "present")]
    pub(super) cancelled_occurrences: Option<Vec<String>>,
    /// `None` where the server does not say.
    #[serde(borrow, deserialize_with = "present")]
    pub(super) exception_occurrences: Option<Vec<&'a RawValue>>,
}

/// `itemBody`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ItemBody {
    pub(super) content_type: Option<String>,
    pub(super) content: Option<String>,
}

/// `dateTimeTimeZone`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Moment {
    pub(super) date_time: Option<String>,
    pub(super) time_zone: Option<String>,
}

/// `recipient`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Recipient {
    pub(super) email_address: Option<EmailAddress>,
}

/// `emailAddress`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct EmailAddress {
    pub(super) name: Option<String>,
    pub(super) address: Option<String>,
}

/// `attendee`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Attendee {
    pub(super) email_address: Option<EmailAddress>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) status: Option<ResponseStatus>,
}

/// `responseStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResponseStatus {
    pub(super) response: Option<String>,
}

/// `location`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Location {
    pub(super) display_name: Option<String>,
}

/// `onlineMeetingInfo`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct OnlineMeeting {
    pub(super) join_url: Option<String>,
}

/// `patternedRecurrence`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Recurrence {
    #[serde(deserialize_with = "lenient")]
    pub(super) pattern: Pattern,
    #[serde(deserialize_with = "lenient")]
    pub(super) range: Range,
}

/// `recurrencePattern`. Graph shows what a type does not use as 0 and refuses it in writing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Pattern {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) month: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) day_of_month: Option<i64>,
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub(super) days_of_week: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_day_of_week: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<String>,
}

/// `recurrenceRange`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Range {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_date: Option<String>,
    /// The last day on which an instance may start, inclusive; `0001-01-01` where the type does not use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) number_of_occurrences: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recurrence_time_zone: Option<String>,
}

/// One page of calendars.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CalendarPage {
    pub(super) value: Vec<Calendar>,
    #[serde(rename = "@odata.nextLink")]
    pub(super) next_link: Option<String>,
}

/// `calendar`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Calendar {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) hex_color: Option<String>,
    pub(super) can_edit: Option<bool>,
    pub(super) can_view_private_items: Option<bool>,
    #[serde(rename = "isDefaultCalendar", deserialize_with = "lenient")]
    pub(super) is_default: bool,
    pub(super) owner: Option<EmailAddress>,
}

/// `subscription`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Subscription {
    pub(super) id: String,
    pub(super) expiration_date_time: Option<String>,
}

/// The answer to `$batch`: its parts come in any order.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BatchAnswer<'a> {
    #[serde(borrow)]
    pub(super) responses: Vec<BatchPart<'a>>,
}

/// One part of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BatchPart<'a> {
    pub(super) id: String,
    pub(super) status: u16,
    #[serde(deserialize_with = "lenient")]
    pub(super) headers: HashMap<String, String>,
    #[serde(borrow)]
    pub(super) body: Option<&'a RawValue>,
}

/// A refusal: `{"error": {…}}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refusal {
    #[serde(deserialize_with = "lenient")]
    pub(super) error: RefusalBody,
}

/// What a refusal says; the inner ones say it more exactly.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RefusalBody {
    #[serde(deserialize_with = "lenient")]
    pub(super) code: String,
    #[serde(alias = "innererror")]
    pub(super) inner_error: Option<Box<RefusalBody>>,
    /// What a transaction id was used for before.
    #[serde(rename = "@event.existingEventId")]
    pub(super) existing: Option<String>,
}

/// What is posted to our address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Notifications<'a> {
    #[serde(borrow)]
    pub(super) value: Vec<&'a RawValue>,
}

/// `changeNotification`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Notification {
    pub(super) subscription_id: Option<String>,
    pub(super) client_state: Option<String>,
    pub(super) change_type: Option<String>,
    pub(super) lifecycle_event: Option<String>,
    pub(super) subscription_expiration_date_time: Option<String>,
}
