//! What the provider holds and how it answers: calendars of objects under names, and what goes wrong when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{
    Body, DetailLevel, End, Event, Fields, Listing, Member, Parts, ProviderId, RemoteChange, RemoteEvent,
    Revision, Role, SyncToken, Uid, When,
};
use calfleet_providers::driver::{
    Capabilities, ChangePage, Coverage, DriverError, ListingMode, Next, Problem, Since,
};
use chrono::{DateTime, TimeDelta};

/// An object: its revision and, unless it is garbage, UID and title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) revision: u64,
    pub(crate) content: Option<(String, String)>,
}

#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) objects: BTreeMap<String, Object>,
    /// Names in the order of their changes; a token is a length of this.
    pub(super) log: Vec<String>,
    /// Tokens below are dead.
    pub(super) oldest_token: usize,
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
    pub(super) calendars: BTreeMap<String, Shelf>,
    pub(crate) habit: Habit,
    pub(crate) page_size: Option<usize>,
    pub(crate) read_batch: usize,
    /// Dead tokens are answered with everything, unmarked.
    pub(crate) hides_dead_tokens: bool,
    /// Asked whether anything has changed, it says no, as a cache does that is never asked to look again.
    pub(crate) calls_unchanged: bool,
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
    pub(super) next_revision: u64,
}

impl State {
    pub(super) fn put(&mut self, calendar: &str, name: &str, content: Option<(String, String)>) {
        let revision = self.next_revision;
        self.next_revision += 1;
        let shelf = self.calendars.get_mut(calendar).unwrap();
        shelf.objects.insert(name.to_owned(), Object { revision, content });
        shelf.log.push(name.to_owned());
    }

    pub(super) fn capabilities(&self) -> Capabilities {
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

    pub(super) fn change(&self, calendar: &str, name: &str) -> RemoteChange {
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

    pub(super) fn start_of(&self, name: &str) -> Timestamp {
        self.starts.get(name).copied().unwrap_or(Timestamp(1_800_000_000_000))
    }

    pub(super) fn list(
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
        if let (Since::Token(token), true) = (since, self.calls_unchanged) {
            return Ok(Answer::unchanged(token, requested_at));
        }
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

    pub(super) fn note(&mut self, calendar: &str, page: Option<&ChangePage>) {
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

    pub(super) fn scripted(&mut self, requested_at: Timestamp) -> Option<ChangePage> {
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

#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) members: Vec<Member>,
    changes: Vec<RemoteChange>,
    pub(super) page: Option<ChangePage>,
}

impl Answer {
    fn unchanged(token: &SyncToken, requested_at: Timestamp) -> Self {
        let page = ChangePage {
            listing: Listing::Delta,
            requested_at,
            coverage: Coverage::NotEnded,
            changes: Vec::new(),
            setting: None,
            next: Next::Token(token.clone()),
        };
        Self { page: Some(page), ..Self::default() }
    }
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
