//! What the wire and the controls work on together.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::caldav::profile::Profile;
use crate::clock::SandboxClock;
use crate::courier::Courier;
use crate::faults::Faults;
use crate::request_log::RequestLog;
use crate::world::World;

#[derive(Debug)]
pub(crate) struct Shared {
    world: Mutex<World>,
    pub(crate) clock: SandboxClock,
    pub(crate) faults: Faults,
    pub(crate) log: RequestLog,
    pub(crate) courier: Courier,
    /// Cancelled when the sandbox shuts down.
    pub(crate) stopping: CancellationToken,
    pub(crate) seed: u64,
    pub(crate) profile: Profile,
    /// Scheme and authority, such as `http://127.0.0.1:40123`.
    pub(crate) url: String,
}

impl Shared {
    pub(crate) fn new(
        seed: u64,
        profile: Profile,
        clock: SandboxClock,
        url: String,
        courier: Courier,
    ) -> Self {
        Self {
            world: Mutex::new(World::new(seed, profile.clone(), courier.clone())),
            clock,
            faults: Faults::default(),
            log: RequestLog::default(),
            courier,
            stopping: CancellationToken::new(),
            seed,
            profile,
            url,
        }
    }

    /// The world, locked; never held across an await.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Back to the beginning: no accounts, feeds, faults or requests.
    pub(crate) fn reset(&self) {
        *self.world() = World::new(self.seed, self.profile.clone(), self.courier.clone());
        self.courier.reset();
        self.faults.clear();
        self.log.clear();
        self.clock.reset();
    }
}
