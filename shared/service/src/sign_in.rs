//! Connecting an account by OAuth: a consent page, the way back, and the confirmation by whoever began.
//!
//! ```text
//! begin ─▶ consent page ─▶ callback: the code is sealed, nothing is asked ─▶ back to the application with a
//! one-time id ─▶ confirm, with the application's own credentials and for the same user ─▶ exchange ─▶ connected
//! ```
//! The confirmation is what state and PKCE cannot do: a link that somebody else began connects nothing, because the
//! code is exchanged only for the one who began.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Authentication, ConnectionId, OrganizationId, ProviderKind, UserId};
use calfleet_providers::driver::{Account, DriverError, Payer, Urgency};
use calfleet_providers::oauth::{OauthClient, short};
use calfleet_providers::registry::provider;
use calfleet_store::connect_attempts::{self, ConnectAttempt};
use calfleet_store::doors::{self, DoorKind, NoRandomness, SecretHash};
use calfleet_store::vault::VaultError;
use calfleet_store::{Priority, Scope, StoreError, connections};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::connect::{ConnectError, ConnectRequest, Connected, Found, Granted};
use crate::service::{Actor, Service};

/// How long a person has to agree.
const LIFE: Duration = Duration::from_mins(10);

/// A sign-in to begin.
#[derive(Debug, Clone)]
pub struct BeginSignIn {
    /// For whom.
    pub organization_id: OrganizationId,
    /// Whose account it will be; `None` for the organization's own.
    pub user_id: Option<UserId>,
    /// At which provider.
    pub provider: ProviderKind,
    /// What the person is asked to allow: to read the calendars, or to change them too.
    pub access: SignInAccess,
    /// Where the person is sent afterwards: one of the addresses that the operator allows.
    pub return_url: Url,
    /// The connection that is to be renewed; then it must be the same account.
    pub connection_id: Option<ConnectionId>,
}

/// What a person is asked to allow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignInAccess {
    /// To read the calendars.
    #[default]
    Read,
    /// To read and change them.
    Write,
}

/// A sign-in that has begun.
#[derive(Debug)]
pub struct Begun {
    /// The consent page, to be opened in the person's browser.
    pub authorize_url: Url,
    /// Until when it can be finished.
    pub expires_at: calfleet_domain::clock::Timestamp,
}

/// A sign-in did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The operator has not set the provider up.
    #[error("the provider is not set up here; the operator has to enter its client id and secret")]
    NotOffered,
    /// The person may not be sent there.
    #[error("return_url is not among the addresses that the operator allows (api.return_urls)")]
    ReturnUrl,
    /// Unknown, used or too old.
    #[error("this sign-in is unknown, was used already or took too long; begin again")]
    Unknown,
    /// Somebody else began it.
    #[error("this sign-in was begun by somebody else; begin one of your own")]
    NotYours,
    /// The person, or the provider, said no.
    #[error("the provider did not agree ({reason}); begin again when that has changed")]
    Denied {
        /// The provider's word, such as `access_denied`.
        reason: String,
    },
    /// The person left out what is needed.
    #[error("the permission to read calendars was not given; begin again and leave every box ticked")]
    MissingScope {
        /// What was not granted.
        missing: Vec<String>,
    },
    /// Another account than the one to be renewed.
    #[error(
        "this is another account than the one that was connected; choose the same one, or connect it anew"
    )]
    OtherAccount,
    /// The provider could not be asked, or our own side failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Our machine.
    #[error("begin a sign-in")]
    NoRandomness(#[from] NoRandomness),
}

impl From<StoreError> for SignInError {
    fn from(error: StoreError) -> Self {
        Self::Connect(error.into())
    }
}

impl From<VaultError> for SignInError {
    fn from(error: VaultError) -> Self {
        Self::Connect(error.into())
    }
}

impl From<DriverError> for SignInError {
    fn from(error: DriverError) -> Self {
        Self::Connect(error.into())
    }
}

