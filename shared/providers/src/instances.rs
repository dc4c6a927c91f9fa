//! What becomes of the instances of a series that is written, where a provider keeps an object for each that departs
//! from it. Pure deciding; each driver does it in its own `series`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use calfleet_domain::model::{
    Body, End, Event, Fields, InstanceRef, Master, Override, Parts, ProviderId, RecurrenceId, RemoteEvent,
    RemoteInstance, Series, Status, Uid,
};
use calfleet_domain::reconcile::diff::differing_fields;
use calfleet_domain::reconcile::{has_instance, rekey};
use calfleet_domain::recurrence::end_of;
use calfleet_domain::recurrence::expand::start_of;
use chrono_tz::Tz;

/// The objects that a provider keeps for instances, by original start in the form of the series.
pub(crate) type Objects = BTreeMap<RecurrenceId, RemoteInstance>;

/// What an instance shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted<'s> {
    /// It takes place, and says this.
    Says(Box<Cow<'s, Fields>>),
    /// It does not take place.
    Cancelled,
}

/// Instances whose master is not in the calendar, as one event; `None` when none of them takes place.
pub(crate) fn detached(
    series_id: &ProviderId,
    uid: &Uid,
    mut instances: Vec<RemoteInstance>,
) -> Option<RemoteEvent> {
    instances.sort_by_key(|instance| instance.changed_at);
    let newest = instances.iter().rev().find(|instance| instance.fields.is_some())?;
    let (revision, role, detail) = (newest.revision.clone(), newest.role, newest.detail);
    let (raw, changed_at) = (newest.raw.clone(), instances.last().and_then(|newest| newest.changed_at));
    let mut series = Series { master: None, overrides: BTreeMap::new() };
    let mut objects = BTreeMap::new();
    for instance in instances {
        let over = instance.fields.map_or(Override::Cancelled, |fields| Override::Changed(Box::new(fields)));
        series.overrides.insert(instance.recurrence_id, over);
        let object = InstanceRef { provider_id: instance.provider_id, revision: instance.revision };
        objects.insert(instance.recurrence_id, object);
    }
    Some(RemoteEvent {
        provider_id: series_id.clone(),
        created_as: None,
        revision,
        event: Event { uid: uid.clone(), body: Body::Series(series) },
        parts: Parts::Whole,
        instances: objects,
        role,
        detail,
        raw: Some(raw),
        changed_at,
        warnings: Vec::new(),
    })
}

/// What a series wants its instance of that original start to be; `None` where it says nothing of it.
pub(crate) fn wanted<'s>(series: &'s Series, key: &RecurrenceId, zone: Option<Tz>) -> Option<Wanted<'s>> {
    match series.overrides.get(key) {
        Some(Override::Changed(fields)) if fields.status == Status::Cancelled => {
            return Some(Wanted::Cancelled);
        }
        Some(Override::Changed(fields)) => return Some(Wanted::Says(Box::new(Cow::Borrowed(fields)))),
        Some(Override::Cancelled) => return Some(Wanted::Cancelled),
        None => {}
    }
    let master = series.master.as_ref()?;
    if master.exclusions.contains(key) {
        return Some(Wanted::Cancelled);
    }
    // What an earlier frame has left behind is nothing that could take place again.
    if !has_instance(master, key) {
        return None;
    }
    let (first, reader) = (&master.fields, zone.unwrap_or(Tz::UTC));
    let start = start_of(*key, &first.start);
    let end = End::At(end_of(&first.start, &first.end, &start, reader));
    Some(Wanted::Says(Box::new(Cow::Owned(Fields { start, end, ..first.clone() }))))
}

/// Original starts of the instances that shall become something else than they were.
pub(crate) fn touched(before: &Series, after: &Series, zone: Option<Tz>) -> BTreeSet<RecurrenceId> {
    let named = |series: &Series| -> Vec<RecurrenceId> {
        let exclusions = series.master.iter().flat_map(|master| &master.exclusions);
        series.overrides.keys().chain(exclusions).copied().collect()
    };
    let mut keys: BTreeSet<RecurrenceId> = named(before).into_iter().chain(named(after)).collect();
    keys.retain(|key| match (wanted(before, key, zone), wanted(after, key, zone)) {
        (Some(Wanted::Says(before)), Some(Wanted::Says(after))) => {
            !differing_fields(&before, &after).is_empty()
        }
        (before, after) => before != after,
    });
    keys
}

/// Original starts of the instances that a series wants to be something of their own.
pub(crate) fn changed(series: &Series) -> BTreeSet<RecurrenceId> {
    let is_changed = |over: &Override| matches!(over, Override::Changed(_));
    series.overrides.iter().filter(|(_, over)| is_changed(over)).map(|(key, _)| *key).collect()
}

/// Whether a new series wants something to be an instance of its own that its rule does not have: a provider that keeps
/// instances beside their series could be told of the series only, so nothing is made.
pub(crate) fn has_stray(series: &Series, master: &Master) -> bool {
    let is_stray = |key: &RecurrenceId| {
        let takes_place = matches!(wanted(series, key, None), Some(Wanted::Says(_)));
        takes_place && !has_instance(master, &rekey(None, &master.fields.start, key))
    };
    changed(series).iter().any(is_stray)
}

