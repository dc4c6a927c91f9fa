//! Starts the parts of a worker, runs its jobs, and ends them in order.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{Monitor, WorkerBuilder};
use calfleet_domain::clock::{Rng, Timestamp};
use calfleet_domain::failure::{FailureClass, backoff};
use calfleet_domain::job::{Claim, Finish, WorkState};
use calfleet_domain::model::ids::WorkerId;
use calfleet_queue::{Feed, feed};
use calfleet_store::{StoreError, work};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::held::{Dropped, Held};
use super::{Frame, FrameError, Outcome, Shared, fetch, finishes, leases};
use crate::jobs::Job;

/// The longest wait after a run that took too long, or that our database failed.
const LONGEST_BACKOFF: Duration = Duration::from_mins(15);

/// Runs a worker until `stop`; then pops no more, lets running jobs end within their grace, and gives the rest back.
///
/// Dropping the future ends the worker as a crash would: leases run out.
///
/// # Errors
/// When a part of the worker broke down; claimed rows then come again when their leases run out.
pub async fn run(frame: Frame, stop: CancellationToken) -> Result<(), FrameError> {
    let (finishes, outcomes) = mpsc::unbounded_channel();
    let (claims, source) = feed(frame.settings.slots.max(1));
    let worker = WorkerId(frame.rng.uuid(frame.clock.now()));
    let shared = Arc::new(Shared { frame, worker, held: Held::default(), finishes });

    let mut parts = JoinSet::new();
    parts.spawn(leases::renew(Arc::clone(&shared)));
    parts.spawn(leases::report(Arc::clone(&shared)));
    parts.spawn(finishes::finish(Arc::clone(&shared), outcomes));
    let ended = CancellationToken::new();
    let mut looping =
        AbortOnDropHandle::new(tokio::spawn(looped(Arc::clone(&shared), source, ended.clone())));
    let fetching = AbortOnDropHandle::new(tokio::spawn(fetch::fetch(Arc::clone(&shared), claims, stop)));

    tokio::select! {
        fetched = fetching => fetched.map_err(FrameError::Part)?,
        broken = &mut looping => return broken.map_err(FrameError::Part)?,
        // they end by a panic only, and without them leases run out or finishes pile up
        Some(broken) = parts.join_next() => return broken.map_err(FrameError::Part),
    }
    drain(&shared).await;
    ended.cancel();
    looping.await.map_err(FrameError::Part)??;
    // nothing is held any more, so nothing is left to renew or to write
    parts.shutdown().await;
    let gone = shared.frame.queue.report_slots(worker, 0, shared.frame.clock.now()).await;
    if let Err(error) = gone {
        tracing::debug!(error = &error as &dyn std::error::Error, "the end was not reported");
    }
    Ok(())
}

/// Waits for the running jobs, then gives back what is left, with its delivery.
async fn drain(shared: &Shared) {
    let Shared { frame, held, .. } = shared;
    let idle = held.until(|held| held.claims().is_empty());
    let over = tokio::select! {
        () = idle => return,
        () = frame.clock.sleep(frame.settings.grace) => held.claims(),
    };
    for claim in &over {
        held.drop_run(claim, Dropped::Drained);
    }
    held.until(|held| held.running().iter().all(|running| *running == 0)).await;
    let left = held.claims();
    tracing::info!(jobs = left.len(), "jobs that did not end in time are given back");
    if let Err(error) = work::release(&frame.store, &left, frame.clock.now()).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "leases were not given back and run out");
    }
    for claim in &left {
        held.let_go(claim);
    }
    frame.queue.nudge();
}

/// The worker's loop: apalis takes claims from the feed and runs them side by side.
async fn looped(
    shared: Arc<Shared>,
    source: Feed<Claim>,
    ended: CancellationToken,
) -> Result<(), FrameError> {
    let name = shared.worker.to_string();
    Monitor::new()
        .register(move |_| {
            let shared = Arc::clone(&shared);
            WorkerBuilder::new(name.as_str())
                .backend(source.clone())
                .build(move |claim: Claim| run_one(Arc::clone(&shared), claim))
        })
        .run_with_signal(async move {
            ended.cancelled().await;
            Ok(())
        })
        .await
        .map_err(FrameError::Loop)
}

/// Runs one claimed row from start to outcome.
async fn run_one(shared: Arc<Shared>, claim: Claim) {
    let Shared { frame, held, .. } = &*shared;
    let kind = claim.key.kind.as_str();
    let Some(Job { handler, limit }) = frame.registry.get(claim.key.kind).cloned() else {
        tracing::error!(job.kind = kind, "no handler does this kind of work");
        held.let_go(&claim);
        return;
    };
    let started = frame.clock.now();
    let span = tracing::info_span!(
        "job",
        job.kind = kind,
        job.target = %claim.key.target,
        attempt = claim.attempt,
        class = tracing::field::Empty,
    );
    let running = {
        let claim = claim.clone();
        tokio::spawn(async move { handler.run(&claim).await }.instrument(span.clone()))
    };
    // a crash of the frame takes the handlers along
    let running = AbortOnDropHandle::new(running);
    held.started(&claim, running.abort_handle(), started.plus(limit));
    let result = running.await;
    let dropped = held.ended(&claim);
    let now = frame.clock.now();
    let finish = match result {
        Ok(Ok(finish)) => Some(finish),
        Ok(Err(StoreError::LeaseLost { .. })) => None,
        Ok(Err(error)) => {
            let _entered = span.enter();
            tracing::warn!(error = &error as &dyn std::error::Error, "the store failed; the job comes again");
            // no sign of a job that ends its worker: the delivery does not count towards that
            let error = "Our own database failed; it is tried again by itself.".to_owned();
            Some(again(&claim, error, now, &*frame.rng))
        }
        Err(error) => ended_early(&error, dropped, &claim, limit, now, &*frame.rng),
    };
    let class = finish.as_ref().map_or("none", |finish| finish.class.map_or("ok", FailureClass::as_str));
    span.record("class", class);
    metrics::counter!("calfleet_jobs_total", "kind" => kind, "class" => class).increment(1);
    metrics::histogram!("calfleet_job_duration_ms", "kind" => kind)
        .record(now.since(started).as_secs_f64() * 1000.0);
    match finish {
        Some(finish) => {
            // the receiver lives as long as the frame
            let _unsent = shared.finishes.send(Outcome { claim, finish });
        }
        None if dropped == Some(Dropped::Drained) => {}
        None => held.let_go(&claim),
    }
}

/// What to write about a failure that is nobody's fault outside: tried again after a backoff.
fn again(claim: &Claim, error: String, now: Timestamp, rng: &dyn Rng) -> Finish {
    let attempt = claim.attempt.saturating_add(1);
    let next = now.plus(backoff(attempt, LONGEST_BACKOFF, rng));
    Finish {
        next,
        not_before: next,
        attempt,
        class: Some(FailureClass::Transient),
        error: Some(error),
        state: WorkState::Active,
    }
}

/// What to write about a handler that did not end by itself; `None`: nothing, the row comes again.
fn ended_early(
    error: &JoinError,
    dropped: Option<Dropped>,
    claim: &Claim,
    limit: Duration,
    now: Timestamp,
    rng: &dyn Rng,
) -> Option<Finish> {
    if error.is_panic() {
        tracing::error!(job.kind = %claim.key.kind, job.target = %claim.key.target, "a job panicked");
        return None;
    }
    if dropped != Some(Dropped::TimedOut) {
        return None;
    }
    let error = format!("the job took longer than {} s and was ended", limit.as_secs());
    Some(again(claim, error, now, rng))
}
