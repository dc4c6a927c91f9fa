//! Lanes that carry hints from the scheduler to the workers.
//!
//! A hint says that a row of `work` may be ready. The table holds the truth, so a lane may lose, double or delay
//! what it carries: there are no acknowledgements, leases, delays or dead letters here. A lane must be fast,
//! bounded, and wake a waiting worker at once. [`Queue`] is the one type for both carriers: Redis for a fleet,
//! memory for a single process; callers see no difference but speed.
//!
//! Data passes through like this: the tick calls [`Queue::push`] with the [`Epoch`] it stamped the rows with, a
//! worker calls [`Queue::pop`] with the [`Room`] it has, and whoever asked for something calls [`Queue::nudge`]
//! after its commit, which wakes every scheduler's [`Nudges`].

mod backend;
mod memory;
mod redis;
mod shares;

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::job::{Hint, Lane};
use calfleet_domain::model::ids::WorkerId;
use tokio::sync::watch;

pub use crate::backend::{Feed, feed};
pub use crate::memory::MemoryQueue;
pub use crate::redis::{RedisQueue, RedisSettings};
pub use crate::shares::{LANES, LaneRoom, Room, SHARES_PERCENT, per_lane};

/// How many hints a lane holds at most; the tick hands out no more than this ([`Queue::push`] refuses the rest).
pub const LANE_LENGTH: usize = 4_000;

/// A worker that has not been heard of for this long has no slots.
const WORKER_SILENCE: Duration = Duration::from_secs(5);

/// One life of a queue: when its contents are lost, the epoch changes, and rows stamped with another one are ready
/// to be handed out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub i64);

/// A hint and the lane it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Popped {
    /// The lane it travelled in.
    pub lane: Lane,
    /// What may be ready.
    pub hint: Hint,
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// So many of the hints, from the first on, are on the lane; the others found it full.
    Accepted(usize),
    /// The queue lives in another epoch; none was taken.
    OtherEpoch,
}

/// Why the queue could not be reached. What was asked for may have happened all the same.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The address cannot be read.
    #[error("read the address of redis")]
    Address(#[source] ::redis::RedisError),
    /// Redis did not answer, or not with what was expected.
    #[error("{action} on redis")]
    Redis {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: ::redis::RedisError,
    },
    /// A hint could not be written down.
    #[error("encode a hint")]
    Encode(#[source] serde_json::Error),
}

/// The lanes of a fleet.
#[derive(Debug, Clone)]
pub enum Queue {
    /// Lists in Redis, shared by every process of the fleet.
    Redis(RedisQueue),
    /// Lists in this process.
    Memory(MemoryQueue),
}

impl Queue {
    /// Puts hints at the end of a lane, if the queue still lives in `epoch`.
    ///
    /// # Errors
    /// When Redis cannot be reached; the hints may be on the lane or not.
    pub async fn push(&self, lane: Lane, epoch: Epoch, hints: &[Hint]) -> Result<Pushed, QueueError> {
        match self {
            Self::Redis(queue) => queue.push(lane, epoch, hints).await,
            Self::Memory(queue) => Ok(queue.push(lane, epoch, hints)),
        }
    }

    /// Takes as many hints as there is room for: first what each lane is entitled to, then what others leave over,
    /// the more urgent lane first. Waits up to `wait` when there is none; may return nothing earlier.
    ///
    /// Cancelling the call may lose hints; their rows are handed out again when their mark runs out.
    ///
    /// # Errors
    /// When Redis cannot be reached, after a pause, so that callers may simply call again.
    pub async fn pop(&self, room: &Room, wait: Duration) -> Result<Vec<Popped>, QueueError> {
        match self {
            Self::Redis(queue) => queue.pop(room, wait).await,
            Self::Memory(queue) => Ok(queue.pop(room, wait).await),
        }
    }

    /// The epoch the queue lives in; begins a new one where there is none.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn epoch(&self) -> Result<Epoch, QueueError> {
        match self {
            Self::Redis(queue) => queue.epoch().await,
            Self::Memory(queue) => Ok(queue.epoch()),
        }
    }

    /// How many hints wait on each lane, in the order of [`Lane::ALL`].
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn depths(&self) -> Result<[usize; LANES], QueueError> {
        match self {
            Self::Redis(queue) => queue.depths().await,
            Self::Memory(queue) => Ok(queue.depths()),
        }
    }

    /// Says that a worker is alive and has so many slots; zero takes it off the list.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn report_slots(
        &self,
        worker: WorkerId,
        slots: usize,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        match self {
            Self::Redis(queue) => queue.report_slots(worker, slots, now).await,
            Self::Memory(queue) => {
                queue.report_slots(worker, slots, now);
                Ok(())
            }
        }
    }

    /// The workers heard of in the last five seconds, and their slots.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn workers(&self, now: Timestamp) -> Result<Vec<(WorkerId, usize)>, QueueError> {
        match self {
            Self::Redis(queue) => queue.workers(now).await,
            Self::Memory(queue) => Ok(queue.workers(now)),
        }
    }

    /// Wakes the schedulers: something became due. Called after the commit, never inside a transaction.
    ///
    /// Returns at once, whatever state Redis is in: a nudge that is lost costs up to a tick's interval.
    pub fn nudge(&self) {
        match self {
            Self::Redis(queue) => queue.nudge(),
            Self::Memory(queue) => queue.nudge(),
        }
    }

    /// The nudges from now on.
    pub fn nudges(&self) -> Nudges {
        Nudges(match self {
            Self::Redis(queue) => queue.nudges(),
            Self::Memory(queue) => queue.nudges(),
        })
    }
}

/// Wakes a scheduler; nudges that arrive while it is busy are one.
#[derive(Debug)]
pub struct Nudges(watch::Receiver<u64>);

impl Nudges {
    /// Completes when there was a nudge since the last call.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // the queue is gone: nobody can nudge any more
            std::future::pending::<()>().await;
        }
    }
}
