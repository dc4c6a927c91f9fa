//! Status is never better than the data: histories with faults, looked at after every run.

use std::collections::BTreeMap;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_providers::driver::Problem;
use calfleet_service::overview;
use calfleet_service::status::Health;
use calfleet_store::calendar_sync::{CalendarSync, Phase};

use super::on_both_databases;
use super::server::Fault;
use super::world::{Backend, World};

on_both_databases![a_calendar_never_shows_fresher_than_it_is_nor_a_connection_than_its_stalest];

const CALENDARS: [&str; 3] = ["home", "team", "work"];
/// The poll interval of the world's connection, and the grace that a status gives it.
const LATE_MS: i64 = (5 + 2) * 60_000;

async fn a_calendar_never_shows_fresher_than_it_is_nor_a_connection_than_its_stalest(on: Backend) {
    for seed in 0..6 {
        let mut chance = Chance(0x9E37_79B9_7F4A_7C15 ^ (seed + 1));
        let mut world = World::start(on).await;
        for calendar in CALENDARS {
            world.server.add_calendar(calendar);
            world.server.fill(calendar, 8);
        }
        let mut healthy = 0;
        for step in 0..40 {
            happen(&mut world, &mut chance);
            let before = known(&world).await;
            let completed = world.server.state().completed.clone();

            world.run().await;

            let told = format!("seed {seed}, step {step}");
            judge_calendars(&world, &before, &completed, &told).await;
            healthy += judge_connection(&world, &told).await;
        }
        assert!(healthy > 0, "seed {seed} never saw a healthy connection");
    }
}

/// A xorshift: the same history for the same seed.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Somebody edits, time passes, and something goes wrong, or nothing does.
fn happen(world: &mut World, chance: &mut Chance) {
    let calendar = CALENDARS[usize::try_from(chance.below(3)).unwrap()];
    let number = chance.below(12);
    let name = format!("{number:04}.ics");
    if chance.below(4) == 0 {
        world.server.delete(calendar, &name);
    } else {
        world.server.put(calendar, &name, &format!("{calendar}-{number}"), "Edited");
    }
    world.settings.turn_pages = if chance.below(3) == 0 { 2 } else { 20 };
    world.advance(i64::try_from(1 + chance.below(400)).unwrap());
    let trouble = || Fault::Fails(FailureClass::Transient, Problem::ServerError { status: 500 });
    let fault = chance.below(8);
    let mut state = world.server.state();
    state.page_size = (chance.below(2) == 0).then_some(3);
    match fault {
        0 => state.list_faults.push_back(trouble()),
        1 => state.list_faults.push_back(Fault::BreaksOff),
        2 => state.read_faults.push_back(trouble()),
        3 => state.calendar_faults.push_back(trouble()),
        4 => {
            state.forbidden.insert(calendar.to_owned());
        }
        _ => state.forbidden.clear(),
    }
}

async fn known(world: &World) -> BTreeMap<String, CalendarSync> {
    let mut known = BTreeMap::new();
    for calendar in world.calendars().await {
        known.insert(calendar.remote.name.clone(), world.progress(&calendar.remote.name).await);
    }
    known
}

/// No calendar claims more than its last listing that came to its end, and only such a listing moves the claim.
async fn judge_calendars(
    world: &World,
    before: &BTreeMap<String, CalendarSync>,
    completed: &BTreeMap<String, (u32, Timestamp)>,
    told: &str,
) {
    let now_completed = world.server.state().completed.clone();
    for (name, sync) in known(world).await {
        let listed_at = now_completed.get(&name).map(|(_, at)| *at);
        assert!(sync.fresh_at <= listed_at, "{told}: {name} shows {:?} after {listed_at:?}", sync.fresh_at);
        let was_at_rest = before.get(&name).is_none_or(|before| before.phase == Phase::Idle);
        if was_at_rest && now_completed.get(&name) == completed.get(&name) {
            let fresh_before = before.get(&name).and_then(|before| before.fresh_at);
            assert_eq!(sync.fresh_at, fresh_before, "{told}: {name} was not listed to its end");
        }
    }
}

/// A connection is as fresh as its stalest calendar, and not healthy while one is late or failed; 1 when healthy.
async fn judge_connection(world: &World, told: &str) -> u32 {
    let now = world.now();
    let view = overview::connection(&world.store, world.organization, world.connection, now).await;
    let status = view.unwrap().unwrap().status;
    let fresh: Vec<Option<Timestamp>> = known(world).await.into_values().map(|sync| sync.fresh_at).collect();
    let stalest = fresh.iter().min().copied().flatten();
    assert_eq!(status.fresh_at, stalest, "{told}");
    if status.health != Health::Healthy {
        return 0;
    }
    let troubled = world.server.state().troubled.clone();
    assert!(troubled.is_empty(), "{told}: healthy, though {troubled:?} failed");
    assert!(stalest.is_some_and(|at| now.0 - at.0 <= LATE_MS), "{told}: healthy, though old: {fresh:?}");
    1
}
