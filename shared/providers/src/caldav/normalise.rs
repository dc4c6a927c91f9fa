//! From what a server says to our nouns: calendars, and objects with their event.

use std::collections::BTreeMap;

use calfleet_domain::ics::{self, Item, Limits};
use calfleet_domain::model::{
    Access, Body, DetailLevel, Event, Override, Parts, ProviderId, RemoteCalendar, RemoteChange, RemoteEvent,
    Revision, Role, Zone,
};
use calfleet_domain::recurrence::zone;
use chrono_tz::Tz;
use url::Url;

use super::href;
use super::wire::{Privileges, Props, Response};

/// A calendar as found, before it is put in order.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// What the rest of the fleet gets to see.
    pub(super) calendar: RemoteCalendar,
    /// Where it is.
    pub(super) url: Url,
    /// Its place in the account's own order.
    pub(super) order: Option<i64>,
    /// What its server said of it.
    pub(super) props: Props,
}

/// The calendar that a response describes; `None` when it is none that can hold events.
///
/// `base` is where the answer came from. The id is the path where the calendar lives at the account's own origin
/// (`home`), else the whole address.
pub(super) fn calendar(response: &Response, base: &Url, home: &Url) -> Option<Found> {
    let props = &response.props;
    let kind = props.resource_type?;
    // A subscription's contents are somewhere else.
    if !kind.is_calendar || kind.is_subscription || response.status.is_some_and(|status| status >= 400) {
        return None;
    }
    // Without the property it takes everything (RFC 4791 §5.2.3).
    if props.components.as_ref().is_some_and(|names| !names.iter().any(|name| name == "VEVENT")) {
        return None;
    }
    let mut url = href::resolve(base, &response.href)?;
    let mut spelling = if response.href.starts_with('/') && !response.href.starts_with("//") {
        response.href.clone()
    } else {
        url.path().to_owned()
    };
    if !spelling.ends_with('/') {
        spelling.push('/');
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    let is_at_home = url.origin() == home.origin();
    let provider_id = ProviderId(if is_at_home { spelling.clone() } else { url.to_string() });
    let name = props.display_name.clone().unwrap_or_else(|| last_segment(&spelling));
    let calendar = RemoteCalendar {
        provider_id,
        name,
        description: props.description.clone(),
        color: props.color.as_deref().and_then(color),
        time_zone: props.time_zone.as_deref().and_then(time_zone),
        access: access(props.privileges),
        is_primary: false,
        setting: None,
    };
    let order = props.order.as_deref().and_then(|order| order.parse().ok());
    Some(Found { calendar, url, order, props: props.clone() })
}

fn last_segment(path: &str) -> String {
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .filter(|name| !name.is_empty())
        .unwrap_or("Calendar")
        .to_owned()
}

/// `#RRGGBB` of `#RRGGBB` and `#RRGGBBAA`; names are left out.
fn color(text: &str) -> Option<String> {
    let digits = text.trim().strip_prefix('#')?;
    let is_color = matches!(digits.len(), 6 | 8) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_color.then(|| format!("#{}", digits.get(..6).unwrap_or_default().to_ascii_uppercase()))
}

/// Absent privileges are not missing ones: writing is tried, and a refusal is learnt from.
fn access(privileges: Option<Privileges>) -> Access {
    let Some(granted) = privileges else { return Access::Write };
    let may_write = [Privileges::ALL, Privileges::WRITE, Privileges::WRITE_CONTENT, Privileges::BIND];
    if granted.has_any(&may_write) {
        Access::Write
    } else if granted.has_any(&[Privileges::READ]) || !granted.has_any(&[Privileges::READ_FREE_BUSY]) {
        Access::Read
    } else {
        Access::FreeBusy
    }
}

/// The IANA name in a `VTIMEZONE`; vendors put paths before it. A bare name is taken too.
fn time_zone(text: &str) -> Option<String> {
    let unfolded = text.replace("\r\n ", "").replace("\n ", "");
    let mut names = unfolded.lines().filter_map(|line| {
        let (name, value) = line.trim().split_once(':')?;
        (name.eq_ignore_ascii_case("TZID") || name.eq_ignore_ascii_case("X-LIC-LOCATION")).then_some(value)
    });
    names.find_map(iana).or_else(|| iana(text.trim())).map(|zone| zone.name().to_owned())
}

fn iana(name: &str) -> Option<Tz> {
    match zone::resolve(name)? {
        Zone::Iana(zone) => Some(zone),
        Zone::Custom(_) => None,
    }
}

/// What the text of one object says.
pub(super) fn object(
    provider_id: ProviderId,
    revision: Option<Revision>,
    text: String,
    zone: Option<Tz>,
) -> RemoteChange {
    let document = match ics::read(&text, zone, &Limits::default()) {
        Ok(document) => document,
        Err(error) => return unreadable(provider_id, revision, error.to_string(), Some(text)),
    };
    if document.is_truncated {
        let reason = "the object breaks off in the middle".to_owned();
        return unreadable(provider_id, revision, reason, Some(text));
    }
    let others = document.items.len().saturating_sub(1);
    // One resource holds one UID (RFC 4791 §4.1); where a server lets more through, the first readable counts.
    let mut reason = None;
    for item in document.items {
        match item {
            Item::Read(mut object) => {
                if others > 0 {
                    object.warnings.push(format!("The object holds {others} more, which are not shown."));
                }
                return RemoteChange::Upsert(Box::new(RemoteEvent {
                    parts: Parts::Whole,
                    instances: BTreeMap::new(),
                    provider_id,
                    created_as: None,
                    revision,
                    role: role(&object.event),
                    event: object.event,
                    detail: DetailLevel::Full,
                    raw: Some(text),
                    changed_at: object.changed_at,
                    warnings: object.warnings,
                }));
            }
            Item::Unreadable { reason: why, .. } => reason = reason.or(Some(why)),
        }
    }
    match reason {
        Some(reason) => unreadable(provider_id, revision, reason, Some(text)),
        // A task or a journal entry: for us there is nothing at this address.
        None if OTHERS.iter().any(|other| holds(&text, other)) && !holds(&text, "BEGIN:VEVENT") => {
            RemoteChange::Removed { provider_id }
        }
        None => unreadable(
            provider_id,
            revision,
            "there is no event in its calendar object".to_owned(),
            Some(text),
        ),
    }
}

/// An object that exists and cannot be read.
pub(super) fn unreadable(
    provider_id: ProviderId,
    revision: Option<Revision>,
    reason: String,
    raw: Option<String>,
) -> RemoteChange {
    RemoteChange::Unreadable { provider_id, revision, reason, raw }
}

/// What a calendar object holds instead of an event.
const OTHERS: [&str; 5] =
    ["BEGIN:VTODO", "BEGIN:VJOURNAL", "BEGIN:VFREEBUSY", "BEGIN:VAVAILABILITY", "BEGIN:VPOLL"];

fn holds(text: &str, wanted: &str) -> bool {
    text.as_bytes().windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// CalDAV has no flag of its own for the owner's part: without anyone else it is the owner's, otherwise unknown.
pub(crate) fn role(event: &Event) -> Role {
    let has_people =
        |fields: &calfleet_domain::model::Fields| fields.organizer.is_some() || !fields.attendees.is_empty();
    let with_people = match &event.body {
        Body::Single(fields) => has_people(fields),
        Body::Series(series) => {
            series.master.as_ref().is_none_or(|master| has_people(&master.fields))
                || series.overrides.values().any(|over| match over {
                    Override::Changed(fields) => has_people(fields),
                    Override::Cancelled => false,
                })
        }
    };
    if with_people { Role::None } else { Role::Organizer }
}

#[cfg(test)]
mod tests {
    use super::super::wire::ResourceType;
    use super::*;

    fn response(href: &str, change: impl FnOnce(&mut Props)) -> Response {
        let kind = ResourceType { is_collection: true, is_calendar: true, is_subscription: false };
        let mut props = Props { resource_type: Some(kind), ..Props::default() };
        change(&mut props);
        Response { href: href.to_owned(), status: None, props }
    }

    fn found(href: &str, change: impl FnOnce(&mut Props)) -> Option<Found> {
        let home = Url::parse("https://dav.example.com/principals/ada/").unwrap();
        calendar(&response(href, change), &home.join("/cal/ada/").unwrap(), &home)
    }

    #[test]
    fn a_calendar_is_described_with_what_is_known() {
        let work = found("/cal/ada/work", |props| {
            props.color = Some("#ff2968ff".to_owned());
            props.order = Some("3".to_owned());
            props.time_zone =
                Some("BEGIN:VTIMEZONE\r\nTZID:/freeassociation.sourceforge.net/Europe/Paris\r\n".to_owned());
        })
        .unwrap();

        assert_eq!(work.calendar.provider_id.as_str(), "/cal/ada/work/");
        assert_eq!(work.calendar.name, "work");
        assert_eq!(work.calendar.color.as_deref(), Some("#FF2968"));
        assert_eq!(work.calendar.time_zone.as_deref(), Some("Europe/Paris"));
        assert_eq!(work.calendar.access, Access::Write);
        assert_eq!(work.order, Some(3));
    }

    #[test]
    fn a_calendar_on_another_host_is_known_by_its_whole_address() {
        let away = found("https://p42.example.com/cal/ada/work/", |_| {}).unwrap();

        assert_eq!(away.calendar.provider_id.as_str(), "https://p42.example.com/cal/ada/work/");
    }

    #[test]
    fn what_cannot_hold_events_is_no_calendar() {
        assert!(found("/cal/ada/todo/", |props| props.components = Some(vec!["VTODO".to_owned()])).is_none());
        assert!(found("/cal/ada/", |props| props.resource_type = Some(ResourceType::default())).is_none());
        assert!(found("/x/", |props| props.resource_type = None).is_none());
        assert!(
            found("/cal/ada/news/", |props| {
                props.resource_type.as_mut().unwrap().is_subscription = true;
            })
            .is_none()
        );
    }

    #[test]
    fn rights_follow_from_privileges() {
        let mut privileges = Privileges::default();
        privileges.add(Privileges::READ_FREE_BUSY);
        assert_eq!(access(Some(privileges)), Access::FreeBusy);
        privileges.add(Privileges::READ);
        assert_eq!(access(Some(privileges)), Access::Read);
        privileges.add(Privileges::WRITE_CONTENT);
        assert_eq!(access(Some(privileges)), Access::Write);
    }

    #[test]
    fn a_task_is_nothing_and_a_broken_event_is_unreadable() {
        let of = |text: &str| object(ProviderId::from("/a.ics"), None, text.to_owned(), None);

        let task =
            of("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VTODO\r\nUID:t\r\nEND:VTODO\r\nEND:VCALENDAR\r\n");
        let broken = of(
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:b\r\nDTSTART:never\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
        );

        assert!(matches!(task, RemoteChange::Removed { .. }), "{task:?}");
        assert!(matches!(broken, RemoteChange::Unreadable { raw: Some(_), .. }), "{broken:?}");
        assert!(matches!(of("hello"), RemoteChange::Unreadable { .. }));
        let empty = of("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n");
        assert!(
            matches!(empty, RemoteChange::Unreadable { .. }),
            "an empty answer is no deletion: {empty:?}"
        );
    }
}
