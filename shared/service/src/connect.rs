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
    Authentication, CalendarId, ConflictPolicy, ConnectionId, OrganizationId, ProviderId, ProviderKind,
    RemoteCalendar, UserId,
};
use calfleet_providers::driver::{Account, DriverError, Payer, ProbeReport, Problem, Urgency};
use calfleet_providers::oauth;
use calfleet_store::calendars::{self, ListingChanges};
use calfleet_store::connections::{self, Bound, ConnectionSettings};
use calfleet_store::grants::{self, GrantHash};
use calfleet_store::vault::{self, VaultError};
use calfleet_store::work::Ticket;
use calfleet_store::{StoreError, Tx, calendar_sync, departures, watches, work};
use secrecy::SecretString;
use url::Url;

use crate::disconnect::revoke;
use crate::drivers::{secret_field, shown_url, url_field};
use crate::service::{Actor, Service};
use crate::tokens::{self, Terms};

/// An account to connect.
#[derive(Debug, Clone)]
pub struct ConnectRequest {
    /// For whom.
    pub organization_id: OrganizationId,
    /// Whose it is; `None` for whoever it belongs to already, else the organization's own.
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
    /// What people call it; as before, else the account's name, when absent.
    pub label: Option<String>,
    /// Between two polls; as before, else as the operator configured, when absent.
    pub poll_interval: Option<Duration>,
    /// Who wins when both sides changed the same; as before, else the last write, when absent.
    pub conflict_policy: Option<ConflictPolicy>,
}

impl ConnectRequest {
    /// An account that was granted, of which nothing else is said.
    pub(crate) fn granted(
        organization_id: OrganizationId,
        user_id: Option<UserId>,
        provider: ProviderKind,
    ) -> Self {
        Self {
            organization_id,
            user_id,
            provider,
            address: String::new(),
            authentication: Authentication::Oauth,
            username: None,
            secret: None,
            label: None,
            poll_interval: None,
            conflict_policy: None,
        }
    }
}

/// What a provider said of an account that is to be stored.
pub(crate) struct Found<'a> {
    pub(crate) report: &'a ProbeReport,
    /// What people call the account there, if the provider says.
    pub(crate) label: Option<&'a str>,
    pub(crate) calendars: &'a [RemoteCalendar],
    pub(crate) granted: Option<Granted<'a>>,
    /// Which calendars are synced; `None` for all.
    pub(crate) selected: Option<&'a BTreeSet<ProviderId>>,
}

