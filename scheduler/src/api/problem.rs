//! Errors of the API as problem details (RFC 9457).

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use calfleet_domain::model::ConnectionId;
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
    /// The connections that the request could mean.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    connections: Vec<Candidate>,
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
        Self {
            kind,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            connections: Vec::new(),
        }
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

    /// Something that somebody else began.
    pub fn not_yours(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not_yours", "Not permitted", detail)
    }

    /// There are several, and the request does not say which.
    pub fn several<'a>(connections: impl Iterator<Item = (ConnectionId, &'a String)>) -> Self {
        let connections = connections.map(|(id, label)| Candidate { id, label: label.clone() }).collect();
        let detail = "There are several connections; name one by its id, with DELETE /connections/{id}.";
        let problem = Self::new(StatusCode::CONFLICT, "several_connections", "Several connections", detail);
        Self { connections, ..problem }
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

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("2"));
        }
        response
    }
}
