//! What would be done next and why, before it is: about what waits for a provider, and about a calendar's next sync.
//!
//! Both come from what the jobs themselves go by: the difference between what was agreed on and what is held, and
//! [`CalendarSync::next_listing`]. What a provider will show is not known before it is asked.

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    CalendarId, CalendarState, ConflictPolicy, ConnectionState, OrganizationId, OutboxId, ProviderKind,
};
use calfleet_providers::driver::Capabilities;
use calfleet_store::calendar_sync::{self, CalendarSync, NextListing};
use calfleet_store::outbox::{self, OutboxState};
use calfleet_store::{Scope, calendars, connections, events};
use serde::Serialize;

use crate::service::Service;
use crate::write::{IntentView, PlanView, WriteError};

/// Most events that are named as to be read singly.
const NAMED: usize = 1_000;

/// What telling a provider of what waits would come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PushExplained {
    /// The intents that go along together: one write.
    pub intents: Vec<IntentView>,
    /// Why nothing is sent at present: `conflict`, `given_up`, `waits`, `paused`, `needs_reauth`, `disconnected`.
    pub held_by: Option<&'static str>,
    /// Not sent before.
    pub not_before: Option<Timestamp>,
    /// Whether it is read before it is written, because an earlier attempt may have been applied.
    pub reads_first: bool,
    /// The section of the settings whose budgets of the account and of the project the requests are paid from.
    pub budget: Option<String>,
    /// What would be written, whom the provider would mail, and how many requests that takes.
    #[serde(flatten)]
    pub plan: PlanView,
}

/// What the next sync of a calendar would come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SyncExplained {
    /// The calendar.
    pub calendar_id: CalendarId,
    /// At which provider.
    pub provider: ProviderKind,
    /// How it is listed: `resumed`, `delta`, or everything because it is the `first`, `required` or `due`.
    pub listing: NextListing,
    /// When; a person who asks does not wait for it.
    pub at: Timestamp,
    /// Why nothing is read at present: `gone`, `not_selected`, `paused`, `needs_reauth`, `disconnected`.
    pub held_by: Option<&'static str>,
    /// The provider's ids of events that are read singly besides, because what a listing showed of them was stale;
    /// at most a thousand.
    pub read_singly: Vec<String>,
    /// Edits of ours that the provider does not have: what it shows of other parts of the same events is taken
    /// together with them, what it shows of the same parts is decided by `conflict_policy`; at most a thousand.
    pub pending: Vec<IntentView>,
    /// Who wins where both sides changed the same.
    pub conflict_policy: ConflictPolicy,
    /// How many a complete listing found the last time: what a listing of everything goes through.
    pub last_listed: i64,
    /// Requests to the account at least: one a page, and those that read singly.
    pub requests: usize,
    /// The section of the settings whose budgets of the account and of the project they are paid from.
    pub budget: String,
    /// Whom the provider would mail: a sync only reads.
    pub mails: usize,
}

impl Service {
    /// What telling the provider of an intent would come to, with the others of the same event that go along.
    ///
    /// # Errors
    /// When there is no such intent, or our database fails.
    pub async fn explain_intent(
        &self,
        organization: OrganizationId,
        id: OutboxId,
    ) -> Result<PushExplained, WriteError> {
        let plan = self.plan_intent(organization, id).await?;
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let entry = outbox::load(&tx, id).await?.ok_or(WriteError::NotFound("outbox entry"))?;
        let mut unsettled = outbox::unsettled(&tx, &[entry.event_id]).await?;
        unsettled.retain(|one| one.state == entry.state);
        let connection = connections::load(&tx, entry.connection_id).await?;
        let is_in_conflict = calfleet_store::conflicts::is_open(&tx, entry.event_id).await?;
        drop(tx);
        let not_before = unsettled.iter().map(|one| one.not_before).max();
        let not_before = not_before.filter(|at| *at > self.now());
        let held_by = match entry.state {
            _ if is_in_conflict => Some("conflict"),
            OutboxState::Dead => Some("given_up"),
            _ => connection.as_ref().and_then(|one| holding(one.state)).or(not_before.map(|_| "waits")),
        };
        let reads_first = unsettled.iter().any(|one| one.sent_at.is_some());
        let mut plan = self.plan_view(organization, &plan).await?;
        plan.requests += usize::from(reads_first);
        let intents = unsettled.into_iter().map(IntentView::from).collect();
        let budget = connection.map(|one| budget_of(one.settings.provider));
        Ok(PushExplained { intents, held_by, not_before, reads_first, budget, plan })
    }

    /// What the next sync of a calendar would come to, where everything is compared every `full_every`.
    ///
    /// # Errors
    /// When there is no such calendar, or our database fails.
    pub async fn explain_sync(
        &self,
        organization: OrganizationId,
        id: CalendarId,
        full_every: Duration,
    ) -> Result<SyncExplained, WriteError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let missing = || WriteError::NotFound("calendar");
        let calendar = calendars::load(&tx, id).await?.ok_or_else(missing)?;
        let connection = connections::load(&tx, calendar.connection_id).await?.ok_or_else(missing)?;
        let sync: CalendarSync = calendar_sync::of_calendar(&tx, id).await?.ok_or_else(missing)?;
        let waiting = events::to_recheck(&tx, id, None, NAMED).await?;
        let pending = outbox::of_calendar(&tx, id, NAMED).await?;
        drop(tx);
        let at = sync.due_at.max(sync.not_before).max(self.now());
        let due = waiting.into_iter().filter(|row| row.at <= at);
        let read_singly: Vec<String> = due.map(|row| row.provider_id.0).collect();
        let held_by = match calendar.state {
            _ if !calendar.is_selected => Some("not_selected"),
            CalendarState::Gone => Some("gone"),
            _ => holding(connection.state),
        };
        let capabilities = connection.capabilities.clone().map(serde_json::from_value::<Capabilities>);
        let batch = capabilities.and_then(Result::ok).map_or(1, |one| one.read_batch.max(1));
        Ok(SyncExplained {
            calendar_id: id,
            provider: connection.settings.provider,
            listing: sync.next_listing(full_every, at),
            at,
            held_by,
            requests: 1 + read_singly.len().div_ceil(batch),
            read_singly,
            pending: pending.into_iter().map(IntentView::from).collect(),
            conflict_policy: connection.settings.conflict_policy,
            last_listed: sync.items_listed,
            budget: budget_of(connection.settings.provider),
            mails: 0,
        })
    }
}

/// Where the settings say how often a provider may be asked.
fn budget_of(provider: ProviderKind) -> String {
    format!("limits.{provider}")
}

/// Why nothing is done for a connection in that state.
fn holding(state: ConnectionState) -> Option<&'static str> {
    match state {
        ConnectionState::Active => None,
        ConnectionState::Paused => Some("paused"),
        ConnectionState::NeedsReauth => Some("needs_reauth"),
        ConnectionState::Disconnected => Some("disconnected"),
    }
}
