//! One event: its waiting entries become one write, found again if its answer was lost.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::{Ask, Asker, Kind, Lane, WorkKey};
use calfleet_domain::model::{Event, EventId, Notify, OutboxId, RemoteChange, Revision};
use calfleet_domain::reconcile::{Context, version};
use calfleet_domain::recurrence::zone::DATA_VERSION;
use calfleet_providers::driver::{Agreed, CalendarRef, Change, DriverError, Problem, Write, Written};
use calfleet_store::apply::{self, Applied, CalendarKey, Deletion, PageWrites, Stamp, Touched};
use calfleet_store::calendar_sync::{self, Target, Thoroughness};
use calfleet_store::calendars::{self, Calendar};
use calfleet_store::events::{self, StoredRow};
use calfleet_store::outbox::{self, OutboxEntry};
use calfleet_store::{Priority, StoreError, Tx, conflicts, work};

use super::Push;
use super::settle::{self, Place, Remains, Settled, Shown};
use super::trouble::{self, Attempted, Trouble};

/// How often an answer is planned anew because others changed the row meanwhile.
const PLANS: usize = 5;

/// What came of an event's entries.
#[derive(Debug)]
pub(super) enum Step {
    /// The provider has what they asked for.
    Delivered,
    /// Nothing had to be written any more.
    Needless,
    /// They wait, with their reason; others go on.
    Deferred(FailureClass, String),
    /// Given up, or left to a person.
    SetAside(Option<(FailureClass, String)>),
    /// They wait, and so does everything else of the connection.
    Stop(FailureClass, String),
}

/// An event as it is when its entries are taken up.
struct Held {
    row: StoredRow,
    calendar: Calendar,
    raw: Option<String>,
    is_in_conflict: bool,
    /// When the calendar was last listed: what the listing did not show has happened since.
    listed_at: Option<Timestamp>,
}

/// What there is to write.
enum Wanted {
    /// Nothing.
    Nothing,
    /// To forget an event that was made and deleted before the provider heard of it.
    Forget,
    /// Something.
    Write,
}

impl Held {
    fn wanted(&self) -> Wanted {
        let stored = &self.row.event;
        match (&stored.base, &stored.event) {
            (None, None) if stored.edited_at.is_some() => Wanted::Forget,
            (None, None) => Wanted::Nothing,
            (None, Some(_)) if stored.edited_at.is_none() => Wanted::Nothing,
            (Some(base), Some(event)) if version::is_same(base, event) => Wanted::Nothing,
            _ => Wanted::Write,
        }
    }

    fn change(&self) -> Option<Change<'_>> {
        let stored = &self.row.event;
        let agreed = |event| Agreed {
            event,
            revision: stored.revision.as_ref().filter(|Revision(text)| !text.is_empty()),
            raw: self.raw.as_deref(),
            instances: &self.row.instances,
        };
        match (&stored.base, &stored.event) {
            (Some(base), Some(after)) => Some(Change::Update { held: agreed(base), after }),
            (Some(base), None) => Some(Change::Delete { held: agreed(base) }),
            (None, Some(event)) => Some(Change::Create(event)),
            (None, None) => None,
        }
    }

    fn place(&self) -> CalendarRef {
        CalendarRef {
            provider_id: self.calendar.remote.provider_id.clone(),
            time_zone: self.calendar.remote.time_zone.clone(),
        }
    }
}

