//! Our hash of what an event says: equal versions mean the same event, whoever spelled it.
//!
//! What the hash sees is the canonical form (see `canonical`); a cancelled override is an exclusion, and an
//! override that equals its instance is none. A single event is a series without a rule. SHA-256 cut to 16 bytes,
//! in one pass without an intermediate tree.

use sha2::{Digest, Sha256};

use super::canonical::{self, Inherited, Recurs, Sink};
use crate::model::{Body, Event, Fields, Master, Override, RecurrenceId, Series, Status, Version};

/// Names the canonical form inside the hash: raised with every change of it, so that old versions match nothing
/// by accident. A version that matches nothing is worked out again from the stored event, never taken for an edit.
const FORM: &[u8] = b"calfleet event 1\n";

/// The version of an event.
pub fn of(event: &Event) -> Version {
    let mut hash = Sha256::new();
    hash.put(FORM);
    hash.put(event.uid.normalised().as_bytes());
    hash.put(b"\xff");
    match &event.body {
        Body::Single(fields) => {
            hash.put(b"M");
            canonical::write_fields(fields, Recurs::No, &mut hash);
        }
        Body::Series(series) => write_series(series, &mut hash),
    }
    cut(hash)
}

/// The version of one set of fields, outside any event.
pub fn of_fields(fields: &Fields) -> Version {
    let mut hash = Sha256::new();
    hash.put(FORM);
    canonical::write_fields(fields, Recurs::No, &mut hash);
    cut(hash)
}

/// Whether two events mean the same.
pub fn is_same(one: &Event, other: &Event) -> bool {
    one == other || of(one) == of(other)
}

fn cut(hash: Sha256) -> Version {
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    Version(bytes)
}

fn write_series(series: &Series, hash: &mut Sha256) {
    if let Some(master) = &series.master {
        let recurs = Recurs::of(master);
        hash.put(b"M");
        canonical::write_fields(&master.fields, recurs, hash);
        let mut rules: Vec<&str> = master.rules.iter().map(|rule| rule.0.as_str()).collect();
        rules.sort_unstable();
        rules.dedup();
        for rule in rules {
            hash.put(b"R");
            canonical::write_text(Some(rule), hash);
        }
        for (key, end) in &master.additions {
            hash.put(b"A");
            let key = canonical::key_in(&master.fields.start, key);
            canonical::write_key(&key, hash);
            if let Some(end) = end {
                let start = canonical::start_at(&master.fields.start, &key);
                canonical::write_when(&start, end, Recurs::No, hash);
            }
        }
    }
    for (key, departure) in departures_of(series) {
        match departure {
            Departure::Cancelled => {
                hash.put(b"X");
                canonical::write_key(&key, hash);
            }
            Departure::Changed(bytes) => {
                hash.put(b"O");
                canonical::write_key(&key, hash);
                hash.put(&bytes);
                hash.put(b"\xff");
            }
        }
    }
}

/// How an instance departs from its series, in canonical bytes.
enum Departure {
    Cancelled,
    Changed(Vec<u8>),
}

/// All departures of a series by their canonical keys, in the order of those.
fn departures_of(series: &Series) -> Vec<(RecurrenceId, Departure)> {
    let master = series.master.as_ref();
    let key_of = |key: &RecurrenceId| master.map_or(*key, |m| canonical::key_in(&m.fields.start, key));
    let mut found = Vec::new();
    for (key, over) in &series.overrides {
        let key = key_of(key);
        match effective(over, master) {
            Override::Cancelled => found.push((key, Departure::Cancelled)),
            Override::Changed(fields) => {
                let mut bytes = Vec::new();
                let departs = match master {
                    Some(master) => {
                        let inherited = Inherited::of(&master.fields, &key);
                        canonical::write_departures(&inherited, fields, &mut bytes)
                            || is_excluded(master, &key)
                    }
                    None => {
                        canonical::write_fields(fields, Recurs::No, &mut bytes);
                        true
                    }
                };
                if departs {
                    found.push((key, Departure::Changed(bytes)));
                }
            }
        }
    }
    for key in master.iter().flat_map(|master| &master.exclusions).map(key_of) {
        found.push((key, Departure::Cancelled));
    }
    // An override that takes place outdoes an exclusion of the same instance.
    found.sort_by_key(|(key, departure)| (*key, matches!(departure, Departure::Cancelled)));
    found.dedup_by_key(|(key, _)| *key);
    found
}

/// An override as it is meant: one whose status is cancelled does not take place.
pub(super) fn effective<'a>(over: &'a Override, master: Option<&Master>) -> &'a Override {
    match (over, master) {
        (Override::Changed(fields), Some(master))
            if fields.status == Status::Cancelled && master.fields.status != Status::Cancelled =>
        {
            &Override::Cancelled
        }
        _ => over,
    }
}

/// Whether the master excludes the instance of a canonical key.
pub(super) fn is_excluded(master: &Master, key: &RecurrenceId) -> bool {
    master.exclusions.iter().any(|excluded| canonical::key_in(&master.fields.start, excluded) == *key)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use chrono::{NaiveDate, NaiveDateTime};
    use chrono_tz::Tz;

    use super::*;
    use crate::clock::Timestamp;
    use crate::model::{Attendee, End, NominalDuration, Reminder, Rule, Uid, When, Zone};

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
