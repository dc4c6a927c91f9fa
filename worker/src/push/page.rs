//! A page of events: what they want travels together, and what came of it is stored together.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::job::{Ask, Asker, Kind, Lane, WorkKey};
use calfleet_domain::model::{CalendarId, Event, OutboxId};
use calfleet_domain::reconcile::Context;
use calfleet_domain::recurrence::zone::DATA_VERSION;
use calfleet_providers::driver::{CalendarRef, DriverError, Written};
use calfleet_store::apply::{self, Applied, CalendarKey, Deletion, PageWrites, ReadAgain, Stamp, Touched};
use calfleet_store::calendar_sync::{self, Target, Thoroughness};
use calfleet_store::events::{self, StoredRow};
use calfleet_store::history::CauseId;
use calfleet_store::outbox::{self, OutboxEntry, Sending};
use calfleet_store::{Priority, StoreError, Tx, calendars, conflicts, work};

use super::Push;
use super::event::{Held, Step, Task, Wanted};
use super::settle::{self, Place, Remains, Settled, Shown};
use super::trouble::{self, Attempted, Trouble};

/// How often an answer is planned anew because others changed the row meanwhile.
const PLANS: usize = 5;

/// What the provider answered about one event.
struct Answer {
    /// Its place on the page.
    place: usize,
    held: Held,
    /// Whether it was written, or only read.
    is_written: bool,
    /// What it was to say when it was written, now or by an attempt whose answer was lost.
    sent: Option<Event>,
    shown: Written,
}

