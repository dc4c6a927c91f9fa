//! From the name of a zone to the zone, and from wall times to instants.
//!
//! One rule for the hours that a change of the clocks touches (RFC 5545 §3.3.5): a time that a gap skips is read
//! with the offset before the gap, a time that happens twice is its first occurrence. [`Adjusted`] says which
//! was needed. A zone is looked for by name before its embedded rules are believed: our zone data are newer than
//! what a producer once wrote down.

use std::cell::LazyCell;
use std::sync::Arc;

use chrono::{DateTime, Duration, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;

use super::custom_zone::CustomClock;
use super::windows_zones;
use crate::model::{CustomZone, Observance, When, Zone};

/// No name of a zone is longer, with the path that some producers put before it (80); longer ones are not looked for,
/// because that takes time by the square of their length.
const LONGEST_NAME_BYTES: usize = 255;

/// The version of the IANA database in use; rows derived from another one are derived again.
pub const DATA_VERSION: &str = chrono_tz::IANA_TZDB_VERSION;

/// What had to be decided to turn a wall time into an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjusted {
    /// Nothing: the wall time happens once.
    No,
    /// The wall time is skipped: read with the offset before the change.
    Gap,
    /// The wall time happens twice: the first was taken.
    Overlap,
}

/// What a `VTIMEZONE` of the object at hand says of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedZone {
    /// `X-LIC-LOCATION`: the producer's own hint at the IANA name.
    pub location: Option<String>,
    /// Its rules; `None` when no usable observance was found.
    pub rules: Option<Arc<CustomZone>>,
}

/// Finds the zone that a name means, where nothing describes it; `None` when nobody can know.
pub fn resolve(name: &str) -> Option<Zone> {
    resolve_in(name, |_| None)
}

/// Finds the zone that a `TZID` means; `None` when nobody can know.
///
/// `embedded` looks for its `VTIMEZONE` in the same `VCALENDAR`, and is not asked where the name is enough. The
/// calendar's own zone is not consulted: whoever falls back on it says so.
pub fn resolve_in(tzid: &str, embedded: impl FnOnce(&str) -> Option<EmbeddedZone>) -> Option<Zone> {
    let name = tzid.trim().trim_matches('"').trim();
    if name.contains(char::is_control) {
        // it could not be written again
        return None;
    }
    let here = LazyCell::new(|| embedded(name));
    let rules = || here.as_ref().and_then(|zone| zone.rules.clone()).map(Zone::Custom);
    if name.len() > LONGEST_NAME_BYTES {
        return rules();
    }
    if is_ambiguous(name)
        && let Some(zone) = rules()
    {
        return Some(zone);
    }
    if let Some(zone) = iana(name).or_else(|| suffix(name)) {
        return Some(Zone::Iana(zone));
    }
    if let Some(zone) = here.as_ref().and_then(|zone| zone.location.as_deref()).and_then(iana) {
        return Some(Zone::Iana(zone));
    }
    if let Some(zone) = windows_zones::by_name(name) {
        return Some(Zone::Iana(zone));
    }
    if name.contains(['(', ',', ' '])
        && let Some(zone) = windows_zones::by_display_name(name)
    {
        return Some(Zone::Iana(zone));
    }
    rules().or_else(|| fixed_offset(name))
}

/// The IANA zone of that name or alias, in letters of any case, under its preferred name.
pub fn iana(name: &str) -> Option<Tz> {
    let zone = name.parse::<Tz>().ok().or_else(|| Tz::from_str_insensitive(name).ok());
    zone.map(windows_zones::preferred).or_else(|| name.contains('/').then(|| windows_zones::by_name(name))?)
}

/// Abbreviations that are links of the IANA database and mean something else to most who write them.
fn is_ambiguous(name: &str) -> bool {
    name.len() <= 4 && !name.eq_ignore_ascii_case("UTC") && !name.eq_ignore_ascii_case("GMT")
}

/// The longest part after a slash that is an IANA name (`/mozilla.org/20070129_1/America/New_York`).
fn suffix(name: &str) -> Option<Tz> {
    let (_, mut rest) = name.split_once('/')?;
    loop {
        if let Some(zone) = iana(rest) {
            return Some(zone);
        }
        rest = rest.split_once('/')?.1;
    }
}

/// `UTC+01`, `GMT+0530`, `+02:00`: a zone without seasons. East is positive, unlike in `Etc/GMT+5`.
fn fixed_offset(name: &str) -> Option<Zone> {
    let rest = ["UTC", "GMT"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name).trim();
    let (sign, digits) = match rest.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() == 4 => digits.split_at_checked(2)?,
        None => (digits, "0"),
    };
    let (hours, minutes) = (hours.parse::<i32>().ok()?, minutes.parse::<i32>().ok()?);
    if !(0..=15).contains(&hours) || !(0..60).contains(&minutes) {
        return None;
    }
    let seconds = sign * (hours * 3600 + minutes * 60);
    let observance = Observance {
        onset: DateTime::UNIX_EPOCH.naive_utc(),
        rule: None,
        onsets: Vec::new(),
        offset_before_seconds: seconds,
        offset_after_seconds: seconds,
    };
    Some(Zone::Custom(Arc::new(CustomZone { tzid: name.to_owned(), observances: vec![observance] })))
}

/// Turns wall times of one zone into instants and back; keeps what it worked out, so use one for many times.
#[derive(Debug, Clone)]
pub struct ZoneClock<'z>(Kind<'z>);

#[derive(Debug, Clone)]
enum Kind<'z> {
    Iana(Tz),
    Custom(CustomClock<'z>),
}

