//! Runs a sandbox with two Google accounts and prints, as JSON, what a client needs to begin.
//!
//! `cargo run -p calfleet-sandbox --example serve_google -- [port]`

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use calfleet_sandbox::{GoogleAccountSpec, Sandbox, SandboxOptions};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the first line is what the example is run for")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).map_or(Ok(5_233), |port| port.parse())?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let sandbox = Sandbox::start(SandboxOptions { listen, ..SandboxOptions::default() }).await?;
    let google = sandbox.google();
    google.create_account(GoogleAccountSpec::new("ada@example.com").zone("Europe/Paris"))?;
    google.create_account(GoogleAccountSpec::new("bob@example.com").zone("America/New_York"))?;
    let scope = "https://www.googleapis.com/auth/calendar";
    let (access, refresh) = google.tokens("ada@example.com", "app", &[scope])?;
    let key = google.create_service_account("robot@sandbox.test", &[scope]);
    let facts = serde_json::json!({ "root": google.url(), "access": access, "refresh": refresh, "key": key });
    println!("{facts}");
    tokio::signal::ctrl_c().await?;
    sandbox.shutdown().await;
    Ok(())
}
