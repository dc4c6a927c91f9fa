//! Reads events singly: one by a request of its own, several in batches; a series with all that departs from it.
//!
//! What departs from a series is known to its master only, and only to who asks for it; and Graph documents the
//! question for masters alone. So an event that is not known to be a master is asked for as what it is, and if it is
//! one, a second time. A master that does not say what departs from it has its instances listed and compared with
//! its rule.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{ProviderId, RemoteChange};
use http::Request;
use uuid::Uuid;

use super::cursor::Window;
use super::exchange::{self, Exchange, Reply};
use super::normalise::{self, Departed, Setting};
use super::request::{Api, Form};
use super::wire::{self, EventKind};
use crate::caldav::error::Attempt;
use crate::driver::{DriverError, Problem, Since};
use crate::marker::Marks;

/// Most parts of a batch ("JSON batching").
pub(super) const BATCH: usize = 20;

/// Most pages of instances of one series: five years of every day.
const MOST_PAGES: usize = 40;

const READ: Attempt = Attempt { operation: "read events", action: "read events of this calendar" };

/// Reads events of one calendar.
#[derive(Debug)]
pub(super) struct Reader<'d> {
    pub(super) exchange: &'d Exchange,
    pub(super) api: &'d Api,
    pub(super) calendar: &'d str,
    pub(super) marks: &'d Marks,
    /// Inside of which instances are compared with their rule.
    pub(super) window: Window,
}

/// What an id stands for.
#[derive(Debug)]
pub(super) enum Found {
    /// An event or an instance.
    Event(Box<wire::Event>, Bytes),
    /// A series; with its instances, where it does not say itself what departs from it.
    Series(Box<wire::Event>, Bytes, Vec<Bytes>),
    /// Nothing in this calendar, or nothing that can be read.
    Other(RemoteChange),
}

impl Found {
    /// The event, where there is one.
    pub(super) fn event(&self) -> Option<&wire::Event> {
        match self {
            Self::Event(event, _) | Self::Series(event, ..) => Some(event),
            Self::Other(_) => None,
        }
    }

    /// What it says.
    pub(super) fn change(self, window: Window, setting: &Setting) -> RemoteChange {
        match self {
            Self::Other(change) => change,
            Self::Event(event, raw) => normalise::change(&event, text(&raw), setting),
            Self::Series(event, raw, instances) => {
                let raw = text(&raw);
                let parts: wire::Departures<'_> = serde_json::from_str(raw).unwrap_or_default();
                if let Some(departed) = Departed::of(&parts) {
                    return normalise::whole(&event, raw, &departed, setting);
                }
                let instances: Vec<&str> = instances.iter().map(text).collect();
                normalise::compared(&event, raw, &instances, window, setting)
            }
        }
    }
}

/// As JSON it was read before.
fn text(raw: &Bytes) -> &str {
    std::str::from_utf8(raw).unwrap_or_default()
}

/// What a listing has read singly: each event once, however many pages name it, and again when its page comes again.
#[derive(Debug, Default)]
pub(super) struct ReadOnce {
    page: Option<String>,
    on_page: HashSet<ProviderId>,
    before: HashSet<ProviderId>,
}

impl ReadOnce {
    /// Leaves of `named`, which the page at `since` names, what is to be read for it.
    pub(super) fn leave_unread(&mut self, since: &Since, named: &mut Vec<ProviderId>) {
        match since {
            // What was read for it may not have been taken.
            Since::Page(page) if self.page.as_ref() == Some(page) => {}
            Since::Page(page) => {
                self.page = Some(page.clone());
                self.before.extend(self.on_page.drain());
            }
            _ => *self = Self::default(),
        }
        named.retain(|id| !self.before.contains(id));
        self.on_page.extend(named.iter().cloned());
    }
}

