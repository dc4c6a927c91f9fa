//! Taking changes back: what the history says was there before, put into the event as it is now; and looking back, which
//! is the same for every change since, the newest first.
//!
//! A change is taken back only where nobody has changed the same since; guests' answers are theirs and stay. Who looks
//! back sees everything as it was.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::atoms;
use super::diff::{Atom, FieldChange, changes};
use super::edit::{self, Exclusions, Remastered};
use crate::model::{
    Attendee, AttendeeKind, AttendeeRole, Body, End, Event, Fields, Master, Override, ParticipationStatus,
    RecurrenceId, Rule, When,
};

/// Why changes cannot be taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// What was changed then was changed again since.
    #[error("the same was changed again since")]
    ChangedSince(Vec<Atom>),
    /// The history does not say what was there.
    #[error("the history does not say what was there before")]
    Unknown,
}

/// Whether guests' answers are taken back as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// They stay: who gave them did so after all.
    Kept,
    /// They are: an answer of the calendar's owner is what is undone.
    Restored,
}

/// An event into which something was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The event.
    pub event: Event,
    /// Instances that departed from the series and have no place in it any more, by their keys as they were.
    pub lost: Vec<RecurrenceId>,
}

/// The event with what these changes say was there before them.
///
/// # Errors
/// When the same was changed again since, or the changes do not say what was there.
pub fn restore(
    event: &Event,
    taken_back: &[FieldChange],
    answers: Answers,
) -> Result<Restored, RestoreError> {
    let counts =
        |change: &&FieldChange| answers == Answers::Restored || !matches!(change.atom, Atom::Answer(_));
    let wanted: Vec<&FieldChange> = taken_back.iter().filter(counts).collect();
    let restored = taken_from(event, &wanted)?;
    let since = changes(Some(event), Some(&restored.event)).into_iter().filter(|now| {
        let then = wanted.iter().find(|then| (then.instance, &then.atom) == (now.instance, &now.atom));
        then.is_some_and(|then| then.after != now.before)
    });
    let since: Vec<Atom> = since.map(|now| now.atom).collect();
    if since.is_empty() { Ok(restored) } else { Err(RestoreError::ChangedSince(since)) }
}

/// What the event said before these changes, `event` being what they made of it; `None` where it was not there.
///
/// # Errors
/// When the changes do not say what was there.
pub fn before(event: Option<&Event>, made: &[FieldChange]) -> Result<Option<Event>, RestoreError> {
    let is_whole = |change: &&FieldChange| change.instance.is_none() && change.atom == Atom::Existence;
    match (made.iter().find(is_whole), event) {
        (Some(FieldChange { before: None, after: None, .. }), _) => Ok(None),
        (Some(FieldChange { before, .. }), None) => read(before.as_ref()).map(Some),
        (None, event) if made.is_empty() => Ok(event.cloned()),
        (None, Some(event)) => {
            taken_from(event, &made.iter().collect::<Vec<_>>()).map(|restored| Some(restored.event))
        }
        // what an event of which only instances were known has gained or lost is not told apart here
        (Some(_), Some(_)) | (None, None) => Err(RestoreError::Unknown),
    }
}

/// Both sides of a conflict mixed: `ours` with what `takes_theirs` says, by instance and atom, as `theirs` has it. Instances
/// are named as in our series.
///
/// # Errors
/// When one of the two cannot be carried into the other.
pub fn mixed(
    ours: &Event,
    theirs: &Event,
    takes_theirs: impl Fn(Option<RecurrenceId>, &Atom) -> bool,
) -> Result<Restored, RestoreError> {
    let differences = changes(Some(theirs), Some(ours));
    let taken = differences.iter().filter(|change| takes_theirs(change.instance, &change.atom));
    taken_from(ours, &taken.collect::<Vec<_>>())
}

/// The event without the changes. Instances come first, named as the series names them now; those that it has no more
/// come back with its frame.
fn taken_from(event: &Event, changes: &[&FieldChange]) -> Result<Restored, RestoreError> {
    let mut instances: BTreeMap<RecurrenceId, Vec<&FieldChange>> = BTreeMap::new();
    for change in changes {
        if let Some(key) = change.instance {
            instances.entry(key).or_default().push(change);
        }
    }
    let (own, former): (Vec<_>, Vec<_>) =
        instances.into_iter().partition(|(key, _)| inherited(event, *key).is_some());
    let mut restored = event.clone();
    for (key, changes) in own {
        restored = instance(&restored, key, &changes)?;
    }
    let mut restored = whole(&restored, changes.iter().copied().filter(|change| change.instance.is_none()))?;
    for (key, changes) in former {
        restored.event = instance(&restored.event, key, &changes)?;
    }
    Ok(restored)
}

