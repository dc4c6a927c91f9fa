//! Fetches objects: by `calendar-multiget`, and singly where a server leaves something out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use calfleet_domain::failure::FailureClass;
use calfleet_domain::ics;
use calfleet_domain::model::{ProviderId, RemoteChange, Revision};
use chrono_tz::Tz;
use http::header::ETAG;

use super::error::{self, Attempt, MALFORMED};
use super::exchange::{Exchange, Listed, is_html};
use super::href::{self, Collection};
use super::normalise;
use super::request;
use super::wire::{CalendarData, Part, Response};
use crate::driver::{DriverError, Problem};
use crate::http::Allowance;
use crate::http::session::Crossing;

const READ: Attempt = Attempt { operation: "read events", action: "read this calendar" };
const TOO_LARGE: &str = "The object is larger than the operator's limit (providers.http.max_object_bytes).";

/// How many objects of the largest size the answer to a batch may hold; one that is larger is asked for in halves.
const LARGE_OBJECTS: u64 = 4;

/// Requests in a row that may fail before it is no longer the trouble of what they ask for: enough to get from the
/// largest batch down to one object, and to a few more such objects beside it.
const MOST_FAILURES: usize = 16;

/// What is said of an object that the server fails at.
const WITHHELD: &str = "The server fails to give it out; it is asked again by itself.";

/// Whose affair a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Of this batch: a smaller one may be answered. "Too many" is said in many ways, a server without multiget ends
    /// at single reads, and one object can spoil the answer about its neighbours.
    Batch,
    /// Of an object, or of the server.
    Server,
    /// Of this batch, which was too much for the time there is, or of the server.
    Haste,
    /// Of everybody. Where the calendar itself is not found, each of its objects would be missed for itself.
    Everybody,
}

impl Trouble {
    fn of(error: &DriverError) -> Self {
        match &error.problem {
            Problem::UnreadableAnswer { reason } if reason == MALFORMED => Self::Batch,
            Problem::NotFound => Self::Everybody,
            _ if error.class == FailureClass::Permanent => Self::Batch,
            Problem::ServerError { .. } => Self::Server,
            Problem::Timeout { .. } | Problem::Truncated => Self::Haste,
            _ => Self::Everybody,
        }
    }
}

/// What is said of objects.
#[derive(Debug, Default)]
struct Answers<'a> {
    told: Vec<RemoteChange>,
    /// Nothing is at their own addresses.
    absent: Vec<&'a ProviderId>,
    /// The answer about their batch says nothing definite of them.
    left_out: Vec<&'a ProviderId>,
    /// The server fails at them.
    withheld: Vec<&'a ProviderId>,
    /// Whether any request was answered.
    has_any: bool,
    /// Requests that failed since one was answered.
    failures: usize,
}

/// How many objects are asked for at once. A gateway that fetches each of them from somewhere else needs its time for
/// each; one that was given too many is given fewer from then on, for as long as the account is open.
#[derive(Debug)]
pub(super) struct Pace(AtomicUsize);

impl Pace {
    /// As many as there are.
    pub(super) fn unbounded() -> Self {
        Self(AtomicUsize::new(usize::MAX))
    }

    fn most(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn slow_down(&self, from: usize) {
        self.0.fetch_min(from.div_ceil(2), Ordering::Relaxed);
    }
}

/// Reads objects of one calendar.
pub(super) struct Reader<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) collection: &'a Collection,
    pub(super) zone: Option<Tz>,
    pub(super) pace: &'a Pace,
}

