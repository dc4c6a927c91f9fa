//! One `VEVENT` (RFC 5545 §3.6.1) → the fields of the model, and what it says about recurrence.
//!
//! Repairs follow what clients show: an end before the start is dropped, an end on the day of the start is that
//! day, an end of another kind than the start is fitted to it. Each is told in a warning.

use std::borrow::Cow;

use chrono::NaiveTime;

use super::Limits;
use super::component::Component;
use super::conference;
use super::fault::Fault;
use super::guests;
use super::line::Line;
use super::reminders;
use super::timezones::{Form, Zones};
use super::value;
use crate::clock::Timestamp;
use crate::model::{End, Fields, Stamps, Status, Transparency, Visibility, When};
use crate::recurrence::zone::instant_of;

/// A `VEVENT`, read by itself.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) fields: Fields,
    /// `RECURRENCE-ID`.
    pub(crate) recurrence_id: Option<When>,
    /// `RANGE=THISANDFUTURE`.
    pub(crate) is_range: bool,
    /// `RRULE`s as written.
    pub(crate) rules: Vec<String>,
    /// `EXRULE`s as written.
    pub(crate) exception_rules: Vec<String>,
    /// `RDATE`s.
    pub(crate) additions: Vec<(When, Option<End>)>,
    /// `EXDATE`s.
    pub(crate) exclusions: Vec<When>,
    /// `DTSTAMP`.
    pub(crate) stamped: Option<Timestamp>,
    /// Where the `VEVENT` stood among those of its `UID`.
    pub(crate) position: usize,
}

impl Part {
    fn new(fields: Fields) -> Self {
        Self {
            fields,
            recurrence_id: None,
            is_range: false,
            rules: Vec::new(),
            exception_rules: Vec::new(),
            additions: Vec::new(),
            exclusions: Vec::new(),
            stamped: None,
            position: 0,
        }
    }

    fn check_instances(&self, limits: &Limits) -> Result<(), Fault> {
        for (what, count, limit) in [
            ("additions", self.additions.len(), limits.instances),
            ("exclusions", self.exclusions.len(), limits.instances),
            ("rules", self.rules.len() + self.exception_rules.len(), limits.rules),
        ] {
            if count > limit {
                return Err(Fault::TooManyInstances { what, count, limit });
            }
        }
        Ok(())
    }
}

/// What `RRULE`, `EXRULE`, `RDATE` and `EXDATE` lines say of a series whose fields came in another form; other
/// lines say nothing.
pub(crate) fn recurring<'l>(
    fields: Fields,
    lines: impl Iterator<Item = &'l str>,
    zones: &mut Zones<'_>,
    limits: &Limits,
    warnings: &mut Vec<String>,
) -> Result<Part, Fault> {
    let mut reading =
        Reading { part: Part::new(fields), zones, warnings, attendees: Vec::new(), has_start: false };
    for text in lines {
        let line = Line::new(Cow::Borrowed(text));
        let name = line.name();
        if matches!(name.as_ref(), "RRULE" | "EXRULE" | "RDATE" | "EXDATE") {
            reading.time(&name, &line)?;
            reading.part.check_instances(limits)?;
        }
    }
    Ok(reading.part)
}

/// Reads a `VEVENT`.
pub(crate) fn part(
    component: &Component<'_>,
    zones: &mut Zones<'_>,
    limits: &Limits,
    warnings: &mut Vec<String>,
) -> Result<Part, Fault> {
    let start_line = component.line("DTSTART").ok_or(Fault::NoStart)?;
    let start = zones
        .when(start_line, start_line.value(), warnings)
        .ok_or_else(|| Fault::BadStart(short(start_line.value())))?;
    let mut reading = Reading {
        part: Part::new(Fields::new(start, End::Unspecified)),
        zones,
        warnings,
        attendees: Vec::new(),
        has_start: false,
    };
    for line in &component.lines {
        reading.line(line)?;
        reading.part.check_instances(limits)?;
    }
    let attendees = reading.attendees;
    let mut part = reading.part;
    if attendees.len() > limits.attendees {
        return Err(Fault::TooManyAttendees { count: attendees.len(), limit: limits.attendees });
    }
    let fields = &mut part.fields;
    fields.attendees = guests::normalise(attendees);
    fields.categories.sort_unstable();
    fields.categories.dedup();
    fields.reminders = reminders::read(component);
    let texts = [fields.url.as_deref(), fields.location.as_deref(), fields.description.as_deref()];
    fields.conference = conference::find(component, texts);
    Ok(part)
}

