//! A Google account behind the trait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Member, ProviderId, RemoteCalendar, RemoteChange};
use futures_util::FutureExt as _;
use http::StatusCode;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::batch;
use super::cursor::GoogleCursor;
use super::exchange::{self, Batches, Exchange, Reply};
use super::normalise::{self, Setting};
use super::reading::Reader;
use super::request::Api;
use super::wire;
use super::writing::{WRITE, Writer};
use crate::caldav::error::Attempt;
use crate::driver::{
    Account, CalendarRef, Capabilities, ChangePage, Coverage, Driver, DriverError, Errand, Finding,
    ListingMode, Next, ProbeReport, Problem, Since, Verdict, Watch, WatchRequest, Write, Written,
};
use crate::marker::Marks;
use crate::surroundings::Surroundings;

/// Events read by one call of [`Driver::read`].
const READ_BATCH: usize = 20;
/// More pages of calendars than any account has.
const MOST_CALENDAR_PAGES: usize = 40;

const CALENDARS: Attempt = Attempt { operation: "list calendars", action: "list its calendars" };
const CHANGES: Attempt = Attempt { operation: "list changes", action: "list this calendar" };
const LOOK: Attempt = Attempt { operation: "look at the calendar", action: "see this calendar" };
const WATCH: Attempt = Attempt { operation: "watch a calendar", action: "watch this calendar" };
const UNWATCH: Attempt = Attempt { operation: "stop a watch", action: "stop a watch" };

/// One account at Google.
#[derive(Debug)]
pub struct GoogleDriver {
    exchange: Exchange,
    api: Api,
    /// What this driver has learnt of calendars; single events do not say it.
    settings: Arc<Mutex<HashMap<ProviderId, Setting>>>,
    marks: Marks,
}

/// Which event an item of a listing by time is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Within {
    id: String,
    recurring_event_id: Option<String>,
    status: Option<String>,
}

impl GoogleDriver {
    /// Opens an account. Nothing is sent yet. Where Google is say the surroundings, not the account.
    pub fn open(account: Account, surroundings: &Surroundings) -> Self {
        let base = surroundings.endpoints.google.clone();
        let session = surroundings.session(&base, &account);
        Self {
            exchange: Exchange {
                session: Arc::new(session),
                clock: surroundings.clock.clone(),
                gather: None,
            },
            api: Api { base },
            settings: Arc::default(),
            marks: account.marks,
        }
    }

    fn remember(&self, calendar: &CalendarRef, setting: &Setting) {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.insert(calendar.provider_id.clone(), setting.clone());
    }

    fn known_setting(&self, calendar: &CalendarRef) -> Option<Setting> {
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.get(&calendar.provider_id).cloned()
    }

    /// The same, or what was kept of it: good enough to write, because Google refuses what is not allowed any more.
    /// For reading it is not: less detail than there was must not be taken for an edit.
    fn setting_to_write(&self, calendar: &CalendarRef) -> Option<Setting> {
        let kept = || Setting::of_kept(calendar.setting.as_deref()?, calendar.time_zone.as_deref());
        self.known_setting(calendar).or_else(kept)
    }

