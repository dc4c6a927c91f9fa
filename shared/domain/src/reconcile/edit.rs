//! What a person's edit of a series means for its instances.
//!
//! Stored overrides are complete, so an edit of the master has to say what happens to them: an override keeps what it
//! said itself and follows the master in the rest, and its key moves with the frame as in a merge. One that the new
//! frame has no instance for is left out, and named.

use std::collections::{BTreeMap, BTreeSet};

use super::anchor::{Frame, moved};
use super::atoms;
use super::point::key_in;
use super::sheet::{Face, Instance, Sheet};
use crate::model::{Body, Event, Fields, Master, Override, RecurrenceId, Series};

/// A series with another master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remastered {
    /// What happens when; a single event where nothing recurs any more.
    pub body: Body,
    /// Instances that departed from the series and have no place in it any more, by their keys as they were.
    pub lost: Vec<RecurrenceId>,
}

/// The event with `master` in place of its own, or of its single fields. The exclusions in `master` count only with
/// [`Exclusions::Given`]; then an instance that is not among them takes place again.
pub fn with_master(event: &Event, master: Master, exclusions: Exclusions) -> Remastered {
    let sheet = Sheet::of(event);
    if master.rules.is_empty() && master.additions.is_empty() {
        let lost = sheet.instances.iter().filter(|(_, instance)| is_changed(instance)).map(|(key, _)| *key);
        return Remastered { body: Body::Single(master.fields), lost: lost.collect() };
    }
    let face = Face { fields: &master.fields, master: Some(&master) };
    let placed = moved(&sheet, Some(&face));
    let target = Sheet { master: Some(face), instances: BTreeMap::new() };
    let mut overrides = BTreeMap::new();
    let mut cancelled = BTreeSet::new();
    for (key, instance) in &placed.instances {
        match instance {
            _ if placed.unanchored.contains(key) => {}
            Instance::Cancelled => {
                cancelled.insert(*key);
            }
            Instance::Changed { fields: own, departs } => {
                let Some(inherited) = target.inherited(key) else { continue };
                let mut fields = inherited.to_fields();
                for atom in departs {
                    atoms::copy(atom, own, &mut fields);
                }
                fields.stamps = own.stamps;
                overrides.insert(*key, Override::Changed(Box::new(fields)));
            }
        }
    }
    let mut master = master;
    match exclusions {
        Exclusions::Kept => master.exclusions = cancelled,
        Exclusions::Given => overrides.retain(|key, _| !master.exclusions.contains(key)),
    }
    Remastered { body: Body::Series(Series { master: Some(master), overrides }), lost: placed.unanchored }
}

/// Where the exclusions of a series with another master come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exclusions {
    /// What did not take place still does not, moved with the frame.
    Kept,
    /// The new master says which.
    Given,
}

/// The instance's key as its series writes it, and what the instance says; `None` where it does not take place or the
/// event is no series.
pub fn instance(event: &Event, key: &RecurrenceId) -> Option<(RecurrenceId, Fields)> {
    let Body::Series(series) = &event.body else { return None };
    let sheet = Sheet::of(event);
    let Some(face) = &sheet.master else {
        return match series.overrides.get(key) {
            Some(Override::Changed(fields)) => Some((*key, fields.as_ref().clone())),
            _ => None,
        };
    };
    let key = key_in(&face.fields.start, key);
    match sheet.instances.get(&key) {
        Some(Instance::Changed { fields, .. }) => Some((key, (*fields).clone())),
        Some(Instance::Cancelled) => None,
        None => {
            let inherited = sheet.inherited(&key).filter(|_| Frame::new(face).has(&key))?;
            Some((key, inherited.to_fields()))
        }
    }
}

/// The series with one instance that says this, or with `None` does not take place. `key` is as [`instance`] gave it;
/// a single event stays as it is.
#[must_use]
pub fn with_instance(event: &Event, key: RecurrenceId, fields: Option<Fields>) -> Event {
    let mut event = event.clone();
    let Body::Series(series) = &mut event.body else { return event };
    let Some(master) = &mut series.master else {
        let over = fields.map_or(Override::Cancelled, |fields| Override::Changed(Box::new(fields)));
        series.overrides.insert(key, over);
        return event;
    };
    let is_it = |id: &RecurrenceId| key_in(&master.fields.start, id) == key;
    series.overrides.retain(|id, _| !is_it(id));
    let kept = master.exclusions.iter().filter(|id| !is_it(id)).copied();
    master.exclusions = kept.collect();
    match fields {
        Some(fields) => {
            series.overrides.insert(key, Override::Changed(Box::new(fields)));
        }
        None => {
            master.exclusions.insert(key);
        }
    }
    event
}

fn is_changed(instance: &Instance<'_>) -> bool {
    matches!(instance, Instance::Changed { .. })
}

#[cfg(test)]
mod tests {
    use chrono::{NaiveDate, NaiveDateTime};
    use chrono_tz::Tz;

    use super::*;
    use crate::model::{End, Rule, Uid, When, Zone};

    fn at(day: u32, hour: u32) -> NaiveDateTime {
        NaiveDate::from_ymd_opt(2026, 3, day).unwrap().and_hms_opt(hour, 0, 0).unwrap()
    }

    fn zoned(day: u32, hour: u32) -> When {
        When::Zoned { wall: at(day, hour), zone: Zone::Iana(Tz::Europe__Paris) }
    }

