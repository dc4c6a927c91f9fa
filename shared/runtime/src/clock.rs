//! The machine's clock and chance, behind the domain's traits.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use calfleet_domain::clock::{Clock, Rng, Timestamp};
use rand::RngCore;
use tokio::time::Instant;

/// The longest single wait: the machine's clock may be set, or its offset measured anew, while we sleep.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The machine's clock, moved by the measured offset of the database's, so that a fleet agrees on the time.
#[derive(Debug, Default)]
pub struct SystemClock {
    offset_ms: AtomicI64,
}

impl SystemClock {
    /// Moves this clock by the measured milliseconds by which the database's was ahead of what it showed.
    pub fn advance_ms(&self, ahead_ms: i64) {
        self.offset_ms.fetch_add(ahead_ms, Ordering::Relaxed);
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is given")]
    fn now(&self) -> Timestamp {
        let machine = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let machine_ms = i64::try_from(machine.as_millis()).unwrap_or(i64::MAX);
        Timestamp(machine_ms.saturating_add(self.offset_ms.load(Ordering::Relaxed)))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is given")]
    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let (began, most) = (Instant::now(), at.since(self.now()));
        Box::pin(async move {
            loop {
                // by the wall a clock set back would stretch the wait, by the stopwatch one set forward
                let wait = at.since(self.now()).min(most.saturating_sub(began.elapsed()));
                if wait.is_zero() {
                    return;
                }
                tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
            }
        })
    }
}

/// The machine's chance.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn next_u64(&self) -> u64 {
        rand::rng().next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `clock`, moved while somebody sleeps for `length`, wakes him before `patience` is over.
    async fn wakes(length: Duration, moved_ms: i64, patience: Duration) -> bool {
        let (clock, untouched) = (SystemClock::default(), SystemClock::default());
        let woken = clock.sleep(length);
        let moved = async { clock.advance_ms(moved_ms) };
        tokio::select! {
            _ = async { tokio::join!(woken, moved) } => true,
            () = untouched.sleep(patience) => false,
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_keeps_nobody_waiting() {
        assert!(wakes(Duration::from_millis(50), -600_000, Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_forward_wakes_who_waits() {
        assert!(wakes(Duration::from_hours(1), 3_600_000, Duration::from_secs(20)).await);
        assert!(!wakes(Duration::from_hours(1), 0, Duration::from_millis(50)).await);
    }
}
