//! Writes one event: makes it, changes it in place, answers or deletes it. What is sent is decided in
//! [`super::render`].
//!
//! Every change of something that is there carries the revision it was made against. Making and answering cannot: an
//! event that was made already is found by its transaction id, and an invitation is read before it is answered.
//! Nothing of that is repeated by itself. Graph mails guests without being asked; so what would mail, and must not, is
//! not sent at all.

use std::slice;

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{
    self, Event, Notify, Parts, ProviderId, RemoteChange, RemoteEvent, Revision, Series, Status,
};
use http::StatusCode;
use uuid::Uuid;

use super::exchange::{self, Refused, Reply};
use super::normalise::{self, Setting};
use super::reading::Reader;
use super::render::{self, Answer, Body, Reach, Unsayable};
use super::request::Form;
use super::series::{departs, without_guests};
use super::wire::{self, EventKind};
use crate::caldav::error::Attempt;
use crate::driver::{Agreed, Change, DriverError, Problem, Write, Written};
use crate::naming;

/// What people are told was attempted.
pub(super) const WRITE: Attempt =
    Attempt { operation: "write an event", action: "change events of this calendar" };

/// Writes events of one calendar.
pub(super) struct Writer<'d> {
    pub(super) reader: Reader<'d>,
    pub(super) setting: &'d Setting,
    /// Whom Graph may mail about the write.
    pub(super) notify: Notify,
    /// What is said to them where something is called off.
    pub(super) message: Option<&'d str>,
}

/// An object that is written over, as Graph holds it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) raw: Body,
    pub(super) revision: Revision,
}

impl Held {
    /// `None` for a payload that does not say which revision it is.
    pub(super) fn of(raw: &[u8]) -> Option<Self> {
        let event: wire::Event = serde_json::from_slice(raw).ok()?;
        Some(Self { raw: serde_json::from_slice(raw).ok()?, revision: event.revision()? })
    }
}

