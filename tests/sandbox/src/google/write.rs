//! Writes of events: insert, import, update, patch, delete, move.

use serde_json::{Map, Value, json};

use super::account::GoogleRole;
use super::calendar::text;
use super::call::{Call, Reply};
use super::error::ApiError;
use super::guests::{self, SendUpdates};
use super::times::{self, When};
use super::{Google, conference, event};

/// How a change treats what is not in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// PUT: it is gone.
    Replace,
    /// PATCH: it stays.
    Merge,
}

impl Call<'_> {
    fn send_updates(&self) -> Result<SendUpdates, ApiError> {
        match (self.text("sendUpdates"), self.flag("sendNotifications")?) {
            (Some("all"), _) | (None, Some(true)) => Ok(SendUpdates::All),
            (Some("externalOnly"), _) => Ok(SendUpdates::ExternalOnly),
            (Some("none") | None, _) => Ok(SendUpdates::Nobody),
            (Some(_), _) => Err(ApiError::invalid_parameter("sendUpdates", "Invalid value for sendUpdates.")),
        }
    }

    fn has_conferences(&self) -> Result<bool, ApiError> {
        Ok(self.number("conferenceDataVersion")?.unwrap_or(0) >= 1)
    }
}

impl Google {
    pub(crate) fn insert(&mut self, call: &Call<'_>, calendar: &str) -> Result<Reply, ApiError> {
        let zone = self.open(&call.who, calendar, GoogleRole::WriterWithoutPrivateAccess)?.time_zone.clone();
        let mut sent = call.document()?;
        event::check_types(&sent)?;
        let id = text(&sent, "id").to_owned();
        if !id.is_empty() {
            event::check_id(&id)?;
            if self.calendars.get(calendar).is_some_and(|calendar| calendar.get(&id).is_some()) {
                return Err(ApiError::duplicate());
            }
        }
        let uid = text(&sent, "iCalUID").to_owned();
        if !uid.is_empty() && self.living_of_uid(calendar, &uid).is_some() {
            return Err(ApiError::duplicate());
        }
        if !call.has_conferences()? {
            sent.remove("conferenceData");
        }
        self.check_event_type(calendar, &call.who, &sent)?;
        sent.retain(|name, value| !value.is_null() && !matches!(name.as_str(), "organizer" | "creator"));
        let whom = call.send_updates()?;
        let stored = self.store_new(calendar, &call.who, sent, &zone, call.now)?;
        self.spread(calendar, None, &stored, (whom, call.now));
        Ok(Reply::Document(Value::Object(stored)))
    }

    fn check_event_type(&self, calendar: &str, who: &str, sent: &Map<String, Value>) -> Result<(), ApiError> {
        let is_workspace = self.accounts.get(who).is_some_and(|account| account.spec.is_workspace);
        let is_primary = calendar == who;
        match text(sent, "eventType") {
            "" | "default" => Ok(()),
            "birthday" if is_primary => Ok(()),
            "focusTime" | "outOfOffice" | "workingLocation" if is_primary && is_workspace => Ok(()),
            _ => Err(ApiError::new(
                400,
                "calendar",
                "eventTypeRestriction",
                "An event of this type cannot be created here.",
            )),
        }
    }

    fn living_of_uid(&self, calendar: &str, uid: &str) -> Option<Map<String, Value>> {
        let calendar = self.calendars.get(calendar)?;
        let stored = calendar.of_uid(uid).find(|stored| !stored.is_cancelled && stored.series.is_none())?;
        Some(stored.map())
    }

