//! An event → iCalendar text that every client we know reads: strict, complete, folded.
//!
//! What is written here is made from the model alone, for objects that are ours; an object that somebody else
//! made is changed line by line instead, so that nothing of it is lost.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::Datelike;
use chrono_tz::Tz;

use super::line::fold;
use crate::clock::Timestamp;
use crate::model::{
    Attendee, AttendeeKind, AttendeeRole, Body, Conference, ConferenceType, CustomZone, End, Event, Fields,
    Master, NominalDuration, Observance, Organizer, Override, ParticipationStatus, RecurrenceId, Reminder,
    Series, Status, Transparency, Uid, Visibility, When, Zone,
};
use crate::recurrence::expand::start_of;
use crate::recurrence::regime;
use crate::recurrence::zone::instant_of;

/// Writes an event as a `VCALENDAR`. `stamp` is the `DTSTAMP` of parts that do not say when they were changed.
pub fn write(event: &Event, stamp: Timestamp) -> String {
    let mut text = Text::new();
    text.line("BEGIN:VCALENDAR");
    text.line("VERSION:2.0");
    text.line("PRODID:-//Calfleet//Calfleet//EN");
    text.line("CALSCALE:GREGORIAN");
    for zone in zones(event).into_values() {
        text.zone(&zone);
    }
    match &event.body {
        Body::Single(fields) => text.event(&event.uid, fields, stamp, |_| {}),
        Body::Series(series) => text.series(&event.uid, series, stamp),
    }
    text.line("END:VCALENDAR");
    text.0
}

/// One part of an event as a `VEVENT`: the single event or master for `None`, else that override. Empty when
/// there is no such part.
pub(crate) fn part_text(event: &Event, id: Option<RecurrenceId>, stamp: Timestamp) -> String {
    let mut text = Text::new();
    let restamped = |fields: &Fields| {
        let mut fields = fields.clone();
        fields.stamps.updated = Some(stamp);
        fields
    };
    match (&event.body, id) {
        (Body::Single(fields), None) => text.event(&event.uid, &restamped(fields), stamp, |_| {}),
        (Body::Series(series), None) => {
            if let Some(master) = &series.master {
                let fields = restamped(&master.fields);
                text.event(&event.uid, &fields, stamp, |text| text.recurrence(master, series));
            }
        }
        (Body::Series(series), Some(id)) => {
            let fields = match series.overrides.get(&id) {
                Some(Override::Changed(fields)) => Override::Changed(Box::new(restamped(fields))),
                Some(Override::Cancelled) => Override::Cancelled,
                None => return String::new(),
            };
            text.part(&event.uid, series, id, &fields, stamp);
        }
        (Body::Single(_), Some(_)) => {}
    }
    text.0
}

/// The zones an event needs, by name, each as a `VTIMEZONE`.
pub(crate) fn zone_texts(event: &Event) -> Vec<(String, String)> {
    let written = |(name, zone): (String, CustomZone)| {
        let mut text = Text::new();
        text.zone(&zone);
        (name, text.0)
    };
    zones(event).into_iter().map(written).collect()
}

/// The zones an event is written in, by name, as observances.
fn zones(event: &Event) -> BTreeMap<String, CustomZone> {
    let mut years: BTreeMap<String, (Zone, i32)> = BTreeMap::new();
    let mut note = |when: &When| {
        if let When::Zoned { wall, zone } = when {
            let entry = years.entry(zone.name().to_owned()).or_insert_with(|| (zone.clone(), wall.year()));
            entry.1 = entry.1.min(wall.year());
        }
    };
    let mut note_fields = |fields: &Fields| {
        note(&fields.start);
        if let End::At(end) = &fields.end {
            note(end);
        }
    };
    match &event.body {
        Body::Single(fields) => note_fields(fields),
        Body::Series(series) => {
            if let Some(master) = &series.master {
                note_fields(&master.fields);
                master.additions.keys().for_each(|id| {
                    note_fields(&Fields::new(start_of(*id, &master.fields.start), End::Unspecified));
                });
            }
            for over in series.overrides.values() {
                if let Override::Changed(fields) = over {
                    note_fields(fields);
                }
            }
        }
    }
    let described = |(zone, year): (Zone, i32)| match zone {
        Zone::Iana(zone) => regime::describe(zone, year),
        Zone::Custom(zone) => (*zone).clone(),
    };
    years.into_iter().map(|(name, entry)| (name, described(entry))).collect()
}

/// Text made of folded lines.
struct Text(String);

impl Text {
    fn new() -> Self {
        Self(String::with_capacity(1024))
    }

    fn line(&mut self, line: &str) {
        fold(line, &mut self.0);
    }

