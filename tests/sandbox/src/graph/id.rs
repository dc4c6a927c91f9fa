//! Ids of calendars, events and occurrences, in their default and their immutable form.
//!
//! An id is not looked up but read: it carries the number of the thing, how often it was moved (the default
//! form only: a move makes a new default id), and the day of an occurrence.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use chrono::{Datelike as _, NaiveDate};
use sha2::{Digest as _, Sha256};

/// What every default id begins with.
const DEFAULT: &str = "AAMkAG";

/// What every immutable id begins with.
const IMMUTABLE: &str = "AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A";

/// Bytes of the mailbox in an id, and of the rest behind them.
const MAILBOX: usize = 20;

/// Which form of an id a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    /// Changes when the event moves.
    #[default]
    Default,
    /// Stays.
    Immutable,
}

/// What an id says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id {
    /// The number of the event or calendar.
    pub(crate) serial: u64,
    /// How often the event has moved.
    pub(crate) moves: u32,
    /// The day of an occurrence, in the series' zone.
    pub(crate) day: Option<NaiveDate>,
}

impl Id {
    /// The id as text.
    pub(crate) fn write(self, form: Form) -> String {
        let moves = if form == Form::Immutable { 0 } else { self.moves };
        let days = self.day.map_or(0, |day| day.num_days_from_ce());
        let mut bytes = Sha256::digest(b"mailbox").to_vec();
        bytes.truncate(MAILBOX);
        bytes.extend_from_slice(&self.serial.to_be_bytes());
        bytes.extend_from_slice(&moves.to_be_bytes());
        bytes.extend_from_slice(&days.to_be_bytes());
        let sum = Sha256::digest(&bytes);
        bytes.extend(sum.iter().take(4));
        let start = if form == Form::Immutable { IMMUTABLE } else { DEFAULT };
        format!("{start}{}", URL_SAFE.encode(bytes))
    }

    /// Reads an id of either form; `None` for a text that is none.
    pub(crate) fn read(text: &str) -> Option<(Self, Form)> {
        let (rest, form) = match text.strip_prefix(IMMUTABLE) {
            Some(rest) => (rest, Form::Immutable),
            None => (text.strip_prefix(DEFAULT)?, Form::Default),
        };
        let bytes = URL_SAFE.decode(rest).ok()?;
        let (said, sum) = bytes.split_at_checked(MAILBOX + 16)?;
        if Sha256::digest(said).get(..4)? != sum {
            return None;
        }
        let numbers = said.get(MAILBOX..)?;
        let serial = u64::from_be_bytes(numbers.get(..8)?.try_into().ok()?);
        let moves = u32::from_be_bytes(numbers.get(8..12)?.try_into().ok()?);
        let days = i32::from_be_bytes(numbers.get(12..16)?.try_into().ok()?);
        let day = if days == 0 { None } else { NaiveDate::from_num_days_from_ce_opt(days) };
        Some((Self { serial, moves, day }, form))
    }
}

/// A GUID made from a text.
pub(crate) fn guid(text: &str) -> String {
    let hash = hex::encode(Sha256::digest(text));
    let part = |from: usize, to: usize| hash.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

/// The iCalendar UID of an event made here: a `GlobalObjectId`, with the day of an occurrence at bytes 16–19.
pub(crate) fn global_object_id(uid: &str, day: Option<NaiveDate>) -> String {
    let date = day.map_or_else(
        || "00000000".to_owned(),
        |day| format!("{:04X}{:02X}{:02X}", day.year(), day.month(), day.day()),
    );
    uid.get(..32)
        .zip(uid.get(40..))
        .filter(|_| uid.starts_with("040000008200E00074C5B7101A82E008"))
        .map_or_else(|| uid.to_owned(), |(head, tail)| format!("{head}{date}{tail}"))
}

/// A new `GlobalObjectId`.
pub(crate) fn new_global_object_id(text: &str) -> String {
    let hash = hex::encode_upper(Sha256::digest(text));
    let part = |from: usize, to: usize| hash.get(from..to).unwrap_or_default();
    format!(
        "040000008200E00074C5B7101A82E00800000000{}{}{}10000000{}",
        part(0, 16),
        "0000000000000000",
        "",
        part(16, 48)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_in_both_forms_and_a_move_changes_one() {
        let day = NaiveDate::from_ymd_opt(2026, 3, 16);
        let id = Id { serial: 7, moves: 0, day };
        let moved = Id { moves: 1, ..id };

        assert_eq!(Id::read(&id.write(Form::Default)), Some((id, Form::Default)));
        assert_eq!(Id::read(&id.write(Form::Immutable)), Some((id, Form::Immutable)));
        assert_ne!(id.write(Form::Default), moved.write(Form::Default));
        assert_eq!(id.write(Form::Immutable), moved.write(Form::Immutable));
        assert_eq!(Id::read(&id.write(Form::Default).to_lowercase()), None);
        assert_eq!(Id::read("AAMkAGnonsense"), None);
    }

    #[test]
    fn the_uid_of_an_occurrence_says_its_day() {
        let uid = new_global_object_id("x");
        let day = NaiveDate::from_ymd_opt(2026, 3, 16);

        let occurrence = global_object_id(&uid, day);

        assert_eq!(occurrence.get(32..40), Some("07EA0310"));
        assert_eq!(global_object_id(&occurrence, None), uid);
        assert_eq!(global_object_id("foreign@example.com", day), "foreign@example.com");
    }
}