impl Reader<'_> {
    /// Each id once, in their order.
    pub(super) async fn find(&self, wanted: &[(ProviderId, Form)]) -> Result<Vec<Found>, DriverError> {
        let mut found = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(BATCH) {
            found.extend(self.find_some(some).await?);
        }
        Ok(found)
    }

    async fn find_some(&self, wanted: &[(ProviderId, Form)]) -> Result<Vec<Found>, DriverError> {
        let mut places: BTreeMap<usize, Found> = BTreeMap::new();
        let mut again: Vec<(usize, (ProviderId, Form))> = Vec::new();
        for (place, reply) in self.ask(wanted).await?.into_iter().enumerate() {
            let Some((id, form)) = wanted.get(place) else { continue };
            match (form, self.judge(id, reply)?) {
                (Form::Any, Found::Event(event, _)) if event.kind == Some(EventKind::SeriesMaster) => {
                    again.push((place, (id.clone(), Form::Series)));
                }
                // No master any more, which Graph may take for a bad question.
                (Form::Series, Found::Other(RemoteChange::Unreadable { .. })) => {
                    again.push((place, (id.clone(), Form::Any)));
                }
                (_, found) => {
                    places.insert(place, found);
                }
            }
        }
        let asked: Vec<_> = again.iter().map(|(_, wanted)| wanted.clone()).collect();
        let replies = if asked.is_empty() { Vec::new() } else { self.ask(&asked).await? };
        for ((place, (id, _)), reply) in again.iter().zip(replies) {
            places.insert(*place, self.judge(id, reply)?);
        }
        let mut found = Vec::with_capacity(places.len());
        for one in places.into_values() {
            found.push(self.completed(one).await?);
        }
        Ok(found)
    }

    /// The event that was made under that transaction id; `None` where there is none.
    pub(super) async fn made(&self, transaction: Uuid) -> Result<Option<ProviderId>, DriverError> {
        // A copy that a person made of it has our mark as well, and another transaction id or none.
        let is_it = |event: &wire::Event| {
            let made = event.transaction_id.as_deref().and_then(|text| Uuid::try_parse(text).ok());
            made == Some(transaction) && !event.id.is_empty()
        };
        let name = transaction.hyphenated().to_string();
        for mark in self.marks.all(self.calendar, &name) {
            let request = self.api.find_made(READ.operation, self.calendar, &mark)?;
            let body = self.exchange.fetch(READ, request).await?;
            let page: wire::EventPage<'_> = exchange::parse(READ, &body)?;
            let mut events =
                page.value.iter().filter_map(|raw| serde_json::from_str::<wire::Event>(raw.get()).ok());
            if let Some(event) = events.find(is_it) {
                return Ok(Some(ProviderId(event.id)));
            }
        }
        Ok(None)
    }

    /// A series with its instances, where it does not say itself what departs from it.
    async fn completed(&self, found: Found) -> Result<Found, DriverError> {
        match found {
            Found::Event(event, raw) if event.kind == Some(EventKind::SeriesMaster) => {
                let parts: wire::Departures<'_> = exchange::parse(READ, &raw)?;
                let is_told = Departed::of(&parts).is_some();
                let instances =
                    if is_told { Vec::new() } else { self.instances(&event.id, self.window).await? };
                Ok(Found::Series(event, raw, instances))
            }
            found => Ok(found),
        }
    }

    /// The instances of a series that take place inside a window, verbatim.
    pub(super) async fn instances(&self, series: &str, window: Window) -> Result<Vec<Bytes>, DriverError> {
        let mut instances = Vec::new();
        let mut request = self.api.list_instances(READ.operation, self.calendar, series, window)?;
        for _ in 0..MOST_PAGES {
            let body = self.exchange.fetch(READ, request).await?;
            let page: wire::EventPage<'_> = exchange::parse(READ, &body)?;
            instances.extend(page.value.iter().map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())));
            let Some(link) = page.next_link else { return Ok(instances) };
            let next = self.api.follow(READ.operation, &link)?;
            request = next.ok_or_else(|| exchange::unreadable(READ, "its next page is elsewhere"))?;
        }
        Err(exchange::unreadable(READ, "the instances of a series have no end"))
    }

    /// What was answered for each, in their order.
    async fn ask(&self, wanted: &[(ProviderId, Form)]) -> Result<Vec<Reply>, DriverError> {
        let request = |(id, form): &(ProviderId, Form)| -> Result<Request<Bytes>, DriverError> {
            self.api.get_event(READ.operation, self.calendar, id.as_str(), *form)
        };
        let mut requests = wanted.iter().map(request).collect::<Result<Vec<_>, _>>()?;
        if requests.len() == 1
            && let Some(only) = requests.pop()
        {
            return Ok(vec![self.exchange.ask(READ, only).await?]);
        }
        let batch = self.api.batch(READ.operation, &requests)?;
        let body = self.exchange.fetch(READ, batch).await?;
        let answer: wire::BatchAnswer<'_> = exchange::parse(READ, &body)?;
        let mut replies: BTreeMap<usize, Reply> = BTreeMap::new();
        for part in &answer.responses {
            if let (Ok(place), Some(reply)) = (part.id.parse(), exchange::reply_of_part(part)) {
                replies.insert(place, reply);
            }
        }
        if replies.len() != requests.len()
            || replies.keys().ne((0..requests.len()).collect::<Vec<_>>().iter())
        {
            return Err(exchange::unreadable(READ, "it leaves out a part of what was asked"));
        }
        Ok(replies.into_values().collect())
    }

    /// What an answer means. A refusal of one event alone is that event's; any other ends the reading, because what
    /// is asked again later is asked in the same batch.
    fn judge(&self, id: &ProviderId, reply: Reply) -> Result<Found, DriverError> {
        let raw = match reply {
            Reply::Body(raw) => raw,
            Reply::Refused(refused) => {
                let error = self.exchange.refusal(READ, &refused);
                return match (error.class, &error.problem) {
                    (_, Problem::NotFound) => {
                        Ok(Found::Other(RemoteChange::Removed { provider_id: id.clone() }))
                    }
                    (FailureClass::Permanent, Problem::Refused { .. } | Problem::Forbidden { .. }) => {
                        Ok(Found::Other(unread(id, "Microsoft refuses to show it")))
                    }
                    _ => Err(error),
                };
            }
        };
        match exchange::parse::<wire::Event>(READ, &raw) {
            Ok(event) if event.id == id.as_str() => Ok(Found::Event(Box::new(event), raw)),
            Ok(event) if event.id.is_empty() => Err(exchange::unreadable(READ, "an event in it has no id")),
            // An id of the other kind, for the same event.
            Ok(_) => Ok(Found::Other(unread(id, "Microsoft shows it under another name"))),
            Err(error) if error.problem == Problem::Truncated => Err(error),
            Err(_) => Ok(Found::Other(unread(id, "what Microsoft says of it could not be understood"))),
        }
    }
}

fn unread(id: &ProviderId, reason: &str) -> RemoteChange {
    RemoteChange::Unreadable { provider_id: id.clone(), revision: None, reason: reason.to_owned(), raw: None }
}
