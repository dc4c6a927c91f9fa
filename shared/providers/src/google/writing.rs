//! Writes one event: makes it, changes it in place, deletes it. What is sent is decided in [`super::render`].
//!
//! Every change of something that is there carries the revision it was made against, and nothing is repeated by
//! itself: whoever wrote reads what became of it. The mail that a write may cause goes with its first request alone.

use std::mem;

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{self, Event, Notify, ProviderId, RemoteChange, Revision, Series};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::exchange::{self, Refused, Reply};
use super::normalise;
use super::reading::Reader;
use super::render::{self, Body, Unsayable};
use crate::caldav::error::Attempt;
use crate::driver::{Agreed, Change, DriverError, Problem, Write, Written};
use crate::marker::Marks;

/// What people are told was attempted.
pub(super) const WRITE: Attempt =
    Attempt { operation: "write an event", action: "change events of this calendar" };

/// Writes events of one calendar.
pub(super) struct Writer<'d> {
    pub(super) reader: Reader<'d>,
    pub(super) marks: &'d Marks,
}

/// Whom the provider may still mail about a write.
#[derive(Debug)]
pub(super) struct Mail(Notify);

impl Mail {
    /// For the next request; nobody is mailed twice.
    pub(super) fn take(&mut self) -> Notify {
        mem::replace(&mut self.0, Notify::None)
    }
}

/// An object that is written over, as Google holds it.
pub(super) struct Held {
    pub(super) raw: Body,
    pub(super) revision: Revision,
}

impl Held {
    /// `None` for a payload that does not say which revision it is.
    pub(super) fn of(raw: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Tagged {
            etag: String,
        }
        let Tagged { etag } = serde_json::from_str(raw).ok()?;
        Some(Self { raw: serde_json::from_str(raw).ok()?, revision: Revision(etag) })
    }
}

