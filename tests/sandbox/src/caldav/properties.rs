//! Values of WebDAV properties, for each kind of place.
//!
//! A value is the XML inside the property's element; `None` becomes a 404 propstat.

use super::account::Account;
use super::calendar::{Access, Calendar};
use super::place::Place;
use super::profile::Profile;
use super::sync;
use super::xml::{APPLE, CALDAV, CALENDAR_SERVER, DAV, Name, Writer, escape};

/// Largest and smallest dates a calendar claims to take.
const DATE_RANGE: (&str, &str) = ("19000101T000000Z", "21001231T235959Z");

/// Properties that `allprop` and `propname` go through (calendar data are never among them).
const KNOWN: [(&str, &str); 24] = [
    (DAV, "resourcetype"),
    (DAV, "displayname"),
    (DAV, "current-user-principal"),
    (DAV, "principal-URL"),
    (DAV, "owner"),
    (DAV, "current-user-privilege-set"),
    (DAV, "supported-report-set"),
    (DAV, "sync-token"),
    (DAV, "getetag"),
    (DAV, "getcontenttype"),
    (DAV, "getcontentlength"),
    (DAV, "getlastmodified"),
    (CALDAV, "calendar-home-set"),
    (CALDAV, "calendar-user-address-set"),
    (CALDAV, "calendar-description"),
    (CALDAV, "calendar-timezone"),
    (CALDAV, "supported-calendar-component-set"),
    (CALDAV, "supported-calendar-data"),
    (CALDAV, "max-resource-size"),
    (CALDAV, "min-date-time"),
    (CALDAV, "max-date-time"),
    (CALENDAR_SERVER, "getctag"),
    (APPLE, "calendar-color"),
    (APPLE, "calendar-order"),
];

/// What a request wants to know.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// Everything there is.
    All,
    /// Names without values.
    Names,
    /// These.
    These(Vec<Name>),
}

