//! Microsoft: its authorization server under `/microsoft/{tenant}/` and Graph under `/microsoft/v1.0/`.
//!
//! A request becomes a [`call::Call`] with the account behind its token; [`route`] finds the method, which
//! answers a document or an [`error::ApiError`]. Writes note what they touched and what mail they would have
//! sent; both are passed on when the call is over, also when its answer gets lost. Every attendee's copy is
//! an event of its own in the attendee's default calendar, of the same iCalendar UID.

pub(crate) mod account;
mod batch;
mod body;
mod calendar;
mod call;
pub(crate) mod control;
pub(crate) mod control_http;
mod delta;
mod directory;
pub(crate) mod error;
mod event;
mod fields;
mod guests;
mod id;
mod oauth;
mod pattern;
mod query;
mod rename;
mod respond;
mod schedule;
pub(crate) mod subscriptions;
mod times;
mod view;
mod write;
mod zones;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::NaiveDate;
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use account::{Account, MicrosoftAccountSpec};
use calendar::{Calendar, Stored};
use call::{Call, Reply, Scope};
use error::ApiError;
use id::{Form, Id};
use subscriptions::Subscription;

use crate::answer::Answer;
use crate::error::SandboxError;
use crate::faults::{Fault, Faults, Twist};
use crate::mail::Mail;
use crate::oauth::jwt::SigningKey;
use crate::oauth::tokens::Tokens;
use crate::world::World;

/// Where everything of Microsoft's is.
pub(crate) const ROOT: &str = "/microsoft/";

/// Where Graph is, below [`ROOT`].
const API: &str = "v1.0/";

/// How a dead delta link is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeltaHabit {
    /// 410 `syncStateNotFound`.
    #[default]
    SyncStateNotFound,
    /// 410 `resyncRequired` with a `Location` that starts over.
    ResyncRequired,
    /// 400 `SyncStateNotFound`.
    BadRequest,
}

/// The habits of the simulated Microsoft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own, switched by its name")]
pub struct GraphHabits {
    /// Life of an access token in seconds.
    pub access_token_s: u32,
    /// A refresh token dies when it is used; at Microsoft it lives on beside the new one.
    pub strict_rotation: bool,
    /// Granted scopes are answered by their short names.
    pub short_scopes: bool,
    /// The secret that clients must show; any when absent.
    pub client_secret: Option<String>,
    /// Only an administrator may agree: the consent page sends people back with an error.
    pub needs_admin_consent: bool,
    /// Requests of one mailbox answered at the same time; more are refused.
    pub most_concurrent: Option<u32>,
    /// Requests of one mailbox within ten minutes; more are refused.
    pub requests_per_ten_minutes: Option<u32>,
    /// A delta shows of an occurrence only when it is.
    pub slim_occurrences: bool,
    /// The first page of every round of a delta is empty and has a next link.
    pub empty_first_page: bool,
    /// How a dead delta link is refused.
    pub expired_delta: DeltaHabit,
    /// A new online meeting has no address until the next read.
    pub late_join_url: bool,
    /// Longest life of a subscription in minutes.
    pub subscription_min: u32,
    /// Subscriptions need an https address.
    pub https_only: bool,
}

impl Default for GraphHabits {
    fn default() -> Self {
        Self {
            access_token_s: 4_500,
            strict_rotation: false,
            short_scopes: false,
            client_secret: None,
            needs_admin_consent: false,
            most_concurrent: Some(4),
            requests_per_ten_minutes: Some(10_000),
            slim_occurrences: true,
            empty_first_page: false,
            expired_delta: DeltaHabit::SyncStateNotFound,
            late_join_url: false,
            subscription_min: 10_080,
            https_only: false,
        }
    }
}

/// What a call did to an event, for subscribers.
#[derive(Debug, Clone)]
pub(crate) struct Touch {
    calendar: String,
    id: Id,
    revision: u64,
    kind: &'static str,
}

