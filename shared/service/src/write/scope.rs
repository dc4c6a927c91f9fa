//! How far a change of a series reaches: one instance, an instance and all after it, or all. Pure.

use calfleet_domain::model::{Body, EditScope, Event, Fields, ParticipationStatus, RecurrenceId, Uid, When};
use calfleet_domain::reconcile::{edit, rekey};
use calfleet_domain::recurrence::expand::id_of;
use calfleet_domain::recurrence::{SplitError, happens, split};

use super::compose::{self, Ground};
use super::findings::{Adjustment, Invalid};
use super::input::EventPatch;

/// How far a change reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// One, the rest, or all.
    pub scope: EditScope,
    /// From which instance; needed unless all are meant.
    pub recurrence_id: Option<RecurrenceId>,
}

impl Reach {
    /// The whole event.
    pub const ALL: Self = Self { scope: EditScope::All, recurrence_id: None };
}

/// What an event becomes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Changed {
    /// The event afterwards; `None` when it is deleted.
    pub(super) event: Option<Event>,
    /// The second half, where the series was split.
    pub(super) split: Option<Event>,
    /// How far the change reaches: as it was asked for, or all where that comes to the same.
    pub(super) reach: Reach,
    /// Times that could not be taken as they were given.
    pub(super) adjusted: Vec<Adjustment>,
    /// Instances that departed from the series and have no place in it any more.
    pub(super) lost: Vec<RecurrenceId>,
}

/// What the event becomes by a change; `uid` names the second half of a split.
pub(super) fn edit(
    before: &Event,
    patch: &EventPatch,
    reach: Reach,
    uid: Uid,
    ground: Ground,
) -> Result<Changed, Vec<Invalid>> {
    match meant(before, reach)? {
        Meant::All => edit_whole(before, patch, ground),
        Meant::This(key, fields) => {
            let (fields, adjusted) = compose::change_instance(&fields, patch, ground)?;
            let event = Some(edit::with_instance(before, key, Some(fields)));
            Ok(Changed { event, split: None, reach: this(key), adjusted, lost: Vec::new() })
        }
        Meant::Following(key) => {
            let (first, second) = split(before, key, uid).map_err(unsplittable)?;
            if !happens(&first) {
                // It is all of them, and times are said of the first one that takes place.
                let rest = Event { uid: before.uid.clone(), body: second.body };
                return edit_whole(if patch.says_when() { &rest } else { before }, patch, ground);
            }
            let draft = compose::change_whole(Some(&second), patch, ground)?;
            let second = Event { uid: second.uid, body: draft.body };
            let reach = Reach { scope: EditScope::Following, recurrence_id: Some(key) };
            let (adjusted, lost) = (draft.adjusted, draft.lost);
            Ok(Changed { event: Some(first), split: Some(second), reach, adjusted, lost })
        }
    }
}

fn edit_whole(before: &Event, patch: &EventPatch, ground: Ground) -> Result<Changed, Vec<Invalid>> {
    let draft = compose::change_whole(Some(before), patch, ground)?;
    let event = Event { uid: before.uid.clone(), body: draft.body };
    let (adjusted, lost) = (draft.adjusted, draft.lost);
    Ok(Changed { event: Some(event), split: None, reach: Reach::ALL, adjusted, lost })
}

/// What the event becomes by a deletion.
pub(super) fn delete(before: &Event, reach: Reach) -> Result<Changed, Vec<Invalid>> {
    let changed =
        |event, reach| Changed { event, split: None, reach, adjusted: Vec::new(), lost: Vec::new() };
    match meant(before, reach)? {
        Meant::All => Ok(changed(None, Reach::ALL)),
        Meant::This(key, _) => {
            let event = edit::with_instance(before, key, None);
            Ok(changed(Some(event), this(key)))
        }
        Meant::Following(key) => {
            // the name of the half that is thrown away does not matter
            let (first, _) = split(before, key, before.uid.clone()).map_err(unsplittable)?;
            if !happens(&first) {
                return Ok(changed(None, Reach::ALL));
            }
            let reach = Reach { scope: EditScope::Following, recurrence_id: Some(key) };
            Ok(changed(Some(first), reach))
        }
    }
}

/// An answer to an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Accepted, declined or tentative.
    pub status: ParticipationStatus,
    /// What is said with it; `None` leaves what was said before.
    pub comment: Option<String>,
}

