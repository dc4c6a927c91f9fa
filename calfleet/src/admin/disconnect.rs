//! `admin disconnect`.

use anyhow::Context;
use calfleet_domain::model::{ConnectionId, OrganizationId};
use calfleet_service::disconnect::DisconnectPlan;
use calfleet_service::{Actor, Service};
use calfleet_store::departures::Events;

use super::{done, owner};
use crate::print;

/// What to disconnect, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Disconnect {
    /// The connection.
    connection: ConnectionId,
    /// Keep its events here; they are bound again when the account is connected again. The default.
    #[arg(long, conflicts_with = "purge_events")]
    keep_events: bool,
    /// Remove its events here; at the provider they stay.
    #[arg(long)]
    purge_events: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: print::Format,
}

/// Disconnects, or says what that would do.
pub(super) async fn run(service: &Service, command: &Disconnect) -> anyhow::Result<()> {
    let id = command.connection;
    let organization: OrganizationId = owner(service, id).await?;
    let events = if command.purge_events { Events::Purge } else { Events::Keep };
    let plan = service
        .plan_disconnect(organization, id, events)
        .await
        .with_context(|| format!("disconnect {id}"))?;
    if command.dry_run {
        return if command.format.json { print::json(&plan) } else { print::line(&sentence(&plan, events)) };
    }
    let changed = service.disconnect(organization, id, events, &Actor::operator()).await?;
    let text =
        if changed { "Disconnected; the provider is told now." } else { "It was disconnected already." };
    done(command.format, id, changed, text)
}

fn sentence(plan: &DisconnectPlan, events: Events) -> String {
    let what = match events {
        Events::Keep => format!("{} events stay here", plan.event_count),
        Events::Purge => format!("{} events would be removed here", plan.event_count),
    };
    let pending = match plan.pending {
        0 => String::new(),
        some => format!(", {some} local edits would never reach the provider"),
    };
    let grant = match plan.grant {
        "revoked" => "the authorization would be ended at the provider",
        "shared" => "the authorization would go on, because another connection lives on it",
        "not_offered" => "the provider does not let us end the authorization; the person can, on its pages",
        _ => "there is no authorization to be ended",
    };
    let already = if plan.is_disconnected { "It is disconnected already; " } else { "" };
    format!("{already}{}: {what}{pending}; {grant}; its secrets would be erased.", plan.label)
}
