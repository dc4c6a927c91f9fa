//! What the programs are put together from, as the configuration says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use calfleet_domain::clock::{Clock, Rng};
use calfleet_domain::job::Kind;
use calfleet_domain::model::ProviderKind;
use calfleet_providers::caldav::services::DnsServices;
use calfleet_providers::http::{HttpClient, HttpSettings};
use calfleet_providers::oauth::{OauthClient, OauthSettings};
use calfleet_providers::registry::Registry;
use calfleet_providers::surroundings::Endpoints;
use calfleet_queue::{MemoryQueue, Queue, RedisQueue, RedisSettings};
use calfleet_runtime::clock::{SystemClock, SystemRng};
use calfleet_runtime::config::Config;
use calfleet_runtime::telemetry::Telemetry;
use calfleet_scheduler::app::App;
use calfleet_scheduler::serve::Socket;
use calfleet_scheduler::tick::{TickSettings, Ticker};
use calfleet_service::clients::OauthClients;
use calfleet_service::drivers::Drivers;
use calfleet_service::service::SignIn;
use calfleet_service::{Nudge, Service};
use calfleet_store::{Options, Store};
use calfleet_worker::jobs::{
    self, PushOutbox, RefreshToken, RenewWatch, RevokeGrant, SyncConnection, WatchSettings,
};
use calfleet_worker::push::PushSettings;
use calfleet_worker::sync::SyncSettings;
use calfleet_worker::{Frame, FrameSettings};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{keys, limits};

/// How often the database's clock is compared with the machine's.
const CLOCK_CHECK: Duration = Duration::from_mins(1);
/// A look at it that takes longer says too little of when it was answered.
const LONGEST_LOOK: Duration = Duration::from_millis(250);
/// How often it is looked at until one look is quick enough.
const LOOKS: usize = 3;

/// A run of a sync gives its slot up by itself after `sync.turn_time`; this is for one that hangs in a listing.
const LONGEST_SYNC: Duration = Duration::from_mins(20);

/// A refresh is one request of at most 15 s.
const LONGEST_REFRESH: Duration = Duration::from_mins(1);
/// A run of `push` that takes longer is ended: its turn is over long before.
const LONGEST_PUSH: Duration = Duration::from_mins(10);

/// A watch is stopped and begun by one request each, of at most a minute, behind a refresh.
const LONGEST_RENEWAL: Duration = Duration::from_mins(5);

/// A revocation is one request of at most 15 s, and some stopped watches; the rest is our own database.
const LONGEST_REVOKE: Duration = Duration::from_mins(5);

/// The parts of a program.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) service: Service,
    pub(crate) queue: Queue,
    clock: Arc<SystemClock>,
    rng: Arc<dyn Rng>,
    telemetry: Arc<Telemetry>,
}

impl Parts {
    /// Reads the configuration and opens what it names.
    pub(crate) async fn of_file(config: Option<&Path>) -> anyhow::Result<Self> {
        Self::open(Config::load(config)?).await
    }

