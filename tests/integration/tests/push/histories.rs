//! Random histories (law 1): two sides edit at will while answers get lost, servers fail and workers die; when that
//! stops, both sides hold the same, every object that nobody deleted exists exactly once, and another round is empty.
//!
//! A failure prints its seed and its shortest form; `just histories` runs many more.

use std::collections::BTreeSet;
use std::time::Duration;

use calfleet_domain::model::{
    Body, ConflictPolicy, End, EventId, Fields, Override, ProviderKind, RecurrenceId, When,
};
use calfleet_harness::Size;
use calfleet_sandbox::FaultRule;
use calfleet_store::outbox::OutboxState;

use super::chance::{Chance, Plot, tell};
use super::world::World;
use crate::databases::TestStore;

/// What was done, as far as the end has to account for it.
#[derive(Default)]
struct Account {
    /// UIDs of all objects that either side made.
    made: BTreeSet<String>,
    /// UIDs that either side deleted at some time.
    deleted: BTreeSet<String>,
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

async fn step(world: &World<'_>, plot: &Plot, serial: usize, mut chance: Chance, account: &mut Account) {
    let action = chance.below(16);
    let told = match action {
        0 | 1 => {
            let title = format!("Ours {serial}");
            let id = match action {
                0 => world.create(&title).await,
                _ => world.create_series(&title).await,
            };
            account.made.insert(world.row(id).await.event.event.unwrap().uid.0);
            format!("we make {id}, series: {}", action == 1)
        }
        2..=4 => local_edit(world, &mut chance, serial).await,
        5 => match live(world, &mut chance).await {
            Some(id) => {
                account.deleted.insert(world.row(id).await.event.event.unwrap().uid.0);
                world.delete(id).await;
                format!("we delete {id}")
            }
            None => "nothing is there to delete".to_owned(),
        },
        6..=9 => remote_edit(world, &mut chance, serial, action, account),
        10..=12 => push(world, &mut chance).await,
        _ => sync(world, &mut chance).await,
    };
    plot.tell(serial, &told);
    world.advance(Duration::from_secs(u64::try_from(chance.below(300)).unwrap()));
}

/// Another client makes, changes, moves or deletes an object.
fn remote_edit(
    world: &World<'_>,
    chance: &mut Chance,
    serial: usize,
    action: usize,
    account: &mut Account,
) -> String {
    if action == 6 {
        let uid = format!("theirs-{serial}");
        let rule = ["", "RRULE:FREQ=WEEKLY;COUNT=6\r\n"][chance.below(2)];
        world.put(&format!("{uid}.ics"), &object(&uid, &format!("Theirs {serial}"), rule));
        account.made.insert(uid.clone());
        return format!("they make {uid} {}", rule.trim());
    }
    let resources = world.resources();
    let Some(resource) = chance.pick(&resources) else { return "nothing of theirs is there".to_owned() };
    if action == 9 {
        account.deleted.insert(value(&resource.body, "UID").unwrap());
        world.take_away(&resource.name);
        return format!("they delete {}", resource.name);
    }
    let title = value(&resource.body, "SUMMARY").unwrap();
    let what = chance.below(3);
    let body = match what {
        0 => resource.body.replace(&title, &format!("Theirs {serial}")),
        1 => resource.body.replace("SUMMARY:", &format!("X-THEIRS:{serial}\r\nSUMMARY:")),
        // a single event moves; of a series the frame stays
        _ if resource.body.contains("RRULE") => resource.body.replace(&title, &format!("Moved {serial}")),
        _ => moved_body(&resource.body, serial),
    };
    world.put(&resource.name, &body);
    format!("they change {}, way {what}", resource.name)
}

/// The object at another hour of its day.
fn moved_body(body: &str, serial: usize) -> String {
    let hour = 10 + serial % 10;
    let lines = body.split_inclusive("\r\n").map(|line| match line.get(..5) {
        Some("DTSTA") if line.starts_with("DTSTART") => moved_line(line, hour),
        Some("DTEND") => moved_line(line, hour + 1),
        _ => line.to_owned(),
    });
    lines.collect()
}

fn moved_line(line: &str, hour: usize) -> String {
    let (name, time) = line.trim_end().split_once(':').unwrap();
    let day = time.split_once('T').unwrap().0;
    let zone = if time.ends_with('Z') { "Z" } else { "" };
    format!("{name}:{day}T{hour:02}0000{zone}\r\n")
}

async fn local_edit(world: &World<'_>, chance: &mut Chance, serial: usize) -> String {
    let Some(id) = live(world, chance).await else { return "nothing is there to edit".to_owned() };
    let (what, instance) = (chance.below(6), chance.below(6));
    world
        .edit(id, |event| match &mut event.body {
            Body::Single(fields) if what == 5 => (fields.start, fields.end) = moved(fields, instance),
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
    format!("we edit {id}, way {what}, instance {instance}")
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
async fn push(world: &World<'_>, chance: &mut Chance) -> String {
    let fault = chance.fault_of_write();
    if let Some((fault, skip)) = fault.clone() {
        world.sandbox.inject(FaultRule::next(fault).after(skip));
    }
    let death = (chance.below(3) == 0).then(|| chance.death());
    match death {
        Some(steps) => drop(world.push_for(steps).await),
        None => drop(world.push().await),
    }
    format!("a push, fault {fault:?}, death {death:?}")
}

/// A sync, likewise.
async fn sync(world: &World<'_>, chance: &mut Chance) -> String {
    let fault = chance.fault_of_listing();
    if let Some((fault, skip)) = fault.clone() {
        world.sandbox.inject(FaultRule::next(fault).method("REPORT").after(skip));
    }
    let death = (chance.below(3) == 0).then(|| chance.death());
    match death {
        Some(steps) => world.sync_for(steps).await,
        None => drop(world.sync().await),
    }
    format!("a sync, fault {fault:?}, death {death:?}")
}

async fn history(plot: Plot) {
    let seed = plot.seed;
    let store = TestStore::sqlite().await.unwrap();
    let policy = match seed % 3 {
        0 => ConflictPolicy::LastWriteWins,
        1 => ConflictPolicy::AppWins,
        _ => ConflictPolicy::ProviderWins,
    };
    let world = World::start_with(&store, policy).await;
    let mut account = Account::default();
    for (serial, chance) in plot.steps() {
        step(&world, &plot, serial, chance, &mut account).await;
    }
    plot.count(world.sandbox.log());
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

#[tokio::test]
async fn random_histories_with_caldav_converge() {
    // 403: a sync token that died (RFC 6578 §3.2)
    let seeds = 0..Size::of_this_run().pick(100, 3_334);
    tell(ProviderKind::Caldav, seeds, &[0, 403, 412, 429, 503], |plot| Box::pin(history(plot))).await;
}