/// Objects by original start in the form of a series; in their own where its master is not known.
pub(crate) fn keyed(instances: Vec<RemoteInstance>, series: &Series) -> Objects {
    let start = series.master.as_ref().map(|master| &master.fields.start);
    let key = |instance: &RemoteInstance| match start {
        Some(start) => rekey(None, start, &instance.recurrence_id),
        None => instance.recurrence_id,
    };
    instances.into_iter().map(|instance| (key(&instance), instance)).collect()
}

/// Whether somebody else has been at one of these instances since both sides agreed: it has neither the revision that
/// is held, nor says what was agreed on.
pub(crate) fn is_disturbed(
    objects: &Objects,
    (series, held): (&Series, &BTreeMap<RecurrenceId, InstanceRef>),
    keys: &BTreeSet<RecurrenceId>,
    zone: Option<Tz>,
) -> bool {
    // By id: original starts may have been written anew, for another frame, since it was read.
    let held: BTreeMap<_, _> = held.values().map(|held| (&held.provider_id, &held.revision)).collect();
    let is_known = |key: &RecurrenceId, object: &RemoteInstance| {
        let is_revision = object.revision.is_some()
            && held.get(&object.provider_id).is_some_and(|revision| **revision == object.revision);
        is_revision
            || match (wanted(series, key, zone), &object.fields) {
                (Some(Wanted::Says(agreed)), Some(said)) => differing_fields(&agreed, said).is_empty(),
                (Some(Wanted::Cancelled), None) => true,
                _ => false,
            }
    };
    keys.iter().any(|key| match objects.get(key) {
        Some(object) => !is_known(key, object),
        None => matches!(series.overrides.get(key), Some(Override::Changed(_))),
    })
}

#[cfg(test)]
mod tests {
    use calfleet_domain::model::{DetailLevel, Master, ProviderId, Revision, Role, Rule, When};

    use super::*;

    fn at(wall: &str) -> When {
        When::Floating(wall.parse().unwrap())
    }

    fn key(day: &str) -> RecurrenceId {
        RecurrenceId::Wall(format!("2026-03-{day}T10:00:00").parse().unwrap())
    }

    fn titled(day: &str, title: &str) -> Fields {
        let start = at(&format!("2026-03-{day}T10:00:00"));
        let mut fields = Fields::new(start, End::At(at(&format!("2026-03-{day}T11:00:00"))));
        fields.title = Some(title.to_owned());
        fields
    }

    /// Every day from the 2nd on; the 4th is called otherwise, the 5th and 6th do not take place.
    fn daily() -> Series {
        let master = Master {
            fields: titled("02", "Standup"),
            rules: vec![Rule("FREQ=DAILY".to_owned())],
            additions: BTreeMap::new(),
            exclusions: [key("05")].into(),
        };
        let late = Override::Changed(Box::new(titled("04", "Late")));
        let overrides = [(key("04"), late), (key("06"), Override::Cancelled)].into();
        Series { master: Some(master), overrides }
    }

    fn object(day: &str, revision: &str, fields: Option<Fields>) -> RemoteInstance {
        RemoteInstance {
            provider_id: ProviderId(format!("abc_{day}")),
            series_id: ProviderId("abc".to_owned()),
            uid: None,
            recurrence_id: key(day),
            revision: Some(Revision(revision.to_owned())),
            fields,
            role: Role::Organizer,
            detail: DetailLevel::Full,
            raw: String::new(),
            changed_at: None,
        }
    }

    #[test]
    fn a_series_says_what_each_of_its_instances_shall_be() {
        let series = daily();

        let says = |fields| Some(Wanted::Says(Box::new(Cow::Owned(fields))));
        assert_eq!(wanted(&series, &key("03"), None), says(titled("03", "Standup")));
        assert_eq!(wanted(&series, &key("04"), None), says(titled("04", "Late")));
        assert_eq!(wanted(&series, &key("05"), None), Some(Wanted::Cancelled));
        assert_eq!(wanted(&series, &key("06"), None), Some(Wanted::Cancelled));
        assert_eq!(wanted(&series, &key("01"), None), None);
    }

    #[test]
    fn only_instances_that_become_something_else_are_touched() {
        let (before, mut after) = (daily(), daily());
        after.overrides.insert(key("03"), Override::Changed(Box::new(titled("03", "Standup"))));
        after.overrides.insert(key("05"), Override::Cancelled);
        after.overrides.remove(&key("04"));
        after.overrides.insert(key("07"), Override::Cancelled);

        assert_eq!(touched(&before, &after, None), [key("04"), key("07")].into());
    }

    #[test]
    fn an_instance_is_disturbed_when_neither_its_revision_nor_its_content_is_known() {
        let (series, all) = (daily(), [key("04"), key("06"), key("07")].into());
        let held = InstanceRef { provider_id: ProviderId("abc_04".to_owned()), revision: Some("1".into()) };
        let held = BTreeMap::from([(key("04"), held)]);
        let disturbed = |objects: Vec<RemoteInstance>| {
            is_disturbed(&keyed(objects, &series), (&series, &held), &all, None)
        };

        assert!(!disturbed(vec![object("04", "1", Some(titled("04", "Whatever")))]));
        assert!(!disturbed(vec![object("04", "2", Some(titled("04", "Late"))), object("06", "9", None)]));
        assert!(disturbed(vec![object("04", "2", Some(titled("04", "Theirs")))]));
        assert!(disturbed(vec![object("04", "2", None)]));
        assert!(disturbed(vec![]));
        assert!(disturbed(vec![
            object("04", "1", Some(titled("04", "Late"))),
            object("07", "1", Some(titled("07", "New")))
        ]));
    }
}
