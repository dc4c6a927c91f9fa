//! A change of an object that somebody else made: it says what it has to, and what nobody changed stays byte for byte
//! (law 19), however its parts are named.

use std::collections::BTreeMap;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::ics::{self, Item, Limits};
use calfleet_domain::model::{Body, Event, Fields, Master, Override, RecurrenceId, Series, When, Zone};
use calfleet_domain::recurrence::expand::{id_of, start_of};
use calfleet_domain::recurrence::zone::instant_of;
use chrono::Duration;
use chrono_tz::Tz;
use proptest::prelude::*;
use proptest::sample::select;

use crate::cases;
use crate::corpus::without_stamps;
use crate::generators::{a_series, an_orphan};

/// The calendar's own zone.
const ZONE: Option<Tz> = Some(Tz::Pacific__Auckland);

fn read(text: &str) -> Event {
    match ics::read(text, ZONE, &Limits::default()).unwrap().items.remove(0) {
        Item::Read(object) => object.event,
        Item::Unreadable { reason, .. } => panic!("{reason} in\n{text}"),
    }
}

fn patched(raw: &str, before: &Event, after: &Event) -> String {
    let text = ics::patch(raw, before, after, ZONE, Timestamp(0));
    assert_eq!(without_stamps(&read(&text)), without_stamps(after), "{raw}\n{text}");
    text
}

/// How another program names an instance.
#[derive(Debug, Clone, Copy)]
enum Form {
    AsStarted,
    Utc,
    Zoned(Tz),
    Day,
}

fn a_form() -> impl Strategy<Value = Form> {
    select(vec![Form::AsStarted, Form::Utc, Form::Zoned(Tz::Asia__Tokyo), Form::Day])
}

fn a_zoned_series() -> impl Strategy<Value = Event> {
    a_series().prop_filter("in a zone", |event| matches!(start_in(event), When::Zoned { .. }))
}

fn a_timed_series() -> impl Strategy<Value = Event> {
    a_series().prop_filter("at a time", |event| !start_in(event).is_date())
}

fn start_in(event: &Event) -> &When {
    &event.fields().unwrap().start
}

/// Parameters and value of an original start, colon included.
fn written(start: &When, form: Form) -> String {
    let own = || match start {
        When::Date(date) => format!(";VALUE=DATE:{}", date.format("%Y%m%d")),
        When::Floating(wall) => format!(":{}", wall.format("%Y%m%dT%H%M%S")),
        When::Zoned { wall, zone } => format!(";TZID={zone}:{}", wall.format("%Y%m%dT%H%M%S")),
        When::Utc(instant) => format!(":{}", instant.format("%Y%m%dT%H%M%SZ")),
    };
    let instant = instant_of(start, ZONE.unwrap()).0;
    match form {
        Form::AsStarted => own(),
        // of all-day series only in the zone of the calendar can a time be a day
        Form::Zoned(_) if start.is_date() => own(),
        Form::Utc => format!(":{}", instant.format("%Y%m%dT%H%M%SZ")),
        Form::Zoned(zone) => {
            format!(";TZID={zone}:{}", instant.with_timezone(&zone).format("%Y%m%dT%H%M%S"))
        }
        Form::Day => format!(";VALUE=DATE:{}", start.wall().format("%Y%m%d")),
    }
}