impl Writer<'_> {
    pub(super) async fn write(&self, write: &Write<'_>) -> Result<Written, DriverError> {
        let id = write.provider_id;
        let mut mail = Mail(write.notify);
        match write.change {
            Change::Create(event) => self.create(id, event, &mut mail).await,
            Change::Update { held, after } => match (series_of(held.event), series_of(after)) {
                (None, None) => self.update_single(id, held, after, &mut mail).await,
                (Some(before), Some(after)) if before.master.is_none() || after.master.is_none() => {
                    self.update_detached(id, held, (before, after), &mut mail).await
                }
                _ => self.update_series(id, held, after, &mut mail).await,
            },
            Change::Delete { held } => match series_of(held.event) {
                Some(series) if series.master.is_none() => self.delete_detached(held, &mut mail).await,
                _ => {
                    self.delete((id, held.revision), &mut mail).await?;
                    Ok(Written::Gone)
                }
            },
        }
    }

    async fn create(&self, id: &ProviderId, event: &Event, mail: &mut Mail) -> Result<Written, DriverError> {
        let mark = self.marks.of(self.reader.calendar, id.as_str());
        let body = render::new_event((id, &mark), event, self.reader.setting).map_err(unsayable)?;
        let Reader { exchange, api, calendar, .. } = self.reader;
        let request = api.insert_event(WRITE.operation, calendar, &body, mail.take())?;
        let made = match exchange.ask(WRITE, request).await? {
            Reply::Body(answer) => self.understood(&answer)?,
            // Its name is ours, so it is an earlier attempt of ours, whatever became of it since.
            Reply::Refused(refused) if refused.status == StatusCode::CONFLICT => self.reader.one(id).await?,
            Reply::Refused(refused) => return Err(exchange.refusal(WRITE, &refused)),
        };
        match (written(made)?, series_of(event)) {
            (Written::Held(made), Some(series)) => self.complete(*made, series, mail).await,
            (made, _) => Ok(made),
        }
    }

    async fn update_single(
        &self,
        id: &ProviderId,
        held: Agreed<'_>,
        after: &Event,
        mail: &mut Mail,
    ) -> Result<Written, DriverError> {
        let there = self.grasp(id, held).await?;
        let (raw, setting) = (&there.raw, self.reader.setting);
        let object = (id, &there.revision);
        let body = render::object_changes((held.event, after), object, raw, setting).map_err(unsayable)?;
        if body.is_empty() {
            return self.read_back(id).await;
        }
        written(self.patch(id, &there.revision, &body, mail).await?)
    }

    /// The object as both sides agreed on it: the payload that is held, or read anew where that is of another
    /// revision.
    pub(super) async fn grasp(&self, id: &ProviderId, held: Agreed<'_>) -> Result<Held, DriverError> {
        let is_agreed = |found: &Held| held.revision.is_none_or(|revision| found.revision == *revision);
        if let Some(found) = held.raw.and_then(Held::of).filter(is_agreed) {
            return Ok(found);
        }
        let Reader { exchange, api, calendar, .. } = self.reader;
        let request = api.get_event(WRITE.operation, calendar, id.as_str())?;
        let body = match exchange.ask(WRITE, request).await? {
            Reply::Body(body) => body,
            Reply::Refused(refused) => return Err(self.refusal(&refused).await),
        };
        let raw: &RawValue = exchange::parse(WRITE, &body)?;
        let found = Held::of(raw.get()).ok_or_else(|| exchange::nameless(WRITE))?;
        if is_agreed(&found) { Ok(found) } else { Err(changed_meanwhile()) }
    }

    /// Lays a patch over the object as of that revision.
    pub(super) async fn patch(
        &self,
        id: &ProviderId,
        revision: &Revision,
        body: &Body,
        mail: &mut Mail,
    ) -> Result<RemoteChange, DriverError> {
        let Reader { exchange, api, calendar, .. } = self.reader;
        let object = (id.as_str(), revision);
        let request = api.patch_event(WRITE.operation, calendar, object, body, mail.take())?;
        match exchange.ask(WRITE, request).await? {
            Reply::Body(answer) => self.understood(&answer),
            Reply::Refused(refused) => Err(self.refusal(&refused).await),
        }
    }

    /// Deletes the object as of that revision; one that is gone already is deleted.
    pub(super) async fn delete(
        &self,
        (id, revision): (&ProviderId, Option<&Revision>),
        mail: &mut Mail,
    ) -> Result<(), DriverError> {
        let Reader { exchange, api, calendar, .. } = self.reader;
        let object = (id.as_str(), revision);
        let request = api.delete_event(WRITE.operation, calendar, object, mail.take())?;
        match exchange.ask(WRITE, request).await? {
            Reply::Body(_) => Ok(()),
            Reply::Refused(refused) if is_absent(&refused) => self.check_calendar().await,
            Reply::Refused(refused) => Err(exchange.refusal(WRITE, &refused)),
        }
    }

    /// The object as it is now.
    pub(super) async fn read_back(&self, id: &ProviderId) -> Result<Written, DriverError> {
        let found = self.reader.one(id).await?;
        if matches!(found, RemoteChange::Removed { .. }) {
            self.check_calendar().await?;
        }
        written(found)
    }

    fn understood(&self, answer: &[u8]) -> Result<RemoteChange, DriverError> {
        let raw: &RawValue = exchange::parse(WRITE, answer)?;
        normalise::change(raw.get(), self.reader.setting).ok_or_else(|| exchange::nameless(WRITE))
    }

    /// What is absent has been deleted since: that is read and reconciled like any other change.
    pub(super) async fn refusal(&self, refused: &Refused) -> DriverError {
        if !is_absent(refused) {
            return self.reader.exchange.refusal(WRITE, refused);
        }
        self.check_calendar().await.err().unwrap_or_else(changed_meanwhile)
    }

    /// Events of a calendar that was taken away are absent as well, and not deleted.
    async fn check_calendar(&self) -> Result<(), DriverError> {
        let request = self.reader.api.get_calendar(WRITE.operation, self.reader.calendar)?;
        self.reader.exchange.fetch(WRITE, request).await.map(drop)
    }
}

/// The series of an event that recurs, or is part of what does.
pub(super) fn series_of(event: &Event) -> Option<&Series> {
    match &event.body {
        model::Body::Single(_) => None,
        model::Body::Series(series) => Some(series),
    }
}

fn is_absent(refused: &Refused) -> bool {
    matches!(refused.status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// What a written object is from now on.
fn written(change: RemoteChange) -> Result<Written, DriverError> {
    match change {
        RemoteChange::Upsert(event) => Ok(Written::Held(event)),
        RemoteChange::Removed { .. } => Ok(Written::Gone),
        RemoteChange::Unreadable { reason, .. } => Err(DriverError::new(
            WRITE.operation,
            FailureClass::Transient,
            Problem::UnreadableAnswer { reason },
        )),
        RemoteChange::Instance(_)
        | RemoteChange::Occurrence { .. }
        | RemoteChange::Unlisted { .. }
        | RemoteChange::Withheld { .. } => Err(exchange::nameless(WRITE)),
    }
}

/// The refusal of what Google has no words for.
pub(super) fn unsayable(what: Unsayable) -> DriverError {
    let problem = Problem::Unsupported { action: what.to_string() };
    DriverError::new(WRITE.operation, FailureClass::Permanent, problem)
}

/// Somebody else was there first.
pub(super) fn changed_meanwhile() -> DriverError {
    DriverError::new(WRITE.operation, FailureClass::Conflict, Problem::ChangedMeanwhile)
}
