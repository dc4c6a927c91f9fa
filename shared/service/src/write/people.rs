//! Guests, reminders and the conference of a request.

use std::collections::BTreeSet;

use calfleet_domain::model::{
    Attendee, Conference, ConferenceStatus, ConferenceType, Fields, ParticipationStatus, ProviderKind,
    Reminder,
};

use super::findings::Findings;
use super::input::{ConferenceInput, ConferenceName, Given, GuestInput};
use super::limits::{Limits, NAME_CHARS, ReminderForms};
use super::text::{self, Lines, Link};

/// Takes the guests over where they are mentioned. Who stays keeps the answer.
pub(super) fn guests(
    given: &Given<Vec<GuestInput>>,
    limits: &Limits,
    fields: &mut Fields,
    findings: &mut Findings,
) {
    let wanted = match given {
        Given::Absent => return,
        Given::Cleared => &Vec::new(),
        Given::Value(wanted) => wanted,
    };
    if wanted.len() > limits.guests {
        let message = format!("This calendar's provider takes at most {} guests.", limits.guests);
        findings.refuse("attendees", "too_many", message);
        return;
    }
    let mut guests: Vec<Attendee> = Vec::with_capacity(wanted.len());
    let mut seen = BTreeSet::new();
    for (index, wanted) in wanted.iter().enumerate() {
        let field = |name: &str| format!("attendees.{index}.{name}");
        let Some(address) = text::address(&wanted.address) else {
            findings.refuse(field("address"), "not_an_address", "Give a mail address.");
            continue;
        };
        if !seen.insert(address.clone()) {
            findings.refuse(field("address"), "twice", "Name each guest once.");
            continue;
        }
        let held = fields.attendees.iter().find(|held| held.address == address);
        let answer = held.map_or(ParticipationStatus::NeedsAction, |held| held.status);
        if wanted.status.is_some_and(|status| status != answer) {
            let message = "Guests answer for themselves; leave the status out.";
            findings.refuse(field("status"), "not_yours", message);
        }
        let name = wanted.name.as_deref().map(|name| text::clean(name, Lines::One));
        if name.as_ref().is_some_and(|name| name.chars().count() > NAME_CHARS) {
            findings.refuse(field("name"), "too_long", format!("Give at most {NAME_CHARS} letters."));
        }
        guests.push(Attendee {
            address,
            name: name.filter(|name| !name.is_empty()),
            status: answer,
            role: wanted.role,
            kind: wanted.kind,
            comment: held.and_then(|held| held.comment.clone()),
        });
    }
    guests.sort_by(|one, other| one.address.cmp(&other.address));
    fields.attendees = guests;
}

/// Takes the reminders over where they are mentioned.
pub(super) fn reminders(
    given: &Given<Vec<Reminder>>,
    limits: &Limits,
    fields: &mut Fields,
    findings: &mut Findings,
) {
    let wanted: BTreeSet<Reminder> = match given {
        Given::Absent => return,
        Given::Cleared => BTreeSet::new(),
        Given::Value(wanted) => wanted.iter().cloned().collect(),
    };
    if wanted.len() > limits.reminders {
        let message = format!("This calendar's provider keeps at most {} reminders.", limits.reminders);
        findings.refuse("reminders", "too_many", message);
        return;
    }
    if let ReminderForms::MinutesBeforeStart(most) = limits.reminder_forms {
        let fits = |reminder: &Reminder| match reminder {
            Reminder::BeforeStart(seconds) => seconds % 60 == 0 && (0..=most).contains(&(seconds / 60)),
            Reminder::BeforeEnd(_) | Reminder::At(_) => false,
        };
        if !wanted.iter().all(fits) {
            let message = format!("Give before_start in seconds: whole minutes, from 0 to {most} of them.");
            findings.refuse("reminders", "not_offered", message);
        }
    }
    fields.reminders = wanted.into_iter().collect();
}

/// Takes the conference over where it is mentioned. One that the provider makes has no link until it is made.
pub(super) fn conference(
    given: &Given<ConferenceInput>,
    provider: ProviderKind,
    fields: &mut Fields,
    findings: &mut Findings,
) {
    let (kind, link) = match given {
        Given::Absent => return,
        Given::Cleared | Given::Value(ConferenceInput::Named(ConferenceName::None)) => {
            fields.conference = None;
            return;
        }
        Given::Value(ConferenceInput::Named(ConferenceName::GoogleMeet)) => {
            (ConferenceType::GoogleMeet, None)
        }
        Given::Value(ConferenceInput::Named(ConferenceName::MicrosoftTeams)) => {
            (ConferenceType::MicrosoftTeams, None)
        }
        Given::Value(ConferenceInput::Parts { kind, link }) => (*kind, link.as_deref()),
    };
    let held = fields.conference.as_ref().filter(|held| held.kind == kind);
    let is_kept = |held: &Conference| {
        held.status != ConferenceStatus::Failed && link.is_none_or(|link| link == held.link)
    };
    if held.is_some_and(is_kept) {
        return;
    }
    let maker = match kind {
        ConferenceType::Custom => {
            let link = link.unwrap_or_default();
            let link = text::link(link, "conference.link", Link::Conference, findings);
            fields.conference = link.map(|link| Conference::ready(kind, link));
            if provider != ProviderKind::Caldav {
                show_link(fields);
            }
            return;
        }
        ConferenceType::GoogleMeet => ProviderKind::Google,
        ConferenceType::MicrosoftTeams => ProviderKind::Microsoft,
    };
    if provider != maker {
        let message = "This calendar's provider does not make such conferences; give a link of your own.";
        findings.refuse("conference", "not_offered", message);
    } else if link.is_some_and(|link| !link.is_empty()) {
        let message = "The provider makes the link; leave it out, or give kind custom.";
        findings.refuse("conference.link", "not_yours", message);
    } else {
        fields.conference = Some(Conference::without_link(kind, ConferenceStatus::Pending));
    }
}

