//! `calfleet migrate`: brings the database schema up to date.

use std::path::Path;

use anyhow::Context;
use calfleet_runtime::config::Config;

use crate::print;

/// Which steps to take.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: print::Format,
}

/// Migrates, or says what is pending.
pub(crate) async fn run(config: Option<&Path>, arguments: &Arguments) -> anyhow::Result<()> {
    let config = Config::load(config)?;
    let pending = if arguments.dry_run {
        calfleet_migrations::pending(&config.database.url).await
    } else {
        calfleet_migrations::run(&config.database.url).await
    }
    .context("the database in database.url cannot be migrated; see that it exists and that its user may create tables and roles")?;
    if arguments.format.json {
        return print::json(&serde_json::json!({ "dry_run": arguments.dry_run, "migrations": pending }));
    }
    if pending.is_empty() {
        return print::line("The schema is up to date.");
    }
    let done = if arguments.dry_run { "pending" } else { "applied" };
    pending.iter().try_for_each(|name| print::line(&format!("{done}  {name}")))
}
