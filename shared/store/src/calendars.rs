//! Calendars of connections, as their provider lists them.
//!
//! A listing is compared with what is stored, and only differences are written: asking a provider again writes
//! nothing. A calendar that is no longer listed, or shows less than it did, changes its state; its events stay.
//!
//! Google names a primary calendar by the address of its account. An account whose address is changed lists its primary
//! calendar under another id, with the same events: that is the same row under a new id, and all that is bound to the
//! row stays. What was learned under the old id (cursor, pages, watches) is of no use any more.

use std::collections::HashMap;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{Access, CalendarId, CalendarState, ConnectionId, ProviderId, RemoteCalendar};

use crate::bulk::Input;
use crate::error::StoreError;
use crate::transaction::{Row, Tx, values};
use crate::{calendar_sync, outbox, watches};

/// A calendar of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// Its id.
    pub id: CalendarId,
    /// Its connection.
    pub connection_id: ConnectionId,
    /// As its provider last listed it.
    pub remote: RemoteCalendar,
    /// What has become of it.
    pub state: CalendarState,
    /// Whether it is synced.
    pub is_selected: bool,
    /// Its place in the provider's order, from zero.
    pub position: i32,
    /// When it was first listed.
    pub created_at: Timestamp,
    /// When anything above last changed.
    pub updated_at: Timestamp,
}

/// What a listing changed; each calendar is in one of them at most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListingChanges {
    /// Listed for the first time, and due for a first import.
    pub added: Vec<CalendarId>,
    /// Listed again, or showing everything again.
    pub restored: Vec<CalendarId>,
    /// Lowered to free/busy.
    pub reduced: Vec<CalendarId>,
    /// No longer listed.
    pub gone: Vec<CalendarId>,
    /// Renamed, recoloured, moved in the order and the like.
    pub renamed: Vec<CalendarId>,
    /// Listed under another id, because the address of their account was changed; due for a listing of everything.
    pub readdressed: Vec<CalendarId>,
}

const COLUMNS: &str = "id, connection_id, provider_id, name, description, color, time_zone, access, state,
    is_selected, is_primary, setting, position, created_at, updated_at";

/// Takes over what the provider listed: the whole list of a connection's calendars, in the provider's order. A
/// provider id that is listed twice counts once. New calendars are selected, and due at once. A primary calendar whose
/// account has another address keeps its row; its watches are to be looked after. What was given up because its
/// calendar was not found waits again once that is listed again; the outbox is due then.
///
/// # Errors
/// When the database fails.
pub async fn apply_listing(
    tx: &Tx,
    connection: ConnectionId,
    listed: &[RemoteCalendar],
    mut new_id: impl FnMut() -> CalendarId,
    now: Timestamp,
) -> Result<ListingChanges, StoreError> {
    let stored = list(tx, connection).await?;
    let (written, changes) = compare(connection, stored, listed, &mut new_id, now);
    for calendar in written.iter().filter(|calendar| changes.readdressed.contains(&calendar.id)) {
        readdress(tx, calendar, now).await?;
    }
    for calendar in &changes.restored {
        outbox::retry_not_found(tx, *calendar, now).await?;
    }
    write(tx, &written).await?;
    Input::new()
        .column("calendar_id", changes.added.iter().copied())
        .column("organization_id", repeat(tx.organization("list calendars")?, changes.added.len()))
        .column("connection_id", repeat(connection, changes.added.len()))
        .column("due_at", repeat(now, changes.added.len()))
        .insert(tx, "store a calendar's sync", "calendar_sync", "ON CONFLICT DO NOTHING")
        .await?;
    Ok(changes)
}

/// The calendars of a connection, in the provider's order, gone ones included.
///
/// # Errors
/// When the database fails.
pub async fn list(tx: &Tx, connection: ConnectionId) -> Result<Vec<Calendar>, StoreError> {
    let operation = "list calendars";
    let sql = format!(
        "SELECT {COLUMNS} FROM calendars WHERE organization_id = $1 AND connection_id = $2
         ORDER BY position, id"
    );
    let rows = tx.all(operation, &sql, values![tx.organization(operation)?, connection]).await?;
    rows.iter().map(read).collect()
}

/// At most `limit` calendars of the transaction's organization, oldest first, after the given one.
///
/// # Errors
/// When the database fails.
pub async fn list_all(tx: &Tx, after: Option<CalendarId>, limit: u32) -> Result<Vec<Calendar>, StoreError> {
    let operation = "list calendars";
    let after = after.unwrap_or(CalendarId(uuid::Uuid::nil()));
    let sql = format!(
        "SELECT {COLUMNS} FROM calendars WHERE organization_id = $1 AND id > $2 ORDER BY id LIMIT $3"
    );
    let values = values![tx.organization(operation)?, after, i64::from(limit)];
    let rows = tx.all(operation, &sql, values).await?;
    rows.iter().map(read).collect()
}