/// Where an event is.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) calendar: String,
    pub(crate) serial: u64,
    pub(crate) day: Option<NaiveDate>,
}

#[derive(Debug)]
pub(crate) struct Graph {
    seed: u64,
    given: u64,
    revision: u64,
    pub(crate) habits: GraphHabits,
    pub(crate) tokens: Tokens,
    key: Option<Arc<SigningKey>>,
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) calendars: BTreeMap<String, Calendar>,
    /// Ids of the calendars that events are in.
    places: HashMap<u64, String>,
    subscriptions: BTreeMap<String, Subscription>,
    /// What the call under way has changed.
    touched: Vec<Touch>,
    /// Mail that the call under way would have sent.
    mails: Vec<Mail>,
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
    /// Addresses that have answered the handshake.
    pub(crate) validated: &'a [String],
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

/// Sets a field of an object; other values stay as they are.
pub(crate) fn set(document: &mut Value, name: &str, value: Value) {
    if let Some(fields) = document.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

impl Graph {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            given: 0,
            revision: 0,
            habits: GraphHabits::default(),
            tokens: Tokens::new(seed),
            key: SigningKey::first(),
            accounts: BTreeMap::new(),
            calendars: BTreeMap::new(),
            places: HashMap::new(),
            subscriptions: BTreeMap::new(),
            touched: Vec::new(),
            mails: Vec::new(),
        }
    }

    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    fn next_serial(&mut self) -> u64 {
        self.given += 1;
        self.given
    }

    pub(crate) fn create_account(&mut self, spec: MicrosoftAccountSpec) -> Result<(), SandboxError> {
        let email = spec.email.to_lowercase();
        if self.accounts.contains_key(&email) {
            return Err(SandboxError::Exists(email));
        }
        let calendar = self.new_calendar(&email, "Calendar", true);
        self.accounts.insert(email, Account::new(spec, calendar));
        Ok(())
    }

    /// A new calendar, which is on nobody's list yet.
    fn new_calendar(&mut self, owner: &str, name: &str, is_default: bool) -> String {
        let id = Id { serial: self.next_serial(), moves: 0, day: None }.write(Form::Default);
        let revision = self.next_revision();
        self.calendars.insert(id.clone(), Calendar::new(id.clone(), (name, owner), is_default, revision));
        id
    }

    /// The calendar, when the caller sees it.
    fn open(&self, who: &str, id: &str) -> Result<&Calendar, ApiError> {
        let calendar = self.calendars.get(id).filter(|calendar| calendar.roles.contains_key(who));
        calendar.ok_or_else(ApiError::item_not_found)
    }

    /// Refuses when the caller may not edit the calendar.
    fn check_edit(&self, who: &str, id: &str) -> Result<(), ApiError> {
        match self.open(who, id)?.roles.get(who) {
            Some(true) => Ok(()),
            _ => Err(ApiError::access_denied()),
        }
    }

    /// Where the event of an id is.
    fn find(&self, who: &str, text: &str) -> Result<Found, ApiError> {
        let (id, form) = Id::read(text).ok_or_else(ApiError::malformed_id)?;
        let calendar = self.places.get(&id.serial).ok_or_else(ApiError::item_not_found)?;
        let stored = self.open(who, calendar)?.get(id.serial).ok_or_else(ApiError::item_not_found)?;
        let is_current = form == Form::Immutable || id.moves == stored.moves;
        if !is_current || id.day.is_some_and(|day| !stored.has_day(day)) {
            return Err(ApiError::item_not_found());
        }
        Ok(Found { calendar: calendar.clone(), serial: id.serial, day: id.day })
    }

    fn stored(&self, found: &Found) -> Result<&Stored, ApiError> {
        let calendar = self.calendars.get(&found.calendar).ok_or_else(ApiError::item_not_found)?;
        calendar.get(found.serial).ok_or_else(ApiError::item_not_found)
    }
}

