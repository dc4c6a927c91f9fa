//! Google: its authorization server under `/google/` and the Calendar API v3 under `/google/calendar/v3/`.
//!
//! A request becomes a [`call::Call`] with the account behind its token; [`route`] finds the method, which
//! answers a document or an [`error::ApiError`]. Writes note which calendars they touched and what mail they
//! would have sent; both are passed on when the call is over, also when its answer gets lost.
//! Every guest's copy is an event of its own in the guest's primary calendar, under the organizer's id.

pub(crate) mod account;
mod batch;
pub(crate) mod calendar;
mod call;
mod conference;
pub(crate) mod control;
pub(crate) mod control_http;
mod directory;
pub(crate) mod error;
mod event;
mod fields;
mod free_busy;
mod guests;
mod list;
mod oauth;
mod palette;
mod rename;
mod times;
mod token;
mod watch;
mod write;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use account::{Account, GoogleAccountSpec, GoogleRole, ListEntry};
use calendar::Calendar;
use call::{Call, Reply, Scope};
use error::ApiError;

use crate::answer::Answer;
use crate::error::SandboxError;
use crate::faults::{Fault, Faults, Twist};
use crate::mail::Mail;
use crate::oauth::jwt::SigningKey;
use crate::oauth::tokens::Tokens;
use crate::world::World;

/// Where everything of Google's is.
pub(crate) const ROOT: &str = "/google/";

/// Where the Calendar API is, below that.
const API: &str = "calendar/v3/";

/// What becomes of an asked-for conference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConferenceHabit {
    /// It is there at once.
    #[default]
    Success,
    /// It stays pending until it is settled through the controls.
    Pending,
    /// It cannot be made.
    Failure,
}

/// The habits of the simulated Google.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GoogleHabits {
    /// Life of an access token in seconds.
    pub access_token_s: u32,
    /// Refresh tokens die after seven days, as those of an application in testing.
    pub testing: bool,
    /// Requests of one account within a minute; more are refused.
    pub requests_per_minute: Option<u32>,
    /// What becomes of conferences.
    pub conference: ConferenceHabit,
    /// Longest life of a channel in seconds.
    pub channel_s: u32,
    /// Channels need an https address.
    pub https_only: bool,
    /// The secret that clients must show; any when absent.
    pub client_secret: Option<String>,
}

impl Default for GoogleHabits {
    fn default() -> Self {
        Self {
            access_token_s: 3_600,
            testing: false,
            requests_per_minute: None,
            conference: ConferenceHabit::Success,
            channel_s: 604_800,
            https_only: false,
            client_secret: None,
        }
    }
}

/// A service account and what the administrator lets it do.
#[derive(Debug)]
struct ServiceAccount {
    key: SigningKey,
    scopes: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Google {
    seed: u64,
    given: u64,
    revision: u64,
    pub(crate) habits: GoogleHabits,
    pub(crate) tokens: Tokens,
    key: Option<Arc<SigningKey>>,
    service_accounts: BTreeMap<String, ServiceAccount>,
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) calendars: BTreeMap<String, Calendar>,
    channels: BTreeMap<String, watch::Channel>,
    /// Calendars that the call under way has changed.
    changed: BTreeSet<String>,
    /// Accounts whose list of calendars the call under way has changed.
    changed_lists: BTreeSet<String>,
    /// Mail that the call under way would have sent.
    mails: Vec<Mail>,
}

