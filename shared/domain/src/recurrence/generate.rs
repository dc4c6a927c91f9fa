//! The wall times that a rule yields, in order.
//!
//! A rule is walked period by period (year, month, week, day; hours and below one period at a time, jumping over
//! days, hours and minutes that a limit excludes). Without `COUNT` the walk begins at the window, not at the
//! series' start; with `COUNT` it must count from the start, except for plain rules, whose n-th instance is
//! arithmetic. Each period costs a step of the budget, so every rule ends.
//!
//! Where RFC 5545 leaves room: what a rule does not say comes from the start (also the day of the week of a
//! `BYWEEKNO`); a week belongs to the calendar year of each of its days; `BYSETPOS` counts within whole periods,
//! also in the first one; ordinals in `BYDAY` below `MONTHLY` are ignored.

use std::ops::ControlFlow;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use super::clock_periods::{
    ClockLimits, LAST_SECOND, at_positions, clock_unit, offsets_in_period, seconds_of,
};
use super::day_filter::{DayFilter, days_in_month, days_in_year};
use super::rule::{Frequency, Recurrence};

/// Why a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The window or the calendar (year 9999) was left, or the rule's count reached.
    Complete,
    /// The caller had enough.
    Stopped,
    /// The step budget ran out.
    OverBudget,
}

/// The last year that iCalendar can write.
const LAST_YEAR: i32 = 9999;

/// One walk over the wall times of a rule.
pub(crate) struct Walk<'a> {
    rule: &'a Recurrence,
    start: NaiveDateTime,
    from: NaiveDateTime,
    to: NaiveDateTime,
    steps: &'a mut u64,
    /// Instances counted so far; the start is the first, whether the rule matches it or not.
    counted: u64,
    days: DayFilter,
    times: Vec<NaiveTime>,
    batch: Vec<NaiveDateTime>,
}

impl<'a> Walk<'a> {
    /// A walk over the instances in `[from, to]` of a rule that starts at `start`.
    pub(crate) fn new(
        rule: &'a Recurrence,
        start: NaiveDateTime,
        from: NaiveDateTime,
        to: NaiveDateTime,
        steps: &'a mut u64,
    ) -> Self {
        let days = DayFilter::new(rule, start);
        Self {
            rule,
            start,
            from,
            to,
            steps,
            counted: 1,
            days,
            times: times_of_day(rule, start),
            batch: Vec::new(),
        }
    }

    /// Calls `emit` with each wall time in order, the start first, until it breaks.
    pub(crate) fn run(mut self, emit: &mut dyn FnMut(NaiveDateTime) -> ControlFlow<()>) -> Ended {
        if self.from <= self.start && self.start <= self.to && emit(self.start).is_break() {
            return Ended::Stopped;
        }
        if self.rule.count.is_some_and(|count| count <= 1) {
            return Ended::Complete;
        }
        let walked = match self.rule.frequency {
            Frequency::Yearly | Frequency::Monthly | Frequency::Weekly | Frequency::Daily => {
                self.by_days(emit)
            }
            Frequency::Hourly | Frequency::Minutely | Frequency::Secondly => self.by_clock(emit),
        };
        match walked {
            ControlFlow::Continue(()) => Ended::Complete,
            ControlFlow::Break(ended) => ended,
        }
    }

