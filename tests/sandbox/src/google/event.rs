//! What makes an event a sound one: checks of what a client sends, and what Google adds.

use serde_json::{Map, Value, json};

use super::calendar::text;
use super::error::ApiError;
use super::times::{self, When};

/// Fields that no client can set after creation.
pub(crate) const READ_ONLY: [&str; 13] = [
    "kind",
    "etag",
    "id",
    "created",
    "updated",
    "creator",
    "organizer",
    "iCalUID",
    "htmlLink",
    "eventType",
    "recurringEventId",
    "originalStartTime",
    "hangoutLink",
];

/// Fields that hold text.
const TEXTS: [&str; 10] = [
    "id",
    "summary",
    "description",
    "location",
    "colorId",
    "status",
    "visibility",
    "transparency",
    "iCalUID",
    "eventType",
];

/// Most override reminders of an event.
const MOST_REMINDERS: usize = 5;

/// Checks the types of the fields a client has sent.
pub(crate) fn check_types(sent: &Map<String, Value>) -> Result<(), ApiError> {
    let wrong = |name: &str| Err(ApiError::invalid(&format!("Invalid value for: {name}")));
    for name in TEXTS {
        if sent.get(name).is_some_and(|value| !value.is_string() && !value.is_null()) {
            return wrong(name);
        }
    }
    for name in ["start", "end", "originalStartTime", "extendedProperties", "reminders", "conferenceData"] {
        if sent.get(name).is_some_and(|value| !value.is_object() && !value.is_null()) {
            return wrong(name);
        }
    }
    for name in ["attendees", "recurrence", "attachments"] {
        if sent.get(name).is_some_and(|value| !value.is_array() && !value.is_null()) {
            return wrong(name);
        }
    }
    if sent.get("sequence").is_some_and(|value| !value.is_u64() && !value.is_null()) {
        return wrong("sequence");
    }
    Ok(())
}

/// Checks an event as it would be stored.
pub(crate) fn check(event: &Map<String, Value>, zone: &str) -> Result<(), ApiError> {
    let among = |name: &str, words: &[&str]| {
        let word = text(event, name);
        if word.is_empty() || words.contains(&word) {
            return Ok(());
        }
        Err(ApiError::invalid(&format!("Invalid value for: {word} is not a valid {name}")))
    };
    among("status", &["confirmed", "tentative", "cancelled"])?;
    among("visibility", &["default", "public", "private", "confidential"])?;
    among("transparency", &["opaque", "transparent"])?;
    let side = |name: &str| match event.get(name) {
        None => Err(ApiError::required(&format!("Missing {name} time."))),
        Some(value) => When::read(value, zone)
            .ok_or_else(|| ApiError::invalid(&format!("Invalid value for: {name} time"))),
    };
    let (start, end) = (side("start")?, side("end")?);
    if matches!(start, When::Date(_)) != matches!(end, When::Date(_)) {
        return Err(ApiError::invalid("Invalid start time."));
    }
    if end.milliseconds(zone) < start.milliseconds(zone) {
        return Err(ApiError::new(400, "calendar", "timeRangeEmpty", "The specified time range is empty."));
    }
    check_recurrence(event, start, zone)?;
    check_guests(event)?;
    check_reminders(event)
}

fn check_recurrence(event: &Map<String, Value>, start: When, zone: &str) -> Result<(), ApiError> {
    if !event.contains_key("recurrence") {
        return Ok(());
    }
    let has_zone = event.get("start").is_some_and(|start| start.get("timeZone").is_some());
    if matches!(start, When::Time(_)) && !has_zone {
        return Err(ApiError::required("Missing time zone definition for start time."));
    }
    let unsound = ApiError::invalid("Invalid recurrence rule.");
    let until = start.milliseconds(zone);
    times::starts(event, zone, Some(until), until).map(drop).map_err(|_| unsound)
}

