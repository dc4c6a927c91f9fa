//! Disconnecting: the connection stops in one transaction; the job `revoke` then tells the provider, erases the
//! secrets and, where that is wanted, removes the events.
//!
//! Doing it twice is doing it once. Events that are kept are bound again, with their cursors, when the account is
//! connected again; while it is gone they are as old as they are and say so.

use std::time::Duration;

use calfleet_domain::job::{Ask, Asker, Kind, Lane, WorkKey};
use calfleet_domain::model::{Authentication, ConnectionId, ConnectionState, OrganizationId};
use calfleet_store::connections::Connection;
use calfleet_store::departures::{Ending, Events};
use calfleet_store::grants::{self, GrantHash};
use calfleet_store::{Scope, calendar_sync, connections, departures, purge, vault, work};
use serde::Serialize;
use serde_json::json;

use crate::control::ControlError;
use crate::service::{Actor, Service};

/// How long the provider is tried, with the sealed token; then the token is erased all the same.
const PATIENCE: Duration = Duration::from_hours(24);

/// What disconnecting would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DisconnectPlan {
    /// The connection.
    pub connection: ConnectionId,
    /// What people call it.
    pub label: String,
    /// Whether it is disconnected already.
    pub is_disconnected: bool,
    /// What becomes of the events: `keep`, `purge`.
    pub events: &'static str,
    /// How many there are.
    pub event_count: i64,
    /// Local edits that the provider would never be told.
    pub pending: i64,
    /// What becomes of the grant: `nothing`, `revoked`, `shared`, `not_offered`.
    pub grant: &'static str,
}

impl Service {
    /// What [`Self::disconnect`] would do.
    ///
    /// # Errors
    /// When there is no such connection, or our database fails.
    pub async fn plan_disconnect(
        &self,
        organization: OrganizationId,
        id: ConnectionId,
        events: Events,
    ) -> Result<DisconnectPlan, ControlError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let connection = connections::load(&tx, id).await?.ok_or(ControlError::NotFound)?;
        let holdings = purge::holdings(&tx, id).await?;
        let grant = self.grant_of(&tx, &connection).await?;
        drop(tx);
        let ending = match grant {
            Grant::None => Ending::Nothing,
            Grant::Endless => Ending::NotOffered,
            Grant::Of(hash) => {
                let tx = self.store.read(Scope::Fleet).await?;
                let is_shared = grants::is_held_by_another(&tx, hash, id).await?;
                if is_shared { Ending::Shared } else { Ending::Revoked }
            }
        };
        Ok(DisconnectPlan {
            connection: id,
            label: connection.settings.label,
            is_disconnected: connection.state == ConnectionState::Disconnected,
            events: events.as_str(),
            event_count: holdings.events,
            pending: holdings.pending,
            grant: ending.as_str(),
        })
    }

    /// Disconnects: nothing of the connection runs any more from the commit on, and what runs is ended. Whether that
    /// was a change; events that were to be kept can still be purged afterwards.
    ///
    /// # Errors
    /// When there is no such connection, or our database fails.
    pub async fn disconnect(
        &self,
        organization: OrganizationId,
        id: ConnectionId,
        events: Events,
        actor: &Actor,
    ) -> Result<bool, ControlError> {
        let now = self.now();
        let tx = self.begin(organization).await?;
        let connection = connections::load(&tx, id).await?.ok_or(ControlError::NotFound)?;
        let leaves = connections::set_state(&tx, id, ConnectionState::Disconnected, now).await?;
        let changed = departures::begin(&tx, id, events, now.plus(PATIENCE), now).await?;
        if !leaves && !changed {
            return Ok(false);
        }
        connections::set_problem(&tx, id, None, now).await?;
        grants::let_go(&tx, id).await?;
        if connection.settings.authentication != Authentication::Oauth {
            // nothing is left to be asked with it
            vault::erase(&tx, id).await?;
        }
        if events == Events::Purge {
            calendar_sync::restart(&tx, id).await?;
        }
        let detail = json!({ "events": events.as_str() });
        self.audit(&tx, actor, "connection.disconnect", id.0, Some(detail)).await?;
        let rows = work::of_connection(&tx, id).await?;
        let running: Vec<WorkKey> = rows.iter().map(|row| row.key).filter(|key| *key != revoke(id)).collect();
        work::cancel(&tx, &running).await?;
        let ask = Ask {
            key: revoke(id),
            organization_id: organization,
            connection_id: Some(id),
            lane: Lane::Upkeep,
            at: now,
            asker: Asker::Person,
        };
        work::ask(&tx, &[ask]).await?;
        tx.commit().await?;
        self.nudge.nudge();
        Ok(true)
    }

    async fn grant_of(
        &self,
        tx: &calfleet_store::Tx,
        connection: &Connection,
    ) -> Result<Grant, ControlError> {
        let Some(held) = grants::load(tx, connection.id).await? else { return Ok(Grant::None) };
        if held.subject.is_some() {
            return Ok(Grant::None);
        }
        let (ring, provider) = (self.drivers.ring(), connection.settings.provider);
        let clients = &self.sign_in.clients;
        let Some(client) = clients.of_grant(tx, ring, provider, held.client_id.as_deref()).await? else {
            return Ok(Grant::Endless);
        };
        let settings = client.settings();
        if settings.revoke_url.is_none() {
            return Ok(Grant::Endless);
        }
        Ok(Grant::Of(GrantHash::of(provider, &settings.client_id, &connection.settings.account)))
    }
}

/// What can be ended at the provider.
enum Grant {
    /// Nothing.
    None,
    /// A grant that only the person can end.
    Endless,
    /// A grant, and who else lives on it is found by this.
    Of(GrantHash),
}

/// The row of `work` that a departure is worked off by.
pub(crate) fn revoke(id: ConnectionId) -> WorkKey {
    WorkKey { kind: Kind::Revoke, target: id.0 }
}
