//! `calfleet worker`: takes work off the queue.

use std::path::Path;

use anyhow::bail;
use calfleet_scheduler::serve;

use crate::parts::Parts;

/// Runs until it is told to stop, then drains.
pub(crate) async fn run(config: Option<&Path>) -> anyhow::Result<()> {
    let shutdown = calfleet_runtime::lifecycle::shutdown_signal()?;
    let parts = Parts::of_file(config).await?;
    if !parts.config.queue.is_redis() {
        bail!(
            "a worker of its own needs Redis between it and the schedulers: set queue.url, or run 'calfleet solo'"
        );
    }
    parts.keep_time(shutdown.clone());
    if let Some(address) = parts.config.api.worker_address() {
        let socket = serve::listen(address).await?;
        tracing::info!(address = %socket.address()?, "health pages are served");
        tokio::spawn(socket.serve_health(parts.app(shutdown.clone()), parts.config.api.timeout));
    }
    tracing::info!(slots = parts.config.worker.slots, "worker is running");
    calfleet_worker::run(parts.frame(), shutdown).await?;
    Ok(())
}
