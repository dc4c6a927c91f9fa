//! Changing, deleting and answering events.

use calfleet_domain::model::{Event, EventId, Operation, OrganizationId, ParticipationStatus};
use calfleet_domain::reconcile::version::is_same;
use calfleet_providers::naming::Names;
use calfleet_store::events::{self, EventState, StoredRow};
use calfleet_store::history::HistoryEntry;
use calfleet_store::{Scope, Tx};
use serde_json::json;

use super::commit::{Mode, RowChange, RowWrite, Terms, Written};
use super::create::{organized, repeated};
use super::findings::Invalid;
use super::input::EventPatch;
use super::limits::{LINE_CHARS, NAME_CHARS};
use super::outcome::{Outcome, WriteError};
use super::permit::{self, Place};
use super::plan::{Carried, Plan, Step, mailed, plan};
use super::scope::{self, Answer, Changed, Reach};
use super::text::{self, Lines};
use super::undo;
use crate::read;
use crate::service::Service;

/// How often a write is planned anew because others changed the event meanwhile.
const ATTEMPTS: u32 = 5;

/// What is wanted of an event.
#[derive(Debug, Clone)]
pub(super) enum Wish<'a> {
    /// It says something else.
    Edit(&'a EventPatch, Reach),
    /// It does not take place.
    Delete(Reach),
    /// Its owner answers the invitation.
    Respond(Answer, Reach),
    /// It says what an entry of the history says that it said before.
    Restore(&'a HistoryEntry),
}

impl Wish<'_> {
    /// What is done to the event itself; a series that loses an instance is changed.
    fn operation(&self) -> Operation {
        match self {
            Self::Restore(entry) if undo::is_answer(entry) => Operation::Respond,
            Self::Edit(..) | Self::Restore(_) => Operation::Update,
            Self::Delete(_) => Operation::Delete,
            Self::Respond(..) => Operation::Respond,
        }
    }

    fn decision(&self) -> &'static str {
        match self {
            Self::Edit(..) => "edit",
            Self::Delete(_) => "delete",
            Self::Respond(..) => "respond",
            Self::Restore(_) => "undo",
        }
    }
}

impl Service {
    /// Changes an event, an instance of a series, or an instance and all after it.
    ///
    /// # Errors
    /// When the request cannot be used or may not be done, or our database fails; nothing is stored then.
    pub async fn edit_event(
        &self,
        id: EventId,
        patch: &EventPatch,
        reach: Reach,
        terms: &Terms,
    ) -> Result<Outcome, WriteError> {
        self.change(id, &Wish::Edit(patch, reach), terms).await
    }

    /// Deletes an event or instances of it. A guest's copy is declined by that. The message of the terms goes to those
    /// who are mailed, where the provider can carry it.
    ///
    /// # Errors
    /// As [`Self::edit_event`].
    pub async fn delete_event(
        &self,
        id: EventId,
        reach: Reach,
        terms: &Terms,
    ) -> Result<Outcome, WriteError> {
        let message = terms.message.as_deref().map(message).transpose()?;
        self.change(id, &Wish::Delete(reach), &Terms { message, ..terms.clone() }).await
    }

    /// Answers an invitation.
    ///
    /// # Errors
    /// As [`Self::edit_event`].
    pub async fn respond_to_event(
        &self,
        id: EventId,
        answer: &Answer,
        reach: Reach,
        terms: &Terms,
    ) -> Result<Outcome, WriteError> {
        let answer = checked(answer)?;
        self.change(id, &Wish::Respond(answer, reach), terms).await
    }

    pub(super) async fn change(
        &self,
        id: EventId,
        wish: &Wish<'_>,
        terms: &Terms,
    ) -> Result<Outcome, WriteError> {
        let place = self.place_of(terms.organization_id, id).await?;
        for _ in 0..ATTEMPTS {
            let tx = self.begin(terms.organization_id).await?;
            let outcome = self.change_in(&tx, &place, id, wish, terms).await?;
            let Some(outcome) = outcome else {
                tx.rollback().await?;
                continue;
            };
            if terms.mode == Mode::Store {
                tx.commit().await?;
                self.nudge.nudge();
            }
            return Ok(outcome);
        }
        Err(WriteError::Busy)
    }

