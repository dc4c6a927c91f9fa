//! One calendar's turn: from where its listing stopped to where it is complete, or the turn is spent.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Listing, MeetingId, ProviderId, RemoteChange, SyncToken};
use calfleet_domain::reconcile::Context;
use calfleet_domain::recurrence::zone::DATA_VERSION;
use calfleet_providers::driver::{CalendarRef, ListingMode, Next, Since};
use calfleet_store::apply::{self, Applied, CalendarKey, Stamp};
use calfleet_store::calendar_sync::{self, CalendarSync, Due, Phase, SyncedCalendar};
use calfleet_store::events;
use calfleet_store::history::Cause;
use calfleet_store::listing::{self, ListingHash};
use calfleet_store::{Priority, Scope, StoreError, Tx, work};

use super::collect::{Listed, count};
use super::fetch::{Fetched, Source, Then};
use super::page::{self, Circumstances, Counts, Held, Planned};
use super::{Stop, Sync};

/// Most changes in one transaction: what SQLite's one writer can take without keeping a person waiting.
const CHANGES_AT_ONCE: usize = 500;

/// How long after a complete listing that would sweep much the next one is asked for: long enough for a server to
/// get up again, short enough for people who did delete it all.
const SECOND_LISTING_AFTER: Duration = Duration::from_mins(1);

