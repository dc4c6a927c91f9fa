//! Sign-ins under way (`connect_attempts`): what a consent page was opened with, the code it came back with, sealed,
//! and the one-time id that leads whoever began to it. Each step happens once.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{ConnectionId, ProviderKind, UserId};
use secrecy::SecretString;
use uuid::Uuid;

use crate::doors::{self, DoorKind, SecretHash};
use crate::error::StoreError;
use crate::transaction::{Row, Tx, values};
use crate::vault::{KeyRing, Sealed, VaultError, open_beside, seal_beside};

/// A sign-in under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectAttempt {
    /// Its id.
    pub id: Uuid,
    /// At which provider.
    pub provider: ProviderKind,
    /// For whom; `None` for the organization's own.
    pub user_id: Option<UserId>,
    /// The connection that is to be renewed; `None` for any account.
    pub connection_id: Option<ConnectionId>,
    /// The client that asked, by its name at the provider: the code is of no use to any other.
    pub client_id: Option<String>,
    /// What the id token must repeat.
    pub nonce: String,
    /// Where the person is sent afterwards.
    pub return_url: String,
    /// Until when it can be finished.
    pub expires_at: Timestamp,
}

const VERIFIER: &str = "connect_attempts.verifier";
const CODE: &str = "connect_attempts.code";

/// Begins: `state` opens the door to it once.
///
/// # Errors
/// When the database or the vault fails.
pub async fn begin(
    tx: &Tx,
    ring: &KeyRing,
    attempt: &ConnectAttempt,
    state: &SecretHash,
    verifier: &SecretString,
    now: Timestamp,
) -> Result<(), VaultError> {
    const OPERATION: &str = "begin a sign-in";
    let organization = tx.organization(OPERATION)?;
    let sealed = seal_beside(ring, organization, attempt.id, VERIFIER, verifier)?;
    // what nobody came back for goes with the next one that is begun, and its door with it
    let sql = "DELETE FROM doors WHERE organization_id = $1 AND target_id IN (
            SELECT id FROM connect_attempts WHERE organization_id = $1 AND expires_at < $2)";
    tx.execute(OPERATION, sql, values![organization, now]).await?;
    let sql = "DELETE FROM connect_attempts WHERE organization_id = $1 AND expires_at < $2";
    tx.execute(OPERATION, sql, values![organization, now]).await?;
    let sql =
        "INSERT INTO connect_attempts (organization_id, id, provider, user_id, connection_id, client_id,
            nonce, return_url, verifier_key, verifier, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    let values = values![
        organization,
        attempt.id,
        attempt.provider.as_str(),
        attempt.user_id,
        attempt.connection_id,
        attempt.client_id.clone(),
        attempt.nonce.clone(),
        attempt.return_url.clone(),
        sealed.key_id,
        sealed.bytes,
        now,
        attempt.expires_at
    ];
    tx.execute(OPERATION, sql, values).await?;
    doors::open(tx, DoorKind::ConnectState, state, attempt.id, now).await?;
    Ok(())
}

/// The attempt, whatever has become of it; `None` when there is none (any more).
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: Uuid) -> Result<Option<ConnectAttempt>, StoreError> {
    const OPERATION: &str = "load a sign-in";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT id, provider, user_id, connection_id, client_id, nonce, return_url, expires_at
         FROM connect_attempts WHERE organization_id = $1 AND id = $2";
    tx.one(OPERATION, sql, values![organization, id]).await?.as_ref().map(read).transpose()
}

/// The person is back: keeps the code sealed and makes the one-time id. Whether that was the first time.
///
/// # Errors
/// When the database or the vault fails.
pub async fn returned(
    tx: &Tx,
    ring: &KeyRing,
    id: Uuid,
    code: &SecretString,
    ticket: &SecretHash,
) -> Result<bool, VaultError> {
    const OPERATION: &str = "keep the code of a sign-in";
    let organization = tx.organization(OPERATION)?;
    let sealed = seal_beside(ring, organization, id, CODE, code)?;
    let sql = "UPDATE connect_attempts SET code_key = $3, code = $4, ticket_hash = $5
         WHERE organization_id = $1 AND id = $2 AND code IS NULL";
    let values = values![organization, id, sealed.key_id, sealed.bytes, ticket.as_bytes()];
    let changed = tx.execute(OPERATION, sql, values).await?;
    // the state is good for one return, whatever it brings
    doors::close(tx, id).await?;
    Ok(changed > 0)
}

/// Takes an attempt for its exchange, by its one-time id and once: the attempt, its code and its verifier. `wanted`
/// decides whether the caller may; an attempt that the caller may not take stays as it is.
///
/// # Errors
/// When the database or the vault fails.
pub async fn take(
    tx: &Tx,
    ring: &KeyRing,
    ticket: &SecretHash,
    wanted: impl Fn(&ConnectAttempt) -> bool,
    now: Timestamp,
) -> Result<Option<Taken>, VaultError> {
    const OPERATION: &str = "take a sign-in";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "SELECT id, provider, user_id, connection_id, client_id, nonce, return_url, expires_at,
            verifier_key, verifier, code_key, code
         FROM connect_attempts WHERE organization_id = $1 AND ticket_hash = $2 AND confirmed_at IS NULL {}",
        tx.for_update()
    );
    let Some(row) = tx.one(OPERATION, &sql, values![organization, ticket.as_bytes()]).await? else {
        return Ok(None);
    };
    let attempt = read(&row)?;
    if !wanted(&attempt) {
        return Ok(None);
    }
    let sealed = |key: &'static str, bytes: &'static str| -> Result<Sealed, StoreError> {
        Ok(Sealed { key_id: row.get(key)?, bytes: row.get(bytes)? })
    };
    let verifier =
        open_beside(ring, organization, attempt.id, VERIFIER, &sealed("verifier_key", "verifier")?)?;
    let code = open_beside(ring, organization, attempt.id, CODE, &sealed("code_key", "code")?)?;
    let sql = "UPDATE connect_attempts SET confirmed_at = $3, code = NULL, code_key = NULL
         WHERE organization_id = $1 AND id = $2";
    tx.execute(OPERATION, sql, values![organization, attempt.id, now]).await?;
    Ok(Some(Taken { attempt, code, verifier }))
}

/// An attempt that was taken for its exchange.
#[derive(Debug)]
pub struct Taken {
    /// The attempt.
    pub attempt: ConnectAttempt,
    /// Its code.
    pub code: SecretString,
    /// Its verifier.
    pub verifier: SecretString,
}

fn read(row: &Row) -> Result<ConnectAttempt, StoreError> {
    Ok(ConnectAttempt {
        id: row.get("id")?,
        provider: row.named("provider", |name| name.parse().ok())?,
        user_id: row.get::<Option<Uuid>>("user_id")?.map(UserId),
        connection_id: row.get::<Option<Uuid>>("connection_id")?.map(ConnectionId),
        client_id: row.get("client_id")?,
        nonce: row.get("nonce")?,
        return_url: row.get("return_url")?,
        expires_at: Timestamp(row.get("expires_at")?),
    })
}
