//! What arrives at the doors of watches: many notifications in one transaction of the fleet.
//!
//! Whoever brings the secret of a watch is its provider; the names it brings must be those of the watch. What has been
//! told is told once: a number that is not higher than the last one is a repetition. Strangers, repetitions and
//! watches that have ended write nothing.
//!
//! A change makes its calendar due, but no sooner than the spacing allows since the calendar's last run began; the
//! connection's `sync` row is asked for that instant, so that a burst wakes nobody in vain.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::job::{Ask, Asker, Kind, Lane, WorkKey};
use calfleet_domain::model::{CalendarId, ConnectionId, OrganizationId, WatchId};
use uuid::Uuid;

use super::Key;
use crate::bulk::Input;
use crate::database::{Store, retry_when_busy};
use crate::doors::{DoorKind, SecretHash};
use crate::error::StoreError;
use crate::gate::Priority;
use crate::transaction::{Row, Scope, Tx, values};
use crate::work::{self, spell};

/// A notification as it arrived.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The hash of the secret it brought.
    pub secret: SecretHash,
    /// The provider's name for the watch.
    pub watch: String,
    /// The second name of the watch, where the provider has one.
    pub resource: Option<String>,
    /// Its number, where the provider counts.
    pub number: Option<u64>,
    /// What it says.
    pub about: About,
}

/// What a notification says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The watch has begun.
    Proof,
    /// Something has changed, or notifications were lost.
    Changed,
    /// The watch wants to be renewed.
    Renew,
    /// The provider has ended the watch.
    Ended,
}

/// What became of notifications.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Those that were believed.
    pub accepted: usize,
    /// Those of strangers, of watches that have ended, and repetitions.
    pub refused: usize,
    /// Whether something is due at once: nudge the queue.
    pub is_due: bool,
}

/// Takes notifications: notes that their watches are alive, and makes due what they ask for.
///
/// # Errors
/// When the database fails; nothing is noted then.
pub async fn notified(
    store: &Store,
    notices: &[Notice],
    spacing: Duration,
    now: Timestamp,
) -> Result<Taken, StoreError> {
    // strangers must not keep anybody from writing, so they are told apart before a transaction that writes is begun
    let known = {
        let tx = store.read(Scope::Fleet).await?;
        look_up(&tx, notices).await?
    };
    let told = tell(notices, &known, now);
    let accepted = told.values().map(|told| told.count).sum();
    let mut taken = Taken { accepted, refused: notices.len() - accepted, is_due: false };
    if !told.is_empty() {
        taken.is_due = retry_when_busy(|| write(store, &told, spacing, now)).await?;
    }
    Ok(taken)
}

/// A watch that a notification is of.
#[derive(Debug)]
struct Known {
    key: Key,
    connection_id: ConnectionId,
    calendar_id: CalendarId,
    provider_id: Option<String>,
    resource: Option<String>,
    last_number: i64,
    expires_at: Timestamp,
    is_verified: bool,
}

/// The watches whose secrets were brought, by the secret's hash.
async fn look_up(tx: &Tx, notices: &[Notice]) -> Result<BTreeMap<Vec<u8>, Known>, StoreError> {
    let brought: BTreeSet<&[u8]> = notices.iter().map(|notice| notice.secret.as_bytes()).collect();
    let sql = "WITH {input} SELECT d.secret_hash, w.organization_id, w.id, w.connection_id, w.calendar_id,
            w.provider_id, w.resource, w.last_number, w.expires_at, w.verified_at
         FROM input JOIN doors d ON d.secret_hash = input.secret_hash AND d.kind = $1
         JOIN watches w ON w.organization_id = d.organization_id AND w.id = d.target_id";
    let input = Input::new().column("secret_hash", brought);
    let rows = input.all(tx, "look a watch up", sql, values![DoorKind::Watch.as_str()]).await?;
    rows.iter().map(|row| Ok((row.get("secret_hash")?, Known::read(row)?))).collect()
}

impl Known {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            key: Key {
                organization_id: OrganizationId(row.get("organization_id")?),
                id: WatchId(row.get("id")?),
            },
            connection_id: ConnectionId(row.get("connection_id")?),
            calendar_id: CalendarId(row.get("calendar_id")?),
            provider_id: row.get("provider_id")?,
            resource: row.get("resource")?,
            last_number: row.get("last_number")?,
            expires_at: Timestamp(row.get("expires_at")?),
            is_verified: row.instant("verified_at")?.is_some(),
        })
    }

    /// Whether the notification bears the names of this watch; what is not known yet is learnt from it.
    fn is_meant_by(&self, notice: &Notice) -> bool {
        let is_same = |known: &Option<String>, told: &str| known.as_ref().is_none_or(|known| known == told);
        is_same(&self.provider_id, &notice.watch)
            && notice.resource.as_ref().is_none_or(|told| is_same(&self.resource, told))
    }
}

/// What was told of one watch.
#[derive(Debug)]
struct Told<'a> {
    known: &'a Known,
    provider_id: &'a str,
    resource: Option<&'a str>,
    number: i64,
    about: BTreeSet<About>,
    count: usize,
}

