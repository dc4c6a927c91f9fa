//! Writes of events: create, patch, delete, of a whole event or of one occurrence.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::NaiveDate;
use serde_json::{Map, Value};

use super::calendar::{Exception, Series, Stored};
use super::call::{Call, Reply};
use super::error::ApiError;
use super::fields::text;
use super::pattern::{self, Pattern};
use super::times::{Slot, wall_of};
use super::{Found, Graph, Touch, event, fields, guests, id};

/// How far an occurrence's neighbours are looked for, in days.
const NEIGHBOURHOOD: u64 = 400;

fn written(own: Map<String, Value>) -> Arc<str> {
    Value::Object(own).to_string().into()
}

/// The slot an event has after a write.
fn slot_after(sent: &Map<String, Value>, before: Option<&Slot>) -> Result<Slot, ApiError> {
    let is_all_day = sent.get("isAllDay").and_then(Value::as_bool);
    let is_all_day = is_all_day.or(before.map(|slot| slot.is_all_day)).unwrap_or(false);
    let known = before.map(|slot| {
        let (start, _) = slot.shown(&slot.zone);
        let (_, end) = slot.shown(&slot.end_zone);
        (start, end)
    });
    let missing = |name: &str| ApiError::property(&format!("Property {name} is required."));
    let side = |name: &str, known: Option<&Value>| {
        let value = sent.get(name).filter(|value| !value.is_null()).or(known);
        value.cloned().ok_or_else(|| missing(name))
    };
    let start = side("start", known.as_ref().map(|(start, _)| start))?;
    let end = side("end", known.as_ref().map(|(_, end)| end))?;
    Slot::read(&start, &end, is_all_day)
}

/// The series an event is after a write; exceptions and cancelled days live on in an unchanged frame only.
fn series_after(
    sent: &Map<String, Value>,
    before: Option<&Stored>,
    slot: &mut Slot,
) -> Result<Option<Box<Series>>, ApiError> {
    let known = before.and_then(|stored| stored.series.as_deref());
    let pattern = match (sent.get("recurrence"), known) {
        (Some(Value::Null), _) | (None, None) => return Ok(None),
        (Some(value), _) => {
            // A series lives by the wall of its recurrence's zone.
            if let Some(zone) = pattern::zone(value)? {
                *slot = slot.in_zone(&zone);
            }
            Pattern::read(value, slot.start.date(), &slot.zone)?
        }
        (None, Some(series)) => {
            *slot = slot.in_zone(&series.pattern.zone);
            series.pattern.from(slot.start.date())?
        }
    };
    *slot = slot.on(pattern.first);
    let is_same = before.is_some_and(|stored| stored.slot.is_same(slot))
        && known.is_some_and(|series| series.pattern.value() == pattern.value());
    if let Some((before, series)) = before.zip(known).filter(|_| is_same) {
        *slot = before.slot.clone();
        return Ok(Some(Box::new(series.clone())));
    }
    Ok(Some(Box::new(Series { pattern, exceptions: BTreeMap::new(), cancelled: BTreeSet::new() })))
}

impl Graph {
    /// Stores an event, and notes the touch.
    pub(crate) fn put(&mut self, calendar: &str, mut stored: Stored, now: i64) -> u64 {
        let kind = if self.places.contains_key(&stored.serial) { "updated" } else { "created" };
        let id = stored.id(None);
        stored.modified = now;
        let revision = &mut self.revision;
        let Some(known) = self.calendars.get_mut(calendar) else { return 0 };
        let at = known.put(stored, || {
            *revision += 1;
            *revision
        });
        self.places.insert(id.serial, calendar.to_owned());
        self.touched.push(Touch { calendar: calendar.to_owned(), id, revision: at, kind });
        at
    }

    /// Removes an event, and notes the touch.
    pub(crate) fn take(&mut self, calendar: &str, serial: u64) -> Option<Stored> {
        let revision = &mut self.revision;
        let old = self.calendars.get_mut(calendar)?.remove(serial, || {
            *revision += 1;
            *revision
        })?;
        self.places.remove(&serial);
        let touch = Touch {
            calendar: calendar.to_owned(),
            id: old.id(None),
            revision: self.revision,
            kind: "deleted",
        };
        self.touched.push(touch);
        Some(old)
    }

