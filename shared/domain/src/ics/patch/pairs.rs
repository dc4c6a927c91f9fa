//! Which instance of a series is which after its frame moved.
//!
//! An id is an original start: it moves with the start of the series, or stays where the moved rule still has an
//! instance. Who moved the series has decided that; here it is only recognised, so that what departs from the series
//! keeps its own object.

use std::collections::{BTreeMap, BTreeSet};

use chrono_tz::Tz;

use super::key::Key;
use crate::model::{Body, Event, RecurrenceId};

/// By the ids of the instances that depart from the series in `after`: the ids that they had in `before`. `zone` is the
/// calendar's own.
pub fn counterparts(before: &Event, after: &Event, zone: Option<Tz>) -> BTreeMap<RecurrenceId, RecurrenceId> {
    let (from, to) = (Key::of(before, zone), Key::of(after, zone));
    let mut free: BTreeMap<RecurrenceId, RecurrenceId> =
        departures(after).into_iter().map(|id| (to.of_id(id), id)).collect();
    let mut pairs = BTreeMap::new();
    for id in departures(before) {
        if let Some(new) = from.names_in(to, id).into_iter().find_map(|name| free.remove(&name)) {
            pairs.insert(new, id);
        }
    }
    pairs
}

/// What is said of single instances of an event, cancelled ones included.
fn departures(event: &Event) -> BTreeSet<RecurrenceId> {
    let Body::Series(series) = &event.body else { return BTreeSet::new() };
    let excluded = series.master.iter().flat_map(|master| &master.exclusions);
    series.overrides.keys().chain(excluded).copied().collect()
}
