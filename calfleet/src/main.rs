//! The one executable: every program of the fleet is a command of it.
//!
//! A command reads the configuration, opens what it needs and hands over; what it prints on standard output is
//! its result, everything else goes to the logs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod admin;
mod check;
mod demo;
mod keys;
mod limits;
mod migrate;
mod parts;
mod print;
mod sample;
mod sandbox;
mod scheduler;
mod solo;
mod supervise;
mod worker;

/// Keeps an application's events and its users' calendars in step.
#[derive(Debug, Parser)]
#[command(name = "calfleet", version, about)]
struct Arguments {
    /// Configuration file; the defaults and the environment apply without one.
    #[arg(long, short, global = true, value_name = "FILE", env = "CALFLEET_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one process, with a simulated provider and sample calendars; nothing to set up.
    Demo(demo::Arguments),
    /// Everything in one process on an SQLite file, for small installations.
    Solo,
    /// Puts work on the queue and serves the API; run as many as you like.
    Scheduler,
    /// Takes work off the queue; run as many as you like.
    Worker,
    /// Brings the database schema up to date.
    Migrate(migrate::Arguments),
    /// Says in plain words what is wrong with this installation and what to do about it.
    Check(check::Arguments),
    /// Connects accounts, lists, syncs, pauses and resumes.
    #[command(subcommand)]
    Admin(admin::Command),
    /// The simulated provider alone, for developers of applications and their tests.
    Sandbox(sandbox::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return print::failure(&anyhow::Error::new(error).context("start the runtime")),
    };
    match runtime.block_on(run(arguments)) {
        Ok(code) => code,
        Err(error) => print::failure(&error),
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = arguments.config.as_deref();
    match arguments.command {
        Command::Demo(command) => demo::run(&command).await?,
        Command::Solo => solo::run(config).await?,
        Command::Scheduler => scheduler::run(config).await?,
        Command::Worker => worker::run(config).await?,
        Command::Migrate(command) => migrate::run(config, &command).await?,
        Command::Check(command) => return check::run(config, &command).await,
        Command::Admin(command) => admin::run(config, command).await?,
        Command::Sandbox(command) => sandbox::run(&command).await?,
    }
    Ok(ExitCode::SUCCESS)
}
