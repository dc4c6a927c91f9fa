//! A Microsoft account behind the trait.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Member, ProviderId, RemoteCalendar, RemoteChange};
use futures_util::FutureExt as _;
use http::StatusCode;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::cursor::{GraphCursor, Horizon, Window};
use super::exchange::{self, Batches, Exchange, Reply};
use super::normalise::{self, Item, Setting};
use super::reading::{BATCH, Found, ReadOnce, Reader};
use super::request::{Api, Form};
use super::wire::{self, EventKind};
use super::writing::{WRITE, Writer};
use super::{fields, times};
use crate::caldav::error::Attempt;
use crate::driver::{
    Account, CalendarRef, Capabilities, ChangePage, Driver, DriverError, Errand, Finding, ListingMode, Next,
    ProbeReport, Problem, Since, Verdict, Watch, WatchRequest, Write, Written,
};
use crate::marker::Marks;
use crate::naming;
use crate::surroundings::Surroundings;

/// More pages of calendars than any account has.
const MOST_CALENDAR_PAGES: usize = 40;

const CALENDARS: Attempt = Attempt { operation: "list calendars", action: "list its calendars" };
const CHANGES: Attempt = Attempt { operation: "list changes", action: "list this calendar" };
const LOOK: Attempt = Attempt { operation: "look at the calendar", action: "see this calendar" };
const WATCH: Attempt = Attempt { operation: "watch a calendar", action: "watch this calendar" };
const UNWATCH: Attempt = Attempt { operation: "stop a watch", action: "stop a watch" };

/// One account at Microsoft.
#[derive(Debug)]
pub struct GraphDriver {
    exchange: Exchange,
    api: Api,
    horizon: Horizon,
    learnt: Arc<Mutex<Learnt>>,
    marks: Marks,
}

/// What a driver has learnt since it was opened; all of it can be asked again.
#[derive(Debug, Default)]
struct Learnt {
    /// Of calendars: single events do not say it.
    settings: HashMap<ProviderId, Setting>,
    /// Which events are series.
    series: HashSet<ProviderId>,
    /// What the listing of each calendar has read singly.
    read: HashMap<ProviderId, ReadOnce>,
}

impl GraphDriver {
    /// Opens an account. Nothing is sent yet. Where Microsoft is say the surroundings, not the account.
    pub fn open(account: Account, surroundings: &Surroundings) -> Self {
        let base = surroundings.endpoints.microsoft.clone();
        let session = surroundings.session(&base, &account);
        Self {
            exchange: Exchange {
                session: Arc::new(session),
                clock: surroundings.clock.clone(),
                gather: None,
            },
            api: Api { base },
            horizon: Horizon {
                past: surroundings.endpoints.window_past,
                future: surroundings.endpoints.window_future,
            },
            learnt: Arc::default(),
            marks: account.marks,
        }
    }

    fn learnt<T>(&self, with: impl FnOnce(&mut Learnt) -> T) -> T {
        with(&mut self.learnt.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn learnt_series(&self, id: ProviderId) -> ProviderId {
        self.learnt(|learnt| learnt.series.insert(id.clone()));
        id
    }

    /// Asks Graph what the calendar is like; fails when it is out of reach.
    async fn look_at(&self, calendar: &CalendarRef) -> Result<Setting, DriverError> {
        let request = self.api.get_calendar(LOOK.operation, calendar.provider_id.as_str())?;
        let body = self.exchange.fetch(LOOK, request).await?;
        let entry: wire::Calendar = exchange::parse(LOOK, &body)?;
        let setting = Setting::of(&entry, calendar.time_zone.as_deref());
        self.learnt(|learnt| learnt.settings.insert(calendar.provider_id.clone(), setting.clone()));
        Ok(setting)
    }

    fn known_setting(&self, calendar: &CalendarRef) -> Option<Setting> {
        self.learnt(|learnt| learnt.settings.get(&calendar.provider_id).cloned())
    }

    /// The same, or what was kept of it: good enough to write, because Graph refuses what is not allowed any more.
    /// For reading it is not: less detail than there was must not be taken for an edit.
    fn setting_to_write(&self, calendar: &CalendarRef) -> Option<Setting> {
        let kept = || Setting::of_kept(calendar.setting.as_deref()?, calendar.time_zone.as_deref());
        self.known_setting(calendar).or_else(kept)
    }

    fn reader<'d>(&'d self, calendar: &'d CalendarRef) -> Result<Reader<'d>, DriverError> {
        let cursor = GraphCursor::of(&Since::Beginning, self.exchange.clock.now(), self.horizon);
        let (exchange, api) = (&self.exchange, &self.api);
        let window = cursor.ok_or_else(expired)?.window;
        let (calendar, marks) = (calendar.provider_id.as_str(), &self.marks);
        Ok(Reader { exchange, api, calendar, marks, window })
    }

    /// What events go by at Graph: those that go by a name of ours are looked for, once.
    async fn named<'i>(
        &self,
        reader: &Reader<'_>,
        ids: &'i [ProviderId],
    ) -> Result<Vec<(&'i ProviderId, Option<ProviderId>)>, DriverError> {
        let mut named = Vec::with_capacity(ids.len());
        for id in ids {
            let found = match naming::transaction(id) {
                Some(transaction) => reader.made(transaction).await?,
                None => Some(id.clone()),
            };
            named.push((id, found));
        }
        Ok(named)
    }

    /// What has to be known of the calendar to read these events: nothing, mostly, and then nothing is asked.
    async fn setting_for<'e>(
        &self,
        calendar: &CalendarRef,
        mut events: impl Iterator<Item = &'e wire::Event>,
    ) -> Result<Setting, DriverError> {
        match self.known_setting(calendar) {
            Some(setting) => Ok(setting),
            None if events.any(normalise::needs_setting) => self.look_at(calendar).await,
            None => Ok(Setting::unseen(calendar.time_zone.as_deref())),
        }
    }

