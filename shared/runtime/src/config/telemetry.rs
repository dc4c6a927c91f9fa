//! `[telemetry]`: logs and measures.

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use super::Complaint;

/// Logs and measures.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Which log lines are written, in the form of `tracing`'s filters.
    pub log_filter: String,
    /// For people or for machines.
    pub log_format: LogFormat,
}

impl TelemetryConfig {
    pub(super) fn check(&self, complaints: &mut Vec<Complaint>) {
        if let Err(error) = EnvFilter::builder().parse(&self.log_filter) {
            let advice = format!(
                "{:?} cannot be read ({error}); use error, warn, info, debug or trace, also of a part: \"calfleet_worker=debug,info\".",
                self.log_filter
            );
            complaints.push(Complaint { key: "telemetry.log_filter", advice });
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
