//! Refusals in Graph's shape: `{"error": {"code", "message", "innerError": {…}}}`.

use http::StatusCode;
use http::header::{LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::json;

use crate::answer::Answer;

/// Content type of all JSON answers.
pub(crate) const JSON: &str =
    "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8";

/// Seconds that a throttled client is asked to stay away.
const THROTTLED_S: u32 = 10;

/// One refusal.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    code: String,
    message: String,
    retry_after_s: Option<u32>,
    location: Option<Box<str>>,
    /// A field of the error object besides code and message.
    detail: Option<Box<(&'static str, String)>>,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, message: &str) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.to_owned(),
            retry_after_s: None,
            location: None,
            detail: None,
        }
    }

    /// Asks the client to stay away for so many seconds.
    pub(crate) fn wait(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub(crate) fn invalid(message: &str) -> Self {
        Self::new(400, "ErrorInvalidRequest", message)
    }

    pub(crate) fn bad_request(message: &str) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn property(message: &str) -> Self {
        Self::new(400, "ErrorPropertyValidationFailure", message)
    }

    pub(crate) fn unreadable() -> Self {
        Self::new(400, "RequestBodyRead", "Unable to read the request body as a JSON object.")
    }

    pub(crate) fn recurrence(message: &str) -> Self {
        Self::new(400, "ErrorInvalidRecurrence", message)
    }

    pub(crate) fn zone(name: &str) -> Self {
        let message = format!(
            "A valid TimeZone value must be specified. The following TimeZone value is not supported: '{name}'."
        );
        Self::new(400, "TimeZoneNotSupportedException", &message)
    }

    pub(crate) fn malformed_id() -> Self {
        Self::new(400, "ErrorInvalidIdMalformed", "Id is malformed.")
    }

    pub(crate) fn crossing() -> Self {
        Self::new(
            400,
            "ErrorOccurrenceCrossingBoundary",
            "Modified occurrence is crossing or overlapping adjacent occurrence.",
        )
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired.")
    }

    pub(crate) fn no_token() -> Self {
        Self::new(401, "InvalidAuthenticationToken", "Access token is empty.")
    }

    pub(crate) fn access_denied() -> Self {
        Self::new(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
    }

    pub(crate) fn privileges() -> Self {
        Self::new(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
    }

    pub(crate) fn item_not_found() -> Self {
        Self::new(404, "ErrorItemNotFound", "The specified object was not found in the store.")
    }

    pub(crate) fn resource_not_found() -> Self {
        Self::new(404, "ResourceNotFound", "Resource could not be discovered.")
    }

    pub(crate) fn no_mailbox() -> Self {
        Self::new(
            404,
            "MailboxNotEnabledForRESTAPI",
            "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
        )
    }

    pub(crate) fn conflict(status: u16) -> Self {
        Self::new(
            status,
            "ErrorIrresolvableConflict",
            "The send or update operation could not be performed because the change key passed in the request does not match the current change key for the item.",
        )
    }

    pub(crate) fn duplicate_transaction(existing: &str) -> Self {
        let message = "The client provided transaction ID has already been used to create a different event.";
        let detail = Some(Box::new(("@event.existingEventId", existing.to_owned())));
        Self { detail, ..Self::new(409, "ErrorDuplicateTransactionId", message) }
    }

    pub(crate) fn sync_state_not_found() -> Self {
        Self::new(
            410,
            "syncStateNotFound",
            "The sync state generation is not found; a full sync is required.",
        )
    }

    /// The link is dead; the address starts over.
    pub(crate) fn resync_required(location: String) -> Self {
        let error = Self::new(410, "resyncRequired", "Resync required. The delta token is no longer valid.");
        Self { location: Some(location.into()), ..error }
    }

    pub(crate) fn crowded() -> Self {
        let message = "Application is over its MailboxConcurrency limit.";
        Self::new(429, "ApplicationThrottled", message).wait(THROTTLED_S)
    }

    pub(crate) fn too_many() -> Self {
        Self::new(429, "TooManyRequests", "Too many requests.").wait(THROTTLED_S)
    }

    /// What a made-up failure of that status and reason looks like.
    pub(crate) fn made(status: u16, reason: Option<&str>) -> Self {
        let known = match status {
            400 => Self::invalid("The request is invalid."),
            401 => Self::unauthorized(),
            403 => Self::access_denied(),
            404 => Self::item_not_found(),
            409 | 412 => Self::conflict(status),
            410 => Self::sync_state_not_found(),
            429 => Self { retry_after_s: None, ..Self::too_many() },
            503 => Self::new(
                503,
                "ErrorMailboxStoreUnavailable",
                "The mailbox database is temporarily unavailable.",
            ),
            504 => Self::new(504, "UnknownError", "The gateway waited too long."),
            _ => Self::new(status, "ErrorInternalServerError", "An internal server error occurred."),
        };
        match reason {
            Some(code) => Self { code: code.to_owned(), ..known },
            None => known,
        }
    }

    pub(crate) fn answer(&self) -> Answer {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(fields) = error.as_object_mut() {
            if let Some((name, value)) = self.detail.as_deref() {
                fields.insert((*name).to_owned(), value.as_str().into());
            }
            fields.insert(
                "innerError".to_owned(),
                json!({ "request-id": REQUEST_ID, "client-request-id": REQUEST_ID }),
            );
        }
        let mut answer = Answer::status(status).with_body(JSON, json!({ "error": error }).to_string());
        if self.status == 401 {
            answer = answer.header(WWW_AUTHENTICATE, "Bearer realm=\"\", error=\"invalid_token\"");
        }
        if let Some(seconds) = self.retry_after_s {
            answer = answer.header(RETRY_AFTER, &seconds.to_string());
        }
        match &self.location {
            Some(location) => answer.header(LOCATION, location),
            None => answer,
        }
    }
}

/// The request id of every answer; nobody branches on it.
pub(crate) const REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";