    /// The change in a transaction that the caller commits; `None` where it has to be planned anew.
    pub(super) async fn change_in(
        &self,
        tx: &Tx,
        place: &Place,
        id: EventId,
        wish: &Wish<'_>,
        terms: &Terms,
    ) -> Result<Option<Outcome>, WriteError> {
        if let Some(outcome) = repeated(tx, terms, wish.operation(), Some(id)).await? {
            return Ok(Some(outcome));
        }
        let row = events::load(tx, id).await?.filter(|row| row.state != EventState::Tombstone);
        let row = row.ok_or(WriteError::NotFound("event"))?;
        is_expected(&row, terms)?;
        let second = Second::new(place, self.id());
        let before = permit::event(&row)?.clone();
        permit::calendar(place)?;
        let changed = changed(place, &before, wish, &second)?;
        let (rows, plan) = planned(place, &row, &before, changed, (wish, &second), terms)?;
        let event_id = rows.last().map_or(id, |row| row.row.id());
        let split_from = (event_id != id).then_some(id);
        let outcome = Outcome { event_id, split_from, intents: Vec::new(), plan: Some(plan) };
        let Some(plan) = outcome.plan.as_ref().filter(|_| terms.mode == Mode::Store && !rows.is_empty())
        else {
            return Ok(Some(outcome));
        };
        match self.write_rows(tx, place, &rows, plan, terms).await? {
            Written::Done(intents) => Ok(Some(Outcome { intents, ..outcome })),
            Written::Outdated | Written::Repeated => Ok(None),
        }
    }

    /// Where an event is.
    pub(super) async fn place_of(
        &self,
        organization: OrganizationId,
        id: EventId,
    ) -> Result<Place, WriteError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let row = events::load(&tx, id).await?.ok_or(WriteError::NotFound("event"))?;
        drop(tx);
        self.place(organization, row.event.calendar_id).await
    }
}

/// What the second half of a series is called, should it be split.
struct Second {
    id: EventId,
    names: Names,
}

impl Second {
    fn new(place: &Place, id: EventId) -> Self {
        Self { id, names: place.names(id) }
    }
}

/// What the event becomes.
fn changed(place: &Place, before: &Event, wish: &Wish<'_>, second: &Second) -> Result<Changed, WriteError> {
    match wish {
        Wish::Edit(patch, reach) => {
            let mut changed = scope::edit(before, patch, *reach, second.names.uid.clone(), place.ground())?;
            changed.event = changed.event.map(|event| organized(event, place));
            changed.split = changed.split.map(|event| organized(event, place));
            Ok(changed)
        }
        Wish::Delete(reach) => Ok(scope::delete(before, *reach)?),
        Wish::Respond(answer, reach) => Ok(scope::respond(before, &place.own_addresses(), answer, *reach)?),
        Wish::Restore(entry) => Ok(undo::restored(before, entry)?),
    }
}

