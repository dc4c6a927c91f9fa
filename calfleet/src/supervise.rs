//! The parts of one process end together: one that ends before the others were told to leaves nothing behind it that
//! looks alive and does nothing.

use anyhow::anyhow;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Runs until all parts have ended, which `shutdown` asks of them; so does the first that ends before.
///
/// # Errors
/// What the first part failed of, or that it ended by itself.
pub(crate) async fn supervise(
    mut parts: JoinSet<anyhow::Result<()>>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    while let Some(ended) = parts.join_next().await {
        let mut ended = ended.unwrap_or_else(|panicked| Err(panicked.into()));
        if !shutdown.is_cancelled() {
            ended = ended.and_then(|()| Err(anyhow!("a part of the program ended by itself")));
            tracing::error!("a part of the program has ended: the others are ended, too");
            shutdown.cancel();
        }
        outcome = outcome.and(ended);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> (JoinSet<anyhow::Result<()>>, CancellationToken) {
        let (mut parts, shutdown) = (JoinSet::new(), CancellationToken::new());
        let stop = shutdown.clone();
        parts.spawn(async move {
            stop.cancelled().await;
            Ok(())
        });
        parts.spawn(part);
        (parts, shutdown)
    }

    #[tokio::test]
    async fn a_part_that_ends_by_itself_ends_the_others_with_an_error() {
        let (parts, shutdown) = beside(async { Ok(()) });
        let ended = supervise(parts, &shutdown).await.unwrap_err();
        assert_eq!(ended.to_string(), "a part of the program ended by itself");

        let (parts, shutdown) = beside(async { Err(anyhow!("the store is gone")) });
        let ended = supervise(parts, &shutdown).await.unwrap_err();
        assert_eq!(ended.to_string(), "the store is gone");

        let (parts, shutdown) = beside(async { panic!("on purpose") });
        assert!(supervise(parts, &shutdown).await.is_err());
    }

    #[tokio::test]
    async fn parts_that_are_told_to_end_do_so_without_an_error() {
        let (parts, shutdown) = beside(async { Ok(()) });
        shutdown.cancel();
        assert!(supervise(parts, &shutdown).await.is_ok());
    }
}
