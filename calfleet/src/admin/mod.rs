//! `calfleet admin`: what operators do from a shell. Every command takes `--json`.
//!
//! The commands work on the database themselves, through the same service as the API; a running scheduler sees
//! what they asked for within a quarter of a second.

use std::path::Path;

use anyhow::{Context, bail};
use calfleet_domain::job::{Kind, WorkKey};
use calfleet_domain::model::{ConnectionId, OrganizationId};
use calfleet_service::Service;
use calfleet_store::{Priority, Scope, organizations};

use crate::parts::Parts;
use crate::print;

mod accounts;
mod cleanup;
mod client;
mod conflicts;
mod connection;
mod disconnect;
mod event;
mod events;
mod explain;
mod import;
pub(crate) mod key;
mod keys;
mod organization;
mod outbox;
mod progress;
pub(crate) mod sign_in;
mod undo;
mod written;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Connect an account; its first import begins at once.
    #[command(subcommand)]
    Connect(accounts::Connect),
    /// List connections and their calendars with their freshness.
    List(accounts::List),
    /// Look at what a connection's server can do, and print a report.
    Probe(connection::Probe),
    /// Sync a connection now.
    Sync(connection::Sync),
    /// Stop a connection's jobs until it is resumed.
    Pause(connection::Named),
    /// Let a connection's jobs run again.
    Resume(connection::Named),
    /// Disconnect an account: it stops at once, its provider is told, its secrets are erased.
    Disconnect(disconnect::Disconnect),
    /// Delete at the provider the events of a connection that were made here, and no others.
    Cleanup(cleanup::Cleanup),
    /// Confirm deletions that wait because they would empty much of a calendar.
    ApproveSweep(connection::ApproveSweep),
    /// Print events or their instances.
    Events(events::Events),
    /// Make, change, answer, delete or undo one event.
    #[command(subcommand)]
    Event(event::Event),
    /// Take back everything that one request or one run of a job changed.
    Undo(undo::Undo),
    /// List what providers have yet to be told; try again or drop what was given up.
    Outbox(outbox::Outbox),
    /// List events that both sides changed, and decide which version is kept.
    Conflicts(conflicts::Conflicts),
    /// Say what would be done next: about what waits for a provider, or about a calendar's next sync.
    #[command(subcommand)]
    Explain(explain::Explain),
    /// Show how far imports have come.
    Progress(progress::Progress),
    /// Seal all secrets again with the first of `vault.keys`; the others stay behind it for the marks of older events.
    RotateKeys(keys::RotateKeys),
    /// Make and list organizations, and say what they allow.
    #[command(subcommand)]
    Organization(organization::Organization),
    /// Set, list and remove OAuth clients and service accounts that organizations bring of their own.
    #[command(subcommand)]
    Client(client::Client),
    /// Connect accounts that a service account acts for, from a file; without --apply it only says what it would do.
    ImportConnections(import::ImportConnections),
    /// Make, list and revoke API keys.
    #[command(subcommand)]
    Key(key::Key),
}

/// Which organization.
#[derive(Debug, clap::Args)]
pub(crate) struct Whose {
    /// Name or id of an organization that is there; the only one when there is one.
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
}

/// Carries a command out.
pub(crate) async fn run(config: Option<&Path>, command: Command) -> anyhow::Result<()> {
    let parts = Parts::of_file(config).await?;
    let service = &parts.service;
    match command {
        Command::Connect(command) => accounts::connect(&parts, command).await,
        Command::List(command) => accounts::list(service, &command).await,
        Command::Probe(command) => connection::probe(service, &command).await,
        Command::Sync(command) => connection::sync(service, &command).await,
        Command::Pause(command) => connection::pause(service, &command).await,
        Command::Resume(command) => connection::resume(service, &command).await,
        Command::Cleanup(command) => cleanup::run(service, &command).await,
        Command::Disconnect(command) => disconnect::run(service, &command).await,
        Command::ApproveSweep(command) => connection::approve_sweep(service, &command).await,
        Command::Events(command) => events::run(service, &command).await,
        Command::Event(command) => event::run(service, &command).await,
        Command::Undo(command) => undo::run(service, &command).await,
        Command::Outbox(command) => outbox::run(service, &command).await,
        Command::Conflicts(command) => conflicts::run(service, &command).await,
        Command::Explain(command) => explain::run(&parts, &command).await,
        Command::Progress(command) => progress::run(service, &command).await,
        Command::RotateKeys(command) => keys::rotate(service, &command).await,
        Command::Organization(command) => organization::run(service, &command).await,
        Command::Client(command) => client::run(service, &command).await,
        Command::ImportConnections(command) => import::run(service, &command).await,
        Command::Key(command) => key::run(service, &command).await,
    }
}

impl Whose {
    /// The organization of that name or id.
    fn named(organization: &str) -> Self {
        Self { organization: Some(organization.to_owned()) }
    }

    /// The organization meant. One that is named has to be there: a slip of the pen must not make a tenant.
    pub(crate) async fn find(&self, service: &Service, makes: Makes) -> anyhow::Result<OrganizationId> {
        let tx = service.store.read(Scope::Fleet).await?;
        let found = if let Some(name) = &self.organization {
            match name.parse() {
                // an id that is nobody's is no name of a new one
                Ok(id) if organizations::list(&tx).await?.contains(&id) => Some(id),
                Ok(id) => bail!("there is no such organization: {id}"),
                Err(_) => organizations::find(&tx, name).await?,
            }
        } else {
            let all = organizations::list(&tx).await?;
            if all.len() > 1 {
                bail!("there are {} organizations: say which with --organization NAME", all.len());
            }
            all.first().copied()
        };
        drop(tx);
        match (found, makes, &self.organization) {
            (Some(id), ..) => Ok(id),
            (None, _, Some(name)) => {
                bail!("there is no such organization; 'calfleet admin organization create {name}' makes it")
            }
            (None, Makes::One, None) => make(service, "default").await,
            (None, Makes::None, None) => {
                bail!("there is no organization yet; connecting an account makes one")
            }
        }
    }
}

/// Whether the first organization is made where there is none and none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Makes {
    /// It is an error.
    None,
    /// It is made.
    One,
}

pub(crate) async fn make(service: &Service, name: &str) -> anyhow::Result<OrganizationId> {
    let id: OrganizationId = service.id();
    let tx = service.store.begin(Scope::Organization(id), Priority::Interactive).await?;
    organizations::create(&tx, name, service.now()).await?;
    tx.commit().await?;
    Ok(id)
}

/// The organization of a connection: connections are named by id alone on a shell.
async fn owner(service: &Service, id: ConnectionId) -> anyhow::Result<OrganizationId> {
    let tx = service.store.read(Scope::Fleet).await?;
    let sync = WorkKey { kind: Kind::Sync, target: id.0 };
    let row = calfleet_store::work::load(&tx, sync)
        .await?
        .with_context(|| format!("there is no connection {id}; 'calfleet admin list' shows them"))?;
    Ok(row.organization_id)
}

/// Prints what was done, for people or programs.
fn done(format: print::Format, id: ConnectionId, changed: bool, text: &str) -> anyhow::Result<()> {
    if format.json {
        return print::json(&serde_json::json!({ "connection": id, "changed": changed }));
    }
    print::line(text)
}