impl Push<'_> {
    /// Delivers the entries of some events; what came of each, in their order.
    pub(super) async fn page(&self, groups: &[Vec<OutboxEntry>]) -> Result<Vec<Step>, StoreError> {
        let mut tasks: Vec<Task<'_>> = groups.iter().map(|entries| Task::of(entries)).collect();
        while tasks.iter().any(|task| task.step.is_none()) {
            self.round(&mut tasks).await?;
        }
        Ok(tasks.into_iter().filter_map(|task| task.step).collect())
    }

    /// One errand for each event that is still under way, all of them together.
    async fn round(&self, tasks: &mut [Task<'_>]) -> Result<(), StoreError> {
        let mut asked: Vec<(usize, Held)> = Vec::new();
        for (place, held) in self.held(tasks).await? {
            let Some(task) = tasks.get_mut(place) else { continue };
            task.step = match held {
                None => Some(self.close(&task.ids, None).await?),
                Some(held) if held.is_in_conflict => {
                    self.settle(&task.ids, &[]).await?;
                    Some(Step::SetAside(None))
                }
                Some(held) => match (task.may_be_applied, held.wanted()) {
                    (false, Wanted::Nothing) => Some(self.close(&task.ids, Some(&held)).await?),
                    (false, Wanted::Forget) => Some(self.forget(&task.ids, &held).await?),
                    (true, _) | (false, Wanted::Write) => {
                        task.is_delivered = true;
                        task.has_steps = held.has_steps();
                        asked.push((place, held));
                        None
                    }
                },
            };
        }
        if asked.is_empty() {
            return Ok(());
        }
        self.mark_sent(tasks, &asked).await?;
        let requested_at = self.clock.now();
        let errands: Vec<_> = asked
            .iter()
            .filter_map(|(place, held)| tasks.get(*place).and_then(|task| held.errand(task)))
            .collect();
        let results = self.driver.together(&errands).await;
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        for ((place, held), result) in asked.into_iter().zip(results) {
            let is_written = tasks.get(place).is_some_and(|task| !task.may_be_applied);
            match result {
                Ok(shown) => {
                    let sent = if is_written { &held.row.event.event } else { &held.unanswered }.clone();
                    answers.push(Answer { place, held, is_written, sent, shown });
                }
                Err(error) => failures.push((place, held.judged(error))),
            }
        }
        for (place, remains) in self.apply(tasks, answers, requested_at).await? {
            let Some(task) = tasks.get_mut(place) else { continue };
            match remains {
                Remains::Nothing if task.is_delivered => task.step = Some(Step::Delivered),
                Remains::Nothing => task.step = Some(Step::Needless),
                Remains::Decision => task.step = Some(Step::SetAside(None)),
                Remains::Edits if task.may_be_applied => task.may_be_applied = false,
                // Edited while it was on its way: a later entry says so, and takes its turn.
                Remains::Edits => task.step = Some(Step::Delivered),
            }
        }
        self.failed(tasks, &failures).await
    }

    /// The events that are still under way, by their places.
    async fn held(&self, tasks: &[Task<'_>]) -> Result<Vec<(usize, Option<Held>)>, StoreError> {
        let tx = self.store.read(self.scope()).await?;
        let in_doubt = tasks.iter().filter(|task| task.step.is_none() && task.may_be_applied);
        let mut unanswered =
            outbox::unanswered(&tx, &in_doubt.filter_map(Task::event).collect::<Vec<_>>()).await?;
        let mut known = BTreeMap::new();
        let mut all = Vec::new();
        for (place, task) in tasks.iter().enumerate().filter(|(_, task)| task.step.is_none()) {
            let Some(id) = task.event() else { continue };
            let Some(row) = events::load(&tx, id).await? else {
                all.push((place, None));
                continue;
            };
            let calendar_id = row.event.calendar_id;
            if let Entry::Vacant(slot) = known.entry(calendar_id) {
                let sync = calendar_sync::of_calendar(&tx, calendar_id).await?;
                let listed_at = sync.and_then(|sync| sync.fresh_at);
                slot.insert((calendars::load(&tx, calendar_id).await?, listed_at));
            }
            let Some((Some(calendar), listed_at)) = known.get(&calendar_id).cloned() else {
                all.push((place, None));
                continue;
            };
            let at = CalendarRef::from(&calendar.remote);
            let raw = apply::payload(&tx, id).await?;
            let is_in_conflict = conflicts::is_open(&tx, id).await?;
            let unanswered = unanswered.remove(&id);
            let held = Held { row, calendar, place: at, raw, is_in_conflict, listed_at, unanswered };
            all.push((place, Some(held)));
        }
        Ok(all)
    }

    /// Marks the entries of what is about to be written, before anything is.
    async fn mark_sent(&self, tasks: &[Task<'_>], asked: &[(usize, Held)]) -> Result<(), StoreError> {
        let asked = asked.iter().filter_map(|(place, held)| Some((tasks.get(*place)?, held)));
        let written = asked.filter(|(task, _)| !task.may_be_applied);
        let sending: Vec<Sending<'_>> = written
            .map(|(task, held)| Sending { entries: &task.ids, event: held.row.event.event.as_ref() })
            .collect();
        if sending.is_empty() {
            return Ok(());
        }
        let tx = self.begin().await?;
        outbox::mark_sent(&tx, &sending, self.clock.now()).await?;
        self.commit(tx).await
    }

    /// Applies what was answered, a calendar at a time; what remains of each event.
    async fn apply(
        &self,
        tasks: &[Task<'_>],
        answers: Vec<Answer>,
        requested_at: Timestamp,
    ) -> Result<Vec<(usize, Remains)>, StoreError> {
        let mut calendars: BTreeMap<CalendarId, Vec<Answer>> = BTreeMap::new();
        for answer in answers {
            calendars.entry(answer.held.calendar.id).or_default().push(answer);
        }
        let mut all = Vec::new();
        for mut answers in calendars.into_values() {
            if answers.len() > 1
                && let Ok(Some(remains)) = self.apply_once(tasks, &answers, requested_at).await
            {
                all.extend(remains);
                continue;
            }
            // One of them is not what it was when it was read: each for itself.
            for answer in &mut answers {
                all.push((answer.place, self.apply_one(tasks, answer, requested_at).await?));
            }
        }
        Ok(all)
    }

    /// Plans from the row as it is by now, however often others change it.
    async fn apply_one(
        &self,
        tasks: &[Task<'_>],
        answer: &mut Answer,
        requested_at: Timestamp,
    ) -> Result<Remains, StoreError> {
        for _ in 0..PLANS {
            match self.apply_once(tasks, std::slice::from_ref(answer), requested_at).await {
                Ok(Some(remains)) => {
                    return Ok(remains.first().map_or(Remains::Nothing, |(_, remains)| *remains));
                }
                Ok(None) => {
                    let tx = self.store.read(self.scope()).await?;
                    match events::load(&tx, answer.held.row.event.id).await? {
                        Some(current) => answer.held.row = current,
                        None => return Ok(Remains::Nothing),
                    }
                }
                Err(error) if error.is_busy() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Remains::Edits)
    }

    /// Applies answers about events of one calendar in one transaction, and settles the entries of those of which no
    /// edits remain that they stand for. `None` when a row has changed meanwhile: nothing was written.
    async fn apply_once(
        &self,
        tasks: &[Task<'_>],
        answers: &[Answer],
        requested_at: Timestamp,
    ) -> Result<Option<Vec<(usize, Remains)>>, StoreError> {
        let Some(first) = answers.first() else { return Ok(Some(Vec::new())) };
        let (key, now) = (self.key(&first.held), self.clock.now());
        let mut writes = PageWrites::default();
        let (mut all, mut answered, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for answer in answers {
            let Settled { writes: mut own, remains } = self.planned(answer, requested_at, now);
            // What a page has shown meanwhile may be newer than this answer, and is shown by no page again.
            let row = &answer.held.row;
            own.read_again.extend(row.recheck_at.map(|at| ReadAgain { id: row.event.id, at }));
            // What an answered write leaves belongs to entries that came later.
            if let Some(task) = tasks.get(answer.place)
                && (!own.settled.is_empty() || remains != Remains::Edits)
            {
                answered.push(task.ids.as_slice());
            }
            again.extend(own.read_again.iter().map(|again| again.at.max(now)));
            settle::join(&mut writes, own);
            all.push((answer.place, remains));
        }
        let tx = self.begin().await?;
        let stamp =
            Stamp { now, requested_at, zone_data: DATA_VERSION, cause_id: Some(CauseId::Run(self.run)) };
        if apply::apply(&tx, key, &writes, &stamp).await? == Applied::Outdated {
            tx.rollback().await?;
            return Ok(None);
        }
        outbox::settle(&tx, &answered, now).await?;
        if let Some(at) = again.into_iter().min() {
            self.ask_to_read(&tx, key.calendar_id, at).await?;
        }
        self.commit(tx).await?;
        Ok(Some(all))
    }

    fn planned(&self, answer: &Answer, requested_at: Timestamp, now: Timestamp) -> Settled {
        let held = &answer.held;
        let context = Context {
            policy: self.connection.settings.conflict_policy,
            requested_at,
            listed_without_at: held.listed_at,
            provider_clock_offset_ms: 0,
        };
        let place = Place {
            key: self.key(held),
            calendar: &held.calendar,
            provider: self.connection.settings.provider,
            context: &context,
            now,
            rng: self.rng,
        };
        let shown = match &answer.shown {
            Written::Held(remote) => Shown::Present(remote),
            Written::Gone => Shown::Absent,
        };
        let row: &StoredRow = &held.row;
        if answer.is_written {
            settle::after_writing(row, answer.sent.as_ref(), shown, &place)
        } else {
            settle::after_reading(row, answer.sent.as_ref(), shown, &place)
        }
    }

    fn key(&self, held: &Held) -> CalendarKey {
        CalendarKey {
            organization_id: self.connection.organization_id,
            connection_id: self.connection.id,
            calendar_id: held.calendar.id,
        }
    }

    /// The calendar is to read events again: they have waited for this answer, or the provider is not done yet.
    async fn ask_to_read(&self, tx: &Tx, calendar: CalendarId, at: Timestamp) -> Result<(), StoreError> {
        let target = Target::Calendar(calendar);
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
        outbox::settle(&tx, &[ids], now).await?;
        self.commit(tx).await
    }

    /// An event that was made and deleted before the provider heard of it.
    async fn forget(&self, ids: &[OutboxId], held: &Held) -> Result<Step, StoreError> {
        let now = self.clock.now();
        let row = Touched { id: held.row.event.id, lock_version: held.row.event.lock_version };
        let deletions = vec![Deletion { row, base: None, edited_at: None }];
        let key = self.key(held);
        let tx = self.begin().await?;
        let stamp =
            Stamp { now, requested_at: now, zone_data: DATA_VERSION, cause_id: Some(CauseId::Run(self.run)) };
        let writes = PageWrites { deletions, ..PageWrites::default() };
        if apply::apply(&tx, key, &writes, &stamp).await? == Applied::Outdated {
            tx.rollback().await?;
            return Ok(Step::Needless); // edited meanwhile: the next look sees what is wanted now
        }
        outbox::settle(&tx, &[ids], now).await?;
        self.commit(tx).await?;
        Ok(Step::Needless)
    }

    /// What follows from failures, all of it in one transaction.
    async fn failed(
        &self,
        tasks: &mut [Task<'_>],
        failures: &[(usize, DriverError)],
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut ends = Vec::new();
        for (place, error) in failures {
            let Some(task) = tasks.get_mut(*place) else { continue };
            let Task { entries, has_steps, repeats, .. } = *task;
            let give_up_after = self.settings.give_up_after;
            let attempted = Attempted { entries, has_steps, repeats, give_up_after, now };
            match trouble::of(error, &attempted, self.rng) {
                Trouble::ReadAgain => {
                    task.repeats += 1;
                    task.may_be_applied = true;
                }
                trouble => ends.push((*place, error, trouble)),
            }
        }
        if ends.is_empty() {
            return Ok(());
        }
        let tx = self.begin().await?;
        for (place, error, trouble) in ends {
            let Some(task) = tasks.get_mut(place) else { continue };
            tracing::info!(error = error as &dyn std::error::Error, "a write was not delivered");
            let (class, text) = (error.class, error.problem.to_string());
            task.step = Some(match trouble {
                Trouble::Defer(setback) => {
                    outbox::defer(&tx, &task.ids, &setback).await?;
                    Step::Deferred(class, text)
                }
                Trouble::Stop(setback) => {
                    outbox::defer(&tx, &task.ids, &setback).await?;
                    Step::Stop(class, text)
                }
                Trouble::GiveUp(problem) => {
                    outbox::bury(&tx, &task.ids, class, &problem).await?;
                    Step::SetAside(Some((class, text)))
                }
                Trouble::ReadAgain => Step::Needless,
            });
        }
        self.commit(tx).await
    }

    async fn begin(&self) -> Result<Tx, StoreError> {
        self.store.begin(self.scope(), Priority::Interactive).await
    }

    async fn commit(&self, tx: Tx) -> Result<(), StoreError> {
        work::fence(&tx, self.claim, self.settings.lease, self.clock.now()).await?;
        tx.commit().await
    }
}