/// The changes of a single event or of a master.
fn whole<'a>(
    event: &Event,
    changes: impl Iterator<Item = &'a FieldChange>,
) -> Result<Restored, RestoreError> {
    let as_it_is = || Restored { event: event.clone(), lost: Vec::new() };
    let mut master = match &event.body {
        Body::Single(fields) => bare(fields.clone()),
        Body::Series(series) => match &series.master {
            Some(master) => master.clone(),
            None => return Ok(as_it_is()),
        },
    };
    let mut is_changed = false;
    for change in changes {
        is_changed = true;
        if change.atom == Atom::When {
            let frame: Frame = read(change.before.as_ref())?;
            master.fields.start = frame.start;
            master.fields.end = frame.end;
            master.rules = frame.rules;
            master.additions = frame.additions;
        } else {
            put(&change.atom, change.before.as_ref(), &mut master.fields)?;
        }
    }
    if !is_changed {
        return Ok(as_it_is());
    }
    let Remastered { body, lost } = edit::with_master(event, master, Exclusions::Kept);
    Ok(Restored { event: Event { uid: event.uid.clone(), body }, lost })
}

/// The changes of one instance.
fn instance(event: &Event, key: RecurrenceId, changes: &[&FieldChange]) -> Result<Event, RestoreError> {
    let existence = changes.iter().find(|change| change.atom == Atom::Existence);
    if existence.is_some_and(|change| change.before.as_ref().and_then(Value::as_str) == Some("cancelled")) {
        return Ok(edit::with_instance(event, key, None));
    }
    let inherited = inherited(event, key).ok_or(RestoreError::Unknown)?;
    let mut fields = edit::instance(event, &key).map_or_else(|| inherited.clone(), |(_, fields)| fields);
    for change in changes {
        match (&change.atom, &change.before) {
            (Atom::Existence, _) => {}
            // it said nothing of its own
            (atom, None) => atoms::copy(atom, &inherited, &mut fields),
            (Atom::When, before) => {
                let frame: Frame = read(before.as_ref())?;
                (fields.start, fields.end) = (frame.start, frame.end);
            }
            (atom, before) => put(atom, before.as_ref(), &mut fields)?,
        }
    }
    Ok(edit::with_instance(event, key, Some(fields)))
}

/// What the instance would say if it departed in nothing.
fn inherited(event: &Event, key: RecurrenceId) -> Option<Fields> {
    let mut plain = event.clone();
    if let Body::Series(series) = &mut plain.body {
        series.overrides.retain(|id, over| *id != key || matches!(over, Override::Changed(_)));
        series.overrides.remove(&key);
        if let Some(master) = &mut series.master {
            master.exclusions.remove(&key);
        }
    }
    edit::instance(&plain, &key).map(|(_, fields)| fields)
}

fn bare(fields: Fields) -> Master {
    Master {
        fields,
        rules: Vec::new(),
        additions: BTreeMap::new(),
        exclusions: std::collections::BTreeSet::new(),
    }
}

#[derive(Deserialize)]
struct Frame {
    start: When,
    end: End,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    additions: BTreeMap<RecurrenceId, Option<End>>,
}

#[derive(Deserialize)]
struct Guest {
    name: Option<String>,
    role: AttendeeRole,
    kind: AttendeeKind,
}

#[derive(Deserialize)]
struct Answer {
    status: ParticipationStatus,
    comment: Option<String>,
}

fn read<T: serde::de::DeserializeOwned>(value: Option<&Value>) -> Result<T, RestoreError> {
    let value = value.cloned().ok_or(RestoreError::Unknown)?;
    serde_json::from_value(value).map_err(|_| RestoreError::Unknown)
}

/// The value, or what stands for nothing.
fn or_nothing<T: serde::de::DeserializeOwned + Default>(value: Option<&Value>) -> Result<T, RestoreError> {
    if value.is_none() { Ok(T::default()) } else { read(value) }
}

