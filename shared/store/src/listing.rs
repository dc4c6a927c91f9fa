//! What a long listing has named.
//!
//! A listing that fits into one turn needs nothing but its calendar's row ([`crate::calendar_sync`]). A longer
//! one keeps beside it
//!
//! - `listing_pages`: sixteen bytes of hash for every id it named, one row a page, for the sweep at its end;
//! - `listing_items`: the names that are still to be read. The resumable cursor of a calendar whose provider
//!   lists names first is what is left in there.
//!
//! Both are of a *generation*; what an abandoned one left behind is removed when the next begins. Event rows are
//! not touched by a listing that finds them unchanged.

use std::collections::{HashMap, HashSet};

use calfleet_domain::model::{CalendarId, EventId, Member, OrganizationId, ProviderId, Revision};
use sha2::{Digest, Sha256};

use crate::bulk::Input;
use crate::error::StoreError;
use crate::events::of_each_name;
use crate::transaction::{Tx, values};

/// Sixteen bytes that stand for a provider's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListingHash([u8; 16]);

impl ListingHash {
    /// Of an id.
    pub fn of(id: &ProviderId) -> Self {
        let mut bytes = [0_u8; 16];
        for (to, from) in bytes.iter_mut().zip(Sha256::digest(id.as_str().as_bytes())) {
            *to = from;
        }
        Self(bytes)
    }
}

impl ListingHash {
    /// The bytes.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// What of a calendar's listing we hold already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRevision {
    /// The row.
    pub id: EventId,
    /// The revision last agreed on.
    pub revision: Option<Revision>,
    /// Whether the row is live and as of that revision, so that a member of that revision need not be read.
    pub is_current: bool,
    /// Whether it could be read: what could not may be readable by now, because a limit was raised.
    pub is_readable: bool,
}

/// The revisions that we hold of these members.
///
/// # Errors
/// When the database fails.
pub async fn revisions(
    tx: &Tx,
    calendar: CalendarId,
    members: &[Member],
) -> Result<HashMap<ProviderId, HeldRevision>, StoreError> {
    const OPERATION: &str = "compare a listing with what is held";
    let organization = tx.organization(OPERATION)?;
    let input = Input::new().column("provider_id", members.iter().map(|member| &member.provider_id));
    let each = of_each_name(tx);
    let sql = format!(
        "WITH {{input}} SELECT e.provider_id, e.id, e.revision, e.state, e.recheck_at IS NOT NULL, e.problem IS NULL
         FROM input {each}"
    );
    let rows = input.all(tx, OPERATION, &sql, values![organization, calendar]).await?;
    rows.iter()
        .map(|row| {
            let held = HeldRevision {
                id: EventId(row.at(1)?),
                revision: row.at::<Option<String>>(2)?.map(Revision),
                is_current: row.at::<i16>(3)? == 0 && !row.at::<bool>(4)?,
                is_readable: row.at(5)?,
            };
            Ok((ProviderId(row.at(0)?), held))
        })
        .collect()
}

/// Removes what earlier generations left, before one begins.
///
/// # Errors
/// When the database fails.
pub async fn clear(tx: &Tx, calendar: CalendarId) -> Result<(), StoreError> {
    const OPERATION: &str = "clear a listing";
    let organization = tx.organization(OPERATION)?;
    for table in ["listing_pages", "listing_items"] {
        let sql = format!("DELETE FROM {table} WHERE organization_id = $1 AND calendar_id = $2");
        tx.execute(OPERATION, &sql, values![organization, calendar]).await?;
    }
    Ok(())
}

/// Notes what a page named: all its ids as hashes, and those that are to be read as items.
///
/// # Errors
/// When the database fails.
pub async fn add_page(
    tx: &Tx,
    calendar: CalendarId,
    (generation, page): (i64, i32),
    named: &[ListingHash],
    to_read: &[Member],
) -> Result<(), StoreError> {
    const OPERATION: &str = "write a page of a listing";
    let organization: OrganizationId = tx.organization(OPERATION)?;
    let hashes: Vec<u8> = named.iter().flat_map(|hash| hash.0).collect();
    let sql = "INSERT INTO listing_pages (calendar_id, generation, page, organization_id, hashes)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (calendar_id, generation, page) DO UPDATE SET
            hashes = excluded.hashes";
    tx.execute(OPERATION, sql, values![calendar, generation, page, organization, hashes]).await?;
    let input = Input::new()
        .column("provider_id", to_read.iter().map(|member| &member.provider_id))
        .column("revision", to_read.iter().map(|member| member.revision.clone()));
    let sql = "WITH {input} INSERT INTO listing_items
            (calendar_id, generation, provider_id, organization_id, revision)
         SELECT $1, $2, provider_id, $3, revision FROM input WHERE TRUE ON CONFLICT DO NOTHING";
    input.execute(tx, OPERATION, sql, values![calendar, generation, organization]).await?;
    Ok(())
}

