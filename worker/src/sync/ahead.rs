//! Asking on a task of its own: what the provider answers is parsed on one core while what it said before is written
//! from another.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

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
    pub(super) async fn answer(mut self) -> T {
        poll_fn(|context| match Pin::new(&mut self.0).poll(context) {
            Poll::Ready(Ok(answer)) => Poll::Ready(answer),
            Poll::Ready(Err(ended)) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            // the runtime is being shut down, and this task with it
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_asked_to_its_end() {
        let (held, ended) = oneshot::channel::<()>();
        let asked = Ahead::ask(async move {
            std::future::pending::<()>().await;
            drop(held);
        });

        drop(asked);

        assert!(ended.await.is_err(), "the asking is dropped, and its end of the channel with it");
    }

    #[tokio::test]
    async fn a_panic_goes_on_where_the_answer_is_awaited() {
        let asked = Ahead::<()>::ask(async { std::panic::resume_unwind(Box::new("as the test wants it")) });

        let ended = std::panic::AssertUnwindSafe(asked.answer()).catch_unwind().await;

        assert!(ended.is_err());
    }
}
