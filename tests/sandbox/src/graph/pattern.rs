//! Patterned recurrences: read, written, and turned into days.
//!
//! A series has at most one occurrence a day, so an occurrence is named by its day in the series' zone.
//! The days of a pattern are found period by period from its first day; that costs microseconds for years.

use chrono::{Datelike as _, Days, Months, NaiveDate, Weekday};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::times::Zone;
use super::zones;

/// Days that one pattern yields at most: daily for over 80 years.
const MOST_DAYS: usize = 30_000;

/// Most occurrences of a numbered series.
const MOST_NUMBERED: u64 = 999;

/// How a series repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Daily,
    Weekly,
    AbsoluteMonthly,
    RelativeMonthly,
    AbsoluteYearly,
    RelativeYearly,
}

/// How long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    NoEnd,
    /// The last day, inclusive.
    EndDate(NaiveDate),
    Numbered(usize),
}

/// A recurrence with its first day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    step: Step,
    interval: u32,
    month: u32,
    day_of_month: u32,
    days: Vec<Weekday>,
    week_start: Weekday,
    /// 0 to 3, or 4 for the last.
    index: usize,
    range: Range,
    pub(crate) first: NaiveDate,
    pub(crate) zone: Zone,
}

const STEPS: [(&str, Step); 6] = [
    ("daily", Step::Daily),
    ("weekly", Step::Weekly),
    ("absoluteMonthly", Step::AbsoluteMonthly),
    ("relativeMonthly", Step::RelativeMonthly),
    ("absoluteYearly", Step::AbsoluteYearly),
    ("relativeYearly", Step::RelativeYearly),
];

const INDEXES: [&str; 5] = ["first", "second", "third", "fourth", "last"];

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("sunday", Weekday::Sun),
    ("monday", Weekday::Mon),
    ("tuesday", Weekday::Tue),
    ("wednesday", Weekday::Wed),
    ("thursday", Weekday::Thu),
    ("friday", Weekday::Fri),
    ("saturday", Weekday::Sat),
];

fn weekday(word: &str) -> Result<Weekday, ApiError> {
    let found = WEEKDAYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    found.map(|(_, day)| *day).ok_or_else(|| ApiError::recurrence(&format!("Unknown day of week {word}.")))
}

fn weekday_word(day: Weekday) -> &'static str {
    WEEKDAYS.iter().find(|(_, known)| *known == day).map_or("sunday", |(name, _)| name)
}

impl Pattern {
    /// Reads `recurrence` of an event that starts on that day in that zone.
    pub(crate) fn read(value: &Value, start: NaiveDate, zone: &Zone) -> Result<Self, ApiError> {
        let wrong = |what: &str| ApiError::recurrence(&format!("Recurrence has no valid {what}."));
        let pattern = value.get("pattern").and_then(Value::as_object).ok_or_else(|| wrong("pattern"))?;
        let range = value.get("range").and_then(Value::as_object).ok_or_else(|| wrong("range"))?;
        let step = word(pattern, "type");
        let step = STEPS.iter().find(|(name, _)| *name == step).map(|(_, step)| *step);
        let step = step.ok_or_else(|| wrong("pattern type"))?;
        let interval = number(pattern, "interval").filter(|interval| (1..=999).contains(interval));
        let days: Vec<Weekday> = pattern
            .get("daysOfWeek")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(weekday)
            .collect::<Result<_, _>>()?;
        let index = match word(pattern, "index") {
            "" => 0,
            word => INDEXES.iter().position(|known| *known == word).ok_or_else(|| wrong("index"))?,
        };
        let week_start = match word(pattern, "firstDayOfWeek") {
            "" => Weekday::Sun,
            word => weekday(word)?,
        };
        let zone = self::zone(value)?.unwrap_or_else(|| zone.clone());
        let mut read = Self {
            step,
            interval: u32::try_from(interval.ok_or_else(|| wrong("interval"))?).unwrap_or(1),
            month: u32::try_from(number(pattern, "month").unwrap_or(0)).unwrap_or(99),
            day_of_month: u32::try_from(number(pattern, "dayOfMonth").unwrap_or(0)).unwrap_or(99),
            days,
            week_start,
            index,
            range: read_range(range)?,
            first: start,
            zone,
        };
        read.check()?;
        let stated: NaiveDate = word(range, "startDate").parse().map_err(|_| wrong("startDate"))?;
        if stated != start {
            return Err(ApiError::recurrence("The startDate of the range is not the day of the start."));
        }
        // A start that the pattern does not meet moves to the first day that it does.
        read.first = read
            .days(None, start.checked_add_days(Days::new(4_000)).unwrap_or(start))
            .first()
            .copied()
            .ok_or_else(|| wrong("first occurrence"))?;
        Ok(read)
    }

    /// The same recurrence from another first day on.
    pub(crate) fn from(&self, day: NaiveDate) -> Result<Self, ApiError> {
        if day == self.first {
            return Ok(self.clone());
        }
        let mut value = self.value();
        if let Some(range) = value.get_mut("range") {
            super::set(range, "startDate", Value::String(day.to_string()));
        }
        Self::read(&value, day, &self.zone)
    }

