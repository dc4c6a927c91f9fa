//! Claiming: from a hint to the right to work, and keeping it.

use std::collections::BTreeMap;
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::job::{Claim, Lane, WorkKey, WorkState};
use calfleet_domain::model::{ConnectionId, LeaseOwner, OrganizationId};

use super::{LAST_DELIVERY, key, spell, twice};
use crate::bulk::Input;
use crate::database::Store;
use crate::error::StoreError;
use crate::gate::Priority;
use crate::transaction::{Row, Tx, values};

/// A row that a hint named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HintedRow {
    /// What, for whom.
    pub key: WorkKey,
    /// Whose the hint says it is; a row of another organization is not claimed.
    pub organization_id: OrganizationId,
    /// The lane the hint came from.
    pub lane: Lane,
}

/// What came of a claim call. Rows that were not handed out, or are no longer, are in neither list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// What may be run.
    pub claims: Vec<Claim>,
    /// What was set aside, because it was claimed four times and never finished.
    pub set_aside: Vec<WorkKey>,
}

const CLAIM: &str = "WITH {input}, hinted AS (
        SELECT w.kind, w.target_id FROM input JOIN work w ON w.kind = input.kind
            AND w.target_id = input.target_id AND w.organization_id = input.organization_id
        WHERE w.enqueued_until > 0 AND w.state = 0 ORDER BY w.kind, w.target_id {locked})
    UPDATE work SET enqueued_until = 0, fence = fence + 1, deliveries = deliveries + 1,
        due_at = CASE WHEN deliveries < $3 THEN 9223372036854775807 ELSE due_at END,
        lease_owner = CASE WHEN deliveries < $3 THEN $1 END,
        lease_until = CASE WHEN deliveries < $3 THEN $2 ELSE 0 END,
        state = CASE WHEN deliveries < $3 THEN 0 ELSE 3 END,
        last_class = CASE WHEN deliveries < $3 THEN last_class ELSE 6 END,
        last_error = CASE WHEN deliveries < $3 THEN last_error ELSE $4 END
    FROM hinted WHERE work.kind = hinted.kind AND work.target_id = hinted.target_id
    RETURNING work.kind, work.target_id, organization_id, connection_id, fence, asked, attempt, deliveries, state";

/// What a person reads about a row that was set aside.
const SET_ASIDE: &str = "it ended its worker, or never came to an end, four times in a row";

/// Takes the leases of rows that are marked as handed out, in one statement, and clears the marks: a second hint for
/// the same row finds none.
///
/// # Errors
/// When the database fails; nothing is claimed then, or the leases run out.
pub async fn claim(
    store: &Store,
    rows: &[HintedRow],
    owner: LeaseOwner,
    lease: Duration,
    now: Timestamp,
) -> Result<Claimed, StoreError> {
    let lanes: BTreeMap<WorkKey, &HintedRow> = rows.iter().map(|row| (row.key, row)).collect();
    if lanes.is_empty() {
        return Ok(Claimed::default());
    }
    twice!(claim_once(store, &lanes, owner, now.plus(lease)))
}

const CLAIM_FREE: &str = "WITH {input}, wanted AS (
        SELECT w.kind, w.target_id FROM input JOIN work w ON w.kind = input.kind
            AND w.target_id = input.target_id AND w.organization_id = input.organization_id
        WHERE w.state IN (0, 3) AND w.lease_until <= $3 ORDER BY w.kind, w.target_id {locked})
    UPDATE work SET state = 0, enqueued_until = 0, fence = fence + 1, due_at = 9223372036854775807,
        lease_owner = $1, lease_until = $2
    FROM wanted WHERE work.kind = wanted.kind AND work.target_id = wanted.target_id
    RETURNING work.kind, work.target_id, organization_id, connection_id, fence, asked, attempt, deliveries, state";

/// Takes the lease of one row without a hint, because another job needs what it does: `None` while somebody else
/// holds it, and while it is held or paused. One that was given up takes part again: whether it fails still is for the
/// other job to say. It counts as no delivery: what it hangs on is the other job.
///
/// # Errors
/// When the database fails; nothing is claimed then, or the lease runs out.
pub async fn claim_free(
    store: &Store,
    row: HintedRow,
    owner: LeaseOwner,
    lease: Duration,
    now: Timestamp,
) -> Result<Option<Claim>, StoreError> {
    twice!(claim_free_once(store, row, owner, now.plus(lease), now))
}

async fn claim_free_once(
    store: &Store,
    row: HintedRow,
    owner: LeaseOwner,
    until: Timestamp,
    now: Timestamp,
) -> Result<Option<Claim>, StoreError> {
    let tx = store.single(Priority::Interactive).await?;
    let input = keyed(std::iter::once(&row.key)).column("organization_id", [row.organization_id]);
    let answer =
        input.all(&tx, "claim free work", &spell(&tx, CLAIM_FREE), values![owner, until, now]).await?;
    let claim = answer.first().map(|answer| read(answer, row.key, owner, row.lane)).transpose()?;
    tx.commit().await?;
    Ok(claim)
}

