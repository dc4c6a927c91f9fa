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

use chrono::{Datelike, Days, Duration, Months, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Weekday};

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

    /// Hours, minutes and seconds: one period at a time, jumping where a coarser limit fails.
    fn by_clock(&mut self, emit: &mut dyn FnMut(NaiveDateTime) -> ControlFlow<()>) -> ControlFlow<Ended> {
        let unit = match self.rule.frequency {
            Frequency::Hourly => 3600,
            Frequency::Minutely => 60,
            _ => 1,
        };
        let origin = truncate(self.start, unit);
        let step = i64::from(self.rule.interval).saturating_mul(unit);
        let mut index = 0;
        if self.from > origin && (self.rule.count.is_none() || self.rule.is_plain()) {
            index = ((self.from - origin).num_seconds() / step).max(0);
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
            let Some(moment) = index
                .checked_mul(step)
                .and_then(Duration::try_seconds)
                .and_then(|offset| origin.checked_add_signed(offset))
                .filter(|moment| moment.year() <= LAST_YEAR && *moment <= self.to)
            else {
                return ControlFlow::Continue(());
            };
            if let Some(next) = self.excluded_until(moment, unit) {
                let ahead = (next - origin).num_seconds();
                index = (ahead / step + i64::from(ahead % step != 0)).max(index + 1);
                continue;
            }
            self.fill_clock(moment, unit);
            let batch = std::mem::take(&mut self.batch);
            for wall in &batch {
                self.offer(*wall, emit)?;
            }
            self.batch = batch;
            index += 1;
        }
    }

    /// Where to go on when `moment` lies in a day, hour or minute that a limit excludes.
    fn excluded_until(&self, moment: NaiveDateTime, unit: i64) -> Option<NaiveDateTime> {
        let excludes = |list: &[u8], value: u32| {
            !list.is_empty() && !list.iter().any(|allowed| u32::from(*allowed) == value)
        };
        if !self.days.allows_day(moment.date()) {
            return moment.date().succ_opt().map(|day| day.and_time(NaiveTime::MIN));
        }
        if excludes(&self.rule.by_hour, moment.hour()) {
            return truncate(moment, 3600).checked_add_signed(Duration::hours(1));
        }
        if unit < 3600 && excludes(&self.rule.by_minute, moment.minute()) {
            return truncate(moment, 60).checked_add_signed(Duration::minutes(1));
        }
        if unit < 60 && excludes(&self.rule.by_second, moment.second()) {
            return moment.checked_add_signed(Duration::seconds(1));
        }
        None
    }

    fn fill_clock(&mut self, moment: NaiveDateTime, unit: i64) {
        self.batch.clear();
        let or = |list: &[u8], value: u32| -> Vec<u32> {
            if list.is_empty() { vec![value] } else { list.iter().map(|item| u32::from(*item)).collect() }
        };
        match unit {
            1 => self.batch.push(moment),
            60 => {
                let seconds = or(&self.rule.by_second, self.start.second());
                self.batch.extend(seconds.into_iter().filter_map(|second| moment.with_second(second)));
            }
            _ => {
                let seconds = or(&self.rule.by_second, self.start.second());
                for minute in or(&self.rule.by_minute, self.start.minute()) {
                    let moment = moment.with_minute(minute);
                    self.batch.extend(seconds.iter().filter_map(|second| moment?.with_second(*second)));
                }
            }
        }
        if !self.rule.by_position.is_empty() {
            self.batch = at_positions(&self.batch, &self.rule.by_position);
        }
    }
}

/// Whether a rule yields its own start, positions aside.
pub(crate) fn is_match(rule: &Recurrence, start: NaiveDateTime) -> bool {
    let mut steps = 0;
    let walk = Walk::new(rule, start, start, start, &mut steps);
    match rule.frequency {
        Frequency::Hourly | Frequency::Minutely | Frequency::Secondly => {
            walk.excluded_until(start, 1).is_none()
        }
        _ => walk.days.allows_day(start.date()) && walk.times.contains(&start.time()),
    }
}

fn truncate(moment: NaiveDateTime, unit: i64) -> NaiveDateTime {
    let second = i64::from(moment.num_seconds_from_midnight());
    moment.checked_sub_signed(Duration::seconds(second % unit)).unwrap_or(moment)
}

fn month_index(date: NaiveDate) -> i64 {
    i64::from(date.year()) * 12 + i64::from(date.month0())
}

fn days_in_year(year: i32) -> u32 {
    NaiveDate::from_yo_opt(year, 366).map_or(365, |_| 366)
}

fn days_in_month(first: NaiveDate) -> u32 {
    (28..=31).rev().find(|day| first.with_day(*day).is_some()).unwrap_or(28)
}

