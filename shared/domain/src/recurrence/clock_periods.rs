//! Rules of hours and less, in whole seconds: what one period holds, and where a coarser limit lets it go on.

use chrono::{DateTime, NaiveDateTime, Timelike};

use super::day_filter::DayFilter;
use super::rule::{Frequency, Recurrence};

/// The last second of year 9999, counted from 1970.
pub(crate) const LAST_SECOND: i64 = 253_402_300_799;

const DAY: i64 = 86_400;

pub(crate) fn clock_unit(frequency: Frequency) -> i64 {
    match frequency {
        Frequency::Hourly => 3600,
        Frequency::Minutely => 60,
        _ => 1,
    }
}

pub(crate) fn seconds_of(wall: NaiveDateTime) -> i64 {
    wall.and_utc().timestamp()
}

/// The instances inside a period of an hour or less, in seconds from its beginning; the same in each.
pub(crate) fn offsets_in_period(rule: &Recurrence, start: NaiveDateTime, unit: i64) -> Vec<i64> {
    let or = |list: &[u8], value: u32| -> Vec<i64> {
        if list.is_empty() {
            vec![i64::from(value)]
        } else {
            list.iter().map(|item| i64::from(*item)).collect()
        }
    };
    let minutes = if unit < 3600 { vec![0] } else { or(&rule.by_minute, start.minute()) };
    let seconds = if unit < 60 { vec![0] } else { or(&rule.by_second, start.second()) };
    let offsets: Vec<i64> =
        minutes.iter().flat_map(|minute| seconds.iter().map(move |second| minute * 60 + second)).collect();
    if rule.by_position.is_empty() { offsets } else { at_positions(&offsets, &rule.by_position) }
}

/// The limits of a rule of hours or less; remembers what it found out about the day.
pub(crate) struct ClockLimits<'r> {
    rule: &'r Recurrence,
    unit: i64,
    day: Option<(i64, bool)>,
}

impl<'r> ClockLimits<'r> {
    pub(crate) fn new(rule: &'r Recurrence, unit: i64) -> Self {
        Self { rule, unit, day: None }
    }

    /// Where to go on when `moment` lies in a day, hour, minute or second that a limit excludes.
    pub(crate) fn excluded_until(&mut self, moment: i64, days: &DayFilter) -> Option<i64> {
        let (day, second_of_day) = (moment.div_euclid(DAY), moment.rem_euclid(DAY));
        let allows_day = match self.day {
            Some((known, allows)) if known == day => allows,
            _ => {
                let date = DateTime::from_timestamp(day * DAY, 0)?.date_naive();
                let allows = days.allows_day(date);
                self.day = Some((day, allows));
                allows
            }
        };
        if !allows_day {
            return Some((day + 1) * DAY);
        }
        let excludes = |list: &[u8], value: i64| {
            !list.is_empty() && !list.iter().any(|allowed| i64::from(*allowed) == value)
        };
        if excludes(&self.rule.by_hour, second_of_day / 3600) {
            return Some(moment - moment.rem_euclid(3600) + 3600);
        }
        if self.unit < 3600 && excludes(&self.rule.by_minute, second_of_day / 60 % 60) {
            return Some(moment - moment.rem_euclid(60) + 60);
        }
        (self.unit < 60 && excludes(&self.rule.by_second, second_of_day % 60)).then_some(moment + 1)
    }
}

/// The elements of a sorted set at `positions`, negative ones from its end; sorted, each once.
pub(crate) fn at_positions<T: Copy + Ord>(set: &[T], positions: &[i16]) -> Vec<T> {
    let mut picked: Vec<T> = positions
        .iter()
        .filter_map(|position| {
            let distance = usize::from(position.unsigned_abs());
            let index = if *position > 0 { distance.checked_sub(1) } else { set.len().checked_sub(distance) };
            set.get(index?).copied()
        })
        .collect();
    picked.sort_unstable();
    picked.dedup();
    picked
}
