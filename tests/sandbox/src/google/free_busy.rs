//! `freebusy.query`: when somebody is busy, and nothing else.

use serde_json::{Map, Value, json};

use super::Google;
use super::calendar::{Calendar, text};
use super::call::{Call, Reply};
use super::error::ApiError;
use super::times;

/// Longest range, in milliseconds.
const MOST_RANGE_MS: i64 = 92 * 86_400_000;

pub(crate) fn query(google: &Google, call: &Call<'_>) -> Result<Reply, ApiError> {
    let sent = call.document()?;
    let side = |name: &str| {
        let given = text(&sent, name);
        if given.is_empty() {
            return Err(ApiError::required(&format!("Missing {name}.")));
        }
        times::instant(given).ok_or_else(|| ApiError::invalid(&format!("Invalid value for: {name}")))
    };
    let (from, until) = (side("timeMin")?, side("timeMax")?);
    if from >= until {
        return Err(ApiError::new(400, "calendar", "timeRangeEmpty", "The specified time range is empty."));
    }
    if until - from > MOST_RANGE_MS {
        return Err(ApiError::new(
            400,
            "calendar",
            "timeRangeTooLong",
            "The requested time range is too long.",
        ));
    }
    let mut calendars = Map::new();
    for item in sent.get("items").and_then(Value::as_array).into_iter().flatten() {
        let asked = item.get("id").and_then(Value::as_str).unwrap_or_default();
        let id = Google::calendar_id(&call.who, asked);
        let calendar = google.calendars.get(&id).filter(|calendar| calendar.roles.contains_key(&call.who));
        let answer = match calendar {
            Some(calendar) => json!({ "busy": busy(calendar, from, until, call.now) }),
            None => json!({ "errors": [{ "domain": "global", "reason": "notFound" }], "busy": [] }),
        };
        calendars.insert(asked.to_owned(), answer);
    }
    Ok(Reply::Document(json!({
        "kind": "calendar#freeBusy",
        "timeMin": times::stamp(from),
        "timeMax": times::stamp(until),
        "calendars": calendars,
    })))
}

/// Busy times within the range, joined where they touch.
fn busy(calendar: &Calendar, from: i64, until: i64, now: i64) -> Vec<Value> {
    let mut spans = Vec::new();
    for (_, stored) in calendar.all().filter(|(_, stored)| !stored.is_cancelled && stored.span.0 < until) {
        if !stored.is_master && stored.span.1 <= from {
            continue;
        }
        let event = stored.map();
        if text(&event, "transparency") == "transparent"
            || is_declined(&event)
            || *stored.event_type.0 == *"workingLocation"
        {
            continue;
        }
        if !stored.is_master {
            spans.push(stored.span);
            continue;
        }
        for start in times::starts(&event, &calendar.time_zone, Some(until), now).unwrap_or_default() {
            let instance = times::instance(&event, start, &calendar.time_zone);
            if calendar.get(text(&instance, "id")).is_none() {
                spans.extend(times::span(&instance, &calendar.time_zone));
            }
        }
    }
    spans.retain(|(start, end)| *start < until && *end > from);
    spans.sort_unstable();
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for (start, end) in spans {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    let shown = |(start, end): (i64, i64)| json!({ "start": seconds(start), "end": seconds(end) });
    joined.into_iter().map(shown).collect()
}

fn seconds(milliseconds: i64) -> String {
    crate::clock::utc_of(milliseconds).format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn is_declined(event: &Map<String, Value>) -> bool {
    let guests = event.get("attendees").and_then(Value::as_array);
    guests.into_iter().flatten().any(|guest| {
        guest.get("self") == Some(&json!(true)) && guest.get("responseStatus") == Some(&json!("declined"))
    })
}
