//! Which days a rule allows: the BY parts that speak of days, with what they leave unsaid taken from the start.

use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, Weekday};

use super::rule::{Frequency, Recurrence};

pub(crate) fn days_in_year(year: i32) -> u32 {
    NaiveDate::from_yo_opt(year, 366).map_or(365, |_| 366)
}

pub(crate) fn days_in_month(first: NaiveDate) -> u32 {
    (28..=31).rev().find(|day| first.with_day(*day).is_some()).unwrap_or(28)
}

/// Which days a rule allows.
#[derive(Debug)]
pub(crate) struct DayFilter {
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
    pub(crate) fn new(rule: &Recurrence, start: NaiveDateTime) -> Self {
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
    pub(crate) fn each(&self, first: NaiveDate, length: u32, mut found: impl FnMut(NaiveDate)) {
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

    pub(crate) fn allows_day(&self, date: NaiveDate) -> bool {
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
