//! The table from a refusal to its class and the sentence for people (RFC 4918 §16, RFC 6578 §3.2, reference
//! practice of servers). Nobody else looks at status codes.

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use chrono::DateTime;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

use super::multistatus::XmlError;
use super::wire::Element;
use crate::driver::{DriverError, Problem};

/// What is said of an answer that stops being XML: one object in it may be the cause.
pub(super) const MALFORMED: &str = "it is not well-formed XML";

/// No server is waited for longer than this without asking again.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// What was attempted: for programs, and as a verb for people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// "list changes".
    pub(crate) operation: &'static str,
    /// "list this calendar".
    pub(crate) action: &'static str,
}

/// A refusal: what was answered instead of what was asked for.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Its status.
    pub(super) status: StatusCode,
    /// Conditions named in its body.
    pub(super) conditions: Vec<Element>,
    /// The same for callers who do not care for the details.
    pub(super) error: DriverError,
}

/// The class and problem of a status that is no success.
pub(crate) fn of_status(
    attempt: Attempt,
    status: StatusCode,
    headers: &HeaderMap,
    now: Timestamp,
) -> DriverError {
    let retry_after = retry_after(headers, now);
    let (class, problem) = match status.as_u16() {
        401 => (FailureClass::Auth, Problem::WrongCredentials),
        429 => (FailureClass::Throttled { retry_after }, Problem::Throttled),
        403 | 503 if retry_after.is_some() => (FailureClass::Throttled { retry_after }, Problem::Throttled),
        403 => (FailureClass::Permanent, Problem::Forbidden { action: attempt.action.to_owned() }),
        404 | 410 => (FailureClass::Permanent, Problem::NotFound),
        408 => (FailureClass::Transient, Problem::ServerError { status: 408 }),
        409 | 412 => (FailureClass::Conflict, Problem::Refused { status: status.as_u16() }),
        // A server out of space, or one that cannot do this, will be so again in a second.
        501 | 505 | 507 => (FailureClass::Permanent, Problem::Refused { status: status.as_u16() }),
        500.. => (FailureClass::Transient, Problem::ServerError { status: status.as_u16() }),
        other => (FailureClass::Permanent, Problem::Refused { status: other }),
    };
    DriverError::new(attempt.operation, class, problem)
}

/// How long the server asks us to wait (RFC 9110 §10.2.3); `None` where it does not say.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        // An instant is one of the server's clock, which its `Date` shows (RFC 9110 §6.6.1).
        let date = headers.get(DATE).and_then(|date| http_date(date.to_str().ok()?));
        http_date(text)?.since(date.unwrap_or(now))
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

fn http_date(text: &str) -> Option<Timestamp> {
    Some(Timestamp::from_utc(DateTime::parse_from_rfc2822(text.trim()).ok()?.to_utc()))
}

/// Whether a refusal of a listing by token means that the token is dead.
pub(super) fn is_dead_token(refusal: &Refusal) -> bool {
    refusal.conditions.contains(&Element::ValidSyncToken) || matches!(refusal.status.as_u16(), 410 | 412)
}

/// Whether a refusal of a listing by token may mean that the token is dead, though it does not say so.
pub(super) fn may_be_dead_token(refusal: &Refusal) -> bool {
    matches!(refusal.status.as_u16(), 400 | 403 | 409 | 422 | 500)
}

/// The failure of an answer that could not be read. `status` is that of the answer: where it did not promise a
/// multistatus, there is no calendar.
pub(super) fn of_xml(attempt: Attempt, status: StatusCode, error: XmlError) -> DriverError {
    let (class, problem) = match &error {
        XmlError::Body(_) => {
            if let XmlError::Body(cause) = error {
                return *cause;
            }
            (FailureClass::Transient, Problem::Truncated)
        }
        XmlError::Truncated if status == StatusCode::MULTI_STATUS => {
            (FailureClass::Transient, Problem::Truncated)
        }
        XmlError::Html => (FailureClass::Transient, Problem::HtmlAnswer),
        XmlError::Hostile(reason) => {
            (FailureClass::Permanent, Problem::UnreadableAnswer { reason: (*reason).to_owned() })
        }
        _ if status != StatusCode::MULTI_STATUS => (FailureClass::Permanent, Problem::NotACalendar),
        XmlError::Truncated | XmlError::NotMultistatus => {
            (FailureClass::Transient, Problem::UnreadableAnswer { reason: "it is no list".to_owned() })
        }
        XmlError::Malformed(_) => {
            (FailureClass::Transient, Problem::UnreadableAnswer { reason: MALFORMED.to_owned() })
        }
    };
    DriverError::new(attempt.operation, class, problem).caused_by(error)
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    const LIST: Attempt = Attempt { operation: "list changes", action: "list this calendar" };

    fn of(status: u16, retry_after: Option<&'static str>) -> DriverError {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
        }
        let now = Timestamp(1_445_412_420_000); // 2015-10-21 07:27:00 UTC
        of_status(LIST, StatusCode::from_u16(status).unwrap(), &headers, now)
    }

    #[test]
    fn every_status_has_its_class() {
        assert_eq!(of(401, None).class, FailureClass::Auth);
        assert_eq!(of(403, None).class, FailureClass::Permanent);
        assert_eq!(of(404, None).problem, Problem::NotFound);
        assert_eq!(of(412, None).class, FailureClass::Conflict);
        assert_eq!(of(429, None).class, FailureClass::Throttled { retry_after: None });
        assert_eq!(of(500, None).class, FailureClass::Transient);
        assert_eq!(of(501, None).class, FailureClass::Permanent);
        assert_eq!(of(503, None).class, FailureClass::Transient);
        assert_eq!(of(405, None).problem, Problem::Refused { status: 405 });
    }

    #[test]
    fn the_waiting_time_is_read_in_both_forms_and_bounded() {
        let wait = |value| match of(503, Some(value)).class {
            FailureClass::Throttled { retry_after } => retry_after,
            other => panic!("{other:?}"),
        };

        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(wait("999999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(of(503, Some("soon")).class, FailureClass::Transient);
    }

    #[test]
    fn an_instant_is_meant_on_the_clock_of_whoever_names_it() {
        let now = Timestamp(1_445_412_420_000); // 2015-10-21 07:27:00 UTC
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("Wed, 21 Oct 2015 07:20:30 GMT"));
        assert_eq!(retry_after(&headers, now), Some(Duration::ZERO));

        headers.insert(DATE, HeaderValue::from_static("Wed, 21 Oct 2015 07:20:00 GMT"));
        assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(30)));

        headers.insert(DATE, HeaderValue::from_static("today"));
        assert_eq!(retry_after(&headers, now), Some(Duration::ZERO));
    }
}
