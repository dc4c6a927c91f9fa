//! Reading what a listing named, in batches: the next batch is asked for while the last one is applied.
//!
//! A first import that would keep people waiting reads first what takes place soon. How long it would take shows
//! when its first batch has come: asking a server what is soon makes some of them read everything they hold, which
//! of a calendar that is here in seconds takes longer than all the rest.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{ProviderId, RemoteChange, SyncToken};
use calfleet_providers::driver::{CalendarRef, DriverError};
use calfleet_store::listing;

use super::ahead::Ahead;
use super::collect::count;
use super::commit::Along;
use super::turn::Turn;
use super::{Stop, Sync};

/// What counts as soon.
const SOON: Duration = Duration::from_hours(30 * 24);
/// An import that is over within this time is read in the order of its listing.
const WORTH_WAITING: Duration = Duration::from_secs(10);
/// Names that are taken from the table at once.
const TAKEN_AT_ONCE: usize = 2_000;
/// Most events that are read before their turn: more are not soon to anybody.
const MOST_SOON: usize = 1_000;

/// In which order what was listed is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As it was listed.
    AsListed,
    /// What takes place soon may come first; the first batch decides.
    Open,
    /// What takes place soon comes first.
    SoonFirst,
}

/// Where the names come from.
#[derive(Debug)]
pub(super) enum Source {
    /// From memory.
    Memory(VecDeque<ProviderId>),
    /// Named in memory and in `listing_items` too, from which they are struck out as they are applied.
    First(VecDeque<ProviderId>),
    /// From `listing_items`, in the order of their ids; they are struck out as they are applied.
    Items {
        /// Taken from the table, and not given out yet.
        taken: VecDeque<ProviderId>,
        /// The last one taken.
        last: Option<ProviderId>,
    },
}

impl Source {
    /// Everything that is left in the table.
    pub(super) fn items() -> Self {
        Self::Items { taken: VecDeque::new(), last: None }
    }
}

/// What follows when everything has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    /// The caller goes on.
    GoOn,
    /// The page ends, and the listing goes on here, which is committed with the last batch.
    Page(String),
    /// The listing is complete and ends at this cursor, which is committed with the last batch.
    Complete(Option<SyncToken>),
}

/// How the reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetched {
    /// Everything was read.
    All,
    /// And the cursor is committed.
    Completed,
    /// The turn is spent before that.
    Yielded,
    /// There is so much left that an order of its own is worth its price.
    Slow,
}

struct Batch {
    ids: Vec<ProviderId>,
    requested_at: Timestamp,
    took: Duration,
    changes: Vec<RemoteChange>,
}

