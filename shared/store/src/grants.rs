//! What a person granted at an OAuth provider: how long it lasts and what it covers. The tokens themselves are in
//! the [`crate::vault`], which also says which generation they are of.

use std::collections::BTreeSet;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{ConnectionId, ProviderKind};
use sha2::{Digest, Sha256};

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
    /// The client that it was granted to, by its name at the provider: no other can use it. `None` for a grant from
    /// before that was remembered.
    pub client_id: Option<String>,
    /// The address of the person whom a service account stands in for; `None` where the person agreed.
    pub subject: Option<String>,
}

/// Stores what was granted, in the place of what was granted before.
///
/// # Errors
/// When the database fails.
pub async fn put(tx: &Tx, connection: ConnectionId, grant: &Grant) -> Result<(), StoreError> {
    const OPERATION: &str = "store a grant";
    let organization = tx.organization(OPERATION)?;
    let sql = "INSERT INTO grants (organization_id, connection_id, scopes, access_expires_at, refreshed_at,
            refresh_expires_at, client_id, subject)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (organization_id, connection_id) DO UPDATE SET scopes = excluded.scopes,
            access_expires_at = excluded.access_expires_at, refreshed_at = excluded.refreshed_at,
            refresh_expires_at = excluded.refresh_expires_at, client_id = excluded.client_id,
            subject = excluded.subject, evidence = NULL";
    let scopes = to_json(OPERATION, "scopes", &grant.scopes)?;
    let values = values![
        organization,
        connection,
        scopes,
        grant.access_expires_at,
        grant.refreshed_at,
        grant.refresh_expires_at,
        grant.client_id.clone(),
        grant.subject.clone()
    ];
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
    let sql = "SELECT scopes, access_expires_at, refreshed_at, refresh_expires_at, client_id, subject
         FROM grants WHERE organization_id = $1 AND connection_id = $2";
    let Some(row) = tx.one(OPERATION, sql, values![organization, connection]).await? else { return Ok(None) };
    Ok(Some(Grant {
        scopes: row.json("scopes")?.unwrap_or_default(),
        access_expires_at: Timestamp(row.get("access_expires_at")?),
        refreshed_at: Timestamp(row.get("refreshed_at")?),
        refresh_expires_at: row.instant("refresh_expires_at")?,
        client_id: row.get("client_id")?,
        subject: row.get("subject")?,
    }))
}

/// Notes that the provider refused the access token that was in use since `opened_at`: the next use refreshes. A token
/// that was given out later is left alone.
///
/// # Errors
/// When the database fails.
pub async fn distrust(tx: &Tx, connection: ConnectionId, opened_at: Timestamp) -> Result<bool, StoreError> {
    const OPERATION: &str = "distrust a token";
    let organization = tx.organization(OPERATION)?;
    let sql = "UPDATE grants SET access_expires_at = 0
         WHERE organization_id = $1 AND connection_id = $2 AND refreshed_at <= $3";
    Ok(tx.execute(OPERATION, sql, values![organization, connection, opened_at]).await? > 0)
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

/// Forgets what was granted: the connection has left.
///
/// # Errors
/// When the database fails.
pub async fn forget(tx: &Tx, connection: ConnectionId) -> Result<(), StoreError> {
    const OPERATION: &str = "forget a grant";
    let organization = tx.organization(OPERATION)?;
    let sql = "DELETE FROM grants WHERE organization_id = $1 AND connection_id = $2";
    tx.execute(OPERATION, sql, values![organization, connection]).await?;
    Ok(())
}

/// What a person granted to one client at one provider, whoever uses it: to end it is to end it for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantHash([u8; 32]);

impl GrantHash {
    /// The grant of an account to a client.
    pub fn of(provider: ProviderKind, client_id: &str, account: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [provider.as_str(), client_id, account] {
            hash.update(part);
            hash.update([0]);
        }
        Self(hash.finalize().into())
    }
}

/// Notes that a connection lives on a grant.
///
/// # Errors
/// When the database fails.
pub async fn hold(tx: &Tx, connection: ConnectionId, grant: GrantHash) -> Result<(), StoreError> {
    const OPERATION: &str = "hold a grant";
    let organization = tx.organization(OPERATION)?;
    let sql = "INSERT INTO grant_holders (organization_id, connection_id, grant_hash) VALUES ($1, $2, $3)
         ON CONFLICT (organization_id, connection_id) DO UPDATE SET grant_hash = excluded.grant_hash";
    tx.execute(OPERATION, sql, values![organization, connection, grant.0.as_slice()]).await?;
    Ok(())
}

/// Notes that a connection lives on no grant any more.
///
/// # Errors
/// When the database fails.
pub async fn let_go(tx: &Tx, connection: ConnectionId) -> Result<(), StoreError> {
    const OPERATION: &str = "let a grant go";
    let organization = tx.organization(OPERATION)?;
    let sql = "DELETE FROM grant_holders WHERE organization_id = $1 AND connection_id = $2";
    tx.execute(OPERATION, sql, values![organization, connection]).await?;
    Ok(())
}

/// Whether another connection, of whatever organization, lives on the grant; in a transaction of the fleet.
///
/// # Errors
/// When the database fails.
pub async fn is_held_by_another(
    tx: &Tx,
    grant: GrantHash,
    connection: ConnectionId,
) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM grant_holders WHERE grant_hash = $1 AND connection_id <> $2 LIMIT 1";
    let row = tx.one("look for who else holds a grant", sql, values![grant.0.as_slice(), connection]).await?;
    Ok(row.is_some())
}
