//! Deciding between two sides: conflicts that were left to a person, and intents that were given up.
//!
//! *Ours* is a new write with its own intent; *theirs* takes over what the provider has and withdraws what was to be
//! told. Either way it is one transaction: the event, its history, the outbox, the conflict, the ask.

mod mix;

use std::collections::BTreeMap;

use calfleet_domain::model::{ConflictId, Event, Notify, Operation, OrganizationId, OutboxId, Role};
use calfleet_domain::reconcile::diff::changes;
use calfleet_domain::reconcile::version::is_same;
use calfleet_store::calendar_sync::{self, Target, Thoroughness};
use calfleet_store::conflicts::{self, Conflict};
use calfleet_store::events::{self, StoredRow};
use calfleet_store::outbox::{self, OutboxState};
use calfleet_store::{Scope, Tx};
use serde_json::json;

use crate::service::Service;
use crate::write::commit::{Mode, RowChange, RowWrite, Terms, Written};
use crate::write::outcome::{Outcome, WriteError};
use crate::write::permit::{self, Place, Refusal};
use crate::write::plan::{Plan, Step, mailed, plan};
use crate::write::scope::Reach;
use mix::Kept;

/// How often a decision is planned anew because others changed the event meanwhile.
const ATTEMPTS: u32 = 5;

/// Which side is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// What the event says here.
    Ours,
    /// What the provider has.
    Theirs,
}

impl Choice {
    /// The name in the API and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Theirs => "theirs",
        }
    }
}

/// A decision field by field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mix {
    /// The side that is kept of each field, by its name in [`ContestView`](crate::write::ContestView).
    pub fields: BTreeMap<String, Choice>,
    /// The side that is kept of all others; without it each has to be named.
    pub rest: Option<Choice>,
}

/// A decision, ready to be written.
struct Decision {
    write: RowWrite,
    plan: Plan,
}

impl Service {
    /// Decides a conflict. What loses stays in the history and can be restored.
    ///
    /// # Errors
    /// When there is no such conflict, it was decided already, it may not be done, or our database fails; nothing is
    /// stored then.
    pub async fn resolve_conflict(
        &self,
        id: ConflictId,
        choice: Choice,
        terms: &Terms,
    ) -> Result<Outcome, WriteError> {
        self.mix_conflict(id, &Mix { rest: Some(choice), ..Mix::default() }, terms).await
    }

    /// Decides a conflict field by field: one write, whatever is kept of which side.
    ///
    /// # Errors
    /// As [`Self::resolve_conflict`], and when a field is not contested or not decided.
    pub async fn mix_conflict(
        &self,
        id: ConflictId,
        mix: &Mix,
        terms: &Terms,
    ) -> Result<Outcome, WriteError> {
        let tx = self.store.read(Scope::Organization(terms.organization_id)).await?;
        let conflict = open(&tx, id).await?;
        drop(tx);
        let place = self.place_of(terms.organization_id, conflict.event_id).await?;
        for _ in 0..ATTEMPTS {
            let tx = self.begin(terms.organization_id).await?;
            let conflict = open(&tx, id).await?;
            let row = events::load(&tx, conflict.event_id).await?.ok_or(WriteError::NotFound("event"))?;
            let decision = match mix::kept(mix, &conflict, &row.event)? {
                Kept::Theirs => theirs(&place, row, &conflict),
                kept => self.ours(&place, row, (&conflict, kept), terms)?,
            };
            if let Some(outcome) = self.decide(tx, &place, decision, terms).await? {
                return Ok(outcome);
            }
        }
        Err(WriteError::Busy)
    }

