//! What people do to rows: hold, pause, resume, retry, cancel.

use std::collections::BTreeSet;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::job::WorkKey;
use sea_orm::Value;

use super::claim::keyed;
use super::spell;
use crate::database::Store;
use crate::error::StoreError;
use crate::gate::Priority;
use crate::transaction::{Scope, Tx, values};

/// Ends a run that may be under way: whoever holds the lease finds that his fence moved. A row that was running is due.
const WITHDRAWN: &str = "fence = fence + 1, enqueued_until = 0, lease_owner = NULL, lease_until = 0,
    due_at = CASE WHEN lease_until > 0 THEN {least}(due_at, $1) ELSE due_at END";

/// Sets rows by key; how many were changed.
async fn set(
    tx: &Tx,
    operation: &'static str,
    keys: &[WorkKey],
    assignments: &str,
    condition: &str,
    fixed: Vec<Value>,
) -> Result<u64, StoreError> {
    let sorted: BTreeSet<WorkKey> = keys.iter().copied().collect();
    let sql = format!(
        "WITH {{input}}, meant AS (
            SELECT w.kind, w.target_id FROM input JOIN work w ON w.kind = input.kind
                AND w.target_id = input.target_id
            ORDER BY w.kind, w.target_id {{locked}})
        UPDATE work SET {assignments}
        FROM meant WHERE work.kind = meant.kind AND work.target_id = meant.target_id AND {condition}"
    );
    keyed(sorted.iter()).execute(tx, operation, &spell(tx, &sql), fixed).await
}

/// Sets active rows to wait for something other than time, such as new credentials. What runs goes on.
///
/// # Errors
/// When the database fails.
pub async fn hold(tx: &Tx, keys: &[WorkKey]) -> Result<u64, StoreError> {
    set(tx, "hold work", keys, "state = 1", "work.state = 0", Vec::new()).await
}

/// Stops rows until they are resumed; what runs is ended.
///
/// # Errors
/// When the database fails.
pub async fn pause(tx: &Tx, keys: &[WorkKey], now: Timestamp) -> Result<u64, StoreError> {
    set(tx, "pause work", keys, &format!("state = 2, {WITHDRAWN}"), "work.state <> 2", values![now]).await
}

/// Lets held and paused rows take part again, from now on.
///
/// # Errors
/// When the database fails.
pub async fn resume(tx: &Tx, keys: &[WorkKey], now: Timestamp) -> Result<u64, StoreError> {
    let assignments = "state = 0, due_at = {least}(due_at, $1)";
    set(tx, "resume work", keys, assignments, "work.state IN (1, 2)", values![now]).await
}

/// Gives rows that were given up, or wait for their backoff, another chance at once; a throttle (class 2) is kept.
///
/// # Errors
/// When the database fails.
pub async fn retry(tx: &Tx, keys: &[WorkKey], now: Timestamp) -> Result<u64, StoreError> {
    let assignments = "state = 0, attempt = 0, deliveries = 0, due_at = {least}(due_at, $1),
        not_before = CASE WHEN last_class = 2 THEN not_before ELSE 0 END";
    set(tx, "retry work", keys, assignments, "work.state IN (0, 3) AND work.lease_until = 0", values![now])
        .await
}

/// Takes back everything that was asked for; what runs is ended. The row stays and can be asked for again.
///
/// # Errors
/// When the database fails.
pub async fn cancel(tx: &Tx, keys: &[WorkKey]) -> Result<u64, StoreError> {
    let assignments = "fence = fence + 1, enqueued_until = 0, lease_owner = NULL, lease_until = 0,
        due_at = 9223372036854775807, served = asked";
    set(tx, "cancel work", keys, assignments, "TRUE", Vec::new()).await
}

/// Frees every lease and mark: what a process does at its start that knows itself to be alone (solo mode, under its
/// exclusive lock). Deliveries are kept, so that what ended the last process is still found out.
///
/// # Errors
/// When the database fails.
pub async fn free_all(store: &Store, now: Timestamp) -> Result<u64, StoreError> {
    let tx = store.begin(Scope::Fleet, Priority::Interactive).await?;
    let sql = format!("UPDATE work SET {WITHDRAWN} WHERE lease_until > 0 OR enqueued_until > 0");
    let freed = tx.execute("free all leases", &spell(&tx, &sql), values![now]).await?;
    tx.commit().await?;
    Ok(freed)
}