/// The text of a series by a program that names instances in that form, has an object for each instance that does not
/// take place, and a line of its own in every object.
fn foreign(event: &Event, form: Form) -> String {
    let Body::Series(Series { master: Some(master), .. }) = &event.body else { panic!("a series") };
    let start = &master.fields.start;
    let mut text = String::new();
    let mut skips = false;
    for line in ics::write(event, Timestamp(0)).split_inclusive("\r\n") {
        skips = line.starts_with("EXDATE") || (skips && line.starts_with(' '));
        if skips {
            continue;
        }
        match line.strip_prefix("RECURRENCE-ID") {
            Some(id) => {
                let (_, value) = id.trim_end().rsplit_once(':').unwrap();
                let original = start_of(value.parse().unwrap(), start);
                text.extend(["RECURRENCE-ID", &written(&original, form), "\r\n"]);
            }
            None if line == "END:VEVENT\r\n" => text += "X-OWN;A=\"b:c\":kept\r\nEND:VEVENT\r\n",
            None => text += line,
        }
    }
    let end = text.find("END:VCALENDAR").unwrap();
    let cancelled = |id: &RecurrenceId| {
        let original = start_of(*id, start);
        format!(
            "BEGIN:VEVENT\r\nUID:{}\r\nDTSTAMP:19700101T000000Z\r\nRECURRENCE-ID{}\r\nDTSTART{}\r\n\
             STATUS:CANCELLED\r\nX-OWN;A=\"b:c\":kept\r\nEND:VEVENT\r\n",
            event.uid.as_str(),
            written(&original, form),
            written(&original, Form::AsStarted)
        )
    };
    text.insert_str(end, &master.exclusions.iter().map(cancelled).collect::<String>());
    text
}

fn objects(text: &str) -> Vec<&str> {
    text.split("BEGIN:VEVENT").skip(1).map(|rest| rest.split("END:VEVENT").next().unwrap()).collect()
}

fn series(event: &mut Event) -> &mut Series {
    match &mut event.body {
        Body::Series(series) => series,
        Body::Single(_) => panic!("a series"),
    }
}

fn master(event: &mut Event) -> &mut Master {
    series(event).master.as_mut().unwrap()
}

fn overrides(event: &mut Event) -> impl Iterator<Item = &mut Fields> {
    series(event).overrides.values_mut().filter_map(|over| match over {
        Override::Changed(fields) => Some(fields.as_mut()),
        Override::Cancelled => None,
    })
}

/// The event with another title in each override.
fn retitled(before: &Event) -> Event {
    let mut after = before.clone();
    overrides(&mut after).for_each(|fields| fields.title = Some("other than before".to_owned()));
    after
}