    /// Stores the fields and slot of an occurrence as an exception.
    pub(crate) fn put_occurrence(
        &mut self,
        found: &Found,
        day: NaiveDate,
        own: &Map<String, Value>,
        (slot, now): (Slot, i64),
    ) -> Result<(), ApiError> {
        let stored = self.stored(found)?.clone();
        let master = stored.own(None);
        let mut differing: Map<String, Value> = own
            .iter()
            .filter(|(name, value)| master.get(*name) != Some(value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for name in master.keys().filter(|name| !own.contains_key(*name)) {
            differing.insert(name.clone(), Value::Null);
        }
        let revision = self.next_revision();
        let exception = Exception { own: written(differing), slot, revision, modified: now };
        if let Some(calendar) = self.calendars.get_mut(&found.calendar) {
            calendar.put_exception(found.serial, day, exception);
        }
        let id = stored.id(Some(day));
        self.touched.push(Touch { calendar: found.calendar.clone(), id, revision, kind: "updated" });
        Ok(())
    }

    pub(crate) fn create(&mut self, call: &Call<'_>, calendar: &str) -> Result<Reply, ApiError> {
        self.check_edit(&call.who, calendar)?;
        let sent = call.document()?;
        let transaction = text(&sent, "transactionId").to_owned();
        let owner = self.open(&call.who, calendar)?.owner.clone();
        let account = self.accounts.get(&owner).ok_or_else(ApiError::unauthorized)?;
        if let Some(serial) = account.transactions.get(&transaction).filter(|_| !transaction.is_empty()) {
            let existing = id::Id { serial: *serial, moves: 0, day: None }.write(call.prefer.form);
            return Err(ApiError::duplicate_transaction(&existing));
        }
        let (is_personal, mut slot) = (account.spec.is_personal, slot_after(&sent, None)?);
        let series = series_after(&sent, None, &mut slot)?;
        let key = id::guid(&format!("event {} {}", self.seed, self.given + 1));
        let uid = id::new_global_object_id(&key);
        let mut own = fields::fresh(account, &uid);
        fields::write(&mut own, &sent, true)?;
        fields::remind(&mut own, slot.is_all_day);
        fields::meet_online(&mut own, &sent, (is_personal, &key));
        let serial = self.next_serial();
        let (revision, now) = (0, call.now);
        let stored = Stored {
            serial,
            moves: 0,
            own: written(own),
            slot,
            series,
            revision,
            created: now,
            modified: now,
        };
        self.put(calendar, stored, now);
        if !transaction.is_empty()
            && let Some(account) = self.accounts.get_mut(&owner)
        {
            account.transactions.insert(transaction, serial);
        }
        let found = Found { calendar: calendar.to_owned(), serial, day: None };
        self.spread(&found, &guests::Before::default(), now);
        self.shown(call, &found, 201)
    }

    /// The event after a write.
    fn shown(&self, call: &Call<'_>, found: &Found, status: u16) -> Result<Reply, ApiError> {
        let mut shown = event::answer(self.stored(found)?, found.day, call);
        if self.habits.late_join_url {
            shown.insert("onlineMeeting".to_owned(), Value::Null);
        }
        Ok(Reply::Document(status, Value::Object(shown)))
    }

    pub(crate) fn patch(&mut self, call: &Call<'_>, found: &Found) -> Result<Reply, ApiError> {
        self.check_edit(&call.who, &found.calendar)?;
        let sent = call.document()?;
        let stored = self.stored(found)?.clone();
        call.check_match(&event::etag(stored.revision(found.day)))?;
        let before = guests::Before::of(&stored, found.day, &sent);
        let mut own = stored.own(found.day);
        fields::write(&mut own, &sent, false)?;
        let is_personal = self.accounts.get(&call.who).is_some_and(|account| account.spec.is_personal);
        let key = id::guid(&format!("meeting {} {}", self.seed, stored.serial));
        fields::meet_online(&mut own, &sent, (is_personal, &key));
        if let Some(day) = found.day {
            if sent.get("recurrence").is_some_and(|value| !value.is_null()) {
                return Err(ApiError::invalid("An occurrence cannot have a recurrence."));
            }
            let slot = slot_after(&sent, Some(&stored.slot(Some(day))))?;
            check_boundaries(&stored, day, &slot)?;
            self.put_occurrence(found, day, &own, (slot, call.now))?;
        } else {
            let mut slot = slot_after(&sent, Some(&stored.slot))?;
            let series = series_after(&sent, Some(&stored), &mut slot)?;
            self.put(&found.calendar, Stored { own: written(own), slot, series, ..stored }, call.now);
        }
        self.spread(found, &before, call.now);
        self.shown(call, found, 200)
    }

    pub(crate) fn delete(&mut self, call: &Call<'_>, found: &Found) -> Result<Reply, ApiError> {
        self.check_edit(&call.who, &found.calendar)?;
        let stored = self.stored(found)?;
        call.check_match(&event::etag(stored.revision(found.day)))?;
        self.drop_event(found, call.now);
        Ok(Reply::Empty(204))
    }

    /// Removes an event or an occurrence; attendees are told by its organizer.
    pub(crate) fn drop_event(&mut self, found: &Found, now: i64) {
        self.spread_cancellation(found, now);
        match found.day {
            Some(day) => self.cancel_occurrence(found, day),
            None => drop(self.take(&found.calendar, found.serial)),
        }
    }

    /// Takes an occurrence out of its series.
    pub(crate) fn cancel_occurrence(&mut self, found: &Found, day: NaiveDate) {
        let revision = self.next_revision();
        let Some(calendar) = self.calendars.get_mut(&found.calendar) else { return };
        let Some(id) = calendar.get(found.serial).map(|stored| stored.id(Some(day))) else { return };
        calendar.cancel_day(found.serial, day, revision);
        self.touched.push(Touch { calendar: found.calendar.clone(), id, revision, kind: "deleted" });
    }
}

/// An occurrence may not move to or past the day of its neighbour.
fn check_boundaries(stored: &Stored, day: NaiveDate, slot: &Slot) -> Result<(), ApiError> {
    let Some(series) = &stored.series else { return Ok(()) };
    let tz = stored.slot.zone.tz;
    let local = wall_of(slot.span().0, tz).date();
    let reach = chrono::Days::new(NEIGHBOURHOOD);
    let until = day.checked_add_days(reach).unwrap_or(day);
    let near = series.pattern.days(day.checked_sub_days(reach), until);
    let at = |other: &NaiveDate| wall_of(stored.slot(Some(*other)).span().0, tz).date();
    let mut others = near.iter().filter(|other| **other != day && !series.cancelled.contains(other));
    let is_clear = others.all(|other| if *other < day { local > at(other) } else { local < at(other) });
    if is_clear { Ok(()) } else { Err(ApiError::crossing()) }
}