/// Google and Microsoft have no place for links of others: guests find it as the location, or below the description
/// where there is a location already.
fn show_link(fields: &mut Fields) {
    let Some(link) = fields.conference.as_ref().map(|found| found.link.clone()) else { return };
    let texts = [&fields.location, &fields.description, &fields.url];
    if texts.into_iter().flatten().any(|text| text.contains(&link)) {
        return;
    }
    let has_location = fields.location.as_deref().is_some_and(|text| !text.trim().is_empty());
    if !has_location {
        fields.location = Some(link);
        return;
    }
    fields.description = Some(match fields.description.take().filter(|text| !text.trim().is_empty()) {
        Some(text) => format!("{text}\n\n{link}"),
        None => link,
    });
}

#[cfg(test)]
mod tests {
    use calfleet_domain::model::{End, When};

    use super::super::input::EventPatch;
    use super::*;

    fn fields() -> Fields {
        let start = When::Date(chrono::NaiveDate::from_ymd_opt(2026, 7, 14).unwrap());
        let answered = Attendee { status: ParticipationStatus::Accepted, ..Attendee::new("ada@example.com") };
        Fields { attendees: vec![answered], ..Fields::new(start, End::Unspecified) }
    }

    fn read(json: &str, provider: ProviderKind) -> (Fields, Vec<(String, &'static str)>) {
        let patch: EventPatch = serde_json::from_str(json).unwrap();
        let (mut fields, mut findings) = (fields(), Findings::default());
        let limits = Limits::of(provider);
        guests(&patch.attendees, &limits, &mut fields, &mut findings);
        reminders(&patch.reminders, &limits, &mut fields, &mut findings);
        conference(&patch.conference, provider, &mut fields, &mut findings);
        (fields, findings.invalid.into_iter().map(|one| (one.field, one.code)).collect())
    }

    #[test]
    fn who_stays_keeps_the_answer_and_who_is_not_named_goes() {
        let both = r#"{"attendees": [{"address": "Bob@Example.com"}, {"address": "ada@example.com", "name": "Ada"}]}"#;
        let (fields, invalid) = read(both, ProviderKind::Google);
        assert_eq!(invalid, []);
        let seen: Vec<_> = fields.attendees.iter().map(|one| (one.address.as_str(), one.status)).collect();
        let expected = [
            ("ada@example.com", ParticipationStatus::Accepted),
            ("bob@example.com", ParticipationStatus::NeedsAction),
        ];
        assert_eq!(seen, expected);

        assert_eq!(read(r#"{"attendees": null}"#, ProviderKind::Google).0.attendees, []);
        assert_eq!(read(r"{}", ProviderKind::Google).0.attendees.len(), 1);
    }

    #[test]
    fn what_a_provider_does_not_take_is_refused_by_field() {
        let many: Vec<_> = (0..10_000)
            .map(|index| serde_json::json!({"address": format!("g{index}@example.com")}))
            .collect();
        let many = serde_json::json!({ "attendees": many }).to_string();
        for (json, provider, field, code) in [
            (many.as_str(), ProviderKind::Google, "attendees", "too_many"),
            (
                r#"{"attendees": [{"address": "a@example.com"}, {"address": "nobody"}]}"#,
                ProviderKind::Caldav,
                "attendees.1.address",
                "not_an_address",
            ),
            (
                r#"{"attendees": [{"address": "a@example.com"}, {"address": "A@example.com"}]}"#,
                ProviderKind::Caldav,
                "attendees.1.address",
                "twice",
            ),
            (
                r#"{"attendees": [{"address": "ada@example.com", "status": "declined"}]}"#,
                ProviderKind::Caldav,
                "attendees.0.status",
                "not_yours",
            ),
            (r#"{"reminders": [{"before_start": 90}]}"#, ProviderKind::Google, "reminders", "not_offered"),
            (
                r#"{"reminders": [{"before_start": 2419260}]}"#,
                ProviderKind::Google,
                "reminders",
                "not_offered",
            ),
            (
                r#"{"reminders": [{"before_start": 60}, {"before_start": 120}]}"#,
                ProviderKind::Microsoft,
                "reminders",
                "too_many",
            ),
            (r#"{"conference": "google_meet"}"#, ProviderKind::Caldav, "conference", "not_offered"),
            (
                r#"{"conference": {"kind": "custom", "link": "ftp://x"}}"#,
                ProviderKind::Google,
                "conference.link",
                "not_a_link",
            ),
            (
                r#"{"conference": {"kind": "google_meet", "link": "https://meet.google.com/x"}}"#,
                ProviderKind::Google,
                "conference.link",
                "not_yours",
            ),
        ] {
            let (_, invalid) = read(json, provider);
            assert_eq!(invalid, [(field.to_owned(), code)], "{}", json.get(..60).unwrap_or(json));
        }
    }

    #[test]
    fn a_conference_that_the_provider_makes_has_no_link_yet() {
        let (fields, invalid) = read(r#"{"conference": "google_meet"}"#, ProviderKind::Google);

        let wanted = Conference::without_link(ConferenceType::GoogleMeet, ConferenceStatus::Pending);
        assert_eq!((fields.conference, invalid), (Some(wanted), vec![]));
    }
}
