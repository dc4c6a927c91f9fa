//! Our hash of what an event says: equal versions mean the same event, whoever spelled it.
//!
//! What the hash sees is the canonical form (see `canonical`); a cancelled override is an exclusion, and an
//! override that equals its instance is none. A single event is a series without a rule. SHA-256 cut to 16 bytes.

use sha2::{Digest, Sha256};

use super::canonical::{self, END_OF_TEXT};
use super::point::Recurs;
use super::sheet::Sheet;
use crate::model::{Event, Fields, Version};

/// Names the canonical form inside the hash: raised with every change of it, so that old versions match nothing
/// by accident. A version that matches nothing is worked out again from the stored event, never taken for an edit.
const FORM: &[u8] = b"calfleet event 2\n";

/// Canonical forms of most events fit in.
const USUAL_BYTES: usize = 1 << 10;

/// The version of an event.
pub fn of(event: &Event) -> Version {
    let mut form = Vec::with_capacity(USUAL_BYTES);
    form.extend_from_slice(FORM);
    form.extend_from_slice(event.uid.normalised().as_bytes());
    form.push(END_OF_TEXT);
    Sheet::of(event).write(&mut form);
    hashed(&form)
}

/// The version of one set of fields, outside any event.
pub fn of_fields(fields: &Fields) -> Version {
    let mut form = Vec::with_capacity(USUAL_BYTES);
    form.extend_from_slice(FORM);
    canonical::write_fields(fields, Recurs::No, &mut form);
    hashed(&form)
}

/// Whether two events mean the same.
pub fn is_same(one: &Event, other: &Event) -> bool {
    one == other || of(one) == of(other)
}

fn hashed(form: &[u8]) -> Version {
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(Sha256::digest(form)) {
        *to = from;
    }
    Version(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use chrono::{NaiveDate, NaiveDateTime};
    use chrono_tz::Tz;

    use super::*;
    use crate::clock::Timestamp;
    use crate::model::{
        Attendee, Body, End, Master, NominalDuration, Override, RecurrenceId, Reminder, Rule, Series, Status,
        Uid, When, Zone,
    };

    fn wall(day: u32, hour: u32) -> NaiveDateTime {
        NaiveDate::from_ymd_opt(2026, 3, day).unwrap().and_hms_opt(hour, 0, 0).unwrap()
    }

    fn zoned(day: u32, hour: u32, zone: Tz) -> When {
        When::Zoned { wall: wall(day, hour), zone: Zone::Iana(zone) }
    }

    fn meeting() -> Fields {
        let (start, end) = (zoned(27, 10, Tz::Europe__Kyiv), zoned(27, 11, Tz::Europe__Kyiv));
        Fields { title: Some("Review".into()), ..Fields::new(start, End::At(end)) }
    }

    fn single(fields: Fields) -> Event {
        Event { uid: Uid::from("a@example.com"), body: Body::Single(fields) }
    }

    fn daily(overrides: BTreeMap<RecurrenceId, Override>, exclusions: BTreeSet<RecurrenceId>) -> Event {
        let master = Master {
            fields: meeting(),
            rules: vec![Rule("FREQ=DAILY".into())],
            additions: BTreeMap::new(),
            exclusions,
        };
        Event {
            uid: Uid::from("a@example.com"),
            body: Body::Series(Series { master: Some(master), overrides }),
        }
    }

    #[test]
    fn spelling_makes_no_version() {
        let mut plain = meeting();
        plain.description = Some("caf\u{e9}\nsecond".into());
        plain.reminders = vec![Reminder::BeforeStart(60), Reminder::BeforeStart(600)];
        plain.attendees = vec![Attendee::new("ada@example.com"), Attendee::new("bob@example.com")];
        let mut spelled = plain.clone();
        spelled.start = zoned(27, 10, Tz::Europe__Kiev);
        spelled.end = End::After(NominalDuration { days: 0, seconds: 3600 });
        spelled.description = Some("cafe\u{301} \r\nsecond\r\n\r\n".into());
        spelled.location = Some("  ".into());
        spelled.reminders.reverse();
        spelled.attendees.reverse();
        spelled.attendees[0].address = "Bob@Example.com".into();
        spelled.stamps.sequence = 7;
        spelled.stamps.updated = Some(Timestamp(1));

        assert_eq!(of(&single(plain.clone())), of(&single(spelled.clone())));
        assert_eq!(of_fields(&plain), of_fields(&spelled));
    }

    #[test]
    fn meaning_makes_a_version() {
        let plain = meeting();
        let changes: [fn(&mut Fields); 8] = [
            |fields| fields.title = Some("Other".into()),
            |fields| fields.description = Some("Review".into()),
            |fields| fields.start = zoned(27, 10, Tz::Europe__Warsaw),
            |fields| fields.start = When::Floating(wall(27, 10)),
            |fields| fields.end = End::Unspecified,
            |fields| fields.transparency = crate::model::Transparency::Transparent,
            |fields| fields.attendees = vec![Attendee::new("ada@example.com")],
            |fields| fields.reminders = vec![Reminder::At(Timestamp(0))],
        ];
        let mut seen = BTreeSet::from([of(&single(plain.clone()))]);
        for change in changes {
            let mut changed = plain.clone();
            change(&mut changed);
            assert!(seen.insert(of(&single(changed))));
        }
    }

    #[test]
    fn an_exclusion_is_a_cancelled_override_and_a_cancelled_status() {
        let key = RecurrenceId::Wall(wall(28, 10));
        let cancelled = Fields { status: Status::Cancelled, ..meeting() };
        let by_exclusion = daily(BTreeMap::new(), BTreeSet::from([key]));
        let by_override = daily(BTreeMap::from([(key, Override::Cancelled)]), BTreeSet::new());
        let by_status =
            daily(BTreeMap::from([(key, Override::Changed(Box::new(cancelled)))]), BTreeSet::new());

        assert_eq!(of(&by_exclusion), of(&by_override));
        assert_eq!(of(&by_exclusion), of(&by_status));
        assert_ne!(of(&by_exclusion), of(&daily(BTreeMap::new(), BTreeSet::new())));
    }

    #[test]
    fn an_override_counts_only_where_it_differs_from_its_instance() {
        let plain = daily(BTreeMap::new(), BTreeSet::new());
        let key = RecurrenceId::Wall(wall(30, 10));
        let instance = Fields {
            start: zoned(30, 10, Tz::Europe__Kiev),
            end: End::At(zoned(30, 11, Tz::Europe__Kyiv)),
            ..meeting()
        };
        let renamed = Fields { title: Some("Other".into()), ..instance.clone() };
        let with =
            |fields| daily(BTreeMap::from([(key, Override::Changed(Box::new(fields)))]), BTreeSet::new());

        assert_eq!(of(&plain), of(&with(instance)));
        assert_ne!(of(&plain), of(&with(renamed)));
    }

    #[test]
    fn days_on_the_calendar_are_exact_seconds_only_where_no_clock_changes() {
        let lasting = |start: When, days, seconds| {
            single(Fields::new(start, End::After(NominalDuration { days, seconds })))
        };
        let (before, across) = (zoned(24, 12, Tz::Europe__Kyiv), zoned(28, 12, Tz::Europe__Kyiv));

        assert_eq!(of(&lasting(before.clone(), 1, 0)), of(&lasting(before, 0, 86_400)));
        assert_eq!(of(&lasting(across.clone(), 1, 0)), of(&lasting(across.clone(), 0, 82_800)));
        assert_ne!(of(&lasting(across.clone(), 1, 0)), of(&lasting(across, 0, 86_400)));
    }
}
