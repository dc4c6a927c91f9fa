//! What a WebDAV answer says, as documented: RFC 4918 §14 (multistatus), RFC 4791, RFC 6578 and Apple's
//! extensions. Only what we use is kept; every element is known by namespace and local name, never by prefix.

/// One part of a `multistatus`, in the order of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// A `response`.
    Response(Box<Response>),
    /// The `sync-token` of the whole (RFC 6578 §6.4).
    SyncToken(String),
}

/// What is said about one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Response {
    /// Its address, exactly as received.
    pub(super) href: String,
    /// The status of the whole; absent where there are `propstat`s.
    pub(super) status: Option<u16>,
    /// The properties from `propstat`s that succeeded.
    pub(super) props: Props,
}

/// Properties; `None` where the server did not give one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Props {
    pub(super) etag: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) resource_type: Option<ResourceType>,
    pub(super) calendar_data: Option<CalendarData>,
    pub(super) display_name: Option<String>,
    pub(super) principal: Option<Principal>,
    pub(super) home_sets: Vec<String>,
    pub(super) privileges: Option<Privileges>,
    pub(super) reports: Option<Reports>,
    pub(super) sync_token: Option<String>,
    pub(super) ctag: Option<String>,
    pub(super) color: Option<String>,
    pub(super) order: Option<String>,
    pub(super) description: Option<String>,
    pub(super) time_zone: Option<String>,
    /// The names of `supported-calendar-component-set`, in upper case.
    pub(super) components: Option<Vec<String>>,
    pub(super) inbox: Option<String>,
    pub(super) default_calendar: Option<String>,
}

impl Props {
    /// Takes over what `other` has.
    pub(super) fn merge(&mut self, other: Self) {
        fn take<T>(to: &mut Option<T>, from: Option<T>) {
            if from.is_some() {
                *to = from;
            }
        }
        take(&mut self.etag, other.etag);
        take(&mut self.content_type, other.content_type);
        take(&mut self.resource_type, other.resource_type);
        take(&mut self.calendar_data, other.calendar_data);
        take(&mut self.display_name, other.display_name);
        take(&mut self.principal, other.principal);
        self.home_sets.extend(other.home_sets);
        take(&mut self.privileges, other.privileges);
        take(&mut self.reports, other.reports);
        take(&mut self.sync_token, other.sync_token);
        take(&mut self.ctag, other.ctag);
        take(&mut self.color, other.color);
        take(&mut self.order, other.order);
        take(&mut self.description, other.description);
        take(&mut self.time_zone, other.time_zone);
        take(&mut self.components, other.components);
        take(&mut self.inbox, other.inbox);
        take(&mut self.default_calendar, other.default_calendar);
    }
}

/// `calendar-data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CalendarData {
    /// iCalendar text.
    Text(String),
    /// Over the limit for one object.
    TooLarge,
}

/// `current-user-principal` (RFC 5397).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Principal {
    /// This resource.
    Href(String),
    /// The server does not know who asks.
    Unauthenticated,
}

/// The `resourcetype`s we tell apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ResourceType {
    pub(super) is_collection: bool,
    pub(super) is_calendar: bool,
    pub(super) is_subscription: bool,
}

/// `current-user-privilege-set` (RFC 3744 §5.4), as far as it matters here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Privileges(u8);

impl Privileges {
    pub(super) const ALL: Self = Self(1);
    pub(super) const READ: Self = Self(1 << 1);
    pub(super) const WRITE: Self = Self(1 << 2);
    pub(super) const WRITE_CONTENT: Self = Self(1 << 3);
    pub(super) const BIND: Self = Self(1 << 4);
    pub(super) const READ_FREE_BUSY: Self = Self(1 << 5);

    /// Adds one.
    pub(super) fn add(&mut self, privilege: Self) {
        self.0 |= privilege.0;
    }

    /// Whether any of these was granted.
    pub(super) fn has_any(self, privileges: &[Self]) -> bool {
        privileges.iter().any(|privilege| self.0 & privilege.0 != 0)
    }
}

