//! The gate before SQLite's one writer: one at a time, people first.
//!
//! SQLite lets writers in by luck and after sleeps; under load a small transaction then waits for a second. Here
//! they queue. Background work is let in after a run of interactive work, so that it is late but never starved.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// How urgent a transaction is. Only SQLite, with its one writer, makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// A person, or what the fleet's clockwork waits for.
    Interactive,
    /// Everything else.
    Background,
}

/// After so many interactive passes in a row one of the background is let in, if any waits.
const INTERACTIVE_RUN: u32 = 16;

/// The gate; clones are the same gate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_taken: bool,
    interactive: VecDeque<oneshot::Sender<Pass>>,
    background: VecDeque<oneshot::Sender<Pass>>,
    interactive_run: u32,
}

/// The right to write; whoever is next gets it when this is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Gate,
}

impl Gate {
    /// Waits for the right to write.
    pub(crate) async fn enter(&self, priority: Priority) -> Pass {
        loop {
            let turn = {
                let mut state = self.lock();
                if !state.is_taken {
                    state.is_taken = true;
                    return Pass { gate: self.clone() };
                }
                let (sender, receiver) = oneshot::channel();
                match priority {
                    Priority::Interactive => state.interactive.push_back(sender),
                    Priority::Background => state.background.push_back(sender),
                }
                receiver
            };
            if let Ok(pass) = turn.await {
                return pass;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> Option<oneshot::Sender<Pass>> {
        let is_backgrounds_turn = self.interactive_run >= INTERACTIVE_RUN && !self.background.is_empty();
        if !is_backgrounds_turn && let Some(waiter) = self.interactive.pop_front() {
            self.interactive_run += 1;
            return Some(waiter);
        }
        self.interactive_run = 0;
        self.background.pop_front()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let waiter = {
            let mut state = self.gate.lock();
            let waiter = state.next();
            state.is_taken = waiter.is_some();
            waiter
        };
        // A waiter that has gone leaves the pass to be dropped again, outside the lock, and so to the next one.
        if let Some(waiter) = waiter {
            drop(waiter.send(Pass { gate: self.gate.clone() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn people_overtake_and_the_background_is_never_starved() {
        let gate = Gate::default();
        let first = gate.enter(Priority::Background).await;
        let (report, mut order) = tokio::sync::mpsc::unbounded_channel();
        for index in 0..40 {
            let (gate, report) = (gate.clone(), report.clone());
            let priority = if index < 2 { Priority::Background } else { Priority::Interactive };
            tokio::spawn(async move {
                let _pass = gate.enter(priority).await;
                report.send(priority).unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop(first);

        let mut passes = Vec::new();
        for _ in 0..40 {
            passes.push(order.recv().await.unwrap());
        }

        let positions: Vec<_> = (0..40).filter(|at| passes[*at] == Priority::Background).collect();
        assert_eq!(positions, [16, 33]);
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_does_not_take_the_pass_along() {
        let gate = Gate::default();
        let first = gate.enter(Priority::Interactive).await;
        let mut lost = Box::pin(gate.enter(Priority::Interactive));
        assert!(futures_poll(&mut lost).await.is_none());
        let mut kept = Box::pin(gate.enter(Priority::Background));
        assert!(futures_poll(&mut kept).await.is_none());

        drop(first);
        drop(lost);

        let pass = kept.await;
        drop(pass);
        gate.enter(Priority::Background).await;
    }

    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