/// The account whose access token the request carries.
pub(crate) fn account_of(world: &World, head: &Parts, now: i64) -> Option<String> {
    let token = call::bearer(&head.headers)?;
    world.graph.tokens.access(token, now).ok().map(|grant| grant.account.clone())
}

/// Whether a request of a mailbox, of which so many are being answered, is one too many.
pub(crate) fn is_crowded(world: &World, head: &Parts, in_flight: u64) -> bool {
    let is_api = head.uri.path().strip_prefix(ROOT).is_some_and(|path| path.starts_with(API));
    is_api && world.graph.habits.most_concurrent.is_some_and(|most| in_flight > u64::from(most))
}

/// Answers a request below [`ROOT`].
pub(crate) fn answer(
    world: &mut World,
    head: &Parts,
    body: &[u8],
    around: &Surroundings<'_>,
    now: i64,
) -> Answer {
    let path = head.uri.path().strip_prefix(ROOT).unwrap_or_default();
    let graph = &mut world.graph;
    let answer = if path == "v1.0/$batch" {
        batch::answer(graph, head, body, around, now)
    } else if let Some(rest) = path.strip_prefix(API) {
        let query = head.uri.query().unwrap_or_default();
        let address = format!("{rest}?{query}");
        let to = (head.method.as_str(), address.as_str());
        let mut call = Call::new(to, &head.headers, body, (around.twist, around.url), now);
        call.validated = around.validated;
        one(graph, call).header(http::HeaderName::from_static("request-id"), error::REQUEST_ID)
    } else {
        oauth::answer(graph, head, body, around.url, now)
    };
    flush(world, now);
    answer
}

/// Passes on the mail, and tells subscribers of what was touched.
fn flush(world: &mut World, now: i64) {
    for mail in std::mem::take(&mut world.graph.mails) {
        world.mail.put(mail);
    }
    world.graph.notify(&world.courier, now);
}

/// Answers one call of the API.
fn one(graph: &mut Graph, call: Call<'_>) -> Answer {
    let select = call.text("$select").map(str::to_owned);
    let expand = call.text("$expand").unwrap_or_default().to_owned();
    let applied = call.prefer.applied.clone();
    let reply = admit(graph, call).and_then(|call| {
        call.check_preferences()?;
        route(graph, &call)
    });
    let answer = match reply {
        Err(refusal) => return refusal.answer(),
        Ok(Reply::Empty(status)) => Answer::status(status_of(status)),
        Ok(Reply::Document(status, mut document)) => {
            if let Some(select) = select {
                keep_selected(&mut document, &select, &expand);
            }
            Answer::status(status_of(status)).with_body(error::JSON, document.to_string())
        }
    };
    if applied.is_empty() {
        return answer;
    }
    answer.header(http::HeaderName::from_static("preference-applied"), &applied)
}

fn status_of(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn keep_selected(document: &mut Value, select: &str, expand: &str) {
    match document {
        Value::Object(page) if page.contains_key("value") => {
            let items = page.get_mut("value").and_then(Value::as_array_mut);
            for item in items.into_iter().flatten().filter_map(Value::as_object_mut) {
                query::select(item, select, expand);
            }
        }
        Value::Object(item) => query::select(item, select, expand),
        _ => {}
    }
}

/// Finds out who is calling, and whether the limits allow it.
fn admit<'a>(graph: &mut Graph, mut call: Call<'a>) -> Result<Call<'a>, ApiError> {
    let token = call.token.clone().ok_or_else(ApiError::no_token)?;
    let grant = graph.tokens.access(&token, call.now).map_err(|_| ApiError::unauthorized())?.clone();
    let limit = graph.habits.requests_per_ten_minutes;
    let account = graph.accounts.get_mut(&grant.account).ok_or_else(ApiError::unauthorized)?;
    while account.recent.front().is_some_and(|at| at + 600_000 <= call.now) {
        account.recent.pop_front();
    }
    if limit.is_some_and(|limit| account.recent.len() >= limit as usize) {
        return Err(ApiError::too_many());
    }
    account.recent.push_back(call.now);
    call.who = grant.account;
    call.client = grant.client;
    call.scopes = grant.scopes;
    Ok(call)
}