    fn text(&mut self, name: &str, value: Option<&String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.line(&format!("{name}:{}", escaped(value)));
        }
    }

    fn zone(&mut self, zone: &CustomZone) {
        self.line("BEGIN:VTIMEZONE");
        self.line(&format!("TZID:{}", escaped(&zone.tzid)));
        zone.observances.iter().for_each(|observance| self.observance(observance));
        self.line("END:VTIMEZONE");
    }

    fn observance(&mut self, observance: &Observance) {
        let is_later = observance.offset_after_seconds > observance.offset_before_seconds;
        let name = if is_later { "DAYLIGHT" } else { "STANDARD" };
        self.line(&format!("BEGIN:{name}"));
        self.line(&format!("DTSTART:{}", observance.onset.format("%Y%m%dT%H%M%S")));
        self.line(&format!("TZOFFSETFROM:{}", utc_offset(observance.offset_before_seconds)));
        self.line(&format!("TZOFFSETTO:{}", utc_offset(observance.offset_after_seconds)));
        if let Some(rule) = &observance.rule {
            self.line(&format!("RRULE:{}", rule.0));
        }
        for onset in &observance.onsets {
            self.line(&format!("RDATE:{}", onset.format("%Y%m%dT%H%M%S")));
        }
        self.line(&format!("END:{name}"));
    }

    fn series(&mut self, uid: &Uid, series: &Series, stamp: Timestamp) {
        if let Some(master) = &series.master {
            self.event(uid, &master.fields, stamp, |text| text.recurrence(master, series));
        }
        for (id, over) in &series.overrides {
            self.part(uid, series, *id, over, stamp);
        }
    }

    /// One override; a cancelled one with a master is that master's exclusion.
    fn part(&mut self, uid: &Uid, series: &Series, id: RecurrenceId, over: &Override, stamp: Timestamp) {
        let original = match (&series.master, id) {
            (Some(master), id) => start_of(id, &master.fields.start),
            (None, RecurrenceId::Date(date)) => When::Date(date),
            // an orphan's wall time is floating: its zone would have made it an instant
            (None, RecurrenceId::Wall(wall)) => When::Floating(wall),
            (None, RecurrenceId::Utc(instant)) => When::Utc(instant),
        };
        match over {
            Override::Changed(fields) => {
                self.event(uid, fields, stamp, |text| text.when("RECURRENCE-ID", &original));
            }
            Override::Cancelled if series.master.is_none() => {
                let mut fields = Fields::new(original.clone(), End::Unspecified);
                fields.status = Status::Cancelled;
                self.event(uid, &fields, stamp, |text| text.when("RECURRENCE-ID", &original));
            }
            Override::Cancelled => {}
        }
    }

    fn recurrence(&mut self, master: &Master, series: &Series) {
        for line in recurrence_lines(master) {
            self.line(&line);
        }
        let cancelled =
            series.overrides.iter().filter(|(_, over)| **over == Override::Cancelled).map(|(id, _)| id);
        for id in cancelled {
            self.when("EXDATE", &start_of(*id, &master.fields.start));
        }
    }

    fn when(&mut self, name: &str, when: &When) {
        self.line(&format!("{name}{}", value(when)));
    }

    fn event(&mut self, uid: &Uid, fields: &Fields, stamp: Timestamp, recurrence: impl FnOnce(&mut Self)) {
        self.line("BEGIN:VEVENT");
        self.line(&format!("UID:{}", uid.as_str()));
        self.line(&format!("DTSTAMP:{}", instant(fields.stamps.updated.unwrap_or(stamp))));
        if let Some(created) = fields.stamps.created {
            self.line(&format!("CREATED:{}", instant(created)));
        }
        if let Some(updated) = fields.stamps.updated {
            self.line(&format!("LAST-MODIFIED:{}", instant(updated)));
        }
        self.line(&format!("SEQUENCE:{}", fields.stamps.sequence));
        self.when("DTSTART", &fields.start);
        match &fields.end {
            End::At(end) => self.when("DTEND", end),
            End::After(length) => self.line(&format!("DURATION:{}", duration(*length))),
            End::Unspecified => {}
        }
        recurrence(self);
        self.content(fields);
        self.line("END:VEVENT");
    }

    fn content(&mut self, fields: &Fields) {
        self.text("SUMMARY", fields.title.as_ref());
        self.text("DESCRIPTION", fields.description.as_ref());
        self.text("LOCATION", fields.location.as_ref());
        if let Some(url) = &fields.url {
            self.line(&format!("URL:{}", plain(url)));
        }
        match fields.status {
            Status::Confirmed => {}
            Status::Tentative => self.line("STATUS:TENTATIVE"),
            Status::Cancelled => self.line("STATUS:CANCELLED"),
        }
        if fields.transparency == Transparency::Transparent {
            self.line("TRANSP:TRANSPARENT");
        }
        match fields.visibility {
            Visibility::Public => {}
            Visibility::Private => self.line("CLASS:PRIVATE"),
            Visibility::Confidential => self.line("CLASS:CONFIDENTIAL"),
        }
        if let Some(Organizer { address, name }) = &fields.organizer {
            let name = name.as_deref().map(|name| format!(";CN={}", quoted(name))).unwrap_or_default();
            self.line(&format!("ORGANIZER{name}:{}", calendar_address(address)));
        }
        fields.attendees.iter().for_each(|attendee| self.attendee(attendee));
        if !fields.categories.is_empty() {
            let categories: Vec<String> =
                fields.categories.iter().map(|category| escaped(category)).collect();
            self.line(&format!("CATEGORIES:{}", categories.join(",")));
        }
        if let Some(color) = &fields.color {
            self.line(&format!("COLOR:{}", plain(color)));
        }
        if let Some(conference) = fields.conference.as_ref().filter(|found| !found.link.is_empty()) {
            self.conference(conference);
        }
        fields.reminders.iter().for_each(|reminder| self.reminder(reminder));
    }

    fn attendee(&mut self, attendee: &Attendee) {
        let mut line = "ATTENDEE".to_owned();
        let mut add = |name: &str, value: &str| {
            let _written = write!(line, ";{name}={value}");
        };
        if let Some(name) = &attendee.name {
            add("CN", &quoted(name));
        }
        match attendee.kind {
            AttendeeKind::Individual => {}
            AttendeeKind::Group => add("CUTYPE", "GROUP"),
            AttendeeKind::Resource => add("CUTYPE", "RESOURCE"),
            AttendeeKind::Room => add("CUTYPE", "ROOM"),
            AttendeeKind::Unknown => add("CUTYPE", "UNKNOWN"),
        }
        match attendee.role {
            AttendeeRole::Required => {}
            AttendeeRole::Chair => add("ROLE", "CHAIR"),
            AttendeeRole::Optional => add("ROLE", "OPT-PARTICIPANT"),
            AttendeeRole::NonParticipant => add("ROLE", "NON-PARTICIPANT"),
        }
        add("PARTSTAT", participation(attendee.status));
        if let Some(comment) = &attendee.comment {
            add("X-RESPONSE-COMMENT", &quoted(comment));
        }
        self.line(&format!("{line}:{}", calendar_address(&attendee.address)));
    }

    fn conference(&mut self, conference: &Conference) {
        let link = plain(&conference.link);
        self.line(&format!("CONFERENCE;VALUE=URI;FEATURE=AUDIO,VIDEO:{link}"));
        match conference.kind {
            ConferenceType::GoogleMeet => self.line(&format!("X-GOOGLE-CONFERENCE:{link}")),
            ConferenceType::MicrosoftTeams => self.line(&format!("X-MICROSOFT-SKYPETEAMSMEETINGURL:{link}")),
            ConferenceType::Custom => {}
        }
    }

    fn reminder(&mut self, reminder: &Reminder) {
        self.line("BEGIN:VALARM");
        self.line("ACTION:DISPLAY");
        self.line("DESCRIPTION:Reminder");
        match reminder {
            Reminder::BeforeStart(seconds) => self.line(&format!("TRIGGER:{}", trigger(*seconds))),
            Reminder::BeforeEnd(seconds) => self.line(&format!("TRIGGER;RELATED=END:{}", trigger(*seconds))),
            Reminder::At(at) => self.line(&format!("TRIGGER;VALUE=DATE-TIME:{}", instant(*at))),
        }
        self.line("END:VALARM");
    }
}

