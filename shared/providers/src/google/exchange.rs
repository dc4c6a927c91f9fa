//! Sends a request and hands back its whole answer, or the refusal in its class.

use std::sync::Arc;

use bytes::Bytes;
use calfleet_domain::clock::Clock;
use calfleet_domain::failure::FailureClass;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, StatusCode};
use serde::Deserialize;

use super::error::{self, Reasons};
use crate::caldav::error::Attempt;
use crate::driver::{DriverError, Problem};
use crate::http::Allowance;
use crate::http::session::{Crossing, Session};

/// As much of a refusal's body is looked at.
const REFUSAL_BYTES: usize = 64 << 10;

/// The exchanges of one account.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) session: Session,
    pub(super) clock: Arc<dyn Clock>,
}

/// What came back.
#[derive(Debug)]
pub(super) enum Reply {
    /// What was asked for.
    Body(Bytes),
    /// A refusal that nobody has judged yet.
    Refused(Refused),
}

/// A refusal.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    reasons: Reasons,
}

impl Exchange {
    fn allowance(&self) -> Allowance {
        let settings = self.session.client().settings();
        Allowance {
            max_bytes: settings.max_listing_bytes,
            setting: "max_listing_bytes",
            patience: settings.read_timeout,
            deadline: settings.total_timeout,
        }
    }

    /// Sends a request.
    pub(super) async fn ask(&self, attempt: Attempt, request: Request<Bytes>) -> Result<Reply, DriverError> {
        let sent = self.session.send(attempt.operation, request, self.allowance(), Crossing::Refuse).await?;
        let answer = sent.answer;
        if !answer.status.is_success() {
            let (status, headers) = (answer.status, answer.headers);
            let reasons = Reasons::of(&answer.body.beginning(REFUSAL_BYTES).await);
            let refused = Refused { status, headers, reasons };
            self.session.heed(&self.refusal(attempt, &refused)).await;
            return Ok(Reply::Refused(refused));
        }
        let kind = answer.header(CONTENT_TYPE).unwrap_or_default();
        if kind.get(..9).is_some_and(|kind| kind.eq_ignore_ascii_case("text/html")) {
            return Err(DriverError::new(attempt.operation, FailureClass::Transient, Problem::HtmlAnswer));
        }
        Ok(Reply::Body(answer.body.all().await?))
    }

    /// The class of a refusal.
    pub(super) fn refusal(&self, attempt: Attempt, refused: &Refused) -> DriverError {
        error::of_refusal(attempt, refused.status, &refused.headers, &refused.reasons, self.clock.now())
    }

    /// The class of the refusal of a listing that began at, or went on from, a token.
    pub(super) fn refusal_of_listing(&self, attempt: Attempt, refused: &Refused) -> DriverError {
        error::of_listing(attempt, refused.status, &refused.headers, &refused.reasons, self.clock.now())
    }

    /// Sends a request whose refusal has no meaning of its own.
    pub(super) async fn fetch(
        &self,
        attempt: Attempt,
        request: Request<Bytes>,
    ) -> Result<Bytes, DriverError> {
        match self.ask(attempt, request).await? {
            Reply::Body(body) => Ok(body),
            Reply::Refused(refused) => Err(self.refusal(attempt, &refused)),
        }
    }
}

/// Reads an answer.
pub(super) fn parse<'a, T: Deserialize<'a>>(attempt: Attempt, body: &'a [u8]) -> Result<T, DriverError> {
    serde_json::from_slice(body).map_err(|error| {
        let problem = if error.is_eof() {
            Problem::Truncated
        } else {
            Problem::UnreadableAnswer { reason: "it is not what Google documents".to_owned() }
        };
        // The error itself may quote the answer.
        DriverError::new(attempt.operation, FailureClass::Transient, problem)
    })
}

/// An item that does not say which event it is.
pub(super) fn nameless(attempt: Attempt) -> DriverError {
    let problem = Problem::UnreadableAnswer { reason: "an event in it has no id".to_owned() };
    DriverError::new(attempt.operation, FailureClass::Transient, problem)
}
