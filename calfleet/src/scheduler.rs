//! `calfleet scheduler`: puts work on the queue and serves the API.

use std::path::Path;

use anyhow::bail;
use calfleet_scheduler::serve;

use crate::parts::Parts;
use crate::supervise::supervise;

/// Runs until it is told to stop, then drains.
pub(crate) async fn run(config: Option<&Path>) -> anyhow::Result<()> {
    let shutdown = calfleet_runtime::lifecycle::shutdown_signal()?;
    let parts = Parts::of_file(config).await?;
    if !parts.config.queue.is_redis() {
        bail!(
            "a scheduler of its own needs Redis between it and the workers: set queue.url, or run 'calfleet solo'"
        );
    }
    parts.keep_time(shutdown.clone());
    let socket = serve::listen(parts.config.api.listen).await?;
    tracing::info!(address = %socket.address()?, "scheduler is running");
    supervise(parts.scheduler(socket, &shutdown), &shutdown).await
}
