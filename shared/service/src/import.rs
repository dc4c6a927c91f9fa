//! Bringing in accounts that a service account acts for, one at a time: looked at first, stored only when wanted.
//!
//! An account is recognised by its address, which is the id of its primary calendar, also where a person has connected
//! it by OAuth. What is connected is left alone, so an import can be run again after it was ended.

use std::collections::BTreeSet;

use calfleet_domain::model::{
    Authentication, ConnectionId, OrganizationId, ProviderId, ProviderKind, RemoteCalendar, UserId,
};
use calfleet_providers::driver::{Account, DriverError, Payer, Urgency};
use calfleet_providers::oauth::{self, short};
use calfleet_providers::registry::provider;
use calfleet_store::connections::{self, Connection};
use calfleet_store::provider_clients::Which;
use calfleet_store::{Scope, StoreError, organizations};
use serde::Serialize;

use crate::connect::{ConnectError, ConnectRequest, Found, Granted, account_of_address};
use crate::service::{Actor, Service};
use crate::service_accounts;
use crate::tokens::TokenError;

/// One account to bring in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportWish {
    /// Name or id of the organization.
    pub organization: String,
    /// Whose it is; `None` for the organization's own.
    pub user_id: Option<UserId>,
    /// The person's address at the provider.
    pub email: String,
    /// At which provider.
    pub provider: ProviderKind,
    /// The provider's ids of the calendars to be synced; empty for all.
    pub calendars: BTreeSet<ProviderId>,
}

/// Whether anything is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportMode {
    /// The provider is asked, and nothing is stored.
    DryRun,
    /// What can be connected is.
    Apply,
}

/// What became, or would become, of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Imported {
    /// It can be connected.
    Ready {
        /// How many calendars would be synced.
        calendars: usize,
        /// Ids that the account does not have.
        unknown: Vec<String>,
    },
    /// It was connected.
    Connected {
        /// Its connection.
        connection: ConnectionId,
        /// How many calendars are synced.
        calendars: usize,
        /// Ids that the account does not have.
        unknown: Vec<String>,
    },
    /// It is connected already, and was left alone.
    Exists {
        /// Its connection.
        connection: ConnectionId,
        /// `active`, `paused`, `needs_reauth`, `disconnected`.
        state: &'static str,
    },
    /// It cannot be connected.
    Refused {
        /// Why, in words for people.
        reason: String,
    },
}

impl Imported {
    fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    fn exists(connection: &Connection) -> Self {
        Self::Exists { connection: connection.id, state: connection.state.as_str() }
    }
}

