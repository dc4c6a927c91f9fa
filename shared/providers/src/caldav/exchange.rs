//! Sends a request and hands back its multistatus, or the refusal.

use std::sync::Arc;

use bytes::Bytes;
use calfleet_domain::clock::Clock;
use calfleet_domain::failure::FailureClass;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use url::Url;

use super::error::{self, Attempt, Refusal};
use super::href::Collection;
use super::multistatus::{self, Multistatus, XmlError};
use super::request::{self, Depth, Wanted};
use super::wire::{Part, Response};
use crate::driver::{DriverError, Problem};
use crate::http::session::{Crossing, Session};
use crate::http::{Allowance, Answer};

/// As much of a refusal's body is looked at.
const REFUSAL_BYTES: usize = 64 << 10;
/// More calendars, or home sets, than any account has.
const MAX_RESPONSES: usize = 10_000;

/// The exchanges of one account.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) session: Session,
    pub(super) clock: Arc<dyn Clock>,
}

/// A multistatus that has begun to arrive.
pub(super) struct Listed {
    /// Where it came from, redirects applied: hrefs are relative to this.
    pub(super) url: Url,
    /// Where the place has moved for good.
    pub(super) moved: Option<Url>,
    attempt: Attempt,
    status: StatusCode,
    parts: Multistatus,
}

impl Listed {
    /// The next part; `None` once the answer is complete.
    pub(super) async fn next(&mut self) -> Result<Option<Part>, DriverError> {
        self.parts.next().await.map_err(|error| error::of_xml(self.attempt, self.status, error))
    }
}

/// All responses of a small multistatus.
#[derive(Debug)]
pub(super) struct Responses {
    /// Where they came from, redirects applied.
    pub(super) url: Url,
    /// Where the place has moved for good.
    pub(super) moved: Option<Url>,
    /// What is said of each resource.
    pub(super) entries: Vec<Response>,
}

impl Exchange {
    /// For everything but listings.
    pub(super) fn brief(&self) -> Allowance {
        let settings = self.session.client().settings();
        Allowance {
            max_bytes: settings.max_listing_bytes,
            setting: "max_listing_bytes",
            patience: settings.read_timeout,
            deadline: settings.total_timeout,
        }
    }

    /// For listings.
    pub(super) fn listing(&self) -> Allowance {
        let settings = self.session.client().settings();
        Allowance {
            patience: settings.first_byte_timeout,
            deadline: settings.listing_timeout,
            ..self.brief()
        }
    }

    /// Sends a request that is answered by a multistatus.
    pub(super) async fn multistatus(
        &self,
        attempt: Attempt,
        request: Request<Bytes>,
        allowance: Allowance,
        crossing: Crossing,
    ) -> Result<Result<Listed, Refusal>, DriverError> {
        let delivery = self.session.send(attempt.operation, request, allowance, crossing).await?;
        let answer = delivery.answer;
        if !answer.status.is_success() {
            return Ok(Err(self.refusal(attempt, answer).await));
        }
        if is_html(&answer) {
            return Err(error::of_xml(attempt, answer.status, XmlError::Html));
        }
        let (url, status) = (answer.url.clone(), answer.status);
        let limit = self.session.client().settings().max_object_bytes;
        let parts = Multistatus::new(answer.body.into_stream(), limit);
        Ok(Ok(Listed { url, moved: delivery.moved, attempt, status, parts }))
    }

    /// What a status that is no success means.
    pub(super) async fn refusal(&self, attempt: Attempt, answer: Answer) -> Refusal {
        let (status, now) = (answer.status, self.clock.now());
        let error = error::of_status(attempt, status, &answer.headers, now);
        self.session.heed(&error).await;
        let body = answer.body.beginning(REFUSAL_BYTES).await;
        Refusal { status, conditions: multistatus::conditions(&body), error }
    }

    /// A PROPFIND whose answer is small.
    pub(super) async fn propfind(
        &self,
        attempt: Attempt,
        url: &Url,
        depth: Depth,
        wanted: Wanted,
        crossing: Crossing,
    ) -> Result<Responses, DriverError> {
        let request = request::propfind(attempt.operation, url, depth, wanted)?;
        // For a tag some servers read the whole calendar first.
        let allowance = match wanted {
            Wanted::Calendars | Wanted::Tags => self.listing(),
            _ => self.brief(),
        };
        let listed = self.multistatus(attempt, request, allowance, crossing).await?;
        let mut listed = listed.map_err(|refusal| refusal.error)?;
        let mut entries = Vec::new();
        while let Some(part) = listed.next().await? {
            if let Part::Response(response) = part
                && entries.len() < MAX_RESPONSES
            {
                entries.push(*response);
            }
        }
        Ok(Responses { url: listed.url, moved: listed.moved, entries })
    }

    /// Makes sure that a collection is there, before a bare 404 for something in it is believed: once a calendar was
    /// unshared, or while a proxy stands in for a server that restarts, everything in it is answered so.
    ///
    /// # Errors
    /// [`FailureClass::Transient`] with [`Problem::NotFound`] when it is not found either, any other class when that
    /// cannot be found out.
    pub(super) async fn confirm(&self, attempt: Attempt, collection: &Collection) -> Result<(), DriverError> {
        let missing = || DriverError::new(attempt.operation, FailureClass::Transient, Problem::NotFound);
        let is_found = |entry: &Response| entry.status.is_none_or(|status| status < 300);
        match self.propfind(attempt, &collection.url, Depth::Zero, Wanted::Identity, Crossing::Refuse).await {
            // another place, to which this one leads by now, is not the collection
            Ok(found) if collection.is(found.url.path()) && found.entries.iter().any(is_found) => Ok(()),
            Ok(_) => Err(missing()),
            Err(error) if error.problem == Problem::NotFound => Err(missing().caused_by(error)),
            Err(error) => Err(error),
        }
    }
}

/// Whether an answer calls itself a web page.
pub(super) fn is_html(answer: &Answer) -> bool {
    let kind = answer.header(CONTENT_TYPE).unwrap_or_default().trim_start();
    kind.get(..9).is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"))
        || kind.get(..21).is_some_and(|kind| kind.eq_ignore_ascii_case("application/xhtml+xml"))
}
