//! One calendar's turn: from where its listing stopped to where it is complete, or the turn is spent.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Listing, ProviderId, RemoteChange, SyncToken};
use calfleet_providers::driver::{CalendarRef, Coverage, ListingMode, Next, Since};
use calfleet_store::apply::CalendarKey;
use calfleet_store::calendar_sync::{CalendarSync, Due, NextListing, Phase, SyncedCalendar};
use calfleet_store::events;
use calfleet_store::history::Cause;
use calfleet_store::listing::{self, ListingHash};
use calfleet_store::{StoreError, Tx, calendars};

use super::collect::{Asked, Listed};
use super::commit::Along;
use super::counts::Counts;
use super::fetch::{Fetched, Order, Source, Then};
use super::{Stop, Sync};

/// What is left of a run's slot, shared by the turns of its calendars.
#[derive(Debug)]
pub(super) struct Budget {
    pages: usize,
    until: Timestamp,
}

impl Budget {
    pub(super) fn new(pages: usize, time: Duration, now: Timestamp) -> Self {
        Self { pages, until: now.plus(time) }
    }

    /// One page less.
    pub(super) fn spend(&mut self) {
        self.pages = self.pages.saturating_sub(1);
    }

    /// Pages that may still be applied.
    pub(super) fn left(&self, now: Timestamp) -> usize {
        if now >= self.until { 0 } else { self.pages }
    }
}

/// How a turn ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    /// The listing is complete, and the row says so.
    Complete,
    /// The listing is complete and nothing changed; the row is still to be written, with others.
    Unchanged,
    /// The turn is spent and there is more.
    Yielded,
}

/// How a page was taken.
enum Taken {
    /// The listing goes on with this one.
    More(Asked),
    /// It was the last, and the listing is still to be ended.
    All,
    /// And the turn ends with it.
    Ended(Turned),
}

/// What a turn has done to the time its calendar is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Nothing: the listing is not complete.
    AsBefore,
    /// The listing is complete: the next poll.
    Complete,
    /// The same, and that is committed as this time.
    Committed(Timestamp),
}

