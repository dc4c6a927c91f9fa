//! Looking: single rows, and the numbers on dashboards.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::job::{Kind, Lane, WorkKey};
use calfleet_domain::model::ConnectionId;

use super::WorkRow;
use crate::error::StoreError;
use crate::transaction::{Tx, values};

/// One row; `None` where nothing was ever asked.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, key: WorkKey) -> Result<Option<WorkRow>, StoreError> {
    let sql = format!("SELECT {} FROM work WHERE kind = $1 AND target_id = $2", WorkRow::COLUMNS);
    let row = tx.one("load work", &sql, values![key.kind.code(), key.target]).await?;
    row.as_ref().map(WorkRow::read).transpose()
}

/// All rows of a connection, in the order of their keys.
///
/// # Errors
/// When the database fails.
pub async fn of_connection(tx: &Tx, connection: ConnectionId) -> Result<Vec<WorkRow>, StoreError> {
    let sql =
        format!("SELECT {} FROM work WHERE connection_id = $1 ORDER BY kind, target_id", WorkRow::COLUMNS);
    let rows = tx.all("load a connection's work", &sql, values![connection]).await?;
    rows.iter().map(WorkRow::read).collect()
}

/// The rows of one kind in one lane, by what they wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// What they do.
    pub kind: Kind,
    /// Where they wait.
    pub lane: Lane,
    /// Ready and not yet running, handed out or not.
    pub waiting: i64,
    /// Due later.
    pub scheduled: i64,
    /// Leased.
    pub running: i64,
    /// Active and failed the last time.
    pub retrying: i64,
    /// Waiting for something other than time.
    pub held: i64,
    /// Stopped by a person.
    pub paused: i64,
    /// Given up.
    pub dead: i64,
    /// Since when the longest waiting one is ready; `None` when none waits.
    pub waiting_since: Option<Timestamp>,
}

/// The whole table in numbers. Reads every row: for dashboards, not for hot paths.
///
/// # Errors
/// When the database fails.
pub async fn counts(tx: &Tx, now: Timestamp) -> Result<Vec<Count>, StoreError> {
    const COUNTS: &str = "SELECT kind, lane,
            count(CASE WHEN state = 0 AND lease_until <= $1 AND ready_at <= $1 THEN 1 END) AS waiting,
            count(CASE WHEN state = 0 AND lease_until <= $1 AND ready_at > $1 THEN 1 END) AS scheduled,
            count(CASE WHEN lease_until > $1 THEN 1 END) AS running,
            count(CASE WHEN state = 0 AND attempt > 0 THEN 1 END) AS retrying,
            count(CASE WHEN state = 1 THEN 1 END) AS held,
            count(CASE WHEN state = 2 THEN 1 END) AS paused,
            count(CASE WHEN state = 3 THEN 1 END) AS dead,
            min(CASE WHEN state = 0 AND lease_until <= $1 AND ready_at <= $1 THEN ready_at END) AS waiting_since
        FROM work GROUP BY kind, lane ORDER BY kind, lane";
    let mut counts = Vec::new();
    for row in tx.all("count work", COUNTS, values![now]).await? {
        counts.push(Count {
            kind: row.numbered("kind", Kind::from_code)?,
            lane: row.numbered("lane", Lane::from_code)?,
            waiting: row.get("waiting")?,
            scheduled: row.get("scheduled")?,
            running: row.get("running")?,
            retrying: row.get("retrying")?,
            held: row.get("held")?,
            paused: row.get("paused")?,
            dead: row.get("dead")?,
            waiting_since: row.instant("waiting_since")?,
        });
    }
    Ok(counts)
}
