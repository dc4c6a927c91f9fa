//! A zone of the IANA database as observances, for writers of `VTIMEZONE` (RFC 5545 §3.6.5).
//!
//! The transitions of the years in question are looked up in the zone data. Where the last decades follow one
//! rule it is written as such, for ever; what came before it, and zones that follow no rule, are listed singly.

use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, Offset, TimeZone, Utc, Weekday};
use chrono_tz::Tz;

use crate::model::{CustomZone, Observance, Rule};

/// Years after the later of the first year asked for and 2026 that are looked at. In 28 years every date falls on
/// every day of the week, so a rule found over them is the rule.
const AHEAD_YEARS: i32 = 28;

/// Transitions are looked for in steps of a week; none are closer.
const STEP_DAYS: i64 = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Transition {
    /// On the wall clock before the change.
    onset: NaiveDateTime,
    before: i32,
    after: i32,
}

/// The observances of `zone` from the year `from` on.
#[must_use]
pub fn describe(zone: Tz, from: i32) -> CustomZone {
    let until = from.max(2026) + AHEAD_YEARS;
    let edge = |year| {
        NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or_default().and_time(chrono::NaiveTime::MIN).and_utc()
    };
    let (begin, end) = (edge(from - 1), edge(until));
    let transitions = transitions(zone, begin, end);
    let mut observances = Vec::new();
    // what is in effect before the first transition
    let first = offset(zone, begin);
    observances.push(Observance {
        onset: edge(1970).min(begin).naive_utc(),
        rule: None,
        onsets: Vec::new(),
        offset_before_seconds: first,
        offset_after_seconds: first,
    });
    let (listed, ruled) = split_regime(&transitions, until);
    for transition in listed {
        let known = observances.iter_mut().skip(1).find(|observance| {
            (observance.offset_before_seconds, observance.offset_after_seconds)
                == (transition.before, transition.after)
        });
        match known {
            Some(observance) => observance.onsets.push(transition.onset),
            None => observances.push(observance(transition, None)),
        }
    }
    observances.extend(ruled.into_iter().map(|(transition, rule)| observance(&transition, Some(rule))));
    observances.sort_by_key(|observance| observance.onset);
    CustomZone { tzid: zone.name().to_owned(), observances }
}

fn observance(transition: &Transition, rule: Option<Rule>) -> Observance {
    Observance {
        onset: transition.onset,
        rule,
        onsets: Vec::new(),
        offset_before_seconds: transition.before,
        offset_after_seconds: transition.after,
    }
}

fn offset(zone: Tz, at: DateTime<Utc>) -> i32 {
    zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()
}

fn transitions(zone: Tz, begin: DateTime<Utc>, end: DateTime<Utc>) -> Vec<Transition> {
    let mut found = Vec::new();
    let (mut at, mut before) = (begin, offset(zone, begin));
    while at < end {
        let next = at + Duration::days(STEP_DAYS);
        let after = offset(zone, next);
        if after != before {
            let (mut low, mut high) = (at, next);
            while high - low > Duration::seconds(1) {
                let middle = low + (high - low) / 2;
                let middle = DateTime::from_timestamp(middle.timestamp(), 0).unwrap_or(middle);
                if offset(zone, middle) == before { low = middle } else { high = middle }
            }
            let onset = high.naive_utc() + Duration::seconds(i64::from(before));
            found.push(Transition { onset, before, after });
            before = after;
        }
        at = next;
    }
    found
}

/// Parts the transitions into those to be listed and, where the last years follow a rule, the first of each kind
/// under the rule.
fn split_regime(transitions: &[Transition], until: i32) -> (&[Transition], Vec<(Transition, Rule)>) {
    let is_current = transitions.last().is_some_and(|last| last.onset.year() >= until - 1);
    let kinds: Vec<Transition> = transitions.iter().rev().take(2).copied().collect();
    let [spring, autumn] = kinds.as_slice() else { return (transitions, Vec::new()) };
    if !is_current || spring.onset.month() == autumn.onset.month() {
        return (transitions, Vec::new());
    }
    let kind_of = |transition: &Transition| {
        kinds.iter().position(|kind| {
            (kind.before, kind.after, kind.onset.month(), kind.onset.time(), kind.onset.weekday())
                == (
                    transition.before,
                    transition.after,
                    transition.onset.month(),
                    transition.onset.time(),
                    transition.onset.weekday(),
                )
        })
    };
    // the tail in which both kinds alternate without a gap
    let mut first = transitions.len();
    for (index, transition) in transitions.iter().enumerate().rev() {
        let (kind, next) = (kind_of(transition), transitions.get(index + 1));
        let is_next = next.is_none_or(|next| {
            kind_of(next) != kind && (next.onset - transition.onset) < Duration::days(330)
        });
        if kind.is_none() || !is_next {
            break;
        }
        first = index;
    }
    loop {
        let Some((listed, tail)) = transitions.split_at_checked(first) else {
            return (transitions, Vec::new());
        };
        if tail.len() < 8 {
            return (transitions, Vec::new());
        }
        let rules: Vec<Option<(Transition, Rule)>> = (0..2)
            .map(|kind| {
                let of_kind: Vec<Transition> =
                    tail.iter().filter(|t| kind_of(t) == Some(kind)).copied().collect();
                rule_of(&of_kind).and_then(|rule| of_kind.first().map(|first| (*first, rule)))
            })
            .collect();
        if let [Some(one), Some(other)] = rules.as_slice() {
            return (listed, vec![one.clone(), other.clone()]);
        }
        // an older rule with the same month and day of the week reaches into the tail
        first += 1;
    }
}

/// The rule that all of these follow.
fn rule_of(transitions: &[Transition]) -> Option<Rule> {
    let first = transitions.first()?;
    let (month, day) = (first.onset.month(), name(first.onset.weekday()));
    let days = || {
        transitions.iter().map(|transition| (transition.onset.day(), days_in_month(transition.onset.date())))
    };
    let nth = |day: u32| (day - 1) / 7 + 1;
    if days().all(|(day, length)| day + 7 > length) {
        return Some(Rule(format!("FREQ=YEARLY;BYMONTH={month};BYDAY=-1{day}")));
    }
    let week = nth(first.onset.day());
    if days().all(|(day, _)| nth(day) == week) {
        return Some(Rule(format!("FREQ=YEARLY;BYMONTH={month};BYDAY={week}{day}")));
    }
    let (low, high) = (days().map(|(day, _)| day).min()?, days().map(|(day, _)| day).max()?);
    (high - low == 6).then(|| {
        let days: Vec<String> = (low..=high).map(|day| day.to_string()).collect();
        Rule(format!("FREQ=YEARLY;BYMONTH={month};BYMONTHDAY={};BYDAY={day}", days.join(",")))
    })
}

fn name(day: Weekday) -> &'static str {
    super::rule::weekday_name(day)
}

fn days_in_month(date: NaiveDate) -> u32 {
    (28..=31).rev().find(|day| date.with_day(*day).is_some()).unwrap_or(28)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_rule_is_written_for_ever_and_what_came_before_is_listed() {
        let paris = describe(Tz::Europe__Paris, 2020);
        let rules: Vec<&str> =
            paris.observances.iter().filter_map(|o| o.rule.as_ref().map(|r| r.0.as_str())).collect();
        assert_eq!(rules, ["FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU", "FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU"]);

        let new_york = describe(Tz::America__New_York, 2000);
        assert!(new_york.observances.iter().any(|o| o.rule.is_none() && !o.onsets.is_empty()));

        assert_eq!(describe(Tz::Etc__UTC, 2020).observances.len(), 1);
    }
}
