//! The guests of an event, written per guest into the list that Graph holds: entries that we do not model stay as they
//! are. Answers are the guests' own: none is ever written, and Graph keeps those it has.

use std::collections::BTreeSet;

use calfleet_domain::model::{Attendee, AttendeeKind, AttendeeRole, Fields};
use calfleet_domain::reconcile::Atom;
use serde_json::{Map, Value, json};

use super::render::Body;

/// Whether anybody is on the list.
pub(super) fn is_any(raw: &Body) -> bool {
    !entries(raw).is_empty()
}

/// The whole list, changed where `atoms` say so.
pub(super) fn list(raw: &Body, after: &Fields, atoms: &BTreeSet<Atom>) -> Vec<Value> {
    let mut list = Vec::with_capacity(after.attendees.len());
    let mut seen = BTreeSet::new();
    for entry in entries(raw) {
        let Some(fields) = entry.as_object() else { continue };
        let mut fields = fields.clone();
        fields.remove("status");
        if let Some(address) = address(entry) {
            let is_meant = atoms.contains(&Atom::Guest(address.clone()));
            match after.attendees.iter().find(|guest| is_at(guest, &address)) {
                Some(guest) if is_meant => describe(&mut fields, guest),
                // Taken off the list; who is only not mentioned stays on it.
                None if is_meant => continue,
                _ => {}
            }
            seen.insert(address);
        }
        list.push(Value::Object(fields));
    }
    for guest in &after.attendees {
        if seen.insert(guest.address.trim().to_lowercase()) {
            let mut fields = Map::new();
            fields.insert("emailAddress".to_owned(), json!({ "address": guest.address.trim() }));
            describe(&mut fields, guest);
            list.push(Value::Object(fields));
        }
    }
    list
}

fn entries(raw: &Body) -> &[Value] {
    raw.get("attendees").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn address(entry: &Value) -> Option<String> {
    let mail = entry.get("emailAddress")?.get("address")?.as_str()?.trim().to_lowercase();
    (!mail.is_empty()).then_some(mail)
}

fn is_at(guest: &Attendee, address: &str) -> bool {
    guest.address.trim().to_lowercase() == address
}

fn describe(fields: &mut Map<String, Value>, guest: &Attendee) {
    let kind = match (guest.kind, guest.role) {
        (AttendeeKind::Resource | AttendeeKind::Room, _) => "resource",
        (_, AttendeeRole::Optional) => "optional",
        _ => "required",
    };
    fields.insert("type".to_owned(), json!(kind));
    let Some(mail) = fields.get_mut("emailAddress").and_then(Value::as_object_mut) else { return };
    match &guest.name {
        Some(name) => mail.insert("name".to_owned(), json!(name)),
        None => mail.remove("name"),
    };
}

#[cfg(test)]
mod tests {
    use calfleet_domain::model::{End, When};

    use super::*;

    #[test]
    fn guests_come_and_go_and_the_others_stay_as_they_are() {
        let raw = json!({ "attendees": [
            { "type": "required", "status": { "response": "tentativelyAccepted" }, "proposedNewTime": { "x": 1 },
                "emailAddress": { "name": "Bob", "address": "Bob@example.com" } },
            { "type": "resource", "status": { "response": "accepted" }, "emailAddress": { "address": "room@example.com" } },
            { "type": "required", "emailAddress": { "name": "Old" } },
            { "type": "required", "emailAddress": { "name": "Eve", "address": "eve@example.com" } },
        ] });
        let raw = raw.as_object().unwrap();
        let mut after = Fields::new(When::Date("2026-03-16".parse().unwrap()), End::Unspecified);
        let mut dan = Attendee::new("dan@example.com");
        dan.role = AttendeeRole::Optional;
        dan.name = Some("Dan".to_owned());
        let mut bob = Attendee::new("bob@example.com");
        bob.name = Some("Robert".to_owned());
        after.attendees = vec![bob, dan];
        let about = ["dan@example.com", "room@example.com"].map(|one| Atom::Guest(one.to_owned()));

        let list = list(raw, &after, &about.into());

        assert_eq!(
            list,
            [
                json!({ "type": "required", "proposedNewTime": { "x": 1 },
                    "emailAddress": { "name": "Bob", "address": "Bob@example.com" } }),
                json!({ "type": "required", "emailAddress": { "name": "Old" } }),
                json!({ "type": "required", "emailAddress": { "name": "Eve", "address": "eve@example.com" } }),
                json!({ "type": "optional", "emailAddress": { "name": "Dan", "address": "dan@example.com" } }),
            ]
        );
    }
}