/// What was granted together with an account.
#[derive(Clone, Copy)]
pub(crate) struct Granted<'a> {
    pub(crate) tokens: &'a oauth::Grant,
    pub(crate) scopes: &'a BTreeSet<String>,
    /// The client that it was granted to.
    pub(crate) client_id: &'a str,
    /// The person whom a service account stands in for.
    pub(crate) subject: Option<&'a str>,
    /// When it was asked for.
    pub(crate) asked_at: Timestamp,
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
            payer: Payer {
                organization: Some(request.organization_id),
                account: None,
                urgency: Urgency::Interactive,
            },
            // nothing is made before the account is known
            marks: self.drivers.marks(""),
        };
        let report = self.drivers.open_account(account.clone())?.probe().await?;
        account.url = report.url.clone();
        account.capabilities = Some(report.capabilities.clone());
        let calendars = self.drivers.open_account(account)?.list_calendars().await?;
        let found =
            Found { report: &report, label: None, calendars: &calendars, granted: None, selected: None };
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
        if let Some(primary) = found.calendars.iter().find(|calendar| calendar.is_primary) {
            // a person takes over from a service account, which knows accounts by their addresses only
            let before = account_of_address(&primary.provider_id.0);
            connections::rename_account(&tx, request.provider, &before, &report.account).await?;
        }
        let before = connections::of_account(&tx, request.provider, &report.account).await?;
        let settings = self.settings(request, found, before.map(|connection| connection.settings));
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
        let refresh_at = match &found.granted {
            Some(granted) => Some(self.store_granted(&tx, &settings, id, granted, now).await?),
            None => None,
        };
        let changes = self.store_calendars(&tx, id, found, now).await?;
        let action = match bound {
            Bound::Created(_) => "connection.connect",
            Bound::Rebound(_) => "connection.reconnect",
        };
        self.audit(&tx, actor, action, id.0, None).await?;
        if let Bound::Rebound(_) = bound {
            begin_again(&tx, id, now).await?;
        }
        if let Some(until) = refresh_at {
            let ask = tokens::ask(request.organization_id, id, tokens::ahead(until, self.rng.as_ref()));
            work::ask(&tx, &[ask]).await?;
        }
        self.ask_sync(&tx, request.organization_id, id).await?;
        if report.capabilities.watches {
            let mut calendars = watches::neglected(&tx, id).await?;
            calendars.extend(changes.readdressed);
            self.ask_watches(&tx, request.organization_id, id, calendars).await?;
        }
        tx.commit().await?;
        Ok(bound)
    }

    /// What an account is connected with: what was chosen `before` stays where nothing else is chosen now.
    fn settings(
        &self,
        request: &ConnectRequest,
        found: &Found<'_>,
        before: Option<ConnectionSettings>,
    ) -> ConnectionSettings {
        let settings = ConnectionSettings {
            user_id: request.user_id,
            provider: request.provider,
            account: found.report.account.clone(),
            url: shown_url(request.provider, &found.report.url),
            authentication: request.authentication,
            username: request.username.clone(),
            label: request.label.clone().unwrap_or_else(|| default_label(request, found)),
            environment: None,
            poll_interval: request.poll_interval.unwrap_or(self.sign_in.poll_interval),
            conflict_policy: request.conflict_policy.unwrap_or_default(),
        };
        let Some(before) = before else { return settings };
        ConnectionSettings {
            user_id: request.user_id.or(before.user_id),
            label: request.label.clone().unwrap_or(before.label),
            poll_interval: request.poll_interval.unwrap_or(before.poll_interval),
            conflict_policy: request.conflict_policy.unwrap_or(before.conflict_policy),
            ..settings
        }
    }

    /// Asks for the watches of some of a connection's calendars to be looked after; last in its transaction.
    pub(crate) async fn ask_watches(
        &self,
        tx: &Tx,
        organization_id: OrganizationId,
        id: ConnectionId,
        calendars: Vec<CalendarId>,
    ) -> Result<(), StoreError> {
        let at = self.now();
        let asks = calendars.into_iter().map(|calendar| Ask {
            key: WorkKey { kind: Kind::Watch, target: calendar.0 },
            organization_id,
            connection_id: Some(id),
            lane: Lane::Upkeep,
            at,
            asker: Asker::Person,
        });
        work::ask(tx, &asks.collect::<Vec<_>>()).await.map(drop)
    }

    async fn store_calendars(
        &self,
        tx: &Tx,
        id: ConnectionId,
        found: &Found<'_>,
        now: Timestamp,
    ) -> Result<ListingChanges, StoreError> {
        let changes = calendars::apply_listing(tx, id, found.calendars, || self.id(), now).await?;
        if let Some(selected) = found.selected {
            for calendar in calendars::list(tx, id).await? {
                let is_selected = selected.contains(&calendar.remote.provider_id);
                calendars::set_selected(tx, calendar.id, is_selected, now).await?;
            }
        }
        connections::set_calendars_listed(tx, id, now).await?;
        Ok(changes)
    }

    async fn store_granted(
        &self,
        tx: &Tx,
        settings: &ConnectionSettings,
        id: ConnectionId,
        granted: &Granted<'_>,
        now: Timestamp,
    ) -> Result<Timestamp, ConnectError> {
        let Granted { tokens, scopes, client_id, subject, asked_at } = *granted;
        if subject.is_some() {
            // what a person agreed to before is not used any more
            vault::erase(tx, id).await?;
            grants::let_go(tx, id).await?;
        } else {
            grants::hold(tx, id, GrantHash::of(settings.provider, client_id, &settings.account)).await?;
        }
        let terms = Terms {
            scopes: scopes.clone(),
            client_id: Some(client_id.to_owned()),
            subject: subject.map(str::to_owned),
        };
        let at = (asked_at, now);
        Ok(tokens::store_grant(tx, self.drivers.ring(), id, tokens, terms, at).await?)
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

/// An account is connected again: what went wrong with it before is forgotten, and so is its departure.
async fn begin_again(tx: &Tx, id: ConnectionId, now: Timestamp) -> Result<(), StoreError> {
    calendar_sync::forgive(tx, id, now).await?;
    departures::forget(tx, id).await?;
    // Raises the fence: a run with the old credentials cannot write its verdict over the new ones, and a departure
    // under way ends nothing of the new grant.
    let rows: Vec<WorkKey> = work::of_connection(tx, id).await?.into_iter().map(|row| row.key).collect();
    work::pause(tx, &rows, now).await?;
    work::resume(tx, &rows, now).await?;
    work::cancel(tx, &[revoke(id)]).await?;
    Ok(())
}

/// The name of an account of which only the address is known.
pub(crate) fn account_of_address(address: &str) -> String {
    format!("email:{}", address.to_lowercase())
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

fn default_label(request: &ConnectRequest, found: &Found<'_>) -> String {
    let host = found.report.url.host_str().unwrap_or_default();
    match (found.label, &request.username) {
        (Some(label), _) => label.to_owned(),
        (None, Some(username)) => format!("{username} at {host}"),
        (None, None) => host.to_owned(),
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
