//! As whom we sign in: the deployment's OAuth client at each provider, or the organization's own.
//!
//! New grants are made with the organization's client where it has one. A grant is used, refreshed and ended with the
//! client that made it, whichever is current.

use std::collections::BTreeMap;
use std::sync::Arc;

use calfleet_domain::model::ProviderKind;
use calfleet_providers::oauth::OauthClient;
use calfleet_store::Tx;
use calfleet_store::provider_clients::{self, ClientKind, Which};
use calfleet_store::vault::{KeyRing, VaultError};

/// The deployment's clients, by provider. One without a name only says where the provider is: organizations can
/// bring their own, others are not offered it.
#[derive(Debug, Clone, Default)]
pub struct OauthClients {
    places: BTreeMap<ProviderKind, Arc<OauthClient>>,
    has_no_way_back: bool,
}

impl OauthClients {
    /// One more provider.
    #[must_use]
    pub fn with(mut self, client: OauthClient) -> Self {
        self.places.insert(client.settings().provider, Arc::new(client));
        self
    }

    /// Nobody's browser finds back to this deployment: people cannot sign in, service accounts can act.
    #[must_use]
    pub fn without_a_way_back(self) -> Self {
        Self { has_no_way_back: true, ..self }
    }

    /// Where the provider is; `None` for one that is not asked by OAuth, or not set up.
    pub fn place(&self, provider: ProviderKind) -> Option<&Arc<OauthClient>> {
        self.places.get(&provider)
    }

    fn deployments(&self, provider: ProviderKind) -> Option<&Arc<OauthClient>> {
        self.place(provider).filter(|client| !client.settings().client_id.is_empty())
    }

    /// The client that new grants of the transaction's organization are made with; `None` where neither it nor the
    /// deployment has one.
    ///
    /// # Errors
    /// When the database or the vault fails.
    pub async fn current(
        &self,
        tx: &Tx,
        ring: &KeyRing,
        provider: ProviderKind,
    ) -> Result<Option<Arc<OauthClient>>, VaultError> {
        if self.has_no_way_back {
            return Ok(None);
        }
        let own = self.own(tx, ring, provider, Which::Current).await?;
        Ok(own.or_else(|| self.deployments(provider).cloned()))
    }

    /// The client that a grant of the transaction's organization was made with; `None` when it is no longer set up. A
    /// grant that does not say was made with the deployment's.
    ///
    /// # Errors
    /// When the database or the vault fails.
    pub async fn of_grant(
        &self,
        tx: &Tx,
        ring: &KeyRing,
        provider: ProviderKind,
        client_id: Option<&str>,
    ) -> Result<Option<Arc<OauthClient>>, VaultError> {
        let deployments = self.deployments(provider);
        let Some(client_id) = client_id else { return Ok(deployments.cloned()) };
        let own = self.own(tx, ring, provider, Which::Named(client_id)).await?;
        Ok(own.or_else(|| deployments.filter(|client| client.settings().client_id == client_id).cloned()))
    }

    async fn own(
        &self,
        tx: &Tx,
        ring: &KeyRing,
        provider: ProviderKind,
        which: Which<'_>,
    ) -> Result<Option<Arc<OauthClient>>, VaultError> {
        let Some(place) = self.place(provider) else { return Ok(None) };
        let own = provider_clients::open(tx, ring, provider, ClientKind::Oauth, which).await?;
        Ok(own.map(|(client, secret)| Arc::new(place.of(&client.name, secret))))
    }
}
