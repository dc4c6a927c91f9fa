//! The fields of an event that a client may write, checked and brought into the form they are kept in.

use serde_json::{Map, Value, json};

use super::account::Account;
use super::error::ApiError;
use super::{body, times};

/// Most attendees of an event.
const MOST_ATTENDEES: usize = 500;

/// Fields that are made here, and in a client's document mean nothing.
const READ_ONLY: [&str; 22] = [
    "id",
    "changeKey",
    "createdDateTime",
    "lastModifiedDateTime",
    "iCalUId",
    "bodyPreview",
    "organizer",
    "isOrganizer",
    "isCancelled",
    "isDraft",
    "responseStatus",
    "type",
    "seriesMasterId",
    "originalStart",
    "originalStartTimeZone",
    "originalEndTimeZone",
    "webLink",
    "hasAttachments",
    "onlineMeeting",
    "onlineMeetingUrl",
    "cancelledOccurrences",
    "occurrenceId",
];

/// Fields that hold one word of a few.
const WORDS: [(&str, &[&str]); 3] = [
    ("importance", &["low", "normal", "high"]),
    ("sensitivity", &["normal", "personal", "private", "confidential"]),
    ("showAs", &["free", "tentative", "busy", "oof", "workingElsewhere", "unknown"]),
];

/// Fields that hold a truth.
const FLAGS: [&str; 6] = [
    "isAllDay",
    "isReminderOn",
    "responseRequested",
    "allowNewTimeProposals",
    "hideAttendees",
    "isOnlineMeeting",
];

/// A field's text, empty when it has none.
pub(crate) fn text<'a>(event: &'a Map<String, Value>, name: &str) -> &'a str {
    event.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A parameter of an action, whose name clients begin with either case.
pub(crate) fn parameter<'a>(sent: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    sent.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Checks the types of what was sent.
fn check(sent: &Map<String, Value>) -> Result<(), ApiError> {
    let wrong = |name: &str| Err(ApiError::property(&format!("Property {name} has an invalid value.")));
    for (name, words) in WORDS {
        if sent.get(name).is_some_and(|value| !value.as_str().is_some_and(|word| words.contains(&word))) {
            return wrong(name);
        }
    }
    for name in FLAGS {
        if sent.get(name).is_some_and(|value| !value.is_boolean()) {
            return wrong(name);
        }
    }
    for name in ["attendees", "categories", "locations", "singleValueExtendedProperties", "extensions"] {
        if sent.get(name).is_some_and(|value| !value.is_array() && !value.is_null()) {
            return wrong(name);
        }
    }
    if sent.get("subject").is_some_and(|value| !value.is_string() && !value.is_null()) {
        return wrong("subject");
    }
    for name in ["body", "location", "start", "end", "recurrence"] {
        if sent.get(name).is_some_and(|value| !value.is_object() && !value.is_null()) {
            return wrong(name);
        }
    }
    Ok(())
}

/// Writes what was sent over the stored fields; times and recurrence are no business of this.
pub(crate) fn write(
    own: &mut Map<String, Value>,
    sent: &Map<String, Value>,
    is_new: bool,
) -> Result<(), ApiError> {
    check(sent)?;
    for (name, value) in sent {
        match name.as_str() {
            "start" | "end" | "isAllDay" | "recurrence" | "isOnlineMeeting" | "onlineMeetingProvider" => {}
            "transactionId" if !is_new => {}
            name if name.starts_with('@') || READ_ONLY.contains(&name) => {}
            "subject" => drop(own.insert(name.clone(), json!(value.as_str().unwrap_or_default()))),
            "body" => {
                let part = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
                let content = body::kept(part("contentType"), part("content"));
                own.insert(name.clone(), json!({ "contentType": "html", "content": content }));
            }
            "location" => place(own, std::slice::from_ref(value)),
            "locations" if !sent.contains_key("location") => {
                place(own, value.as_array().map(Vec::as_slice).unwrap_or_default());
            }
            "locations" => {}
            "attendees" => {
                let kept = attendees(value, own.get("attendees"))?;
                own.insert(name.clone(), kept);
            }
            "singleValueExtendedProperties" => properties(own, value),
            _ => drop(own.insert(name.clone(), value.clone())),
        }
    }
    Ok(())
}

