//! Who an organization is at a provider: its own OAuth client, or its service account. Without one of its own it signs
//! in as the deployment's client.
//!
//! At most one of each kind is current. One that was replaced stays as long as grants depend on it, because a refresh
//! token works with no other client. Each secret is sealed under an id of its own, so that an old one put back does
//! not open.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{OrganizationId, ProviderKind};
use secrecy::SecretString;
use uuid::Uuid;

use crate::error::StoreError;
use crate::transaction::{Row, Tx, values};
use crate::vault::{KeyRing, Sealed, VaultError, open_beside, seal_beside};

const SECRET: &str = "provider_clients.secret";

/// What an organization can be at a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// An OAuth client: people agree.
    Oauth,
    /// A service account: an administrator agreed for all.
    ServiceAccount,
}

impl ClientKind {
    /// The name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oauth => "oauth",
            Self::ServiceAccount => "service_account",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Oauth, Self::ServiceAccount].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A client, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderClient {
    /// At which provider.
    pub provider: ProviderKind,
    /// Of which kind.
    pub kind: ClientKind,
    /// The client id, or the service account's address.
    pub name: String,
    /// Which secret it has: another with every value.
    pub secret_id: Uuid,
    /// When it was first set.
    pub created_at: Timestamp,
    /// When another took its place; `None` for the current one.
    pub retired_at: Option<Timestamp>,
    /// How many connections depend on it.
    pub connections: i64,
}

/// Sets the organization's client of that kind at the provider; another one retires. `secret_id` is new.
///
/// # Errors
/// When the database or the cipher fails.
pub async fn set(
    tx: &Tx,
    ring: &KeyRing,
    (provider, kind, name): (ProviderKind, ClientKind, &str),
    (secret_id, secret): (Uuid, &SecretString),
    now: Timestamp,
) -> Result<(), VaultError> {
    const OPERATION: &str = "set a client";
    let organization = tx.organization(OPERATION)?;
    let sealed = seal_beside(ring, organization, secret_id, SECRET, secret)?;
    let sql = "UPDATE provider_clients SET retired_at = $5
         WHERE organization_id = $1 AND provider = $2 AND kind = $3 AND name <> $4 AND retired_at IS NULL";
    tx.execute(OPERATION, sql, values![organization, provider.as_str(), kind.as_str(), name, now]).await?;
    let sql = "INSERT INTO provider_clients
            (organization_id, provider, kind, name, secret_id, key_id, secret, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
         ON CONFLICT (organization_id, provider, kind, name) DO UPDATE SET secret_id = excluded.secret_id,
            key_id = excluded.key_id, secret = excluded.secret, updated_at = excluded.updated_at,
            retired_at = NULL";
    let values = values![
        organization,
        provider.as_str(),
        kind.as_str(),
        name,
        secret_id,
        sealed.key_id,
        sealed.bytes,
        now
    ];
    tx.execute(OPERATION, sql, values).await?;
    forget_unused(tx).await?;
    Ok(())
}

/// Clients of the transaction's organization, the current ones first.
///
/// # Errors
/// When the database fails.
pub async fn list(tx: &Tx) -> Result<Vec<ProviderClient>, StoreError> {
    const OPERATION: &str = "list clients";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM provider_clients c WHERE c.organization_id = $1
         ORDER BY coalesce(c.retired_at, 0), c.provider, c.kind, c.name"
    );
    tx.all(OPERATION, &sql, values![organization]).await?.iter().map(read).collect()
}

const COLUMNS: &str =
    "c.provider, c.kind, c.name, c.secret_id, c.created_at, c.retired_at, c.key_id, c.secret,
    (SELECT count(*) FROM grants g JOIN connections n
        ON n.organization_id = g.organization_id AND n.id = g.connection_id
        WHERE g.organization_id = c.organization_id AND g.client_id = c.name AND n.provider = c.provider
            AND (g.subject IS NOT NULL) = (c.kind = 'service_account')) AS connections";

/// Which client is meant.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// The one that new grants are made with.
    Current,
    /// The one of that name, also one that retired.
    Named(&'a str),
}

/// A client of the transaction's organization with its secret; `None` when there is none.
///
/// # Errors
/// When the database fails, or the secret cannot be opened.
pub async fn open(
    tx: &Tx,
    ring: &KeyRing,
    provider: ProviderKind,
    kind: ClientKind,
    which: Which<'_>,
) -> Result<Option<(ProviderClient, SecretString)>, VaultError> {
    const OPERATION: &str = "load a client";
    let organization = tx.organization(OPERATION)?;
    let (condition, name) = match which {
        Which::Current => ("c.retired_at IS NULL AND $4 = ''", ""),
        Which::Named(name) => ("c.name = $4", name),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM provider_clients c
         WHERE c.organization_id = $1 AND c.provider = $2 AND c.kind = $3 AND {condition}"
    );
    let row = tx.one(OPERATION, &sql, values![organization, provider.as_str(), kind.as_str(), name]).await?;
    let Some(row) = row else { return Ok(None) };
    let client = read(&row)?;
    let secret = open_beside(ring, organization, client.secret_id, SECRET, &sealed(&row)?)?;
    Ok(Some((client, secret)))
}

