//! How long a series goes on.

use calfleet_domain::model::When;
use calfleet_domain::recurrence::Recurrence as Rule;
use calfleet_domain::recurrence::rule::Until;
use calfleet_domain::recurrence::zone::ZoneClock;
use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;

use super::NoPattern;
use crate::graph::wire::Range;

/// Puts the end into `rule`; `None` for one that says nothing known.
pub(super) fn read(range: &Range, rule: &mut Rule) -> Option<()> {
    match range.kind.as_deref()?.to_ascii_lowercase().as_str() {
        "noend" => {}
        "numbered" => {
            let count = u64::try_from(range.number_of_occurrences?).ok()?;
            rule.count = Some(count).filter(|count| *count > 0);
            rule.count?;
        }
        "enddate" => {
            let last = NaiveDate::parse_from_str(range.end_date.as_deref()?, "%Y-%m-%d").ok()?;
            rule.until = Some(Until::Date(last));
        }
        _ => return None,
    }
    Some(())
}

/// The range of a rule whose series starts at `start`.
pub(super) fn write(rule: &Rule, start: &When) -> Result<Range, NoPattern> {
    let day = |date: NaiveDate| Some(date.format("%Y-%m-%d").to_string());
    let range = Range { start_date: day(start.wall().date()), ..Range::default() };
    let of_kind = |kind: &str| Some(kind.to_owned());
    match (rule.count, rule.until) {
        (None, None) => Ok(Range { kind: of_kind("noEnd"), ..range }),
        (Some(count), None) => {
            let count = i64::try_from(count).map_err(|_| NoPattern::Kind)?;
            Ok(Range { kind: of_kind("numbered"), number_of_occurrences: Some(count), ..range })
        }
        (None, Some(until)) => {
            let last = last_day(until, start).ok_or(NoPattern::Kind)?;
            Ok(Range { kind: of_kind("endDate"), end_date: day(last), ..range })
        }
        (Some(_), Some(_)) => Err(NoPattern::Kind),
    }
}

/// The last day on which an instance may start, on the clock of the series.
fn last_day(until: Until, start: &When) -> Option<NaiveDate> {
    let until: NaiveDateTime = match until {
        Until::Date(date) => return Some(date),
        Until::Wall(wall) => wall,
        Until::Utc(instant) => ZoneClock::of(start, Tz::UTC).wall(instant),
    };
    // Nothing that starts later in the day than the end does takes place on it.
    let is_whole = until.time() >= start.wall().time();
    if is_whole { Some(until.date()) } else { until.date().checked_sub_signed(TimeDelta::days(1)) }
}
