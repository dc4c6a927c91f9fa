//! Connections and calendars as people see them: where they lead, how far they have come, how fresh they are.

use std::collections::HashMap;
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::job::{Kind, WorkKey, WorkState};
use calfleet_domain::model::{
    CalendarId, CalendarState, ConnectionId, ConnectionState, EventId, Listing, OrganizationId, ProviderKind,
};
use calfleet_store::calendar_sync::{self, CalendarSync, Phase};
use calfleet_store::calendars::{self, Calendar};
use calfleet_store::connections::{self, Connection};
use calfleet_store::departures::{self, Ending};
use calfleet_store::unreadable::{self, UnreadableCopy};
use calfleet_store::work::{self, WorkRow};
use calfleet_store::{Scope, Store, StoreError, Tx, watches};
use serde::Serialize;

use crate::status::{CalendarFacts, Facts, Status, status};
use crate::watching::{self, Coverage, WatchView};

/// A connection with its status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionView {
    /// Its id.
    pub id: ConnectionId,
    /// What people call it.
    pub label: String,
    /// Which kind of provider.
    pub provider: ProviderKind,
    /// What it is allowed to do: `active`, `paused`, `needs_reauth`, `disconnected`.
    pub state: &'static str,
    /// How it is.
    #[serde(flatten)]
    pub status: Status,
    /// Whether it goes on only after somebody did something about it: it was stopped, or refused for good.
    #[serde(skip)]
    pub is_stuck: bool,
    /// Seconds between two polls.
    pub poll_interval_seconds: u64,
    /// How many of its calendars their provider tells about.
    pub watched: Coverage,
    /// How far it has left; absent while it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub departure: Option<DepartureView>,
    /// Its calendars.
    pub calendars: Vec<CalendarView>,
}

/// How far a connection has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DepartureView {
    /// What becomes of its events here: `keep`, `purge`.
    pub events: &'static str,
    /// How many of them are gone.
    pub events_removed: i64,
    /// What became of the authorization at the provider: `nothing` (there was none to be ended), `revoked`, `shared`
    /// (another connection lives on it), `not_offered` (only the person can end it), `gave_up`; `null` while the
    /// provider is still to be told.
    pub grant: Option<&'static str>,
    /// Whether nothing is left to do.
    pub is_over: bool,
}

/// A calendar with its freshness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CalendarView {
    /// Its id.
    pub id: CalendarId,
    /// Its connection.
    pub connection_id: ConnectionId,
    /// Its name.
    pub name: String,
    /// `#RRGGBB`.
    pub color: Option<String>,
    /// IANA name of its zone.
    pub time_zone: Option<String>,
    /// `free_busy`, `read` or `write`.
    pub access: &'static str,
    /// `reachable`, `reduced` or `gone`.
    pub state: &'static str,
    /// Whether it is synced.
    pub is_selected: bool,
    /// When it was last proven fresh; `null` before the first import is complete.
    pub fresh_at: Option<Timestamp>,
    /// When it is looked at again whether or not its provider has told of changes: the longest a change can go
    /// unnoticed; `null` where it is not synced.
    pub next_at: Option<Timestamp>,
    /// Whether its provider tells of its changes; `null` where it cannot, or the calendar is not synced.
    pub watch: Option<WatchView>,
    /// How far the import or comparison under way has come.
    pub progress: Progress,
    /// What went wrong last, in words for people.
    pub problem: Option<String>,
    /// Why deletions wait, in words for people.
    pub waiting: Option<String>,
    /// Events that the provider holds and that cannot be read; at most a few are named.
    pub unreadable: Vec<UnreadableView>,
}

/// An event that cannot be read; what was known of it before stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableView {
    /// The copy.
    pub event_id: EventId,
    /// The provider's id.
    pub provider_event_id: String,
    /// Why it cannot be read.
    pub problem: String,
}

/// Most unreadable events that are named of one connection.
const UNREADABLE_NAMED: u32 = 100;

/// How far an import or comparison has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// `idle`, `listing`, `fetching`, `sweeping`.
    pub phase: &'static str,
    /// Items that the provider has named.
    pub items_listed: i64,
    /// Items that are done.
    pub items_done: i64,
}

