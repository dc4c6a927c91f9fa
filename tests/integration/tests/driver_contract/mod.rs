//! Every driver against every server we can start: what is listed and read is what the server holds, whatever its
//! habits, and what goes wrong ends in one class and one sentence.

mod failures;
mod feeds;
mod google;
mod graph;
mod habits;
mod mirror;
mod real_servers;
mod relay;
mod sign_in;
mod trouble;
mod writes;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::model::{Authentication, ProviderKind};
use calfleet_providers::driver::{Account, Driver, DriverError};
use calfleet_providers::http::HttpSettings;
use calfleet_providers::marker::Marks;
use calfleet_providers::registry::Registry;
use calfleet_providers::surroundings::Endpoints;
use calfleet_sandbox::{AccountAccess, Sandbox, SandboxClock, SandboxOptions};
use calfleet_store::vault::KeyRing;

/// 2026-03-02 09:00:00 UTC.
const NOW: i64 = 1_772_442_000_000;

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(NOW)
    }

    fn sleep_until(&self, _: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

#[derive(Debug)]
struct Fixed;

impl Rng for Fixed {
    fn next_u64(&self) -> u64 {
        7
    }
}

/// What an operator who tests on this machine would set.
pub(crate) fn settings(ports: &[u16]) -> HttpSettings {
    HttpSettings {
        allowed_networks: vec!["127.0.0.0/8".parse().unwrap()],
        allowed_ports: ports.to_vec(),
        total_timeout: Duration::from_secs(20),
        listing_timeout: Duration::from_secs(20),
        max_listing_bytes: 8 << 20,
        max_object_bytes: 1 << 20,
        max_feed_bytes: 8 << 20,
        ..HttpSettings::default()
    }
}

fn registry(settings: HttpSettings) -> Registry {
    Registry::new(settings, Endpoints::production().unwrap(), Arc::new(Still), Arc::new(Fixed)).unwrap()
}

async fn sandbox() -> Sandbox {
    let clock = SandboxClock::standing_at(NOW);
    Sandbox::start(SandboxOptions { clock, ..SandboxOptions::default() }).await.unwrap()
}

/// What marks the objects of the one account.
pub(crate) fn marks() -> Marks {
    let ring = KeyRing::new("a", [("a".to_owned(), [7; 32])]).unwrap();
    Marks::new(ring.marking(), "ada")
}

fn account(access: &AccountAccess) -> Account {
    Account {
        provider: ProviderKind::Caldav,
        url: access.url.parse().unwrap(),
        authentication: Authentication::Password,
        username: Some(access.username.clone()),
        secret: Some(access.secret.clone().into()),
        capabilities: None,
        payer: calfleet_providers::driver::Payer::default(),
        marks: marks(),
    }
}

fn feed(url: &str) -> Account {
    Account {
        provider: ProviderKind::Feed,
        url: url.parse().unwrap(),
        authentication: Authentication::None,
        username: None,
        secret: None,
        capabilities: None,
        payer: calfleet_providers::driver::Payer::default(),
        marks: marks(),
    }
}

/// Probes the account and opens it again as it is stored then.
pub(crate) async fn connect(
    registry: &Registry,
    mut account: Account,
) -> Result<(Account, Arc<dyn Driver>), DriverError> {
    let report = registry.open(account.clone())?.probe().await?;
    account.url = report.url;
    account.capabilities = Some(report.capabilities);
    let driver = registry.open(account.clone())?;
    Ok((account, driver))
}
