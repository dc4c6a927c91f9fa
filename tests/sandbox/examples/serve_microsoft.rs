//! Runs a sandbox with two Microsoft accounts and prints, as JSON, what a client needs to begin.
//!
//! `cargo run -p calfleet-sandbox --example serve_microsoft -- [port]`

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use calfleet_sandbox::{MicrosoftAccountSpec, Sandbox, SandboxOptions};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the first line is what the example is run for")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).map_or(Ok(5_234), |port| port.parse())?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let sandbox = Sandbox::start(SandboxOptions { listen, ..SandboxOptions::default() }).await?;
    let microsoft = sandbox.microsoft();
    microsoft.create_account(MicrosoftAccountSpec::new("ada@example.com").zone("Romance Standard Time"))?;
    microsoft.create_account(MicrosoftAccountSpec::new("bob@example.com").zone("Eastern Standard Time"))?;
    let scopes = ["User.Read", "Calendars.ReadWrite", "MailboxSettings.Read", "offline_access"];
    let (access, refresh) = microsoft.tokens("ada@example.com", "app", &scopes)?;
    let facts = serde_json::json!({ "root": microsoft.url(), "access": access, "refresh": refresh });
    println!("{facts}");
    tokio::signal::ctrl_c().await?;
    sandbox.shutdown().await;
    Ok(())
}
