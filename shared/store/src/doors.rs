//! Doors: from what was presented from outside to the organization that it belongs to.
//!
//! A key, a feed's or a notification's address arrives before any organization is known, so its hash is looked up
//! by the fleet. Everything else about it is then read inside that organization.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::OrganizationId;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::error::StoreError;
use crate::transaction::{Tx, values};

/// The machine has no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("draw a random secret")]
pub struct NoRandomness;

/// A new secret to be presented at a door: `prefix` and 32 random bytes as text.
///
/// # Errors
/// When the machine has no random numbers.
pub fn new_secret(prefix: &str) -> Result<SecretString, NoRandomness> {
    let mut random = [0_u8; 32];
    SystemRandom::new().fill(&mut random).map_err(|_| NoRandomness)?;
    Ok(SecretString::from(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random))))
}

/// What a door leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoorKind {
    /// The organization itself, by its name.
    Organization,
    /// A key of an application.
    ApiKey,
    /// The state that a consent page was opened with.
    ConnectState,
    /// The one-time id that leads from a consent page back to whoever began.
    ConnectTicket,
    /// What a provider's notification brings along to show whose it is.
    Watch,
}

impl DoorKind {
    /// The name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::ApiKey => "api_key",
            Self::ConnectState => "connect_state",
            Self::ConnectTicket => "connect_ticket",
            Self::Watch => "watch",
        }
    }
}

/// The hash of what was presented. Secrets are 32 random bytes, so that a plain hash cannot be searched.
#[derive(Debug, Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes what was presented; the same text gives another hash for another kind.
    pub fn of(kind: DoorKind, secret: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(kind.as_str());
        hash.update([0]);
        hash.update(secret);
        Self(hash.finalize().into())
    }

    /// Whether it is the stored one, in a time that says nothing about where they differ.
    pub fn is(&self, stored: &[u8]) -> bool {
        self.0.ct_eq(stored).into()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Where a door leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    /// The organization.
    pub organization_id: OrganizationId,
    /// The row of the kind's own table.
    pub target: Uuid,
}

/// Makes a door into the transaction's organization.
///
/// # Errors
/// [`StoreError::is_duplicate`] when there is one with that secret.
pub async fn open(
    tx: &Tx,
    kind: DoorKind,
    hash: &SecretHash,
    target: Uuid,
    now: Timestamp,
) -> Result<(), StoreError> {
    let operation = "open a door";
    let sql = "INSERT INTO doors (secret_hash, organization_id, kind, target_id, created_at)
               VALUES ($1, $2, $3, $4, $5)";
    let values = values![hash.as_bytes(), tx.organization(operation)?, kind.as_str(), target, now];
    tx.execute(operation, sql, values).await?;
    Ok(())
}

/// Where the door leads, if there is one; in a transaction of the fleet.
///
/// # Errors
/// When the database fails.
pub async fn enter(tx: &Tx, kind: DoorKind, hash: &SecretHash) -> Result<Option<Door>, StoreError> {
    let sql = "SELECT organization_id, target_id FROM doors WHERE secret_hash = $1 AND kind = $2";
    let row = tx.one("enter by a door", sql, values![hash.as_bytes(), kind.as_str()]).await?;
    let Some(row) = row else { return Ok(None) };
    let organization_id = OrganizationId(row.get("organization_id")?);
    Ok(Some(Door { organization_id, target: row.get("target_id")? }))
}

/// Closes all doors to a target of the transaction's organization.
///
/// # Errors
/// When the database fails.
pub async fn close(tx: &Tx, target: Uuid) -> Result<(), StoreError> {
    let operation = "close a door";
    let sql = "DELETE FROM doors WHERE organization_id = $1 AND target_id = $2";
    tx.execute(operation, sql, values![tx.organization(operation)?, target]).await?;
    Ok(())
}
