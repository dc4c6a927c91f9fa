//! The vault: secrets of connections, sealed so that the database alone opens none of them.
//!
//! A secret is sealed with AES-256-GCM under a key of the [`KeyRing`], which comes from the configuration. Bound
//! into the seal (as associated data) are organization, connection, field and generation: a sealed value that is
//! put into another row, or that once stood in the same row, does not open. Generations rise with the clock, so
//! they do not begin again when a connection is disconnected and connected anew.
//!
//! Keys are changed without stopping: all processes get the new key beside the old, then the new one is made
//! current, then [`rotate`] seals everything again. No secret needs the old one then; what was made at providers bears
//! marks under it ([`KeyRing::marking`]), so it stays on the ring as long as these are to be known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hkdf, hmac};
use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{ConnectionId, OrganizationId};
use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretString};

use crate::bulk::Input;
use crate::error::StoreError;
use crate::transaction::{Row, Tx, values};

/// Bytes of the nonce that stands before the sealed text.
const NONCE_BYTES: usize = 12;

/// The keys that seal and open secrets.
pub struct KeyRing {
    current: String,
    keys: BTreeMap<String, RandomizedNonceKey>,
    marking: Arc<[hmac::Key]>,
}

impl KeyRing {
    /// A ring of keys by id, 32 bytes each, of which `current` seals.
    ///
    /// # Errors
    /// When `current` is not among them, or two have one id.
    pub fn new(
        current: impl Into<String>,
        keys: impl IntoIterator<Item = (String, [u8; 32])>,
    ) -> Result<Self, VaultError> {
        let current = current.into();
        let (mut ring, mut marking) = (BTreeMap::new(), Vec::new());
        for (id, mut bytes) in keys {
            let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes);
            let mark = marking_key(&bytes);
            bytes.zeroize();
            // the current one first
            marking.insert(if id == current { 0 } else { marking.len() }, mark?);
            if ring.insert(id.clone(), key.map_err(|_| VaultError::Seal)?).is_some() {
                return Err(VaultError::DuplicateKey { key_id: id });
            }
        }
        if !ring.contains_key(&current) {
            return Err(VaultError::UnknownKey { key_id: current });
        }
        Ok(Self { current, keys: ring, marking: marking.into() })
    }

    /// The id of the key that seals.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// Keys derived from those of the ring, the current one's first: they mark what we make at providers, so that it
    /// is known again after the database was lost.
    pub fn marking(&self) -> Arc<[hmac::Key]> {
        Arc::clone(&self.marking)
    }

    fn key(&self, id: &str) -> Result<&RandomizedNonceKey, VaultError> {
        self.keys.get(id).ok_or_else(|| VaultError::UnknownKey { key_id: id.to_owned() })
    }

    /// Nonce, then sealed text, then tag.
    fn seal(&self, place: &Place<'_>, secret: &SecretString) -> Result<Vec<u8>, VaultError> {
        let mut text = secret.expose_secret().as_bytes().to_vec();
        // room for the tag, so that the text is not copied to grow
        text.reserve_exact(AES_256_GCM.tag_len());
        let nonce = self
            .key(&self.current)?
            .seal_in_place_append_tag(Aad::from(place.bound()), &mut text)
            .map_err(|_| VaultError::Seal)?;
        Ok([nonce.as_ref().as_slice(), text.as_slice()].concat())
    }

    fn open(&self, key_id: &str, place: &Place<'_>, sealed: &[u8]) -> Result<SecretString, VaultError> {
        let broken = || VaultError::Broken { field: place.field.to_owned() };
        let (nonce, text) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut text = text.to_vec();
        let opened = self.key(key_id)?.open_in_place(nonce, Aad::from(place.bound()), &mut text);
        let secret = opened.ok().and_then(|plain| std::str::from_utf8(plain).ok()).map(SecretString::from);
        text.zeroize();
        secret.ok_or_else(broken)
    }
}

/// The key that marks, derived from one that seals (RFC 5869).
fn marking_key(bytes: &[u8]) -> Result<hmac::Key, VaultError> {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"calfleet").extract(bytes);
    let expanded = extracted.expand(&[b"marks"], hmac::HMAC_SHA256);
    expanded.map(hmac::Key::from).map_err(|_| VaultError::Seal)
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("current", &self.current)
            .field("ids", &self.keys.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Why a secret could not be stored or read. Never says anything about its content.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The database failed.
    #[error("reach a connection's secret")]
    Store(#[from] StoreError),
    /// The key is not on the ring.
    #[error("find the key {key_id:?} on the key ring")]
    UnknownKey {
        /// Its id.
        key_id: String,
    },
    /// Two keys of the ring have this id.
    #[error("tell two keys apart that both have the id {key_id:?}")]
    DuplicateKey {
        /// The id.
        key_id: String,
    },
    /// The cipher refused: a key of the wrong length, or a text of 64 GiB.
    #[error("seal a secret")]
    Seal,
    /// The sealed value does not belong where it stands, or was altered.
    #[error("open the secret {field}: it was sealed for another place, or altered")]
    Broken {
        /// Which field.
        field: String,
    },
    /// Another process stored a newer value meanwhile.
    #[error("store the secret {field}: it was replaced meanwhile")]
    Replaced {
        /// Which field.
        field: String,
    },
}

/// Which secret of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretField {
    /// A password or app password.
    Password,
    /// A bearer token that does not expire.
    Token,
    /// An OAuth access token.
    AccessToken,
    /// An OAuth refresh token.
    RefreshToken,
    /// The address of a private feed: whoever knows it can read the calendar.
    Url,
}

