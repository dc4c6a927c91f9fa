//! Finishing: what came of runs, and giving leases back unused.

use std::collections::BTreeMap;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::{Claim, Finish, WorkKey};

use super::claim::claimed;
use super::{spell, twice};
use crate::database::Store;
use crate::error::StoreError;
use crate::gate::Priority;
use crate::transaction::{Scope, values};

/// What came of a batch of finishes. What is in neither number was lost to another claim, or withdrawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Finished {
    /// Rows that were finished.
    pub written: usize,
    /// Those of them that are due again at once, because they were asked for while they ran.
    pub ready_again: usize,
}

const FINISH: &str = "WITH {input}, done AS (
        SELECT w.kind, w.target_id, input.next_at, input.no_sooner, input.asked_then, input.usual_lane,
            input.new_attempt, input.new_class, input.new_error, input.new_state
        FROM input JOIN work w ON w.kind = input.kind AND w.target_id = input.target_id
            AND w.fence = input.held_fence AND w.lease_owner = input.held_by
        ORDER BY w.kind, w.target_id {locked})
    UPDATE work SET due_at = {least}(work.due_at, done.next_at),
        -- a person who asked while it ran does not wait for its backoff, only for a throttle (class 2)
        not_before = CASE WHEN work.asked > done.asked_then AND work.lane = 0
            AND coalesce(done.new_class, 0) <> 2 THEN 0 ELSE done.no_sooner END,
        served = done.asked_then,
        lane = CASE WHEN work.asked = done.asked_then THEN done.usual_lane ELSE work.lane END,
        lease_owner = NULL, lease_until = 0, deliveries = 0,
        state = CASE WHEN work.state = 0 THEN done.new_state ELSE work.state END,
        attempt = done.new_attempt, last_class = done.new_class, last_error = done.new_error
    FROM done WHERE work.kind = done.kind AND work.target_id = done.target_id
    RETURNING CASE WHEN work.state = 0 AND {greatest}(work.due_at, work.not_before) <= $1 THEN 1 ELSE 0 END";

/// Finishes runs, many in one statement. Asks that were made meanwhile are honoured: a row is due at the earlier of
/// what its run and they said.
///
/// # Errors
/// When the database fails; the same finishes may then be written again.
pub async fn finish(
    store: &Store,
    runs: &[(&Claim, &Finish)],
    now: Timestamp,
) -> Result<Finished, StoreError> {
    let runs: BTreeMap<(WorkKey, i64), &(&Claim, &Finish)> =
        runs.iter().map(|run| ((run.0.key, run.0.fence), run)).collect();
    twice!(finish_once(store, &runs, now))
}

async fn finish_once(
    store: &Store,
    runs: &BTreeMap<(WorkKey, i64), &(&Claim, &Finish)>,
    now: Timestamp,
) -> Result<Finished, StoreError> {
    let finishes = || runs.values().map(|(_, finish)| *finish);
    let input = claimed(runs.values().map(|(claim, _)| *claim))
        .column("next_at", finishes().map(|finish| finish.next))
        .column("no_sooner", finishes().map(|finish| finish.not_before))
        .column("asked_then", runs.values().map(|(claim, _)| claim.asked))
        .column("usual_lane", runs.values().map(|(claim, _)| claim.key.kind.default_lane().code()))
        .column("new_attempt", finishes().map(|finish| i32::try_from(finish.attempt).unwrap_or(i32::MAX)))
        .column("new_class", finishes().map(|finish| finish.class.map(FailureClass::code)))
        .column("new_error", finishes().map(|finish| finish.error.as_deref()))
        .column("new_state", finishes().map(|finish| finish.state.code()));
    let tx = store.single(Priority::Interactive).await?;
    let answer = input.all(&tx, "finish work", &spell(&tx, FINISH), values![now]).await?;
    let mut finished = Finished { written: answer.len(), ready_again: 0 };
    for row in &answer {
        finished.ready_again += usize::from(row.at::<i32>(0)? == 1);
    }
    tx.commit().await?;
    Ok(finished)
}

const RELEASE: &str = "WITH {input}, held AS (
        SELECT w.kind, w.target_id FROM input JOIN work w ON w.kind = input.kind AND w.target_id = input.target_id
            AND w.fence = input.held_fence AND w.lease_owner = input.held_by
        ORDER BY w.kind, w.target_id {locked})
    UPDATE work SET due_at = {least}(due_at, $1), lease_owner = NULL, lease_until = 0,
        deliveries = {greatest}(deliveries - 1, 0)
    FROM held WHERE work.kind = held.kind AND work.target_id = held.target_id";

/// Gives leases back with their deliveries: a worker that is told to end did nothing wrong with these rows. They are
/// due at once.
///
/// # Errors
/// When the database fails; the leases then run out.
pub async fn release(store: &Store, claims: &[Claim], now: Timestamp) -> Result<u64, StoreError> {
    let sorted: BTreeMap<WorkKey, &Claim> = claims.iter().map(|claim| (claim.key, claim)).collect();
    twice!(release_once(store, &sorted, now))
}

async fn release_once(
    store: &Store,
    claims: &BTreeMap<WorkKey, &Claim>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let tx = store.begin(Scope::Fleet, Priority::Interactive).await?;
    let input = claimed(claims.values().copied());
    let released = input.execute(&tx, "release leases", &spell(&tx, RELEASE), values![now]).await?;
    tx.commit().await?;
    Ok(released)
}
