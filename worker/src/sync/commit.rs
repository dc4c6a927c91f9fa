//! What a turn writes: changes with the calendar's row, in one transaction that ends with the fence.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{Listing, MeetingId, ProviderId, RemoteChange, SyncToken};
use calfleet_domain::reconcile::Context;
use calfleet_domain::recurrence::zone::DATA_VERSION;
use calfleet_store::apply::{self, Applied, Stamp};
use calfleet_store::calendar_sync::{self, Due, Phase};
use calfleet_store::events::{self, StoredRow};
use calfleet_store::history::{Cause, CauseId};
use calfleet_store::listing::{self, ListingHash};
use calfleet_store::{Priority, Scope, StoreError, Tx, occurrences, work};

use super::Stop;
use super::collect::count;
use super::fetch::Then;
use super::page::{self, Circumstances, Held, Planned};
use super::series::cancelled;
use super::sweep::SECOND_LISTING_AFTER;
use super::turn::{Turn, Waiting};

/// Most changes in one transaction: what SQLite's one writer can take without keeping a person waiting.
const CHANGES_AT_ONCE: usize = 500;

/// The longest wait between two polls that a provider can ask for.
const LONGEST_POLL: Duration = Duration::from_hours(24);

/// How often a page is planned anew because others changed its rows meanwhile.
pub(super) const PLANS: usize = 5;

/// What is written along with changes, in their transaction.
#[derive(Debug, Default)]
pub(super) struct Along<'c> {
    /// Names of a long listing that these changes answer.
    pub(super) struck: &'c [ProviderId],
    /// Why they are read, where it is not the listing.
    pub(super) cause: Option<Cause>,
    /// Whether they are the last of a page of the listing.
    pub(super) ends_page: bool,
}

