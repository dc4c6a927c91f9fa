//! Builds requests: method, depth and body, nothing about where credentials come from.

use bytes::Bytes;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::Revision;
use chrono::{DateTime, Utc};
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use http::{Method, Request};
use url::Url;

use crate::driver::{DriverError, Problem};

/// How far a PROPFIND looks. Never left out: its absence means "everything below".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The resource.
    Zero,
    /// It and what is in it.
    One,
}

/// Sets of properties that are asked for together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Who we are and what this place is.
    Identity,
    /// Where the principal's calendars are.
    Homes,
    /// Which calendar the inbox files invitations into.
    DefaultCalendar,
    /// Everything about calendars.
    Calendars,
    /// What tells whether anything in a collection has changed.
    Tags,
    /// Names and entity tags of members.
    Members,
}

impl Wanted {
    fn properties(self) -> &'static str {
        match self {
            Self::Identity => "<D:current-user-principal/><D:resourcetype/><C:calendar-home-set/>",
            Self::Homes => {
                "<C:calendar-home-set/><D:displayname/><D:resourcetype/><C:schedule-inbox-URL/><D:current-user-principal/>"
            }
            Self::DefaultCalendar => "<C:schedule-default-calendar-URL/>",
            Self::Calendars => {
                "<D:resourcetype/><D:displayname/><D:current-user-privilege-set/><D:sync-token/><D:supported-report-set/><CS:getctag/><A:calendar-color/><A:calendar-order/><C:calendar-description/><C:calendar-timezone/><C:supported-calendar-component-set/>"
            }
            Self::Tags => "<CS:getctag/><D:sync-token/><D:resourcetype/>",
            Self::Members => "<D:resourcetype/><D:getcontenttype/><D:getetag/>",
        }
    }
}

const NAMESPACES: &str = r#"xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:CS="http://calendarserver.org/ns/" xmlns:A="http://apple.com/ns/ical/""#;
const PROLOGUE: &str = r#"<?xml version="1.0" encoding="utf-8"?>"#;

/// A PROPFIND (RFC 4918 §9.1).
pub(super) fn propfind(
    operation: &'static str,
    url: &Url,
    depth: Depth,
    wanted: Wanted,
) -> Result<Request<Bytes>, DriverError> {
    let body =
        format!("{PROLOGUE}<D:propfind {NAMESPACES}><D:prop>{}</D:prop></D:propfind>", wanted.properties());
    build(operation, "PROPFIND", url, depth, body)
}

/// A `sync-collection` REPORT (RFC 6578 §3.2); an empty token asks for everything.
///
/// No limit is sent: several servers cut the answer at it and still give the newest token.
pub(super) fn sync_collection(
    operation: &'static str,
    url: &Url,
    token: &str,
) -> Result<Request<Bytes>, DriverError> {
    let body = format!(
        r#"{PROLOGUE}<D:sync-collection xmlns:D="DAV:"><D:sync-token>{}</D:sync-token><D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop></D:sync-collection>"#,
        escape(token)
    );
    build(operation, "REPORT", url, Depth::Zero, body)
}

/// A `calendar-query` REPORT (RFC 4791 §7.8): names of the events that touch `[from, until)`.
pub(super) fn events_within(
    operation: &'static str,
    url: &Url,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Request<Bytes>, DriverError> {
    let stamp = |instant: DateTime<Utc>| instant.format("%Y%m%dT%H%M%SZ").to_string();
    let body = format!(
        r#"{PROLOGUE}<C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop><D:getetag/></D:prop><C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT"><C:time-range start="{}" end="{}"/></C:comp-filter></C:comp-filter></C:filter></C:calendar-query>"#,
        stamp(from),
        stamp(until)
    );
    build(operation, "REPORT", url, Depth::One, body)
}

/// A `calendar-multiget` REPORT (RFC 4791 §7.9).
pub(super) fn multiget<'a>(
    operation: &'static str,
    url: &Url,
    hrefs: impl Iterator<Item = &'a str>,
) -> Result<Request<Bytes>, DriverError> {
    let mut body = format!(
        r#"{PROLOGUE}<C:calendar-multiget xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop><D:getetag/><C:calendar-data/></D:prop>"#
    );
    for href in hrefs {
        body.push_str("<D:href>");
        body.push_str(&escape(href));
        body.push_str("</D:href>");
    }
    body.push_str("</C:calendar-multiget>");
    build(operation, "REPORT", url, Depth::One, body)
}