/// The elements of a sorted set at `positions`, negative ones from its end; sorted, each once.
fn at_positions(set: &[NaiveDateTime], positions: &[i16]) -> Vec<NaiveDateTime> {
    let mut picked: Vec<NaiveDateTime> = positions
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

/// Which days a rule allows.
#[derive(Debug)]
struct DayFilter {
    frequency: Frequency,
    months: u16,
    month_days: Vec<i8>,
    year_days: Vec<i16>,
    week_numbers: Vec<i8>,
    week_start: Weekday,
    /// Days of the week without ordinal, one bit each.
    weekdays: u8,
    nth_weekdays: Vec<(i8, Weekday)>,
    /// Whether ordinals count within the year instead of the month.
    is_nth_of_year: bool,
}

impl DayFilter {
    fn new(rule: &Recurrence, start: NaiveDateTime) -> Self {
        use Frequency::{Monthly, Weekly, Yearly};
        let mut filter = Self {
            frequency: rule.frequency,
            months: rule.by_month.iter().fold(0, |mask, month| mask | 1 << month),
            month_days: rule.by_month_day.clone(),
            year_days: rule.by_year_day.clone(),
            week_numbers: rule.by_week_number.clone(),
            week_start: rule.week_start,
            weekdays: 0,
            nth_weekdays: Vec::new(),
            is_nth_of_year: rule.frequency == Yearly && rule.by_month.is_empty(),
        };
        for (ordinal, day) in &rule.by_day {
            if *ordinal == 0 || !matches!(rule.frequency, Yearly | Monthly) {
                filter.weekdays |= 1 << day.num_days_from_monday();
            } else {
                filter.nth_weekdays.push((*ordinal, *day));
            }
        }
        let day = i8::try_from(start.day()).unwrap_or(1);
        let says_day =
            !rule.by_month_day.is_empty() || !rule.by_year_day.is_empty() || !rule.by_day.is_empty();
        match rule.frequency {
            Yearly | Weekly if !says_day && !rule.by_week_number.is_empty() => {
                filter.weekdays = 1 << start.weekday().num_days_from_monday();
            }
            Yearly if !says_day => {
                if filter.months == 0 {
                    filter.months = 1 << start.month();
                }
                filter.month_days = vec![day];
            }
            Monthly if !says_day => filter.month_days = vec![day],
            Weekly if !says_day => filter.weekdays = 1 << start.weekday().num_days_from_monday(),
            _ => {}
        }
        filter
    }

    /// Calls `found` with each allowed day of a period, in order.
    fn each(&self, first: NaiveDate, length: u32, mut found: impl FnMut(NaiveDate)) {
        // a lone day of the month is found at once
        if let ([day], true) = (self.month_days.as_slice(), self.is_month_day_only()) {
            match self.frequency {
                Frequency::Monthly => return self.month_day(first, *day).into_iter().for_each(found),
                Frequency::Yearly => {
                    for month in 1..=12 {
                        let day = first.with_month(month).and_then(|first| self.month_day(first, *day));
                        day.into_iter().for_each(&mut found);
                    }
                    return;
                }
                _ => {}
            }
        }
        let mut day = Some(first);
        for _ in 0..length {
            let Some(date) = day else { return };
            if self.allows_day(date) {
                found(date);
            }
            day = date.succ_opt();
        }
    }

    fn is_month_day_only(&self) -> bool {
        self.year_days.is_empty()
            && self.week_numbers.is_empty()
            && self.weekdays == 0
            && self.nth_weekdays.is_empty()
    }

    fn month_day(&self, first: NaiveDate, day: i8) -> Option<NaiveDate> {
        if self.months != 0 && self.months & (1 << first.month()) == 0 {
            return None;
        }
        let number = u32::from(day.unsigned_abs());
        first.with_day(if day > 0 { number } else { (days_in_month(first) + 1).checked_sub(number)? })
    }

    fn allows_day(&self, date: NaiveDate) -> bool {
        if self.months != 0 && self.months & (1 << date.month()) == 0 {
            return false;
        }
        if !self.allows_weekday(date) {
            return false;
        }
        let is_listed = |list_is_empty: bool, from_start: u32, length: u32, has: &dyn Fn(i32) -> bool| {
            let from_start = i32::try_from(from_start).unwrap_or(0);
            list_is_empty || has(from_start) || has(from_start - i32::try_from(length).unwrap_or(0) - 1)
        };
        is_listed(
            self.month_days.is_empty(),
            date.day(),
            days_in_month(date.with_day(1).unwrap_or(date)),
            &|n| self.month_days.iter().any(|day| i32::from(*day) == n),
        ) && is_listed(self.year_days.is_empty(), date.ordinal(), days_in_year(date.year()), &|n| {
            self.year_days.iter().any(|day| i32::from(*day) == n)
        }) && (self.week_numbers.is_empty() || self.allows_week(date))
    }

    fn allows_weekday(&self, date: NaiveDate) -> bool {
        if self.weekdays == 0 && self.nth_weekdays.is_empty() {
            return true;
        }
        let weekday = date.weekday();
        if self.weekdays & (1 << weekday.num_days_from_monday()) != 0 {
            return true;
        }
        if !self.nth_weekdays.iter().any(|(_, day)| *day == weekday) {
            return false;
        }
        let (position, length) = if self.is_nth_of_year {
            (date.ordinal(), days_in_year(date.year()))
        } else {
            (date.day(), days_in_month(date.with_day(1).unwrap_or(date)))
        };
        let nth = |days: u32| i8::try_from((days - 1) / 7 + 1).unwrap_or(i8::MAX);
        let (from_start, from_end) = (nth(position), -nth(length + 1 - position));
        self.nth_weekdays
            .iter()
            .any(|(ordinal, day)| *day == weekday && (*ordinal == from_start || *ordinal == from_end))
    }

    /// Whether the week of `date` is among the week numbers; a week is of the year that has four of its days.
    fn allows_week(&self, date: NaiveDate) -> bool {
        let middle =
            |date: NaiveDate| date.week(self.week_start).checked_first_day()?.checked_add_days(Days::new(3));
        let number = |middle: NaiveDate| i8::try_from(middle.ordinal0() / 7 + 1).unwrap_or(0);
        let Some(of) = middle(date) else { return false };
        let last = NaiveDate::from_ymd_opt(of.year(), 12, 28).and_then(middle).map_or(52, number);
        let week = number(of);
        self.week_numbers.iter().any(|listed| *listed == week || *listed == week - last - 1)
    }
}

#[cfg(test)]
mod tests {
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