impl Google {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            given: 0,
            revision: 0,
            habits: GoogleHabits::default(),
            tokens: Tokens::new(seed),
            key: SigningKey::first(),
            service_accounts: BTreeMap::new(),
            accounts: BTreeMap::new(),
            calendars: BTreeMap::new(),
            channels: BTreeMap::new(),
            changed: BTreeSet::new(),
            changed_lists: BTreeSet::new(),
            mails: Vec::new(),
        }
    }

    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    /// An id of 26 letters of base32hex.
    fn new_id(&mut self) -> String {
        self.given += 1;
        let hash = Sha256::digest(format!("id {} {}", self.seed, self.given));
        hash.iter().take(26).filter_map(|byte| char::from_digit(u32::from(byte & 31), 32)).collect()
    }

    pub(crate) fn create_account(&mut self, spec: GoogleAccountSpec) -> Result<(), SandboxError> {
        let email = spec.email.to_lowercase();
        if self.accounts.contains_key(&email) {
            return Err(SandboxError::Exists(email));
        }
        let hash = Sha256::digest(format!("sub {email}"));
        let number = hash.iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        let sub = spec.sub.clone().unwrap_or_else(|| format!("1{number:020}"));
        let revision = self.next_revision();
        let calendar = Calendar::new(&email, &email, (&email, &spec.time_zone), revision);
        self.calendars.insert(email.clone(), calendar);
        let reminders = json!([{ "method": "popup", "minutes": 10 }]);
        let own = Map::from_iter([("defaultReminders".to_owned(), reminders)]);
        let entry = ListEntry { own, revision, is_deleted: false };
        let list = BTreeMap::from([(email.clone(), entry)]);
        let account = Account { spec, sub, list, era: revision, recent: VecDeque::new() };
        self.accounts.insert(email, account);
        Ok(())
    }

    /// The calendar of that id for an account; `primary` is its own.
    fn calendar_id(who: &str, id: &str) -> String {
        if id == "primary" { who.to_owned() } else { id.to_owned() }
    }

    fn role(&self, who: &str, calendar: &str) -> Option<GoogleRole> {
        self.calendars.get(calendar)?.roles.get(who).copied()
    }

    /// The calendar, when the caller has at least that role.
    fn open(&self, who: &str, id: &str, least: GoogleRole) -> Result<&Calendar, ApiError> {
        let calendar = self.calendars.get(id).ok_or_else(ApiError::not_found)?;
        match calendar.roles.get(who) {
            None => Err(ApiError::not_found()),
            Some(role) if *role < least => Err(ApiError::access_level()),
            Some(_) => Ok(calendar),
        }
    }

    /// An event by its id, also an instance that is no exception.
    pub(crate) fn find(&self, calendar: &str, id: &str, now: i64) -> Option<Map<String, Value>> {
        let calendar = self.calendars.get(calendar)?;
        if let Some(stored) = calendar.get(id) {
            return Some(stored.map());
        }
        let (series, suffix) = id.rsplit_once('_')?;
        let master = calendar.get(series).filter(|stored| stored.is_master && !stored.is_cancelled)?.map();
        let zone = &calendar.time_zone;
        let starts = times::starts(&master, zone, Some(times::after_suffix(suffix)?), now).ok()?;
        let start = starts.into_iter().find(|start| start.suffix() == suffix)?;
        Some(times::instance(&master, start, zone))
    }
}

/// What a request comes with, besides itself.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) twist: &'a Twist,
    /// Scheme and authority of the sandbox.
    pub(crate) url: &'a str,
    /// Strike the parts of a batch.
    pub(crate) faults: &'a Faults,
    /// Set where a part has lost the answer of its whole batch.
    pub(crate) is_lost: &'a Cell<bool>,
}

impl Surroundings<'_> {
    /// Whether what strikes a part of a batch ends the batch before it; notes when the whole answer is lost.
    fn cuts(&self, struck: &[Fault]) -> bool {
        let is_cut = struck.iter().any(|fault| matches!(fault, Fault::CutBefore));
        if is_cut || struck.iter().any(|fault| matches!(fault, Fault::AnswerLost)) {
            self.is_lost.set(true);
        }
        is_cut
    }
}

/// The account whose access token the request carries.
pub(crate) fn account_of(world: &World, head: &Parts, now: i64) -> Option<String> {
    let token = call::bearer(&head.headers)?;
    world.google.tokens.access(token, now).ok().map(|grant| grant.account.clone())
}

/// Answers a request below [`ROOT`].
pub(crate) fn answer(
    world: &mut World,
    head: &Parts,
    body: &[u8],
    around: &Surroundings<'_>,
    now: i64,
) -> Answer {
    let (twist, url) = (around.twist, around.url);
    let path = head.uri.path().strip_prefix(ROOT).unwrap_or_default();
    let google = &mut world.google;
    let answer = if path == "batch/calendar/v3" || path == "batch" {
        batch::answer(google, head, body, around, now)
    } else if let Some(rest) = path.strip_prefix(API) {
        let query = head.uri.query().unwrap_or_default();
        let call = Call::new((head.method.as_str(), rest, query), &head.headers, body, (twist, url), now);
        one(google, call)
    } else if let Some(api) = path.strip_prefix("discovery/v1/apis/") {
        palette::discovery(api, url)
    } else {
        oauth::answer(google, head, body, url, now)
    };
    google.flush(&mut world.mail, &world.courier, url, now);
    answer
}

/// Answers one call of the API.
fn one(google: &mut Google, call: Call<'_>) -> Answer {
    let wanted = call.text("fields").map(str::to_owned);
    let if_none_match = call.if_none_match.clone();
    match admit(google, call).and_then(|call| route(google, &call)) {
        Err(refusal) => refusal.answer(),
        Ok(Reply::Empty) => Answer::status(StatusCode::NO_CONTENT),
        Ok(Reply::Text(text)) => match &wanted {
            None => Answer::status(StatusCode::OK).with_body(error::JSON, text),
            Some(fields) => match serde_json::from_str(&text) {
                Ok(document) => shown(document, Some(fields), None),
                Err(_) => Answer::status(StatusCode::INTERNAL_SERVER_ERROR),
            },
        },
        Ok(Reply::Document(document)) => shown(document, wanted.as_deref(), if_none_match.as_deref()),
    }
}