impl Push<'_> {
    /// Delivers the entries of one event.
    pub(super) async fn event(&self, entries: &[OutboxEntry]) -> Result<Step, StoreError> {
        let Some(first) = entries.first() else { return Ok(Step::Needless) };
        let ids: Vec<OutboxId> = entries.iter().map(|entry| entry.id).collect();
        let notify = entries.iter().map(|entry| entry.notify).max().unwrap_or(Notify::None);
        let mut may_be_applied = entries.iter().any(|entry| entry.sent_at.is_some());
        let mut is_delivered = may_be_applied;
        let mut repeats = 0;
        loop {
            let Some(held) = self.held(first.event_id).await? else {
                return self.close(&ids, None).await;
            };
            if held.is_in_conflict {
                self.settle(&ids, &[]).await?;
                return Ok(Step::SetAside(None));
            }
            let attempted = match (may_be_applied, held.wanted()) {
                (true, _) => self.look(&held, &ids).await?,
                (false, Wanted::Nothing) => return self.close(&ids, Some(&held)).await,
                (false, Wanted::Forget) => return self.forget(&ids, &held).await,
                (false, Wanted::Write) => {
                    is_delivered = true;
                    self.write(&held, &ids, notify).await?
                }
            };
            match attempted {
                Ok(Remains::Nothing) if is_delivered => return Ok(Step::Delivered),
                Ok(Remains::Nothing) => return Ok(Step::Needless),
                Ok(Remains::Decision) => return Ok(Step::SetAside(None)),
                Ok(Remains::Edits) if may_be_applied => may_be_applied = false,
                // Edited while it was on its way: a later entry says so, and takes its turn.
                Ok(Remains::Edits) => return Ok(Step::Delivered),
                Err(error) => {
                    let now = self.clock.now();
                    let give_up_after = self.settings.give_up_after;
                    let attempted = Attempted { entries, repeats, give_up_after, now };
                    match trouble::of(&error, &attempted, self.rng) {
                        Trouble::ReadAgain => {
                            repeats += 1;
                            may_be_applied = true;
                        }
                        trouble => return self.trouble(&ids, &error, trouble).await,
                    }
                }
            }
        }
    }

    async fn held(&self, id: EventId) -> Result<Option<Held>, StoreError> {
        let tx = self.store.read(self.scope()).await?;
        let Some(row) = events::load(&tx, id).await? else { return Ok(None) };
        let Some(calendar) = calendars::load(&tx, row.event.calendar_id).await? else { return Ok(None) };
        let raw = apply::payload(&tx, id).await?;
        let is_in_conflict = conflicts::is_open(&tx, id).await?;
        let sync = calendar_sync::of_calendar(&tx, calendar.id).await?;
        let listed_at = sync.and_then(|sync| sync.fresh_at);
        Ok(Some(Held { row, calendar, raw, is_in_conflict, listed_at }))
    }

    /// Reads the object before anything is written: an earlier attempt may have been applied.
    async fn look(&self, held: &Held, ids: &[OutboxId]) -> Result<Result<Remains, DriverError>, StoreError> {
        let requested_at = self.clock.now();
        let id = &held.row.event.provider_id;
        let read = self.driver.read(&held.place(), std::slice::from_ref(id)).await;
        let change = match read {
            // Under its own name by now, where it was asked for by ours.
            Ok(changes) => changes.into_iter().next(),
            Err(error) => return Ok(Err(error)),
        };
        let shown = match &change {
            Some(RemoteChange::Upsert(remote)) => Shown::Present(remote),
            Some(RemoteChange::Removed { .. }) => Shown::Absent,
            _ => {
                let reason = "the event cannot be read at present".to_owned();
                let problem = Problem::UnreadableAnswer { reason };
                return Ok(Err(DriverError::new("read an event", FailureClass::Transient, problem)));
            }
        };
        let context = self.context(held, requested_at);
        let plan = |row: &StoredRow, place: &Place<'_>| settle::after_reading(row, shown, place);
        self.apply(held, ids, &context, plan).await.map(Ok)
    }

    /// Marks the entries as sent, writes, and takes over the answer.
    async fn write(
        &self,
        held: &Held,
        ids: &[OutboxId],
        notify: Notify,
    ) -> Result<Result<Remains, DriverError>, StoreError> {
        let Some(change) = held.change() else { return Ok(Ok(Remains::Nothing)) };
        let tx = self.begin().await?;
        outbox::mark_sent(&tx, ids, self.clock.now()).await?;
        self.commit(tx).await?;
        let requested_at = self.clock.now();
        let write = Write { provider_id: &held.row.event.provider_id, change, notify };
        let written = match self.driver.write(&held.place(), &write).await {
            Ok(written) => written,
            Err(error) => return Ok(Err(error)),
        };
        let sent: Option<&Event> = held.row.event.event.as_ref();
        let shown = match &written {
            Written::Held(remote) => Shown::Present(remote),
            Written::Gone => Shown::Absent,
        };
        let context = self.context(held, requested_at);
        let plan = |row: &StoredRow, place: &Place<'_>| settle::after_writing(row, sent, shown, place);
        self.apply(held, ids, &context, plan).await.map(Ok)
    }

    /// Applies what a plan makes of the row as it is by now, and settles the entries unless edits remain that they
    /// stand for.
    async fn apply(
        &self,
        held: &Held,
        ids: &[OutboxId],
        context: &Context,
        plan: impl Fn(&StoredRow, &Place<'_>) -> Settled,
    ) -> Result<Remains, StoreError> {
        let key = CalendarKey {
            organization_id: self.connection.organization_id,
            connection_id: self.connection.id,
            calendar_id: held.calendar.id,
        };
        let mut row = held.row.clone();
        for _ in 0..PLANS {
            let now = self.clock.now();
            let place = Place {
                key,
                calendar: &held.calendar,
                provider: self.connection.settings.provider,
                context,
                now,
                rng: self.rng,
            };
            let Settled { writes, remains } = plan(&row, &place);
            let tx = self.begin().await?;
            let stamp = Stamp { now, requested_at: context.requested_at, zone_data: DATA_VERSION };
            match apply::apply(&tx, key, &writes, &stamp).await {
                Ok(Applied::Written) => {}
                Ok(Applied::Outdated) => {
                    tx.rollback().await?;
                    let tx = self.store.read(self.scope()).await?;
                    match events::load(&tx, held.row.event.id).await? {
                        Some(current) => row = current,
                        None => return Ok(Remains::Nothing),
                    }
                    continue;
                }
                Err(error) if error.is_busy() => continue,
                Err(error) => return Err(error),
            }
            // What an answered write leaves belongs to entries that came later.
            let is_answered = !writes.settled.is_empty();
            if is_answered || remains != Remains::Edits {
                outbox::settle(&tx, ids, now).await?;
            }
            let waits_since = row.recheck_at.map(|at| at.max(now));
            let again = writes.read_again.iter().map(|again| again.at).chain(waits_since).min();
            if let Some(at) = again {
                self.ask_to_read(&tx, held, at).await?;
            }
            self.commit(tx).await?;
            return Ok(remains);
        }
        Ok(Remains::Edits)
    }

    /// The calendar is to read the event again: it has waited for this answer, or the provider is not done yet.
    async fn ask_to_read(&self, tx: &Tx, held: &Held, at: Timestamp) -> Result<(), StoreError> {
        let target = Target::Calendar(held.calendar.id);
        calendar_sync::ask(tx, target, Thoroughness::Changes, at).await?;
        let ask = Ask {
            key: WorkKey { kind: Kind::Sync, target: self.connection.id.0 },
            organization_id: self.connection.organization_id,
            connection_id: Some(self.connection.id),
            lane: Lane::Sync,
            at,
            asker: Asker::Machine,
        };
        work::ask(tx, &[ask]).await.map(drop)
    }

    /// Nothing has to be written: both sides agree already, or the event is gone from our tables.
    async fn close(&self, ids: &[OutboxId], held: Option<&Held>) -> Result<Step, StoreError> {
        let has_base = held.is_some_and(|held| held.row.event.base.is_some());
        let rows: Vec<&StoredRow> = held.filter(|_| has_base).map(|held| &held.row).into_iter().collect();
        self.settle(ids, &rows).await?;
        Ok(Step::Needless)
    }

    /// Settles entries; `agreed` are rows whose edits turned out to be none.
    async fn settle(&self, ids: &[OutboxId], agreed: &[&StoredRow]) -> Result<(), StoreError> {
        let now = self.clock.now();
        let tx = self.begin().await?;
        for row in agreed {
            // a row that somebody has just edited again keeps its edits, and its later entry
            apply::agree(&tx, Touched { id: row.event.id, lock_version: row.event.lock_version }, now)
                .await?;
        }
        outbox::settle(&tx, ids, now).await?;
        self.commit(tx).await
    }

    /// An event that was made and deleted before the provider heard of it.
    async fn forget(&self, ids: &[OutboxId], held: &Held) -> Result<Step, StoreError> {
        let now = self.clock.now();
        let row = Touched { id: held.row.event.id, lock_version: held.row.event.lock_version };
        let deletions = vec![Deletion { row, base: None, edited_at: None }];
        let key = CalendarKey {
            organization_id: self.connection.organization_id,
            connection_id: self.connection.id,
            calendar_id: held.calendar.id,
        };
        let tx = self.begin().await?;
        let stamp = Stamp { now, requested_at: now, zone_data: DATA_VERSION };
        let writes = PageWrites { deletions, ..PageWrites::default() };
        if apply::apply(&tx, key, &writes, &stamp).await? == Applied::Outdated {
            tx.rollback().await?;
            return Ok(Step::Needless); // edited meanwhile: the next look sees what is wanted now
        }
        outbox::settle(&tx, ids, now).await?;
        self.commit(tx).await?;
        Ok(Step::Needless)
    }

    async fn trouble(
        &self,
        ids: &[OutboxId],
        error: &DriverError,
        trouble: Trouble,
    ) -> Result<Step, StoreError> {
        tracing::info!(error = error as &dyn std::error::Error, "a write was not delivered");
        let text = error.problem.to_string();
        let tx = self.begin().await?;
        let step = match trouble {
            Trouble::Defer(setback) => {
                outbox::defer(&tx, ids, &setback).await?;
                Step::Deferred(error.class, text)
            }
            Trouble::Stop(setback) => {
                outbox::defer(&tx, ids, &setback).await?;
                Step::Stop(error.class, text)
            }
            Trouble::GiveUp(problem) => {
                outbox::bury(&tx, ids, error.class, &problem).await?;
                Step::SetAside(Some((error.class, text)))
            }
            Trouble::ReadAgain => Step::Needless,
        };
        self.commit(tx).await?;
        Ok(step)
    }

    fn context(&self, held: &Held, requested_at: Timestamp) -> Context {
        Context {
            policy: self.connection.settings.conflict_policy,
            requested_at,
            listed_without_at: held.listed_at,
            provider_clock_offset_ms: 0,
        }
    }

    async fn begin(&self) -> Result<Tx, StoreError> {
        self.store.begin(self.scope(), Priority::Interactive).await
    }

    async fn commit(&self, tx: Tx) -> Result<(), StoreError> {
        work::fence(&tx, self.claim, self.settings.lease, self.clock.now()).await?;
        tx.commit().await
    }
}
