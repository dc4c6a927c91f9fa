//! The transitions of a zone that came with an event (RFC 5545 §3.6.5).
//!
//! A `VTIMEZONE` is evaluated for a range of years around the moment asked for, by the same rule engine as
//! events; what is in effect is the observance with the latest onset. Years before the first onset have the
//! offset that the first observance says was there before.

use std::iter;
use std::ops::{ControlFlow, RangeInclusive};

use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, NaiveTime, Utc};

use super::generate::Walk;
use super::rule::{Recurrence, Until};
use super::zone::Adjusted;
use crate::model::{CustomZone, Observance};

/// Years evaluated on each side of the moment asked for.
const MARGIN_YEARS: i32 = 6;

/// Steps that one evaluation may cost; a yearly rule needs some 50 a year.
const STEPS: u64 = 5_000;

/// Transitions that one evaluation may find; no clock is changed more than some times a year.
const MOST_TRANSITIONS: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Transition {
    at: NaiveDateTime,
    offset_seconds: i32,
}

/// The offsets of a custom zone over a range of years.
#[derive(Debug, Clone)]
pub(crate) struct CustomClock<'z> {
    zone: &'z CustomZone,
    from: NaiveDateTime,
    to: NaiveDateTime,
    initial_seconds: i32,
    /// By instant (UTC without saying so).
    transitions: Vec<Transition>,
}

impl<'z> CustomClock<'z> {
    pub(crate) fn new(zone: &'z CustomZone) -> Self {
        let (from, to) = (NaiveDateTime::MAX, NaiveDateTime::MIN);
        Self { zone, from, to, initial_seconds: 0, transitions: Vec::new() }
    }

    fn cover(&mut self, moment: NaiveDateTime) {
        if self.from <= moment && moment <= self.to {
            return;
        }
        let edge = |year| NaiveDate::from_ymd_opt(year, 1, 1).map(|day| day.and_time(NaiveTime::MIN));
        let year = moment.year();
        self.from = edge(year - MARGIN_YEARS).unwrap_or(NaiveDateTime::MIN);
        self.to = edge(year + MARGIN_YEARS).unwrap_or(NaiveDateTime::MAX);
        let (mut transitions, mut steps) = (Vec::new(), STEPS);
        // the latest first: where there are too many, they are the ones that count
        for observance in self.zone.observances.iter().rev() {
            onsets(observance, self.from..=self.to, &mut steps, &mut transitions);
        }
        transitions.sort_unstable();
        transitions.dedup();
        let first = self.zone.observances.iter().min_by_key(|observance| observance.onset);
        self.initial_seconds = first.map_or(0, |observance| observance.offset_before_seconds);
        self.transitions = transitions;
        // the answer is exact a day inside the evaluated range only
        self.from += Duration::days(2);
        self.to -= Duration::days(2);
    }

    fn offset_before(&self, index: usize) -> i32 {
        index
            .checked_sub(1)
            .and_then(|index| self.transitions.get(index))
            .map_or(self.initial_seconds, |t| t.offset_seconds)
    }

    /// The instant of a wall time.
    pub(crate) fn instant(&mut self, wall: NaiveDateTime) -> (DateTime<Utc>, Adjusted) {
        self.cover(wall);
        let at = |offset: i32| wall.checked_sub_signed(Duration::seconds(i64::from(offset))).unwrap_or(wall);
        // no offset is as much as a day, so only transitions this close can matter
        let first = self.transitions.partition_point(|t| t.at + Duration::hours(26) < wall);
        let mut found: Option<NaiveDateTime> = None;
        let mut before_gap = None;
        for index in first..=self.transitions.len() {
            let offset = self.offset_before(index);
            let (instant, begin) =
                (at(offset), index.checked_sub(1).and_then(|index| self.transitions.get(index)));
            let end = self.transitions.get(index);
            let has_begun = begin.is_none_or(|begin| begin.at <= instant);
            if has_begun && end.is_none_or(|end| instant < end.at) {
                match found {
                    None => found = Some(instant),
                    Some(earlier) => return (earlier.and_utc(), Adjusted::Overlap),
                }
            } else if has_begun {
                before_gap = Some(instant);
            }
            if end.is_some_and(|end| end.at > wall + Duration::hours(26)) {
                break;
            }
        }
        match (found, before_gap) {
            (Some(instant), _) => (instant.and_utc(), Adjusted::No),
            (None, Some(instant)) => (instant.and_utc(), Adjusted::Gap),
            (None, None) => (at(self.initial_seconds).and_utc(), Adjusted::No),
        }
    }

