//! Logs, spans and measures.
//!
//! Logs go to standard error, for people or as JSON lines; measures are kept by the `metrics` facade and
//! rendered for Prometheus by [`Telemetry::render`]. Nothing here ever sees a token, a title or an address:
//! what must not be logged is kept out where it is known, by its type.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::telemetry::{LogFormat, TelemetryConfig};

/// Upper bounds of latency histograms in milliseconds: from an idle hand-over to a slow provider.
const LATENCY_BUCKETS_MS: [f64; 14] =
    [1.0, 2.0, 3.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 3000.0, 10_000.0, 60_000.0];

/// The measures of this process.
#[derive(Clone)]
pub struct Telemetry {
    prometheus: PrometheusHandle,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}

/// Telemetry could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter cannot be read.
    #[error("read telemetry.log_filter")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The measures could not be installed.
    #[error("install the recorder of measures")]
    Recorder(#[from] metrics_exporter_prometheus::BuildError),
}

impl Telemetry {
    /// Installs logs and measures for this process; a second call in one process (tests) keeps the first.
    ///
    /// # Errors
    /// When the filter cannot be read or the measures cannot be installed.
    pub fn install(config: &TelemetryConfig) -> Result<Self, TelemetryError> {
        let filter = EnvFilter::builder().parse(&config.log_filter)?;
        let registry = tracing_subscriber::registry().with(filter);
        let installed = match config.log_format {
            LogFormat::Json => registry
                .with(
                    tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr),
                )
                .try_init(),
            LogFormat::Text => {
                let is_terminal = std::io::stderr().is_terminal();
                let lines = tracing_subscriber::fmt::layer().with_ansi(is_terminal);
                registry.with(lines.with_writer(std::io::stderr)).try_init()
            }
        };
        if installed.is_err() {
            tracing::debug!("logs are installed already");
        }
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_ms".to_owned()), &LATENCY_BUCKETS_MS)?;
        let recorder = builder.build_recorder();
        let prometheus = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::debug!("measures are installed already");
        }
        Ok(Self { prometheus })
    }

    /// The measures in the Prometheus text format.
    pub fn render(&self) -> String {
        self.prometheus.render()
    }

    /// Folds samples into their histograms; called now and then so that an unscraped process stays small.
    pub fn run_upkeep(&self) {
        self.prometheus.run_upkeep();
    }
}
