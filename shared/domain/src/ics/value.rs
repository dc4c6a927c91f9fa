//! The value types of RFC 5545 §3.3 that events use.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use memchr::memchr2;

use crate::clock::Timestamp;
use crate::model::NominalDuration;

/// A date or a time, before its zone is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// `20260714`
    Date(NaiveDate),
    /// `20260714T080000`
    Wall(NaiveDateTime),
    /// `20260714T080000Z`
    Utc(DateTime<Utc>),
}

fn digits<T: std::str::FromStr>(text: &str, from: usize, to: usize) -> Option<T> {
    let digits = text.get(from..to)?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Reads a `DATE` or `DATE-TIME`; the dashes and colons of ISO 8601 are accepted.
pub(crate) fn moment(text: &str) -> Option<Moment> {
    // a quote that a parameter should have ended with
    let text = text.trim().trim_end_matches('"');
    let plain = if text.contains(['-', ':']) {
        Cow::Owned(text.replace(['-', ':'], ""))
    } else {
        Cow::Borrowed(text)
    };
    let date = NaiveDate::from_ymd_opt(digits(&plain, 0, 4)?, digits(&plain, 4, 6)?, digits(&plain, 6, 8)?)?;
    let rest = plain.get(8..)?;
    if rest.is_empty() || rest == "Z" {
        return Some(Moment::Date(date));
    }
    let time = rest.strip_prefix(['T', 't', ' '])?;
    let (time, is_utc) = time.strip_suffix(['Z', 'z']).map_or((time, false), |time| (time, true));
    if !matches!(time.len(), 4 | 6) {
        return None;
    }
    let (hour, minute): (u32, u32) = (digits(time, 0, 2)?, digits(time, 2, 4)?);
    // a leap second is read as the second before it
    let second = if time.len() == 6 { digits::<u32>(time, 4, 6)?.min(59) } else { 0 };
    let wall = match (hour, minute, second) {
        (24, 0, 0) => date.succ_opt()?.and_time(NaiveTime::MIN),
        _ => date.and_hms_opt(hour, minute, second)?,
    };
    Some(if is_utc { Moment::Utc(wall.and_utc()) } else { Moment::Wall(wall) })
}

/// Reads a stamp (`CREATED`, `LAST-MODIFIED`, `DTSTAMP`), which is UTC whether it says so or not.
pub(crate) fn stamp(text: &str) -> Option<Timestamp> {
    Some(Timestamp::from_utc(match moment(text)? {
        Moment::Date(date) => date.and_time(NaiveTime::MIN).and_utc(),
        Moment::Wall(wall) => wall.and_utc(),
        Moment::Utc(instant) => instant,
    }))
}

/// A signed length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignedDuration {
    pub(crate) is_negative: bool,
    pub(crate) length: NominalDuration,
}

impl SignedDuration {
    /// Seconds, a day being 24 hours.
    pub(crate) fn seconds(self) -> i64 {
        let seconds = i64::from(self.length.days) * 86_400 + i64::from(self.length.seconds);
        if self.is_negative { -seconds } else { seconds }
    }
}

/// Longest length that is believed: a century.
const MOST_DAYS: u64 = 36_525;

/// Reads a `DURATION`. Units in the wrong place (`PT1D`, `P2DT`, `PT1W`) mean what they say.
pub(crate) fn duration(text: &str) -> Option<SignedDuration> {
    let text = text.trim();
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let text = text.strip_prefix(['P', 'p'])?;
    let (mut days, mut seconds, mut number) = (0_u64, 0_u64, None::<u64>);
    for letter in text.chars() {
        if let Some(digit) = letter.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(u64::from(digit))?);
            continue;
        }
        let (of_days, of_seconds) = match letter.to_ascii_uppercase() {
            'T' => continue,
            'W' => (7, 0),
            'D' => (1, 0),
            'H' => (0, 3600),
            'M' => (0, 60),
            'S' => (0, 1),
            _ => return None,
        };
        let number = number.take()?;
        days = days.checked_add(number.checked_mul(of_days)?)?;
        seconds = seconds.checked_add(number.checked_mul(of_seconds)?)?;
    }
    if number.is_some() || days > MOST_DAYS || seconds > MOST_DAYS * 86_400 {
        return None;
    }
    let length = NominalDuration { days: u32::try_from(days).ok()?, seconds: u32::try_from(seconds).ok()? };
    Some(SignedDuration { is_negative, length })
}

