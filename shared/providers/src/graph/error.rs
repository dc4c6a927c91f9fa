//! The table from Graph's status and code to a class and the sentence for people (Graph, "Error responses";
//! "Throttling limits"; "Delta query overview"). Nobody else looks at status codes. Messages are never looked at.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use http::{HeaderMap, StatusCode};

use super::wire;
use crate::caldav::error::{self, Attempt, retry_after};
use crate::driver::{DriverError, Problem};

/// Deepest code of a refusal that is looked at.
const MOST_CODES: usize = 8;

/// The codes of a refusal, the outermost first; compared in letters of any case.
#[derive(Debug, Default)]
pub(super) struct Codes {
    codes: Vec<String>,
    /// The event that was made under a transaction id before.
    existing: Option<String>,
}

impl Codes {
    /// Reads the body of a refusal; nothing of one that is none of Graph's.
    pub(super) fn of(body: &[u8]) -> Self {
        let refusal: wire::Refusal = serde_json::from_slice(body).unwrap_or_default();
        let mut codes = Vec::new();
        let mut at = Some(&refusal.error);
        while let Some(body) = at.filter(|_| codes.len() < MOST_CODES) {
            codes.push(body.code.to_ascii_lowercase());
            at = body.inner_error.as_deref();
        }
        Self { codes, existing: refusal.error.existing.filter(|id| !id.is_empty()) }
    }

    /// Whether an event was made under this transaction id before.
    pub(super) fn is_duplicate(&self) -> bool {
        self.has_any(&["ErrorDuplicateTransactionId"])
    }

    /// The id of that event, where the answer says it.
    pub(super) fn existing(&self) -> Option<&str> {
        self.existing.as_deref()
    }

    fn has_any(&self, names: &[&str]) -> bool {
        self.codes.iter().any(|code| names.iter().any(|name| name.eq_ignore_ascii_case(code)))
    }
}

/// The account has no mailbox that Graph can look into.
const NO_MAILBOX: [&str; 4] = [
    "MailboxNotEnabledForRESTAPI",
    "MailboxNotSupportedForRESTAPI",
    "MailboxNotHostedInExchangeOnline",
    "ErrorNonExistentMailbox",
];
/// More at once, or in a while, than one mailbox may be asked; comes with 429 and with others.
const THROTTLED: [&str; 5] = [
    "ApplicationThrottled",
    "TooManyRequests",
    "ErrorExceededConnectionCount",
    "ErrorServerBusy",
    "activityLimitReached",
];
/// A delta link that is over.
const DEAD_LINK: [&str; 5] = [
    "syncStateNotFound",
    "SyncStateInvalid",
    "resyncRequired",
    "ErrorInvalidSyncStateData",
    "fullSyncRequired",
];

/// The class and problem of a status that is no success.
pub(super) fn of_refusal(
    attempt: Attempt,
    status: StatusCode,
    headers: &HeaderMap,
    codes: &Codes,
    now: Timestamp,
) -> DriverError {
    let retry_after = retry_after(headers, now);
    let known = match status.as_u16() {
        _ if codes.has_any(&NO_MAILBOX) => Some((FailureClass::Permanent, Problem::NoMailbox)),
        _ if codes.has_any(&THROTTLED) => Some((FailureClass::Throttled { retry_after }, Problem::Throttled)),
        401 => Some((FailureClass::Auth, Problem::AccessRevoked)),
        403 if codes.has_any(&["Authorization_RequestDenied"]) => {
            Some((FailureClass::Auth, Problem::MissingScope))
        }
        403 if codes.has_any(&["AccessRestricted"]) => {
            Some((FailureClass::Permanent, Problem::BlockedByAdministrator))
        }
        403 if codes.has_any(&["ErrorAccessDenied", "ErrorQuotaExceeded"]) => {
            Some((FailureClass::Permanent, Problem::Forbidden { action: attempt.action.to_owned() }))
        }
        400 if codes.has_any(&["ErrorOccurrenceCrossingBoundary"]) => {
            let action = "move an instance to or past the day of its neighbour".to_owned();
            Some((FailureClass::Permanent, Problem::Unsupported { action }))
        }
        410 if codes.has_any(&DEAD_LINK) => Some((FailureClass::Gone, Problem::CursorExpired)),
        // A part of a batch whose turn never came.
        424 => Some((FailureClass::Transient, Problem::ServerError { status: 424 })),
        504 | 509 if retry_after.is_some() => {
            Some((FailureClass::Throttled { retry_after }, Problem::Throttled))
        }
        _ => None,
    };
    match known {
        Some((class, problem)) => DriverError::new(attempt.operation, class, problem),
        None => error::of_status(attempt, status, headers, now),
    }
}