/// How often a page is planned anew because others changed its rows meanwhile.
const PLANS: usize = 5;

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
    /// When it was last proven fresh before this run.
    pub(super) fresh_before: Option<Timestamp>,
    /// Whether the listing under way was begun by an earlier run.
    pub(super) is_resumed: bool,
    /// Whether it has never been listed before this run, in part or in full: then nothing is held of it.
    pub(super) is_first_run: bool,
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
            },
            fresh_before: state.fresh_at,
            is_resumed: calendar.sync.phase == Phase::Fetching || calendar.sync.page_token.is_some(),
            is_first_run: calendar.sync.started_at.is_none(),
            committed: state.clone(),
            due_read: state.due_at,
            state,
            named: HashSet::new(),
            has_missing,
            counts: Counts::default(),
        }
    }

    /// Runs the turn.
    pub(super) async fn run(&mut self) -> Result<Turned, Stop> {
        self.recheck().await?;
        if self.state.phase == Phase::Fetching {
            if !self.fetch_items().await? {
                return Ok(Turned::Yielded);
            }
            match self.state.page_token.clone() {
                Some(_) => self.state.phase = Phase::Listing,
                None => return self.complete(self.state.pending_token.clone()).await,
            }
        }
        let mut since = self.start();
        if self.is_worth_announcing() {
            self.commit_progress().await?;
        }
        loop {
            let listed = match self.list(&since).await {
                Err(Stop::Driver(error))
                    if error.class == FailureClass::Gone && since != Since::Beginning =>
                {
                    since = self.start_over().await?;
                    continue;
                }
                other => other?,
            };
            if self.is_unmarked_full(&since, &listed).await? {
                since = self.start_over().await?;
                continue;
            }
            if let Some(ended) = self.take(listed).await? {
                return Ok(ended);
            }
            match self.state.page_token.clone() {
                Some(token) => since = Since::Page(token),
                None => return self.complete(self.state.pending_token.clone()).await,
            }
        }
    }

    /// Where the listing starts; a new one forgets what an abandoned one had come to.
    fn start(&mut self) -> Since {
        if let (Phase::Listing, Some(token)) = (self.state.phase, self.state.page_token.clone()) {
            return Since::Page(token);
        }
        let now = self.sync.clock.now();
        let is_full_due =
            self.state.full_at.is_none_or(|at| at.plus(self.sync.settings.full_sync_every) <= now);
        let token = self.state.sync_token.clone().filter(|_| !self.state.requires_full && !is_full_due);
        self.state.phase = Phase::Listing;
        self.state.page_token = None;
        self.state.pending_token = None;
        self.state.pages = 0;
        self.state.generation_started_at = Some(now);
        self.state.items_listed = 0;
        self.state.items_done = 0;
        self.named.clear();
        self.is_resumed = false;
        if let Some(token) = token {
            self.state.listing = Listing::Delta;
            Since::Token(token)
        } else {
            self.state.listing = Listing::Full;
            Since::Beginning
        }
    }

    /// The cursor is dead, or was answered as if it were: everything is listed, pending edits stay.
    async fn start_over(&mut self) -> Result<Since, Stop> {
        self.state.sync_token = None;
        self.state.requires_full = true;
        self.state.phase = Phase::Idle;
        let since = self.start();
        self.commit_progress().await?;
        Ok(since)
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
        let live =
            usize::try_from(events::count(&tx, self.key.calendar_id).await?.live).unwrap_or(usize::MAX);
        Ok(listed.unchanged.saturating_mul(2) >= live && listed.known < live)
    }

    /// Applies what a page says and what it names. `Some` when the turn ends with it.
    async fn take(&mut self, listed: Listed) -> Result<Option<Turned>, Stop> {
        let Listed { page, to_read, is_spilled, .. } = listed;
        self.state.listing = page.listing;
        let (page_token, pending_token) = match page.next {
            Next::Page(token) => (Some(token), None),
            Next::Token(token) => (None, Some(token)),
            Next::NoToken => (None, None),
        };
        let ends_here = page_token.is_none() && page.listing == Listing::Delta;
        let then = if ends_here { Then::Complete(pending_token.clone()) } else { Then::GoOn };
        if is_spilled {
            self.apply_all(page.changes, page.requested_at).await?;
            self.state.phase = Phase::Fetching;
            self.state.page_token = page_token;
            self.state.pending_token = pending_token;
            self.commit_progress().await?;
            if !self.fetch_items().await? {
                return Ok(Some(Turned::Yielded));
            }
            self.state.phase = Phase::Listing;
            return Ok(None);
        }
        let is_quiet = page.changes.is_empty() && to_read.is_empty();
        if !is_quiet {
            self.name(&page.changes);
            if ends_here && to_read.is_empty() {
                self.apply_last(page.changes, page.requested_at, pending_token).await?;
                return Ok(Some(Turned::Complete));
            }
            self.apply_all(page.changes, page.requested_at).await?;
            let source = Source::Memory(to_read.into_iter().map(|member| member.provider_id).collect());
            match self.fetch(source, then).await? {
                Fetched::All => {}
                Fetched::Completed => return Ok(Some(Turned::Complete)),
                Fetched::Yielded => return Ok(Some(Turned::Yielded)),
            }
        }
        self.state.page_token = page_token;
        self.state.pending_token = pending_token;
        if self.state.page_token.is_some() {
            self.commit_page().await?;
            self.budget.spend();
            if self.budget.left(self.sync.clock.now()) == 0 {
                return Ok(Some(Turned::Yielded));
            }
        }
        Ok(None)
    }

    /// What a page with contents names is named like the members of one without.
    fn name(&mut self, changes: &[RemoteChange]) {
        let mut named = 0;
        for change in changes.iter().filter(|change| !matches!(change, RemoteChange::Removed { .. })) {
            if self.named.insert(ListingHash::of(change.provider_id())) {
                named += 1;
            }
        }
        self.state.items_listed += named;
    }

    /// A page in the middle of a listing: its token, and what it named.
    async fn commit_page(&mut self) -> Result<(), Stop> {
        let tx = self.begin().await?;
        if self.state.listing == Listing::Full {
            self.open_generation(&tx).await?;
            let named: Vec<ListingHash> = self.named.drain().collect();
            let at = (self.state.generation, self.state.pages);
            listing::add_page(&tx, self.key.calendar_id, at, &named, &[]).await?;
            self.state.pages += 1;
        }
        self.commit(tx).await
    }

    /// The first page of a listing that needs tables begins a generation.
    pub(super) async fn open_generation(&mut self, tx: &Tx) -> Result<(), StoreError> {
        if self.state.pages == 0 {
            listing::clear(tx, self.key.calendar_id).await?;
            self.state.generation += 1;
        }
        Ok(())
    }

    /// Reads rows whose page had been stale, singly.
    async fn recheck(&mut self) -> Result<(), Stop> {
        let capabilities = self.sync.driver.capabilities();
        if !capabilities.reads_singly {
            return Ok(());
        }
        let ids = {
            let tx = self.sync.store.read(self.scope()).await?;
            events::to_recheck(&tx, self.key.calendar_id, capabilities.read_batch).await?
        };
        if ids.is_empty() {
            return Ok(());
        }
        let requested_at = self.sync.clock.now();
        let changes = self.sync.driver.read(&self.calendar, &ids).await?;
        self.budget.spend();
        self.apply(&changes, requested_at, &[], Some(Cause::Recheck)).await
    }

    async fn apply_all(&mut self, changes: Vec<RemoteChange>, requested_at: Timestamp) -> Result<(), Stop> {
        for chunk in in_chunks(changes) {
            let shown = chunk.iter().filter(|change| !matches!(change, RemoteChange::Removed { .. }));
            self.state.items_done += count(shown.count());
            self.apply(&chunk, requested_at, &[], None).await?;
        }
        Ok(())
    }

    /// The last changes of a listing of what changed: the cursor is committed with them.
    async fn apply_last(
        &mut self,
        changes: Vec<RemoteChange>,
        requested_at: Timestamp,
        token: Option<SyncToken>,
    ) -> Result<(), Stop> {
        let mut chunks = in_chunks(changes);
        let last = chunks.pop().unwrap_or_default();
        for chunk in chunks {
            self.apply(&chunk, requested_at, &[], None).await?;
        }
        self.mark_complete(token);
        self.apply(&last, requested_at, &[], None).await
    }

    /// Applies changes in one transaction, with the calendar's row as it now is; `struck` are names of a long
    /// listing that these changes answer.
    pub(super) async fn apply(
        &mut self,
        changes: &[RemoteChange],
        requested_at: Timestamp,
        struck: &[ProviderId],
        cause: Option<Cause>,
    ) -> Result<(), Stop> {
        for _ in 0..PLANS {
            let Planned { writes, counts } = self.plan(changes, requested_at, cause).await?;
            let tx = self.begin().await?;
            let stamp = Stamp { now: self.sync.clock.now(), requested_at, zone_data: DATA_VERSION };
            match apply::apply(&tx, self.key, &writes, &stamp).await {
                Ok(Applied::Written) => {}
                Ok(Applied::Outdated) => {
                    tx.rollback().await?;
                    continue;
                }
                Err(error) if error.is_busy() => continue,
                Err(error) => return Err(error.into()),
            }
            if !struck.is_empty() {
                listing::strike_items(&tx, self.key.calendar_id, self.state.generation, struck).await?;
            }
            self.commit(tx).await?;
            self.has_missing |= counts.missing > 0;
            self.counts.add(counts);
            return Ok(());
        }
        Err(Stop::Contended)
    }

    async fn plan(
        &self,
        changes: &[RemoteChange],
        requested_at: Timestamp,
        cause: Option<Cause>,
    ) -> Result<Planned, StoreError> {
        let held = self.load(changes).await?;
        let circumstances = Circumstances {
            calendar: self.key,
            context: Context {
                policy: self.sync.connection.settings.conflict_policy,
                requested_at,
                listed_without_at: self.fresh_before,
                provider_clock_offset_ms: 0,
            },
            cause: cause.unwrap_or_else(|| self.cause()),
            now: self.sync.clock.now(),
            rng: self.sync.rng,
        };
        Ok(page::plan(changes, held, &circumstances))
    }

    async fn load(&self, changes: &[RemoteChange]) -> Result<Held, StoreError> {
        let tx = self.sync.store.read(self.scope()).await?;
        let ids: Vec<&ProviderId> = changes.iter().map(RemoteChange::provider_id).collect();
        let rows = events::load_for_page(&tx, self.key.calendar_id, &ids).await?;
        let rows: HashMap<ProviderId, _> =
            rows.into_iter().map(|row| (row.event.provider_id.clone(), row)).collect();
        let mut meetings = HashSet::new();
        for change in changes {
            match (change, rows.get(change.provider_id())) {
                (RemoteChange::Removed { .. }, Some(row)) => {
                    meetings.insert(row.event.meeting_id);
                }
                (RemoteChange::Upsert(remote), None) if self.has_missing => {
                    meetings.insert(MeetingId::of(self.key.organization_id, &remote.event.uid));
                }
                _ => {}
            }
        }
        let meetings: Vec<MeetingId> = meetings.into_iter().filter(|meeting| !meeting.0.is_nil()).collect();
        let elsewhere = events::load_elsewhere(&tx, self.key.connection_id, &meetings).await?;
        Ok(Held { rows, elsewhere })
    }

    fn cause(&self) -> Cause {
        match self.state.listing {
            _ if self.fresh_before.is_none() => Cause::Import,
            Listing::Full => Cause::FullSync,
            Listing::Delta => Cause::Sync,
        }
    }

    /// The listing is complete and applied, as of when it began.
    pub(super) fn mark_complete(&mut self, token: Option<SyncToken>) {
        let began = self.state.generation_started_at;
        if self.state.listing == Listing::Full {
            self.state.full_at = began;
            self.state.requires_full = false;
            self.state.sweep = None;
        } else if self.sync.driver.capabilities().listing != ListingMode::SyncToken {
            // what says "unchanged" about a whole is as good as having listed the whole
            self.state.full_at = began;
        }
        self.state.sync_token = token;
        self.state.page_token = None;
        self.state.pending_token = None;
        self.state.phase = Phase::Idle;
        self.state.fresh_at = began;
        self.state.items_done = self.state.items_listed;
        self.state.attempt = 0;
        self.state.problem = None;
        self.state.not_before = Timestamp::ZERO;
    }

    pub(super) fn scope(&self) -> Scope {
        Scope::Organization(self.key.organization_id)
    }

    pub(super) async fn begin(&self) -> Result<Tx, StoreError> {
        self.sync.store.begin(self.scope(), Priority::Background).await
    }

    /// Writes the calendar's row alone.
    pub(super) async fn commit_progress(&mut self) -> Result<(), Stop> {
        let tx = self.begin().await?;
        self.commit(tx).await
    }

    /// The calendar's row, then the fence, then the commit.
    pub(super) async fn commit(&mut self, tx: Tx) -> Result<(), Stop> {
        let now = self.sync.clock.now();
        calendar_sync::save(&tx, &[(&self.state, self.due())]).await?;
        work::fence(&tx, self.sync.claim, self.sync.settings.lease, now).await?;
        tx.commit().await?;
        self.committed = self.state.clone();
        Ok(())
    }

    /// The next poll: within the last tenth of the interval, so that calendars connected together drift apart; or
    /// sooner, where a sweep waits for a second listing; or at once, where the listing began before this run and
    /// so knows nothing of what the run was asked for.
    fn next_poll(&self) -> Timestamp {
        if self.is_resumed && self.state.sync_token.is_some() {
            return self.sync.clock.now();
        }
        let interval = self.sync.connection.settings.poll_interval;
        let wait = interval.saturating_sub(self.sync.rng.jitter(interval / 10));
        let wait = if self.state.sweep.is_some() { wait.min(SECOND_LISTING_AFTER) } else { wait };
        self.sync.clock.now().plus(wait)
    }

    /// Due as before while the listing is under way, at the next poll once it is complete.
    pub(super) fn due(&self) -> Due {
        let next = match self.state.phase {
            Phase::Idle if self.state.fresh_at.is_some() || self.state.sweep.is_some() => self.next_poll(),
            _ => self.due_read,
        };
        Due { read: self.due_read, next }
    }
}

/// Removals first, so that what is renamed across two chunks is found missing when its new name comes.
fn in_chunks(changes: Vec<RemoteChange>) -> Vec<Vec<RemoteChange>> {
    let (mut ordered, shown): (Vec<_>, Vec<_>) =
        changes.into_iter().partition(|change| matches!(change, RemoteChange::Removed { .. }));
    ordered.extend(shown);
    let mut chunks = Vec::new();
    let mut changes = ordered.into_iter().peekable();
    while changes.peek().is_some() {
        chunks.push(changes.by_ref().take(CHANGES_AT_ONCE).collect());
    }
    chunks
}
