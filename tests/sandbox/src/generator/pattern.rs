//! The rules of generated series, and their own dates.
//!
//! Overrides and exclusions have to name instances that exist, so the generator counts its simple rules out
//! itself, day by day. Every start fits its rule.

use chrono::{Datelike, Days, NaiveDate, Weekday};

/// How often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frequency {
    Daily,
    /// On these days of the week.
    Weekly(Vec<Weekday>),
    /// On the nth weekday of the month, that of the start; -1 is the last.
    MonthlyNth(i8),
    /// On the start's day of the month; months without it are skipped.
    MonthlyDay,
    Yearly,
}

/// How long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Never,
    Count(u32),
    Until(NaiveDate),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) frequency: Frequency,
    pub(crate) interval: u32,
    pub(crate) limit: Limit,
}

/// Days looked at before giving up; a yearly rule of ten instances needs some four thousand.
const MAX_DAYS: u64 = 8_000;

impl Pattern {
    /// The first dates of the series, at most `most`.
    pub(crate) fn dates(&self, start: NaiveDate, most: usize) -> Vec<NaiveDate> {
        let most = match self.limit {
            Limit::Count(count) => most.min(usize::try_from(count).unwrap_or(usize::MAX)),
            Limit::Never | Limit::Until(_) => most,
        };
        let days = (0..MAX_DAYS).filter_map(|days| start.checked_add_days(Days::new(days)));
        let days = days.take_while(|date| !matches!(self.limit, Limit::Until(until) if *date > until));
        days.filter(|date| self.falls_on(start, *date)).take(most).collect()
    }

    fn falls_on(&self, start: NaiveDate, date: NaiveDate) -> bool {
        let interval = i64::from(self.interval.max(1));
        let months =
            i64::from(date.year() - start.year()) * 12 + i64::from(date.month()) - i64::from(start.month());
        match &self.frequency {
            Frequency::Daily => (date - start).num_days() % interval == 0,
            Frequency::Weekly(days) => {
                let monday = start - Days::new(u64::from(start.weekday().num_days_from_monday()));
                (date - monday).num_days() / 7 % interval == 0 && days.contains(&date.weekday())
            }
            Frequency::MonthlyNth(nth) => {
                months % interval == 0 && date.weekday() == start.weekday() && is_nth(date, *nth)
            }
            Frequency::MonthlyDay => months % interval == 0 && date.day() == start.day(),
            Frequency::Yearly => {
                months % (12 * interval) == 0 && date.day() == start.day() && date.month() == start.month()
            }
        }
    }

    /// The rule's text, without its limit by date, which depends on the form of the start.
    pub(crate) fn text(&self, start: NaiveDate) -> String {
        let mut text = match &self.frequency {
            Frequency::Daily => "FREQ=DAILY".to_owned(),
            Frequency::Weekly(days) => {
                let days: Vec<&str> = days.iter().copied().map(day_text).collect();
                format!("FREQ=WEEKLY;BYDAY={}", days.join(","))
            }
            Frequency::MonthlyNth(nth) => format!("FREQ=MONTHLY;BYDAY={nth}{}", day_text(start.weekday())),
            Frequency::MonthlyDay => format!("FREQ=MONTHLY;BYMONTHDAY={}", start.day()),
            Frequency::Yearly => "FREQ=YEARLY".to_owned(),
        };
        if self.interval > 1 {
            text = format!("{text};INTERVAL={}", self.interval);
        }
        if let Limit::Count(count) = self.limit {
            text = format!("{text};COUNT={count}");
        }
        text
    }
}

/// Which weekday of its month a date is, counted from 1; the fifth is the last.
pub(crate) fn nth_of(date: NaiveDate) -> i8 {
    let nth = (date.day() - 1) / 7 + 1;
    if nth > 4 { -1 } else { i8::try_from(nth).unwrap_or(-1) }
}

fn is_nth(date: NaiveDate, nth: i8) -> bool {
    if nth < 0 {
        return date.checked_add_days(Days::new(7)).is_some_and(|next| next.month() != date.month());
    }
    i8::try_from((date.day() - 1) / 7 + 1) == Ok(nth)
}

fn day_text(day: Weekday) -> &'static str {
    match day {
        Weekday::Mon => "MO",
        Weekday::Tue => "TU",
        Weekday::Wed => "WE",
        Weekday::Thu => "TH",
        Weekday::Fri => "FR",
        Weekday::Sat => "SA",
        Weekday::Sun => "SU",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn a_fortnightly_rule_counts_weeks_from_the_monday_of_its_start() {
        let frequency = Frequency::Weekly(vec![Weekday::Mon, Weekday::Thu]);
        let pattern = Pattern { frequency, interval: 2, limit: Limit::Never };

        let dates = pattern.dates(date("2026-01-08"), 3);

        assert_eq!(dates, [date("2026-01-08"), date("2026-01-19"), date("2026-01-22")]);
    }

    #[test]
    fn months_without_the_day_are_skipped_and_the_last_weekday_is_found() {
        let on_the_31st = Pattern { frequency: Frequency::MonthlyDay, interval: 1, limit: Limit::Count(3) };
        let last_friday = Pattern { frequency: Frequency::MonthlyNth(-1), interval: 1, limit: Limit::Never };

        assert_eq!(
            on_the_31st.dates(date("2026-01-31"), 9),
            [date("2026-01-31"), date("2026-03-31"), date("2026-05-31")]
        );
        assert_eq!(last_friday.dates(date("2026-01-30"), 2), [date("2026-01-30"), date("2026-02-27")]);
    }
}
