//! When in its period a series takes place.

use calfleet_domain::recurrence::Recurrence as Rule;
use calfleet_domain::recurrence::rule::Frequency;
use chrono::{Datelike, NaiveDate, Weekday};

use super::{NoPattern, WEEKDAYS, weekday, weekday_name};
use crate::graph::wire::Pattern;

const INDICES: [(i16, &str); 5] = [(1, "first"), (2, "second"), (3, "third"), (4, "fourth"), (-1, "last")];

/// Days of the week of which "the first" means the same to everybody; of other sets it does not.
const WORKDAYS: [Weekday; 5] = [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri];
const WEEKEND: [Weekday; 2] = [Weekday::Sat, Weekday::Sun];

/// The shortest a month ever is, and the longest.
fn length_of(month: u8) -> (i8, i8) {
    match month {
        2 => (28, 29),
        4 | 6 | 9 | 11 => (30, 30),
        _ => (31, 31),
    }
}

/// The rule of a pattern, without its end; `None` for one that says nothing known.
pub(super) fn read(pattern: &Pattern, start: NaiveDate) -> Option<Rule> {
    let kind = pattern.kind.as_deref()?.to_ascii_lowercase();
    let frequency = match kind.as_str() {
        "daily" => Frequency::Daily,
        "weekly" => Frequency::Weekly,
        "absolutemonthly" | "relativemonthly" => Frequency::Monthly,
        "absoluteyearly" | "relativeyearly" => Frequency::Yearly,
        _ => return None,
    };
    let mut rule = Rule::every(frequency);
    rule.interval = u32::try_from(pattern.interval.unwrap_or(1)).ok()?.max(1);
    if frequency == Frequency::Yearly {
        rule.by_month = vec![month(pattern)?];
    }
    match kind.as_str() {
        "daily" => {}
        "weekly" => {
            let days = days(pattern)?;
            let days = if days.is_empty() { vec![start.weekday()] } else { days };
            rule.by_day = days.into_iter().map(|day| (0, day)).collect();
            let first = pattern.first_day_of_week.as_deref().map_or(Some(Weekday::Sun), weekday)?;
            // Where a week begins means something only when some are left out.
            if rule.interval > 1 {
                rule.week_start = first;
            }
        }
        "absolutemonthly" => set_day(&mut rule, pattern, (28, 31))?,
        "absoluteyearly" => set_day(&mut rule, pattern, length_of(month(pattern)?))?,
        _ => set_index(&mut rule, pattern)?,
    }
    Some(rule)
}

fn month(pattern: &Pattern) -> Option<u8> {
    u8::try_from(pattern.month?).ok().filter(|month| (1..=12).contains(month))
}

/// In the order of the week from Monday, each once.
fn days(pattern: &Pattern) -> Option<Vec<Weekday>> {
    let mut days = pattern.days_of_week.iter().map(|name| weekday(name)).collect::<Option<Vec<_>>>()?;
    days.sort_unstable_by_key(Weekday::num_days_from_monday);
    days.dedup();
    Some(days)
}

/// The day of a month that has `shortest` to `longest` days, or the last one that there is.
fn set_day(rule: &mut Rule, pattern: &Pattern, (shortest, longest): (i8, i8)) -> Option<()> {
    let day = i8::try_from(pattern.day_of_month?).ok().filter(|day| (1..=31).contains(day))?.min(longest);
    if day <= shortest {
        rule.by_month_day = vec![day];
    } else if day == 31 {
        rule.by_month_day = vec![-1];
    } else {
        rule.by_month_day = (shortest..=day).collect();
        rule.by_position = vec![-1];
    }
    Some(())
}

/// The first, second, … of certain days of the week.
fn set_index(rule: &mut Rule, pattern: &Pattern) -> Option<()> {
    let name = pattern.index.as_deref().unwrap_or("first");
    let (index, _) = INDICES.iter().find(|(_, known)| name.eq_ignore_ascii_case(known))?;
    let days = days(pattern)?;
    match days.as_slice() {
        [] => return None,
        [day] => rule.by_day = vec![(i8::try_from(*index).ok()?, *day)],
        days if days.len() == WEEKDAYS.len() => rule.by_month_day = vec![i8::try_from(*index).ok()?],
        days => {
            rule.by_day = days.iter().map(|day| (0, *day)).collect();
            rule.by_position = vec![*index];
        }
    }
    Some(())
}

/// The pattern of a rule whose series starts on `start`.
pub(super) fn write(rule: &Rule, start: NaiveDate) -> Result<Pattern, NoPattern> {
    let has_times = !(rule.by_hour.is_empty() && rule.by_minute.is_empty() && rule.by_second.is_empty());
    if has_times || !rule.by_week_number.is_empty() || !rule.by_year_day.is_empty() {
        return Err(NoPattern::Kind);
    }
    let is_by_day_only =
        rule.by_month.is_empty() && rule.by_month_day.is_empty() && rule.by_position.is_empty();
    let mut pattern = match rule.frequency {
        Frequency::Daily if is_by_day_only && rule.by_day.is_empty() => of_kind("daily"),
        Frequency::Daily if is_by_day_only && rule.interval == 1 => weekly(rule, start)?,
        Frequency::Weekly if is_by_day_only => weekly(rule, start)?,
        Frequency::Monthly if rule.by_month.is_empty() => {
            in_month(rule, start, (28, 31), ["absoluteMonthly", "relativeMonthly"])?
        }
        Frequency::Yearly => yearly(rule, start)?,
        _ => return Err(NoPattern::Kind),
    };
    pattern.interval = Some(i64::from(rule.interval));
    Ok(pattern)
}

