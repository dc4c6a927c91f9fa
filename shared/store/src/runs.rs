//! Runs: what became of jobs that changed something or failed. A run without either only counts.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::{Kind, WorkKey};
use calfleet_domain::model::{ConnectionId, OrganizationId, RunId};

use crate::bulk::Input;
use crate::error::StoreError;
use crate::transaction::{Row, Tx, values};

/// One run of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id, in the order of time.
    pub id: RunId,
    /// Whose it was.
    pub organization_id: OrganizationId,
    /// The connection it belonged to.
    pub connection_id: Option<ConnectionId>,
    /// What was done, for whom.
    pub key: WorkKey,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Failures in a row, this run included.
    pub attempt: i32,
    /// How it failed; `None` when it did not.
    pub class: Option<FailureClass>,
    /// What happened, for people; free of secrets, titles and addresses.
    pub message: Option<String>,
    /// Requests to the provider.
    pub requests: i32,
    /// What changed, counted, as JSON.
    pub changes: Option<serde_json::Value>,
    /// The W3C `traceparent` of the run.
    pub trace: Option<String>,
}

const COLUMNS: &str =
    "id, organization_id, connection_id, kind, target_id, started_at, finished_at, attempt, class,
    message, requests, changes, trace";

/// Records runs; in a transaction of their organization, or of the fleet for runs of several.
///
/// # Errors
/// When the database fails.
pub async fn record(tx: &Tx, runs: &[Run]) -> Result<(), StoreError> {
    Input::new()
        .column("id", runs.iter().map(|run| run.id))
        .column("organization_id", runs.iter().map(|run| run.organization_id))
        .column("connection_id", runs.iter().map(|run| run.connection_id))
        .column("kind", runs.iter().map(|run| run.key.kind.code()))
        .column("target_id", runs.iter().map(|run| run.key.target))
        .column("started_at", runs.iter().map(|run| run.started_at))
        .column("finished_at", runs.iter().map(|run| run.finished_at))
        .column("attempt", runs.iter().map(|run| run.attempt))
        .column("class", runs.iter().map(|run| run.class.map(FailureClass::code)))
        .column("message", runs.iter().map(|run| run.message.clone()))
        .column("requests", runs.iter().map(|run| run.requests))
        .column("changes", runs.iter().map(|run| run.changes.as_ref().map(ToString::to_string)))
        .column("trace", runs.iter().map(|run| run.trace.clone()))
        .insert(tx, "record runs", "runs", "ON CONFLICT DO NOTHING")
        .await?;
    Ok(())
}

/// The last runs of a connection of the transaction's organization, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(tx: &Tx, connection: ConnectionId, limit: u32) -> Result<Vec<Run>, StoreError> {
    let operation = "list runs";
    let sql = format!(
        "SELECT {COLUMNS} FROM runs WHERE organization_id = $1 AND connection_id = $2 ORDER BY id DESC LIMIT $3"
    );
    let values = values![tx.organization(operation)?, connection, i64::from(limit)];
    let rows = tx.all(operation, &sql, values).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Run, StoreError> {
    Ok(Run {
        id: RunId(row.get("id")?),
        organization_id: OrganizationId(row.get("organization_id")?),
        connection_id: row.get::<Option<uuid::Uuid>>("connection_id")?.map(ConnectionId),
        key: WorkKey { kind: row.numbered("kind", Kind::from_code)?, target: row.get("target_id")? },
        started_at: Timestamp(row.get("started_at")?),
        finished_at: Timestamp(row.get("finished_at")?),
        attempt: row.get("attempt")?,
        class: row.get::<Option<i16>>("class")?.and_then(FailureClass::from_code),
        message: row.get("message")?,
        requests: row.get("requests")?,
        changes: row.json("changes")?,
        trace: row.get("trace")?,
    })
}
