//! Recurrence rules (RFC 5545 §3.3.10): reading, one canonical text, and the repairs that imports need.
//!
//! A rule we cannot expand faithfully (another calendar scale, a part of a later standard) is an error here; its
//! text is kept in the model as it came, and the expansion shows the first instance only.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Duration, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc, Weekday};
use chrono_tz::Tz;

use super::zone;
use crate::model::{Rule, When, Zone};

/// A rule, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recurrence {
    /// `FREQ`.
    pub frequency: Frequency,
    /// `INTERVAL`, at least 1.
    pub interval: u32,
    /// `COUNT`: how many instances, the first included.
    pub count: Option<u64>,
    /// `UNTIL`: the last moment at which an instance may start, inclusive.
    pub until: Option<Until>,
    /// `BYMONTH`, 1 to 12.
    pub by_month: Vec<u8>,
    /// `BYWEEKNO`, 1 to 53, negative from the end of the year.
    pub by_week_number: Vec<i8>,
    /// `BYYEARDAY`, 1 to 366, negative from the end of the year.
    pub by_year_day: Vec<i16>,
    /// `BYMONTHDAY`, 1 to 31, negative from the end of the month.
    pub by_month_day: Vec<i8>,
    /// `BYDAY`: an ordinal (0 for every one) and the day of the week.
    pub by_day: Vec<(i8, Weekday)>,
    /// `BYHOUR`.
    pub by_hour: Vec<u8>,
    /// `BYMINUTE`.
    pub by_minute: Vec<u8>,
    /// `BYSECOND`; 60 is read as 59.
    pub by_second: Vec<u8>,
    /// `BYSETPOS`.
    pub by_position: Vec<i16>,
    /// `WKST`.
    pub week_start: Weekday,
}

/// `FREQ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Frequency {
    Secondly,
    Minutely,
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// `UNTIL`, in the form it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// A day, inclusive.
    Date(NaiveDate),
    /// A wall time in the series' zone, or floating.
    Wall(NaiveDateTime),
    /// An instant.
    Utc(DateTime<Utc>),
}

/// A rule that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There is no `FREQ`, or none we know.
    #[error("the recurrence rule has no usable FREQ")]
    NoFrequency,
    /// A part has a value outside its range.
    #[error("the recurrence rule has the unusable part {0:?}")]
    Malformed(String),
    /// A part we do not expand, such as `RSCALE`.
    #[error("the recurrence rule uses {0:?}, which is kept but not expanded")]
    Unsupported(String),
    /// No date satisfies it.
    #[error("the recurrence rule has no instances: change or remove its BY parts, COUNT or UNTIL")]
    NoInstances,
}

impl Frequency {
    const NAMES: [(Self, &'static str); 7] = [
        (Self::Secondly, "SECONDLY"),
        (Self::Minutely, "MINUTELY"),
        (Self::Hourly, "HOURLY"),
        (Self::Daily, "DAILY"),
        (Self::Weekly, "WEEKLY"),
        (Self::Monthly, "MONTHLY"),
        (Self::Yearly, "YEARLY"),
    ];

    fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(frequency, _)| *frequency == self).map_or("", |(_, name)| name)
    }
}

const WEEKDAYS: [(Weekday, &str); 7] = [
    (Weekday::Mon, "MO"),
    (Weekday::Tue, "TU"),
    (Weekday::Wed, "WE"),
    (Weekday::Thu, "TH"),
    (Weekday::Fri, "FR"),
    (Weekday::Sat, "SA"),
    (Weekday::Sun, "SU"),
];

pub(crate) fn weekday_name(day: Weekday) -> &'static str {
    WEEKDAYS.iter().find(|(weekday, _)| *weekday == day).map_or("", |(_, name)| name)
}

fn weekday(name: &str) -> Option<Weekday> {
    WEEKDAYS.iter().find(|(_, known)| *known == name).map(|(day, _)| *day)
}

