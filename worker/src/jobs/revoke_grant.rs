//! The job `revoke`: works off the departure of a connection that was disconnected.
//!
//! The provider is told first, with the sealed token, for as long as the departure's patience lasts: what is watched is
//! stopped, then the grant is ended. Then the secrets are erased, whatever came of it, and what came of it is kept for people. Events that are to go are removed a few at
//! a time, whether or not the provider can be reached. An account that was connected again meanwhile has no departure
//! any more, and the fence keeps a run that has not noticed from erasing anything.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::{Claim, Finish, WorkState};
use calfleet_domain::model::{ConnectionId, ConnectionState, WatchId};
use calfleet_providers::driver::{self, DriverError, Problem};
use calfleet_service::drivers::{Drivers, OpenError};
use calfleet_service::tokens::Tokens;
use calfleet_store::audit::{self, AuditEntry};
use calfleet_store::connections::{self, Connection};
use calfleet_store::departures::{self, Departure, Ending, Events};
use calfleet_store::grants::{self, GrantHash};
use calfleet_store::vault::{self, SecretField, VaultError};
use calfleet_store::watches::{self, Watch};
use calfleet_store::{LastProblem, Priority, Scope, Store, StoreError, Tx, purge, work};
use serde_json::json;

use super::Handler;
use super::account::{self, Opened};
use crate::outcome::{LONGEST_BACKOFF, wait_after};

/// Events removed in one transaction.
const AT_ONCE: u32 = 500;
/// Transactions of one run; then others get the slot.
const BATCHES: u32 = 20;

/// The handler of `revoke`.
#[derive(Debug)]
pub struct RevokeGrant {
    /// The database.
    pub store: Store,
    /// The fleet's clock.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub rng: Arc<dyn Rng>,
    /// Where drivers come from.
    pub drivers: Drivers,
    /// Our clients, and the keys that seal tokens.
    pub tokens: Tokens,
    /// How long the claim lasts when it is not renewed.
    pub lease: Duration,
}

/// What came of telling the provider.
enum Told {
    /// It needs to be told nothing more.
    Ended(Ending),
    /// Not yet.
    Failed(DriverError),
}

#[async_trait]
impl Handler for RevokeGrant {
    #[tracing::instrument(name = "job.revoke_grant", skip_all, fields(connection.id = %claim.key.target))]
    async fn run(&self, claim: &Claim) -> Result<Finish, StoreError> {
        let id = ConnectionId(claim.key.target);
        let tx = self.store.read(scope(claim)).await?;
        let (connection, departure) = (connections::load(&tx, id).await?, departures::load(&tx, id).await?);
        drop(tx);
        let (Some(connection), Some(mut departure)) = (connection, departure) else {
            return Ok(Finish::done(Timestamp::NEVER)); // connected again meanwhile
        };
        if connection.state != ConnectionState::Disconnected || departure.ended_at.is_some() {
            return Ok(Finish::done(Timestamp::NEVER));
        }
        let mut failure = None;
        if departure.ending.is_none() && departure.not_before <= self.clock.now() {
            failure = self.tell(claim, &connection, &mut departure).await?;
        }
        let is_purged = match departure.events {
            Events::Keep => true,
            Events::Purge => self.purge(claim, id, &mut departure).await?,
        };
        if is_purged && departure.ending.is_some() {
            self.end(claim, id, &mut departure).await?;
        }
        Ok(finish(&departure, is_purged, failure.as_ref(), self.clock.now()))
    }
}

impl RevokeGrant {
    /// Tells the provider and keeps what came of it; the failure when it has to be tried again.
    async fn tell(
        &self,
        claim: &Claim,
        connection: &Connection,
        departure: &mut Departure,
    ) -> Result<Option<DriverError>, StoreError> {
        let told = match self.stop_watches(claim, connection).await? {
            Some(error) if self.clock.now() < departure.until => Told::Failed(error),
            _ => self.revoke(connection).await?,
        };
        let now = self.clock.now();
        match told {
            Told::Ended(ending) => {
                departure.ending = Some(ending);
                self.erase(claim, connection, departure, None).await?;
                Ok(None)
            }
            Told::Failed(error) if now >= departure.until => {
                tracing::warn!(error = %error, "a provider could not be told in time that a connection has ended");
                departure.ending = Some(Ending::GaveUp);
                self.erase(claim, connection, departure, Some(&error)).await?;
                Ok(None)
            }
            Told::Failed(error) => {
                let rng = self.rng.as_ref();
                let wait = wait_after(error.class, departure.attempt, LONGEST_BACKOFF, now, rng);
                departure.attempt = wait.attempt;
                departure.not_before = wait.until.min(departure.until);
                let tx = self.begin(claim).await?;
                departures::save(&tx, connection.id, departure).await?;
                self.commit(tx, claim).await?;
                Ok(Some(error))
            }
        }
    }

