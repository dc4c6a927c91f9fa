//! Zones of every producer lead to the right instants, for ten years (law 17).

use std::collections::BTreeSet;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::ics::{self, Item, Limits};
use calfleet_domain::model::{Body, CustomZone, End, Event, Fields, Uid, When, Zone};
use calfleet_domain::recurrence::windows_zones::{preferred, windows_ids};
use calfleet_domain::recurrence::zone::{Adjusted, ZoneClock, instant_in, resolve};
use chrono::{Duration, NaiveDate, NaiveDateTime};
use chrono_tz::{TZ_VARIANTS, Tz};

/// Ten years of wall times: every few hours, and each hour around the changes of the clocks.
fn walls(zone: Tz) -> Vec<NaiveDateTime> {
    let begin = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap().and_hms_opt(0, 15, 0).unwrap();
    let coarse: Vec<NaiveDateTime> = (0..3653 / 5).map(|step| begin + Duration::hours(step * 121)).collect();
    let mut walls = coarse.clone();
    for pair in coarse.windows(2) {
        let offset = |wall: NaiveDateTime| wall - instant_in(zone, wall).0.naive_utc();
        if offset(pair[0]) != offset(pair[1]) {
            walls.extend((0..=250).map(|half_hours| pair[0] + Duration::minutes(30 * half_hours)));
        }
    }
    walls
}

/// Zones without two names for one thing.
fn zones() -> Vec<Tz> {
    let zones: BTreeSet<&str> = TZ_VARIANTS
        .iter()
        .filter(|zone| zone.name().contains('/'))
        .map(|zone| preferred(*zone).name())
        .collect();
    zones.into_iter().map(|name| name.parse().unwrap()).collect()
}

fn event_in(zone: Tz) -> Event {
    let wall = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap().and_hms_opt(12, 0, 0).unwrap();
    let fields = Fields::new(When::Zoned { wall, zone: Zone::Iana(zone) }, End::Unspecified);
    Event { uid: Uid::from("zone"), body: Body::Single(fields) }
}

/// What a reader makes of the zone that our writer describes, under a name that says nothing.
fn embedded(zone: Tz) -> std::sync::Arc<CustomZone> {
    let text =
        ics::write(&event_in(zone), Timestamp(0)).replace("\r\n ", "").replace(zone.name(), "Customized");
    let document = ics::read(&text, None, &Limits::default()).unwrap();
    let Some(Item::Read(object)) = document.items.into_iter().next() else { panic!("{text}") };
    match object.event.fields().and_then(|fields| fields.start.zone().cloned()) {
        Some(Zone::Custom(custom)) => custom,
        other => panic!("{zone}: {other:?}"),
    }
}

#[test]
fn zones_that_come_with_an_event_agree_with_the_zone_data() {
    let zones = zones();
    assert!(zones.len() >= 200, "{}", zones.len());
    let mut wrong = Vec::new();
    for zone in zones {
        let custom = Zone::Custom(embedded(zone));
        let mut clock = ZoneClock::new(&custom);
        let mut differing =
            walls(zone).into_iter().filter(|wall| clock.instant(*wall) != instant_in(zone, *wall));
        if let Some(wall) = differing.next() {
            wrong.push(format!("{zone} at {wall}: {:?}", instant_in(zone, wall)));
        }
    }
    assert!(wrong.is_empty(), "{} zones differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn names_of_every_producer_lead_to_the_same_zone() {
    for zone in zones() {
        let name = zone.name();
        for tzid in [
            name.to_owned(),
            name.to_lowercase(),
            format!("/mozilla.org/20070129_1/{name}"),
            format!("/freeassociation.sourceforge.net/Tzfile/{name}"),
            format!("/citadel.org/20210210_1/{name}"),
        ] {
            assert_eq!(resolve(&tzid), Some(Zone::Iana(zone)), "{tzid}");
        }
    }
    for (windows, zone) in windows_ids() {
        assert_eq!(resolve(windows), Some(Zone::Iana(zone)), "{windows}");
        assert_eq!(resolve(&format!(" \"{windows}\"")), Some(Zone::Iana(zone)), "{windows}");
    }
}

#[test]
fn a_wall_time_is_answered_with_the_choice_made() {
    let at = |month, day| NaiveDate::from_ymd_opt(2026, month, day).unwrap().and_hms_opt(2, 30, 0).unwrap();

    assert_eq!(instant_in(Tz::Europe__Paris, at(3, 29)).1, Adjusted::Gap);
    assert_eq!(instant_in(Tz::Europe__Paris, at(10, 25)).1, Adjusted::Overlap);
    assert_eq!(instant_in(Tz::Europe__Paris, at(6, 1)).1, Adjusted::No);
}
