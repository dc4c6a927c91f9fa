//! Where the overrides of a series stay when its frame moves.
//!
//! An override is keyed by the original start of its instance. When the frame moves, a key that still is an
//! instance stays; else it moves by as much as the start did. A key that is no instance either way stays where
//! it was and is reported: who moved the frame decides what becomes of it, and it is never silently dropped.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use chrono_tz::Tz;

use super::point::{key_in, start_at};
use super::sheet::{Face, Instance, Sheet};
use crate::model::{Body, Event, Fields, Master, RecurrenceId, Series, Uid, When};
use crate::recurrence::{self, Budget};

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
    let mut moved = Moved::default();
    for (key, instance) in &sheet.instances {
        let is_free = |key: &RecurrenceId| !moved.instances.contains_key(key);
        let kept = key_in(&to.fields.start, key);
        let place = [Some(kept), shifted(&from.fields.start, &to.fields.start, key)];
        let place = place.into_iter().flatten().find(|key| is_free(key) && occurs(to, key));
        match place {
            Some(key) => {
                moved.instances.insert(key, instance.clone());
            }
            // An exclusion of what does not occur says nothing.
            None if matches!(instance, Instance::Cancelled) => moved.dropped.push(*key),
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
    occurs(&Face { fields: &master.fields, master: Some(master) }, key)
}

/// Whether the frame has an instance of that key. A rule that cannot be searched within the budget is taken to
/// have it: then the override stays where it is.
pub(super) fn occurs(face: &Face<'_>, key: &RecurrenceId) -> bool {
    let Some(master) = face.master else {
        return recurrence::expand::id_of(&face.fields.start) == *key;
    };
    let bare = Master {
        fields: Fields::new(face.fields.start.clone(), face.fields.end.clone()),
        rules: master.rules.clone(),
        additions: master.additions.clone(),
        exclusions: BTreeSet::new(),
    };
    let body = Body::Series(Series { master: Some(bare), overrides: BTreeMap::new() });
    let event = Event { uid: Uid::from(""), body };
    let start = start_at(&face.fields.start, key);
    let (instant, _) = recurrence::zone::instant_of(&start, Tz::UTC);
    let window = instant..instant + TimeDelta::seconds(1);
    let expansion = recurrence::expand(&event, window, Tz::UTC, &SEARCH);
    let mut found = expansion.instances.iter().filter_map(|instance| instance.recurrence_id);
    !expansion.is_complete || found.any(|found| key_in(&face.fields.start, &found) == *key)
}

/// What one look for an instance may cost: some 10 ms.
const SEARCH: Budget = Budget { steps: 200_000, instances: 100 };
