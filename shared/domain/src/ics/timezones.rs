//! `VTIMEZONE`s (RFC 5545 §3.6.5), and which zone a time in the same document is written in.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use chrono::NaiveDateTime;
use chrono_tz::Tz;

use super::component::{Component, line_of};
use super::line::Line;
use super::value::{self, Moment};
use crate::model::{CustomZone, Observance, When, Zone};
use crate::recurrence::rule;
use crate::recurrence::zone::{EmbeddedZone, resolve_in};

/// Most onsets that a zone lists and is believed with; the longest real history has some 250.
const MOST_ONSETS: usize = 1000;
/// Most rules that a zone has and is believed with.
const MOST_RULES: usize = 100;
/// The longest zone that is believed; the longest real one has some 60 KB.
const LONGEST_ZONE_BYTES: usize = 512 << 10;
/// Most warnings about one object, and the longest of them in letters.
const MOST_WARNINGS: usize = 100;
const LONGEST_WARNING: usize = 400;
/// Names whose zone is remembered; a document with more of them has no use for the memory.
const MOST_REMEMBERED: usize = 100;

/// A `VTIMEZONE` by its name. Its rules are read once, when a time needs them, which is rare: most names are known.
#[derive(Debug, Clone)]
pub(crate) struct NamedZone<'t> {
    pub(crate) tzid: String,
    pub(crate) span: Range<usize>,
    text: &'t str,
    described: OnceCell<EmbeddedZone>,
}

impl<'t> NamedZone<'t> {
    /// The one at `span`; `None` without a `TZID`.
    pub(crate) fn at(text: &'t str, span: &Range<usize>) -> Option<Self> {
        let tzid = value::text(line_of(text, span, "TZID")?.value()).trim().to_owned();
        Some(Self { tzid, span: span.clone(), text, described: OnceCell::new() })
    }

    /// Whether times were read by what it says.
    pub(crate) fn is_needed(&self) -> bool {
        self.described.get().is_some_and(|zone| zone.rules.is_some())
    }

    fn described(&self) -> EmbeddedZone {
        self.described.get_or_init(|| self.read()).clone()
    }

    fn read(&self) -> EmbeddedZone {
        let location = line_of(self.text, &self.span, "X-LIC-LOCATION");
        EmbeddedZone { location: location.map(|line| line.value().trim().to_owned()), rules: self.rules() }
    }

    /// What it describes; nothing where that is more than any zone has been through.
    fn rules(&self) -> Option<Arc<CustomZone>> {
        if self.span.len() > LONGEST_ZONE_BYTES {
            return None;
        }
        let component = Component::at(self.text, &self.span);
        let parts =
            component.parts.iter().filter(|part| matches!(part.name.as_ref(), "STANDARD" | "DAYLIGHT"));
        let mut observances: Vec<Observance> = parts.filter_map(observance).collect();
        let onsets: usize = observances.iter().map(|observance| 1 + observance.onsets.len()).sum();
        let rules = observances.iter().filter(|observance| observance.rule.is_some()).count();
        if onsets > MOST_ONSETS || rules > MOST_RULES {
            return None;
        }
        observances.sort_by_key(|observance| observance.onset);
        let tzid = self.tzid.clone();
        (!observances.is_empty()).then(|| Arc::new(CustomZone { tzid, observances }))
    }
}

fn observance(part: &Component<'_>) -> Option<Observance> {
    let offset_after_seconds = value::utc_offset(part.line("TZOFFSETTO")?.value())?;
    let offset_before_seconds = part
        .line("TZOFFSETFROM")
        .and_then(|line| value::utc_offset(line.value()))
        .unwrap_or(offset_after_seconds);
    let mut onsets: Vec<NaiveDateTime> = Vec::new();
    for line in part.lines.iter().filter(|line| line.is("RDATE")) {
        onsets.extend(value::list(line.value()).filter_map(wall));
    }
    onsets.sort_unstable();
    onsets.dedup();
    let onset = match part.line("DTSTART").and_then(|line| wall(line.value())) {
        Some(onset) => onset,
        None => *onsets.first()?,
    };
    onsets.retain(|listed| *listed != onset);
    let rule = part.line("RRULE").and_then(|line| {
        let recurrence: rule::Recurrence = line.value().parse().ok()?;
        // no clock is changed every week
        let is_believed = recurrence.frequency >= rule::Frequency::Monthly;
        is_believed.then(|| crate::model::Rule(recurrence.to_string()))
    });
    Some(Observance { onset, rule, onsets, offset_before_seconds, offset_after_seconds })
}