/// What is to be believed, by watch.
fn tell<'a>(
    notices: &'a [Notice],
    known: &'a BTreeMap<Vec<u8>, Known>,
    now: Timestamp,
) -> BTreeMap<Key, Told<'a>> {
    let mut told = BTreeMap::<Key, Told<'a>>::new();
    for notice in notices {
        let Some(known) = known.get(notice.secret.as_bytes()) else { continue };
        if known.expires_at <= now || !known.is_meant_by(notice) {
            continue;
        }
        let last = told.get(&known.key).map_or(known.last_number, |told| told.number);
        let number = notice.number.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        if number.is_some_and(|number| number <= last) {
            continue;
        }
        let entry = told.entry(known.key).or_insert_with(|| Told {
            known,
            provider_id: &notice.watch,
            resource: notice.resource.as_deref(),
            number: last,
            about: BTreeSet::new(),
            count: 0,
        });
        entry.number = number.unwrap_or(last);
        entry.about.insert(notice.about);
        entry.count += 1;
    }
    told
}

/// Whether something is due at once.
async fn write(
    store: &Store,
    told: &BTreeMap<Key, Told<'_>>,
    spacing: Duration,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let tx = store.begin(Scope::Fleet, Priority::Interactive).await?;
    note(&tx, told, now).await?;
    let mut asks = make_due(&tx, told, spacing, now).await?;
    for told in told.values() {
        let is_first = !told.known.is_verified;
        if is_first || told.about.contains(&About::Renew) || told.about.contains(&About::Ended) {
            asks.push(ask(Kind::Watch, told.known.calendar_id.0, told.known, Lane::Upkeep, now));
        }
    }
    work::ask(&tx, &asks).await?;
    tx.commit().await?;
    Ok(asks.iter().any(|ask| ask.at <= now))
}

fn ask(kind: Kind, target: Uuid, of: &Known, lane: Lane, at: Timestamp) -> Ask {
    Ask {
        key: WorkKey { kind, target },
        organization_id: of.key.organization_id,
        connection_id: Some(of.connection_id),
        lane,
        at,
        asker: Asker::Machine,
    }
}

const NOTE: &str = "WITH {input}, told AS (
        SELECT w.organization_id, w.id, input.provider_id, input.resource, input.number, input.is_renewed,
            input.is_ended
        FROM input JOIN watches w ON w.organization_id = input.organization_id AND w.id = input.id
        ORDER BY w.organization_id, w.id {locked})
    UPDATE watches SET provider_id = coalesce(watches.provider_id, told.provider_id),
        resource = coalesce(watches.resource, told.resource),
        last_number = {greatest}(watches.last_number, told.number),
        verified_at = coalesce(verified_at, $1), notified_at = $1, doubted_at = NULL,
        renew_at = CASE WHEN told.is_renewed THEN {least}(renew_at, $1) ELSE renew_at END,
        expires_at = CASE WHEN told.is_ended THEN {least}(expires_at, $1) ELSE expires_at END
    FROM told WHERE watches.organization_id = told.organization_id AND watches.id = told.id";

/// Notes that the watches are alive, and what else was said of them.
async fn note(tx: &Tx, told: &BTreeMap<Key, Told<'_>>, now: Timestamp) -> Result<(), StoreError> {
    Input::new()
        .column("organization_id", told.keys().map(|key| key.organization_id))
        .column("id", told.keys().map(|key| key.id))
        .column("provider_id", told.values().map(|told| told.provider_id))
        .column("resource", told.values().map(|told| told.resource.map(str::to_owned)))
        .column("number", told.values().map(|told| told.number))
        .column("is_renewed", told.values().map(|told| told.about.contains(&About::Renew)))
        .column("is_ended", told.values().map(|told| told.about.contains(&About::Ended)))
        .execute(tx, "note notifications", &spell(tx, NOTE), values![now])
        .await?;
    Ok(())
}

const MAKE_DUE: &str = "WITH {input}, told AS (
        SELECT w.calendar_id, {greatest}($1, coalesce(w.started_at, 0) + $2, w.not_before) AS wanted_at
        FROM input JOIN calendar_sync w ON w.calendar_id = input.calendar_id
        ORDER BY w.calendar_id {locked})
    UPDATE calendar_sync SET
        due_at = CASE WHEN due_at > told.wanted_at THEN told.wanted_at ELSE due_at - 1 END
    FROM told WHERE calendar_sync.calendar_id = told.calendar_id
    RETURNING calendar_sync.calendar_id, {greatest}($1, coalesce(started_at, 0) + $2, not_before) AS wanted_at";

/// Makes the calendars due that have changed, as `calendar_sync::ask` does; what is then to be asked of `work`.
async fn make_due(
    tx: &Tx,
    told: &BTreeMap<Key, Told<'_>>,
    spacing: Duration,
    now: Timestamp,
) -> Result<Vec<Ask>, StoreError> {
    let changed: BTreeMap<CalendarId, &Known> = told
        .values()
        .filter(|told| told.about.contains(&About::Changed) || told.about.contains(&About::Ended))
        .map(|told| (told.known.calendar_id, told.known))
        .collect();
    let spacing_ms = i64::try_from(spacing.as_millis()).unwrap_or(i64::MAX);
    let input = Input::new().column("calendar_id", changed.keys().copied());
    let rows = input.all(tx, "make calendars due", &spell(tx, MAKE_DUE), values![now, spacing_ms]).await?;
    let mut asks = Vec::with_capacity(rows.len());
    for row in &rows {
        let at = Timestamp(row.get("wanted_at")?);
        if let Some(known) = changed.get(&CalendarId(row.get("calendar_id")?)) {
            asks.push(ask(Kind::Sync, known.connection_id.0, known, Lane::Sync, at));
        }
    }
    Ok(asks)
}
