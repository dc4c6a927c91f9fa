//! One run for a connection: which calendars have a turn, in which order, and what the failures of one mean for
//! the others.

use std::collections::BTreeMap;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::Lane;
use calfleet_domain::model::{CalendarId, ConnectionState, Listing};
use calfleet_providers::driver::{DriverError, Problem};
use calfleet_store::calendar_sync::{self, CalendarProblem, CalendarSync, Due, Phase, SyncedCalendar};
use calfleet_store::watches::Found;
use calfleet_store::{LastProblem, Priority, StoreError, apply, connections, work};

use super::counts::Counts;
use super::turn::{Budget, Turn, Turned};
use super::{Stop, Sync};
use crate::outcome::{Ending, Wait, wait_after};

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub ending: Ending,
    /// What it changed.
    pub counts: Counts,
    /// The last failure of a calendar or of the connection.
    pub failure: Option<Failure>,
    /// Whether it ended because the provider refused the access token.
    pub has_refused_token: bool,
    /// Calendars in which changes were found that a watch should have told.
    pub found: Vec<Found>,
}

/// A failure of the provider, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Of which kind.
    pub class: FailureClass,
    /// In words for people.
    pub problem: String,
}

/// Syncs the calendars of a connection that are due.
///
/// # Errors
/// Only when our own store failed or the lease was lost.
pub async fn connection(sync: Sync<'_>) -> Result<Report, StoreError> {
    let now = sync.clock.now();
    let budget = Budget::new(sync.settings.turn_pages, sync.settings.turn_time, now);
    let mut run = Run {
        sync,
        budget,
        calendars: Vec::new(),
        quiet: Vec::new(),
        is_refreshed: false,
        is_refused_once: false,
        noted: None,
        has_more: false,
        counts: Counts::default(),
        failure: None,
        found: Vec::new(),
    };
    let mut has_refused_token = false;
    let ending = match run.work().await {
        Ok(()) if run.has_more => Ending::Yielded,
        Ok(()) => Ending::Finished { next: run.next() },
        Err(Stop::Store(error)) => return Err(error),
        Err(Stop::Driver(error)) => {
            has_refused_token = error.problem == Problem::AccessRevoked;
            run.fail(&error).await?
        }
        Err(Stop::Contended) => Ending::Yielded,
    };
    run.note_recovery(&ending).await?;
    Ok(Report { ending, counts: run.counts, failure: run.failure, has_refused_token, found: run.found })
}

struct Run<'a> {
    sync: Sync<'a>,
    budget: Budget,
    calendars: Vec<SyncedCalendar>,
    /// Rows of calendars without a change, still to be written: all in one statement.
    quiet: Vec<(CalendarSync, Due)>,
    is_refreshed: bool,
    is_refused_once: bool,
    /// What this run has noted as a failure of the connection as a whole.
    noted: Option<LastProblem>,
    has_more: bool,
    counts: Counts,
    failure: Option<Failure>,
    found: Vec<Found>,
}

