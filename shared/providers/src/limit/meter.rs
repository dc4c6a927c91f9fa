//! What one opened driver may spend: every request of it passes here first.
//!
//! A meter takes permits in slices and spends them within a second. The next slice is twice as large when one was
//! used up and small again when it was not, so that a poll takes no more than it needs and an import asks the
//! ledger rarely. A budget that is blocked stops what is left of a slice, too.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::ProviderKind;
use http::Method;

use super::gcra::{Rule, Verdict};
use super::seats::{self, Seat};
use super::{Purse, Scope, Shared, from_ms};
use crate::driver::{DriverError, Problem};

/// How long a permit is good for; part of the margin of the arithmetic.
const SLICE_LIFE: Duration = Duration::from_secs(1);
/// Permits in a first slice, and in the largest.
const FIRST_SLICE: u32 = 2;
const LARGEST_SLICE: u32 = 16;
/// How long a request may wait here in all, in its slot; as long as a permit is given ahead.
const PATIENCE: Duration = Duration::from_secs(1);
/// Whoever is sent away comes back within so many times his wait, so that not all come at once.
const SPREAD: u32 = 2;

/// The budgets of one opened driver.
pub struct Meter {
    limited: Option<Arc<Limited>>,
}

/// The permission to send one request; its seat is free again when it is dropped, which is after the answer has been
/// read.
pub struct Pass {
    seat: Option<(Arc<Limited>, Seat)>,
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("has_seat", &self.seat.is_some()).finish()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some((limited, seat)) = self.seat.take() {
            limited.seats.lock().unwrap_or_else(PoisonError::into_inner).push(seat);
        }
    }
}

struct Limited {
    shared: Arc<Shared>,
    provider: ProviderKind,
    purses: Vec<Purse>,
    slice: Mutex<Slice>,
    /// Requests at the same time; 0 for any number.
    concurrent: u32,
    /// Seats between two requests.
    seats: Mutex<Vec<Seat>>,
}

/// Permits in hand.
#[derive(Debug)]
struct Slice {
    left: u32,
    /// They are good in `[from, until)`.
    from: Timestamp,
    until: Timestamp,
    /// How many are asked for next.
    next: u32,
}

/// What a slice says to a request.
enum Spent {
    Yes,
    At(Timestamp),
    /// So many more are wanted.
    Empty(u32),
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").field("is_limited", &self.limited.is_some()).finish_non_exhaustive()
    }
}

impl Meter {
    /// One that lets everything pass.
    pub fn unlimited() -> Self {
        Self { limited: None }
    }

    pub(super) fn new(
        shared: Arc<Shared>,
        provider: ProviderKind,
        purses: Vec<Purse>,
        concurrent: u32,
    ) -> Self {
        let slice = Slice { left: 0, from: Timestamp::ZERO, until: Timestamp::ZERO, next: FIRST_SLICE };
        let (slice, seats) = (Mutex::new(slice), Mutex::default());
        let limited = Limited { shared, provider, purses, slice, concurrent, seats };
        Self { limited: Some(Arc::new(limited)) }
    }

    /// Waits for the permission to send one request, which is answered within `deadline`; for a second at most.
    ///
    /// # Errors
    /// [`FailureClass::Throttled`] with the wait when it is longer: nothing was sent.
    pub async fn admit(
        &self,
        operation: &'static str,
        method: &Method,
        deadline: Duration,
    ) -> Result<Pass, DriverError> {
        let Some(limited) = &self.limited else { return Ok(Pass { seat: None }) };
        let seat = limited.sit(operation, deadline).await?;
        let pass = Pass { seat: seat.map(|seat| (Arc::clone(limited), seat)) };
        limited.admit(operation, limited.price(method)).await?;
        Ok(pass)
    }

    /// Waits for the permission to send requests of these methods as one, which takes a pass itself; how many, the
    /// first ones, are permitted within a second. At least one.
    ///
    /// # Errors
    /// As [`Meter::admit`].
    pub async fn admitted(&self, operation: &'static str, methods: &[Method]) -> Result<usize, DriverError> {
        let Some(limited) = &self.limited else { return Ok(methods.len()) };
        let begun = limited.shared.clock.now();
        // What carries them costs as much as the cheapest.
        let mut paid = 1;
        for (place, method) in methods.iter().enumerate() {
            let price = limited.price(method).saturating_sub(std::mem::take(&mut paid));
            let is_late = limited.shared.clock.now().since(begun) >= PATIENCE;
            match if price > 0 { limited.admit(operation, price).await } else { Ok(()) } {
                Ok(()) if is_late => return Ok(place + 1),
                Ok(()) => {}
                Err(error) if place == 0 => return Err(error),
                Err(_) => return Ok(place),
            }
        }
        Ok(methods.len())
    }

    /// The provider has said that it was asked too often: nobody of the fleet asks it out of that budget before
    /// `retry_after` is over.
    pub async fn refused(&self, scope: Scope, retry_after: Option<Duration>) {
        let Some(limited) = &self.limited else { return };
        limited.refused(scope, retry_after).await;
    }
}

impl Limited {
    /// A patch at Google counts three times (Calendar API, "Events: patch").
    fn price(&self, method: &Method) -> u32 {
        if self.provider == ProviderKind::Google && method == Method::PATCH { 3 } else { 1 }
    }