/// What the event becomes by an answer of the guest with one of these addresses.
pub(super) fn respond(
    before: &Event,
    addresses: &[String],
    answer: &Answer,
    reach: Reach,
) -> Result<Changed, Vec<Invalid>> {
    let changed = |event, reach| Changed {
        event: Some(event),
        split: None,
        reach,
        adjusted: Vec::new(),
        lost: Vec::new(),
    };
    match meant(before, reach)? {
        Meant::This(key, mut fields) => {
            give(&mut fields, addresses, answer)?;
            Ok(changed(edit::with_instance(before, key, Some(*fields)), this(key)))
        }
        Meant::Following(_) => Err(scope_fault("not_offered", "Answer one instance, or all of them.")),
        Meant::All => {
            let mut event = before.clone();
            match &mut event.body {
                Body::Single(fields) => give(fields, addresses, answer)?,
                Body::Series(series) => {
                    let Some(mut master) = series.master.clone() else {
                        let message = "Only some instances are known; give scope=this and an instance.";
                        return Err(scope_fault("master_unknown", message));
                    };
                    give(&mut master.fields, addresses, answer)?;
                    event.body = edit::with_master(before, master, edit::Exclusions::Kept).body;
                }
            }
            Ok(changed(event, Reach::ALL))
        }
    }
}

fn give(fields: &mut Fields, addresses: &[String], answer: &Answer) -> Result<(), Vec<Invalid>> {
    let own = fields.attendees.iter_mut().find(|guest| addresses.contains(&guest.address));
    let Some(own) = own else {
        let message = "The owner of this calendar is not among the guests.";
        let (field, code) = ("response".to_owned(), "not_invited");
        return Err(vec![Invalid { field, code, message: message.to_owned() }]);
    };
    own.status = answer.status;
    if answer.comment.is_some() {
        own.comment.clone_from(&answer.comment);
    }
    Ok(())
}

/// What a reach means for an event.
enum Meant {
    All,
    This(RecurrenceId, Box<Fields>),
    Following(RecurrenceId),
}

fn meant(event: &Event, reach: Reach) -> Result<Meant, Vec<Invalid>> {
    let Body::Series(series) = &event.body else {
        // a single event is its only instance
        let own = event.fields().map(|fields| id_of(&fields.start));
        return match reach.recurrence_id {
            Some(id) if own != Some(id) && reach.scope != EditScope::All => Err(no_instance(id)),
            _ => Ok(Meant::All),
        };
    };
    let id = match (reach.scope, reach.recurrence_id) {
        (EditScope::All, _) => return Ok(Meant::All),
        (_, Some(id)) => id,
        (_, None) => {
            let message = "Say from which instance: its original start, such as 20260714T080000.";
            let (field, code) = ("instance".to_owned(), "required");
            return Err(vec![Invalid { field, code, message: message.to_owned() }]);
        }
    };
    let start: Option<&When> = series.master.as_ref().map(|master| &master.fields.start);
    let key = start.map_or(id, |start| rekey(None, start, &id));
    if reach.scope == EditScope::Following {
        return match start {
            // from the first one on is all of them
            Some(start) if rekey(None, start, &id_of(start)) == key => Ok(Meant::All),
            _ => Ok(Meant::Following(key)),
        };
    }
    let (key, fields) = edit::instance(event, &key).ok_or_else(|| no_instance(id))?;
    Ok(Meant::This(key, Box::new(fields)))
}

fn this(key: RecurrenceId) -> Reach {
    Reach { scope: EditScope::This, recurrence_id: Some(key) }
}

fn no_instance(id: RecurrenceId) -> Vec<Invalid> {
    let message = format!("The series has no instance {id} that takes place.");
    vec![Invalid { field: "instance".to_owned(), code: "no_instance", message }]
}

fn unsplittable(error: SplitError) -> Vec<Invalid> {
    match error {
        SplitError::NoInstance(id) => no_instance(id),
        SplitError::NothingBefore | SplitError::NoSeries => {
            scope_fault("master_unknown", "Only a series whose rule is known can be split.")
        }
        SplitError::Unexpandable => {
            scope_fault("not_offered", "The rule of this series cannot be split; change all of it.")
        }
    }
}

fn scope_fault(code: &'static str, message: &str) -> Vec<Invalid> {
    vec![Invalid { field: "scope".to_owned(), code, message: message.to_owned() }]
}

#[cfg(test)]
mod tests {
    use calfleet_domain::model::{Attendee, ProviderKind, Series};
    use chrono_tz::Tz;

    use super::super::input::EventInput;
    use super::*;

    const GROUND: Ground = Ground { provider: ProviderKind::Caldav, zone: Some(Tz::Europe__Paris) };

