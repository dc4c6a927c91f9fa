//! Requests at the same time: some providers count them per account (Microsoft Graph: four per mailbox).
//!
//! A *seat* is the right to have one request under way. A meter keeps its seat between requests, so that a job asks
//! the ledger once and not for each request; a seat has a lease, because its holder may die. One seat of each account
//! is kept aside for programs that have lost Redis, which have one each. After Redis has forgotten who sits, only one
//! seat is given out until the leases of those it forgot are over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use calfleet_domain::clock::Timestamp;

use super::{Ledger, Purse, Shared};

/// The lease of a seat beyond the deadline of the request it is for.
const BEYOND_DEADLINE: Duration = Duration::from_secs(5);
/// Between two looks for a free seat.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Whom nobody gave up a seat within the patience of a request looks again then.
pub(super) const COME_BACK: Duration = Duration::from_secs(2);

/// Who sits in this process: seats of a ledger in memory, and those of the fallback.
#[derive(Debug, Default)]
pub(super) struct Benches {
    taken: Mutex<HashMap<String, u32>>,
}

impl Benches {
    fn take(&self, key: &str, most: u32) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(key).copied().unwrap_or(0);
        if count >= most.max(1) {
            return false;
        }
        taken.insert(key.to_owned(), count + 1);
        true
    }

    fn leave(&self, key: &str) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                taken.remove(key);
            }
        }
    }
}

/// The right to have one request under way; given back when it is dropped.
pub(super) struct Seat {
    shared: Arc<Shared>,
    key: String,
    /// Our name for it in Redis; `None` where it is of this process only.
    holder: Option<u64>,
    until: Timestamp,
}

impl Seat {
    fn new(shared: &Arc<Shared>, purse: &Purse, holder: Option<u64>, until: Timestamp) -> Self {
        metrics::gauge!("calfleet_budget_seats").increment(1.0);
        Self { shared: Arc::clone(shared), key: purse.key.clone(), holder, until }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        metrics::gauge!("calfleet_budget_seats").decrement(1.0);
        let Some(holder) = self.holder else {
            self.shared.benches.leave(&self.key);
            return;
        };
        // Whoever cannot say that he leaves is forgotten when his lease is over.
        let (shared, key) = (Arc::clone(&self.shared), std::mem::take(&mut self.key));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Ledger::Fleet(fleet, _) = &shared.ledger {
                    fleet.leave(&key, holder, shared.clock.now()).await;
                }
            });
        }
    }
}

/// A free seat among `most` for a request of that deadline; `None` when all are taken.
pub(super) async fn sit(
    shared: &Arc<Shared>,
    purse: &Purse,
    most: u32,
    kept: Option<Seat>,
    deadline: Duration,
) -> Option<Seat> {
    let now = shared.clock.now();
    let until = now.plus(2 * deadline).plus(BEYOND_DEADLINE);
    let local = |most| {
        shared.benches.take(&purse.key, most).then(|| Seat::new(shared, purse, None, Timestamp::NEVER))
    };
    match (&shared.ledger, kept) {
        (_, Some(seat)) if now.plus(deadline) < seat.until => Some(seat),
        (Ledger::Memory(_), _) => local(most),
        (Ledger::Fleet(fleet, _), kept) => {
            let holder = kept.as_ref().and_then(|seat| seat.holder).unwrap_or_else(|| shared.rng.next_u64());
            match (fleet.sit(&purse.key, shared_seats(most), holder, until, now).await, kept) {
                (Some(true), Some(mut seat)) => {
                    seat.until = until;
                    Some(seat)
                }
                (Some(true), None) => Some(Seat::new(shared, purse, Some(holder), until)),
                (Some(false), _) => None,
                (None, _) => local(1),
            }
        }
    }
}

/// How many seats programs that see Redis share.
fn shared_seats(most: u32) -> u32 {
    most.saturating_sub(1).max(1)
}