impl Turn<'_> {
    /// Reads what is left in the tables; whether that was all.
    pub(super) async fn fetch_items(&mut self) -> Result<bool, Stop> {
        let mut fetched = match self.order {
            Order::SoonFirst => Fetched::Slow,
            Order::AsListed | Order::Open => self.fetch(Source::items(), Then::GoOn).await?,
        };
        if fetched == Fetched::Slow {
            fetched = self.fetch_soon().await?;
            if fetched == Fetched::All {
                fetched = self.fetch(Source::items(), Then::GoOn).await?;
            }
        }
        Ok(fetched != Fetched::Yielded)
    }

    /// In which order a reading goes on that an earlier run began: one that outlived its run keeps people waiting.
    pub(super) fn order_resumed(&self) -> Order {
        let one_batch = count(self.sync.driver.capabilities().read_batch);
        let is_at_its_beginning = self.fresh_before.is_none() && self.state.items_done <= one_batch;
        if is_at_its_beginning { Order::SoonFirst } else { Order::AsListed }
    }

    /// Reads what takes place soon. A server that cannot say what that is only loses the order.
    async fn fetch_soon(&mut self) -> Result<Fetched, Stop> {
        let now = self.sync.clock.now();
        if self.budget.left(now) == 0 {
            return Ok(Fetched::Yielded);
        }
        self.order = Order::AsListed;
        let soon = self.sync.driver.list_within(&self.calendar, now, now.plus(SOON), MOST_SOON).await;
        let named = match soon {
            Ok(ids) => ids,
            Err(error) if matches!(error.class, FailureClass::Throttled { .. } | FailureClass::Auth) => {
                return Err(error.into());
            }
            Err(error) => {
                tracing::info!(error = %error, class = error.class.as_str(), "a calendar cannot be listed by time");
                return Ok(Fetched::All);
            }
        };
        // what was not listed belongs to no generation, and what is read already would be counted twice
        let tx = self.sync.store.read(self.scope()).await?;
        let left = listing::left_of(&tx, self.key.calendar_id, self.state.generation, &named).await?;
        drop(tx);
        self.fetch(Source::First(left.into()), Then::GoOn).await
    }

    /// Whether, at the pace of this batch, what is left keeps people waiting who have seen nothing yet; asked once.
    fn is_slow(&mut self, batch: &Batch, source: &Source) -> bool {
        let order = std::mem::replace(&mut self.order, Order::AsListed);
        if order != Order::Open || !matches!(source, Source::Items { .. }) {
            return false;
        }
        let left = self.state.items_listed.saturating_sub(self.state.items_done);
        let batches = left / count(batch.ids.len()).max(1);
        batch.took.saturating_mul(u32::try_from(batches).unwrap_or(u32::MAX)) > WORTH_WAITING
    }

    /// Reads and applies everything that `source` names.
    pub(super) async fn fetch(&mut self, mut source: Source, then: Then) -> Result<Fetched, Stop> {
        let (sync, calendar) = (self.sync, self.calendar.clone());
        let ids = self.next_ids(&mut source).await?;
        if ids.is_empty() {
            return Ok(Fetched::All);
        }
        if self.budget.left(sync.clock.now()) == 0 {
            return Ok(Fetched::Yielded);
        }
        let mut batch = read(sync, &calendar, ids).answer().await?;
        loop {
            self.budget.spend();
            let is_slow = self.is_slow(&batch, &source);
            let next = self.next_ids(&mut source).await?;
            let is_last = next.is_empty();
            let ends_page = is_last && self.follow(&then);
            let goes_on = !is_last && !is_slow && self.budget.left(sync.clock.now()) > 0;
            let ahead = goes_on.then(|| read(sync, &calendar, next));
            self.state.items_done += count(batch.ids.len());
            let struck = match source {
                Source::First(_) | Source::Items { .. } => batch.ids.as_slice(),
                Source::Memory(_) => &[],
            };
            let along = Along { struck, ends_page, ..Along::default() };
            self.apply(&batch.changes, batch.requested_at, along).await?;
            if let Some(ahead) = ahead {
                batch = ahead.answer().await?;
                continue;
            }
            return Ok(match (is_last, then) {
                (false, _) if is_slow => Fetched::Slow,
                (false, _) => Fetched::Yielded,
                (true, Then::GoOn | Then::Page(_)) => Fetched::All,
                (true, Then::Complete(_)) => Fetched::Completed,
            });
        }
    }

    async fn next_ids(&self, source: &mut Source) -> Result<Vec<ProviderId>, Stop> {
        let most = self.sync.driver.capabilities().read_batch.max(1);
        let ids = match source {
            Source::Memory(ids) | Source::First(ids) => ids,
            Source::Items { taken, last } => {
                if taken.is_empty() {
                    let tx = self.sync.store.read(self.scope()).await?;
                    let (calendar, generation) = (self.key.calendar_id, self.state.generation);
                    let limit = TAKEN_AT_ONCE.max(most);
                    taken.extend(listing::next_items(&tx, calendar, generation, last.as_ref(), limit).await?);
                    *last = taken.back().cloned().or(last.take());
                }
                taken
            }
        };
        Ok(ids.drain(..most.min(ids.len())).collect())
    }
}

/// Asks for a batch.
fn read(sync: Sync<'_>, calendar: &CalendarRef, ids: Vec<ProviderId>) -> Ahead<Result<Batch, DriverError>> {
    let (driver, clock, calendar) = (Arc::clone(sync.driver), Arc::clone(sync.clock), calendar.clone());
    Ahead::ask(async move {
        let requested_at = clock.now();
        let changes = driver.read(&calendar, &ids).await?;
        let took = clock.now().since(requested_at);
        Ok(Batch { changes: with_silent(changes, &ids), ids, requested_at, took })
    })
}

/// An id that the driver says nothing of is noted as unreadable: it is neither deleted nor read.
fn with_silent(mut changes: Vec<RemoteChange>, ids: &[ProviderId]) -> Vec<RemoteChange> {
    let answered: HashSet<&ProviderId> = changes.iter().map(RemoteChange::provider_id).collect();
    let silent: Vec<RemoteChange> = ids
        .iter()
        .filter(|id| !answered.contains(id))
        .map(|id| RemoteChange::Unreadable {
            provider_id: id.clone(),
            revision: None,
            reason: "The server listed this event but did not answer for it.".to_owned(),
            raw: None,
        })
        .collect();
    changes.extend(silent);
    changes
}
