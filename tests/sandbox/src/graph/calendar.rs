//! One calendar: its events by number, and the log of their changes.
//!
//! An event is kept as text and read when it is shown. A series is one event with its exceptions and
//! cancelled days in it; its occurrences are made when a window asks for them. The log has one entry for
//! each living thing, at its last change, and entries for what is gone; a delta walks it from a revision on.
//! When a series is changed or removed, its former frame goes to the log, so that a later delta can tell
//! which occurrences of its window are no more.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{Days, NaiveDate};
use serde_json::{Map, Value};

use super::id::Id;
use super::pattern::Pattern;
use super::times::{Slot, wall_of};
use super::view::Entry;

/// A half-open window in milliseconds.
pub(crate) type Window = (i64, i64);

/// An occurrence that was changed.
#[derive(Debug, Clone)]
pub(crate) struct Exception {
    /// The fields that differ from the series', as JSON; `null` for one it lacks.
    pub(crate) own: Arc<str>,
    pub(crate) slot: Slot,
    pub(crate) revision: u64,
    pub(crate) modified: i64,
}

/// What makes an event a series.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) pattern: Pattern,
    pub(crate) exceptions: BTreeMap<NaiveDate, Exception>,
    pub(crate) cancelled: BTreeSet<NaiveDate>,
}

/// A single event or a series.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) serial: u64,
    pub(crate) moves: u32,
    /// The fields that clients see and that are not made when it is shown, as JSON.
    pub(crate) own: Arc<str>,
    pub(crate) slot: Slot,
    pub(crate) series: Option<Box<Series>>,
    pub(crate) revision: u64,
    pub(crate) created: i64,
    pub(crate) modified: i64,
}

/// Fields of a stored text.
pub(crate) fn fields(own: &str) -> Map<String, Value> {
    serde_json::from_str(own).unwrap_or_default()
}

impl Stored {
    pub(crate) fn id(&self, day: Option<NaiveDate>) -> Id {
        Id { serial: self.serial, moves: self.moves, day }
    }

    /// The fields of the event, or of one of its occurrences.
    pub(crate) fn own(&self, day: Option<NaiveDate>) -> Map<String, Value> {
        let mut own = fields(&self.own);
        if let Some(exception) = day.and_then(|day| self.exception(day)) {
            for (name, value) in fields(&exception.own) {
                if value.is_null() {
                    own.remove(&name);
                } else {
                    own.insert(name, value);
                }
            }
        }
        own
    }

    pub(crate) fn exception(&self, day: NaiveDate) -> Option<&Exception> {
        self.series.as_ref()?.exceptions.get(&day)
    }

    /// When the event, or one of its occurrences, is.
    pub(crate) fn slot(&self, day: Option<NaiveDate>) -> Slot {
        match day {
            None => self.slot.clone(),
            Some(day) => {
                self.exception(day).map_or_else(|| self.slot.on(day), |exception| exception.slot.clone())
            }
        }
    }

    /// The revision of the event, or of one of its occurrences.
    pub(crate) fn revision(&self, day: Option<NaiveDate>) -> u64 {
        day.and_then(|day| self.exception(day)).map_or(self.revision, |exception| exception.revision)
    }

    /// Whether there is an occurrence on that day.
    pub(crate) fn has_day(&self, day: NaiveDate) -> bool {
        let Some(series) = &self.series else { return false };
        !series.cancelled.contains(&day) && series.pattern.days(Some(day), day).contains(&day)
    }

    /// The days whose occurrences lie in a window, exceptions by where they are now.
    pub(crate) fn days_within(&self, window: Window) -> Vec<NaiveDate> {
        let Some(series) = &self.series else { return Vec::new() };
        let mut days: Vec<NaiveDate> = regular_days(&self.slot, &series.pattern, window)
            .into_iter()
            .filter(|day| !series.cancelled.contains(day) && !series.exceptions.contains_key(day))
            .collect();
        days.extend(
            series
                .exceptions
                .iter()
                .filter(|(_, exception)| exception.slot.is_within(window))
                .map(|(day, _)| *day),
        );
        days
    }
}

/// The days of a pattern whose occurrences lie in a window.
fn regular_days(slot: &Slot, pattern: &Pattern, window: Window) -> Vec<NaiveDate> {
    let tz = slot.zone.tz;
    let length = Days::new(u64::try_from(slot.length_ms / 86_400_000).unwrap_or(0) + 1);
    let from = wall_of(window.0, tz).date().checked_sub_days(length);
    let until = wall_of(window.1, tz).date();
    let mut days = pattern.days(from, until);
    days.retain(|day| slot.on(*day).is_within(window));
    days
}

/// Whether every occurrence of a series is one of the series in its new form, too.
fn keeps_days(old: &Stored, new: &Stored) -> bool {
    let (Some(before), Some(after)) = (&old.series, &new.series) else { return old.series.is_none() };
    old.slot == new.slot && before.pattern == after.pattern && after.cancelled.is_subset(&before.cancelled)
}

/// An entry of the log.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A living event, or a series with all its occurrences.
    Event(u64),
    /// An exception of a living series.
    Exception(u64, NaiveDate),
    /// An event or occurrence is gone.
    Gone(Id),
    /// A series was like this before it was changed or removed.
    Former(Box<Former>),
}

/// What a series was.
#[derive(Debug, Clone)]
pub(crate) struct Former {
    pub(crate) id: Id,
    slot: Slot,
    pattern: Pattern,
    moved: BTreeMap<NaiveDate, Slot>,
}

impl Former {
    /// The days whose occurrences lay in a window.
    pub(crate) fn days_within(&self, window: Window) -> BTreeSet<NaiveDate> {
        let mut days: BTreeSet<NaiveDate> =
            regular_days(&self.slot, &self.pattern, window).into_iter().collect();
        days.extend(self.moved.iter().filter(|(_, slot)| slot.is_within(window)).map(|(day, _)| *day));
        days
    }
}