    /// Each type wants its own properties, and no others.
    fn check(&self) -> Result<(), ApiError> {
        let wants = |is_there: bool, is_wanted: bool, name: &str| match (is_there, is_wanted) {
            (false, true) => Err(ApiError::recurrence(&format!("The pattern requires {name}."))),
            (true, false) => Err(ApiError::recurrence(&format!("The pattern does not allow {name}."))),
            _ => Ok(()),
        };
        let step = self.step;
        let is_relative = matches!(step, Step::RelativeMonthly | Step::RelativeYearly);
        let is_yearly = matches!(step, Step::AbsoluteYearly | Step::RelativeYearly);
        wants(!self.days.is_empty(), is_relative || step == Step::Weekly, "daysOfWeek")?;
        let is_absolute = matches!(step, Step::AbsoluteMonthly | Step::AbsoluteYearly);
        wants(self.day_of_month != 0, is_absolute, "dayOfMonth")?;
        wants(self.month != 0, is_yearly, "month")?;
        if self.day_of_month > 31 || self.month > 12 {
            return Err(ApiError::recurrence("The month or the day of the month is out of range."));
        }
        Ok(())
    }

    /// The days of the pattern between two days, both inclusive.
    pub(crate) fn days(&self, from: Option<NaiveDate>, until: NaiveDate) -> Vec<NaiveDate> {
        let (until, most) = match self.range {
            Range::NoEnd => (until, MOST_DAYS),
            Range::EndDate(last) => (until.min(last), MOST_DAYS),
            Range::Numbered(count) => (until, count),
        };
        let mut found = Vec::new();
        let mut counted = 0;
        let mut period = 0;
        while let Some((start, days)) = self.period(period) {
            if start > until {
                break;
            }
            for day in days {
                if day < self.first || counted >= most {
                    continue;
                }
                counted += 1;
                if day <= until && from.is_none_or(|from| day >= from) {
                    found.push(day);
                }
            }
            if counted >= most {
                break;
            }
            period += 1;
        }
        found
    }

    /// The first day of a period, and the days of the pattern in it.
    fn period(&self, number: u32) -> Option<(NaiveDate, Vec<NaiveDate>)> {
        let steps = number.checked_mul(self.interval)?;
        match self.step {
            Step::Daily => {
                let day = self.first.checked_add_days(Days::new(u64::from(steps)))?;
                Some((day, vec![day]))
            }
            Step::Weekly => {
                let back = self.first.weekday().days_since(self.week_start);
                let week = self.first.checked_sub_days(Days::new(u64::from(back)))?;
                let week = week.checked_add_days(Days::new(7 * u64::from(steps)))?;
                let within = |offset: u64| week.checked_add_days(Days::new(offset));
                let days = (0..7).filter_map(within).filter(|day| self.days.contains(&day.weekday()));
                Some((week, days.collect()))
            }
            Step::AbsoluteMonthly | Step::RelativeMonthly => {
                let month = self.first.with_day(1)?.checked_add_months(Months::new(steps))?;
                Some((month, self.in_month(month).into_iter().collect()))
            }
            Step::AbsoluteYearly | Step::RelativeYearly => {
                let year = self.first.year().checked_add(i32::try_from(steps).ok()?)?;
                let month = NaiveDate::from_ymd_opt(year, self.month, 1)?;
                Some((month, self.in_month(month).into_iter().collect()))
            }
        }
    }

    /// The day of the pattern in a month; a day that a short month lacks is its last.
    fn in_month(&self, month: NaiveDate) -> Option<NaiveDate> {
        let last = month.checked_add_months(Months::new(1))?.pred_opt()?;
        if matches!(self.step, Step::AbsoluteMonthly | Step::AbsoluteYearly) {
            return month.with_day(self.day_of_month.min(last.day()));
        }
        let days: Vec<NaiveDate> = month
            .iter_days()
            .take_while(|day| *day <= last)
            .filter(|day| self.days.contains(&day.weekday()))
            .collect();
        if self.index == 4 { days.last().copied() } else { days.get(self.index).copied() }
    }

    /// As the API writes it; every property is there, also those of other types.
    pub(crate) fn value(&self) -> Value {
        let step = STEPS.iter().find(|(_, step)| *step == self.step).map_or("daily", |(name, _)| name);
        let (kind, end, count) = match self.range {
            Range::NoEnd => ("noEnd", "0001-01-01".to_owned(), 0),
            Range::EndDate(last) => ("endDate", last.to_string(), 0),
            Range::Numbered(count) => ("numbered", "0001-01-01".to_owned(), count),
        };
        let mut pattern = json!({
            "type": step,
            "interval": self.interval,
            "month": self.month,
            "dayOfMonth": self.day_of_month,
            "firstDayOfWeek": weekday_word(self.week_start),
            "index": INDEXES.get(self.index).copied().unwrap_or("first"),
        });
        if !self.days.is_empty() {
            let days: Vec<&str> = self.days.iter().map(|day| weekday_word(*day)).collect();
            super::set(&mut pattern, "daysOfWeek", json!(days));
        }
        json!({
            "pattern": pattern,
            "range": {
                "type": kind,
                "startDate": self.first.to_string(),
                "endDate": end,
                "recurrenceTimeZone": zones::kept_name(&self.zone.name),
                "numberOfOccurrences": count,
            },
        })
    }
}