/// The beginning of a value, for messages.
fn short(value: &str) -> String {
    value.trim().chars().take(40).collect()
}

struct Reading<'r, 't> {
    part: Part,
    zones: &'r mut Zones<'t>,
    warnings: &'r mut Vec<String>,
    attendees: Vec<crate::model::Attendee>,
    /// Whether `DTSTART`, which may stand once, was there.
    has_start: bool,
}

impl Reading<'_, '_> {
    fn line(&mut self, line: &Line<'_>) -> Result<(), Fault> {
        let name = line.name();
        match name.as_ref() {
            "DTEND" | "DURATION" | "RECURRENCE-ID" | "RRULE" | "EXRULE" | "RDATE" | "EXDATE" | "DTSTART" => {
                self.time(&name, line)
            }
            "ATTENDEE" => {
                self.attendees.extend(guests::attendee(line));
                Ok(())
            }
            _ => {
                self.content(&name, line);
                Ok(())
            }
        }
    }

    fn warn(&mut self, warning: &str) {
        super::timezones::warn_once(self.warnings, warning.to_owned());
    }

    fn time(&mut self, name: &str, line: &Line<'_>) -> Result<(), Fault> {
        match name {
            "DTSTART" if self.has_start => self.warn("DTSTART is given more than once; the first counts"),
            "DTSTART" => self.has_start = true,
            "DTEND" if self.part.fields.end == End::Unspecified => {
                match self.zones.when(line, line.value(), self.warnings) {
                    Some(end) => self.end(end),
                    None => {
                        self.warn(&format!("DTEND is unreadable ({:?}) and left out", short(line.value())));
                    }
                }
            }
            "DURATION" if self.part.fields.end == End::Unspecified => match value::duration(line.value()) {
                Some(length) if length.is_negative && length.seconds() != 0 => {
                    self.warn("DURATION is negative and left out");
                }
                Some(length) => self.part.fields.end = End::After(length.length),
                None => {
                    self.warn(&format!("DURATION is unreadable ({:?}) and left out", short(line.value())));
                }
            },
            "DTEND" | "DURATION" => self.warn("the event has more than one end; the first counts"),
            "RECURRENCE-ID" => {
                let id = self.zones.when(line, line.value(), self.warnings);
                self.part.recurrence_id =
                    Some(id.ok_or_else(|| Fault::BadRecurrenceId(short(line.value())))?);
                self.part.is_range = line.says("RANGE", "THISANDFUTURE");
            }
            "RRULE" => self.part.rules.push(line.value().trim().to_owned()),
            "EXRULE" => self.part.exception_rules.push(line.value().trim().to_owned()),
            "RDATE" => self.additions(line),
            _ => self.exclusions(line),
        }
        Ok(())
    }

    /// Takes an end over, fitted to the start.
    fn end(&mut self, end: When) {
        let start = &self.part.fields.start;
        let end = match (start, end) {
            (When::Date(start), When::Date(end)) if end <= *start => {
                if end < *start {
                    self.warn("DTEND is before DTSTART and left out");
                }
                return;
            }
            (When::Date(_), When::Date(end)) => When::Date(end),
            (When::Date(_), end) => {
                let wall = end.wall();
                let date = if wall.time() == NaiveTime::MIN {
                    wall.date()
                } else {
                    wall.date().succ_opt().unwrap_or(wall.date())
                };
                self.warn("DTSTART is a date and DTEND a time; the end is read as a date");
                return self.end(When::Date(date));
            }
            (start, When::Date(end)) => {
                let end = start.with_wall(end.and_time(NaiveTime::MIN));
                self.warn("DTSTART is a time and DTEND a date; the end is read as that midnight");
                end
            }
            (_, end) => end,
        };
        let reader_zone = self.zones.default_zone().unwrap_or(chrono_tz::Tz::UTC);
        let is_before = match (&self.part.fields.start, &end) {
            (When::Floating(start), When::Floating(end)) => end < start,
            (start, end)
                if start.zone() == end.zone() && start.zone().is_some() && end.wall() > start.wall() =>
            {
                false
            }
            (start, end) => instant_of(end, reader_zone).0 < instant_of(start, reader_zone).0,
        };
        if is_before {
            self.warn("DTEND is before DTSTART and left out");
        } else {
            self.part.fields.end = End::At(end);
        }
    }

