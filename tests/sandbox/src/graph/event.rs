//! An event as the API shows it: the stored fields, the ones that are made on the way, and the defaults.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::NaiveDate;
use serde_json::{Map, Value, json};

use super::calendar::Stored;
use super::call::{Call, Preferences};
use super::id::{self, Form};
use super::times::{self, Zone};
use super::{body, query, zones};

/// The version of a revision.
pub(crate) fn change_key(revision: u64) -> String {
    STANDARD.encode(format!("change key {revision:020}"))
}

/// The entity tag of a revision.
pub(crate) fn etag(revision: u64) -> String {
    format!("W/\"{}\"", change_key(revision))
}

/// What an event shows when nothing was said.
fn defaults() -> Map<String, Value> {
    let value = json!({
        "transactionId": null,
        "categories": [],
        "hasAttachments": false,
        "subject": "",
        "body": { "contentType": "html", "content": "" },
        "importance": "normal",
        "sensitivity": "normal",
        "showAs": "busy",
        "isAllDay": false,
        "isCancelled": false,
        "isDraft": false,
        "isOrganizer": true,
        "isReminderOn": false,
        "reminderMinutesBeforeStart": 15,
        "responseRequested": true,
        "allowNewTimeProposals": true,
        "hideAttendees": false,
        "isOnlineMeeting": false,
        "onlineMeetingProvider": "unknown",
        "onlineMeetingUrl": null,
        "onlineMeeting": null,
        "recurrence": null,
        "seriesMasterId": null,
        "attendees": [],
        "location": { "displayName": "", "locationType": "default", "uniqueIdType": "unknown", "address": {}, "coordinates": {} },
        "locations": [],
        "responseStatus": { "response": "organizer", "time": times::NEVER },
    });
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// What an item is, in the words of `type`.
pub(crate) fn kind(stored: &Stored, day: Option<NaiveDate>) -> &'static str {
    match day {
        Some(day) if stored.exception(day).is_some() => "exception",
        Some(_) => "occurrence",
        None if stored.series.is_some() => "seriesMaster",
        None => "singleInstance",
    }
}

fn zone_of(prefer: &Preferences) -> Zone {
    prefer.zone.clone().unwrap_or_else(Zone::utc)
}

/// The event, or one of its occurrences, in full.
pub(crate) fn show(stored: &Stored, day: Option<NaiveDate>, prefer: &Preferences) -> Map<String, Value> {
    let mut shown = defaults();
    shown.extend(stored.own(day));
    for hidden in ["singleValueExtendedProperties", "extensions"] {
        shown.remove(hidden);
    }
    let slot = stored.slot(day);
    let (start, end) = slot.shown(&zone_of(prefer));
    let revision = stored.revision(day);
    let id = stored.id(day).write(prefer.form);
    let modified = day.and_then(|day| stored.exception(day)).map_or(stored.modified, |other| other.modified);
    let uid = shown.get("iCalUId").and_then(Value::as_str).unwrap_or_default();
    let uid = id::global_object_id(uid, day);
    for (name, value) in [
        ("@odata.etag", json!(etag(revision))),
        ("changeKey", json!(change_key(revision))),
        ("createdDateTime", json!(times::stamp(stored.created))),
        ("lastModifiedDateTime", json!(times::stamp(modified))),
        ("start", start),
        ("end", end),
        ("isAllDay", json!(slot.is_all_day)),
        ("originalStartTimeZone", json!(zones::kept_name(&slot.zone.name))),
        ("originalEndTimeZone", json!(zones::kept_name(&slot.end_zone.name))),
        ("type", json!(kind(stored, day))),
        ("iCalUId", json!(uid)),
        (
            "webLink",
            json!(format!("https://outlook.office365.com/owa/?itemid={id}&exvsurl=1&path=/calendar/item")),
        ),
        ("id", json!(id)),
    ] {
        shown.insert(name.to_owned(), value);
    }
    if let Some(day) = day {
        shown.insert("seriesMasterId".to_owned(), stored.id(None).write(prefer.form).into());
        let original = stored.slot.on(day).original_start();
        shown.insert("originalStart".to_owned(), times::stamp_seconds(original).into());
    } else if let Some(series) = &stored.series {
        shown.insert("recurrence".to_owned(), series.pattern.value());
    }
    body::show(&mut shown, prefer.is_body_text);
    shown
}

/// The little that a delta shows of an occurrence without changes of its own.
pub(crate) fn slim(stored: &Stored, day: NaiveDate, prefer: &Preferences) -> Map<String, Value> {
    let (start, end) = stored.slot(Some(day)).shown(&zone_of(prefer));
    let mut shown = Map::new();
    for (name, value) in [
        ("@odata.etag", json!(etag(stored.revision(Some(day))))),
        ("id", json!(stored.id(Some(day)).write(prefer.form))),
        ("seriesMasterId", json!(stored.id(None).write(prefer.form))),
        ("type", json!("occurrence")),
        ("start", start),
        ("end", end),
    ] {
        shown.insert(name.to_owned(), value);
    }
    shown
}

/// What a delta says of an item that is not, or no longer, in its window.
pub(crate) fn removed(id: id::Id, form: Form) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("@odata.type".to_owned(), "#microsoft.graph.event".into());
    shown.insert("id".to_owned(), id.write(form).into());
    shown.insert("@removed".to_owned(), json!({ "reason": "deleted" }));
    shown
}

/// The event with what a read asks for besides: `$expand`, and properties shown only when they are named.
pub(crate) fn answer(stored: &Stored, day: Option<NaiveDate>, call: &Call<'_>) -> Map<String, Value> {
    let mut shown = show(stored, day, &call.prefer);
    let own = stored.own(day);
    let expand = call.text("$expand").unwrap_or_default();
    if let Some(wanted) = query::expanded(expand, "singleValueExtendedProperties") {
        let all = own.get("singleValueExtendedProperties").and_then(Value::as_array);
        let kept = all.into_iter().flatten().filter(|property| {
            property.get("id").and_then(Value::as_str).is_some_and(|id| query::names_id(wanted, id))
        });
        let kept: Vec<Value> = kept.cloned().collect();
        if !kept.is_empty() {
            shown.insert("singleValueExtendedProperties".to_owned(), kept.into());
        }
    }
    if query::expanded(expand, "extensions").is_some() {
        let all = own.get("extensions").cloned().unwrap_or_else(|| json!([]));
        shown.insert("extensions".to_owned(), all);
    }
    let Some(series) = stored.series.as_ref().filter(|_| day.is_none()) else { return shown };
    if query::expanded(expand, "exceptionOccurrences").is_some() {
        let all = series.exceptions.keys().map(|day| Value::Object(show(stored, Some(*day), &call.prefer)));
        shown.insert("exceptionOccurrences".to_owned(), all.collect());
    }
    if call.text("$select").is_some_and(|select| query::selects(select, "cancelledOccurrences")) {
        let master = stored.id(None).write(call.prefer.form);
        let all = series.cancelled.iter().map(|day| Value::String(format!("OID.{master}.{day}")));
        shown.insert("cancelledOccurrences".to_owned(), all.collect());
    }
    shown
}
