//! Runs a sandbox with one account and a filled calendar until it is interrupted.
//!
//! `cargo run -p calfleet-sandbox --example serve -- [port] [profile] [events]`

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use calfleet_sandbox::{AccountSpec, CalendarSpec, GeneratorPlan, Profile, Sandbox, SandboxOptions};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the address is what the example is run for")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(Ok(5_232), |port| port.parse())?;
    let profile =
        arguments.next().map_or_else(Profile::standard, |name| Profile::preset(&name).unwrap_or_default());
    let events = arguments.next().map_or(Ok(100), |events| events.parse())?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));

    let sandbox = Sandbox::start(SandboxOptions { listen, profile, ..SandboxOptions::default() }).await?;
    let calendars = [CalendarSpec::new("work").titled("Work").coloured("#2A6FDB"), CalendarSpec::new("home")];
    let ada = calendars.into_iter().fold(AccountSpec::new("ada", "secret"), AccountSpec::calendar);
    let access = sandbox.create_account(ada)?;
    sandbox.generate("ada", "work", GeneratorPlan { events, seed: 1 })?;

    println!("CalDAV at {}/ for ada, password secret; controls at {}/control/", access.url, access.url);
    tokio::signal::ctrl_c().await?;
    sandbox.shutdown().await;
    Ok(())
}