    /// The wall time of an instant.
    pub(crate) fn wall(&mut self, instant: DateTime<Utc>) -> NaiveDateTime {
        let utc = instant.naive_utc();
        self.cover(utc);
        let offset = self.offset_before(self.transitions.partition_point(|t| t.at <= utc));
        utc.checked_add_signed(Duration::seconds(i64::from(offset))).unwrap_or(utc)
    }
}

/// The transitions of one observance in a range, and its latest one before the range.
fn onsets(
    observance: &Observance,
    range: RangeInclusive<NaiveDateTime>,
    steps: &mut u64,
    out: &mut Vec<Transition>,
) {
    let (from, to) = range.into_inner();
    let before = Duration::seconds(i64::from(observance.offset_before_seconds));
    let offset_seconds = observance.offset_after_seconds;
    let listed = iter::once(&observance.onset).chain(&observance.onsets);
    let listed = listed.filter_map(|wall| wall.checked_sub_signed(before));
    out.extend(listed.map(|at| Transition { at, offset_seconds }));
    let Some(rule) = observance.rule.as_ref().and_then(|rule| rule.0.parse::<Recurrence>().ok()) else {
        return;
    };
    let end = match rule.until {
        Some(Until::Utc(until)) => until.naive_utc().checked_add_signed(before).unwrap_or(to),
        Some(Until::Wall(until)) => until,
        Some(Until::Date(until)) => until.and_hms_opt(23, 59, 59).unwrap_or(to),
        None => to,
    };
    // a rule that ended before the range still says what is in effect now
    let from = from.min(end.checked_sub_signed(Duration::days(800)).unwrap_or(from));
    let mut left = MOST_TRANSITIONS.saturating_sub(out.len());
    Walk::new(&rule, observance.onset, from, to.min(end), steps).run(&mut |wall| {
        if let Some(at) = wall.checked_sub_signed(before) {
            out.push(Transition { at, offset_seconds });
        }
        left = left.saturating_sub(1);
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Rule;

    fn eastern() -> CustomZone {
        let observance = |month, rule: &str, before: i32, after: i32| Observance {
            onset: NaiveDate::from_ymd_opt(1601, month, 1).unwrap().and_hms_opt(2, 0, 0).unwrap(),
            rule: Some(Rule(rule.to_owned())),
            onsets: Vec::new(),
            offset_before_seconds: before * 3600,
            offset_after_seconds: after * 3600,
        };
        CustomZone {
            tzid: "Customized Time Zone".to_owned(),
            observances: vec![
                observance(11, "FREQ=YEARLY;BYMONTH=11;BYDAY=1SU", -4, -5),
                observance(3, "FREQ=YEARLY;BYMONTH=3;BYDAY=2SU", -5, -4),
            ],
        }
    }

    #[test]
    fn a_zone_of_year_1601_agrees_with_new_york_today() {
        let zone = eastern();
        let mut clock = CustomClock::new(&zone);
        let wall = |month, day, hour, minute| {
            NaiveDate::from_ymd_opt(2026, month, day).unwrap().and_hms_opt(hour, minute, 0).unwrap()
        };
        let mut at = |month, day, hour, minute| {
            let (instant, adjusted) = clock.instant(wall(month, day, hour, minute));
            (instant.format("%m%dT%H%M").to_string(), adjusted)
        };

        assert_eq!(at(1, 15, 9, 0), ("0115T1400".to_owned(), Adjusted::No));
        assert_eq!(at(7, 15, 9, 0), ("0715T1300".to_owned(), Adjusted::No));
        assert_eq!(at(3, 8, 2, 30), ("0308T0730".to_owned(), Adjusted::Gap));
        assert_eq!(at(11, 1, 1, 30), ("1101T0530".to_owned(), Adjusted::Overlap));
        assert_eq!(clock.wall(wall(11, 1, 5, 30).and_utc()), wall(11, 1, 1, 30));
    }
}
