//! What one event says (`event resource type`) → the fields of the model.
//!
//! Graph's own projections: the organizer is not among the guests; in a guest's copy the own answer stands in
//! `responseStatus` and the own entry among the guests is not kept up to date; there is one reminder; bodies are HTML
//! that Exchange has rewritten; a busy state says more than busy and free.

use calfleet_domain::ics;
use calfleet_domain::model::{
    Attendee, AttendeeKind, AttendeeRole, Conference, ConferenceStatus, ConferenceType, Fields, Organizer,
    ParticipationStatus, Reminder, Role, Stamps, Status, Transparency, Visibility,
};
use chrono_tz::Tz;

use super::wire::{EmailAddress, Event};
use super::{body, times, wire};

/// Teams, among the providers of online meetings.
pub(super) const TEAMS: &str = "teamsForBusiness";

/// Why an event cannot be read; in words for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("its start is no date and no time")]
    BadStart,
    #[error("it has {count} guests, more than the {limit} allowed")]
    TooManyGuests { count: usize, limit: usize },
}

/// The fields of an event. `zone` is the calendar's own; `owner` the address of whom it belongs to, lower case.
pub(super) fn of(
    event: &Event,
    zone: Option<Tz>,
    owner: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Fields, Fault> {
    let limit = ics::Limits::default().attendees;
    if event.attendees.len() > limit {
        return Err(Fault::TooManyGuests { count: event.attendees.len(), limit });
    }
    let (start, end) = times::span(event, zone, warnings).ok_or(Fault::BadStart)?;
    let mut fields = Fields::new(start, end);
    fields.title = text(event.subject.as_deref());
    fields.description = body::description(event);
    fields.location = location(event);
    fields.status = if event.is_cancelled { Status::Cancelled } else { Status::Confirmed };
    fields.transparency = match event.show_as.as_deref() {
        Some("free" | "workingElsewhere" | "unknown") => Transparency::Transparent,
        _ => Transparency::Opaque,
    };
    fields.visibility = match event.sensitivity.as_deref() {
        Some("private" | "personal") => Visibility::Private,
        Some("confidential") => Visibility::Confidential,
        _ => Visibility::Public,
    };
    fields.organizer = organizer(event);
    fields.attendees = attendees(event, owner);
    fields.reminders = match event.reminder_minutes_before_start {
        Some(minutes) if event.is_reminder_on => vec![Reminder::BeforeStart(minutes.saturating_mul(60))],
        _ => Vec::new(),
    };
    fields.conference = conference(event, &fields);
    fields.categories = event.categories.iter().filter_map(|name| text(Some(name))).collect();
    fields.categories.sort();
    fields.categories.dedup();
    fields.stamps = Stamps {
        sequence: 0,
        created: event.created_date_time.as_deref().and_then(times::timestamp),
        updated: event.last_modified_date_time.as_deref().and_then(times::timestamp),
    };
    Ok(fields)
}

/// The part of the calendar's owner, from Graph's own flag.
pub(super) fn role(event: &Event) -> Role {
    match event.is_organizer {
        Some(true) => Role::Organizer,
        Some(false) if !event.attendees.is_empty() || organizer(event).is_some() => Role::Attendee,
        _ => Role::None,
    }
}

fn text(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// All of them, where there are several.
fn location(event: &Event) -> Option<String> {
    let name = |location: &wire::Location| text(location.display_name.as_deref());
    let several: Vec<String> = event.locations.iter().filter_map(name).collect();
    if several.len() > 1 {
        return Some(several.join("; "));
    }
    event.location.as_ref().and_then(name).or_else(|| several.into_iter().next())
}

/// Without a mail domain it is the name under which Exchange files its people, and says nothing to others.
pub(super) fn address(person: &EmailAddress) -> Option<String> {
    let address = person.address.as_deref()?.trim().to_lowercase();
    address.contains('@').then_some(address)
}

/// A name that only repeats the address says nothing.
fn name(person: &EmailAddress, address: &str) -> Option<String> {
    let name = person.name.as_deref()?.trim();
    (!name.is_empty() && !name.eq_ignore_ascii_case(address)).then(|| name.to_owned())
}

/// Nobody, of an event without guests that is the owner's own.
fn organizer(event: &Event) -> Option<Organizer> {
    if event.is_organizer == Some(true) && event.attendees.is_empty() {
        return None;
    }
    let person = event.organizer.as_ref()?.email_address.as_ref()?;
    let address = address(person)?;
    Some(Organizer { name: name(person, &address), address })
}

fn attendees(event: &Event, owner: Option<&str>) -> Vec<Attendee> {
    let mut attendees: Vec<Attendee> = event.attendees.iter().filter_map(attendee).collect();
    if event.is_organizer == Some(false)
        && let Some(own) = attendees.iter_mut().find(|guest| Some(guest.address.as_str()) == owner)
        && let Some(answer) = event.response_status.as_ref()
    {
        own.status = answered(Some(answer));
    }
    let unanswered = |guest: &Attendee| guest.status == ParticipationStatus::NeedsAction;
    attendees.sort_by(|a, b| a.address.cmp(&b.address).then(unanswered(a).cmp(&unanswered(b))));
    attendees.dedup_by(|later, earlier| later.address == earlier.address);
    attendees
}

fn attendee(person: &wire::Attendee) -> Option<Attendee> {
    let mail = person.email_address.as_ref()?;
    let mut attendee = Attendee::new(address(mail)?);
    attendee.name = name(mail, &attendee.address);
    attendee.status = answered(person.status.as_ref());
    match person.kind.as_deref() {
        Some("optional") => attendee.role = AttendeeRole::Optional,
        Some("resource") => attendee.kind = AttendeeKind::Resource,
        _ => {}
    }
    Some(attendee)
}

fn answered(status: Option<&wire::ResponseStatus>) -> ParticipationStatus {
    match status.and_then(|status| status.response.as_deref()) {
        Some("accepted" | "organizer") => ParticipationStatus::Accepted,
        Some("tentativelyAccepted") => ParticipationStatus::Tentative,
        Some("declined") => ParticipationStatus::Declined,
        _ => ParticipationStatus::NeedsAction,
    }
}

/// Graph's own meeting first, then what stands in the texts. A meeting of one's own that has no link yet gets one.
fn conference(event: &Event, fields: &Fields) -> Option<Conference> {
    let is_link = |link: &&str| link.starts_with("https://") || link.starts_with("http://");
    let is_teams = event.online_meeting_provider.as_deref() == Some(TEAMS);
    let link = body::join_url(event).or(event.online_meeting_url.as_deref()).filter(is_link);
    let Some(link) = link else {
        let pending = || Conference::without_link(ConferenceType::MicrosoftTeams, ConferenceStatus::Pending);
        let is_pending = is_teams && event.is_online_meeting && event.is_organizer == Some(true);
        return ics::conference_in([None, fields.location.as_deref(), fields.description.as_deref()])
            .or_else(|| is_pending.then(pending));
    };
    let found = ics::conference(link);
    Some(if is_teams { Conference { kind: ConferenceType::MicrosoftTeams, ..found } } else { found })
}

#[cfg(test)]
mod tests {
    use calfleet_domain::model::{End, When, Zone};

    use super::*;

    fn read(text: &str) -> Event {
        serde_json::from_str(text).unwrap()
    }

    fn fields(text: &str) -> Fields {
        of(&read(text), None, Some("bob@example.com"), &mut Vec::new()).unwrap()
    }

    const REVIEW: &str = r#"{"@odata.etag":"W/\"ck\"","id":"AAMk1","createdDateTime":"2026-02-01T08:00:00.1234567Z","lastModifiedDateTime":"2026-02-02T08:00:00.7654321Z",
        "changeKey":"ck","categories":["Red category","Blue category","Red category"],"transactionId":null,"originalStartTimeZone":"Romance Standard Time","originalEndTimeZone":"Romance Standard Time",
        "iCalUId":"040000008200E00074C5B7101A82E008","reminderMinutesBeforeStart":15,"isReminderOn":true,"hasAttachments":true,"subject":"Review","bodyPreview":"Bring numbers",
        "importance":"normal","sensitivity":"private","isAllDay":false,"isCancelled":false,"isOrganizer":false,"responseRequested":true,"seriesMasterId":null,"showAs":"tentative","type":"singleInstance",
        "webLink":"https://outlook.office365.com/x","onlineMeetingUrl":null,"isOnlineMeeting":true,"onlineMeetingProvider":"teamsForBusiness","recurrence":null,
        "responseStatus":{"response":"tentativelyAccepted","time":"2026-02-02T08:00:00Z"},"body":{"contentType":"html","content":"<html>\r\n<head></head>\r\n<body>\r\n<div>Bring <b>numbers</b></div>\r\n</body>\r\n</html>\r\n"},
        "start":{"dateTime":"2026-03-16T08:30:00.0000000","timeZone":"UTC"},"end":{"dateTime":"2026-03-16T09:00:00.0000000","timeZone":"UTC"},
        "location":{"displayName":"Room 4","locationType":"default"},"locations":[{"displayName":"Room 4"}],
        "attendees":[{"type":"required","status":{"response":"none","time":"0001-01-01T00:00:00Z"},"emailAddress":{"name":"Bob","address":"Bob@example.com"}},
          {"type":"optional","status":{"response":"declined"},"emailAddress":{"name":"eve@example.com","address":"eve@example.com"}},
          {"type":"resource","status":{"response":"accepted"},"emailAddress":{"name":"Room 4","address":"room4@example.com"}},
          {"type":"required","emailAddress":{"name":"Old","address":"/O=ORG/CN=OLD"}}],
        "organizer":{"emailAddress":{"name":"Ada","address":"ada@example.com"}},"onlineMeeting":{"joinUrl":"https://teams.microsoft.com/l/meetup-join/1"}}"#;

    #[test]
    fn an_event_is_read_whole() {
        let review = fields(REVIEW);

        let at =
            |wall: &str| When::Zoned { wall: wall.parse().unwrap(), zone: Zone::Iana(Tz::Europe__Paris) };
        assert_eq!(
            (review.start, review.end),
            (at("2026-03-16T09:30:00"), End::At(at("2026-03-16T10:00:00")))
        );
        assert_eq!(review.description.as_deref(), Some("Bring numbers"));
        assert_eq!(review.location.as_deref(), Some("Room 4"));
        assert_eq!(review.organizer.map(|found| found.address).as_deref(), Some("ada@example.com"));
        assert_eq!(review.reminders, [Reminder::BeforeStart(900)]);
        assert_eq!(review.conference.map(|found| found.kind), Some(ConferenceType::MicrosoftTeams));
        assert_eq!(review.categories, ["Blue category", "Red category"]);
        assert_eq!(
            (review.visibility, review.transparency, review.status),
            (Visibility::Private, Transparency::Opaque, Status::Confirmed)
        );
        assert_eq!(review.stamps.updated.map(|at| at.0), Some(1_770_019_200_765));
        assert_eq!(role(&read(REVIEW)), Role::Attendee);
    }

    #[test]
    fn guests_have_their_answers_and_the_owner_the_own_one() {
        let guests = fields(REVIEW).attendees;

        let guests: Vec<_> = guests
            .iter()
            .map(|guest| (guest.address.as_str(), guest.status, guest.role, guest.kind))
            .collect();
        assert_eq!(
            guests,
            [
                (
                    "bob@example.com",
                    ParticipationStatus::Tentative,
                    AttendeeRole::Required,
                    AttendeeKind::Individual
                ),
                (
                    "eve@example.com",
                    ParticipationStatus::Declined,
                    AttendeeRole::Optional,
                    AttendeeKind::Individual
                ),
                (
                    "room4@example.com",
                    ParticipationStatus::Accepted,
                    AttendeeRole::Required,
                    AttendeeKind::Resource
                ),
            ]
        );
    }

    const START: &str = r#""start":{"dateTime":"2026-03-16T08:30:00","timeZone":"UTC"},"end":{"dateTime":"2026-03-16T09:00:00","timeZone":"UTC"}"#;

    #[test]
    fn an_event_of_ones_own_has_no_organizer_and_a_plain_body_stays_as_it_is() {
        let own = fields(&format!(
            r#"{{{START},"isOrganizer":true,"organizer":{{"emailAddress":{{"address":"bob@example.com"}}}},
            "body":{{"contentType":"text","content":"a <b> c\r\nd"}},"locations":[{{"displayName":"A"}},{{"displayName":"B"}}],"isReminderOn":false,"reminderMinutesBeforeStart":15}}"#
        ));

        assert_eq!(own.organizer, None);
        assert_eq!(own.description.as_deref(), Some("a <b> c\nd"));
        assert_eq!(own.location.as_deref(), Some("A; B"));
        assert_eq!(own.reminders, []);
    }

    #[test]
    fn busy_states_and_sensitivities_have_their_counterparts() {
        let of = |name: &str, value: &str| fields(&format!(r#"{{{START},"{name}":"{value}"}}"#));

        for (state, expected) in [
            ("free", Transparency::Transparent),
            ("workingElsewhere", Transparency::Transparent),
            ("tentative", Transparency::Opaque),
            ("oof", Transparency::Opaque),
            ("busy", Transparency::Opaque),
        ] {
            assert_eq!(of("showAs", state).transparency, expected, "{state}");
        }
        assert_eq!(of("sensitivity", "personal").visibility, Visibility::Private);
        assert_eq!(of("sensitivity", "confidential").visibility, Visibility::Confidential);
        assert_eq!(of("sensitivity", "normal").visibility, Visibility::Public);
    }

    #[test]
    fn a_cancelled_meeting_stays_until_it_is_removed() {
        assert_eq!(fields(&format!(r#"{{{START},"isCancelled":true}}"#)).status, Status::Cancelled);
    }

    #[test]
    fn null_says_nothing_and_what_has_no_sense_is_a_fault() {
        let nulls = format!(
            r#"{{{START},"attendees":null,"categories":null,"body":null,"isCancelled":null,"isReminderOn":null,"locations":null,"type":"tomorrow"}}"#
        );
        let of = |text: &str| of(&read(text), None, None, &mut Vec::new());

        assert!(of(&nulls).is_ok());
        assert_eq!(of("{}"), Err(Fault::BadStart));
        assert_eq!(role(&read("{}")), Role::None);
    }
}
