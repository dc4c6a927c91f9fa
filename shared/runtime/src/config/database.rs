//! `[database]`: where everything is kept.

use serde::Deserialize;
use url::Url;

use super::{Complaint, server_address, unreadable_address, within};

/// Where everything is kept.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite://FILE` or `postgres://…`; may hold a password, and is therefore never printed.
    pub url: String,
    /// Connections of one process.
    pub max_connections: u32,
}

impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

impl DatabaseConfig {
    /// Whether this is a file of one process.
    pub fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    pub(super) fn check(&self, complaints: &mut Vec<Complaint>) {
        within(complaints, "database.max_connections", &self.max_connections, 2..=100);
        if !self.is_sqlite() && !self.url.starts_with("postgres://") && !self.url.starts_with("postgresql://")
        {
            let advice = "begins neither with sqlite:// nor with postgres://; see default.toml.".to_owned();
            complaints.push(Complaint { key: "database.url", advice });
        } else if self.is_sqlite() && Url::parse(&self.url).is_err() {
            let advice = "cannot be read; write sqlite:///PATH/TO/FILE.db, with %20 for a space.".to_owned();
            complaints.push(Complaint { key: "database.url", advice });
        } else if !self.is_sqlite() && server_address(&self.url).is_none() {
            complaints.push(Complaint { key: "database.url", advice: unreadable_address() });
        }
    }
}
