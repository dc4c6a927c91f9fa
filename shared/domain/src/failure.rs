//! What kind of failure it was, and how long to wait after it.
//!
//! A driver gives every failure one class; nobody else looks at status codes, and nobody branches on the
//! provider.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Rng;

/// The class of a failure decides what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Passes by itself: connection refused, timeout, 5xx. Again after a backoff with full jitter.
    Transient,
    /// The provider asked us to slow down. Again then, and not counted as an attempt.
    Throttled {
        /// How long the provider asked us to wait; `None` where it did not say.
        retry_after: Option<Duration>,
    },
    /// The credentials were refused: one refresh, then `needs_reauth`.
    Auth,
    /// The object changed meanwhile (409, 412): read again, reconcile, push again.
    Conflict,
    /// The cursor is dead (410, `valid-sync-token`): list in full; local changes survive.
    Gone,
    /// Will not work whatever we do: 400, other 403, an answer that cannot be read.
    Permanent,
}

impl FailureClass {
    /// The number that stands for the class in `work.last_class` and `runs.class`; never reused.
    pub fn code(self) -> i16 {
        match self {
            Self::Transient => 1,
            Self::Throttled { .. } => 2,
            Self::Auth => 3,
            Self::Conflict => 4,
            Self::Gone => 5,
            Self::Permanent => 6,
        }
    }

    /// The class of a stored number, without its `Retry-After`.
    pub fn from_code(code: i16) -> Option<Self> {
        Some(match code {
            1 => Self::Transient,
            2 => Self::Throttled { retry_after: None },
            3 => Self::Auth,
            4 => Self::Conflict,
            5 => Self::Gone,
            6 => Self::Permanent,
            _ => return None,
        })
    }

    /// The name used in logs, measures and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled { .. } => "throttled",
            Self::Auth => "auth",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Permanent => "permanent",
        }
    }
}

/// The first wait after a failure.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);

/// How long to wait after the `attempt`-th failure in a row (1 for the first): between half of and the whole of
/// one second doubled with each failure, never more than `most`.
///
/// The lower half is kept so that a failing target is never hammered by luck.
pub fn backoff(attempt: u32, most: Duration, rng: &dyn Rng) -> Duration {
    let doublings = attempt.saturating_sub(1).min(20);
    let ceiling = BACKOFF_FIRST.saturating_mul(1_u32 << doublings).min(most.max(BACKOFF_FIRST));
    ceiling / 2 + rng.jitter(ceiling / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed(u64);

    impl Rng for Fixed {
        fn next_u64(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn waits_double_up_to_the_limit_and_never_vanish() {
        let most = Duration::from_mins(15);
        let waits: Vec<_> = (1..=12).map(|attempt| backoff(attempt, most, &Fixed(0)).as_millis()).collect();

        assert_eq!(
            waits,
            [500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128_000, 256_000, 450_000, 450_000]
        );
        assert!(backoff(40, most, &Fixed(u64::MAX / 3)) <= most);
    }
}
