//! Builds requests of Microsoft Graph v1.0: method, path, parameters and body, nothing about credentials.

use std::time::Duration;

use bytes::Bytes;
use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{Notify, Revision};
use chrono::SecondsFormat;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, IF_MATCH};
use http::{Method, Request};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::cursor::Window;
use super::render::{Answer, Body, MARKER};
use crate::driver::{DriverError, Watch, WatchRequest};
use crate::http::rest;

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// What a part of a batch says for itself, by the names that Graph documents.
const PART_HEADERS: [(&str, HeaderName); 3] =
    [("Content-Type", CONTENT_TYPE), ("If-Match", IF_MATCH), ("Prefer", PREFER)];

/// What every answer is wanted in.
///
/// - Immutable ids: the others change when a person moves an event, and then it would be deleted here.
/// - Times in UTC: [`super::times`] brings them into the zone they were written in.
/// - Bodies as Exchange keeps them, HTML: the wish for text is documented for single events but not for deltas, and
///   an event must read the same whichever of them brought it.
const FORM: &str = r#"IdType="ImmutableId", outlook.timezone="UTC""#;

/// Events on a page, most of them slim instances: what one transaction of ours takes, and what Graph can put
/// together well inside our deadline. It may answer with fewer.
const PAGE_SIZE: u32 = 200;

/// What of an event we read or patch later. Departures from a series are shown to those who name them only, and
/// whoever names one property gets no other.
const SELECTED: &str = "id,changeKey,type,seriesMasterId,iCalUId,transactionId,subject,body,start,end,originalStart,\
    originalStartTimeZone,originalEndTimeZone,isAllDay,isCancelled,isDraft,isOrganizer,organizer,attendees,\
    responseStatus,responseRequested,allowNewTimeProposals,hideAttendees,importance,sensitivity,showAs,location,\
    locations,isReminderOn,reminderMinutesBeforeStart,recurrence,isOnlineMeeting,onlineMeetingProvider,onlineMeeting,\
    onlineMeetingUrl,webLink,hasAttachments,categories,createdDateTime,lastModifiedDateTime";

/// What of a calendar we read.
const CALENDAR: &str = "id,name,hexColor,canEdit,canViewPrivateItems,isDefaultCalendar,owner";

/// Longest life that is asked for a subscription: Outlook gives 10,080 minutes, by its own clock.
const MOST_WATCH: Duration = Duration::from_mins(10_070);

/// Which parameters listings are made with: changes when they do.
pub(super) fn parameters_id() -> String {
    let mut hash = Sha256::new();
    hash.update(FORM);
    hex::encode(hash.finalize()).chars().take(8).collect()
}

/// In which form an event is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Whatever it is.
    Any,
    /// A series with all that departs from it; Graph knows this of masters only.
    Series,
}

/// Where the API is, and on whose behalf nothing is known here.
#[derive(Debug, Clone)]
pub(super) struct Api {
    /// Microsoft Graph v1.0, with a slash at its end.
    pub(super) base: Url,
}

impl Api {
    /// `List calendars`.
    pub(super) fn list_calendars(&self, operation: &'static str) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["me", "calendars"])?;
        url.query_pairs_mut().append_pair("$select", CALENDAR).append_pair("$top", "100");
        get(operation, &url, FORM)
    }

