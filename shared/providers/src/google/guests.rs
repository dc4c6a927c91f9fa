//! The guests of an event, written per guest into the list that Google holds: entries, and fields of entries, that
//! we do not model stay as they are. Answers are the guests' own: of those on the list only the owner's is written.

use std::collections::BTreeSet;

use calfleet_domain::model::{Attendee, AttendeeKind, AttendeeRole, Fields, ParticipationStatus};
use calfleet_domain::reconcile::Atom;
use serde_json::{Map, Value, json};

use super::render::Body;

/// The address of the guest whose copy this is, lower case.
pub(super) fn own_address(raw: &Body) -> Option<String> {
    let own = entries(raw).iter().find(|entry| entry.get("self") == Some(&Value::Bool(true)))?;
    address(own)
}

/// The whole list, changed where `atoms` say so.
pub(super) fn list(raw: &Body, after: &Fields, atoms: &BTreeSet<Atom>) -> Vec<Value> {
    let own = own_address(raw);
    let wanted = |address: &str| after.attendees.iter().find(|guest| is_at(guest, address));
    let mut list = Vec::with_capacity(after.attendees.len());
    let mut seen = BTreeSet::new();
    for entry in entries(raw) {
        let (Some(address), Value::Object(fields)) = (address(entry), entry) else {
            list.push(entry.clone());
            continue;
        };
        let mut fields = fields.clone();
        match wanted(&address) {
            Some(guest) => {
                if atoms.contains(&Atom::Guest(address.clone())) {
                    describe(&mut fields, guest);
                }
                if own.as_ref() == Some(&address) && atoms.contains(&Atom::Answer(address.clone())) {
                    answer(&mut fields, guest);
                }
            }
            None if atoms.contains(&Atom::Guest(address.clone())) => continue,
            // Nobody has taken this one off the list.
            None => {}
        }
        seen.insert(address);
        list.push(Value::Object(fields));
    }
    for guest in &after.attendees {
        if seen.insert(guest.address.trim().to_lowercase()) {
            list.push(new_entry(guest));
        }
    }
    list
}

/// The owner's own entry with the answer; `None` when the owner is no guest.
pub(super) fn own_answer(raw: &Body, after: &Fields) -> Option<Value> {
    let own = own_address(raw)?;
    let entry = entries(raw).iter().find(|entry| address(entry).as_ref() == Some(&own))?;
    let guest = after.attendees.iter().find(|guest| is_at(guest, &own))?;
    let mut fields = entry.as_object()?.clone();
    answer(&mut fields, guest);
    Some(Value::Object(fields))
}

fn entries(raw: &Body) -> &[Value] {
    raw.get("attendees").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn address(entry: &Value) -> Option<String> {
    let mail = entry.get("email")?.as_str()?.trim().to_lowercase();
    (!mail.is_empty()).then_some(mail)
}

fn is_at(guest: &Attendee, address: &str) -> bool {
    guest.address.trim().to_lowercase() == address
}

fn new_entry(guest: &Attendee) -> Value {
    let mut fields = Map::new();
    fields.insert("email".to_owned(), json!(guest.address.trim()));
    describe(&mut fields, guest);
    // Google takes this at the first mention only.
    if matches!(guest.kind, AttendeeKind::Resource | AttendeeKind::Room) {
        fields.insert("resource".to_owned(), json!(true));
    }
    if guest.status != ParticipationStatus::NeedsAction || guest.comment.is_some() {
        answer(&mut fields, guest);
    }
    Value::Object(fields)
}

fn describe(fields: &mut Map<String, Value>, guest: &Attendee) {
    put(fields, "displayName", guest.name.as_ref().map(|name| json!(name)));
    put(fields, "optional", (guest.role == AttendeeRole::Optional).then_some(Value::Bool(true)));
}

fn answer(fields: &mut Map<String, Value>, guest: &Attendee) {
    let word = match guest.status {
        ParticipationStatus::Accepted => "accepted",
        ParticipationStatus::Declined => "declined",
        ParticipationStatus::Tentative => "tentative",
        // Google knows no delegates.
        ParticipationStatus::NeedsAction | ParticipationStatus::Delegated => "needsAction",
    };
    put(fields, "responseStatus", Some(json!(word)));
    put(fields, "comment", guest.comment.as_ref().map(|comment| json!(comment)));
}

fn put(fields: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => fields.insert(name.to_owned(), value),
        None => fields.remove(name),
    };
}

#[cfg(test)]
mod tests {
    use calfleet_domain::model::{End, When};

    use super::*;

    fn raw() -> Body {
        let raw = json!({ "attendees": [
            { "email": "Ada@example.com", "self": true, "organizer": true, "responseStatus": "accepted", "id": "1" },
            { "id": "profile-without-address", "responseStatus": "declined" },
            { "email": "bob@example.com", "displayName": "Bob", "responseStatus": "tentative", "additionalGuests": 2 },
            { "email": "room@example.com", "resource": true, "responseStatus": "accepted" },
        ] });
        raw.as_object().unwrap().clone()
    }

    fn with(guests: Vec<Attendee>) -> Fields {
        let mut fields = Fields::new(When::Date("2026-03-16".parse().unwrap()), End::Unspecified);
        fields.attendees = guests;
        fields
    }

    fn answered(address: &str, status: ParticipationStatus) -> Attendee {
        let mut guest = Attendee::new(address);
        guest.status = status;
        guest
    }

    fn about(addresses: &[&str]) -> BTreeSet<Atom> {
        let both = |address: &&str| [Atom::Guest((*address).to_owned()), Atom::Answer((*address).to_owned())];
        addresses.iter().flat_map(both).collect()
    }

    #[test]
    fn guests_come_and_go_and_the_others_stay_as_they_are() {
        let mut dan = answered("dan@example.com", ParticipationStatus::NeedsAction);
        dan.role = AttendeeRole::Optional;
        dan.name = Some("Dan".to_owned());
        let after = with(vec![
            answered("ada@example.com", ParticipationStatus::Accepted),
            answered("BOB@example.com", ParticipationStatus::NeedsAction),
            dan,
        ]);
        let before = raw();

        let list = list(&before, &after, &about(&["dan@example.com", "room@example.com"]));

        let held = before["attendees"].as_array().unwrap();
        assert_eq!(list[..3], held[..3]);
        assert_eq!(list[3], json!({ "email": "dan@example.com", "displayName": "Dan", "optional": true }));
        assert_eq!(list.len(), 4);
    }

    #[test]
    fn only_the_owners_answer_is_ever_written() {
        let declined = |address| answered(address, ParticipationStatus::Declined);
        let after = with(vec![
            declined("ada@example.com"),
            declined("bob@example.com"),
            declined("room@example.com"),
        ]);
        let before = raw();

        let list = list(&before, &after, &about(&["ada@example.com", "bob@example.com", "room@example.com"]));

        let answers: Vec<_> = list.iter().map(|entry| entry["responseStatus"].as_str().unwrap()).collect();
        assert_eq!(answers, ["declined", "declined", "tentative", "accepted"]);
        assert_eq!(list[2]["additionalGuests"], 2);
        assert_eq!(list[0]["id"], "1");
    }

    #[test]
    fn somebody_who_is_not_mentioned_is_not_taken_off_the_list() {
        let list = list(&raw(), &with(Vec::new()), &about(&["bob@example.com"]));

        let addresses: Vec<_> = list.iter().filter_map(|entry| entry["email"].as_str()).collect();
        assert_eq!(addresses, ["Ada@example.com", "room@example.com"]);
    }
}