/// A calendar that has its turn.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) sync: Sync<'a>,
    pub(super) budget: &'a mut Budget,
    pub(super) key: CalendarKey,
    pub(super) calendar: CalendarRef,
    /// How far it has come, as the next transaction will write it.
    pub(super) state: CalendarSync,
    /// The same as the last transaction wrote it.
    pub(super) committed: CalendarSync,
    /// When it was due as this run read it.
    pub(super) due_read: Timestamp,
    /// What this turn has done to the time it is due.
    pub(super) waiting: Waiting,
    /// When the next event is to be read singly.
    pub(super) read_again_at: Option<Timestamp>,
    /// Until when a watch that proved alive tells of its changes.
    pub(super) watched_until: Option<Timestamp>,
    /// When it was last proven fresh before this run.
    pub(super) fresh_before: Option<Timestamp>,
    /// Whether the listing under way was begun by an earlier run.
    pub(super) is_resumed: bool,
    /// Whether it has never been listed before this run, in part or in full: then nothing listed is held of it.
    pub(super) is_first_run: bool,
    /// In which order what was listed is read.
    pub(super) order: Order,
    /// What the listing under way tells about, as its last page said.
    pub(super) coverage: Coverage,
    /// What the listing under way has named in this run.
    pub(super) named: HashSet<ListingHash>,
    /// Whether rows of the connection may be missing where they were.
    pub(super) has_missing: bool,
    pub(super) counts: Counts,
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        sync: Sync<'a>,
        budget: &'a mut Budget,
        calendar: &SyncedCalendar,
        has_missing: bool,
    ) -> Self {
        let mut state = calendar.sync.clone();
        state.started_at = Some(sync.clock.now());
        Self {
            sync,
            budget,
            key: CalendarKey {
                organization_id: sync.connection.organization_id,
                connection_id: sync.connection.id,
                calendar_id: state.calendar_id,
            },
            calendar: CalendarRef {
                provider_id: calendar.provider_id.clone(),
                time_zone: calendar.time_zone.clone(),
                setting: calendar.setting.clone(),
            },
            watched_until: calendar.watched_until,
            fresh_before: state.fresh_at,
            is_resumed: calendar.sync.phase == Phase::Fetching || calendar.sync.page_token.is_some(),
            is_first_run: calendar.sync.started_at.is_none(),
            committed: state.clone(),
            due_read: state.due_at,
            waiting: Waiting::AsBefore,
            read_again_at: None,
            state,
            order: Order::AsListed,
            coverage: Coverage::Everything,
            named: HashSet::new(),
            has_missing,
            counts: Counts::default(),
        }
    }

    /// Runs the turn.
    pub(super) async fn run(&mut self) -> Result<Turned, Stop> {
        self.recheck().await?;
        let turned = self.list_on().await?;
        if turned == Turned::Complete && self.counts.rechecked > 0 {
            self.recheck().await?;
            let Due { read, next } = self.due();
            if next < read {
                self.commit_progress().await?;
            }
        }
        Ok(turned)
    }

    /// Lists from where the listing stopped.
    async fn list_on(&mut self) -> Result<Turned, Stop> {
        if self.state.phase == Phase::Fetching {
            self.order = self.order_resumed();
            if !self.fetch_items().await? {
                return Ok(Turned::Yielded);
            }
            match self.state.page_token.clone() {
                Some(_) => self.state.phase = Phase::Listing,
                None => return self.complete(self.state.pending_token.clone()).await,
            }
        }
        let since = self.start();
        if self.is_worth_announcing() {
            self.commit_progress().await?;
        }
        let mut asked = self.ask(since);
        loop {
            let since = asked.since.clone();
            let listed = match self.listed(asked).await {
                Err(Stop::Driver(error))
                    if error.class == FailureClass::Gone && since != Since::Beginning =>
                {
                    asked = self.start_over().await?;
                    continue;
                }
                other => other?,
            };
            if self.is_unmarked_full(&since, &listed).await? {
                asked = self.start_over().await?;
                continue;
            }
            asked = match self.take(listed).await? {
                Taken::More(next) => next,
                Taken::All => return self.complete(self.state.pending_token.clone()).await,
                Taken::Ended(turned) => return Ok(turned),
            };
        }
    }

    /// Where the listing starts; a new one forgets what an abandoned one had come to.
    fn start(&mut self) -> Since {
        if let (Phase::Listing, Some(token)) = (self.state.phase, self.state.page_token.clone()) {
            return Since::Page(token);
        }
        let now = self.sync.clock.now();
        let next = self.state.next_listing(self.sync.settings.full_sync_every, now);
        self.state.phase = Phase::Listing;
        self.state.page_token = None;
        self.state.pending_token = None;
        self.state.pages = 0;
        self.state.generation_started_at = Some(now);
        self.state.items_listed = 0;
        self.state.items_done = 0;
        self.named.clear();
        self.is_resumed = false;
        let names_by_memory = self.sync.driver.capabilities().listing == ListingMode::Document;
        let (listing, since) = match self.state.sync_token.clone() {
            Some(token) if next == NextListing::Delta => (Listing::Delta, Since::Token(token)),
            Some(token) if names_by_memory => (Listing::Full, Since::Again(token)),
            _ => (Listing::Full, Since::Beginning),
        };
        self.state.listing = listing;
        since
    }

    /// The cursor is dead, or was answered as if it were: everything is listed, pending edits stay.
    async fn start_over(&mut self) -> Result<Asked, Stop> {
        self.state.sync_token = None;
        self.state.requires_full = true;
        self.state.phase = Phase::Idle;
        let since = self.start();
        self.commit_progress().await?;
        Ok(self.ask(since))
    }

    /// A first import, and what people wait for to be right again, are shown while they run; a poll is not.
    fn is_worth_announcing(&self) -> bool {
        let is_begun = self.state.page_token.is_none();
        let is_awaited = self.state.fresh_at.is_none() || self.state.requires_full;
        is_begun && is_awaited && self.committed.phase == Phase::Idle
    }

    /// A server may answer a dead cursor with everything there is, and say nothing of it (DAViCal, SOGo). Then it
    /// names much that has not changed; and when something known is not among it, that may be deleted, which only
    /// a listing that is known to be complete can tell. An answer that ends at the cursor we sent is a repetition.
    async fn is_unmarked_full(&self, since: &Since, listed: &Listed) -> Result<bool, StoreError> {
        let Since::Token(token) = since else { return Ok(false) };
        let is_repeat = matches!(&listed.page.next, Next::Token(next) if next == token);
        let is_delta = listed.page.listing == Listing::Delta && listed.page.changes.is_empty();
        if listed.unchanged == 0 || is_repeat || !is_delta {
            return Ok(false);
        }
        let tx = self.sync.store.read(self.scope()).await?;
        let delivered = events::count(&tx, self.key.calendar_id).await?.delivered;
        let there = usize::try_from(delivered).unwrap_or(usize::MAX);
        Ok(listed.unchanged.saturating_mul(2) >= there && listed.known < there)
    }

    /// Applies what a page says and what it names.
    async fn take(&mut self, listed: Listed) -> Result<Taken, Stop> {
        let Listed { mut page, to_read, is_spilled, .. } = listed;
        self.keep_setting(page.setting.take()).await?;
        page.changes = self.confirmed(page.changes, &to_read).await?;
        self.state.listing = page.listing;
        self.coverage = page.coverage;
        let (page_token, pending_token) = match page.next {
            Next::Page(token) => (Some(token), None),
            Next::Token(token) => (None, Some(token)),
            Next::NoToken => (None, None),
        };
        if is_spilled {
            self.apply_all(page.changes, page.requested_at, &Then::GoOn).await?;
            self.state.phase = Phase::Fetching;
            self.state.page_token = page_token;
            self.state.pending_token = pending_token;
            self.commit_progress().await?;
            if self.fresh_before.is_none() {
                self.order = Order::Open;
            }
            if !self.fetch_items().await? {
                return Ok(Taken::Ended(Turned::Yielded));
            }
            self.state.phase = Phase::Listing;
            let next = self.state.page_token.clone().map(Since::Page);
            return Ok(next.map_or(Taken::All, |next| Taken::More(self.ask(next))));
        }
        self.name(&page.changes);
        let to_read: VecDeque<_> = to_read.into_iter().map(|member| member.provider_id).collect();
        match page_token {
            Some(token) => self.take_and_go_on(page.changes, to_read, page.requested_at, token).await,
            None => self.take_last(page.changes, to_read, page.requested_at, pending_token).await,
        }
    }

    /// Keeps what a page says of the calendar itself, when that is new.
    async fn keep_setting(&mut self, said: Option<String>) -> Result<(), Stop> {
        if let Some(said) = said.filter(|said| self.calendar.setting.as_ref() != Some(said)) {
            let tx = self.begin().await?;
            calendars::keep_setting(&tx, self.key.calendar_id, &said).await?;
            self.commit(tx).await?;
            self.calendar.setting = Some(said);
        }
        Ok(())
    }

    /// Applies a page and what it names; the one after it is asked for meanwhile, unless this turn ends before.
    async fn take_and_go_on(
        &mut self,
        changes: Vec<RemoteChange>,
        to_read: VecDeque<ProviderId>,
        requested_at: Timestamp,
        token: String,
    ) -> Result<Taken, Stop> {
        let batches = to_read.len().div_ceil(self.sync.driver.capabilities().read_batch.max(1));
        let goes_on = self.budget.left(self.sync.clock.now()) > batches + 1;
        let ahead = goes_on.then(|| self.ask(Since::Page(token.clone())));
        let ends = Then::Page(token);
        let applied = if to_read.is_empty() {
            self.apply_all(changes, requested_at, &ends).await?;
            Fetched::All
        } else {
            self.apply_all(changes, requested_at, &Then::GoOn).await?;
            self.fetch(Source::Memory(to_read), ends).await?
        };
        if applied == Fetched::All {
            self.budget.spend();
        }
        Ok(match (applied, ahead) {
            (Fetched::All, Some(asked)) => Taken::More(asked),
            _ => Taken::Ended(Turned::Yielded),
        })
    }

    /// Applies the last page and what it names; the cursor of a listing of what changed is committed with them.
    async fn take_last(
        &mut self,
        changes: Vec<RemoteChange>,
        to_read: VecDeque<ProviderId>,
        requested_at: Timestamp,
        token: Option<SyncToken>,
    ) -> Result<Taken, Stop> {
        let is_delta = self.state.listing == Listing::Delta;
        if is_delta && to_read.is_empty() && !changes.is_empty() {
            self.apply_all(changes, requested_at, &Then::Complete(token)).await?;
            return Ok(Taken::Ended(Turned::Complete));
        }
        let then = if is_delta { Then::Complete(token.clone()) } else { Then::GoOn };
        self.apply_all(changes, requested_at, &Then::GoOn).await?;
        Ok(match self.fetch(Source::Memory(to_read), then).await? {
            Fetched::All => {
                self.state.page_token = None;
                self.state.pending_token = token;
                Taken::All
            }
            Fetched::Completed => Taken::Ended(Turned::Complete),
            Fetched::Yielded | Fetched::Slow => Taken::Ended(Turned::Yielded),
        })
    }

    /// What a page with contents names is named like the members of one without.
    fn name(&mut self, changes: &[RemoteChange]) {
        let mut named = 0;
        for change in changes.iter().filter(|change| !matches!(change, RemoteChange::Removed { .. })) {
            if self.named.insert(ListingHash::of(change.provider_id())) {
                named += 1;
            }
            match change {
                // its series is there, even where only this instance of it is shown
                RemoteChange::Instance(instance) => {
                    self.named.insert(ListingHash::of(&instance.series_id));
                }
                RemoteChange::Upsert(event) => {
                    let objects = event.instances.values();
                    self.named.extend(objects.map(|object| ListingHash::of(&object.provider_id)));
                }
                _ => {}
            }
        }
        self.state.items_listed += named;
    }

    /// The first page of a listing that needs tables begins a generation.
    pub(super) async fn open_generation(&mut self, tx: &Tx) -> Result<(), StoreError> {
        if self.state.pages == 0 {
            listing::clear(tx, self.key.calendar_id).await?;
            self.state.generation += 1;
        }
        Ok(())
    }

    /// Reads rows singly whose page had been stale, or that their provider was not done with: each once, as many as
    /// this run may. What is left makes the calendar due at once.
    async fn recheck(&mut self) -> Result<(), Stop> {
        let capabilities = self.sync.driver.capabilities();
        if !capabilities.reads_singly {
            return Ok(());
        }
        let batch = capabilities.read_batch.max(1);
        let began = self.sync.clock.now();
        let mut after = None;
        loop {
            let marked = {
                let tx = self.sync.store.read(self.scope()).await?;
                events::to_recheck(&tx, self.key.calendar_id, after, batch).await?
            };
            let is_full = marked.len() == batch;
            let (due, later): (Vec<_>, Vec<_>) = marked.into_iter().partition(|row| row.at <= began);
            self.read_again_at = later.first().map(|row| row.at);
            let Some(last) = due.last() else { return Ok(()) };
            if after.is_some() && self.budget.left(self.sync.clock.now()) == 0 {
                self.read_again_at = Some(began);
                return Ok(());
            }
            after = Some((last.at, last.id));
            self.read_singly(due.into_iter().map(|row| row.provider_id).collect(), batch).await?;
            if !is_full {
                return Ok(());
            }
        }
    }

    async fn read_singly(&mut self, ids: Vec<ProviderId>, batch: usize) -> Result<(), Stop> {
        let requested_at = self.sync.clock.now();
        let mut changes = Vec::new();
        for some in self.objects_of(ids).await?.chunks(batch) {
            changes.extend(self.sync.driver.read(&self.calendar, some).await?);
            self.budget.spend();
        }
        let along = Along { cause: Some(Cause::Recheck), ..Along::default() };
        self.apply(&changes, requested_at, along).await
    }
}
