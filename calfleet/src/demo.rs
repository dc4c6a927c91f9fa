//! `calfleet demo`: a simulated provider, sample organizations and everything else in one process; nothing to set
//! up, nothing left behind.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{Authentication, CalendarId, OrganizationId, ProviderKind};
use calfleet_runtime::config::Config;
use calfleet_sandbox::{Sandbox, SandboxError, SandboxOptions};
use calfleet_scheduler::api::{CONNECT, SCHEDULE, VIEW_ALL};
use calfleet_scheduler::serve::{self, ServeError};
use calfleet_service::connect::ConnectRequest;
use calfleet_service::service::SignIn;
use calfleet_service::sign_in::SignInAccess;
use calfleet_service::{Actor, overview};
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use crate::parts::Parts;
use crate::sample::Sample;
use crate::{admin, print, sample, solo};

/// How often the demo's connections are polled: oftener than an operator may, because somebody watches.
const POLL: Duration = Duration::from_secs(5);
/// How often somebody changes something at the simulated provider.
const CHANGE: Duration = Duration::from_secs(7);
/// How often the demo looks how far the calendars are.
const LOOK: Duration = Duration::from_millis(500);

/// How the demo starts.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the API listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8400")]
    listen: SocketAddr,
    /// Where the simulated provider listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8480")]
    sandbox_listen: SocketAddr,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End by itself after so long, such as 30s.
    #[arg(long, value_parser = humantime::parse_duration)]
    stop_after: Option<Duration>,
}

/// Runs until it is told to stop.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let shutdown = calfleet_runtime::lifecycle::shutdown_signal()?;
    let folder = tempfile::tempdir().context("make a folder for the demo's database")?;
    let options = SandboxOptions {
        listen: arguments.sandbox_listen,
        seed: arguments.seed,
        ..SandboxOptions::default()
    };
    let sandbox = Sandbox::start(options).await.map_err(|error| match error {
        SandboxError::Listen { address, source } => taken(address, "--sandbox-listen", source),
        other => other.into(),
    })?;
    let samples = sample::fill(&sandbox, arguments.seed)?;
    sample::fill_google(&sandbox)?;
    sample::fill_microsoft(&sandbox)?;
    let socket = serve::listen(arguments.listen).await.map_err(|error| match error {
        ServeError::Listen { address, source } => taken(address, "--listen", source),
        other @ ServeError::Serve(_) => other.into(),
    })?;
    let address = socket.address()?;
    let config = config(address, folder.path(), &sandbox)?;
    calfleet_migrations::run(&config.database.url).await?;
    let mut parts = Parts::open(config).await?;
    let usual = parts.service.sign_in.as_ref().clone();
    parts.service.sign_in = Arc::new(SignIn { poll_interval: POLL, ..usual });
    print::line(&format!("Simulated CalDAV and feeds   {0}   (its controls: {0}/control/)", sandbox.url()))?;
    print::line(&format!("API                          http://{address}/api/v1"))?;
    print::line(&format!("Database                     {}", folder.path().join("demo.db").display()))?;
    let running = {
        let (parts, shutdown) = (parts.clone(), shutdown.clone());
        tokio::spawn(async move { solo::run_parts(&parts, socket, shutdown).await })
    };
    let mut organizations = Vec::new();
    for sample in &samples {
        organizations.push(connect(&parts, sample, address).await?);
    }
    if let Some(organization) = organizations.first() {
        for provider in [ProviderKind::Google, ProviderKind::Microsoft] {
            tokio::spawn(sign_in(parts.clone(), *organization, provider));
        }
    }
    print::line("Somebody changes events at the provider every few seconds; Ctrl-C ends the demo.")?;
    watch(&parts, &sandbox, &samples, &organizations, arguments, &shutdown).await?;
    shutdown.cancel();
    running.await??;
    sandbox.shutdown().await;
    Ok(())
}

/// The demo has no configuration, where the programs look for their addresses.
fn taken(address: SocketAddr, option: &str, source: std::io::Error) -> anyhow::Error {
    let advice = format!(
        "listen on {address}; another program may use it: give another address, such as {option} 127.0.0.1:0"
    );
    anyhow::Error::new(source).context(advice)
}

fn config(address: SocketAddr, folder: &std::path::Path, sandbox: &Sandbox) -> anyhow::Result<Config> {
    let (google, microsoft) = (sandbox.google().url(), sandbox.microsoft().url());
    let text = format!(
        "[database]\nurl = \"sqlite://{database}\"\n[vault]\nkey_file = \"{keys}\"\n[api]\nlisten = \"{address}\"\npublic_url = \"http://{address}/\"\n\
         [providers.http]\nallowed_networks = [\"{host}/32\"]\nallowed_ports = [{port}]\n\
         [providers.google]\nclient_id = \"calfleet-demo\"\nclient_secret = \"of the demo\"\n\
         api_url = \"{google}/calendar/v3/\"\nauthorize_url = \"{google}/o/oauth2/v2/auth\"\n\
         token_url = \"{google}/token\"\nrevoke_url = \"{google}/revoke\"\n\
         jwks_url = \"{google}/oauth2/v3/certs\"\nissuer = \"{google}\"\n\
         [providers.microsoft]\nclient_id = \"calfleet-demo\"\nclient_secret = \"of the demo\"\n\
         api_url = \"{graph}\"\nauthorize_url = \"{microsoft}/common/oauth2/v2.0/authorize\"\n\
         token_url = \"{microsoft}/common/oauth2/v2.0/token\"\n\
         jwks_url = \"{microsoft}/common/discovery/v2.0/keys\"\nissuer = \"{microsoft}/{{tid}}/v2.0\"\n\
         [sync]\nnotification_spacing = \"250ms\"\n\
         [telemetry]\nlog_filter = \"warn\"\n",
        graph = sandbox.microsoft().api_url(),
        database = folder.join("demo.db").display(),
        keys = folder.join("keys").display(),
        host = sandbox.address().ip(),
        port = sandbox.address().port(),
    );
    Ok(Config::from_text(&text)?)
}

