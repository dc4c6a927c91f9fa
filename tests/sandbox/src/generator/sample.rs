//! A generated event as a model, and its iCalendar text.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Days, NaiveDate, NaiveDateTime, TimeDelta, TimeZone};
use chrono_tz::Tz;

use super::pattern::{Limit, Pattern};
use super::zones::Zone;
use crate::caldav::push_folded;
use crate::clock::utc_of;

/// The form in which an event's times are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Zoned(Zone),
    Utc,
    Floating,
    AllDay,
}

/// What an override does to its instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Override {
    /// Later by that many minutes.
    Moved(i64),
    Renamed(String),
    Cancelled,
}

/// A guest and the answer given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) answer: &'static str,
}

/// Days from its start within which people change single instances of a series.
const NEAR_DAYS: i64 = 3 * 365;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) uid: String,
    pub(crate) title: String,
    pub(crate) location: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) form: Form,
    /// Wall time in that form; midnight when all-day.
    pub(crate) start: NaiveDateTime,
    /// Minutes; days times 1440 when all-day.
    pub(crate) minutes: i64,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) excluded: BTreeSet<NaiveDate>,
    pub(crate) overrides: BTreeMap<NaiveDate, Override>,
    pub(crate) organizer: Option<String>,
    pub(crate) guests: Vec<Guest>,
    /// Minutes before the start.
    pub(crate) alarm: Option<u32>,
    pub(crate) transparent: bool,
    pub(crate) private: bool,
    pub(crate) sequence: u32,
    pub(crate) created: i64,
    pub(crate) modified: i64,
}

impl Sample {
    /// The dates of its first instances, at most `most` and within [`NEAR_DAYS`] of the start.
    pub(crate) fn dates(&self, most: usize) -> Vec<NaiveDate> {
        let start = self.start.date();
        let Some(pattern) = &self.pattern else { return vec![start] };
        let mut dates = pattern.dates(start, most);
        dates.retain(|date| *date < days_from(start, NEAR_DAYS));
        dates
    }

    /// One VCALENDAR with the master, its overrides and the zone they need.
    pub(crate) fn text(&self) -> String {
        let mut out = String::with_capacity(1_024);
        out.push_str("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Calfleet sandbox//EN\r\n");
        if let Form::Zoned(zone) = self.form {
            out.push_str(&zone.component());
        }
        self.write_event(&mut out, None);
        for (date, change) in &self.overrides {
            self.write_event(&mut out, Some((*date, change)));
        }
        out.push_str("END:VCALENDAR\r\n");
        out
    }

    fn write_event(&self, out: &mut String, instance: Option<(NaiveDate, &Override)>) {
        let mut line = |text: &str| push_folded(out, text);
        line("BEGIN:VEVENT");
        line(&format!("UID:{}", self.uid));
        line(&format!("DTSTAMP:{}", stamp(self.modified)));
        line(&format!("CREATED:{}", stamp(self.created)));
        line(&format!("LAST-MODIFIED:{}", stamp(self.modified)));
        if self.sequence > 0 {
            line(&format!("SEQUENCE:{}", self.sequence));
        }
        let mut start = self.start;
        let mut title = self.title.as_str();
        let mut status = "CONFIRMED";
        match instance {
            None => self.recurrence_lines(&mut line),
            Some((date, change)) => {
                let original = date.and_time(self.start.time());
                line(&self.time_line("RECURRENCE-ID", original));
                start = original;
                match change {
                    Override::Moved(minutes) => start = later(original, *minutes),
                    Override::Renamed(renamed) => title = renamed,
                    Override::Cancelled => status = "CANCELLED",
                }
            }
        }
        line(&format!("SUMMARY:{}", escape(title)));
        line(&self.time_line("DTSTART", start));
        line(&self.time_line("DTEND", later(start, self.minutes)));
        line(&format!("STATUS:{status}"));
        self.detail_lines(&mut line);
        line("END:VEVENT");
    }

    fn recurrence_lines(&self, line: &mut impl FnMut(&str)) {
        let Some(pattern) = &self.pattern else { return };
        let mut rule = format!("RRULE:{}", pattern.text(self.start.date()));
        if let Limit::Until(date) = pattern.limit {
            rule = format!("{rule};UNTIL={}", self.until(date));
        }
        line(&rule);
        for date in &self.excluded {
            line(&self.time_line("EXDATE", date.and_time(self.start.time())));
        }
    }

    /// UNTIL is a date for all-day series, UTC for zoned ones, local for floating ones (RFC 5545 §3.3.10).
    fn until(&self, date: NaiveDate) -> String {
        let wall = date.and_time(self.start.time());
        match self.form {
            Form::AllDay => date.format("%Y%m%d").to_string(),
            Form::Floating => wall.format("%Y%m%dT%H%M%S").to_string(),
            Form::Utc => wall.format("%Y%m%dT%H%M%SZ").to_string(),
            Form::Zoned(zone) => {
                let zone: Tz = zone.id.parse().unwrap_or(Tz::UTC);
                let utc = zone.from_local_datetime(&wall).earliest().map_or(wall, |at| at.naive_utc());
                utc.format("%Y%m%dT%H%M%SZ").to_string()
            }
        }
    }

    fn time_line(&self, name: &str, wall: NaiveDateTime) -> String {
        match self.form {
            Form::AllDay => format!("{name};VALUE=DATE:{}", wall.format("%Y%m%d")),
            Form::Floating => format!("{name}:{}", wall.format("%Y%m%dT%H%M%S")),
            Form::Utc => format!("{name}:{}", wall.format("%Y%m%dT%H%M%SZ")),
            Form::Zoned(zone) => format!("{name};TZID={}:{}", zone.id, wall.format("%Y%m%dT%H%M%S")),
        }
    }

    fn detail_lines(&self, line: &mut impl FnMut(&str)) {
        if let Some(location) = &self.location {
            line(&format!("LOCATION:{}", escape(location)));
        }
        if let Some(description) = &self.description {
            line(&format!("DESCRIPTION:{}", escape(description)));
        }
        if self.transparent {
            line("TRANSP:TRANSPARENT");
        }
        if self.private {
            line("CLASS:PRIVATE");
        }
        if let Some(organizer) = &self.organizer {
            line(&format!("ORGANIZER:mailto:{organizer}"));
        }
        for guest in &self.guests {
            line(&format!(
                "ATTENDEE;CN=\"{}\";ROLE=REQ-PARTICIPANT;PARTSTAT={};RSVP=TRUE:mailto:{}",
                guest.name, guest.answer, guest.address
            ));
        }
        if let Some(minutes) = self.alarm {
            line("BEGIN:VALARM");
            line("ACTION:DISPLAY");
            line("DESCRIPTION:Reminder");
            line(&format!("TRIGGER:-PT{minutes}M"));
            line("END:VALARM");
        }
    }
}

fn later(wall: NaiveDateTime, minutes: i64) -> NaiveDateTime {
    wall.checked_add_signed(TimeDelta::minutes(minutes)).unwrap_or(wall)
}

/// The date some days away, backward when negative.
pub(crate) fn days_from(date: NaiveDate, days: i64) -> NaiveDate {
    let distance = Days::new(days.unsigned_abs());
    let moved = if days < 0 { date.checked_sub_days(distance) } else { date.checked_add_days(distance) };
    moved.unwrap_or(date)
}

fn stamp(milliseconds: i64) -> String {
    utc_of(milliseconds).format("%Y%m%dT%H%M%SZ").to_string()
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace(';', "\\;").replace(',', "\\,").replace('\n', "\\n")
}