/// Whether the client of that name still has that secret.
///
/// # Errors
/// When the database fails.
pub async fn has_secret(
    tx: &Tx,
    provider: ProviderKind,
    kind: ClientKind,
    name: &str,
    secret_id: Uuid,
) -> Result<bool, StoreError> {
    const OPERATION: &str = "compare a client's secret";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT 1 FROM provider_clients
         WHERE organization_id = $1 AND provider = $2 AND kind = $3 AND name = $4 AND secret_id = $5";
    let values = values![organization, provider.as_str(), kind.as_str(), name, secret_id];
    Ok(tx.one(OPERATION, sql, values).await?.is_some())
}

/// Removes a client that no grant depends on; whether there was such a one.
///
/// # Errors
/// When the database fails.
pub async fn remove(
    tx: &Tx,
    provider: ProviderKind,
    kind: ClientKind,
    name: &str,
) -> Result<bool, StoreError> {
    const OPERATION: &str = "remove a client";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "DELETE FROM provider_clients
         WHERE organization_id = $1 AND provider = $2 AND kind = $3 AND name = $4 AND {UNUSED}"
    );
    let values = values![organization, provider.as_str(), kind.as_str(), name];
    Ok(tx.execute(OPERATION, &sql, values).await? > 0)
}

const UNUSED: &str = "NOT EXISTS (SELECT 1 FROM grants g WHERE g.organization_id = $1
    AND g.client_id = provider_clients.name)";

/// Removes those that retired and that neither a grant nor a sign-in under way depends on.
async fn forget_unused(tx: &Tx) -> Result<u64, StoreError> {
    const OPERATION: &str = "forget unused clients";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "DELETE FROM provider_clients WHERE organization_id = $1 AND retired_at IS NOT NULL AND {UNUSED}
            AND NOT EXISTS (SELECT 1 FROM connect_attempts a WHERE a.organization_id = $1
                AND a.client_id = provider_clients.name)"
    );
    tx.execute(OPERATION, &sql, values![organization]).await
}

/// Seals the secrets of clients that another key than the current one sealed again; how many it was.
///
/// # Errors
/// When the database or the cipher fails; nothing is lost then.
pub async fn rotate(tx: &Tx, ring: &KeyRing) -> Result<usize, VaultError> {
    const OPERATION: &str = "rotate the keys of clients";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "SELECT secret_id, key_id, secret FROM provider_clients
         WHERE organization_id = $1 AND key_id <> $2 ORDER BY secret_id {}",
        tx.for_update()
    );
    let rows = tx.all(OPERATION, &sql, values![organization, ring.current()]).await?;
    for row in &rows {
        let id: Uuid = row.get("secret_id")?;
        let again = again(ring, organization, id, &sealed(row)?)?;
        let sql = "UPDATE provider_clients SET key_id = $3, secret = $4
             WHERE organization_id = $1 AND secret_id = $2";
        tx.execute(OPERATION, sql, values![organization, id, again.key_id, again.bytes]).await?;
    }
    Ok(rows.len())
}

/// Whether the ring opens one of the clients' secrets that are sealed under the key of that id; also when there is
/// none.
///
/// # Errors
/// When the database fails.
pub async fn opens(tx: &Tx, ring: &KeyRing, key_id: &str) -> Result<bool, StoreError> {
    const OPERATION: &str = "try a client's key";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT secret_id, key_id, secret FROM provider_clients
         WHERE organization_id = $1 AND key_id = $2 LIMIT 1";
    let Some(row) = tx.one(OPERATION, sql, values![organization, key_id]).await? else { return Ok(true) };
    Ok(open_beside(ring, organization, row.get("secret_id")?, SECRET, &sealed(&row)?).is_ok())
}

fn again(
    ring: &KeyRing,
    organization: OrganizationId,
    id: Uuid,
    sealed: &Sealed,
) -> Result<Sealed, VaultError> {
    let secret = open_beside(ring, organization, id, SECRET, sealed)?;
    seal_beside(ring, organization, id, SECRET, &secret)
}

fn sealed(row: &Row) -> Result<Sealed, StoreError> {
    Ok(Sealed { key_id: row.get("key_id")?, bytes: row.get("secret")? })
}

fn read(row: &Row) -> Result<ProviderClient, StoreError> {
    Ok(ProviderClient {
        provider: row.named("provider", |name| name.parse().ok())?,
        kind: row.named("kind", ClientKind::from_name)?,
        name: row.get("name")?,
        secret_id: row.get("secret_id")?,
        created_at: Timestamp(row.get("created_at")?),
        retired_at: row.instant("retired_at")?,
        connections: row.get("connections")?,
    })
}
