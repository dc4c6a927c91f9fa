//! Renews every lease of the process in one statement, and drops the handlers that lost theirs.

use std::sync::Arc;

use calfleet_domain::clock::Timestamp;
use calfleet_store::work;

use super::Shared;
use super::fetch::measure;
use super::held::Dropped;

/// Runs for as long as the worker does.
pub(super) async fn renew(shared: Arc<Shared>) {
    let mut proven = shared.frame.clock.now();
    loop {
        shared.frame.clock.sleep(shared.frame.settings.renewal).await;
        renew_once(&shared, &mut proven).await;
    }
}

/// Tells the queue how many slots there are, for as long as the worker runs: apart from the renewals, which must not
/// wait for a queue that does not answer.
pub(super) async fn report(shared: Arc<Shared>) {
    let frame = &shared.frame;
    loop {
        let now = frame.clock.now();
        if let Err(error) = frame.queue.report_slots(shared.worker, frame.settings.slots, now).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "the slots were not reported");
        }
        measure(shared.held.running());
        frame.clock.sleep(frame.settings.renewal).await;
    }
}

/// One round; `proven` is when the store last answered one.
async fn renew_once(shared: &Shared, proven: &mut Timestamp) {
    let frame = &shared.frame;
    let now = frame.clock.now();
    shared.held.drop_overdue(now);
    let claims = shared.held.claims();
    if claims.is_empty() {
        *proven = now;
        return;
    }
    match work::renew(&frame.store, &claims, frame.settings.lease, now).await {
        Ok(lost) => {
            *proven = now;
            for claim in &lost {
                // also those that were finished since the list was made, which are no longer held
                shared.held.drop_run(claim, Dropped::Lost);
            }
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "leases could not be renewed");
            // from here on others may take the rows over
            if now.since(*proven) + frame.settings.renewal >= frame.settings.lease {
                for claim in &claims {
                    shared.held.drop_run(claim, Dropped::Lost);
                }
            }
        }
    }
}