    /// Completes, checks and stores a new event.
    fn store_new(
        &mut self,
        calendar: &str,
        who: &str,
        mut new: Map<String, Value>,
        zone: &str,
        now: i64,
    ) -> Result<Map<String, Value>, ApiError> {
        let id = match text(&new, "id") {
            "" => self.new_id(),
            chosen => chosen.to_owned(),
        };
        let link = format!("https://www.google.com/calendar/event?eid={id}");
        new.insert("id".to_owned(), id.as_str().into());
        new.insert("htmlLink".to_owned(), link.into());
        new.insert("kind".to_owned(), "calendar#event".into());
        new.insert("created".to_owned(), times::stamp(now).into());
        new.insert("creator".to_owned(), json!({ "email": who }));
        for (name, value) in [
            ("organizer", json!({ "email": calendar })),
            ("status", json!("confirmed")),
            ("iCalUID", json!(format!("{id}@google.com"))),
            ("sequence", json!(0)),
            ("eventType", json!("default")),
            ("reminders", json!({ "useDefault": true })),
        ] {
            new.entry(name).or_insert(value);
        }
        event::check(&new, zone)?;
        event::normalise_times(&mut new, zone);
        conference::settle(&mut new, self.habits.conference);
        guests::mark(&mut new, calendar);
        Ok(self.put(calendar, new, now))
    }

    /// Stores an event in a calendar that exists, and notes that it changed.
    pub(crate) fn put(&mut self, calendar: &str, event: Map<String, Value>, now: i64) -> Map<String, Value> {
        let revision = self.next_revision();
        self.changed.insert(calendar.to_owned());
        match self.calendars.get_mut(calendar) {
            Some(calendar) => calendar.store(event, revision, now),
            None => event,
        }
    }

    pub(crate) fn import(&mut self, call: &Call<'_>, calendar: &str) -> Result<Reply, ApiError> {
        let zone = self.open(&call.who, calendar, GoogleRole::WriterWithoutPrivateAccess)?.time_zone.clone();
        let mut sent = call.document()?;
        event::check_types(&sent)?;
        sent.retain(|_, value| !value.is_null());
        let uid = text(&sent, "iCalUID").to_owned();
        if uid.is_empty() {
            return Err(ApiError::required("Missing iCalendar UID."));
        }
        if !matches!(text(&sent, "eventType"), "" | "default") {
            return Err(ApiError::invalid("Only default events can be imported."));
        }
        if !call.has_conferences()? {
            sent.remove("conferenceData");
        }
        let stored = match self.living_of_uid(calendar, &uid) {
            None => {
                sent.remove("id");
                self.store_new(calendar, &call.who, sent, &zone, call.now)?
            }
            Some(mut known) => {
                sent.retain(|name, _| !matches!(name.as_str(), "id" | "etag" | "kind" | "created"));
                known.extend(sent);
                event::check(&known, &zone)?;
                event::normalise_times(&mut known, &zone);
                guests::mark(&mut known, calendar);
                self.put(calendar, known, call.now)
            }
        };
        Ok(Reply::Document(Value::Object(stored)))
    }

    pub(crate) fn change(
        &mut self,
        call: &Call<'_>,
        (calendar, id): (&str, &str),
        manner: Manner,
    ) -> Result<Reply, ApiError> {
        let zone = self.open(&call.who, calendar, GoogleRole::WriterWithoutPrivateAccess)?.time_zone.clone();
        let before = self.find(calendar, id, call.now).ok_or_else(ApiError::not_found)?;
        call.check_match(text(&before, "etag"))?;
        let mut sent = call.document()?;
        event::check_types(&sent)?;
        let whom = call.send_updates()?;
        if sent.get("sequence").and_then(Value::as_u64) < before.get("sequence").and_then(Value::as_u64)
            && sent.contains_key("sequence")
        {
            return Err(ApiError::invalid("Invalid sequence value."));
        }
        if !call.has_conferences()? {
            sent.remove("conferenceData");
        }
        let is_organizer = guests::organizer(&before) == calendar;
        if !is_organizer {
            check_guest_flags(&before, &sent, manner)?;
        }
        let mut after = changed(&before, sent, manner, call.has_conferences()?);
        if !is_organizer && after.get("attendees") != before.get("attendees") {
            keep_other_answers(&before, &mut after, calendar);
        }
        if text(&after, "status") == "cancelled" && text(&before, "status") != "cancelled" {
            return Ok(Reply::Document(self.remove(calendar, &before, (whom, call.now))));
        }
        event::check(&after, &zone)?;
        event::normalise_times(&mut after, &zone);
        raise_sequence(&before, &mut after);
        conference::renew(&before, &mut after);
        conference::settle(&mut after, self.habits.conference);
        guests::mark(&mut after, calendar);
        let after = self.put(calendar, after, call.now);
        self.drop_orphans(calendar, &before, &after, call.now);
        self.spread(calendar, Some(&before), &after, (whom, call.now));
        Ok(Reply::Document(Value::Object(after)))
    }

