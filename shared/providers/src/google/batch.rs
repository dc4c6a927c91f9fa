//! Many calls as one: `multipart/mixed` of `application/http` (Calendar API, "Batch"). Pure.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, HeaderName, HeaderValue};
use http::{HeaderMap, Request, StatusCode};
use sha2::{Digest, Sha256};

/// Most calls of a batch.
pub(super) const MOST: usize = 50;

/// The answer to one call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The kind and the body of a request that carries these, each under its place.
pub(super) fn body(requests: &[Request<Bytes>]) -> (String, Bytes) {
    let mut hash = Sha256::new();
    for request in requests {
        hash.update(request.body());
    }
    // Nothing that was hashed can contain it.
    let boundary = format!("batch_{}", hex::encode(hash.finalize()));
    let mut text = BytesMut::new();
    for (place, request) in requests.iter().enumerate() {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        text.extend_from_slice(
            format!(
                "--{boundary}\r\nContent-Type: application/http\r\nContent-ID: <{place}>\r\n\r\n{} {target}\r\n",
                request.method()
            )
            .as_bytes(),
        );
        for (name, value) in request.headers().iter().filter(|(name, _)| **name != ACCEPT) {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        text.extend_from_slice(request.body());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/mixed; boundary={boundary}"), text.freeze())
}

/// What was answered to each of `count` calls; `None` where nothing that can be read was.
pub(super) fn parts(kind: &str, body: &[u8], count: usize) -> Vec<Option<Part>> {
    let mut found: BTreeMap<usize, Part> = BTreeMap::new();
    let boundary = kind.split(';').find_map(|field| field.trim().strip_prefix("boundary="));
    if let (Some(boundary), Ok(text)) = (boundary, std::str::from_utf8(body)) {
        let delimiter = format!("\n--{}", boundary.trim_matches('"'));
        // The first delimiter need not follow a line.
        let text = format!("\n{text}");
        found = text.split(delimiter.as_str()).skip(1).filter_map(part).collect();
    }
    (0..count).map(|place| found.remove(&place)).collect()
}

/// What stands between two delimiters; whose answer it is, and what it says.
fn part(text: &str) -> Option<(usize, Part)> {
    let (about, answer) = split_head(text.trim_start())?;
    let id = fields(about).find(|(name, _)| name.eq_ignore_ascii_case("content-id"))?.1;
    let place = id.trim_start_matches('<').trim_end_matches('>').strip_prefix("response-")?.parse().ok()?;
    let (head, body) = split_head(answer)?;
    let status = head.split(' ').nth(1)?.trim();
    let headers = fields(head).filter_map(|(name, value)| {
        Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?))
    });
    let body = Bytes::copy_from_slice(body.trim_end().as_bytes());
    Some((place, Part { status: status.parse().ok()?, headers: headers.collect(), body }))
}

/// The lines up to an empty one, and the rest.
fn split_head(text: &str) -> Option<(&str, &str)> {
    text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n"))
}

fn fields(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_written_with_their_own_heads_and_without_credentials() {
        let request = Request::builder()
            .method("PATCH")
            .uri("https://www.googleapis.com/calendar/v3/calendars/a/events/e?sendUpdates=none")
            .header("accept", "application/json")
            .header("if-match", "\"7\"")
            .body(Bytes::from("{\"summary\":\"x\"}"))
            .unwrap();

        let (kind, body) = body(&[request]);

        let boundary = kind.strip_prefix("multipart/mixed; boundary=").unwrap();
        let expected = format!(
            "--{boundary}\r\nContent-Type: application/http\r\nContent-ID: <0>\r\n\r\n\
             PATCH /calendar/v3/calendars/a/events/e?sendUpdates=none\r\nif-match: \"7\"\r\n\r\n\
             {{\"summary\":\"x\"}}\r\n--{boundary}--\r\n"
        );
        assert_eq!(body, expected);
    }

    #[test]
    fn answers_are_read_in_any_order_and_what_is_missing_is_missing() {
        let body = "--b_1\r\nContent-Type: application/http\r\nContent-ID: <response-2>\r\n\r\n\
             HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\n\r\n{\"error\":{}}\r\n\
             --b_1\r\nContent-Type: application/http\r\nContent-ID: <response-0>\r\n\r\n\
             HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n\r\n--b_1--\r\n";

        let parts = parts("multipart/mixed; boundary=\"b_1\"", body.as_bytes(), 3);

        let [Some(deleted), None, Some(refused)] = &parts[..] else { panic!("{parts:?}") };
        assert_eq!((deleted.status.as_u16(), deleted.body.as_ref()), (204, &b""[..]));
        assert_eq!((refused.status.as_u16(), refused.body.as_ref()), (429, &b"{\"error\":{}}"[..]));
        assert_eq!(refused.headers.get("retry-after").unwrap(), "7");
    }

    #[test]
    fn what_is_cut_or_no_batch_at_all_answers_nothing() {
        let whole = "--b\r\nContent-ID: <response-0>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}\r\n--b--";
        for (kind, body) in [
            ("multipart/mixed", whole),
            ("multipart/mixed; boundary=c", whole),
            ("multipart/mixed; boundary=b", whole.split_at(40).0),
            ("multipart/mixed; boundary=b", ""),
        ] {
            assert_eq!(parts(kind, body.as_bytes(), 1), [None], "{kind} {body}");
        }
        assert!(parts("multipart/mixed; boundary=b", whole.as_bytes(), 1)[0].is_some());
    }
}