impl Writer<'_> {
    pub(super) async fn write(&self, write: &Write<'_>) -> Result<Written, DriverError> {
        let id = write.provider_id;
        match (write.change, naming::transaction(id)) {
            (Change::Create(event), Some(transaction)) => self.create(transaction, event).await,
            (Change::Create(_), None) => Err(nameless()),
            (change, None) => self.change(id, change).await,
            // Deleted here before the row got the name that it has there.
            (change, Some(transaction)) => match self.name_of(change, transaction).await? {
                Some(id) => self.change(&id, change).await,
                None => Err(not_shown()),
            },
        }
    }

    /// What an event that goes by a name of ours is called.
    async fn name_of(
        &self,
        change: Change<'_>,
        transaction: Uuid,
    ) -> Result<Option<ProviderId>, DriverError> {
        let (Change::Update { held, .. } | Change::Delete { held }) = change else { return Ok(None) };
        let event = held.raw.and_then(|raw| serde_json::from_str::<wire::Event>(raw).ok());
        match event.filter(|event| !event.id.is_empty()) {
            Some(event) => Ok(Some(ProviderId(event.id))),
            None => self.reader.made(transaction).await,
        }
    }

    async fn change(&self, id: &ProviderId, change: Change<'_>) -> Result<Written, DriverError> {
        match change {
            Change::Create(_) => Err(nameless()),
            Change::Update { held, after } => match (series_of(held.event), series_of(after)) {
                (None, None) => self.update_single(id, held, after).await,
                (Some(before), Some(after)) if before.master.is_none() || after.master.is_none() => {
                    self.update_detached(id, held, (before, after)).await
                }
                _ => self.update_series(id, held, after).await,
            },
            Change::Delete { held } => match series_of(held.event) {
                Some(series) if series.master.is_none() => self.delete_detached(held).await,
                _ => self.delete(id, held).await,
            },
        }
    }

    async fn create(&self, transaction: Uuid, event: &Event) -> Result<Written, DriverError> {
        let name = transaction.hyphenated().to_string();
        let mark = self.reader.marks.of(self.reader.calendar, &name);
        let mut body = render::new_event((transaction, &mark), event, self.setting).map_err(unsayable)?;
        self.check_silence(&Body::new(), &body)?;
        // Guests would be mailed about each of the instances that depart from the series afterwards.
        let bare = series_of(event).filter(|series| departs(series)).map(without_guests);
        if bare.is_some() {
            body.remove("attendees");
        }
        let Reader { exchange, api, calendar, .. } = self.reader;
        let request = api.create_event(WRITE.operation, calendar, &body)?;
        let made = match exchange.ask(WRITE, request).await? {
            Reply::Body(answer) => self.understood(&answer).await?,
            Reply::Refused(refused) if refused.codes.is_duplicate() => {
                self.made_before(transaction, refused.codes.existing()).await?
            }
            Reply::Refused(refused) => return Err(exchange.refusal(WRITE, &refused)),
        };
        let made = match (written(made)?, bare.as_ref().or_else(|| series_of(event))) {
            (Written::Held(made), Some(series)) => self.complete(*made, series).await?,
            (made, _) => return Ok(made),
        };
        let (Written::Held(there), true) = (&made, bare.is_some()) else { return Ok(made) };
        let after = Event { uid: there.event.uid.clone(), body: event.body.clone() };
        self.update_series(&there.provider_id, agreed(there), &after).await
    }

    /// What became of an earlier attempt, as it is now.
    async fn made_before(
        &self,
        transaction: Uuid,
        existing: Option<&str>,
    ) -> Result<RemoteChange, DriverError> {
        let made = self.reader.made(transaction).await?;
        match made.or_else(|| existing.map(ProviderId::from)) {
            Some(id) => self.one(&id).await,
            None => Err(not_shown()),
        }
    }

    async fn update_single(
        &self,
        id: &ProviderId,
        held: Agreed<'_>,
        after: &Event,
    ) -> Result<Written, DriverError> {
        if let (Some((before, _)), Some((fields, _))) = (render::face(held.event), render::face(after))
            && fields.status == Status::Cancelled
            && before.status != Status::Cancelled
        {
            return self.delete(id, held).await;
        }
        let there = self.grasp(id, held).await?;
        let body =
            render::object_changes((held.event, after), &there.raw, self.setting).map_err(unsayable)?;
        let answer = self.answer_of(&there.raw, (held.event, after))?;
        let patched = if body.is_empty() { None } else { Some(self.patch(id, &there, &body).await?) };
        match (answer, patched) {
            (None, Some(patched)) => return written(patched),
            (None, None) => {}
            (Some(answer), patched) => {
                self.respond(id, &answer, patched.is_none().then_some(&there.revision)).await?;
            }
        }
        self.read_back(id).await
    }

    /// The answer that the owner gives to an invitation.
    pub(super) fn answer_of(
        &self,
        raw: &Body,
        (before, after): (&Event, &Event),
    ) -> Result<Option<Answer>, DriverError> {
        let (Some((before, _)), Some((after, _))) = (render::face(before), render::face(after)) else {
            return Ok(None);
        };
        render::answer(&Reach::of(raw, self.setting), (before, after)).map_err(unsayable)
    }

    /// Sends an answer. Where `agreed` is given, the invitation has to be the one that was answered.
    pub(super) async fn respond(
        &self,
        id: &ProviderId,
        answer: &Answer,
        agreed: Option<&Revision>,
    ) -> Result<(), DriverError> {
        if let Some(agreed) = agreed
            && self.read_now(id).await?.revision != *agreed
        {
            return Err(changed_meanwhile());
        }
        let Reader { exchange, api, calendar, .. } = self.reader;
        let request = api.answer(WRITE.operation, calendar, id.as_str(), (answer, self.notify))?;
        match exchange.ask(WRITE, request).await? {
            Reply::Body(_) => Ok(()),
            Reply::Refused(refused) => Err(self.refusal(&refused).await),
        }
    }

    /// The object as both sides agreed on it: the payload that is held, or read anew where that is of another
    /// revision.
    pub(super) async fn grasp(&self, id: &ProviderId, held: Agreed<'_>) -> Result<Held, DriverError> {
        let is_agreed = |found: &Held| held.revision.is_none_or(|revision| found.revision == *revision);
        if let Some(found) = held.raw.and_then(|raw| Held::of(raw.as_bytes())).filter(is_agreed) {
            return Ok(found);
        }
        let found = self.read_now(id).await?;
        if is_agreed(&found) { Ok(found) } else { Err(changed_meanwhile()) }
    }

    /// The object as Graph holds it at this moment.
    pub(super) async fn read_now(&self, id: &ProviderId) -> Result<Held, DriverError> {
        let Reader { exchange, api, calendar, .. } = self.reader;
        let request = api.get_event(WRITE.operation, calendar, id.as_str(), Form::Any)?;
        match exchange.ask(WRITE, request).await? {
            Reply::Body(body) => Held::of(&body).ok_or_else(nameless),
            Reply::Refused(refused) => Err(self.refusal(&refused).await),
        }
    }

    /// Lays a patch over the object.
    pub(super) async fn patch(
        &self,
        id: &ProviderId,
        there: &Held,
        body: &Body,
    ) -> Result<RemoteChange, DriverError> {
        self.check_silence(&there.raw, body)?;
        let Reader { exchange, api, calendar, .. } = self.reader;
        let object = (id.as_str(), &there.revision);
        let request = api.patch_event(WRITE.operation, calendar, object, body)?;
        match exchange.ask(WRITE, request).await? {
            Reply::Body(answer) => self.understood(&answer).await,
            Reply::Refused(refused) => Err(self.refusal(&refused).await),
        }
    }

    async fn delete(&self, id: &ProviderId, held: Agreed<'_>) -> Result<Written, DriverError> {
        match self.grasp(id, held).await {
            Ok(there) => self.remove(id, &there).await?,
            Err(error) if error.problem == Problem::ChangedMeanwhile => {
                // Absent as well as changed: only the former is what was wanted.
                if !matches!(self.one(id).await?, RemoteChange::Removed { .. }) {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        Ok(Written::Gone)
    }

    /// Deletes the object; one that is gone already is deleted. The organizer of an event that a guest deletes is told
    /// by an answer, its guests by Graph.
    pub(super) async fn remove(&self, id: &ProviderId, there: &Held) -> Result<(), DriverError> {
        let Reader { exchange, api, calendar, .. } = self.reader;
        if self.tells_organizer(&there.raw) {
            let answer = Answer { verb: "decline", comment: self.message.map(str::to_owned) };
            self.respond(id, &answer, Some(&there.revision)).await?;
            // Graph takes it out of the calendar with that.
            return match self.one(id).await? {
                RemoteChange::Removed { .. } => self.check_calendar().await,
                _ => Err(changed_meanwhile()),
            };
        }
        self.check_silence(&there.raw, &Body::new())?;
        let request = match self.message.filter(|_| render::mails(&there.raw, &Body::new(), self.setting)) {
            Some(message) => {
                // `cancel` knows no condition
                if self.read_now(id).await?.revision != there.revision {
                    return Err(changed_meanwhile());
                }
                api.cancel_event(WRITE.operation, calendar, id.as_str(), message)?
            }
            None => api.delete_event(WRITE.operation, calendar, (id.as_str(), &there.revision))?,
        };
        match exchange.ask(WRITE, request).await? {
            Reply::Body(_) => Ok(()),
            Reply::Refused(refused) if is_absent(&refused) => self.check_calendar().await,
            Reply::Refused(refused) => Err(exchange.refusal(WRITE, &refused)),
        }
    }

    /// Whether the organizer waits for an answer that deleting would leave out.
    fn tells_organizer(&self, raw: &Body) -> bool {
        let event: wire::Event = serde_json::from_value(raw.clone().into()).unwrap_or_default();
        let given = event.response_status.as_ref().and_then(|status| status.response.as_deref());
        self.notify != Notify::None
            && matches!(Reach::of(raw, self.setting), Reach::Own(_))
            && !event.is_cancelled
            && given != Some("declined")
    }

    /// What would mail, and must not, is not sent.
    pub(super) fn check_silence(&self, raw: &Body, body: &Body) -> Result<(), DriverError> {
        match self.notify {
            Notify::None if render::mails(raw, body, self.setting) => Err(unsayable(Unsayable::Silence)),
            Notify::External if render::mails(raw, body, self.setting) => Err(unsayable(Unsayable::Choice)),
            _ => Ok(()),
        }
    }

    /// The object as it is now.
    pub(super) async fn read_back(&self, id: &ProviderId) -> Result<Written, DriverError> {
        let found = self.one(id).await?;
        if matches!(found, RemoteChange::Removed { .. }) {
            self.check_calendar().await?;
        }
        written(found)
    }

    pub(super) async fn one(&self, id: &ProviderId) -> Result<RemoteChange, DriverError> {
        let found = self.reader.find(slice::from_ref(&(id.clone(), Form::Any))).await?;
        let found = found.into_iter().next().ok_or_else(nameless)?;
        Ok(found.change(self.reader.window, self.setting))
    }

    /// What an answer to a write says. A meeting that has no link yet is looked at once more, and a series is read
    /// whole.
    async fn understood(&self, answer: &[u8]) -> Result<RemoteChange, DriverError> {
        let event: wire::Event = exchange::parse(WRITE, answer)?;
        let raw = std::str::from_utf8(answer).unwrap_or_default();
        if event.id.is_empty() || event.revision().is_none() {
            return Err(nameless());
        }
        let is_pending = event.is_online_meeting && super::body::join_url(&event).is_none();
        if is_pending && event.kind == Some(EventKind::SingleInstance) {
            return self.one(&ProviderId(event.id)).await;
        }
        if event.kind != Some(EventKind::SeriesMaster) {
            return Ok(normalise::change(&event, raw, self.setting));
        }
        let nothing = normalise::Departed::default();
        Ok(match normalise::whole(&event, raw, &nothing, self.setting) {
            RemoteChange::Upsert(master) => {
                RemoteChange::Upsert(Box::new(RemoteEvent { parts: Parts::MasterOnly, ..*master }))
            }
            other => other,
        })
    }

    async fn refusal(&self, refused: &Refused) -> DriverError {
        if is_absent(refused) {
            return self.absent().await;
        }
        self.reader.exchange.refusal(WRITE, refused)
    }

    /// What is absent has been deleted since: that is read and reconciled like any other change.
    pub(super) async fn absent(&self) -> DriverError {
        self.check_calendar().await.err().unwrap_or_else(changed_meanwhile)
    }

    /// Events of a calendar that was taken away are absent as well, and not deleted.
    async fn check_calendar(&self) -> Result<(), DriverError> {
        let request = self.reader.api.get_calendar(WRITE.operation, self.reader.calendar)?;
        self.reader.exchange.fetch(WRITE, request).await.map(drop)
    }
}

/// An object just read, for what it was agreed on.
fn agreed(there: &RemoteEvent) -> Agreed<'_> {
    Agreed {
        event: &there.event,
        revision: there.revision.as_ref(),
        raw: there.raw.as_deref(),
        instances: &there.instances,
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
        RemoteChange::Unreadable { reason, .. } => Err(exchange::unreadable(WRITE, &reason)),
        RemoteChange::Instance(_)
        | RemoteChange::Occurrence { .. }
        | RemoteChange::Unlisted { .. }
        | RemoteChange::Withheld { .. } => Err(nameless()),
    }
}

/// The refusal of what Graph has no words for.
pub(super) fn unsayable(what: Unsayable) -> DriverError {
    let problem = Problem::Unsupported { action: what.to_string() };
    DriverError::new(WRITE.operation, FailureClass::Permanent, problem)
}

/// Somebody else was there first.
pub(super) fn changed_meanwhile() -> DriverError {
    DriverError::new(WRITE.operation, FailureClass::Conflict, Problem::ChangedMeanwhile)
}

/// Not that it was deleted: only that Graph does not show it, for now.
fn not_shown() -> DriverError {
    exchange::unreadable(WRITE, "the event was made and is not shown")
}

pub(super) fn nameless() -> DriverError {
    exchange::unreadable(WRITE, "the event in it does not say which it is")
}
