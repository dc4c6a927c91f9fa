//! What a rule says of a series that starts then, spelled in one way: what the start implies is written out (RFC 5545
//! §3.3.10), and an end is the last day on which an instance may start. Providers write the one or the other.

use chrono::{Datelike, TimeDelta, Weekday};
use chrono_tz::Tz;

use super::rule::{self, Frequency, Recurrence, Until};
use super::zone::ZoneClock;
use crate::model::{Rule, When};

/// The rule in that spelling; as it is, where it cannot be read.
pub(crate) fn meaning(rule: &Rule, start: &When) -> String {
    let Ok(mut read) = rule::counted(&rule.0, start) else { return rule.0.clone() };
    let has_times = !(read.by_hour.is_empty() && read.by_minute.is_empty() && read.by_second.is_empty());
    if read.frequency < Frequency::Daily || has_times {
        return rule.0.clone();
    }
    imply(&mut read, start);
    if read.interval == 1 && read.by_week_number.is_empty() && read.by_position.is_empty() {
        // Where a week begins matters to every second week, and to whoever counts weeks or within them.
        read.week_start = Weekday::Mon;
    }
    read.until = read.until.map(|until| last_day(until, start));
    read.to_string()
}

fn imply(rule: &mut Recurrence, start: &When) {
    let day = start.wall().date();
    let is_bare = rule.by_month.is_empty() && rule.is_plain();
    match rule.frequency {
        Frequency::Weekly if rule.by_day.is_empty() => rule.by_day = vec![(0, day.weekday())],
        Frequency::Monthly if is_bare => rule.by_month_day = i8::try_from(day.day()).into_iter().collect(),
        Frequency::Yearly if is_bare => {
            rule.by_month = u8::try_from(day.month()).into_iter().collect();
            rule.by_month_day = i8::try_from(day.day()).into_iter().collect();
        }
        _ => {}
    }
}

/// On the clock of the series. Nothing that starts later in the day than the end does takes place on it.
fn last_day(until: Until, start: &When) -> Until {
    let last = match until {
        Until::Date(_) => return until,
        Until::Wall(wall) => wall,
        Until::Utc(instant) => ZoneClock::of(start, Tz::UTC).wall(instant),
    };
    let is_whole = start.is_date() || last.time() >= start.wall().time();
    let day = if is_whole { Some(last.date()) } else { last.date().checked_sub_signed(TimeDelta::days(1)) };
    day.map_or(until, Until::Date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Zone;

    #[test]
    fn two_spellings_of_one_rule_mean_the_same() {
        let wall = "2026-03-16T10:00:00".parse().unwrap();
        let start = When::Zoned { wall, zone: Zone::Iana(Tz::Europe__Paris) };
        let of = |rule: &str| meaning(&Rule(rule.to_owned()), &start);

        for (one, other) in [
            ("FREQ=WEEKLY", "FREQ=WEEKLY;BYDAY=MO;WKST=SU"),
            ("FREQ=MONTHLY;COUNT=3", "FREQ=MONTHLY;BYMONTHDAY=16;COUNT=3"),
            ("FREQ=YEARLY", "FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=16"),
            ("FREQ=DAILY;UNTIL=20260401T080000Z", "FREQ=DAILY;UNTIL=20260401T215959Z"),
            ("FREQ=DAILY;UNTIL=20260401T075959Z", "FREQ=DAILY;UNTIL=20260331"),
        ] {
            assert_eq!(of(one), of(other), "{one}");
        }
        for (one, other) in [
            ("FREQ=WEEKLY", "FREQ=WEEKLY;BYDAY=TU"),
            ("FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,MO", "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,MO;WKST=SU"),
            ("FREQ=WEEKLY;BYDAY=SU,MO;BYSETPOS=1", "FREQ=WEEKLY;BYDAY=SU,MO;BYSETPOS=1;WKST=SU"),
            ("FREQ=MONTHLY", "FREQ=MONTHLY;BYDAY=3MO"),
            ("FREQ=HOURLY;UNTIL=20260401T080000Z", "FREQ=HOURLY;UNTIL=20260401T090000Z"),
            ("nonsense", "FREQ=DAILY"),
        ] {
            assert_ne!(of(one), of(other), "{one}");
        }
    }
}
