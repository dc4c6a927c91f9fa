//! The handles that a request handler may touch.

use std::sync::Arc;
use std::time::Duration;

use calfleet_queue::Queue;
use calfleet_runtime::telemetry::Telemetry;
use calfleet_service::Service;
use tokio_util::sync::CancellationToken;

/// What every handler is given.
#[derive(Debug, Clone)]
pub struct App {
    /// The database, drivers, time and chance.
    pub service: Service,
    /// The lanes, for their depths.
    pub queue: Queue,
    /// The measures of this process.
    pub telemetry: Arc<Telemetry>,
    /// At least so long between the beginnings of two runs of a calendar that notifications ask for.
    pub notification_spacing: Duration,
    /// How long a request may wait for a provider's answer at most.
    pub longest_wait: Duration,
    /// How often each calendar is compared in full with its provider.
    pub full_sync_every: Duration,
    /// Cancelled when this process drains.
    pub draining: CancellationToken,
}
