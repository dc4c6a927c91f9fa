//! Refusals in Google's shape: `{"error": {"code", "message", "errors": [{"domain", "reason", …}]}}`.

use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};

use super::fields::set;
use crate::answer::Answer;

/// Content type of all JSON answers.
pub(crate) const JSON: &str = "application/json; charset=UTF-8";

/// One refusal.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    code: u16,
    domain: &'static str,
    reason: String,
    message: String,
    /// Kind (`parameter` or `header`) and name of what is at fault.
    location: Option<(&'static str, String)>,
}

impl ApiError {
    pub(crate) fn new(code: u16, domain: &'static str, reason: &str, message: &str) -> Self {
        Self { code, domain, reason: reason.to_owned(), message: message.to_owned(), location: None }
    }

    fn at(mut self, kind: &'static str, name: &str) -> Self {
        self.location = Some((kind, name.to_owned()));
        self
    }

    pub(crate) fn invalid(message: &str) -> Self {
        Self::new(400, "global", "invalid", message)
    }

    pub(crate) fn invalid_parameter(name: &str, message: &str) -> Self {
        Self::new(400, "global", "invalidParameter", message).at("parameter", name)
    }

    pub(crate) fn required(message: &str) -> Self {
        Self::new(400, "global", "required", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "global", "authError", "Invalid Credentials").at("header", "Authorization")
    }

    pub(crate) fn login_required() -> Self {
        Self::new(401, "global", "required", "Login Required.").at("header", "Authorization")
    }

    pub(crate) fn scope_insufficient() -> Self {
        Self::new(403, "global", "insufficientPermissions", "Request had insufficient authentication scopes.")
    }

    pub(crate) fn access_level() -> Self {
        Self::new(403, "calendar", "requiredAccessLevel", "You need to have writer access to this calendar.")
    }

    pub(crate) fn forbidden(message: &str) -> Self {
        Self::new(403, "global", "forbidden", message)
    }

    pub(crate) fn not_organizer() -> Self {
        Self::new(
            403,
            "calendar",
            "forbiddenForNonOrganizer",
            "Shared properties can only be changed by the organizer of the event.",
        )
    }

    pub(crate) fn rate_limit(code: u16, reason: &str) -> Self {
        let message = match reason {
            "quotaExceeded" => "Calendar usage limits exceeded.",
            "userRateLimitExceeded" => "User Rate Limit Exceeded",
            _ => "Rate Limit Exceeded",
        };
        Self::new(code, "usageLimits", reason, message)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, "global", "notFound", "Not Found")
    }

    pub(crate) fn duplicate() -> Self {
        Self::new(409, "global", "duplicate", "The requested identifier already exists.")
    }

    pub(crate) fn deleted() -> Self {
        Self::new(410, "global", "deleted", "Resource has been deleted")
    }

    pub(crate) fn full_sync_required() -> Self {
        Self::new(
            410,
            "calendar",
            "fullSyncRequired",
            "Sync token is no longer valid, a full sync is required.",
        )
        .at("parameter", "syncToken")
    }

    pub(crate) fn updated_min_too_long_ago() -> Self {
        Self::new(
            410,
            "calendar",
            "updatedMinTooLongAgo",
            "The requested minimum modification time lies too far in the past.",
        )
        .at("parameter", "updatedMin")
    }

    pub(crate) fn condition_not_met() -> Self {
        Self::new(412, "global", "conditionNotMet", "Precondition Failed").at("header", "If-Match")
    }

    /// What a made-up failure of that status and reason looks like.
    pub(crate) fn made(code: u16, reason: Option<&str>) -> Self {
        match (code, reason) {
            (401, _) => Self::unauthorized(),
            (410, _) => Self::full_sync_required(),
            (412, _) => Self::condition_not_met(),
            (404, _) => Self::not_found(),
            (409, _) => Self::new(409, "global", reason.unwrap_or("conflict"), "Conflict"),
            (403 | 429, reason) => match reason {
                None | Some("rateLimitExceeded" | "userRateLimitExceeded" | "quotaExceeded") => {
                    Self::rate_limit(code, reason.unwrap_or("rateLimitExceeded"))
                }
                Some(reason) => Self::new(code, "global", reason, "Forbidden"),
            },
            (500.., reason) => Self::new(code, "global", reason.unwrap_or("backendError"), "Backend Error"),
            (_, reason) => Self::new(code, "global", reason.unwrap_or("badRequest"), "Bad Request"),
        }
    }

    fn body(&self) -> Value {
        let mut error = json!({ "domain": self.domain, "reason": self.reason, "message": self.message });
        if let Some((kind, name)) = &self.location {
            set(&mut error, "locationType", json!(kind));
            set(&mut error, "location", json!(name));
        }
        let mut whole = json!({ "code": self.code, "message": self.message, "errors": [error] });
        if self.reason == "insufficientPermissions" {
            set(&mut whole, "status", json!("PERMISSION_DENIED"));
            set(
                &mut whole,
                "details",
                json!([{
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
                    "domain": "googleapis.com",
                }]),
            );
        }
        json!({ "error": whole })
    }

    pub(crate) fn answer(&self) -> Answer {
        let status = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let answer = Answer::status(status).with_body(JSON, self.body().to_string());
        if self.code == 401 {
            return answer.header(
                WWW_AUTHENTICATE,
                "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"",
            );
        }
        answer
    }
}
