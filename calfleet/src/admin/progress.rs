//! `admin progress`: how far imports have come; live on a terminal.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use calfleet_domain::model::{CalendarId, ConnectionId, OrganizationId};
use calfleet_service::Service;
use calfleet_service::overview::{self, CalendarView, ConnectionView};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

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

/// Prints progress once, or until nothing is under way.
pub(super) async fn run(service: &Service, command: &Progress) -> anyhow::Result<()> {
    let organization = match command.connection {
        Some(id) => owner(service, id).await?,
        None => command.whose.find(service, Makes::None).await?,
    };
    let mut bars = Bars::default();
    loop {
        let views = look(service, organization, command.connection).await?;
        let calendars: Vec<&CalendarView> = views.iter().flat_map(|view| &view.calendars).collect();
        let is_over = !calendars.iter().any(|calendar| is_under_way(calendar));
        if command.watch && std::io::stderr().is_terminal() && !command.format.json {
            bars.show(&calendars)?;
        } else if command.format.json {
            print::json(&calendars)?;
        } else {
            let rows: Vec<[String; 4]> = calendars.iter().map(|calendar| row(calendar)).collect();
            print::table(["CALENDAR", "PHASE", "DONE", "PROBLEM"], &rows)?;
        }
        if is_over || !command.watch {
            return Ok(());
        }
        service.clock.sleep_until(service.now().plus(LOOK)).await;
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

fn is_under_way(calendar: &CalendarView) -> bool {
    let is_new = calendar.fresh_at.is_none() && calendar.problem.is_none();
    calendar.is_selected && calendar.state != "gone" && (is_new || calendar.progress.phase != "idle")
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

/// One bar a calendar.
#[derive(Debug, Default)]
struct Bars {
    all: MultiProgress,
    bars: HashMap<CalendarId, ProgressBar>,
}

impl Bars {
    fn show(&mut self, calendars: &[&CalendarView]) -> anyhow::Result<()> {
        for calendar in calendars {
            let bar = if let Some(bar) = self.bars.get(&calendar.id) {
                bar.clone()
            } else {
                let style = ProgressStyle::with_template("{prefix:24} {bar:40} {pos}/{len} {msg}")?;
                let bar = self.all.add(ProgressBar::new(0)).with_style(style);
                bar.set_prefix(print::plain(&calendar.name));
                self.bars.insert(calendar.id, bar.clone());
                bar
            };
            bar.set_length(u64::try_from(calendar.progress.items_listed).unwrap_or(0));
            bar.set_position(u64::try_from(calendar.progress.items_done).unwrap_or(0));
            let message = calendar.problem.as_deref().unwrap_or(calendar.progress.phase);
            bar.set_message(print::plain(message));
            if !is_under_way(calendar) {
                bar.finish_with_message("in step");
            }
        }
        Ok(())
    }
}
