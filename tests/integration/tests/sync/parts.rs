//! Series whose exceptions are objects of their own: they come apart, in any order, and are one series here.

use std::collections::BTreeMap;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    Body, DetailLevel, End, Event, Fields, Listing, Master, Override, Parts, ProviderId, RecurrenceId,
    RemoteChange, RemoteEvent, RemoteInstance, Revision, Role, Rule, Series, Uid, When, Zone,
};
use calfleet_domain::recurrence::{Budget, expand};
use calfleet_providers::driver::Coverage;
use calfleet_store::calendar_sync::Thoroughness;
use calfleet_store::events::{EventState, StoredRow};
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;

use super::on_both_databases;
use super::world::{Backend, World};

on_both_databases![
    a_master_and_its_exceptions_are_one_series_in_whatever_order_they_come,
    an_exception_that_comes_alone_changes_nothing_else,
    a_master_that_comes_alone_keeps_its_exceptions,
    an_invitation_to_one_instance_becomes_the_series_when_the_master_appears,
    an_invitation_to_one_instance_that_is_cancelled_is_removed,
    an_invitation_that_goes_is_cancelled_alone_whether_it_is_named_or_not_listed,
    a_listing_in_doubt_cancels_no_invitation,
    the_removal_of_an_occurrence_by_its_own_id_is_found_by_reading_the_series,
    an_exception_that_a_full_listing_does_not_name_is_looked_at,
    a_master_that_moved_is_read_with_what_is_left_of_its_exceptions,
    what_left_the_window_of_a_listing_is_no_deletion,
];

const SERIES: &str = "weekly";

fn wall(day: u32, hour: u32) -> NaiveDateTime {
    NaiveDate::from_ymd_opt(2027, 3, day).unwrap().and_hms_opt(hour, 0, 0).unwrap()
}

fn fields(day: u32, hour: u32, title: &str) -> Fields {
    let zoned = |hour| When::Zoned { wall: wall(day, hour), zone: Zone::Iana(Tz::Europe__Paris) };
    Fields { title: Some(title.to_owned()), ..Fields::new(zoned(hour), End::At(zoned(hour + 1))) }
}

fn series(hour: u32, overrides: BTreeMap<RecurrenceId, Override>) -> Event {
    let master = Master {
        fields: fields(1, hour, "Standup"),
        rules: vec![Rule("FREQ=DAILY;COUNT=5".to_owned())],
        additions: BTreeMap::new(),
        exclusions: std::collections::BTreeSet::new(),
    };
    Event {
        uid: Uid::from("weekly@example.com"),
        body: Body::Series(Series { master: Some(master), overrides }),
    }
}

fn upsert(event: Event, parts: Parts, revision: u32) -> RemoteChange {
    RemoteChange::Upsert(Box::new(RemoteEvent {
        provider_id: ProviderId::from(SERIES),
        created_as: None,
        revision: Some(Revision(revision.to_string())),
        event,
        parts,
        instances: BTreeMap::new(),
        role: Role::Organizer,
        detail: DetailLevel::Full,
        raw: Some("{\"id\":\"weekly\"}".to_owned()),
        changed_at: None,
        warnings: Vec::new(),
    }))
}

fn master(revision: u32) -> RemoteChange {
    upsert(series(9, BTreeMap::new()), Parts::MasterOnly, revision)
}

/// The instance of that day, which begins at nine in Paris, an hour before UTC.
fn instance(day: u32, revision: u32, fields: Option<Fields>) -> RemoteChange {
    RemoteChange::Instance(Box::new(RemoteInstance {
        provider_id: ProviderId(format!("weekly_{day}")),
        series_id: ProviderId::from(SERIES),
        uid: Some(Uid::from("weekly@example.com")),
        recurrence_id: RecurrenceId::Utc(wall(day, 8).and_utc()),
        revision: Some(Revision(revision.to_string())),
        fields,
        role: Role::Organizer,
        detail: DetailLevel::Full,
        raw: "{}".to_owned(),
        changed_at: None,
    }))
}

fn single(id: &str) -> RemoteChange {
    let event = Event { uid: Uid(id.to_owned()), body: Body::Single(fields(2, 14, "Once")) };
    let RemoteChange::Upsert(mut remote) = upsert(event, Parts::Whole, 1) else { unreachable!() };
    remote.provider_id = ProviderId(id.to_owned());
    RemoteChange::Upsert(remote)
}

fn key(day: u32) -> RecurrenceId {
    RecurrenceId::Wall(wall(day, 9))
}

pub(super) async fn listed(world: &World, listing: Listing, pages: Vec<Vec<RemoteChange>>) {
    let thoroughness = match listing {
        Listing::Full => Thoroughness::Everything,
        Listing::Delta => Thoroughness::Changes,
    };
    world.server.state().script = pages.into_iter().map(|page| (listing, page)).collect();
    world.ask(thoroughness).await;
    world.run_until_done().await;
    assert!(world.server.state().script.is_empty());
}

