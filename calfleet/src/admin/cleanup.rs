//! `admin cleanup`.

use calfleet_domain::model::{ConnectionId, Notify};
use calfleet_service::write::{Mode, Terms};
use calfleet_service::{Actor, Service};

use super::owner;
use super::written::{refusal, report_each};
use crate::print;

/// Whose events to take back.
#[derive(Debug, clap::Args)]
pub(crate) struct Cleanup {
    /// The connection.
    connection: ConnectionId,
    /// Only list what would be deleted.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: print::Format,
}

/// Deletes what was made here, or lists it. Nobody is mailed.
pub(super) async fn run(service: &Service, command: &Cleanup) -> anyhow::Result<()> {
    let id = command.connection;
    let organization = owner(service, id).await?;
    let mode = if command.dry_run { Mode::Explain } else { Mode::Store };
    let terms = Terms { notify: Notify::None, mode, ..Terms::of_person(organization, Actor::operator()) };
    let cleaned = service.clean_up(id, &terms).await.map_err(refusal)?;
    let what = if command.dry_run { "would be deleted" } else { "are deleted; the provider is told now" };
    report_each(
        command.format,
        &cleaned,
        |one| (one.event_id, one.outcome, one.error.as_deref()),
        &format!("events that were made here {what}"),
    )
}