    /// Stops what is watched with the connection's credentials, while those are good; why that did not succeed. What
    /// cannot be stopped any more ends by itself.
    async fn stop_watches(
        &self,
        claim: &Claim,
        connection: &Connection,
    ) -> Result<Option<DriverError>, StoreError> {
        let tx = self.store.read(scope(claim)).await?;
        let all = watches::of_connection(&tx, connection.id).await?;
        drop(tx);
        let now = self.clock.now();
        let open: Vec<&Watch> =
            all.iter().filter(|watch| watch.provider_id.is_some() && watch.expires_at > now).collect();
        if open.is_empty() {
            return Ok(None);
        }
        let driver = match account::open(&self.tokens, &self.drivers, claim, connection).await? {
            Opened::Ready(driver) => driver,
            // the provider has said that the credentials are over
            Opened::Later(finish) if finish.state == WorkState::Held => return Ok(None),
            Opened::Later(_) => return Ok(Some(busy())),
            Opened::Unusable(OpenError::Driver(error)) => return Ok(Some(error)),
            Opened::Unusable(_) => return Ok(Some(unusable("its stored secret cannot be opened"))),
        };
        for watch in open {
            let named = driver::Watch {
                id: watch.provider_id.clone().unwrap_or_default(),
                resource: watch.resource.clone(),
                expires_at: watch.expires_at,
            };
            match driver.unwatch(&named).await {
                Ok(()) => {}
                Err(error) if error.class == FailureClass::Auth => return Ok(None),
                Err(error) => return Ok(Some(error)),
            }
            let tx = self.begin(claim).await?;
            watches::forget(&tx, &[watch.id]).await?;
            self.commit(tx, claim).await?;
        }
        Ok(None)
    }

