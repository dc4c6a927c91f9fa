//! The sandbox's own time, in milliseconds since 1970 UTC.
//!
//! Every stamp the sandbox gives out (`Date`, `Last-Modified`, second-resolution sync tokens, `DTSTAMP` of
//! generated events) comes from here, so a test can move a provider's clock without waiting, or let it go
//! wrong against everybody else's. Latency is the one thing that passes in real time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};

/// A clock that runs with the system or stands still until it is moved; clones share the time.
#[derive(Debug, Clone)]
pub struct SandboxClock {
    /// Milliseconds at which a standing clock began; `None` follows the system.
    start: Option<i64>,
    offset: Arc<AtomicI64>,
}

impl SandboxClock {
    /// Follows the system clock, plus whatever it was moved by.
    #[must_use]
    pub fn system() -> Self {
        Self { start: None, offset: Arc::new(AtomicI64::new(0)) }
    }

    /// Stands at `start` (milliseconds since 1970 UTC) until it is moved.
    #[must_use]
    pub fn standing_at(start: i64) -> Self {
        Self { start: Some(start), offset: Arc::new(AtomicI64::new(0)) }
    }

    /// The present moment in milliseconds since 1970 UTC.
    pub fn now(&self) -> i64 {
        let base = self.start.unwrap_or_else(system_now);
        base.saturating_add(self.offset.load(Ordering::SeqCst))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.shift(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
    }

    /// Moves the clock by milliseconds, backward when negative.
    pub fn shift(&self, by_ms: i64) {
        self.offset.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// Takes back all moves.
    pub(crate) fn reset(&self) {
        self.offset.store(0, Ordering::SeqCst);
    }
}

/// Instants that chrono cannot hold become the epoch; the clock never reaches them.
pub(crate) fn utc_of(milliseconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(milliseconds).unwrap_or_default()
}

/// The fixed form of an HTTP date (RFC 9110 §5.6.7).
pub(crate) fn http_date(milliseconds: i64) -> String {
    utc_of(milliseconds).format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[expect(clippy::disallowed_methods, reason = "the sandbox is outside the fleet and has a clock of its own")]
fn system_now() -> i64 {
    Utc::now().timestamp_millis()
}

/// Lets real time pass, for simulated latency.
#[expect(clippy::disallowed_methods, reason = "simulated latency has to pass for the client, too")]
pub(crate) async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_clock_moves_only_when_it_is_moved() {
        let clock = SandboxClock::standing_at(1_000);
        let other = clock.clone();

        clock.advance(Duration::from_secs(2));
        other.shift(-500);

        assert_eq!(clock.now(), 2_500);
        assert_eq!(http_date(clock.now()), "Thu, 01 Jan 1970 00:00:02 GMT");
    }
}