impl Recurrence {
    /// A rule that repeats at every period of `frequency` without end.
    pub fn every(frequency: Frequency) -> Self {
        Self {
            frequency,
            interval: 1,
            count: None,
            until: None,
            by_month: Vec::new(),
            by_week_number: Vec::new(),
            by_year_day: Vec::new(),
            by_month_day: Vec::new(),
            by_day: Vec::new(),
            by_hour: Vec::new(),
            by_minute: Vec::new(),
            by_second: Vec::new(),
            by_position: Vec::new(),
            week_start: Weekday::Mon,
        }
    }

    /// Whether nothing but the frequency and the interval says when it happens.
    pub(crate) fn is_plain(&self) -> bool {
        self.by_month.is_empty()
            && self.by_week_number.is_empty()
            && self.by_year_day.is_empty()
            && self.by_month_day.is_empty()
            && self.by_day.is_empty()
            && self.by_hour.is_empty()
            && self.by_minute.is_empty()
            && self.by_second.is_empty()
            && self.by_position.is_empty()
    }

    fn set_part(&mut self, name: &str, value: &str) -> Result<(), RuleError> {
        let malformed = || RuleError::Malformed(format!("{name}={value}"));
        match name {
            // read beforehand
            "FREQ" => {}
            // zero is seen and can only mean "every"
            "INTERVAL" => self.interval = value.parse::<u32>().map_err(|_| malformed())?.max(1),
            "COUNT" => self.count = Some(value.parse::<u64>().map_err(|_| malformed())?.max(1)),
            "UNTIL" => self.until = Some(read_until(value).ok_or_else(malformed)?),
            "BYMONTH" => self.by_month = read_list(value, 1..=12, false).ok_or_else(malformed)?,
            "BYWEEKNO" => self.by_week_number = read_list(value, 1..=53, true).ok_or_else(malformed)?,
            "BYYEARDAY" => self.by_year_day = read_list(value, 1..=366, true).ok_or_else(malformed)?,
            "BYMONTHDAY" => self.by_month_day = read_list(value, 1..=31, true).ok_or_else(malformed)?,
            "BYHOUR" => self.by_hour = read_list(value, 0..=23, false).ok_or_else(malformed)?,
            "BYMINUTE" => self.by_minute = read_list(value, 0..=59, false).ok_or_else(malformed)?,
            "BYSECOND" => {
                let seconds: Vec<u8> = read_list(value, 0..=60, false).ok_or_else(malformed)?;
                self.by_second = sorted(seconds.into_iter().map(|second| second.min(59)).collect());
            }
            "BYSETPOS" => self.by_position = read_list(value, 1..=366, true).ok_or_else(malformed)?,
            "BYDAY" => self.by_day = read_days(value).ok_or_else(malformed)?,
            "WKST" => self.week_start = weekday(value).ok_or_else(malformed)?,
            "RSCALE" if value == "GREGORIAN" => {}
            "SKIP" if value == "OMIT" => {}
            _ if name.starts_with("X-") => {}
            _ => return Err(RuleError::Unsupported(format!("{name}={value}"))),
        }
        Ok(())
    }
}

impl FromStr for Recurrence {
    type Err = RuleError;

    /// Reads the value of an `RRULE`; letters of any case, stray blanks and a trailing semicolon are accepted.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.trim().to_ascii_uppercase();
        let parts = || {
            upper
                .strip_prefix("RRULE:")
                .unwrap_or(&upper)
                .split(';')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| part.split_once('=').unwrap_or((part, "")))
                .map(|(name, value)| (name.trim(), value.trim()))
        };
        let frequency = parts()
            .find(|(name, _)| *name == "FREQ")
            .and_then(|(_, value)| Frequency::NAMES.iter().find(|(_, name)| *name == value))
            .ok_or(RuleError::NoFrequency)?;
        let mut rule = Self::every(frequency.0);
        for (name, value) in parts() {
            // an empty part says nothing; some writers leave them behind
            if !value.is_empty() {
                rule.set_part(name, value)?;
            }
        }
        Ok(rule)
    }
}

