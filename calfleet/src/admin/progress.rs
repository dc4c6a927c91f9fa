//! `admin progress`: how far imports have come; live on a terminal.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{bail, ensure};
use calfleet_domain::model::{ConnectionId, OrganizationId};
use calfleet_service::Service;
use calfleet_service::overview::{self, CalendarView, ConnectionView};
use calfleet_service::status::Health;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use uuid::Uuid;

use super::{Makes, Whose, owner};
use crate::print;

/// How often a watched progress is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Connections shown at most.
const MOST: u32 = 100;

/// Whose progress.
#[derive(Debug, clap::Args)]
pub(crate) struct Progress {
    /// Only this connection.
    connection: Option<ConnectionId>,
    /// Go on until nothing is under way.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    format: print::Format,
}

/// Prints progress once, or until nothing is under way any more.
pub(super) async fn run(service: &Service, command: &Progress) -> anyhow::Result<()> {
    let organization = match command.connection {
        Some(id) => owner(service, id).await?,
        None => command.whose.find(service, Makes::None).await?,
    };
    let is_live = command.watch && std::io::stderr().is_terminal() && !command.format.json;
    let (mut bars, mut shown) = (Bars::default(), None);
    loop {
        let views = look(service, organization, command.connection).await?;
        if is_live {
            bars.show(&views)?;
        } else {
            let page = Page::of(&views);
            if shown.as_ref() != Some(&page) {
                page.print(&views, command.format)?;
                shown = Some(page);
            }
        }
        if !command.watch {
            return Ok(());
        }
        if !views.iter().any(is_under_way) {
            return views.iter().try_for_each(in_step);
        }
        service.clock.sleep(LOOK).await;
    }
}

async fn look(
    service: &Service,
    organization: OrganizationId,
    connection: Option<ConnectionId>,
) -> anyhow::Result<Vec<ConnectionView>> {
    let (store, now) = (&service.store, service.now());
    Ok(match connection {
        Some(id) => overview::connection(store, organization, id, now).await?.into_iter().collect(),
        None => overview::connections(store, organization, None, MOST, now).await?,
    })
}

/// Where a calendar stands.
#[derive(Debug, PartialEq, Eq)]
enum Standing<'a> {
    /// It is being read, or about to be.
    UnderWay,
    /// It was read in whole, and nothing went wrong since.
    InStep,
    /// Nobody waits for it: it is not selected, or gone at the provider.
    Left(&'static str),
    /// What went wrong last.
    Trouble(&'a str),
}

fn standing(calendar: &CalendarView) -> Standing<'_> {
    match (&calendar.problem, calendar.fresh_at) {
        _ if !calendar.is_selected => Standing::Left("not synced"),
        _ if calendar.state == "gone" => Standing::Left("gone at the provider"),
        _ if calendar.progress.phase != "idle" => Standing::UnderWay,
        (Some(problem), _) => Standing::Trouble(problem),
        (None, None) => Standing::UnderWay,
        (None, Some(_)) => Standing::InStep,
    }
}

/// Whether a connection's calendars change by themselves: one that is stuck waits for somebody.
fn is_under_way(view: &ConnectionView) -> bool {
    !view.is_stuck && view.calendars.iter().any(|calendar| standing(calendar) == Standing::UnderWay)
}

/// Fails with the reason when one that is watched no more is not in step.
fn in_step(view: &ConnectionView) -> anyhow::Result<()> {
    ensure!(!view.is_stuck, "{}: {}", view.label, view.status.message);
    for calendar in &view.calendars {
        if let Standing::Trouble(problem) = standing(calendar) {
            bail!("{}: {problem}", calendar.name);
        }
    }
    Ok(())
}

/// What is printed where there is no terminal to draw on; again when it has changed.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    /// How each connection is.
    connections: Vec<String>,
    /// How far each calendar is.
    calendars: Vec<[String; 4]>,
}

impl Page {
    fn of(views: &[ConnectionView]) -> Self {
        let message = |view: &ConnectionView| match view.status.health {
            // the message counts down
            Health::Throttled => format!("{}: The provider asks us to wait.", view.label),
            _ => format!("{}: {}", view.label, view.status.message),
        };
        let calendars = views.iter().flat_map(|view| &view.calendars);
        Self { connections: views.iter().map(message).collect(), calendars: calendars.map(row).collect() }
    }

    fn print(&self, views: &[ConnectionView], format: print::Format) -> anyhow::Result<()> {
        if format.json {
            let calendars: Vec<&CalendarView> = views.iter().flat_map(|view| &view.calendars).collect();
            return print::json(&calendars);
        }
        self.connections.iter().try_for_each(|line| print::line(line))?;
        print::table(["CALENDAR", "PHASE", "DONE", "PROBLEM"], &self.calendars)
    }
}

fn row(calendar: &CalendarView) -> [String; 4] {
    let progress = &calendar.progress;
    [
        calendar.name.clone(),
        progress.phase.to_owned(),
        format!("{} of {}", progress.items_done, progress.items_listed),
        calendar.problem.clone().unwrap_or_default(),
    ]
}

