//! Every provider there is: what it is called, what it needs, and how an account at it is opened.
//!
//! A new provider is one entry in [`PROVIDERS`] and one driver.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use calfleet_domain::clock::{Clock, Rng};
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Authentication, Event, ProviderKind};
use url::Url;

use crate::caldav::driver::CaldavDriver;
use crate::caldav::services::{DnsServices, Services};
use crate::driver::{Account, Driver, DriverError, Problem};
use crate::feed::driver::FeedDriver;
use crate::google::driver::GoogleDriver;
use crate::graph::driver::GraphDriver;
use crate::http::auth::SchemeMemory;
use crate::http::{BuildError, HttpClient, HttpSettings};
use crate::limit::Budgets;
use crate::oauth::short;
use crate::surroundings::{Endpoints, Surroundings};
use crate::{google, graph};

const OPEN: &str = "open the account";

/// What people are told about a provider before they connect.
#[derive(Debug, Clone, Copy)]
pub struct Provider {
    /// Which.
    pub kind: ProviderKind,
    /// Its name for people.
    pub label: &'static str,
    /// What it can do here, in one sentence.
    pub summary: &'static str,
    /// What to enter as address.
    pub address_hint: &'static str,
    /// How an account may prove who it is, the usual way first.
    pub authentications: &'static [Authentication],
    /// Whether events can be written.
    pub writes: bool,
    /// What a person is asked to allow; empty where nothing is asked by OAuth.
    pub scopes: Scopes,
}

/// What a person is asked to allow (RFC 6749 §3.3), as the provider spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    /// Always: to tell accounts apart.
    pub identity: &'static [&'static str],
    /// For reading calendars.
    pub read: &'static [&'static str],
    /// For reading and writing them.
    pub write: &'static [&'static str],
}

impl Scopes {
    /// Nothing is asked by OAuth.
    pub const NONE: Self = Self { identity: &[], read: &[], write: &[] };

    /// Whether what was granted, in its short spelling, is enough for changing calendars.
    pub fn allow_changes(&self, granted: &BTreeSet<String>) -> bool {
        self.write.iter().all(|scope| granted.contains(&short(scope)))
    }
}

/// What Google is asked for (`Choose Google Calendar API scopes`): the narrowest with which everything works.
const GOOGLE_SCOPES: Scopes = Scopes {
    identity: &["openid", "email"],
    read: &["https://www.googleapis.com/auth/calendar.readonly"],
    write: &[
        "https://www.googleapis.com/auth/calendar.events",
        "https://www.googleapis.com/auth/calendar.calendarlist.readonly",
    ],
};

/// What Microsoft is asked for (`Microsoft Graph permissions reference`). Without `offline_access` there is no
/// refresh token, and a mailbox could be looked at for an hour.
const MICROSOFT_SCOPES: Scopes = Scopes {
    identity: &["openid", "email", "profile", "offline_access"],
    read: &["Calendars.Read"],
    write: &["Calendars.ReadWrite"],
};

/// The providers that can be connected.
pub const PROVIDERS: &[Provider] = &[
    Provider {
        kind: ProviderKind::Google,
        label: "Google Calendar",
        summary: "Calendars of Google accounts, personal and of Google Workspace.",
        address_hint: "",
        authentications: &[Authentication::Oauth],
        writes: true,
        scopes: GOOGLE_SCOPES,
    },
    Provider {
        kind: ProviderKind::Microsoft,
        label: "Microsoft 365 and Outlook",
        summary: "Calendars of Microsoft accounts, personal (Outlook.com) and of Microsoft 365.",
        address_hint: "",
        authentications: &[Authentication::Oauth],
        writes: true,
        scopes: MICROSOFT_SCOPES,
    },
    Provider {
        kind: ProviderKind::Caldav,
        label: "CalDAV",
        summary: "Calendars of iCloud, Fastmail, Nextcloud, Zoho and any other CalDAV server.",
        address_hint: "https://dav.example.com/ or your mail address",
        authentications: &[Authentication::Password, Authentication::Bearer, Authentication::None],
        writes: true,
        scopes: Scopes::NONE,
    },
    Provider {
        kind: ProviderKind::Feed,
        label: "Calendar feed",
        summary: "A published calendar (.ics, webcal) that is read at intervals.",
        address_hint: "https://www.example.com/calendar.ics",
        authentications: &[Authentication::None, Authentication::Password],
        writes: false,
        scopes: Scopes::NONE,
    },
];