impl Turn<'_> {
    /// Applies changes, and with the last of them what follows.
    pub(super) async fn apply_all(
        &mut self,
        changes: Vec<RemoteChange>,
        requested_at: Timestamp,
        then: &Then,
    ) -> Result<(), Stop> {
        if changes.is_empty() && self.follow(then) {
            return self.commit_page().await;
        }
        let mut chunks = in_chunks(changes).into_iter().peekable();
        while let Some(chunk) = chunks.next() {
            let shown = chunk.iter().filter(|change| !matches!(change, RemoteChange::Removed { .. }));
            self.state.items_done += count(shown.count());
            let ends_page = chunks.peek().is_none() && self.follow(then);
            self.apply(&chunk, requested_at, Along { ends_page, ..Along::default() }).await?;
        }
        Ok(())
    }

    /// Puts down what follows the changes that are applied next; whether a page of a listing ends with them.
    pub(super) fn follow(&mut self, then: &Then) -> bool {
        match then {
            Then::GoOn => {}
            Then::Page(token) => self.state.page_token = Some(token.clone()),
            Then::Complete(token) => self.mark_complete(token.clone()),
        }
        matches!(then, Then::Page(_))
    }

    /// A page in the middle of a listing that says nothing: its token, and what it named.
    async fn commit_page(&mut self) -> Result<(), Stop> {
        let tx = self.begin().await?;
        self.end_page(&tx).await?;
        self.commit(tx).await
    }

    /// What a page of a complete listing named goes into the tables.
    async fn end_page(&mut self, tx: &Tx) -> Result<(), StoreError> {
        if self.state.listing == Listing::Full {
            self.open_generation(tx).await?;
            let named: Vec<ListingHash> = self.named.drain().collect();
            let at = (self.state.generation, self.state.pages);
            listing::add_page(tx, self.key.calendar_id, at, &named, &[]).await?;
            self.state.pages += 1;
        }
        Ok(())
    }

    /// Applies changes in one transaction, with the calendar's row as it now is.
    pub(super) async fn apply(
        &mut self,
        changes: &[RemoteChange],
        requested_at: Timestamp,
        along: Along<'_>,
    ) -> Result<(), Stop> {
        for attempt in 0..PLANS {
            let held = if attempt == 0 && self.is_all_new(changes) {
                Held::default()
            } else {
                self.load(changes).await?
            };
            let Planned { writes, counts } = self.plan(changes, held, requested_at, along.cause);
            let tx = self.begin().await?;
            match apply::apply(&tx, self.key, &writes, &self.stamp(requested_at)).await {
                Ok(Applied::Written) => {}
                Ok(Applied::Outdated) => {
                    tx.rollback().await?;
                    continue;
                }
                Err(error) if error.is_busy() => continue,
                Err(error) => return Err(error.into()),
            }
            if !along.struck.is_empty() {
                listing::strike_items(&tx, self.key.calendar_id, self.state.generation, along.struck).await?;
            }
            if along.ends_page {
                self.end_page(&tx).await?;
            }
            let again = writes.read_again.iter().map(|again| again.at);
            self.read_again_at = self.read_again_at.into_iter().chain(again).min();
            self.commit(tx).await?;
            self.has_missing |= counts.missing > 0;
            self.counts.add(counts);
            return Ok(());
        }
        Err(Stop::Contended)
    }

    /// What a transaction notes of itself, about what was asked for at `requested_at`.
    pub(super) fn stamp(&self, requested_at: Timestamp) -> Stamp<'static> {
        Stamp {
            now: self.sync.clock.now(),
            requested_at,
            zone_data: DATA_VERSION,
            cause_id: Some(CauseId::Run(self.sync.run)),
        }
    }

    /// Whether nothing is held that these are about: copies of a calendar that nobody has listed before. What stands
    /// under one of their names all the same (made here, or shown on an earlier page) shows when it is taken, and the
    /// page is planned again.
    fn is_all_new(&self, changes: &[RemoteChange]) -> bool {
        let is_new = |change: &RemoteChange| matches!(change, RemoteChange::Upsert(remote) if remote.created_as.is_none());
        self.is_first_run && !self.has_missing && changes.iter().all(is_new)
    }

    fn plan(
        &self,
        changes: &[RemoteChange],
        mut held: Held,
        requested_at: Timestamp,
        cause: Option<Cause>,
    ) -> Planned {
        let changes = &cancelling(changes, &mut held);
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
        page::plan(changes, held, &circumstances)
    }

    async fn load(&self, changes: &[RemoteChange]) -> Result<Held, StoreError> {
        let tx = self.sync.store.read(self.scope()).await?;
        let mut ids: HashSet<&ProviderId> = changes.iter().map(RemoteChange::provider_id).collect();
        ids.extend(changes.iter().filter_map(series_of));
        ids.extend(changes.iter().filter_map(former_name));
        let rows = self.rows(&tx, ids.into_iter().collect()).await?;
        let strangers: Vec<&ProviderId> = changes
            .iter()
            .filter(|change| matches!(change, RemoteChange::Removed { .. }))
            .map(RemoteChange::provider_id)
            .filter(|id| !rows.contains_key(id))
            .collect();
        let bereft = occurrences::series_of(&tx, self.key.calendar_id, &strangers).await?;
        let bereft = self.rows(&tx, bereft.iter().collect()).await?.into_values().collect();
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
        Ok(Held { rows, bereft, elsewhere })
    }

    pub(super) async fn rows(
        &self,
        tx: &Tx,
        ids: Vec<&ProviderId>,
    ) -> Result<HashMap<ProviderId, StoredRow>, StoreError> {
        let rows = events::load_for_page(tx, self.key.calendar_id, &ids).await?;
        Ok(rows.into_iter().map(|row| (row.event.provider_id.clone(), row)).collect())
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
        self.waiting = Waiting::Complete;
        if self.state.listing == Listing::Full {
            self.state.full_at = began;
            self.state.requires_full = false;
            self.state.sweep = None;
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
        let due = self.due();
        calendar_sync::save(&tx, &[(&self.state, due)]).await?;
        work::fence(&tx, self.sync.claim, self.sync.settings.lease, now).await?;
        tx.commit().await?;
        self.committed = self.state.clone();
        if self.waiting != Waiting::AsBefore {
            self.waiting = Waiting::Committed(due.next);
        }
        Ok(())
    }

    /// The next poll: within the last tenth of the interval, so that calendars connected together drift apart; or
    /// sooner, where a sweep waits for a second listing or an event is to be read again; or at once, where the listing
    /// began before this run and so knows nothing of what the run was asked for.
    fn next_poll(&self) -> Timestamp {
        if self.is_resumed && self.state.sync_token.is_some() {
            return self.sync.clock.now();
        }
        // a publisher may ask us to come less often than the connection would
        let asked = self.sync.driver.poll_interval().unwrap_or_default().min(LONGEST_POLL);
        let interval = self.sync.connection.settings.poll_interval.max(asked);
        let interval = interval.max(self.watched());
        let wait = interval.saturating_sub(self.sync.rng.jitter(interval / 10));
        let wait = if self.state.sweep.is_some() { wait.min(SECOND_LISTING_AFTER) } else { wait };
        let next = self.sync.clock.now().plus(wait);
        self.read_again_at.map_or(next, |at| at.min(next))
    }

    /// How long the calendar's watch can be relied on: as long as it lasts, but a poll looks in now and then, because
    /// providers drop watches without a word.
    fn watched(&self) -> Duration {
        let left = self.watched_until.map(|until| until.since(self.sync.clock.now())).unwrap_or_default();
        left.min(self.sync.settings.watched_poll_interval)
    }

    /// Due as before until this turn has completed a listing, at the next poll from then on.
    pub(super) fn due(&self) -> Due {
        match self.waiting {
            Waiting::AsBefore => Due { read: self.due_read, next: self.due_read },
            Waiting::Complete => Due { read: self.due_read, next: self.next_poll() },
            // sooner, where there turned out to be more to be read singly
            Waiting::Committed(next) => {
                Due { read: next, next: self.read_again_at.map_or(next, |at| at.min(next)) }
            }
        }
    }
}

