//! The corpus of real files at each provider: every event that can be read is made through the driver, listed anew, and
//! has the instances it had in its file (laws 12, 16 and 17).
//!
//! An instance is its times, whether it is of dates, and what it says; who is invited is another account's business, and
//! left out. What a provider cannot say, its driver refuses with a reason, or it says something else: that stands in
//! `LIMITS`. A difference that does not stand there fails, and so does a limit that makes none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use calfleet_domain::ics::{self, Item};
use calfleet_domain::model::ProviderKind::{Google, Microsoft};
use calfleet_domain::model::{
    Body, Event, EventId, Fields, Notify, Override, ProviderId, ProviderKind, When,
};
use calfleet_domain::recurrence::{Budget, Instance, expand};
use calfleet_providers::driver::{CalendarRef, Change, Write, Written};
use calfleet_providers::naming;
use calfleet_store::calendars;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use super::office::{ALL, Office};
use crate::databases::TestStore;
use crate::microsoft::{DAY, live};

/// What a provider refuses or says otherwise: the file with the place of its object, and the reason or the part of an
/// instance that differs.
const LIMITS: &[(ProviderKind, &str, &str)] = &[
    (Google, "nodeical-bad_ms_tz 0", CUSTOM_ZONE),
    (Google, "nodeical-exchange-custom-tz 0", BLANK),
    (Google, "nodeical-exchange_whole_day_moved_recurrence 0", BLANK),
    (Google, "nodeical-exchange_whole_day_moved_recurrence_offset_tz 0", BLANK),
    (Google, "nodeical-recurrence-sequence 0", NO_INSTANCE),
    // Google has no event that is called off and still there.
    (Google, "nodeical-tentative-apple-calendar 2", "gone"),
    (Google, "own-itip-cancel-one-instance 0", NO_MASTER),
    (Google, "own-orphan-override-only 0", NO_MASTER),
    (Google, "own-rdate-exdate-mixed 0", OWN_LENGTH),
    (Google, "pyical-issue_156_RDATE_with_PERIOD_TZID_khal 0", NO_MASTER),
    (Google, "pyical-issue_464_invalid_rdate 0", OWN_LENGTH),
    // Rules that name a calendar system (RFC 7529).
    (Google, "pyical-rfc_7529 0", NAMED),
    (Google, "pyical-rfc_7529 1", NAMED),
    (Google, "pyical-rfc_7529 2", NAMED),
    (Google, "pyical-rfc_7529 3", NAMED),
    (
        Microsoft,
        "nodeical-Office-2012-owa 3",
        "This provider cannot begin a series on a day that its rule does not have.",
    ),
    (Microsoft, "nodeical-bad_custom_ms_tz 1", NOT_TENTATIVE),
    (Microsoft, "nodeical-bad_custom_ms_tz 2", NOT_TENTATIVE),
    (Microsoft, "nodeical-bad_ms_tz 0", CUSTOM_ZONE),
    // The series is there when Outlook refuses to move one of its instances so far.
    (Microsoft, "nodeical-daily-count-exdate-recurrence-id 0", TOO_FAR),
    (Microsoft, "Treasure Hunting", LEFT),
    (Microsoft, "nodeical-whole_day_moved_over_dst_change_berlin 0", TOO_FAR),
    (Microsoft, "test whole day moved", LEFT),
    (Microsoft, "nodeical-exchange-custom-tz 0", BLANK),
    (Microsoft, "nodeical-exchange_whole_day_moved_recurrence 0", BLANK),
    (Microsoft, "nodeical-exchange_whole_day_moved_recurrence_offset_tz 0", BLANK),
    (Microsoft, "nodeical-recurrence-sequence 0", NO_INSTANCE),
    (Microsoft, "nodeical-tentative-apple-calendar 0", NOT_TENTATIVE),
    (Microsoft, "nodeical-tentative-apple-calendar 2", "status: \"Confirmed\", not \"Cancelled\""),
    // Blanks at the ends of lines and lines without a word at those of the text are not kept.
    (
        Microsoft,
        "nodeical-test_with_int_tzid 1",
        "text: \"e monde.\\n\\nJe vous propos\", not \"e monde. \\n\\nJe vous propo\"",
    ),
    (Microsoft, "own-itip-cancel-one-instance 0", NO_MASTER),
    (Microsoft, "own-orphan-override-only 0", NO_MASTER),
    (Microsoft, "own-rdate-exdate-mixed 0", "This provider cannot add single dates to a series."),
    (Microsoft, "pyical-issue_156_RDATE_with_PERIOD_TZID_khal 0", NO_MASTER),
    (
        Microsoft,
        "pyical-issue_348_exception_parsing_value 0",
        "text: \"Votre véhicule avec le n\", not \"\\nVotre véhicule avec le \"",
    ),
    (
        Microsoft,
        "pyical-issue_464_invalid_rdate 0",
        "This provider cannot repeat an event by more or less than one rule.",
    ),
    (Microsoft, "pyical-rfc_7529 0", NO_PATTERN),
    (Microsoft, "pyical-rfc_7529 1", NO_PATTERN),
    (Microsoft, "pyical-rfc_7529 2", NO_PATTERN),
    (Microsoft, "pyical-rfc_7529 3", NO_PATTERN),
];

