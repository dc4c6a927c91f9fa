//! What people and programs are told of a write: the event as it is now, how it stands with its provider, and what was
//! or would be done. Of private events no more is told than readers see of them.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    CalendarId, EditScope, EventId, Notify, Operation, OrganizationId, OutboxId, ProviderKind, RecurrenceId,
};
use calfleet_domain::reconcile::{Atom, FieldChange};
use calfleet_store::{Scope, StoreError, outbox};
use serde::Serialize;

use super::findings::Adjustment;
use super::outcome::{Outcome, Settlement};
use super::plan::{Carried, Mail, Plan, PlannedWrite};
use crate::read::{self, EventView};
use crate::service::Service;

/// What came of a write.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WriteView {
    /// The event that says what was asked for: of a split the second half.
    pub event_id: EventId,
    /// The event that it was split from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_from: Option<EventId>,
    /// `synced` when the provider has it; `pending` while it has yet to be told, `held` while it cannot be told until a
    /// person does something; `failed` when it was given up; `conflict` when a person has to decide.
    pub sync: &'static str,
    /// Why, in words for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The event as it is now; `null` when it is deleted.
    pub event: Option<EventView>,
    /// The entries of the outbox; empty where nothing changed.
    pub intents: Vec<OutboxId>,
    /// Times that could not be taken as they were given.
    pub adjusted: Vec<Adjustment>,
    /// Instances that departed from the series and have no place in it any more.
    pub lost: Vec<RecurrenceId>,
    /// What becomes of the message that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Carried>,
}

impl WriteView {
    /// Whether the provider has it.
    pub fn is_confirmed(&self) -> bool {
        self.sync == "synced"
    }
}

/// What a write would come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanView {
    /// What would be done to which copies, in order.
    pub writes: Vec<PlannedView>,
    /// Whom the provider would mail.
    pub mail: MailView,
    /// Times that could not be taken as they were given.
    pub adjusted: Vec<Adjustment>,
    /// Instances that departed from the series and have no place in it any more.
    pub lost: Vec<RecurrenceId>,
    /// Requests to the provider at least, each of which the account's budget pays for.
    pub requests: usize,
}

/// What would be done to a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedView {
    /// What.
    pub operation: Operation,
    /// How much of a series is meant.
    pub scope: EditScope,
    /// Which instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recurrence_id: Option<RecurrenceId>,
    /// The copy; of one that would be new only for this answer.
    pub event_id: EventId,
    /// Its calendar.
    pub calendar_id: CalendarId,
    /// At which provider.
    pub provider: ProviderKind,
    /// What would change: `title`, `when`, `guest`, …; `existence` of an event that is made or deleted.
    pub changes: Vec<String>,
}

/// Whom the provider would mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MailView {
    /// What it would be asked: `none`, `external`, `all`.
    pub notify: Notify,
    /// How many people at most.
    pub people: usize,
    /// Their addresses; none where any version of an event in it is private, or its details are hidden from us.
    pub addresses: Vec<String>,
    /// What would become of the message that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Carried>,
}

impl Service {
    /// What came of a write that was stored: at once when the provider has answered, at `until` at the latest.
    ///
    /// # Errors
    /// When our database fails.
    pub async fn confirmation(
        &self,
        organization: OrganizationId,
        outcome: &Outcome,
        until: Timestamp,
    ) -> Result<WriteView, StoreError> {
        let settlement = self.settlement(organization, &outcome.intents, until).await?;
        let event = read::event(&self.store, organization, outcome.event_id).await?;
        let stands = event.as_ref().map(|event| event.sync.status);
        let sync = match (settlement, stands) {
            (Settlement::Failed, _) => "failed",
            (Settlement::Pending, Some("held")) => "held",
            (Settlement::Pending, _) => "pending",
            // nothing was to be done: earlier edits may still be on their way
            (Settlement::Done, Some(stands)) if outcome.intents.is_empty() => stands,
            (Settlement::Done, Some("conflict")) => "conflict",
            (Settlement::Done, _) => "synced",
        };
        let error = match event.as_ref().and_then(|event| event.sync.error.clone()) {
            _ if sync == "synced" => None,
            Some(error) => Some(error),
            None => self.trouble(organization, &outcome.intents).await?,
        };
        let (adjusted, lost) =
            outcome.plan.as_ref().map(|plan| (plan.adjusted.clone(), plan.lost.clone())).unwrap_or_default();
        Ok(WriteView {
            event_id: outcome.event_id,
            split_from: outcome.split_from,
            sync,
            error,
            event,
            intents: outcome.intents.clone(),
            adjusted,
            lost,
            message: outcome.plan.as_ref().and_then(|plan| plan.mail.message),
        })
    }

    /// What a write that was only planned would come to.
    ///
    /// # Errors
    /// When our database fails.
    pub async fn plan_view(&self, organization: OrganizationId, plan: &Plan) -> Result<PlanView, StoreError> {
        let mut is_hidden = !plan.is_public;
        if let Some(first) = plan.writes.first() {
            let event = read::event(&self.store, organization, first.event_id).await?;
            is_hidden |=
                event.and_then(|event| event.content.details).is_some_and(|details| details.is_reduced);
        }
        let Mail { notify, addresses, message } = &plan.mail;
        let shown = if is_hidden { Vec::new() } else { addresses.clone() };
        Ok(PlanView {
            writes: plan.writes.iter().map(PlannedView::from).collect(),
            mail: MailView { notify: *notify, people: addresses.len(), addresses: shown, message: *message },
            adjusted: plan.adjusted.clone(),
            lost: plan.lost.clone(),
            requests: plan.writes.len(),
        })
    }

    /// The last failure of the intents, in words for people.
    async fn trouble(
        &self,
        organization: OrganizationId,
        intents: &[OutboxId],
    ) -> Result<Option<String>, StoreError> {
        let Some(last) = intents.last() else { return Ok(None) };
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let entry = outbox::load(&tx, *last).await?;
        Ok(entry.and_then(|entry| entry.problem).map(|(_, text)| text))
    }
}

impl From<&PlannedWrite> for PlannedView {
    fn from(write: &PlannedWrite) -> Self {
        Self {
            operation: write.operation,
            scope: write.scope,
            recurrence_id: write.recurrence_id,
            event_id: write.event_id,
            calendar_id: write.calendar_id,
            provider: write.provider,
            changes: change_names(&write.fields),
        }
    }
}

/// What changes, by name and each once; addresses are not among the names.
pub(crate) fn change_names(fields: &[FieldChange]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in fields.iter().filter_map(|change| atom_key(&change.atom)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The name of an atom without whom it is about.
pub(crate) fn atom_key(atom: &Atom) -> Option<String> {
    match serde_json::to_value(atom).ok()? {
        serde_json::Value::String(name) => Some(name),
        serde_json::Value::Object(tagged) => tagged.into_iter().next().map(|(name, _)| name),
        _ => None,
    }
}

/// Whom an atom is about, if anybody.
pub(crate) fn address(atom: &Atom) -> Option<&str> {
    match atom {
        Atom::Guest(address) | Atom::Answer(address) => Some(address),
        _ => None,
    }
}