fn wall(text: &str) -> Option<NaiveDateTime> {
    match value::moment(text)? {
        Moment::Date(date) => Some(date.and_time(chrono::NaiveTime::MIN)),
        Moment::Wall(wall) => Some(wall),
        Moment::Utc(instant) => Some(instant.naive_utc()),
    }
}

/// How the values of one line are written, whatever their number.
#[derive(Debug)]
pub(crate) struct Form<'l> {
    tzid: Option<Cow<'l, str>>,
    is_date: bool,
}

impl<'l> Form<'l> {
    pub(crate) fn of(line: &'l Line<'_>) -> Self {
        Self { tzid: line.parameter("TZID"), is_date: line.says("VALUE", "DATE") }
    }
}

/// The zones that times of one `VCALENDAR` can be written in.
#[derive(Debug, Default)]
pub(crate) struct Zones<'t> {
    embedded: Vec<NamedZone<'t>>,
    /// Where among them a name stands first.
    places: HashMap<String, usize>,
    default: Option<Tz>,
    /// What names were found to mean; the last is of the last name that was looked for.
    known: Vec<(String, Option<Zone>)>,
}

impl<'t> Zones<'t> {
    pub(crate) fn new(embedded: Vec<NamedZone<'t>>, default: Option<Tz>) -> Self {
        let mut places = HashMap::with_capacity(embedded.len());
        for (place, zone) in embedded.iter().enumerate() {
            places.entry(zone.tzid.clone()).or_insert(place);
        }
        Self { embedded, places, default, known: Vec::new() }
    }

    /// Those that the document describes.
    pub(crate) fn embedded(&self) -> &[NamedZone<'t>] {
        &self.embedded
    }

    /// The calendar's own zone.
    pub(crate) fn default_zone(&self) -> Option<Tz> {
        self.default
    }

    fn find(&mut self, tzid: &str) -> Option<Zone> {
        if let Some((_, zone)) = self.known.iter().find(|(known, _)| known == tzid) {
            return zone.clone();
        }
        let described = |name: &str| {
            self.places.get(name).and_then(|place| self.embedded.get(*place)).map(NamedZone::described)
        };
        let zone = resolve_in(tzid, described);
        // the values of a line share one name, so the last one is kept whatever came before
        self.known.truncate(MOST_REMEMBERED - 1);
        self.known.push((tzid.to_owned(), zone.clone()));
        zone
    }

    /// The one value of a line.
    pub(crate) fn when(&mut self, line: &Line<'_>, text: &str, warnings: &mut Vec<String>) -> Option<When> {
        self.when_in(&Form::of(line), text, warnings)
    }

    /// One value of a line of that form.
    pub(crate) fn when_in(
        &mut self,
        form: &Form<'_>,
        text: &str,
        warnings: &mut Vec<String>,
    ) -> Option<When> {
        let wall = match value::moment(text)? {
            Moment::Date(date) => return Some(When::Date(date)),
            Moment::Utc(instant) => return Some(When::Utc(instant)),
            Moment::Wall(wall) if form.is_date => return Some(When::Date(wall.date())),
            Moment::Wall(wall) => wall,
        };
        let Some(tzid) = &form.tzid else { return Some(When::Floating(wall)) };
        if let Some(zone) = self.find(tzid) {
            return Some(When::Zoned { wall, zone });
        }
        let tzid = tzid.trim().chars().take(80).collect::<String>();
        Some(if let Some(zone) = self.default {
            warn_once(
                warnings,
                format!("the time zone {tzid:?} is unknown; read in the calendar's zone {zone}"),
            );
            When::Zoned { wall, zone: Zone::Iana(zone) }
        } else {
            warn_once(
                warnings,
                format!("the time zone {tzid:?} is unknown; read as the reader's local time"),
            );
            When::Floating(wall)
        })
    }
}

/// Adds a warning that is not there yet, unless there are enough.
pub(crate) fn warn_once(warnings: &mut Vec<String>, mut warning: String) {
    if let Some((end, _)) = warning.char_indices().nth(LONGEST_WARNING) {
        warning.truncate(end);
    }
    if warnings.len() < MOST_WARNINGS && !warnings.contains(&warning) {
        warnings.push(warning);
    }
}
