//! What one event says (`Event` of the reference) → the fields of the model.
//!
//! Google's own projections: a time is shown with the calendar's offset whatever its zone, so wall times are worked
//! out in the zone it names; an event without guests names its own calendar as organizer, which says nothing;
//! `useDefault` stands for the calendar's default reminders; descriptions may be HTML; colours are numbers.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::ics;
use calfleet_domain::model::{
    Attendee, AttendeeKind, AttendeeRole, Conference, ConferenceStatus, ConferenceType, End, Fields,
    Organizer, ParticipationStatus, RecurrenceId, Reminder, Role, Stamps, Status, Transparency, Visibility,
    When, Zone,
};
use calfleet_domain::recurrence::zone;
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike, Utc};
use chrono_tz::Tz;

use super::wire::{Event, Moment, Person};
use crate::html;

/// Colours of events by their number (`colors.get`; the same for everybody for as long as the API is known).
const COLORS: [&str; 11] = [
    "#A4BDFC", "#7AE7BF", "#DBADFF", "#FF887C", "#FBD75B", "#FFB878", "#46D6DB", "#E1E1E1", "#5484ED",
    "#51B749", "#DC2127",
];

/// Why an event cannot be read; in words for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it has no start")]
    NoStart,
    #[error("its start is no date and no time")]
    BadStart,
    #[error("it departs from a series and does not say from which instance")]
    NoOriginalStart,
    #[error("it has {count} guests, more than the {limit} allowed")]
    TooManyGuests { count: usize, limit: usize },
}

/// Whether a time has to stand for one instant, or for a wall clock again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recurs {
    No,
    Yes,
}

/// The fields of an event that is not cancelled. `reminders` are the calendar's own; `zone` is its zone.
pub(super) fn of(
    event: &Event,
    zone: Option<Tz>,
    reminders: &[Reminder],
    warnings: &mut Vec<String>,
) -> Result<Fields, Fault> {
    let limit = ics::Limits::default().attendees;
    if event.attendees.len() > limit {
        return Err(Fault::TooManyGuests { count: event.attendees.len(), limit });
    }
    let recurs = if event.recurrence.is_empty() { Recurs::No } else { Recurs::Yes };
    let start =
        when(event.start.as_ref().ok_or(Fault::NoStart)?, zone, recurs, warnings).ok_or(Fault::BadStart)?;
    let end = end(event, &start, zone, recurs, warnings);
    let mut fields = Fields::new(start, end);
    fields.title = text(event.summary.as_ref());
    fields.description = event.description.as_deref().and_then(html::plain);
    fields.location = text(event.location.as_ref());
    fields.url = event.source.as_ref().and_then(|source| text(source.url.as_ref()));
    fields.status = match event.status.as_deref() {
        Some("tentative") => Status::Tentative,
        Some("cancelled") => Status::Cancelled,
        _ => Status::Confirmed,
    };
    fields.transparency = transparency(event);
    fields.visibility = match event.visibility.as_deref() {
        Some("private") => Visibility::Private,
        Some("confidential") => Visibility::Confidential,
        _ => Visibility::Public,
    };
    fields.organizer = organizer(event);
    fields.attendees = attendees(&event.attendees);
    if event.attendees_omitted {
        warnings.push("Google shows only a part of the guests".to_owned());
    }
    fields.reminders = self::reminders(event, reminders);
    fields.conference = conference(event, &fields);
    fields.color = event.color_id.as_deref().and_then(color);
    fields.stamps = Stamps {
        sequence: event.sequence.and_then(|sequence| u32::try_from(sequence).ok()).unwrap_or(0),
        created: event.created.as_deref().and_then(stamp),
        updated: event.updated.as_deref().and_then(stamp),
    };
    Ok(fields)
}

/// The part of the calendar's owner.
pub(super) fn role(event: &Event) -> Role {
    if event.organizer.as_ref().is_some_and(|organizer| organizer.is_self) {
        Role::Organizer
    } else if event.attendees.iter().any(|guest| guest.is_self) {
        Role::Attendee
    } else if event.attendees.is_empty() && !event.attendees_omitted {
        Role::Organizer
    } else {
        Role::None
    }
}