proptest! {
    // of the generated series one in four has a zone of its own
    #![proptest_config(ProptestConfig { max_local_rejects: 1_000_000, ..cases(1_000, 100_000) })]

    #[test]
    fn a_change_of_the_master_leaves_other_objects_alone(event in a_series(), form in a_form()) {
        let raw = foreign(&event, form);
        let before = read(&raw);
        let mut after = before.clone();
        master(&mut after).fields.title = Some("other than before".to_owned());

        let text = patched(&raw, &before, &after);

        prop_assert_eq!(&objects(&text)[1..], &objects(&raw)[1..]);
        prop_assert!(objects(&text)[0].contains("X-OWN"));
    }

    #[test]
    fn a_change_of_overrides_leaves_the_master_and_cancelled_instances_alone(
        event in a_series(),
        form in a_form(),
    ) {
        let raw = foreign(&event, form);
        let before = read(&raw);
        let after = retitled(&before);

        let text = patched(&raw, &before, &after);

        let (old, new) = (objects(&raw), objects(&text));
        prop_assert_eq!(old.len(), new.len());
        for (old, new) in old.iter().zip(new) {
            let name = |text: &str| text.lines().find(|line| line.starts_with("RECURRENCE-ID")).map(str::to_owned);
            prop_assert_eq!(name(old), name(new));
            prop_assert!(new.contains("X-OWN"));
            if name(old).is_none() || old.contains("STATUS:CANCELLED") {
                prop_assert_eq!(*old, new);
            }
        }
    }

    #[test]
    fn a_series_that_changes_its_zone_takes_what_departs_from_it_along(
        event in a_zoned_series(),
        form in a_form(),
        zone in select(vec![Tz::Europe__London, Tz::America__St_Johns]),
    ) {
        let raw = foreign(&event, form);
        let before = read(&raw);
        let mut after = before.clone();
        let start = &mut master(&mut after).fields.start;
        *start = When::Zoned { wall: start.wall(), zone: Zone::Iana(zone) };

        let text = patched(&raw, &before, &after);

        let named = format!(";TZID={zone}:");
        for line in text.lines().filter(|line| line.starts_with("RECURRENCE-ID") || line.starts_with("EXDATE")) {
            prop_assert!(line.contains(&named), "{line} in\n{text}");
        }
        prop_assert_eq!(text.matches("X-OWN").count(), raw.matches("X-OWN").count());
    }

    #[test]
    fn a_series_that_moves_takes_what_departs_from_it_along(
        event in a_timed_series(),
        form in a_form(),
        minutes in 1_i64..1400,
    ) {
        let raw = foreign(&event, form);
        let before = read(&raw);
        let mut after = before.clone();
        let start = master(&mut after).fields.start.clone();
        let later = |when: &When| when.with_wall(when.wall() + Duration::minutes(minutes));
        let moved = |id: &RecurrenceId| id_of(&later(&start_of(*id, &start)));
        master(&mut after).fields.start = later(&start);
        master(&mut after).rules.clear();
        let every = std::iter::successors(Some(start.wall()), |wall| Some(*wall + Duration::days(1)));
        // all that departs from the series is an instance of it
        let additions = every.skip(1).take(2).map(|wall| (moved(&id_of(&start.with_wall(wall))), None));
        master(&mut after).additions = additions.collect();
        let exclusions = master(&mut after).exclusions.iter().map(moved).collect();
        master(&mut after).exclusions = exclusions;
        let overrides: BTreeMap<_, _> =
            series(&mut after).overrides.iter().map(|(id, over)| (moved(id), over.clone())).collect();
        for id in overrides.keys().chain(&master(&mut after).exclusions.clone()) {
            if *id != id_of(&later(&start)) {
                master(&mut after).additions.insert(*id, None);
            }
        }
        series(&mut after).overrides = overrides;

        let text = patched(&raw, &before, &after);

        prop_assert_eq!(text.matches("X-OWN").count(), raw.matches("X-OWN").count());
        prop_assert_eq!(objects(&text).len(), objects(&raw).len());
    }

    #[test]
    fn instances_of_an_unknown_series_keep_their_objects(event in an_orphan()) {
        let raw = ics::write(&event, Timestamp(0)).replace("END:VEVENT", "X-OWN;A=\"b:c\":kept\r\nEND:VEVENT");
        let before = read(&raw);
        let after = retitled(&before);

        let text = patched(&raw, &before, &after);

        let (old, new) = (objects(&raw), objects(&text));
        prop_assert_eq!(old.len(), new.len());
        for (old, new) in old.iter().zip(new) {
            prop_assert!(new.contains("X-OWN"));
            prop_assert!(!old.contains("STATUS:CANCELLED") || *old == new);
        }
    }
}

#[test]
fn objects_of_the_corpus_stay_as_they_are_but_for_what_changed() {
    for name in crate::corpus::names() {
        let text = ics::decode(&crate::corpus::file(&name)).into_owned();
        let Ok(document) = ics::read(&text, ZONE, &Limits::default()) else { continue };
        let zone = document.time_zone.as_deref().and_then(calfleet_domain::recurrence::zone::iana).or(ZONE);
        for item in document.items {
            let Item::Read(object) = item else { continue };
            let (raw, before) = (&object.raw, &object.event);
            let mut after = before.clone();
            match &mut after.body {
                Body::Single(fields) => fields.color = Some("teal".to_owned()),
                Body::Series(series) => {
                    series.master.iter_mut().for_each(|master| master.fields.color = Some("teal".to_owned()));
                }
            }

            // a range, which few can read, is written as an object for each instance
            if !raw.contains("RANGE=") {
                assert_eq!(ics::patch(raw, before, before, zone, Timestamp(0)), *raw, "{name}");
            }
            let text = ics::patch(raw, before, &after, zone, Timestamp(0));
            let found = ics::read(&text, zone, &Limits::default()).unwrap().items.remove(0);
            let Item::Read(found) = found else { panic!("{name}: {found:?}") };
            // a UID that the object does not have is made of what it says
            assert_eq!(without_stamps(&found.event).body, without_stamps(&after).body, "{name}:\n{text}");
        }
    }
}
