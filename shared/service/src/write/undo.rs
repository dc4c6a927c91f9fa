//! Taking an entry of the history back, as a new write with its own history.

use calfleet_domain::model::{EditScope, Event, EventId, HistoryId, OrganizationId};
use calfleet_domain::reconcile::restore::{Answers, RestoreError, Restored, restore};
use calfleet_domain::reconcile::{Atom, Contest, FieldChange, Loser, Side};
use calfleet_providers::naming::Names;
use calfleet_store::Scope;
use calfleet_store::events::{self, EventState, StoredRow};
use calfleet_store::history::{self, Cause, HistoryEntry};
use serde_json::json;

use super::change::Wish;
use super::commit::{Mode, Terms};
use super::create::New;
use super::outcome::{Outcome, WriteError};
use super::permit::{self, Refusal};
use super::scope::{Changed, Reach};
use crate::service::Service;

/// In how many entries of the history the last request is looked for.
const LOOKED_BACK: usize = 100;

impl Service {
    /// Makes an event say again what it said before an entry of its history. What was changed otherwise since stays. An
    /// event whose deletion the provider has heard of comes back as a copy, for providers do not take one back.
    ///
    /// # Errors
    /// When there is no such entry, the same was changed again since, it may not be done, or our database fails;
    /// nothing is stored then.
    pub async fn undo_change(
        &self,
        event: EventId,
        entry: HistoryId,
        terms: &Terms,
    ) -> Result<Outcome, WriteError> {
        let tx = self.store.read(Scope::Organization(terms.organization_id)).await?;
        let found = history::load(&tx, entry).await?.filter(|(about, _)| *about == Some(event));
        let (_, entry) = found.ok_or(WriteError::NotFound("entry in the history of this event"))?;
        let row = events::load(&tx, event).await?.ok_or(WriteError::NotFound("event"))?;
        drop(tx);
        if entry.decision == "split" {
            let message =
                "A split is undone by hand: delete the second part, then change the rule of the first.";
            return Err(Refusal::new("not_undoable", message).into());
        }
        let existence = taken_back(&entry).into_iter().find(is_existence);
        let deleted = match existence {
            None => return self.change(event, &Wish::Restore(&entry), terms).await,
            // it came to be then
            Some(FieldChange { before: None, .. }) => {
                return self.delete_event(event, Reach::ALL, terms).await;
            }
            Some(FieldChange { before: Some(before), .. }) => lost_version(&entry).unwrap_or(before),
        };
        if row.state != EventState::Tombstone {
            return Err(changed_since(&[Atom::Existence]));
        }
        let deleted: Event = serde_json::from_value(deleted).map_err(|_| unknown())?;
        self.bring_back(row, deleted, &entry, terms).await
    }

    /// Brings a deleted event back: as itself while the provider has yet to hear of its deletion, else as a copy.
    async fn bring_back(
        &self,
        row: StoredRow,
        deleted: Event,
        entry: &HistoryEntry,
        terms: &Terms,
    ) -> Result<Outcome, WriteError> {
        let place = self.place_of(terms.organization_id, row.event.id).await?;
        permit::calendar(&place)?;
        let note = json!({ "undoes": entry.id, "restored_from": row.event.id });
        let (decision, is_untold) = ("undo", row.event.edited_at.is_some());
        let new = if is_untold {
            let (id, provider_id) = (row.event.id, row.event.provider_id.clone());
            let names = Names { provider_id, uid: deleted.uid.clone() };
            New { id, names, event: deleted, adjusted: Vec::new(), decision, note, held: Some(Box::new(row)) }
        } else {
            let id = self.id();
            let names = place.names(id);
            let event = Event { uid: names.uid.clone(), body: deleted.body };
            New { id, names, event, adjusted: Vec::new(), decision, note, held: None }
        };
        let tx = self.begin(terms.organization_id).await?;
        let outcome = self.create_in(&tx, &place, &new, terms).await?.ok_or(WriteError::Busy)?;
        if terms.mode == Mode::Store {
            tx.commit().await?;
            self.nudge.nudge();
        }
        Ok(outcome)
    }