/// Reads a `UTC-OFFSET` in seconds. `+5730` for `+005730`, as a damaged writer has it, is repaired.
pub(crate) fn utc_offset(text: &str) -> Option<i32> {
    let text = text.trim();
    let (sign, rest) = match text.split_at_checked(1)? {
        ("-", rest) => (-1, rest),
        ("+", rest) => (1, rest),
        _ => (1, text),
    };
    let (hours, minutes): (i32, i32) = (digits(rest, 0, 2)?, digits(rest, 2, 4)?);
    let seconds: i32 = match rest.len() {
        4 => 0,
        6 => digits(rest, 4, 6)?,
        _ => return None,
    };
    let total = if rest.len() == 4 && hours > 24 {
        hours * 60 + minutes
    } else {
        hours * 3600 + minutes * 60 + seconds
    };
    (minutes < 60 && seconds < 60 && total < 86_400).then_some(sign * total)
}

/// Undoes the escapes of `TEXT`; line ends become `\n`, an unknown escape loses its backslash.
pub(crate) fn text(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, marked)) =
        memchr2(b'\\', b'\r', rest.as_bytes()).and_then(|at| rest.split_at_checked(at))
    {
        text.push_str(plain);
        let mut letters = marked.chars();
        if letters.next() == Some('\\') {
            match letters.next() {
                Some('n' | 'N') => text.push('\n'),
                Some(escaped) => text.push(escaped),
                None => {}
            }
        } else if !letters.as_str().starts_with('\n') {
            text.push('\n');
        }
        rest = letters.as_str();
    }
    text.push_str(rest);
    text
}

/// The text, or nothing when there is none.
pub(crate) fn some_text(raw: &str) -> Option<String> {
    let text = text(raw);
    (!text.is_empty()).then_some(text)
}

/// What one of several names stands for, letters of any case.
pub(crate) fn known<T: Copy>(name: &str, names: &[(&str, T)]) -> Option<T> {
    let name = name.trim();
    names.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, meaning)| *meaning)
}

/// The items of a list, split at commas that are not escaped; escapes are left in.
pub(crate) fn list(raw: &str) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    raw.split(move |letter| {
        let is_separator = letter == ',' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        is_separator
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%S").unwrap()
    }

    #[test]
    fn dates_and_times_are_told_apart() {
        assert_eq!(moment("20260714"), Some(Moment::Date(wall("20260714T000000").date())));
        assert_eq!(moment("2026-07-14T08:00:60Z"), Some(Moment::Utc(wall("20260714T080059").and_utc())));
        assert_eq!(moment("20260714T240000"), Some(Moment::Wall(wall("20260715T000000"))));
        for bad in ["", "INVALID-DATE", "20260230", "202603206T200210Z", "199709T180000Z", "２０２６0101"]
        {
            assert_eq!(moment(bad), None, "{bad}");
        }
    }

    #[test]
    fn lengths_are_days_and_seconds() {
        let read =
            |text| duration(text).map(|found| (found.is_negative, found.length.days, found.length.seconds));

        assert_eq!(read("P1W"), Some((false, 7, 0)));
        assert_eq!(read("-P1DT2H3M4S"), Some((true, 1, 7384)));
        assert_eq!(read("PT1D"), Some((false, 1, 0)));
        assert_eq!(read("P2DT"), Some((false, 2, 0)));
        for bad in ["P999999999999999999W", "1H", "PT5", "PTH", "P1Y"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn offsets_have_seconds_at_times() {
        assert_eq!(utc_offset("-0500"), Some(-18_000));
        assert_eq!(utc_offset("-075258"), Some(-28_378));
        assert_eq!(utc_offset("+5730"), Some(3_450));
        assert_eq!(utc_offset("+99"), None);
    }

    #[test]
    fn escapes_are_undone_and_lists_split_between_them() {
        assert_eq!(text("a\\nb\\, c\\; d\\\\n \\\"e\\:"), "a\nb, c; d\\n \"e:");
        assert_eq!(list("A\\,B,C\\\\,D").collect::<Vec<_>>(), ["A\\,B", "C\\\\", "D"]);
    }
}
