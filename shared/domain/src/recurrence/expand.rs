//! The instances of an event inside a window.
//!
//! Set = start ∪ rules ∪ additions − exclusions − overridden, then the overrides (RFC 5545 §3.8.5). Instances are
//! worked out on read and never stored. An override that matches no instance is shown all the same: servers leave
//! such behind after edits, and what was invited to stays visible.

use std::ops::{ControlFlow, Range};

use chrono::{DateTime, Duration, NaiveDateTime, NaiveTime, Utc};
use chrono_tz::Tz;

use super::generate::{Ended, Walk};
use super::length::Length;
use super::rule::{self, Until};
use super::windows_zones::preferred;
use super::zone::ZoneClock;
use crate::model::{Body, Event, Fields, Master, Override, RecurrenceId, Series, When, Zone};

/// What an expansion may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Periods and candidates looked at; some 50 ns each.
    pub steps: u64,
    /// Instances returned.
    pub instances: usize,
}

impl Default for Budget {
    /// A twentieth of a second and 10,000 instances.
    fn default() -> Self {
        Self { steps: 1_000_000, instances: 10_000 }
    }
}

/// One occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance<'a> {
    /// The original start; `None` for a single event.
    pub recurrence_id: Option<RecurrenceId>,
    /// Start in the event's own form. In a gap it keeps the wall time that the rule gave; `starts_at` is shifted.
    pub start: When,
    /// End in the event's own form, exclusive.
    pub end: When,
    /// Start as an instant.
    pub starts_at: DateTime<Utc>,
    /// End as an instant, exclusive.
    pub ends_at: DateTime<Utc>,
    /// What it says: the fields of the override, else of the master or single event.
    pub fields: &'a Fields,
    /// Whether it departs from its series.
    pub is_override: bool,
}

/// The instances of an event in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expansion<'a> {
    /// By start, then by original start.
    pub instances: Vec<Instance<'a>>,
    /// `false` when the budget ended the search: there may be more.
    pub is_complete: bool,
}

/// The instances that touch the half-open `window`. One without length touches it when its start lies inside.
///
/// `reader_zone` gives dates and floating times their instants.
pub fn expand<'a>(
    event: &'a Event,
    window: Range<DateTime<Utc>>,
    reader_zone: Tz,
    budget: &Budget,
) -> Expansion<'a> {
    let mut search =
        Search { window, reader_zone, most: budget.instances, found: Vec::new(), is_complete: true };
    match &event.body {
        Body::Single(fields) => search.add(None, fields, false),
        Body::Series(series) => {
            if let Some(master) = &series.master {
                search.master(master, series, budget.steps);
            }
            for (id, over) in &series.overrides {
                if let Override::Changed(fields) = over {
                    search.add(Some(*id), fields, true);
                }
            }
        }
    }
    let mut instances = search.found;
    instances.sort_by_key(|instance| (instance.starts_at, instance.recurrence_id));
    Expansion { instances, is_complete: search.is_complete }
}

/// Whether anything of an event takes place; so it is taken to be where that cannot be found out at little cost.
pub fn happens(event: &Event) -> bool {
    let budget = Budget { instances: 1, ..Budget::default() };
    let found = expand(event, DateTime::<Utc>::MIN_UTC..DateTime::<Utc>::MAX_UTC, Tz::UTC, &budget);
    !found.is_complete || !found.instances.is_empty()
}

struct Search<'a> {
    window: Range<DateTime<Utc>>,
    reader_zone: Tz,
    most: usize,
    found: Vec<Instance<'a>>,
    is_complete: bool,
}

impl<'a> Search<'a> {
    /// Adds the instance that `fields` describe by themselves.
    fn add(&mut self, recurrence_id: Option<RecurrenceId>, fields: &'a Fields, is_override: bool) {
        let mut length = Length::new(&fields.start, &fields.end, self.reader_zone);
        let (starts_at, _) = ZoneClock::of(&fields.start, self.reader_zone).instant(fields.start.wall());
        let (end, ends_at) = length.end_of(&fields.start, starts_at);
        self.push(Instance {
            recurrence_id,
            start: fields.start.clone(),
            end,
            starts_at,
            ends_at,
            fields,
            is_override,
        });
    }

    fn push(&mut self, instance: Instance<'a>) {
        let is_inside = if instance.ends_at > instance.starts_at {
            instance.ends_at > self.window.start
        } else {
            instance.starts_at >= self.window.start
        };
        if !is_inside || instance.starts_at >= self.window.end {
            return;
        }
        if self.found.len() >= self.most {
            self.is_complete = false;
        } else {
            self.found.push(instance);
        }
    }