/// The rows to be written and what that comes to; no rows where nothing changes.
fn planned(
    place: &Place,
    row: &StoredRow,
    before: &Event,
    changed: Changed,
    (wish, second): (&Wish<'_>, &Second),
    terms: &Terms,
) -> Result<(Vec<RowWrite>, Plan), WriteError> {
    let operation = if changed.event.is_some() && wish.operation() == Operation::Delete {
        Operation::Update
    } else {
        wish.operation()
    };
    if let Some(after) = &changed.event {
        permit::guest(row, wish.operation(), before, after, &place.own_addresses())?;
        permit::expression(place, Some(before), after)?;
    }
    if let Some(split) = &changed.split {
        permit::expression(place, None, split)?;
    }
    let is_idle =
        changed.split.is_none() && changed.event.as_ref().is_some_and(|after| is_same(before, after));
    let step = |operation, event_id, provider_id, before, after| Step {
        operation,
        reach: changed.reach,
        event_id,
        provider_id,
        before,
        after,
    };
    let mut steps = Vec::new();
    if !is_idle {
        let after = changed.event.as_ref();
        steps.push(step(operation, row.event.id, &row.event.provider_id, Some(before), after));
    }
    if let Some(split) = &changed.split {
        let made = step(Operation::Create, second.id, &second.names.provider_id, None, Some(split));
        steps.push(Step { reach: Reach::ALL, ..made });
    }
    permit::silence(place, row.event.role, terms.notify, &mailed(place, &steps))?;
    let mut plan = plan(place, &steps, terms.notify, changed.adjusted.clone(), changed.lost.clone());
    drop(steps);
    plan.mail.message = terms.message.as_ref().map(|_| Carried::by(place, &plan.mail));
    Ok((if is_idle { Vec::new() } else { rows(row, operation, changed, (wish, second)) }, plan))
}

fn rows(
    row: &StoredRow,
    operation: Operation,
    changed: Changed,
    (wish, second): (&Wish<'_>, &Second),
) -> Vec<RowWrite> {
    let split_into = changed.split.as_ref().map(|_| second.id);
    let undone = match wish {
        Wish::Restore(entry) => Some(entry.id),
        _ => None,
    };
    let own = match changed.event {
        Some(event) => RowChange::Update { row: Box::new(row.clone()), event },
        None => RowChange::Delete { row: Box::new(row.clone()) },
    };
    let mut rows = vec![RowWrite {
        row: own,
        operation,
        reach: changed.reach,
        decision: if split_into.is_some() { "split" } else { wish.decision() },
        note: json!({ "split_into": split_into, "undoes": undone }),
        resolves: None,
    }];
    if let Some(event) = changed.split {
        let provider_id = second.names.provider_id.clone();
        rows.push(RowWrite {
            row: RowChange::Insert { id: second.id, provider_id, event },
            operation: Operation::Create,
            reach: Reach::ALL,
            decision: "create",
            note: json!({ "split_from": row.event.id }),
            resolves: None,
        });
    }
    rows
}

/// Whether the event is the one that the request was made from.
fn is_expected(row: &StoredRow, terms: &Terms) -> Result<(), WriteError> {
    let etag = read::etag(row);
    match &terms.expected {
        Some(expected) if *expected != etag => Err(WriteError::Outdated { etag, updated_at: row.updated_at }),
        _ => Ok(()),
    }
}

/// A message as it can be sent.
fn message(text: &str) -> Result<String, WriteError> {
    let message = text::clean(text, Lines::Many);
    if message.chars().count() > LINE_CHARS {
        let text = format!("Give at most {LINE_CHARS} letters.");
        return Err(vec![Invalid { field: "message".to_owned(), code: "too_long", message: text }].into());
    }
    Ok(message)
}

/// The answer with a comment that can be sent.
fn checked(answer: &Answer) -> Result<Answer, WriteError> {
    let invalid = |field: &str, code, message: String| {
        WriteError::Invalid(vec![Invalid { field: field.to_owned(), code, message }])
    };
    match answer.status {
        ParticipationStatus::Accepted | ParticipationStatus::Declined | ParticipationStatus::Tentative => {}
        ParticipationStatus::NeedsAction | ParticipationStatus::Delegated => {
            let message = "Answer accepted, declined or tentative.".to_owned();
            return Err(invalid("response", "not_offered", message));
        }
    }
    let comment = answer.comment.as_deref().map(|comment| text::clean(comment, Lines::Many));
    if comment.as_ref().is_some_and(|comment| comment.chars().count() > NAME_CHARS) {
        return Err(invalid("comment", "too_long", format!("Give at most {NAME_CHARS} letters.")));
    }
    Ok(Answer { status: answer.status, comment })
}