    fn additions(&mut self, line: &Line<'_>) {
        let form = Form::of(line);
        for item in value::list(line.value()).filter(|item| !item.trim().is_empty()) {
            let (start, end) = item.split_once('/').map_or((item, None), |(start, end)| (start, Some(end)));
            let Some(start) = self.zones.when_in(&form, start, self.warnings) else {
                self.warn(&format!("RDATE {:?} is unreadable and left out", short(item)));
                continue;
            };
            let end = match end {
                None => None,
                Some(end) => match value::duration(end) {
                    Some(length) if !length.is_negative => Some(End::After(length.length)),
                    _ => self.zones.when_in(&form, end, self.warnings).map(End::At),
                },
            };
            self.part.additions.push((start, end));
        }
    }

    fn exclusions(&mut self, line: &Line<'_>) {
        let form = Form::of(line);
        for item in value::list(line.value()).filter(|item| !item.trim().is_empty()) {
            match self.zones.when_in(&form, item, self.warnings) {
                Some(start) => self.part.exclusions.push(start),
                None => self.warn(&format!("EXDATE {:?} is unreadable and left out", short(item))),
            }
        }
    }

    fn content(&mut self, name: &str, line: &Line<'_>) {
        let value = line.value();
        let fields = &mut self.part.fields;
        match name {
            "SUMMARY" if fields.title.is_none() => fields.title = value::some_text(value),
            "DESCRIPTION" if fields.description.is_none() => fields.description = value::some_text(value),
            "LOCATION" if fields.location.is_none() => fields.location = value::some_text(value),
            "URL" if fields.url.is_none() => {
                fields.url = Some(value.trim().to_owned()).filter(|url| !url.is_empty());
            }
            "STATUS" => {
                let statuses = [("TENTATIVE", Status::Tentative), ("CANCELLED", Status::Cancelled)];
                fields.status = value::known(value, &statuses).unwrap_or(Status::Confirmed);
            }
            "TRANSP" if value.trim().eq_ignore_ascii_case("TRANSPARENT") => {
                fields.transparency = Transparency::Transparent;
            }
            "CLASS" => {
                let classes = [
                    ("", Visibility::Public),
                    ("PUBLIC", Visibility::Public),
                    ("CONFIDENTIAL", Visibility::Confidential),
                ];
                // RFC 5545 §3.8.1.3: what is not known is private
                fields.visibility = value::known(value, &classes).unwrap_or(Visibility::Private);
            }
            "ORGANIZER" if fields.organizer.is_none() => fields.organizer = guests::organizer(line),
            "CATEGORIES" => {
                let items = value::list(value).filter_map(|item| value::some_text(item.trim()));
                fields.categories.extend(items);
            }
            "COLOR" => fields.color = Some(value.trim().to_owned()).filter(|color| !color.is_empty()),
            _ => self.stamps(name, value),
        }
    }

    fn stamps(&mut self, name: &str, value: &str) {
        let stamps: &mut Stamps = &mut self.part.fields.stamps;
        match name {
            "SEQUENCE" => stamps.sequence = value.trim().parse().unwrap_or(0),
            "CREATED" => stamps.created = value::stamp(value),
            "LAST-MODIFIED" => stamps.updated = value::stamp(value),
            "DTSTAMP" => self.part.stamped = value::stamp(value),
            _ => {}
        }
    }
}
