//! A provider that does as it is told: calendars in memory, listed by names or by contents, with the habits and
//! failures that tests ask for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use calfleet_domain::clock::{Clock, Timestamp};
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{
    Access, Body, DetailLevel, End, Event, Fields, Listing, Member, Parts, ProviderId, RemoteCalendar,
    RemoteChange, RemoteEvent, Revision, Role, SyncToken, Uid, When,
};
use calfleet_providers::driver::{
    Account, CalendarRef, Capabilities, ChangePage, Coverage, Driver, DriverError, ListingMode, Next,
    ProbeReport, Problem, Since,
};
use calfleet_service::drivers::OpenAccount;
use chrono::{DateTime, TimeDelta};
use tokio::sync::mpsc;

/// An object: its revision and, unless it is garbage, UID and title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) revision: u64,
    pub(crate) content: Option<(String, String)>,
}

#[derive(Debug, Default)]
struct Shelf {
    objects: BTreeMap<String, Object>,
    /// Names in the order of their changes; a token is a length of this.
    log: Vec<String>,
    /// Tokens below are dead.
    oldest_token: usize,
}

/// How it lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Names and revisions; contents are read.
    Names,
    /// Contents.
    Contents,
    /// One document, which shows what it shows.
    Document,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call fails.
    Fails(FailureClass, Problem),
    /// A complete listing without anything in it.
    Empty,
    /// The listing breaks off after naming half.
    BreaksOff,
    /// Another client writes while the answer is on its way.
    Meanwhile(String, String, &'static str),
}

#[derive(Debug)]
pub(crate) struct State {
    calendars: BTreeMap<String, Shelf>,
    pub(crate) habit: Habit,
    pub(crate) page_size: Option<usize>,
    pub(crate) read_batch: usize,
    /// Dead tokens are answered with everything, unmarked.
    pub(crate) hides_dead_tokens: bool,
    pub(crate) detail: DetailLevel,
    pub(crate) list_faults: VecDeque<Fault>,
    pub(crate) read_faults: VecDeque<Fault>,
    /// How long it asks us to wait between polls.
    pub(crate) poll_interval: Option<Duration>,
    /// What goes wrong when the calendars are listed.
    pub(crate) calendar_faults: VecDeque<Fault>,
    /// Pages that are answered before anything else, in this order; the last one ends its listing.
    pub(crate) script: VecDeque<(Listing, Vec<RemoteChange>)>,
    /// What is answered when these are read.
    pub(crate) scripted_reads: BTreeMap<String, RemoteChange>,
    pub(crate) coverage: Coverage,
    /// When objects take place that do not do so when all others do.
    pub(crate) starts: BTreeMap<String, Timestamp>,
    /// Calendars that answer 403.
    pub(crate) forbidden: BTreeSet<String>,
    pub(crate) listings: u32,
    /// Of each calendar, how often it was listed to the end, and when the last of these answers was asked for.
    pub(crate) completed: BTreeMap<String, (u32, Timestamp)>,
    /// Calendars whose last listing or reading failed or broke off.
    pub(crate) troubled: BTreeSet<String>,
    pub(crate) reads: u32,
    pub(crate) read_ids: u32,
    /// How long it takes to answer a read.
    pub(crate) read_takes: Duration,
    /// How often it was asked what takes place when.
    pub(crate) asked_by_time: u32,
    next_revision: u64,
}

/// The provider and its only account.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
}

impl Server {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State {
            calendars: BTreeMap::new(),
            habit: Habit::Names,
            page_size: None,
            read_batch: 3,
            hides_dead_tokens: false,
            detail: DetailLevel::Full,
            list_faults: VecDeque::new(),
            read_faults: VecDeque::new(),
            poll_interval: None,
            calendar_faults: VecDeque::new(),
            script: VecDeque::new(),
            scripted_reads: BTreeMap::new(),
            coverage: Coverage::Everything,
            starts: BTreeMap::new(),
            forbidden: BTreeSet::new(),
            listings: 0,
            completed: BTreeMap::new(),
            troubled: BTreeSet::new(),
            reads: 0,
            read_ids: 0,
            read_takes: Duration::ZERO,
            asked_by_time: 0,
            next_revision: 1,
        };
        Self { state: Arc::new(Mutex::new(state)), clock }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn add_calendar(&self, calendar: &str) {
        self.state().calendars.insert(calendar.to_owned(), Shelf::default());
    }

