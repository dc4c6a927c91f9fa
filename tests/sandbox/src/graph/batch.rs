//! Many calls in one request: `POST /$batch`, JSON in and out.
//!
//! Parts run in their order, each after those it depends on; the answers come in the opposite order, so that
//! nobody relies on one.

use std::collections::BTreeMap;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::call::Call;
use super::error::{ApiError, JSON};
use super::fields::text;
use super::{Graph, Surroundings, one};
use crate::answer::Answer;
use crate::faults::{Fault, RetryAfter};

/// Most parts of a batch.
const MOST_PARTS: usize = 20;

/// The parts of a batch.
pub(crate) fn parts(body: &[u8]) -> Result<Vec<Map<String, Value>>, ApiError> {
    let wrong = |message: &str| ApiError::bad_request(message);
    let sent: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| wrong("Invalid batch payload format."))?;
    let parts = sent
        .get("requests")
        .and_then(Value::as_array)
        .ok_or_else(|| wrong("Invalid batch payload format."))?;
    if parts.len() > MOST_PARTS {
        return Err(wrong("The number of maximum requests allowed within a batch is 20."));
    }
    let parts: Vec<Map<String, Value>> = parts.iter().filter_map(Value::as_object).cloned().collect();
    let mut seen: Vec<&str> = Vec::new();
    for part in &parts {
        let id = text(part, "id");
        if id.is_empty() || seen.contains(&id) {
            return Err(wrong("Request ids must be there, and be unique."));
        }
        if part.contains_key("body") && header(part, "content-type").is_none() {
            return Err(wrong("A request with a body needs a Content-Type header."));
        }
        seen.push(id);
    }
    Ok(parts)
}

/// A header of a part.
fn header<'a>(part: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let all = part.get("headers").and_then(Value::as_object)?;
    all.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str())
}

/// Answers a batch.
pub(crate) fn answer(
    graph: &mut Graph,
    head: &Parts,
    body: &[u8],
    around: &Surroundings<'_>,
    now: i64,
) -> Answer {
    let parts = match parts(body) {
        Ok(parts) => parts,
        Err(refusal) => return refusal.answer(),
    };
    let mut statuses: BTreeMap<String, u16> = BTreeMap::new();
    let mut responses = Vec::new();
    for part in &parts {
        let id = text(part, "id").to_owned();
        let needs = part.get("dependsOn").and_then(Value::as_array).into_iter().flatten();
        let has_failed = needs
            .filter_map(Value::as_str)
            .any(|need| statuses.get(need).is_none_or(|status| *status >= 400));
        let answer = if has_failed {
            ApiError::new(424, "FailedDependency", "A request that this one depends on has failed.").answer()
        } else {
            let Some(answer) = run(graph, head, part, around, now) else { break };
            answer
        };
        statuses.insert(id.clone(), answer.status.as_u16());
        responses.push(response(&id, answer));
    }
    responses.reverse();
    let whole = json!({ "responses": responses });
    Answer::status(StatusCode::OK).with_body(JSON, whole.to_string())
}

/// `None` where the connection is cut before it.
fn run(
    graph: &mut Graph,
    head: &Parts,
    part: &Map<String, Value>,
    around: &Surroundings<'_>,
    now: i64,
) -> Option<Answer> {
    let mut headers = HeaderMap::new();
    if let Some(token) = head.headers.get(AUTHORIZATION) {
        headers.insert(AUTHORIZATION, token.clone());
    }
    for (name, value) in part.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().and_then(|value| HeaderValue::from_str(value).ok());
        if let (Ok(name), Some(value)) = (name.parse::<HeaderName>(), value) {
            headers.insert(name, value);
        }
    }
    let body = part.get("body").filter(|body| !body.is_null()).map(Value::to_string).unwrap_or_default();
    let (method, url) = (text(part, "method").to_uppercase(), text(part, "url"));
    // Official clients leave the root of an unusual host in the address.
    let address = url.split_once("/v1.0/").map_or(url, |(_, rest)| rest).trim_start_matches('/');
    let path = address.split('?').next().unwrap_or_default();
    let struck =
        around.faults.strike(&method, &format!("{}{}{path}", super::ROOT, super::API), body.as_bytes());
    if around.cuts(&struck) {
        return None;
    }
    if let Some(answer) = struck.iter().find_map(made) {
        return Some(answer);
    }
    let mut call = Call::new((&method, address), &headers, body.as_bytes(), (around.twist, around.url), now);
    call.validated = around.validated;
    Some(one(graph, call))
}

/// What a fault answers in place of a part; others do not apply to parts.
fn made(fault: &Fault) -> Option<Answer> {
    match fault {
        Fault::Status { code, retry_after } => {
            let error = ApiError::made(*code, None);
            let error = match retry_after {
                Some(RetryAfter::Seconds(seconds) | RetryAfter::DateIn(seconds)) => error.wait(*seconds),
                None => error,
            };
            Some(error.answer())
        }
        Fault::Refused { code, reason } => Some(ApiError::made(*code, Some(reason)).answer()),
        Fault::Unauthorized => Some(ApiError::unauthorized().answer()),
        _ => None,
    }
}

fn response(id: &str, answer: Answer) -> Value {
    let headers: Map<String, Value> = answer
        .headers
        .iter()
        .map(|(name, value)| (canonical(name.as_str()), json!(value.to_str().unwrap_or_default())))
        .collect();
    let status = answer.status.as_u16();
    let mut shown = json!({ "id": id, "status": status, "headers": headers });
    if let Ok(body) = serde_json::from_slice::<Value>(&answer.body.into_bytes()) {
        super::set(&mut shown, "body", body);
    }
    shown
}

/// A header's name as Graph writes it: `Retry-After`.
fn canonical(name: &str) -> String {
    let upper = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            .unwrap_or_default()
    };
    name.split('-').map(upper).collect::<Vec<_>>().join("-")
}
