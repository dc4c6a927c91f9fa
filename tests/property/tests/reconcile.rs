//! Laws 1, 2, 4, 5, 15, 46, 47 and 48 in the pure planner: over generated events, and over histories of two sides
//! with a provider that keeps one event (`reconcile_histories`). The decision table is in `reconcile_cases`.

use std::collections::{BTreeMap, BTreeSet};

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    Body, ConflictPolicy, DetailLevel, End, Event, Fields, NominalDuration, Override, RecurrenceId,
    RemoteEvent, Role, Series, StoredEvent, When, Zone,
};
use calfleet_domain::reconcile::edit::{self, Exclusions};
use calfleet_domain::reconcile::{
    Atom, Decision, Remote, diff, has_instance, invariants, reconcile, rekey, version,
};
use chrono::Duration;
use chrono_tz::Tz;
use proptest::prelude::*;
use proptest::sample::select;

use crate::cases;
use crate::generators::a_series;
use crate::reconcile_events::{
    context, edited, edits, event, fails, held, instance_of, judge, key_of, pending, shown_as,
};

proptest! {
    #![proptest_config(cases(1_000, 100_000))]

    #[test]
    fn a_change_of_one_side_is_taken_whole(base in event(), edits in edits(6), judge in judge()) {
        let changed = edited(&base, &edits);

        invariants::merge_is_identity_on_one_change(&base, &changed, &judge).map_err(|broken| fails(&broken))?;
    }

    #[test]
    fn edits_of_different_atoms_commute(base in event(), ones in edits(4), others in edits(4), judge in judge()) {
        let (one, other) = (edited(&base, &ones), edited(&base, &others));

        invariants::disjoint_edits_commute(&base, &one, &other, &judge).map_err(|broken| fails(&broken))?;
    }

    #[test]
    fn what_still_is_an_instance_stays_when_the_start_moves(event in a_series(), days in -3_i64..4, hours in 0_i64..2) {
        // by a title of its own each override is known again
        let mut event = event;
        if let Body::Series(series) = &mut event.body {
            for (key, over) in &mut series.overrides {
                if let Override::Changed(fields) = over {
                    fields.title = Some(key.to_string());
                }
            }
        }
        let Body::Series(Series { master: Some(old), overrides }) = &event.body else { return Ok(()) };
        let ahead = Duration::days(days) + Duration::hours(hours);
        let later = |when: &When| when.with_wall(when.wall() + ahead);
        let mut master = old.clone();
        master.fields.start = later(&old.fields.start);
        if let End::At(end) = &old.fields.end {
            master.fields.end = End::At(later(end));
        }
        let frame = master.clone();

        let body = edit::with_master(&event, master, Exclusions::Kept).body;

        let Body::Series(Series { master: Some(new), overrides: kept }) = body else { return Ok(()) };
        let named = |key: &RecurrenceId| rekey(None, &frame.fields.start, key);
        let kept: BTreeMap<_, _> = kept.iter().map(|(key, over)| (named(key), over)).collect();
        let excluded: BTreeSet<_> = new.exclusions.iter().map(named).collect();
        let title = |over: &Override| match over {
            Override::Changed(fields) => fields.title.clone(),
            Override::Cancelled => None,
        };
        for (key, over) in overrides.iter().filter(|(key, _)| has_instance(&frame, key)) {
            prop_assert_eq!(kept.get(&named(key)).map(|over| title(over)), Some(title(over)), "{} is at its place", key);
        }
        for key in old.exclusions.iter().filter(|key| has_instance(&frame, key)) {
            prop_assert!(excluded.contains(&named(key)), "{} takes place again", key);
        }
        let was_excluded: BTreeSet<_> = old.exclusions.iter().map(named).collect();
        for key in excluded.difference(&was_excluded) {
            prop_assert!(!has_instance(old, key), "{} took place", key);
        }
    }

    #[test]
    fn order_defaults_and_spelling_make_no_version(event in event()) {
        let respelled = respelled(&event);

        prop_assert_eq!(version::of(&event), version::of(&respelled));
        prop_assert!(diff::changes(Some(&event), Some(&respelled)).is_empty());
    }

    #[test]
    fn a_version_changes_exactly_when_an_atom_does(event in event(), edits in edits(4)) {
        let changed = edited(&event, &edits);

        let is_same = version::of(&event) == version::of(&changed);

        prop_assert_eq!(is_same, diff::changed_atoms(&event, &changed).is_empty());
    }

    #[test]
    fn less_detail_is_no_edit(event in event()) {
        let shown = reduced(&event);
        let stored = StoredEvent { detail: DetailLevel::Full, ..held(Some(event)) };
        let remote = RemoteEvent { detail: DetailLevel::FreeBusy, ..shown_as(shown, None) };

        let plan = reconcile(Some(&stored), &Remote::Present(&remote), &context(ConflictPolicy::LastWriteWins));

        prop_assert_eq!((plan.decision, plan.detail), (Decision::Nothing, DetailLevel::Full), "{:#?}", plan.changes);
    }

    #[test]
    fn of_a_guests_edits_only_the_own_answer_and_personal_fields_survive(
        base in event(),
        ours in edits(5),
        theirs in edits(3),
        policy in select(vec![ConflictPolicy::LastWriteWins, ConflictPolicy::AppWins]),
    ) {
        let (local, remote) = (edited(&base, &ours), edited(&base, &theirs));
        let stored = StoredEvent { role: Role::Attendee, ..pending(Some(local), base) };
        let shown = RemoteEvent { role: Role::Attendee, ..shown_as(remote.clone(), None) };

        let plan = reconcile(Some(&stored), &Remote::Present(&shown), &context(policy));

        let sent = diff::changed_atoms(&remote, &plan.event.unwrap());
        let is_cancelled = |instance: &Option<RecurrenceId>| {
            instance.is_some() && sent.contains(&(*instance, Atom::Existence))
        };
        let refused: Vec<_> =
            sent.iter().filter(|(instance, atom)| !atom.is_personal() && !is_cancelled(instance)).collect();
        prop_assert!(refused.is_empty(), "{refused:?} would be sent");
    }
}