    pub(crate) fn remove_calendar(&self, calendar: &str) {
        self.state().calendars.remove(calendar);
    }

    pub(crate) fn put(&self, calendar: &str, name: &str, uid: &str, title: &str) {
        self.state().put(calendar, name, Some((uid.to_owned(), title.to_owned())));
    }

    pub(crate) fn put_garbage(&self, calendar: &str, name: &str) {
        self.state().put(calendar, name, None);
    }

    /// The same object becomes readable, under the revision it had.
    pub(crate) fn repair(&self, calendar: &str, name: &str, uid: &str, title: &str) {
        let mut state = self.state();
        let object = state.calendars.get_mut(calendar).unwrap().objects.get_mut(name).unwrap();
        object.content = Some((uid.to_owned(), title.to_owned()));
    }

    pub(crate) fn delete(&self, calendar: &str, name: &str) {
        let mut state = self.state();
        let shelf = state.calendars.get_mut(calendar).unwrap();
        shelf.objects.remove(name);
        shelf.log.push(name.to_owned());
    }

    pub(crate) fn fill(&self, calendar: &str, count: usize) {
        for number in 0..count {
            self.put(calendar, &format!("{number:04}.ics"), &format!("{calendar}-{number}"), "Standup");
        }
    }

    pub(crate) fn expire_tokens(&self) {
        for shelf in self.state().calendars.values_mut() {
            shelf.log.push("nothing.ics".to_owned());
            shelf.oldest_token = shelf.log.len();
        }
    }

    /// What it holds: calendar and name to title; garbage is `None`.
    pub(crate) fn content(&self) -> BTreeMap<(String, String), Option<String>> {
        let state = self.state();
        let mut content = BTreeMap::new();
        for (calendar, shelf) in &state.calendars {
            for (name, object) in &shelf.objects {
                let title = object.content.as_ref().map(|(_, title)| title.clone());
                content.insert((calendar.clone(), name.clone()), title);
            }
        }
        content
    }
}

