//! An orderly end: the first SIGTERM or Ctrl-C asks everything to drain, the second ends the process at once.

use tokio_util::sync::CancellationToken;

/// Installs the handlers of SIGTERM and Ctrl-C and returns the token that they cancel.
///
/// # Errors
/// When the operating system refuses the handlers.
pub fn shutdown_signal() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let cancelled = token.clone();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if again {
                tracing::warn!("second signal: ending at once, leases run out by themselves");
                std::process::exit(130);
            }
            tracing::info!("draining: no new work is taken, what runs is finished or given back");
            cancelled.cancel();
        }
    });
    Ok(token)
}
