//! `admin outbox`: what the providers have yet to be told, and what was given up.

use std::time::Duration;

use calfleet_domain::model::OutboxId;
use calfleet_service::write::{IntentView, Mode};
use calfleet_service::{Actor, Service};
use calfleet_store::outbox::OutboxState;

use super::written::{Trial, explain, refusal};
use super::{Makes, Whose};
use crate::print;

/// What to do with the outbox; it is listed when nothing is said.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Outbox {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

/// What to do with the outbox.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List intents, newest first.
    List(List),
    /// Try again what was given up of an event.
    Retry {
        /// The intent.
        intent: OutboxId,
        #[command(flatten)]
        trial: Trial,
    },
    /// Drop what was given up of an event: it says again what the provider has.
    Discard {
        /// The intent.
        intent: OutboxId,
        #[command(flatten)]
        trial: Trial,
    },
}

/// Which intents.
#[derive(Debug, clap::Args)]
struct List {
    /// Pending, done, folded or dead.
    #[arg(long, value_parser = state, default_value = "pending")]
    state: OutboxState,
    /// Most lines.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    format: print::Format,
}

/// Carries it out.
pub(super) async fn run(service: &Service, command: &Outbox) -> anyhow::Result<()> {
    match command.command.as_ref() {
        None => list(service, &command.list).await,
        Some(Command::List(command)) => list(service, command).await,
        Some(Command::Retry { intent, trial }) => retry(service, *intent, trial).await,
        Some(Command::Discard { intent, trial }) => {
            let terms = trial.terms(service).await?;
            let outcome = service.discard_intent(*intent, &terms).await;
            trial.report(service, &terms, outcome, Duration::ZERO).await
        }
    }
}

async fn list(service: &Service, command: &List) -> anyhow::Result<()> {
    let organization = command.whose.find(service, Makes::None).await?;
    let intents = service.intents(organization, command.state, None, command.limit).await?;
    if command.format.json {
        return print::json(&intents);
    }
    let rows: Vec<[String; 6]> = intents.iter().map(row).collect();
    print::table(["INTENT", "RECEIVED", "WHAT", "EVENT", "ATTEMPTS", "ERROR"], &rows)
}

async fn retry(service: &Service, intent: OutboxId, trial: &Trial) -> anyhow::Result<()> {
    let terms = trial.terms(service).await?;
    let organization = terms.organization_id;
    if terms.mode == Mode::Explain {
        let plan = service.plan_intent(organization, intent).await.map_err(refusal)?;
        return explain(service, trial.format, &terms, &plan).await;
    }
    let view = service.retry_intent(organization, intent, &Actor::operator()).await.map_err(refusal)?;
    if trial.format.json {
        return print::json(&view);
    }
    print::line(match view.state {
        "pending" => "It is tried again now.",
        _ => "It was not given up; nothing had to be done.",
    })
}

fn row(view: &IntentView) -> [String; 6] {
    let at = view.received_at.to_utc().map(|at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string());
    [
        view.id.to_string(),
        at.unwrap_or_default(),
        view.operation.as_str().to_owned(),
        view.event_id.to_string(),
        view.attempt.to_string(),
        view.error.clone().unwrap_or_default(),
    ]
}

fn state(name: &str) -> Result<OutboxState, String> {
    OutboxState::from_name(name).ok_or_else(|| "give pending, done, folded or dead".to_owned())
}
