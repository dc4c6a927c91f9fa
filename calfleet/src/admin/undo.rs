//! `admin undo`.

use anyhow::bail;
use calfleet_service::Service;

use super::written::{Trial, refusal};
use crate::print;

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
    let refused = undone.iter().filter(|one| one.error.is_some()).count();
    if command.trial.format.json {
        print::json(&undone)?;
    } else {
        for one in &undone {
            let why = one.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
            print::line(&format!("{} {}{why}", one.event_id, one.outcome))?;
        }
        let count = undone.len() - refused;
        let what = if command.trial.is_dry_run() {
            "would be taken back"
        } else {
            "are taken back; providers are told now"
        };
        print::line(&format!("{count} changes {what}."))?;
    }
    if refused > 0 {
        bail!("{refused} of {} changes were refused", undone.len());
    }
    Ok(())
}
