//! Conferences on their way out: a Meet is asked for and made by Google, any other link is kept beside.

use calfleet_domain::model::{Conference, ConferenceStatus, ConferenceType, Fields, ProviderId, Revision};
use serde_json::{Value, json};

use super::{Body, CONFERENCE_MARKER};

/// Says the conference of `after` where `before` had another one; `raw` is what Google holds.
///
/// A conference that is there or under way is left alone unless none, or a link of another kind, is wanted. The name
/// of a request is the same for every attempt of one write, so that Google makes one.
pub(super) fn say(
    (before, after): (&Fields, &Fields),
    raw: &Body,
    (id, revision): (&ProviderId, Option<&Revision>),
    body: &mut Body,
) {
    let custom = |fields: &Fields| match &fields.conference {
        Some(Conference { kind: ConferenceType::Custom, link, .. }) => Some(link.clone()),
        _ => None,
    };
    let (old, new) = (custom(before), custom(after));
    let is_beside = held(raw, &["extendedProperties", "private", CONFERENCE_MARKER]).is_some();
    if old != new && (new.is_some() || is_beside) {
        let properties = body.entry("extendedProperties").or_insert_with(|| json!({ "private": {} }));
        let private = properties.get_mut("private").and_then(Value::as_object_mut);
        if let Some(private) = private {
            private.insert(CONFERENCE_MARKER.to_owned(), json!(new));
        }
    }
    let status = held(raw, &["conferenceData", "createRequest", "status", "statusCode"]);
    let has_failed = status.is_some_and(|status| status == "failure");
    let is_there = raw.contains_key("conferenceData") || raw.contains_key("hangoutLink");
    match &after.conference {
        Some(Conference { kind: ConferenceType::GoogleMeet, status: ConferenceStatus::Pending, .. })
            if !is_there || has_failed =>
        {
            body.insert("conferenceData".to_owned(), request(id, revision));
        }
        Some(Conference { kind: ConferenceType::Custom, .. }) | None if is_there => {
            body.insert("conferenceData".to_owned(), Value::Null);
        }
        _ => {}
    }
}

/// What stands at a path.
fn held<'r>(raw: &'r Body, path: &[&str]) -> Option<&'r Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(raw.get(*first)?, |value, name| value.get(name)).filter(|value| !value.is_null())
}

fn request(id: &ProviderId, revision: Option<&Revision>) -> Value {
    let mut name = id.as_str().to_owned();
    if let Some(revision) = revision {
        name.push('-');
        name.extend(revision.as_str().chars().filter(char::is_ascii_alphanumeric));
    }
    let key = json!({ "type": "hangoutsMeet" });
    json!({ "createRequest": { "requestId": name, "conferenceSolutionKey": key } })
}
