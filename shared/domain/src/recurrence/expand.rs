//! The instances of an event inside a window, and the span that all of them lie in.
//!
//! Set = start ∪ rules ∪ additions − exclusions − overridden, then the overrides (RFC 5545 §3.8.5). Instances are
//! worked out on read and never stored. An override that matches no instance is shown all the same: servers leave
//! such behind after edits, and what was invited to stays visible.
//!
//! An end given as `DTEND` keeps the exact duration for every instance, one given as `DURATION` the nominal one
//! (§3.8.5.3).

use std::ops::{ControlFlow, Range};

use chrono::{DateTime, Datelike, Days, Duration, NaiveDateTime, NaiveTime, Utc};
use chrono_tz::Tz;

use super::generate::{Ended, Walk};
use super::rule::{Recurrence, Until};
use super::zone::ZoneClock;
use crate::clock::Timestamp;
use crate::model::{Body, End, Event, Fields, Master, NominalDuration, Override, RecurrenceId, Series, When};

/// What an expansion may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Periods and candidates looked at; some 50 ns each.
    pub steps: u64,
    /// Instances returned.
    pub instances: usize,
}

impl Default for Budget {
    /// A tenth of a second and 10,000 instances.
    fn default() -> Self {
        Self { steps: 2_000_000, instances: 10_000 }
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
            if master.exclusions.contains(&id)
                || series.overrides.contains_key(&id)
                || master.additions.contains_key(&id)
            {
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
        let Ok(rule) = rule.0.parse::<Recurrence>() else { continue };
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
struct Last {
    wall: NaiveDateTime,
    instant: Option<DateTime<Utc>>,
}

fn last_of(until: Until, clock: &mut ZoneClock<'_>) -> Last {
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

/// The start that an original start names in a series whose first start is `master`.
pub fn start_of(id: RecurrenceId, master: &When) -> When {
    match (id, master) {
        (RecurrenceId::Wall(wall), _) => master.with_wall(wall),
        (RecurrenceId::Date(date), When::Date(_)) => When::Date(date),
        (RecurrenceId::Date(date), _) => master.with_wall(date.and_time(master.wall().time())),
        (RecurrenceId::Utc(instant), _) => When::Utc(instant),
    }
}

/// How long an instance lasts, by the form in which the end was given.
struct Length<'a> {
    kind: LengthKind,
    end_clock: ZoneClock<'a>,
    end_form: &'a When,
}

#[derive(Clone, Copy)]
enum LengthKind {
    /// Whole days, for dates.
    Days(i64),
    /// The difference of two wall times, for floating ones.
    Wall(Duration),
    /// The difference of two instants.
    Exact(Duration),
    /// Calendar days, then exact seconds.
    Nominal(NominalDuration),
}

impl<'a> Length<'a> {
    fn new(start: &'a When, end: &'a End, reader_zone: Tz) -> Self {
        let (kind, end_form) = match end {
            End::Unspecified if start.is_date() => (LengthKind::Days(1), start),
            End::Unspecified => (LengthKind::Exact(Duration::zero()), start),
            End::After(length) if start.is_date() => {
                // a day's event cannot last a part of a day
                let days = i64::from(length.days) + i64::from(length.seconds.div_ceil(86_400));
                (LengthKind::Days(days.max(1)), start)
            }
            End::After(length) => (LengthKind::Nominal(*length), start),
            End::At(at) => (Self::between(start, at, reader_zone), at),
        };
        Self { kind, end_clock: ZoneClock::of(end_form, reader_zone), end_form }
    }

    fn between(start: &When, end: &When, reader_zone: Tz) -> LengthKind {
        match (start, end) {
            (When::Date(from), When::Date(to)) => LengthKind::Days((*to - *from).num_days().max(1)),
            (When::Floating(from), When::Floating(to)) => {
                LengthKind::Wall((*to - *from).max(Duration::zero()))
            }
            _ => {
                let (from, _) = ZoneClock::of(start, reader_zone).instant(start.wall());
                let (to, _) = ZoneClock::of(end, reader_zone).instant(end.wall());
                LengthKind::Exact((to - from).max(Duration::zero()))
            }
        }
    }

    fn longest(&self) -> Duration {
        match self.kind {
            LengthKind::Days(days) => Duration::try_days(days + 1).unwrap_or(Duration::MAX),
            LengthKind::Wall(length) | LengthKind::Exact(length) => length,
            LengthKind::Nominal(length) => {
                Duration::days(i64::from(length.days)) + Duration::seconds(i64::from(length.seconds))
            }
        }
    }

    fn end_of(&mut self, start: &When, starts_at: DateTime<Utc>) -> (When, DateTime<Utc>) {
        let wall = start.wall();
        let form = match self.end_form {
            // an instance of a series in UTC, or an addition in UTC, ends in the form of its end
            When::Date(_) if !start.is_date() => start,
            form => form,
        };
        match self.kind {
            LengthKind::Days(days) => {
                let end = add_days(wall, days);
                (form.with_wall(end), self.end_clock.instant(end).0)
            }
            LengthKind::Wall(length) => {
                let end = wall.checked_add_signed(length).unwrap_or(wall);
                (form.with_wall(end), self.end_clock.instant(end).0)
            }
            LengthKind::Exact(length) if length.is_zero() => (start.clone(), starts_at),
            LengthKind::Exact(length) => {
                let ends_at = starts_at.checked_add_signed(length).unwrap_or(starts_at);
                (form.with_wall(self.end_clock.wall(ends_at)), ends_at)
            }
            LengthKind::Nominal(length) => {
                let days = add_days(wall, i64::from(length.days));
                let day = if length.days == 0 { starts_at } else { self.end_clock.instant(days).0 };
                let seconds = Duration::seconds(i64::from(length.seconds));
                let ends_at = day.checked_add_signed(seconds).unwrap_or(day);
                (start.with_wall(self.end_clock.wall(ends_at)), ends_at)
            }
        }
    }
}

fn add_days(wall: NaiveDateTime, days: i64) -> NaiveDateTime {
    u64::try_from(days).ok().and_then(|days| wall.checked_add_days(Days::new(days))).unwrap_or(wall)
}

/// The instants between which an event lies with all its instances, for indexed range reads.
///
/// All-day and floating events are widened to every zone on Earth: from 14 h before UTC to 12 h after it. The
/// span may be wider than the instances, never narrower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The earliest start.
    pub start: Timestamp,
    /// The latest end, exclusive; `None` when the event never ends, or its end is too dear to find out.
    pub end: Option<Timestamp>,
}

/// Steps spent on finding the last instance of a rule with `COUNT`; beyond that the series counts as endless.
const SPAN_STEPS: u64 = 20_000;

/// The span of an event.
pub fn span(event: &Event) -> Span {
    let mut span = Widest { start: None, end: None, is_endless: false };
    match &event.body {
        Body::Single(fields) => span.include(&fields.start, &fields.end),
        Body::Series(series) => {
            if let Some(master) = &series.master {
                span.include_master(master);
            }
            for (id, over) in &series.overrides {
                match over {
                    Override::Changed(fields) => span.include(&fields.start, &fields.end),
                    Override::Cancelled if series.master.is_none() => {
                        let form = When::Floating(NaiveDateTime::default());
                        span.include(&start_of(*id, &form), &End::Unspecified);
                    }
                    Override::Cancelled => {}
                }
            }
        }
    }
    let start = span.start.unwrap_or(DateTime::UNIX_EPOCH);
    let end = span.end.unwrap_or(start);
    Span { start: Timestamp::from_utc(start), end: (!span.is_endless).then(|| Timestamp::from_utc(end)) }
}

struct Widest {
    start: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
    is_endless: bool,
}

impl Widest {
    fn include(&mut self, start: &When, end: &End) {
        let mut length = Length::new(start, end, Tz::UTC);
        let (starts_at, _) = ZoneClock::of(start, Tz::UTC).instant(start.wall());
        let (_, ends_at) = length.end_of(start, starts_at);
        let is_local = start.zone().is_none() && !matches!(start, When::Utc(_));
        let widen =
            |instant: DateTime<Utc>, hours| if is_local { instant + Duration::hours(hours) } else { instant };
        let (starts_at, ends_at) = (widen(starts_at, -14), widen(ends_at, 12));
        self.start = Some(self.start.map_or(starts_at, |known| known.min(starts_at)));
        self.end = Some(self.end.map_or(ends_at, |known| known.max(ends_at)));
    }

    fn include_master(&mut self, master: &Master) {
        let fields = &master.fields;
        self.include(&fields.start, &fields.end);
        for (id, end) in &master.additions {
            self.include(&start_of(*id, &fields.start), end.as_ref().unwrap_or(&fields.end));
        }
        let mut clock = ZoneClock::of(&fields.start, Tz::UTC);
        for rule in master.rules.iter().filter_map(|rule| rule.0.parse::<Recurrence>().ok()) {
            match last_wall(&rule, fields.start.wall(), &mut clock) {
                Some(last) => self.include_around(&fields.start.with_wall(last), fields),
                None => self.is_endless = true,
            }
        }
    }

    /// Includes an instance that starts at `start` at the latest.
    fn include_around(&mut self, start: &When, fields: &Fields) {
        let length = Length::new(&fields.start, &fields.end, Tz::UTC).longest();
        let begin = start.wall();
        let end = begin.checked_add_signed(length).unwrap_or(begin);
        self.include(start, &End::At(start.with_wall(end)));
        // nominal days across a change of the clocks
        self.end = self.end.map(|end| end + Duration::hours(2));
    }
}

/// The latest wall time of a rule, or a later one; `None` for an endless rule.
fn last_wall(rule: &Recurrence, start: NaiveDateTime, clock: &mut ZoneClock<'_>) -> Option<NaiveDateTime> {
    let until = rule.until.map(|until| last_of(until, clock).wall);
    if rule.count.is_none() {
        return until.map(|until| until.max(start));
    }
    let mut last = start;
    let mut steps = SPAN_STEPS;
    let to = until.unwrap_or(NaiveDateTime::MAX);
    let ended = Walk::new(rule, start, start, to, &mut steps).run(&mut |wall| {
        last = wall;
        ControlFlow::Continue(())
    });
    (ended == Ended::Complete && last.year() < 9999).then_some(last).or(until)
}
