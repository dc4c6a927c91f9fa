//! What a program may spend while Redis is away: an equal part of what every quota keeps aside for that, one
//! request after the other.
//!
//! It is disjoint from what the fleet gives out, so it does not matter who sees Redis at the moment and who does
//! not, nor when that changes. It is little; but without Redis no work is handed out either, and what runs may
//! finish.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use calfleet_domain::clock::{Clock, Timestamp};
use calfleet_domain::model::ProviderKind;
use governor::clock::Clock as Pace;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::gcra::{MARGIN_MS, Rule, Verdict};
use super::{Purse, Scope, aside, to_ms};

/// Budgets of accounts that are not used are dropped after so many requests.
const SWEEP_EVERY: u32 = 1_024;
/// When there is nothing for this program at all, it looks again then.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

type Limiter = RateLimiter<String, HashMapStateStore<String>, Ticks, NoOpMiddleware<Nanos>>;

/// Shares of this program.
pub(super) struct Fallback {
    programs: u32,
    ticks: Ticks,
    limiters: Mutex<Limiters>,
}

#[derive(Default)]
struct Limiters {
    /// One for all budgets of a kind; `None`: nothing is left for one program.
    of_kind: HashMap<(ProviderKind, Scope), Option<Arc<Limiter>>>,
    asked: u32,
}

/// Our clock as governor wants it.
#[derive(Debug, Clone)]
struct Ticks(Arc<dyn Clock>);

impl Pace for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(Duration::from_millis(u64::try_from(self.0.now().0).unwrap_or(0)))
    }
}

impl Fallback {
    pub(super) fn new(programs: u32, clock: Arc<dyn Clock>) -> Self {
        Self { programs: programs.max(1), ticks: Ticks(clock), limiters: Mutex::default() }
    }

    /// `need` permits of every strict budget. One that is used up may have cost others a permit.
    pub(super) fn take(
        &self,
        provider: ProviderKind,
        purses: &[Purse],
        need: u32,
        now: Timestamp,
    ) -> Verdict {
        let refused = |level, wait: Duration| Verdict::Refused {
            level,
            until_ms: to_ms(now.plus(wait)),
            is_blocked: false,
        };
        let need = NonZeroU32::new(need).unwrap_or(NonZeroU32::MIN);
        let strict = purses.iter().enumerate().filter(|(_, purse)| purse.level.rule == Rule::Strict);
        for (level, purse) in strict {
            let Some(limiter) = self.limiter(provider, purse) else { return refused(level, LOOK_AGAIN) };
            match limiter.check_key_n(&purse.key, need) {
                Ok(Ok(())) => {}
                Ok(Err(until)) => return refused(level, until.wait_time_from(self.ticks.now())),
                Err(_more_than_the_share) => return refused(level, LOOK_AGAIN),
            }
        }
        Verdict::Granted { count: need.get(), from_ms: to_ms(now) }
    }

    fn limiter(&self, provider: ProviderKind, purse: &Purse) -> Option<Arc<Limiter>> {
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        limiters.asked += 1;
        if limiters.asked >= SWEEP_EVERY {
            limiters.asked = 0;
            limiters.of_kind.values().flatten().for_each(|limiter| limiter.retain_recent());
        }
        let new = || {
            let quota = self.quota(purse)?;
            Some(Arc::new(RateLimiter::hashmap_with_clock(quota, self.ticks.clone())))
        };
        limiters.of_kind.entry((provider, purse.scope)).or_insert_with(new).clone()
    }

    /// At most this program's part in any window; `None` when that is less than one request.
    fn quota(&self, purse: &Purse) -> Option<Quota> {
        let share = aside(purse.quota.requests, self.programs) / self.programs;
        let burst = NonZeroU32::new(share.div_ceil(4))?;
        let margin = Duration::from_secs_f64(MARGIN_MS / 1000.0);
        // as in `gcra::Level::new`: burst and what follows it within a window are the share
        let period = (purse.quota.window + margin) / (share - burst.get()).max(1) + Duration::from_millis(1);
        Some(Quota::with_period(period)?.allow_burst(burst))
    }
}
