//! Access tokens that are good when they are needed: one refresh per generation over the whole fleet.
//!
//! Whoever refreshes holds the lease of the connection's `refresh` row: the job of that name ahead of time, or a sync
//! that finds its token too old and claims the row inline, in its own slot. Everybody else reads what was stored. The
//! new tokens are committed, with the fence, before anybody uses them; a refusal counts only if the refresh token
//! that was sent is still the stored one, and only on the provider's own word.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::job::{Ask, Asker, Claim, Finish, Kind, Lane, WorkKey};
use calfleet_domain::model::{Authentication, ConnectionId, ConnectionState, LeaseOwner, OrganizationId};
use calfleet_providers::driver::{DriverError, Problem};
use calfleet_providers::oauth;
use calfleet_store::audit::{self, AuditEntry};
use calfleet_store::connections::{self, Connection};
use calfleet_store::grants::{self, Grant};
use calfleet_store::provider_clients::{self, ClientKind};
use calfleet_store::vault::{self, KeyRing, SecretField, VaultError};
use calfleet_store::work::{self, HintedRow};
use calfleet_store::{LastProblem, Priority, Scope, Store, StoreError, Tx};
use serde_json::json;
use uuid::Uuid;

use crate::clients::OauthClients;

/// A token that ends sooner than this is refreshed ahead of time.
pub const AHEAD: Duration = Duration::from_mins(5);
/// A token that ends sooner than this is not used any more.
const LAST_USE: Duration = Duration::from_mins(1);
/// What somebody waits for another's refresh.
pub const REFRESH_TAKES: Duration = Duration::from_secs(1);
/// Longer than a refresh can take, requests and commit included.
const LEASE: Duration = Duration::from_secs(30);

/// Keeps access tokens good.
#[derive(Clone)]
pub struct Tokens {
    /// The database.
    pub store: Store,
    /// The keys that seal secrets.
    pub ring: Arc<KeyRing>,
    /// Our clients.
    pub clients: OauthClients,
    /// The fleet's clock.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub rng: Arc<dyn Rng>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// What came of looking after a token.
#[derive(Debug)]
pub enum Access {
    /// The stored token is good until then; [`Timestamp::NEVER`] for a connection that uses none.
    Ready {
        /// Until when.
        until: Timestamp,
    },
    /// Somebody else refreshes it just now.
    Busy,
    /// It could not be refreshed; the authorization may be good all the same.
    Failed(DriverError),
    /// The provider says that the authorization is over; that is stored.
    Ended(DriverError),
}

/// Our own side failed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The database.
    #[error("look after a token")]
    Store(#[from] StoreError),
    /// The vault: never the user's credentials.
    #[error("open or seal a token")]
    Vault(#[source] VaultError),
}

impl From<VaultError> for TokenError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Store(error) => Self::Store(error),
            error => Self::Vault(error),
        }
    }
}

impl Tokens {
    /// Sees to it that the connection's stored access token is good, refreshing it here if nobody else does.
    ///
    /// # Errors
    /// Only when our own side failed.
    pub async fn ensure(&self, connection: &Connection) -> Result<Access, TokenError> {
        if connection.settings.authentication != Authentication::Oauth {
            return Ok(Access::Ready { until: Timestamp::NEVER });
        }
        let now = self.clock.now();
        let until = self.until(connection).await?;
        if until > now.plus(LAST_USE) {
            return Ok(Access::Ready { until });
        }
        let row = HintedRow {
            key: key(connection.id),
            organization_id: connection.organization_id,
            lane: Lane::Upkeep,
        };
        let owner = LeaseOwner(self.rng.uuid(now));
        let Some(claim) = work::claim_free(&self.store, row, owner, LEASE, now).await? else {
            self.ask(connection, now).await?;
            return Ok(Access::Busy);
        };
        let refreshed = self.refresh(&claim, connection).await;
        // Whatever came of it: the row is given back, and looked at when the token has grown old again.
        let now = self.clock.now();
        let next = match &refreshed {
            Ok(Access::Ready { until }) => self.ahead(*until),
            Ok(Access::Ended(_)) => Timestamp::NEVER,
            _ => now.plus(AHEAD),
        };
        work::finish(&self.store, &[(&claim, &Finish::done(next))], now).await?;
        refreshed
    }

    /// When a token that is good until then is to be refreshed.
    pub fn ahead(&self, until: Timestamp) -> Timestamp {
        ahead(until, self.rng.as_ref())
    }

