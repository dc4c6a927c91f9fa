//! The zones that generated events live in, each with its own VTIMEZONE.
//!
//! Written out by hand, so that nothing is shared with the zone data of the programs under test. Only
//! zones whose rules have been constant since 2008 are here: the text then agrees with the zone database.

/// When daylight saving begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Season {
    /// Last Sundays of March and October, 01:00 UTC.
    Europe,
    /// Second Sunday of March, first of November, 02:00 local.
    America,
    /// First Sundays of October and April, 02:00 standard time.
    Australia,
    /// Last Sunday of September, first of April, 02:00 standard time.
    NewZealand,
}

/// A zone with its present rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Zone {
    /// The IANA name.
    pub(crate) id: &'static str,
    /// Standard offset in minutes.
    offset: i32,
    name: &'static str,
    daylight: Option<(&'static str, Season)>,
}

const fn zone(
    id: &'static str,
    offset: i32,
    name: &'static str,
    daylight: Option<(&'static str, Season)>,
) -> Zone {
    Zone { id, offset, name, daylight }
}

/// All of them, the commoner ones more often.
pub(crate) const ZONES: [Zone; 16] = [
    zone("Europe/Paris", 60, "CET", Some(("CEST", Season::Europe))),
    zone("Europe/Berlin", 60, "CET", Some(("CEST", Season::Europe))),
    zone("Europe/London", 0, "GMT", Some(("BST", Season::Europe))),
    zone("Europe/Helsinki", 120, "EET", Some(("EEST", Season::Europe))),
    zone("America/New_York", -300, "EST", Some(("EDT", Season::America))),
    zone("America/Los_Angeles", -480, "PST", Some(("PDT", Season::America))),
    zone("America/Chicago", -360, "CST", Some(("CDT", Season::America))),
    zone("America/St_Johns", -210, "NST", Some(("NDT", Season::America))),
    zone("America/Phoenix", -420, "MST", None),
    zone("Asia/Tokyo", 540, "JST", None),
    zone("Asia/Kolkata", 330, "IST", None),
    zone("Asia/Kathmandu", 345, "+0545", None),
    zone("Asia/Singapore", 480, "+08", None),
    zone("Africa/Nairobi", 180, "EAT", None),
    zone("Australia/Sydney", 600, "AEST", Some(("AEDT", Season::Australia))),
    zone("Pacific/Auckland", 720, "NZST", Some(("NZDT", Season::NewZealand))),
];

/// One observance: first onset, its local hour, and the yearly rule.
struct Onset {
    date: &'static str,
    minutes: i32,
    rule: &'static str,
}

impl Zone {
    /// Onsets of daylight saving and of standard time, in the local time before each.
    fn onsets(&self, season: Season) -> (Onset, Onset) {
        let onset = |date, minutes, rule| Onset { date, minutes, rule };
        match season {
            Season::Europe => (
                onset("19810329", 60 + self.offset, "BYMONTH=3;BYDAY=-1SU"),
                onset("19961027", 120 + self.offset, "BYMONTH=10;BYDAY=-1SU"),
            ),
            Season::America => (
                onset("20070311", 120, "BYMONTH=3;BYDAY=2SU"),
                onset("20071104", 120, "BYMONTH=11;BYDAY=1SU"),
            ),
            Season::Australia => (
                onset("20081005", 120, "BYMONTH=10;BYDAY=1SU"),
                onset("20080406", 180, "BYMONTH=4;BYDAY=1SU"),
            ),
            Season::NewZealand => (
                onset("20070930", 120, "BYMONTH=9;BYDAY=-1SU"),
                onset("20080406", 180, "BYMONTH=4;BYDAY=1SU"),
            ),
        }
    }

    /// The VTIMEZONE of this zone (RFC 5545 §3.6.5).
    pub(crate) fn component(&self) -> String {
        let mut out = format!("BEGIN:VTIMEZONE\r\nTZID:{}\r\n", self.id);
        let standard = offset_text(self.offset);
        match self.daylight {
            None => {
                let lines =
                    format!("DTSTART:19700101T000000\r\nTZOFFSETFROM:{standard}\r\nTZOFFSETTO:{standard}");
                write_observance(&mut out, "STANDARD", &lines, self.name);
            }
            Some((daylight_name, season)) => {
                let daylight = offset_text(self.offset + 60);
                let (begin, end) = self.onsets(season);
                let lines = |onset: &Onset, from: &str, to: &str| {
                    format!(
                        "DTSTART:{}T{:02}{:02}00\r\nRRULE:FREQ=YEARLY;{}\r\nTZOFFSETFROM:{from}\r\nTZOFFSETTO:{to}",
                        onset.date,
                        onset.minutes / 60,
                        onset.minutes % 60,
                        onset.rule
                    )
                };
                write_observance(&mut out, "DAYLIGHT", &lines(&begin, &standard, &daylight), daylight_name);
                write_observance(&mut out, "STANDARD", &lines(&end, &daylight, &standard), self.name);
            }
        }
        out.push_str("END:VTIMEZONE\r\n");
        out
    }
}

fn write_observance(out: &mut String, kind: &str, lines: &str, name: &str) {
    for line in [&format!("BEGIN:{kind}"), lines, &format!("TZNAME:{name}"), &format!("END:{kind}")] {
        out.push_str(line);
        out.push_str("\r\n");
    }
}

fn offset_text(minutes: i32) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{NaiveDate, Offset, TimeZone};
    use chrono_tz::Tz;

    #[test]
    fn standard_offsets_and_onsets_agree_with_the_zone_database() {
        for zone in ZONES {
            let tz: Tz = zone.id.parse().unwrap();
            let northern_winter =
                NaiveDate::from_ymd_opt(2026, 1, 15).unwrap().and_hms_opt(12, 0, 0).unwrap();
            let southern_winter =
                NaiveDate::from_ymd_opt(2026, 7, 15).unwrap().and_hms_opt(12, 0, 0).unwrap();
            let offset =
                |wall| tz.from_local_datetime(&wall).earliest().unwrap().offset().fix().local_minus_utc();

            let least = offset(northern_winter).min(offset(southern_winter));
            let most = offset(northern_winter).max(offset(southern_winter));

            assert_eq!(least, zone.offset * 60, "{}", zone.id);
            assert_eq!(most > least, zone.daylight.is_some(), "{}", zone.id);
        }
    }
}
