//! Errors of the API as problem details (RFC 9457).

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::ConnectionId;
use calfleet_service::drivers::OpenError;
use calfleet_service::past::PastError;
use calfleet_service::write::{Invalid, WriteError};
use chrono::SecondsFormat;
use serde::Serialize;

/// One clear error: what is wrong and what to do about it.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// A stable URI of the kind of problem, such as `urn:calfleet:problem:not_found`.
    #[serde(rename = "type")]
    kind: String,
    /// What kind of problem it is, for people.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong in this case and what to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    /// The parameter or field it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What only some problems say.
    #[serde(flatten)]
    more: Option<Box<More>>,
}

/// What only some problems say.
#[derive(Debug, Clone, Default, Serialize)]
struct More {
    /// The connections that the request could mean.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    connections: Vec<Candidate>,
    /// Everything that is wrong with the fields of the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Invalid>,
    /// The entity tag of what is there; a header.
    #[serde(skip)]
    etag: Option<String>,
}

/// A connection that a request could mean.
#[derive(Debug, Clone, Serialize)]
struct Candidate {
    id: ConnectionId,
    label: String,
}

impl Problem {
    fn new(status: StatusCode, code: &str, title: &'static str, detail: impl Into<String>) -> Self {
        let kind = format!("urn:calfleet:problem:{code}");
        Self { kind, title, status: status.as_u16(), detail: detail.into(), field: None, more: None }
    }

    fn with(self, more: More) -> Self {
        Self { more: Some(Box::new(more)), ..self }
    }

    /// No such thing, or it belongs to somebody else: both are answered alike.
    pub fn not_found(what: &str) -> Self {
        let detail = format!("There is no {what} with this id.");
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    /// No key, or one that is unknown or revoked.
    pub fn unauthorized() -> Self {
        let detail =
            "Send an API key as 'Authorization: Bearer KEY'; make one with 'calfleet admin key create'.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "No valid API key", detail)
    }

    /// The key may not do this.
    pub fn forbidden(scope: &str) -> Self {
        let detail = format!("This needs an API key with the permission {scope}.");
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not permitted", detail)
    }

    /// A parameter that cannot be used.
    pub fn bad_parameter(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::BAD_REQUEST, "bad_parameter", "Bad parameter", detail);
        Self { field: Some(field.into()), ..problem }
    }

    /// What stands after the question mark cannot be taken apart.
    pub fn bad_query() -> Self {
        let detail = "Write the query as name=value&name=value, percent-encoded.";
        Self::new(StatusCode::BAD_REQUEST, "bad_query", "Bad query", detail)
    }

    /// A body that cannot be used.
    pub fn bad_body(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_body", "Bad body", detail)
    }

    /// A body of which one field cannot be used.
    pub fn bad_field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::bad_body(detail) }
    }

    /// A body over the limit.
    pub fn too_large() -> Self {
        let detail = "The body is larger than api.max_body_bytes; send less.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Body too large", detail)
    }

    /// Something that somebody else began.
    pub fn not_yours(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not_yours", "Not permitted", detail)
    }

    /// There are several, and the request does not say which.
    pub fn several<'a>(connections: impl Iterator<Item = (ConnectionId, &'a String)>) -> Self {
        let connections = connections.map(|(id, label)| Candidate { id, label: label.clone() }).collect();
        let detail = "There are several connections; name one by its id, with DELETE /connections/{id}.";
        let problem = Self::new(StatusCode::CONFLICT, "several_connections", "Several connections", detail);
        problem.with(More { connections, ..More::default() })
    }

    /// What was asked for cannot be done, for a reason that a person can act on.
    pub fn refused(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, "Refused", detail)
    }

    /// The provider failed or refused.
    pub fn provider(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, code, "The provider did not do it", detail)
    }

    /// Our own side failed: logged by the caller.
    pub fn ours() -> Self {
        let detail = "Something failed here; repeat the request, and tell the operator if it stays.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable", detail)
    }

    /// Our own database failed: logged here, where it is handled.
    #[expect(clippy::needless_pass_by_value, reason = "it ends here, as the argument of map_err")]
    pub fn store(error: calfleet_store::StoreError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "a request failed in the database");
        let detail = "The database does not answer at present; repeat the request.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable", detail)
    }

    /// The request took too long.
    pub fn timeout() -> Self {
        let detail = "The request took longer than api.timeout; ask for less at once.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "Timeout", detail)
    }

    /// No such route.
    pub fn no_route() -> Self {
        let detail = "There is nothing at this path; the API lives under /api/v1.";
        Self::new(StatusCode::NOT_FOUND, "no_route", "No such route", detail)
    }

    /// The route exists, the method does not.
    pub fn no_method() -> Self {
        let detail = "This path does not know that method.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "no_method", "Method not allowed", detail)
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NotFound(what) => Self::not_found(what),
            WriteError::Invalid(errors) => invalid(errors),
            WriteError::Refused(refusal) => Self::refused(refusal.code, refusal.message),
            WriteError::Outdated { etag, .. } => outdated(etag),
            WriteError::Busy => {
                let detail = "Others keep changing this event; repeat the request.";
                Self::new(StatusCode::CONFLICT, "busy", "Busy", detail)
            }
            WriteError::Underway => {
                let detail =
                    "A request with this Idempotency-Key is being carried out; repeat it in a second.";
                Self::new(StatusCode::CONFLICT, "request_underway", "Underway", detail)
            }
            WriteError::Store(error) | WriteError::Open(OpenError::Store(error)) => Self::store(error),
            WriteError::Open(OpenError::Driver(error)) => {
                Self::provider(error.problem.code(), error.problem.to_string())
            }
            WriteError::Open(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the account of a write cannot be opened"
                );
                Self::ours()
            }
        }
    }
}