    fn spend(&mut self, steps: u64) -> ControlFlow<Ended> {
        match self.steps.checked_sub(steps) {
            Some(left) => {
                *self.steps = left;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(Ended::OverBudget),
        }
    }

    fn offer(
        &mut self,
        wall: NaiveDateTime,
        emit: &mut dyn FnMut(NaiveDateTime) -> ControlFlow<()>,
    ) -> ControlFlow<Ended> {
        if wall <= self.start {
            return ControlFlow::Continue(());
        }
        if wall > self.to {
            return ControlFlow::Break(Ended::Complete);
        }
        self.counted += 1;
        if wall >= self.from && emit(wall).is_break() {
            return ControlFlow::Break(Ended::Stopped);
        }
        if self.is_counted_out() { ControlFlow::Break(Ended::Complete) } else { ControlFlow::Continue(()) }
    }

    fn is_counted_out(&self) -> bool {
        self.rule.count.is_some_and(|count| self.counted >= count)
    }

    /// Periods of a day and more.
    fn by_days(&mut self, emit: &mut dyn FnMut(NaiveDateTime) -> ControlFlow<()>) -> ControlFlow<Ended> {
        let mut index = self.first_period();
        if self.is_counted_out() {
            return ControlFlow::Continue(());
        }
        while let Some((first, length)) = self.period(index) {
            self.spend(1 + u64::from(length) / 8)?;
            if first.and_time(NaiveTime::MIN) > self.to {
                break;
            }
            self.fill(first, length);
            let batch = std::mem::take(&mut self.batch);
            for wall in &batch {
                self.spend(1)?;
                self.offer(*wall, emit)?;
            }
            self.batch = batch;
            index += 1;
        }
        ControlFlow::Continue(())
    }

    /// Where the walk may begin; counts what it leaves out.
    fn first_period(&mut self) -> i64 {
        let from = self.from.date();
        let start = self.start.date();
        if from <= start {
            return 0;
        }
        let interval = i64::from(self.rule.interval);
        let periods = match self.rule.frequency {
            Frequency::Yearly => i64::from(from.year() - start.year()),
            Frequency::Monthly => month_index(from) - month_index(start),
            Frequency::Weekly => {
                (from - start.week(self.rule.week_start).checked_first_day().unwrap_or(start)).num_days() / 7
            }
            _ => (from - start).num_days(),
        };
        let index = periods / interval;
        match self.rule.count {
            None => index,
            // the n-th day or week of a plain rule is the n-th instance
            Some(count)
                if self.rule.is_plain()
                    && matches!(self.rule.frequency, Frequency::Daily | Frequency::Weekly) =>
            {
                let index = index.min(i64::try_from(count).unwrap_or(i64::MAX));
                self.counted = self.counted.max(u64::try_from(index).unwrap_or(0));
                index
            }
            Some(_) => 0,
        }
    }

    /// The first day and the number of days of a period; `None` beyond the calendar.
    fn period(&self, index: i64) -> Option<(NaiveDate, u32)> {
        let start = self.start.date();
        let offset = index.checked_mul(i64::from(self.rule.interval))?;
        let (first, length) = match self.rule.frequency {
            Frequency::Yearly => {
                let year = i32::try_from(i64::from(start.year()).checked_add(offset)?).ok()?;
                (NaiveDate::from_yo_opt(year, 1)?, days_in_year(year))
            }
            Frequency::Monthly => {
                let first =
                    start.with_day(1)?.checked_add_months(Months::new(u32::try_from(offset).ok()?))?;
                (first, days_in_month(first))
            }
            Frequency::Weekly => {
                let first = start.week(self.rule.week_start).checked_first_day()?;
                (first.checked_add_days(Days::new(u64::try_from(offset.checked_mul(7)?).ok()?))?, 7)
            }
            _ => (start.checked_add_days(Days::new(u64::try_from(offset).ok()?))?, 1),
        };
        (first.year() <= LAST_YEAR).then_some((first, length))
    }

    /// Fills the batch with the wall times of a period.
    fn fill(&mut self, first: NaiveDate, length: u32) {
        self.batch.clear();
        let (days, times, batch) = (&self.days, &self.times, &mut self.batch);
        days.each(first, length, |day| batch.extend(times.iter().map(|time| day.and_time(*time))));
        if !self.rule.by_position.is_empty() {
            self.batch = at_positions(&self.batch, &self.rule.by_position);
        }
    }

    /// Hours, minutes and seconds: one period at a time, jumping where a coarser limit fails. In whole seconds,
    /// because these rules can have billions of periods.
    fn by_clock(&mut self, emit: &mut dyn FnMut(NaiveDateTime) -> ControlFlow<()>) -> ControlFlow<Ended> {
        let unit = clock_unit(self.rule.frequency);
        let (start, from, to) =
            (seconds_of(self.start), seconds_of(self.from), seconds_of(self.to).min(LAST_SECOND));
        let origin = start - start.rem_euclid(unit);
        let step = i64::from(self.rule.interval).saturating_mul(unit);
        let offsets = offsets_in_period(self.rule, self.start, unit);
        let Some(longest) = offsets.last().copied() else { return ControlFlow::Continue(()) };
        let mut limits = ClockLimits::new(self.rule, unit);
        let mut index = 0;
        if from > origin && (self.rule.count.is_none() || self.rule.is_plain()) {
            index = (from - origin) / step;
            if let Some(count) = self.rule.count {
                index = index.min(i64::try_from(count).unwrap_or(i64::MAX));
                self.counted = self.counted.max(u64::try_from(index).unwrap_or(0));
            }
        }
        if self.is_counted_out() {
            return ControlFlow::Continue(());
        }
        loop {
            self.spend(1)?;
            let moment =
                index.checked_mul(step).and_then(|ahead| origin.checked_add(ahead)).filter(|at| *at <= to);
            let Some(moment) = moment else { return ControlFlow::Continue(()) };
            if let Some(next) = limits.excluded_until(moment, &self.days) {
                let ahead = next - origin;
                index = (ahead / step + i64::from(ahead % step != 0)).max(index + 1);
                continue;
            }
            index += 1;
            // a whole period before the window is only counted
            let some = u64::try_from(offsets.len()).unwrap_or(u64::MAX);
            let is_below = |count: u64| self.counted.saturating_add(some) < count;
            if moment > start && moment.saturating_add(longest) < from && self.rule.count.is_none_or(is_below)
            {
                self.counted = self.counted.saturating_add(some);
                continue;
            }
            for offset in &offsets {
                let wall = DateTime::from_timestamp(moment + offset, 0).map(|at| at.naive_utc());
                if let Some(wall) = wall {
                    self.offer(wall, emit)?;
                }
            }
        }
    }
}

/// Whether a rule yields its own start, positions aside.
pub fn is_match(rule: &Recurrence, start: NaiveDateTime) -> bool {
    let mut steps = 0;
    let walk = Walk::new(rule, start, start, start, &mut steps);
    match rule.frequency {
        Frequency::Hourly | Frequency::Minutely | Frequency::Secondly => {
            ClockLimits::new(rule, 1).excluded_until(seconds_of(start), &walk.days).is_none()
        }
        _ => walk.days.allows_day(start.date()) && walk.times.contains(&start.time()),
    }
}

fn month_index(date: NaiveDate) -> i64 {
    i64::from(date.year()) * 12 + i64::from(date.month0())
}

/// The times of a day at which a rule of days and more happens.
fn times_of_day(rule: &Recurrence, start: NaiveDateTime) -> Vec<NaiveTime> {
    let or = |list: &[u8], value: u32| -> Vec<u32> {
        if list.is_empty() { vec![value] } else { list.iter().map(|item| u32::from(*item)).collect() }
    };
    let mut times = Vec::new();
    for hour in or(&rule.by_hour, start.hour()) {
        for minute in or(&rule.by_minute, start.minute()) {
            let seconds = or(&rule.by_second, start.second());
            times.extend(
                seconds.into_iter().filter_map(|second| NaiveTime::from_hms_opt(hour, minute, second)),
            );
        }
    }
    times.sort_unstable();
    times
}

#[cfg(test)]
mod tests {
    use chrono::Duration;

