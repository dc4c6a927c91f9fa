//! Budgets: no provider is asked more often than it allows, by the whole fleet together, and nobody asks before a
//! provider that said "later" wants to hear of us again.
//!
//! ```text
//! Session::send ─▶ meter (a slice of permits) ─▶ Redis: one script over account, organization, project
//!                     │                         └▶ away: a fixed share of our own (governor)
//!                     └▶ a short wait is slept, a long one is `Throttled` and the row becomes due then
//! 429, 403 rate reasons, 503 ─▶ the budget that was hit is blocked for the fleet, and smaller for a while
//! ```
//! - Budgets are of a *project* (our OAuth client at the provider), of an *organization* of ours within it, which
//!   is fairness and not a limit, and of an *account* at the provider, whoever connected it. CalDAV servers and
//!   feeds have accounts only.
//! - [`gcra`] decides, [`memory`] keeps it for one process and [`fleet`] for many. A twentieth of each quota is kept
//!   aside for programs that have lost Redis ([`fallback`]); so whoever sees Redis and whoever does not, their sum
//!   is within the quota.
//! - A [`meter`] belongs to one opened driver and holds what it may spend within the next second: most requests
//!   cost no round trip.
//! - Keys are hashes: neither Redis nor a measure learns of whom they are.

pub mod fallback;
mod fleet;
mod gcra;
mod memory;
mod meter;
mod notice;
mod seats;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::model::{OrganizationId, ProviderKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use crate::driver::Account;
use fallback::Fallback;
pub use fleet::{FleetSettings, OpenError};
use gcra::{Ask, Level, Rule, Verdict};
pub use meter::{Meter, Pass};
use notice::Notices;
use seats::Benches;

/// Which budget it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All accounts of our OAuth client at the provider.
    Project,
    /// One account at the provider.
    Account,
}

impl Scope {
    /// The name used in measures and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Account => "account",
        }
    }
}

/// Whether somebody waits for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Urgency {
    /// A person does.
    Interactive,
    /// Nobody does: a fifth of each budget's burst is left for people.
    #[default]
    Background,
}

/// Out of whose budgets an account is asked.
#[derive(Debug, Clone, Default)]
pub struct Payer {
    /// Our tenant; `None` before there is one.
    pub organization: Option<OrganizationId>,
    /// The provider's stable id of the account; `None` before it is known: then its address stands for it.
    pub account: Option<String>,
    /// Whether somebody waits.
    pub urgency: Urgency,
}

/// At most so many requests in any stretch of time of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many; 0 for no limit.
    pub requests: u32,
    /// In which time.
    pub window: Duration,
}

/// What one provider allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderLimits {
    /// Our name there (the OAuth client id): another project has a quota of its own.
    pub project: String,
    /// Of all accounts together.
    pub per_project: Quota,
    /// Of one account.
    pub per_account: Quota,
    /// At the same time for one account; 0 for any number.
    pub concurrent: u32,
}

/// What all providers allow, and how many share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Google Calendar.
    pub google: ProviderLimits,
    /// Microsoft Graph.
    pub microsoft: ProviderLimits,
    /// CalDAV servers.
    pub caldav: ProviderLimits,
    /// Published calendars.
    pub feed: ProviderLimits,
    /// The part of a project's budget within which an organization comes before those over theirs; 1 to 100.
    pub organization_percent: u32,
    /// How many programs may run at once; matters only while Redis is away.
    pub programs: u32,
}

impl Limits {
    fn of(&self, provider: ProviderKind) -> &ProviderLimits {
        match provider {
            ProviderKind::Google => &self.google,
            ProviderKind::Microsoft => &self.microsoft,
            ProviderKind::Caldav => &self.caldav,
            ProviderKind::Feed => &self.feed,
        }
    }
}

/// The budgets of a process, or its part in those of a fleet. Cheap to clone.
#[derive(Clone)]
pub struct Budgets {
    shared: Option<Arc<Shared>>,
}

struct Shared {
    limits: Limits,
    ledger: Ledger,
    notices: Arc<Notices>,
    benches: Benches,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

/// Where budgets are kept.
enum Ledger {
    Memory(memory::Memory),
    Fleet(Box<fleet::Fleet>, Fallback),
}

/// One budget of one payer.
#[derive(Debug, Clone)]
struct Purse {
    scope: Scope,
    /// Its name in the ledger.
    key: String,
    level: Level,
    quota: Quota,
}

/// What part of the burst is given at once: many accounts even each other out.
const PROJECT_BURST: f64 = 0.1;
const ACCOUNT_BURST: f64 = 0.25;
/// What of a quota is kept aside for programs without Redis, in percent.
const ASIDE_PERCENT: u32 = 5;

impl fmt::Debug for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budgets").field("is_limited", &self.shared.is_some()).finish_non_exhaustive()
    }
}

impl Budgets {
    /// No limits but those that providers enforce.
    pub fn unlimited() -> Self {
        Self { shared: None }
    }

    /// For a process that is alone with its providers.
    pub fn alone(limits: Limits, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        let ledger = Ledger::Memory(memory::Memory::new(clock.now()));
        Self::of(limits, ledger, Arc::new(Notices::default()), clock, rng)
    }

