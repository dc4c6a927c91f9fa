//! Simulated calendar providers with their bad habits: a CalDAV server, an ICS feed server, Google and
//! Microsoft.
//!
//! One process, in memory, deterministic by seed, driven from Rust through [`Control`] or over HTTP under
//! `/control/`. It serves the demo, our tests, and application developers in their own CI. It sees none of
//! Calfleet's crates: a fake that shares the parser of what it tests would prove nothing.
//!
//! ```no_run
//! # async fn example() -> Result<(), calfleet_sandbox::SandboxError> {
//! use calfleet_sandbox::{AccountSpec, CalendarSpec, GeneratorPlan, Profile, Sandbox, SandboxOptions};
//!
//! let sandbox = Sandbox::start(SandboxOptions::default()).await?;
//! let ada = AccountSpec::new("ada", "secret").profile(Profile::radicale()).calendar(CalendarSpec::new("work"));
//! let access = sandbox.create_account(ada)?;
//! sandbox.generate("ada", "work", GeneratorPlan { events: 100, seed: 1 })?;
//! // … point a client at access.url, then look at sandbox.log() …
//! sandbox.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod answer;
mod auth;
mod caldav;
mod clock;
mod control;
mod courier;
mod edit;
mod error;
mod exchange;
mod faults;
mod feed;
mod generator;
mod google;
mod graph;
mod ical;
mod mail;
mod oauth;
mod request_log;
mod server;
mod shared;
mod spoil;
mod world;

#[cfg(test)]
mod tests;

use std::future::IntoFuture as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use caldav::account::{AccountAccess, AccountSpec, AuthScheme};
pub use caldav::calendar::{Access, CalendarSpec, Reach};
pub use caldav::profile::{
    DataForm, HrefForm, InvalidToken, LimitHabit, MissingHref, NamespaceStyle, Profile, PutNowhere,
    Rewriting, TokenHabit, UidConflict, WellKnown,
};
pub use clock::SandboxClock;
pub use control::{Control, StoredResource};
pub use courier::{Delivery, NotificationHabits};
pub use edit::{Change, Edit, Mutation};
pub use error::SandboxError;
pub use faults::{Fault, FaultRule, RetryAfter};
pub use feed::{FeedSpec, FeedState, UidHabit};
pub use generator::GeneratorPlan;
pub use google::account::{GoogleAccountSpec, GoogleRole};
pub use google::control::GoogleControl;
pub use google::{ConferenceHabit, GoogleHabits};
pub use graph::account::MicrosoftAccountSpec;
pub use graph::control::MicrosoftControl;
pub use graph::subscriptions::GraphLifecycle;
pub use graph::{DeltaHabit, GraphHabits};
pub use mail::{Mail, MailKind};
pub use request_log::{RequestEntry, RequestLog};

use courier::Courier;
use server::{Line, Socket};
use shared::Shared;

/// How a sandbox starts.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Seed of nonces; generated data have seeds of their own.
    pub seed: u64,
    /// Its time.
    pub clock: SandboxClock,
    /// Habits of accounts that have none of their own, and towards strangers.
    pub profile: Profile,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 0,
            clock: SandboxClock::system(),
            profile: Profile::standard(),
        }
    }
}

/// A running sandbox; it stops when it is dropped. All controls are methods of [`Control`].
#[derive(Debug)]
pub struct Sandbox {
    control: Control,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Deref for Sandbox {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

impl Sandbox {
    /// Listens, and answers from then on.
    ///
    /// # Errors
    /// [`SandboxError::Listen`] when the address cannot be had.
    pub async fn start(options: SandboxOptions) -> Result<Self, SandboxError> {
        let listen = options.listen;
        let failed = |source| SandboxError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let url = format!("http://{address}");
        let (courier, parcels) = Courier::new();
        let shared =
            Arc::new(Shared::new(options.seed, options.profile, options.clock, url, courier.clone()));
        let control = Control { shared: Arc::clone(&shared) };
        let app = Router::new()
            .fallback(exchange::exchange)
            .with_state(Arc::clone(&shared))
            .nest("/control", control::http::routes(control.clone()))
            .into_make_service_with_connect_info::<Line>();
        let stopping = shared.stopping.clone();
        tokio::spawn(courier.run(parcels, stopping.clone()));
        let serving = axum::serve(Socket(listener), app)
            .with_graceful_shutdown(stopping.cancelled_owned())
            .into_future();
        let server = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the sandbox stopped serving");
            }
        });
        Ok(Self { control, address, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle that outlives a borrow of the sandbox, but not the sandbox.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Stops listening and waits for the answers under way.
    pub async fn shutdown(mut self) {
        self.control.shared.stopping.cancel();
        if let Err(error) = (&mut self.server).await {
            tracing::debug!(%error, "the sandbox's server task ended early");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.control.shared.stopping.cancel();
    }
}