impl SecretField {
    /// The name in the table and in the seal; never changed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Token => "token",
            Self::AccessToken => "access_token",
            Self::RefreshToken => "refresh_token",
            Self::Url => "url",
        }
    }
}

/// An opened secret.
#[derive(Debug)]
pub struct Opened {
    /// The secret.
    pub secret: SecretString,
    /// Which value it is: rises whenever another one is stored.
    pub generation: i64,
}

/// Where a sealed value belongs.
struct Place<'a> {
    organization_id: OrganizationId,
    connection_id: ConnectionId,
    field: &'a str,
    generation: i64,
}

impl Place<'_> {
    /// What is bound into the seal. All parts but the last have a fixed length.
    fn bound(&self) -> Vec<u8> {
        let (organization, connection) = (self.organization_id.0, self.connection_id.0);
        let generation = self.generation.to_be_bytes();
        [organization.as_bytes(), connection.as_bytes(), generation.as_slice(), self.field.as_bytes()]
            .concat()
    }
}

/// Seals a secret into a connection's row, in the place of the one before; the new generation.
///
/// # Errors
/// [`VaultError::Replaced`] when another process was faster, and when the database or the cipher fails.
pub async fn seal(
    tx: &Tx,
    ring: &KeyRing,
    connection_id: ConnectionId,
    field: SecretField,
    secret: &SecretString,
    now: Timestamp,
) -> Result<i64, VaultError> {
    let operation = "store a secret";
    let (organization_id, field) = (tx.organization(operation)?, field.as_str());
    let sql =
        "SELECT generation FROM secrets WHERE organization_id = $1 AND connection_id = $2 AND field = $3";
    let before = tx.one(operation, sql, values![organization_id, connection_id, field]).await?;
    let before: i64 = before.map_or(Ok(0), |row| row.get("generation"))?;
    let generation = now.0.max(before.saturating_add(1));
    let place = Place { organization_id, connection_id, field, generation };
    let sealed = ring.seal(&place, secret)?;
    let sql =
        "INSERT INTO secrets (organization_id, connection_id, field, generation, key_id, sealed, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (organization_id, connection_id, field) DO UPDATE SET generation = excluded.generation,
            key_id = excluded.key_id, sealed = excluded.sealed, updated_at = excluded.updated_at
        WHERE secrets.generation = $8";
    let values =
        values![organization_id, connection_id, field, generation, ring.current(), sealed, now, before];
    match tx.execute(operation, sql, values).await? {
        0 => Err(VaultError::Replaced { field: field.to_owned() }),
        _ => Ok(generation),
    }
}

/// Opens a connection's secret; `None` when there is none.
///
/// # Errors
/// [`VaultError::Broken`] when the value does not belong there, [`VaultError::UnknownKey`] when its key is gone,
/// and when the database fails.
pub async fn open(
    tx: &Tx,
    ring: &KeyRing,
    connection_id: ConnectionId,
    field: SecretField,
) -> Result<Option<Opened>, VaultError> {
    let operation = "read a secret";
    let organization_id = tx.organization(operation)?;
    let sql = "SELECT connection_id, field, generation, key_id, sealed FROM secrets
               WHERE organization_id = $1 AND connection_id = $2 AND field = $3";
    let row = tx.one(operation, sql, values![organization_id, connection_id, field.as_str()]).await?;
    let Some(row) = row else { return Ok(None) };
    let stored = Stored::read(&row)?;
    let secret = stored.open(ring, organization_id)?;
    Ok(Some(Opened { secret, generation: stored.generation }))
}

/// A sealed value that stands in another table than `secrets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Under which key.
    pub key_id: String,
    /// Nonce, sealed text and tag.
    pub bytes: Vec<u8>,
}

/// Seals a value for a column of a row elsewhere; `field` names table and column.
///
/// # Errors
/// When the cipher fails.
pub fn seal_beside(
    ring: &KeyRing,
    organization_id: OrganizationId,
    row: uuid::Uuid,
    field: &'static str,
    secret: &SecretString,
) -> Result<Sealed, VaultError> {
    let place = Place { organization_id, connection_id: ConnectionId(row), field, generation: 0 };
    Ok(Sealed { key_id: ring.current().to_owned(), bytes: ring.seal(&place, secret)? })
}