impl Service {
    /// Begins a sign-in.
    ///
    /// # Errors
    /// When the provider is not set up, the return address is not allowed, or our own side fails.
    pub async fn begin_sign_in(&self, wanted: &BeginSignIn) -> Result<Begun, SignInError> {
        let ring = self.drivers.ring();
        let tx = self.store.read(Scope::Organization(wanted.organization_id)).await?;
        let client = self.sign_in.clients.current(&tx, ring, wanted.provider).await?;
        drop(tx);
        let client = client.ok_or(SignInError::NotOffered)?;
        let scopes = provider(wanted.provider).ok_or(SignInError::NotOffered)?.scopes;
        if !self.sign_in.return_urls.iter().any(|allowed| is_below(&wanted.return_url, allowed)) {
            return Err(SignInError::ReturnUrl);
        }
        let now = self.now();
        let state = doors::new_secret("")?;
        let nonce = doors::new_secret("")?;
        let wished = match wanted.access {
            SignInAccess::Read => scopes.read,
            SignInAccess::Write => scopes.write,
        };
        let asked: Vec<&str> = scopes.identity.iter().chain(wished).copied().collect();
        let consent = client.consent(&state, nonce.expose_secret(), &asked, None);
        let attempt = ConnectAttempt {
            id: self.rng.uuid(now),
            provider: wanted.provider,
            user_id: wanted.user_id,
            connection_id: wanted.connection_id,
            client_id: Some(client.settings().client_id.clone()),
            nonce: nonce.expose_secret().to_owned(),
            return_url: wanted.return_url.to_string(),
            expires_at: now.plus(LIFE),
        };
        let hash = SecretHash::of(DoorKind::ConnectState, state.expose_secret().as_bytes());
        let tx = self.begin(wanted.organization_id).await?;
        connect_attempts::begin(&tx, ring, &attempt, &hash, &consent.verifier, now).await?;
        tx.commit().await.map_err(ConnectError::from)?;
        Ok(Begun { authorize_url: consent.url, expires_at: attempt.expires_at })
    }

    /// The person is back from the consent page: seals the code and says where to send the person next, with the
    /// one-time id. Asks the provider nothing.
    ///
    /// # Errors
    /// [`SignInError::Unknown`] for a state that is unknown, used or too old.
    pub async fn sign_in_returned(
        &self,
        at: ProviderKind,
        state: &SecretString,
        answer: Result<SecretString, String>,
    ) -> Result<Url, SignInError> {
        let now = self.now();
        let hash = SecretHash::of(DoorKind::ConnectState, state.expose_secret().as_bytes());
        let tx = self.store.begin(Scope::Fleet, Priority::Interactive).await?;
        let door = doors::enter(&tx, DoorKind::ConnectState, &hash).await?.ok_or(SignInError::Unknown)?;
        drop(tx);
        let tx = self.begin(door.organization_id).await?;
        let attempt = connect_attempts::load(&tx, door.target).await?.ok_or(SignInError::Unknown)?;
        if attempt.expires_at <= now || attempt.provider != at {
            doors::close(&tx, door.target).await?;
            tx.commit().await?;
            return Err(SignInError::Unknown);
        }
        let mut url = Url::parse(&attempt.return_url).map_err(|_| SignInError::ReturnUrl)?;
        match answer {
            Ok(code) => {
                let ticket = doors::new_secret("")?;
                let hash = SecretHash::of(DoorKind::ConnectTicket, ticket.expose_secret().as_bytes());
                let ring = self.drivers.ring();
                if !connect_attempts::returned(&tx, ring, attempt.id, &code, &hash).await? {
                    return Err(SignInError::Unknown);
                }
                url.query_pairs_mut().append_pair("connect", ticket.expose_secret());
            }
            Err(reason) => {
                doors::close(&tx, door.target).await?;
                url.query_pairs_mut().append_pair("connect_error", &reason);
            }
        }
        tx.commit().await?;
        Ok(url)
    }

