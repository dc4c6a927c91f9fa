//! Builds requests of the Calendar API v3: method, path, parameters and body, nothing about credentials.

use bytes::Bytes;
use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{Notify, Revision};
use chrono::SecondsFormat;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use secrecy::ExposeSecret;
use serde_json::json;
use sha2::{Digest, Sha256};
use url::Url;

use super::batch;
use super::cursor::GoogleCursor;
use super::render::Body;
use crate::driver::{DriverError, Watch, WatchRequest};
use crate::http::rest;

/// What every listing that ends in a sync token asks for. Google wants the same with each of its pages and with
/// the token later, so a cursor remembers them.
///
/// - Masters and exceptions, not instances.
/// - Birthdays are left out: Google makes one for each contact; they are nobody's time, cannot be moved, and would
///   show people's contacts to the application.
/// - Pages of 500: what one transaction of ours takes. Google may answer with fewer.
/// - `showDeleted` is left to Google: deletions always come with a token, and without one there is nothing to
///   delete; cancelled instances come either way.
/// - `maxAttendees` is never sent: a list that is cut short could be written back.
const LISTING: [(&str, &str); 7] = [
    ("singleEvents", "false"),
    ("maxResults", "500"),
    ("eventTypes", "default"),
    ("eventTypes", "focusTime"),
    ("eventTypes", "fromGmail"),
    ("eventTypes", "outOfOffice"),
    ("eventTypes", "workingLocation"),
];

/// What goes with every write: conferences as they are documented now, and attachments that stay. `maxAttendees` is
/// never sent: the answer is the agreed state, and has to be whole.
const WRITING: [(&str, &str); 2] = [("conferenceDataVersion", "1"), ("supportsAttachments", "true")];

/// Longest life that is asked for a channel: what Google gives at most.
const MOST_TTL_SECONDS: u64 = 30 * 24 * 3600;

/// Which parameters listings are made with: changes when [`LISTING`] does.
pub(super) fn parameters_id() -> String {
    let mut hash = Sha256::new();
    for (name, value) in LISTING {
        hash.update(name);
        hash.update("=");
        hash.update(value);
        hash.update("&");
    }
    hex::encode(hash.finalize()).chars().take(8).collect()
}

/// Where the API is, and on whose behalf nothing is known here.
#[derive(Debug, Clone)]
pub(super) struct Api {
    /// Calendar API v3, with a slash at its end.
    pub(super) base: Url,
}

