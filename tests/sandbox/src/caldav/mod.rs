//! A CalDAV server: WebDAV, calendar access and sync-collection, with the habits of a [`Profile`].
//!
//! It knows nothing of Calfleet's own parsers or types. A request is answered under one lock on the world,
//! from what is in memory; only the rendering of long listings happens afterwards, while the client reads.

pub(crate) mod account;
pub(crate) mod calendar;
mod collection;
mod listing;
mod place;
pub(crate) mod profile;
mod properties;
mod propfind;
mod query;
mod report;
mod resource;
mod sync;
pub(crate) mod xml;

use http::header::{ALLOW, AUTHORIZATION, HeaderName, LOCATION, SERVER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use crate::answer::{Answer, XML};
use crate::faults::Twist;
use crate::world::World;
use account::{Account, AuthScheme};
use calendar::{Access, Calendar, Reach};
use place::Place;
use profile::{Profile, WellKnown};
use properties::Scribe;
use xml::{DAV, Writer};

pub(crate) use place::{decode, encode};
pub(crate) use resource::push_folded;

/// What OPTIONS and every answer say we can do; scheduling is not among it.
const CAPABILITIES: &str = "1, 3, access-control, calendar-access, extended-mkcol";

/// One request being answered.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) head: &'a Parts,
    pub(crate) body: &'a [u8],
    pub(crate) twist: &'a Twist,
    pub(crate) now: i64,
    pub(crate) scribe: Scribe,
}

impl Call<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        header(&self.head.headers, name)
    }

    fn depth(&self) -> Option<&str> {
        self.header("depth")
    }

    /// The open calendar that a place lies in.
    fn calendar(&self, place: &Place) -> Option<(&Account, &Calendar)> {
        let (Place::Calendar { account, slug } | Place::Resource { account, slug, .. }) = place else {
            return None;
        };
        let account = self.world.accounts.get(account)?;
        let calendar = account.calendars.get(slug)?;
        (calendar.reach == Reach::Open).then_some((account, calendar))
    }
}

pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// The account a request is about: the one in its path, or else the one that logs in.
pub(crate) fn account_of(world: &World, head: &Parts) -> Option<String> {
    let named = Place::of(head.uri.path()).account().map(str::to_owned);
    named.or_else(|| world.nonces.account(head, &world.accounts).map(|account| account.spec.name.clone()))
}

/// Answers one request.
pub(crate) fn answer(world: &mut World, head: &Parts, body: &[u8], twist: &Twist, now: i64) -> Answer {
    let place = Place::of(head.uri.path());
    let caller = world.nonces.account(head, &world.accounts).map(|account| account.spec.name.clone());
    let profile = match caller.as_deref().or(place.account()) {
        Some(account) => world.profile_of(account).clone(),
        None => world.profile.clone(),
    };
    let origin = format!("http://{}", header(&head.headers, "host").unwrap_or("localhost"));
    let server = profile.name.clone();
    let scribe = Scribe { writer: Writer(profile.namespaces), profile, caller, origin };
    let mut call = Call { world, head, body, twist, now, scribe };
    let answer = admitted(&mut call, &place);
    answer.header(HeaderName::from_static("dav"), CAPABILITIES).header(SERVER, &server)
}

