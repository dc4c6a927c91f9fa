//! Accounts: who may log in, how, and with which habits the server treats them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::calendar::{Calendar, CalendarSpec};
use super::profile::Profile;

/// A way to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthScheme {
    /// RFC 7617.
    Basic,
    /// RFC 7616 with MD5.
    DigestMd5,
    /// RFC 7616 with SHA-256.
    DigestSha256,
    /// RFC 6750; the account's secret is the token.
    Bearer,
}

/// What an account is created with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSpec {
    /// The user name, and the segment in its addresses.
    pub name: String,
    /// Password, or bearer token.
    pub secret: String,
    /// Schemes it takes; Basic when empty.
    #[serde(default)]
    pub schemes: Vec<AuthScheme>,
    /// Habits; the server's when absent.
    #[serde(default)]
    pub profile: Option<Profile>,
    /// Shown name; the user name when absent.
    #[serde(default)]
    pub title: Option<String>,
    /// Addresses of the calendar user; `{name}@example.com` when empty.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Calendars to begin with.
    #[serde(default)]
    pub calendars: Vec<CalendarSpec>,
}

impl AccountSpec {
    /// An account with Basic authentication and without calendars.
    pub fn new(name: &str, secret: &str) -> Self {
        Self {
            name: name.to_owned(),
            secret: secret.to_owned(),
            schemes: Vec::new(),
            profile: None,
            title: None,
            addresses: Vec::new(),
            calendars: Vec::new(),
        }
    }

    /// With one more way to log in; the first replaces Basic.
    #[must_use]
    pub fn scheme(mut self, scheme: AuthScheme) -> Self {
        self.schemes.push(scheme);
        self
    }

    /// With habits of its own.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// With one more calendar.
    #[must_use]
    pub fn calendar(mut self, calendar: CalendarSpec) -> Self {
        self.calendars.push(calendar);
        self
    }
}

/// Where and how to reach an account that was created.
#[derive(Debug, Clone, Serialize)]
pub struct AccountAccess {
    /// The server's address, without a path: discovery begins here.
    pub url: String,
    /// Address of the calendar home.
    pub home: String,
    /// The user name.
    pub username: String,
    /// Password or bearer token.
    pub secret: String,
}

#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) spec: AccountSpec,
    pub(crate) calendars: BTreeMap<String, Calendar>,
}

impl Account {
    pub(crate) fn new(spec: AccountSpec) -> Self {
        Self { spec, calendars: BTreeMap::new() }
    }

    pub(crate) fn schemes(&self) -> &[AuthScheme] {
        match self.spec.schemes.as_slice() {
            [] => &[AuthScheme::Basic],
            schemes => schemes,
        }
    }

    pub(crate) fn title(&self) -> &str {
        self.spec.title.as_deref().unwrap_or(&self.spec.name)
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        if self.spec.addresses.is_empty() {
            let name = &self.spec.name;
            let address = if name.contains('@') { name.clone() } else { format!("{name}@example.com") };
            return vec![address];
        }
        self.spec.addresses.clone()
    }
}
