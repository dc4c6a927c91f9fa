//! `admin import-connections`: accounts that a service account acts for, from a file. Nothing is stored without
//! `--apply`; a line that cannot be brought in does not stop the others, and a file can be run again.

mod lines;

use std::path::PathBuf;

use anyhow::{Context, bail};
use calfleet_service::import::{ImportMode, Imported};
use calfleet_service::{Actor, Service};
use serde::Serialize;

use crate::print;

/// What to import.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportConnections {
    /// CSV with the columns organization, user, email, provider, calendars (ids apart by spaces), or JSON: a list of
    /// objects with these fields.
    file: PathBuf,
    /// Connect what can be connected.
    #[arg(long, conflicts_with = "dry_run")]
    apply: bool,
    /// Ask the provider and store nothing; so it is without --apply, too.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: print::Format,
}

/// What became of one line.
#[derive(Debug, Serialize)]
struct Line {
    #[serde(rename = "line")]
    number: usize,
    email: String,
    #[serde(flatten)]
    imported: Imported,
}

/// Reads the file and brings in its lines one by one.
pub(super) async fn run(service: &Service, command: &ImportConnections) -> anyhow::Result<()> {
    let path = &command.file;
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let is_json = path.extension().is_some_and(|name| name.eq_ignore_ascii_case("json"));
    let wishes = if is_json { lines::of_json(&text)? } else { lines::of_csv(&text)? };
    let mode = if command.apply { ImportMode::Apply } else { ImportMode::DryRun };
    let mut report = Vec::with_capacity(wishes.len());
    for (number, wish) in wishes {
        let (email, imported) = match wish {
            Ok(wish) => {
                let imported = Box::pin(service.import(&wish, mode, &Actor::operator())).await;
                // what was done before stays done, and is passed over the next time
                (wish.email, imported.with_context(|| format!("line {number}; run it again to go on"))?)
            }
            Err(reason) => (String::new(), Imported::Refused { reason }),
        };
        let line = Line { number, email, imported };
        if !command.format.json {
            print::line(&sentence(&line))?;
        }
        report.push(line);
    }
    if command.format.json {
        print::json(&report)?;
    } else if mode == ImportMode::DryRun {
        print::line("Nothing was stored; --apply connects what can be connected.")?;
    }
    let refused = report.iter().filter(|line| matches!(line.imported, Imported::Refused { .. })).count();
    if refused > 0 {
        bail!("{refused} of {} lines cannot be brought in", report.len());
    }
    Ok(())
}

fn sentence(line: &Line) -> String {
    let missing = |unknown: &[String]| match unknown {
        [] => String::new(),
        some => format!("; it has no calendar {}", some.join(", ")),
    };
    let what = match &line.imported {
        Imported::Ready { calendars, unknown } => {
            format!("can be connected, {calendars} calendars{}", missing(unknown))
        }
        Imported::Connected { connection, calendars, unknown } => {
            format!("connected as {connection}, {calendars} calendars{}", missing(unknown))
        }
        Imported::Exists { connection, state } => format!("is connected already as {connection} ({state})"),
        Imported::Refused { reason } => format!("refused: {reason}"),
    };
    format!("{}: {} {what}", line.number, line.email)
}