/// Puts the value of an atom, as `atoms::value` spelled it, into fields.
fn put(atom: &Atom, value: Option<&Value>, fields: &mut Fields) -> Result<(), RestoreError> {
    match atom {
        Atom::Existence | Atom::When => return Err(RestoreError::Unknown),
        Atom::Location => fields.location = or_nothing(value)?,
        Atom::Conference => fields.conference = or_nothing(value)?,
        Atom::Title => fields.title = or_nothing(value)?,
        Atom::Text => fields.description = or_nothing(value)?,
        Atom::Url => fields.url = or_nothing(value)?,
        Atom::Color => fields.color = or_nothing(value)?,
        Atom::Organizer => fields.organizer = or_nothing(value)?,
        Atom::Reminders => fields.reminders = or_nothing(value)?,
        Atom::Categories => fields.categories = or_nothing(value)?,
        Atom::Status => fields.status = or_nothing(value)?,
        Atom::Visibility => fields.visibility = or_nothing(value)?,
        Atom::Transparency => fields.transparency = or_nothing(value)?,
        Atom::Guest(address) => put_guest(address, or_nothing(value)?, fields),
        Atom::Answer(address) => {
            let answer: Answer = read(value)?;
            if let Some(guest) = fields.attendees.iter_mut().find(|guest| guest.address == *address) {
                (guest.status, guest.comment) = (answer.status, answer.comment);
            }
        }
    }
    Ok(())
}

