//! The machine's clock and chance, behind the domain's traits.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use calfleet_domain::clock::{Clock, Rng, Timestamp};
use rand::RngCore;

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
        Box::pin(async move {
            loop {
                let wait = at.since(self.now());
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
