//! Bodies that no calendar server should send, and sound ones cut short.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};

use crate::answer::{Answer, AnswerBody, XML};

/// What a compressed MiB of a bomb unpacks to.
const MEBIBYTE: usize = 1024 * 1024;

/// A login page where XML or a calendar was expected.
pub(crate) fn html_page() -> Answer {
    let page = "<!DOCTYPE html>\n<html><head><title>Please log in</title></head>\
        <body><form action=\"/login\"><input name=user><input name=pass></form></body></html>\n";
    Answer::status(StatusCode::OK).with_body("text/html; charset=utf-8", page)
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail; an empty body would be noticed at once.
    drop(encoder.write_all(bytes));
    encoder.finish().unwrap_or_default()
}

/// A multistatus whose description unpacks to `mebibytes` MiB of spaces.
pub(crate) fn gzip_bomb(mebibytes: u32) -> Answer {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let blank = vec![b' '; MEBIBYTE];
    drop(encoder.write_all(b"<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\">"));
    for _ in 0..mebibytes {
        drop(encoder.write_all(&blank));
    }
    drop(encoder.write_all(b"</D:multistatus>"));
    let bytes = encoder.finish().unwrap_or_default();
    Answer::status(StatusCode::MULTI_STATUS).with_body(XML, bytes).header(CONTENT_ENCODING, "gzip")
}

/// Entities of entities: some 10^9 letters from a few hundred bytes.
pub(crate) fn entity_bomb() -> Answer {
    let mut text = String::from("<?xml version=\"1.0\"?>\n<!DOCTYPE bomb [<!ENTITY e0 \"boom\">");
    for level in 1..=9 {
        let inner = format!("&e{};", level - 1).repeat(10);
        text = format!("{text}<!ENTITY e{level} \"{inner}\">");
    }
    text.push_str("]>\n<D:multistatus xmlns:D=\"DAV:\"><D:sync-token>&e9;</D:sync-token></D:multistatus>");
    Answer::status(StatusCode::MULTI_STATUS).with_body(XML, text)
}

/// An entity that names a file of the reader's machine.
pub(crate) fn external_entity() -> Answer {
    let text = "<?xml version=\"1.0\"?>\n<!DOCTYPE m [<!ENTITY secret SYSTEM \"file:///etc/hostname\">]>\n\
        <D:multistatus xmlns:D=\"DAV:\"><D:sync-token>&secret;</D:sync-token></D:multistatus>";
    Answer::status(StatusCode::MULTI_STATUS).with_body(XML, text)
}

/// A multistatus that never ends.
pub(crate) fn endless() -> Answer {
    let response = "<D:response><D:href>/dav/calendars/nobody/never/x.ics</D:href>\
        <D:status>HTTP/1.1 404 Not Found</D:status></D:response>\n";
    let chunk = Bytes::from(response.repeat(400));
    let head = Bytes::from_static(b"<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\">\n");
    let mut answer = Answer::status(StatusCode::MULTI_STATUS).with_body(XML, "");
    answer.body = AnswerBody::Pieces(Box::new(std::iter::once(head).chain(std::iter::repeat(chunk))));
    answer
}

/// Three fifths of the body in an answer that claims to be whole.
pub(crate) fn truncated(mut answer: Answer) -> Answer {
    let bytes = answer.body.into_bytes();
    answer.body = AnswerBody::Whole(bytes.slice(..bytes.len() * 3 / 5));
    answer
}

/// The first `kept` bytes under the length of all; what follows is cut off by the connection.
pub(crate) fn cut(mut answer: Answer, kept: usize) -> (Answer, Bytes) {
    let bytes = answer.body.into_bytes();
    let kept = bytes.slice(..kept.min(bytes.len().saturating_sub(1)));
    answer = Answer { body: AnswerBody::Whole(Bytes::new()), ..answer };
    (answer.header(CONTENT_LENGTH, &bytes.len().to_string()), kept)
}
