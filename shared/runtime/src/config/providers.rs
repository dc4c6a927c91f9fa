//! `[providers]`: how providers are reached, and which addresses never are.

use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::{Complaint, within};

/// Reaching providers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvidersConfig {
    /// The guarded HTTP client.
    pub http: HttpConfig,
    /// Google Calendar.
    pub google: GoogleConfig,
    /// Microsoft 365 and Outlook.
    pub microsoft: MicrosoftConfig,
}

/// Google Calendar.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoogleConfig {
    /// The Calendar API v3, with a slash at its end.
    pub api_url: Url,
    /// Our OAuth client's name there; empty: not offered.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// Where a person agrees.
    pub authorize_url: Url,
    /// Where codes and refresh tokens become tokens.
    pub token_url: Url,
    /// Where a grant is ended.
    pub revoke_url: Url,
    /// Where its keys are.
    pub jwks_url: Url,
    /// Who signs its id tokens.
    pub issuer: String,
}

/// Microsoft 365 and Outlook.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MicrosoftConfig {
    /// Microsoft Graph v1.0, with a slash at its end.
    pub api_url: Url,
    /// How much of the past is looked at.
    #[serde(with = "humantime_serde")]
    pub window_past: Duration,
    /// How much of the future is looked at.
    #[serde(with = "humantime_serde")]
    pub window_future: Duration,
    /// Our OAuth client's name there; empty: not offered.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// Where a person agrees.
    pub authorize_url: Url,
    /// Where codes and refresh tokens become tokens.
    pub token_url: Url,
    /// Where its keys are.
    pub jwks_url: Url,
    /// Who signs its id tokens; `{tid}` stands for the tenant that a token names.
    pub issuer: String,
}

/// The guarded HTTP client.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Whether plain http may be used to public addresses.
    pub allow_http: bool,
    /// Private networks that may be reached, by http too.
    pub allowed_networks: Vec<IpNet>,
    /// Ports besides 443 and 8443.
    pub allowed_ports: Vec<u16>,
    /// Connecting, name look-up and TLS included.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// One request in whole.
    #[serde(with = "humantime_serde")]
    pub total_timeout: Duration,
    /// The longest silence while an answer is awaited or read, but for the beginning of a listing.
    #[serde(with = "humantime_serde")]
    pub read_timeout: Duration,
    /// Until a listing begins.
    #[serde(with = "humantime_serde")]
    pub first_byte_timeout: Duration,
    /// A whole listing, which streams.
    #[serde(with = "humantime_serde")]
    pub listing_timeout: Duration,
    /// Largest listing after decompression.
    pub max_listing_bytes: u64,
    /// Largest single object.
    pub max_object_bytes: u64,
    /// Largest feed.
    pub max_feed_bytes: u64,
}

impl ProvidersConfig {
    pub(super) fn check(&self, complaints: &mut Vec<Complaint>) {
        let day = Duration::from_hours(24);
        let microsoft = &self.microsoft;
        within(complaints, "providers.microsoft.window_past", &microsoft.window_past, day..=1825 * day);
        within(complaints, "providers.microsoft.window_future", &microsoft.window_future, day..=1825 * day);
        for (key, url) in [
            ("providers.google.api_url", &self.google.api_url),
            ("providers.microsoft.api_url", &microsoft.api_url),
        ] {
            if !url.path().ends_with('/') {
                complaints.push(Complaint { key, advice: "The address has to end with a slash.".to_owned() });
            }
        }
        let http = &self.http;
        let (second, minute) = (Duration::from_secs(1), Duration::from_mins(1));
        within(complaints, "providers.http.connect_timeout", &http.connect_timeout, second..=minute);
        within(complaints, "providers.http.total_timeout", &http.total_timeout, second..=10 * minute);
        within(complaints, "providers.http.read_timeout", &http.read_timeout, second..=10 * minute);
        within(
            complaints,
            "providers.http.first_byte_timeout",
            &http.first_byte_timeout,
            second..=10 * minute,
        );
        within(complaints, "providers.http.listing_timeout", &http.listing_timeout, second..=120 * minute);
        within(
            complaints,
            "providers.http.max_listing_bytes",
            &http.max_listing_bytes,
            1_000_000..=1_000_000_000,
        );
        within(complaints, "providers.http.max_object_bytes", &http.max_object_bytes, 10_000..=100_000_000);
        within(complaints, "providers.http.max_feed_bytes", &http.max_feed_bytes, 10_000..=100_000_000);
    }
}
