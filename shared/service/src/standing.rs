//! How events stand with their provider, and what may be done with them: worked out from what is stored, for a whole
//! page in a few statements.

use std::collections::{BTreeMap, HashMap, HashSet};

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{CalendarId, ConnectionId, ConnectionState, EventId};
use calfleet_providers::registry;
use calfleet_store::calendars::{self, Calendar};
use calfleet_store::connections::{self, Connection};
use calfleet_store::events::StoredRow;
use calfleet_store::outbox::{self, OutboxEntry, OutboxState};
use calfleet_store::{StoreError, Tx, app_keys, calendar_sync, conflicts};
use serde::Serialize;

use crate::write::{Allowed, permit};

/// How a copy stands with its provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SyncView {
    /// `synced`; `pending` while the provider has yet to be told; `held` while it cannot be told until a person does
    /// something; `failed` when it was given up; `conflict` when a person has to decide; `unreadable` when what the
    /// provider holds cannot be read, and what is shown is older.
    pub status: &'static str,
    /// Why, in words for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the two sides were last known to agree.
    pub last_synced_at: Option<Timestamp>,
}

/// How a copy stands, and what may be done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) sync: SyncView,
    pub(crate) allowed: Allowed,
    pub(crate) app_key: Option<String>,
}

/// What is known beside the rows themselves.
pub(crate) struct Standings {
    entries: HashMap<EventId, Vec<OutboxEntry>>,
    conflicts: HashSet<EventId>,
    app_keys: HashMap<EventId, String>,
    calendars: HashMap<CalendarId, (Calendar, Option<Timestamp>)>,
    connections: BTreeMap<ConnectionId, Connection>,
}

impl Standings {
    /// Reads what is known beside these rows.
    pub(crate) async fn read(tx: &Tx, rows: &[&StoredRow]) -> Result<Self, StoreError> {
        let events: Vec<EventId> = rows.iter().map(|row| row.event.id).collect();
        let mut known = Self {
            entries: HashMap::new(),
            conflicts: conflicts::open_among(tx, &events).await?,
            app_keys: app_keys::of_events(tx, &events).await?,
            calendars: HashMap::new(),
            connections: BTreeMap::new(),
        };
        for entry in outbox::unsettled(tx, &events).await? {
            known.entries.entry(entry.event_id).or_default().push(entry);
        }
        for row in rows {
            if known.connections.contains_key(&row.connection_id) {
                continue;
            }
            let Some(connection) = connections::load(tx, row.connection_id).await? else { continue };
            let syncs = calendar_sync::of_connection(tx, connection.id).await?;
            let fresh: HashMap<CalendarId, Option<Timestamp>> =
                syncs.into_iter().map(|one| (one.sync.calendar_id, one.sync.fresh_at)).collect();
            for calendar in calendars::list(tx, connection.id).await? {
                let fresh_at = fresh.get(&calendar.id).copied().flatten();
                known.calendars.insert(calendar.id, (calendar, fresh_at));
            }
            known.connections.insert(connection.id, connection);
        }
        Ok(known)
    }

    /// How a row stands.
    pub(crate) fn of(&self, row: &StoredRow) -> Standing {
        let connection = self.connections.get(&row.connection_id);
        let calendar = self.calendars.get(&row.event.calendar_id);
        let allowed = match (connection, calendar) {
            (Some(connection), Some((calendar, _))) => {
                let provider = registry::provider(connection.settings.provider);
                let writes = provider.is_some_and(|provider| provider.writes);
                permit::allowed(row, calendar, connection, writes)
            }
            _ => Allowed { edit: false, delete: false, respond: false },
        };
        let (status, error) = self.status(row, connection);
        let fresh_at = calendar.and_then(|(_, fresh_at)| *fresh_at);
        let last_synced_at = if status == "synced" {
            fresh_at.max(row.event.settled_at)
        } else {
            row.event.settled_at.or(row.event.revision.as_ref().map(|_| row.created_at))
        };
        let app_key = self.app_keys.get(&row.event.id).cloned();
        Standing { sync: SyncView { status, error, last_synced_at }, allowed, app_key }
    }

    fn status(&self, row: &StoredRow, connection: Option<&Connection>) -> (&'static str, Option<String>) {
        if let Some(problem) = &row.problem {
            return ("unreadable", Some(problem.clone()));
        }
        if self.conflicts.contains(&row.event.id) {
            let text = "Both sides changed the same; a person has to choose.";
            return ("conflict", Some(text.to_owned()));
        }
        let entries = self.entries.get(&row.event.id).map_or(&[][..], Vec::as_slice);
        let error = |entry: &OutboxEntry| entry.problem.as_ref().map(|(_, text)| text.clone());
        if let Some(dead) = entries.iter().find(|entry| entry.state == OutboxState::Dead) {
            return ("failed", error(dead));
        }
        if entries.is_empty() && row.event.edited_at.is_none() {
            return ("synced", None);
        }
        let held = match connection.map(|connection| connection.state) {
            Some(ConnectionState::Paused) => Some("The connection is paused; resume it."),
            Some(ConnectionState::NeedsReauth) => {
                Some("The provider has refused the credentials; connect the account again.")
            }
            Some(ConnectionState::Disconnected) => Some("The account is disconnected; connect it again."),
            Some(ConnectionState::Active) | None => None,
        };
        match held {
            Some(reason) => ("held", Some(reason.to_owned())),
            None => ("pending", entries.iter().find_map(error)),
        }
    }
}