/// The same event, written otherwise.
fn respelled(event: &Event) -> Event {
    let mut event = event.clone();
    match &mut event.body {
        Body::Single(fields) => {
            respell(fields);
            if let End::Unspecified = fields.end {
                fields.end = End::After(NominalDuration { days: 1, seconds: 0 });
            }
        }
        Body::Series(series) => {
            let master = series.master.as_mut().unwrap();
            respell(&mut master.fields);
            for key in std::mem::take(&mut master.exclusions) {
                series.overrides.insert(key, Override::Cancelled);
            }
            for over in series.overrides.values_mut() {
                if let Override::Changed(fields) = over {
                    respell(fields);
                }
            }
            for day in 4..6 {
                let repeated = Override::Changed(Box::new(instance_of(&master.fields, day)));
                series.overrides.entry(key_of(&master.fields.start, day)).or_insert(repeated);
            }
        }
    }
    event
}

fn respell(fields: &mut Fields) {
    if let When::Zoned { zone, .. } = &mut fields.start {
        *zone = Zone::Iana(Tz::Europe__Kiev);
    }
    fields.attendees.reverse();
    fields.reminders.reverse();
    fields.reminders.extend(fields.reminders.clone());
    fields.categories.reverse();
    for one in &mut fields.attendees {
        one.address = one.address.to_uppercase();
    }
    for text in [&mut fields.title, &mut fields.description, &mut fields.location] {
        *text = Some(text.take().unwrap_or_default().replace('\n', "  \r\n") + " \r\n");
    }
    fields.stamps.sequence += 3;
    fields.stamps.updated = Some(Timestamp(77));
}

/// What free/busy access shows of an event.
fn reduced(event: &Event) -> Event {
    let mut event = event.clone();
    let busy_time = |fields: &mut Fields| {
        let (status, transparency) = (fields.status, fields.transparency);
        *fields = Fields { status, transparency, ..Fields::new(fields.start.clone(), fields.end.clone()) };
    };
    match &mut event.body {
        Body::Single(fields) => busy_time(fields),
        Body::Series(series) => {
            busy_time(&mut series.master.as_mut().unwrap().fields);
            for over in series.overrides.values_mut() {
                if let Override::Changed(fields) = over {
                    busy_time(fields);
                }
            }
        }
    }
    event
}