    /// `Get calendar`.
    pub(super) fn get_calendar(
        &self,
        operation: &'static str,
        calendar: &str,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["me", "calendars", calendar])?;
        url.query_pairs_mut().append_pair("$select", CALENDAR);
        get(operation, &url, FORM)
    }

    /// `event: delta`, the first page of a listing.
    pub(super) fn begin_delta(
        &self,
        operation: &'static str,
        calendar: &str,
        window: Window,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["me", "calendars", calendar, "calendarView", "delta"])?;
        put_window(&mut url, window);
        get(operation, &url, &listing_form())
    }

    /// A link that Graph gave, as it is; `None` for one that leads elsewhere. Graph wants the headers again.
    pub(super) fn follow(
        &self,
        operation: &'static str,
        link: &str,
    ) -> Result<Option<Request<Bytes>>, DriverError> {
        let Ok(url) = Url::parse(link) else { return Ok(None) };
        if !self.is_ours(&url) {
            return Ok(None);
        }
        get(operation, &url, &listing_form()).map(Some)
    }

    /// `List calendarView`: which events are inside, nothing else of them.
    pub(super) fn list_within(
        &self,
        operation: &'static str,
        calendar: &str,
        window: Window,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["me", "calendars", calendar, "calendarView"])?;
        put_window(&mut url, window);
        url.query_pairs_mut()
            .append_pair("$select", "id,type,seriesMasterId")
            .append_pair("$top", &PAGE_SIZE.to_string());
        get(operation, &url, FORM)
    }

    /// `Get event`.
    pub(super) fn get_event(
        &self,
        operation: &'static str,
        calendar: &str,
        event: &str,
        form: Form,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["me", "calendars", calendar, "events", event])?;
        match form {
            Form::Any => {
                url.query_pairs_mut().append_pair("$select", SELECTED);
            }
            Form::Series => {
                let selected = format!("{SELECTED},cancelledOccurrences,exceptionOccurrences");
                url.query_pairs_mut()
                    .append_pair("$select", &selected)
                    .append_pair("$expand", "exceptionOccurrences");
            }
        }
        get(operation, &url, FORM)
    }

    /// `List instances`: those of a series that are left, with what departs from it.
    pub(super) fn list_instances(
        &self,
        operation: &'static str,
        calendar: &str,
        series: &str,
        window: Window,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["me", "calendars", calendar, "events", series, "instances"])?;
        put_window(&mut url, window);
        url.query_pairs_mut().append_pair("$select", SELECTED).append_pair("$top", &PAGE_SIZE.to_string());
        get(operation, &url, FORM)
    }

    /// `List events` of those that bear that mark: Graph does not find events by their transaction id.
    pub(super) fn find_made(
        &self,
        operation: &'static str,
        calendar: &str,
        mark: &str,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["me", "calendars", calendar, "events"])?;
        let filter =
            format!("singleValueExtendedProperties/any(ep: ep/id eq '{MARKER}' and ep/value eq '{mark}')");
        url.query_pairs_mut().append_pair("$filter", &filter).append_pair("$select", SELECTED);
        get(operation, &url, FORM)
    }

    /// `Create event`.
    pub(super) fn create_event(
        &self,
        operation: &'static str,
        calendar: &str,
        body: &Body,
    ) -> Result<Request<Bytes>, DriverError> {
        let url = self.url(operation, &["me", "calendars", calendar, "events"])?;
        send(operation, Method::POST, &url, body)
    }

    /// `Update event`, as of that revision.
    pub(super) fn patch_event(
        &self,
        operation: &'static str,
        calendar: &str,
        (event, revision): (&str, &Revision),
        body: &Body,
    ) -> Result<Request<Bytes>, DriverError> {
        let url = self.url(operation, &["me", "calendars", calendar, "events", event])?;
        conditional(operation, send(operation, Method::PATCH, &url, body)?, revision)
    }

    /// `Delete event`, as of that revision.
    pub(super) fn delete_event(
        &self,
        operation: &'static str,
        calendar: &str,
        (event, revision): (&str, &Revision),
    ) -> Result<Request<Bytes>, DriverError> {
        let url = self.url(operation, &["me", "calendars", calendar, "events", event])?;
        conditional(operation, delete(operation, &url)?, revision)
    }

    /// `event: cancel`: deletes what its organizer calls off, and tells the guests why.
    pub(super) fn cancel_event(
        &self,
        operation: &'static str,
        calendar: &str,
        event: &str,
        comment: &str,
    ) -> Result<Request<Bytes>, DriverError> {
        let url = self.url(operation, &["me", "calendars", calendar, "events", event, "cancel"])?;
        send(operation, Method::POST, &url, &json!({ "Comment": comment }))
    }

    /// `event: accept`, `event: decline`, `event: tentativelyAccept`.
    pub(super) fn answer(
        &self,
        operation: &'static str,
        calendar: &str,
        event: &str,
        (answer, notify): (&Answer, Notify),
    ) -> Result<Request<Bytes>, DriverError> {
        let url = self.url(operation, &["me", "calendars", calendar, "events", event, answer.verb])?;
        let mut body = json!({ "SendResponse": notify != Notify::None });
        if let (Some(comment), Some(body)) = (&answer.comment, body.as_object_mut()) {
            body.insert("Comment".to_owned(), json!(comment));
        }
        send(operation, Method::POST, &url, &body)
    }

    /// `JSON batching`; each request gets its place for an id.
    pub(super) fn batch(
        &self,
        operation: &'static str,
        parts: &[Request<Bytes>],
    ) -> Result<Request<Bytes>, DriverError> {
        let parts: Vec<Value> = parts
            .iter()
            .enumerate()
            .map(|(place, part)| {
                let header = |(title, name): (&str, HeaderName)| {
                    let value = part.headers().get(name).and_then(|value| value.to_str().ok())?;
                    Some((title.to_owned(), Value::from(value)))
                };
                let headers: Map<String, Value> = PART_HEADERS.into_iter().filter_map(header).collect();
                let mut shown = json!({
                    "id": place.to_string(),
                    "method": part.method().as_str(),
                    "url": self.relative(part),
                    "headers": headers,
                });
                if let (Ok(body), Some(shown)) =
                    (serde_json::from_slice::<Value>(part.body()), shown.as_object_mut())
                {
                    shown.insert("body".to_owned(), body);
                }
                shown
            })
            .collect();
        let url = self.url(operation, &["$batch"])?;
        send(operation, Method::POST, &url, &json!({ "requests": parts }))
    }

    /// `Create subscription`: to one calendar, for as long as is wanted.
    pub(super) fn watch(
        &self,
        operation: &'static str,
        calendar: &str,
        wanted: &WatchRequest,
        now: Timestamp,
    ) -> Result<Request<Bytes>, DriverError> {
        let url = self.url(operation, &["subscriptions"])?;
        let resource = self.url(operation, &["me", "calendars", calendar, "events"])?;
        let body = json!({
            "changeType": "created,updated,deleted",
            "notificationUrl": wanted.url.as_str(),
            "lifecycleNotificationUrl": wanted.url.as_str(),
            "resource": self.path(&resource),
            "expirationDateTime": expiration(wanted, now),
            "clientState": wanted.secret.expose_secret(),
            "latestSupportedTlsVersion": "v1_2",
        });
        send(operation, Method::POST, &url, &body)
    }

    /// `Update subscription`: the same one for longer.
    pub(super) fn renew(
        &self,
        operation: &'static str,
        watch: &Watch,
        wanted: &WatchRequest,
        now: Timestamp,
    ) -> Result<Request<Bytes>, DriverError> {
        let url = self.url(operation, &["subscriptions", &watch.id])?;
        send(operation, Method::PATCH, &url, &json!({ "expirationDateTime": expiration(wanted, now) }))
    }

    /// `Delete subscription`.
    pub(super) fn unwatch(
        &self,
        operation: &'static str,
        watch: &Watch,
    ) -> Result<Request<Bytes>, DriverError> {
        let url = self.url(operation, &["subscriptions", &watch.id])?;
        delete(operation, &url)
    }

    /// Whether an address is below the API's own.
    fn is_ours(&self, url: &Url) -> bool {
        url.origin() == self.base.origin() && url.path().starts_with(self.base.path())
    }

    /// The path below the API's own, with a slash at its beginning.
    fn path(&self, url: &Url) -> String {
        format!("/{}", url.path().strip_prefix(self.base.path()).unwrap_or_default())
    }

    fn relative(&self, part: &Request<Bytes>) -> String {
        let path = part.uri().path().strip_prefix(self.base.path()).unwrap_or_default();
        part.uri().query().map_or_else(|| format!("/{path}"), |query| format!("/{path}?{query}"))
    }

    fn url(&self, operation: &'static str, segments: &[&str]) -> Result<Url, DriverError> {
        rest::below(&self.base, operation, segments)
    }
}

