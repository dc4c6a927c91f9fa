//! How far the listing of each calendar has come: the rows of `calendar_sync`.
//!
//! Everything that a sync has to remember about a calendar between two pages stands here: where it stopped, when
//! it is due, what went wrong, when it was last proven fresh. The row is written in the transaction that applies
//! what it stands for, never before.

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{CalendarId, ConnectionId, Listing, ProviderId, SyncToken};
use serde::{Deserialize, Serialize};

use crate::bulk::Input;
use crate::error::StoreError;
use crate::transaction::{Row, Tx, to_json, values};

/// What a listing is busy with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing: the next listing starts at the sync token, or at the beginning.
    #[default]
    Idle,
    /// Asking for pages.
    Listing,
    /// Reading what a page named.
    Fetching,
    /// Looking for what was not named.
    Sweeping,
}

impl Phase {
    fn code(self) -> i16 {
        match self {
            Self::Idle => 0,
            Self::Listing => 1,
            Self::Fetching => 2,
            Self::Sweeping => 3,
        }
    }

    fn from_code(code: i16) -> Option<Self> {
        [Self::Idle, Self::Listing, Self::Fetching, Self::Sweeping]
            .into_iter()
            .find(|phase| phase.code() == code)
    }
}

/// A complete listing whose sweep would remove so much that a second one, or a person, has to agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepInDoubt {
    /// How many live events the listing did not name.
    pub missing: usize,
    /// How many there are.
    pub known: usize,
    /// A digest of which they are.
    pub digest: String,
    /// When that listing was complete.
    pub noticed_at: Timestamp,
    /// Whether a person has confirmed it.
    #[serde(default)]
    pub is_approved: bool,
}

/// What went wrong with one calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarProblem {
    /// The failure's class, as a number.
    pub class: i16,
    /// The problem's name.
    pub code: String,
    /// The problem in words for people.
    pub text: String,
}

/// How far a calendar's listing has come. `due_at` as it was read is the guard against losing an ask: see
/// [`save`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarSync {
    /// The calendar.
    pub calendar_id: CalendarId,
    /// Its connection.
    pub connection_id: ConnectionId,
    /// Where the last complete listing ended; `None` before the first, and at providers without cursors.
    pub sync_token: Option<SyncToken>,
    /// Where the listing under way goes on.
    pub page_token: Option<String>,
    /// Becomes the sync token when the listing under way is complete.
    pub pending_token: Option<SyncToken>,
    /// What the listing under way is busy with.
    pub phase: Phase,
    /// Of which kind the listing under way is.
    pub listing: Listing,
    /// Counts listings that needed tables.
    pub generation: i64,
    /// When the listing under way began; rows younger than that are not swept by it.
    pub generation_started_at: Option<Timestamp>,
    /// Rows of `listing_pages` of the generation under way.
    pub pages: i32,
    /// Whether the next listing has to be of everything.
    pub requires_full: bool,
    /// When the calendar is due.
    pub due_at: Timestamp,
    /// Before when no ask of a machine runs it.
    pub not_before: Timestamp,
    /// When its last run began.
    pub started_at: Option<Timestamp>,
    /// Failures in a row.
    pub attempt: u32,
    /// What went wrong last; `None` when nothing did.
    pub problem: Option<CalendarProblem>,
    /// When the last listing that was complete and applied was asked for.
    pub fresh_at: Option<Timestamp>,
    /// The same for listings of everything.
    pub full_at: Option<Timestamp>,
    /// Progress of the listing under way, or of the last one: how many it named.
    pub items_listed: i64,
    /// How many of them are done.
    pub items_done: i64,
    /// A sweep that waits for a second opinion.
    pub sweep: Option<SweepInDoubt>,
}

/// How a calendar's next listing is made, and why so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NextListing {
    /// The one that was broken off goes on.
    Resumed,
    /// What changed since the last.
    Delta,
    /// Everything, for the first time.
    First,
    /// Everything: the cursor is dead, or a person asked for it.
    Required,
    /// Everything: the last comparison of everything is long enough ago, or the provider gives no cursor.
    Due,
}

impl CalendarSync {
    /// How the next listing is made; everything is compared every `full_every`.
    pub fn next_listing(&self, full_every: Duration, now: Timestamp) -> NextListing {
        if self.phase == Phase::Fetching || self.phase == Phase::Listing && self.page_token.is_some() {
            return NextListing::Resumed;
        }
        let is_due = self.full_at.is_none_or(|at| at.plus(full_every) <= now);
        match &self.sync_token {
            _ if self.fresh_at.is_none() => NextListing::First,
            _ if self.requires_full => NextListing::Required,
            Some(_) if !is_due => NextListing::Delta,
            _ => NextListing::Due,
        }
    }
}

