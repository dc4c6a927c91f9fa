//! Requests that carry a key of their own, so that repeating one does nothing twice
//! (draft-ietf-httpapi-idempotency-key-header). A row says which request took the key, and what came of it.
//!
//! The row is written before the request is carried out and completed after: until then the same request elsewhere is
//! told to wait, and after a crash in between it is taken up again, where the key in the outbox keeps it from being
//! done twice.

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use sha2::{Digest, Sha256};

use crate::error::StoreError;
use crate::transaction::{Row, Tx, values};

/// A request that has not come to an end after so long never will: no request may take longer.
const LONGEST: Duration = Duration::from_mins(2);

/// How long a key is remembered.
const REMEMBERED: Duration = Duration::from_hours(7 * 24);

/// What a request asks for, by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a request's route and body.
    pub fn of(route: &str, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(route.as_bytes());
        hash.update([0]);
        hash.update(body);
        Self(hash.finalize().into())
    }
}

/// Whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// The caller's: it is the first, or the first has died.
    Own,
    /// Nobody's: this came of it, as it was given to [`complete`].
    Past(serde_json::Value),
    /// Another's, who is at it.
    Others,
    /// The key belongs to a request that asks for something else.
    Foreign,
}

/// Takes a key for a request, or says what has become of it; committed before the request is carried out.
///
/// # Errors
/// When the database fails.
pub async fn begin(tx: &Tx, key: &str, fingerprint: Fingerprint, now: Timestamp) -> Result<Turn, StoreError> {
    const OPERATION: &str = "take the key of a request";
    let organization = tx.organization(OPERATION)?;
    let forget = "DELETE FROM requests WHERE organization_id = $1 AND begun_at < $2";
    let oldest = Timestamp(now.0.saturating_sub(milliseconds(REMEMBERED)));
    tx.execute(OPERATION, forget, values![organization, oldest]).await?;
    let take = "INSERT INTO requests (organization_id, request_key, fingerprint, begun_at)
         VALUES ($1, $2, $3, $4) ON CONFLICT (organization_id, request_key) DO UPDATE SET begun_at = $4
            WHERE requests.fingerprint = $3 AND requests.outcome IS NULL AND requests.begun_at <= $5";
    let abandoned = Timestamp(now.0.saturating_sub(milliseconds(LONGEST)));
    let fixed = values![organization, key, fingerprint.0.to_vec(), now, abandoned];
    if tx.execute(OPERATION, take, fixed).await? == 1 {
        return Ok(Turn::Own);
    }
    let look = "SELECT fingerprint, outcome FROM requests WHERE organization_id = $1 AND request_key = $2";
    let row = tx.one(OPERATION, look, values![organization, key]).await?;
    row.as_ref().map_or(Ok(Turn::Others), |row| read(row, fingerprint))
}

fn read(row: &Row, fingerprint: Fingerprint) -> Result<Turn, StoreError> {
    if row.get::<Vec<u8>>("fingerprint")? != fingerprint.0 {
        return Ok(Turn::Foreign);
    }
    Ok(row.json("outcome")?.map_or(Turn::Others, Turn::Past))
}

/// Remembers what came of the request that took a key.
///
/// # Errors
/// When the database fails.
pub async fn complete(tx: &Tx, key: &str, outcome: &serde_json::Value) -> Result<(), StoreError> {
    const OPERATION: &str = "remember what came of a request";
    let organization = tx.organization(OPERATION)?;
    let sql = "UPDATE requests SET outcome = $3 WHERE organization_id = $1 AND request_key = $2";
    tx.execute(OPERATION, sql, values![organization, key, outcome.to_string()]).await.map(drop)
}

/// Gives a key back whose request was refused: nothing came of it.
///
/// # Errors
/// When the database fails.
pub async fn give_back(tx: &Tx, key: &str) -> Result<(), StoreError> {
    const OPERATION: &str = "give the key of a request back";
    let organization = tx.organization(OPERATION)?;
    let sql = "DELETE FROM requests WHERE organization_id = $1 AND request_key = $2 AND outcome IS NULL";
    tx.execute(OPERATION, sql, values![organization, key]).await.map(drop)
}

fn milliseconds(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
