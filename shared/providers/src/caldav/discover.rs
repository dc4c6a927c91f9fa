//! From what a person typed to the account's calendars (RFC 6764, RFC 5397, RFC 4791 §6.2.1).
//!
//! An address, or the domain of a mail address, leads over candidates (the address itself, the path that DNS
//! names, `/.well-known/caldav`, the root) to the principal, and from there to the calendar homes. Servers leave
//! out one step or the other: without a principal the address itself is taken for a home, else for a calendar.
//! Each step may lead to another host; what discovery reached over TLS is trusted with the credentials.

use calfleet_domain::failure::FailureClass;
use url::Url;

use super::error::Attempt;
use super::exchange::{Exchange, Responses};
use super::href;
use super::normalise::{self, Found};
use super::request::{Depth, Wanted};
use super::services::Services;
use super::wire::{Principal, Props};
use crate::driver::{DriverError, Problem};
use crate::http::session::Crossing;

const FIND: Attempt = Attempt { operation: "find the account", action: "look for calendars" };
const LIST: Attempt = Attempt { operation: "list calendars", action: "list its calendars" };
const WELL_KNOWN: &str = "/.well-known/caldav";

/// Where an account lives.
#[derive(Debug, Clone)]
pub(super) struct Site {
    /// The address to use from now on.
    pub(super) url: Url,
    /// Who we are there.
    pub(super) principal: Option<Url>,
    /// Where the calendars are, and how deep to look.
    pub(super) homes: Vec<(Url, Depth)>,
    inbox: Option<Url>,
}

/// Finds one account.
#[derive(Debug)]
pub(super) struct Discovery<'a> {
    pub(super) exchange: &'a Exchange,
    /// What the account is known by: an address, or `mailto:`.
    pub(super) start: &'a Url,
    pub(super) services: &'a dyn Services,
    pub(super) has_credentials: bool,
}