    fn master(&mut self, master: &'a Master, series: &'a Series, steps: u64) {
        let fields = &master.fields;
        let mut clock = ZoneClock::of(&fields.start, self.reader_zone);
        let mut length = Length::new(&fields.start, &fields.end, self.reader_zone);
        let longest = length.longest();
        // a day of slack: walls and instants differ by less, gaps and zones far from Greenwich included
        let edge = |instant: Option<DateTime<Utc>>, or| instant.map_or(or, |instant| instant.naive_utc());
        let slack = Duration::hours(26);
        let from =
            self.window.start.checked_sub_signed(longest).and_then(|from| from.checked_sub_signed(slack));
        let from = edge(from, NaiveDateTime::MIN);
        let to = edge(self.window.end.checked_add_signed(slack), NaiveDateTime::MAX);

        // the window may be hit by more than its share before exclusions are taken away
        let excluded = master.exclusions.len() + series.overrides.len();
        let mut steps = steps;
        let most = self.most + excluded + 2;
        let (walls, is_complete) = walls(master, &mut clock, from..=to, &mut steps, most);
        self.is_complete &= is_complete;
        for wall in walls {
            let start = fields.start.with_wall(wall);
            let id = id_of(&start);
            let is_named = |id: &RecurrenceId| {
                master.exclusions.contains(id)
                    || series.overrides.contains_key(id)
                    || master.additions.contains_key(id)
            };
            if is_named(&id) || utc_id_of(&start).is_some_and(|id| is_named(&id)) {
                continue;
            }
            let (starts_at, _) = clock.instant(wall);
            let (end, ends_at) = length.end_of(&start, starts_at);
            self.push(Instance {
                recurrence_id: Some(id),
                start,
                end,
                starts_at,
                ends_at,
                fields,
                is_override: false,
            });
        }
        for (id, own_end) in &master.additions {
            if master.exclusions.contains(id) || series.overrides.contains_key(id) {
                continue;
            }
            let start = start_of(*id, &fields.start);
            let (starts_at, _) = ZoneClock::of(&start, self.reader_zone).instant(start.wall());
            let (end, ends_at) = match own_end {
                None => length.end_of(&start, starts_at),
                Some(end) => Length::new(&start, end, self.reader_zone).end_of(&start, starts_at),
            };
            self.push(Instance {
                recurrence_id: Some(*id),
                start,
                end,
                starts_at,
                ends_at,
                fields,
                is_override: false,
            });
        }
    }
}

