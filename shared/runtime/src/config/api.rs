//! `[api]`: where the programs listen.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::{Complaint, within};

/// Being reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiConfig {
    /// Where the API and the health pages listen.
    pub listen: SocketAddr,
    /// Where a worker shows its health pages and measures; empty for nowhere.
    pub worker_listen: String,
    /// Where people and providers reach this API; `None` where nobody outside can.
    #[serde(with = "optional_url")]
    pub public_url: Option<Url>,
    /// Where people may be sent back to after signing in at a provider.
    pub return_urls: Vec<Url>,
    /// Largest request body.
    pub max_body_bytes: usize,
    /// One request.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

/// The longest that a request may wait for a provider's answer: people do not wait longer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

mod optional_url {
    use serde::{Deserialize as _, Deserializer, de};
    use url::Url;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Url>, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() { Ok(None) } else { Url::parse(&text).map(Some).map_err(de::Error::custom) }
    }
}

impl ApiConfig {
    /// Where a worker shows its health pages; `None` for nowhere.
    pub fn worker_address(&self) -> Option<SocketAddr> {
        self.worker_listen.parse().ok()
    }

    /// How long a request may wait for a provider's answer: it has to be answered before `timeout` ends it.
    pub fn longest_wait(&self) -> Duration {
        LONGEST_WAIT.min(self.timeout / 2)
    }

    pub(super) fn check(&self, complaints: &mut Vec<Complaint>) {
        within(complaints, "api.max_body_bytes", &self.max_body_bytes, 1_000..=100_000_000);
        within(complaints, "api.timeout", &self.timeout, Duration::from_secs(1)..=Duration::from_mins(5));
        if let Some(url) = &self.public_url
            && !is_base(url)
        {
            let advice = format!(
                "{url} cannot be used; give an http or https address without a query that ends with a slash, such as https://calfleet.example.com/."
            );
            complaints.push(Complaint { key: "api.public_url", advice });
        }
        if !self.worker_listen.is_empty() && self.worker_address().is_none() {
            let advice = "is no address:port such as 127.0.0.1:8401.".to_owned();
            complaints.push(Complaint { key: "api.worker_listen", advice });
        }
    }
}

/// Whether paths can be added to an address: without the slash its last part would be lost.
fn is_base(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.path().ends_with('/')
        && url.query().is_none()
        && url.fragment().is_none()
}