    use super::*;

    fn days(rule: &str, start: &str, most: usize) -> Vec<String> {
        let rule: Recurrence = rule.parse().unwrap();
        let start = NaiveDateTime::parse_from_str(start, "%Y%m%dT%H%M%S").unwrap();
        let to = start + Duration::days(366 * 40);
        let (mut steps, mut found) = (1_000_000, Vec::new());
        Walk::new(&rule, start, start, to, &mut steps).run(&mut |wall| {
            found.push(wall.format("%Y%m%dT%H%M").to_string());
            if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        found
    }

    #[test]
    fn a_start_that_the_rule_does_not_match_counts_as_the_first() {
        let found = days("FREQ=WEEKLY;BYDAY=TU;COUNT=3", "20260601T100000", 9);

        assert_eq!(found, ["20260601T1000", "20260602T1000", "20260609T1000"]);
    }

    #[test]
    fn the_last_working_day_of_a_month_is_found_by_position() {
        let found = days("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "20260130T100000", 3);

        assert_eq!(found, ["20260130T1000", "20260227T1000", "20260331T1000"]);
    }

    #[test]
    fn invalid_dates_are_skipped() {
        assert_eq!(
            days("FREQ=MONTHLY", "20260131T080000", 3),
            ["20260131T0800", "20260331T0800", "20260531T0800"]
        );
        assert_eq!(days("FREQ=YEARLY", "20240229T080000", 2), ["20240229T0800", "20280229T0800"]);
    }

    #[test]
    fn weeks_of_the_year_follow_the_start_of_the_week() {
        let found = days("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "19970512T090000", 3);

        assert_eq!(found, ["19970512T0900", "19980511T0900", "19990517T0900"]);
    }

    #[test]
    fn every_other_week_turns_at_the_stated_day() {
        let found = |start| {
            days(&format!("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST={start}"), "19970805T090000", 9)
        };

        assert_eq!(found("MO"), ["19970805T0900", "19970810T0900", "19970819T0900", "19970824T0900"]);
        assert_eq!(found("SU"), ["19970805T0900", "19970817T0900", "19970819T0900", "19970831T0900"]);
    }

    #[test]
    fn a_plain_rule_with_a_count_is_entered_by_arithmetic() {
        let rule: Recurrence = "FREQ=SECONDLY;COUNT=1000000000".parse().unwrap();
        let at =
            |year, second| NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_hms_opt(0, 0, second).unwrap();
        let (mut steps, mut found) = (100, 0);

        let ended = Walk::new(&rule, at(1970, 0), at(2000, 0), at(2000, 9), &mut steps).run(&mut |_| {
            found += 1;
            ControlFlow::Continue(())
        });

        assert_eq!((ended, found), (Ended::Complete, 10));
    }

    #[test]
    fn a_hostile_rule_ends_by_its_budget() {
        let rule: Recurrence = "FREQ=SECONDLY;BYSECOND=7;COUNT=1000000000".parse().unwrap();
        let at = |year| NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap();
        let mut steps = 10_000;

        let ended = Walk::new(&rule, at(1970), at(2026), at(2027), &mut steps)
            .run(&mut |_| ControlFlow::Continue(()));

        assert_eq!(ended, Ended::OverBudget);
    }
}