/// The view that was made last, for the pages that follow.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) window: Window,
    pub(crate) revision: u64,
    pub(crate) entries: Arc<Vec<Entry>>,
}

#[derive(Debug)]
pub(crate) struct Calendar {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) color: String,
    pub(crate) owner: String,
    pub(crate) is_default: bool,
    /// Who sees it, and whether they may edit.
    pub(crate) roles: BTreeMap<String, bool>,
    /// Delta links that name another era are dead.
    pub(crate) era: u64,
    pub(crate) revision: u64,
    events: HashMap<u64, Stored>,
    changes: BTreeMap<u64, Change>,
    by_uid: HashMap<String, u64>,
    pub(crate) view: RefCell<Option<View>>,
}

impl Calendar {
    pub(crate) fn new(id: String, (name, owner): (&str, &str), is_default: bool, revision: u64) -> Self {
        Self {
            id,
            name: name.to_owned(),
            color: "auto".to_owned(),
            owner: owner.to_owned(),
            is_default,
            roles: BTreeMap::from([(owner.to_owned(), true)]),
            era: revision,
            revision,
            events: HashMap::new(),
            changes: BTreeMap::new(),
            by_uid: HashMap::new(),
            view: RefCell::new(None),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn get(&self, serial: u64) -> Option<&Stored> {
        self.events.get(&serial)
    }

    /// The event of an iCalendar UID.
    pub(crate) fn of_uid(&self, uid: &str) -> Option<&Stored> {
        self.by_uid.get(uid).and_then(|serial| self.events.get(serial))
    }

    /// The log after a revision, in its order.
    pub(crate) fn changes_after(&self, revision: u64) -> impl Iterator<Item = (u64, &Change)> {
        self.changes.range(revision.saturating_add(1)..).map(|(revision, change)| (*revision, change))
    }

    /// All events, in the order of their last changes.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Stored> {
        self.changes.values().filter_map(|change| match change {
            Change::Event(serial) => self.events.get(serial),
            _ => None,
        })
    }

    /// Numbers of all events.
    pub(crate) fn serials(&self) -> Vec<u64> {
        self.events.keys().copied().collect()
    }

    /// Takes an event out of the tables, and its entries out of the log.
    fn take(&mut self, serial: u64) -> Option<Stored> {
        let old = self.events.remove(&serial)?;
        self.changes.remove(&old.revision);
        for exception in old.series.iter().flat_map(|series| series.exceptions.values()) {
            self.changes.remove(&exception.revision);
        }
        if let Some(uid) = fields(&old.own).get("iCalUId").and_then(Value::as_str)
            && self.by_uid.get(uid) == Some(&serial)
        {
            self.by_uid.remove(uid);
        }
        Some(old)
    }

    /// Stores an event as of a revision. `next` makes the revisions; the event's own is the last.
    pub(crate) fn put(&mut self, mut stored: Stored, mut next: impl FnMut() -> u64) -> u64 {
        if let Some(old) = self.take(stored.serial)
            && !keeps_days(&old, &stored)
        {
            self.remember(&old, &mut next);
        }
        let serial = stored.serial;
        stored.revision = next();
        self.revision = stored.revision;
        if let Some(series) = &stored.series {
            for (day, exception) in &series.exceptions {
                self.changes.insert(exception.revision, Change::Exception(serial, *day));
            }
        }
        if let Some(uid) = fields(&stored.own).get("iCalUId").and_then(Value::as_str) {
            self.by_uid.insert(uid.to_owned(), serial);
        }
        self.changes.insert(stored.revision, Change::Event(serial));
        self.events.insert(serial, stored);
        self.revision
    }

    /// Removes an event.
    pub(crate) fn remove(&mut self, serial: u64, mut next: impl FnMut() -> u64) -> Option<Stored> {
        let old = self.take(serial)?;
        self.remember(&old, &mut next);
        self.revision = next();
        self.changes.insert(self.revision, Change::Gone(old.id(None)));
        Some(old)
    }

    /// Keeps what a series was in the log.
    fn remember(&mut self, old: &Stored, next: &mut impl FnMut() -> u64) {
        let Some(series) = &old.series else { return };
        let moved = series.exceptions.iter().map(|(day, exception)| (*day, exception.slot.clone())).collect();
        let former =
            Former { id: old.id(None), slot: old.slot.clone(), pattern: series.pattern.clone(), moved };
        self.changes.insert(next(), Change::Former(Box::new(former)));
    }

    /// Stores an exception of a series, in place of the occurrence of that day.
    pub(crate) fn put_exception(&mut self, serial: u64, day: NaiveDate, exception: Exception) {
        let revision = exception.revision;
        let Some(series) = self.events.get_mut(&serial).and_then(|stored| stored.series.as_mut()) else {
            return;
        };
        if let Some(old) = series.exceptions.insert(day, exception) {
            self.changes.remove(&old.revision);
        }
        self.changes.insert(revision, Change::Exception(serial, day));
        self.revision = revision;
    }

    /// Cancels the occurrence of a day.
    pub(crate) fn cancel_day(&mut self, serial: u64, day: NaiveDate, revision: u64) {
        let Some(stored) = self.events.get_mut(&serial) else { return };
        let id = stored.id(Some(day));
        let Some(series) = stored.series.as_mut() else { return };
        if let Some(old) = series.exceptions.remove(&day) {
            self.changes.remove(&old.revision);
        }
        series.cancelled.insert(day);
        self.changes.insert(revision, Change::Gone(id));
        self.revision = revision;
    }
}