    /// A seat, where the provider counts requests at the same time.
    async fn sit(&self, operation: &'static str, deadline: Duration) -> Result<Option<Seat>, DriverError> {
        let Some(purse) = self.purses.first().filter(|_| self.concurrent > 0) else { return Ok(None) };
        let begun = self.shared.clock.now();
        loop {
            let kept = self.seats.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if let Some(seat) = seats::sit(&self.shared, purse, self.concurrent, kept, deadline).await {
                return Ok(Some(seat));
            }
            let now = self.shared.clock.now();
            let is_late = now.since(begun) >= PATIENCE;
            let wait = if is_late { seats::COME_BACK } else { seats::LOOK_AGAIN };
            let until = now.plus(wait + self.shared.rng.jitter(wait));
            self.wait(operation, if is_late { begun } else { now }, purse.scope, until, false).await?;
        }
    }

    async fn admit(&self, operation: &'static str, price: u32) -> Result<(), DriverError> {
        let begun = self.shared.clock.now();
        loop {
            let now = self.shared.clock.now();
            if let Some((scope, until)) = self.blocked(now) {
                self.wait(operation, begun, scope, until, true).await?;
                continue;
            }
            let want = match self.spend(price, now) {
                Spent::Yes => {
                    metrics::counter!("calfleet_budget_permits_total", "provider" => self.provider.as_str())
                        .increment(u64::from(price));
                    return Ok(());
                }
                Spent::At(from) => {
                    self.wait(operation, begun, Scope::Account, from, false).await?;
                    continue;
                }
                Spent::Empty(want) => want,
            };
            match self.shared.take(self.provider, &self.purses, price, want).await {
                Verdict::Granted { count, from_ms: at_ms } => self.put(count, from_ms(at_ms)),
                Verdict::Refused { level, until_ms, is_blocked } => {
                    let until = from_ms(until_ms);
                    let purse = self.purses.get(level);
                    if let (Some(purse), true) = (purse, is_blocked) {
                        self.shared.notices.block(&purse.key, until, now);
                    }
                    let scope = purse.map_or(Scope::Account, |purse| purse.scope);
                    self.wait(operation, begun, scope, until, is_blocked).await?;
                }
            }
        }
    }

    /// The block that ends last.
    fn blocked(&self, now: Timestamp) -> Option<(Scope, Timestamp)> {
        let ends = self
            .purses
            .iter()
            .filter_map(|purse| Some((purse.scope, self.shared.notices.until(&purse.key, now)?)));
        ends.max_by_key(|(_, until)| *until)
    }

    fn spend(&self, price: u32, now: Timestamp) -> Spent {
        let mut slice = self.slice.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= slice.until {
            if slice.left > 0 {
                slice.next = FIRST_SLICE;
            }
            slice.left = 0;
        }
        match slice.left.checked_sub(price) {
            Some(_) if now < slice.from => Spent::At(slice.from),
            Some(left) => {
                slice.left = left;
                Spent::Yes
            }
            None => Spent::Empty(slice.next.max(price)),
        }
    }

    /// Two who asked at the same time share what both were given, within the time of both.
    fn put(&self, count: u32, from: Timestamp) {
        let until = from.plus(SLICE_LIFE);
        let mut slice = self.slice.lock().unwrap_or_else(PoisonError::into_inner);
        if slice.left == 0 {
            (slice.from, slice.until) = (from, until);
        } else {
            (slice.from, slice.until) = (slice.from.max(from), slice.until.min(until));
        }
        slice.left += count;
        slice.next = (slice.next * 2).min(LARGEST_SLICE);
    }

    /// Sleeps until then where that is soon, else sends the request away.
    async fn wait(
        &self,
        operation: &'static str,
        begun: Timestamp,
        scope: Scope,
        until: Timestamp,
        is_blocked: bool,
    ) -> Result<(), DriverError> {
        let (clock, now) = (&self.shared.clock, self.shared.clock.now());
        let labels = [("provider", self.provider.as_str()), ("scope", scope.as_str())];
        if until.since(begun) <= PATIENCE {
            metrics::counter!("calfleet_budget_waits_total", &labels).increment(1);
            clock.sleep_until(until).await;
            return Ok(());
        }
        metrics::counter!("calfleet_budget_refused_total", &labels).increment(1);
        let wait = until.since(now);
        // A block is obeyed by all at the same instant; for our own budget there is a queue.
        let spread = if is_blocked { Duration::ZERO } else { self.shared.rng.jitter(wait * SPREAD) };
        let problem = if is_blocked { Problem::Throttled } else { Problem::BudgetUsedUp { budget: scope } };
        let class = FailureClass::Throttled { retry_after: Some(wait + spread) };
        Err(DriverError::new(operation, class, problem))
    }

    async fn refused(&self, scope: Scope, retry_after: Option<Duration>) {
        let purses = || self.purses.iter().filter(|purse| purse.level.rule == Rule::Strict);
        // A refusal of a project without a budget of its own is one of the account.
        let purse = purses().find(|purse| purse.scope == scope).or_else(|| purses().next());
        let Some(purse) = purse else { return };
        let now = self.shared.clock.now();
        let until = self.shared.block(purse, retry_after.map(|wait| now.plus(wait))).await;
        let labels = [("provider", self.provider.as_str()), ("scope", purse.scope.as_str())];
        metrics::counter!("calfleet_budget_blocks_total", &labels).increment(1);
        metrics::counter!("calfleet_budget_blocked_seconds_total", &labels)
            .increment(until.since(now).as_secs());
        tracing::info!(
            provider = self.provider.as_str(),
            scope = purse.scope.as_str(),
            wait_ms = u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX),
            "the provider asks the fleet to wait"
        );
    }
}