impl fmt::Display for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FREQ={}", self.frequency.as_str())?;
        if self.interval != 1 {
            write!(f, ";INTERVAL={}", self.interval)?;
        }
        if let Some(count) = self.count {
            write!(f, ";COUNT={count}")?;
        }
        match self.until {
            Some(Until::Date(date)) => write!(f, ";UNTIL={}", date.format("%Y%m%d"))?,
            Some(Until::Wall(wall)) => write!(f, ";UNTIL={}", wall.format("%Y%m%dT%H%M%S"))?,
            Some(Until::Utc(instant)) => write!(f, ";UNTIL={}", instant.format("%Y%m%dT%H%M%SZ"))?,
            None => {}
        }
        write_list(f, "BYMONTH", &self.by_month)?;
        write_list(f, "BYWEEKNO", &self.by_week_number)?;
        write_list(f, "BYYEARDAY", &self.by_year_day)?;
        write_list(f, "BYMONTHDAY", &self.by_month_day)?;
        for (index, (ordinal, day)) in self.by_day.iter().enumerate() {
            f.write_str(if index == 0 { ";BYDAY=" } else { "," })?;
            if *ordinal != 0 {
                write!(f, "{ordinal}")?;
            }
            f.write_str(weekday_name(*day))?;
        }
        write_list(f, "BYHOUR", &self.by_hour)?;
        write_list(f, "BYMINUTE", &self.by_minute)?;
        write_list(f, "BYSECOND", &self.by_second)?;
        write_list(f, "BYSETPOS", &self.by_position)?;
        if self.week_start != Weekday::Mon {
            write!(f, ";WKST={}", weekday_name(self.week_start))?;
        }
        Ok(())
    }
}

fn write_list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, name: &str, values: &[T]) -> fmt::Result {
    for (index, value) in values.iter().enumerate() {
        if index == 0 {
            write!(f, ";{name}={value}")?;
        } else {
            write!(f, ",{value}")?;
        }
    }
    Ok(())
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort_unstable();
    values.dedup();
    values
}

/// A comma-separated list of numbers whose magnitude lies in `range`; sorted, each once.
fn read_list<T: TryFrom<i32> + Ord>(
    text: &str,
    range: std::ops::RangeInclusive<u32>,
    may_be_negative: bool,
) -> Option<Vec<T>> {
    let read = |item: &str| {
        let number: i32 = item.trim().parse().ok()?;
        let allowed = range.contains(&number.unsigned_abs()) && (may_be_negative || number >= 0);
        T::try_from(number).ok().filter(|_| allowed)
    };
    let values =
        text.split(',').filter(|item| !item.trim().is_empty()).map(read).collect::<Option<Vec<T>>>()?;
    Some(sorted(values))
}

fn read_days(text: &str) -> Option<Vec<(i8, Weekday)>> {
    let read = |item: &str| {
        let item = item.trim();
        let (ordinal, name) = item.split_at_checked(item.len().checked_sub(2)?)?;
        let ordinal = match ordinal.trim() {
            "" | "+" => 0,
            ordinal => ordinal.parse::<i8>().ok().filter(|ordinal| (-53..=53).contains(ordinal))?,
        };
        Some((ordinal, weekday(name)?))
    };
    let mut days =
        text.split(',').filter(|item| !item.trim().is_empty()).map(read).collect::<Option<Vec<_>>>()?;
    days.sort_unstable_by_key(|(ordinal, day)| (*ordinal, day.num_days_from_monday()));
    days.dedup();
    Some(days)
}

fn read_until(text: &str) -> Option<Until> {
    let text: String = text.chars().filter(|letter| !matches!(letter, '-' | ':')).collect();
    if let Some((date, time)) = text.split_once('T') {
        let date = NaiveDate::parse_from_str(date, "%Y%m%d").ok()?;
        let (time, is_utc) = time.strip_suffix('Z').map_or((time, false), |time| (time, true));
        // the 24 h and 60 s that some writers use for "the end of the day" are both its last second here
        let time = match time {
            "240000" | "235960" => NaiveTime::from_hms_opt(23, 59, 59)?,
            _ => NaiveTime::parse_from_str(time, "%H%M%S").ok()?.with_nanosecond(0)?,
        };
        let wall = date.and_time(time);
        return Some(if is_utc { Until::Utc(wall.and_utc()) } else { Until::Wall(wall) });
    }
    let date = text.get(..8).filter(|_| matches!(text.get(8..), Some("" | "Z")))?;
    NaiveDate::parse_from_str(date, "%Y%m%d").ok().map(Until::Date)
}