/// Opens what [`seal_beside`] sealed for the same row and column.
///
/// # Errors
/// [`VaultError::Broken`] when it was sealed for another place, [`VaultError::UnknownKey`] when its key is gone.
pub fn open_beside(
    ring: &KeyRing,
    organization_id: OrganizationId,
    row: uuid::Uuid,
    field: &'static str,
    sealed: &Sealed,
) -> Result<SecretString, VaultError> {
    let place = Place { organization_id, connection_id: ConnectionId(row), field, generation: 0 };
    ring.open(&sealed.key_id, &place, &sealed.bytes)
}

/// The ids of the keys under which secrets of the transaction's organization are sealed, those of its clients among
/// them. What a sign-in that is under way keeps for some minutes is left out.
///
/// # Errors
/// When the database fails.
pub async fn key_ids(tx: &Tx) -> Result<BTreeSet<String>, StoreError> {
    let operation = "list the keys of secrets";
    let sql = "SELECT key_id FROM secrets WHERE organization_id = $1
               UNION SELECT key_id FROM provider_clients WHERE organization_id = $1";
    let rows = tx.all(operation, sql, values![tx.organization(operation)?]).await?;
    rows.iter().map(|row| row.get("key_id")).collect()
}

/// Whether the ring opens one of the connections' secrets that are sealed under the key of that id; also when there is
/// none.
///
/// # Errors
/// When the database fails.
pub async fn opens(tx: &Tx, ring: &KeyRing, key_id: &str) -> Result<bool, StoreError> {
    let operation = "try a key";
    let organization_id = tx.organization(operation)?;
    let sql = "SELECT connection_id, field, generation, key_id, sealed FROM secrets
               WHERE organization_id = $1 AND key_id = $2 LIMIT 1";
    let Some(row) = tx.one(operation, sql, values![organization_id, key_id]).await? else { return Ok(true) };
    Ok(Stored::read(&row)?.open(ring, organization_id).is_ok())
}

/// Erases all secrets of a connection; how many there were.
///
/// # Errors
/// When the database fails.
pub async fn erase(tx: &Tx, connection_id: ConnectionId) -> Result<u64, StoreError> {
    let operation = "erase secrets";
    let sql = "DELETE FROM secrets WHERE organization_id = $1 AND connection_id = $2";
    tx.execute(operation, sql, values![tx.organization(operation)?, connection_id]).await
}

/// Seals secrets that another key than the current one sealed again, at most `limit` of the transaction's
/// organization; how many it was. To be called until that is none. A value stored meanwhile is left alone: it is
/// under the current key already.
///
/// # Errors
/// As [`open`] and [`seal`]; nothing is lost then, since what was sealed before stays.
pub async fn rotate(tx: &Tx, ring: &KeyRing, limit: u32, now: Timestamp) -> Result<usize, VaultError> {
    let operation = "rotate keys";
    let organization_id = tx.organization(operation)?;
    let sql = format!(
        "SELECT connection_id, field, generation, key_id, sealed FROM secrets
         WHERE organization_id = $1 AND key_id <> $2 ORDER BY connection_id, field LIMIT $3 {}",
        tx.for_update()
    );
    let rows = tx.all(operation, &sql, values![organization_id, ring.current(), i64::from(limit)]).await?;
    let stored = rows.iter().map(Stored::read).collect::<Result<Vec<_>, _>>()?;
    let mut sealed = Vec::with_capacity(stored.len());
    for one in &stored {
        sealed.push(ring.seal(&one.place(organization_id), &one.open(ring, organization_id)?)?);
    }
    Input::new()
        .column("connection_id", stored.iter().map(|one| one.connection_id))
        .column("field", stored.iter().map(|one| &one.field))
        .column("generation", stored.iter().map(|one| one.generation))
        .column("sealed", sealed)
        .execute(
            tx,
            operation,
            "WITH {input} UPDATE secrets SET key_id = $2, sealed = input.sealed, updated_at = $3 FROM input
             WHERE secrets.organization_id = $1 AND secrets.connection_id = input.connection_id
               AND secrets.field = input.field AND secrets.generation = input.generation",
            values![organization_id, ring.current(), now],
        )
        .await?;
    Ok(stored.len())
}

/// A row of the table.
struct Stored {
    connection_id: ConnectionId,
    field: String,
    generation: i64,
    key_id: String,
    sealed: Vec<u8>,
}

impl Stored {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            connection_id: ConnectionId(row.get("connection_id")?),
            field: row.get("field")?,
            generation: row.get("generation")?,
            key_id: row.get("key_id")?,
            sealed: row.get("sealed")?,
        })
    }

    fn place(&self, organization_id: OrganizationId) -> Place<'_> {
        let Self { connection_id, field, generation, .. } = self;
        Place { organization_id, connection_id: *connection_id, field, generation: *generation }
    }

    fn open(&self, ring: &KeyRing, organization_id: OrganizationId) -> Result<SecretString, VaultError> {
        ring.open(&self.key_id, &self.place(organization_id), &self.sealed)
    }
}