    async fn entries(&self) -> Result<Vec<wire::Calendar>, DriverError> {
        let mut entries = Vec::new();
        let mut request = self.api.list_calendars(CALENDARS.operation)?;
        for _ in 0..MOST_CALENDAR_PAGES {
            let body = self.exchange.fetch(CALENDARS, request).await?;
            let page: wire::CalendarPage = exchange::parse(CALENDARS, &body)?;
            entries.extend(page.value);
            let Some(link) = page.next_link else { return Ok(entries) };
            let next = self.api.follow(CALENDARS.operation, &link)?;
            request = next.ok_or_else(|| exchange::unreadable(CALENDARS, "its next page is elsewhere"))?;
        }
        Err(exchange::unreadable(CALENDARS, "its list of calendars has no end"))
    }

    /// One page of a delta, as it came.
    async fn page(&self, calendar: &CalendarRef, cursor: &GraphCursor) -> Result<bytes::Bytes, DriverError> {
        let Some(link) = &cursor.link else {
            let id = calendar.provider_id.as_str();
            let request = self.api.begin_delta(CHANGES.operation, id, cursor.window)?;
            return self.exchange.fetch(CHANGES, request).await;
        };
        // Of another deployment: the operator has changed the address.
        let request = self.api.follow(CHANGES.operation, link)?.ok_or_else(expired)?;
        match self.exchange.ask(CHANGES, request).await? {
            Reply::Body(body) => Ok(body),
            Reply::Refused(refused) => Err(self.exchange.refusal_of_listing(CHANGES, &refused)),
        }
    }

    /// What the items of a page say, and which events have to be read singly.
    async fn read_items(
        &self,
        calendar: &CalendarRef,
        items: &[&RawValue],
    ) -> Result<(Vec<RemoteChange>, Vec<ProviderId>), DriverError> {
        let mut changes = Vec::with_capacity(items.len());
        let mut singles = Vec::new();
        let mut named = HashSet::new();
        let mut to_read = Vec::new();
        let mut read = |id: ProviderId| {
            if named.insert(id.clone()) {
                to_read.push(id);
            }
        };
        for raw in items {
            let item = normalise::item(raw.get());
            match item.ok_or_else(|| exchange::unreadable(CHANGES, "an event in it has no id"))? {
                Item::Single(event) => singles.push((event, raw.get())),
                Item::Slim(id) => read(id),
                Item::Series(id) => read(self.learnt_series(id)),
                Item::Instance { id, series } => {
                    read(self.learnt_series(series.clone()));
                    changes.push(RemoteChange::Occurrence { provider_id: id, series_id: series });
                }
                Item::Unlisted(id) => changes.push(RemoteChange::Unlisted { provider_id: id }),
                Item::Unreadable(change) => changes.push(change),
            }
        }
        let events = singles.iter().map(|(event, _)| event.as_ref());
        let setting = self.setting_for(calendar, events).await?;
        changes.extend(singles.iter().map(|(event, raw)| normalise::change(event, raw, &setting)));
        Ok((changes, to_read))
    }
}

