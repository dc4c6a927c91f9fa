//! Sends a request and hands back its whole answer, or the refusal in its class.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use calfleet_domain::clock::Clock;
use calfleet_domain::failure::FailureClass;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, StatusCode};
use serde::Deserialize;

use super::batch::{self, Part};
use super::error::{self, Reasons};
use super::request::Api;
use crate::caldav::error::Attempt;
use crate::driver::{DriverError, Problem};
use crate::gather::{Batched, Carrier, Gather};
use crate::http::Allowance;
use crate::http::session::{Crossing, Session};

/// As much of a refusal's body is looked at.
const REFUSAL_BYTES: usize = 64 << 10;

/// The exchanges of one account.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) session: Arc<Session>,
    pub(super) clock: Arc<dyn Clock>,
    /// Where requests wait for those of others, to travel together.
    pub(super) gather: Option<Arc<Gather<Reply>>>,
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
    /// The same account, whose requests wait for one another.
    pub(super) fn gathering(&self, gather: &Arc<Gather<Reply>>) -> Self {
        let gather = Some(Arc::clone(gather));
        Self { session: Arc::clone(&self.session), clock: Arc::clone(&self.clock), gather }
    }

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
        match &self.gather {
            Some(gather) => gather.ask(attempt.operation, request).await,
            None => self.send(attempt, request).await.map(|(reply, _)| reply),
        }
    }

    /// Sends a request; what came back, and of which kind it is.
    async fn send(&self, attempt: Attempt, request: Request<Bytes>) -> Result<(Reply, String), DriverError> {
        let sent = self.session.send(attempt.operation, request, self.allowance(), Crossing::Refuse).await?;
        let answer = sent.answer;
        if !answer.status.is_success() {
            let (status, headers) = (answer.status, answer.headers);
            let reasons = Reasons::of(&answer.body.beginning(REFUSAL_BYTES).await);
            let refused = Refused { status, headers, reasons };
            self.session.heed(&self.refusal(attempt, &refused)).await;
            return Ok((Reply::Refused(refused), String::new()));
        }
        let kind = answer.header(CONTENT_TYPE).unwrap_or_default().to_owned();
        if kind.get(..9).is_some_and(|kind| kind.eq_ignore_ascii_case("text/html")) {
            return Err(DriverError::new(attempt.operation, FailureClass::Transient, Problem::HtmlAnswer));
        }
        Ok((Reply::Body(answer.body.all().await?), kind))
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

/// Sends requests of events as batches.
pub(super) struct Batches<'d> {
    pub(super) exchange: &'d Exchange,
    pub(super) api: &'d Api,
    pub(super) attempt: Attempt,
}

impl Batches<'_> {
    async fn reply(&self, part: Part) -> Reply {
        if part.status.is_success() {
            return Reply::Body(part.body);
        }
        let reasons = Reasons::of(part.body.get(..REFUSAL_BYTES).unwrap_or(&part.body));
        let refused = Refused { status: part.status, headers: part.headers, reasons };
        self.exchange.session.heed(&self.exchange.refusal(self.attempt, &refused)).await;
        Reply::Refused(refused)
    }
}

#[async_trait]
impl Carrier for Batches<'_> {
    type Reply = Reply;
    const MOST: usize = batch::MOST;

    async fn admitted(&self, methods: &[Method]) -> Result<usize, DriverError> {
        self.exchange.session.admitted(self.attempt.operation, methods).await
    }

    async fn alone(&self, request: Request<Bytes>) -> Result<Reply, DriverError> {
        self.exchange.ask(self.attempt, request).await
    }

    async fn batch(&self, requests: &[Request<Bytes>]) -> Result<Batched<Reply>, DriverError> {
        let request = self.api.batch(self.attempt.operation, requests)?;
        let (body, kind) = match self.exchange.send(self.attempt, request).await? {
            (Reply::Body(body), kind) => (body, kind),
            (Reply::Refused(refused), _) => {
                let error = self.exchange.refusal(self.attempt, &refused);
                let is_final = matches!(error.class, FailureClass::Permanent | FailureClass::Gone);
                return if is_final { Ok(Batched::Refused) } else { Err(error) };
            }
        };
        let mut replies = Vec::with_capacity(requests.len());
        for part in batch::parts(&kind, &body, requests.len()) {
            replies.push(match part {
                Some(part) => Some(self.reply(part).await),
                None => None,
            });
        }
        Ok(Batched::Answered(replies))
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
