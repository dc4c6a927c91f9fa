//! What people do to a connection: sync it now, look at its server again, pause it, resume it.

use calfleet_domain::job::{Kind, WorkKey};
use calfleet_domain::model::{ConnectionId, ConnectionState, OrganizationId};
use calfleet_providers::driver::{ProbeReport, Urgency};
use calfleet_store::calendar_sync::{self, Target, Thoroughness};
use calfleet_store::vault::{self, VaultError};
use calfleet_store::work::Ticket;
use calfleet_store::{Scope, StoreError, connections, watches, work};
use secrecy::SecretString;

use crate::connect::stored_probe;
use crate::drivers::{OpenError, shown_url, url_field};
use crate::service::{Actor, Service};

/// A person's wish could not be met.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No such connection in this organization.
    #[error("find the connection")]
    NotFound,
    /// It does not sync at present; the message says what to do.
    #[error("{}", match .0 {
        ConnectionState::Paused => "the connection is paused; resume it first",
        ConnectionState::NeedsReauth => "the provider has refused the credentials; connect the account again",
        _ => "the connection is disconnected; connect the account again",
    })]
    AtRest(ConnectionState),
    /// Our database failed.
    #[error("change the connection")]
    Store(#[from] StoreError),
    /// The provider could not be asked.
    #[error("ask the provider")]
    Open(#[from] OpenError),
    /// Our vault failed.
    #[error("seal the address")]
    Vault(#[from] VaultError),
}

impl Service {
    /// Asks for a sync of all calendars of a connection now, in full if wanted. It overtakes background work and
    /// shortens a backoff, but no wait that the provider asked for. [`Self::is_served`] takes the ticket.
    ///
    /// # Errors
    /// When there is no such connection, it does not sync at present, or our database fails.
    pub async fn sync_now(
        &self,
        organization: OrganizationId,
        id: ConnectionId,
        thoroughness: Thoroughness,
        actor: &Actor,
    ) -> Result<Option<Ticket>, ControlError> {
        let tx = self.begin(organization).await?;
        let connection = connections::load(&tx, id).await?.ok_or(ControlError::NotFound)?;
        if connection.state != ConnectionState::Active {
            return Err(ControlError::AtRest(connection.state));
        }
        calendar_sync::ask(&tx, Target::Connection(id), thoroughness, self.now()).await?;
        let action = match thoroughness {
            Thoroughness::Everything => "connection.full_sync",
            Thoroughness::Changes => "connection.sync",
        };
        self.audit(&tx, actor, action, id.0, None).await?;
        let ticket = self.ask_sync(&tx, organization, id).await?;
        tx.commit().await?;
        self.nudge.nudge();
        Ok(ticket)
    }

    /// Whether a sync that was asked for has run to its end. A long import gives its slot up in between and is not
    /// done for that.
    ///
    /// # Errors
    /// When our database fails.
    pub async fn is_served(
        &self,
        organization: OrganizationId,
        id: ConnectionId,
        ticket: Ticket,
    ) -> Result<bool, StoreError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let row = work::load(&tx, WorkKey { kind: Kind::Sync, target: id.0 }).await?;
        Ok(row.is_none_or(|row| row.is_served(ticket)))
    }

    /// Stops syncing and pushing until it is resumed; what runs is ended. Whether that was a change.
    ///
    /// # Errors
    /// When there is no such connection, it does not sync at present, or our database fails.
    pub async fn pause(
        &self,
        organization: OrganizationId,
        id: ConnectionId,
        actor: &Actor,
    ) -> Result<bool, ControlError> {
        let tx = self.begin(organization).await?;
        let connection = connections::load(&tx, id).await?.ok_or(ControlError::NotFound)?;
        may_be_paused(connection.state)?;
        let changed = connections::set_state(&tx, id, ConnectionState::Paused, self.now()).await?;
        self.audit(&tx, actor, "connection.pause", id.0, None).await?;
        work::pause(&tx, &resting(id), self.now()).await?;
        let watched = watches::of_connection(&tx, id).await?;
        let watched = watched.into_iter().map(|watch| watch.calendar_id).collect();
        self.ask_watches(&tx, organization, id, watched).await?;
        tx.commit().await?;
        self.nudge.nudge();
        Ok(changed)
    }

    /// Lets a connection's jobs run again, beginning now. Whether that was a change.
    ///
    /// # Errors
    /// When there is no such connection, its credentials are gone, or our database fails.
    pub async fn resume(
        &self,
        organization: OrganizationId,
        id: ConnectionId,
        actor: &Actor,
    ) -> Result<bool, ControlError> {
        let tx = self.begin(organization).await?;
        let connection = connections::load(&tx, id).await?.ok_or(ControlError::NotFound)?;
        may_be_paused(connection.state)?;
        let changed = connections::set_state(&tx, id, ConnectionState::Active, self.now()).await?;
        calendar_sync::ask(&tx, Target::Connection(id), Thoroughness::Changes, self.now()).await?;
        self.audit(&tx, actor, "connection.resume", id.0, None).await?;
        work::resume(&tx, &resting(id), self.now()).await?;
        self.ask_sync(&tx, organization, id).await?;
        if connection.can_be_watched() {
            let neglected = watches::neglected(&tx, id).await?;
            self.ask_watches(&tx, organization, id, neglected).await?;
        }
        tx.commit().await?;
        self.nudge.nudge();
        Ok(changed)
    }

    /// Looks again at what a connection's server can do, and stores it.
    ///
    /// # Errors
    /// When there is no such connection, the provider cannot be asked, or our database fails.
    pub async fn probe(
        &self,
        organization: OrganizationId,
        id: ConnectionId,
    ) -> Result<ProbeReport, ControlError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let connection = connections::load(&tx, id).await?.ok_or(ControlError::NotFound)?;
        drop(tx);
        let mut report = self
            .drivers
            .open_for(&connection, Urgency::Interactive)
            .await?
            .probe()
            .await
            .map_err(OpenError::from)?;
        let provider = connection.settings.provider;
        let (capabilities, probe) = stored_probe(provider, &report)?;
        let url = shown_url(provider, &report.url);
        let tx = self.begin(organization).await?;
        connections::set_probe(&tx, id, &url, &capabilities, &probe, self.now()).await?;
        if let Some(field) = url_field(provider) {
            let url = SecretString::from(report.url.as_str());
            vault::seal(&tx, self.drivers.ring(), id, field, &url, self.now()).await?;
            report.url.set_path("");
            report.url.set_query(None);
        }
        tx.commit().await?;
        Ok(report)
    }
}

/// A pause ends as it began: credentials that were refused, or erased, do not come back by resuming.
fn may_be_paused(state: ConnectionState) -> Result<(), ControlError> {
    match state {
        ConnectionState::Active | ConnectionState::Paused => Ok(()),
        ConnectionState::NeedsReauth | ConnectionState::Disconnected => Err(ControlError::AtRest(state)),
    }
}

/// The rows of `work` that rest while a connection is paused. Its tokens are renewed all the same: a grant that is idle for
/// too long dies, and what a refresh under way is given is good once.
fn resting(id: ConnectionId) -> Vec<WorkKey> {
    [Kind::Sync, Kind::Push].map(|kind| WorkKey { kind, target: id.0 }).to_vec()
}
