//! `getSchedule`: when people are free, as digits and as items.

use serde_json::{Map, Value, json};

use super::call::{Call, Reply};
use super::error::ApiError;
use super::fields::{parameter, text};
use super::times::{self, in_zone};
use super::{Graph, directory, event, view};

/// Longest window, in milliseconds.
const LONGEST_MS: i64 = 62 * 86_400_000;

/// The digit of a status.
fn digit(status: &str) -> char {
    match status {
        "tentative" => '1',
        "busy" => '2',
        "oof" => '3',
        _ => '0',
    }
}

/// Answers `getSchedule`.
pub(crate) fn answer(graph: &Graph, call: &Call<'_>) -> Result<Reply, ApiError> {
    let account = graph.accounts.get(&call.who).ok_or_else(ApiError::unauthorized)?;
    if account.spec.is_personal {
        return Err(ApiError::access_denied());
    }
    let sent = call.document()?;
    let side = |name: &str| {
        let value = parameter(&sent, name)
            .ok_or_else(|| ApiError::property(&format!("Property {name} is required.")))?;
        times::read(value, name).map(|(wall, zone)| in_zone(wall, zone.tz))
    };
    let window = (side("startTime")?, side("endTime")?);
    let interval = parameter(&sent, "availabilityViewInterval").and_then(Value::as_i64).unwrap_or(30);
    if !(5..=1_440).contains(&interval) || window.1 - window.0 < interval * 60_000 {
        return Err(ApiError::new(
            400,
            "ErrorInvalidParameter",
            "The interval does not fit the time window.",
        ));
    }
    if window.1 - window.0 > LONGEST_MS {
        return Err(ApiError::new(
            400,
            "ErrorTimeIntervalTooBig",
            "The requested time duration is too long.",
        ));
    }
    let schedules =
        parameter(&sent, "schedules").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let shown: Vec<Value> = schedules
        .iter()
        .filter_map(Value::as_str)
        .map(|who| one(graph, call, who, (window, interval * 60_000)))
        .collect();
    Ok(Reply::ok(json!({
        "@odata.context": format!("{}/$metadata#Collection(microsoft.graph.scheduleInformation)", call.root),
        "value": shown,
    })))
}

fn one(graph: &Graph, call: &Call<'_>, who: &str, (window, step_ms): ((i64, i64), i64)) -> Value {
    let account = graph.accounts.get(&who.to_lowercase());
    let calendar = account.and_then(|account| graph.calendars.get(&account.default_calendar));
    let Some((account, calendar)) = account.zip(calendar) else {
        return json!({
            "scheduleId": who,
            "availabilityView": "",
            "error": {
                "message": "The mailbox is not found.",
                "responseCode": "ErrorMailRecipientNotFound",
            },
            "scheduleItems": [],
        });
    };
    let steps = usize::try_from((window.1 - window.0) / step_ms).unwrap_or(0);
    let mut digits = vec!['0'; steps];
    let mut items = Vec::new();
    for entry in view::entries(calendar, window).iter() {
        let Some(stored) = calendar.get(entry.serial) else { continue };
        let own = stored.own(entry.day);
        if own.get("isCancelled") == Some(&json!(true)) {
            continue;
        }
        let slot = stored.slot(entry.day);
        let (start, end) = slot.span();
        let status = match text(&own, "showAs") {
            "" => "busy",
            word => word,
        };
        let digit = digit(status);
        for (number, known) in (0_i64..).zip(digits.iter_mut()) {
            let from = window.0 + number * step_ms;
            if start < from + step_ms && end > from {
                *known = digit.max(*known);
            }
        }
        let shown = event::show(stored, entry.day, &call.prefer);
        items.push(item(&own, status, &shown, account.spec.email == call.who));
    }
    json!({
        "scheduleId": who,
        "availabilityView": digits.iter().collect::<String>(),
        "scheduleItems": items,
        "workingHours": directory::working_hours(&account.spec.time_zone),
    })
}

/// One entry; whose calendar it is sees more of it.
fn item(own: &Map<String, Value>, status: &str, shown: &Map<String, Value>, is_own: bool) -> Value {
    let is_private = !matches!(text(own, "sensitivity"), "" | "normal");
    let mut item = json!({
        "isPrivate": is_private,
        "status": status,
        "start": shown.get("start"),
        "end": shown.get("end"),
    });
    if is_own && !is_private {
        super::set(&mut item, "subject", json!(text(own, "subject")));
        let place = own.get("location").and_then(|place| place.get("displayName")).cloned();
        super::set(&mut item, "location", place.unwrap_or_else(|| json!("")));
    }
    item
}