    /// Drops what was given up of an event: it says again what the provider has, as far as that is known, and is read
    /// there once more. What is dropped stays in the history and can be restored.
    ///
    /// # Errors
    /// When there is no such intent, it was not given up or a later one waits, or our database fails; nothing is stored
    /// then.
    pub async fn discard_intent(&self, id: OutboxId, terms: &Terms) -> Result<Outcome, WriteError> {
        let tx = self.store.read(Scope::Organization(terms.organization_id)).await?;
        let entry = outbox::load(&tx, id).await?.ok_or(WriteError::NotFound("outbox entry"))?;
        drop(tx);
        let place = self.place_of(terms.organization_id, entry.event_id).await?;
        for _ in 0..ATTEMPTS {
            let tx = self.begin(terms.organization_id).await?;
            let all = outbox::unsettled(&tx, &[entry.event_id]).await?;
            let is_dead = all.iter().any(|one| one.id == id && one.state == OutboxState::Dead);
            if !is_dead || all.iter().any(|one| one.state == OutboxState::Pending) {
                let message =
                    "Only what was given up is dropped, and only while nothing else of the event waits.";
                return Err(Refusal::new("not_given_up", message).into());
            }
            let row = events::load(&tx, entry.event_id).await?.ok_or(WriteError::NotFound("event"))?;
            let event =
                if row.event.edited_at.is_some() { row.event.base.clone() } else { row.event.event.clone() };
            let note = json!({ "discards": id });
            let decision = agreed(&place, row, event, ("discard", note));
            if let Some(outcome) = self.decide(tx, &place, decision, terms).await? {
                return Ok(outcome);
            }
        }
        Err(WriteError::Busy)
    }

    /// What telling the provider of an intent, with the others of the same event that go along, would come to; of one
    /// that was given up, if it was tried again.
    ///
    /// # Errors
    /// When there is no such intent, or our database fails.
    pub async fn plan_intent(&self, organization: OrganizationId, id: OutboxId) -> Result<Plan, WriteError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let entry = outbox::load(&tx, id).await?.ok_or(WriteError::NotFound("outbox entry"))?;
        let all = outbox::unsettled(&tx, &[entry.event_id]).await?;
        let row = events::load(&tx, entry.event_id).await?.ok_or(WriteError::NotFound("event"))?;
        drop(tx);
        let place = self.place(organization, row.event.calendar_id).await?;
        let (base, event) = (row.event.base.as_ref(), row.event.event.as_ref());
        let operation = match (base, event) {
            (None, Some(_)) => Operation::Create,
            (_, None) => Operation::Delete,
            (Some(_), Some(_)) => entry.operation,
        };
        let is_unsettled = matches!(entry.state, OutboxState::Dead | OutboxState::Pending);
        let is_needless = match (base, event) {
            (Some(base), Some(event)) => is_same(base, event),
            (None, None) => true,
            _ => false,
        };
        let steps: Vec<Step<'_>> =
            (is_unsettled && !is_needless).then(|| step(&row, operation, base, event)).into_iter().collect();
        let notify = all.iter().map(|one| one.notify).max().unwrap_or(entry.notify);
        Ok(plan(&place, &steps, notify, Vec::new(), Vec::new()))
    }

    /// Our side, or what is kept of both, is brought to the provider.
    fn ours(
        &self,
        place: &Place,
        mut row: StoredRow,
        (conflict, kept): (&Conflict, Kept),
        terms: &Terms,
    ) -> Result<Decision, WriteError> {
        permit::calendar(place)?;
        let is_gone_there = conflict.draft.remote.is_none();
        if is_gone_there {
            if row.event.role == Role::Attendee {
                let message = "The organizer has deleted this event; keep theirs, or make one of your own.";
                return Err(Refusal::new("not_the_organizer", message).into());
            }
            // It is made again, and not under the name of what was deleted.
            row.event.provider_id = place.names(self.id()).provider_id;
            (row.event.revision, row.event.base) = (None, None);
            row.event.edited_at = Some(self.now());
            row.instances.clear();
        }
        let there = row.event.base.clone();
        let held = row.event.event.clone();
        let (name, lost) = (kept.as_str(), kept.lost());
        if let Kept::Mixed(restored) = kept {
            row.event.event = Some(restored.event);
        }
        let (operation, change) = match (&row.event.event, &there) {
            (None, None) => return Ok(theirs(place, row, conflict)),
            (Some(ours), Some(there)) if is_same(ours, there) => return Ok(theirs(place, row, conflict)),
            (None, Some(_)) => (Operation::Delete, RowChange::Delete { row: Box::new(row.clone()) }),
            (Some(ours), there) => {
                let operation = if there.is_some() { Operation::Update } else { Operation::Create };
                (operation, RowChange::Update { row: Box::new(row.clone()), event: ours.clone() })
            }
        };
        if let (Some(there), Some(ours)) = (&there, &row.event.event) {
            permit::guest(&row, operation, there, ours, &place.own_addresses())?;
        }
        let steps = [step(&row, operation, there.as_ref(), row.event.event.as_ref())];
        permit::silence(place, row.event.role, terms.notify, &mailed(place, &steps))?;
        let plan = plan(place, &steps, terms.notify, Vec::new(), lost);
        // what we held is one thing, what the provider had and loses another
        let overruled: Vec<_> = plan.writes.iter().flat_map(|write| &write.fields).collect();
        let fields = changes(held.as_ref(), row.event.event.as_ref());
        let note = json!({
            "resolves": conflict.id, "kept": name, "fields": fields, "overruled": overruled,
        });
        let resolves = Some((conflict.id, name));
        let write =
            RowWrite { row: change, operation, reach: Reach::ALL, decision: "resolve", note, resolves };
        Ok(Decision { write, plan })
    }

    /// Writes a decision; `None` where it has to be planned anew.
    async fn decide(
        &self,
        tx: Tx,
        place: &Place,
        decision: Decision,
        terms: &Terms,
    ) -> Result<Option<Outcome>, WriteError> {
        let Decision { write, plan } = decision;
        let outcome = Outcome {
            event_id: write.row.id(),
            split_from: None,
            intents: Vec::new(),
            plan: Some(plan.clone()),
        };
        if terms.mode == Mode::Explain {
            tx.rollback().await?;
            return Ok(Some(outcome));
        }
        let is_agreed = matches!(write.row, RowChange::Agree { .. });
        let action = if write.resolves.is_some() { "conflict.resolve" } else { "outbox.discard" };
        let detail = json!({ "event": outcome.event_id, "note": write.note });
        self.audit(&tx, &terms.actor, action, place.connection.id.0, Some(detail)).await?;
        match self.write_rows(&tx, place, &[write], &plan, terms).await? {
            Written::Done(intents) => {
                if is_agreed {
                    // What was sent may have arrived all the same: the next look tells.
                    let (now, calendar) = (self.now(), Target::Calendar(place.calendar.id));
                    calendar_sync::ask(&tx, calendar, Thoroughness::Changes, now).await?;
                    self.ask_sync(&tx, terms.organization_id, place.connection.id).await?;
                }
                tx.commit().await?;
                self.nudge.nudge();
                Ok(Some(Outcome { intents, ..outcome }))
            }
            Written::Outdated | Written::Repeated => {
                tx.rollback().await?;
                Ok(None)
            }
        }
    }
}

