//! Conferences that are asked for, and what becomes of them.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::ConferenceHabit;
use super::fields::set;

/// Answers a `createRequest` in the event by the habit; everything else stays.
pub(crate) fn settle(event: &mut Map<String, Value>, habit: ConferenceHabit) {
    let Some(data) = event.get("conferenceData") else { return };
    let Some(request) = data.get("createRequest").cloned() else { return };
    if request.get("status").is_some_and(|status| status.get("statusCode") != Some(&json!("pending"))) {
        return;
    }
    let (code, rest) = match habit {
        ConferenceHabit::Pending => ("pending", None),
        ConferenceHabit::Failure => ("failure", None),
        ConferenceHabit::Success => ("success", Some(code_of(&request))),
    };
    let mut request = request;
    set(&mut request, "status", json!({ "statusCode": code }));
    let mut data = json!({ "createRequest": request });
    if let Some(id) = rest {
        let uri = format!("https://meet.google.com/{id}");
        set(&mut data, "conferenceId", json!(id));
        set(&mut data, "signature", json!(format!("sandbox-{id}")));
        set(
            &mut data,
            "conferenceSolution",
            json!({ "key": { "type": "hangoutsMeet" }, "name": "Google Meet" }),
        );
        set(
            &mut data,
            "entryPoints",
            json!([{
                "entryPointType": "video",
                "uri": uri,
                "label": format!("meet.google.com/{id}"),
            }]),
        );
        event.insert("hangoutLink".to_owned(), uri.into());
    }
    event.insert("conferenceData".to_owned(), data);
}

/// A request under another id is a new one: what became of the last says nothing about it.
pub(crate) fn renew(before: &Map<String, Value>, after: &mut Map<String, Value>) {
    let id = |event: &Map<String, Value>| {
        event.get("conferenceData")?.get("createRequest")?.get("requestId").cloned()
    };
    if id(before) == id(after) {
        return;
    }
    let request = after.get_mut("conferenceData").and_then(|data| data.get_mut("createRequest"));
    if let Some(request) = request.and_then(Value::as_object_mut) {
        request.remove("status");
    }
}

/// `aaa-bbbb-ccc`, the same for the same request.
fn code_of(request: &Value) -> String {
    let hash = Sha256::digest(request.get("requestId").and_then(Value::as_str).unwrap_or_default());
    let letters: String = hash.iter().take(10).map(|byte| char::from(b'a' + byte % 26)).collect();
    let part = |from: usize, to: usize| letters.get(from..to).unwrap_or_default();
    format!("{}-{}-{}", part(0, 3), part(3, 7), part(7, 10))
}
