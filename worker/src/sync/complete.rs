//! The end of a listing: the sweep of what a complete one did not name, and the cursor.

use std::collections::{HashMap, HashSet};

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{Body, EventId, Listing, ProviderId, RemoteChange, SyncToken};
use calfleet_domain::recurrence::zone::DATA_VERSION;
use calfleet_domain::recurrence::{Budget, expand};
use calfleet_providers::driver::Coverage;
use calfleet_store::apply::{self, Applied, PageWrites, Touched};
use calfleet_store::calendar_sync::SweepInDoubt;
use calfleet_store::events::{self, Known, StoredRow};
use calfleet_store::listing::{self, ListingHash};
use calfleet_store::{Tx, occurrences};
use chrono_tz::Tz;

use super::Stop;
use super::commit::{Along, PLANS};
use super::counts::Counts;
use super::series::cancelled;
use super::sweep::{Fate, Verdict, fate, judge};
use super::turn::{Turn, Turned};

/// Rows looked at at once; only what a sweep needs of each.
const KNOWN_AT_ONCE: usize = 5_000;

/// Rows swept in one transaction.
const SWEPT_AT_ONCE: usize = 500;

/// What a complete listing did not name.
#[derive(Debug, Default)]
struct Unseen {
    /// Live rows that the listing would have to name if they are still there, whether it did or not.
    known: usize,
    missing: Vec<Known>,
    out_of_window: Vec<Touched>,
    recheck: Vec<Touched>,
    /// Instances of series without master whose objects are gone.
    cancelled: Vec<RemoteChange>,
}

