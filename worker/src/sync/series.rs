//! Parts of series become series, before a page is planned. Pure.
//!
//! CalDAV keeps a series in one object. Google keeps its master and each instance that departs from it as objects of
//! their own, which come in any order, on different pages, or without their master (an invitation to one instance).
//! Here each such page is brought into the one form that everything after it knows: whole series, keyed by the
//! series' id. What the page does not tell of a series is taken from what both sides last agreed on, so a master
//! that comes alone loses no override, and an override that comes alone changes nothing else.
//!
//! - An instance whose series is out of sight makes a series without a master, under the series' id: should the
//!   master ever appear, it is that row, and nothing has to be joined.
//! - Original starts come as dates or instants and are kept in the series' own zone as soon as that is known.
//! - A series of which nothing but cancelled instances is left is removed; one of which nothing else has ever been
//!   seen is kept, without showing anywhere, because its master may come later.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use calfleet_domain::model::{
    Body, Event, Fields, InstanceRef, Override, Parts, ProviderId, RecurrenceId, RemoteChange, RemoteEvent,
    RemoteInstance, Series, Uid, When,
};
use calfleet_domain::reconcile::rekey;
use calfleet_store::events::{EventState, StoredRow};

/// A page with every part folded into its series; each id is there once, as it was named last.
#[derive(Debug, Default)]
pub(super) struct Folded<'c> {
    /// Whole events, removals and what cannot be read.
    pub(super) changes: Vec<Cow<'c, RemoteChange>>,
    /// Series to be read singly: their frame moved, and what the provider did with their overrides then it has not
    /// said.
    pub(super) doubtful: HashSet<ProviderId>,
}

/// The instance of a series without master whose object is gone: it is cancelled. Reading the series would not tell,
/// because its master is out of sight; `None` for other objects.
pub(super) fn cancelled(row: &StoredRow, object: &ProviderId) -> Option<RemoteChange> {
    if agreed(row)?.master.is_some() {
        return None;
    }
    let (key, _) = row.instances.iter().find(|(_, known)| known.provider_id == *object)?;
    Some(RemoteChange::Instance(Box::new(RemoteInstance {
        provider_id: object.clone(),
        series_id: row.event.provider_id.clone(),
        uid: None,
        recurrence_id: *key,
        revision: None,
        fields: None,
        role: row.event.role,
        detail: row.event.detail,
        raw: String::new(),
        changed_at: None,
    })))
}

/// Folds a page. `rows` are what is held of its ids and of the series of its instances.
pub(super) fn fold<'c>(changes: &'c [RemoteChange], rows: &HashMap<ProviderId, StoredRow>) -> Folded<'c> {
    let last: HashMap<&ProviderId, usize> =
        changes.iter().enumerate().map(|(index, change)| (change.provider_id(), index)).collect();
    let mut parts: HashMap<&ProviderId, Vec<&RemoteInstance>> = HashMap::new();
    let mut order: Vec<&RemoteChange> = Vec::new();
    let mut orphans: Vec<&ProviderId> = Vec::new();
    let mut masters: HashSet<&ProviderId> = HashSet::new();
    for (index, change) in changes.iter().enumerate() {
        if last.get(change.provider_id()) != Some(&index) {
            continue;
        }
        match change {
            RemoteChange::Instance(instance) => {
                let of_series = parts.entry(&instance.series_id).or_default();
                if of_series.is_empty() {
                    orphans.push(&instance.series_id);
                }
                of_series.push(instance);
            }
            // what is no longer shown was read singly by now
            RemoteChange::Occurrence { .. } | RemoteChange::Unlisted { .. } => {}
            whole => {
                masters.insert(whole.provider_id());
                order.push(whole);
            }
        }
    }
    let mut folded = Folded::default();
    for change in order {
        let id = change.provider_id();
        let instances = parts.remove(id).unwrap_or_default();
        match change {
            RemoteChange::Upsert(remote) if remote.parts == Parts::MasterOnly || !instances.is_empty() => {
                folded.master(remote, rows.get(id), &instances);
            }
            other => folded.changes.push(Cow::Borrowed(other)),
        }
    }
    for id in orphans.into_iter().filter(|id| !masters.contains(id)) {
        let series = orphaned(id, rows.get(id), &parts.remove(id).unwrap_or_default());
        folded.changes.extend(series.map(Cow::Owned));
    }
    folded
}