/// What is known of a provider; `None` for one that cannot be connected.
pub fn provider(kind: ProviderKind) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.kind == kind)
}

/// Why an event that says `before` cannot say `after` at a provider, in a sentence for people; `None` when it can, as
/// far as that is known before it is asked.
pub fn unsayable(kind: ProviderKind, before: Option<&Event>, after: &Event) -> Option<String> {
    match kind {
        ProviderKind::Microsoft => {
            graph::unsayable(before, after).map(|what| format!("This provider cannot {what}."))
        }
        ProviderKind::Google => {
            google::unsayable(before, after).map(|what| format!("This provider cannot {what}."))
        }
        ProviderKind::Caldav | ProviderKind::Feed => None,
    }
}

/// The address that a person means: a URL, a bare host name, or a mail address (as `mailto:`, which only CalDAV
/// can follow).
///
/// # Errors
/// [`FailureClass::Permanent`] when it is none of these.
pub fn address(kind: ProviderKind, typed: &str) -> Result<Url, DriverError> {
    let typed = typed.trim();
    let invalid = |reason: String| {
        DriverError::new("read the address", FailureClass::Permanent, Problem::InvalidUrl { reason })
    };
    let is_mail = kind == ProviderKind::Caldav
        && !typed.contains('/')
        && typed.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && domain.contains('.'));
    let text = if typed.is_empty() {
        return Err(invalid("it is empty".to_owned()));
    } else if is_mail && !typed.starts_with("mailto:") {
        format!("mailto:{typed}")
    } else if typed.contains("://") || typed.starts_with("mailto:") {
        typed.to_owned()
    } else {
        format!("https://{typed}")
    };
    let url = Url::parse(&text).map_err(|error| invalid(error.to_string()))?;
    match url.scheme() {
        "https" | "http" => Ok(url),
        "mailto" if is_mail || kind == ProviderKind::Caldav => Ok(url),
        "webcal" | "webcals" if kind == ProviderKind::Feed => Ok(url),
        other => Err(invalid(format!("{other} is not https"))),
    }
}

/// Opens accounts. One for the whole process: connections and what is known of servers are shared.
#[derive(Clone)]
pub struct Registry {
    surroundings: Surroundings,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// A registry whose requests keep to `settings`.
    ///
    /// # Errors
    /// When the TLS library cannot be started.
    pub fn new(
        settings: HttpSettings,
        endpoints: Endpoints,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, BuildError> {
        Ok(Self::with_client(HttpClient::new(settings)?, Arc::new(DnsServices), endpoints, clock, rng))
    }

    /// A registry on a client and a service lookup of the caller's.
    pub fn with_client(
        client: HttpClient,
        services: Arc<dyn Services>,
        endpoints: Endpoints,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        let schemes = Arc::new(SchemeMemory::default());
        Self {
            surroundings: Surroundings {
                client,
                schemes,
                services,
                endpoints: Arc::new(endpoints),
                budgets: Budgets::unlimited(),
                clock,
                rng,
            },
        }
    }

    /// The same within budgets; without them only providers set limits.
    #[must_use]
    pub fn within(mut self, budgets: Budgets) -> Self {
        self.surroundings.budgets = budgets;
        self
    }

    /// A driver for the account. Nothing is sent yet.
    ///
    /// # Errors
    /// [`FailureClass::Permanent`] for an address that may not be asked and for a provider without a driver.
    pub fn open(&self, account: Account) -> Result<Arc<dyn Driver>, DriverError> {
        match account.provider {
            ProviderKind::Caldav => {
                if account.url.scheme() != "mailto" {
                    self.surroundings.client.check(OPEN, &account.url)?;
                }
                Ok(Arc::new(CaldavDriver::open(account, &self.surroundings)))
            }
            ProviderKind::Feed => Ok(Arc::new(FeedDriver::open(account, &self.surroundings))),
            ProviderKind::Google => {
                self.surroundings.client.check(OPEN, &self.surroundings.endpoints.google)?;
                Ok(Arc::new(GoogleDriver::open(account, &self.surroundings)))
            }
            ProviderKind::Microsoft => {
                self.surroundings.client.check(OPEN, &self.surroundings.endpoints.microsoft)?;
                Ok(Arc::new(GraphDriver::open(account, &self.surroundings)))
            }
        }
    }
}
