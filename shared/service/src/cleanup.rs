//! Taking back what we wrote: the events of a connection that bear our mark are deleted at the provider, and no others.
//!
//! The mark stands in the payload, so this works after our own database was lost and filled again by an import.

use std::collections::HashSet;

use calfleet_domain::model::{ConnectionId, EventId, OrganizationId, ProviderId, RemoteChange, Role};
use calfleet_providers::driver::CalendarRef;
use calfleet_providers::limit::Urgency;
use calfleet_providers::marker::Made;
use calfleet_store::Scope;
use calfleet_store::apply::{self, Marked};
use calfleet_store::calendars::{self, Calendar};
use calfleet_store::connections::{self, Connection};
use serde::Serialize;

use crate::drivers::OpenError;
use crate::service::Service;
use crate::tokens::TokenError;
use crate::write::{Mode, Reach, Terms, WriteError};

/// Payloads that are looked through at once.
const PAGE: usize = 200;

/// What became of one event, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CleanedView {
    /// The event.
    pub event_id: EventId,
    /// The provider's id.
    pub provider_event_id: String,
    /// `deleted`, `refused`; `found` where it is only listed.
    pub outcome: &'static str,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Service {
    /// Deletes the events of a connection that we made, or lists them where `terms` only explain. What is refused is
    /// named and stands in nobody's way.
    ///
    /// # Errors
    /// When there is no such connection, its account cannot be opened or asked, or our database fails.
    pub async fn clean_up(&self, id: ConnectionId, terms: &Terms) -> Result<Vec<CleanedView>, WriteError> {
        let tx = self.store.read(Scope::Organization(terms.organization_id)).await?;
        let connection = connections::load(&tx, id).await?.ok_or(WriteError::NotFound("connection"))?;
        let calendars = calendars::list(&tx, id).await?;
        drop(tx);
        let mut cleaned = Vec::new();
        for calendar in &calendars {
            let mut after = None;
            loop {
                let page = self.marked(terms.organization_id, calendar, after).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                for one in self.made_here(&connection, calendar, page).await? {
                    cleaned.push(self.cleaned(&one, terms).await?);
                }
            }
        }
        Ok(cleaned)
    }

    async fn marked(
        &self,
        organization: OrganizationId,
        calendar: &Calendar,
        after: Option<EventId>,
    ) -> Result<Vec<Marked>, WriteError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        Ok(apply::marked(&tx, calendar.id, after, PAGE).await?)
    }

    /// Those of a page that we made; an invitation is its organizer's, whatever it bears.
    async fn made_here(
        &self,
        connection: &Connection,
        calendar: &Calendar,
        page: Vec<Marked>,
    ) -> Result<Vec<Marked>, WriteError> {
        let mut ours = Vec::new();
        let mut doubtful: Vec<(Marked, ProviderId)> = Vec::new();
        let (settings, place) = (&connection.settings, CalendarRef::from(&calendar.remote));
        let marks = self.drivers.marks(&settings.account);
        for one in page.into_iter().filter(|one| one.role != Role::Attendee) {
            let object = (&one.provider_id, &one.uid);
            match marks.made(settings.provider, place.provider_id.as_str(), object, &one.raw) {
                Made::ByUs => ours.push(one),
                Made::IfFound(name) => doubtful.push((one, name)),
                Made::ByOthers => {}
            }
        }
        if doubtful.is_empty() {
            return Ok(ours);
        }
        match self.tokens().ensure(connection).await {
            Ok(_) => {}
            Err(TokenError::Store(error)) => return Err(error.into()),
            Err(TokenError::Vault(error)) => return Err(OpenError::Vault(error).into()),
        }
        let driver = self.drivers.open_for(connection, Urgency::Interactive).await?;
        let names: Vec<ProviderId> = doubtful.iter().map(|(_, name)| name.clone()).collect();
        for some in names.chunks(driver.capabilities().read_batch.max(1)) {
            let changes = driver.read(&place, some).await.map_err(OpenError::from)?;
            let found: HashSet<&ProviderId> = changes.iter().map(RemoteChange::provider_id).collect();
            let (known, rest): (Vec<_>, Vec<_>) =
                doubtful.into_iter().partition(|(one, _)| found.contains(&one.provider_id));
            ours.extend(known.into_iter().map(|(one, _)| one));
            doubtful = rest;
        }
        Ok(ours)
    }

    async fn cleaned(&self, one: &Marked, terms: &Terms) -> Result<CleanedView, WriteError> {
        let (outcome, error) = match self.delete_event(one.id, Reach::ALL, terms).await {
            Ok(_) if terms.mode == Mode::Explain => ("found", None),
            Ok(_) => ("deleted", None),
            Err(WriteError::Refused(refusal)) => ("refused", Some(refusal.message)),
            Err(error @ (WriteError::Busy | WriteError::NotFound(_))) => ("refused", Some(error.to_string())),
            Err(error) => return Err(error),
        };
        Ok(CleanedView {
            event_id: one.id,
            provider_event_id: one.provider_id.as_str().to_owned(),
            outcome,
            error,
        })
    }
}
