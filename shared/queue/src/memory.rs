//! Lanes in the memory of one process, for a fleet of one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use calfleet_domain::clock::{Rng, Timestamp};
use calfleet_domain::job::{Hint, Lane};
use calfleet_domain::model::ids::WorkerId;
use tokio::sync::{Notify, watch};

use crate::shares::{LANES, Room};
use crate::{Epoch, LANE_LENGTH, Popped, Pushed, WORKER_SILENCE};

/// Bounded lists in this process. Clones share them.
#[derive(Debug, Clone)]
pub struct MemoryQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    epoch: Mutex<Epoch>,
    lanes: Mutex<[VecDeque<Hint>; LANES]>,
    workers: Mutex<HashMap<WorkerId, (usize, Timestamp)>>,
    arrived: Notify,
    nudges: watch::Sender<u64>,
}

impl MemoryQueue {
    /// Empty lanes in an epoch of their own.
    pub fn new(rng: &dyn Rng) -> Self {
        Self(Arc::new(Shared {
            epoch: Mutex::new(epoch_from(rng)),
            lanes: Mutex::default(),
            workers: Mutex::default(),
            arrived: Notify::new(),
            nudges: watch::Sender::new(0),
        }))
    }

    /// Loses everything and begins another epoch, as a wiped Redis does.
    pub fn wipe(&self, rng: &dyn Rng) {
        let mut epoch = locked(&self.0.epoch);
        for lane in locked(&self.0.lanes).iter_mut() {
            lane.clear();
        }
        *epoch = epoch_from(rng);
    }

    pub(crate) fn push(&self, lane: Lane, epoch: Epoch, hints: &[Hint]) -> Pushed {
        let current = locked(&self.0.epoch);
        if *current != epoch {
            return Pushed::OtherEpoch;
        }
        let mut accepted = 0;
        for (at, waiting) in Lane::ALL.iter().zip(locked(&self.0.lanes).iter_mut()) {
            if *at == lane {
                accepted = hints.len().min(LANE_LENGTH.saturating_sub(waiting.len()));
                waiting.extend(hints.iter().take(accepted).cloned());
            }
        }
        drop(current);
        self.0.arrived.notify_waiters();
        self.0.arrived.notify_one();
        Pushed::Accepted(accepted)
    }

    pub(crate) async fn pop(&self, room: &Room, wait: Duration) -> Vec<Popped> {
        let arrived = self.0.arrived.notified();
        let popped = self.take(room);
        if !popped.is_empty() {
            return popped;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "bounds a wait inside this process; no instant is compared"
        )]
        let woken = tokio::time::timeout(wait, arrived).await;
        match woken {
            Ok(()) => self.take(room),
            Err(_) => Vec::new(),
        }
    }

    fn take(&self, room: &Room) -> Vec<Popped> {
        let mut lanes = locked(&self.0.lanes);
        let mut waiting = [0; LANES];
        for (count, lane) in waiting.iter_mut().zip(lanes.iter()) {
            *count = lane.len();
        }
        let mut popped = Vec::new();
        for ((lane, hints), take) in Lane::ALL.iter().zip(lanes.iter_mut()).zip(room.allot(waiting)) {
            popped.extend(hints.drain(..take).map(|hint| Popped { lane: *lane, hint }));
        }
        popped
    }

    pub(crate) fn epoch(&self) -> Epoch {
        *locked(&self.0.epoch)
    }

    pub(crate) fn depths(&self) -> [usize; LANES] {
        let mut depths = [0; LANES];
        for (depth, lane) in depths.iter_mut().zip(locked(&self.0.lanes).iter()) {
            *depth = lane.len();
        }
        depths
    }

    pub(crate) fn report_slots(&self, worker: WorkerId, slots: usize, now: Timestamp) {
        let mut workers = locked(&self.0.workers);
        if slots == 0 {
            workers.remove(&worker);
        } else {
            workers.insert(worker, (slots, now));
        }
    }

    pub(crate) fn workers(&self, now: Timestamp) -> Vec<(WorkerId, usize)> {
        let mut workers = locked(&self.0.workers);
        workers.retain(|_, (_, seen)| now.since(*seen) <= WORKER_SILENCE);
        workers.iter().map(|(worker, (slots, _))| (*worker, *slots)).collect()
    }

    pub(crate) fn nudge(&self) {
        self.0.nudges.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn nudges(&self) -> watch::Receiver<u64> {
        self.0.nudges.subscribe()
    }
}

/// Positive and not zero: zero is what rows bear that were never handed out.
fn epoch_from(rng: &dyn Rng) -> Epoch {
    Epoch(i64::try_from(rng.next_u64() >> 2).unwrap_or(0) + 1)
}

/// A panic of another holder leaves lists of hints as good as any: they may be lost.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