    /// Ends the grant at the provider, unless somebody else lives on it.
    async fn revoke(&self, connection: &Connection) -> Result<Told, StoreError> {
        let Tokens { ring, clients, .. } = &self.tokens;
        let provider = connection.settings.provider;
        let tx = self.store.read(Scope::Organization(connection.organization_id)).await?;
        let Some(held) = grants::load(&tx, connection.id).await? else {
            return Ok(Told::Ended(Ending::Nothing));
        };
        if held.subject.is_some() {
            // what a service account is given runs out by itself
            return Ok(Told::Ended(Ending::Nothing));
        }
        let opened = async {
            let client = clients.of_grant(&tx, ring, provider, held.client_id.as_deref()).await?;
            let refresh = vault::open(&tx, ring, connection.id, SecretField::RefreshToken).await?;
            let access = vault::open(&tx, ring, connection.id, SecretField::AccessToken).await?;
            Ok((client, refresh.or(access)))
        };
        let (client, token) = match opened.await {
            Ok(opened) => opened,
            Err(VaultError::Store(error)) => return Err(error),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a stored token cannot be opened");
                return Ok(Told::Failed(unusable("its stored secret cannot be opened")));
            }
        };
        drop(tx);
        let Some(token) = token else { return Ok(Told::Ended(Ending::Nothing)) };
        let Some(client) = client else {
            return Ok(Told::Failed(unusable("the client of this authorization is not configured any more")));
        };
        let settings = client.settings();
        if settings.revoke_url.is_none() {
            return Ok(Told::Ended(Ending::NotOffered));
        }
        let grant = GrantHash::of(provider, &settings.client_id, &connection.settings.account);
        let tx = self.store.read(Scope::Fleet).await?;
        let is_shared = grants::is_held_by_another(&tx, grant, connection.id).await?;
        drop(tx);
        if is_shared {
            return Ok(Told::Ended(Ending::Shared));
        }
        Ok(match client.revoke(&token.secret, self.clock.now()).await {
            Ok(()) => Told::Ended(Ending::Revoked),
            Err(error) => Told::Failed(error),
        })
    }

    /// Erases the secrets and keeps what became of the grant, with the problem if there was one.
    async fn erase(
        &self,
        claim: &Claim,
        connection: &Connection,
        departure: &Departure,
        failure: Option<&DriverError>,
    ) -> Result<(), StoreError> {
        let (id, now) = (connection.id, self.clock.now());
        let tx = self.begin(claim).await?;
        let watches: Vec<WatchId> =
            watches::of_connection(&tx, id).await?.into_iter().map(|watch| watch.id).collect();
        watches::forget(&tx, &watches).await?;
        vault::erase(&tx, id).await?;
        grants::forget(&tx, id).await?;
        grants::let_go(&tx, id).await?;
        departures::save(&tx, id, departure).await?;
        let ending = departure.ending.map(Ending::as_str);
        if let Some(error) = failure {
            let text = format!(
                "The provider could not be told that this connection has ended ({}); remove the access of this application on the provider's pages.",
                error.problem
            );
            let problem = LastProblem { code: error.problem.code().to_owned(), text, at: now };
            connections::set_problem(&tx, id, Some(&problem), now).await?;
        }
        let detail = json!({ "grant": ending, "problem": failure.map(|error| error.problem.code()) });
        self.audit(&tx, id, "connection.erase_secrets", detail).await?;
        self.commit(tx, claim).await
    }

    /// Removes events for one run; whether none is left.
    async fn purge(
        &self,
        claim: &Claim,
        id: ConnectionId,
        departure: &mut Departure,
    ) -> Result<bool, StoreError> {
        for _ in 0..BATCHES {
            let tx = self.begin(claim).await?;
            let removed = purge::events(&tx, id, AT_ONCE).await?;
            let is_rest_gone = removed == 0 && purge::rest(&tx, id, AT_ONCE).await?;
            departure.purged += i64::try_from(removed).unwrap_or(i64::MAX);
            departures::save(&tx, id, departure).await?;
            self.commit(tx, claim).await?;
            if is_rest_gone {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn end(
        &self,
        claim: &Claim,
        id: ConnectionId,
        departure: &mut Departure,
    ) -> Result<(), StoreError> {
        departure.ended_at = Some(self.clock.now());
        let tx = self.begin(claim).await?;
        departures::save(&tx, id, departure).await?;
        if departure.events == Events::Purge {
            let detail = json!({ "events": departure.purged });
            self.audit(&tx, id, "connection.purge", detail).await?;
        }
        self.commit(tx, claim).await
    }

    async fn audit(
        &self,
        tx: &Tx,
        id: ConnectionId,
        action: &str,
        detail: serde_json::Value,
    ) -> Result<(), StoreError> {
        let at = self.clock.now();
        let entry = AuditEntry {
            id: self.rng.uuid(at),
            at,
            actor: "calfleet".to_owned(),
            action: action.to_owned(),
            target_kind: "connection".to_owned(),
            target: Some(id.0),
            detail: Some(detail),
        };
        audit::record(tx, &entry).await
    }

    async fn begin(&self, claim: &Claim) -> Result<Tx, StoreError> {
        self.store.begin(scope(claim), Priority::Background).await
    }

    async fn commit(&self, tx: Tx, claim: &Claim) -> Result<(), StoreError> {
        work::fence(&tx, claim, self.lease, self.clock.now()).await?;
        tx.commit().await
    }
}

/// When the departure is looked at again: at once while events are left, when the provider is tried again, or never.
fn finish(departure: &Departure, is_purged: bool, failure: Option<&DriverError>, now: Timestamp) -> Finish {
    let provider = if departure.ending.is_none() { departure.not_before } else { Timestamp::NEVER };
    let purge = if is_purged { Timestamp::NEVER } else { now };
    Finish {
        attempt: departure.attempt,
        class: failure.map(|error| error.class),
        error: failure.map(|error| error.problem.to_string()),
        ..Finish::done(provider.min(purge))
    }
}

fn busy() -> DriverError {
    let reason = "its token is being refreshed".to_owned();
    DriverError::new("stop watches", FailureClass::Transient, Problem::UnreadableAnswer { reason })
}

fn unusable(reason: &str) -> DriverError {
    let problem = Problem::ClientRefused { reason: reason.to_owned() };
    DriverError::new("revoke the authorization", FailureClass::Permanent, problem)
}

fn scope(claim: &Claim) -> Scope {
    Scope::Organization(claim.organization_id)
}