    fn reader<'d>(&'d self, calendar: &'d CalendarRef, setting: &'d Setting) -> Reader<'d> {
        let calendar = calendar.provider_id.as_str();
        Reader { exchange: &self.exchange, api: &self.api, calendar, setting }
    }

    /// Asks Google what the calendar is like; fails when it is out of reach.
    async fn look_at(&self, calendar: &CalendarRef) -> Result<Setting, DriverError> {
        let request = self.api.get_calendar(LOOK.operation, calendar.provider_id.as_str())?;
        let body = self.exchange.fetch(LOOK, request).await?;
        let entry: wire::CalendarEntry = exchange::parse(LOOK, &body)?;
        let setting = Setting::of_entry(&entry, calendar.time_zone.as_deref());
        self.remember(calendar, &setting);
        Ok(setting)
    }

    async fn entries(&self) -> Result<Vec<wire::CalendarEntry>, DriverError> {
        let mut entries = Vec::new();
        let mut page: Option<String> = None;
        for _ in 0..MOST_CALENDAR_PAGES {
            let request = self.api.list_calendars(CALENDARS.operation, page.as_deref())?;
            let body = self.exchange.fetch(CALENDARS, request).await?;
            let list: wire::CalendarList = exchange::parse(CALENDARS, &body)?;
            entries.extend(list.items);
            page = list.next_page_token;
            if page.is_none() {
                return Ok(entries);
            }
        }
        let problem = Problem::UnreadableAnswer { reason: "its list of calendars has no end".to_owned() };
        Err(DriverError::new(CALENDARS.operation, FailureClass::Transient, problem))
    }
}