fn shown(document: Value, wanted: Option<&str>, if_none_match: Option<&str>) -> Answer {
    let etag = document.get("etag").and_then(Value::as_str).map(str::to_owned);
    if if_none_match.is_some() && if_none_match == etag.as_deref() {
        return Answer::status(StatusCode::NOT_MODIFIED);
    }
    let document = match wanted.map(|wanted| fields::select(&document, wanted)) {
        None => document,
        Some(Ok(selected)) => selected,
        Some(Err(refusal)) => return refusal.answer(),
    };
    let answer = Answer::status(StatusCode::OK).with_body(error::JSON, document.to_string());
    match etag {
        Some(etag) => answer.header(http::header::ETAG, &etag),
        None => answer,
    }
}

/// Finds out who is calling, and whether the quota allows it.
fn admit<'a>(google: &mut Google, mut call: Call<'a>) -> Result<Call<'a>, ApiError> {
    let token = call.token.clone().ok_or_else(ApiError::login_required)?;
    let grant = google.tokens.access(&token, call.now).map_err(|_| ApiError::unauthorized())?.clone();
    let limit = google.habits.requests_per_minute;
    let account = google.accounts.get_mut(&grant.account).ok_or_else(ApiError::unauthorized)?;
    while account.recent.front().is_some_and(|at| at + 60_000 <= call.now) {
        account.recent.pop_front();
    }
    if limit.is_some_and(|limit| account.recent.len() >= limit as usize) {
        return Err(ApiError::rate_limit(403, "userRateLimitExceeded"));
    }
    account.recent.push_back(call.now);
    call.who = grant.account;
    call.scopes = grant.scopes;
    Ok(call)
}

/// The method that a path and verb stand for.
fn route(google: &mut Google, call: &Call<'_>) -> Result<Reply, ApiError> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let method = Method::from_bytes(call.method.as_bytes()).unwrap_or_default();
    match (method.as_str(), path.as_slice()) {
        ("GET" | "POST" | "PUT" | "PATCH" | "DELETE", ["users", "me", "calendarList", rest @ ..]) => {
            call.needs(if call.method == "GET" || *rest == ["watch"] {
                Scope::ReadLists
            } else {
                Scope::WriteLists
            })?;
            directory::entries(google, call, rest)
        }
        ("GET", ["users", "me", "settings", rest @ ..]) => {
            call.needs(Scope::ReadSettings)?;
            palette::settings(google, call, rest)
        }
        ("GET", ["colors"]) => {
            call.needs(Scope::ReadCalendars)?;
            Ok(Reply::Document(palette::colors()))
        }
        ("POST", ["freeBusy"]) => {
            call.needs(Scope::FreeBusy)?;
            free_busy::query(google, call)
        }
        ("POST", ["channels", "stop"]) => google.stop_channel(call),
        (_, ["calendars", id, "events", rest @ ..]) => {
            let id = Google::calendar_id(&call.who, id);
            events(google, call, &id, rest)
        }
        (verb, ["calendars", rest @ ..]) => {
            call.needs(if verb == "GET" { Scope::ReadCalendars } else { Scope::WriteCalendars })?;
            directory::calendars(google, call, rest)
        }
        _ => Err(ApiError::not_found()),
    }
}

fn events(google: &mut Google, call: &Call<'_>, id: &str, rest: &[&str]) -> Result<Reply, ApiError> {
    let is_read = call.method == "GET" || rest == ["watch"];
    call.needs(if is_read { Scope::ReadEvents } else { Scope::WriteEvents })?;
    match (call.method, rest) {
        ("GET", []) => list::events(google, call, id),
        ("POST", []) => google.insert(call, id),
        ("POST", ["import"]) => google.import(call, id),
        ("POST", ["watch"]) => {
            google.open(&call.who, id, GoogleRole::FreeBusyReader)?;
            google.watch(call, watch::Collection::Events(id.to_owned()))
        }
        ("GET", [event]) => list::event(google, call, id, event),
        ("PUT", [event]) => google.change(call, (id, event), write::Manner::Replace),
        ("PATCH", [event]) => google.change(call, (id, event), write::Manner::Merge),
        ("DELETE", [event]) => google.delete_event(call, (id, event)),
        ("GET", [event, "instances"]) => list::instances(google, call, id, event),
        ("POST", [event, "move"]) => google.move_event(call, (id, event)),
        _ => Err(ApiError::not_found()),
    }
}
