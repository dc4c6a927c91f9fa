//! `admin probe|sync|pause|resume|approve-sweep`: one connection at a time.

use std::time::Duration;

use anyhow::{Context, bail};
use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{CalendarId, ConnectionId, OrganizationId};
use calfleet_providers::driver::Verdict;
use calfleet_service::control::ControlError;
use calfleet_service::drivers::OpenError;
use calfleet_service::overview;
use calfleet_service::{Actor, Service};
use calfleet_store::calendar_sync::{self, Thoroughness};
use calfleet_store::{Priority, Scope};

use super::{Makes, Whose, done, owner};
use crate::print;

/// How often a waiting command looks.
const LOOK: Duration = Duration::from_millis(200);

/// One connection.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Its id.
    connection: ConnectionId,
    #[command(flatten)]
    format: print::Format,
}

/// What to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct Probe {
    /// The connection.
    connection: ConnectionId,
    #[command(flatten)]
    format: print::Format,
}

/// What to sync, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Sync {
    /// The connection.
    connection: ConnectionId,
    /// Compare every calendar in full.
    #[arg(long)]
    full: bool,
    /// Wait until it is done, at most so long, such as 2m.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    format: print::Format,
}

/// Which calendar's deletions are right.
#[derive(Debug, clap::Args)]
pub(crate) struct ApproveSweep {
    /// The calendar.
    calendar: CalendarId,
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    format: print::Format,
}

/// Prints what a server can do.
pub(super) async fn probe(service: &Service, command: &Probe) -> anyhow::Result<()> {
    let id = command.connection;
    let report = match service.probe(owner(service, id).await?, id).await {
        Ok(report) => report,
        Err(ControlError::Open(OpenError::Driver(error))) => bail!("{}", error.problem),
        Err(error) => return Err(error.into()),
    };
    if command.format.json {
        return print::json(&report);
    }
    print::line(&format!("{}  account {}", report.url, report.account))?;
    let rows: Vec<[String; 3]> = report
        .findings
        .iter()
        .map(|finding| {
            let verdict = match finding.verdict {
                Verdict::Yes => "yes",
                Verdict::No => "no",
                Verdict::Unknown => "unknown",
            };
            [finding.subject.clone(), verdict.to_owned(), finding.detail.clone()]
        })
        .collect();
    print::table(["LOOKED AT", "WORKS", "WHAT WAS SEEN"], &rows)
}

/// Asks for a sync, and waits for it if wanted.
pub(super) async fn sync(service: &Service, command: &Sync) -> anyhow::Result<()> {
    let id = command.connection;
    let organization = owner(service, id).await?;
    let thoroughness = if command.full { Thoroughness::Everything } else { Thoroughness::Changes };
    let asked_at = service.now();
    let ticket = service.sync_now(organization, id, thoroughness, &Actor::operator()).await?;
    let Some(patience) = command.wait else {
        return done(command.format, id, true, "Asked for; 'calfleet admin progress' shows how far it is.");
    };
    let until = asked_at.plus(patience);
    wait(service, organization, id, asked_at, until).await?;
    // What was deleted is settled after the last calendar was looked at.
    while let Some(ticket) = ticket
        && !service.is_served(organization, id, ticket).await?
        && service.now() <= until
    {
        service.clock.sleep(LOOK).await;
    }
    done(command.format, id, true, "Done: every calendar was proven fresh.")
}

/// Until every reachable calendar was proven fresh after `asked_at`, or said why not.
async fn wait(
    service: &Service,
    organization: OrganizationId,
    id: ConnectionId,
    asked_at: Timestamp,
    until: Timestamp,
) -> anyhow::Result<()> {
    loop {
        let view = overview::connection(&service.store, organization, id, service.now()).await?;
        let view = view.context("the connection is gone")?;
        let mut open =
            view.calendars.iter().filter(|calendar| calendar.is_selected && calendar.state != "gone");
        if open.all(|calendar| calendar.fresh_at.is_some_and(|at| at >= asked_at)) {
            return Ok(());
        }
        if service.now() > until {
            bail!("not done yet: {}", view.status.message);
        }
        service.clock.sleep(LOOK).await;
    }
}

/// Stops a connection.
pub(super) async fn pause(service: &Service, command: &Named) -> anyhow::Result<()> {
    let id = command.connection;
    let changed = service.pause(owner(service, id).await?, id, &Actor::operator()).await?;
    done(command.format, id, changed, if changed { "Paused." } else { "It was paused already." })
}

/// Lets a connection run again.
pub(super) async fn resume(service: &Service, command: &Named) -> anyhow::Result<()> {
    let id = command.connection;
    let changed = service.resume(owner(service, id).await?, id, &Actor::operator()).await?;
    done(command.format, id, changed, if changed { "Resumed." } else { "It was running already." })
}

/// Confirms deletions that wait.
pub(super) async fn approve_sweep(service: &Service, command: &ApproveSweep) -> anyhow::Result<()> {
    let organization = command.whose.find(service, Makes::None).await?;
    let tx = service.store.begin(Scope::Organization(organization), Priority::Interactive).await?;
    let view = calendar_sync::of_calendar(&tx, command.calendar).await?;
    let sync = view.context("there is no such calendar; 'calfleet admin list' shows them")?;
    let approved = calendar_sync::approve_sweep(&tx, command.calendar, service.now()).await?;
    tx.commit().await?;
    if !approved {
        bail!("no deletions wait for a word in this calendar");
    }
    service.sync_now(organization, sync.connection_id, Thoroughness::Changes, &Actor::operator()).await?;
    done(
        command.format,
        sync.connection_id,
        true,
        "Confirmed: the next listing deletes what it does not name.",
    )
}