    /// Finishes a sign-in for whoever began it: exchanges the code, checks what was granted and who agreed, and
    /// connects the account.
    ///
    /// # Errors
    /// [`SignInError::NotYours`] for another user; the code is then not exchanged, and stays good for the one who
    /// began. Everything else ends the sign-in.
    pub async fn confirm_sign_in(
        &self,
        organization_id: OrganizationId,
        user_id: Option<UserId>,
        ticket: &SecretString,
        actor: &Actor,
    ) -> Result<Connected, SignInError> {
        let now = self.now();
        let hash = SecretHash::of(DoorKind::ConnectTicket, ticket.expose_secret().as_bytes());
        let tx = self.begin(organization_id).await?;
        let may = |attempt: &ConnectAttempt| attempt.user_id == user_id && attempt.expires_at > now;
        let taken = connect_attempts::take(&tx, self.drivers.ring(), &hash, may, now).await?;
        tx.commit().await?;
        // an unknown one and another's are answered alike
        let taken = taken.ok_or(SignInError::NotYours)?;
        let attempt = taken.attempt;
        let client = self.client_of(organization_id, &attempt).await?;
        let granted = client.exchange(&taken.code, &taken.verifier, now).await?;
        let scopes = sufficient(attempt.provider, &granted.scopes)?;
        let identity = client.identify(&granted, &attempt.nonce, self.now()).await?;
        self.is_same_account(organization_id, &attempt, &identity.account).await?;
        let request = ConnectRequest::granted(organization_id, user_id, attempt.provider);
        let account = Account {
            provider: attempt.provider,
            url: client.settings().token_url.clone(),
            authentication: Authentication::Oauth,
            username: None,
            secret: Some(granted.access_token.clone()),
            capabilities: None,
            payer: Payer {
                organization: Some(organization_id),
                account: Some(identity.account.clone()),
                urgency: Urgency::Interactive,
            },
            marks: self.drivers.marks(&identity.account),
        };
        let driver = self.drivers.open_account(account)?;
        let mut report = driver.probe().await?;
        report.account = identity.account;
        let calendars = driver.list_calendars().await?;
        let granted = Granted {
            tokens: &granted,
            scopes: &scopes,
            client_id: &client.settings().client_id,
            subject: None,
            asked_at: now,
        };
        let found = Found {
            report: &report,
            label: identity.label.as_deref(),
            calendars: &calendars,
            granted: Some(granted),
            selected: None,
        };
        let connection = self.store_connection(&request, &found, actor).await?;
        self.nudge.nudge();
        Ok(Connected { connection, report, calendars })
    }

    /// The client that the code was given to.
    async fn client_of(
        &self,
        organization: OrganizationId,
        attempt: &ConnectAttempt,
    ) -> Result<Arc<OauthClient>, SignInError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let (ring, client_id) = (self.drivers.ring(), attempt.client_id.as_deref());
        let client = self.sign_in.clients.of_grant(&tx, ring, attempt.provider, client_id).await?;
        client.ok_or(SignInError::NotOffered)
    }

    async fn is_same_account(
        &self,
        organization: OrganizationId,
        attempt: &ConnectAttempt,
        account: &str,
    ) -> Result<(), SignInError> {
        let Some(id) = attempt.connection_id else { return Ok(()) };
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let connection = connections::load(&tx, id).await?;
        let is_same = connection.is_some_and(|connection| connection.settings.account == account);
        if is_same { Ok(()) } else { Err(SignInError::OtherAccount) }
    }
}

impl SignInError {
    /// Whether it is our own side that failed, and repeating the request may help.
    pub fn is_ours(&self) -> bool {
        match self {
            Self::Connect(ConnectError::Driver(error)) => error.class == FailureClass::Transient,
            Self::Connect(_) | Self::NoRandomness(_) => true,
            _ => false,
        }
    }
}

/// What was granted, if it suffices to read; an answer that does not say grants what was asked for.
fn sufficient(at: ProviderKind, granted: &BTreeSet<String>) -> Result<BTreeSet<String>, SignInError> {
    let scopes = provider(at).ok_or(SignInError::NotOffered)?.scopes;
    let all = |names: &[&str]| names.iter().map(|name| short(name)).collect::<BTreeSet<String>>();
    let needed = all(scopes.read);
    if granted.is_empty() {
        return Ok(needed);
    }
    // what is needed for changes suffices for reading
    if scopes.allow_changes(granted) {
        return Ok(granted.clone());
    }
    let missing: Vec<String> = needed.difference(granted).cloned().collect();
    if missing.is_empty() { Ok(granted.clone()) } else { Err(SignInError::MissingScope { missing }) }
}

/// Whether `url` is at the same origin as `allowed` and at or below its path.
fn is_below(url: &Url, allowed: &Url) -> bool {
    let below = url.path().strip_prefix(allowed.path().trim_end_matches('/'));
    url.origin() == allowed.origin()
        && url.username().is_empty()
        && url.password().is_none()
        && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_sent_only_where_the_operator_allows() {
        let allowed = Url::parse("https://app.example.com/calendar").unwrap();
        let is_allowed = |url: &str| is_below(&Url::parse(url).unwrap(), &allowed);

        assert!(is_allowed("https://app.example.com/calendar?tab=1"));
        assert!(is_allowed("https://app.example.com/calendar/done"));
        for other in [
            "https://app.example.com/calendars",
            "https://evil.example.com/calendar",
            "http://app.example.com/calendar",
            "https://app.example.com:444/calendar",
            "https://app.example.com@evil.example.com/calendar",
            "https://user@app.example.com/calendar",
            "https://app.example.com/calendar/../admin",
        ] {
            assert!(!is_allowed(other), "{other}");
        }
    }
}