const BLANK: &str = "text: \"\", not \"\\n\"";
const CUSTOM_ZONE: &str = "This provider cannot repeat an event in a time zone with rules of its own.";
const LEFT: &str = "left half made";
const NO_INSTANCE: &str = "This provider cannot change an instance that its series does not have.";
const NO_MASTER: &str = "This provider cannot make instances of a series without the series.";
const NO_PATTERN: &str = "This provider cannot repeat an event by a rule of this kind.";
const NOT_TENTATIVE: &str = "status: \"Confirmed\", not \"Tentative\"";
const OWN_LENGTH: &str = "This provider cannot add dates of a length of their own to a series.";
const NAMED: &str = "This provider cannot repeat an event by a rule that names a calendar system.";
const TOO_FAR: &str = "This provider cannot move an instance to or past the day of its neighbour.";

/// Beyond what Microsoft's window is opened to, so that its frame holds every instance that is compared.
const FROM: &str = "1990-01-01T00:00:00Z";
const UNTIL: &str = "2036-01-01T00:00:00Z";

type Parts = BTreeMap<&'static str, String>;

/// The events of all files that can be read, without people.
fn corpus() -> Vec<(String, Event)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../data/ics");
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|name| name.extension().is_some_and(|ending| ending == "ics"));
    names.sort();
    let mut events = Vec::new();
    for path in names {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let document =
            ics::read(&ics::decode(&std::fs::read(path).unwrap()), None, &ics::Limits::default()).unwrap();
        for (place, item) in document.items.into_iter().enumerate() {
            if let Item::Read(object) = item {
                events.push((format!("{name} {place}"), without_people(object.event)));
            }
        }
    }
    events
}

fn without_people(mut event: Event) -> Event {
    let leave = |fields: &mut Fields| {
        fields.attendees.clear();
        fields.organizer = None;
    };
    match &mut event.body {
        Body::Single(fields) => leave(fields),
        Body::Series(series) => {
            if let Some(master) = &mut series.master {
                leave(&mut master.fields);
            }
            for one in series.overrides.values_mut() {
                if let Override::Changed(fields) = one {
                    leave(fields);
                }
            }
        }
    }
    event
}

/// All instances, as somebody in that zone sees them.
fn instances(event: &Event, zone: Tz) -> Vec<Parts> {
    let window = FROM.parse::<DateTime<Utc>>().unwrap()..UNTIL.parse().unwrap();
    let expansion = expand(event, window, zone, &Budget::default());
    let of = |one: &Instance<'_>| {
        let fields = one.fields;
        let some = |text: &Option<String>| text.clone().unwrap_or_default();
        BTreeMap::from([
            ("start", one.starts_at.to_rfc3339()),
            ("end", one.ends_at.to_rfc3339()),
            ("dates", matches!(one.start, When::Date(_)).to_string()),
            ("title", some(&fields.title)),
            ("place", some(&fields.location)),
            ("text", some(&fields.description)),
            ("busy", format!("{:?}", fields.transparency)),
            ("status", format!("{:?}", fields.status)),
            ("visibility", format!("{:?}", fields.visibility)),
        ])
    };
    expansion.instances.iter().map(of).collect()
}