    /// Opens what a configuration names. The schema has to be up to date.
    pub(crate) async fn open(config: Config) -> anyhow::Result<Self> {
        let telemetry = Arc::new(Telemetry::install(&config.telemetry)?);
        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        let clock = Arc::new(SystemClock::default());
        let options =
            Options { connections: config.database.max_connections, ..Options::new(&config.database.url) };
        let store = Store::connect(&options)
            .await
            .context("the database in database.url cannot be reached; run 'calfleet check' to see why")?;
        let pending = calfleet_migrations::pending(&config.database.url).await?;
        if !pending.is_empty() {
            bail!("the database schema is {} migrations behind; run 'calfleet migrate' first", pending.len());
        }
        let queue = if config.queue.is_redis() {
            let settings =
                RedisSettings { url: config.queue.url.clone(), prefix: config.queue.prefix.clone() };
            Queue::Redis(RedisQueue::new(&settings, Arc::clone(&rng))?)
        } else {
            Queue::Memory(MemoryQueue::new(rng.as_ref()))
        };
        let http = HttpClient::new(http_settings(&config))?;
        let sign_in = Arc::new(sign_in(&config, &http)?);
        let accounts = Registry::with_client(
            http,
            Arc::new(DnsServices),
            endpoints(&config),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&rng),
        )
        .within(limits::budgets(&config, Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&rng))?);
        let ring = Arc::new(keys::ring_for(&config, &store).await?);
        let service = Service {
            drivers: Drivers::new(store.clone(), ring, Arc::new(accounts)),
            store,
            sign_in,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            rng: Arc::clone(&rng),
            nudge: Arc::new(Bell(queue.clone())),
        };
        let parts = Self { config, service, queue, clock, rng, telemetry };
        parts.measure_clock().await;
        Ok(parts)
    }

    /// Keeps the clock with the database's, and measures small, until `stop`.
    pub(crate) fn keep_time(&self, stop: CancellationToken) {
        let parts = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = parts.clock.sleep(CLOCK_CHECK) => parts.measure_clock().await,
                }
                parts.telemetry.run_upkeep();
            }
        });
    }

    async fn measure_clock(&self) {
        if self.service.store.is_sqlite() {
            return; // the same machine
        }
        // the first look may have to wait for a connection
        for _ in 0..LOOKS {
            let before = self.clock.now();
            match self.service.store.database_time().await {
                Ok(at) => {
                    let after = self.clock.now();
                    if after.since(before) <= LONGEST_LOOK {
                        self.clock.advance_ms(at.0 - before.0.midpoint(after.0));
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the database's clock cannot be read"
                    );
                    return;
                }
            }
        }
        tracing::warn!("the database takes too long to say its time; the clock stays as it is");
    }

    /// What the API's handlers are given.
    pub(crate) fn app(&self, draining: CancellationToken) -> App {
        App {
            service: self.service.clone(),
            queue: self.queue.clone(),
            telemetry: Arc::clone(&self.telemetry),
            notification_spacing: self.config.sync.notification_spacing,
            longest_wait: self.config.api.longest_wait(),
            full_sync_every: self.config.sync.full_sync_every,
            draining,
        }
    }

    /// Ticker and API, side by side.
    pub(crate) fn scheduler(
        &self,
        socket: Socket,
        shutdown: &CancellationToken,
    ) -> JoinSet<anyhow::Result<()>> {
        let mut running = JoinSet::new();
        let ticking = self.ticker().run(shutdown.clone());
        running.spawn(async move {
            ticking.await;
            Ok(())
        });
        let (app, config) = (self.app(shutdown.clone()), self.config.api.clone());
        running.spawn(async move {
            socket.serve_api(app, &config).await;
            Ok(())
        });
        running
    }

    fn ticker(&self) -> Ticker {
        let work = &self.config.work;
        let settings = TickSettings {
            interval: work.tick_at_most,
            spacing: work.tick_at_least,
            hand_out: work.hand_out,
        };
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Ticker::new(self.service.store.clone(), self.queue.clone(), clock, settings)
    }

    /// The worker's frame with all its handlers.
    pub(crate) fn frame(&self) -> Frame {
        let work = &self.config.work;
        let settings = FrameSettings {
            slots: self.config.worker.slots,
            lease: work.lease,
            renewal: work.renew_every,
            grace: work.drain,
        };
        Frame {
            store: self.service.store.clone(),
            queue: self.queue.clone(),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            rng: Arc::clone(&self.rng),
            registry: jobs::Registry::default()
                .with(Kind::Sync, LONGEST_SYNC, self.sync())
                .with(Kind::Push, LONGEST_PUSH, self.push())
                .with(Kind::Refresh, LONGEST_REFRESH, self.refresh())
                .with(Kind::Watch, LONGEST_RENEWAL, self.watch())
                .with(Kind::Revoke, LONGEST_REVOKE, self.revoke()),
            settings,
        }
    }

    fn sync(&self) -> SyncConnection {
        let sync = &self.config.sync;
        SyncConnection {
            store: self.service.store.clone(),
            clock: Arc::clone(&self.service.clock),
            rng: Arc::clone(&self.rng),
            drivers: self.service.drivers.clone(),
            tokens: self.service.tokens(),
            settings: SyncSettings {
                full_sync_every: sync.full_sync_every,
                calendars_every: sync.calendars_every,
                turn_pages: sync.turn_pages,
                turn_time: sync.turn_time,
                spacing: sync.notification_spacing,
                watched_poll_interval: sync.watched_poll_interval,
                watches: self.config.api.public_url.is_some(),
                lease: self.config.work.lease,
            },
        }
    }

    fn push(&self) -> PushOutbox {
        PushOutbox {
            store: self.service.store.clone(),
            clock: Arc::clone(&self.service.clock),
            rng: Arc::clone(&self.rng),
            drivers: self.service.drivers.clone(),
            tokens: self.service.tokens(),
            settings: PushSettings { lease: self.config.work.lease, ..PushSettings::default() },
        }
    }

    fn refresh(&self) -> RefreshToken {
        RefreshToken {
            store: self.service.store.clone(),
            clock: Arc::clone(&self.service.clock),
            rng: Arc::clone(&self.rng),
            tokens: self.service.tokens(),
        }
    }

    fn watch(&self) -> RenewWatch {
        RenewWatch {
            store: self.service.store.clone(),
            clock: Arc::clone(&self.service.clock),
            rng: Arc::clone(&self.rng),
            drivers: self.service.drivers.clone(),
            tokens: self.service.tokens(),
            settings: WatchSettings {
                public_url: self.config.api.public_url.clone(),
                lifetime: self.config.sync.watch_lifetime,
                lease: self.config.work.lease,
            },
        }
    }

    fn revoke(&self) -> RevokeGrant {
        RevokeGrant {
            store: self.service.store.clone(),
            clock: Arc::clone(&self.service.clock),
            rng: Arc::clone(&self.rng),
            drivers: self.service.drivers.clone(),
            tokens: self.service.tokens(),
            lease: self.config.work.lease,
        }
    }
}