async fn start(on: Backend) -> World {
    let world = World::start(on).await;
    world.server.add_calendar("work");
    world
}

/// Day of March and title of every instance.
fn instances(row: &StoredRow) -> Vec<(String, String)> {
    let event = row.event.event.as_ref().unwrap();
    let from = DateTime::from_timestamp_millis(1_798_000_000_000).unwrap();
    let window = from..from + TimeDelta::days(365);
    let expansion = expand(event, window, Tz::UTC, &Budget::default());
    let read = |one: &calfleet_domain::recurrence::Instance<'_>| {
        (one.starts_at.format("%d %H").to_string(), one.fields.title.clone().unwrap_or_default())
    };
    expansion.instances.iter().map(read).collect()
}

fn expected(days: &[(&str, &str)]) -> Vec<(String, String)> {
    days.iter().map(|(day, title)| ((*day).to_owned(), (*title).to_owned())).collect()
}

async fn a_master_and_its_exceptions_are_one_series_in_whatever_order_they_come(on: Backend) {
    let moved = || instance(2, 1, Some(fields(2, 14, "Moved")));
    let cancelled = || instance(3, 1, None);
    for pages in [
        vec![vec![master(1), moved(), cancelled()]],
        vec![vec![moved(), cancelled(), master(1)]],
        vec![vec![master(1)], vec![cancelled()], vec![moved()]],
        vec![vec![moved()], vec![master(1)], vec![cancelled()]],
        vec![vec![cancelled()], vec![moved()], vec![master(1)]],
    ] {
        let world = start(on).await;

        listed(&world, Listing::Full, pages.clone()).await;

        let row = world.event("work", SERIES).await;
        let days = [("01 08", "Standup"), ("02 13", "Moved"), ("04 08", "Standup"), ("05 08", "Standup")];
        assert_eq!(instances(&row), expected(&days), "{pages:?}");
        assert_eq!(row.instances.keys().copied().collect::<Vec<_>>(), [key(2), key(3)]);
        assert_eq!(world.live(world.calendar("work").await.id).await.len(), 1);
    }
}

async fn an_exception_that_comes_alone_changes_nothing_else(on: Backend) {
    let world = start(on).await;
    listed(&world, Listing::Full, vec![vec![master(7), instance(2, 1, Some(fields(2, 14, "Moved")))]]).await;

    listed(&world, Listing::Delta, vec![vec![instance(4, 1, Some(fields(4, 16, "Late")))]]).await;

    let row = world.event("work", SERIES).await;
    let days = [
        ("01 08", "Standup"),
        ("02 13", "Moved"),
        ("03 08", "Standup"),
        ("04 15", "Late"),
        ("05 08", "Standup"),
    ];
    assert_eq!(instances(&row), expected(&days));
    assert_eq!(row.event.revision, Some(Revision("7".to_owned())));
}

async fn a_master_that_comes_alone_keeps_its_exceptions(on: Backend) {
    let world = start(on).await;
    listed(&world, Listing::Full, vec![vec![master(1), instance(2, 1, Some(fields(2, 14, "Moved")))]]).await;

    listed(&world, Listing::Delta, vec![vec![master(2)]]).await;

    let row = world.event("work", SERIES).await;
    assert!(instances(&row).contains(&("02 13".to_owned(), "Moved".to_owned())));
    assert_eq!(row.instances.len(), 1);
    assert_eq!(row.event.revision, Some(Revision("2".to_owned())));
}

async fn an_invitation_to_one_instance_becomes_the_series_when_the_master_appears(on: Backend) {
    let world = start(on).await;
    listed(&world, Listing::Full, vec![vec![instance(2, 1, Some(fields(2, 14, "Invited")))]]).await;
    let invited = world.event("work", SERIES).await;
    assert_eq!(instances(&invited), expected(&[("02 13", "Invited")]));

    listed(&world, Listing::Delta, vec![vec![master(1)]]).await;

    let row = world.event("work", SERIES).await;
    assert_eq!(row.event.id, invited.event.id);
    assert_eq!(instances(&row).len(), 5);
    assert!(instances(&row).contains(&("02 13".to_owned(), "Invited".to_owned())));
}

async fn an_invitation_to_one_instance_that_is_cancelled_is_removed(on: Backend) {
    let world = start(on).await;
    listed(&world, Listing::Full, vec![vec![instance(2, 1, Some(fields(2, 14, "Invited")))]]).await;

    listed(&world, Listing::Delta, vec![vec![instance(2, 2, None)]]).await;

    assert_eq!(world.state_of("work", SERIES).await, EventState::Tombstone);
}

