//! The ledger of a process that is alone: the same arithmetic over a map.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use calfleet_domain::clock::Timestamp;

use super::gcra::{self, Ask, Level, RECOVERY_MS, State, Verdict};
use super::{Purse, from_ms, to_ms};

/// Past this many budgets, unused ones are dropped; doubled while more are in use.
const SWEEP_AT: usize = 1_024;

/// Budgets by name.
#[derive(Debug)]
pub(super) struct Memory {
    /// Since when. What an earlier process has used is not known, so budgets begin empty.
    since: Timestamp,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    states: HashMap<String, State>,
    sweep_at: usize,
}

impl Memory {
    pub(super) fn new(since: Timestamp) -> Self {
        Self { since, book: Mutex::new(Book { states: HashMap::new(), sweep_at: SWEEP_AT }) }
    }

    pub(super) fn take(&self, purses: &[Purse], ask: Ask) -> Verdict {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.sweep(ask.now_ms);
        let levels: Vec<Level> = purses.iter().map(|purse| purse.level).collect();
        let known = |purse: &Purse| book.states.get(&purse.key).copied().unwrap_or_default();
        let mut states: Vec<State> = purses.iter().map(known).collect();
        let verdict = gcra::take(&levels, &mut states, to_ms(self.since), ask);
        for (purse, state) in purses.iter().zip(states) {
            book.states.insert(purse.key.clone(), state);
        }
        verdict
    }

    pub(super) fn block(&self, purse: &Purse, until: Option<Timestamp>, now: Timestamp) -> Timestamp {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let state = book.states.entry(purse.key.clone()).or_default();
        from_ms(gcra::block(state, until.map(to_ms), to_ms(now)))
    }
}

impl Book {
    /// Drops what is as if it had never been asked.
    fn sweep(&mut self, now_ms: f64) {
        if self.states.len() < self.sweep_at {
            return;
        }
        self.states.retain(|_, state| {
            state.arrival_ms.is_some_and(|at_ms| at_ms > now_ms)
                || state.blocked_until_ms > now_ms
                || state.share.is_some_and(|(_, at_ms)| now_ms - at_ms < RECOVERY_MS)
        });
        self.sweep_at = SWEEP_AT.max(2 * self.states.len());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Quota, Scope};
    use super::*;
    use crate::limit::gcra::Rule;
    use std::time::Duration;

    #[test]
    fn budgets_nobody_uses_are_dropped() {
        let memory = Memory::new(Timestamp(0));
        let quota = Quota { requests: 600, window: Duration::from_mins(1) };
        let level = Level::new(Rule::Strict, 600, 60_000.0, 0.25);
        for at in 0..10 * SWEEP_AT {
            let purse = Purse { scope: Scope::Account, key: at.to_string(), level, quota };
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let now_ms = 1e9 + at as f64;
            memory.take(&[purse], Ask { now_ms, need: 1, want: 1 });
        }

        assert!(memory.book.lock().unwrap().states.len() <= 2 * SWEEP_AT);
    }
}
