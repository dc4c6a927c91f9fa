//! The span of time that an event and all its instances lie in, which the store indexes.

use std::ops::ControlFlow;

use chrono::{DateTime, Datelike, Duration, NaiveDateTime, Utc};
use chrono_tz::Tz;

use super::expand::{last_of, start_of};
use super::generate::{Ended, Walk};
use super::length::Length;
use super::rule::{self, Recurrence};
use super::zone::ZoneClock;
use crate::clock::Timestamp;
use crate::model::{Body, End, Event, Fields, Master, Override, When};

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
            let start = start_of(*id, &fields.start);
            match end {
                Some(end) => self.include(&start, end),
                None => self.include_around(&start, fields),
            }
        }
        let mut clock = ZoneClock::of(&fields.start, Tz::UTC);
        for rule in master.rules.iter().filter_map(|rule| rule::counted(&rule.0, &fields.start).ok()) {
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
