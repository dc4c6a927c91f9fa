//! ICS feeds at `/feeds/{name}.ics`, with the habits of publishers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::StatusCode;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, ETAG, LAST_MODIFIED, WWW_AUTHENTICATE};
use http::request::Parts;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::answer::{Answer, ICS};
use crate::caldav::{header, push_folded};
use crate::clock;
use crate::ical;
use crate::world::World;

/// How a feed names its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UidHabit {
    /// The same event has the same UID.
    #[default]
    Stable,
    /// New UIDs with every change of the feed.
    PerRevision,
    /// New UIDs with every fetch.
    PerFetch,
}

/// What a feed answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedState {
    /// Its events.
    #[default]
    Open,
    /// 404.
    Missing,
    /// 410.
    Gone,
    /// A page of HTML with status 200, as of a login page.
    Html,
    /// Text that is no calendar.
    Garbage,
    /// The first bytes of it, in a sound answer.
    Truncated(usize),
}

/// The habits of a feed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches that tests mix freely")]
pub struct FeedSpec {
    /// `X-WR-CALNAME`; the feed's name when absent.
    pub title: Option<String>,
    /// `X-WR-TIMEZONE`.
    pub zone: Option<String>,
    /// Sends an `ETag` and answers 304.
    pub etag: bool,
    /// Sends `Last-Modified` and answers 304.
    pub last_modified: bool,
    /// `REFRESH-INTERVAL`, such as `PT6H`.
    pub refresh: Option<String>,
    /// Answers with gzip when the client takes it.
    pub gzip: bool,
    /// How events are named.
    pub uids: UidHabit,
    /// Days back and ahead of today outside of which events are left out.
    pub window_days: Option<(i64, i64)>,
    /// Comment lines are added up to this size in bytes.
    pub pad_to: Option<usize>,
    /// Leaves the VTIMEZONEs out, as Google and Outlook on the web do.
    pub without_zones: bool,
    /// What it answers.
    pub state: FeedState,
    /// User name and password for Basic authentication.
    pub credentials: Option<(String, String)>,
    /// Account and calendar whose events it shows, besides its own.
    pub calendar: Option<(String, String)>,
}

impl Default for FeedSpec {
    fn default() -> Self {
        Self {
            title: None,
            zone: None,
            refresh: None,
            etag: true,
            last_modified: true,
            gzip: false,
            uids: UidHabit::Stable,
            window_days: None,
            pad_to: None,
            without_zones: false,
            state: FeedState::Open,
            credentials: None,
            calendar: None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) spec: FeedSpec,
    /// VCALENDAR texts by name.
    items: BTreeMap<String, Arc<str>>,
    revision: u64,
    modified: i64,
    fetches: u64,
}

impl Feed {
    pub(crate) fn new(spec: FeedSpec, now: i64) -> Self {
        Self { spec, items: BTreeMap::new(), revision: 1, modified: now, fetches: 0 }
    }

    pub(crate) fn put(&mut self, name: &str, body: &str, now: i64) {
        self.items.insert(name.to_owned(), Arc::from(body));
        self.touch(now);
    }

    pub(crate) fn remove(&mut self, name: &str, now: i64) -> bool {
        let removed = self.items.remove(name).is_some();
        if removed {
            self.touch(now);
        }
        removed
    }

