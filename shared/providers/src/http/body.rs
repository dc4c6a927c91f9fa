//! The body of an answer, read piece by piece within an [`Allowance`].

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use calfleet_domain::failure::FailureClass;
use futures_util::stream::{Stream, StreamExt, unfold};
use tokio::time::Instant;

use super::inflate::{InflateError, Inflater};
use super::{Allowance, failure};
use crate::driver::{DriverError, Problem};
use crate::limit::Pass;

/// A body still to be read.
pub struct Body {
    operation: &'static str,
    host: String,
    stream: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    inflater: Inflater,
    allowance: Allowance,
    deadlines: Deadlines,
    progress: Progress,
    read_bytes: u64,
    /// Given back when all is read.
    pass: Option<Pass>,
}

/// How long a body may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// For its first byte; after a head that came late, no earlier than `silence` allows.
    pub(super) begins_by: Instant,
    /// For its last byte.
    pub(super) ends_by: Instant,
    /// The longest wait for the next byte.
    pub(super) silence: Duration,
}

/// Whether anything of a body has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Awaited,
    Begun,
}

impl Deadlines {
    /// How long the next piece may take.
    fn left(&self, progress: Progress, now: Instant) -> Duration {
        let patience = match progress {
            Progress::Awaited => self.begins_by.saturating_duration_since(now).max(self.silence),
            Progress::Begun => self.silence,
        };
        patience.min(self.ends_by.saturating_duration_since(now))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("read_bytes", &self.read_bytes).finish_non_exhaustive()
    }
}

impl Body {
    pub(super) fn new(
        operation: &'static str,
        host: String,
        response: reqwest::Response,
        allowance: Allowance,
        deadlines: Deadlines,
    ) -> Result<Self, DriverError> {
        let coding = response.headers().get(http::header::CONTENT_ENCODING);
        let coding = coding.map(|value| value.to_str().unwrap_or("unknown"));
        let inflater =
            Inflater::for_coding(coding).map_err(|error| inflate_error(operation, allowance, error))?;
        Ok(Self {
            operation,
            host,
            stream: Box::pin(response.bytes_stream()),
            inflater,
            allowance,
            deadlines,
            progress: Progress::Awaited,
            read_bytes: 0,
            pass: None,
        })
    }

    /// Keeps the permission that its request was sent with until the body is read or given up.
    pub(super) fn hold(&mut self, pass: Pass) {
        self.pass = Some(pass);
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`FailureClass::Transient`] when the answer stalls or breaks off, [`FailureClass::Permanent`] when it is
    /// over the limit or cannot be decompressed.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, DriverError> {
        loop {
            let left = self.deadlines.left(self.progress, Instant::now());
            #[expect(clippy::disallowed_methods, reason = "deadlines of requests belong here")]
            let next = tokio::time::timeout(left, self.stream.next()).await;
            let chunk = match next {
                Err(_) => return Err(failure::timeout(self.operation, &self.host)),
                Ok(None) => {
                    self.pass = None;
                    return Ok(None);
                }
                Ok(Some(Err(error))) => return Err(failure::of_body(self.operation, &self.host, error)),
                Ok(Some(Ok(chunk))) => chunk,
            };
            self.progress = Progress::Begun;
            let chunk = self
                .inflater
                .feed(chunk, self.allowance.max_bytes)
                .map_err(|error| inflate_error(self.operation, self.allowance, error))?;
            self.read_bytes += chunk.len() as u64;
            // A decompressor may have nothing to say yet.
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// As [`Body::chunk`].
    pub async fn all(mut self) -> Result<Bytes, DriverError> {
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        let mut whole = BytesMut::from(first);
        while let Some(chunk) = self.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// As much of it as fits into `most` bytes and arrives without trouble; for looking into refusals.
    pub async fn beginning(mut self, most: usize) -> Bytes {
        let mut beginning = BytesMut::new();
        while beginning.len() < most {
            let Ok(Some(chunk)) = self.chunk().await else { break };
            beginning.extend_from_slice(&chunk);
        }
        beginning.truncate(most);
        beginning.freeze()
    }

    /// The pieces as a stream, which ends after its first error.
    pub fn into_stream(self) -> Pin<Box<dyn Stream<Item = Result<Bytes, DriverError>> + Send>> {
        Box::pin(unfold(Some(self), |body| async move {
            let mut body = body?;
            match body.chunk().await {
                Ok(None) => None,
                Ok(Some(chunk)) => Some((Ok(chunk), Some(body))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

fn inflate_error(operation: &'static str, allowance: Allowance, error: InflateError) -> DriverError {
    let problem = match &error {
        InflateError::TooLarge => {
            Problem::TooLarge { limit_bytes: allowance.max_bytes, setting: allowance.setting.to_owned() }
        }
        other => Problem::UnreadableAnswer { reason: other.to_string() },
    };
    let class = match &error {
        InflateError::Damaged(_) => FailureClass::Transient,
        _ => FailureClass::Permanent,
    };
    DriverError::new(operation, class, problem).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_may_be_late_to_begin_but_not_fall_silent_once_it_has() {
        let minutes = Duration::from_mins;
        let sent = Instant::now();
        let deadlines =
            Deadlines { begins_by: sent + minutes(5), ends_by: sent + minutes(15), silence: minutes(1) };

        let left = |progress, after| deadlines.left(progress, sent + after);

        assert_eq!(left(Progress::Awaited, minutes(1)), minutes(4));
        assert_eq!(left(Progress::Awaited, minutes(5)), minutes(1), "its head has come at the last moment");
        assert_eq!(left(Progress::Begun, minutes(1)), minutes(1));
        assert_eq!(left(Progress::Begun, Duration::from_secs(870)), Duration::from_secs(30));
        assert_eq!(left(Progress::Begun, minutes(16)), Duration::ZERO);
    }
}
