//! Connecting an account: look at it first, store it only when it answers, then ask for its calendars.
//!
//! Nothing is stored before the provider has been reached with the given credentials, and no transaction is open
//! while it is asked. Connecting an account again binds to what was there: nothing is doubled.

use std::collections::BTreeSet;
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::{Ask, Asker, Kind, Lane, WorkKey};
use calfleet_domain::model::{
    Authentication, ConflictPolicy, ConnectionId, OrganizationId, ProviderKind, RemoteCalendar, UserId,
};
use calfleet_providers::driver::{Account, DriverError, ProbeReport, Problem};
use calfleet_providers::oauth;
use calfleet_store::connections::{self, Bound, ConnectionSettings};
use calfleet_store::vault::{self, VaultError};
use calfleet_store::work::Ticket;
use calfleet_store::{StoreError, Tx, calendar_sync, calendars, work};
use secrecy::SecretString;
use url::Url;

use crate::control::keys;
use crate::drivers::{secret_field, shown_url, url_field};
use crate::service::{Actor, Service};
use crate::tokens;

/// An account to connect.
#[derive(Debug, Clone)]
pub struct ConnectRequest {
    /// For whom.
    pub organization_id: OrganizationId,
    /// Whose it is; `None` for the organization's own.
    pub user_id: Option<UserId>,
    /// Which kind of provider.
    pub provider: ProviderKind,
    /// A URL, with or without its scheme, or a mail address to discover the server from.
    pub address: String,
    /// How it proves who it is.
    pub authentication: Authentication,
    /// User name for password authentication.
    pub username: Option<String>,
    /// Password or token.
    pub secret: Option<SecretString>,
    /// What people call it; the account's name when absent.
    pub label: Option<String>,
    /// Between two polls.
    pub poll_interval: Duration,
    /// Who wins when both sides changed the same.
    pub conflict_policy: ConflictPolicy,
}

/// What a provider said of an account that is to be stored.
pub(crate) struct Found<'a> {
    pub(crate) report: &'a ProbeReport,
    pub(crate) calendars: &'a [RemoteCalendar],
    /// Tokens, what they cover, and when they were asked for.
    pub(crate) granted: Option<(&'a oauth::Grant, &'a BTreeSet<String>, Timestamp)>,
}

/// A connected account.
#[derive(Debug, Clone)]
pub struct Connected {
    /// Its connection.
    pub connection: Bound,
    /// What was found.
    pub report: ProbeReport,
    /// Its calendars; their import is on its way.
    pub calendars: Vec<RemoteCalendar>,
}

