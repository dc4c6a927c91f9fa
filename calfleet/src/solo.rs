//! `calfleet solo`: scheduler and worker in one process on an SQLite file, without Redis.

use std::path::Path;

use anyhow::{Context, bail};
use calfleet_runtime::config::Config;
use calfleet_scheduler::serve::{self, Socket};
use tokio_util::sync::CancellationToken;

use crate::parts::Parts;
use crate::supervise::supervise;

/// Runs until it is told to stop, then drains.
pub(crate) async fn run(config: Option<&Path>) -> anyhow::Result<()> {
    let shutdown = calfleet_runtime::lifecycle::shutdown_signal()?;
    let config = Config::load(config)?;
    if config.queue.is_redis() {
        bail!(
            "solo needs no Redis: leave queue.url empty, or run 'calfleet scheduler' and 'calfleet worker'"
        );
    }
    if !config.database.is_sqlite() {
        bail!(
            "solo keeps everything in one SQLite file: set database.url to sqlite://FILE, or run 'calfleet scheduler' and 'calfleet worker' with Redis"
        );
    }
    let _alone = lock(&config.database.url)?;
    calfleet_migrations::run(&config.database.url).await?;
    let parts = Parts::open(config).await?;
    tracing::info!(
        "one process, one file: rows of organizations are kept apart by the program alone, without the database's walls"
    );
    let socket = serve::listen(parts.config.api.listen).await?;
    run_parts(&parts, socket, shutdown).await
}

/// Scheduler, worker and API of one process.
pub(crate) async fn run_parts(
    parts: &Parts,
    socket: Socket,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    parts.keep_time(shutdown.clone());
    let freed = calfleet_store::work::free_all(&parts.service.store, parts.service.now()).await?;
    tracing::debug!(freed, "freed the leases of the process before");
    tracing::info!(address = %socket.address()?, "solo is running");
    let mut running = parts.scheduler(socket, &shutdown);
    let worker = calfleet_worker::run(parts.frame(), shutdown.clone());
    running.spawn(async move { Ok(worker.await?) });
    supervise(running, &shutdown).await
}

/// The right to be the only solo process on a database; lasts while the file is open.
fn lock(url: &str) -> anyhow::Result<std::fs::File> {
    let path = url.trim_start_matches("sqlite://").trim_start_matches("sqlite:");
    let path = path.split('?').next().unwrap_or(path);
    let path = format!("{path}.lock");
    let file = std::fs::File::create(&path).with_context(|| format!("create {path}"))?;
    if file.try_lock().is_err() {
        bail!("another solo process works on this database already ({path} is locked)");
    }
    Ok(file)
}
