//! `ORGANIZER` and `ATTENDEE` (RFC 5545 §3.8.4): addresses in one spelling, each guest once.

use std::borrow::Cow;

use super::line::Line;
use super::value;
use crate::model::{Attendee, AttendeeKind, AttendeeRole, Organizer, ParticipationStatus};

/// The address in the form in which addresses are compared: lower case, without `mailto:`. A value that is no
/// mail address is replaced by the `EMAIL` parameter (RFC 7986), else kept as written. `None` for placeholders.
fn address(line: &Line<'_>) -> Option<String> {
    let value = line.value().trim();
    let mail = match value.split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("mailto:") => Some(Cow::Borrowed(rest.trim())),
        _ if value.contains('@') && !value.contains(':') => Some(Cow::Borrowed(value)),
        _ => line.parameter("EMAIL").filter(|address| address.contains('@')),
    };
    match mail {
        Some(mail) => Some(mail.to_lowercase()).filter(|mail| !mail.is_empty()),
        None if value.is_empty() || value.eq_ignore_ascii_case("invalid:nomail") => None,
        None => Some(value.to_owned()),
    }
}

fn name(line: &Line<'_>, address: &str) -> Option<String> {
    let name = line.parameter("CN")?;
    let name = name.trim();
    // a name that only repeats the address says nothing
    (!name.is_empty() && !name.eq_ignore_ascii_case(address)).then(|| name.to_owned())
}

/// Reads an `ORGANIZER`.
pub(crate) fn organizer(line: &Line<'_>) -> Option<Organizer> {
    let address = address(line)?;
    Some(Organizer { name: name(line, &address), address })
}

const STATUSES: [(&str, ParticipationStatus); 6] = [
    ("ACCEPTED", ParticipationStatus::Accepted),
    ("DECLINED", ParticipationStatus::Declined),
    ("TENTATIVE", ParticipationStatus::Tentative),
    ("DELEGATED", ParticipationStatus::Delegated),
    // no values of RFC 5545, and seen
    ("CONFIRMED", ParticipationStatus::Accepted),
    ("CANCELLED", ParticipationStatus::Declined),
];

const ROLES: [(&str, AttendeeRole); 3] = [
    ("CHAIR", AttendeeRole::Chair),
    ("OPT-PARTICIPANT", AttendeeRole::Optional),
    ("NON-PARTICIPANT", AttendeeRole::NonParticipant),
];

const KINDS: [(&str, AttendeeKind); 4] = [
    ("GROUP", AttendeeKind::Group),
    ("RESOURCE", AttendeeKind::Resource),
    ("ROOM", AttendeeKind::Room),
    ("UNKNOWN", AttendeeKind::Unknown),
];

/// What the value of a parameter stands for.
fn meaning<T: Copy>(line: &Line<'_>, parameter: &str, names: &[(&str, T)]) -> Option<T> {
    value::known(&line.parameter(parameter)?, names)
}

/// Reads an `ATTENDEE`.
pub(crate) fn attendee(line: &Line<'_>) -> Option<Attendee> {
    let address = address(line)?;
    Some(Attendee {
        name: name(line, &address),
        address,
        status: meaning(line, "PARTSTAT", &STATUSES).unwrap_or(ParticipationStatus::NeedsAction),
        role: meaning(line, "ROLE", &ROLES).unwrap_or(AttendeeRole::Required),
        kind: meaning(line, "CUTYPE", &KINDS).unwrap_or(AttendeeKind::Individual),
        comment: line
            .parameter("X-RESPONSE-COMMENT")
            .map(Cow::into_owned)
            .filter(|comment| !comment.is_empty()),
    })
}

/// Sorts guests by address and keeps each once: of several entries the one with an answer.
pub(crate) fn normalise(mut attendees: Vec<Attendee>) -> Vec<Attendee> {
    attendees.sort_by(|a, b| {
        let unanswered = |guest: &Attendee| guest.status == ParticipationStatus::NeedsAction;
        a.address.cmp(&b.address).then(unanswered(a).cmp(&unanswered(b)))
    });
    attendees.dedup_by(|later, earlier| later.address == earlier.address);
    attendees
}
