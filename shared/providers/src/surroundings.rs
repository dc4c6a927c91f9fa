//! What every driver takes from its process: the guarded client, time, chance, and where providers are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::{Clock, Rng};
use url::Url;

use crate::caldav::services::Services;
use crate::driver::Account;
use crate::http::HttpClient;
use crate::http::auth::{Authenticator, SchemeMemory};
use crate::http::session::Session;
use crate::limit::Budgets;

/// What a driver takes from its process.
#[derive(Clone)]
pub struct Surroundings {
    /// The guarded client.
    pub client: HttpClient,
    /// What servers are known to want.
    pub schemes: Arc<SchemeMemory>,
    /// Where domains name their servers.
    pub services: Arc<dyn Services>,
    /// Where the providers with one address for everybody are.
    pub endpoints: Arc<Endpoints>,
    /// How often providers may be asked.
    pub budgets: Budgets,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub rng: Arc<dyn Rng>,
}

impl Surroundings {
    /// The exchanges of an account whose address is `home`, out of its own budgets.
    pub(crate) fn session(&self, home: &Url, account: &Account) -> Session {
        let authenticator = Authenticator::new(
            home,
            account.authentication,
            account.username.as_deref(),
            account.secret.clone(),
            &self.schemes,
            self.rng.clone(),
        );
        Session::new(self.client.clone(), home, authenticator).metered(self.budgets.meter(account))
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// Where the providers with one address for everybody are, and how much of them is looked at. The operator sets
/// them; a sandbox stands in for the real ones in demos and tests.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Google Calendar API v3, with a slash at its end.
    pub google: Url,
    /// Microsoft Graph v1.0, with a slash at its end.
    pub microsoft: Url,
    /// How much of the past is looked at where a provider lists by window only (Microsoft Graph).
    pub window_past: Duration,
    /// How much of the future is looked at there.
    pub window_future: Duration,
}

impl Endpoints {
    /// The providers' own addresses; a window of a year back and two years ahead.
    ///
    /// # Errors
    /// Never in practice: the addresses are constants.
    pub fn production() -> Result<Self, url::ParseError> {
        Ok(Self {
            google: Url::parse("https://www.googleapis.com/calendar/v3/")?,
            microsoft: Url::parse("https://graph.microsoft.com/v1.0/")?,
            window_past: Duration::from_hours(365 * 24),
            window_future: Duration::from_hours(730 * 24),
        })
    }
}
