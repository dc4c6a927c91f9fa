//! Property lines of recurrence that come without a `VEVENT` around them.

use chrono_tz::Tz;

use super::Limits;
use super::fault::Fault;
use super::series::{self, Reading};
use super::write;
use crate::model::{Fields, Master};

/// Why property lines cannot be read; what it says is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LinesError(Fault);

/// The master of a series whose fields came in another form, with the `RRULE`, `EXRULE`, `RDATE` and `EXDATE` lines
/// that say when it recurs. Lines of other names say nothing.
///
/// `zone` is the calendar's own, for values that name none. What had to be repaired is added to `warnings`.
///
/// # Errors
/// When there are more additions or exclusions than are allowed.
pub fn master<'l>(
    fields: Fields,
    lines: impl Iterator<Item = &'l str>,
    zone: Option<Tz>,
    limits: &Limits,
    warnings: &mut Vec<String>,
) -> Result<Master, LinesError> {
    let reading = Reading { limits, zone, is_message: false };
    series::master(fields, lines, reading, warnings).map_err(LinesError)
}

/// The `RRULE`, `RDATE` and `EXDATE` lines that say when a master recurs, unfolded: what [`master`] reads.
pub fn recurrence_lines(master: &Master) -> Vec<String> {
    write::recurrence_lines(master)
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike as _, NaiveDate};

    use super::*;
    use crate::model::{End, RecurrenceId, When, Zone};

    #[test]
    fn rules_exclusions_and_additions_are_keyed_in_the_zone_of_the_start() {
        let wall = NaiveDate::from_ymd_opt(2026, 3, 2).unwrap().and_hms_opt(9, 0, 0).unwrap();
        let start = When::Zoned { wall, zone: Zone::Iana(Tz::Europe__Paris) };
        let lines = [
            "RRULE:FREQ=WEEKLY;COUNT=4",
            "EXDATE:20260309T080000Z",
            "RDATE;TZID=Europe/Paris:20260310T090000",
            "X-ODD",
        ];
        let mut warnings = Vec::new();

        let master = master(
            Fields::new(start, End::Unspecified),
            lines.into_iter(),
            None,
            &Limits::default(),
            &mut warnings,
        )
        .unwrap();

        let on = |day| RecurrenceId::Wall(wall.with_day(day).unwrap());
        assert_eq!(
            master.rules.iter().map(|rule| rule.0.as_str()).collect::<Vec<_>>(),
            ["FREQ=WEEKLY;COUNT=4"]
        );
        assert_eq!(master.exclusions.into_iter().collect::<Vec<_>>(), [on(9)]);
        assert_eq!(master.additions.into_keys().collect::<Vec<_>>(), [on(10)]);
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn an_exclusion_by_a_midnight_is_that_day_whatever_is_known_of_the_zone() {
        let day = |day| NaiveDate::from_ymd_opt(2026, 3, day).unwrap();
        let excluded = |line: &str, zone| {
            let fields = Fields::new(When::Date(day(2)), End::Unspecified);
            let lines = ["RRULE:FREQ=WEEKLY", line];
            let master = master(fields, lines.into_iter(), zone, &Limits::default(), &mut Vec::new());
            master.unwrap().exclusions.into_iter().collect::<Vec<_>>()
        };
        let ninth = [RecurrenceId::Date(day(9))];

        for zone in [None, Some(Tz::America__New_York), Some(Tz::Europe__Paris), Some(Tz::Asia__Tokyo)] {
            assert_eq!(excluded("EXDATE:20260309T000000Z", zone), ninth, "{zone:?}");
        }
        assert_eq!(excluded("EXDATE:20260308T230000Z", Some(Tz::Europe__Paris)), ninth, "its midnight");
        assert_eq!(excluded("EXDATE:20260309T040000Z", Some(Tz::America__New_York)), ninth, "its midnight");
    }

    #[test]
    fn more_exclusions_than_allowed_are_a_fault() {
        let start = When::Date(NaiveDate::from_ymd_opt(2026, 3, 2).unwrap());
        let limits = Limits { instances: 1, ..Limits::default() };
        let lines = ["EXDATE;VALUE=DATE:20260303,20260304"];

        let read =
            master(Fields::new(start, End::Unspecified), lines.into_iter(), None, &limits, &mut Vec::new());

        assert!(read.is_err());
    }
}
