//! Points in time, lengths and recurrence ids in canonical form.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::canonical::{END_OF_TEXT, write_number, write_text};
use crate::model::{End, Master, RecurrenceId, When, Zone};
use crate::recurrence::windows_zones::preferred;
use crate::recurrence::zone;

/// Whether a length belongs to one point in time or to every instance of a rule, where a change of the clocks tells
/// nominal from exact lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recurs {
    No,
    Yes,
}

impl Recurs {
    /// Whether a master's length belongs to instances of a rule.
    pub(super) fn of(master: &Master) -> Self {
        if master.rules.is_empty() && master.additions.is_empty() { Self::No } else { Self::Yes }
    }
}

/// Start and length; the same for an end and a duration that mean the same.
pub(super) fn write_when(start: &When, end: &End, recurs: Recurs, sink: &mut Vec<u8>) {
    write_point(start, sink);
    match extent(start, end, recurs) {
        Extent::Days(days) => {
            sink.extend_from_slice(b"d");
            write_number(days, sink);
        }
        Extent::Seconds(seconds) => {
            sink.extend_from_slice(b"s");
            write_number(seconds, sink);
        }
        Extent::Nominal { days, seconds } => {
            sink.extend_from_slice(b"n");
            write_number(days, sink);
            write_number(seconds, sink);
        }
        Extent::Apart(end) => {
            sink.extend_from_slice(b"a");
            write_point(end, sink);
        }
    }
}

/// How long something lasts, as far as that can be said without its place in time.
enum Extent<'a> {
    /// Whole days of an all-day event.
    Days(i64),
    /// Exact seconds.
    Seconds(i64),
    /// Days on the calendar and seconds: they differ from exact seconds where clocks change.
    Nominal { days: i64, seconds: i64 },
    /// An end in another form or zone than the start, or in a zone without a name: as written.
    Apart(&'a When),
}

const SECONDS_PER_DAY: i64 = 86_400;

fn extent<'a>(start: &When, end: &'a End, recurs: Recurs) -> Extent<'a> {
    if let When::Date(first) = start {
        return match end {
            End::At(When::Date(after)) => Extent::Days((*after - *first).num_days().max(1)),
            End::At(other) => Extent::Apart(other),
            End::After(length) => {
                let started = i64::from(length.seconds).div_euclid(SECONDS_PER_DAY)
                    + i64::from(i64::from(length.seconds) % SECONDS_PER_DAY != 0);
                Extent::Days((i64::from(length.days) + started).max(1))
            }
            End::Unspecified => Extent::Days(1),
        };
    }
    match end {
        End::At(end) if is_same_form(start, end) => {
            seconds_between(start, end).map_or(Extent::Apart(end), Extent::Seconds)
        }
        End::At(end) => Extent::Apart(end),
        End::Unspecified => Extent::Seconds(0),
        End::After(length) => {
            let (days, seconds) = (i64::from(length.days), i64::from(length.seconds));
            if days == 0 {
                return Extent::Seconds(seconds);
            }
            match (start, recurs) {
                (When::Zoned { wall, .. }, Recurs::No) => {
                    let nominal = wall.checked_add_signed(TimeDelta::days(days));
                    match nominal.and_then(|wall| seconds_between(start, &start.with_wall(wall))) {
                        Some(exact) => Extent::Seconds(exact + seconds),
                        None => Extent::Nominal { days, seconds },
                    }
                }
                (When::Zoned { zone, .. }, Recurs::Yes) if !is_utc(zone) => Extent::Nominal { days, seconds },
                _ => Extent::Seconds(days * SECONDS_PER_DAY + seconds),
            }
        }
    }
}

/// Whether two points are written in the same form and zone.
fn is_same_form(one: &When, other: &When) -> bool {
    match (one, other) {
        (When::Floating(_), When::Floating(_)) => true,
        (When::Zoned { zone: Zone::Iana(one), .. }, When::Zoned { zone: Zone::Iana(other), .. }) => {
            preferred(*one) == preferred(*other)
        }
        _ => is_instant(one) && is_instant(other),
    }
}

fn is_instant(point: &When) -> bool {
    match point {
        When::Utc(_) => true,
        When::Zoned { zone, .. } => is_utc(zone),
        When::Date(_) | When::Floating(_) => false,
    }
}

fn is_utc(zone: &Zone) -> bool {
    matches!(zone, Zone::Iana(zone) if preferred(*zone) == Tz::Etc__UTC)
}

/// Exact seconds from one point to another; `None` where that cannot be said without a reader's zone or without
/// evaluating rules that came with the event.
pub(super) fn seconds_between(start: &When, end: &When) -> Option<i64> {
    if let (When::Floating(start), When::Floating(end)) = (start, end) {
        return Some((*end - *start).num_seconds());
    }
    Some((instant_of(end)? - instant_of(start)?).num_seconds())
}