    /// The newest entry of an event's history that was requested here: what is undone unless another is named.
    ///
    /// # Errors
    /// When there is no such event, none of its last changes was requested here, or our database fails.
    pub async fn last_request(
        &self,
        organization: OrganizationId,
        event: EventId,
    ) -> Result<HistoryId, WriteError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        events::load(&tx, event).await?.ok_or(WriteError::NotFound("event"))?;
        let entries = history::of_event(&tx, event, LOOKED_BACK).await?;
        let last = entries.into_iter().find(|entry| entry.cause == Cause::Request.as_str());
        let message = "None of the last changes was made here; name one by its id in the history.";
        Ok(last.map(|entry| entry.id).ok_or_else(|| Refusal::new("nothing_to_undo", message))?)
    }
}

/// What the event becomes when the entry is taken back.
pub(super) fn restored(before: &Event, entry: &HistoryEntry) -> Result<Changed, WriteError> {
    let changes = taken_back(entry);
    if changes.is_empty() {
        return Err(unknown());
    }
    let answers = if is_answer(entry) { Answers::Restored } else { Answers::Kept };
    let Restored { event, lost } = restore(before, &changes, answers).map_err(|error| match error {
        RestoreError::ChangedSince(atoms) => changed_since(&atoms),
        RestoreError::Unknown => unknown(),
    })?;
    let mut keys = changes.iter().map(|change| change.instance);
    let first = keys.next().flatten();
    let is_one = first.is_some() && keys.all(|key| key == first);
    let reach = if is_one { Reach { scope: EditScope::This, recurrence_id: first } } else { Reach::ALL };
    Ok(Changed { event: Some(event), split: None, reach, adjusted: Vec::new(), lost })
}

/// Whether the entry is an answer that the calendar's owner gave here.
pub(super) fn is_answer(entry: &HistoryEntry) -> bool {
    entry.decision == "respond"
}

/// What is taken back with an entry: what changed here, and what lost to our side.
fn taken_back(entry: &HistoryEntry) -> Vec<FieldChange> {
    let mut changes = changes_of(entry);
    changes.extend(said(entry, "overruled").unwrap_or_else(Vec::new));
    let contests = said::<Loser>(entry, "loser").map(|loser| loser.contests).unwrap_or_default();
    let won = contests.into_iter().filter(|contest| contest.winner == Side::Local);
    changes.extend(won.map(|contest| {
        let Contest { instance, atom, local, remote, .. } = contest;
        FieldChange { instance, atom, before: remote, after: local }
    }));
    changes
}

/// What the provider said of an event whose deletion here won.
fn lost_version(entry: &HistoryEntry) -> Option<serde_json::Value> {
    serde_json::to_value(said::<Loser>(entry, "loser")?.remote?).ok()
}

fn said<T: serde::de::DeserializeOwned>(entry: &HistoryEntry, name: &str) -> Option<T> {
    let said = entry.changes.as_ref()?.get(name)?;
    serde_json::from_value(said.clone()).ok()
}

pub(crate) fn changes_of(entry: &HistoryEntry) -> Vec<FieldChange> {
    said(entry, "fields").unwrap_or_default()
}

fn is_existence(change: &FieldChange) -> bool {
    change.instance.is_none() && change.atom == Atom::Existence
}

fn changed_since(atoms: &[Atom]) -> WriteError {
    let names: Vec<&str> = atoms.iter().map(permit::atom_name).collect();
    let message = format!("This was changed again since: {}; undo the later change first.", names.join(", "));
    Refusal::new("changed_since", message).into()
}

fn unknown() -> WriteError {
    Refusal::new("not_undoable", "The history does not say what was there before.").into()
}
