//! One calendar: its events as texts, found by id, by revision and by series.
//!
//! A listing walks the revisions and copies texts; nothing is parsed unless the question needs it, so that
//! a page of a calendar of 100,000 events costs what the page holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::account::GoogleRole;
use super::times;

/// An event with what listings ask of it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// The event as JSON.
    pub(crate) text: Arc<str>,
    pub(crate) revision: u64,
    pub(crate) updated: i64,
    pub(crate) is_cancelled: bool,
    /// The series it is an exception of.
    pub(crate) series: Option<Arc<str>>,
    pub(crate) is_master: bool,
    pub(crate) event_type: EventType,
    /// Start and end, milliseconds since 1970 UTC; the end of a series is that of its first instance.
    pub(crate) span: (i64, i64),
}

/// What kind of event it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventType(pub(crate) Arc<str>);

impl Stored {
    pub(crate) fn map(&self) -> Map<String, Value> {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

#[derive(Debug)]
pub(crate) struct Calendar {
    /// summary, description, location.
    pub(crate) own: Map<String, Value>,
    pub(crate) time_zone: String,
    pub(crate) data_owner: String,
    pub(crate) is_primary: bool,
    pub(crate) revision: u64,
    pub(crate) roles: BTreeMap<String, GoogleRole>,
    /// Sync tokens that name another era are dead.
    pub(crate) era: u64,
    events: HashMap<Arc<str>, Stored>,
    revisions: BTreeMap<u64, Arc<str>>,
    series: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    by_uid: HashMap<String, BTreeSet<Arc<str>>>,
}

impl Calendar {
    pub(crate) fn new(id: &str, summary: &str, (owner, zone): (&str, &str), revision: u64) -> Self {
        let mut own = Map::new();
        own.insert("summary".to_owned(), summary.into());
        Self {
            own,
            time_zone: zone.to_owned(),
            data_owner: owner.to_owned(),
            is_primary: id == owner,
            revision,
            roles: BTreeMap::from([(owner.to_owned(), GoogleRole::Owner)]),
            era: revision,
            events: HashMap::new(),
            revisions: BTreeMap::new(),
            series: HashMap::new(),
            by_uid: HashMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.events.values().filter(|stored| !stored.is_cancelled).count()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Stored> {
        self.events.get(id)
    }

    /// Ids of the exceptions of a series, cancelled ones too.
    pub(crate) fn exceptions(&self, series: &str) -> Vec<Arc<str>> {
        self.series.get(series).into_iter().flatten().cloned().collect()
    }

    /// Events of that iCalendar UID.
    pub(crate) fn of_uid(&self, uid: &str) -> impl Iterator<Item = &Stored> {
        self.by_uid.get(uid).into_iter().flatten().filter_map(|id| self.events.get(id))
    }

    /// Events changed after that revision, in the order of their changes.
    pub(crate) fn changed_after(&self, revision: u64) -> impl Iterator<Item = (&Arc<str>, &Stored)> {
        self.revisions
            .range(revision.saturating_add(1)..)
            .filter_map(|(_, id)| self.events.get(id).map(|stored| (id, stored)))
    }

    /// All events, in the order of their changes.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Arc<str>, &Stored)> {
        self.changed_after(0)
    }

    /// Stores an event under its id as of a revision; `etag` and `updated` are set here.
    pub(crate) fn store(
        &mut self,
        mut event: Map<String, Value>,
        revision: u64,
        now: i64,
    ) -> Map<String, Value> {
        event.insert("etag".to_owned(), etag(revision).into());
        event.insert("updated".to_owned(), times::stamp(now).into());
        let id: Arc<str> = Arc::from(text(&event, "id"));
        let old = self.events.remove(&id);
        if let Some(old) = &old {
            self.revisions.remove(&old.revision);
        }
        let series = event.get("recurringEventId").and_then(Value::as_str).map(Arc::from);
        if let Some(series) = &series {
            self.series.entry(Arc::clone(series)).or_default().insert(Arc::clone(&id));
        }
        self.by_uid.entry(text(&event, "iCalUID").to_owned()).or_default().insert(Arc::clone(&id));
        let stored = Stored {
            text: Value::Object(event.clone()).to_string().into(),
            revision,
            updated: now,
            is_cancelled: text(&event, "status") == "cancelled",
            series,
            is_master: event.contains_key("recurrence"),
            event_type: EventType(Arc::from(match text(&event, "eventType") {
                "" => "default",
                other => other,
            })),
            span: times::span(&event, &self.time_zone).unwrap_or_default(),
        };
        self.revisions.insert(revision, Arc::clone(&id));
        self.events.insert(id, stored);
        self.revision = revision;
        event
    }

    /// Forgets all events, without a trace.
    pub(crate) fn clear(&mut self) {
        self.events.clear();
        self.revisions.clear();
        self.series.clear();
        self.by_uid.clear();
    }
}

/// The entity tag of a revision, with its quotes.
pub(crate) fn etag(revision: u64) -> String {
    format!("\"{}\"", 3_400_000_000_000_000 + revision * 2_000)
}

/// A field's text, empty when it has none.
pub(crate) fn text<'a>(event: &'a Map<String, Value>, name: &str) -> &'a str {
    event.get(name).and_then(Value::as_str).unwrap_or_default()
}