/// The same for a request that followed a link. Graph says in several ways that it no longer knows one; a link that
/// it calls a bad request is of no more use, and a listing from the beginning tells whether anything else is.
pub(super) fn of_listing(
    attempt: Attempt,
    status: StatusCode,
    headers: &HeaderMap,
    codes: &Codes,
    now: Timestamp,
) -> DriverError {
    let is_dead = matches!(status, StatusCode::GONE | StatusCode::BAD_REQUEST)
        || (status.is_client_error() && codes.has_any(&DEAD_LINK));
    if is_dead && !codes.has_any(&NO_MAILBOX) && !codes.has_any(&THROTTLED) {
        return DriverError::new(attempt.operation, FailureClass::Gone, Problem::CursorExpired);
    }
    of_refusal(attempt, status, headers, codes, now)
}

/// The same for a subscription.
pub(super) fn of_watch(
    attempt: Attempt,
    status: StatusCode,
    headers: &HeaderMap,
    codes: &Codes,
    now: Timestamp,
) -> DriverError {
    let known = match status.as_u16() {
        // Graph asked our address for an answer and did not get it.
        400 if codes.has_any(&["ValidationError"]) => Some(Problem::CallbackRefused),
        // Somebody else's calendar: a person's token subscribes to that person's mailbox only.
        400 | 403 if !codes.has_any(&NO_MAILBOX) && !codes.has_any(&THROTTLED) => {
            Some(Problem::Unsupported { action: "tell when this calendar changes".to_owned() })
        }
        _ => None,
    };
    match known {
        Some(problem) => DriverError::new(attempt.operation, FailureClass::Permanent, problem),
        None => of_refusal(attempt, status, headers, codes, now),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::{HeaderValue, RETRY_AFTER};

    use super::*;

    const LIST: Attempt = Attempt { operation: "list changes", action: "list this calendar" };

    fn codes(code: &str) -> Codes {
        let text =
            format!(r#"{{"error":{{"code":"{code}","message":"m","innerError":{{"request-id":"r"}}}}}}"#);
        Codes::of(text.as_bytes())
    }

    fn waiting(seconds: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(seconds))])
    }

    fn of(status: u16, code: &str) -> (FailureClass, &'static str) {
        let status = StatusCode::from_u16(status).unwrap();
        let error = of_refusal(LIST, status, &HeaderMap::new(), &codes(code), Timestamp(0));
        (error.class, error.problem.code())
    }

    #[test]
    fn every_code_has_its_class_and_words() {
        let throttled = FailureClass::Throttled { retry_after: None };

        for (status, code, class, problem) in [
            (400, "ErrorInvalidIdMalformed", FailureClass::Permanent, "refused"),
            (400, "ErrorPropertyValidationFailure", FailureClass::Permanent, "refused"),
            (400, "ErrorOccurrenceCrossingBoundary", FailureClass::Permanent, "unsupported"),
            (401, "InvalidAuthenticationToken", FailureClass::Auth, "access_revoked"),
            (403, "ErrorAccessDenied", FailureClass::Permanent, "forbidden"),
            (403, "Authorization_RequestDenied", FailureClass::Auth, "missing_scope"),
            (403, "AccessRestricted", FailureClass::Permanent, "blocked_by_administrator"),
            (404, "ErrorItemNotFound", FailureClass::Permanent, "not_found"),
            (404, "MailboxNotEnabledForRESTAPI", FailureClass::Permanent, "no_mailbox"),
            (401, "mailboxnotenabledforrestapi", FailureClass::Permanent, "no_mailbox"),
            (409, "ErrorIrresolvableConflict", FailureClass::Conflict, "refused"),
            (410, "syncStateNotFound", FailureClass::Gone, "cursor_expired"),
            (412, "ErrorIrresolvableConflict", FailureClass::Conflict, "refused"),
            (413, "", FailureClass::Permanent, "refused"),
            (424, "FailedDependency", FailureClass::Transient, "server_error"),
            (429, "ApplicationThrottled", throttled, "throttled"),
            (429, "", throttled, "throttled"),
            (503, "ErrorServerBusy", throttled, "throttled"),
            (500, "ErrorInternalServerError", FailureClass::Transient, "server_error"),
            (503, "ErrorMailboxStoreUnavailable", FailureClass::Transient, "server_error"),
            (507, "", FailureClass::Permanent, "refused"),
        ] {
            assert_eq!(of(status, code), (class, problem), "{status} {code}");
        }
    }

    #[test]
    fn an_inner_code_counts_as_well_and_nonsense_says_nothing() {
        let inner = br#"{"error":{"code":"ErrorAccessDenied","innererror":{"code":"MailboxNotSupportedForRESTAPI"}}}"#;

        assert!(Codes::of(inner).has_any(&NO_MAILBOX));
        assert!(!Codes::of(b"<html>").has_any(&NO_MAILBOX));
        assert!(!Codes::of(br#"{"error":"invalid_grant"}"#).has_any(&NO_MAILBOX));
    }

    #[test]
    fn a_transaction_id_that_was_used_before_says_for_what() {
        let named = br#"{"error":{"code":"errorDuplicateTransactionId","@event.existingEventId":"AAMk1"}}"#;

        assert!(Codes::of(named).is_duplicate());
        assert_eq!(Codes::of(named).existing(), Some("AAMk1"));
        assert_eq!(codes("ErrorDuplicateTransactionId").existing(), None);
        assert!(!codes("ErrorIrresolvableConflict").is_duplicate());
    }

    #[test]
    fn waiting_times_are_kept_and_a_plain_refusal_has_none() {
        let class = |status, code| of_refusal(LIST, status, &waiting("7"), &codes(code), Timestamp(0)).class;

        let wait = FailureClass::Throttled { retry_after: Some(Duration::from_secs(7)) };
        assert_eq!(class(StatusCode::TOO_MANY_REQUESTS, "ApplicationThrottled"), wait);
        assert_eq!(class(StatusCode::SERVICE_UNAVAILABLE, ""), wait);
        assert_eq!(class(StatusCode::GATEWAY_TIMEOUT, ""), wait);
        assert_eq!(class(StatusCode::FORBIDDEN, "ErrorAccessDenied"), FailureClass::Permanent);
    }

    #[test]
    fn a_dead_link_is_gone_in_every_form_and_other_refusals_are_not() {
        let of = |status: u16, code: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            of_listing(LIST, status, &HeaderMap::new(), &codes(code), Timestamp(0)).class
        };

        for (status, code) in [
            (410, ""),
            (410, "resyncRequired"),
            (400, "syncStateNotFound"),
            (404, "SyncStateNotFound"),
            (400, "ErrorInvalidUrlQuery"),
        ] {
            assert_eq!(of(status, code), FailureClass::Gone, "{status} {code}");
        }
        assert_eq!(of(404, "ErrorItemNotFound"), FailureClass::Permanent);
        assert_eq!(of(401, "InvalidAuthenticationToken"), FailureClass::Auth);
        assert_eq!(of(500, "syncStateNotFound"), FailureClass::Transient);
    }

    #[test]
    fn a_refused_subscription_says_who_can_do_something() {
        let of = |status: u16, code: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            of_watch(LIST, status, &HeaderMap::new(), &codes(code), Timestamp(0)).problem.code()
        };

        assert_eq!(of(400, "ValidationError"), "callback_refused");
        assert_eq!(of(403, "ErrorAccessDenied"), "unsupported");
        assert_eq!(of(404, "ResourceNotFound"), "not_found");
        assert_eq!(of(429, "TooManyRequests"), "throttled");
    }
}
