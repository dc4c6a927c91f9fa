//! An answer on its way out: status, headers and a body that may be long.
//!
//! Long listings are an iterator of chunks, rendered as the client reads, so that the list of a large
//! calendar costs no memory; faults that spoil a body are applied to either kind.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

/// Content type of WebDAV bodies.
pub(crate) const XML: &str = "application/xml; charset=utf-8";
/// Content type of calendar data.
pub(crate) const ICS: &str = "text/calendar; charset=utf-8";

/// Size at which a streamed chunk is sent.
const CHUNK_BYTES: usize = 64 * 1024;

/// The body of an answer.
pub(crate) enum AnswerBody {
    Whole(Bytes),
    /// Rendered piece by piece as the client reads.
    Pieces(Box<dyn Iterator<Item = Bytes> + Send>),
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => write!(out, "Whole({} bytes)", bytes.len()),
            Self::Pieces(_) => out.write_str("Pieces"),
        }
    }
}

impl AnswerBody {
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Pieces(pieces) => pieces
                .fold(Vec::new(), |mut all, piece| {
                    all.extend_from_slice(&piece);
                    all
                })
                .into(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: AnswerBody,
}

impl Answer {
    pub(crate) fn status(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: AnswerBody::Whole(Bytes::new()) }
    }

    /// A short text for people.
    pub(crate) fn plain(status: StatusCode, text: &'static str) -> Self {
        Self::status(status).with_body("text/plain; charset=utf-8", text)
    }

    pub(crate) fn with_body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = AnswerBody::Whole(body.into());
        self
    }

    /// Adds a header; values that cannot stand in one are left out.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }

    /// A streamed document: the frame's head, each item as `write` puts it, the frame's tail.
    pub(crate) fn streamed<T: Send + 'static>(
        status: StatusCode,
        content_type: &'static str,
        (head, tail): (String, String),
        items: impl Iterator<Item = T> + Send + 'static,
        write: impl Fn(&T, &mut Vec<u8>) + Send + 'static,
    ) -> Self {
        let mut answer = Self::status(status);
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let gathered = Gathered { head: Some(head), items, write, tail: Some(tail) };
        answer.body = AnswerBody::Pieces(Box::new(gathered));
        answer
    }
}

/// Gathers what is written into chunks of a useful size.
struct Gathered<I, F> {
    head: Option<String>,
    items: I,
    write: F,
    tail: Option<String>,
}

impl<T, I: Iterator<Item = T>, F: Fn(&T, &mut Vec<u8>)> Iterator for Gathered<I, F> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        if let Some(head) = self.head.take() {
            chunk.extend_from_slice(head.as_bytes());
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(item) = self.items.next() else {
                chunk.extend_from_slice(self.tail.take().unwrap_or_default().as_bytes());
                break;
            };
            (self.write)(&item, &mut chunk);
        }
        (!chunk.is_empty()).then(|| chunk.into())
    }
}