    /// Exceptions whose original start the changed series no longer has are gone.
    fn drop_orphans(
        &mut self,
        name: &str,
        before: &Map<String, Value>,
        after: &Map<String, Value>,
        now: i64,
    ) {
        let same = |field: &str| before.get(field) == after.get(field);
        if same("recurrence") && same("start") {
            return;
        }
        let Some(calendar) = self.calendars.get(name) else { return };
        let zone = calendar.time_zone.clone();
        let exceptions = calendar.exceptions(text(after, "id"));
        let orphans: Vec<Map<String, Value>> = exceptions
            .iter()
            .filter_map(|id| calendar.get(id))
            .filter(|stored| !stored.is_cancelled)
            .map(super::calendar::Stored::map)
            .filter(|exception| !has_start(after, exception, &zone, now))
            .collect();
        for mut orphan in orphans {
            orphan.insert("status".to_owned(), "cancelled".into());
            self.put(name, orphan, now);
        }
    }

    pub(crate) fn delete_event(
        &mut self,
        call: &Call<'_>,
        (calendar, id): (&str, &str),
    ) -> Result<Reply, ApiError> {
        self.open(&call.who, calendar, GoogleRole::WriterWithoutPrivateAccess)?;
        let before = self.find(calendar, id, call.now).ok_or_else(ApiError::not_found)?;
        if text(&before, "status") == "cancelled" {
            return Err(ApiError::deleted());
        }
        call.check_match(text(&before, "etag"))?;
        let whom = call.send_updates()?;
        self.remove(calendar, &before, (whom, call.now));
        Ok(Reply::Empty)
    }

    /// Cancels an event, and with a series its exceptions.
    pub(crate) fn remove(
        &mut self,
        calendar: &str,
        before: &Map<String, Value>,
        (whom, now): (SendUpdates, i64),
    ) -> Value {
        let exceptions = self.calendars.get(calendar).map(|known| known.exceptions(text(before, "id")));
        for id in exceptions.unwrap_or_default() {
            let stored = self.calendars.get(calendar).and_then(|known| known.get(&id));
            let Some(mut exception) =
                stored.filter(|stored| !stored.is_cancelled).map(super::calendar::Stored::map)
            else {
                continue;
            };
            exception.insert("status".to_owned(), "cancelled".into());
            self.put(calendar, exception, now);
        }
        let mut after = before.clone();
        after.insert("status".to_owned(), "cancelled".into());
        let after = self.put(calendar, after, now);
        self.spread(calendar, Some(before), &after, (whom, now));
        Value::Object(after)
    }

    pub(crate) fn move_event(
        &mut self,
        call: &Call<'_>,
        (from, id): (&str, &str),
    ) -> Result<Reply, ApiError> {
        let destination =
            call.text("destination").ok_or_else(|| ApiError::required("Required parameter: destination"))?;
        let to = Self::calendar_id(&call.who, destination);
        self.open(&call.who, from, GoogleRole::WriterWithoutPrivateAccess)?;
        self.open(&call.who, &to, GoogleRole::WriterWithoutPrivateAccess)?;
        let before = self.find(from, id, call.now).ok_or_else(ApiError::not_found)?;
        if text(&before, "status") == "cancelled" {
            return Err(ApiError::not_found());
        }
        if text(&before, "eventType") != "default" {
            return Err(ApiError::invalid("Only default events can be moved."));
        }
        if guests::organizer(&before) != from {
            return Err(ApiError::new(
                403,
                "calendar",
                "cannotChangeOrganizer",
                "Cannot change the organizer of an instance.",
            ));
        }
        let exceptions = self.calendars.get(from).map(|known| known.exceptions(id)).unwrap_or_default();
        let mut moving = vec![before];
        moving.extend(
            exceptions
                .iter()
                .filter_map(|id| self.calendars.get(from)?.get(id).map(super::calendar::Stored::map)),
        );
        let mut first = None;
        for old in moving {
            let mut gone = old.clone();
            gone.insert("status".to_owned(), "cancelled".into());
            self.put(from, gone, call.now);
            let mut new = old;
            new.insert("organizer".to_owned(), json!({ "email": to }));
            guests::mark(&mut new, &to);
            let new = self.put(&to, new, call.now);
            first.get_or_insert(new);
        }
        Ok(Reply::Document(Value::Object(first.unwrap_or_default())))
    }
}