/// The next names to be read, in the order of their ids, after `after`.
///
/// # Errors
/// When the database fails.
pub async fn next_items(
    tx: &Tx,
    calendar: CalendarId,
    generation: i64,
    after: Option<&ProviderId>,
    limit: usize,
) -> Result<Vec<ProviderId>, StoreError> {
    const OPERATION: &str = "load the next names of a listing";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT provider_id FROM listing_items
         WHERE organization_id = $1 AND calendar_id = $2 AND generation = $3 AND provider_id > $4
         ORDER BY provider_id LIMIT $5";
    let after = after.map_or("", ProviderId::as_str);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx.all(OPERATION, sql, values![organization, calendar, generation, after, limit]).await?;
    rows.iter().map(|row| row.at::<String>(0).map(ProviderId)).collect()
}

/// Those of these names that are still to be read.
///
/// # Errors
/// When the database fails.
pub async fn left_of(
    tx: &Tx,
    calendar: CalendarId,
    generation: i64,
    names: &[ProviderId],
) -> Result<Vec<ProviderId>, StoreError> {
    const OPERATION: &str = "find what of a listing is still to be read";
    let organization = tx.organization(OPERATION)?;
    let input = Input::new().column("provider_id", names);
    let sql = "WITH {input} SELECT item.provider_id FROM input JOIN listing_items item
            ON item.calendar_id = $2 AND item.generation = $3 AND item.provider_id = input.provider_id
         WHERE item.organization_id = $1 ORDER BY item.provider_id";
    let rows = input.all(tx, OPERATION, sql, values![organization, calendar, generation]).await?;
    rows.iter().map(|row| row.at::<String>(0).map(ProviderId)).collect()
}

/// Strikes names out that have been read, in the transaction that applies them.
///
/// # Errors
/// When the database fails.
pub async fn strike_items(
    tx: &Tx,
    calendar: CalendarId,
    generation: i64,
    read: &[ProviderId],
) -> Result<(), StoreError> {
    const OPERATION: &str = "strike names of a listing out";
    let organization = tx.organization(OPERATION)?;
    let input = Input::new().column("provider_id", read.iter());
    // As above: on Postgres one look-up a name, whatever it thinks of a table that nobody has analyzed.
    let sql = if tx.is_postgres() {
        "WITH {input} DELETE FROM listing_items WHERE organization_id = $1 AND ctid = ANY (ARRAY(
            SELECT item.ctid FROM input CROSS JOIN LATERAL (SELECT ctid FROM listing_items WHERE calendar_id = $2
                AND generation = $3 AND provider_id = input.provider_id OFFSET 0) AS item))"
    } else {
        "WITH {input} DELETE FROM listing_items WHERE organization_id = $1 AND calendar_id = $2
            AND generation = $3 AND provider_id IN (SELECT provider_id FROM input)"
    };
    input.execute(tx, OPERATION, sql, values![organization, calendar, generation]).await?;
    Ok(())
}

/// Everything that the generation has named so far; sixteen bytes an id.
///
/// # Errors
/// When the database fails.
pub async fn named(
    tx: &Tx,
    calendar: CalendarId,
    generation: i64,
) -> Result<HashSet<ListingHash>, StoreError> {
    const OPERATION: &str = "load what a listing named";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT hashes FROM listing_pages
         WHERE organization_id = $1 AND calendar_id = $2 AND generation = $3";
    let mut named = HashSet::new();
    for row in tx.all(OPERATION, sql, values![organization, calendar, generation]).await? {
        let hashes: Vec<u8> = row.at(0)?;
        named.extend(hashes.chunks_exact(16).filter_map(|bytes| bytes.try_into().ok().map(ListingHash)));
    }
    Ok(named)
}
