//! Sends a request and hands back its whole answer, or the refusal that somebody has to judge.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use calfleet_domain::clock::Clock;
use calfleet_domain::failure::FailureClass;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use serde::Deserialize;

use super::error::{self, Codes};
use super::reading::BATCH;
use super::request::Api;
use super::wire::{BatchAnswer, BatchPart};
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
    pub(super) codes: Codes,
}

impl Refused {
    /// The refusal of one part of a batch.
    fn of_part(part: &BatchPart<'_>, status: StatusCode) -> Self {
        let headers = part.headers.iter().filter_map(|(name, value)| {
            Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?))
        });
        let body = part.body.map(|body| body.get().as_bytes()).unwrap_or_default();
        Self { status, headers: headers.collect(), codes: Codes::of(body) }
    }
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
            None => self.send(attempt, request).await,
        }
    }

    /// Sends a request by itself.
    async fn send(&self, attempt: Attempt, request: Request<Bytes>) -> Result<Reply, DriverError> {
        let sent = self.session.send(attempt.operation, request, self.allowance(), Crossing::Refuse).await?;
        let answer = sent.answer;
        if !answer.status.is_success() {
            let (status, headers) = (answer.status, answer.headers);
            let codes = Codes::of(&answer.body.beginning(REFUSAL_BYTES).await);
            let refused = Refused { status, headers, codes };
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
        error::of_refusal(attempt, refused.status, &refused.headers, &refused.codes, self.clock.now())
    }

    /// The class of the refusal of a link.
    pub(super) fn refusal_of_listing(&self, attempt: Attempt, refused: &Refused) -> DriverError {
        error::of_listing(attempt, refused.status, &refused.headers, &refused.codes, self.clock.now())
    }

    /// The class of the refusal of a subscription.
    pub(super) fn refusal_of_watch(&self, attempt: Attempt, refused: &Refused) -> DriverError {
        error::of_watch(attempt, refused.status, &refused.headers, &refused.codes, self.clock.now())
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

#[async_trait]
impl Carrier for Batches<'_> {
    type Reply = Reply;
    const MOST: usize = BATCH;

    async fn admitted(&self, methods: &[Method]) -> Result<usize, DriverError> {
        self.exchange.session.admitted(self.attempt.operation, methods).await
    }

    async fn alone(&self, request: Request<Bytes>) -> Result<Reply, DriverError> {
        self.exchange.ask(self.attempt, request).await
    }

    async fn batch(&self, requests: &[Request<Bytes>]) -> Result<Batched<Reply>, DriverError> {
        let request = self.api.batch(self.attempt.operation, requests)?;
        let body = match self.exchange.send(self.attempt, request).await? {
            Reply::Body(body) => body,
            Reply::Refused(refused) => {
                let error = self.exchange.refusal(self.attempt, &refused);
                let is_final = matches!(error.class, FailureClass::Permanent | FailureClass::Gone);
                return if is_final { Ok(Batched::Refused) } else { Err(error) };
            }
        };
        let answer: BatchAnswer<'_> = parse(self.attempt, &body)?;
        let mut replies: HashMap<usize, Reply> = HashMap::new();
        for part in &answer.responses {
            let (Ok(place), Some(reply)) = (part.id.parse(), reply_of_part(part)) else { continue };
            if let Reply::Refused(refused) = &reply {
                self.exchange.session.heed(&self.exchange.refusal(self.attempt, refused)).await;
            }
            replies.insert(place, reply);
        }
        Ok(Batched::Answered((0..requests.len()).map(|place| replies.remove(&place)).collect()))
    }
}

/// What one part of a batch came to; `None` for a part that says nothing.
pub(super) fn reply_of_part(part: &BatchPart<'_>) -> Option<Reply> {
    let status = StatusCode::from_u16(part.status).ok()?;
    if status.is_success() {
        // What deletes or answers says nothing.
        let body = part.body.map(|body| body.get().as_bytes()).unwrap_or_default();
        return Some(Reply::Body(Bytes::copy_from_slice(body)));
    }
    Some(Reply::Refused(Refused::of_part(part, status)))
}

/// Reads an answer.
pub(super) fn parse<'a, T: Deserialize<'a>>(attempt: Attempt, body: &'a [u8]) -> Result<T, DriverError> {
    serde_json::from_slice(body).map_err(|error| {
        // The error itself may quote the answer.
        if error.is_eof() {
            DriverError::new(attempt.operation, FailureClass::Transient, Problem::Truncated)
        } else {
            unreadable(attempt, "it is not what Microsoft documents")
        }
    })
}

/// An answer that makes no sense.
pub(super) fn unreadable(attempt: Attempt, reason: &str) -> DriverError {
    let problem = Problem::UnreadableAnswer { reason: reason.to_owned() };
    DriverError::new(attempt.operation, FailureClass::Transient, problem)
}