/// An account could not be connected; nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The provider: its sentence says what to do.
    #[error("connect the account")]
    Driver(#[from] DriverError),
    /// Our database.
    #[error("store the connection")]
    Store(#[from] StoreError),
    /// Our vault.
    #[error("seal the secret")]
    Vault(#[from] VaultError),
}

impl Service {
    /// Connects an account and asks for its first import.
    ///
    /// # Errors
    /// When the address cannot be used, the provider cannot be reached or refuses, or our database fails; nothing
    /// is stored then.
    pub async fn connect(&self, request: &ConnectRequest, actor: &Actor) -> Result<Connected, ConnectError> {
        let url = read_address(&request.address)?;
        let mut account = Account {
            provider: request.provider,
            url,
            authentication: request.authentication,
            username: request.username.clone(),
            secret: request.secret.clone(),
            capabilities: None,
        };
        let report = self.drivers.open_account(account.clone())?.probe().await?;
        account.url = report.url.clone();
        account.capabilities = Some(report.capabilities.clone());
        let calendars = self.drivers.open_account(account)?.list_calendars().await?;
        let found = Found { report: &report, calendars: &calendars, granted: None };
        let connection = self.store_connection(request, &found, actor).await?;
        self.nudge.nudge();
        Ok(Connected { connection, report, calendars })
    }

    /// Stores what was found of an account that answers, and asks for its first import.
    pub(crate) async fn store_connection(
        &self,
        request: &ConnectRequest,
        found: &Found<'_>,
        actor: &Actor,
    ) -> Result<Bound, ConnectError> {
        let now = self.now();
        let report = found.report;
        let tx = self.begin(request.organization_id).await?;
        let settings = ConnectionSettings {
            user_id: request.user_id,
            provider: request.provider,
            account: report.account.clone(),
            url: shown_url(request.provider, &report.url),
            authentication: request.authentication,
            username: request.username.clone(),
            label: request.label.clone().unwrap_or_else(|| default_label(request, report)),
            environment: None,
            poll_interval: request.poll_interval,
            conflict_policy: request.conflict_policy,
        };
        let bound = connections::bind(&tx, self.id(), &settings, now).await?;
        let id = bound.id();
        let (capabilities, probe) = stored_probe(request.provider, report)?;
        connections::set_probe(&tx, id, &settings.url, &capabilities, &probe, now).await?;
        if let Some(field) = url_field(request.provider) {
            let url = SecretString::from(report.url.as_str());
            vault::seal(&tx, self.drivers.ring(), id, field, &url, now).await?;
        }
        if let (Some(field), Some(secret)) = (secret_field(request.authentication), &request.secret) {
            vault::seal(&tx, self.drivers.ring(), id, field, secret, now).await?;
        }
        let refresh_at = match found.granted {
            Some((granted, scopes, asked_at)) => {
                let (ring, at) = (self.drivers.ring(), (asked_at, now));
                Some(tokens::store_grant(&tx, ring, id, granted, scopes.clone(), at).await?)
            }
            None => None,
        };
        calendars::apply_listing(&tx, id, found.calendars, || self.id(), now).await?;
        connections::set_calendars_listed(&tx, id, now).await?;
        let action = match bound {
            Bound::Created(_) => "connection.connect",
            Bound::Rebound(_) => "connection.reconnect",
        };
        self.audit(&tx, actor, action, id.0, None).await?;
        if let Bound::Rebound(_) = bound {
            calendar_sync::forgive(&tx, id, now).await?;
            // Raises the fence: a run with the old credentials cannot write its verdict over the new ones.
            work::pause(&tx, &keys(id), now).await?;
            work::resume(&tx, &keys(id), now).await?;
        }
        if let Some(until) = refresh_at {
            let ask = tokens::ask(request.organization_id, id, tokens::ahead(until, self.rng.as_ref()));
            work::ask(&tx, &[ask]).await?;
        }
        self.ask_sync(&tx, request.organization_id, id).await?;
        tx.commit().await?;
        Ok(bound)
    }

    /// Asks for a connection's sync as a person; last in its transaction. The ticket is `None` only where the row
    /// belongs to another organization.
    pub(crate) async fn ask_sync(
        &self,
        tx: &Tx,
        organization_id: OrganizationId,
        id: ConnectionId,
    ) -> Result<Option<Ticket>, StoreError> {
        let ask = Ask {
            key: WorkKey { kind: Kind::Sync, target: id.0 },
            organization_id,
            connection_id: Some(id),
            lane: Lane::Interactive,
            at: self.now(),
            asker: Asker::Person,
        };
        Ok(work::ask(tx, &[ask]).await?.into_values().next())
    }
}

/// The probe as it is stored: what follows from it, and the report with the URL as it is shown.
pub(crate) fn stored_probe(
    provider: ProviderKind,
    report: &ProbeReport,
) -> Result<(serde_json::Value, serde_json::Value), StoreError> {
    let unwritable =
        |column| move |source| StoreError::Unwritable { operation: "store a probe", column, source };
    let capabilities = serde_json::to_value(&report.capabilities).map_err(unwritable("capabilities"))?;
    let mut probe = serde_json::to_value(report).map_err(unwritable("probe"))?;
    if let Some(url) = probe.get_mut("url") {
        *url = shown_url(provider, &report.url).into();
    }
    Ok((capabilities, probe))
}

fn default_label(request: &ConnectRequest, report: &ProbeReport) -> String {
    let host = report.url.host_str().unwrap_or_default();
    match &request.username {
        Some(username) => format!("{username} at {host}"),
        None => host.to_owned(),
    }
}

/// A URL as people type it: with or without `https://`, or a mail address.
fn read_address(text: &str) -> Result<Url, DriverError> {
    let text = text.trim();
    let invalid = |reason: String| {
        DriverError::new("read the address", FailureClass::Permanent, Problem::InvalidUrl { reason })
    };
    let whole = if text.contains("://") || text.starts_with("mailto:") {
        text.to_owned()
    } else if text.contains('@') && !text.contains('/') {
        format!("mailto:{text}")
    } else if text.is_empty() {
        return Err(invalid("it is empty".to_owned()));
    } else {
        format!("https://{text}")
    };
    let url = Url::parse(&whole).map_err(|error| invalid(error.to_string()))?;
    if url.password().is_some() {
        return Err(invalid("a password in it would be stored in the open; give it separately".to_owned()));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_type_them() {
        let read = |text| read_address(text).map(|url| url.to_string()).ok();

        assert_eq!(read("dav.example.com").as_deref(), Some("https://dav.example.com/"));
        assert_eq!(read(" https://dav.example.com/x ").as_deref(), Some("https://dav.example.com/x"));
        assert_eq!(read("ada@example.com").as_deref(), Some("mailto:ada@example.com"));
        assert_eq!(read("webcal://example.com/a.ics").as_deref(), Some("webcal://example.com/a.ics"));
        assert_eq!(read(""), None);
        assert_eq!(read("https://ada:secret@example.com/"), None);
    }
}