fn http_settings(config: &Config) -> HttpSettings {
    let http = &config.providers.http;
    HttpSettings {
        allowed_networks: http.allowed_networks.clone(),
        allowed_ports: http.allowed_ports.clone(),
        allow_http: http.allow_http,
        connect_timeout: http.connect_timeout,
        read_timeout: http.read_timeout,
        first_byte_timeout: http.first_byte_timeout,
        total_timeout: http.total_timeout,
        listing_timeout: http.listing_timeout,
        max_listing_bytes: http.max_listing_bytes,
        max_object_bytes: http.max_object_bytes,
        max_feed_bytes: http.max_feed_bytes,
        ..HttpSettings::default()
    }
}

fn endpoints(config: &Config) -> Endpoints {
    let (google, microsoft) = (&config.providers.google, &config.providers.microsoft);
    Endpoints {
        google: google.api_url.clone(),
        microsoft: microsoft.api_url.clone(),
        window_past: microsoft.window_past,
        window_future: microsoft.window_future,
    }
}

/// Our OAuth clients, as far as they are set up.
fn sign_in(config: &Config, http: &HttpClient) -> anyhow::Result<SignIn> {
    let public = config.api.public_url.as_ref();
    let mut clients = OauthClients::default();
    // without a name of our own there, organizations can still bring theirs
    for settings in [google_client(config, public)?, microsoft_client(config, public)?] {
        clients = clients.with(OauthClient::new(settings, http.clone()));
    }
    let clients = if public.is_some() { clients } else { clients.without_a_way_back() };
    Ok(SignIn {
        clients,
        return_urls: config.api.return_urls.clone(),
        poll_interval: config.sync.poll_interval,
    })
}

fn google_client(config: &Config, public: Option<&Url>) -> anyhow::Result<OauthSettings> {
    let google = &config.providers.google;
    Ok(OauthSettings {
        provider: ProviderKind::Google,
        client_id: google.client_id.clone(),
        client_secret: google.client_secret.clone(),
        authorize_url: google.authorize_url.clone(),
        token_url: google.token_url.clone(),
        revoke_url: Some(google.revoke_url.clone()),
        issuer: google.issuer.clone(),
        jwks_url: google.jwks_url.clone(),
        redirect_url: callback(public, &google.token_url, ProviderKind::Google)?,
        // offline: with a refresh token; consent: with one every time, not only the first
        extra: [("access_type", "offline"), ("prompt", "consent"), ("include_granted_scopes", "true")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
    })
}

fn microsoft_client(config: &Config, public: Option<&Url>) -> anyhow::Result<OauthSettings> {
    let microsoft = &config.providers.microsoft;
    Ok(OauthSettings {
        provider: ProviderKind::Microsoft,
        client_id: microsoft.client_id.clone(),
        client_secret: microsoft.client_secret.clone(),
        authorize_url: microsoft.authorize_url.clone(),
        token_url: microsoft.token_url.clone(),
        // Microsoft has none: people take a grant back on a page of theirs
        revoke_url: None,
        issuer: microsoft.issuer.clone(),
        jwks_url: microsoft.jwks_url.clone(),
        redirect_url: callback(public, &microsoft.token_url, ProviderKind::Microsoft)?,
        // else it takes whoever is signed in to the browser, who need not be the one that is meant
        extra: vec![("prompt".to_owned(), "select_account".to_owned())],
    })
}

/// Where people come back to; without a public address some other one, which is never sent.
fn callback(public: Option<&Url>, never_sent: &Url, provider: ProviderKind) -> anyhow::Result<Url> {
    let Some(public) = public else { return Ok(never_sent.clone()) };
    public.join(&format!("connect/{provider}/callback")).context("api.public_url cannot be used")
}

/// The queue as the bell of the tick.
#[derive(Debug)]
struct Bell(Queue);

impl Nudge for Bell {
    fn nudge(&self) {
        self.0.nudge();
    }
}