impl Api {
    /// `calendarList.list`.
    pub(super) fn list_calendars(
        &self,
        operation: &'static str,
        page: Option<&str>,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["users", "me", "calendarList"])?;
        url.query_pairs_mut().append_pair("maxResults", "250").append_pair("showHidden", "false");
        if let Some(page) = page {
            url.query_pairs_mut().append_pair("pageToken", page);
        }
        get(operation, &url)
    }

    /// Many calls as one ("Batch").
    pub(super) fn batch(
        &self,
        operation: &'static str,
        parts: &[Request<Bytes>],
    ) -> Result<Request<Bytes>, DriverError> {
        let url = self.base.join("../../batch/calendar/v3").map_err(|_| rest::unbuilt(operation))?;
        let (kind, body) = batch::body(parts);
        let mut request = rest::build(operation, Method::POST, &url, body)?;
        let kind = HeaderValue::try_from(kind).map_err(|_| rest::unbuilt(operation))?;
        request.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(request)
    }

    /// `calendarList.get`.
    pub(super) fn get_calendar(
        &self,
        operation: &'static str,
        calendar: &str,
    ) -> Result<Request<Bytes>, DriverError> {
        get(operation, &self.url(operation, &["users", "me", "calendarList", calendar])?)
    }

    /// `events.list`, a page of a listing that ends in a sync token.
    pub(super) fn list_events(
        &self,
        operation: &'static str,
        calendar: &str,
        cursor: &GoogleCursor,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["calendars", calendar, "events"])?;
        url.query_pairs_mut().extend_pairs(LISTING);
        if let Some(token) = &cursor.sync {
            url.query_pairs_mut().append_pair("syncToken", token);
        }
        if let Some(page) = &cursor.page {
            url.query_pairs_mut().append_pair("pageToken", page);
        }
        get(operation, &url)
    }

    /// `events.list` of everything with one UID, deleted instances included.
    pub(super) fn list_series(
        &self,
        operation: &'static str,
        calendar: &str,
        uid: &str,
        page: Option<&str>,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["calendars", calendar, "events"])?;
        url.query_pairs_mut()
            .append_pair("iCalUID", uid)
            .append_pair("showDeleted", "true")
            .append_pair("singleEvents", "false")
            .append_pair("maxResults", "500");
        if let Some(page) = page {
            url.query_pairs_mut().append_pair("pageToken", page);
        }
        get(operation, &url)
    }

    /// `events.list` of what touches `[from, until)`: ids only.
    pub(super) fn list_within(
        &self,
        operation: &'static str,
        calendar: &str,
        (from, until): (Timestamp, Timestamp),
        page: Option<&str>,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["calendars", calendar, "events"])?;
        url.query_pairs_mut().extend_pairs(LISTING);
        url.query_pairs_mut().append_pair("fields", "items(id,recurringEventId,status),nextPageToken");
        for (name, instant) in [("timeMin", from), ("timeMax", until)] {
            if let Some(instant) = instant.to_utc() {
                url.query_pairs_mut().append_pair(name, &instant.to_rfc3339_opts(SecondsFormat::Secs, true));
            }
        }
        if let Some(page) = page {
            url.query_pairs_mut().append_pair("pageToken", page);
        }
        get(operation, &url)
    }

    /// `events.get`.
    pub(super) fn get_event(
        &self,
        operation: &'static str,
        calendar: &str,
        event: &str,
    ) -> Result<Request<Bytes>, DriverError> {
        get(operation, &self.url(operation, &["calendars", calendar, "events", event])?)
    }

    /// `events.watch`: of what listings show, for as long as is wanted.
    pub(super) fn watch(
        &self,
        operation: &'static str,
        calendar: &str,
        wanted: &WatchRequest,
        now: Timestamp,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["calendars", calendar, "events", "watch"])?;
        let types = LISTING.into_iter().filter(|(name, _)| *name == "eventTypes");
        url.query_pairs_mut().extend_pairs(types);
        let ttl = wanted.until.since(now).as_secs().min(MOST_TTL_SECONDS);
        let body = json!({
            "id": wanted.id.to_string(),
            "type": "web_hook",
            "address": wanted.url.as_str(),
            "token": wanted.secret.expose_secret(),
            "params": { "ttl": ttl.to_string() },
        });
        rest::send(operation, Method::POST, &url, &body)
    }

    /// `channels.stop`.
    pub(super) fn stop(&self, operation: &'static str, watch: &Watch) -> Result<Request<Bytes>, DriverError> {
        let url = self.url(operation, &["channels", "stop"])?;
        let body = json!({ "id": watch.id, "resourceId": watch.resource.as_deref().unwrap_or_default() });
        rest::send(operation, Method::POST, &url, &body)
    }

    /// `events.instances` of the one that originally starts then.
    pub(super) fn find_instance(
        &self,
        operation: &'static str,
        (calendar, series): (&str, &str),
        original_start: &str,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["calendars", calendar, "events", series, "instances"])?;
        url.query_pairs_mut().append_pair("originalStart", original_start);
        get(operation, &url)
    }

    /// `events.insert`.
    pub(super) fn insert_event(
        &self,
        operation: &'static str,
        calendar: &str,
        body: &Body,
        notify: Notify,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["calendars", calendar, "events"])?;
        url.query_pairs_mut().extend_pairs(WRITING).append_pair("sendUpdates", send_updates(notify));
        rest::send(operation, Method::POST, &url, body)
    }

    /// `events.patch` of the event as of that revision.
    pub(super) fn patch_event(
        &self,
        operation: &'static str,
        calendar: &str,
        (event, revision): (&str, &Revision),
        body: &Body,
        notify: Notify,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["calendars", calendar, "events", event])?;
        url.query_pairs_mut().extend_pairs(WRITING).append_pair("sendUpdates", send_updates(notify));
        rest::conditional(operation, rest::send(operation, Method::PATCH, &url, body)?, revision.as_str())
    }

    /// `events.delete` of the event as of that revision; as it is, when none is given.
    pub(super) fn delete_event(
        &self,
        operation: &'static str,
        calendar: &str,
        (event, revision): (&str, Option<&Revision>),
        notify: Notify,
    ) -> Result<Request<Bytes>, DriverError> {
        let mut url = self.url(operation, &["calendars", calendar, "events", event])?;
        url.query_pairs_mut().append_pair("sendUpdates", send_updates(notify));
        let request = rest::build(operation, Method::DELETE, &url, Bytes::new())?;
        match revision {
            Some(revision) => rest::conditional(operation, request, revision.as_str()),
            None => Ok(request),
        }
    }

    fn url(&self, operation: &'static str, segments: &[&str]) -> Result<Url, DriverError> {
        let mut url = rest::below(&self.base, operation, segments)?;
        url.query_pairs_mut().append_pair("prettyPrint", "false");
        Ok(url)
    }
}

fn get(operation: &'static str, url: &Url) -> Result<Request<Bytes>, DriverError> {
    rest::build(operation, Method::GET, url, Bytes::new())
}

fn send_updates(notify: Notify) -> &'static str {
    match notify {
        Notify::None => "none",
        Notify::External => "externalOnly",
        Notify::All => "all",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api() -> Api {
        Api { base: Url::parse("https://www.googleapis.com/calendar/v3/").unwrap() }
    }

    #[test]
    fn ids_are_encoded_into_paths_and_tokens_into_queries() {
        let cursor = GoogleCursor::new(Some("a=b&c".to_owned()), Some("p 2".to_owned()));

        let request = api().list_events("x", "en.usa#holiday@group.v.calendar.google.com", &cursor).unwrap();

        let uri = request.uri().to_string();
        assert!(uri.contains("/calendars/en.usa%23holiday@group.v.calendar.google.com/events?"), "{uri}");
        assert!(uri.ends_with("&syncToken=a%3Db%26c&pageToken=p+2"), "{uri}");
        assert!(!uri.contains("showDeleted"), "{uri}");
    }

    #[test]
    fn an_id_that_would_leave_its_place_is_refused() {
        for id in ["", ".", ".."] {
            assert!(api().get_event("x", "ada@example.com", id).is_err(), "{id:?}");
        }
        let kept = api().get_event("x", "ada@example.com", "../../users").unwrap();
        assert!(kept.uri().path().ends_with("/events/..%2F..%2Fusers"), "{}", kept.uri());
    }
}
