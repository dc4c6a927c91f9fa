//! Outbound push: bringing a connection's local writes to its provider.
//!
//! ```text
//! outbox ─▶ event by event, by urgency and age: all its waiting entries together; many events as a page
//!     was sent before? ─▶ read, reconcile: what was applied is found, not repeated
//!     mark as sent, commit ─▶ one write with a precondition ─▶ the answer is what both sides agree on, commit
//!     refused because it changed there ─▶ read, reconcile, write again (bounded), in the page's next round
//! ```
//! - What an event says is read when it is sent: entries of one event fold into one write, which mails as widely as
//!   the widest of them asked for.
//! - No transaction is open while a provider is asked, and every transaction ends with the fence.
//! - A permanent refusal gives the event's entries up and nobody else's; what passes by itself is kept, with its
//!   reason, and given up by age only.
//!
//! Deciding is in [`settle`] and [`trouble`], without I/O; everything else here only carries.

mod event;
mod page;
mod settle;
mod trouble;

use std::time::Duration;

use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::Claim;
use calfleet_domain::model::{EventId, RunId};
use calfleet_providers::driver::Driver;
use calfleet_store::connections::Connection;
use calfleet_store::outbox::{self, OutboxEntry};
use calfleet_store::{Scope, Store, StoreError};
use serde::Serialize;

use crate::outcome::Ending;
use event::Step;

/// Events taken up with one look at the outbox.
const EVENTS_AT_ONCE: usize = 100;
/// Events that go one by one even where they could travel together: a person waits for the first of them.
const GO_SINGLY: usize = 3;
/// Failures of different events in a row after which the provider is taken to be away.
const FAILURES_IN_A_ROW: u32 = 3;

/// The numbers of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushSettings {
    /// Entries that could not be delivered for so long are given up.
    pub give_up_after: Duration,
    /// Time after which a long outbox gives up its slot.
    pub turn_time: Duration,
    /// How long a lease lasts from a commit on.
    pub lease: Duration,
}

impl Default for PushSettings {
    fn default() -> Self {
        Self {
            give_up_after: Duration::from_hours(72),
            turn_time: Duration::from_secs(20),
            lease: Duration::from_secs(30),
        }
    }
}

/// What a push may touch, and for whom it runs.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    /// The database.
    pub store: &'a Store,
    /// The fleet's clock.
    pub clock: &'a dyn Clock,
    /// Chance.
    pub rng: &'a dyn Rng,
    /// The account.
    pub driver: &'a dyn Driver,
    /// The right to work on it.
    pub claim: &'a Claim,
    /// What the history and the list of runs call it.
    pub run: RunId,
    /// Whose account it is.
    pub connection: &'a Connection,
    /// The numbers.
    pub settings: &'a PushSettings,
}

/// How many events a run dealt with, by what came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// The provider has them.
    pub delivered: u64,
    /// Nothing had to be written any more.
    pub needless: u64,
    /// Kept for later.
    pub deferred: u64,
    /// Given up, or left to a person.
    pub set_aside: u64,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub ending: Ending,
    /// What it did.
    pub pushed: Pushed,
    /// The last failure, for the run's row.
    pub failure: Option<(FailureClass, String)>,
    /// Whether the provider refused the access token.
    pub has_refused_token: bool,
}

/// Delivers what waits in a connection's outbox.
///
/// # Errors
/// Only when our own store failed, or the lease was lost.
pub async fn connection(push: Push<'_>) -> Result<Report, StoreError> {
    let began = push.clock.now();
    let ending = Ending::Finished { next: Timestamp::NEVER };
    let mut report = Report { ending, pushed: Pushed::default(), failure: None, has_refused_token: false };
    let mut failures = 0;
    loop {
        let entries = push.ready().await?;
        if entries.is_empty() {
            let next = push.next_due().await?;
            report.ending = Ending::Finished { next };
            return Ok(report);
        }
        let groups = by_event(entries);
        let is_worth_it = groups.len() > GO_SINGLY;
        let most = if is_worth_it { push.driver.capabilities().write_batch.max(1) } else { 1 };
        for page in groups.chunks(most) {
            if push.clock.now().since(began) >= push.settings.turn_time {
                report.ending = Ending::Yielded;
                return Ok(report);
            }
            let mut failed = None;
            for step in push.page(page).await? {
                failed = [failed, report.note(step, &mut failures)].into_iter().flatten().max_by_key(gravity);
            }
            if let Some(ending) = failed {
                report.ending = ending;
                return Ok(report);
            }
        }
    }
}

/// Which of the failures of a page decides when the connection is looked at again: whoever said for how long it wants
/// to hear nothing is obeyed.
fn gravity(ending: &Ending) -> (u8, Duration) {
    match ending {
        Ending::Failed { class: FailureClass::Throttled { retry_after }, .. } => {
            (2, retry_after.unwrap_or_default())
        }
        Ending::Failed { class: FailureClass::Auth, .. } => (1, Duration::ZERO),
        _ => (0, Duration::ZERO),
    }
}

impl Report {
    /// Counts what came of one event; `failures` are those of different events in a row. How the run ends, if it
    /// does.
    fn note(&mut self, step: Step, failures: &mut u32) -> Option<Ending> {
        match step {
            Step::Delivered => self.pushed.delivered += 1,
            Step::Needless => self.pushed.needless += 1,
            Step::SetAside(failure) => {
                self.pushed.set_aside += 1;
                self.failure = failure.or(self.failure.take());
            }
            Step::Deferred(class, problem) => {
                self.pushed.deferred += 1;
                self.failure = Some((class, problem.clone()));
                *failures += 1;
                return (*failures >= FAILURES_IN_A_ROW).then_some(Ending::Failed { class, problem });
            }
            Step::Stop(class, problem) => {
                self.pushed.deferred += 1;
                self.has_refused_token |= class == FailureClass::Auth;
                self.failure = Some((class, problem.clone()));
                return Some(Ending::Failed { class, problem });
            }
        }
        *failures = 0;
        None
    }
}

impl Push<'_> {
    fn scope(&self) -> Scope {
        Scope::Organization(self.connection.organization_id)
    }

    async fn ready(&self) -> Result<Vec<OutboxEntry>, StoreError> {
        let tx = self.store.read(self.scope()).await?;
        outbox::ready(&tx, self.connection.id, EVENTS_AT_ONCE, self.clock.now()).await
    }

    async fn next_due(&self) -> Result<Timestamp, StoreError> {
        let tx = self.store.read(self.scope()).await?;
        Ok(outbox::next_due(&tx, self.connection.id).await?.unwrap_or(Timestamp::NEVER))
    }
}

/// The entries of each event together, in the order of the events.
fn by_event(entries: Vec<OutboxEntry>) -> Vec<Vec<OutboxEntry>> {
    let mut groups: Vec<Vec<OutboxEntry>> = Vec::new();
    let mut last: Option<EventId> = None;
    for entry in entries {
        let event = entry.event_id;
        match groups.last_mut() {
            Some(group) if last == Some(event) => group.push(entry),
            _ => groups.push(vec![entry]),
        }
        last = Some(event);
    }
    groups
}