/// The zone that a recurrence names.
pub(crate) fn zone(recurrence: &Value) -> Result<Option<Zone>, ApiError> {
    let name = recurrence.get("range").and_then(|range| range.get("recurrenceTimeZone"));
    match name.and_then(Value::as_str) {
        None | Some("") => Ok(None),
        Some(name) => Zone::read(name).map(Some).ok_or_else(|| ApiError::zone(name)),
    }
}

fn read_range(range: &Map<String, Value>) -> Result<Range, ApiError> {
    let wrong = |what: &str| ApiError::recurrence(&format!("The range has no valid {what}."));
    match word(range, "type") {
        "noEnd" => Ok(Range::NoEnd),
        "endDate" => Ok(Range::EndDate(word(range, "endDate").parse().map_err(|_| wrong("endDate"))?)),
        "numbered" => {
            let count = number(range, "numberOfOccurrences");
            let count = count.filter(|count| (1..=MOST_NUMBERED).contains(count));
            let count = count.and_then(|count| usize::try_from(count).ok());
            Ok(Range::Numbered(count.ok_or_else(|| wrong("numberOfOccurrences"))?))
        }
        _ => Err(wrong("type")),
    }
}

fn word<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A whole number, which some clients send as a float.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that is no whole positive number is out of every range it is held against"
)]
fn number(object: &Map<String, Value>, name: &str) -> Option<u64> {
    let value = object.get(name)?;
    value.as_u64().or_else(|| value.as_f64().map(|float| float as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(pattern: &Value, range: &Value, start: &str, until: &str) -> Vec<String> {
        let mut range = range.clone();
        super::super::set(&mut range, "startDate", json!(start));
        let value = json!({ "pattern": pattern, "range": range });
        let read = Pattern::read(&value, start.parse().unwrap(), &Zone::utc()).unwrap();
        read.days(None, until.parse().unwrap()).iter().map(|day| day.format("%m-%d").to_string()).collect()
    }

    #[test]
    fn weeks_count_from_the_first_day_of_the_week() {
        let pattern = |first: &str| json!({ "type": "weekly", "interval": 2, "daysOfWeek": ["sunday", "tuesday"], "firstDayOfWeek": first });
        let range = json!({ "type": "numbered", "numberOfOccurrences": 4 });

        // The example of RFC 5545 §3.3.10 for WKST.
        let monday = days(&pattern("monday"), &range, "1997-08-05", "1998-01-01");
        let sunday = days(&pattern("sunday"), &range, "1997-08-05", "1998-01-01");

        assert_eq!(monday, ["08-05", "08-10", "08-19", "08-24"]);
        assert_eq!(sunday, ["08-05", "08-17", "08-19", "08-31"]);
    }

    #[test]
    fn a_day_that_a_month_lacks_is_its_last() {
        let pattern = json!({ "type": "absoluteMonthly", "interval": 1, "dayOfMonth": 31 });
        let range = json!({ "type": "endDate", "endDate": "2026-04-30" });

        assert_eq!(days(&pattern, &range, "2026-01-31", "2027-01-01"), ["01-31", "02-28", "03-31", "04-30"]);
    }

    #[test]
    fn relative_months_take_the_day_of_a_set_and_the_last() {
        let workday = ["monday", "tuesday", "wednesday", "thursday", "friday"];
        let pattern =
            json!({ "type": "relativeMonthly", "interval": 1, "daysOfWeek": workday, "index": "last" });
        let range = json!({ "type": "noEnd" });

        assert_eq!(days(&pattern, &range, "2026-01-30", "2026-04-30"), ["01-30", "02-27", "03-31", "04-30"]);
    }

    #[test]
    fn a_start_off_the_pattern_moves_to_the_first_day_that_meets_it() {
        let pattern = json!({ "type": "relativeYearly", "interval": 1, "month": 11, "daysOfWeek": ["thursday"], "index": "fourth" });
        let range = json!({ "type": "numbered", "numberOfOccurrences": 2 });

        assert_eq!(days(&pattern, &range, "2026-01-01", "2030-01-01"), ["11-26", "11-25"]);
    }

    #[test]
    fn a_property_of_another_type_is_refused() {
        let value = json!({
            "pattern": { "type": "daily", "interval": 1, "dayOfMonth": 5 },
            "range": { "type": "noEnd", "startDate": "2026-01-05" },
        });

        assert!(Pattern::read(&value, "2026-01-05".parse().unwrap(), &Zone::utc()).is_err());
    }
}
