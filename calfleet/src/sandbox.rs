//! `calfleet sandbox`: the simulated providers alone.

use std::net::SocketAddr;

use calfleet_sandbox::{Sandbox, SandboxOptions};

use crate::{print, sample};

/// How the sandbox starts.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where it listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8480")]
    listen: SocketAddr,
    /// Seed of everything random: the same seed gives the same data.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Begin without the sample accounts; make your own under /control/.
    #[arg(long)]
    empty: bool,
    #[command(flatten)]
    format: print::Format,
}

/// Serves until it is told to stop.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let shutdown = calfleet_runtime::lifecycle::shutdown_signal()?;
    let options =
        SandboxOptions { listen: arguments.listen, seed: arguments.seed, ..SandboxOptions::default() };
    let sandbox = Sandbox::start(options).await?;
    if !arguments.empty {
        sample::fill(&sandbox, arguments.seed)?;
    }
    if arguments.format.json {
        print::json(&serde_json::json!({
            "url": sandbox.url(),
            "google": sandbox.google().url(),
            "microsoft": sandbox.microsoft().url(),
            "accounts": sandbox.accounts(),
        }))?;
    } else {
        print::line(&format!("CalDAV and feeds at {0}, its controls at {0}/control/", sandbox.url()))?;
        print::line(&format!("Google at {}", sandbox.google().url()))?;
        print::line(&format!("Microsoft at {}", sandbox.microsoft().url()))?;
        for account in sandbox.accounts() {
            print::line(&format!("  user {}  password {}", account.username, account.secret))?;
        }
    }
    shutdown.cancelled().await;
    sandbox.shutdown().await;
    Ok(())
}
