//! Gathers notifications for a few milliseconds and writes them together, so that thousands a second cost the
//! database some hundred small transactions.
//!
//! Whoever sent one waits for the commit, because what was answered well is not sent again; when the database does not
//! take it in time it is told so, and sends it again later, which changes nothing if it was written after all: a write
//! is not broken off. Nothing here touches Redis but the nudge.

use std::time::Duration;

use calfleet_domain::clock::Clock;
use calfleet_runtime::clock::SystemClock;
use calfleet_store::watches::{self, Notice, Taken};
use tokio::sync::{mpsc, oneshot};

use crate::app::App;

/// How long the first notification waits for others.
const GATHERING: Duration = Duration::from_millis(5);
/// How long a sender waits in all; providers count what takes longer as slow from three seconds on.
const PATIENCE: Duration = Duration::from_millis(45);
/// Most notifications in one write.
const AT_ONCE: usize = 1_000;
/// Most senders that wait; more are sent away to come again.
const WAITING: usize = 4_096;

/// The way in; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    way: mpsc::Sender<Waiting>,
}

/// The notifications cannot be written at present; send them again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write notifications in time")]
pub(crate) struct Busy;

/// What one sender brought.
#[derive(Debug)]
struct Waiting {
    notices: Vec<Notice>,
    answer: oneshot::Sender<Result<(), Busy>>,
}

impl Intake {
    /// Starts the task that writes; it ends when the last way in is gone.
    pub(crate) fn start(app: &App) -> Self {
        let (way, brought) = mpsc::channel(WAITING);
        tokio::spawn(run(app.clone(), brought));
        Self { way }
    }

    /// Waits until the notifications are written.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub(crate) async fn take(&self, notices: Vec<Notice>) -> Result<(), Busy> {
        // real time, whatever the fleet's clock shows
        let clock = SystemClock::default();
        let (answer, answered) = oneshot::channel();
        let until = clock.now().plus(PATIENCE);
        self.way.try_send(Waiting { notices, answer }).map_err(|_| Busy)?;
        tokio::select! {
            answer = answered => answer.unwrap_or(Err(Busy)),
            () = clock.sleep_until(until) => Err(Busy),
        }
    }
}

async fn run(app: App, mut brought: mpsc::Receiver<Waiting>) {
    let clock = SystemClock::default();
    let mut is_failing = false;
    while let Some(first) = brought.recv().await {
        clock.sleep(GATHERING).await;
        let mut senders = vec![first];
        let mut count = 0;
        while count < AT_ONCE
            && let Ok(next) = brought.try_recv()
        {
            count += next.notices.len();
            senders.push(next);
        }
        // who has gone has been told to come again
        senders.retain(|sender| !sender.answer.is_closed());
        if senders.is_empty() {
            continue;
        }
        let notices: Vec<Notice> = senders.iter().flat_map(|sender| sender.notices.iter().cloned()).collect();
        let (store, spacing) = (&app.service.store, app.notification_spacing);
        let answer = match watches::notified(store, &notices, spacing, app.service.now()).await {
            Ok(taken) => {
                count_taken(taken);
                if taken.is_due {
                    app.service.nudge.nudge();
                }
                Ok(())
            }
            Err(error) => {
                if !is_failing {
                    tracing::warn!(error = &error as &dyn std::error::Error, "notifications are not taken");
                }
                Err(Busy)
            }
        };
        is_failing = answer.is_err();
        for sender in senders {
            // a sender that has gone comes again, which changes nothing
            let _gone = sender.answer.send(answer);
        }
    }
}

fn count_taken(taken: Taken) {
    let count = |outcome: &'static str, notifications: usize| {
        metrics::counter!("calfleet_notifications_total", "outcome" => outcome)
            .increment(notifications as u64);
    };
    count("accepted", taken.accepted);
    count("refused", taken.refused);
}