/// Our own side failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Our database.
    #[error("import a connection")]
    Store(#[from] StoreError),
    /// Our vault.
    #[error("open the service account's key")]
    Token(#[from] TokenError),
    /// Storing what was found.
    #[error("store an imported connection")]
    Connect(#[source] ConnectError),
}

impl Service {
    /// Brings in one account, or says what that would do.
    ///
    /// # Errors
    /// Only when our own side failed.
    pub async fn import(
        &self,
        wish: &ImportWish,
        mode: ImportMode,
        actor: &Actor,
    ) -> Result<Imported, ImportError> {
        if wish.provider != ProviderKind::Google {
            return Ok(Imported::refused("only Google has service accounts that act for people"));
        }
        let email = wish.email.trim().to_lowercase();
        if email.split_once('@').is_none_or(|(name, domain)| name.is_empty() || domain.is_empty()) {
            return Ok(Imported::refused("email is no address"));
        }
        let Some(organization) = self.organization_of(&wish.organization).await? else {
            return Ok(Imported::refused(
                "there is no such organization; 'calfleet admin organization create' makes one",
            ));
        };
        if let Some(known) = self.recognised(organization, &email).await? {
            return Ok(Imported::exists(&known));
        }
        let tokens = self.tokens();
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let known = match service_accounts::load(&tx, &tokens, wish.provider, Which::Current).await? {
            Ok(known) => known,
            Err(error) => return Ok(Imported::refused(error.problem.to_string())),
        };
        drop(tx);
        let asked_at = self.now();
        let granted = match known.act_for(&tokens, wish.provider, &email, asked_at).await {
            Ok(granted) => granted,
            Err(error) => return Ok(Imported::refused(error.problem.to_string())),
        };
        let (client_id, subject) = (known.client.name.as_str(), email.as_str());
        let looked = Looked { granted: &granted, client_id, subject, asked_at };
        self.bring_in(organization, wish, &looked, mode, actor).await
    }

    async fn bring_in(
        &self,
        organization_id: OrganizationId,
        wish: &ImportWish,
        looked: &Looked<'_>,
        mode: ImportMode,
        actor: &Actor,
    ) -> Result<Imported, ImportError> {
        let (mut report, calendars) = match self.look(organization_id, wish.provider, looked.granted).await {
            Ok(found) => found,
            Err(error) => return Ok(Imported::refused(error.problem.to_string())),
        };
        let primary = calendars.iter().find(|calendar| calendar.is_primary);
        let address = primary.map_or(looked.subject, |primary| primary.provider_id.0.as_str()).to_lowercase();
        if let Some(known) = self.recognised(organization_id, &address).await? {
            return Ok(Imported::exists(&known));
        }
        report.account = account_of_address(&address);
        let listed: BTreeSet<ProviderId> =
            calendars.iter().map(|calendar| calendar.provider_id.clone()).collect();
        let unknown: Vec<String> = wish.calendars.difference(&listed).map(|id| id.0.clone()).collect();
        let selected: BTreeSet<ProviderId> = if wish.calendars.is_empty() {
            listed
        } else {
            wish.calendars.intersection(&listed).cloned().collect()
        };
        if selected.is_empty() {
            return Ok(Imported::refused("the account has none of these calendars"));
        }
        if mode == ImportMode::DryRun {
            return Ok(Imported::Ready { calendars: selected.len(), unknown });
        }
        let request = ConnectRequest::granted(organization_id, wish.user_id, wish.provider);
        let scopes = scopes(wish.provider, looked.granted);
        let granted = Granted {
            tokens: looked.granted,
            scopes: &scopes,
            client_id: looked.client_id,
            subject: Some(looked.subject),
            asked_at: looked.asked_at,
        };
        let found = Found {
            report: &report,
            label: Some(&address),
            calendars: &calendars,
            granted: Some(granted),
            selected: Some(&selected),
        };
        let bound = self.store_connection(&request, &found, actor).await.map_err(ImportError::Connect)?;
        self.nudge.nudge();
        Ok(Imported::Connected { connection: bound.id(), calendars: selected.len(), unknown })
    }

    async fn look(
        &self,
        organization_id: OrganizationId,
        provider: ProviderKind,
        granted: &oauth::Grant,
    ) -> Result<(calfleet_providers::driver::ProbeReport, Vec<RemoteCalendar>), DriverError> {
        let place = self.sign_in.clients.place(provider).ok_or_else(crate::tokens::no_client)?;
        let account = Account {
            provider,
            url: place.settings().token_url.clone(),
            authentication: Authentication::Oauth,
            username: None,
            secret: Some(granted.access_token.clone()),
            capabilities: None,
            payer: Payer { organization: Some(organization_id), account: None, urgency: Urgency::Background },
            // nothing is made before the account is known
            marks: self.drivers.marks(""),
        };
        let driver = self.drivers.open_account(account)?;
        Ok((driver.probe().await?, driver.list_calendars().await?))
    }

    async fn organization_of(&self, name: &str) -> Result<Option<OrganizationId>, StoreError> {
        let tx = self.store.read(Scope::Fleet).await?;
        match name.parse() {
            Ok(id) => Ok(organizations::list(&tx).await?.into_iter().find(|known| *known == id)),
            Err(_) => organizations::find(&tx, name).await,
        }
    }

    /// The connection of an account that is known here, however it was connected.
    async fn recognised(
        &self,
        organization: OrganizationId,
        address: &str,
    ) -> Result<Option<Connection>, StoreError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        connections::of_address(&tx, ProviderKind::Google, &account_of_address(address), address).await
    }
}

/// What was given out for an account.
struct Looked<'a> {
    granted: &'a oauth::Grant,
    client_id: &'a str,
    subject: &'a str,
    asked_at: calfleet_domain::clock::Timestamp,
}

fn scopes(at: ProviderKind, granted: &oauth::Grant) -> BTreeSet<String> {
    if !granted.scopes.is_empty() {
        return granted.scopes.clone();
    }
    provider(at).map(|known| known.scopes.read.iter().map(|scope| short(scope)).collect()).unwrap_or_default()
}
