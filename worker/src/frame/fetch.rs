//! From free slots to claims: hints are popped and claimed in batches, never more than can run at once.

use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::job::{Claim, Hint, Kind, Lane, WorkKey};
use calfleet_domain::model::ids::{LeaseOwner, OrganizationId};
use calfleet_queue::{LANES, Popped};
use calfleet_store::work::{self, HintedRow};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Shared;

/// How long to wait for a hint at once. Bounds how long a worker that was told to stop goes on waiting.
const WAIT: Duration = Duration::from_millis(500);
/// How long to wait before looking again while some lane has no room. Not spent inside the queue: a slot may become
/// free for that lane meanwhile, and Redis ends a blocking pop up to 100 ms late.
const WAIT_WHILE_CROWDED: Duration = Duration::from_millis(5);
/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_millis(200);

/// Feeds the worker's loop until told to stop.
pub(super) async fn fetch(shared: Arc<Shared>, feed: mpsc::Sender<Claim>, stop: CancellationToken) {
    let slots = shared.frame.settings.slots;
    while !stop.is_cancelled() {
        tokio::select! {
            () = shared.held.until(|held| !held.room(slots).is_empty()) => {}
            () = stop.cancelled() => break,
        }
        let room = shared.held.room(slots);
        let wait = if room.excludes_a_lane() { Duration::ZERO } else { WAIT };
        // not cancelled by `stop`: what was popped would be lost until its mark runs out
        let popped = match shared.frame.queue.pop(&room, wait).await {
            Ok(popped) => popped,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the queue does not answer");
                continue;
            }
        };
        let mut rows: Vec<_> = popped.iter().filter_map(row).collect();
        leave_out_overstaying(&shared, &mut rows);
        if rows.is_empty() {
            if wait.is_zero() {
                tokio::select! {
                    () = shared.held.until(|held| held.room(slots) != room) => {}
                    () = shared.frame.clock.sleep(WAIT_WHILE_CROWDED) => {}
                }
            }
            continue;
        }
        if stop.is_cancelled() {
            give_back(&shared, &rows).await;
            break;
        }
        claim(&shared, &feed, &rows).await;
    }
}

/// Leaves out the rows of organizations that must not take more slots now. Their marks run out, and they are handed
/// out again, to this worker or another.
fn leave_out_overstaying(shared: &Shared, rows: &mut Vec<HintedRow>) {
    let Shared { frame, held, .. } = shared;
    let overstaying = held.overstaying(frame.settings.slots, frame.clock.now());
    if overstaying.is_empty() {
        return;
    }
    let before = rows.len();
    // what a person waits for has a share of its own
    rows.retain(|row| row.lane == Lane::Interactive || !overstaying.contains(&row.organization_id));
    metrics::counter!("calfleet_hints_dropped_total", "reason" => "overstaying")
        .increment(before.saturating_sub(rows.len()) as u64);
}

/// Claims the rows behind the hints and passes them on.
async fn claim(shared: &Shared, feed: &mpsc::Sender<Claim>, rows: &[HintedRow]) {
    let Shared { frame, .. } = shared;
    let now = frame.clock.now();
    let owner = LeaseOwner(frame.rng.uuid(now));
    let claimed = match work::claim(&frame.store, rows, owner, frame.settings.lease, now).await {
        Ok(claimed) => claimed,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "claims failed");
            frame.clock.sleep(PAUSE).await;
            return;
        }
    };
    let taken = claimed.claims.len() + claimed.set_aside.len();
    metrics::counter!("calfleet_claims_total").increment(claimed.claims.len() as u64);
    metrics::counter!("calfleet_hints_dropped_total", "reason" => "stale")
        .increment(rows.len().saturating_sub(taken) as u64);
    for key in &claimed.set_aside {
        metrics::counter!("calfleet_jobs_set_aside_total", "kind" => key.kind.as_str()).increment(1);
        tracing::error!(job.kind = %key.kind, job.target = %key.target, "a job ended its worker too often and was set aside");
    }
    for claim in claimed.claims {
        shared.held.hold(&claim, now);
        if let Err(unsent) = feed.send(claim).await {
            shared.held.let_go(&unsent.0);
        }
    }
}

/// Makes popped rows ready again at once, instead of when their mark runs out.
async fn give_back(shared: &Shared, rows: &[HintedRow]) {
    let keys: Vec<WorkKey> = rows.iter().map(|row| row.key).collect();
    if let Err(error) = work::unmark(&shared.frame.store, &keys).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "hints could not be given back");
    }
    shared.frame.queue.nudge();
}

/// What a hint is about; one of a kind that this version does not know is counted and dropped.
fn row(popped: &Popped) -> Option<HintedRow> {
    let Hint { kind, target, organization_id, .. } = &popped.hint;
    let Some(kind) = Kind::from_code(*kind) else {
        metrics::counter!("calfleet_hints_dropped_total", "reason" => "unknown_kind").increment(1);
        return None;
    };
    let organization_id: OrganizationId = *organization_id;
    Some(HintedRow { key: WorkKey { kind, target: *target }, organization_id, lane: popped.lane })
}

/// The slots that are occupied, as measures.
pub(super) fn measure(running: [usize; LANES]) {
    for (lane, count) in calfleet_domain::job::Lane::ALL.iter().zip(running) {
        metrics::gauge!("calfleet_jobs_running", "lane" => lane.as_str())
            .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }
}