    /// For a process of a fleet, whose budgets are in Redis. Does not connect yet.
    ///
    /// Must be called inside a runtime.
    ///
    /// # Errors
    /// When the address cannot be read.
    pub fn of_fleet(
        limits: Limits,
        settings: &FleetSettings,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, OpenError> {
        let notices = Arc::new(Notices::default());
        let fleet = fleet::Fleet::open(settings, Arc::clone(&notices))?;
        let fallback = Fallback::new(limits.programs, Arc::clone(&clock));
        let ledger = Ledger::Fleet(Box::new(fleet), fallback);
        Ok(Self::of(limits, ledger, notices, clock, rng))
    }

    fn of(
        limits: Limits,
        ledger: Ledger,
        notices: Arc<Notices>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        let benches = Benches::default();
        Self { shared: Some(Arc::new(Shared { limits, ledger, notices, benches, clock, rng })) }
    }

    /// Through which all requests for the account go.
    pub fn meter(&self, account: &Account) -> Meter {
        let Some(shared) = &self.shared else { return Meter::unlimited() };
        let purses = shared.purses(account);
        let concurrent = shared.limits.of(account.provider).concurrent;
        Meter::new(Arc::clone(shared), account.provider, purses, concurrent)
    }
}

impl Shared {
    /// The account first, then what it is a part of; the levels of a ledger are in the same order.
    fn purses(&self, account: &Account) -> Vec<Purse> {
        let limits = self.limits.of(account.provider);
        let payer = &account.payer;
        let name = |kind: &str, id: &str| {
            let text = format!("{}\n{kind}\n{}\n{id}", account.provider, limits.project);
            let hash = Sha256::digest(text);
            format!("{}:{kind}:{}", account.provider, hex::encode(hash.get(..12).unwrap_or_default()))
        };
        let is_fleet = matches!(self.ledger, Ledger::Fleet(..));
        let purse = |scope, rule, key, quota: Quota, burst, (part, squeezed)| {
            let requests = if is_fleet {
                quota.requests - aside(quota.requests, self.limits.programs)
            } else {
                quota.requests
            };
            let window_ms = quota.window.as_secs_f64() * 1000.0;
            let level = Level::new(rule, requests, window_ms, burst).with_tolerance(part, squeezed);
            let level = if counts_requests(account.provider) { level } else { level.of_manners() };
            Purse { scope, key, level, quota }
        };
        let (part, squeezed) = match payer.urgency {
            Urgency::Interactive => (1.0, 0.6),
            Urgency::Background => (0.8, 0.4),
        };
        let mut purses = Vec::with_capacity(3);
        if limits.per_account.requests > 0 {
            let id =
                payer.account.clone().unwrap_or_else(|| stand_in(&account.url, account.username.as_deref()));
            let key = name("account", &id);
            purses.push(purse(
                Scope::Account,
                Rule::Strict,
                key,
                limits.per_account,
                ACCOUNT_BURST,
                (part, part),
            ));
        }
        if limits.per_project.requests > 0 {
            if let Some(organization) = payer.organization {
                let key = name("organization", &organization.to_string());
                let requests =
                    limits.per_project.requests.saturating_mul(self.limits.organization_percent) / 100;
                let quota = Quota { requests, ..limits.per_project };
                purses.push(purse(Scope::Project, Rule::Fair, key, quota, PROJECT_BURST, (1.0, 1.0)));
            }
            let key = name("project", "");
            purses.push(purse(
                Scope::Project,
                Rule::Strict,
                key,
                limits.per_project,
                PROJECT_BURST,
                (part, squeezed),
            ));
        }
        purses
    }

    /// Asks for permits of all purses at once.
    async fn take(&self, provider: ProviderKind, purses: &[Purse], need: u32, want: u32) -> Verdict {
        let now = self.clock.now();
        let ask = Ask { now_ms: to_ms(now), need, want };
        match &self.ledger {
            Ledger::Memory(memory) => memory.take(purses, ask),
            Ledger::Fleet(fleet, fallback) => match fleet.take(purses, ask, now).await {
                Some(verdict) => verdict,
                None => fallback.take(provider, purses, need, now),
            },
        }
    }

    /// The provider said stop: that budget is blocked here at once, and for the fleet when Redis has heard it.
    async fn block(&self, purse: &Purse, until: Option<Timestamp>) -> Timestamp {
        let now = self.clock.now();
        if let Some(until) = until {
            self.notices.block(&purse.key, until, now);
        }
        let until = match &self.ledger {
            Ledger::Memory(memory) => memory.block(purse, until, now),
            Ledger::Fleet(fleet, _) => fleet.block(purse, until, now).await,
        };
        self.notices.block(&purse.key, until, now);
        until
    }
}

/// Whether a provider counts our requests; of the others we only ask no more than is decent.
fn counts_requests(provider: ProviderKind) -> bool {
    match provider {
        ProviderKind::Google | ProviderKind::Microsoft => true,
        ProviderKind::Caldav | ProviderKind::Feed => false,
    }
}

/// What of a quota is left aside for programs without Redis: enough for one request of each, never more than half.
fn aside(requests: u32, programs: u32) -> u32 {
    let percent = u64::from(requests) * u64::from(ASIDE_PERCENT) / 100;
    u32::try_from(percent).unwrap_or(u32::MAX).max(programs).min(requests / 2)
}

/// Stands for an account that has no id yet.
fn stand_in(url: &Url, username: Option<&str>) -> String {
    format!("{}\n{}", url.origin().ascii_serialization(), username.unwrap_or(url.path()))
}

#[expect(clippy::cast_precision_loss, reason = "instants have 41 bits")]
fn to_ms(at: Timestamp) -> f64 {
    at.0 as f64
}

#[expect(clippy::cast_possible_truncation, reason = "instants, rounded up to whole milliseconds")]
fn from_ms(at_ms: f64) -> Timestamp {
    Timestamp(at_ms.ceil() as i64)
}