async fn an_invitation_that_goes_is_cancelled_alone_whether_it_is_named_or_not_listed(on: Backend) {
    let invited = |day| instance(day, 1, Some(fields(day, 14, "Invited")));
    for listing in [Listing::Delta, Listing::Full] {
        let world = start(on).await;
        listed(&world, Listing::Full, vec![vec![invited(2), invited(3)]]).await;
        // a master that is out of sight reads as if it were gone
        let absent = RemoteChange::Removed { provider_id: ProviderId::from(SERIES) };
        world.server.state().scripted_reads.insert(SERIES.to_owned(), absent);

        let page = match listing {
            Listing::Delta => vec![RemoteChange::Removed { provider_id: ProviderId::from("weekly_3") }],
            Listing::Full => vec![invited(2)],
        };
        listed(&world, listing, vec![page]).await;

        let row = world.event("work", SERIES).await;
        let left = expected(&[("02 13", "Invited")]);
        assert_eq!((row.state, instances(&row)), (EventState::Live, left), "{listing:?}");
    }
}

async fn a_listing_in_doubt_cancels_no_invitation(on: Backend) {
    let world = start(on).await;
    let invited = |day| instance(day, 1, Some(fields(day, 14, "Invited")));
    let others = (0..8).map(|number| single(&format!("single {number}")));
    listed(&world, Listing::Full, vec![[invited(2), invited(3)].into_iter().chain(others).collect()]).await;

    listed(&world, Listing::Full, vec![vec![invited(2)]]).await;

    let both = expected(&[("02 13", "Invited"), ("03 13", "Invited")]);
    assert_eq!(instances(&world.event("work", SERIES).await), both);
    let doubt = world.progress("work").await.sweep.expect("it waits for a second listing");
    assert_eq!((doubt.missing, doubt.known), (8, 9));
    world.advance(61);
    listed(&world, Listing::Full, vec![vec![invited(2)]]).await;
    assert_eq!(instances(&world.event("work", SERIES).await), expected(&[("02 13", "Invited")]));
    assert_eq!(world.state_of("work", "single 0").await, EventState::Tombstone);
}

async fn the_removal_of_an_occurrence_by_its_own_id_is_found_by_reading_the_series(on: Backend) {
    let world = start(on).await;
    let occurrence = |day: u32| RemoteChange::Occurrence {
        provider_id: ProviderId(format!("occurrence {day}")),
        series_id: ProviderId::from(SERIES),
    };
    let whole = upsert(series(9, BTreeMap::new()), Parts::Whole, 1);
    listed(&world, Listing::Full, vec![vec![whole], (1..=5).map(occurrence).collect()]).await;
    let without = upsert(series(9, BTreeMap::from([(key(3), Override::Cancelled)])), Parts::Whole, 2);
    world.server.state().scripted_reads.insert(SERIES.to_owned(), without);

    let removed = |id: &str| RemoteChange::Removed { provider_id: ProviderId::from(id) };
    listed(&world, Listing::Delta, vec![vec![removed("occurrence 3"), removed("a stranger")]]).await;

    let row = world.event("work", SERIES).await;
    assert_eq!(instances(&row).len(), 4);
    assert_eq!(world.server.state().read_ids, 1);
    assert_eq!(row.state, EventState::Live);
}

async fn an_exception_that_a_full_listing_does_not_name_is_looked_at(on: Backend) {
    let world = start(on).await;
    listed(&world, Listing::Full, vec![vec![master(1), instance(2, 1, Some(fields(2, 14, "Moved")))]]).await;
    let whole = upsert(series(9, BTreeMap::new()), Parts::Whole, 1);
    world.server.state().scripted_reads.insert(SERIES.to_owned(), whole);

    listed(&world, Listing::Full, vec![vec![master(1)]]).await;

    let row = world.event("work", SERIES).await;
    assert!(instances(&row).contains(&("02 08".to_owned(), "Standup".to_owned())), "{:?}", instances(&row));
    assert_eq!(row.instances, BTreeMap::new());
}

async fn a_master_that_moved_is_read_with_what_is_left_of_its_exceptions(on: Backend) {
    let world = start(on).await;
    listed(&world, Listing::Full, vec![vec![master(1), instance(2, 1, Some(fields(2, 14, "Moved")))]]).await;
    let at_ten = series(10, BTreeMap::new());
    let whole = upsert(at_ten.clone(), Parts::Whole, 2);
    world.server.state().scripted_reads.insert(SERIES.to_owned(), whole);

    listed(&world, Listing::Delta, vec![vec![upsert(at_ten, Parts::MasterOnly, 2)]]).await;

    let row = world.event("work", SERIES).await;
    assert!(instances(&row).iter().all(|(day, title)| day.ends_with("09") && title == "Standup"));
    assert_eq!(instances(&row).len(), 5);
}

async fn what_left_the_window_of_a_listing_is_no_deletion(on: Backend) {
    let world = start(on).await;
    listed(&world, Listing::Full, vec![vec![single("a"), single("b"), master(1)]]).await;

    let at = Timestamp(wall(4, 0).and_utc().timestamp_millis());
    let until = Timestamp(wall(30, 0).and_utc().timestamp_millis());
    world.server.state().coverage = Coverage::Window { from: at, until };
    listed(&world, Listing::Full, vec![vec![master(1)]]).await;

    assert_eq!(world.state_of("work", "a").await, EventState::OutOfWindow);
    assert_eq!(world.state_of("work", SERIES).await, EventState::Live);
}
