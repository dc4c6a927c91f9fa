//! The source from which the worker's loop takes what was claimed: a `Backend` of apalis-core over a channel.
//!
//! Popping, claiming and counting slots happen before the channel, so the loop only ever sees work that it may
//! run at once. It needs no acknowledgements, heartbeats or retries from the backend, because the table of due work
//! holds the truth; and it never sees an error, because an error out of `poll_next` ends the loop.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::layers::Identity;
use apalis_core::task::Task;
use apalis_core::task::task_id::RandomId;
use apalis_core::worker::context::WorkerContext;
use tokio::sync::mpsc;

/// The receiving end, as a backend. Clones share it, so that a restarted loop goes on where the last one ended.
pub struct Feed<T>(Arc<Mutex<mpsc::Receiver<T>>>);

/// A channel whose receiving end is a backend of apalis.
pub fn feed<T>(capacity: usize) -> (mpsc::Sender<T>, Feed<T>) {
    let (sender, receiver) = mpsc::channel(capacity);
    (sender, Feed(Arc::new(Mutex::new(receiver))))
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Feed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Feed")
    }
}

impl<T> Backend for Feed<T> {
    type Task = Task<T>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<T>, Infallible>>> {
        let mut receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.poll_recv(context).map(|item| item.map(|item| Ok(Task::new(item))))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl<T> BackendConfig for Feed<T> {
    type Args = T;
    type Id = RandomId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
