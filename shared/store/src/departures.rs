//! Departures: what is left to do for a connection that was disconnected, and what came of it.
//!
//! The row is written by whoever disconnects and worked off by the job `revoke`. Connecting the account again forgets it,
//! so that nothing of an old departure reaches a new grant.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::ConnectionId;

use crate::error::StoreError;
use crate::transaction::{Row, Tx, values};

/// What becomes of the events of a connection that is disconnected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Events {
    /// They stay, and are bound again when the account is connected again.
    #[default]
    Keep,
    /// They are removed here, and stay at the provider.
    Purge,
}

impl Events {
    /// The name used in the table, API and command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Purge => "purge",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Keep, Self::Purge].into_iter().find(|events| events.as_str() == name)
    }
}

/// What became of the grant at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// There was none that could be ended: a password, a feed, a service account.
    Nothing,
    /// The provider ended it, or had ended it already.
    Revoked,
    /// It goes on, because another connection lives on it.
    Shared,
    /// The provider has no place to end it; the person can, on its pages.
    NotOffered,
    /// The provider could not be told in time.
    GaveUp,
}

impl Ending {
    /// The name used in the table, API and command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Revoked => "revoked",
            Self::Shared => "shared",
            Self::NotOffered => "not_offered",
            Self::GaveUp => "gave_up",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Nothing, Self::Revoked, Self::Shared, Self::NotOffered, Self::GaveUp]
            .into_iter()
            .find(|ending| ending.as_str() == name)
    }
}

/// A departure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// What becomes of the events.
    pub events: Events,
    /// When it began.
    pub begun_at: Timestamp,
    /// How long the provider is tried.
    pub until: Timestamp,
    /// Before when the provider is not tried again.
    pub not_before: Timestamp,
    /// Failures in a row.
    pub attempt: u32,
    /// What became of the grant; `None` while the provider is still to be told.
    pub ending: Option<Ending>,
    /// How many events are gone.
    pub purged: i64,
    /// When nothing was left to do.
    pub ended_at: Option<Timestamp>,
}

/// Begins a departure. One that has begun already goes on as it is, except that events that were to be kept can
/// still be purged. Whether that was a change.
///
/// # Errors
/// When the database fails.
pub async fn begin(
    tx: &Tx,
    connection: ConnectionId,
    events: Events,
    until: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const OPERATION: &str = "begin a departure";
    let organization = tx.organization(OPERATION)?;
    let sql = "INSERT INTO departures (organization_id, connection_id, events, begun_at, until)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (organization_id, connection_id) DO UPDATE SET events = 'purge', ended_at = NULL
         WHERE departures.events = 'keep' AND excluded.events = 'purge'";
    let values = values![organization, connection, events.as_str(), now, until];
    Ok(tx.execute(OPERATION, sql, values).await? > 0)
}

/// The connection's departure; `None` for one that never left, or came back.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, connection: ConnectionId) -> Result<Option<Departure>, StoreError> {
    const OPERATION: &str = "load a departure";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT events, begun_at, until, not_before, attempt, ending, purged, ended_at FROM departures
         WHERE organization_id = $1 AND connection_id = $2";
    tx.one(OPERATION, sql, values![organization, connection]).await?.as_ref().map(read).transpose()
}

/// Writes how far a departure has come. What a person decided meanwhile about the events stays.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, connection: ConnectionId, departure: &Departure) -> Result<(), StoreError> {
    const OPERATION: &str = "write how far a departure has come";
    let organization = tx.organization(OPERATION)?;
    let sql = "UPDATE departures SET not_before = $3, attempt = $4, ending = $5, purged = $6,
            ended_at = CASE WHEN events = $7 THEN $8 END
         WHERE organization_id = $1 AND connection_id = $2";
    let Departure { events, not_before, attempt, ending, purged, ended_at, .. } = departure;
    let values = values![
        organization,
        connection,
        *not_before,
        i32::try_from(*attempt).unwrap_or(i32::MAX),
        ending.map(|ending| ending.as_str().to_owned()),
        *purged,
        events.as_str(),
        *ended_at,
    ];
    tx.execute(OPERATION, sql, values).await?;
    Ok(())
}

/// Forgets a departure: the account was connected again.
///
/// # Errors
/// When the database fails.
pub async fn forget(tx: &Tx, connection: ConnectionId) -> Result<bool, StoreError> {
    const OPERATION: &str = "forget a departure";
    let organization = tx.organization(OPERATION)?;
    let sql = "DELETE FROM departures WHERE organization_id = $1 AND connection_id = $2";
    Ok(tx.execute(OPERATION, sql, values![organization, connection]).await? > 0)
}

fn read(row: &Row) -> Result<Departure, StoreError> {
    let ending: Option<String> = row.get("ending")?;
    Ok(Departure {
        events: row.named("events", Events::from_name)?,
        begun_at: Timestamp(row.get("begun_at")?),
        until: Timestamp(row.get("until")?),
        not_before: Timestamp(row.get("not_before")?),
        attempt: row.numbered("attempt", |attempt: i32| u32::try_from(attempt).ok())?,
        ending: match ending {
            Some(_) => Some(row.named("ending", Ending::from_name)?),
            None => None,
        },
        purged: row.get("purged")?,
        ended_at: row.instant("ended_at")?,
    })
}