impl State {
    fn put(&mut self, calendar: &str, name: &str, content: Option<(String, String)>) {
        let revision = self.next_revision;
        self.next_revision += 1;
        let shelf = self.calendars.get_mut(calendar).unwrap();
        shelf.objects.insert(name.to_owned(), Object { revision, content });
        shelf.log.push(name.to_owned());
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            listing: if self.habit == Habit::Document {
                ListingMode::Document
            } else {
                ListingMode::SyncToken
            },
            reads_singly: self.habit != Habit::Document,
            read_batch: self.read_batch,
            writes: false,
            write_batch: 1,
            schedules: false,
            watches: false,
        }
    }

    fn change(&self, calendar: &str, name: &str) -> RemoteChange {
        let provider_id = ProviderId::from(name);
        let Some(object) = self.calendars.get(calendar).and_then(|shelf| shelf.objects.get(name)) else {
            return RemoteChange::Removed { provider_id };
        };
        let revision = Some(Revision(object.revision.to_string()));
        let Some((uid, title)) = &object.content else {
            let (reason, raw) = ("It is not iCalendar.".to_owned(), Some("BEGIN:NONSENSE".to_owned()));
            return RemoteChange::Unreadable { provider_id, revision, reason, raw };
        };
        let start = DateTime::from_timestamp_millis(self.start_of(name).0).unwrap();
        let end = End::At(When::Utc(start + TimeDelta::hours(1)));
        let mut fields = Fields::new(When::Utc(start), end);
        if self.detail == DetailLevel::Full {
            fields.title = Some(title.clone());
        }
        RemoteChange::Upsert(Box::new(RemoteEvent {
            parts: Parts::Whole,
            instances: BTreeMap::new(),
            provider_id,
            created_as: None,
            revision,
            event: Event { uid: Uid(uid.clone()), body: Body::Single(fields) },
            role: Role::Organizer,
            detail: self.detail,
            raw: Some(format!("BEGIN:VEVENT\r\nUID:{uid}\r\nSUMMARY:{title}\r\nEND:VEVENT\r\n")),
            changed_at: None,
            warnings: Vec::new(),
        }))
    }

    fn start_of(&self, name: &str) -> Timestamp {
        self.starts.get(name).copied().unwrap_or(Timestamp(1_800_000_000_000))
    }

    fn list(
        &mut self,
        calendar: &str,
        since: &Since,
        requested_at: Timestamp,
    ) -> Result<Answer, DriverError> {
        self.listings += 1;
        let fault = self.list_faults.pop_front();
        if let Some(Fault::Fails(class, problem)) = fault {
            return Err(DriverError::new("list changes", class, problem));
        }
        if self.forbidden.contains(calendar) {
            let action = "list this calendar".to_owned();
            return Err(DriverError::new(
                "list changes",
                FailureClass::Permanent,
                Problem::Forbidden { action },
            ));
        }
        let Some(shelf) = self.calendars.get(calendar) else {
            return Err(DriverError::new("list changes", FailureClass::Permanent, Problem::NotFound));
        };
        let (mut listing, from, offset, end) = position(since);
        let is_dead = listing == Listing::Delta && from < shelf.oldest_token;
        if is_dead && !self.hides_dead_tokens {
            return Err(DriverError::new("list changes", FailureClass::Gone, Problem::CursorExpired));
        }
        if self.habit == Habit::Document {
            listing = Listing::Full;
        }
        let named: BTreeSet<String> = match listing {
            Listing::Delta if !is_dead => shelf.log.iter().skip(from).cloned().collect(),
            _ => shelf.objects.keys().cloned().collect(),
        };
        let mut named: Vec<String> = named.into_iter().skip(offset).collect();
        // What changes between two pages comes with the next delta: the token is as of the first page.
        let end = end.unwrap_or(shelf.log.len());
        let mut next = Next::Token(SyncToken(end.to_string()));
        if let Some(size) = self.page_size.filter(|size| named.len() > *size) {
            named.truncate(size);
            next =
                Next::Page(format!("{} {from} {} {end}", u8::from(listing == Listing::Full), offset + size));
        }
        if fault == Some(Fault::Empty) {
            named.clear();
        }
        let mut answer = self.answer(calendar, &named);
        let (coverage, changes) = (self.covered(), std::mem::take(&mut answer.changes));
        answer.page = Some(ChangePage { listing, requested_at, coverage, changes, setting: None, next });
        if fault == Some(Fault::BreaksOff) {
            answer.members.truncate(answer.members.len() / 2);
            answer.page = None;
        }
        if let Some(Fault::Meanwhile(name, uid, title)) = fault {
            self.put(calendar, &name, Some((uid, title.to_owned())));
        }
        Ok(answer)
    }

    fn note(&mut self, calendar: &str, page: Option<&ChangePage>) {
        match page {
            None => {
                self.troubled.insert(calendar.to_owned());
            }
            Some(ChangePage { next: Next::Page(_), .. }) => {}
            Some(page) => {
                let completed = self.completed.entry(calendar.to_owned()).or_default();
                *completed = (completed.0 + 1, page.requested_at);
                self.troubled.remove(calendar);
            }
        }
    }

    fn scripted(&mut self, requested_at: Timestamp) -> Option<ChangePage> {
        let (listing, changes) = self.script.pop_front()?;
        let next = if self.script.is_empty() {
            Next::Token(SyncToken("0".to_owned()))
        } else {
            Next::Page("1 0 0 0".to_owned())
        };
        Some(ChangePage { listing, requested_at, coverage: self.coverage, changes, setting: None, next })
    }

    /// What a listing tells about, in the way of the habit.
    fn covered(&self) -> Coverage {
        if self.habit == Habit::Document { Coverage::NotEnded } else { self.coverage }
    }

    fn answer(&self, calendar: &str, named: &[String]) -> Answer {
        let mut answer = Answer::default();
        for name in named {
            let object = self.calendars.get(calendar).and_then(|shelf| shelf.objects.get(name));
            match object {
                Some(object) if self.habit == Habit::Names => answer.members.push(Member {
                    provider_id: ProviderId(name.clone()),
                    revision: Some(Revision(object.revision.to_string())),
                }),
                _ => answer.changes.push(self.change(calendar, name)),
            }
        }
        answer
    }
}

#[derive(Default)]
struct Answer {
    members: Vec<Member>,
    changes: Vec<RemoteChange>,
    page: Option<ChangePage>,
}

