//! Laws 1, 2, 4, 5, 15, 46, 47 and 48 in the pure planner: over generated events, and over histories of two sides
//! with a provider that keeps one event (`reconcile_histories`). The decision table is in `reconcile_cases`.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    Body, ConflictPolicy, DetailLevel, End, Event, Fields, NominalDuration, Override, RecurrenceId,
    RemoteEvent, Role, StoredEvent, When, Zone,
};
use calfleet_domain::reconcile::{Atom, Decision, Remote, diff, invariants, reconcile, version};
use chrono_tz::Tz;
use proptest::prelude::*;
use proptest::sample::select;

use crate::cases;
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
