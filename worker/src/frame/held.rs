//! Which claims this process holds, and which slots they occupy.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::job::{Claim, Lane, WorkKey};
use calfleet_domain::model::OrganizationId;
use calfleet_queue::{LANES, Room};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Longer than a poll ever takes, and than a turn of an import.
const LONG: Duration = Duration::from_secs(30);

/// Why a handler was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// Its fence moved, or its lease could not be renewed in time.
    Lost,
    /// It took longer than its limit.
    TimedOut,
    /// The worker ends.
    Drained,
}

/// The claims a process holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    claims: HashMap<Id, Entry>,
    slots: [usize; LANES],
}

/// A row and the fence of its claim: a row that was lost may be claimed again while the old run still ends.
type Id = (WorkKey, i64);

#[derive(Debug)]
struct Entry {
    claim: Claim,
    slot: Option<Lane>,
    since: Timestamp,
    running: Option<AbortHandle>,
    ends_at: Timestamp,
    dropped: Option<Dropped>,
}

fn id(claim: &Claim) -> Id {
    (claim.key, claim.fence)
}

impl Held {
    /// Holds a claim and occupies a slot of the lane it came from.
    pub(super) fn hold(&self, claim: &Claim, now: Timestamp) {
        let mut inner = self.lock();
        if let Some(count) = slot(&mut inner.slots, claim.lane) {
            *count += 1;
        }
        let entry = Entry {
            claim: claim.clone(),
            slot: Some(claim.lane),
            since: now,
            running: None,
            ends_at: Timestamp::NEVER,
            dropped: None,
        };
        inner.claims.insert(id(claim), entry);
    }

    /// Notes the task that runs the handler and when its time is up.
    pub(super) fn started(&self, claim: &Claim, running: AbortHandle, ends_at: Timestamp) {
        let mut inner = self.lock();
        match inner.claims.get_mut(&id(claim)) {
            Some(entry) if entry.dropped.is_none() => {
                entry.running = Some(running);
                entry.ends_at = ends_at;
            }
            // dropped before it began
            _ => running.abort(),
        }
    }

    /// The handler has ended: its slot is free. Says why, if it was dropped.
    pub(super) fn ended(&self, claim: &Claim) -> Option<Dropped> {
        let mut inner = self.lock();
        let entry = inner.claims.get_mut(&id(claim))?;
        entry.running = None;
        entry.ends_at = Timestamp::NEVER;
        let (lane, dropped) = (entry.slot.take(), entry.dropped);
        free(&mut inner.slots, lane);
        drop(inner);
        self.changed.notify_waiters();
        dropped
    }

    /// Lets go of a claim: it was finished, lost or given back, or its lease shall run out.
    pub(super) fn let_go(&self, claim: &Claim) {
        let mut inner = self.lock();
        if let Some(entry) = inner.claims.remove(&id(claim)) {
            free(&mut inner.slots, entry.slot);
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Drops the handler of a claim, if it still runs.
    pub(super) fn drop_run(&self, claim: &Claim, why: Dropped) {
        let mut inner = self.lock();
        if let Some(entry) = inner.claims.get_mut(&id(claim)) {
            entry.dropped.get_or_insert(why);
            if let Some(running) = entry.running.take() {
                running.abort();
            }
        }
    }

    /// Drops the handlers whose time is up.
    pub(super) fn drop_overdue(&self, now: Timestamp) {
        for entry in self.lock().claims.values_mut() {
            if entry.ends_at <= now
                && let Some(running) = entry.running.take()
            {
                entry.dropped.get_or_insert(Dropped::TimedOut);
                running.abort();
            }
        }
    }

    /// Everything that is held now.
    pub(super) fn claims(&self) -> Vec<Claim> {
        self.lock().claims.values().map(|entry| entry.claim.clone()).collect()
    }

    /// What can be taken from the queue.
    pub(super) fn room(&self, slots: usize) -> Room {
        Room::of(slots, self.lock().slots)
    }

    /// Organizations that occupy half of `slots` or more with jobs that have been running for long: their servers
    /// hang, and without a bound they would take every slot with them.
    pub(super) fn overstaying(&self, slots: usize, now: Timestamp) -> HashSet<OrganizationId> {
        let mut long: HashMap<OrganizationId, usize> = HashMap::new();
        for entry in self.lock().claims.values() {
            if entry.slot.is_some() && now.since(entry.since) >= LONG {
                *long.entry(entry.claim.organization_id).or_default() += 1;
            }
        }
        long.into_iter()
            .filter(|(_, count)| *count * 2 >= slots)
            .map(|(organization, _)| organization)
            .collect()
    }

    /// How many jobs run in each lane.
    pub(super) fn running(&self) -> [usize; LANES] {
        self.lock().slots
    }

    /// Waits until `reached`; looks again whenever a slot becomes free or a claim is let go of.
    pub(super) async fn until(&self, mut reached: impl FnMut(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // from here on no change is missed
            changed.as_mut().enable();
            if reached(self) {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn slot(slots: &mut [usize; LANES], lane: Lane) -> Option<&mut usize> {
    Lane::ALL.iter().zip(slots).find(|(at, _)| **at == lane).map(|(_, count)| count)
}

fn free(slots: &mut [usize; LANES], lane: Option<Lane>) {
    if let Some(count) = lane.and_then(|lane| slot(slots, lane)) {
        *count = count.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use calfleet_domain::job::Kind;
    use calfleet_domain::model::LeaseOwner;
    use uuid::Uuid;

    use super::*;

    fn claim(organization: u128, target: u128) -> Claim {
        Claim {
            key: WorkKey { kind: Kind::Sync, target: Uuid::from_u128(target) },
            organization_id: OrganizationId(Uuid::from_u128(organization)),
            connection_id: None,
            owner: LeaseOwner(Uuid::nil()),
            fence: 1,
            asked: 1,
            attempt: 0,
            deliveries: 1,
            lane: Lane::Sync,
        }
    }

    #[test]
    fn an_organization_whose_servers_hang_leaves_half_of_the_slots_to_the_others() {
        let held = Held::default();
        let began = Timestamp(1_000_000);
        for target in 0..4 {
            held.hold(&claim(1, target), began);
        }
        for target in 10..13 {
            held.hold(&claim(2, target), began);
        }

        let later = began.plus(LONG);
        assert_eq!(held.overstaying(8, began), HashSet::new(), "short jobs may take every slot");
        assert_eq!(held.overstaying(8, later), HashSet::from([OrganizationId(Uuid::from_u128(1))]));
        held.ended(&claim(1, 0));
        assert_eq!(held.overstaying(8, later), HashSet::new());
    }
}