fn check_guests(event: &Map<String, Value>) -> Result<(), ApiError> {
    let guests = event.get("attendees").and_then(Value::as_array);
    for guest in guests.into_iter().flatten() {
        let email = guest.get("email").and_then(Value::as_str).unwrap_or_default();
        if !email.contains('@') {
            return Err(ApiError::required("Missing attendee email."));
        }
        let answer = guest.get("responseStatus").and_then(Value::as_str).unwrap_or("needsAction");
        if !["needsAction", "declined", "tentative", "accepted"].contains(&answer) {
            return Err(ApiError::invalid("Invalid attendee response status."));
        }
    }
    Ok(())
}

fn check_reminders(event: &Map<String, Value>) -> Result<(), ApiError> {
    let Some(reminders) = event.get("reminders") else { return Ok(()) };
    let overrides = reminders.get("overrides").and_then(Value::as_array).map_or(0, Vec::len);
    if reminders.get("useDefault") == Some(&json!(true)) && overrides > 0 {
        return Err(ApiError::new(
            400,
            "calendar",
            "cannotUseDefaultRemindersAndSpecifyOverride",
            "Cannot specify both default reminders and overrides at the same time.",
        ));
    }
    if overrides > MOST_REMINDERS {
        return Err(ApiError::invalid("Too many override reminders."));
    }
    Ok(())
}

/// Checks an id that a client chose: base32hex, 5 to 1,024 letters.
pub(crate) fn check_id(id: &str) -> Result<(), ApiError> {
    let allowed = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'v').contains(&byte);
    if (5..=1024).contains(&id.len()) && id.bytes().all(allowed) {
        return Ok(());
    }
    Err(ApiError::invalid("Invalid resource id value."))
}

/// Writes times as Google answers them.
pub(crate) fn normalise_times(event: &mut Map<String, Value>, zone: &str) {
    for name in ["start", "end"] {
        let Some(value) = event.get(name) else { continue };
        let Some(when) = When::read(value, zone) else { continue };
        event.insert(name.to_owned(), when.value());
    }
}

/// Lays a patch over a value: null removes, objects merge, anything else replaces.
pub(crate) fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(name)),
            Value::Object(inner) => {
                let below = target.entry(name.clone()).or_insert_with(|| json!({}));
                if !below.is_object() {
                    *below = json!({});
                }
                if let Some(below) = below.as_object_mut() {
                    merge(below, inner);
                }
            }
            other => drop(target.insert(name.clone(), other.clone())),
        }
    }
}

/// What a listing shows of a cancelled event.
pub(crate) fn cancelled(event: &Map<String, Value>) -> Map<String, Value> {
    let mut shown = Map::new();
    for name in ["kind", "etag", "id", "status", "recurringEventId", "originalStartTime"] {
        if let Some(value) = event.get(name) {
            shown.insert(name.to_owned(), value.clone());
        }
    }
    shown
}

/// What somebody sees who may know of an event's time only.
pub(crate) fn busy_only(event: &Map<String, Value>) -> Map<String, Value> {
    let mut shown = cancelled(event);
    for name in ["start", "end", "recurrence", "iCalUID", "created", "updated", "eventType", "transparency"] {
        if let Some(value) = event.get(name) {
            shown.insert(name.to_owned(), value.clone());
        }
    }
    shown.insert("visibility".to_owned(), "private".into());
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_five_letters_of_base32hex_or_more() {
        assert!(check_id("abc01").is_ok());
        assert!(check_id("abcd").is_err());
        assert!(check_id("abcdw").is_err());
        assert!(check_id("ABCDE").is_err());
        assert!(check_id(&"a".repeat(1_025)).is_err());
    }

    #[test]
    fn a_patch_removes_by_null_and_merges_objects() {
        let mut event = json!({ "start": { "date": "2026-01-01" }, "summary": "a" });

        let patch = json!({ "start": { "date": null, "dateTime": "t" }, "summary": null });
        merge(event.as_object_mut().unwrap(), patch.as_object().unwrap());

        assert_eq!(event, json!({ "start": { "dateTime": "t" } }));
    }
}