impl Discovery<'_> {
    /// Where the account lives.
    pub(super) async fn site(&self) -> Result<Site, DriverError> {
        let mut first_reason = None;
        for (url, crossing) in self.candidates().await? {
            match self.look(&url, crossing).await {
                Ok(Some(site)) => return Ok(site),
                Ok(None) => {}
                // Another candidate cannot help where nobody answers or the password is wrong, and trying on
                // would only lock the account.
                Err(error) if !self.may_be_elsewhere(&error.problem) => return Err(error),
                Err(error) => {
                    let says_more = matches!(error.problem, Problem::HtmlAnswer | Problem::Forbidden { .. });
                    if first_reason.is_none() || says_more {
                        first_reason = Some(error);
                    }
                }
            }
        }
        let nothing = || DriverError::new(FIND.operation, FailureClass::Permanent, Problem::NotACalendar);
        let mut error = first_reason.unwrap_or_else(nothing);
        // What is no list, and "not found" at the root of a server, only say that there are no calendars; an answer
        // that must not be read (a document type, entities) says nothing of the kind.
        let is_no_list = error.class == FailureClass::Transient
            && matches!(error.problem, Problem::UnreadableAnswer { .. });
        if is_no_list
            || matches!(error.problem, Problem::Refused { .. })
            || (error.problem == Problem::NotFound && self.start.path().len() <= 1)
        {
            error.problem = Problem::NotACalendar;
        }
        Err(error)
    }

    fn may_be_elsewhere(&self, problem: &Problem) -> bool {
        match problem {
            Problem::NotFound
            | Problem::NotACalendar
            | Problem::HtmlAnswer
            | Problem::Forbidden { .. }
            | Problem::Refused { .. }
            | Problem::UnreadableAnswer { .. }
            | Problem::RedirectRefused { .. } => true,
            // A domain may name several servers.
            Problem::ConnectFailed { .. }
            | Problem::UnknownHost { .. }
            | Problem::Timeout { .. }
            | Problem::AddressNotAllowed { .. }
            | Problem::PortNotAllowed { .. } => self.start.scheme() == "mailto",
            _ => false,
        }
    }

    /// Where to look, in this order.
    async fn candidates(&self) -> Result<Vec<(Url, Crossing)>, DriverError> {
        if self.start.scheme() != "mailto" {
            let mut candidates = vec![(self.start.clone(), Crossing::Refuse)];
            for (path, crossing) in [(WELL_KNOWN, Crossing::Trust), ("/", Crossing::Refuse)] {
                if let Ok(url) = self.start.join(path)
                    && url != *self.start
                {
                    candidates.push((url, crossing));
                }
            }
            return Ok(candidates);
        }
        let invalid = || {
            let problem = Problem::InvalidUrl { reason: "it is no mail address".to_owned() };
            DriverError::new(FIND.operation, FailureClass::Permanent, problem)
        };
        let (_, domain) = self.start.path().rsplit_once('@').ok_or_else(invalid)?;
        let service = self.services.service(domain).await;
        let mut servers = service.servers;
        servers.push((domain.to_owned(), 443));
        let mut candidates = Vec::new();
        for (host, port) in servers {
            let Ok(root) = Url::parse(&format!("https://{host}:{port}/")) else { continue };
            self.exchange.session.trust(&root);
            for path in service.path.as_deref().into_iter().chain([WELL_KNOWN, "/"]) {
                candidates.extend(root.join(path).map(|url| (url, Crossing::Trust)));
            }
        }
        if candidates.is_empty() { Err(invalid()) } else { Ok(candidates) }
    }

    /// Looks at one place; `None` when it says nothing about calendars.
    async fn look(&self, url: &Url, crossing: Crossing) -> Result<Option<Site>, DriverError> {
        let found = self.exchange.propfind(FIND, url, Depth::Zero, Wanted::Identity, crossing).await?;
        let place = found.moved.clone().unwrap_or_else(|| found.url.clone());
        let props = own_props(&found);
        let mut site =
            Site { url: place.clone(), principal: None, homes: homes(&found.url, &props), inbox: None };
        match &props.principal {
            Some(Principal::Href(href)) => {
                if let Some(principal) = href::resolve(&found.url, href) {
                    self.exchange.session.trust(&principal);
                    self.ask_principal(&mut site, principal).await?;
                }
            }
            // Credentials were sent with this very request.
            Some(Principal::Unauthenticated) if self.has_credentials => {
                return Err(DriverError::new(FIND.operation, FailureClass::Auth, Problem::WrongCredentials));
            }
            Some(Principal::Unauthenticated) | None => {}
        }
        let kind = props.resource_type.unwrap_or_default();
        for (home, _) in &site.homes {
            self.exchange.session.trust(home);
        }
        if kind.is_calendar && !site.homes.iter().any(|(home, _)| is_below(&place, home)) {
            // A calendar of somebody else, or of a server without homes: the address is all that leads to it.
            site.homes.push((place.clone(), Depth::Zero));
            site.url = place;
        } else if site.homes.is_empty() {
            site.homes.push((place, Depth::One));
            if !kind.is_collection || self.calendars(&site).await?.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(site))
    }

    async fn ask_principal(&self, site: &mut Site, principal: Url) -> Result<(), DriverError> {
        let asked =
            self.exchange.propfind(FIND, &principal, Depth::Zero, Wanted::Homes, Crossing::Refuse).await;
        match asked {
            Ok(found) => {
                let props = own_props(&found);
                let named = homes(&found.url, &props);
                if !named.is_empty() {
                    site.homes = named;
                }
                site.inbox = props.inbox.and_then(|inbox| href::resolve(&found.url, &inbox));
                site.url = found.moved.unwrap_or(found.url);
                site.principal = Some(site.url.clone());
                Ok(())
            }
            // Some servers name a principal that is not there.
            Err(error) if self.may_be_elsewhere(&error.problem) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The calendars of a site, in the account's own order.
    pub(super) async fn calendars(&self, site: &Site) -> Result<Vec<Found>, DriverError> {
        let mut calendars: Vec<Found> = Vec::new();
        let (mut answered, mut failed) = (false, None);
        for (home, depth) in &site.homes {
            let listed =
                self.exchange.propfind(LIST, home, *depth, Wanted::Calendars, Crossing::Refuse).await;
            let listed = match listed {
                Ok(listed) => listed,
                // One of several homes may be gone; all of them are not.
                Err(error) if matches!(error.problem, Problem::NotFound | Problem::Forbidden { .. }) => {
                    failed = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            answered = true;
            for response in &listed.entries {
                let Some(found) = normalise::calendar(response, &listed.url, self.start_of(site)) else {
                    continue;
                };
                let name = href::canonical(found.url.path()).into_owned();
                if !calendars.iter().any(|known| href::canonical(known.url.path()) == name) {
                    calendars.push(found);
                }
            }
        }
        if let (false, Some(error)) = (answered, failed) {
            return Err(error);
        }
        // Stable: calendars without a place of their own stay as the server lists them, behind the others.
        calendars.sort_by_key(|found| found.order.unwrap_or(i64::MAX));
        self.mark_primary(site, &mut calendars).await;
        Ok(calendars)
    }

    /// Ids of calendars are relative to the address by which the account is known.
    fn start_of<'a>(&'a self, site: &'a Site) -> &'a Url {
        if self.start.scheme() == "mailto" { &site.url } else { self.start }
    }

    /// The calendar into which the server files invitations is the main one (RFC 6638 §9.2).
    async fn mark_primary(&self, site: &Site, calendars: &mut [Found]) {
        let Some(inbox) = &site.inbox else { return };
        let asked =
            self.exchange.propfind(LIST, inbox, Depth::Zero, Wanted::DefaultCalendar, Crossing::Refuse).await;
        let Ok(found) = asked else { return };
        let Some(default) = own_props(&found).default_calendar else { return };
        let Some(default) = href::resolve(&found.url, &default) else { return };
        for calendar in calendars {
            let path = href::canonical(calendar.url.path());
            calendar.calendar.is_primary =
                path.trim_end_matches('/') == href::canonical(default.path()).trim_end_matches('/');
        }
    }
}

/// The properties of the place that was asked.
fn own_props(found: &Responses) -> Props {
    let mut props = Props::default();
    for response in found.entries.iter().take(1) {
        props.merge(response.props.clone());
    }
    props
}

fn homes(base: &Url, props: &Props) -> Vec<(Url, Depth)> {
    let mut homes: Vec<(Url, Depth)> = Vec::new();
    for home in props.home_sets.iter().filter_map(|home| href::resolve(base, home)) {
        if !homes.iter().any(|(known, _)| *known == home) {
            homes.push((home, Depth::One));
        }
    }
    homes
}

fn is_below(place: &Url, home: &Url) -> bool {
    let (place, home) = (href::canonical(place.path()), href::canonical(home.path()));
    place.strip_prefix(home.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
}