/// The canonical text of an `RRULE` that belongs to a series starting at `start`: `UNTIL` gets the form that the
/// start demands (RFC 5545 §3.3.10).
///
/// `calendar_zone` is used where an instant must become a date or a floating time.
///
/// # Errors
/// When the rule cannot be expanded; [`verbatim`] then keeps it.
pub fn canonical(text: &str, start: &When, calendar_zone: Option<Tz>) -> Result<Rule, RuleError> {
    let mut rule = counted(text, start)?;
    rule.until = rule.until.map(|until| fit_until(until, start, calendar_zone));
    Ok(Rule(rule.to_string()))
}

/// A rule as it counts for a series that starts at `start`.
///
/// # Errors
/// When the rule cannot be expanded.
pub fn counted(text: &str, start: &When) -> Result<Recurrence, RuleError> {
    let mut rule: Recurrence = text.parse()?;
    if start.is_date() {
        // A day has no time, and some writers say one all the same: RFC 5545 §3.3.10 has it ignored.
        rule.by_hour.clear();
        rule.by_minute.clear();
        rule.by_second.clear();
    }
    Ok(rule)
}

/// A rule that is kept and written back, and not expanded.
pub fn verbatim(text: &str) -> Rule {
    Rule(text.trim().to_ascii_uppercase())
}

/// `UNTIL` in the form that goes with the start.
pub(crate) fn fit_until(until: Until, start: &When, calendar_zone: Option<Tz>) -> Until {
    let end_of =
        |date: NaiveDate| date.and_hms_opt(23, 59, 59).unwrap_or_else(|| date.and_time(NaiveTime::MIN));
    match (start, until) {
        (When::Date(_), Until::Date(_))
        | (When::Floating(_), Until::Wall(_))
        | (When::Utc(_) | When::Zoned { .. }, Until::Utc(_)) => until,
        (When::Date(_), Until::Wall(wall)) => Until::Date(wall.date()),
        (When::Date(_), Until::Utc(instant)) => Until::Date(day_of(instant, calendar_zone)),
        (When::Floating(_), Until::Date(date)) => Until::Wall(end_of(date)),
        (When::Floating(_), Until::Utc(instant)) => Until::Wall(match calendar_zone {
            Some(zone) => instant.with_timezone(&zone).naive_local(),
            None => instant.naive_utc(),
        }),
        (When::Utc(_), Until::Date(date)) => Until::Utc(end_of(date).and_utc()),
        (When::Utc(_), Until::Wall(wall)) => Until::Utc(wall.and_utc()),
        (When::Zoned { zone, .. }, Until::Date(date)) => Until::Utc(instant_in(zone, end_of(date))),
        (When::Zoned { zone, .. }, Until::Wall(wall)) => Until::Utc(instant_in(zone, wall)),
    }
}

/// The day that is meant by an instant where only a day makes sense.
pub(crate) fn day_of(instant: DateTime<Utc>, calendar_zone: Option<Tz>) -> NaiveDate {
    // Exchange writes the local midnight of the day, others its last second there. Who knows no zone puts a midnight or
    // a last second in UTC behind the day itself, and the calendar's zone would make a neighbouring day of that. With
    // no zone to ask, the nearest midnight is the day in every zone between -12 h and +12 h.
    let is_edge =
        |time: NaiveTime| time == NaiveTime::MIN || NaiveTime::from_hms_opt(23, 59, 59) == Some(time);
    let local = calendar_zone.map(|zone| instant.with_timezone(&zone).naive_local());
    match local {
        Some(local) if is_edge(local.time()) || !is_edge(instant.time()) => local.date(),
        None if instant.second() == 0 => (instant + Duration::hours(12)).date_naive(),
        Some(_) | None => instant.date_naive(),
    }
}