/// Where two texts part; whole ones would make long lines.
fn difference(part: &str, wanted: &str, held: &str) -> String {
    let same = wanted.chars().zip(held.chars()).take_while(|(one, other)| one == other).count();
    let from = |text: &str| text.chars().skip(same.saturating_sub(8)).take(24).collect::<String>();
    format!("{part}: {:?}, not {:?}", from(held), from(wanted))
}

/// What differs, by part: the first instance that says something else, or how many there are.
fn differences(wanted: &[Parts], held: &[Parts]) -> Vec<String> {
    if wanted.len() != held.len() {
        return vec![format!("{} instances, not {}", held.len(), wanted.len())];
    }
    let mut differing = BTreeMap::new();
    for (one, other) in wanted.iter().zip(held) {
        for (part, value) in one.iter().filter(|(part, value)| other[*part] != **value) {
            differing.entry(*part).or_insert_with(|| difference(part, value, &other[part]));
        }
    }
    differing.into_values().collect()
}

/// Makes every event of the corpus at a provider and lists them anew; what is refused or differs.
async fn differing(provider: ProviderKind) -> BTreeSet<(ProviderKind, String, String)> {
    let store = TestStore::sqlite().await.unwrap();
    let office = Office::open_over(&store, provider, 37 * 365 * DAY, 10 * 365 * DAY).await;
    let fleet = office.fleet();
    let connection = fleet.connection(office.desk.connection).await;
    let driver = fleet.service.drivers.open(&connection).await.unwrap();
    let tx = store.store.read(office.desk.scope()).await.unwrap();
    let calendar = calendars::load(&tx, office.desk.calendar().await).await.unwrap().unwrap();
    drop(tx);
    let place = CalendarRef::from(&calendar.remote);
    // in which the calendar shows what has none
    let zone = place.time_zone.as_ref().map_or(Tz::UTC, |zone| zone.parse().unwrap());
    let (mut made, mut found) = (BTreeMap::<ProviderId, (String, Event)>::new(), BTreeSet::new());
    for (number, (name, mut event)) in corpus().into_iter().enumerate() {
        let id = EventId(Uuid::from_u128(number as u128 + 1));
        let names = naming::names(provider, &place.provider_id, id);
        event.uid = names.uid;
        let (change, notify) = (Change::Create(&event), Notify::None);
        let write = Write { provider_id: &names.provider_id, change, notify, message: None };
        match driver.write(&place, &write).await {
            Ok(Written::Held(remote)) => drop(made.insert(remote.provider_id, (name, event))),
            Ok(Written::Gone) => drop(found.insert((provider, name, "gone".to_owned()))),
            Err(error) => drop(found.insert((provider, name, error.problem.to_string()))),
        }
    }
    office.list().await;
    let mut compared = 0;
    for row in live(fleet, connection.id).await {
        let Some((name, event)) = made.remove(&row.event.provider_id) else {
            let held = row.event.event.unwrap();
            found.insert((
                provider,
                held.fields().unwrap().title.clone().unwrap(),
                "left half made".to_owned(),
            ));
            continue;
        };
        compared += instances(&event, zone).len();
        let differences = match (&row.problem, &row.event.event) {
            (None, Some(held)) => differences(&instances(&event, zone), &instances(held, zone)),
            (problem, _) => vec![format!("{problem:?}")],
        };
        found.extend(differences.into_iter().map(|difference| (provider, name.clone(), difference)));
    }
    assert!(compared > 1_500, "{provider}: {compared} instances prove little");
    made.retain(|_, (_, event)| !instances(event, zone).is_empty());
    found.extend(made.into_values().map(|(name, _)| (provider, name, "not listed".to_owned())));
    found
}

#[tokio::test]
async fn the_real_files_have_the_same_instances_at_every_provider() {
    let mut found = BTreeSet::new();
    for provider in ALL {
        found.extend(differing(provider).await);
    }

    let limits =
        LIMITS.iter().map(|(provider, file, what)| (*provider, (*file).to_owned(), (*what).to_owned()));
    let limits: BTreeSet<_> = limits.collect();
    let unnamed: Vec<_> = found.difference(&limits).collect();
    let idle: Vec<_> = limits.difference(&found).collect();
    assert!(unnamed.is_empty() && idle.is_empty(), "differs: {unnamed:#?}\ndiffers no more: {idle:#?}");
}