    /// Refreshes a connection's tokens under the claim of its `refresh` row, unless that has been done meanwhile.
    ///
    /// # Errors
    /// Only when our own side failed, or the lease was lost.
    pub async fn refresh(&self, claim: &Claim, connection: &Connection) -> Result<Access, TokenError> {
        let id = connection.id;
        let tx = self.store.read(scope(connection.organization_id)).await?;
        let Some(held) = grants::load(&tx, id).await? else {
            return Ok(Access::Failed(no_token()));
        };
        if held.access_expires_at > self.clock.now().plus(AHEAD) {
            return Ok(Access::Ready { until: held.access_expires_at });
        }
        if let Some(subject) = &held.subject {
            drop(tx);
            return self.act(claim, connection, &held, subject).await;
        }
        let Some(sent) = vault::open(&tx, &self.ring, id, SecretField::RefreshToken).await? else {
            return Ok(Access::Failed(no_token()));
        };
        let (provider, client_id) = (connection.settings.provider, held.client_id.as_deref());
        let Some(client) = self.clients.of_grant(&tx, &self.ring, provider, client_id).await? else {
            return Ok(Access::Failed(no_client()));
        };
        drop(tx);
        // no transaction is open while the provider is asked
        let asked_at = self.clock.now();
        match client.refresh(&sent.secret, asked_at).await {
            Ok(granted) => {
                let until = self.keep(claim, id, &held, granted, asked_at).await?;
                Ok(Access::Ready { until })
            }
            Err(error) if error.problem == Problem::AccessRevoked => {
                self.end(claim, connection, &Proof::RefreshToken(sent.generation), error).await
            }
            Err(error) => Ok(Access::Failed(error)),
        }
    }

    /// Stores new tokens, before anybody uses them.
    pub(crate) async fn keep(
        &self,
        claim: &Claim,
        id: ConnectionId,
        held: &Grant,
        granted: oauth::Grant,
        asked_at: Timestamp,
    ) -> Result<Timestamp, TokenError> {
        let now = self.clock.now();
        let tx = self.begin(claim.organization_id).await?;
        let terms = Terms {
            scopes: if granted.scopes.is_empty() { held.scopes.clone() } else { granted.scopes.clone() },
            client_id: held.client_id.clone(),
            subject: held.subject.clone(),
        };
        let stored = store_grant(&tx, &self.ring, id, &granted, terms, (asked_at, now)).await?;
        let entry = AuditEntry {
            id: self.rng.uuid(now),
            at: now,
            actor: "calfleet".to_owned(),
            action: "secret.refresh".to_owned(),
            target_kind: "connection".to_owned(),
            target: Some(id.0),
            detail: Some(json!({ "client": held.client_id })),
        };
        audit::record(&tx, &entry).await?;
        work::fence(&tx, claim, LEASE, now).await?;
        tx.commit().await?;
        Ok(stored)
    }

    /// The provider's refusal, if it was about what is stored.
    pub(crate) async fn end(
        &self,
        claim: &Claim,
        connection: &Connection,
        proof: &Proof,
        error: DriverError,
    ) -> Result<Access, TokenError> {
        let now = self.clock.now();
        let tx = self.begin(claim.organization_id).await?;
        if !self.is_stored(&tx, connection, proof).await? {
            tx.rollback().await?;
            return Ok(Access::Busy); // another one was stored meanwhile: the refusal was about the old one
        }
        let evidence = json!({
            "operation": error.operation, "problem": error.problem.code(), "at": now.0,
        });
        let text = error.problem.to_string();
        let problem = LastProblem { code: error.problem.code().to_owned(), text, at: now };
        let stored = connections::load(&tx, connection.id).await?;
        if stored.is_some_and(|stored| stored.state != ConnectionState::Disconnected) {
            connections::set_state(&tx, connection.id, ConnectionState::NeedsReauth, now).await?;
            connections::set_problem(&tx, connection.id, Some(&problem), now).await?;
        }
        grants::end(&tx, connection.id, &evidence).await?;
        work::fence(&tx, claim, LEASE, now).await?;
        tx.commit().await?;
        Ok(Access::Ended(error))
    }