/// The conflict, while it waits for a decision.
async fn open(tx: &Tx, id: ConflictId) -> Result<Conflict, WriteError> {
    let conflict = conflicts::load(tx, id).await?.ok_or(WriteError::NotFound("conflict"))?;
    match &conflict.resolved_by {
        None => Ok(conflict),
        Some(by) if by == "newer" => {
            let message = "The event has changed again since: decide the newer conflict about it.";
            Err(Refusal::new("already_resolved", message).into())
        }
        Some(by) => {
            let message =
                format!("The conflict was decided already, and {by} was kept; undo that in the history.");
            Err(Refusal::new("already_resolved", message).into())
        }
    }
}

/// The provider's side is taken over: as it was seen last, which may be later than the conflict.
fn theirs(place: &Place, row: StoredRow, conflict: &Conflict) -> Decision {
    let seen = conflict.draft.remote.as_ref();
    let event = seen.map(|seen| row.event.base.as_ref().unwrap_or(seen).clone());
    let note = json!({ "resolves": conflict.id, "kept": Choice::Theirs.as_str() });
    let mut decision = agreed(place, row, event, ("resolve", note));
    decision.write.resolves = Some((conflict.id, Choice::Theirs.as_str()));
    decision
}

/// The event says what the provider has; nobody is told.
fn agreed(
    place: &Place,
    row: StoredRow,
    event: Option<Event>,
    (decision, note): (&'static str, serde_json::Value),
) -> Decision {
    let operation = if event.is_some() { Operation::Update } else { Operation::Delete };
    let steps = [step(&row, operation, row.event.event.as_ref(), event.as_ref())];
    let plan = plan(place, &steps, Notify::None, Vec::new(), Vec::new());
    let row = RowChange::Agree { row: Box::new(row), event };
    let write = RowWrite { row, operation, reach: Reach::ALL, decision, note, resolves: None };
    Decision { write, plan }
}

fn step<'a>(
    row: &'a StoredRow,
    operation: Operation,
    before: Option<&'a Event>,
    after: Option<&'a Event>,
) -> Step<'a> {
    let (event_id, provider_id) = (row.event.id, &row.event.provider_id);
    Step { operation, reach: Reach::ALL, event_id, provider_id, before, after }
}
