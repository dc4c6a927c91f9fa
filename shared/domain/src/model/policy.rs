//! Choices that people make about how a connection behaves.

use serde::{Deserialize, Serialize};

/// Who wins when both sides changed the same atom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictPolicy {
    /// The later write, atom by atom; a tie is noted as such.
    #[default]
    LastWriteWins,
    /// The provider.
    ProviderWins,
    /// The application.
    AppWins,
    /// A person, by hand.
    Manual,
}

impl ConflictPolicy {
    /// The name used in tables, API and command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LastWriteWins => "last_write_wins",
            Self::ProviderWins => "provider_wins",
            Self::AppWins => "app_wins",
            Self::Manual => "manual",
        }
    }

    /// The policy of that name; unknown names are `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::LastWriteWins, Self::ProviderWins, Self::AppWins, Self::Manual]
            .into_iter()
            .find(|policy| policy.as_str() == name)
    }
}