impl From<PastError> for Problem {
    fn from(error: PastError) -> Self {
        match error {
            PastError::NotFound => Self::not_found("event"),
            PastError::NotYet { since } => {
                let detail = format!("The event was not there yet; it exists since {}.", spelled(since));
                Self::new(StatusCode::NOT_FOUND, "not_yet", "Not there yet", detail)
            }
            PastError::Deleted { since } => {
                let detail = format!("The event was deleted then, since {}.", spelled(since));
                Self::new(StatusCode::GONE, "deleted", "Deleted", detail)
            }
            PastError::Unknown { since } => {
                let detail = match since {
                    Some(since) => {
                        format!("The history does not say what was there before {}.", spelled(since))
                    }
                    None => "The history of this event says nothing any more.".to_owned(),
                };
                Self::new(StatusCode::NOT_FOUND, "not_in_history", "Not in the history", detail)
            }
            PastError::ToCome => Self::bad_parameter("at", "Give an instant that has passed."),
            PastError::Store(error) => Self::store(error),
        }
    }
}

fn spelled(instant: Timestamp) -> String {
    instant.to_utc().map(|instant| instant.to_rfc3339_opts(SecondsFormat::Millis, true)).unwrap_or_default()
}

/// What is wrong with an event: the first thing by its own code, all of them in a list.
fn invalid(errors: Vec<Invalid>) -> Problem {
    let first = errors.first();
    let (code, field) = first.map_or(("invalid", None), |first| (first.code, Some(first.field.clone())));
    let detail = first.map_or_else(String::new, |first| first.message.clone());
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, "The event cannot be so", detail);
    Problem { field, ..problem }.with(More { errors, ..More::default() })
}

/// The event was changed since it was read.
fn outdated(etag: String) -> Problem {
    let detail =
        "The event has changed since it was read; read it again, and repeat the request with its new ETag.";
    let problem = Problem::new(StatusCode::PRECONDITION_FAILED, "outdated", "Changed since", detail);
    let more = More { etag: Some(etag), ..More::default() };
    Problem { field: Some("If-Match".to_owned()), ..problem }.with(more)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        let etag = self.more.and_then(|more| more.etag);
        if let Some(etag) = etag.and_then(|etag| header::HeaderValue::try_from(etag).ok()) {
            headers.insert(header::ETAG, etag);
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("2"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use calfleet_domain::failure::FailureClass;
    use calfleet_providers::driver::{self, DriverError};

    use super::*;

    #[test]
    fn an_account_whose_address_may_not_be_reached_is_told_as_such() {
        let cause = driver::Problem::AddressNotAllowed { host: "dav.example.com".to_owned() };
        let error = DriverError::new("connect", FailureClass::Permanent, cause);

        let problem = Problem::from(WriteError::Open(OpenError::Driver(error)));

        assert_eq!(problem.status, 502);
        assert!(problem.detail.contains("providers.http.allowed_networks"), "{}", problem.detail);
    }
}
