//! The worker's frame: everything around a handler.
//!
//! ```text
//! fetch: free slots → hints → claims (one statement) ──▶ apalis' loop ──▶ one run: handler in a task of its own
//! leases: every 2 s, all leases in one statement; a handler whose fence moved is dropped
//! finishes: what came of the runs, as many in one statement as there are ◀──┘
//! ```
//! A claimed row is *held* from its claim until its finish is committed, so that its lease is renewed all that time;
//! its slot is free as soon as the handler has ended. A run that ends without a finish (our store failed, the
//! handler panicked) is let go of: its lease runs out, and the row comes again with its delivery counted.
//!
//! The loop, its layers and its shutdown are those of apalis, in `run`; nothing else here knows it, so that it could
//! be replaced.

mod fetch;
mod finishes;
mod held;
mod leases;
mod run;

use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::{Clock, Rng};
use calfleet_domain::job::{Claim, Finish};
use calfleet_domain::model::ids::WorkerId;
use calfleet_queue::Queue;
use calfleet_store::Store;
use tokio::sync::mpsc;

pub use self::run::run;

use self::held::Held;
use crate::jobs::Registry;

/// What a worker is made of.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The database.
    pub store: Store,
    /// Where hints come from.
    pub queue: Queue,
    /// The fleet's clock.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub rng: Arc<dyn Rng>,
    /// Who does what.
    pub registry: Registry,
    /// The numbers.
    pub settings: FrameSettings,
}

/// The numbers of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSettings {
    /// How many jobs run at once.
    pub slots: usize,
    /// How long a lease lasts when it is not renewed.
    pub lease: Duration,
    /// How often leases are renewed; well below `lease`.
    pub renewal: Duration,
    /// How long running jobs may go on after the worker was told to stop.
    pub grace: Duration,
}

impl Default for FrameSettings {
    fn default() -> Self {
        Self {
            slots: 64,
            lease: Duration::from_secs(30),
            renewal: Duration::from_secs(2),
            grace: Duration::from_secs(20),
        }
    }
}

/// The worker did not run, or ended otherwise than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The loop that runs the jobs ended.
    #[error("run the worker's loop")]
    Loop(#[source] apalis::prelude::MonitorError),
    /// A part of the frame panicked.
    #[error("run a part of the worker")]
    Part(#[source] tokio::task::JoinError),
}

/// What the parts of a running frame share.
#[derive(Debug)]
struct Shared {
    frame: Frame,
    worker: WorkerId,
    held: Held,
    finishes: mpsc::UnboundedSender<Outcome>,
}

/// What came of a run.
#[derive(Debug)]
struct Outcome {
    claim: Claim,
    finish: Finish,
}
