//! Asking on a task of its own: what the provider answers is parsed on one core while what it said before is written
//! from another.

use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

/// Something that is asked for; the asking ends when nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Ahead<T>(AbortOnDropHandle<T>);

impl<T: Send + 'static> Ahead<T> {
    /// Begins at once.
    pub(super) fn ask(asking: impl Future<Output = T> + Send + 'static) -> Self {
        Self(AbortOnDropHandle::new(tokio::spawn(asking.in_current_span())))
    }

    /// What came of it; a panic goes on here.
    pub(super) async fn answer(self) -> T {
        match self.0.await {
            Ok(answer) => answer,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            // the runtime is being shut down, and this task with it
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_asked_to_its_end() {
        let ((begins, begun), (held, mut ended)) = (oneshot::channel(), oneshot::channel::<()>());
        let asked = Ahead::ask(async move {
            begins.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(held);
        });
        begun.await.unwrap();

        drop(asked);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }

        let closed = Err(oneshot::error::TryRecvError::Closed);
        assert_eq!(ended.try_recv(), closed, "the asking is dropped, and its end of the channel with it");
    }

    #[tokio::test]
    async fn a_panic_goes_on_where_the_answer_is_awaited() {
        let asked = Ahead::<()>::ask(async { std::panic::resume_unwind(Box::new("as the test wants it")) });

        let ended = std::panic::AssertUnwindSafe(asked.answer()).catch_unwind().await;

        assert!(ended.is_err());
    }
}