/// A line for each connection, and one bar a calendar.
#[derive(Debug, Default)]
struct Bars {
    all: MultiProgress,
    bars: HashMap<Uuid, ProgressBar>,
}

impl Bars {
    fn show(&mut self, views: &[ConnectionView]) -> anyhow::Result<()> {
        for view in views {
            let line = self.bar(view.id.0, &view.label, "{prefix:24} {msg}")?;
            line.set_message(print::plain(&view.status.message));
            if !is_under_way(view) {
                line.abandon();
            }
            for calendar in &view.calendars {
                let bar =
                    self.bar(calendar.id.0, &calendar.name, "{prefix:24} {bar:40} {pos}/{len} {msg}")?;
                draw(&bar, view, calendar);
            }
        }
        Ok(())
    }

    fn bar(&mut self, id: Uuid, name: &str, template: &str) -> anyhow::Result<ProgressBar> {
        if let Some(bar) = self.bars.get(&id) {
            return Ok(bar.clone());
        }
        let bar = self.all.add(ProgressBar::new(0)).with_style(ProgressStyle::with_template(template)?);
        bar.set_prefix(print::plain(name));
        self.bars.insert(id, bar.clone());
        Ok(bar)
    }
}

/// A bar is full only where the calendar is in step; else it stays where it is, with the reason.
fn draw(bar: &ProgressBar, view: &ConnectionView, calendar: &CalendarView) {
    bar.set_length(u64::try_from(calendar.progress.items_listed).unwrap_or(0));
    bar.set_position(u64::try_from(calendar.progress.items_done).unwrap_or(0));
    match standing(calendar) {
        Standing::UnderWay if view.is_stuck => bar.abandon_with_message("waits for the account"),
        Standing::UnderWay => bar.set_message(calendar.progress.phase),
        Standing::InStep => bar.finish_with_message("in step"),
        Standing::Left(why) => bar.abandon_with_message(why),
        Standing::Trouble(problem) => bar.abandon_with_message(print::plain(problem)),
    }
}

#[cfg(test)]
mod tests {
    use calfleet_domain::clock::Timestamp;
    use calfleet_domain::model::{CalendarId, ProviderKind};
    use calfleet_service::overview;
    use calfleet_service::status::Status;
    use calfleet_service::watching::Coverage;

    use super::*;

    const READ: Option<Timestamp> = Some(Timestamp(1));

    fn calendar(fresh_at: Option<Timestamp>, problem: Option<&str>) -> CalendarView {
        CalendarView {
            id: CalendarId(Uuid::from_u128(1)),
            connection_id: ConnectionId(Uuid::from_u128(2)),
            name: "Work".to_owned(),
            color: None,
            time_zone: None,
            access: "read",
            state: "reachable",
            is_selected: true,
            fresh_at,
            next_at: None,
            watch: None,
            progress: overview::Progress { phase: "idle", items_listed: 40, items_done: 40 },
            problem: problem.map(str::to_owned),
            waiting: None,
            unreadable: Vec::new(),
        }
    }

    fn of(calendars: Vec<CalendarView>) -> ConnectionView {
        let (health, message) = (Health::Delayed, "There is nothing at this address.".to_owned());
        ConnectionView {
            id: ConnectionId(Uuid::from_u128(2)),
            label: "Holidays".to_owned(),
            provider: ProviderKind::Feed,
            state: "active",
            status: Status { health, message, fresh_at: None, next_at: None },
            is_stuck: false,
            poll_interval_seconds: 900,
            watched: Coverage { proven: 0, eligible: 0 },
            departure: None,
            calendars,
        }
    }

    #[test]
    fn a_calendar_that_was_never_read_is_not_in_step_when_its_import_failed() {
        let failed = of(vec![calendar(READ, None), calendar(None, Some("The server broke off."))]);

        assert!(!is_under_way(&failed));
        assert_eq!(in_step(&failed).unwrap_err().to_string(), "Work: The server broke off.");
        assert_eq!(standing(&calendar(READ, Some("Broken."))), Standing::Trouble("Broken."));
        assert!(in_step(&of(vec![calendar(READ, None)])).is_ok());
        assert!(is_under_way(&of(vec![calendar(None, None)])));
    }

    #[test]
    fn a_connection_that_cannot_go_on_is_watched_no_longer_and_says_why() {
        let stuck = ConnectionView { is_stuck: true, ..of(vec![calendar(None, None)]) };

        assert!(!is_under_way(&stuck));
        assert_eq!(in_step(&stuck).unwrap_err().to_string(), "Holidays: There is nothing at this address.");
        assert_eq!(Page::of(&[stuck]).connections, ["Holidays: There is nothing at this address."]);
    }

    #[test]
    fn a_bar_says_in_step_of_nothing_else() {
        let message = |view: &ConnectionView| {
            let bar = ProgressBar::hidden();
            draw(&bar, view, &view.calendars[0]);
            bar.message()
        };

        assert_eq!(message(&of(vec![calendar(READ, None)])), "in step");
        assert_eq!(message(&of(vec![calendar(None, Some("Broken."))])), "Broken.");
        let stuck = ConnectionView { is_stuck: true, ..of(vec![calendar(None, None)]) };
        assert_eq!(message(&stuck), "waits for the account");
    }
}