/// Connects a sample organization's account and feed, and makes it a key.
async fn connect(parts: &Parts, sample: &Sample, address: SocketAddr) -> anyhow::Result<OrganizationId> {
    let service = &parts.service;
    let organization_id = admin::make(service, sample.organization).await?;
    let account = ConnectRequest {
        organization_id,
        user_id: None,
        provider: ProviderKind::Caldav,
        address: sample.account.url.clone(),
        authentication: Authentication::Password,
        username: Some(sample.account.username.clone()),
        secret: Some(SecretString::from(sample.account.secret.as_str())),
        label: None,
        poll_interval: None,
        conflict_policy: None,
    };
    let feed = sample.feed.as_ref().map(|address| ConnectRequest {
        provider: ProviderKind::Feed,
        address: address.clone(),
        authentication: Authentication::None,
        username: None,
        secret: None,
        ..account.clone()
    });
    let (_, key) =
        admin::key::create(service, organization_id, "demo", &[VIEW_ALL, CONNECT, SCHEDULE]).await?;
    print::line(&format!("\nOrganization {}: try", sample.organization))?;
    print::line(&format!(
        "  curl -s -H 'Authorization: Bearer {}' 'http://{address}/api/v1/connections'",
        key.expose_secret(),
    ))?;
    for request in std::iter::once(account).chain(feed) {
        service.connect(&request, &Actor::operator()).await?;
    }
    Ok(organization_id)
}

/// Offers the consent page of a simulated provider, and shows what came of it.
async fn sign_in(parts: Parts, organization: OrganizationId, provider: ProviderKind) -> anyhow::Result<()> {
    let access = (provider, SignInAccess::Write);
    let name = if provider == ProviderKind::Microsoft { "Microsoft" } else { "Google" };
    let waiting = match admin::sign_in::begin(&parts.service, organization, access).await {
        Ok(waiting) => waiting,
        Err(error) => return print::line(&format!("  {name}: {error:#}")),
    };
    print::line(&format!("Connect a {name} account by its consent page; open"))?;
    print::line(&format!("  {}", waiting.begun.authorize_url))?;
    match waiting.finish().await {
        Ok(connected) => {
            let names: Vec<&str> =
                connected.calendars.iter().map(|calendar| calendar.name.as_str()).collect();
            print::line(&format!("  {name}: connected, calendars: {}", names.join(", ")))
        }
        Err(error) => print::line(&format!("  {name}: {error:#}")),
    }
}

/// Prints what arrives, and changes events at the provider so that something does.
async fn watch(
    parts: &Parts,
    sandbox: &Sandbox,
    samples: &[Sample],
    organizations: &[OrganizationId],
    arguments: &Arguments,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let service = &parts.service;
    let end = arguments.stop_after.map_or(Timestamp::NEVER, |after| service.now().plus(after));
    let mut next_change = service.now().plus(CHANGE);
    let mut shown: HashMap<CalendarId, String> = HashMap::new();
    let mut seed = arguments.seed;
    while service.now() < end {
        for organization in organizations {
            let views = overview::connections(&service.store, *organization, None, 50, service.now()).await?;
            for calendar in views.iter().flat_map(|view| &view.calendars) {
                report(calendar, &mut shown)?;
            }
        }
        if service.now() >= next_change {
            seed = seed.wrapping_add(1);
            change(sandbox, samples, seed)?;
            next_change = service.now().plus(CHANGE);
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = service.clock.sleep(LOOK) => {}
        }
    }
    Ok(())
}

/// A line when a calendar's state is another than the one shown last.
fn report(calendar: &overview::CalendarView, shown: &mut HashMap<CalendarId, String>) -> anyhow::Result<()> {
    let progress = &calendar.progress;
    let (name, items) = (&calendar.name, progress.items_done);
    let line = if let Some(problem) = &calendar.problem {
        format!("  {name}: {problem}")
    } else if calendar.fresh_at.is_none() {
        format!("  {name}: importing, {items} of {}", progress.items_listed)
    } else {
        format!("  {name}: in step, {items} items in the last listing")
    };
    if shown.get(&calendar.id) != Some(&line) {
        print::line(&line)?;
        shown.insert(calendar.id, line);
    }
    Ok(())
}

fn change(sandbox: &Sandbox, samples: &[Sample], seed: u64) -> anyhow::Result<()> {
    let title = sample::change_google(sandbox, seed);
    print::line(&format!("  at Google: {title:?}"))?;
    let title = sample::change_microsoft(sandbox, seed)?;
    print::line(&format!("  at Microsoft: {title:?}"))?;
    for sample in samples {
        for calendar in &sample.lively {
            for mutation in sandbox.mutate(&sample.account.username, calendar, 2, seed)? {
                print::line(&format!("  at the provider: {:?} {:?}", mutation.change, mutation.title))?;
            }
        }
    }
    Ok(())
}
