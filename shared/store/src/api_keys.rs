//! Keys of applications: made once, shown once, kept as a hash.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{ApiKeyId, OrganizationId};
use secrecy::{ExposeSecret, SecretString};

use crate::database::Store;
use crate::doors::{self, DoorKind, NoRandomness, SecretHash};
use crate::error::StoreError;
use crate::transaction::{Row, Scope, Tx, to_json, values};

/// What every key begins with, so that scanners find one that was published by mistake.
const PREFIX: &str = "cf_";

/// A key of an application, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// What people call it.
    pub name: String,
    /// What may be done with it.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

/// A new key could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The machine has no random numbers.
    #[error("draw a random key")]
    NoRandomness(#[from] NoRandomness),
    /// The database failed.
    #[error("create an API key")]
    Store(#[from] StoreError),
}

/// Makes a key for the transaction's organization: `cf_` and 32 random bytes. It cannot be shown again.
///
/// # Errors
/// When the machine has no random numbers, or the database fails.
pub async fn create(
    tx: &Tx,
    id: ApiKeyId,
    name: &str,
    scopes: &[String],
    now: Timestamp,
) -> Result<SecretString, ApiKeyError> {
    let operation = "create an API key";
    let key = doors::new_secret(PREFIX)?;
    let hash = SecretHash::of(DoorKind::ApiKey, key.expose_secret().as_bytes());
    let organization = tx.organization(operation)?;
    let scopes = to_json(operation, "scopes", scopes)?;
    tx.execute(
        operation,
        "INSERT INTO api_keys (organization_id, id, name, secret_hash, scopes, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        values![organization, id, name, hash.as_bytes(), scopes, now],
    )
    .await?;
    doors::open(tx, DoorKind::ApiKey, &hash, id.0, now).await?;
    Ok(key)
}

/// The key that was presented, if it is one and has not been taken back. What is wrong with it is never said.
///
/// # Errors
/// When the database fails.
pub async fn authenticate(store: &Store, presented: &SecretString) -> Result<Option<ApiKey>, StoreError> {
    let operation = "authenticate by API key";
    let hash = SecretHash::of(DoorKind::ApiKey, presented.expose_secret().as_bytes());
    let fleet = store.read(Scope::Fleet).await?;
    let door = doors::enter(&fleet, DoorKind::ApiKey, &hash).await?;
    drop(fleet);
    let Some(door) = door else { return Ok(None) };
    let tx = store.read(Scope::Organization(door.organization_id)).await?;
    let sql = "SELECT id, name, scopes, created_at, revoked_at, secret_hash FROM api_keys
               WHERE organization_id = $1 AND id = $2 AND revoked_at IS NULL";
    let Some(row) = tx.one(operation, sql, values![door.organization_id, door.target]).await? else {
        return Ok(None);
    };
    if !hash.is(&row.get::<Vec<u8>>("secret_hash")?) {
        return Ok(None);
    }
    read(&row, door.organization_id).map(Some)
}

/// All keys of the transaction's organization, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list(tx: &Tx) -> Result<Vec<ApiKey>, StoreError> {
    let operation = "list API keys";
    let organization = tx.organization(operation)?;
    let sql = "SELECT id, name, scopes, created_at, revoked_at FROM api_keys
               WHERE organization_id = $1 ORDER BY id";
    let rows = tx.all(operation, sql, values![organization]).await?;
    rows.iter().map(|row| read(row, organization)).collect()
}

/// Takes a key back for good; whether there was one to take back.
///
/// # Errors
/// When the database fails.
pub async fn revoke(tx: &Tx, id: ApiKeyId, now: Timestamp) -> Result<bool, StoreError> {
    let operation = "revoke an API key";
    let sql = "UPDATE api_keys SET revoked_at = $3
               WHERE organization_id = $1 AND id = $2 AND revoked_at IS NULL";
    let revoked = tx.execute(operation, sql, values![tx.organization(operation)?, id, now]).await?;
    doors::close(tx, id.0).await?;
    Ok(revoked > 0)
}

fn read(row: &Row, organization_id: OrganizationId) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        id: ApiKeyId(row.get("id")?),
        organization_id,
        name: row.get("name")?,
        scopes: row.json("scopes")?.unwrap_or_default(),
        created_at: Timestamp(row.get("created_at")?),
        revoked_at: row.instant("revoked_at")?,
    })
}
