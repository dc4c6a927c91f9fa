//! `admin explain`: what would be done next, before it is.

use calfleet_domain::model::{CalendarId, OutboxId};
use calfleet_service::explain::{PushExplained, SyncExplained};

use super::written::{lines, refusal};
use super::{Makes, Whose};
use crate::parts::Parts;
use crate::print;

/// What would be done next.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Explain {
    /// What telling the provider of an intent would come to.
    Intent {
        /// The intent, as 'calfleet admin outbox' lists it.
        intent: OutboxId,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        format: print::Format,
    },
    /// What the next sync of a calendar would come to.
    Calendar {
        /// The calendar.
        calendar: CalendarId,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        format: print::Format,
    },
}

/// Carries it out.
pub(super) async fn run(parts: &Parts, command: &Explain) -> anyhow::Result<()> {
    let service = &parts.service;
    match command {
        Explain::Intent { intent, whose, format } => {
            let organization = whose.find(service, Makes::None).await?;
            let told = service.explain_intent(organization, *intent).await.map_err(refusal)?;
            if format.json {
                return print::json(&told);
            }
            of_intent(&told).iter().try_for_each(|line| print::line(line))
        }
        Explain::Calendar { calendar, whose, format } => {
            let organization = whose.find(service, Makes::None).await?;
            let every = parts.config.sync.full_sync_every;
            let told = service.explain_sync(organization, *calendar, every).await.map_err(refusal)?;
            if format.json {
                return print::json(&told);
            }
            of_sync(&told)?.iter().try_for_each(|line| print::line(line))
        }
    }
}

fn of_intent(told: &PushExplained) -> Vec<String> {
    let mut said = lines(&told.plan);
    if told.reads_first {
        said.push("It would be read first: an earlier attempt may have been applied.".to_owned());
    }
    said.extend(told.held_by.map(|why| format!("Nothing is sent at present: {why}.")));
    said
}

fn of_sync(told: &SyncExplained) -> anyhow::Result<Vec<String>> {
    let name = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let listing = name(serde_json::to_value(told.listing)?);
    let policy = told.conflict_policy.as_str();
    let at = told.at.to_utc().map(|at| at.to_rfc3339()).unwrap_or_default();
    let mut said = vec![
        format!(
            "Would be listed at {at} ({listing}); a complete listing found {} the last time.",
            told.last_listed
        ),
        format!("Events to be read singly: {}.", told.read_singly.len()),
        format!("Where both sides changed the same: {policy}."),
        format!(
            "Requests to the account: {} at least, from {}. Nobody would be mailed.",
            told.requests, told.budget
        ),
    ];
    said.extend(told.read_singly.iter().map(|id| format!("  read: {id}")));
    said.extend(told.pending.iter().map(|intent| {
        format!("  ours, not yet there: {} of event {}", intent.operation.as_str(), intent.event_id)
    }));
    said.extend(told.held_by.map(|why| format!("Nothing is read at present: {why}.")));
    Ok(said)
}