fn put_guest(address: &str, said: Option<Guest>, fields: &mut Fields) {
    let held = fields.attendees.iter().position(|guest| guest.address == address);
    match (said, held.and_then(|place| fields.attendees.get_mut(place))) {
        (Some(said), Some(guest)) => {
            (guest.name, guest.role, guest.kind) = (said.name, said.role, said.kind);
        }
        (Some(said), None) => {
            let (name, role, kind) = (said.name, said.role, said.kind);
            fields.attendees.push(Attendee { name, role, kind, ..Attendee::new(address) });
            fields.attendees.sort_by(|one, other| one.address.cmp(&other.address));
        }
        (None, _) => fields.attendees.retain(|guest| guest.address != address),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{NaiveDate, NaiveDateTime};
    use chrono_tz::Tz;

    use super::*;
    use crate::model::{Reminder, Series, Uid, Zone};
    use crate::reconcile::version::is_same;

    fn at(day: u32, hour: u32) -> NaiveDateTime {
        NaiveDate::from_ymd_opt(2026, 3, day).unwrap().and_hms_opt(hour, 0, 0).unwrap()
    }

    fn weekly(hour: u32) -> Event {
        let zoned = |hour| When::Zoned { wall: at(2, hour), zone: Zone::Iana(Tz::Europe__Paris) };
        let mut fields = Fields::new(zoned(hour), End::At(zoned(hour + 1)));
        fields.title = Some("Weekly".to_owned());
        fields.attendees = vec![Attendee::new("ada@example.com"), Attendee::new("bob@example.com")];
        let master = Master { rules: vec![Rule("FREQ=WEEKLY;COUNT=5".to_owned())], ..bare(fields) };
        let series = Series { master: Some(master), overrides: BTreeMap::new() };
        Event { uid: Uid::from("a"), body: Body::Series(series) }
    }

    fn edited(event: &Event, change: impl FnOnce(&mut Fields)) -> Event {
        let mut event = event.clone();
        if let Body::Series(Series { master: Some(master), .. }) = &mut event.body {
            change(&mut master.fields);
        }
        event
    }

    fn instance_edited(event: &Event, change: impl FnOnce(&mut Fields)) -> Event {
        let (key, mut fields) = edit::instance(event, &RecurrenceId::Wall(at(9, 9))).unwrap();
        change(&mut fields);
        edit::with_instance(event, key, Some(fields))
    }

    #[test]
    fn what_was_changed_comes_back() {
        let before = weekly(9);
        let everything = edited(&before, |fields| {
            fields.title = None;
            fields.location = Some("Room 2".to_owned());
            fields.attendees.remove(0);
            fields.reminders = vec![Reminder::BeforeStart(60)];
        });
        let overridden = instance_edited(&before, |fields| fields.title = Some("Other".to_owned()));
        let excluded = edit::with_instance(&before, RecurrenceId::Wall(at(9, 9)), None);
        for after in [everything, weekly(10), overridden, excluded] {
            let changed = changes(Some(&before), Some(&after));
            assert!(!changed.is_empty());
            // the history is JSON
            let changed: Vec<FieldChange> =
                serde_json::from_value(serde_json::to_value(changed).unwrap()).unwrap();

            let restored = restore(&after, &changed, Answers::Kept).unwrap().event;

            assert!(is_same(&restored, &before), "{restored:#?}");
        }
    }

    #[test]
    fn later_changes_of_other_things_stay_and_of_the_same_thing_are_in_the_way() {
        let before = weekly(9);
        let after = edited(&before, |fields| fields.title = Some("Renamed".to_owned()));
        let changed = changes(Some(&before), Some(&after));
        let elsewhere = edited(&after, |fields| fields.location = Some("Room 2".to_owned()));
        let again = edited(&after, |fields| fields.title = Some("Again".to_owned()));

        let restored = restore(&elsewhere, &changed, Answers::Kept).unwrap().event;

        let fields = restored.fields().unwrap();
        assert_eq!((fields.title.as_deref(), fields.location.as_deref()), (Some("Weekly"), Some("Room 2")));
        let refused = restore(&again, &changed, Answers::Kept);
        assert_eq!(refused, Err(RestoreError::ChangedSince(vec![Atom::Title])));
    }

    #[test]
    fn answers_of_guests_stay() {
        let before = weekly(9);
        let after = edited(&before, |fields| fields.attendees[0].status = ParticipationStatus::Accepted);
        let changed = changes(Some(&before), Some(&after));

        assert_eq!(restore(&after, &changed, Answers::Kept).unwrap().event, after);
        assert!(is_same(&restore(&after, &changed, Answers::Restored).unwrap().event, &before));
    }

    #[test]
    fn looking_back_over_any_changes_finds_what_was_there() {
        let excluded = edit::with_instance(&weekly(9), RecurrenceId::Wall(at(30, 9)), None);
        let overridden = instance_edited(&excluded, |fields| fields.title = Some("Other".to_owned()));
        // the frame of two instances has no place for the exclusion
        let mut shortened = overridden.clone();
        let Body::Series(Series { master: Some(master), .. }) = &mut shortened.body else { panic!() };
        master.rules = vec![Rule("FREQ=WEEKLY;COUNT=2".to_owned())];
        master.exclusions.clear();
        let answered =
            edited(&shortened, |fields| fields.attendees[0].status = ParticipationStatus::Accepted);
        let once = Event { uid: Uid::from("a"), body: Body::Single(answered.fields().unwrap().clone()) };
        let states =
            [None, Some(excluded), Some(overridden), Some(shortened), Some(answered), Some(once), None];
        let made = states.windows(2).map(|pair| changes(pair[0].as_ref(), pair[1].as_ref()));
        let made: Vec<Vec<FieldChange>> =
            made.map(|made| serde_json::from_value(serde_json::to_value(made).unwrap()).unwrap()).collect();

        let mut state = None;
        for (made, was) in made.iter().zip(&states).rev() {
            state = super::before(state.as_ref(), made).unwrap();
            match (&state, was) {
                (Some(state), Some(was)) => assert!(is_same(state, was), "{state:#?} {was:#?}"),
                (state, was) => assert_eq!(state, was),
            }
        }
        assert_eq!(super::before(None, &made[1]), Err(RestoreError::Unknown));
    }

    #[test]
    fn both_sides_of_a_conflict_are_mixed_by_field() {
        let base = weekly(9);
        let ours =
            instance_edited(&edited(&base, |fields| fields.title = Some("Ours".to_owned())), |fields| {
                fields.location = Some("Ours".to_owned());
            });
        let theirs = edited(&weekly(10), |fields| {
            fields.title = Some("Theirs".to_owned());
            fields.description = Some("Theirs".to_owned());
        });

        let mix = |atoms: &[Atom]| mixed(&ours, &theirs, |_, atom| atoms.contains(atom)).unwrap().event;

        let mixed = mix(&[Atom::When, Atom::Text]);
        let fields = mixed.fields().unwrap();
        assert_eq!((fields.title.as_deref(), fields.description.as_deref()), (Some("Ours"), Some("Theirs")));
        let (_, moved) = edit::instance(&mixed, &RecurrenceId::Wall(at(9, 10))).unwrap();
        assert_eq!(moved.location.as_deref(), Some("Ours"), "our override moves with their frame");
        assert_eq!(mix(&[]), ours);
    }
}