fn listing_form() -> String {
    format!("{FORM}, odata.maxpagesize={PAGE_SIZE}")
}

fn put_window(url: &mut Url, window: Window) {
    for (name, at) in [("startDateTime", window.from), ("endDateTime", window.until)] {
        if let Some(instant) = rfc3339(at) {
            url.query_pairs_mut().append_pair(name, &instant);
        }
    }
}

fn expiration(wanted: &WatchRequest, now: Timestamp) -> Option<String> {
    rfc3339(wanted.until.min(now.plus(MOST_WATCH)))
}

fn rfc3339(at: Timestamp) -> Option<String> {
    at.to_utc().map(|instant| instant.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn get(operation: &'static str, url: &Url, prefer: &str) -> Result<Request<Bytes>, DriverError> {
    preferring(operation, rest::build(operation, Method::GET, url, Bytes::new())?, prefer)
}

fn delete(operation: &'static str, url: &Url) -> Result<Request<Bytes>, DriverError> {
    preferring(operation, rest::build(operation, Method::DELETE, url, Bytes::new())?, FORM)
}

fn send(
    operation: &'static str,
    method: Method,
    url: &Url,
    body: &impl Serialize,
) -> Result<Request<Bytes>, DriverError> {
    preferring(operation, rest::send(operation, method, url, body)?, FORM)
}

fn preferring(
    operation: &'static str,
    mut request: Request<Bytes>,
    prefer: &str,
) -> Result<Request<Bytes>, DriverError> {
    let prefer = HeaderValue::from_str(prefer).map_err(|error| rest::unbuilt(operation).caused_by(error))?;
    request.headers_mut().insert(PREFER, prefer);
    Ok(request)
}

/// The same request if the event has that revision still.
fn conditional(
    operation: &'static str,
    request: Request<Bytes>,
    revision: &Revision,
) -> Result<Request<Bytes>, DriverError> {
    rest::conditional(operation, request, &format!("W/\"{}\"", revision.as_str()))
}

#[cfg(test)]
mod tests;
