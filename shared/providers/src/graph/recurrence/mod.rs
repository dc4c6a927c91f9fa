//! Graph's recurrences ↔ rules (`recurrencePattern`, `recurrenceRange`; RFC 5545 §3.3.10).
//!
//! Graph knows six patterns; a rule says more. What a pattern says has one rule, and that rule leads back to it:
//! [`rule`] and [`recurrence`] are inverse to each other wherever both are defined. Three meanings differ:
//!
//! - A day that a month does not have: Outlook takes the last day, RFC 5545 skips the month. So the 30th of every
//!   month is "the last of the days 28 to 30", and `BYMONTHDAY=30` is nothing that Graph could say.
//! - Where a week begins matters to every second week only, and the defaults differ (Sunday, Monday).
//! - A series begins where its rule does: a start that the rule does not match would be moved.

mod pattern;
mod range;

use calfleet_domain::model::When;
use calfleet_domain::recurrence::Recurrence as Rule;
use chrono::Weekday;

use super::wire;

/// Why Graph's recurrence cannot be read; in words for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it recurs in a way that is not known here")]
pub(super) struct UnknownPattern;

/// Why a rule cannot be written; completes "this provider cannot …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPattern {
    #[error("repeat an event by a rule of this kind")]
    Kind,
    #[error("leave out months that are too short (it takes their last day)")]
    ShortMonths,
    #[error("begin a series on a day that its rule does not have")]
    Start,
}

/// The rule that a recurrence of a series starting at `start` means.
pub(super) fn rule(recurrence: &wire::Recurrence, start: &When) -> Result<Rule, UnknownPattern> {
    let mut rule = pattern::read(&recurrence.pattern, start.wall().date()).ok_or(UnknownPattern)?;
    range::read(&recurrence.range, &mut rule).ok_or(UnknownPattern)?;
    Ok(rule)
}

/// The recurrence that says what a rule of a series starting at `start` does. Its zone is left to the event's.
pub(super) fn recurrence(rule: &Rule, start: &When) -> Result<wire::Recurrence, NoPattern> {
    let day = start.wall().date();
    let pattern = pattern::write(rule, day)?;
    if !pattern::is_on(&pattern, day) {
        return Err(NoPattern::Start);
    }
    Ok(wire::Recurrence { pattern, range: range::write(rule, start)? })
}

const WEEKDAYS: [(Weekday, &str); 7] = [
    (Weekday::Mon, "monday"),
    (Weekday::Tue, "tuesday"),
    (Weekday::Wed, "wednesday"),
    (Weekday::Thu, "thursday"),
    (Weekday::Fri, "friday"),
    (Weekday::Sat, "saturday"),
    (Weekday::Sun, "sunday"),
];

fn weekday(name: &str) -> Option<Weekday> {
    WEEKDAYS.iter().find(|(_, known)| name.eq_ignore_ascii_case(known)).map(|(day, _)| *day)
}

fn weekday_name(day: Weekday) -> String {
    WEEKDAYS.iter().find(|(known, _)| *known == day).map_or("", |(_, name)| name).to_owned()
}

#[cfg(test)]
mod tests;
