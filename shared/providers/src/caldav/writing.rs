//! Writes one object, with a precondition (RFC 4791 §5.3.2, RFC 9110 §13).
//!
//! A 404 proves nothing by itself: what was to be made cannot have been deleted, and of what was there it is only
//! believed once its calendar was seen to be there.

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Event, ProviderId, RemoteChange, Revision};
use calfleet_domain::reconcile::version;
use http::header::ETAG;

use super::error::Attempt;
use super::normalise;
use super::reading::Reader;
use super::render;
use super::request::{self, Precondition};
use crate::driver::{Agreed, Change, DriverError, Problem, Write, Written};
use crate::http::session::Crossing;
use crate::marker::Marks;

const WRITE: Attempt = Attempt { operation: "write an event", action: "change events in this calendar" };

/// Writes objects of one calendar.
pub(super) struct Writer<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) calendar: &'a str,
    pub(super) marks: &'a Marks,
}

/// How a write was answered.
enum Answered {
    /// It is stored; the revision, where the server stored what it was given byte for byte.
    Stored(Option<Revision>),
    /// There is no such object, or no such calendar.
    NotFound(DriverError),
    /// The precondition does not hold, or another object is in the way.
    Conflict(DriverError),
}

impl Writer<'_> {
    pub(super) async fn write(&self, write: &Write<'_>) -> Result<Written, DriverError> {
        match write.change {
            Change::Create(event) => self.create(write.provider_id, event).await,
            Change::Update { held, after } => self.update(write.provider_id, &held, after).await,
            Change::Delete { held } => self.delete(write.provider_id, &held).await,
        }
    }

    async fn create(&self, id: &ProviderId, event: &Event) -> Result<Written, DriverError> {
        let mark = self.marks.of(self.calendar, event.uid.as_str());
        let text = render::new_object(event, &mark, self.reader.exchange.clock.now());
        match self.send(id, Some(&text), &Precondition::Absent).await? {
            Answered::Stored(revision) => self.stored(id, revision, text).await,
            Answered::NotFound(refusal) => {
                self.confirm_calendar().await?;
                Err(refusal)
            }
            // Nobody else makes names like ours: what is there is an earlier attempt whose answer was lost.
            Answered::Conflict(error) => {
                if let RemoteChange::Upsert(remote) = self.reader.read_one(id).await? {
                    return Ok(Written::Held(remote));
                }
                // There may be no collection to write into (RFC 4918 §9.7.1).
                self.confirm_calendar().await?;
                // Another object has this UID (`no-uid-conflict`), and will have it when we try again.
                Err(DriverError { class: FailureClass::Permanent, ..error })
            }
        }
    }

    async fn update(
        &self,
        id: &ProviderId,
        held: &Agreed<'_>,
        after: &Event,
    ) -> Result<Written, DriverError> {
        let text = render::changed_object(held, after, self.reader.zone, self.reader.exchange.clock.now());
        let precondition = self.precondition(id, held).await?;
        match self.send(id, Some(&text), &precondition).await? {
            Answered::Stored(revision) => self.stored(id, revision, text).await,
            Answered::NotFound(_) => Err(conflict()),
            Answered::Conflict(error) => Err(error),
        }
    }

    async fn delete(&self, id: &ProviderId, held: &Agreed<'_>) -> Result<Written, DriverError> {
        let precondition = self.precondition(id, held).await?;
        match self.send(id, None, &precondition).await? {
            Answered::Stored(_) => Ok(Written::Gone),
            Answered::NotFound(_) => self.gone().await,
            Answered::Conflict(error) => match self.reader.read_one(id).await? {
                // "No such entity tag" is also how some servers say that there is nothing.
                RemoteChange::Removed { .. } => self.gone().await,
                _ => Err(error),
            },
        }
    }

    /// The entity tag. Where a server gives none, the object itself is compared right before the write.
    async fn precondition(&self, id: &ProviderId, held: &Agreed<'_>) -> Result<Precondition, DriverError> {
        if let Some(revision) = held.revision {
            return Ok(Precondition::Is(revision.clone()));
        }
        match self.reader.read_one(id).await? {
            RemoteChange::Upsert(remote) if version::of(&remote.event) == version::of(held.event) => {
                Ok(remote.revision.map_or(Precondition::Compared, Precondition::Is))
            }
            _ => Err(conflict()),
        }
    }

    /// The object as it is stored: what was sent, where the server says so, else what it made of it.
    async fn stored(
        &self,
        id: &ProviderId,
        revision: Option<Revision>,
        text: String,
    ) -> Result<Written, DriverError> {
        let change = match revision {
            Some(revision) => normalise::object(id.clone(), Some(revision), text, self.reader.zone),
            None => self.reader.read_one(id).await?,
        };
        match change {
            RemoteChange::Upsert(remote) => Ok(Written::Held(remote)),
            RemoteChange::Removed { .. } => self.gone().await,
            _ => {
                let reason = "what it stored cannot be read back".to_owned();
                let problem = Problem::UnreadableAnswer { reason };
                Err(DriverError::new(WRITE.operation, FailureClass::Permanent, problem))
            }
        }
    }

    /// The object was not found in a calendar that is there.
    async fn gone(&self) -> Result<Written, DriverError> {
        self.confirm_calendar().await?;
        Ok(Written::Gone)
    }

    async fn confirm_calendar(&self) -> Result<(), DriverError> {
        self.reader.exchange.confirm(WRITE, self.reader.collection).await
    }

    async fn send(
        &self,
        id: &ProviderId,
        text: Option<&str>,
        precondition: &Precondition,
    ) -> Result<Answered, DriverError> {
        let Some(url) = self.reader.collection.url_of(id) else {
            let problem = Problem::InvalidUrl { reason: "it lies outside its calendar".to_owned() };
            return Err(DriverError::new(WRITE.operation, FailureClass::Permanent, problem));
        };
        let exchange = self.reader.exchange;
        let request = match text {
            Some(text) => request::put(WRITE.operation, &url, text, precondition)?,
            None => request::delete(WRITE.operation, &url, precondition)?,
        };
        let sent =
            exchange.session.send(WRITE.operation, request, exchange.brief(), Crossing::Refuse).await?;
        let answer = sent.answer;
        if answer.status.is_success() {
            // A weak tag does not say that the bytes are ours.
            let revision = answer.header(ETAG).filter(|tag| tag.starts_with('"')).map(Revision::from);
            return Ok(Answered::Stored(revision));
        }
        let refusal = exchange.refusal(WRITE, answer).await;
        Ok(match refusal.status.as_u16() {
            404 | 410 => Answered::NotFound(refusal.error),
            409 | 412 => Answered::Conflict(refusal.error),
            _ => return Err(refusal.error),
        })
    }
}

/// What the write was made against is not there.
fn conflict() -> DriverError {
    DriverError::new(WRITE.operation, FailureClass::Conflict, Problem::Refused { status: 412 })
}
