//! Where the overrides of a series stay when its frame moves.
//!
//! An override is keyed by the original start of its instance. When the frame moves, a key that still is an
//! instance stays; else it moves by as much as the start did, where no other key stays. A key that is no instance
//! either way stays where it was and is reported: who moved the frame decides what becomes of it, and it is never
//! silently dropped. An exclusion does not move past another instance: it would cancel a meeting that takes place.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDateTime;

use super::point::{key_in, start_at};
use super::sheet::{Face, Instance, Sheet};
use crate::model::{Master, RecurrenceId, When};
use crate::recurrence::expand::{id_of, master_walls};

/// The instances of one sheet under the frame of another.
#[derive(Debug, Clone, Default)]
pub(super) struct Moved<'a> {
    /// By their keys under the new frame.
    pub(super) instances: BTreeMap<RecurrenceId, Instance<'a>>,
    /// Keys that are no instances of the new frame, as they were.
    pub(super) unanchored: Vec<RecurrenceId>,
    /// Keys of exclusions that say nothing under the new frame, as they were.
    pub(super) dropped: Vec<RecurrenceId>,
}

/// Keys the instances of `sheet` by the frame of `to`.
pub(super) fn moved<'a>(sheet: &Sheet<'a>, to: Option<&Face<'_>>) -> Moved<'a> {
    let (Some(from), Some(to)) = (&sheet.master, to) else {
        return Moved { instances: sheet.instances.clone(), ..Moved::default() };
    };
    if from.has_frame_of(to) {
        return Moved { instances: sheet.instances.clone(), ..Moved::default() };
    }
    let (mut moved, mut frame) = (Moved::default(), Frame::new(to));
    let mut strays = Vec::new();
    // Who stays comes first: else one that moves takes the place of one that stays, which then moves as well.
    for (key, instance) in &sheet.instances {
        let kept = key_in(&to.fields.start, key);
        if moved.instances.contains_key(&kept) || !frame.has(&kept) {
            strays.push((key, instance));
        } else {
            moved.instances.insert(kept, instance.clone());
        }
    }
    let mut old = Frame::new(from);
    for (key, instance) in strays {
        let is_exclusion = matches!(instance, Instance::Cancelled);
        let place = shifted(&from.fields.start, &to.fields.start, key)
            .filter(|place| !moved.instances.contains_key(place) && frame.has(place))
            .filter(|_| !is_exclusion || !old.has_any_on_the_way(key, &to.fields.start));
        match place {
            Some(key) => {
                moved.instances.insert(key, instance.clone());
            }
            // An exclusion of what does not occur says nothing.
            None if is_exclusion => moved.dropped.push(*key),
            None => {
                moved.unanchored.push(*key);
                moved.instances.insert(*key, instance.clone());
            }
        }
    }
    moved
}

/// The key moved by as much as the start was, in the form of the new start.
fn shifted(from: &When, to: &When, key: &RecurrenceId) -> Option<RecurrenceId> {
    let wall = start_at(from, key).wall().checked_add_signed(to.wall() - from.wall())?;
    let key = match to {
        When::Date(_) => RecurrenceId::Date(wall.date()),
        When::Utc(_) => RecurrenceId::Utc(wall.and_utc()),
        When::Floating(_) | When::Zoned { .. } => RecurrenceId::Wall(wall),
    };
    Some(key_in(to, &key))
}

/// Whether a series has an instance that originally starts then, excluded or not. A rule that cannot be searched at
/// little cost is taken to have it.
pub fn has_instance(master: &Master, key: &RecurrenceId) -> bool {
    Frame::new(&Face { fields: &master.fields, master: Some(master) }).has(key)
}

/// Looks for instances that a frame has by itself, exclusions and overrides aside. All looks share a budget; what cannot
/// be found out within it is taken to be there: then an override stays where it is.
pub(super) struct Frame<'a> {
    face: Face<'a>,
    additions: BTreeSet<RecurrenceId>,
    steps: u64,
}

impl<'a> Frame<'a> {
    pub(super) fn new(face: &Face<'a>) -> Self {
        Self { face: *face, additions: face.additions().into_keys().collect(), steps: SEARCH_STEPS }
    }

    /// Whether there is an instance of that key.
    pub(super) fn has(&mut self, key: &RecurrenceId) -> bool {
        let start = &self.face.fields.start;
        let Some(master) = self.face.master else { return id_of(start) == *key };
        if self.additions.contains(key) || self.steps == 0 {
            return true;
        }
        let wall = start_at(start, key).wall();
        let (walls, is_complete) = master_walls(master, wall..=wall, &mut self.steps, MOST_WALLS);
        if !is_complete {
            // what is left would not do for the next one either
            self.steps = 0;
            return true;
        }
        walls.into_iter().any(|wall| key_in(start, &id_of(&start.with_wall(wall))) == *key)
    }

    /// Whether another instance lies on the way that `key` goes with a start that moves to `to`, its end included.
    fn has_any_on_the_way(&mut self, key: &RecurrenceId, to: &When) -> bool {
        let start = &self.face.fields.start;
        let Some(master) = self.face.master else { return false };
        let wall = start_at(start, key).wall();
        let Some(end) = wall.checked_add_signed(to.wall() - start.wall()) else { return false };
        let is_between =
            |other: NaiveDateTime| other != wall && wall.min(end) <= other && other <= wall.max(end);
        let additions = self.additions.iter().map(|addition| start_at(start, addition).wall());
        let way = wall.min(end)..=wall.max(end);
        let walls = master_walls(master, way, &mut self.steps, MOST_WALLS).0;
        additions.chain(walls).any(is_between)
    }
}

/// What the looks of one frame may cost: some 10 ms.
const SEARCH_STEPS: u64 = 200_000;
/// Instances at one wall time: one a rule.
const MOST_WALLS: usize = 100;
