//! Which budgets are blocked, as far as this process knows: from its own refusals, and from what others of the
//! fleet tell at once. Read before every request; the ledger knows it too, and longer.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use calfleet_domain::clock::Timestamp;

/// Past this many, those that are over are dropped first; they also are as new ones arrive.
const SWEEP_AT: usize = 256;

/// Blocked budgets by name.
#[derive(Debug, Default)]
pub(super) struct Notices {
    blocked: RwLock<HashMap<String, Timestamp>>,
}

impl Notices {
    /// Nothing may be asked of that budget before `until`; a later end that is known already stays.
    pub(super) fn block(&self, key: &str, until: Timestamp, now: Timestamp) {
        let mut blocked = self.blocked.write().unwrap_or_else(PoisonError::into_inner);
        if blocked.len() >= SWEEP_AT {
            blocked.retain(|_, end| *end > now);
        }
        let end = blocked.entry(key.to_owned()).or_insert(until);
        *end = (*end).max(until);
    }

    /// Until when that budget is blocked; `None` when it is not.
    pub(super) fn until(&self, key: &str, now: Timestamp) -> Option<Timestamp> {
        let blocked = self.blocked.read().unwrap_or_else(PoisonError::into_inner);
        blocked.get(key).copied().filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_end_counts_and_what_is_over_is_forgotten() {
        let notices = Notices::default();
        let (now, later) = (Timestamp(1_000), Timestamp(10_000));

        for at in 0..2 * SWEEP_AT {
            notices.block(&at.to_string(), Timestamp(2_000), now);
        }
        notices.block("a", Timestamp(20_000), later);
        notices.block("a", Timestamp(15_000), later);

        assert_eq!(notices.until("a", later), Some(Timestamp(20_000)));
        assert_eq!(notices.until("a", Timestamp(20_000)), None);
        assert_eq!(notices.blocked.read().unwrap().len(), 1);
    }
}
