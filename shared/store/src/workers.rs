//! Workers: the processes that take work, as they last reported themselves. In transactions of the fleet.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::WorkerId;

use crate::error::StoreError;
use crate::transaction::{Row, Tx, values};

/// A process that takes work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its id, new with every start.
    pub id: WorkerId,
    /// The machine's or pod's name.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// How many jobs it runs at once at most.
    pub slots: i32,
    /// How many it was running.
    pub running: i32,
    /// Whether it takes no more.
    pub is_draining: bool,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last reported itself.
    pub seen_at: Timestamp,
}

/// Reports a worker.
///
/// # Errors
/// When the database fails.
pub async fn report(tx: &Tx, worker: &Worker) -> Result<(), StoreError> {
    let sql = "INSERT INTO workers (id, name, version, slots, running, is_draining, started_at, seen_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (id) DO UPDATE SET slots = excluded.slots, running = excluded.running,
            is_draining = excluded.is_draining, seen_at = excluded.seen_at";
    let values = values![
        worker.id,
        &worker.name,
        &worker.version,
        worker.slots,
        worker.running,
        worker.is_draining,
        worker.started_at,
        worker.seen_at,
    ];
    tx.execute("report a worker", sql, values).await?;
    Ok(())
}

/// The workers seen since `since`, by name.
///
/// # Errors
/// When the database fails.
pub async fn list(tx: &Tx, since: Timestamp) -> Result<Vec<Worker>, StoreError> {
    let sql = "SELECT id, name, version, slots, running, is_draining, started_at, seen_at FROM workers
               WHERE seen_at >= $1 ORDER BY name, id";
    tx.all("list workers", sql, values![since]).await?.iter().map(read).collect()
}

/// Forgets a worker that has ended, and those not seen since `since`.
///
/// # Errors
/// When the database fails.
pub async fn forget(tx: &Tx, ended: Option<WorkerId>, since: Timestamp) -> Result<u64, StoreError> {
    let sql = "DELETE FROM workers WHERE id = $1 OR seen_at < $2";
    tx.execute("forget workers", sql, values![ended, since]).await
}

fn read(row: &Row) -> Result<Worker, StoreError> {
    Ok(Worker {
        id: WorkerId(row.get("id")?),
        name: row.get("name")?,
        version: row.get("version")?,
        slots: row.get("slots")?,
        running: row.get("running")?,
        is_draining: row.get("is_draining")?,
        started_at: Timestamp(row.get("started_at")?),
        seen_at: Timestamp(row.get("seen_at")?),
    })
}
