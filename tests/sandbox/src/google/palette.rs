//! What hardly changes: colors, settings, the discovery document.

use http::StatusCode;
use serde_json::{Value, json};

use super::Google;
use super::call::{Call, Reply};
use super::error::{ApiError, JSON};
use super::fields::set;
use crate::answer::Answer;

/// The published description of the API.
const DISCOVERY: &str = include_str!("../../../data/contracts/calendar.v3.json");

/// Background of events by their colour's number, from 1.
const EVENT_COLORS: [&str; 11] = [
    "#a4bdfc", "#7ae7bf", "#dbadff", "#ff887c", "#fbd75b", "#ffb878", "#46d6db", "#e1e1e1", "#5484ed",
    "#51b749", "#dc2127",
];

/// `colors.get`.
pub(crate) fn colors() -> Value {
    let color = |(index, background): (usize, &&str)| {
        ((index + 1).to_string(), json!({ "background": background, "foreground": "#1d1d1d" }))
    };
    let palette: serde_json::Map<String, Value> = EVENT_COLORS.iter().enumerate().map(color).collect();
    json!({
        "kind": "calendar#colors",
        "updated": "2012-02-14T00:00:00.000Z",
        "calendar": palette,
        "event": palette,
    })
}

/// `settings.list` and `settings.get`.
pub(crate) fn settings(google: &Google, call: &Call<'_>, rest: &[&str]) -> Result<Reply, ApiError> {
    let account = google.accounts.get(&call.who).ok_or_else(ApiError::unauthorized)?;
    let setting = |id: &str, value: &str| json!({ "kind": "calendar#setting", "etag": "\"0\"", "id": id, "value": value });
    let all = [
        setting("timezone", &account.spec.time_zone),
        setting("locale", "en"),
        setting("defaultEventLength", "60"),
        setting("format24HourTime", "true"),
        setting("weekStart", "1"),
        setting("autoAddHangouts", "false"),
    ];
    match rest {
        [] => Ok(Reply::Document(json!({ "kind": "calendar#settings", "etag": "\"0\"", "items": all }))),
        [id] => {
            let found = all.into_iter().find(|setting| setting.get("id") == Some(&json!(id)));
            found.map(Reply::Document).ok_or_else(ApiError::not_found)
        }
        _ => Err(ApiError::not_found()),
    }
}

/// The discovery document, with this sandbox for its root.
pub(crate) fn discovery(api: &str, url: &str) -> Answer {
    let document = serde_json::from_str::<Value>(DISCOVERY).ok().filter(|_| api == "calendar/v3/rest");
    let Some(mut document) = document else { return Answer::status(StatusCode::NOT_FOUND) };
    let root = format!("{url}/google/");
    set(&mut document, "rootUrl", json!(root));
    set(&mut document, "mtlsRootUrl", json!(root));
    set(&mut document, "baseUrl", json!(format!("{root}calendar/v3/")));
    Answer::status(StatusCode::OK).with_body(JSON, document.to_string())
}
