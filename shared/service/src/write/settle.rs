//! What has become of intents: waiting for them, listing them, trying them again.

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{OrganizationId, OutboxId};
use calfleet_store::apply::CalendarKey;
use calfleet_store::outbox::{self, OutboxEntry, OutboxState};
use calfleet_store::{Scope, StoreError, work};
use serde::Serialize;

use super::commit::push_ask;
use super::outcome::{Settlement, WriteError};
use crate::service::{Actor, Service};

/// How soon a waiting request looks again: at first as soon as a fast provider could have answered, then ever later.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// How long a waiting request goes without looking at most.
const LAST_LOOK: Duration = Duration::from_millis(400);

/// An intent as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IntentView {
    /// Its id.
    pub id: OutboxId,
    /// The event.
    pub event_id: calfleet_domain::model::EventId,
    /// Its calendar.
    pub calendar_id: calfleet_domain::model::CalendarId,
    /// Its connection.
    pub connection_id: calfleet_domain::model::ConnectionId,
    /// What is done: `create`, `update`, `delete`, `respond`.
    pub operation: calfleet_domain::model::Operation,
    /// How much of a series is meant.
    pub scope: calfleet_domain::model::EditScope,
    /// Which instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recurrence_id: Option<calfleet_domain::model::RecurrenceId>,
    /// Whom the provider may mail.
    pub notify: calfleet_domain::model::Notify,
    /// `pending`, `done`, `folded` or `dead`.
    pub state: &'static str,
    /// When the request was received.
    pub received_at: Timestamp,
    /// When it was first sent.
    pub sent_at: Option<Timestamp>,
    /// When the provider answered for good, or it was given up.
    pub answered_at: Option<Timestamp>,
    /// Not sent before.
    pub not_before: Option<Timestamp>,
    /// Failures in a row.
    pub attempt: u32,
    /// The last failure, in words for people.
    pub error: Option<String>,
}

impl From<OutboxEntry> for IntentView {
    fn from(entry: OutboxEntry) -> Self {
        Self {
            id: entry.id,
            event_id: entry.event_id,
            calendar_id: entry.calendar_id,
            connection_id: entry.connection_id,
            operation: entry.operation,
            scope: entry.scope,
            recurrence_id: entry.recurrence_id,
            notify: entry.notify,
            state: entry.state.as_str(),
            received_at: entry.received_at,
            sent_at: entry.sent_at,
            answered_at: entry.answered_at,
            not_before: (entry.not_before > Timestamp::ZERO).then_some(entry.not_before),
            attempt: entry.attempt,
            error: entry.problem.map(|(_, text)| text),
        }
    }
}

impl Service {
    /// What has become of these intents: at once when all are settled, at `until` at the latest. No transaction is open
    /// between two looks.
    ///
    /// # Errors
    /// When our database fails.
    pub async fn settlement(
        &self,
        organization: OrganizationId,
        intents: &[OutboxId],
        until: Timestamp,
    ) -> Result<Settlement, StoreError> {
        let mut pause = FIRST_LOOK;
        loop {
            let tx = self.store.read(Scope::Organization(organization)).await?;
            let mut settled = Settlement::Done;
            for id in intents {
                let state = outbox::load(&tx, *id).await?.map(|entry| entry.state);
                match state {
                    Some(OutboxState::Pending) => settled = Settlement::Pending,
                    Some(OutboxState::Dead) if settled == Settlement::Done => settled = Settlement::Failed,
                    Some(OutboxState::Dead | OutboxState::Done | OutboxState::Folded) | None => {}
                }
            }
            drop(tx);
            if settled != Settlement::Pending || self.now() >= until {
                return Ok(settled);
            }
            self.clock.sleep_until(self.now().plus(pause).min(until)).await;
            pause = LAST_LOOK.min(pause * 3 / 2);
        }
    }

    /// At most `limit` intents in a state, newest first, older than the given one.
    ///
    /// # Errors
    /// When our database fails.
    pub async fn intents(
        &self,
        organization: OrganizationId,
        state: OutboxState,
        before: Option<OutboxId>,
        limit: u32,
    ) -> Result<Vec<IntentView>, StoreError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let entries = outbox::list(&tx, state, before, limit).await?;
        Ok(entries.into_iter().map(IntentView::from).collect())
    }

    /// Takes a dead intent, and those of the same event that died with it, up again; the intent as it is then.
    ///
    /// # Errors
    /// When there is no such intent, or our database fails.
    pub async fn retry_intent(
        &self,
        organization: OrganizationId,
        id: OutboxId,
        actor: &Actor,
    ) -> Result<IntentView, WriteError> {
        let now = self.now();
        let tx = self.begin(organization).await?;
        let entry = outbox::load(&tx, id).await?.ok_or(WriteError::NotFound("outbox entry"))?;
        if entry.state == OutboxState::Dead {
            outbox::retry(&tx, entry.event_id, now).await?;
            let detail = serde_json::json!({ "event": entry.event_id });
            self.audit(&tx, actor, "outbox.retry", entry.connection_id.0, Some(detail)).await?;
        }
        let entry = outbox::load(&tx, id).await?.ok_or(WriteError::NotFound("outbox entry"))?;
        let calendar = CalendarKey {
            organization_id: organization,
            connection_id: entry.connection_id,
            calendar_id: entry.calendar_id,
        };
        work::ask(&tx, &[push_ask(calendar, now)]).await?;
        tx.commit().await?;
        self.nudge.nudge();
        Ok(entry.into())
    }
}
