//! The table from Google's status and reason to a class and the sentence for people (Calendar API, "Handle API
//! errors"). Nobody else looks at status codes.

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use http::{HeaderMap, StatusCode};

use super::wire;
use crate::caldav::error::{self, Attempt, retry_after};
use crate::driver::{DriverError, Problem};

/// How long nothing is asked when a share for a day or for hours is used up and Google does not say how long.
const LONG_PAUSE: Duration = Duration::from_mins(15);

/// Reasons that are about the event itself, and what a person can do something about.
const EVENT_REFUSALS: [(&str, &str); 9] = [
    ("timeRangeEmpty", "it ends before it begins"),
    ("cannotUseDefaultRemindersAndSpecifyOverride", "it has default reminders and others at once"),
    (
        "participantIsNeitherOrganizerNorAttendee",
        "this calendar's owner is neither its organizer nor a guest",
    ),
    ("eventTypeRestriction", "an event of this type cannot be written in this way"),
    ("malformedCalendarId", "the address of the calendar is malformed"),
    ("invalidRecurrence", "its rule of repetition"),
    ("invalidAttendeeEmail", "the address of a guest"),
    ("attendeesLimitExceeded", "it has too many guests"),
    ("forbiddenForServiceAccounts", "a service account cannot invite guests"),
];

/// What was refused.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    names: Vec<String>,
    locations: Vec<String>,
    message: String,
}

impl Reasons {
    /// Reads the body of a refusal; nothing of one that is none of Google's.
    pub(super) fn of(body: &[u8]) -> Self {
        let refusal: wire::Refusal = serde_json::from_slice(body).unwrap_or_default();
        let wire::RefusalBody { message, errors, details } = refusal.error;
        let (mut names, mut locations) = (Vec::new(), Vec::new());
        for error in errors {
            names.push(error.reason);
            locations.push(error.location);
        }
        names.extend(details.into_iter().map(|detail| detail.reason));
        Self { names, locations, message }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|found| found == name)
    }

    fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }

    /// What about an event Google does not take, in words for people.
    fn about_the_event(&self) -> Option<&'static str> {
        let known = EVENT_REFUSALS.iter().find(|(name, _)| self.has(name));
        known.map(|(_, reason)| *reason)
    }

    /// Whether what is used up is all our accounts' share.
    fn is_about_project(&self) -> bool {
        self.has("dailyLimitExceeded")
    }

    /// Whether the refusal is about a sync or page token.
    fn blames_token(&self) -> bool {
        self.locations.iter().any(|location| matches!(location.as_str(), "syncToken" | "pageToken"))
            || self.message.to_ascii_lowercase().contains("token")
    }
}

/// The class and problem of a status that is no success.
pub(super) fn of_refusal(
    attempt: Attempt,
    status: StatusCode,
    headers: &HeaderMap,
    reasons: &Reasons,
    now: Timestamp,
) -> DriverError {
    let known = match status.as_u16() {
        400 | 401 if reasons.names.iter().any(|name| name.starts_with("push.webhookUrl")) => {
            Some((FailureClass::Permanent, Problem::CallbackRefused))
        }
        401 => Some((FailureClass::Auth, Problem::AccessRevoked)),
        403 => forbidden(attempt, reasons, retry_after(headers, now)),
        400 if reasons.has("pushNotSupportedForRequestedResource") => {
            let action = "tell when this calendar changes".to_owned();
            Some((FailureClass::Permanent, Problem::Unsupported { action }))
        }
        // The lost answer to a request that was repeated: the next attempt has another name.
        400 if reasons.has("channelIdNotUnique") => {
            Some((FailureClass::Transient, Problem::ServerError { status: 400 }))
        }
        409 | 412 => Some((FailureClass::Conflict, Problem::ChangedMeanwhile)),
        // What is never sent on its own: the sequence of a payload that is not the newest.
        400 if reasons.message.contains("Invalid sequence") => {
            Some((FailureClass::Conflict, Problem::ChangedMeanwhile))
        }
        400 => reasons.about_the_event().map(|reason| (FailureClass::Permanent, refused_event(reason))),
        410 if reasons.has_any(&["fullSyncRequired", "updatedMinTooLongAgo"]) => {
            Some((FailureClass::Gone, Problem::CursorExpired))
        }
        _ => None,
    };
    match known {
        Some((class, problem)) => {
            let error = DriverError::new(attempt.operation, class, problem);
            if reasons.is_about_project() { error.of_project() } else { error }
        }
        None => error::of_status(attempt, status, headers, now),
    }
}

