//! Many calls in one request: `multipart/mixed` of `application/http`.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::call::Call;
use super::error::ApiError;
use super::{Google, Surroundings, one};
use crate::answer::Answer;
use crate::caldav::xml::write_to;
use crate::faults::{Fault, RetryAfter};

/// Most calls of a batch.
const MOST_CALLS: usize = 50;

/// The boundary of every answer.
const BOUNDARY: &str = "batch_sandbox";

/// One call of a batch.
struct Part<'a> {
    id: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    headers: HeaderMap,
    body: &'a str,
}

/// Answers a batch, part by part in their order.
pub(crate) fn answer(
    google: &mut Google,
    head: &Parts,
    body: &[u8],
    around: &Surroundings<'_>,
    now: i64,
) -> Answer {
    let Some(parts) = boundary(&head.headers).and_then(|boundary| parts(body, boundary, &head.headers))
    else {
        return ApiError::new(400, "global", "badRequest", "Failed to parse batch request.").answer();
    };
    if parts.len() > MOST_CALLS {
        let message = "The batch request contains too many calls.";
        return ApiError::new(400, "global", "batchSizeTooLarge", message).answer();
    }
    let mut text = String::new();
    for part in parts {
        let (path, query) = part.path.split_once('?').unwrap_or((part.path, ""));
        let answer = match path.split_once(super::API) {
            None => ApiError::not_found().answer(),
            Some((_, path)) => {
                let body = part.body.as_bytes();
                let place = format!("{}{}{path}", super::ROOT, super::API);
                let struck = around.faults.strike(part.method, &place, body);
                if around.cuts(&struck) {
                    break;
                }
                struck.iter().find_map(made).unwrap_or_else(|| {
                    let (twist, url) = (around.twist, around.url);
                    let call = Call::new((part.method, path, query), &part.headers, body, (twist, url), now);
                    one(google, call)
                })
            }
        };
        push(&mut text, part.id, answer);
    }
    write_to(&mut text, format_args!("--{BOUNDARY}--\r\n"));
    Answer::status(StatusCode::OK).with_body("multipart/mixed; boundary=batch_sandbox", text)
}

/// What a fault answers in place of a part; others do not apply to parts.
fn made(fault: &Fault) -> Option<Answer> {
    match fault {
        Fault::Status { code, retry_after } => {
            let answer = ApiError::made(*code, None).answer();
            Some(match retry_after {
                Some(RetryAfter::Seconds(seconds) | RetryAfter::DateIn(seconds)) => {
                    answer.header(RETRY_AFTER, &seconds.to_string())
                }
                None => answer,
            })
        }
        Fault::Refused { code, reason } => Some(ApiError::made(*code, Some(reason)).answer()),
        Fault::Unauthorized => Some(ApiError::unauthorized().answer()),
        _ => None,
    }
}

fn push(text: &mut String, id: Option<&str>, answer: Answer) {
    write_to(text, format_args!("--{BOUNDARY}\r\nContent-Type: application/http\r\n"));
    if let Some(id) = id {
        let id = id.trim().strip_prefix('<').unwrap_or(id);
        let bare = id.strip_suffix('>').unwrap_or(id);
        write_to(text, format_args!("Content-ID: <response-{bare}>\r\n"));
    }
    let status = answer.status;
    let reason = status.canonical_reason().unwrap_or_default();
    write_to(text, format_args!("\r\nHTTP/1.1 {} {reason}\r\n", status.as_u16()));
    for (name, value) in &answer.headers {
        write_to(text, format_args!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    let body = answer.body.into_bytes();
    write_to(
        text,
        format_args!("Content-Length: {}\r\n\r\n{}\r\n", body.len(), String::from_utf8_lossy(&body)),
    );
}

fn boundary(headers: &HeaderMap) -> Option<&str> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let (_, rest) = kind.split_once("boundary=")?;
    Some(rest.split(';').next()?.trim().trim_matches('"'))
}

fn parts<'a>(body: &'a [u8], boundary: &str, outer: &HeaderMap) -> Option<Vec<Part<'a>>> {
    let text = std::str::from_utf8(body).ok()?;
    let delimiter = format!("--{boundary}");
    let mut found = Vec::new();
    for piece in text.split(delimiter.as_str()).skip(1) {
        if piece.starts_with("--") {
            break;
        }
        found.push(part(piece, outer)?);
    }
    Some(found)
}

/// The head of a message and what follows the blank line.
fn split_head(text: &str) -> (&str, &str) {
    text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")).unwrap_or((text, ""))
}

fn part<'a>(piece: &'a str, outer: &HeaderMap) -> Option<Part<'a>> {
    let (about, request) = split_head(piece.trim_start_matches(['\r', '\n']));
    let id = about.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-id").then_some(value.trim())
    });
    let (head, body) = split_head(request.trim_start_matches(['\r', '\n']));
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = HeaderMap::new();
    if let Some(token) = outer.get(AUTHORIZATION) {
        headers.insert(AUTHORIZATION, token.clone());
    }
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if let (Ok(name), Ok(value)) =
            (name.trim().parse::<HeaderName>(), HeaderValue::from_str(value.trim()))
        {
            headers.insert(name, value);
        }
    }
    Some(Part { id, method, path, headers, body: body.trim_end_matches(['\r', '\n']) })
}