/// The calendar of that id in the transaction's organization.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: CalendarId) -> Result<Option<Calendar>, StoreError> {
    let operation = "load a calendar";
    let sql = format!("SELECT {COLUMNS} FROM calendars WHERE organization_id = $1 AND id = $2");
    let row = tx.one(operation, &sql, values![tx.organization(operation)?, id]).await?;
    row.as_ref().map(read).transpose()
}

/// Changes what has become of a calendar; whether that was a change.
///
/// # Errors
/// When the database fails.
pub async fn set_state(
    tx: &Tx,
    id: CalendarId,
    state: CalendarState,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let operation = "change a calendar's state";
    let sql = "UPDATE calendars SET state = $3, updated_at = $4
               WHERE organization_id = $1 AND id = $2 AND state <> $3";
    let values = values![tx.organization(operation)?, id, state.as_str(), now];
    Ok(tx.execute(operation, sql, values).await? > 0)
}

/// Keeps what a driver says of a calendar ([`RemoteCalendar::setting`]).
///
/// # Errors
/// When the database fails.
pub async fn keep_setting(tx: &Tx, id: CalendarId, setting: &str) -> Result<(), StoreError> {
    let operation = "keep a calendar's setting";
    let sql = "UPDATE calendars SET setting = $3 WHERE organization_id = $1 AND id = $2";
    let values = values![tx.organization(operation)?, id, setting];
    tx.execute(operation, sql, values).await.map(drop)
}

/// Changes whether a calendar is synced; whether that was a change.
///
/// # Errors
/// When the database fails.
pub async fn set_selected(
    tx: &Tx,
    id: CalendarId,
    is_selected: bool,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let operation = "select a calendar";
    let sql = "UPDATE calendars SET is_selected = $3, updated_at = $4
               WHERE organization_id = $1 AND id = $2 AND is_selected <> $3";
    let values = values![tx.organization(operation)?, id, is_selected, now];
    Ok(tx.execute(operation, sql, values).await? > 0)
}

/// Which rows are to be written, and what that means.
fn compare(
    connection: ConnectionId,
    stored: Vec<Calendar>,
    listed: &[RemoteCalendar],
    new_id: &mut impl FnMut() -> CalendarId,
    now: Timestamp,
) -> (Vec<Calendar>, ListingChanges) {
    let same = readdressed(&stored, listed);
    let mut known: HashMap<ProviderId, Calendar> = stored
        .into_iter()
        .map(|calendar| match same {
            Some((id, remote)) if id == calendar.id => (remote.provider_id.clone(), calendar),
            _ => (calendar.remote.provider_id.clone(), calendar),
        })
        .collect();
    let mut seen = std::collections::HashSet::new();
    let (mut written, mut changes) = (Vec::new(), ListingChanges::default());
    let places = listed.iter().filter(|remote| seen.insert(&remote.provider_id)).zip(0_i32..);
    for (remote, position) in places {
        let Some(before) = known.remove(&remote.provider_id) else {
            let calendar = added(connection, new_id(), remote, position, now);
            changes.added.push(calendar.id);
            written.push(calendar);
            continue;
        };
        let state = next_state(&before, remote);
        let after = Calendar { remote: remote.clone(), state, position, ..before.clone() };
        if after == before {
            continue;
        }
        let list = match (before.state, state) {
            _ if after.remote.provider_id != before.remote.provider_id => &mut changes.readdressed,
            (CalendarState::Reachable, CalendarState::Reduced) => &mut changes.reduced,
            (CalendarState::Gone | CalendarState::Reduced, CalendarState::Reachable)
            | (CalendarState::Gone, CalendarState::Reduced) => &mut changes.restored,
            _ => &mut changes.renamed,
        };
        list.push(after.id);
        written.push(Calendar { updated_at: now, ..after });
    }
    for calendar in known.into_values().filter(|calendar| calendar.state != CalendarState::Gone) {
        changes.gone.push(calendar.id);
        written.push(Calendar { state: CalendarState::Gone, updated_at: now, ..calendar });
    }
    changes.gone.sort();
    written.sort_by_key(|calendar| calendar.id);
    (written, changes)
}

/// The stored primary calendar whose account has another address now, and how it is listed under that: the only primary
/// one that is listed and unknown, and the only one that is known, there and not listed.
///
/// Elsewhere an id is no address: at a CalDAV server another calendar may become the default one.
fn readdressed<'a>(
    stored: &[Calendar],
    listed: &'a [RemoteCalendar],
) -> Option<(CalendarId, &'a RemoteCalendar)> {
    let is_known = |id: &ProviderId| stored.iter().any(|calendar| calendar.remote.provider_id == *id);
    let is_listed = |id: &ProviderId| listed.iter().any(|remote| remote.provider_id == *id);
    let is_named_by_address = |remote: &RemoteCalendar| {
        remote.is_primary
            && remote.provider_id.as_str().contains('@')
            && !remote.provider_id.as_str().contains('/')
    };
    let mut unknown =
        listed.iter().filter(|remote| is_named_by_address(remote) && !is_known(&remote.provider_id));
    let mut missing = stored.iter().filter(|calendar| {
        is_named_by_address(&calendar.remote)
            && calendar.state != CalendarState::Gone
            && !is_listed(&calendar.remote.provider_id)
    });
    match (unknown.next(), unknown.next(), missing.next(), missing.next()) {
        (Some(remote), None, Some(before), None) => Some((before.id, remote)),
        _ => None,
    }
}

