//! A provider that does as it is told: calendars in memory, listed by names or by contents, with the habits and
//! failures that tests ask for.

mod state;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use calfleet_domain::clock::{Clock, Timestamp};
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Access, DetailLevel, Member, ProviderId, RemoteCalendar, RemoteChange};
use calfleet_providers::driver::{
    Account, CalendarRef, Capabilities, ChangePage, Coverage, Driver, DriverError, ProbeReport, Problem,
    Since,
};
use calfleet_service::drivers::OpenAccount;
use tokio::sync::mpsc;

use state::Shelf;
pub(crate) use state::{Fault, Habit, State};

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
            calls_unchanged: false,
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
