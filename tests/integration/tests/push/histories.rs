//! Random histories (law 1): two sides edit at will while answers get lost, servers fail and workers die; when that
//! stops, both sides hold the same, every object that nobody deleted exists exactly once, and another round is empty.
//!
//! A failure prints its seed; `CALFLEET_TEST_SIZE=full` runs many more.

use std::collections::BTreeSet;
use std::time::Duration;

use calfleet_domain::model::{Body, ConflictPolicy, End, EventId, Fields, Override, RecurrenceId, When};
use calfleet_harness::Size;
use calfleet_sandbox::{Fault, FaultRule, RetryAfter};
use calfleet_store::outbox::OutboxState;

use super::world::World;
use crate::databases::TestStore;

/// Steps of one history.
const STEPS: usize = 40;

/// A small generator of our own: the same history for the same seed, whatever else changes.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.below(of.len())) }
    }
}

/// What was done, as far as the end has to account for it.
#[derive(Default)]
struct Account {
    /// UIDs of all objects that either side made.
    made: BTreeSet<String>,
    /// UIDs that either side deleted at some time.
    deleted: BTreeSet<String>,
    serial: usize,
}

fn value(body: &str, name: &str) -> Option<String> {
    body.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim_end().to_owned()))
}

fn object(uid: &str, title: &str, rule: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:theirs\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n\
         DTSTART:20270101T090000Z\r\nDTEND:20270101T100000Z\r\nSUMMARY:{title}\r\n{rule}END:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

async fn step(world: &World<'_>, chance: &mut Chance, account: &mut Account) {
    account.serial += 1;
    let serial = account.serial;
    let action = chance.below(14);
    match action {
        0 | 1 => {
            let title = format!("Ours {serial}");
            let id = match action {
                0 => world.create(&title).await,
                _ => world.create_series(&title).await,
            };
            account.made.insert(world.row(id).await.event.event.unwrap().uid.0);
        }
        2..=4 => local_edit(world, chance, serial).await,
        5 => {
            if let Some(id) = live(world, chance).await {
                account.deleted.insert(world.row(id).await.event.event.unwrap().uid.0);
                world.delete(id).await;
            }
        }
        6 => {
            let uid = format!("theirs-{serial}");
            let rule = ["", "RRULE:FREQ=WEEKLY;COUNT=6\r\n"][chance.below(2)];
            world.put(&format!("{uid}.ics"), &object(&uid, &format!("Theirs {serial}"), rule));
            account.made.insert(uid);
        }
        7 | 8 => {
            if let Some(resource) = chance.pick(&world.resources()) {
                let title = value(&resource.body, "SUMMARY").unwrap();
                let body = match chance.below(2) {
                    0 => resource.body.replace(&title, &format!("Theirs {serial}")),
                    _ => resource.body.replace("SUMMARY:", &format!("X-THEIRS:{serial}\r\nSUMMARY:")),
                };
                world.put(&resource.name, &body);
            }
        }
        9 => {
            if let Some(resource) = chance.pick(&world.resources()) {
                account.deleted.insert(value(&resource.body, "UID").unwrap());
                world.take_away(&resource.name);
            }
        }
        10 | 11 => push(world, chance).await,
        _ => drop(world.sync().await),
    }
    world.advance(Duration::from_secs(u64::try_from(chance.below(300)).unwrap()));
}

async fn local_edit(world: &World<'_>, chance: &mut Chance, serial: usize) {
    let Some(id) = live(world, chance).await else { return };
    let (what, instance) = (chance.below(5), chance.below(6));
    world
        .edit(id, |event| match &mut event.body {
            Body::Single(fields) => retouch(fields, what, serial),
            Body::Series(series) => {
                let Some(master) = &mut series.master else { return };
                let id = recurrence_id(&master.fields.start, instance);
                match what {
                    // the series, one instance, one instance less
                    0 | 1 => retouch(&mut master.fields, what, serial),
                    2 | 3 if !master.exclusions.contains(&id) => {
                        let mut fields = master.fields.clone();
                        (fields.start, fields.end) = moved(&master.fields, instance);
                        retouch(&mut fields, what, serial);
                        series.overrides.insert(id, Override::Changed(Box::new(fields)));
                    }
                    _ => {
                        series.overrides.remove(&id);
                        master.exclusions.insert(id);
                    }
                }
            }
        })
        .await;
}

fn retouch(fields: &mut Fields, what: usize, serial: usize) {
    match what % 2 {
        0 => fields.title = Some(format!("Ours {serial}")),
        _ => fields.location = Some(format!("Room {serial}")),
    }
}

fn days_later(when: &When, days: usize) -> chrono::DateTime<chrono::Utc> {
    let When::Utc(start) = when else { panic!("series of these tests are in UTC") };
    *start + chrono::TimeDelta::days(i64::try_from(days).unwrap())
}

fn recurrence_id(start: &When, instance: usize) -> RecurrenceId {
    RecurrenceId::Utc(days_later(start, instance))
}

fn moved(fields: &Fields, instance: usize) -> (When, End) {
    let start = days_later(&fields.start, instance) + chrono::TimeDelta::minutes(30);
    (When::Utc(start), End::At(When::Utc(start + chrono::TimeDelta::hours(1))))
}

async fn live(world: &World<'_>, chance: &mut Chance) -> Option<EventId> {
    chance.pick(&world.live().await).copied()
}

/// A push, with something in its way more often than not.
async fn push(world: &World<'_>, chance: &mut Chance) {
    let fault = match chance.below(8) {
        0 => Some(Fault::AnswerLost),
        1 => Some(Fault::CutBefore),
        2 => Some(Fault::Status { code: 503, retry_after: None }),
        3 => Some(Fault::Status { code: 429, retry_after: Some(RetryAfter::Seconds(30)) }),
        _ => None,
    };
    if let Some(fault) = fault {
        let skip = u32::try_from(chance.below(3)).unwrap();
        world.sandbox.inject(FaultRule::next(fault).after(skip));
    }
    match chance.below(3) {
        0 => drop(world.push_for(u32::try_from(1 + chance.below(60)).unwrap()).await),
        _ => drop(world.push().await),
    }
}

async fn history(seed: u64) {
    let store = TestStore::sqlite().await.unwrap();
    let policy = match seed % 3 {
        0 => ConflictPolicy::LastWriteWins,
        1 => ConflictPolicy::AppWins,
        _ => ConflictPolicy::ProviderWins,
    };
    let world = World::start_with(&store, policy).await;
    let mut chance = Chance::of(seed);
    let mut account = Account::default();
    for _ in 0..STEPS {
        step(&world, &mut chance, &mut account).await;
    }
    world.sandbox.clear_faults();
    for _ in 0..3 {
        world.advance(Duration::from_mins(30));
        world.push().await;
        world.sync().await;
    }

    assert_eq!(world.outbox(OutboxState::Pending).await, [], "seed {seed}");
    assert_eq!(world.outbox(OutboxState::Dead).await, [], "seed {seed}");
    let mut theirs: Vec<(String, String)> = Vec::new();
    let mut uids = Vec::new();
    for resource in world.resources() {
        theirs.push((resource.name.clone(), value(&resource.body, "SUMMARY").unwrap()));
        uids.push(value(&resource.body, "UID").unwrap());
    }
    let mut ours = Vec::new();
    for id in world.live().await {
        let row = world.row(id).await;
        assert!(row.event.base.is_none() && row.event.edited_at.is_none(), "seed {seed}: {row:?}");
        let name = row.event.provider_id.as_str().rsplit('/').next().unwrap().to_owned();
        ours.push((name, row.event.event.unwrap().fields().unwrap().title.clone().unwrap()));
    }
    theirs.sort();
    ours.sort();
    assert_eq!(ours, theirs, "seed {seed}");
    for uid in account.made.difference(&account.deleted) {
        let count = uids.iter().filter(|found| *found == uid).count();
        assert_eq!(count, 1, "seed {seed}: {uid} exists {count} times");
    }
    world.assert_in_step().await;
}

async fn histories(which: std::ops::Range<u64>) {
    for seed in which {
        history(seed).await;
    }
}

#[tokio::test]
async fn random_histories_of_two_sides_converge() {
    histories(0..Size::of_this_run().pick(40, 5_000)).await;
}

#[tokio::test]
async fn more_random_histories_of_two_sides_converge() {
    histories(5_000..Size::of_this_run().pick(5_040, 10_000)).await;
}