#[async_trait]
impl Driver for GoogleDriver {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            listing: ListingMode::SyncToken,
            reads_singly: true,
            read_batch: READ_BATCH,
            writes: true,
            write_batch: batch::MOST,
            schedules: true,
            watches: true,
        }
    }

    fn requests_sent(&self) -> u64 {
        self.exchange.session.requests_sent()
    }

    /// The account is the id of the primary calendar; connecting by OAuth knows a better one.
    async fn probe(&self) -> Result<ProbeReport, DriverError> {
        let entries = self.entries().await?;
        let calendars = entries.iter().filter_map(normalise::calendar).count();
        let account = entries.iter().find(|entry| entry.primary).map(|entry| entry.id.clone());
        let no_calendar =
            || DriverError::new("probe the account", FailureClass::Permanent, Problem::NotACalendar);
        let finding = |subject: &str, detail: String| Finding {
            subject: subject.to_owned(),
            verdict: Verdict::Yes,
            detail,
        };
        let findings = vec![
            finding("calendars", format!("{calendars} found.")),
            finding("sync tokens", "Only what has changed is asked for.".to_owned()),
            finding("watches", "Google tells of changes when this installation can be reached.".to_owned()),
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

    async fn list_changes(
        &self,
        calendar: &CalendarRef,
        since: &Since,
        _members: &mpsc::Sender<Vec<Member>>,
    ) -> Result<ChangePage, DriverError> {
        let cursor = GoogleCursor::of(since)
            .ok_or_else(|| DriverError::new(CHANGES.operation, FailureClass::Gone, Problem::CursorExpired))?;
        let requested_at = self.exchange.clock.now();
        let request = self.api.list_events(CHANGES.operation, calendar.provider_id.as_str(), &cursor)?;
        let has_token = cursor.sync.is_some() || cursor.page.is_some();
        let body = match self.exchange.ask(CHANGES, request).await? {
            Reply::Body(body) => body,
            Reply::Refused(refused) if has_token => {
                return Err(self.exchange.refusal_of_listing(CHANGES, &refused));
            }
            Reply::Refused(refused) => return Err(self.exchange.refusal(CHANGES, &refused)),
        };
        let list: wire::EventList<'_> = exchange::parse(CHANGES, &body)?;
        let setting = Setting::of_list(&list, calendar.time_zone.as_deref());
        self.remember(calendar, &setting);
        let kept = normalise::kept(list.access_role.as_deref(), &list.default_reminders);
        let mut changes = Vec::with_capacity(list.items.len());
        for item in &list.items {
            let change = normalise::change(item.get(), &setting);
            changes.push(change.ok_or_else(|| exchange::nameless(CHANGES))?);
        }
        let next = match (list.next_page_token, list.next_sync_token) {
            (Some(page), _) => Next::Page(cursor.next_page(page)),
            (None, Some(token)) => Next::Token(GoogleCursor::token(token)),
            (None, None) => Next::NoToken,
        };
        let (listing, coverage) = (cursor.listing(), Coverage::Everything);
        Ok(ChangePage { listing, requested_at, coverage, changes, setting: kept, next })
    }

    async fn list_within(
        &self,
        calendar: &CalendarRef,
        from: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<ProviderId>, DriverError> {
        let mut ids: Vec<ProviderId> = Vec::new();
        let mut page: Option<String> = None;
        loop {
            let id = calendar.provider_id.as_str();
            let request = self.api.list_within(CHANGES.operation, id, (from, until), page.as_deref())?;
            let body = self.exchange.fetch(CHANGES, request).await?;
            let list: wire::EventList<'_> = exchange::parse(CHANGES, &body)?;
            for item in &list.items {
                let Ok(found) = serde_json::from_str::<Within>(item.get()) else { continue };
                if found.status.as_deref() == Some("cancelled") {
                    continue;
                }
                let id = ProviderId(found.recurring_event_id.unwrap_or(found.id));
                if !ids.contains(&id) {
                    ids.push(id);
                }
                if ids.len() >= most {
                    return Ok(ids);
                }
            }
            page = list.next_page_token;
            if page.is_none() {
                return Ok(ids);
            }
        }
    }

    async fn read(
        &self,
        calendar: &CalendarRef,
        ids: &[ProviderId],
    ) -> Result<Vec<RemoteChange>, DriverError> {
        let known = self.known_setting(calendar);
        let was_known = known.is_some();
        let setting = match known {
            Some(setting) => setting,
            None => self.look_at(calendar).await?,
        };
        let changes = self.reader(calendar, &setting).read(ids).await?;
        // Events of a calendar that was taken away are absent as well, and not deleted.
        if changes.iter().any(|change| matches!(change, RemoteChange::Removed { .. })) && was_known {
            self.look_at(calendar).await?;
        }
        Ok(changes)
    }

    async fn write(&self, calendar: &CalendarRef, write: &Write<'_>) -> Result<Written, DriverError> {
        let setting = match self.setting_to_write(calendar) {
            Some(setting) => setting,
            None => self.look_at(calendar).await?,
        };
        Writer { reader: self.reader(calendar, &setting), marks: &self.marks }.write(write).await
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
        let (settings, marks) = (Arc::clone(&self.settings), self.marks.clone());
        let gathering = Self { exchange, api: self.api.clone(), settings, marks };
        let carrier = Batches { exchange: &self.exchange, api: &self.api, attempt: WRITE };
        gather.run(&carrier, errands.iter().map(|errand| errand.run(&gathering).boxed()).collect()).await
    }

    /// Google cannot prolong a channel: each call begins a new one.
    async fn watch(
        &self,
        calendar: &CalendarRef,
        request: &WatchRequest,
        _renew: Option<&Watch>,
    ) -> Result<Watch, DriverError> {
        let now = self.exchange.clock.now();
        let id = calendar.provider_id.as_str();
        let wanted = self.api.watch(WATCH.operation, id, request, now)?;
        let body = self.exchange.fetch(WATCH, wanted).await?;
        let channel: wire::Channel = exchange::parse(WATCH, &body)?;
        let expires_at = channel.expiration.and_then(|text| text.parse().ok()).map(Timestamp);
        Ok(Watch {
            id: if channel.id.is_empty() { request.id.to_string() } else { channel.id },
            resource: channel.resource_id,
            expires_at: expires_at.unwrap_or(request.until),
        })
    }

    async fn unwatch(&self, watch: &Watch) -> Result<(), DriverError> {
        let request = self.api.stop(UNWATCH.operation, watch)?;
        match self.exchange.ask(UNWATCH, request).await? {
            Reply::Body(_) => Ok(()),
            Reply::Refused(refused) if matches!(refused.status, StatusCode::NOT_FOUND | StatusCode::GONE) => {
                Ok(())
            }
            Reply::Refused(refused) => Err(self.exchange.refusal(UNWATCH, &refused)),
        }
    }
}
