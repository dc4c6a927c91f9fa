//! What one person's write does to the other people's copies, and the mail that goes with it.
//!
//! Exchange has no switch against mail: whoever organizes writes to all attendees with every create, update
//! and delete; an update of nothing but the attendees writes to those that it concerns.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use serde_json::{Map, Value, json};

use super::calendar::{Stored, fields};
use super::fields::{address, text};
use super::{Found, Graph, times};
use crate::mail::{Mail, MailKind};

/// Fields that every copy has for itself.
const PERSONAL: [&str; 9] = [
    "categories",
    "isReminderOn",
    "reminderMinutesBeforeStart",
    "showAs",
    "responseStatus",
    "singleValueExtendedProperties",
    "extensions",
    "isOrganizer",
    "transactionId",
];

/// An event as it was before a write.
#[derive(Debug, Default)]
pub(crate) struct Before {
    attendees: BTreeSet<String>,
    /// The write speaks of attendees only.
    is_attendees_only: bool,
}

impl Before {
    pub(crate) fn of(stored: &Stored, day: Option<NaiveDate>, sent: &Map<String, Value>) -> Self {
        let is_attendees_only = sent.contains_key("attendees") && sent.len() == 1;
        Self { attendees: attendees(&stored.own(day)), is_attendees_only }
    }
}

/// Addresses of the attendees.
pub(crate) fn attendees(own: &Map<String, Value>) -> BTreeSet<String> {
    let all = own.get("attendees").and_then(Value::as_array);
    all.into_iter().flatten().map(|who| address(who).to_lowercase()).collect()
}

/// The address of the organizer.
pub(crate) fn organizer(own: &Map<String, Value>) -> String {
    own.get("organizer").map(|who| address(who).to_lowercase()).unwrap_or_default()
}

impl Graph {
    /// Carries an organizer's write over to the attendees' copies.
    pub(crate) fn spread(&mut self, found: &Found, before: &Before, now: i64) {
        let Ok(stored) = self.stored(found).cloned() else { return };
        let own = stored.own(found.day);
        if own.get("isOrganizer") != Some(&json!(true)) {
            return;
        }
        let leader = organizer(&own);
        let present = attendees(&own);
        for guest in present.union(&before.attendees).filter(|guest| **guest != leader) {
            let kind = match (present.contains(guest), before.attendees.contains(guest)) {
                (false, _) => MailKind::Cancellation,
                (true, false) => MailKind::Invitation,
                (true, true) => MailKind::Update,
            };
            match kind {
                MailKind::Cancellation => self.cancel_copy(guest, &stored, found.day, now),
                _ => self.copy_to(guest, &stored, now),
            }
            if kind != MailKind::Update || !before.is_attendees_only {
                self.mail((&leader, guest), kind, (&stored, found.day), now);
            }
        }
    }

    /// Tells the attendees that an event, or an occurrence, does not take place.
    pub(crate) fn spread_cancellation(&mut self, found: &Found, now: i64) {
        let Ok(stored) = self.stored(found).cloned() else { return };
        let own = stored.own(found.day);
        if own.get("isOrganizer") != Some(&json!(true)) || own.get("isCancelled") == Some(&json!(true)) {
            return;
        }
        let leader = organizer(&own);
        for guest in attendees(&own).into_iter().filter(|guest| *guest != leader) {
            self.cancel_copy(&guest, &stored, found.day, now);
            self.mail((&leader, &guest), MailKind::Cancellation, (&stored, found.day), now);
        }
    }

    /// Where somebody's copy of an event is.
    pub(crate) fn copy_of(&self, who: &str, uid: &str) -> Option<Found> {
        let account = self.accounts.get(who)?;
        account.calendars.iter().find_map(|id| {
            let calendar = self.calendars.get(id).filter(|calendar| calendar.owner == who)?;
            let serial = calendar.of_uid(uid)?.serial;
            Some(Found { calendar: id.clone(), serial, day: None })
        })
    }

    /// Brings an attendee's copy up to date, or makes it.
    fn copy_to(&mut self, guest: &str, original: &Stored, now: i64) {
        let Some(account) = self.accounts.get(guest) else { return };
        let calendar = account.default_calendar.clone();
        let theirs = original.own(None);
        let known = self.copy_of(guest, text(&theirs, "iCalUId"));
        let old = known.as_ref().and_then(|found| self.stored(found).ok().cloned());
        let mut own: Map<String, Value> =
            theirs.into_iter().filter(|(name, _)| !PERSONAL.contains(&name.as_str())).collect();
        if let Some(old) = &old {
            own.extend(fields(&old.own).into_iter().filter(|(name, _)| PERSONAL.contains(&name.as_str())));
        } else {
            own.insert("isOrganizer".to_owned(), false.into());
            own.insert("showAs".to_owned(), "tentative".into());
            let status = json!({ "response": "notResponded", "time": times::NEVER });
            own.insert("responseStatus".to_owned(), status);
            super::fields::remind(&mut own, original.slot.is_all_day);
        }
        let serial = old.as_ref().map_or_else(|| self.next_serial(), |old| old.serial);
        let mut series = original.series.clone();
        for exception in series.iter_mut().flat_map(|series| series.exceptions.values_mut()) {
            // The copy's log has entries of its own.
            exception.revision = {
                self.revision += 1;
                self.revision
            };
        }
        let copy = Stored {
            serial,
            moves: old.as_ref().map_or(0, |old| old.moves),
            own: Value::Object(own).to_string().into(),
            series,
            created: old.as_ref().map_or(now, |old| old.created),
            ..original.clone()
        };
        let calendar = known.map_or(calendar, |found| found.calendar);
        self.put(&calendar, copy, now);
    }

    /// Marks an attendee's copy as cancelled; it stays until the attendee removes it.
    fn cancel_copy(&mut self, guest: &str, original: &Stored, day: Option<NaiveDate>, now: i64) {
        let uid = text(&original.own(None), "iCalUId").to_owned();
        let Some(found) = self.copy_of(guest, &uid) else { return };
        let Ok(copy) = self.stored(&found).cloned() else { return };
        if day.is_some_and(|day| !copy.has_day(day)) {
            return;
        }
        let mut own = copy.own(day);
        own.insert("isCancelled".to_owned(), true.into());
        own.insert("showAs".to_owned(), "free".into());
        let subject = format!("Canceled: {}", text(&own, "subject"));
        own.insert("subject".to_owned(), subject.into());
        drop(self.rewrite(&Found { day, ..found }, own, now));
    }

    pub(crate) fn mail(
        &mut self,
        (from, to): (&str, &str),
        kind: MailKind,
        (stored, day): (&Stored, Option<NaiveDate>),
        at: i64,
    ) {
        self.mails.push(Mail {
            at,
            provider: "microsoft".to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            kind,
            event: stored.id(day).write(super::id::Form::Immutable),
            subject: text(&stored.own(day), "subject").to_owned(),
            comment: None,
        });
    }
}