/// Checks who asks before the method is looked at.
fn admitted(call: &mut Call<'_>, place: &Place) -> Answer {
    let profile = &call.scribe.profile;
    if call.head.method == Method::OPTIONS {
        return Answer::status(StatusCode::OK).header(ALLOW, &allowed(profile));
    }
    if *place == Place::WellKnown {
        match profile.well_known {
            WellKnown::Redirect => {
                return Answer::status(StatusCode::MOVED_PERMANENTLY).header(LOCATION, place::ROOT);
            }
            WellKnown::Missing => return Answer::status(StatusCode::NOT_FOUND),
            WellKnown::Direct => {}
        }
    }
    let Some(caller) = call.scribe.caller.as_deref() else {
        let root = matches!(place, Place::Root | Place::WellKnown);
        let stranger = !call.head.headers.contains_key(AUTHORIZATION);
        if profile.anonymous_root && root && stranger && call.head.method.as_str() == "PROPFIND" {
            return propfind::answer(call, place);
        }
        return challenge(call.world, call.head);
    };
    if place.account().is_some_and(|account| account != caller) {
        return refusal(call, StatusCode::FORBIDDEN, DAV, "need-privileges");
    }
    let (Place::Calendar { account, slug } | Place::Resource { account, slug, .. }) = place else {
        return dispatch(call, place);
    };
    let calendar = call.world.accounts.get(account).and_then(|account| account.calendars.get(slug));
    if calendar.is_some_and(|calendar| calendar.reach == Reach::Forbidden) {
        return refusal(call, StatusCode::FORBIDDEN, DAV, "need-privileges");
    }
    dispatch(call, place)
}

fn dispatch(call: &mut Call<'_>, place: &Place) -> Answer {
    match (call.head.method.as_str(), place) {
        ("PROPFIND", _) => propfind::answer(call, place),
        ("REPORT", Place::Calendar { .. }) => report::answer(call, place),
        ("GET" | "HEAD", Place::Resource { .. }) => resource::get(call, place),
        ("PUT", Place::Resource { account, slug, name }) => resource::put(call, account, slug, name),
        ("DELETE", Place::Resource { account, slug, name }) => resource::delete(call, account, slug, name),
        ("MOVE", Place::Resource { account, slug, name }) => resource::rename(call, account, slug, name),
        ("DELETE", Place::Calendar { account, slug }) => collection::delete(call, account, slug),
        ("MKCALENDAR" | "MKCOL", Place::Calendar { account, slug }) => collection::make(call, account, slug),
        ("PROPPATCH", Place::Calendar { account, slug }) => collection::change(call, place, account, slug),
        _ => Answer::status(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, &allowed(&call.scribe.profile)),
    }
}

fn allowed(profile: &Profile) -> String {
    let moves = if profile.moves { ", MOVE" } else { "" };
    format!("OPTIONS, GET, HEAD, PUT, DELETE, PROPFIND, PROPPATCH, REPORT, MKCALENDAR, MKCOL{moves}")
}

/// The 401 with the schemes of the account that the path names, or else of all accounts.
pub(crate) fn challenge(world: &mut World, head: &Parts) -> Answer {
    let place = Place::of(head.uri.path());
    let named = place.account().and_then(|name| world.accounts.get(name));
    let profile = place.account().map_or(&world.profile, |name| world.profile_of(name));
    let mut schemes: Vec<AuthScheme> = match named {
        Some(account) => account.schemes().to_vec(),
        None => world.accounts.values().flat_map(|account| account.schemes().iter().copied()).collect(),
    };
    if schemes.is_empty() {
        schemes.push(AuthScheme::Basic);
    }
    schemes.sort_unstable();
    schemes.dedup();
    let challenges = if profile.challenges { world.nonces.challenges(&schemes) } else { Vec::new() };
    let unauthorized = Answer::plain(StatusCode::UNAUTHORIZED, "credentials, please");
    challenges.iter().fold(unauthorized, |answer, one| answer.header(WWW_AUTHENTICATE, one))
}

/// A refusal with the precondition that failed (RFC 4918 §16).
fn refusal(call: &Call<'_>, status: StatusCode, space: &str, precondition: &str) -> Answer {
    refusal_with(call, status, &call.scribe.writer.empty(space, precondition))
}

fn refusal_with(call: &Call<'_>, status: StatusCode, inner: &str) -> Answer {
    Answer::status(status).with_body(XML, call.scribe.writer.document("error", inner))
}

/// Refuses a write to a calendar that may only be read.
fn refuse_unless_writable(call: &Call<'_>, calendar: &Calendar) -> Option<Answer> {
    (calendar.spec.access != Access::Full)
        .then(|| refusal(call, StatusCode::FORBIDDEN, DAV, "need-privileges"))
}
