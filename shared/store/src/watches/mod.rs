//! Watches: the wishes to be told of changes that providers have agreed to. A calendar has one, and for a while two
//! when the next one has to prove itself before the last one is stopped.
//!
//! A watch is written down before its provider is asked, so that a notification which overtakes the provider's answer
//! finds it. Of its secret only the hash is kept, as the watch's door: nobody needs the secret again. What arrives
//! at the doors is in [`notified`].

mod notified;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{CalendarId, ConnectionId, OrganizationId, WatchId};

pub use self::notified::{About, Notice, Taken, notified};

use crate::bulk::Input;
use crate::doors::{self, DoorKind, SecretHash};
use crate::error::StoreError;
use crate::transaction::{Row, Tx, values};

/// A watch of a calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Its id.
    pub id: WatchId,
    /// The connection with whose credentials it was begun and is to be stopped.
    pub connection_id: ConnectionId,
    /// What is watched.
    pub calendar_id: CalendarId,
    /// The provider's name for it; `None` while neither its answer nor a notification has arrived.
    pub provider_id: Option<String>,
    /// The second name that some providers give it.
    pub resource: Option<String>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it is to be renewed.
    pub renew_at: Timestamp,
    /// When it first proved alive, by a notification; `None`: never.
    pub verified_at: Option<Timestamp>,
    /// When it last did.
    pub notified_at: Option<Timestamp>,
    /// When a poll found a change that it has not told; `None` when it has told everything so far.
    pub doubted_at: Option<Timestamp>,
}

impl Watch {
    /// Whether it can be relied on: it proved alive, and has missed nothing that is known of.
    pub fn is_proven(&self, now: Timestamp) -> bool {
        self.verified_at.is_some() && self.doubted_at.is_none() && self.expires_at > now
    }
}

const COLUMNS: &str =
    "id, connection_id, calendar_id, provider_id, resource, created_at, expires_at, renew_at,
    verified_at, notified_at, doubted_at";

/// A watch that its provider is about to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewWatch {
    /// Its id.
    pub id: WatchId,
    /// With whose credentials.
    pub connection_id: ConnectionId,
    /// What is watched.
    pub calendar_id: CalendarId,
    /// Until when it is wanted.
    pub until: Timestamp,
    /// When it is to be renewed if its provider agrees.
    pub renew_at: Timestamp,
}

/// Writes a watch down before its provider is asked; `secret` opens its door.
///
/// # Errors
/// When the database fails.
pub async fn begin(tx: &Tx, watch: &NewWatch, secret: &SecretHash, now: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "begin a watch";
    let organization = tx.organization(OPERATION)?;
    let sql = "INSERT INTO watches (organization_id, id, connection_id, calendar_id, created_at, expires_at, renew_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let NewWatch { id, connection_id, calendar_id, until, renew_at } = *watch;
    let values = values![organization, id, connection_id, calendar_id, now, until, renew_at];
    tx.execute(OPERATION, sql, values).await?;
    doors::open(tx, DoorKind::Watch, secret, id.0, now).await
}

/// What a provider has agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// Its name for the watch.
    pub provider_id: String,
    /// The second name that some providers give it.
    pub resource: Option<String>,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it is to be renewed.
    pub renew_at: Timestamp,
}

/// The provider has agreed, for the first time or to go on.
///
/// # Errors
/// When the database fails.
pub async fn agree(tx: &Tx, id: WatchId, agreed: &Agreed) -> Result<(), StoreError> {
    const OPERATION: &str = "keep a watch";
    let organization = tx.organization(OPERATION)?;
    let sql = "UPDATE watches SET provider_id = $3, resource = coalesce($4, resource), expires_at = $5, renew_at = $6
         WHERE organization_id = $1 AND id = $2";
    let Agreed { provider_id, resource, expires_at, renew_at } = agreed;
    let values = values![organization, id, provider_id, resource.clone(), *expires_at, *renew_at];
    tx.execute(OPERATION, sql, values).await?;
    Ok(())
}

/// Has a calendar's watches replaced: they were begun under an id that it had. Until then they are not relied on.
///
/// # Errors
/// When the database fails.
pub async fn replace(tx: &Tx, calendar: CalendarId, now: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "have watches replaced";
    let organization = tx.organization(OPERATION)?;
    let sql = "UPDATE watches SET renew_at = $3, verified_at = NULL
         WHERE organization_id = $1 AND calendar_id = $2 AND provider_id IS NOT NULL";
    tx.execute(OPERATION, sql, values![organization, calendar, now]).await.map(drop)
}

/// Forgets watches that were stopped, and what their secrets opened.
///
/// # Errors
/// When the database fails.
pub async fn forget(tx: &Tx, ids: &[WatchId]) -> Result<(), StoreError> {
    const OPERATION: &str = "forget a watch";
    let organization = tx.organization(OPERATION)?;
    for id in ids {
        doors::close(tx, id.0).await?;
        let sql = "DELETE FROM watches WHERE organization_id = $1 AND id = $2";
        tx.execute(OPERATION, sql, values![organization, *id]).await?;
    }
    Ok(())
}