/// The instant of a point in a known zone; `None` where a reader's zone decides, and in zones that came with the
/// event, whose rules would have to be run for every comparison.
pub(super) fn instant_of(point: &When) -> Option<DateTime<Utc>> {
    match point {
        When::Utc(instant) => Some(*instant),
        When::Zoned { wall, zone: Zone::Iana(zone) } => Some(zone::instant_in(*zone, *wall).0),
        _ => None,
    }
}

/// The start of the instance of that key, in the form of the master's start.
pub(super) fn start_at(master: &When, key: &RecurrenceId) -> When {
    match key_in(master, key) {
        RecurrenceId::Date(date) => match master {
            When::Date(_) => When::Date(date),
            _ => master.with_wall(date.and_time(master.wall().time())),
        },
        RecurrenceId::Wall(wall) => master.with_wall(wall),
        RecurrenceId::Utc(instant) => match master {
            When::Utc(_) => When::Utc(instant),
            _ => master.with_wall(instant.naive_utc()),
        },
    }
}

/// A key of a series that started at `from`, in the form of the same series starting at `to`; the same instance,
/// whatever zone it was written in.
pub fn rekey(from: Option<&When>, to: &When, key: &RecurrenceId) -> RecurrenceId {
    let is_elsewhere = |from: &&When| matches!((from, to), (When::Zoned { zone: old, .. }, When::Zoned { zone: new, .. }) if old != new);
    let key = match (from.filter(is_elsewhere), key) {
        (Some(from), RecurrenceId::Wall(_)) => {
            let (instant, _) = zone::instant_of(&start_at(from, key), Tz::UTC);
            key_in(to, &RecurrenceId::Utc(instant))
        }
        _ => key_in(to, key),
    };
    match (to, key) {
        // as expansion names it
        (When::Zoned { zone, .. }, RecurrenceId::Utc(instant)) if is_utc(zone) => {
            RecurrenceId::Wall(instant.naive_utc())
        }
        (_, key) => key,
    }
}

/// A key in the form of its series: wall time in the zone of the start, a date, or UTC.
pub(super) fn key_in(start: &When, key: &RecurrenceId) -> RecurrenceId {
    match (start, key) {
        (When::Utc(_), RecurrenceId::Wall(wall)) => RecurrenceId::Utc(wall.and_utc()),
        (When::Zoned { zone, .. }, RecurrenceId::Wall(wall)) if is_utc(zone) => {
            RecurrenceId::Utc(wall.and_utc())
        }
        (When::Zoned { zone: Zone::Iana(zone), .. }, RecurrenceId::Utc(instant))
            if preferred(*zone) != Tz::Etc__UTC =>
        {
            RecurrenceId::Wall(instant.with_timezone(zone).naive_local())
        }
        _ => *key,
    }
}

fn write_point(point: &When, sink: &mut Vec<u8>) {
    match point {
        When::Date(date) => {
            sink.extend_from_slice(b"D");
            write_number(i64::from(chrono::Datelike::num_days_from_ce(date)), sink);
        }
        When::Floating(wall) => {
            sink.extend_from_slice(b"F");
            write_wall(wall, sink);
        }
        When::Utc(instant) => {
            sink.extend_from_slice(b"U");
            write_wall(&instant.naive_utc(), sink);
        }
        When::Zoned { wall, zone } if is_utc(zone) => {
            sink.extend_from_slice(b"U");
            write_wall(wall, sink);
        }
        When::Zoned { wall, zone: Zone::Iana(zone) } => {
            sink.extend_from_slice(b"Z");
            write_wall(wall, sink);
            write_text(Some(preferred(*zone).name()), sink);
        }
        When::Zoned { wall, zone: Zone::Custom(zone) } => {
            // A TZID of its own is only a label: the rules are the zone.
            sink.extend_from_slice(b"C");
            write_wall(wall, sink);
            for observance in &zone.observances {
                write_wall(&observance.onset, sink);
                write_text(observance.rule.as_ref().map(|rule| rule.0.as_str()), sink);
                observance.onsets.iter().for_each(|onset| write_wall(onset, sink));
                write_number(i64::from(observance.offset_before_seconds), sink);
                write_number(i64::from(observance.offset_after_seconds), sink);
            }
            sink.extend_from_slice(&[END_OF_TEXT]);
        }
    }
}

/// Writes a key, in the form of its series.
pub(super) fn write_key(key: &RecurrenceId, sink: &mut Vec<u8>) {
    match key {
        RecurrenceId::Date(date) => {
            sink.extend_from_slice(b"D");
            write_number(i64::from(chrono::Datelike::num_days_from_ce(date)), sink);
        }
        RecurrenceId::Wall(wall) => {
            sink.extend_from_slice(b"W");
            write_wall(wall, sink);
        }
        RecurrenceId::Utc(instant) => {
            sink.extend_from_slice(b"U");
            write_wall(&instant.naive_utc(), sink);
        }
    }
}

fn write_wall(wall: &NaiveDateTime, sink: &mut Vec<u8>) {
    write_number(wall.and_utc().timestamp(), sink);
}
