//! Time and chance as values that are handed in, so that tests can move the one and seed the other.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An instant in milliseconds UTC since 1970, as it stands in every table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// "Unset" in tables whose columns cannot be null.
    pub const ZERO: Self = Self(0);
    /// "Never".
    pub const NEVER: Self = Self(i64::MAX);

    /// The instant of a civil time; sub-millisecond parts are cut.
    pub fn from_utc(instant: DateTime<Utc>) -> Self {
        Self(instant.timestamp_millis())
    }

    /// The civil time; `None` beyond the range of the calendar, such as [`Self::NEVER`].
    pub fn to_utc(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(self.0)
    }

    /// Later by `duration`; stays at [`Self::NEVER`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Earlier by `duration`.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_utc() {
            Some(instant) => write!(f, "{}", instant.format("%Y-%m-%dT%H:%M:%S%.3fZ")),
            None => f.write_str("never"),
        }
    }
}

/// The one clock of a fleet: in production the machine's, moved by the measured offset of the database's; in
/// tests the world's.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The instant now.
    fn now(&self) -> Timestamp;

    /// Completes when the clock shows `at` or later, or when as much time has passed as it showed to be left at the
    /// call: a clock that is set back keeps nobody waiting.
    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Completes when so much time has passed since the call.
    fn sleep(&self, length: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.sleep_until(self.now().plus(length))
    }
}

/// Chance.
pub trait Rng: Send + Sync + fmt::Debug {
    /// Sixty-four random bits.
    fn next_u64(&self) -> u64;

    /// A fresh id, ordered by `now` (UUIDv7).
    fn uuid(&self, now: Timestamp) -> Uuid {
        let random = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
        let mut bytes = [0_u8; 10];
        for (to, from) in bytes.iter_mut().zip(random.to_be_bytes()) {
            *to = from;
        }
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(now.0).unwrap_or(0), &bytes).into_uuid()
    }

    /// A duration between zero and `most`, every one as likely: full jitter.
    fn jitter(&self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(if most == u64::MAX { self.next_u64() } else { self.next_u64() % (most + 1) })
    }
}