/// Forgets the organization's watches that ended by themselves, whatever has become of their calendars.
///
/// # Errors
/// When the database fails.
pub async fn forget_ended(tx: &Tx, now: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "forget watches that ended";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT id FROM watches WHERE organization_id = $1 AND expires_at <= $2";
    let rows = tx.all(OPERATION, sql, values![organization, now]).await?;
    let ids = rows.iter().map(|row| row.get("id").map(WatchId)).collect::<Result<Vec<_>, _>>()?;
    forget(tx, &ids).await
}

/// The watches of a calendar, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn of_calendar(tx: &Tx, calendar: CalendarId) -> Result<Vec<Watch>, StoreError> {
    const OPERATION: &str = "load the watches of a calendar";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM watches WHERE organization_id = $1 AND calendar_id = $2
         ORDER BY created_at DESC, id DESC"
    );
    tx.all(OPERATION, &sql, values![organization, calendar]).await?.iter().map(read).collect()
}

/// The watches that were begun with a connection's credentials, the newest first: what is to be stopped before
/// those are gone.
///
/// # Errors
/// When the database fails.
pub async fn of_connection(tx: &Tx, connection: ConnectionId) -> Result<Vec<Watch>, StoreError> {
    const OPERATION: &str = "load the watches of a connection";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM watches WHERE organization_id = $1 AND connection_id = $2
         ORDER BY created_at DESC, id DESC"
    );
    tx.all(OPERATION, &sql, values![organization, connection]).await?.iter().map(read).collect()
}

/// The connection's calendars whose watch nobody looks after: those that are synced and have no `watch` row of
/// `work` that will run by itself, and those that are no longer synced and still have a watch.
///
/// # Errors
/// When the database fails.
pub async fn neglected(tx: &Tx, connection: ConnectionId) -> Result<Vec<CalendarId>, StoreError> {
    const OPERATION: &str = "look for calendars without a watch";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT c.id FROM calendars c
         WHERE c.organization_id = $1 AND c.connection_id = $2
            AND ((c.is_selected AND c.state <> 'gone') OR EXISTS (
                SELECT 1 FROM watches w WHERE w.organization_id = c.organization_id AND w.calendar_id = c.id))
            AND NOT EXISTS (SELECT 1 FROM work WHERE work.kind = $3 AND work.target_id = c.id
                AND work.state = 0 AND (work.due_at < $4 OR work.lease_until > 0))
         ORDER BY c.id";
    let kind = calfleet_domain::job::Kind::Watch.code();
    let rows = tx.all(OPERATION, sql, values![organization, connection, kind, Timestamp::NEVER]).await?;
    rows.iter().map(|row| row.get("id").map(CalendarId)).collect()
}

/// A calendar in which a poll found changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The calendar.
    pub calendar_id: CalendarId,
    /// When it had last been looked at before: what a watch told since then is what was found.
    pub since: Timestamp,
}

/// Doubts the watches that did not tell what was found; the calendars they are of. A notification that was only late
/// ends the doubt.
///
/// # Errors
/// When the database fails.
pub async fn doubt(tx: &Tx, found: &[Found], now: Timestamp) -> Result<Vec<CalendarId>, StoreError> {
    const OPERATION: &str = "doubt watches";
    let organization = tx.organization(OPERATION)?;
    let sql = "WITH {input} UPDATE watches SET doubted_at = $2 FROM input
         WHERE watches.organization_id = $1 AND watches.calendar_id = input.calendar_id
            AND watches.provider_id IS NOT NULL AND watches.doubted_at IS NULL
            AND watches.created_at < input.since AND coalesce(watches.notified_at, 0) < input.since
            AND NOT EXISTS (SELECT 1 FROM watches other WHERE other.organization_id = $1
                AND other.calendar_id = input.calendar_id AND coalesce(other.notified_at, 0) >= input.since)
         RETURNING watches.calendar_id";
    let rows = Input::new()
        .column("calendar_id", found.iter().map(|found| found.calendar_id))
        .column("since", found.iter().map(|found| found.since))
        .all(tx, OPERATION, sql, values![organization, now])
        .await?;
    rows.iter().map(|row| row.get("calendar_id").map(CalendarId)).collect()
}

fn read(row: &Row) -> Result<Watch, StoreError> {
    Ok(Watch {
        id: WatchId(row.get("id")?),
        connection_id: ConnectionId(row.get("connection_id")?),
        calendar_id: CalendarId(row.get("calendar_id")?),
        provider_id: row.get("provider_id")?,
        resource: row.get("resource")?,
        created_at: Timestamp(row.get("created_at")?),
        expires_at: Timestamp(row.get("expires_at")?),
        renew_at: Timestamp(row.get("renew_at")?),
        verified_at: row.instant("verified_at")?,
        notified_at: row.instant("notified_at")?,
        doubted_at: row.instant("doubted_at")?,
    })
}

/// Which watch, for the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    organization_id: OrganizationId,
    id: WatchId,
}
