//! What requests of JSON APIs have in common, whichever provider they go to.

use bytes::Bytes;
use calfleet_domain::failure::FailureClass;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, IF_MATCH};
use http::{Method, Request};
use serde::Serialize;
use url::Url;

use crate::driver::{DriverError, Problem};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The address of something below the API's own.
pub(crate) fn below(base: &Url, operation: &'static str, segments: &[&str]) -> Result<Url, DriverError> {
    let reason = "an id cannot be part of an address";
    // Such segments would be taken for steps up and down.
    if segments.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
        return Err(invalid(operation, reason));
    }
    let mut url = base.clone();
    url.path_segments_mut().map_err(|()| invalid(operation, reason))?.pop_if_empty().extend(segments);
    Ok(url)
}

/// A request that is answered in JSON.
pub(crate) fn build(
    operation: &'static str,
    method: Method,
    url: &Url,
    body: Bytes,
) -> Result<Request<Bytes>, DriverError> {
    let request = Request::builder().method(method).uri(url.as_str()).header(ACCEPT, JSON).body(body);
    request.map_err(|error| unbuilt(operation).caused_by(error))
}

/// The same that sends JSON, too.
pub(crate) fn send(
    operation: &'static str,
    method: Method,
    url: &Url,
    body: &impl Serialize,
) -> Result<Request<Bytes>, DriverError> {
    // Texts and numbers cannot fail to be written.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut request = build(operation, method, url, Bytes::from(body))?;
    request.headers_mut().insert(CONTENT_TYPE, JSON);
    Ok(request)
}

/// The same request, refused where the object no longer has that tag.
pub(crate) fn conditional(
    operation: &'static str,
    mut request: Request<Bytes>,
    tag: &str,
) -> Result<Request<Bytes>, DriverError> {
    let tag = HeaderValue::from_str(tag).map_err(|error| unbuilt(operation).caused_by(error))?;
    request.headers_mut().insert(IF_MATCH, tag);
    Ok(request)
}

/// A request cannot be made of what we hold.
pub(crate) fn unbuilt(operation: &'static str) -> DriverError {
    invalid(operation, "the request cannot be built")
}

fn invalid(operation: &'static str, reason: &str) -> DriverError {
    DriverError::new(operation, FailureClass::Permanent, Problem::InvalidUrl { reason: reason.to_owned() })
}