/// A calendar that takes part in syncs, with how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncedCalendar {
    /// The provider's id.
    pub provider_id: ProviderId,
    /// Zone for floating times.
    pub time_zone: Option<String>,
    /// What its driver keeps of it.
    pub setting: Option<String>,
    /// How far it has come.
    pub sync: CalendarSync,
    /// Until when a watch that proved alive tells of its changes; `None` when none does.
    pub watched_until: Option<Timestamp>,
}

const COLUMNS: &str = "s.calendar_id, s.connection_id, s.sync_token, s.page_token, s.pending_token, s.phase,
    s.listing, s.generation, s.generation_started_at, s.pages, s.requires_full, s.due_at, s.not_before,
    s.started_at, s.attempt, s.last_class, s.last_problem_code, s.last_problem, s.fresh_at, s.full_at,
    s.items_listed, s.items_done, s.sweep_seen";

/// The connection's calendars that take part in syncs: selected and not gone, in the order of their ids.
///
/// # Errors
/// When the database fails.
pub async fn of_connection(tx: &Tx, connection: ConnectionId) -> Result<Vec<SyncedCalendar>, StoreError> {
    const OPERATION: &str = "load the calendars of a connection";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "SELECT c.provider_id, c.time_zone, c.setting, {COLUMNS},
            (SELECT max(w.expires_at) FROM watches w WHERE w.organization_id = s.organization_id
                AND w.calendar_id = s.calendar_id AND w.verified_at IS NOT NULL AND w.doubted_at IS NULL)
                AS watched_until
         FROM calendar_sync s
         JOIN calendars c ON c.organization_id = s.organization_id AND c.id = s.calendar_id
         WHERE s.organization_id = $1 AND s.connection_id = $2 AND c.is_selected AND c.state <> 'gone'
         ORDER BY s.calendar_id"
    );
    let rows = tx.all(OPERATION, &sql, values![organization, connection]).await?;
    rows.iter()
        .map(|row| {
            Ok(SyncedCalendar {
                provider_id: ProviderId(row.get("provider_id")?),
                time_zone: row.get("time_zone")?,
                setting: row.get("setting")?,
                sync: read(row)?,
                watched_until: row.instant("watched_until")?,
            })
        })
        .collect()
}

/// How far one calendar has come.
///
/// # Errors
/// When the database fails.
pub async fn of_calendar(tx: &Tx, calendar: CalendarId) -> Result<Option<CalendarSync>, StoreError> {
    const OPERATION: &str = "load how far a calendar has come";
    let organization = tx.organization(OPERATION)?;
    let sql =
        format!("SELECT {COLUMNS} FROM calendar_sync s WHERE s.organization_id = $1 AND s.calendar_id = $2");
    tx.one(OPERATION, &sql, values![organization, calendar]).await?.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<CalendarSync, StoreError> {
    let class: Option<i16> = row.get("last_class")?;
    let code: Option<String> = row.get("last_problem_code")?;
    let text: Option<String> = row.get("last_problem")?;
    let listing: Option<String> = row.get("listing")?;
    Ok(CalendarSync {
        calendar_id: CalendarId(row.get("calendar_id")?),
        connection_id: ConnectionId(row.get("connection_id")?),
        sync_token: row.get::<Option<String>>("sync_token")?.map(SyncToken),
        page_token: row.get("page_token")?,
        pending_token: row.get::<Option<String>>("pending_token")?.map(SyncToken),
        phase: row.numbered("phase", Phase::from_code)?,
        listing: if listing.as_deref() == Some("delta") { Listing::Delta } else { Listing::Full },
        generation: row.get("generation")?,
        generation_started_at: row.instant("generation_started_at")?,
        pages: row.get("pages")?,
        requires_full: row.get("requires_full")?,
        due_at: Timestamp(row.get("due_at")?),
        not_before: Timestamp(row.get("not_before")?),
        started_at: row.instant("started_at")?,
        attempt: row.numbered("attempt", |attempt: i32| u32::try_from(attempt).ok())?,
        problem: match (class, code, text) {
            (Some(class), Some(code), Some(text)) => Some(CalendarProblem { class, code, text }),
            _ => None,
        },
        fresh_at: row.instant("fresh_at")?,
        full_at: row.instant("full_at")?,
        items_listed: row.get("items_listed")?,
        items_done: row.get("items_done")?,
        sweep: row.json("sweep_seen")?,
    })
}

/// When a calendar is due next, guarded by when it was due as this run read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// As it was read.
    pub read: Timestamp,
    /// Next.
    pub next: Timestamp,
}

