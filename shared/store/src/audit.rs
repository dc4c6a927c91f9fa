//! Audit: what people and programs did, who and when. Entries are added and never changed.

use calfleet_domain::clock::Timestamp;
use uuid::Uuid;

use crate::error::StoreError;
use crate::transaction::{Tx, values};

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Its id, in the order of time.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Who: `user:…`, `api_key:…`, `operator`, `calfleet`.
    pub actor: String,
    /// What was done: `connection.connect`, `connection.pause`.
    pub action: String,
    /// To what kind of thing: `connection`.
    pub target_kind: String,
    /// To which.
    pub target: Option<Uuid>,
    /// More, as JSON; free of secrets.
    pub detail: Option<serde_json::Value>,
}

/// Adds an entry to the audit of the transaction's organization.
///
/// # Errors
/// When the database fails.
pub async fn record(tx: &Tx, entry: &AuditEntry) -> Result<(), StoreError> {
    let operation = "record an audit entry";
    let sql = "INSERT INTO audit (organization_id, id, at, actor, action, target_kind, target_id, detail)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let values = values![
        tx.organization(operation)?,
        entry.id,
        entry.at,
        &entry.actor,
        &entry.action,
        &entry.target_kind,
        entry.target,
        entry.detail.as_ref().map(ToString::to_string),
    ];
    tx.execute(operation, sql, values).await?;
    Ok(())
}

/// At most `limit` entries of the transaction's organization, newest first, before the given one.
///
/// # Errors
/// When the database fails.
pub async fn list(tx: &Tx, before: Option<Uuid>, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
    let operation = "list audit entries";
    let sql = "SELECT id, at, actor, action, target_kind, target_id, detail FROM audit
               WHERE organization_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
    let before = before.unwrap_or(Uuid::max());
    let rows = tx.all(operation, sql, values![tx.organization(operation)?, before, i64::from(limit)]).await?;
    let entries = rows.iter().map(|row| {
        Ok(AuditEntry {
            id: row.get("id")?,
            at: Timestamp(row.get("at")?),
            actor: row.get("actor")?,
            action: row.get("action")?,
            target_kind: row.get("target_kind")?,
            target: row.get("target_id")?,
            detail: row.json("detail")?,
        })
    });
    entries.collect()
}