impl Turn<'_> {
    /// Ends the listing: sweeps when it was complete, and commits the cursor.
    pub(super) async fn complete(&mut self, token: Option<SyncToken>) -> Result<Turned, Stop> {
        if self.state.listing == Listing::Delta {
            return self.end(token, None).await;
        }
        let began = self.state.generation_started_at.unwrap_or(Timestamp::ZERO);
        self.derive_spans().await?;
        let unseen = self.unseen(began).await?;
        self.set_aside(&unseen, began).await?;
        let missing: Vec<EventId> = unseen.missing.iter().map(|row| row.id).collect();
        let now = self.sync.clock.now();
        match judge(&missing, unseen.known, self.state.sweep.as_ref(), now) {
            Verdict::Wait(doubt) => self.end(token, Some(doubt)).await,
            Verdict::Sweep => {
                for instances in unseen.cancelled.chunks(SWEPT_AT_ONCE) {
                    self.apply(instances, began, Along::default()).await?;
                }
                for rows in unseen.missing.chunks(SWEPT_AT_ONCE) {
                    let removed =
                        |row: &Known| RemoteChange::Removed { provider_id: row.provider_id.clone() };
                    let changes: Vec<RemoteChange> = rows.iter().map(removed).collect();
                    self.apply(&changes, began, Along::default()).await?;
                }
                self.end(token, None).await
            }
        }
    }

    /// What the calendar's events mean in UTC follows the zone data; a complete listing comes once a day.
    async fn derive_spans(&mut self) -> Result<(), Stop> {
        let tx = self.sync.store.read(self.scope()).await?;
        if !apply::has_old_spans(&tx, self.key.calendar_id, DATA_VERSION).await? {
            return Ok(());
        }
        drop(tx);
        loop {
            let tx = self.begin().await?;
            let derived = apply::derive_spans(&tx, self.key.calendar_id, DATA_VERSION).await?;
            if derived == 0 {
                return Ok(());
            }
            self.commit(tx).await?;
        }
    }

    async fn end(&mut self, token: Option<SyncToken>, doubt: Option<SweepInDoubt>) -> Result<Turned, Stop> {
        let (fresh_at, full_at) = (self.state.fresh_at, self.state.full_at);
        let used_tables = self.state.pages > 0;
        self.mark_complete(token);
        if doubt.is_some() {
            // Not applied as it stands: the calendar is no fresher than it was, and is listed in full again.
            self.state.fresh_at = fresh_at;
            self.state.full_at = full_at;
            self.state.requires_full = true;
            self.state.sweep = doubt;
        }
        self.state.pages = 0;
        let is_quiet =
            !self.counts.has_changes() && self.committed.phase == calfleet_store::calendar_sync::Phase::Idle;
        if is_quiet && !used_tables {
            return Ok(Turned::Unchanged);
        }
        let tx = self.begin().await?;
        if used_tables {
            listing::clear(&tx, self.key.calendar_id).await?;
        }
        if let (Listing::Full, Some(began)) = (self.state.listing, self.state.generation_started_at) {
            occurrences::forget(&tx, self.key.calendar_id, began).await?;
        }
        self.commit(tx).await?;
        Ok(Turned::Complete)
    }

    /// Compares what is known with what was named, in the order of the ids and a part at a time.
    async fn unseen(&mut self, began: Timestamp) -> Result<Unseen, Stop> {
        let tx = self.sync.store.read(self.scope()).await?;
        if self.state.pages > 0 {
            self.named.extend(listing::named(&tx, self.key.calendar_id, self.state.generation).await?);
        }
        let mut unseen = Unseen::default();
        let mut after = None;
        loop {
            let rows = events::known(&tx, self.key.calendar_id, began, after, KNOWN_AT_ONCE).await?;
            let Some(last) = rows.last() else {
                match self.coverage {
                    Coverage::Window { from, until } => self.spare(&tx, &mut unseen, from, until).await?,
                    Coverage::Everything | Coverage::NotEnded => self.bereft(&tx, &mut unseen).await?,
                }
                return Ok(unseen);
            };
            after = Some(last.id);
            for row in rows {
                let fate = fate(&row, began, self.coverage);
                unseen.known += usize::from(fate == Fate::Missing);
                if self.named.contains(&ListingHash::of(&row.provider_id)) {
                    continue;
                }
                let touched = Touched { id: row.id, lock_version: row.lock_version };
                match fate {
                    Fate::Keep => {}
                    Fate::Recheck => unseen.recheck.push(touched),
                    Fate::OutOfWindow => unseen.out_of_window.push(touched),
                    Fate::Missing => unseen.missing.push(row),
                }
            }
        }
    }

    /// Series that reach across the window without an instance in it: nothing in there could have named them. Nor
    /// could it name the objects of instances outside, which therefore prove nothing.
    async fn spare(
        &self,
        tx: &Tx,
        unseen: &mut Unseen,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<(), Stop> {
        let (Some(from), Some(until)) = (from.to_utc(), until.to_utc()) else { return Ok(()) };
        let one = Budget { instances: 1, ..Budget::default() };
        let is_outside = |row: &StoredRow| {
            let series = row.event.event.as_ref().filter(|event| matches!(event.body, Body::Series(_)));
            series.is_some_and(|event| expand(event, from..until, Tz::UTC, &one).instances.is_empty())
        };
        let mut spared = HashSet::new();
        for some in unseen.missing.chunks(SWEPT_AT_ONCE) {
            let ids: Vec<&ProviderId> = some.iter().map(|row| &row.provider_id).collect();
            let rows = events::load_for_page(tx, self.key.calendar_id, &ids).await?;
            spared.extend(rows.iter().filter(|row| is_outside(row)).map(|row| row.event.id));
        }
        let is_spared = |row: &Known| spared.contains(&row.id);
        let touched = |row: &Known| Touched { id: row.id, lock_version: row.lock_version };
        unseen.out_of_window.extend(unseen.missing.iter().filter(|row| is_spared(row)).map(touched));
        unseen.missing.retain(|row| !is_spared(row));
        unseen.known = unseen.known.saturating_sub(spared.len());
        Ok(())
    }

    /// Series that were named while an instance's own object was not: read singly, they tell whether it still
    /// departs from its rule.
    async fn bereft(&self, tx: &Tx, unseen: &mut Unseen) -> Result<(), Stop> {
        let objects = occurrences::objects(tx, self.key.calendar_id).await?;
        let is_named = |id: &ProviderId| self.named.contains(&ListingHash::of(id));
        let mut gone: HashMap<&ProviderId, Vec<&ProviderId>> = HashMap::new();
        for (series, object) in &objects {
            if is_named(series) && !is_named(object) {
                gone.entry(series).or_default().push(object);
            }
        }
        let bereft: Vec<&ProviderId> = gone.keys().copied().collect();
        for row in events::load_for_page(tx, self.key.calendar_id, &bereft).await? {
            let objects = gone.get(&row.event.provider_id).into_iter().flatten();
            let instances: Vec<RemoteChange> = objects.filter_map(|object| cancelled(&row, object)).collect();
            if instances.is_empty() {
                let lock_version = row.event.lock_version;
                unseen.recheck.push(Touched { id: row.event.id, lock_version });
            }
            unseen.cancelled.extend(instances);
        }
        Ok(())
    }

    /// What was not named, without that being a deletion.
    async fn set_aside(&mut self, unseen: &Unseen, began: Timestamp) -> Result<(), Stop> {
        for rows in unseen.recheck.chunks(SWEPT_AT_ONCE) {
            let writes = PageWrites { recheck: rows.to_vec(), ..PageWrites::default() };
            self.set_some_aside(writes, began).await?;
        }
        for rows in unseen.out_of_window.chunks(SWEPT_AT_ONCE) {
            let writes = PageWrites { out_of_window: rows.to_vec(), ..PageWrites::default() };
            self.set_some_aside(writes, began).await?;
        }
        Ok(())
    }

    /// The same of a part, so that no other writer waits long. Where others have changed its rows meanwhile, those are
    /// read singly all the same, but put out of the window by a listing that knows of the change.
    async fn set_some_aside(&mut self, mut writes: PageWrites, began: Timestamp) -> Result<(), Stop> {
        for _ in 0..PLANS {
            let tx = self.begin().await?;
            match apply::apply(&tx, self.key, &writes, &self.stamp(began)).await {
                Ok(Applied::Written) => {}
                Ok(Applied::Outdated) => {
                    tx.rollback().await?;
                    self.follow_changes(&mut writes).await?;
                    continue;
                }
                Err(error) if error.is_busy() => continue,
                Err(error) => return Err(error.into()),
            }
            self.commit(tx).await?;
            let of = |rows: &[Touched]| u64::try_from(rows.len()).unwrap_or(u64::MAX);
            let (rechecked, out_of_window) = (of(&writes.recheck), of(&writes.out_of_window));
            self.counts.add(Counts { out_of_window, rechecked, ..Counts::default() });
            return Ok(());
        }
        Err(Stop::Contended)
    }

    async fn follow_changes(&self, writes: &mut PageWrites) -> Result<(), Stop> {
        let rows = [writes.recheck.as_slice(), &writes.out_of_window].concat();
        let tx = self.sync.store.read(self.scope()).await?;
        let current = apply::lock_versions(&tx, &rows).await?;
        writes.recheck.retain(|row| current.contains_key(&row.id));
        for row in &mut writes.recheck {
            row.lock_version = current.get(&row.id).copied().unwrap_or(row.lock_version);
        }
        writes.out_of_window.retain(|row| current.get(&row.id) == Some(&row.lock_version));
        Ok(())
    }
}
