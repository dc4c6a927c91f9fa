//! Answers of attendees, cancellations and forwards: what is written with a verb instead of a document.

use serde_json::{Map, Value, json};

use super::calendar::Stored;
use super::call::{Call, Reply};
use super::error::ApiError;
use super::fields::{address, parameter, text};
use super::guests::organizer;
use super::{Found, Graph, times};
use crate::mail::MailKind;

/// The verbs of an attendee, and the answers they stand for.
const ANSWERS: [(&str, &str); 3] =
    [("accept", "accepted"), ("tentativelyAccept", "tentativelyAccepted"), ("decline", "declined")];

impl Graph {
    /// Carries out a verb on an event.
    pub(crate) fn act(&mut self, call: &Call<'_>, found: &Found, verb: &str) -> Result<Reply, ApiError> {
        self.check_edit(&call.who, &found.calendar)?;
        let sent = call.document()?;
        let own = self.stored(found)?.own(found.day);
        let is_organizer = own.get("isOrganizer") == Some(&json!(true));
        if let Some((_, answer)) = ANSWERS.iter().find(|(name, _)| *name == verb) {
            if is_organizer {
                return Err(ApiError::invalid(
                    "Your request can't be completed. You can't respond to this meeting because you're the meeting organizer.",
                ));
            }
            if *answer == "accepted"
                && parameter(&sent, "proposedNewTime").is_some_and(|time| !time.is_null())
            {
                return Err(ApiError::invalid("A new time cannot be proposed with an acceptance."));
            }
            let is_sent = parameter(&sent, "sendResponse").is_none_or(|value| *value != json!(false));
            let before = self.mails.len();
            self.respond(call, found, (answer, is_sent))?;
            self.say(before, &sent);
            return Ok(Reply::Empty(202));
        }
        match verb {
            "cancel" if !is_organizer => Err(ApiError::invalid(
                "Your request can't be completed. You need to be an organizer to cancel a meeting.",
            )),
            "cancel" => {
                let before = self.mails.len();
                self.drop_event(found, call.now);
                self.say(before, &sent);
                Ok(Reply::Empty(202))
            }
            "forward" => {
                self.forward(call, found, &sent)?;
                Ok(Reply::Empty(202))
            }
            "dismissReminder" | "snoozeReminder" => Ok(Reply::Empty(200)),
            _ => Err(ApiError::resource_not_found()),
        }
    }

    /// Puts the comment of a request into the mails that it has made.
    fn say(&mut self, before: usize, sent: &Map<String, Value>) {
        let comment = parameter(sent, "comment").and_then(Value::as_str).filter(|text| !text.is_empty());
        for mail in self.mails.iter_mut().skip(before) {
            mail.comment = comment.map(str::to_owned);
        }
    }

    /// Writes an attendee's answer into both copies; a declined meeting leaves the calendar.
    fn respond(
        &mut self,
        call: &Call<'_>,
        found: &Found,
        (answer, is_sent): (&str, bool),
    ) -> Result<(), ApiError> {
        let stored = self.stored(found)?.clone();
        let mut own = stored.own(found.day);
        let leader = organizer(&own);
        let uid = text(&own, "iCalUId").to_owned();
        let who = self.open(&call.who, &found.calendar)?.owner.clone();
        if answer == "declined" {
            match found.day {
                Some(day) => self.cancel_occurrence(found, day),
                None => drop(self.take(&found.calendar, found.serial)),
            }
        } else {
            let status = json!({ "response": answer, "time": times::stamp_seconds(call.now) });
            own.insert("responseStatus".to_owned(), status);
            let shown_as = if answer == "accepted" { "busy" } else { "tentative" };
            own.insert("showAs".to_owned(), shown_as.into());
            self.rewrite(found, own, call.now)?;
        }
        if !is_sent {
            return Ok(());
        }
        if let Some(original) = self.copy_of(&leader, &uid) {
            self.note_answer(&Found { day: found.day, ..original }, (&who, answer), call.now)?;
        }
        self.mail((&who, &leader), MailKind::Response, (&stored, found.day), call.now);
        Ok(())
    }

    /// Writes an answer into the organizer's list of attendees.
    fn note_answer(&mut self, found: &Found, (who, answer): (&str, &str), now: i64) -> Result<(), ApiError> {
        let mut own = self.stored(found)?.own(found.day);
        let Some(all) = own.get_mut("attendees").and_then(Value::as_array_mut) else { return Ok(()) };
        for attendee in all.iter_mut().filter(|attendee| address(attendee).eq_ignore_ascii_case(who)) {
            let status = json!({ "response": answer, "time": times::stamp_seconds(now) });
            super::set(attendee, "status", status);
        }
        self.rewrite(found, own, now)
    }

    /// Stores other fields of an event or occurrence, at the same time.
    pub(crate) fn rewrite(
        &mut self,
        found: &Found,
        own: Map<String, Value>,
        now: i64,
    ) -> Result<(), ApiError> {
        let stored = self.stored(found)?.clone();
        if let Some(day) = found.day {
            return self.put_occurrence(found, day, &own, (stored.slot(Some(day)), now));
        }
        let own = Value::Object(own).to_string().into();
        self.put(&found.calendar, Stored { own, ..stored }, now);
        Ok(())
    }

    /// Invites further people; the mail goes out in the name of who forwards.
    fn forward(&mut self, call: &Call<'_>, found: &Found, sent: &Map<String, Value>) -> Result<(), ApiError> {
        let stored = self.stored(found)?.clone();
        let to = parameter(sent, "toRecipients").and_then(Value::as_array).cloned().unwrap_or_default();
        let to: Vec<String> =
            to.iter().map(|who| address(who).to_lowercase()).filter(|to| !to.is_empty()).collect();
        if to.is_empty() {
            return Err(ApiError::new(400, "ErrorInvalidRecipients", "At least one recipient is not valid."));
        }
        for address in to {
            self.mail((&call.who, &address), MailKind::Invitation, (&stored, found.day), call.now);
        }
        Ok(())
    }
}