/// Of which kind the listing is, after which change, after how many names, and up to which change.
fn position(since: &Since) -> (Listing, usize, usize, Option<usize>) {
    match since {
        Since::Beginning | Since::Again(_) => (Listing::Full, 0, 0, None),
        Since::Token(token) => (Listing::Delta, token.0.parse().unwrap(), 0, None),
        Since::Page(page) => {
            let numbers: Vec<usize> = page.split(' ').map(|number| number.parse().unwrap()).collect();
            let listing = if numbers[0] == 1 { Listing::Full } else { Listing::Delta };
            (listing, numbers[1], numbers[2], Some(numbers[3]))
        }
    }
}

#[async_trait]
impl Driver for Server {
    fn capabilities(&self) -> Capabilities {
        self.state().capabilities()
    }

    fn poll_interval(&self) -> Option<Duration> {
        self.state().poll_interval
    }

    async fn probe(&self) -> Result<ProbeReport, DriverError> {
        Ok(ProbeReport {
            capabilities: self.capabilities(),
            url: "https://dav.example.com/".parse().unwrap(),
            account: "/ada/".to_owned(),
            findings: Vec::new(),
        })
    }

    async fn list_calendars(&self) -> Result<Vec<RemoteCalendar>, DriverError> {
        let calendar = |name: &String| RemoteCalendar {
            provider_id: ProviderId(name.clone()),
            name: name.clone(),
            description: None,
            color: None,
            time_zone: None,
            access: Access::Write,
            is_primary: false,
            setting: None,
        };
        let mut state = self.state();
        if let Some(Fault::Fails(class, problem)) = state.calendar_faults.pop_front() {
            return Err(DriverError::new("list calendars", class, problem));
        }
        Ok(state.calendars.keys().map(calendar).collect())
    }

    async fn list_changes(
        &self,
        calendar: &CalendarRef,
        since: &Since,
        members: &mpsc::Sender<Vec<Member>>,
    ) -> Result<ChangePage, DriverError> {
        let requested_at = self.clock.now();
        if let Some(page) = self.state().scripted(requested_at) {
            return Ok(page);
        }
        let name = calendar.provider_id.as_str();
        let answer = self.state().list(name, since, requested_at);
        self.state().note(name, answer.as_ref().ok().and_then(|answer| answer.page.as_ref()));
        let answer = answer?;
        // The answer is on its way: whoever waited for the request to be sent acts now.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        for batch in answer.members.chunks(2) {
            if members.send(batch.to_vec()).await.is_err() {
                break;
            }
        }
        answer
            .page
            .ok_or_else(|| DriverError::new("list changes", FailureClass::Transient, Problem::Truncated))
    }

    async fn list_within(
        &self,
        calendar: &CalendarRef,
        from: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<ProviderId>, DriverError> {
        let mut state = self.state();
        state.asked_by_time += 1;
        let shelf = &state.calendars[calendar.provider_id.as_str()];
        let is_within = |name: &&String| (from..until).contains(&state.start_of(name));
        Ok(shelf.objects.keys().filter(is_within).take(most).cloned().map(ProviderId).collect())
    }

    async fn read(
        &self,
        calendar: &CalendarRef,
        ids: &[ProviderId],
    ) -> Result<Vec<RemoteChange>, DriverError> {
        tokio::task::yield_now().await;
        let takes = self.state().read_takes;
        self.clock.sleep_until(self.clock.now().plus(takes)).await;
        let mut state = self.state();
        state.reads += 1;
        state.read_ids += u32::try_from(ids.len()).unwrap();
        if let Some(Fault::Fails(class, problem)) = state.read_faults.pop_front() {
            state.troubled.insert(calendar.provider_id.0.clone());
            return Err(DriverError::new("read events", class, problem));
        }
        state.troubled.remove(calendar.provider_id.as_str());
        Ok(ids
            .iter()
            .map(|id| {
                state
                    .scripted_reads
                    .get(id.as_str())
                    .cloned()
                    .unwrap_or_else(|| state.change(calendar.provider_id.as_str(), id.as_str()))
            })
            .collect())
    }
}

impl OpenAccount for Server {
    fn open(&self, _account: Account) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(Arc::new(self.clone()))
    }
}

pub(crate) fn refused() -> Fault {
    Fault::Fails(FailureClass::Auth, Problem::WrongCredentials)
}

pub(crate) fn throttled(seconds: u64) -> Fault {
    let class = FailureClass::Throttled { retry_after: Some(Duration::from_secs(seconds)) };
    Fault::Fails(class, Problem::Throttled)
}