impl Run<'_> {
    async fn work(&mut self) -> Result<(), Stop> {
        let wants_calendars = self.sync.wants_calendars(self.sync.clock.now());
        let listed = if wants_calendars { self.refresh().await } else { Ok(()) };
        let mut has_missing = self.load().await?;
        if let Err(stop) = listed {
            self.listing_failed(stop).await?;
        }
        let worked = self.turns(self.due(), &mut has_missing).await;
        self.write_quiet().await?;
        worked?;
        if has_missing && !self.has_more {
            self.look_elsewhere().await?;
        }
        Ok(())
    }

    async fn refresh(&mut self) -> Result<(), Stop> {
        self.is_refreshed = true;
        let asked = self.sync.refresh_calendars().await;
        match asked {
            Err(Stop::Driver(error)) if self.is_first_refusal(&error) => {
                self.sync.refresh_calendars().await?;
            }
            other => {
                other?;
            }
        }
        Ok(())
    }

    /// Notes that the provider does not say which calendars there are. Those that are known go on, unless the
    /// failure is about the account, or there are none.
    async fn listing_failed(&mut self, stop: Stop) -> Result<(), Stop> {
        let error = match stop {
            Stop::Driver(error) if !is_about_account(&error) && !self.calendars.is_empty() => error,
            other => return Err(other),
        };
        tracing::info!(error = %error, class = error.class.as_str(), "the calendars of a connection could not be listed");
        Ok(self.note_problem(&error, None).await?)
    }

    /// Reads the calendars; whether something has been missing since the last run.
    async fn load(&mut self) -> Result<bool, StoreError> {
        let tx = self.sync.store.read(self.sync.scope()).await?;
        self.calendars = calendar_sync::of_connection(&tx, self.sync.connection.id).await?;
        Ok(!apply::missing_since(&tx, self.sync.connection.id).await?.is_empty())
    }

    /// The calendars whose turn it is: deltas first, then imports, the one that has waited longest first. When
    /// none is due, somebody asked for the connection as a whole.
    fn due(&self) -> Vec<SyncedCalendar> {
        let now = self.sync.clock.now();
        let mut due: Vec<SyncedCalendar> =
            self.calendars.iter().filter(|calendar| calendar.sync.due_at <= now).cloned().collect();
        if due.is_empty() {
            due.clone_from(&self.calendars);
        }
        due.retain(|calendar| self.earliest(&calendar.sync) <= now);
        due.sort_by_key(|calendar| {
            let sync = &calendar.sync;
            let is_import = sync.phase != Phase::Idle || sync.fresh_at.is_none() || sync.requires_full;
            (is_import, if is_import { sync.started_at } else { Some(sync.due_at) })
        });
        due
    }

    /// Before when a calendar may not run, whoever asks: a person shortens a backoff and the spacing, nobody a
    /// throttle.
    fn earliest(&self, sync: &CalendarSync) -> Timestamp {
        let is_person = self.sync.claim.lane == Lane::Interactive;
        let throttled = FailureClass::Throttled { retry_after: None }.code();
        let is_throttled = sync.problem.as_ref().is_some_and(|problem| problem.class == throttled);
        let backed_off = if is_person && !is_throttled { Timestamp::ZERO } else { sync.not_before };
        let is_spaced = !is_person && sync.phase == Phase::Idle;
        let spaced = match sync.started_at {
            Some(at) if is_spaced => at.plus(self.sync.settings.spacing),
            _ => Timestamp::ZERO,
        };
        backed_off.max(spaced)
    }

    async fn turns(&mut self, calendars: Vec<SyncedCalendar>, has_missing: &mut bool) -> Result<(), Stop> {
        for calendar in calendars {
            if self.budget.left(self.sync.clock.now()) == 0 {
                self.has_more = true;
                return Ok(());
            }
            match self.turn(&calendar, has_missing).await {
                Ok(()) => {}
                Err(Stop::Driver(error)) if self.is_first_refusal(&error) => {
                    if let Err(stop) = self.turn(&calendar, has_missing).await {
                        self.calendar_failed(&calendar, stop).await?;
                    }
                }
                Err(stop) => self.calendar_failed(&calendar, stop).await?,
            }
        }
        Ok(())
    }

    async fn turn(&mut self, calendar: &SyncedCalendar, has_missing: &mut bool) -> Result<(), Stop> {
        // As it was last committed: a second attempt in this run goes on where the first one stopped.
        let calendar = self.current(calendar);
        let mut turn = Turn::new(self.sync, &mut self.budget, &calendar, *has_missing);
        // Boxed: the state of a turn is a few kilobytes, and runs are many.
        let turned = Box::pin(turn.run()).await;
        *has_missing |= turn.has_missing;
        let (counts, committed) = (turn.counts, turn.committed.clone());
        let (state, due) = (turn.state.clone(), turn.due());
        self.counts.add(counts);
        if let (Ok(Turned::Complete), Listing::Delta, Some(since)) =
            (&turned, state.listing, calendar.sync.started_at)
            && counts.has_changes()
        {
            self.found.push(Found { calendar_id: state.calendar_id, since });
        }
        match turned {
            Ok(Turned::Unchanged) => {
                self.replace(CalendarSync { due_at: due.next, ..state.clone() });
                self.quiet.push((state, due));
            }
            // as it was committed: the wait is drawn once
            Ok(Turned::Complete) => self.replace(CalendarSync { due_at: due.next, ..state }),
            Ok(Turned::Yielded) => {
                self.replace(committed);
                self.has_more = true;
            }
            Err(stop) => {
                self.replace(committed);
                return Err(stop);
            }
        }
        Ok(())
    }

    fn current(&self, calendar: &SyncedCalendar) -> SyncedCalendar {
        let id = calendar.sync.calendar_id;
        let current = self.calendars.iter().find(|other| other.sync.calendar_id == id);
        current.unwrap_or(calendar).clone()
    }

    fn replace(&mut self, sync: CalendarSync) {
        let same = |calendar: &&mut SyncedCalendar| calendar.sync.calendar_id == sync.calendar_id;
        if let Some(calendar) = self.calendars.iter_mut().find(same) {
            calendar.sync = sync;
        }
    }

    /// A refusal of credentials is asked about once more before it is believed: servers refuse by mistake.
    fn is_first_refusal(&mut self, error: &DriverError) -> bool {
        let is_first = error.class == FailureClass::Auth && !self.is_refused_once;
        self.is_refused_once |= is_first;
        is_first
    }

    /// Notes the failure of a calendar, or passes on what is about the account or about us.
    async fn calendar_failed(&mut self, calendar: &SyncedCalendar, stop: Stop) -> Result<(), Stop> {
        let (class, code, text) = match stop {
            Stop::Store(error) => return Err(error.into()),
            Stop::Contended => (
                FailureClass::Transient,
                "contended",
                "Events of this calendar kept changing while they were synced; it is tried again by itself."
                    .to_owned(),
            ),
            Stop::Driver(error) if is_about_account(&error) => return Err(error.into()),
            Stop::Driver(error) => {
                tracing::info!(error = %error, class = error.class.as_str(), "a calendar could not be synced");
                if error.problem == Problem::NotFound && self.has_vanished(calendar).await? {
                    return Ok(());
                }
                (error.class, error.problem.code(), error.problem.to_string())
            }
        };
        let now = self.sync.clock.now();
        let mut state = self.current(calendar).sync;
        let read = state.due_at;
        let longest = self.sync.connection.settings.poll_interval;
        let Wait { until, attempt } = wait_after(class, state.attempt, longest, now, self.sync.rng);
        state.attempt = attempt;
        state.not_before = until;
        state.problem =
            Some(CalendarProblem { class: class.code(), code: code.to_owned(), text: text.clone() });
        self.failure = Some(Failure { class, problem: text });
        let tx = self.sync.store.begin(self.sync.scope(), Priority::Background).await?;
        calendar_sync::save(&tx, &[(&state, Due { read, next: until })]).await?;
        work::fence(&tx, self.sync.claim, self.sync.settings.lease, now).await?;
        tx.commit().await?;
        self.replace(CalendarSync { due_at: until, ..state });
        Ok(())
    }

    /// Whether a calendar that was not found is no longer listed either; it is then `gone`, and that is all. One that
    /// is listed under another id has its turn under that one, at once.
    async fn has_vanished(&mut self, calendar: &SyncedCalendar) -> Result<bool, Stop> {
        if !self.is_refreshed {
            self.refresh().await?;
        }
        let tx = self.sync.store.read(self.sync.scope()).await?;
        let listed = calendar_sync::of_connection(&tx, self.sync.connection.id).await?;
        let id = calendar.sync.calendar_id;
        let now = listed.into_iter().find(|other| other.sync.calendar_id == id);
        if now.as_ref().is_some_and(|now| now.provider_id == calendar.provider_id) {
            return Ok(false);
        }
        self.has_more |= now.is_some();
        self.calendars.retain(|other| other.sync.calendar_id != id);
        self.calendars.extend(now);
        Ok(true)
    }

    async fn write_quiet(&mut self) -> Result<(), StoreError> {
        if self.quiet.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.quiet);
        let tx = self.sync.store.begin(self.sync.scope(), Priority::Background).await?;
        let rows: Vec<_> = rows.iter().map(|(sync, due)| (sync, *due)).collect();
        calendar_sync::save(&tx, &rows).await?;
        work::fence(&tx, self.sync.claim, self.sync.settings.lease, self.sync.clock.now()).await?;
        tx.commit().await
    }

    /// One pass over the calendars that were last looked at before something went missing in another one: it may
    /// have moved there. What then is still missing is deleted.
    async fn look_elsewhere(&mut self) -> Result<(), Stop> {
        let missing = self.missing().await?;
        let may_hold = |calendar: &&SyncedCalendar| {
            let sync = &calendar.sync;
            let elsewhere = missing.iter().filter(|(id, _)| **id != sync.calendar_id);
            let latest = elsewhere.map(|(_, since)| *since).max();
            sync.problem.is_none() && sync.sweep.is_none() && sync.fresh_at < latest
        };
        let others: Vec<SyncedCalendar> = self.calendars.iter().filter(may_hold).cloned().collect();
        let worked = self.turns(others, &mut true).await;
        self.write_quiet().await?;
        worked?;
        for (calendar, since) in self.missing().await? {
            let seen_at = self.seen_elsewhere_at(calendar, |_| true);
            self.bury(calendar, seen_at).await?;
            // What went missing while the others were looked at waits for another pass, which begins at once; what
            // waits for a calendar in doubt waits for that one's second listing.
            self.has_more |= self.seen_elsewhere_at(calendar, |sync| sync.sweep.is_none()) < since;
        }
        Ok(())
    }

    async fn missing(&self) -> Result<BTreeMap<CalendarId, Timestamp>, StoreError> {
        let tx = self.sync.store.read(self.sync.scope()).await?;
        apply::missing_since(&tx, self.sync.connection.id).await
    }

    /// Until when all healthy calendars but this one are known, of those that are `wanted`.
    fn seen_elsewhere_at(&self, calendar: CalendarId, wanted: impl Fn(&CalendarSync) -> bool) -> Timestamp {
        let syncs = self.calendars.iter().map(|synced| &synced.sync);
        let others =
            syncs.filter(|sync| sync.calendar_id != calendar && sync.problem.is_none() && wanted(sync));
        others.map(|sync| sync.fresh_at.unwrap_or(Timestamp::ZERO)).min().unwrap_or(Timestamp::NEVER)
    }

    async fn bury(&mut self, calendar: CalendarId, seen_elsewhere_at: Timestamp) -> Result<(), Stop> {
        loop {
            let now = self.sync.clock.now();
            let tx = self.sync.store.begin(self.sync.scope(), Priority::Background).await?;
            let buried =
                apply::bury(&tx, calendar, seen_elsewhere_at, self.sync.run, now, self.sync.rng).await?;
            if buried.count == 0 {
                return Ok(());
            }
            work::fence(&tx, self.sync.claim, self.sync.settings.lease, now).await?;
            tx.commit().await?;
            self.counts.deleted += buried.count;
            if !buried.has_more {
                return Ok(());
            }
        }
    }

    /// When the next calendar is due.
    fn next(&self) -> Timestamp {
        let next =
            self.calendars.iter().map(|calendar| calendar.sync.due_at.max(self.earliest(&calendar.sync)));
        let refresh = self.sync.clock.now().plus(self.sync.settings.calendars_every);
        next.min().unwrap_or(refresh).min(refresh)
    }

    /// What is about the account ends the run. Its calendars stay due; the row waits.
    async fn fail(&mut self, error: &DriverError) -> Result<Ending, StoreError> {
        tracing::info!(error = %error, class = error.class.as_str(), "a connection could not be synced");
        let is_refused = error.problem == Problem::WrongCredentials;
        self.note_problem(error, is_refused.then_some(ConnectionState::NeedsReauth)).await?;
        let text = error.problem.to_string();
        Ok(if is_refused {
            Ending::Refused { problem: text }
        } else {
            Ending::Failed { class: error.class, problem: text }
        })
    }

    /// Shows a failure with the connection, which gets another state where the failure asks for that.
    async fn note_problem(
        &mut self,
        error: &DriverError,
        state: Option<ConnectionState>,
    ) -> Result<(), StoreError> {
        let now = self.sync.clock.now();
        let text = error.problem.to_string();
        let problem = LastProblem { code: error.problem.code().to_owned(), text: text.clone(), at: now };
        let connection = self.sync.connection.id;
        let tx = self.sync.store.begin(self.sync.scope(), Priority::Background).await?;
        if let Some(state) = state {
            connections::set_state(&tx, connection, state, now).await?;
        }
        connections::set_problem(&tx, connection, Some(&problem), now).await?;
        work::fence(&tx, self.sync.claim, self.sync.settings.lease, now).await?;
        tx.commit().await?;
        self.noted = Some(problem);
        self.failure = Some(Failure { class: error.class, problem: text });
        Ok(())
    }

    /// A connection that works has no problem any more.
    async fn note_recovery(&self, ending: &Ending) -> Result<(), StoreError> {
        let has_worked = matches!(ending, Ending::Finished { .. } | Ending::Yielded) && self.noted.is_none();
        if !has_worked || self.sync.connection.last_problem.is_none() {
            return Ok(());
        }
        let now = self.sync.clock.now();
        let tx = self.sync.store.begin(self.sync.scope(), Priority::Background).await?;
        connections::set_problem(&tx, self.sync.connection.id, None, now).await?;
        work::fence(&tx, self.sync.claim, self.sync.settings.lease, now).await?;
        tx.commit().await
    }
}

/// Whether every calendar of the account would fail in the same way.
fn is_about_account(error: &DriverError) -> bool {
    match error.class {
        FailureClass::Auth | FailureClass::Throttled { .. } => true,
        FailureClass::Transient | FailureClass::Conflict | FailureClass::Gone | FailureClass::Permanent => {
            matches!(
                error.problem,
                Problem::InvalidUrl { .. }
                    | Problem::InsecureUrl
                    | Problem::UnknownHost { .. }
                    | Problem::AddressNotAllowed { .. }
                    | Problem::PortNotAllowed { .. }
                    | Problem::ConnectFailed { .. }
                    | Problem::CertificateInvalid { .. }
            )
        }
    }
}