/// One place, or several: both fields follow.
fn place(own: &mut Map<String, Value>, places: &[Value]) {
    let full = |place: &Value| {
        let name = place.get("displayName").and_then(Value::as_str).unwrap_or_default();
        let mut full = json!({
            "displayName": name,
            "locationType": "default",
            "uniqueId": name,
            "uniqueIdType": "private",
            "address": {},
            "coordinates": {},
        });
        if let (Some(full), Some(sent)) = (full.as_object_mut(), place.as_object()) {
            full.extend(
                sent.iter()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
        }
        full
    };
    let has_name = |place: &Value| !place.get("displayName").is_none_or(|name| name == "");
    let places: Vec<Value> = places.iter().map(full).filter(|place| has_name(place)).collect();
    let names: Vec<&str> = places.iter().filter_map(|place| place.get("displayName")?.as_str()).collect();
    match places.as_slice() {
        [] => drop(own.remove("location")),
        [only] => drop(own.insert("location".to_owned(), only.clone())),
        _ => drop(own.insert("location".to_owned(), full(&json!({ "displayName": names.join("; ") })))),
    }
    own.insert("locations".to_owned(), places.into());
}

/// The attendees as they are kept; who was there before keeps the answer given.
fn attendees(sent: &Value, before: Option<&Value>) -> Result<Value, ApiError> {
    let sent = sent.as_array().map(Vec::as_slice).unwrap_or_default();
    if sent.len() > MOST_ATTENDEES {
        return Err(ApiError::property("The number of attendees is over the limit of 500."));
    }
    let mut kept: Vec<Value> = Vec::new();
    for attendee in sent {
        let address = address(attendee);
        if address.is_empty() {
            return Err(ApiError::new(400, "ErrorInvalidRecipients", "At least one recipient is not valid."));
        }
        let known = before.and_then(Value::as_array).into_iter().flatten();
        let status = known
            .clone()
            .find(|known| self::address(known).eq_ignore_ascii_case(address))
            .and_then(|known| known.get("status").cloned())
            .unwrap_or_else(|| json!({ "response": "none", "time": times::NEVER }));
        let name = attendee.get("emailAddress").and_then(|who| who.get("name")).and_then(Value::as_str);
        kept.push(json!({
            "type": attendee.get("type").and_then(Value::as_str).unwrap_or("required"),
            "status": status,
            "emailAddress": { "name": name.unwrap_or(address), "address": address },
        }));
    }
    Ok(kept.into())
}

/// The address of an attendee or organizer.
pub(crate) fn address(who: &Value) -> &str {
    who.get("emailAddress").and_then(|email| email.get("address")).and_then(Value::as_str).unwrap_or_default()
}

/// Extended properties are set one by one; `null` takes one away.
fn properties(own: &mut Map<String, Value>, sent: &Value) {
    let all = own.entry("singleValueExtendedProperties").or_insert_with(|| json!([]));
    let Some(all) = all.as_array_mut() else { return };
    for property in sent.as_array().into_iter().flatten() {
        all.retain(|known| known.get("id") != property.get("id"));
        if property.get("value").is_some_and(|value| !value.is_null()) {
            all.push(property.clone());
        }
    }
}

/// The fields of a new event that nobody sends.
pub(crate) fn fresh(account: &Account, uid: &str) -> Map<String, Value> {
    let mut own = Map::new();
    let who = json!({ "emailAddress": { "name": account.name(), "address": account.spec.email } });
    own.insert("organizer".to_owned(), who);
    own.insert("isOrganizer".to_owned(), true.into());
    own.insert("iCalUId".to_owned(), uid.into());
    own
}

/// The reminder that a timed event gets when none is spoken of.
pub(crate) fn remind(own: &mut Map<String, Value>, is_all_day: bool) {
    own.entry("isReminderOn").or_insert_with(|| json!(!is_all_day));
    own.entry("reminderMinutesBeforeStart").or_insert_with(|| json!(15));
}

/// Makes an online meeting when one is asked for, or ends it when its block is gone from the body.
pub(crate) fn meet_online(
    own: &mut Map<String, Value>,
    sent: &Map<String, Value>,
    (is_personal, key): (bool, &str),
) {
    let html = |own: &Map<String, Value>| {
        let content = own.get("body").and_then(|body| body.get("content")).and_then(Value::as_str);
        content.unwrap_or_default().to_owned()
    };
    let join_url =
        own.get("onlineMeeting").and_then(|meeting| meeting.get("joinUrl")).and_then(Value::as_str);
    if let Some(join_url) = join_url.map(str::to_owned) {
        if sent.contains_key("body") && !body::has_join_block(&html(own), &join_url) {
            for name in ["onlineMeeting", "isOnlineMeeting", "onlineMeetingProvider"] {
                own.remove(name);
            }
        }
        return;
    }
    let provider = sent.get("onlineMeetingProvider").and_then(Value::as_str).unwrap_or("teamsForBusiness");
    let is_asked = sent.get("isOnlineMeeting") == Some(&json!(true));
    if !is_asked || provider != "teamsForBusiness" || is_personal {
        return;
    }
    let join_url = format!(
        "https://teams.microsoft.com/l/meetup-join/19%3ameeting_{key}%40thread.v2/0?context=%7b%22Tid%22%3a%22{key}%22%7d"
    );
    let content = body::with_join_block(&html(own), &join_url);
    own.insert("body".to_owned(), json!({ "contentType": "html", "content": content }));
    own.insert("isOnlineMeeting".to_owned(), true.into());
    own.insert("onlineMeetingProvider".to_owned(), provider.into());
    own.insert(
        "onlineMeeting".to_owned(),
        json!({ "joinUrl": join_url, "conferenceId": null, "tollNumber": null }),
    );
}