    pub(crate) fn touch(&mut self, now: i64) {
        self.revision += 1;
        self.modified = now;
    }
}

/// Answers a GET or HEAD of a feed.
pub(crate) fn answer(world: &mut World, head: &Parts, now: i64) -> Answer {
    let name = head.uri.path().strip_prefix("/feeds/").and_then(|file| file.strip_suffix(".ics"));
    let Some(name) = name.map(str::to_owned) else { return Answer::status(StatusCode::NOT_FOUND) };
    if !matches!(head.method.as_str(), "GET" | "HEAD") {
        return Answer::status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Some(feed) = world.feeds.get_mut(&name) else { return Answer::status(StatusCode::NOT_FOUND) };
    feed.fetches += 1;
    let Some(feed) = world.feeds.get(&name) else { return Answer::status(StatusCode::NOT_FOUND) };
    if !admitted(feed, head) {
        return Answer::status(StatusCode::UNAUTHORIZED).header(WWW_AUTHENTICATE, "Basic realm=\"feed\"");
    }
    match feed.spec.state {
        FeedState::Missing => return Answer::status(StatusCode::NOT_FOUND),
        FeedState::Gone => return Answer::status(StatusCode::GONE),
        FeedState::Html => return crate::spoil::html_page(),
        FeedState::Garbage => {
            return Answer::status(StatusCode::OK).with_body(ICS, "this is not a calendar\r\n");
        }
        FeedState::Open | FeedState::Truncated(_) => {}
    }
    let (text, modified) = render(world, &name, feed, now);
    conditional(feed, head, text, modified)
}

fn admitted(feed: &Feed, head: &Parts) -> bool {
    use base64::Engine as _;
    let Some((name, secret)) = &feed.spec.credentials else { return true };
    let expected = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{secret}"));
    let given = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    given.and_then(|value| value.strip_prefix("Basic ")) == Some(expected.as_str())
}

fn conditional(feed: &Feed, head: &Parts, text: String, modified: i64) -> Answer {
    let hash = Sha256::digest(text.as_bytes());
    let etag = format!("\"{}\"", hex::encode(hash.get(..12).unwrap_or_default()));
    let stamp = clock::http_date(modified);
    let tagged = header(&head.headers, "if-none-match");
    let fresh = match tagged {
        Some(tags) => feed.spec.etag && tags.split(',').any(|tag| tag.trim() == etag),
        // RFC 9110 §13.1.3: the date counts only without a tag.
        None => feed.spec.last_modified && header(&head.headers, "if-modified-since") == Some(stamp.as_str()),
    };
    let mut answer = Answer::status(if fresh { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    if feed.spec.etag {
        answer = answer.header(ETAG, &etag);
    }
    if feed.spec.last_modified {
        answer = answer.header(LAST_MODIFIED, &stamp);
    }
    answer = answer.header(CACHE_CONTROL, "private, max-age=0");
    if fresh || head.method == http::Method::HEAD {
        return answer;
    }
    let mut bytes = text.into_bytes();
    if let FeedState::Truncated(kept) = feed.spec.state {
        bytes.truncate(kept);
    }
    let takes_gzip = header(&head.headers, "accept-encoding").is_some_and(|value| value.contains("gzip"));
    if feed.spec.gzip && takes_gzip {
        return answer.header(CONTENT_ENCODING, "gzip").with_body(ICS, crate::spoil::gzip(&bytes));
    }
    answer.with_body(ICS, bytes)
}

/// The feed's text, and when it last changed.
fn render(world: &World, name: &str, feed: &Feed, now: i64) -> (String, i64) {
    let spec = &feed.spec;
    let mut bodies: Vec<Arc<str>> = feed.items.values().map(Arc::clone).collect();
    let mut modified = feed.modified;
    let shown = spec.calendar.as_ref().and_then(|(account, slug)| world.calendar(account, slug).ok());
    let mut revision = feed.revision;
    if let Some(calendar) = shown {
        bodies.extend(calendar.resources().map(|(_, resource)| Arc::clone(&resource.body)));
        modified = modified.max(calendar.last_change());
        revision += calendar.revision;
    }
    let salt = match spec.uids {
        UidHabit::Stable => None,
        UidHabit::PerRevision => Some(revision),
        UidHabit::PerFetch => Some(feed.fetches),
    };
    let (mut zones, mut events) = (BTreeSet::new(), String::new());
    for body in bodies.iter().filter(|body| in_window(spec, body, now)) {
        for (kind, text) in ical::components(body) {
            if kind == "VTIMEZONE" {
                zones.insert(text);
            } else {
                events.push_str(&renamed(&text, salt));
            }
        }
    }
    let mut out = heading(spec, name);
    if !spec.without_zones {
        out.extend(zones);
    }
    out.push_str(&events);
    while out.len() < spec.pad_to.unwrap_or(0) {
        push_folded(&mut out, &format!("X-PADDING:{}", "x".repeat(60)));
    }
    out.push_str("END:VCALENDAR\r\n");
    (out, modified)
}

fn heading(spec: &FeedSpec, name: &str) -> String {
    let mut out = String::from("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Calfleet sandbox//Feed//EN\r\n");
    out.push_str("METHOD:PUBLISH\r\n");
    push_folded(&mut out, &format!("X-WR-CALNAME:{}", spec.title.as_deref().unwrap_or(name)));
    if let Some(zone) = &spec.zone {
        push_folded(&mut out, &format!("X-WR-TIMEZONE:{zone}"));
    }
    if let Some(refresh) = &spec.refresh {
        push_folded(&mut out, &format!("REFRESH-INTERVAL;VALUE=DURATION:{refresh}"));
    }
    out
}

fn in_window(spec: &FeedSpec, body: &str, now: i64) -> bool {
    const DAY_MS: i64 = 86_400_000;
    let Some((back, ahead)) = spec.window_days else { return true };
    let Ok(facts) = ical::inspect(body) else { return true };
    let (start, end) = facts.span;
    start < now.saturating_add(ahead * DAY_MS)
        && end.is_none_or(|end| end > now.saturating_sub(back * DAY_MS))
}

fn renamed(text: &str, salt: Option<u64>) -> String {
    match salt {
        Some(salt) => text.replace("\nUID:", &format!("\nUID:{salt}-")),
        None => text.to_owned(),
    }
}