/// The wall times of the master's start and rules in a range, sorted, each once; `false` when something was cut.
fn walls(
    master: &Master,
    clock: &mut ZoneClock<'_>,
    range: std::ops::RangeInclusive<NaiveDateTime>,
    steps: &mut u64,
    most: usize,
) -> (Vec<NaiveDateTime>, bool) {
    let start = master.fields.start.wall();
    let mut walls = Vec::new();
    let mut is_complete = true;
    if range.contains(&start) {
        walls.push(start);
    }
    for rule in &master.rules {
        // a rule that cannot be expanded is kept as text; its reader was warned
        let Ok(rule) = rule::counted(&rule.0, &master.fields.start) else { continue };
        let last = rule.until.map(|until| last_of(until, clock));
        let to = last.map_or(*range.end(), |last| last.wall.min(*range.end()));
        let before = walls.len();
        let ended = Walk::new(&rule, start, *range.start(), to, steps).run(&mut |wall| {
            if last.is_some_and(|last| last.instant.is_some_and(|until| clock.instant(wall).0 > until)) {
                return ControlFlow::Break(());
            }
            walls.push(wall);
            if walls.len() - before > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        is_complete &= ended != Ended::OverBudget && walls.len() - before <= most;
    }
    walls.sort_unstable();
    walls.dedup();
    (walls, is_complete)
}

/// The wall times of a master's start and rules in a range, at most some; `false` when there may be more.
/// Additions and exclusions do not count. For the reader of iCalendar text, which matches ids to instances.
pub(crate) fn master_walls(
    master: &Master,
    range: std::ops::RangeInclusive<NaiveDateTime>,
    steps: &mut u64,
    most: usize,
) -> (Vec<NaiveDateTime>, bool) {
    let mut clock = ZoneClock::of(&master.fields.start, Tz::UTC);
    walls(master, &mut clock, range, steps, most)
}

/// The last wall time at which an instance may start under `until`.
pub(crate) fn last_moment(until: Until, start: &When) -> NaiveDateTime {
    let mut clock = ZoneClock::of(start, Tz::UTC);
    match until {
        Until::Utc(instant) => clock.wall(instant),
        until => last_of(until, &mut clock).wall,
    }
}

/// `UNTIL`: the latest wall time worth looking at, and the instant that decides where wall times repeat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Last {
    pub(crate) wall: NaiveDateTime,
    instant: Option<DateTime<Utc>>,
}

pub(crate) fn last_of(until: Until, clock: &mut ZoneClock<'_>) -> Last {
    match until {
        Until::Date(date) => Last {
            wall: date.and_hms_opt(23, 59, 59).unwrap_or_else(|| date.and_time(NaiveTime::MIN)),
            instant: None,
        },
        Until::Wall(wall) => Last { wall, instant: None },
        Until::Utc(instant) => {
            let wall = clock.wall(instant);
            Last { wall: wall.checked_add_signed(Duration::hours(3)).unwrap_or(wall), instant: Some(instant) }
        }
    }
}

/// The original start that names an instance starting at `start`.
pub fn id_of(start: &When) -> RecurrenceId {
    match start {
        When::Date(date) => RecurrenceId::Date(*date),
        When::Floating(wall) | When::Zoned { wall, .. } => RecurrenceId::Wall(*wall),
        When::Utc(instant) => RecurrenceId::Utc(*instant),
    }
}

/// The other way to name an instance of a series in the zone UTC.
fn utc_id_of(start: &When) -> Option<RecurrenceId> {
    match start {
        When::Zoned { wall, zone: Zone::Iana(zone) } if preferred(*zone) == Tz::Etc__UTC => {
            Some(RecurrenceId::Utc(wall.and_utc()))
        }
        _ => None,
    }
}

/// The start that an original start names in a series whose first start is `master`.
pub fn start_of(id: RecurrenceId, master: &When) -> When {
    match (id, master) {
        (RecurrenceId::Wall(wall), _) => master.with_wall(wall),
        (RecurrenceId::Date(date), When::Date(_)) => When::Date(date),
        (RecurrenceId::Date(date), _) => master.with_wall(date.and_time(master.wall().time())),
        (RecurrenceId::Utc(instant), _) => When::Utc(instant),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use chrono::NaiveDate;

    use super::*;
    use crate::model::{End, Rule, Uid};

    #[test]
    fn a_day_takes_place_once_whatever_hours_its_rule_names() {
        let start = When::Date(NaiveDate::from_ymd_opt(2026, 3, 2).unwrap());
        let rule = "FREQ=WEEKLY;COUNT=3;BYDAY=MO;BYHOUR=9,15;BYMINUTE=0;BYSECOND=0";
        let master = Master {
            fields: Fields::new(start, End::Unspecified),
            rules: vec![Rule(rule.to_owned())],
            additions: BTreeMap::new(),
            exclusions: BTreeSet::new(),
        };
        let series = Series { master: Some(master), overrides: BTreeMap::new() };
        let event = Event { uid: Uid("a".to_owned()), body: Body::Series(series) };

        let window = DateTime::UNIX_EPOCH..DateTime::UNIX_EPOCH + Duration::days(36_500);
        let found = expand(&event, window, Tz::UTC, &Budget::default());

        let days: Vec<String> =
            found.instances.iter().filter_map(|one| one.recurrence_id).map(|id| id.to_string()).collect();
        assert_eq!(days, ["20260302", "20260309", "20260316"]);
    }

    #[test]
    fn a_series_in_the_zone_utc_is_departed_from_by_either_name_of_an_instance() {
        let wall =
            |day: u32| NaiveDateTime::parse_from_str(&format!("2026-03-{day:02}T09:00:00"), "%FT%T").unwrap();
        let start = When::Zoned { wall: wall(2), zone: Zone::Iana(Tz::Etc__UTC) };
        let fields = Fields::new(start.clone(), End::Unspecified);
        let moved = Fields::new(start.with_wall(wall(10)), End::Unspecified);
        let master = Master {
            fields,
            rules: vec![Rule("FREQ=WEEKLY;COUNT=4".to_owned())],
            additions: BTreeMap::new(),
            exclusions: BTreeSet::from([RecurrenceId::Utc(wall(16).and_utc())]),
        };
        let overrides =
            BTreeMap::from([(RecurrenceId::Utc(wall(9).and_utc()), Override::Changed(Box::new(moved)))]);
        let series = Series { master: Some(master), overrides };
        let event = Event { uid: Uid("a".to_owned()), body: Body::Series(series) };

        let window = wall(1).and_utc()..wall(30).and_utc();
        let found = expand(&event, window, Tz::UTC, &Budget::default());

        let days: Vec<String> =
            found.instances.iter().map(|instance| instance.starts_at.format("%d").to_string()).collect();
        assert_eq!(days, ["02", "10", "23"]);
    }
}