/// Writes how far calendars have come, in one statement. An ask that arrived since the rows were read has
/// changed `due_at` ([`ask`] never writes the value that stands there), and is honoured: then the earlier of
/// both times stays.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, rows: &[(&CalendarSync, Due)]) -> Result<(), StoreError> {
    const OPERATION: &str = "write how far calendars have come";
    let organization = tx.organization(OPERATION)?;
    let mut rows = rows.to_vec();
    rows.sort_unstable_by_key(|(sync, _)| sync.calendar_id);
    let syncs = || rows.iter().map(|(sync, _)| *sync);
    let sweeps = syncs()
        .map(|sync| sync.sweep.as_ref().map(|sweep| to_json(OPERATION, "sweep_seen", sweep)).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    // A person may have confirmed the very sweep that a run still knows as unconfirmed.
    let approved = syncs()
        .map(|sync| {
            let approved = sync.sweep.clone().map(|sweep| SweepInDoubt { is_approved: true, ..sweep });
            approved.map(|sweep| to_json(OPERATION, "sweep_seen", &sweep)).transpose()
        })
        .collect::<Result<Vec<_>, _>>()?;
    let problem = |part: fn(&CalendarProblem) -> &str| {
        syncs().map(move |sync| sync.problem.as_ref().map(|problem| part(problem).to_owned()))
    };
    let input = Input::new()
        .column("calendar_id", syncs().map(|sync| sync.calendar_id))
        .column("sync_token", syncs().map(|sync| sync.sync_token.clone()))
        .column("page_token", syncs().map(|sync| sync.page_token.clone()))
        .column("pending_token", syncs().map(|sync| sync.pending_token.clone()))
        .column("phase", syncs().map(|sync| sync.phase.code()))
        .column("listing", syncs().map(|sync| listing_name(sync.listing)))
        .column("generation", syncs().map(|sync| sync.generation))
        .column("generation_started_at", syncs().map(|sync| sync.generation_started_at))
        .column("pages", syncs().map(|sync| sync.pages))
        .column("requires_full", syncs().map(|sync| sync.requires_full))
        .column("due_read", rows.iter().map(|(_, due)| due.read))
        .column("due_next", rows.iter().map(|(_, due)| due.next))
        .column("not_before", syncs().map(|sync| sync.not_before))
        .column("started_at", syncs().map(|sync| sync.started_at))
        .column("attempt", syncs().map(|sync| i32::try_from(sync.attempt).unwrap_or(i32::MAX)))
        .column("last_class", syncs().map(|sync| sync.problem.as_ref().map(|problem| problem.class)))
        .column("last_problem_code", problem(|problem| &problem.code))
        .column("last_problem", problem(|problem| &problem.text))
        .column("fresh_at", syncs().map(|sync| sync.fresh_at))
        .column("full_at", syncs().map(|sync| sync.full_at))
        .column("items_listed", syncs().map(|sync| sync.items_listed))
        .column("items_done", syncs().map(|sync| sync.items_done))
        .column("sweep_seen", sweeps)
        .column("sweep_approved", approved);
    input.execute(tx, OPERATION, SAVE, values![organization]).await?;
    Ok(())
}

const SAVE: &str = "WITH {input} UPDATE calendar_sync SET
    sync_token = input.sync_token, page_token = input.page_token, pending_token = input.pending_token,
    phase = input.phase, listing = input.listing, generation = input.generation,
    generation_started_at = input.generation_started_at, pages = input.pages,
    requires_full = input.requires_full
        OR (calendar_sync.requires_full AND calendar_sync.due_at <> input.due_read),
    due_at = CASE WHEN calendar_sync.due_at = input.due_read OR input.due_next < calendar_sync.due_at
        THEN input.due_next ELSE calendar_sync.due_at END,
    not_before = input.not_before, started_at = input.started_at, attempt = input.attempt,
    last_class = input.last_class, last_problem_code = input.last_problem_code,
    last_problem = input.last_problem, fresh_at = input.fresh_at, full_at = input.full_at,
    items_listed = input.items_listed, items_done = input.items_done,
    sweep_seen = CASE WHEN calendar_sync.sweep_seen = input.sweep_approved
        THEN calendar_sync.sweep_seen ELSE input.sweep_seen END
 FROM input WHERE calendar_sync.calendar_id = input.calendar_id AND calendar_sync.organization_id = $1";

/// What of a connection is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// One calendar.
    Calendar(CalendarId),
    /// All calendars of a connection.
    Connection(ConnectionId),
}

/// How it is to be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thoroughness {
    /// What changed.
    Changes,
    /// Everything, compared and swept.
    Everything,
}