#[async_trait]
impl Driver for GraphDriver {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            listing: ListingMode::SyncToken,
            reads_singly: true,
            read_batch: BATCH,
            writes: true,
            write_batch: BATCH,
            schedules: true,
            watches: true,
        }
    }

    fn requests_sent(&self) -> u64 {
        self.exchange.session.requests_sent()
    }

    /// The account is the address of the main calendar's owner; connecting by OAuth knows a better one.
    async fn probe(&self) -> Result<ProbeReport, DriverError> {
        let entries = self.entries().await?;
        let main = entries.iter().find(|entry| entry.is_default).or_else(|| entries.first());
        let account =
            main.map(|main| main.owner.as_ref().and_then(fields::address).unwrap_or_else(|| main.id.clone()));
        let no_calendar =
            || DriverError::new("probe the account", FailureClass::Permanent, Problem::NotACalendar);
        let finding = |subject: &str, detail: String| Finding {
            subject: subject.to_owned(),
            verdict: Verdict::Yes,
            detail,
        };
        let calendars = entries.iter().filter_map(normalise::calendar).count();
        let days = |length: std::time::Duration| length.as_secs() / 86_400;
        let (past, future) = (days(self.horizon.past), days(self.horizon.future));
        let findings = vec![
            finding("calendars", format!("{calendars} found.")),
            finding("delta links", "Only what has changed is asked for.".to_owned()),
            finding(
                "window",
                format!("From {past} days back to {future} days ahead; it moves on by itself."),
            ),
            finding(
                "watches",
                "Microsoft tells of changes when this installation can be reached.".to_owned(),
            ),
        ];
        Ok(ProbeReport {
            capabilities: self.capabilities(),
            url: self.api.base.clone(),
            account: account.ok_or_else(no_calendar)?,
            findings,
        })
    }

    async fn list_calendars(&self) -> Result<Vec<RemoteCalendar>, DriverError> {
        Ok(self.entries().await?.iter().filter_map(normalise::calendar).collect())
    }

    /// Singles come with their content; of series only what changed is said, so they are read, once a listing.
    async fn list_changes(
        &self,
        calendar: &CalendarRef,
        since: &Since,
        _members: &mpsc::Sender<Vec<Member>>,
    ) -> Result<ChangePage, DriverError> {
        let requested_at = self.exchange.clock.now();
        let cursor = GraphCursor::of(since, requested_at, self.horizon).ok_or_else(expired)?;
        let body = self.page(calendar, &cursor).await?;
        let page: wire::EventPage<'_> = exchange::parse(CHANGES, &body)?;
        let is_ours = |link: &String| -> Result<bool, DriverError> {
            Ok(self.api.follow(CHANGES.operation, link)?.is_some())
        };
        let next = match (page.next_link, page.delta_link) {
            // The same page again and again would never end.
            (Some(link), _) if cursor.link.as_ref() != Some(&link) && is_ours(&link)? => {
                Next::Page(cursor.next_page(link))
            }
            (None, Some(link)) if is_ours(&link)? => Next::Token(cursor.token(link)),
            _ => return Err(exchange::unreadable(CHANGES, "it does not say how it goes on")),
        };
        let (mut changes, mut to_read) = self.read_items(calendar, &page.value).await?;
        self.learnt(|learnt| {
            learnt.read.entry(calendar.provider_id.clone()).or_default().leave_unread(since, &mut to_read);
        });
        changes.extend(self.read(calendar, &to_read).await?);
        let (listing, coverage) = (cursor.listing, cursor.window.coverage());
        Ok(ChangePage { listing, requested_at, coverage, changes, setting: None, next })
    }

    async fn list_within(
        &self,
        calendar: &CalendarRef,
        from: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<ProviderId>, DriverError> {
        let mut ids: Vec<ProviderId> = Vec::new();
        let id = calendar.provider_id.as_str();
        let mut request = self.api.list_within(CHANGES.operation, id, Window { from, until })?;
        loop {
            let body = self.exchange.fetch(CHANGES, request).await?;
            let page: wire::EventPage<'_> = exchange::parse(CHANGES, &body)?;
            for raw in &page.value {
                let Ok(event) = serde_json::from_str::<wire::Event>(raw.get()) else { continue };
                let id = ProviderId(event.series_master_id.unwrap_or(event.id));
                if !ids.contains(&id) {
                    ids.push(id);
                }
                if ids.len() >= most {
                    return Ok(ids);
                }
            }
            let Some(link) = page.next_link else { return Ok(ids) };
            let next = self.api.follow(CHANGES.operation, &link)?;
            request = next.ok_or_else(|| exchange::unreadable(CHANGES, "its next page is elsewhere"))?;
        }
    }

    async fn read(
        &self,
        calendar: &CalendarRef,
        ids: &[ProviderId],
    ) -> Result<Vec<RemoteChange>, DriverError> {
        let reader = self.reader(calendar)?;
        let named = self.named(&reader, ids).await?;
        let wanted: Vec<(ProviderId, Form)> = self.learnt(|learnt| {
            let form = |id: &ProviderId| if learnt.series.contains(id) { Form::Series } else { Form::Any };
            named.iter().filter_map(|(_, id)| id.as_ref()).map(|id| (id.clone(), form(id))).collect()
        });
        let mut found = reader.find(&wanted).await?;
        let unmade = named.iter().filter(|(_, found)| found.is_none());
        found
            .extend(unmade.map(|(id, _)| Found::Other(RemoteChange::Removed { provider_id: (*id).clone() })));
        // Events of a calendar that was taken away are absent as well, and not deleted.
        if found.iter().any(|one| matches!(one, Found::Other(RemoteChange::Removed { .. }))) {
            self.look_at(calendar).await?;
        }
        let setting = self.setting_for(calendar, found.iter().filter_map(Found::event)).await?;
        let is_series =
            |one: &&Found| one.event().is_some_and(|event| event.kind == Some(EventKind::SeriesMaster));
        let series: Vec<ProviderId> = found
            .iter()
            .filter(is_series)
            .filter_map(|one| one.event().map(|event| ProviderId(event.id.clone())))
            .collect();
        self.learnt(|learnt| learnt.series.extend(series));
        Ok(found.into_iter().map(|one| one.change(reader.window, &setting)).collect())
    }

    async fn write(&self, calendar: &CalendarRef, write: &Write<'_>) -> Result<Written, DriverError> {
        let setting = match self.setting_to_write(calendar) {
            Some(setting) => setting,
            None => self.look_at(calendar).await?,
        };
        let (reader, notify, message) = (self.reader(calendar)?, write.notify, write.message);
        Writer { reader, setting: &setting, notify, message }.write(write).await
    }

    async fn together(&self, errands: &[Errand<'_>]) -> Vec<Result<Written, DriverError>> {
        for errand in errands {
            let known = match errand {
                Errand::Write(calendar, _) => self.setting_to_write(calendar),
                _ => self.known_setting(errand.calendar()),
            };
            if known.is_none() {
                // Asked once, not by each. One that is out of reach is the failure of its own errands.
                drop(self.look_at(errand.calendar()).await);
            }
        }
        let gather = Arc::default();
        let exchange = self.exchange.gathering(&gather);
        let (api, learnt) = (self.api.clone(), Arc::clone(&self.learnt));
        let (horizon, marks) = (self.horizon, self.marks.clone());
        let gathering = Self { exchange, api, horizon, learnt, marks };
        let carrier = Batches { exchange: &self.exchange, api: &self.api, attempt: WRITE };
        gather.run(&carrier, errands.iter().map(|errand| errand.run(&gathering).boxed()).collect()).await
    }

    /// A subscription is prolonged as long as Graph still knows it.
    async fn watch(
        &self,
        calendar: &CalendarRef,
        request: &WatchRequest,
        renew: Option<&Watch>,
    ) -> Result<Watch, DriverError> {
        let now = self.exchange.clock.now();
        if let Some(watch) = renew {
            let wanted = self.api.renew(WATCH.operation, watch, request, now)?;
            match self.exchange.ask(WATCH, wanted).await? {
                Reply::Body(body) => return begun(&body, request),
                Reply::Refused(refused) if refused.status == StatusCode::NOT_FOUND => {}
                Reply::Refused(refused) => return Err(self.exchange.refusal_of_watch(WATCH, &refused)),
            }
        }
        let wanted = self.api.watch(WATCH.operation, calendar.provider_id.as_str(), request, now)?;
        match self.exchange.ask(WATCH, wanted).await? {
            Reply::Body(body) => begun(&body, request),
            Reply::Refused(refused) => Err(self.exchange.refusal_of_watch(WATCH, &refused)),
        }
    }

    async fn unwatch(&self, watch: &Watch) -> Result<(), DriverError> {
        let request = self.api.unwatch(UNWATCH.operation, watch)?;
        match self.exchange.ask(UNWATCH, request).await? {
            Reply::Body(_) => Ok(()),
            Reply::Refused(refused) if refused.status == StatusCode::NOT_FOUND => Ok(()),
            Reply::Refused(refused) => Err(self.exchange.refusal(UNWATCH, &refused)),
        }
    }
}

fn begun(body: &[u8], request: &WatchRequest) -> Result<Watch, DriverError> {
    let subscription: wire::Subscription = exchange::parse(WATCH, body)?;
    if subscription.id.is_empty() {
        return Err(exchange::unreadable(WATCH, "the subscription in it has no id"));
    }
    let expires_at = subscription.expiration_date_time.as_deref().and_then(times::timestamp);
    Ok(Watch { id: subscription.id, resource: None, expires_at: expires_at.unwrap_or(request.until) })
}

fn expired() -> DriverError {
    DriverError::new(CHANGES.operation, FailureClass::Gone, Problem::CursorExpired)
}