    fn weekly() -> Event {
        let json = r#"{"title": "Weekly", "start": "2026-07-13T08:00:00", "end": "2026-07-13T09:00:00",
            "recurrence": ["FREQ=WEEKLY;COUNT=6"], "attendees": [{"address": "ada@example.com"}]}"#;
        let input: EventInput = serde_json::from_str(json).unwrap();
        Event { uid: Uid::from("a"), body: compose::create(&input, GROUND).unwrap().body }
    }

    fn patch(json: &str) -> EventPatch {
        serde_json::from_str(json).unwrap()
    }

    fn reach(scope: EditScope, id: &str) -> Reach {
        Reach { scope, recurrence_id: Some(id.parse().unwrap()) }
    }

    fn rules(event: &Event) -> Vec<String> {
        match &event.body {
            Body::Series(Series { master: Some(master), .. }) => {
                master.rules.iter().map(|rule| rule.0.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn title(event: &Event, id: &str) -> Option<String> {
        edit::instance(event, &id.parse().unwrap()).and_then(|(_, fields)| fields.title)
    }

    #[test]
    fn one_instance_is_changed_by_itself() {
        let this = reach(EditScope::This, "20260720T080000");

        let changed = edit(&weekly(), &patch(r#"{"title": "Other"}"#), this, Uid::from("b"), GROUND).unwrap();

        let event = changed.event.unwrap();
        assert_eq!((changed.split, changed.reach), (None, this));
        assert_eq!(title(&event, "20260720T080000").as_deref(), Some("Other"));
        assert_eq!(title(&event, "20260727T080000").as_deref(), Some("Weekly"));
    }

    #[test]
    fn this_and_following_makes_two_and_from_the_first_on_is_all() {
        let patch = patch(r#"{"title": "Later", "start": "2026-07-27T10:00:00"}"#);
        let from = |id| edit(&weekly(), &patch, reach(EditScope::Following, id), Uid::from("b"), GROUND);

        let changed = from("20260727T080000").unwrap();
        let (first, second) = (changed.event.unwrap(), changed.split.unwrap());
        assert_eq!(
            (rules(&first), rules(&second)),
            (vec!["FREQ=WEEKLY;COUNT=2".into()], vec!["FREQ=WEEKLY;COUNT=4".into()])
        );
        assert_eq!((second.uid.as_str(), title(&second, "20260727T100000").as_deref()), ("b", Some("Later")));

        assert_eq!(from("20260713T080000").unwrap().reach, Reach::ALL);
        assert_eq!(from("20260728T080000").unwrap_err()[0].code, "no_instance");
    }

    #[test]
    fn from_the_first_one_that_takes_place_on_is_all_of_them() {
        let from = |id| reach(EditScope::Following, id);
        let (first, second) = ("20260713T080000", "20260720T080000");
        let event = delete(&weekly(), reach(EditScope::This, first)).unwrap().event.unwrap();
        let edited = |json: &str| {
            let changed = edit(&event, &patch(json), from(second), Uid::from("b"), GROUND).unwrap();
            assert_eq!((changed.split, changed.reach), (None, Reach::ALL));
            changed.event.unwrap()
        };

        let renamed = edited(r#"{"title": "Later"}"#);
        assert_eq!((renamed.uid.as_str(), rules(&renamed)), ("a", vec!["FREQ=WEEKLY;COUNT=6".into()]));
        assert_eq!((title(&renamed, first), title(&renamed, second)), (None, Some("Later".to_owned())));
        let moved = edited(r#"{"start": "2026-07-20T10:00:00"}"#);
        assert_eq!((moved.uid.as_str(), rules(&moved)), ("a", vec!["FREQ=WEEKLY;COUNT=5".into()]));
        assert_eq!(title(&moved, "20260720T100000").as_deref(), Some("Weekly"));
        let gone = delete(&event, from(second)).unwrap();
        assert_eq!((gone.event, gone.reach), (None, Reach::ALL));
        let third = delete(&event, from("20260727T080000")).unwrap().event.unwrap();
        assert_eq!(rules(&third), ["FREQ=WEEKLY;COUNT=2"], "the second takes place before");
    }

    #[test]
    fn deleting_reaches_as_far_as_it_is_told() {
        let gone = |scope, id| delete(&weekly(), reach(scope, id)).unwrap().event;

        assert_eq!(gone(EditScope::All, "20260720T080000"), None);
        assert_eq!(title(&gone(EditScope::This, "20260720T080000").unwrap(), "20260720T080000"), None);
        let rest = gone(EditScope::Following, "20260720T080000").unwrap();
        assert_eq!(rules(&rest), ["FREQ=WEEKLY;COUNT=1"]);
        let nothing = delete(&weekly(), Reach { scope: EditScope::This, recurrence_id: None });
        assert_eq!(nothing.unwrap_err()[0].field, "instance");
    }

    #[test]
    fn an_answer_is_the_owners_own() {
        let answer = Answer { status: ParticipationStatus::Accepted, comment: Some("gladly".to_owned()) };
        let answered = |address: &str, reach| respond(&weekly(), &[address.to_owned()], &answer, reach);

        let own = answered("ada@example.com", Reach::ALL).unwrap().event.unwrap();
        let expected = Attendee {
            status: ParticipationStatus::Accepted,
            comment: Some("gladly".to_owned()),
            ..Attendee::new("ada@example.com")
        };
        assert_eq!(own.fields().unwrap().attendees, [expected]);
        assert_eq!(answered("bob@example.com", Reach::ALL).unwrap_err()[0].code, "not_invited");
        let one = answered("ada@example.com", reach(EditScope::This, "20260720T080000")).unwrap();
        assert_eq!(one.event.unwrap().fields().unwrap().attendees, [Attendee::new("ada@example.com")]);
    }
}