/// `supported-report-set` (RFC 3253 §3.1.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reports {
    pub(super) has_sync_collection: bool,
    pub(super) has_multiget: bool,
}

/// An element we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Multistatus,
    Response,
    Href,
    Status,
    Propstat,
    Prop,
    Error,
    SyncToken,
    Etag,
    ContentType,
    ResourceType,
    Collection,
    Calendar,
    Subscribed,
    DisplayName,
    CurrentUserPrincipal,
    Unauthenticated,
    PrivilegeSet,
    Privilege,
    Granted(Privileges),
    ReportSet,
    SyncCollection,
    Multiget,
    HomeSet,
    CalendarData,
    Description,
    TimeZone,
    ComponentSet,
    Component,
    Inbox,
    DefaultCalendar,
    Ctag,
    Color,
    Order,
    ValidSyncToken,
    MatchesWithinLimits,
    NeedPrivileges,
    Html,
    Other,
}

const DAV: &str = "DAV:";
const CALDAV: &str = "urn:ietf:params:xml:ns:caldav";
const CALENDAR_SERVER: &str = "http://calendarserver.org/ns/";
const APPLE: &str = "http://apple.com/ns/ical/";

impl Element {
    /// The element of this namespace (empty for none) and local name.
    pub(super) fn of(namespace: &str, local: &str) -> Self {
        match namespace {
            DAV => Self::of_dav(local),
            CALDAV => match local {
                "calendar" => Self::Calendar,
                "calendar-home-set" => Self::HomeSet,
                "calendar-data" => Self::CalendarData,
                "calendar-description" => Self::Description,
                "calendar-timezone" => Self::TimeZone,
                "supported-calendar-component-set" => Self::ComponentSet,
                "comp" => Self::Component,
                "calendar-multiget" => Self::Multiget,
                "schedule-inbox-URL" => Self::Inbox,
                "schedule-default-calendar-URL" => Self::DefaultCalendar,
                "read-free-busy" => Self::Granted(Privileges::READ_FREE_BUSY),
                _ => Self::Other,
            },
            CALENDAR_SERVER => match local {
                "getctag" => Self::Ctag,
                "subscribed" => Self::Subscribed,
                _ => Self::Other,
            },
            APPLE => match local {
                "calendar-color" => Self::Color,
                "calendar-order" => Self::Order,
                _ => Self::Other,
            },
            _ if local.eq_ignore_ascii_case("html") => Self::Html,
            _ => Self::Other,
        }
    }

    fn of_dav(local: &str) -> Self {
        match local {
            "multistatus" => Self::Multistatus,
            "response" => Self::Response,
            "href" => Self::Href,
            "status" => Self::Status,
            "propstat" => Self::Propstat,
            "prop" => Self::Prop,
            "error" => Self::Error,
            "sync-token" => Self::SyncToken,
            "getetag" => Self::Etag,
            "getcontenttype" => Self::ContentType,
            "resourcetype" => Self::ResourceType,
            "collection" => Self::Collection,
            "displayname" => Self::DisplayName,
            "current-user-principal" => Self::CurrentUserPrincipal,
            "unauthenticated" => Self::Unauthenticated,
            "current-user-privilege-set" => Self::PrivilegeSet,
            "privilege" => Self::Privilege,
            "all" => Self::Granted(Privileges::ALL),
            "read" => Self::Granted(Privileges::READ),
            "write" => Self::Granted(Privileges::WRITE),
            "write-content" => Self::Granted(Privileges::WRITE_CONTENT),
            "bind" => Self::Granted(Privileges::BIND),
            "supported-report-set" => Self::ReportSet,
            "sync-collection" => Self::SyncCollection,
            "valid-sync-token" => Self::ValidSyncToken,
            "number-of-matches-within-limits" => Self::MatchesWithinLimits,
            "need-privileges" => Self::NeedPrivileges,
            _ => Self::Other,
        }
    }
}