/// The same for a request that carried a sync or page token.
pub(super) fn of_listing(
    attempt: Attempt,
    status: StatusCode,
    headers: &HeaderMap,
    reasons: &Reasons,
    now: Timestamp,
) -> DriverError {
    let is_dead = status == StatusCode::GONE || (status == StatusCode::BAD_REQUEST && reasons.blames_token());
    if is_dead {
        return DriverError::new(attempt.operation, FailureClass::Gone, Problem::CursorExpired);
    }
    of_refusal(attempt, status, headers, reasons, now)
}

fn forbidden(
    attempt: Attempt,
    reasons: &Reasons,
    retry_after: Option<Duration>,
) -> Option<(FailureClass, Problem)> {
    if reasons.has_any(&["rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"]) {
        return Some((FailureClass::Throttled { retry_after }, Problem::Throttled));
    }
    if reasons.has_any(&["quotaExceeded", "dailyLimitExceeded"]) {
        let retry_after = retry_after.or(Some(LONG_PAUSE));
        return Some((FailureClass::Throttled { retry_after }, Problem::QuotaUsedUp));
    }
    if reasons.has_any(&["insufficientPermissions", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"]) {
        return Some((FailureClass::Auth, Problem::MissingScope));
    }
    if reasons.has_any(&["accessNotConfigured", "SERVICE_DISABLED"]) {
        return Some((FailureClass::Permanent, Problem::ApiNotEnabled));
    }
    if reasons.has("domainPolicy") {
        return Some((FailureClass::Permanent, Problem::BlockedByAdministrator));
    }
    if reasons.has_any(&["forbiddenForNonOrganizer", "cannotChangeOrganizer"]) {
        return Some((FailureClass::Permanent, Problem::NotOrganizer));
    }
    if reasons.has_any(&["requiredAccessLevel", "calendarReadOnly", "readonly"]) {
        return Some((FailureClass::Permanent, Problem::ReadOnlyCalendar));
    }
    if let Some(reason) = reasons.about_the_event() {
        return Some((FailureClass::Permanent, refused_event(reason)));
    }
    // A Retry-After beside any other reason changes nothing.
    let is_named = reasons.names.iter().any(|name| !name.is_empty());
    is_named.then(|| (FailureClass::Permanent, Problem::Forbidden { action: attempt.action.to_owned() }))
}

fn refused_event(reason: &str) -> Problem {
    Problem::EventRefused { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderValue, RETRY_AFTER};

    use super::*;

    const LIST: Attempt = Attempt { operation: "list changes", action: "list this calendar" };

    fn body(reason: &str, location: &str, message: &str) -> Reasons {
        let text = format!(
            r#"{{"error":{{"code":1,"message":"{message}","errors":[{{"domain":"x","reason":"{reason}","message":"m","locationType":"parameter","location":"{location}"}}]}}}}"#
        );
        Reasons::of(text.as_bytes())
    }

    fn of(status: u16, reason: &str) -> DriverError {
        let status = StatusCode::from_u16(status).unwrap();
        of_refusal(LIST, status, &HeaderMap::new(), &body(reason, "", "m"), Timestamp(0))
    }

    #[test]
    fn every_reason_has_its_class_and_words() {
        let throttled = |retry_after| FailureClass::Throttled { retry_after };

        for (status, reason, class, code) in [
            (401, "authError", FailureClass::Auth, "access_revoked"),
            (403, "userRateLimitExceeded", throttled(None), "throttled"),
            (403, "rateLimitExceeded", throttled(None), "throttled"),
            (403, "quotaExceeded", throttled(Some(LONG_PAUSE)), "quota_used_up"),
            (403, "dailyLimitExceeded", throttled(Some(LONG_PAUSE)), "quota_used_up"),
            (403, "insufficientPermissions", FailureClass::Auth, "missing_scope"),
            (403, "accessNotConfigured", FailureClass::Permanent, "api_not_enabled"),
            (403, "domainPolicy", FailureClass::Permanent, "blocked_by_administrator"),
            (403, "forbiddenForNonOrganizer", FailureClass::Permanent, "not_organizer"),
            (403, "requiredAccessLevel", FailureClass::Permanent, "read_only_calendar"),
            (403, "forbiddenForServiceAccounts", FailureClass::Permanent, "event_refused"),
            (400, "timeRangeEmpty", FailureClass::Permanent, "event_refused"),
            (403, "", FailureClass::Permanent, "forbidden"),
            (404, "notFound", FailureClass::Permanent, "not_found"),
            (409, "duplicate", FailureClass::Conflict, "changed_meanwhile"),
            (410, "fullSyncRequired", FailureClass::Gone, "cursor_expired"),
            (410, "deleted", FailureClass::Permanent, "not_found"),
            (412, "conditionNotMet", FailureClass::Conflict, "changed_meanwhile"),
            (429, "rateLimitExceeded", throttled(None), "throttled"),
            (400, "invalid", FailureClass::Permanent, "refused"),
            (400, "channelIdNotUnique", FailureClass::Transient, "server_error"),
            (400, "push.webhookUrlNotHttps", FailureClass::Permanent, "callback_refused"),
            (503, "backendError", FailureClass::Transient, "server_error"),
        ] {
            let error = of(status, reason);
            assert_eq!((error.class, error.problem.code()), (class, code), "{status} {reason}");
        }
    }

    #[test]
    fn the_newer_form_of_a_missing_scope_is_known() {
        let body = br#"{"error":{"code":403,"message":"Request had insufficient authentication scopes.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT","domain":"googleapis.com"}]}}"#;

        let error =
            of_refusal(LIST, StatusCode::FORBIDDEN, &HeaderMap::new(), &Reasons::of(body), Timestamp(0));

        assert_eq!(error.problem, Problem::MissingScope);
    }

    #[test]
    fn waiting_times_are_kept_and_a_plain_refusal_has_none() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        let class = |reason| {
            of_refusal(LIST, StatusCode::FORBIDDEN, &headers, &body(reason, "", "m"), Timestamp(0)).class
        };

        let wait = FailureClass::Throttled { retry_after: Some(Duration::from_secs(7)) };
        assert_eq!(class("rateLimitExceeded"), wait);
        assert_eq!(class("quotaExceeded"), wait);
        assert_eq!(class("forbidden"), FailureClass::Permanent);
    }

    #[test]
    fn a_dead_token_is_gone_in_either_form_and_other_bad_requests_are_not() {
        let of = |status, reasons: &Reasons| {
            of_listing(LIST, status, &HeaderMap::new(), reasons, Timestamp(0)).class
        };

        assert_eq!(of(StatusCode::GONE, &Reasons::default()), FailureClass::Gone);
        assert_eq!(of(StatusCode::BAD_REQUEST, &body("invalid", "syncToken", "m")), FailureClass::Gone);
        assert_eq!(
            of(StatusCode::BAD_REQUEST, &body("invalid", "", "Invalid sync token value.")),
            FailureClass::Gone
        );
        assert_eq!(of(StatusCode::BAD_REQUEST, &body("invalid", "timeMin", "m")), FailureClass::Permanent);
    }
}