fn of_kind(kind: &str) -> Pattern {
    Pattern { kind: Some(kind.to_owned()), ..Pattern::default() }
}

fn weekly(rule: &Rule, start: NaiveDate) -> Result<Pattern, NoPattern> {
    let plain = |(ordinal, day): &(i8, Weekday)| (*ordinal == 0).then(|| weekday_name(*day));
    let mut days = rule.by_day.iter().map(plain).collect::<Option<Vec<_>>>().ok_or(NoPattern::Kind)?;
    if days.is_empty() {
        days.push(weekday_name(start.weekday()));
    }
    let first_day_of_week = Some(weekday_name(rule.week_start));
    Ok(Pattern { days_of_week: days, first_day_of_week, ..of_kind("weekly") })
}

fn yearly(rule: &Rule, start: NaiveDate) -> Result<Pattern, NoPattern> {
    let month = match rule.by_month.as_slice() {
        [month] => *month,
        // Days of the week, or of every month, and no month: that is no yearly pattern.
        [] if rule.by_day.is_empty() && rule.by_month_day.is_empty() => {
            u8::try_from(start.month()).map_err(|_| NoPattern::Kind)?
        }
        _ => return Err(NoPattern::Kind),
    };
    let mut pattern = in_month(rule, start, length_of(month), ["absoluteYearly", "relativeYearly"])?;
    pattern.month = Some(i64::from(month));
    Ok(pattern)
}

/// What a rule says about a month that has `shortest` to `longest` days.
fn in_month(
    rule: &Rule,
    start: NaiveDate,
    (shortest, longest): (i8, i8),
    [absolute, relative]: [&str; 2],
) -> Result<Pattern, NoPattern> {
    let on_day = |day: i8| Pattern { day_of_month: Some(i64::from(day)), ..of_kind(absolute) };
    let indexed = |index: i16, days: &[Weekday]| {
        let name = INDICES.iter().find(|(known, _)| *known == index).ok_or(NoPattern::Kind)?.1;
        let days_of_week = days.iter().map(|day| weekday_name(*day)).collect();
        Ok(Pattern { index: Some(name.to_owned()), days_of_week, ..of_kind(relative) })
    };
    let every_day = WEEKDAYS.map(|(day, _)| day);
    match (rule.by_month_day.as_slice(), rule.by_day.as_slice(), rule.by_position.as_slice()) {
        ([], [], []) => {
            let day = i8::try_from(start.day()).map_err(|_| NoPattern::Kind)?;
            if day > shortest { Err(NoPattern::ShortMonths) } else { Ok(on_day(day)) }
        }
        ([-1], [], []) => indexed(-1, &every_day),
        ([day], [], []) if *day > shortest => Err(NoPattern::ShortMonths),
        ([day], [], []) if *day > 0 => Ok(on_day(*day)),
        ([first, .., last], [], [-1])
            if *first == shortest
                && *last <= longest
                && rule.by_month_day.len() == usize::from(last.abs_diff(*first)) + 1 =>
        {
            Ok(on_day(*last))
        }
        ([], [(ordinal, day)], []) if *ordinal != 0 => indexed(i16::from(*ordinal), &[*day]),
        ([], days, [position]) if days.iter().all(|(ordinal, _)| *ordinal == 0) => {
            let days: Vec<Weekday> = days.iter().map(|(_, day)| *day).collect();
            let is_clear = days.len() == 1 || days == WORKDAYS || days == WEEKEND || days == every_day;
            if is_clear { indexed(*position, &days) } else { Err(NoPattern::Kind) }
        }
        _ => Err(NoPattern::Kind),
    }
}

/// Whether a series with this pattern may begin on `date`.
pub(super) fn is_on(pattern: &Pattern, date: NaiveDate) -> bool {
    let is_in_month = pattern.month.is_none_or(|month| month == i64::from(date.month()));
    let days_in_month = i64::from(date.num_days_in_month());
    let is_that_day = pattern.day_of_month.is_none_or(|day| i64::from(date.day()) == day.min(days_in_month));
    let Some(days) = days(pattern).filter(|days| !days.is_empty()) else {
        return is_in_month && is_that_day;
    };
    let is_that_weekday = days.contains(&date.weekday());
    let Some(index) = pattern.index.as_deref() else { return is_in_month && is_that_weekday };
    let is_wanted = |day: &u32| date.with_day(*day).is_some_and(|day| days.contains(&day.weekday()));
    let before = (1..date.day()).filter(is_wanted).count();
    let after = (date.day() + 1..=u32::from(date.num_days_in_month())).filter(is_wanted).count();
    let is_that_index = match index {
        "last" => after == 0,
        name => INDICES.iter().any(|(known, wanted)| {
            *wanted == name && usize::try_from(known - 1).is_ok_and(|known| known == before)
        }),
    };
    is_in_month && is_that_weekday && is_that_index
}