impl Folded<'_> {
    fn master(&mut self, remote: &RemoteEvent, row: Option<&StoredRow>, instances: &[&RemoteInstance]) {
        let mut remote = remote.clone();
        let Body::Series(series) = &mut remote.event.body else {
            // no longer a series: what its instances say is said of nothing
            self.changes.push(Cow::Owned(RemoteChange::Upsert(Box::new(remote))));
            return;
        };
        let start = series.master.as_ref().map(|master| master.fields.start.clone());
        if remote.parts == Parts::MasterOnly
            && let Some(held) = row.and_then(agreed)
        {
            let from = held.master.as_ref().map(|master| &master.fields.start);
            let is_moved = held.master.as_ref().is_some_and(|old| {
                series
                    .master
                    .as_ref()
                    .is_none_or(|new| old.fields.start != new.fields.start || old.rules != new.rules)
            });
            if is_moved && !held.overrides.is_empty() {
                self.doubtful.insert(remote.provider_id.clone());
            }
            for (key, over) in &held.overrides {
                series.overrides.entry(in_zone(from, start.as_ref(), key)).or_insert_with(|| over.clone());
            }
            for (key, object) in row.map(|row| &row.instances).into_iter().flatten() {
                remote.instances.entry(in_zone(from, start.as_ref(), key)).or_insert_with(|| object.clone());
            }
        }
        for instance in instances {
            put(series, &mut remote.instances, start.as_ref(), instance);
        }
        remote.parts = Parts::Whole;
        self.changes.push(Cow::Owned(RemoteChange::Upsert(Box::new(remote))));
    }
}

/// Instances whose master the page does not show.
fn orphaned(
    series_id: &ProviderId,
    row: Option<&StoredRow>,
    instances: &[&RemoteInstance],
) -> Option<RemoteChange> {
    let newest = instances.last()?;
    let held = row.and_then(agreed);
    let mut series = held.cloned().unwrap_or(Series { master: None, overrides: BTreeMap::new() });
    let start = series.master.as_ref().map(|master| master.fields.start.clone());
    let mut objects = row.map(|row| row.instances.clone()).unwrap_or_default();
    for instance in instances {
        put(&mut series, &mut objects, start.as_ref(), instance);
    }
    let is_over =
        series.master.is_none() && series.overrides.values().all(|over| matches!(over, Override::Cancelled));
    // Of a series that is not known yet, a cancelled instance is remembered: its master may be on the next page.
    if is_over && row.is_some_and(|row| row.state == EventState::Live && !is_remembered(row)) {
        return Some(RemoteChange::Removed { provider_id: series_id.clone() });
    }
    let held_uid = row.and_then(|row| row.event.event.as_ref()).map(|event| event.uid.clone());
    let uid = instances.iter().find_map(|instance| instance.uid.clone());
    let has_master = series.master.is_some();
    let stored = row.filter(|_| has_master).map(|row| &row.event);
    Some(RemoteChange::Upsert(Box::new(RemoteEvent {
        provider_id: series_id.clone(),
        created_as: None,
        revision: stored.map_or_else(|| newest.revision.clone(), |stored| stored.revision.clone()),
        event: Event {
            uid: held_uid.or(uid).unwrap_or_else(|| Uid(series_id.as_str().to_owned())),
            body: Body::Series(series),
        },
        parts: Parts::Whole,
        instances: objects,
        role: stored.map_or(newest.role, |stored| stored.role),
        detail: stored.map_or(newest.detail, |stored| stored.detail),
        raw: if has_master { None } else { Some(newest.raw.clone()) },
        changed_at: instances.iter().filter_map(|instance| instance.changed_at).max(),
        warnings: Vec::new(),
    })))
}

/// Puts one instance into its series.
fn put(
    series: &mut Series,
    objects: &mut BTreeMap<RecurrenceId, InstanceRef>,
    start: Option<&When>,
    instance: &RemoteInstance,
) {
    let key = in_zone(None, start, &instance.recurrence_id);
    let over = match &instance.fields {
        Some(fields) => Override::Changed(Box::new(Fields::clone(fields))),
        None => Override::Cancelled,
    };
    series.overrides.insert(key, over);
    let (provider_id, revision) = (instance.provider_id.clone(), instance.revision.clone());
    objects.insert(key, InstanceRef { provider_id, revision });
}

fn in_zone(from: Option<&When>, start: Option<&When>, key: &RecurrenceId) -> RecurrenceId {
    start.map_or(*key, |start| rekey(from, start, key))
}

/// Whether nothing but cancelled instances is known of a series.
fn is_remembered(row: &StoredRow) -> bool {
    row.event.event.as_ref().is_some_and(|event| event.fields().is_none())
}

/// The series as both sides last agreed on it.
fn agreed(row: &StoredRow) -> Option<&Series> {
    match &row.event.base.as_ref().or(row.event.event.as_ref())?.body {
        Body::Series(series) => Some(series),
        Body::Single(_) => None,
    }
}