impl Reader<'_> {
    /// Each id answered once, in any order.
    pub(super) async fn read(&self, ids: &[ProviderId]) -> Result<Vec<RemoteChange>, DriverError> {
        let mut answers = Answers::default();
        // A queue instead of recursion: a batch that a server refuses is cut in two.
        let mut batches = vec![ids];
        while let Some(batch) = batches.pop() {
            if batch.len() > self.pace.most() {
                batches.extend(halves(batch));
                continue;
            }
            match self.ask(batch, &mut answers).await {
                Ok(()) => {
                    answers.has_any = true;
                    answers.failures = 0;
                    // Some servers leave out what is gone, some leave out what they would rather not send: ask.
                    batches.extend(answers.left_out.drain(..).map(std::slice::from_ref));
                }
                Err(error) => {
                    self.bear(error, batch, &mut answers).await?;
                    match batch {
                        [id] => answers.withheld.push(id),
                        _ => batches.extend(halves(batch)),
                    }
                }
            }
        }
        self.conclude(answers).await
    }

    /// Whether it makes sense to go on after `error`: nobody asks a server that is down for each of its objects.
    async fn bear(
        &self,
        error: DriverError,
        batch: &[ProviderId],
        answers: &mut Answers<'_>,
    ) -> Result<(), DriverError> {
        match Trouble::of(&error) {
            Trouble::Batch if batch.len() > 1 => return Ok(()),
            Trouble::Server if answers.failures < MOST_FAILURES => {}
            Trouble::Haste if batch.len() > 1 && answers.failures < MOST_FAILURES => {
                self.pace.slow_down(batch.len());
            }
            Trouble::Batch | Trouble::Server | Trouble::Haste | Trouble::Everybody => return Err(error),
        }
        answers.failures += 1;
        if answers.failures == 1 && !answers.has_any {
            self.exchange.confirm(READ, self.collection).await?;
        }
        Ok(())
    }

    async fn ask<'a>(&self, batch: &'a [ProviderId], answers: &mut Answers<'a>) -> Result<(), DriverError> {
        if let [id] = batch {
            match self.get(id).await? {
                Some(change) => answers.told.push(change),
                None => answers.absent.push(id),
            }
            return Ok(());
        }
        let hrefs = batch.iter().map(ProviderId::as_str);
        let request = request::multiget(READ.operation, &self.collection.url, hrefs)?;
        let sent = self.exchange.multistatus(READ, request, self.allowance(), Crossing::Refuse).await?;
        let listed = sent.map_err(|refusal| refusal.error)?;
        let answered = answers.told.len();
        let taken = self.take(listed, batch, answers).await;
        if taken.is_err() {
            // What the answer gave before it could not be read any further comes again with its half.
            answers.told.truncate(answered);
        }
        taken
    }

    /// What was said, once that is certain: where a server does not find the calendar, it finds none of its objects
    /// either, and that is no deletion.
    async fn conclude(&self, answers: Answers<'_>) -> Result<Vec<RemoteChange>, DriverError> {
        if !answers.absent.is_empty() {
            self.exchange.confirm(READ, self.collection).await?;
        }
        let absent = answers.absent.into_iter().cloned();
        let removed = absent.map(|provider_id| RemoteChange::Removed { provider_id });
        let withheld = answers.withheld.into_iter().cloned();
        let withheld =
            withheld.map(|provider_id| RemoteChange::Withheld { provider_id, reason: WITHHELD.to_owned() });
        Ok(answers.told.into_iter().chain(removed).chain(withheld).collect())
    }

    /// For the answer to a batch: a few of the largest objects.
    fn allowance(&self) -> Allowance {
        let brief = self.exchange.brief();
        let objects =
            self.exchange.session.client().settings().max_object_bytes.saturating_mul(LARGE_OBJECTS);
        Allowance { max_bytes: brief.max_bytes.min(objects), ..brief }
    }

    async fn take<'a>(
        &self,
        mut listed: Listed,
        batch: &'a [ProviderId],
        answers: &mut Answers<'a>,
    ) -> Result<(), DriverError> {
        // Where another place answers, it knows nothing under these names.
        let is_here = self.collection.is(listed.url.path());
        let mut waiting: HashMap<_, _> = batch.iter().map(|id| (href::canonical(id.as_str()), id)).collect();
        while let Some(part) = listed.next().await? {
            let Part::Response(response) = part else { continue };
            let Some(answered) = self.collection.member(&response.href) else { continue };
            let name = href::canonical(answered.as_str());
            // Unasked and repeated entries are ignored.
            let Some(id) = waiting.get(name.as_ref()).copied() else { continue };
            let change = self.change(id, *response);
            if let Some(change) = change.filter(|change| is_here || !is_removed(change)) {
                waiting.remove(name.as_ref());
                answers.told.push(change);
            }
        }
        answers.left_out.extend(waiting.into_values());
        answers.left_out.sort();
        Ok(())
    }

    /// What an entry says; `None` when it says nothing definite.
    fn change(&self, id: &ProviderId, response: Response) -> Option<RemoteChange> {
        if matches!(response.status, Some(404 | 410)) {
            return Some(RemoteChange::Removed { provider_id: id.clone() });
        }
        let revision = response.props.etag.map(Revision);
        match response.props.calendar_data? {
            CalendarData::Text(text) => Some(normalise::object(id.clone(), revision, text, self.zone)),
            CalendarData::TooLarge => {
                Some(normalise::unreadable(id.clone(), revision, TOO_LARGE.to_owned(), None))
            }
        }
    }

    /// By GET, from a calendar that is there.
    pub(super) async fn read_one(&self, id: &ProviderId) -> Result<RemoteChange, DriverError> {
        let removed = || RemoteChange::Removed { provider_id: id.clone() };
        Ok(self.get(id).await?.unwrap_or_else(removed))
    }

    /// By GET; `None` where there is nothing.
    async fn get(&self, id: &ProviderId) -> Result<Option<RemoteChange>, DriverError> {
        let Some(url) = self.collection.url_of(id) else {
            let reason = "Its address lies outside its calendar.".to_owned();
            return Ok(Some(normalise::unreadable(id.clone(), None, reason, None)));
        };
        let limit = self.exchange.session.client().settings().max_object_bytes;
        let allowance = Allowance { max_bytes: limit, setting: "max_object_bytes", ..self.exchange.brief() };
        let request = request::get(READ.operation, &url)?;
        let sent = self.exchange.session.send(READ.operation, request, allowance, Crossing::Refuse).await?;
        let answer = sent.answer;
        if matches!(answer.status.as_u16(), 404 | 410) {
            return Ok(None);
        }
        let revision = answer.header(ETAG).map(Revision::from);
        let unreadable = |reason: &str| {
            Ok(Some(normalise::unreadable(id.clone(), revision.clone(), reason.to_owned(), None)))
        };
        if !answer.status.is_success() {
            let refused = error::of_status(READ, answer.status, &answer.headers, self.exchange.clock.now());
            self.exchange.session.heed(&refused).await;
            // One object that is refused for good is its own affair; trouble of the server is everybody's.
            return match refused.class {
                FailureClass::Permanent | FailureClass::Conflict => unreadable(&format!(
                    "The server refuses to give it out (status {}).",
                    answer.status.as_u16()
                )),
                _ => Err(refused),
            };
        }
        if is_html(&answer) {
            return Err(DriverError::new(READ.operation, FailureClass::Transient, Problem::HtmlAnswer));
        }
        match answer.body.all().await {
            Ok(body) => {
                let text = ics::decode(&body).into_owned();
                Ok(Some(normalise::object(id.clone(), revision, text, self.zone)))
            }
            Err(DriverError { problem: Problem::TooLarge { .. }, .. }) => unreadable(TOO_LARGE),
            Err(error) => Err(error),
        }
    }
}

fn is_removed(change: &RemoteChange) -> bool {
    matches!(change, RemoteChange::Removed { .. })
}

fn halves(batch: &[ProviderId]) -> [&[ProviderId]; 2] {
    let (left, right) = batch.split_at(batch.len() / 2);
    [left, right]
}