/// What a property belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    Root,
    Principal(&'a Account),
    Home(&'a Account),
    Calendar(&'a Account, &'a Calendar),
}

/// Writes answers for one caller under one profile.
#[derive(Debug, Clone)]
pub(crate) struct Scribe {
    pub(crate) writer: Writer,
    pub(crate) profile: Profile,
    /// The account that asks; `None` is anonymous.
    pub(crate) caller: Option<String>,
    /// Scheme and authority under which the client reached us.
    pub(crate) origin: String,
}

impl Scribe {
    fn href(&self, place: &Place) -> String {
        self.writer.text(DAV, "href", &place.path(&self.profile))
    }

    /// One `D:response` with the wanted properties.
    pub(crate) fn response(&self, place: &Place, subject: Subject<'_>, wanted: &Wanted) -> String {
        let values = match wanted {
            Wanted::These(names) => {
                names.iter().map(|name| (name.clone(), self.value(subject, name))).collect()
            }
            Wanted::All | Wanted::Names => self.known(subject, wanted),
        };
        let mut found = String::new();
        let mut missing = String::new();
        for (name, value) in values {
            match value {
                Some(value) => self.writer.wrap_to(&mut found, &name.space, &name.local, &value),
                None => self.writer.wrap_to(&mut missing, &name.space, &name.local, ""),
            }
        }
        let inner = format!("{}{}", self.href(place), self.propstats(&found, &missing));
        self.writer.wrap(DAV, "response", &inner)
    }

    /// The propstat elements for what was found and what was not.
    pub(crate) fn propstats(&self, found: &str, missing: &str) -> String {
        let mut out = String::new();
        for (props, status) in [(found, "HTTP/1.1 200 OK"), (missing, "HTTP/1.1 404 Not Found")] {
            if props.is_empty() {
                continue;
            }
            let prop = self.writer.wrap(DAV, "prop", props);
            let inner = format!("{prop}{}", self.writer.wrap(DAV, "status", status));
            self.writer.wrap_to(&mut out, DAV, "propstat", &inner);
        }
        out
    }

    fn known(&self, subject: Subject<'_>, wanted: &Wanted) -> Vec<(Name, Option<String>)> {
        let names = KNOWN.iter().map(|(space, local)| Name::new(space, local));
        let values = names.filter_map(|name| {
            let value = self.value(subject, &name)?;
            let value = if matches!(wanted, Wanted::Names) { String::new() } else { value };
            Some((name, Some(value)))
        });
        values.collect()
    }

    fn value(&self, subject: Subject<'_>, name: &Name) -> Option<String> {
        if name.is(DAV, "current-user-principal") {
            return self.current_user();
        }
        match subject {
            Subject::Root => self.root_value(name),
            Subject::Principal(account) => self.principal_value(account, name),
            Subject::Home(account) => self.home_value(account, name),
            Subject::Calendar(account, calendar) => self.calendar_value(account, calendar, name),
        }
    }

    fn current_user(&self) -> Option<String> {
        if !self.profile.principal {
            return None;
        }
        Some(match &self.caller {
            Some(account) => self.href(&Place::Principal { account: account.clone() }),
            None => self.writer.empty(DAV, "unauthenticated"),
        })
    }

    fn root_value(&self, name: &Name) -> Option<String> {
        name.is(DAV, "resourcetype").then(|| self.writer.empty(DAV, "collection"))
    }

    fn principal_value(&self, account: &Account, name: &Name) -> Option<String> {
        let w = self.writer;
        match (name.space.as_str(), name.local.as_str()) {
            (DAV, "resourcetype") => Some(w.empty(DAV, "principal")),
            (DAV, "displayname") => Some(escape(account.title())),
            (DAV, "principal-URL") => {
                Some(self.href(&Place::Principal { account: account.spec.name.clone() }))
            }
            (CALDAV, "calendar-home-set") => {
                let path = Place::Home { account: account.spec.name.clone() }.path(&self.profile);
                let origin = self.profile.home_origin.as_deref().unwrap_or_default();
                Some(w.text(DAV, "href", &format!("{origin}{path}")))
            }
            (CALDAV, "calendar-user-address-set") => {
                let href = |address: &String| w.text(DAV, "href", &format!("mailto:{address}"));
                Some(account.addresses().iter().map(href).collect())
            }
            _ => None,
        }
    }

    fn home_value(&self, account: &Account, name: &Name) -> Option<String> {
        match (name.space.as_str(), name.local.as_str()) {
            (DAV, "resourcetype") => Some(self.writer.empty(DAV, "collection")),
            (DAV, "displayname") => Some(escape(account.title())),
            (DAV, "owner") => Some(self.href(&Place::Principal { account: account.spec.name.clone() })),
            (DAV, "current-user-privilege-set") => Some(self.privileges(Access::Full)),
            _ => None,
        }
    }

    fn calendar_value(&self, account: &Account, calendar: &Calendar, name: &Name) -> Option<String> {
        let w = self.writer;
        let set = calendar.properties.get(&(name.space.clone(), name.local.clone()));
        match (name.space.as_str(), name.local.as_str()) {
            (DAV, "resourcetype") => Some(w.empty(DAV, "collection") + &w.empty(CALDAV, "calendar")),
            (DAV, "displayname") => {
                Some(escape(calendar.spec.title.as_deref().unwrap_or(&calendar.spec.slug)))
            }
            (DAV, "owner") => Some(self.href(&Place::Principal { account: account.spec.name.clone() })),
            (DAV, "current-user-privilege-set") => Some(self.privileges(calendar.spec.access)),
            (DAV, "supported-report-set") => Some(self.reports()),
            (DAV, "sync-token") => {
                self.profile.sync_collection.then(|| escape(&sync::newest_token(calendar, &self.profile)))
            }
            (CALENDAR_SERVER, "getctag") => {
                self.profile.ctag.then(|| format!("\"{}-{}\"", calendar.era, calendar.revision))
            }
            (CALDAV, "supported-calendar-component-set") => {
                let one = |kind: &&str| w.wrap_attribute(CALDAV, "comp", "name", kind);
                Some(calendar.components().iter().map(one).collect())
            }
            (CALDAV, "supported-calendar-data") => {
                Some(w.wrap_attribute(CALDAV, "calendar-data", "content-type", "text/calendar"))
            }
            (CALDAV, "max-resource-size") => Some(self.profile.max_resource_size.to_string()),
            (CALDAV, "min-date-time") => Some(DATE_RANGE.0.to_owned()),
            (CALDAV, "max-date-time") => Some(DATE_RANGE.1.to_owned()),
            (APPLE, "calendar-color") => calendar.spec.color.as_deref().map(escape),
            _ => set.map(|text| escape(text)),
        }
    }

    fn privileges(&self, access: Access) -> String {
        let granted: &[(&str, &str)] = match access {
            Access::Full => &[
                (DAV, "read"),
                (DAV, "write"),
                (DAV, "write-properties"),
                (DAV, "write-content"),
                (DAV, "bind"),
                (DAV, "unbind"),
                (DAV, "read-current-user-privilege-set"),
                (CALDAV, "read-free-busy"),
            ],
            Access::Read => {
                &[(DAV, "read"), (DAV, "read-current-user-privilege-set"), (CALDAV, "read-free-busy")]
            }
            Access::FreeBusy => &[(CALDAV, "read-free-busy")],
        };
        let one = |(space, local): &(&str, &str)| {
            self.writer.wrap(DAV, "privilege", &self.writer.empty(space, local))
        };
        granted.iter().map(one).collect()
    }

    fn reports(&self) -> String {
        let w = self.writer;
        let mut reports = vec![(CALDAV, "calendar-multiget"), (CALDAV, "calendar-query")];
        if self.profile.sync_collection {
            reports.push((DAV, "sync-collection"));
        }
        let one = |(space, local): &(&str, &str)| {
            w.wrap(DAV, "supported-report", &w.wrap(DAV, "report", &w.empty(space, local)))
        };
        reports.iter().map(one).collect()
    }

    /// The ETag as it stands in headers and properties.
    pub(crate) fn etag(&self, etag: &str) -> String {
        let weak = if self.profile.weak_etags { "W/" } else { "" };
        format!("{weak}\"{etag}\"")
    }

    /// Names that a resource answers to `allprop`.
    pub(crate) fn resource_names() -> Vec<Name> {
        let locals = ["resourcetype", "getetag", "getcontenttype", "getcontentlength", "getlastmodified"];
        locals.iter().map(|local| Name::new(DAV, local)).collect()
    }
}
