//! What a person granted at an OAuth provider: how long it lasts and what it covers. The tokens themselves are in
//! the [`crate::vault`], which also says which generation they are of.

use std::collections::BTreeSet;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::ConnectionId;

use crate::error::StoreError;
use crate::transaction::{Tx, to_json, values};

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What was granted, without the address of the resource.
    pub scopes: BTreeSet<String>,
    /// Until when the access token is good; [`Timestamp::ZERO`] when the provider has refused it.
    pub access_expires_at: Timestamp,
    /// When the tokens were last given out.
    pub refreshed_at: Timestamp,
    /// Until when the refresh token is good; `None` where the provider does not say.
    pub refresh_expires_at: Option<Timestamp>,
}

/// Stores what was granted, in the place of what was granted before.
///
/// # Errors
/// When the database fails.
pub async fn put(tx: &Tx, connection: ConnectionId, grant: &Grant) -> Result<(), StoreError> {
    const OPERATION: &str = "store a grant";
    let organization = tx.organization(OPERATION)?;
    let sql = "INSERT INTO grants (organization_id, connection_id, scopes, access_expires_at, refreshed_at,
            refresh_expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (organization_id, connection_id) DO UPDATE SET scopes = excluded.scopes,
            access_expires_at = excluded.access_expires_at, refreshed_at = excluded.refreshed_at,
            refresh_expires_at = excluded.refresh_expires_at, evidence = NULL";
    let scopes = to_json(OPERATION, "scopes", &grant.scopes)?;
    let Grant { access_expires_at, refreshed_at, refresh_expires_at, .. } = *grant;
    let values =
        values![organization, connection, scopes, access_expires_at, refreshed_at, refresh_expires_at];
    tx.execute(OPERATION, sql, values).await?;
    Ok(())
}

/// What a connection was granted; `None` for one that uses no OAuth.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, connection: ConnectionId) -> Result<Option<Grant>, StoreError> {
    const OPERATION: &str = "load a grant";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT scopes, access_expires_at, refreshed_at, refresh_expires_at FROM grants
         WHERE organization_id = $1 AND connection_id = $2";
    let Some(row) = tx.one(OPERATION, sql, values![organization, connection]).await? else { return Ok(None) };
    Ok(Some(Grant {
        scopes: row.json("scopes")?.unwrap_or_default(),
        access_expires_at: Timestamp(row.get("access_expires_at")?),
        refreshed_at: Timestamp(row.get("refreshed_at")?),
        refresh_expires_at: row.instant("refresh_expires_at")?,
    }))
}

/// Notes that the provider refused the access token that was given out at `refreshed_at`: the next use refreshes.
/// A token that was given out since is left alone.
///
/// # Errors
/// When the database fails.
pub async fn distrust(
    tx: &Tx,
    connection: ConnectionId,
    refreshed_at: Timestamp,
) -> Result<bool, StoreError> {
    const OPERATION: &str = "distrust a token";
    let organization = tx.organization(OPERATION)?;
    let sql = "UPDATE grants SET access_expires_at = 0
         WHERE organization_id = $1 AND connection_id = $2 AND refreshed_at = $3";
    Ok(tx.execute(OPERATION, sql, values![organization, connection, refreshed_at]).await? > 0)
}

/// Keeps the provider's refusal that ended the grant.
///
/// # Errors
/// When the database fails.
pub async fn end(tx: &Tx, connection: ConnectionId, evidence: &serde_json::Value) -> Result<(), StoreError> {
    const OPERATION: &str = "end a grant";
    let organization = tx.organization(OPERATION)?;
    let sql = "UPDATE grants SET evidence = $3 WHERE organization_id = $1 AND connection_id = $2";
    let evidence = to_json(OPERATION, "evidence", evidence)?;
    tx.execute(OPERATION, sql, values![organization, connection, evidence]).await?;
    Ok(())
}