/// Makes calendars due at `at`; the ask about their connection belongs into the same transaction, after this.
///
/// The new `due_at` always differs from the one that stands there, so that a run under way does not take this ask
/// for the one that it answers.
///
/// # Errors
/// When the database fails.
pub async fn ask(
    tx: &Tx,
    target: Target,
    thoroughness: Thoroughness,
    at: Timestamp,
) -> Result<u64, StoreError> {
    const OPERATION: &str = "ask for calendars";
    let organization = tx.organization(OPERATION)?;
    let (column, id) = match target {
        Target::Calendar(id) => ("calendar_id", id.0),
        Target::Connection(id) => ("connection_id", id.0),
    };
    let sql = format!(
        "UPDATE calendar_sync SET
            due_at = CASE WHEN due_at > $3 THEN $3 ELSE due_at - 1 END,
            requires_full = requires_full OR $4
         WHERE organization_id = $1 AND {column} = $2"
    );
    tx.execute(OPERATION, &sql, values![organization, id, at, thoroughness == Thoroughness::Everything]).await
}

/// Forgets what went wrong with a connection's calendars and makes them due: its account was connected again. A
/// wait that the provider asked for stays.
///
/// # Errors
/// When the database fails.
pub async fn forgive(tx: &Tx, connection: ConnectionId, at: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "forget what went wrong with calendars";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "UPDATE calendar_sync SET attempt = 0, last_problem_code = NULL, last_problem = NULL,
            not_before = CASE WHEN last_class = {THROTTLED} THEN not_before ELSE 0 END
         WHERE organization_id = $1 AND connection_id = $2"
    );
    tx.execute(OPERATION, &sql, values![organization, connection]).await?;
    ask(tx, Target::Connection(connection), Thoroughness::Changes, at).await.map(drop)
}

/// Forgets how far a connection's calendars have come, because their events are about to be removed: whenever they are
/// listed again, it is from the beginning.
///
/// # Errors
/// When the database fails.
pub async fn restart(tx: &Tx, connection: ConnectionId) -> Result<u64, StoreError> {
    const OPERATION: &str = "forget how far calendars have come";
    let organization = tx.organization(OPERATION)?;
    let sql =
        "UPDATE calendar_sync SET sync_token = NULL, page_token = NULL, pending_token = NULL, phase = 0,
            listing = NULL, generation = generation + 1, generation_started_at = NULL, pages = 0,
            requires_full = TRUE, due_at = due_at - 1, fresh_at = NULL, full_at = NULL, items_listed = 0,
            items_done = 0, sweep_seen = NULL
         WHERE organization_id = $1 AND connection_id = $2";
    tx.execute(OPERATION, sql, values![organization, connection]).await
}

/// Forgets where a calendar's listing stood, because the calendar goes by another id: everything is listed, and compared
/// with what is held. Until when it is proven fresh stays, and so do its events.
///
/// # Errors
/// When the database fails.
pub async fn begin_anew(tx: &Tx, calendar: CalendarId, now: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "list a calendar from the beginning";
    let organization = tx.organization(OPERATION)?;
    let sql =
        "UPDATE calendar_sync SET sync_token = NULL, page_token = NULL, pending_token = NULL, phase = 0,
            listing = NULL, generation = generation + 1, generation_started_at = NULL, pages = 0,
            not_before = 0, sweep_seen = NULL
         WHERE organization_id = $1 AND calendar_id = $2";
    tx.execute(OPERATION, sql, values![organization, calendar]).await?;
    ask(tx, Target::Calendar(calendar), Thoroughness::Everything, now).await.map(drop)
}

/// The number of `FailureClass::Throttled`.
const THROTTLED: i16 = 2;

/// Confirms, for a person, the sweep that a calendar waits with. The next complete listing carries it out.
///
/// # Errors
/// When the database fails.
pub async fn approve_sweep(tx: &Tx, calendar: CalendarId, now: Timestamp) -> Result<bool, StoreError> {
    const OPERATION: &str = "confirm a sweep";
    let organization = tx.organization(OPERATION)?;
    let Some(CalendarSync { sweep: Some(sweep), .. }) = of_calendar(tx, calendar).await? else {
        return Ok(false);
    };
    let seen = to_json(OPERATION, "sweep_seen", &sweep)?;
    let sweep = to_json(OPERATION, "sweep_seen", &SweepInDoubt { is_approved: true, ..sweep })?;
    // Another doubt than the one that was shown is not confirmed.
    let sql = "UPDATE calendar_sync SET sweep_seen = $3, requires_full = TRUE
         WHERE organization_id = $1 AND calendar_id = $2 AND sweep_seen = $4";
    if tx.execute(OPERATION, sql, values![organization, calendar, sweep, seen]).await? == 0 {
        return Ok(false);
    }
    ask(tx, Target::Calendar(calendar), Thoroughness::Everything, now).await?;
    Ok(true)
}

fn listing_name(listing: Listing) -> &'static str {
    match listing {
        Listing::Delta => "delta",
        Listing::Full => "full",
    }
}
