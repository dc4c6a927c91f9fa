//! What one person's write does to the other people's copies, and whom it would have written to.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Google;
use super::calendar::text;
use crate::mail::{Mail, MailKind};

/// Fields that are the same in all copies.
const SHARED: [&str; 21] = [
    "summary",
    "description",
    "location",
    "start",
    "end",
    "recurrence",
    "status",
    "attendees",
    "organizer",
    "creator",
    "conferenceData",
    "hangoutLink",
    "sequence",
    "iCalUID",
    "eventType",
    "visibility",
    "guestsCanModify",
    "guestsCanInviteOthers",
    "guestsCanSeeOtherGuests",
    "recurringEventId",
    "originalStartTime",
];

/// Whom a write tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendUpdates {
    All,
    ExternalOnly,
    Nobody,
}

/// Addresses of the guests.
pub(crate) fn addresses(event: &Map<String, Value>) -> BTreeSet<String> {
    let guests = event.get("attendees").and_then(Value::as_array);
    guests
        .into_iter()
        .flatten()
        .filter_map(|guest| guest.get("email")?.as_str())
        .map(str::to_lowercase)
        .collect()
}

/// The address of the organizer.
pub(crate) fn organizer(event: &Map<String, Value>) -> &str {
    event.get("organizer").and_then(|who| who.get("email")).and_then(Value::as_str).unwrap_or_default()
}

/// Sets the `self` and `organizer` marks for the owner of a copy, and what a guest's entry lacks.
pub(crate) fn mark(event: &mut Map<String, Value>, calendar: &str) {
    let leader = organizer(event).to_owned();
    for role in ["organizer", "creator"] {
        if let Some(Value::Object(who)) = event.get_mut(role) {
            let own = text(who, "email") == calendar;
            who.remove("self");
            if own {
                who.insert("self".to_owned(), true.into());
            }
        }
    }
    let Some(guests) = event.get_mut("attendees").and_then(Value::as_array_mut) else { return };
    for guest in guests.iter_mut().filter_map(Value::as_object_mut) {
        let email = text(guest, "email").to_lowercase();
        guest.remove("self");
        guest.remove("organizer");
        if email == calendar {
            guest.insert("self".to_owned(), true.into());
        }
        if email == leader {
            guest.insert("organizer".to_owned(), true.into());
        }
        guest.entry("responseStatus").or_insert_with(|| json!("needsAction"));
    }
}

/// The answer of one guest.
fn answer_of(event: &Map<String, Value>, email: &str) -> Option<Map<String, Value>> {
    let guests = event.get("attendees")?.as_array()?;
    guests
        .iter()
        .filter_map(Value::as_object)
        .find(|guest| text(guest, "email").eq_ignore_ascii_case(email))
        .cloned()
}

impl Google {
    /// Carries a write on the calendar over to the other copies.
    ///
    /// `before` is the copy as it was; `None` for a new one.
    pub(crate) fn spread(
        &mut self,
        calendar: &str,
        before: Option<&Map<String, Value>>,
        after: &Map<String, Value>,
        (whom, now): (SendUpdates, i64),
    ) {
        if organizer(after) == calendar {
            self.spread_as_organizer(calendar, before, after, (whom, now));
        } else {
            self.spread_answer(calendar, after, (whom, now));
        }
    }

    fn spread_as_organizer(
        &mut self,
        calendar: &str,
        before: Option<&Map<String, Value>>,
        after: &Map<String, Value>,
        (whom, now): (SendUpdates, i64),
    ) {
        let guests = addresses(after);
        let earlier = before.map(addresses).unwrap_or_default();
        let is_cancelled = text(after, "status") == "cancelled";
        for guest in guests.union(&earlier).filter(|guest| *guest != calendar) {
            let is_gone = is_cancelled || !guests.contains(guest);
            let kind = match (is_gone, earlier.contains(guest)) {
                (true, _) => MailKind::Cancellation,
                (false, true) => MailKind::Update,
                (false, false) => MailKind::Invitation,
            };
            if self.accounts.contains_key(guest) {
                self.copy_to(guest, after, is_gone, now);
            }
            self.mail(calendar, guest, kind, after, (whom, now));
        }
    }

