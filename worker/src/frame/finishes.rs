//! Writes down what came of the runs, as many in one statement as have gathered meanwhile.

use std::sync::Arc;
use std::time::Duration;

use calfleet_store::work::{self, Finished};
use tokio::sync::mpsc;

use super::{Outcome, Shared};

/// The most finishes in one statement.
const BATCH: usize = 512;
/// The pause after a failure of the store, doubled up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Runs until every sender is gone and everything sent is written or lost.
pub(super) async fn finish(shared: Arc<Shared>, mut outcomes: mpsc::UnboundedReceiver<Outcome>) {
    let mut batch = Vec::with_capacity(BATCH);
    while outcomes.recv_many(&mut batch, BATCH).await > 0 {
        write(&shared, &batch).await;
        for outcome in batch.drain(..) {
            shared.held.let_go(&outcome.claim);
        }
    }
}

/// Repeats until the store takes it: the leases are renewed all the while. What was lost meanwhile is left out by
/// the statement itself.
async fn write(shared: &Shared, batch: &[Outcome]) {
    let frame = &shared.frame;
    let mut pause = PAUSE;
    loop {
        let now = frame.clock.now();
        let finishes: Vec<_> = batch.iter().map(|outcome| (&outcome.claim, &outcome.finish)).collect();
        match work::finish(&frame.store, &finishes, now).await {
            Ok(Finished { ready_again, .. }) => {
                // a suspect runs alone in the fleet: the next one need not wait for the clock
                if ready_again > 0 || batch.iter().any(|outcome| outcome.claim.deliveries > 2) {
                    frame.queue.nudge();
                }
                return;
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "finishes could not be written");
                frame.clock.sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