/// The original start of an instance: a date, or an instant.
pub(super) fn recurrence_id(event: &Event, zone: Option<Tz>) -> Result<RecurrenceId, Fault> {
    let start = event.original_start_time.as_ref().ok_or(Fault::NoOriginalStart)?;
    let when = when(start, zone, Recurs::Yes, &mut Vec::new()).ok_or(Fault::NoOriginalStart)?;
    Ok(match when {
        When::Date(date) => RecurrenceId::Date(date),
        // As Google shows it, with an offset: a wall time that stands twice a year keeps its instant.
        when => RecurrenceId::Utc(
            instant(start).unwrap_or_else(|| zone::instant_of(&when, zone.unwrap_or(Tz::UTC)).0),
        ),
    })
}

/// An RFC 3339 stamp.
pub(super) fn stamp(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text).ok().map(|instant| Timestamp::from_utc(instant.to_utc()))
}

fn text(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

fn is_sane(date: NaiveDate) -> bool {
    (1..=9999).contains(&date.year())
}

fn instant(time: &Moment) -> Option<DateTime<Utc>> {
    let instant = DateTime::parse_from_rfc3339(time.date_time.as_deref()?).ok()?.to_utc();
    instant.with_nanosecond(0).filter(|instant| is_sane(instant.date_naive()))
}

fn when(time: &Moment, calendar: Option<Tz>, recurs: Recurs, warnings: &mut Vec<String>) -> Option<When> {
    if let Some(date) = &time.date {
        let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
        return is_sane(date).then_some(When::Date(date));
    }
    let named = time.time_zone.as_deref().and_then(|name| {
        let zone = zone::resolve(name);
        if zone.is_none() {
            let name: String = name.chars().take(80).collect();
            warnings.push(format!("the time zone {name:?} is unknown; the calendar's own is used"));
        }
        zone
    });
    let zone = named.or(calendar.map(Zone::Iana));
    let Some(instant) = instant(time) else {
        let wall = NaiveDateTime::parse_from_str(time.date_time.as_deref()?, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
        let wall = wall.with_nanosecond(0).filter(|wall| is_sane(wall.date()))?;
        return Some(zone.map_or(When::Floating(wall), |zone| When::Zoned { wall, zone }));
    };
    let Some(zone) = zone else { return Some(When::Utc(instant)) };
    let wall = zone::ZoneClock::new(&zone).wall(instant);
    let when = When::Zoned { wall, zone };
    // The later of two equal wall times in autumn has no name of its own.
    if recurs == Recurs::No && zone::instant_of(&when, Tz::UTC).0 != instant {
        return Some(When::Utc(instant));
    }
    is_sane(wall.date()).then_some(when)
}

fn end(event: &Event, start: &When, zone: Option<Tz>, recurs: Recurs, warnings: &mut Vec<String>) -> End {
    if event.end_time_unspecified {
        return End::Unspecified;
    }
    let Some(end) = event.end.as_ref().and_then(|end| when(end, zone, recurs, warnings)) else {
        return End::Unspecified;
    };
    let is_fitting = match (start, &end) {
        (When::Date(start), When::Date(end)) => end > start,
        (start, end) if start.is_date() == end.is_date() => {
            zone::instant_of(end, Tz::UTC).0 >= zone::instant_of(start, Tz::UTC).0
        }
        _ => false,
    };
    if is_fitting {
        return End::At(end);
    }
    warnings.push("its end does not go with its start and is left out".to_owned());
    End::Unspecified
}

/// Where one works is nobody's time; being out of office is busy whatever else is said.
fn transparency(event: &Event) -> Transparency {
    let is_marked = event.transparency.as_deref() == Some("transparent");
    match event.kind.as_deref() {
        Some("workingLocation") => Transparency::Transparent,
        Some("outOfOffice") => Transparency::Opaque,
        _ => {
            if is_marked {
                Transparency::Transparent
            } else {
                Transparency::Opaque
            }
        }
    }
}

fn address(person: &Person) -> Option<String> {
    person.email.as_deref().map(|mail| mail.trim().to_lowercase()).filter(|mail| !mail.is_empty())
}

/// A name that only repeats the address says nothing.
fn name(person: &Person, address: &str) -> Option<String> {
    let name = person.display_name.as_deref()?.trim();
    (!name.is_empty() && !name.eq_ignore_ascii_case(address)).then(|| name.to_owned())
}

fn organizer(event: &Event) -> Option<Organizer> {
    let person = event.organizer.as_ref()?;
    if person.is_self && event.attendees.is_empty() {
        return None;
    }
    let address = address(person)?;
    Some(Organizer { name: name(person, &address), address })
}

fn attendees(people: &[Person]) -> Vec<Attendee> {
    let mut attendees: Vec<Attendee> = people.iter().filter_map(attendee).collect();
    let unanswered = |guest: &Attendee| guest.status == ParticipationStatus::NeedsAction;
    attendees.sort_by(|a, b| a.address.cmp(&b.address).then(unanswered(a).cmp(&unanswered(b))));
    attendees.dedup_by(|later, earlier| later.address == earlier.address);
    attendees
}

fn attendee(person: &Person) -> Option<Attendee> {
    let mut attendee = Attendee::new(address(person)?);
    attendee.name = name(person, &attendee.address);
    attendee.status = match person.response_status.as_deref() {
        Some("accepted") => ParticipationStatus::Accepted,
        Some("declined") => ParticipationStatus::Declined,
        Some("tentative") => ParticipationStatus::Tentative,
        _ => ParticipationStatus::NeedsAction,
    };
    if person.optional {
        attendee.role = AttendeeRole::Optional;
    }
    if person.resource {
        attendee.kind = AttendeeKind::Resource;
    }
    attendee.comment = text(person.comment.as_ref());
    Some(attendee)
}

fn reminders(event: &Event, defaults: &[Reminder]) -> Vec<Reminder> {
    let Some(own) = &event.reminders else { return Vec::new() };
    if own.use_default {
        return defaults.to_vec();
    }
    before_start(&own.overrides)
}

/// Google's reminders as ours, sorted, each once: whether by mail or on a screen stays in the payload.
pub(super) fn before_start(reminders: &[super::wire::Reminder]) -> Vec<Reminder> {
    let mut reminders: Vec<Reminder> =
        reminders.iter().map(|reminder| Reminder::BeforeStart(reminder.minutes.saturating_mul(60))).collect();
    reminders.sort_unstable();
    reminders.dedup();
    reminders
}

/// Meet first, then a video link of another kind, then what was kept beside or stands in the texts.
fn conference(event: &Event, fields: &Fields) -> Option<Conference> {
    let is_link = |link: &&str| link.starts_with("https://") || link.starts_with("http://");
    let meet = |status| Some(Conference::without_link(ConferenceType::GoogleMeet, status));
    if let Some(link) = event.hangout_link.as_deref().filter(is_link) {
        return Some(Conference::ready(ConferenceType::GoogleMeet, link));
    }
    let points = event.conference_data.iter().flat_map(|data| &data.entry_points);
    let video = points
        .filter(|point| point.entry_point_type.as_deref() == Some("video"))
        .find_map(|point| point.uri.as_deref().filter(is_link));
    if let Some(link) = video {
        return Some(ics::conference(link));
    }
    let asked = event.conference_data.as_ref().and_then(|data| data.create_request.as_ref());
    let made = asked.and_then(|request| request.status.as_ref()?.status_code.as_deref());
    if made == Some("pending") {
        return meet(ConferenceStatus::Pending);
    }
    let beside = event.extended_properties.as_ref().and_then(|found| found.private.conference.as_deref());
    if let Some(link) = beside.filter(is_link) {
        return Some(Conference::ready(ConferenceType::Custom, link));
    }
    let texts = [fields.url.as_deref(), fields.location.as_deref(), fields.description.as_deref()];
    let found = ics::conference_in(texts);
    found.or_else(|| meet(ConferenceStatus::Failed).filter(|_| made == Some("failure")))
}

/// The number of a colour on the palette.
pub(super) fn color_id(color: &str) -> Option<String> {
    let index = COLORS.iter().position(|known| known.eq_ignore_ascii_case(color))?;
    Some((index + 1).to_string())
}

fn color(id: &str) -> Option<String> {
    let index = id.parse::<usize>().ok()?.checked_sub(1)?;
    COLORS.get(index).map(|color| (*color).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Event {
        serde_json::from_str(text).unwrap()
    }

    fn fields(text: &str) -> Fields {
        of(&read(text), Some(Tz::Europe__Paris), &[Reminder::BeforeStart(600)], &mut Vec::new()).unwrap()
    }

    fn at(wall: &str, zone: Tz) -> When {
        When::Zoned { wall: wall.parse().unwrap(), zone: Zone::Iana(zone) }
    }

    const REVIEW: &str = r#"{"kind":"calendar#event","etag":"\"3181161784712000\"","id":"7ld1q0v5kqgm6dpmvqtcq3r8lt",
        "status":"confirmed","htmlLink":"https://www.google.com/calendar/event?eid=x","created":"2026-02-01T08:00:00.000Z",
        "updated":"2026-02-02T08:00:00.123Z","summary":"Review","description":"<b>Bring</b> numbers<br>and coffee",
        "location":"Room 4","colorId":"11","creator":{"email":"Ada@example.com","self":true},
        "organizer":{"email":"Ada@example.com","self":true},
        "start":{"dateTime":"2026-03-16T15:30:00+01:00","timeZone":"America/New_York"},
        "end":{"dateTime":"2026-03-16T16:00:00+01:00","timeZone":"America/New_York"},
        "iCalUID":"7ld1q0v5kqgm6dpmvqtcq3r8lt@google.com","sequence":2,
        "attendees":[{"email":"bob@example.com","displayName":"Bob","responseStatus":"accepted","optional":true,"comment":"late"},
          {"email":"ada@example.com","organizer":true,"self":true,"responseStatus":"accepted"},
          {"email":"c_1@resource.calendar.google.com","resource":true,"responseStatus":"declined"}],
        "hangoutLink":"https://meet.google.com/abc-defg-hij","reminders":{"useDefault":false,"overrides":[{"method":"popup","minutes":30},{"method":"email","minutes":30}]},
        "source":{"url":"https://app.example.com/1","title":"App"},"visibility":"private","transparency":"transparent","eventType":"default"}"#;

    #[test]
    fn an_event_is_read_whole() {
        let review = fields(REVIEW);

        assert_eq!(review.start, at("2026-03-16T10:30:00", Tz::America__New_York));
        assert_eq!(review.end, End::At(at("2026-03-16T11:00:00", Tz::America__New_York)));
        assert_eq!(review.description.as_deref(), Some("Bring numbers\nand coffee"));
        assert_eq!(review.url.as_deref(), Some("https://app.example.com/1"));
        assert_eq!(review.organizer.map(|found| found.address).as_deref(), Some("ada@example.com"));
        let guests: Vec<_> =
            review.attendees.iter().map(|guest| (guest.address.as_str(), guest.status, guest.kind)).collect();
        assert_eq!(
            guests,
            [
                ("ada@example.com", ParticipationStatus::Accepted, AttendeeKind::Individual),
                ("bob@example.com", ParticipationStatus::Accepted, AttendeeKind::Individual),
                ("c_1@resource.calendar.google.com", ParticipationStatus::Declined, AttendeeKind::Resource),
            ]
        );
        assert_eq!(review.reminders, [Reminder::BeforeStart(1800)]);
        assert_eq!(review.conference.map(|found| found.kind), Some(ConferenceType::GoogleMeet));
        assert_eq!(review.color.as_deref(), Some("#DC2127"));
        assert_eq!(
            (review.visibility, review.transparency),
            (Visibility::Private, Transparency::Transparent)
        );
        assert_eq!(review.stamps.sequence, 2);
        assert_eq!(role(&read(REVIEW)), Role::Organizer);
    }

    #[test]
    fn the_part_of_the_owner_comes_from_the_flags() {
        let of = |text| role(&read(text));

        assert_eq!(
            of(r#"{"id":"a","organizer":{"email":"x"},"attendees":[{"email":"y","self":true}]}"#),
            Role::Attendee
        );
        assert_eq!(of(r#"{"id":"a","organizer":{"email":"x"},"attendees":[{"email":"y"}]}"#), Role::None);
        assert_eq!(of(r#"{"id":"a","organizer":{"email":"x"}}"#), Role::Organizer);
        assert_eq!(of(r#"{"id":"a","organizer":{"email":"x"},"attendeesOmitted":true}"#), Role::None);
    }

    #[test]
    fn an_all_day_event_is_dates_and_one_without_zone_is_in_the_calendars() {
        let day = fields(
            r#"{"id":"a","start":{"date":"2026-03-16"},"end":{"date":"2026-03-18"},"reminders":{"useDefault":true}}"#,
        );
        let timed = fields(
            r#"{"id":"a","start":{"dateTime":"2026-03-16T08:30:00Z"},"end":{"dateTime":"2026-03-16T09:30:00Z"}}"#,
        );

        assert_eq!(day.start, When::Date("2026-03-16".parse().unwrap()));
        assert_eq!(day.end, End::At(When::Date("2026-03-18".parse().unwrap())));
        assert_eq!(day.reminders, [Reminder::BeforeStart(600)]);
        assert_eq!(timed.start, at("2026-03-16T09:30:00", Tz::Europe__Paris));
    }

    #[test]
    fn the_later_of_two_equal_wall_times_keeps_its_instant() {
        let late = fields(
            r#"{"id":"a","start":{"dateTime":"2026-10-25T02:30:00+01:00"},"end":{"dateTime":"2026-10-25T03:30:00+01:00"}}"#,
        );
        let early = fields(
            r#"{"id":"a","start":{"dateTime":"2026-10-25T02:30:00+02:00"},"end":{"dateTime":"2026-10-25T03:30:00+01:00"}}"#,
        );

        assert_eq!(late.start, When::Utc("2026-10-25T01:30:00Z".parse().unwrap()));
        assert_eq!(early.start, at("2026-10-25T02:30:00", Tz::Europe__Paris));
    }

    #[test]
    fn kinds_of_events_decide_about_busy_time() {
        let of = |kind: &str| {
            fields(&format!(
                r#"{{"id":"a","eventType":"{kind}","start":{{"date":"2026-03-16"}},"end":{{"date":"2026-03-17"}}}}"#
            ))
            .transparency
        };

        assert_eq!(of("workingLocation"), Transparency::Transparent);
        assert_eq!(of("outOfOffice"), Transparency::Opaque);
        assert_eq!(of("focusTime"), Transparency::Opaque);
    }

    #[test]
    fn a_link_of_another_vendor_is_found() {
        let zoom = fields(
            r#"{"id":"a","start":{"date":"2026-03-16"},"conferenceData":{"entryPoints":[{"entryPointType":"phone","uri":"tel:1"},{"entryPointType":"video","uri":"https://acme.zoom.us/j/1"}]}}"#,
        );

        assert_eq!(
            zoom.conference,
            Some(Conference::ready(ConferenceType::Custom, "https://acme.zoom.us/j/1"))
        );
    }

    #[test]
    fn what_has_no_sense_is_a_fault_or_left_out() {
        let of = |text| of(&read(text), None, &[], &mut Vec::new()).map(|fields| fields.end);

        assert_eq!(of(r#"{"id":"a"}"#), Err(Fault::NoStart));
        assert_eq!(of(r#"{"id":"a","start":{"date":"99999-01-01"}}"#), Err(Fault::BadStart));
        assert_eq!(
            of(r#"{"id":"a","start":{"date":"2026-03-16"},"end":{"dateTime":"2026-03-16T08:30:00Z"}}"#),
            Ok(End::Unspecified)
        );
    }
}
