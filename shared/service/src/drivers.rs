//! From a stored connection to a driver that speaks for it: the only place where a sealed secret is opened.

use std::fmt;
use std::sync::Arc;

use calfleet_domain::model::{Authentication, ProviderKind};
use calfleet_providers::driver::{Account, Driver, DriverError, Payer, Urgency};
use calfleet_providers::marker::Marks;
use calfleet_providers::registry::Registry;
use calfleet_store::connections::Connection;
use calfleet_store::vault::{self, KeyRing, SecretField, VaultError};
use calfleet_store::{Scope, Store, StoreError};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// Opens drivers; the registry of providers does, and tests put their own in its place.
pub trait OpenAccount: Send + Sync + fmt::Debug {
    /// A driver for the account; nothing is asked of the provider yet.
    ///
    /// # Errors
    /// When the account's address cannot be used or nobody drives its provider.
    fn open(&self, account: Account) -> Result<Arc<dyn Driver>, DriverError>;
}

/// Opens drivers of stored connections.
#[derive(Debug, Clone)]
pub struct Drivers {
    store: Store,
    ring: Arc<KeyRing>,
    accounts: Arc<dyn OpenAccount>,
}

/// A driver could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Our database failed.
    #[error("open the driver of a connection")]
    Store(#[from] StoreError),
    /// The secret cannot be opened: our failure, never the user's credentials.
    #[error("open the secret of a connection")]
    Vault(#[source] VaultError),
    /// The account cannot be used.
    #[error("open the account of a connection")]
    Driver(#[from] DriverError),
    /// The stored address is no URL.
    #[error("read the address of a connection")]
    Url(#[from] url::ParseError),
    /// The stored capabilities are of another version.
    #[error("read the capabilities of a connection")]
    Capabilities(#[from] serde_json::Error),
}

impl Drivers {
    /// Opens secrets with `ring` and drivers with `accounts`.
    pub fn new(store: Store, ring: Arc<KeyRing>, accounts: Arc<dyn OpenAccount>) -> Self {
        Self { store, ring, accounts }
    }

    /// The keys that seal secrets, to be kept.
    pub(crate) fn shared_ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring)
    }

    /// The keys that seal secrets.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// What marks the objects that we make in an account, by the provider's own name for it.
    pub fn marks(&self, account: &str) -> Marks {
        Marks::new(self.ring.marking(), account)
    }

    /// A driver for an account that is not stored yet.
    ///
    /// # Errors
    /// As [`OpenAccount::open`].
    pub fn open_account(&self, account: Account) -> Result<Arc<dyn Driver>, DriverError> {
        self.accounts.open(account)
    }

    /// A driver for a stored connection, with its secret and what its last probe found, for work that nobody
    /// waits for.
    ///
    /// # Errors
    /// When our database, the vault or the account's address fails.
    pub async fn open(&self, connection: &Connection) -> Result<Arc<dyn Driver>, OpenError> {
        self.open_for(connection, Urgency::Background).await
    }

    /// The same for work that a person may be waiting for.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_for(
        &self,
        connection: &Connection,
        urgency: Urgency,
    ) -> Result<Arc<dyn Driver>, OpenError> {
        let settings = &connection.settings;
        let secret = match secret_field(settings.authentication) {
            Some(field) => self.secret(connection, field).await?,
            None => None,
        };
        let url = match url_field(settings.provider) {
            Some(field) => self.secret(connection, field).await?,
            None => None,
        };
        let url = url.as_ref().map_or(settings.url.as_str(), ExposeSecret::expose_secret);
        let capabilities = connection.capabilities.clone().map(serde_json::from_value).transpose()?;
        Ok(self.accounts.open(Account {
            provider: settings.provider,
            url: Url::parse(url)?,
            authentication: settings.authentication,
            username: settings.username.clone(),
            secret,
            capabilities,
            payer: Payer {
                organization: Some(connection.organization_id),
                account: Some(settings.account.clone()),
                urgency,
            },
            marks: self.marks(&settings.account),
        })?)
    }

    async fn secret(
        &self,
        connection: &Connection,
        field: SecretField,
    ) -> Result<Option<SecretString>, OpenError> {
        let tx = self.store.read(Scope::Organization(connection.organization_id)).await?;
        match vault::open(&tx, &self.ring, connection.id, field).await {
            Ok(opened) => Ok(opened.map(|opened| opened.secret)),
            // our database is never mistaken for a secret that cannot be opened
            Err(VaultError::Store(error)) => Err(OpenError::Store(error)),
            Err(error) => Err(OpenError::Vault(error)),
        }
    }
}

/// Where the URL is sealed of providers whose URL is itself the secret; `None` where it stands in the open.
pub(crate) fn url_field(provider: ProviderKind) -> Option<SecretField> {
    match provider {
        ProviderKind::Feed => Some(SecretField::Url),
        ProviderKind::Caldav | ProviderKind::Google | ProviderKind::Microsoft => None,
    }
}

/// The URL as it is stored in the open and shown: of a secret one only where it leads.
pub(crate) fn shown_url(provider: ProviderKind, url: &Url) -> String {
    match url_field(provider) {
        Some(_) => format!("{}/…", url.origin().ascii_serialization()),
        None => url.to_string(),
    }
}

/// Where the secret of an authentication is sealed; `None` where there is none.
pub(crate) fn secret_field(authentication: Authentication) -> Option<SecretField> {
    match authentication {
        Authentication::None => None,
        Authentication::Password => Some(SecretField::Password),
        Authentication::Bearer => Some(SecretField::Token),
        Authentication::Oauth => Some(SecretField::AccessToken),
    }
}

impl OpenAccount for Registry {
    fn open(&self, account: Account) -> Result<Arc<dyn Driver>, DriverError> {
        Self::open(self, account)
    }
}