fn instant_in(zone: &Zone, wall: NaiveDateTime) -> DateTime<Utc> {
    zone::ZoneClock::new(zone).instant(wall).0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canon(text: &str) -> String {
        text.parse::<Recurrence>().unwrap().to_string()
    }

    #[test]
    fn a_rule_has_one_text_whatever_the_order_and_case() {
        let text = "freq=Weekly; WKST=MO;byday=FR,MO,mo;INTERVAL=1;UNTIL=20260605T070000Z;";

        assert_eq!(canon(text), "FREQ=WEEKLY;UNTIL=20260605T070000Z;BYDAY=MO,FR");
        assert_eq!(canon(&canon(text)), canon(text));
    }

    #[test]
    fn ordinals_positions_and_negative_days_are_read() {
        assert_eq!(
            canon("FREQ=MONTHLY;BYDAY=-1SU,+2MO;BYSETPOS=-1"),
            "FREQ=MONTHLY;BYDAY=-1SU,2MO;BYSETPOS=-1"
        );
        assert_eq!(canon("FREQ=YEARLY;BYMONTHDAY=-1;BYMONTH=2"), "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1");
    }

    #[test]
    fn what_we_cannot_expand_is_said_by_name() {
        assert!(matches!("RSCALE=CHINESE;FREQ=YEARLY".parse::<Recurrence>(), Err(RuleError::Unsupported(_))));
        assert!(matches!("FREQ=DAILY;BYMONTH=13".parse::<Recurrence>(), Err(RuleError::Malformed(_))));
        assert_eq!("INTERVAL=2".parse::<Recurrence>(), Err(RuleError::NoFrequency));
    }

    #[test]
    fn a_series_of_days_has_no_time_of_day() {
        let start = When::Date(NaiveDate::from_ymd_opt(2026, 3, 2).unwrap());
        let text = "FREQ=WEEKLY;BYDAY=MO;BYHOUR=9;BYMINUTE=0;BYSECOND=0;COUNT=3";

        assert_eq!(canonical(text, &start, None).unwrap().0, "FREQ=WEEKLY;COUNT=3;BYDAY=MO");
        assert_eq!(
            canonical(text, &When::Floating(start.wall()), None).unwrap().0,
            "FREQ=WEEKLY;COUNT=3;BYDAY=MO;BYHOUR=9;BYMINUTE=0;BYSECOND=0"
        );
    }

    #[test]
    fn until_takes_the_form_that_the_start_demands() {
        let day = |day| NaiveDate::from_ymd_opt(2026, 6, day).unwrap();
        let zoned =
            When::Zoned { wall: day(1).and_hms_opt(9, 0, 0).unwrap(), zone: Zone::Iana(Tz::Europe__Paris) };
        let text = |rule: &str, start: &When| canonical(rule, start, None).unwrap().0;

        assert_eq!(text("FREQ=DAILY;UNTIL=20260605", &zoned), "FREQ=DAILY;UNTIL=20260605T215959Z");
        assert_eq!(text("FREQ=DAILY;UNTIL=20260605T090000", &zoned), "FREQ=DAILY;UNTIL=20260605T070000Z");
        assert_eq!(
            text("FREQ=WEEKLY;UNTIL=20260628T220000Z", &When::Date(day(1))),
            "FREQ=WEEKLY;UNTIL=20260629"
        );
        assert_eq!(
            text("FREQ=WEEKLY;UNTIL=20260628T235959Z", &When::Date(day(1))),
            "FREQ=WEEKLY;UNTIL=20260628"
        );
    }

    #[test]
    fn an_instant_that_stands_for_a_day_is_that_day_whatever_is_known_of_the_zone() {
        let start = When::Date(NaiveDate::from_ymd_opt(2026, 6, 1).unwrap());
        let until = |text: &str, zone| {
            canonical(&format!("FREQ=WEEKLY;UNTIL={text}"), &start, zone).unwrap().0.split_off(18)
        };
        let (paris, new_york) = (Some(Tz::Europe__Paris), Some(Tz::America__New_York));

        for zone in [None, paris, new_york] {
            assert_eq!(until("20260628T235959Z", zone), "20260628", "{zone:?}");
            assert_eq!(until("20260605T000000Z", zone), "20260605", "{zone:?}");
        }
        assert_eq!(until("20260628T220000Z", paris), "20260629", "its midnight");
        assert_eq!(until("20260628T215959Z", paris), "20260628", "its last second");
        assert_eq!(until("20260605T040000Z", new_york), "20260605", "its midnight");
        assert_eq!(until("20260605T013000Z", new_york), "20260604", "an hour of its day");
    }
}