/// At most `limit` connections of an organization, oldest first, after the given one.
///
/// # Errors
/// When the database fails.
pub async fn connections(
    store: &Store,
    organization: OrganizationId,
    after: Option<ConnectionId>,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<ConnectionView>, StoreError> {
    let tx = store.read(Scope::Organization(organization)).await?;
    let mut views = Vec::new();
    for connection in connections::list(&tx, after, limit).await? {
        views.push(view(&tx, &connection, now).await?);
    }
    Ok(views)
}

/// One connection.
///
/// # Errors
/// When the database fails.
pub async fn connection(
    store: &Store,
    organization: OrganizationId,
    id: ConnectionId,
    now: Timestamp,
) -> Result<Option<ConnectionView>, StoreError> {
    let tx = store.read(Scope::Organization(organization)).await?;
    match connections::load(&tx, id).await? {
        Some(connection) => view(&tx, &connection, now).await.map(Some),
        None => Ok(None),
    }
}

/// One calendar.
///
/// # Errors
/// When the database fails.
pub async fn calendar(
    store: &Store,
    organization: OrganizationId,
    id: CalendarId,
    now: Timestamp,
) -> Result<Option<CalendarView>, StoreError> {
    let tx = store.read(Scope::Organization(organization)).await?;
    let Some(calendar) = calendars::load(&tx, id).await? else { return Ok(None) };
    let Some(connection) = connections::load(&tx, calendar.connection_id).await? else { return Ok(None) };
    let watch = watches_of(&tx, &connection, std::slice::from_ref(&calendar), now).await?.remove(&id);
    let sync = calendar_sync::of_calendar(&tx, id).await?;
    let unreadable = unreadable::of_connection(&tx, calendar.connection_id, UNREADABLE_NAMED).await?;
    Ok(Some(calendar_view(&connection, &calendar, sync.as_ref(), watch, &unreadable)))
}

async fn view(tx: &Tx, connection: &Connection, now: Timestamp) -> Result<ConnectionView, StoreError> {
    let calendars = calendars::list(tx, connection.id).await?;
    let syncs: HashMap<CalendarId, CalendarSync> = calendar_sync::of_connection(tx, connection.id)
        .await?
        .into_iter()
        .map(|synced| (synced.sync.calendar_id, synced.sync))
        .collect();
    let work = work::load(tx, WorkKey { kind: Kind::Sync, target: connection.id.0 }).await?;
    let unreadable = unreadable::of_connection(tx, connection.id, UNREADABLE_NAMED).await?;
    let mut watches = watches_of(tx, connection, &calendars, now).await?;
    let departure = match connection.state {
        ConnectionState::Disconnected => departures::load(tx, connection.id).await?,
        _ => None,
    };
    let mut facts = facts(connection, &calendars, &syncs, work.as_ref(), now);
    facts.unreadable = unreadable.iter().map(|copy| copy.problem.clone()).collect();
    Ok(ConnectionView {
        id: connection.id,
        label: connection.settings.label.clone(),
        provider: connection.settings.provider,
        state: connection.state.as_str(),
        status: status(&facts, now),
        is_stuck: facts.is_stuck(now),
        poll_interval_seconds: connection.settings.poll_interval.as_secs(),
        watched: Coverage::of(watches.values()),
        departure: departure.map(|departure| DepartureView {
            events: departure.events.as_str(),
            events_removed: departure.purged,
            grant: departure.ending.map(Ending::as_str),
            is_over: departure.ended_at.is_some(),
        }),
        calendars: calendars
            .iter()
            .map(|calendar| {
                let watch = watches.remove(&calendar.id);
                calendar_view(connection, calendar, syncs.get(&calendar.id), watch, &unreadable)
            })
            .collect(),
    })
}

/// The watches of those of a connection's calendars that could have one.
async fn watches_of(
    tx: &Tx,
    connection: &Connection,
    calendars: &[Calendar],
    now: Timestamp,
) -> Result<HashMap<CalendarId, WatchView>, StoreError> {
    let mut views = HashMap::new();
    if connection.state != ConnectionState::Active || !connection.can_be_watched() {
        return Ok(views);
    }
    let watches = watches::of_connection(tx, connection.id).await?;
    for calendar in calendars {
        let is_known = watches.iter().any(|watch| watch.calendar_id == calendar.id);
        let key = WorkKey { kind: Kind::Watch, target: calendar.id.0 };
        let row = if is_known { None } else { work::load(tx, key).await? };
        let problem = row.as_ref().and_then(|row| row.last_error.as_deref());
        if let Some(view) = watching::view(calendar, &watches, problem, now) {
            views.insert(calendar.id, view);
        }
    }
    Ok(views)
}

fn facts(
    connection: &Connection,
    calendars: &[Calendar],
    syncs: &HashMap<CalendarId, CalendarSync>,
    work: Option<&WorkRow>,
    now: Timestamp,
) -> Facts {
    let problem = connection.last_problem.as_ref().map(|problem| problem.text.clone());
    let set_aside = work.filter(|row| row.state == WorkState::Dead).map(|_| {
        "Its sync was set aside because it stopped its worker several times; ask for a sync to try again."
            .to_owned()
    });
    let planned = work.filter(|row| row.state == WorkState::Active);
    let next_at = planned.map(|row| row.due_at.max(row.not_before)).filter(|at| *at != Timestamp::NEVER);
    Facts {
        state: connection.state,
        calendars: calendars
            .iter()
            .filter(|calendar| calendar.is_selected)
            .map(|calendar| calendar_facts(calendar.state, syncs.get(&calendar.id)))
            .collect(),
        is_running: work.is_some_and(|row| row.lease_until > now),
        next_at,
        class: work.and_then(|row| row.last_class),
        problem: set_aside.or(problem),
        unreadable: Vec::new(),
        poll_interval: connection.settings.poll_interval.max(longest_wait(calendars, syncs)),
    }
}

/// The longest wait between two polls that is as planned: a publisher may ask for more than the connection's interval.
fn longest_wait(calendars: &[Calendar], syncs: &HashMap<CalendarId, CalendarSync>) -> Duration {
    let planned = |calendar: &Calendar| {
        let sync = syncs.get(&calendar.id).filter(|sync| sync.problem.is_none())?;
        Some(sync.due_at.since(sync.fresh_at?))
    };
    let selected = calendars.iter().filter(|calendar| calendar.is_selected);
    selected.filter_map(planned).max().unwrap_or_default().min(LONGEST_WAIT)
}

/// No plan excuses more: each calendar is compared in full once a day.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

fn calendar_facts(state: CalendarState, sync: Option<&CalendarSync>) -> CalendarFacts {
    CalendarFacts {
        state,
        fresh_at: sync.and_then(|sync| sync.fresh_at),
        is_listing: sync.is_some_and(|sync| sync.phase != Phase::Idle && sync.listing == Listing::Full),
        problem: sync.and_then(|sync| sync.problem.as_ref()).map(|problem| problem.text.clone()),
        waiting: sync.and_then(waiting),
    }
}

fn waiting(sync: &CalendarSync) -> Option<String> {
    let sweep = sync.sweep.as_ref().filter(|sweep| !sweep.is_approved)?;
    Some(format!(
        "{} of {} events were missing from the provider's last listing; they are kept until a second listing agrees.",
        sweep.missing, sweep.known
    ))
}

fn calendar_view(
    connection: &Connection,
    calendar: &Calendar,
    sync: Option<&CalendarSync>,
    watch: Option<WatchView>,
    unreadable: &[UnreadableCopy],
) -> CalendarView {
    let unreadable = unreadable.iter().filter(|copy| copy.calendar_id == calendar.id);
    let phase = match sync.map(|sync| sync.phase).unwrap_or_default() {
        Phase::Idle => "idle",
        Phase::Listing => "listing",
        Phase::Fetching => "fetching",
        Phase::Sweeping => "sweeping",
    };
    let is_polled = connection.state == ConnectionState::Active && calendar.is_selected;
    CalendarView {
        id: calendar.id,
        connection_id: calendar.connection_id,
        name: calendar.remote.name.clone(),
        color: calendar.remote.color.clone(),
        time_zone: calendar.remote.time_zone.clone(),
        access: calendar.remote.access.as_str(),
        state: calendar.state.as_str(),
        is_selected: calendar.is_selected,
        fresh_at: sync.and_then(|sync| sync.fresh_at),
        next_at: sync.filter(|_| is_polled).map(|sync| sync.due_at.max(sync.not_before)),
        watch,
        progress: Progress {
            phase,
            items_listed: sync.map(|sync| sync.items_listed).unwrap_or_default(),
            items_done: sync.map(|sync| sync.items_done).unwrap_or_default(),
        },
        problem: sync.and_then(|sync| sync.problem.as_ref()).map(|problem| problem.text.clone()),
        waiting: sync.and_then(waiting),
        unreadable: unreadable
            .map(|copy| UnreadableView {
                event_id: copy.id,
                provider_event_id: copy.provider_id.0.clone(),
                problem: copy.problem.clone(),
            })
            .collect(),
    }
}