    async fn is_stored(&self, tx: &Tx, connection: &Connection, proof: &Proof) -> Result<bool, TokenError> {
        match proof {
            Proof::RefreshToken(generation) => {
                let stored = vault::open(tx, &self.ring, connection.id, SecretField::RefreshToken).await?;
                Ok(stored.is_some_and(|stored| stored.generation == *generation))
            }
            Proof::Key { name, secret_id } => {
                let (at, kind) = (connection.settings.provider, ClientKind::ServiceAccount);
                Ok(provider_clients::has_secret(tx, at, kind, name, *secret_id).await?)
            }
        }
    }

    /// The provider's API refused the access token that was opened at `opened_at`: it is not used again. One that took its
    /// place since is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn distrust(&self, connection: &Connection, opened_at: Timestamp) -> Result<(), TokenError> {
        let tx = self.begin(connection.organization_id).await?;
        grants::distrust(&tx, connection.id, opened_at).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn until(&self, connection: &Connection) -> Result<Timestamp, StoreError> {
        let tx = self.store.read(scope(connection.organization_id)).await?;
        Ok(grants::load(&tx, connection.id).await?.map_or(Timestamp::ZERO, |held| held.access_expires_at))
    }

    async fn ask(&self, connection: &Connection, now: Timestamp) -> Result<(), StoreError> {
        let tx = self.begin(connection.organization_id).await?;
        work::ask(&tx, &[ask(connection.organization_id, connection.id, now)]).await?;
        tx.commit().await
    }

    async fn begin(&self, organization: OrganizationId) -> Result<Tx, StoreError> {
        self.store.begin(scope(organization), Priority::Background).await
    }
}

/// What was shown to the provider when it refused.
pub(crate) enum Proof {
    /// The refresh token of that generation.
    RefreshToken(i64),
    /// A service account's key.
    Key { name: String, secret_id: Uuid },
}

/// What was granted, to whom, for whom.
pub(crate) struct Terms {
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) client_id: Option<String>,
    /// The person whom a service account stands in for.
    pub(crate) subject: Option<String>,
}

/// Seals what was granted and notes how long it lasts; until when the access token is good. `asked_at` is from before
/// the request: a token's life begins no later.
pub(crate) async fn store_grant(
    tx: &Tx,
    ring: &KeyRing,
    id: ConnectionId,
    granted: &oauth::Grant,
    terms: Terms,
    (asked_at, now): (Timestamp, Timestamp),
) -> Result<Timestamp, VaultError> {
    if let Some(refresh) = &granted.refresh_token {
        vault::seal(tx, ring, id, SecretField::RefreshToken, refresh, now).await?;
    }
    vault::seal(tx, ring, id, SecretField::AccessToken, &granted.access_token, now).await?;
    let grant = Grant {
        scopes: terms.scopes,
        access_expires_at: asked_at.plus(granted.expires_in),
        refreshed_at: now,
        refresh_expires_at: granted.refresh_expires_in.map(|life| asked_at.plus(life)),
        client_id: terms.client_id,
        subject: terms.subject,
    };
    grants::put(tx, id, &grant).await?;
    Ok(grant.access_expires_at)
}

/// When a token that is good until then is to be refreshed: ahead of time, and not all at once.
pub(crate) fn ahead(until: Timestamp, rng: &dyn Rng) -> Timestamp {
    let spread = AHEAD + rng.jitter(AHEAD);
    Timestamp(until.0.saturating_sub(i64::try_from(spread.as_millis()).unwrap_or(i64::MAX)))
}

/// The row whose lease is the right to refresh.
pub(crate) fn key(id: ConnectionId) -> WorkKey {
    WorkKey { kind: Kind::Refresh, target: id.0 }
}

/// Asks for a refresh at `at`.
pub(crate) fn ask(organization_id: OrganizationId, id: ConnectionId, at: Timestamp) -> Ask {
    Ask {
        key: key(id),
        organization_id,
        connection_id: Some(id),
        lane: Lane::Upkeep,
        at,
        asker: Asker::Machine,
    }
}

fn scope(organization: OrganizationId) -> Scope {
    Scope::Organization(organization)
}

fn no_token() -> DriverError {
    let action = "refresh an authorization that gave no refresh token".to_owned();
    DriverError::new(
        "refresh the token",
        calfleet_domain::failure::FailureClass::Permanent,
        Problem::Unsupported { action },
    )
}

pub(crate) fn no_client() -> DriverError {
    let reason = "the client of this authorization is not configured any more".to_owned();
    DriverError::new(
        "refresh the token",
        calfleet_domain::failure::FailureClass::Permanent,
        Problem::ClientRefused { reason },
    )
}