/// The method that a path and verb stand for.
fn route(graph: &mut Graph, call: &Call<'_>) -> Result<Reply, ApiError> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["me", rest @ ..] => mailbox(graph, call, rest),
        ["users", name, rest @ ..] => {
            let account = graph.accounts.get(&call.who).ok_or_else(ApiError::unauthorized)?;
            if !call.who.eq_ignore_ascii_case(name) && account.object_id != *name {
                return Err(ApiError::access_denied());
            }
            mailbox(graph, call, rest)
        }
        ["subscriptions", rest @ ..] => subscriptions::answer(graph, call, rest),
        _ => Err(ApiError::resource_not_found()),
    }
}

/// What is asked of the caller's own mailbox.
fn mailbox(graph: &mut Graph, call: &Call<'_>, rest: &[&str]) -> Result<Reply, ApiError> {
    let account = graph.accounts.get(&call.who).ok_or_else(ApiError::unauthorized)?;
    if !rest.is_empty() && account.spec.has_no_mailbox {
        return Err(ApiError::no_mailbox());
    }
    let default = account.default_calendar.clone();
    match (call.method, rest) {
        ("GET", []) => directory::me(graph, call),
        ("GET", ["mailboxSettings" | "outlook", ..]) | ("POST", ["translateExchangeIds"]) => {
            directory::settings(graph, call, rest)
        }
        (_, ["events", rest @ ..]) => events(graph, call, &default, rest),
        ("GET", ["calendarView", rest @ ..]) => windows(graph, call, &default, rest),
        (_, ["calendar", rest @ ..]) => in_calendar(graph, call, &default, rest),
        ("GET" | "POST", ["calendars"]) => directory::calendars(graph, call),
        (_, ["calendars", id, rest @ ..]) => in_calendar(graph, call, id, rest),
        _ => Err(ApiError::resource_not_found()),
    }
}

fn in_calendar(graph: &mut Graph, call: &Call<'_>, id: &str, rest: &[&str]) -> Result<Reply, ApiError> {
    match (call.method, rest) {
        (_, []) => directory::calendar(graph, call, id),
        (_, ["events", rest @ ..]) => events(graph, call, id, rest),
        ("GET", ["calendarView", rest @ ..]) => windows(graph, call, id, rest),
        ("POST", ["getSchedule"]) => {
            call.needs(Scope::Read)?;
            schedule::answer(graph, call)
        }
        _ => Err(ApiError::resource_not_found()),
    }
}

fn windows(graph: &Graph, call: &Call<'_>, calendar: &str, rest: &[&str]) -> Result<Reply, ApiError> {
    call.needs(Scope::Read)?;
    match rest {
        [] => view::calendar_view(graph, call, calendar),
        ["delta"] => delta::page(graph, call, calendar),
        _ => Err(ApiError::resource_not_found()),
    }
}

fn events(graph: &mut Graph, call: &Call<'_>, calendar: &str, rest: &[&str]) -> Result<Reply, ApiError> {
    call.needs(if call.method == "GET" { Scope::Read } else { Scope::Write })?;
    if let ("GET", []) = (call.method, rest) {
        return view::events(graph, call, calendar);
    }
    if let ("POST", []) = (call.method, rest) {
        return graph.create(call, calendar);
    }
    let [event, rest @ ..] = rest else { return Err(ApiError::resource_not_found()) };
    let found = graph.find(&call.who, event)?;
    match (call.method, rest) {
        ("GET", []) => view::one(graph, call, &found),
        ("PATCH", []) => graph.patch(call, &found),
        ("DELETE", []) | ("POST", ["permanentDelete"]) => graph.delete(call, &found),
        ("GET", ["instances"]) => view::instances(graph, call, &found),
        ("POST", [verb]) => graph.act(call, &found, verb),
        _ => Err(ApiError::resource_not_found()),
    }
}
