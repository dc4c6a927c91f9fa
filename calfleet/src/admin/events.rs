//! `admin events`: what the calendars hold, and when it takes place.

use anyhow::{Context, bail};
use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{CalendarId, ConnectionId, OrganizationId};
use calfleet_service::Service;
use calfleet_service::read::{self, EventView, InstanceView, InstancesQuery};
use calfleet_service::view::Time;
use calfleet_store::events::RangeQuery;
use calfleet_store::{Scope, calendars, connections};
use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Tz;

use super::{Makes, Whose};
use crate::print;

/// Events read at once.
const PAGE: usize = 500;
/// What stands below a list that is cut.
const MORE: &str = "There are more: ask for a shorter time or a higher --limit.";

/// Which events, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Only this calendar.
    #[arg(long, conflicts_with = "connection")]
    calendar: Option<CalendarId>,
    /// Only this connection's calendars.
    #[arg(long)]
    connection: Option<ConnectionId>,
    /// From this day on (UTC); today when only instances are wanted.
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<NaiveDate>,
    /// Until this day, exclusive.
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<NaiveDate>,
    /// Print each time it takes place instead of each event; seven days when no end is given.
    #[arg(long)]
    instances: bool,
    /// The zone to read dates and floating times in.
    #[arg(long, default_value = "UTC")]
    time_zone: Tz,
    /// Most lines.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    format: print::Format,
}

/// Prints events or instances.
pub(super) async fn run(service: &Service, command: &Events) -> anyhow::Result<()> {
    if let (Some(from), Some(to)) = (command.from, command.to)
        && to <= from
    {
        bail!("--to has to be a day after --from");
    }
    let organization = command.whose.find(service, Makes::None).await?;
    let calendars = calendars(service, organization, command).await?;
    if command.instances {
        instances(service, organization, calendars, command).await
    } else {
        all(service, organization, calendars, command).await
    }
}

async fn calendars(
    service: &Service,
    organization: OrganizationId,
    command: &Events,
) -> anyhow::Result<Vec<CalendarId>> {
    let tx = service.store.read(Scope::Organization(organization)).await?;
    if let Some(id) = command.calendar {
        let calendar = calendars::load(&tx, id).await?;
        return Ok(vec![calendar.context("there is no such calendar; 'calfleet admin list' shows them")?.id]);
    }
    let listed = match command.connection {
        Some(id) => {
            let connection = connections::load(&tx, id).await?;
            connection.context("there is no such connection; 'calfleet admin list' shows them")?;
            calendars::list(&tx, id).await?
        }
        None => calendars::list_all(&tx, None, u32::MAX >> 1).await?,
    };
    Ok(listed.into_iter().map(|calendar| calendar.id).collect())
}

async fn all(
    service: &Service,
    organization: OrganizationId,
    calendars: Vec<CalendarId>,
    command: &Events,
) -> anyhow::Result<()> {
    let mut query = RangeQuery {
        calendars,
        from: command.from.map(|day| Timestamp::from_utc(midnight(day))),
        until: command.to.map(|day| Timestamp::from_utc(midnight(day))),
        after: None,
        // one more than is printed tells whether there are more
        limit: PAGE.min(command.limit.saturating_add(1)),
    };
    let mut views: Vec<EventView> = Vec::new();
    while views.len() <= command.limit {
        let page = read::events(&service.store, organization, &query).await?;
        views.extend(page.data);
        query.after = page.next_cursor.as_deref().and_then(read::read_cursor);
        if query.after.is_none() {
            break;
        }
    }
    let is_cut = views.len() > command.limit;
    views.truncate(command.limit);
    if command.format.json {
        return print::json(&views);
    }
    let rows: Vec<[String; 4]> = views.iter().map(event_row).collect();
    print::table(["START", "REPEATS", "TITLE", "NOTE"], &rows)?;
    if is_cut { print::line(MORE) } else { Ok(()) }
}

async fn instances(
    service: &Service,
    organization: OrganizationId,
    calendars: Vec<CalendarId>,
    command: &Events,
) -> anyhow::Result<()> {
    let today = service.now().to_utc().map(|now| now.date_naive()).unwrap_or_default();
    let from = command.from.unwrap_or(today);
    let to = command.to.or_else(|| from.checked_add_days(Days::new(7))).unwrap_or(from);
    let query = InstancesQuery {
        calendars,
        from: midnight(from),
        until: midnight(to),
        zone: command.time_zone,
        limit: command.limit,
        offset: 0,
    };
    let page = read::instances(&service.store, organization, &query).await?;
    if command.format.json {
        return print::json(&page.data);
    }
    let rows: Vec<[String; 3]> = page.data.iter().map(instance_row).collect();
    print::table(["START", "END", "TITLE"], &rows)?;
    if page.next_cursor.is_some() || !page.is_complete { print::line(MORE) } else { Ok(()) }
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(chrono::NaiveTime::MIN).and_utc()
}

fn event_row(view: &EventView) -> [String; 4] {
    let content = &view.content;
    let title = content.details.as_ref().and_then(|details| details.title.clone());
    [
        content.start.as_ref().map(time).unwrap_or_default(),
        content.recurrence.join(" "),
        title.unwrap_or_default(),
        view.problem.clone().unwrap_or_default(),
    ]
}

fn instance_row(view: &InstanceView) -> [String; 3] {
    [time(&view.start), time(&view.end), view.details.title.clone().unwrap_or_default()]
}

fn time(time: &Time) -> String {
    match (&time.date, &time.date_time, &time.time_zone) {
        (Some(date), _, _) => date.clone(),
        (None, Some(clock), Some(zone)) => format!("{clock} {zone}"),
        (None, Some(clock), None) => format!("{clock} floating"),
        (None, None, _) => String::new(),
    }
}