/// The page with the removed instances of series without master as what they are: cancelled. Those of other series
/// are left to be found by reading the series.
fn cancelling<'c>(changes: &'c [RemoteChange], held: &mut Held) -> Cow<'c, [RemoteChange]> {
    let mut changes = Cow::Borrowed(changes);
    held.bereft.retain(|row| {
        let mut is_told = false;
        for change in changes.to_mut() {
            if let RemoteChange::Removed { provider_id } = change
                && let Some(instance) = cancelled(row, provider_id)
            {
                *change = instance;
                is_told = true;
            }
        }
        if is_told {
            held.rows.insert(row.event.provider_id.clone(), row.clone());
        }
        !is_told
    });
    changes
}

/// The name that an object of ours went by before its provider named it.
fn former_name(change: &RemoteChange) -> Option<&ProviderId> {
    match change {
        RemoteChange::Upsert(remote) => remote.created_as.as_ref(),
        _ => None,
    }
}

/// The series that an instance belongs to.
fn series_of(change: &RemoteChange) -> Option<&ProviderId> {
    match change {
        RemoteChange::Instance(instance) => Some(&instance.series_id),
        _ => None,
    }
}

/// Removals first, so that what is renamed across two chunks is found missing when its new name comes. Of an id that is
/// named several times only the last word is kept: another order would make it an earlier one.
fn in_chunks(changes: Vec<RemoteChange>) -> Vec<Vec<RemoteChange>> {
    let mut named = HashSet::new();
    let mut is_last: Vec<bool> =
        changes.iter().rev().map(|change| named.insert(change.provider_id())).collect();
    is_last.reverse();
    let last = changes.into_iter().zip(is_last).filter_map(|(change, is_last)| is_last.then_some(change));
    let (mut ordered, shown): (Vec<_>, Vec<_>) =
        last.partition(|change| matches!(change, RemoteChange::Removed { .. }));
    ordered.extend(shown);
    let mut chunks = Vec::new();
    let mut changes = ordered.into_iter().peekable();
    while changes.peek().is_some() {
        chunks.push(changes.by_ref().take(CHANGES_AT_ONCE).collect());
    }
    chunks
}