impl<'z> ZoneClock<'z> {
    /// The clock of `zone`.
    pub fn new(zone: &'z Zone) -> Self {
        match zone {
            Zone::Iana(zone) => Self(Kind::Iana(*zone)),
            Zone::Custom(zone) => Self(Kind::Custom(CustomClock::new(zone))),
        }
    }

    /// The clock on which `when` is written: that of its own zone, UTC for instants, the reader's for the rest.
    pub fn of(when: &'z When, reader_zone: Tz) -> Self {
        match when {
            When::Zoned { zone, .. } => Self::new(zone),
            When::Utc(_) => Self(Kind::Iana(Tz::UTC)),
            When::Date(_) | When::Floating(_) => Self(Kind::Iana(reader_zone)),
        }
    }

    /// The instant of a wall time, by the rule of this module.
    pub fn instant(&mut self, wall: NaiveDateTime) -> (DateTime<Utc>, Adjusted) {
        match &mut self.0 {
            Kind::Iana(zone) => instant_in(*zone, wall),
            Kind::Custom(clock) => clock.instant(wall),
        }
    }

    /// The wall time of an instant.
    pub fn wall(&mut self, instant: DateTime<Utc>) -> NaiveDateTime {
        match &mut self.0 {
            Kind::Iana(zone) => instant.with_timezone(zone).naive_local(),
            Kind::Custom(clock) => clock.wall(instant),
        }
    }
}

/// The instant of a wall time in a zone of the IANA database.
pub fn instant_in(zone: Tz, wall: NaiveDateTime) -> (DateTime<Utc>, Adjusted) {
    use chrono::LocalResult::{Ambiguous, None, Single};
    let at = |seconds: i32| {
        wall.checked_sub_signed(Duration::seconds(i64::from(seconds))).unwrap_or(wall).and_utc()
    };
    if zone == Tz::UTC {
        return (wall.and_utc(), Adjusted::No);
    }
    match zone.offset_from_local_datetime(&wall) {
        Single(offset) => (at(offset.fix().local_minus_utc()), Adjusted::No),
        Ambiguous(one, other) => {
            // the first occurrence has the greater offset
            let offset = one.fix().local_minus_utc().max(other.fix().local_minus_utc());
            (at(offset), Adjusted::Overlap)
        }
        None => {
            // the longest gap in history is the day that Samoa left out
            let before = (1..=26).find_map(|hours| {
                let earlier = wall.checked_sub_signed(Duration::hours(hours))?;
                match zone.offset_from_local_datetime(&earlier) {
                    Single(offset) | Ambiguous(_, offset) => Some(offset.fix().local_minus_utc()),
                    None => Option::None,
                }
            });
            (at(before.unwrap_or(0)), Adjusted::Gap)
        }
    }
}

/// The instant a point stands for. Dates begin, and floating times happen, on the clock of `reader_zone`.
pub fn instant_of(when: &When, reader_zone: Tz) -> (DateTime<Utc>, Adjusted) {
    match when {
        When::Utc(instant) => (*instant, Adjusted::No),
        When::Zoned { .. } | When::Date(_) | When::Floating(_) => {
            ZoneClock::of(when, reader_zone).instant(when.wall())
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    fn wall(year: i32, month: u32, day: u32, hour: u32, minute: u32) -> NaiveDateTime {
        NaiveDate::from_ymd_opt(year, month, day).unwrap().and_hms_opt(hour, minute, 0).unwrap()
    }

    #[test]
    fn a_gap_is_read_with_the_offset_before_it_and_an_overlap_is_its_first_hour() {
        let at = |zone, wall| {
            let (instant, adjusted) = instant_in(zone, wall);
            (instant.naive_utc(), adjusted)
        };

        assert_eq!(
            at(Tz::Europe__Paris, wall(2026, 3, 29, 2, 30)),
            (wall(2026, 3, 29, 1, 30), Adjusted::Gap)
        );
        assert_eq!(
            at(Tz::Europe__Paris, wall(2026, 10, 25, 2, 30)),
            (wall(2026, 10, 25, 0, 30), Adjusted::Overlap)
        );
        assert_eq!(
            at(Tz::Pacific__Apia, wall(2011, 12, 30, 12, 0)),
            (wall(2011, 12, 30, 22, 0), Adjusted::Gap)
        );
    }

    #[test]
    fn names_of_every_producer_lead_to_the_zone() {
        let zone = |name| resolve(name).map(|zone| zone.name().to_owned());

        for (name, expected) in [
            ("Europe/Paris", "Europe/Paris"),
            ("europe/paris", "Europe/Paris"),
            ("US/Central", "America/Chicago"),
            ("Europe/Kiev", "Europe/Kyiv"),
            ("/mozilla.org/20070129_1/America/New_York", "America/New_York"),
            (
                "/freeassociation.sourceforge.net/Tzfile/America/Argentina/Buenos_Aires",
                "America/Argentina/Buenos_Aires",
            ),
            ("W. Europe Standard Time", "Europe/Berlin"),
            ("\"(UTC-05:00) Eastern Time (US & Canada)\"", "America/New_York"),
            ("EST5EDT", "America/New_York"),
            ("UTC", "Etc/UTC"),
        ] {
            assert_eq!(zone(name).as_deref(), Some(expected), "{name}");
        }
        assert_eq!(zone("tzone://Microsoft/Custom"), None);
        assert_eq!(zone("Customized Time Zone"), None);
    }

    #[test]
    fn an_offset_as_a_name_is_a_zone_without_seasons() {
        let Some(Zone::Custom(zone)) = resolve("UTC+05:30") else { panic!("no zone") };

        assert_eq!(zone.observances[0].offset_after_seconds, 19_800);
        assert_eq!(resolve("UTC+99"), None);
        assert_eq!(resolve("UTC\n+05:30"), None, "it would end the line that it is written in");
    }
}