async fn claim_once(
    store: &Store,
    lanes: &BTreeMap<WorkKey, &HintedRow>,
    owner: LeaseOwner,
    until: Timestamp,
) -> Result<Claimed, StoreError> {
    let tx = store.single(Priority::Interactive).await?;
    let input = keyed(lanes.keys()).column("organization_id", lanes.values().map(|row| row.organization_id));
    let fixed = values![owner, until, LAST_DELIVERY - 1, SET_ASIDE];
    let answer = input.all(&tx, "claim work", &spell(&tx, CLAIM), fixed).await?;
    let mut claimed = Claimed::default();
    for row in &answer {
        let key = key(row)?;
        let Some(hint) = lanes.get(&key) else { continue };
        if row.numbered("state", WorkState::from_code)? == WorkState::Active {
            claimed.claims.push(read(row, key, owner, hint.lane)?);
        } else {
            claimed.set_aside.push(key);
        }
    }
    tx.commit().await?;
    Ok(claimed)
}

fn read(row: &Row, key: WorkKey, owner: LeaseOwner, lane: Lane) -> Result<Claim, StoreError> {
    let count = |number: i32| u32::try_from(number).ok();
    Ok(Claim {
        key,
        organization_id: OrganizationId(row.get("organization_id")?),
        connection_id: row.get::<Option<uuid::Uuid>>("connection_id")?.map(ConnectionId),
        owner,
        fence: row.get("fence")?,
        asked: row.get("asked")?,
        attempt: row.numbered("attempt", count)?,
        deliveries: row.numbered("deliveries", count)?,
        lane,
    })
}

/// The columns `kind` and `target_id` of an input.
pub(super) fn keyed<'a>(keys: impl Iterator<Item = &'a WorkKey> + Clone) -> Input {
    Input::new()
        .column("kind", keys.clone().map(|key| key.kind.code()))
        .column("target_id", keys.map(|key| key.target))
}

/// The same with `fence` and `lease_owner`: what a claim must still have.
pub(super) fn claimed<'a>(claims: impl Iterator<Item = &'a Claim> + Clone) -> Input {
    keyed(claims.clone().map(|claim| &claim.key))
        .column("held_fence", claims.clone().map(|claim| claim.fence))
        .column("held_by", claims.map(|claim| claim.owner))
}

/// Makes sure that the claim still stands and renews its lease; what the job has written in this transaction counts
/// as progress. The last thing in every transaction of a job, among its asks in the order of the keys.
///
/// # Errors
/// [`StoreError::LeaseLost`] when another has taken over or the row was withdrawn: roll back. Else when the database
/// fails.
pub async fn fence(tx: &Tx, claim: &Claim, lease: Duration, now: Timestamp) -> Result<(), StoreError> {
    const FENCE: &str = "UPDATE work SET lease_until = $1, deliveries = 0
        WHERE kind = $2 AND target_id = $3 AND fence = $4 AND lease_owner = $5";
    let operation = "check the fence";
    let WorkKey { kind, target } = claim.key;
    let changed = tx
        .execute(operation, FENCE, values![now.plus(lease), kind.code(), target, claim.fence, claim.owner])
        .await?;
    if changed == 0 { Err(StoreError::LeaseLost { operation }) } else { Ok(()) }
}

const RENEW: &str = "WITH {input}, held AS (
        SELECT w.kind, w.target_id FROM input JOIN work w ON w.kind = input.kind AND w.target_id = input.target_id
            AND w.fence = input.held_fence AND w.lease_owner = input.held_by
        ORDER BY w.kind, w.target_id {locked})
    UPDATE work SET lease_until = $1
    FROM held WHERE work.kind = held.kind AND work.target_id = held.target_id
    RETURNING work.kind, work.target_id, fence";

/// Renews the leases of a whole process in one statement; answers the claims that are lost.
///
/// # Errors
/// When the database fails; it is then not known which leases were renewed.
pub async fn renew(
    store: &Store,
    claims: &[Claim],
    lease: Duration,
    now: Timestamp,
) -> Result<Vec<Claim>, StoreError> {
    let sorted: BTreeMap<(WorkKey, i64), &Claim> =
        claims.iter().map(|claim| ((claim.key, claim.fence), claim)).collect();
    twice!(renew_once(store, &sorted, now.plus(lease)))
}

async fn renew_once(
    store: &Store,
    claims: &BTreeMap<(WorkKey, i64), &Claim>,
    until: Timestamp,
) -> Result<Vec<Claim>, StoreError> {
    let mut lost = claims.clone();
    let tx = store.single(Priority::Interactive).await?;
    let input = claimed(claims.values().copied());
    for row in input.all(&tx, "renew leases", &spell(&tx, RENEW), values![until]).await? {
        lost.remove(&(key(&row)?, row.get("fence")?));
    }
    tx.commit().await?;
    Ok(lost.into_values().cloned().collect())
}
