//! The little that a server has to read of a calendar resource: UID, kind, and roughly when.
//!
//! Line by line, on purpose: the sandbox must not share a parser with the programs it tests. The span of a
//! series is that of its rule's limits and not of its instances, so a time-range query may give back a
//! series without an instance in the range, as many servers do.

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;

/// A day in milliseconds; all-day and floating times are widened by it, for any zone to fit.
const DAY_MS: i64 = 86_400_000;

/// Components that a calendar resource may hold.
const KINDS: [&str; 3] = ["VEVENT", "VTODO", "VJOURNAL"];

/// What was read of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) uid: String,
    pub(crate) kind: String,
    /// Components of that kind, overrides counted.
    pub(crate) components: usize,
    /// `[start, end)` in milliseconds; `None` has no end.
    pub(crate) span: (i64, Option<i64>),
}

/// Why a text is not a calendar resource (RFC 4791 §5.3.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not iCalendar: `valid-calendar-data`.
    Data,
    /// iCalendar, but not one object of one UID: `valid-calendar-object-resource`.
    Resource,
}

/// One content line, unfolded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) parameters: &'a str,
    pub(crate) value: &'a str,
}

/// Joins folded lines (RFC 5545 §3.1).
pub(crate) fn unfold(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for raw in text.split('\n') {
        let raw = raw.strip_suffix('\r').unwrap_or(raw);
        match (raw.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(rest), Some(last)) => last.push_str(rest),
            _ => lines.push(raw.to_owned()),
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// Splits a content line; `None` when it has no colon outside quotes.
pub(crate) fn split_line(line: &str) -> Option<Line<'_>> {
    let mut quoted = false;
    let colon = line.find(|c| {
        quoted ^= c == '"';
        c == ':' && !quoted
    })?;
    let (head, value) = line.split_at_checked(colon)?;
    let (name, parameters) = head.split_once(';').unwrap_or((head, ""));
    Some(Line { name, parameters, value: value.strip_prefix(':')? })
}

impl Line<'_> {
    pub(crate) fn parameter(&self, wanted: &str) -> Option<&str> {
        let (_, value) = self
            .parameters
            .split(';')
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        Some(value.trim_matches('"'))
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Reads what a server must know of a resource.
///
/// # Errors
/// [`Refusal`] when a CalDAV server has to refuse the text.
pub(crate) fn inspect(text: &str) -> Result<Facts, Refusal> {
    let lines = unfold(text);
    let mut open: Vec<String> = Vec::new();
    let mut found = Found::default();
    for line in &lines {
        let line = split_line(line).ok_or(Refusal::Data)?;
        if line.is("BEGIN") {
            open.push(line.value.to_ascii_uppercase());
            found.begin(&open);
        } else if line.is("END") {
            if open.pop().as_deref() != Some(line.value.to_ascii_uppercase().as_str()) {
                return Err(Refusal::Data);
            }
            found.end(&open);
        } else {
            found.property(&open, &line)?;
        }
    }
    if !open.is_empty() || found.calendars != 1 {
        return Err(Refusal::Data);
    }
    found.facts()
}

#[derive(Debug, Default)]
struct Found {
    calendars: usize,
    uids: Vec<String>,
    kinds: Vec<String>,
    components: usize,
    when: When,
    span: Option<(i64, Option<i64>)>,
}

/// The times of the component being read.
#[derive(Debug, Default)]
struct When {
    start: Option<(i64, i64)>,
    end: Option<i64>,
    duration: Option<i64>,
    until: Option<i64>,
    recurs: bool,
}

impl Found {
    fn begin(&mut self, open: &[String]) {
        match open {
            [only] if only == "VCALENDAR" => self.calendars += 1,
            [_, kind] if KINDS.contains(&kind.as_str()) => {
                self.components += 1;
                self.when = When::default();
                if !self.kinds.contains(kind) {
                    self.kinds.push(kind.clone());
                }
            }
            _ => {}
        }
    }

    /// A component of the calendar ended when only the calendar is still open.
    fn end(&mut self, open: &[String]) {
        if open.len() != 1 {
            return;
        }
        let Some((start, end)) = std::mem::take(&mut self.when).span() else { return };
        self.span = Some(match self.span {
            None => (start, end),
            Some((least, most)) => (least.min(start), most.zip(end).map(|(a, b)| a.max(b))),
        });
    }

    fn property(&mut self, open: &[String], line: &Line<'_>) -> Result<(), Refusal> {
        let [_, rest @ ..] = open else { return Err(Refusal::Data) };
        let [kind] = rest else {
            if rest.is_empty() && line.is("METHOD") {
                return Err(Refusal::Resource);
            }
            return Ok(());
        };
        if !KINDS.contains(&kind.as_str()) {
            return Ok(());
        }
        if line.is("UID") && !self.uids.iter().any(|uid| uid == line.value) {
            self.uids.push(line.value.to_owned());
        }
        self.when.property(line);
        Ok(())
    }

    fn facts(self) -> Result<Facts, Refusal> {
        let ([uid], [kind]) = (self.uids.as_slice(), self.kinds.as_slice()) else {
            return Err(Refusal::Resource);
        };
        let span = self.span.unwrap_or((i64::MIN, None));
        Ok(Facts { uid: uid.clone(), kind: kind.clone(), components: self.components, span })
    }
}

impl When {
    fn property(&mut self, line: &Line<'_>) {
        if line.is("DTSTART") {
            self.start = instant(line);
        } else if line.is("DTEND") || line.is("DUE") {
            self.end = instant(line).map(|(end, slack)| end + slack);
        } else if line.is("DURATION") {
            self.duration = duration(line.value);
        } else if line.is("RRULE") {
            self.recurs = true;
            let part = line.value.split(';').find_map(|part| part.strip_prefix("UNTIL="));
            self.until =
                part.and_then(|value| instant(&Line { name: "", parameters: "", value })).map(|u| u.0);
        } else if line.is("RDATE") {
            self.recurs = true;
        }
    }

    fn span(self) -> Option<(i64, Option<i64>)> {
        let (start, slack) = self.start?;
        let length = match (self.end, self.duration) {
            (Some(end), _) => end - start,
            (None, Some(duration)) => duration + slack,
            (None, None) => slack,
        };
        let end = match (self.recurs, self.until) {
            (false, _) => Some(start + length.max(1)),
            (true, Some(until)) => Some(until + length + DAY_MS),
            (true, None) => None,
        };
        Some((start - slack, end))
    }
}

/// An instant in milliseconds, and how much it may be off where no zone is named.
fn instant(line: &Line<'_>) -> Option<(i64, i64)> {
    if let Ok(date) = NaiveDate::parse_from_str(line.value, "%Y%m%d") {
        return Some((date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis(), DAY_MS));
    }
    let utc = line.value.strip_suffix('Z');
    let wall = NaiveDateTime::parse_from_str(utc.unwrap_or(line.value), "%Y%m%dT%H%M%S").ok()?;
    if utc.is_some() {
        return Some((wall.and_utc().timestamp_millis(), 0));
    }
    let zone = line.parameter("TZID").and_then(|name| name.parse::<Tz>().ok());
    match zone.and_then(|zone| zone.from_local_datetime(&wall).earliest()) {
        Some(zoned) => Some((zoned.timestamp_millis(), 0)),
        None => Some((wall.and_utc().timestamp_millis(), DAY_MS)),
    }
}

/// A DURATION in milliseconds (RFC 5545 §3.3.6), days taken as 24 hours.
fn duration(value: &str) -> Option<i64> {
    let mut total = 0_i64;
    let mut number = 0_i64;
    for c in value.trim_start_matches(['+', 'P']).chars() {
        if let Some(digit) = c.to_digit(10) {
            number = number.checked_mul(10)?.checked_add(i64::from(digit))?;
            continue;
        }
        let unit = match c {
            'W' => 7 * DAY_MS,
            'D' => DAY_MS,
            'H' => 3_600_000,
            'M' => 60_000,
            'S' => 1_000,
            'T' => 0,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        number = 0;
    }
    Some(total)
}

/// Reads a time-range bound such as `20260101T000000Z`.
pub(crate) fn utc_bound(value: &str) -> Option<i64> {
    let parsed = NaiveDateTime::parse_from_str(value.strip_suffix('Z')?, "%Y%m%dT%H%M%S").ok()?;
    Some(DateTime::<Utc>::from_naive_utc_and_offset(parsed, Utc).timestamp_millis())
}

/// The components directly inside the VCALENDAR, each with its BEGIN and END, as (kind, text).
pub(crate) fn components(text: &str) -> Vec<(String, String)> {
    let mut parts: Vec<(String, String)> = Vec::new();
    let mut depth = 0_usize;
    for raw in text.split_inclusive('\n') {
        let line = raw.trim_end();
        if let Some(kind) = line.strip_prefix("BEGIN:") {
            depth += 1;
            if depth == 2 {
                parts.push((kind.to_owned(), String::new()));
            }
        }
        if let (true, Some((_, part))) = (depth >= 2, parts.last_mut()) {
            part.push_str(raw);
        }
        if line.starts_with("END:") {
            depth = depth.saturating_sub(1);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEETING: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:a\r\n b\r\n\
        DTSTART;TZID=\"Europe/Paris\":20260714T080000\r\nDURATION:PT1H30M\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

    #[test]
    fn a_zoned_meeting_is_read_with_its_uid_and_span() {
        let facts = inspect(MEETING).unwrap();

        let start = utc_bound("20260714T060000Z").unwrap();
        assert_eq!(facts.uid, "ab");
        assert_eq!(facts.span, (start, Some(start + 5_400_000)));
    }

    #[test]
    fn two_uids_or_a_method_are_refused_and_garbage_is_no_calendar() {
        let event = "BEGIN:VEVENT\r\nUID:a\r\nEND:VEVENT\r\n";
        let two = format!("BEGIN:VCALENDAR\r\n{event}{}END:VCALENDAR\r\n", event.replace(":a", ":b"));
        let sent = format!("BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\n{event}END:VCALENDAR\r\n");

        assert_eq!(inspect(&two), Err(Refusal::Resource));
        assert_eq!(inspect(&sent), Err(Refusal::Resource));
        assert_eq!(inspect("hello"), Err(Refusal::Data));
    }

    #[test]
    fn a_series_without_limit_has_no_end() {
        let series = MEETING.replace("DURATION:", "RRULE:FREQ=DAILY\r\nDURATION:");

        assert_eq!(inspect(&series).unwrap().span.1, None);
    }
}