    /// Brings the copy in a guest's own calendar up to date.
    fn copy_to(&mut self, guest: &str, event: &Map<String, Value>, is_gone: bool, now: i64) {
        let revision = self.next_revision();
        let Some(calendar) = self.calendars.get_mut(guest) else { return };
        let old = calendar.get(text(event, "id")).map(super::calendar::Stored::map);
        if is_gone && old.is_none() {
            return;
        }
        let mut copy = old.unwrap_or_else(|| {
            let mut fresh = event.clone();
            for private in ["colorId", "extendedProperties", "reminders"] {
                fresh.remove(private);
            }
            fresh.insert("reminders".to_owned(), json!({ "useDefault": true }));
            fresh
        });
        for field in SHARED {
            match event.get(field) {
                Some(value) => drop(copy.insert(field.to_owned(), value.clone())),
                None => drop(copy.remove(field)),
            }
        }
        if let Some(shared) = event.get("extendedProperties").and_then(|all| all.get("shared")) {
            let all = copy.entry("extendedProperties").or_insert_with(|| json!({}));
            if let Some(all) = all.as_object_mut() {
                all.insert("shared".to_owned(), shared.clone());
            }
        }
        if is_gone {
            copy.insert("status".to_owned(), "cancelled".into());
        }
        mark(&mut copy, guest);
        calendar.store(copy, revision, now);
        self.changed.insert(guest.to_owned());
    }

    /// Carries a guest's answer to the organizer's copy, and from there to all others.
    fn spread_answer(&mut self, guest: &str, copy: &Map<String, Value>, (whom, now): (SendUpdates, i64)) {
        let leader = organizer(copy).to_owned();
        let Some(mut answer) = answer_of(copy, guest) else { return };
        if text(copy, "status") == "cancelled" {
            answer.insert("responseStatus".to_owned(), "declined".into());
        }
        let zone = self.calendars.get(&leader).map(|calendar| calendar.time_zone.clone());
        let Some(original) = self.find(&leader, text(copy, "id"), now) else { return };
        let mut event = original.clone();
        let Some(guests) = event.get_mut("attendees").and_then(Value::as_array_mut) else { return };
        let mut has_changed = false;
        for entry in guests.iter_mut().filter_map(Value::as_object_mut) {
            if !text(entry, "email").eq_ignore_ascii_case(guest) {
                continue;
            }
            for field in ["responseStatus", "comment", "additionalGuests"] {
                if let Some(value) = answer.get(field) {
                    has_changed |= entry.get(field) != Some(value);
                    entry.insert(field.to_owned(), value.clone());
                }
            }
        }
        if !has_changed || zone.is_none() {
            return;
        }
        mark(&mut event, &leader);
        let revision = self.next_revision();
        if let Some(calendar) = self.calendars.get_mut(&leader) {
            event = calendar.store(event, revision, now);
        }
        self.changed.insert(leader.clone());
        for other in addresses(&event).into_iter().filter(|other| *other != leader && other != guest) {
            if self.accounts.contains_key(&other) {
                self.copy_to(&other, &event, false, now);
            }
        }
        self.mail(guest, &leader, MailKind::Response, &event, (whom, now));
    }

    fn mail(
        &mut self,
        from: &str,
        to: &str,
        kind: MailKind,
        event: &Map<String, Value>,
        (whom, at): (SendUpdates, i64),
    ) {
        let is_told = match whom {
            SendUpdates::All => true,
            SendUpdates::ExternalOnly => !self.accounts.contains_key(to),
            SendUpdates::Nobody => false,
        };
        if is_told {
            self.mails.push(Mail {
                at,
                provider: "google".to_owned(),
                from: from.to_owned(),
                to: to.to_owned(),
                kind,
                event: text(event, "id").to_owned(),
                subject: text(event, "summary").to_owned(),
                comment: None,
            });
        }
    }
}
