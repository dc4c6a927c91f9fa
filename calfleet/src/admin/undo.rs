//! `admin undo`.

use calfleet_service::Service;

use super::written::{Trial, refusal, report_each};

/// What to take back.
#[derive(Debug, clap::Args)]
pub(crate) struct Undo {
    /// The request or the run, as the history of an event names it.
    #[arg(value_name = "CAUSE")]
    cause: String,
    #[command(flatten)]
    trial: Trial,
}

/// Takes back what one request or run wrote, or lists it. Nobody is mailed.
pub(super) async fn run(service: &Service, command: &Undo) -> anyhow::Result<()> {
    let terms = command.trial.terms(service).await?;
    let undone = service.undo_cause(&command.cause, &terms).await.map_err(refusal)?;
    let what = if command.trial.is_dry_run() {
        "would be taken back"
    } else {
        "are taken back; providers are told now"
    };
    report_each(
        command.trial.format,
        &undone,
        |one| (one.event_id, one.outcome.as_ref(), one.error.as_deref()),
        &format!("changes {what}"),
    )
}
