//! MKCALENDAR, extended MKCOL, PROPPATCH and DELETE of calendars (RFC 4791 §5.3.1, RFC 5689).

use http::StatusCode;

use super::account::Account;
use super::calendar::{CalendarSpec, Reach};
use super::place::Place;
use super::xml::{self, APPLE, CALDAV, DAV, Element, Name};
use super::{Call, refusal, refuse_unless_writable};
use crate::answer::{Answer, XML};
use crate::world::World;

/// Properties that belong to the server and cannot be set (RFC 4918 §15, RFC 3253, RFC 6578).
const PROTECTED: [(&str, &str); 9] = [
    (DAV, "resourcetype"),
    (DAV, "getetag"),
    (DAV, "getcontenttype"),
    (DAV, "getlastmodified"),
    (DAV, "sync-token"),
    (DAV, "owner"),
    (DAV, "current-user-principal"),
    (DAV, "current-user-privilege-set"),
    (DAV, "supported-report-set"),
];

pub(crate) fn make(call: &mut Call<'_>, account: &str, slug: &str) -> Answer {
    let root = if call.body.iter().all(u8::is_ascii_whitespace) {
        None
    } else {
        match xml::parse(call.body) {
            Ok(root) => Some(root),
            Err(_) => return Answer::plain(StatusCode::BAD_REQUEST, "the body is not XML"),
        }
    };
    let exists = call.world.accounts.get(account).is_some_and(|account| account.calendars.contains_key(slug));
    if exists {
        // RFC 4791 §5.3.1.1: the address is taken.
        return refusal(call, StatusCode::METHOD_NOT_ALLOWED, DAV, "resource-must-be-null");
    }
    let set = root.iter().flat_map(properties).collect::<Vec<_>>();
    let calendar = set
        .iter()
        .any(|(name, value)| name.is(DAV, "resourcetype") && value.child(CALDAV, "calendar").is_some());
    if call.head.method.as_str() == "MKCOL" && !calendar {
        return refusal(call, StatusCode::FORBIDDEN, CALDAV, "calendar-collection-location-ok");
    }
    let mut spec = CalendarSpec::new(slug);
    for (name, value) in &set {
        if name.is(CALDAV, "supported-calendar-component-set") {
            let kinds = value.children.iter().filter_map(|comp| comp.attribute("name"));
            spec.components = kinds.map(str::to_owned).collect();
        }
    }
    if call.world.create_calendar(account, spec).is_err() {
        return Answer::status(StatusCode::NOT_FOUND);
    }
    for (name, value) in &set {
        set_property(call.world, (account, slug), name, Some(&value.text));
    }
    Answer::status(StatusCode::CREATED)
}

/// The properties that a body sets.
fn properties(root: &Element) -> Vec<(Name, &Element)> {
    let sets = root.children.iter().filter(|child| child.name.is(DAV, "set"));
    let props = sets.filter_map(|set| set.child(DAV, "prop"));
    props.flat_map(|prop| prop.children.iter().map(|value| (value.name.clone(), value))).collect()
}

pub(crate) fn change(call: &mut Call<'_>, place: &Place, account: &str, slug: &str) -> Answer {
    let Some((_, calendar)) = call.calendar(place) else { return Answer::status(StatusCode::NOT_FOUND) };
    if let Some(refused) = refuse_unless_writable(call, calendar) {
        return refused;
    }
    let Ok(root) = xml::parse(call.body) else {
        return Answer::plain(StatusCode::BAD_REQUEST, "the body is not XML");
    };
    let mut named = Vec::new();
    for update in &root.children {
        let Some(prop) = update.child(DAV, "prop") else { continue };
        let sets = update.name.is(DAV, "set");
        named.extend(prop.children.iter().map(|value| (value, sets)));
    }
    let is_protected = |name: &Name| PROTECTED.iter().any(|(space, local)| name.is(space, local));
    let refused = named.iter().any(|(value, _)| is_protected(&value.name));
    // RFC 4918 §9.2: all or nothing.
    let mut propstats = String::new();
    let w = call.scribe.writer;
    for (value, sets) in named {
        let status = match (is_protected(&value.name), refused) {
            (true, _) => "HTTP/1.1 403 Forbidden",
            (false, true) => "HTTP/1.1 424 Failed Dependency",
            (false, false) => {
                let text = sets.then_some(value.text.as_str());
                set_property(call.world, (account, slug), &value.name, text);
                "HTTP/1.1 200 OK"
            }
        };
        let prop = w.wrap(DAV, "prop", &w.empty(&value.name.space, &value.name.local));
        let propstat = format!("{prop}{}", w.wrap(DAV, "status", status));
        w.wrap_to(&mut propstats, DAV, "propstat", &propstat);
    }
    let href = w.text(DAV, "href", &place.path(&call.scribe.profile));
    let document = w.document("multistatus", &w.wrap(DAV, "response", &format!("{href}{propstats}")));
    Answer::status(StatusCode::MULTI_STATUS).with_body(XML, document)
}

fn set_property(world: &mut World, (account, slug): (&str, &str), name: &Name, text: Option<&str>) {
    let calendar = world.accounts.get_mut(account).and_then(|account| account.calendars.get_mut(slug));
    let Some(calendar) = calendar else { return };
    let text = text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    if name.is(DAV, "displayname") {
        calendar.spec.title = text;
    } else if name.is(APPLE, "calendar-color") {
        calendar.spec.color = text;
    } else if let Some(text) = text {
        calendar.properties.insert((name.space.clone(), name.local.clone()), text);
    } else {
        calendar.properties.remove(&(name.space.clone(), name.local.clone()));
    }
}

pub(crate) fn delete(call: &mut Call<'_>, account: &str, slug: &str) -> Answer {
    let place = Place::Calendar { account: account.to_owned(), slug: slug.to_owned() };
    let Some((_, calendar)) = call.calendar(&place) else { return Answer::status(StatusCode::NOT_FOUND) };
    if let Some(refused) = refuse_unless_writable(call, calendar) {
        return refused;
    }
    let open = |account: &&mut Account| {
        account.calendars.get(slug).is_some_and(|calendar| calendar.reach == Reach::Open)
    };
    match call.world.accounts.get_mut(account).filter(open) {
        Some(account) => {
            account.calendars.remove(slug);
            Answer::status(StatusCode::NO_CONTENT)
        }
        None => Answer::status(StatusCode::NOT_FOUND),
    }
}