    fn master(hour: u32, rule: &str) -> Master {
        let fields = Fields {
            title: Some("Weekly".to_owned()),
            ..Fields::new(zoned(2, hour), End::At(zoned(2, hour + 1)))
        };
        let rules = vec![Rule(rule.to_owned())];
        Master { fields, rules, additions: BTreeMap::new(), exclusions: BTreeSet::new() }
    }

    fn weekly() -> Event {
        let series = Series { master: Some(master(9, "FREQ=WEEKLY;COUNT=5")), overrides: BTreeMap::new() };
        Event { uid: Uid::from("a"), body: Body::Series(series) }
    }

    fn key(day: u32, hour: u32) -> RecurrenceId {
        RecurrenceId::Wall(at(day, hour))
    }

    fn title(event: &Event, id: RecurrenceId) -> Option<String> {
        instance(event, &id).and_then(|(_, fields)| fields.title)
    }

    #[test]
    fn an_instance_is_changed_and_taken_out_by_itself() {
        let (id, mut fields) = instance(&weekly(), &key(9, 9)).unwrap();
        assert_eq!(fields.start, zoned(9, 9));
        fields.title = Some("Other".to_owned());

        let event = with_instance(&weekly(), id, Some(fields));
        let event = with_instance(&event, key(16, 9), None);

        assert_eq!(title(&event, key(9, 9)).as_deref(), Some("Other"));
        assert_eq!(title(&event, key(2, 9)).as_deref(), Some("Weekly"));
        assert_eq!(title(&event, key(16, 9)), None);
        assert_eq!(instance(&event, &key(17, 9)), None, "a Tuesday is no instance");
    }

    #[test]
    fn an_override_keeps_what_it_said_and_follows_the_master_in_the_rest() {
        let (id, mut fields) = instance(&weekly(), &key(9, 9)).unwrap();
        fields.location = Some("Room 2".to_owned());
        let event = with_instance(&with_instance(&weekly(), id, Some(fields)), key(16, 9), None);
        let mut later = master(10, "FREQ=WEEKLY;COUNT=5");
        later.fields.title = Some("Renamed".to_owned());

        let edited = with_master(&event, later, Exclusions::Kept);

        let event = Event { body: edited.body, ..event };
        let (_, fields) = instance(&event, &key(9, 10)).unwrap();
        assert_eq!((fields.title.as_deref(), fields.location.as_deref()), (Some("Renamed"), Some("Room 2")));
        assert_eq!(fields.start, zoned(9, 10));
        assert_eq!(instance(&event, &key(16, 10)), None);
        assert_eq!(edited.lost, []);
    }

    /// The same series from another start on.
    fn begun(event: &Event, day: u32, hour: u32) -> Remastered {
        let Body::Series(Series { master: Some(held), .. }) = &event.body else { panic!("a series") };
        let mut master = held.clone();
        (master.fields.start, master.fields.end) = (zoned(day, hour), End::At(zoned(day, hour + 1)));
        with_master(event, master, Exclusions::Kept)
    }

    #[test]
    fn an_override_that_stays_is_not_pushed_on_by_one_that_moves() {
        let daily = || Event {
            body: Body::Series(Series { master: Some(master(9, "FREQ=DAILY")), overrides: BTreeMap::new() }),
            ..weekly()
        };
        let renamed = |event: Event, day: u32, title: &str| {
            let (id, fields) = instance(&event, &key(day, 9)).unwrap();
            with_instance(&event, id, Some(Fields { title: Some(title.to_owned()), ..fields }))
        };
        let event = renamed(renamed(renamed(daily(), 2, "A"), 3, "B"), 4, "C");

        let edited = begun(&event, 3, 9);

        assert_eq!(edited.lost, [key(2, 9)]);
        let event = Event { body: edited.body, ..event };
        let titles = [3, 4, 5].map(|day| title(&event, key(day, 9)).unwrap());
        assert_eq!(titles, ["B", "C", "Weekly"]);
    }

    #[test]
    fn an_exclusion_goes_with_the_start_and_past_no_other_instance() {
        let daily = master(9, "FREQ=DAILY");
        let series = Series { master: Some(daily), overrides: BTreeMap::new() };
        let event = Event { body: Body::Series(series), ..weekly() };
        let event = with_instance(&event, key(2, 9), None);
        let first = |day, hour| {
            let edited = begun(&event, day, hour);
            title(&Event { body: edited.body, ..event.clone() }, key(day, hour))
        };

        assert_eq!(first(2, 10), None, "an hour later on the same day");
        assert_eq!(first(3, 9).as_deref(), Some("Weekly"), "begins with the second");
        assert_eq!(first(3, 10).as_deref(), Some("Weekly"), "begins after the second");
        let weekly = with_instance(&weekly(), key(2, 9), None);
        let moved = Event { body: begun(&weekly, 3, 9).body, ..weekly };
        assert_eq!(title(&moved, key(3, 9)), None, "Tuesdays instead of Mondays");
    }

    #[test]
    fn an_override_without_a_place_is_named_and_left_out() {
        let (id, mut fields) = instance(&weekly(), &key(9, 9)).unwrap();
        fields.title = Some("Other".to_owned());
        let event = with_instance(&weekly(), id, Some(fields));

        let edited = with_master(&event, master(9, "FREQ=MONTHLY"), Exclusions::Kept);

        assert_eq!(edited.lost, [key(9, 9)]);
        assert!(matches!(&edited.body, Body::Series(series) if series.overrides.is_empty()));
        let mut once = master(9, "");
        once.rules.clear();
        assert_eq!(with_master(&event, once, Exclusions::Kept).lost, [key(9, 9)]);
    }
}