/// Gives a row the id under which its calendar is listed now. What was learned under the old one ends: the listing
/// starts at the beginning, edits that found no calendar are sent again, and the watches are asked for anew, beside those
/// that still may tell.
async fn readdress(tx: &Tx, calendar: &Calendar, now: Timestamp) -> Result<(), StoreError> {
    let operation = "give a calendar its new id";
    let sql = "UPDATE calendars SET provider_id = $3 WHERE organization_id = $1 AND id = $2";
    let values = values![tx.organization(operation)?, calendar.id, &calendar.remote.provider_id];
    tx.execute(operation, sql, values).await?;
    calendar_sync::begin_anew(tx, calendar.id, now).await?;
    outbox::retry_not_found(tx, calendar.id, now).await?;
    watches::replace(tx, calendar.id, now).await
}

fn added(
    connection_id: ConnectionId,
    id: CalendarId,
    remote: &RemoteCalendar,
    position: i32,
    now: Timestamp,
) -> Calendar {
    let state = CalendarState::Reachable;
    let remote = remote.clone();
    Calendar {
        id,
        connection_id,
        remote,
        state,
        is_selected: true,
        position,
        created_at: now,
        updated_at: now,
    }
}

/// Reduced is what once showed more and now only shows when it is busy.
fn next_state(before: &Calendar, now: &RemoteCalendar) -> CalendarState {
    let was_lowered = before.remote.access > Access::FreeBusy || before.state == CalendarState::Reduced;
    if now.access == Access::FreeBusy && was_lowered {
        CalendarState::Reduced
    } else {
        CalendarState::Reachable
    }
}

async fn write(tx: &Tx, calendars: &[Calendar]) -> Result<(), StoreError> {
    let operation = "store calendars";
    let remotes = || calendars.iter().map(|calendar| &calendar.remote);
    Input::new()
        .column("organization_id", repeat(tx.organization(operation)?, calendars.len()))
        .column("id", calendars.iter().map(|calendar| calendar.id))
        .column("connection_id", calendars.iter().map(|calendar| calendar.connection_id))
        .column("provider_id", remotes().map(|remote| &remote.provider_id))
        .column("name", remotes().map(|remote| &remote.name))
        .column("description", remotes().map(|remote| remote.description.clone()))
        .column("color", remotes().map(|remote| remote.color.clone()))
        .column("time_zone", remotes().map(|remote| remote.time_zone.clone()))
        .column("access", remotes().map(|remote| remote.access.as_str()))
        .column("state", calendars.iter().map(|calendar| calendar.state.as_str()))
        .column("is_selected", calendars.iter().map(|calendar| calendar.is_selected))
        .column("is_primary", remotes().map(|remote| remote.is_primary))
        .column("setting", remotes().map(|remote| remote.setting.clone()))
        .column("position", calendars.iter().map(|calendar| calendar.position))
        .column("created_at", calendars.iter().map(|calendar| calendar.created_at))
        .column("updated_at", calendars.iter().map(|calendar| calendar.updated_at))
        .insert(
            tx,
            operation,
            "calendars",
            // whether it is synced is a person's choice, made meanwhile perhaps
            "ON CONFLICT (organization_id, connection_id, provider_id) DO UPDATE SET
                name = excluded.name, description = excluded.description, color = excluded.color,
                time_zone = excluded.time_zone, access = excluded.access, state = excluded.state,
                is_primary = excluded.is_primary, setting = excluded.setting,
                position = excluded.position, updated_at = excluded.updated_at",
        )
        .await?;
    Ok(())
}

fn repeat<T: Copy>(value: T, times: usize) -> impl Iterator<Item = T> {
    std::iter::repeat_n(value, times)
}

fn read(row: &Row) -> Result<Calendar, StoreError> {
    Ok(Calendar {
        id: CalendarId(row.get("id")?),
        connection_id: ConnectionId(row.get("connection_id")?),
        remote: RemoteCalendar {
            provider_id: ProviderId(row.get("provider_id")?),
            name: row.get("name")?,
            description: row.get("description")?,
            color: row.get("color")?,
            time_zone: row.get("time_zone")?,
            access: row.named("access", Access::from_name)?,
            is_primary: row.get("is_primary")?,
            setting: row.get("setting")?,
        },
        state: row.named("state", CalendarState::from_name)?,
        is_selected: row.get("is_selected")?,
        position: row.get("position")?,
        created_at: Timestamp(row.get("created_at")?),
        updated_at: Timestamp(row.get("updated_at")?),
    })
}