/// A GET of one object, uncompressed: compressing proxies alter entity tags.
pub(super) fn get(operation: &'static str, url: &Url) -> Result<Request<Bytes>, DriverError> {
    let mut request = bare(operation, Method::GET, url)?;
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(request)
}

/// What has to hold for a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Precondition {
    /// There is nothing there.
    Absent,
    /// It has this entity tag.
    Is(Revision),
    /// Nothing that the server could look at: it gives no entity tags, and the object was compared by reading it.
    Compared,
}

/// A PUT of one object. Never `If-Match: *`: several servers take it literally, or the other way round.
pub(super) fn put(
    operation: &'static str,
    url: &Url,
    text: &str,
    precondition: &Precondition,
) -> Result<Request<Bytes>, DriverError> {
    let mut request = conditional(operation, Method::PUT, url, precondition)?;
    let kind = HeaderValue::from_static("text/calendar; charset=utf-8");
    request.headers_mut().insert(CONTENT_TYPE, kind);
    *request.body_mut() = Bytes::copy_from_slice(text.as_bytes());
    Ok(request)
}

/// A DELETE of one object.
pub(super) fn delete(
    operation: &'static str,
    url: &Url,
    precondition: &Precondition,
) -> Result<Request<Bytes>, DriverError> {
    conditional(operation, Method::DELETE, url, precondition)
}

fn conditional(
    operation: &'static str,
    method: Method,
    url: &Url,
    precondition: &Precondition,
) -> Result<Request<Bytes>, DriverError> {
    let mut request = bare(operation, method, url)?;
    match precondition {
        Precondition::Absent => {
            request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        Precondition::Is(revision) => {
            let tag = HeaderValue::from_str(revision.as_str()).map_err(|error| invalid(operation, error))?;
            request.headers_mut().insert(IF_MATCH, tag);
        }
        Precondition::Compared => {}
    }
    Ok(request)
}

/// OPTIONS, for the `DAV` header (RFC 4918 §10.1).
pub(super) fn options(operation: &'static str, url: &Url) -> Result<Request<Bytes>, DriverError> {
    bare(operation, Method::OPTIONS, url)
}

fn build(
    operation: &'static str,
    method: &'static str,
    url: &Url,
    depth: Depth,
    body: String,
) -> Result<Request<Bytes>, DriverError> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|error| invalid(operation, error))?;
    let mut request = bare(operation, method, url)?;
    let depth = match depth {
        Depth::Zero => "0",
        Depth::One => "1",
    };
    request.headers_mut().insert("depth", HeaderValue::from_static(depth));
    let xml = HeaderValue::from_static("application/xml; charset=utf-8");
    request.headers_mut().insert(CONTENT_TYPE, xml);
    *request.body_mut() = Bytes::from(body);
    Ok(request)
}

fn bare(operation: &'static str, method: Method, url: &Url) -> Result<Request<Bytes>, DriverError> {
    Request::builder()
        .method(method)
        .uri(url.as_str())
        .body(Bytes::new())
        .map_err(|error| invalid(operation, error))
}

fn invalid(
    operation: &'static str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> DriverError {
    let problem = Problem::InvalidUrl { reason: "it contains characters that no address has".to_owned() };
    DriverError::new(operation, FailureClass::Permanent, problem).caused_by(error)
}

fn escape(text: &str) -> std::borrow::Cow<'_, str> {
    quick_xml::escape::escape(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_and_hrefs_are_escaped_and_no_limit_is_sent() {
        let url = Url::parse("https://dav.example.com/cal/").unwrap();

        let sync = sync_collection("test", &url, "a&b<c").unwrap();
        let read = multiget("test", &url, ["/cal/a&b.ics"].into_iter()).unwrap();

        let text = String::from_utf8(sync.body().to_vec()).unwrap();
        assert!(
            text.contains("<D:sync-token>a&amp;b&lt;c</D:sync-token>") && !text.contains("limit"),
            "{text}"
        );
        assert_eq!(sync.headers().get("depth").unwrap(), "0");
        assert!(String::from_utf8_lossy(read.body()).contains("<D:href>/cal/a&amp;b.ics</D:href>"));
    }
}
