//! From what came of a run to when the row is looked at again: pure, with time and chance as arguments.
//!
//! A failure of one calendar sets that calendar's own `not_before` and is not seen here, except through the time
//! it is due next. What is seen here failed for the connection as a whole.

use std::time::Duration;

use calfleet_domain::clock::{Rng, Timestamp};
use calfleet_domain::failure::{FailureClass, backoff};
use calfleet_domain::job::{Finish, WorkState};

/// The longest wait between two attempts of what never dies, where the poll interval is shorter.
pub const LONGEST_BACKOFF: Duration = Duration::from_mins(15);

/// The wait after a provider's "slow down" that names no time.
const UNNAMED_THROTTLE: Duration = Duration::from_mins(1);

/// The shortest: whoever asks us to slow down and names no time, or one that is over, is not asked again at once.
const SHORTEST_THROTTLE: Duration = Duration::from_secs(1);

/// The longest time a provider can make us wait by one answer; a larger `Retry-After` is a mistake of its own.
const LONGEST_THROTTLE: Duration = Duration::from_hours(24);

/// How a run of `sync` or `push` ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Everything due had its turn; what failed has a time of its own.
    Finished {
        /// The least of these times.
        next: Timestamp,
    },
    /// There is more to do: the slot was given up so that others get one.
    Yielded,
    /// The connection's credentials were refused, twice in this run.
    Refused {
        /// The refusal in words for people.
        problem: String,
    },
    /// The connection as a whole could not be served.
    Failed {
        /// Of which kind.
        class: FailureClass,
        /// The failure in words for people.
        problem: String,
    },
}

/// When a connection is worked for again.
///
/// `attempt` counts the failures in a row before this run; `longest` bounds the wait between two attempts.
pub fn of_run(ending: &Ending, attempt: u32, longest: Duration, now: Timestamp, rng: &dyn Rng) -> Finish {
    match ending {
        Ending::Finished { next } => Finish::done(*next),
        Ending::Yielded => Finish::done(now),
        Ending::Refused { problem } => Finish {
            next: Timestamp::NEVER,
            not_before: Timestamp::ZERO,
            attempt: attempt.saturating_add(1),
            class: Some(FailureClass::Auth),
            error: Some(problem.clone()),
            state: WorkState::Held,
        },
        Ending::Failed { class, problem } => {
            let Wait { until, attempt } = wait_after(*class, attempt, longest, now, rng);
            Finish {
                next: until,
                not_before: until,
                attempt,
                class: Some(*class),
                error: Some(problem.clone()),
                state: WorkState::Active,
            }
        }
    }
}

/// How long to wait, and how many failures in a row that makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Not before then.
    pub until: Timestamp,
    /// Failures in a row, this one included; a throttle is none.
    pub attempt: u32,
}

/// The wait after one more failure of `class`; the same rule for a connection and for one of its calendars.
///
/// A permanent refusal waits the longest at once: asking again soon costs requests and changes nothing.
pub fn wait_after(
    class: FailureClass,
    attempt: u32,
    longest: Duration,
    now: Timestamp,
    rng: &dyn Rng,
) -> Wait {
    let longest = longest.max(LONGEST_BACKOFF);
    let failed = attempt.saturating_add(1);
    match class {
        FailureClass::Throttled { retry_after } => {
            let wait = retry_after.unwrap_or(UNNAMED_THROTTLE);
            let wait = wait.clamp(SHORTEST_THROTTLE, LONGEST_THROTTLE);
            Wait { until: now.plus(wait), attempt }
        }
        FailureClass::Permanent => Wait { until: now.plus(longest), attempt: failed },
        FailureClass::Transient | FailureClass::Auth | FailureClass::Conflict | FailureClass::Gone => {
            Wait { until: now.plus(backoff(failed, longest, rng)), attempt: failed }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed;

    impl Rng for Fixed {
        fn next_u64(&self) -> u64 {
            0
        }
    }

    const NOW: Timestamp = Timestamp(1_000_000);

    fn failed(class: FailureClass) -> Ending {
        Ending::Failed { class, problem: "The server has a problem of its own.".to_owned() }
    }

    #[test]
    fn a_throttle_is_obeyed_to_the_millisecond_and_is_no_attempt() {
        let asked = FailureClass::Throttled { retry_after: Some(Duration::from_secs(7)) };

        let finish = of_run(&failed(asked), 2, Duration::ZERO, NOW, &Fixed);

        assert_eq!((finish.next, finish.not_before), (Timestamp(1_007_000), Timestamp(1_007_000)));
        assert_eq!(finish.attempt, 2);
    }

    #[test]
    fn a_throttle_of_no_time_is_one_of_a_second() {
        for asked in [0, 999] {
            let asked = FailureClass::Throttled { retry_after: Some(Duration::from_millis(asked)) };

            let finish = of_run(&failed(asked), 0, Duration::ZERO, NOW, &Fixed);

            assert_eq!((finish.not_before, finish.attempt), (NOW.plus(Duration::from_secs(1)), 0));
        }
    }

    #[test]
    fn failures_in_a_row_wait_longer_but_never_end() {
        let waits: Vec<i64> = (0..12)
            .map(|attempt| {
                of_run(&failed(FailureClass::Transient), attempt, Duration::ZERO, NOW, &Fixed).next.0 - NOW.0
            })
            .collect();

        assert_eq!(waits.first(), Some(&500));
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
        assert_eq!(waits.last(), Some(&450_000));
    }

    #[test]
    fn refused_credentials_hold_the_row_until_somebody_brings_new_ones() {
        let refused = Ending::Refused { problem: "The server refused the password.".to_owned() };

        let finish = of_run(&refused, 0, Duration::ZERO, NOW, &Fixed);

        assert_eq!((finish.state, finish.next), (WorkState::Held, Timestamp::NEVER));
    }

    #[test]
    fn a_given_up_slot_is_asked_for_again_at_once() {
        assert_eq!(of_run(&Ending::Yielded, 3, Duration::ZERO, NOW, &Fixed), Finish::done(NOW));
    }
}
