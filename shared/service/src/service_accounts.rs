//! Service accounts: tokens for people whose administrator has agreed for them, and the settings that go with it.
//!
//! They are for organizations that opted in, and the opting in is looked at whenever a token is asked for. A token is
//! asked for under the same lease as any refresh, so that one request is under way for a connection.

use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::Claim;
use calfleet_domain::model::{OrganizationId, ProviderKind};
use calfleet_providers::driver::{DriverError, Problem};
use calfleet_providers::oauth;
use calfleet_providers::registry::provider;
use calfleet_providers::service_account::{KeyFileError, ServiceAccount};
use calfleet_store::connections::Connection;
use calfleet_store::grants::Grant;
use calfleet_store::provider_clients::{self, ClientKind, ProviderClient, Which};
use calfleet_store::vault::VaultError;
use calfleet_store::{Scope, StoreError, Tx, organizations};
use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use crate::service::{Actor, Service};
use crate::tokens::{Access, Proof, TokenError, Tokens, no_client};

/// What an organization's own client or service account could not be set for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The key file.
    #[error("read the key file")]
    KeyFile(#[from] KeyFileError),
    /// Nothing is asked there by OAuth, or by a service account.
    #[error("{0} is not asked in this way")]
    NotOffered(ProviderKind),
    /// The organization has not opted in.
    #[error(
        "the organization does not allow service accounts; 'calfleet admin organization allow-service-accounts' does"
    )]
    NotAllowed,
    /// Grants depend on it.
    #[error("{0} connections depend on it; disconnect them first")]
    InUse(i64),
    /// There is none.
    #[error("the organization has no such client")]
    NotFound,
    /// Our database.
    #[error("store the client")]
    Store(#[from] StoreError),
    /// Our vault.
    #[error("seal the client's secret")]
    Vault(#[from] VaultError),
}

impl Tokens {
    /// A new token for a connection that a service account acts for.
    pub(crate) async fn act(
        &self,
        claim: &Claim,
        connection: &Connection,
        held: &Grant,
        subject: &str,
    ) -> Result<Access, TokenError> {
        let at = connection.settings.provider;
        let tx = self.store.read(Scope::Organization(connection.organization_id)).await?;
        let name = held.client_id.as_deref().unwrap_or_default();
        let known = match load(&tx, self, at, Which::Named(name)).await? {
            Ok(known) => known,
            Err(error) => return Ok(Access::Failed(error)),
        };
        drop(tx);
        let asked_at = self.clock.now();
        match known.act_for(self, at, subject, asked_at).await {
            Ok(granted) => {
                let until = self.keep(claim, connection.id, held, granted, asked_at).await?;
                Ok(Access::Ready { until })
            }
            Err(error) if error.problem == Problem::AccessRevoked => {
                let proof = Proof::Key { name: known.client.name, secret_id: known.client.secret_id };
                self.end(claim, connection, &proof, error).await
            }
            Err(error) => Ok(Access::Failed(error)),
        }
    }
}

/// A service account that may be used.
pub(crate) struct Known {
    pub(crate) client: ProviderClient,
    account: ServiceAccount,
}

impl Known {
    /// A token for the person of that address.
    pub(crate) async fn act_for(
        &self,
        tokens: &Tokens,
        at: ProviderKind,
        subject: &str,
        now: calfleet_domain::clock::Timestamp,
    ) -> Result<oauth::Grant, DriverError> {
        let (Some(place), Some(known)) = (tokens.clients.place(at), provider(at)) else {
            return Err(no_client());
        };
        place.act_for(&self.account, subject, known.scopes.read, now).await
    }
}

/// The organization's service account, if it allows any; why not, in words for people.
pub(crate) async fn load(
    tx: &Tx,
    tokens: &Tokens,
    at: ProviderKind,
    which: Which<'_>,
) -> Result<Result<Known, DriverError>, TokenError> {
    let refused = |reason: &str| {
        let problem = Problem::ClientRefused { reason: reason.to_owned() };
        DriverError::new("act as a service account", FailureClass::Permanent, problem)
    };
    if !organizations::load(tx).await?.is_some_and(|organization| organization.allows_service_accounts) {
        return Ok(Err(refused("the organization does not allow service accounts")));
    }
    let opened = provider_clients::open(tx, &tokens.ring, at, ClientKind::ServiceAccount, which).await?;
    let Some((client, key)) = opened else {
        return Ok(Err(refused("the organization has no service account")));
    };
    Ok(match ServiceAccount::read(&key) {
        Ok(account) => Ok(Known { client, account }),
        Err(error) => Err(refused(&error.to_string())),
    })
}

impl Service {
    /// Lets service accounts act for the people of an organization, or no longer; whether that was a change.
    ///
    /// # Errors
    /// When our database fails.
    pub async fn allow_service_accounts(
        &self,
        organization: OrganizationId,
        allows: bool,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        let tx = self.begin(organization).await?;
        let changed = organizations::allow_service_accounts(&tx, allows).await?;
        if changed {
            let detail = json!({ "allows": allows });
            let target = ("organization", organization.0);
            self.audit_of(&tx, actor, "organization.allow_service_accounts", target, Some(detail)).await?;
        }
        tx.commit().await?;
        Ok(changed)
    }

    /// Sets the organization's own OAuth client at a provider: new grants are made with it, those before go on with
    /// the client that made them.
    ///
    /// # Errors
    /// When the provider is not asked by OAuth, or our own side fails.
    pub async fn set_client(
        &self,
        organization: OrganizationId,
        at: ProviderKind,
        client_id: &str,
        secret: &SecretString,
        actor: &Actor,
    ) -> Result<(), ClientError> {
        if self.sign_in.clients.place(at).is_none() {
            return Err(ClientError::NotOffered(at));
        }
        self.set(organization, (at, ClientKind::Oauth, client_id), secret, actor).await
    }

    /// Sets the organization's service account from its key file; its address.
    ///
    /// # Errors
    /// When the organization has not opted in, the file cannot be used, or our own side fails.
    pub async fn set_service_account(
        &self,
        organization: OrganizationId,
        at: ProviderKind,
        file: &SecretString,
        actor: &Actor,
    ) -> Result<String, ClientError> {
        if at != ProviderKind::Google {
            return Err(ClientError::NotOffered(at));
        }
        let account = ServiceAccount::read(file)?;
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let allows = organizations::load(&tx).await?.is_some_and(|one| one.allows_service_accounts);
        drop(tx);
        if !allows {
            return Err(ClientError::NotAllowed);
        }
        self.set(organization, (at, ClientKind::ServiceAccount, account.email()), file, actor).await?;
        Ok(account.email().to_owned())
    }

    async fn set(
        &self,
        organization: OrganizationId,
        client: (ProviderKind, ClientKind, &str),
        secret: &SecretString,
        actor: &Actor,
    ) -> Result<(), ClientError> {
        let tx = self.begin(organization).await?;
        let secret_id: Uuid = self.id();
        let ring = self.drivers.ring();
        provider_clients::set(&tx, ring, client, (secret_id, secret), self.now()).await?;
        self.audit_client(&tx, actor, "client.set", organization, client).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The organization's own clients, the current ones first.
    ///
    /// # Errors
    /// When our database fails.
    pub async fn clients(&self, organization: OrganizationId) -> Result<Vec<ProviderClient>, StoreError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        provider_clients::list(&tx).await
    }

    /// Removes the organization's current client of that kind, once no connection depends on it; its name.
    ///
    /// # Errors
    /// [`ClientError::InUse`] while one does.
    pub async fn remove_client(
        &self,
        organization: OrganizationId,
        at: ProviderKind,
        kind: ClientKind,
        actor: &Actor,
    ) -> Result<String, ClientError> {
        let tx = self.begin(organization).await?;
        let all = provider_clients::list(&tx).await?;
        let is_meant = |client: &&ProviderClient| {
            client.provider == at && client.kind == kind && client.retired_at.is_none()
        };
        let client = all.iter().find(is_meant).ok_or(ClientError::NotFound)?;
        if client.connections > 0 || !provider_clients::remove(&tx, at, kind, &client.name).await? {
            return Err(ClientError::InUse(client.connections));
        }
        self.audit_client(&tx, actor, "client.remove", organization, (at, kind, &client.name)).await?;
        tx.commit().await?;
        Ok(client.name.clone())
    }

    async fn audit_client(
        &self,
        tx: &Tx,
        actor: &Actor,
        action: &str,
        organization: OrganizationId,
        (at, kind, name): (ProviderKind, ClientKind, &str),
    ) -> Result<(), StoreError> {
        let detail = json!({ "provider": at.as_str(), "kind": kind.as_str(), "name": name });
        self.audit_of(tx, actor, action, ("organization", organization.0), Some(detail)).await
    }
}