/// Rules, additions and exclusions of a master, a line each, unfolded.
pub(crate) fn recurrence_lines(master: &Master) -> Vec<String> {
    let start = &master.fields.start;
    let mut lines: Vec<String> = master.rules.iter().map(|rule| format!("RRULE:{}", rule.0)).collect();
    for (id, end) in &master.additions {
        let at = start_of(*id, start);
        lines.push(end.as_ref().map_or_else(|| format!("RDATE{}", value(&at)), |end| period(&at, end)));
    }
    lines.extend(master.exclusions.iter().map(|id| format!("EXDATE{}", value(&start_of(*id, start)))));
    lines
}

/// An addition with an end of its own.
fn period(start: &When, end: &End) -> String {
    let written = value(start);
    let (parameters, start_value) = written.split_once(':').unwrap_or(("", &written));
    let end = match end {
        End::After(length) => duration(*length),
        // one zone for both: the end of a period cannot have its own
        End::At(end) if end.zone() == start.zone() => {
            value(end).rsplit_once(':').map_or_else(String::new, |(_, value)| value.to_owned())
        }
        End::At(end) => instant_of(end, Tz::UTC).0.format("%Y%m%dT%H%M%SZ").to_string(),
        End::Unspecified => "PT0S".to_owned(),
    };
    let parameters = parameters.replace(";VALUE=DATE", "");
    format!("RDATE;VALUE=PERIOD{parameters}:{start_value}/{end}")
}

