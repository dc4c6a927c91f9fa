//! One authorised account at one provider.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which kind of provider a connection is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// Google Calendar API v3.
    Google,
    /// Microsoft Graph.
    Microsoft,
    /// A CalDAV server.
    Caldav,
    /// A published iCalendar file that is polled.
    Feed,
}

impl ProviderKind {
    /// The name used in tables, API and command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::Microsoft => "microsoft",
            Self::Caldav => "caldav",
            Self::Feed => "feed",
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that belongs to no provider.
#[derive(Debug, thiserror::Error)]
#[error("read provider {0:?}")]
pub struct UnknownProvider(String);

impl FromStr for ProviderKind {
    type Err = UnknownProvider;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Google, Self::Microsoft, Self::Caldav, Self::Feed]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownProvider(text.to_owned()))
    }
}

/// What a connection is allowed to do at present. What people are shown is worked out from this and from facts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Syncs.
    #[default]
    Active,
    /// Stopped by a person; resumes when asked.
    Paused,
    /// The provider has refused the credentials; the evidence is stored.
    NeedsReauth,
    /// Disconnected; its secrets are erased.
    Disconnected,
}

impl ConnectionState {
    /// The name used in tables, API and command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::NeedsReauth => "needs_reauth",
            Self::Disconnected => "disconnected",
        }
    }

    /// The state of that name; unknown names are `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Paused, Self::NeedsReauth, Self::Disconnected]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// How a connection proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authentication {
    /// Nothing is asked.
    None,
    /// User name and password; Basic or Digest, as the server offers.
    Password,
    /// A bearer token that does not expire.
    Bearer,
    /// An OAuth 2.0 access token, renewed by a refresh token or a service account's key.
    Oauth,
}