/// The event after a change, with what a client cannot change as it was.
fn changed(
    before: &Map<String, Value>,
    mut sent: Map<String, Value>,
    manner: Manner,
    has_conferences: bool,
) -> Map<String, Value> {
    sent.retain(|name, _| !event::READ_ONLY.contains(&name.as_str()));
    match manner {
        Manner::Merge => {
            let mut after = before.clone();
            event::merge(&mut after, &sent);
            if sent.get("conferenceData").is_some_and(Value::is_null) {
                after.remove("hangoutLink");
            }
            after
        }
        Manner::Replace => {
            sent.retain(|_, value| !value.is_null());
            let mut after = sent;
            let mut kept = event::READ_ONLY.to_vec();
            kept.push("sequence");
            if !has_conferences {
                kept.push("conferenceData");
            }
            for name in kept {
                if let Some(value) = before.get(name) {
                    after.entry(name).or_insert_with(|| value.clone());
                }
            }
            if !after.contains_key("conferenceData") {
                after.remove("hangoutLink");
            }
            after.entry("status").or_insert_with(|| json!("confirmed"));
            after.entry("reminders").or_insert_with(|| json!({ "useDefault": true }));
            after
        }
    }
}

/// A guest may not touch what the organizer alone decides.
fn check_guest_flags(
    before: &Map<String, Value>,
    sent: &Map<String, Value>,
    manner: Manner,
) -> Result<(), ApiError> {
    for name in ["guestsCanModify", "guestsCanInviteOthers", "guestsCanSeeOtherGuests"] {
        let is_touched = match (manner, sent.get(name)) {
            (_, Some(value)) => Some(value) != before.get(name),
            (Manner::Replace, None) => before.contains_key(name),
            (Manner::Merge, None) => false,
        };
        if is_touched {
            return Err(ApiError::not_organizer());
        }
    }
    Ok(())
}

/// Of the guests a guest has sent only its own entry counts.
fn keep_other_answers(before: &Map<String, Value>, after: &mut Map<String, Value>, own: &str) {
    let entries = |event: &Map<String, Value>| event.get("attendees").and_then(Value::as_array).cloned();
    let is_own = |guest: &Value| {
        guest.get("email").and_then(Value::as_str).is_some_and(|email| email.eq_ignore_ascii_case(own))
    };
    let sent = entries(after).unwrap_or_default().into_iter().find(|guest| is_own(guest));
    let mut guests = entries(before).unwrap_or_default();
    if let (Some(sent), Some(entry)) = (sent, guests.iter_mut().find(|guest| is_own(guest))) {
        *entry = sent;
    }
    after.remove("attendeesOmitted");
    after.insert("attendees".to_owned(), Value::Array(guests));
}

/// Another time, rule or place is a new version of the invitation.
fn raise_sequence(before: &Map<String, Value>, after: &mut Map<String, Value>) {
    let zone = "UTC";
    let is_moved = times::bounds(before, zone) != times::bounds(after, zone)
        || before.get("recurrence") != after.get("recurrence");
    let old = before.get("sequence").and_then(Value::as_u64).unwrap_or(0);
    let sent = after.get("sequence").and_then(Value::as_u64).unwrap_or(old);
    let new = if is_moved { sent.max(old + 1) } else { sent };
    after.insert("sequence".to_owned(), new.into());
}

/// Whether a series still has the original start of an exception.
fn has_start(master: &Map<String, Value>, exception: &Map<String, Value>, zone: &str, now: i64) -> bool {
    let Some(original) = exception.get("originalStartTime").and_then(|value| When::read(value, zone)) else {
        return false;
    };
    let until = original.milliseconds(zone) + 86_400_000;
    let starts = times::starts(master, zone, Some(until), now).unwrap_or_default();
    starts.iter().any(|start| start.milliseconds(zone) == original.milliseconds(zone))
}