/// Parameters and value of a point in time, the colon included.
pub(crate) fn value(when: &When) -> String {
    match when {
        When::Date(date) => format!(";VALUE=DATE:{}", date.format("%Y%m%d")),
        When::Floating(wall) => format!(":{}", wall.format("%Y%m%dT%H%M%S")),
        When::Zoned { wall, zone } => {
            let name = zone.name();
            let name = if name.contains([':', ';', ',']) {
                format!("\"{}\"", name.replace('"', "'"))
            } else {
                name.to_owned()
            };
            format!(";TZID={name}:{}", wall.format("%Y%m%dT%H%M%S"))
        }
        When::Utc(instant) => format!(":{}", instant.format("%Y%m%dT%H%M%SZ")),
    }
}

fn instant(at: Timestamp) -> String {
    at.to_utc().unwrap_or_default().format("%Y%m%dT%H%M%SZ").to_string()
}

fn utc_offset(seconds: i32) -> String {
    let (sign, total) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs());
    let (hours, minutes, rest) = (total / 3600, total / 60 % 60, total % 60);
    if rest == 0 {
        format!("{sign}{hours:02}{minutes:02}")
    } else {
        format!("{sign}{hours:02}{minutes:02}{rest:02}")
    }
}

pub(crate) fn duration(length: NominalDuration) -> String {
    let (hours, minutes, seconds) = (length.seconds / 3600, length.seconds / 60 % 60, length.seconds % 60);
    let mut text = "P".to_owned();
    let mut add = |number: u32, unit: &str| {
        if number > 0 {
            let _written = write!(text, "{number}{unit}");
        }
    };
    add(length.days, "D");
    if length.seconds > 0 {
        add(hours, "H");
        add(minutes, "M");
        add(seconds, "S");
        let clock = text.find('D').map_or(1, |day| day + 1);
        text.insert(clock, 'T');
    } else if length.days == 0 {
        text.push_str("T0S");
    }
    text
}

/// A `TRIGGER` so many seconds before; whole days as days.
fn trigger(seconds_before: i64) -> String {
    let total = seconds_before.unsigned_abs();
    let days = if total.is_multiple_of(86_400) { total / 86_400 } else { 0 };
    let seconds = total - days * 86_400;
    let length = NominalDuration {
        days: u32::try_from(days).unwrap_or(u32::MAX),
        seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
    };
    format!("{}{}", if seconds_before > 0 { "-" } else { "" }, duration(length))
}

fn participation(status: ParticipationStatus) -> &'static str {
    match status {
        ParticipationStatus::NeedsAction => "NEEDS-ACTION",
        ParticipationStatus::Accepted => "ACCEPTED",
        ParticipationStatus::Declined => "DECLINED",
        ParticipationStatus::Tentative => "TENTATIVE",
        ParticipationStatus::Delegated => "DELEGATED",
    }
}

fn calendar_address(address: &str) -> String {
    let address = plain(address);
    if address.contains('@') && !address.contains(':') { format!("mailto:{address}") } else { address }
}

/// `TEXT` with its escapes; control characters but tabs are left out.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\n' => escaped.push_str("\\n"),
            '\\' | ';' | ',' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            letter if letter.is_control() && letter != '\t' => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A value that knows no escapes, without what would end its line.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

/// A parameter value in quotes, with the escapes of RFC 6868.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '\n' => quoted.push_str("^n"),
            '^' => quoted.push_str("^^"),
            '"' => quoted.push_str("^'"),
            letter if letter.is_control() && letter != '\t' => {}
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ics::line::LINE_OCTETS;

    #[test]
    fn lines_are_folded_between_characters() {
        let mut text = Text::new();
        text.line(&format!("SUMMARY:{}", "日本語".repeat(30)));

        assert!(text.0.split("\r\n").all(|line| line.len() <= LINE_OCTETS));
        assert_eq!(text.0.replace("\r\n ", "").trim_end(), format!("SUMMARY:{}", "日本語".repeat(30)));
    }

    #[test]
    fn lengths_and_offsets_have_their_shortest_form() {
        let length = |days, seconds| duration(NominalDuration { days, seconds });
        assert_eq!([length(0, 0), length(1, 0), length(2, 5400)], ["PT0S", "P1D", "P2DT1H30M"]);
        assert_eq!(
            [trigger(900), trigger(-60), trigger(86_400), trigger(0)],
            ["-PT15M", "PT1M", "-P1D", "PT0S"]
        );
        assert_eq!([utc_offset(-28_378), utc_offset(19_800)], ["-075258", "+0530"]);
    }
}
