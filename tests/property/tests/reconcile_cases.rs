//! The decision table, case by case, and single cases worth a name.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    Attendee, ConflictPolicy, Event, Fields, ParticipationStatus, RemoteEvent, Role, StoredEvent,
};
use calfleet_domain::reconcile::{
    Context, Decision, Interval, Judge, Plan, Reason, Remote, Side, Verdict, diff, merge, reconcile,
};

use crate::reconcile_events::{
    Edit, NOW, apply, apply_to_fields, context, edited, guest, held, meeting, pending, plain_series,
    shown_as, single,
};

/// What a case of the decision table has on each side.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Same,
    Title(u8),
    Text(u8),
    Answered,
    Deleted,
}

fn in_state(state: State) -> Option<Event> {
    let mut fields = Fields { attendees: vec![Attendee::new(guest(1))], ..meeting() };
    match state {
        State::Same => {}
        State::Title(number) => apply_to_fields(&Edit::Title(number), &mut fields),
        State::Text(number) => apply_to_fields(&Edit::Text(number), &mut fields),
        State::Answered => {
            apply_to_fields(&Edit::Answer(1, ParticipationStatus::Accepted), &mut fields);
        }
        State::Deleted => return None,
    }
    Some(single(fields))
}

/// Decides one case; ours was written at 500 s, the provider's at `remote_at` s.
fn decide(local: State, remote: State, policy: ConflictPolicy, role: Role, remote_at: i64) -> Plan {
    let stored = match local {
        State::Same => held(in_state(State::Same)),
        local => pending(in_state(local), in_state(State::Same).unwrap()),
    };
    let stored = StoredEvent { role, ..stored };
    let stamp = Some(Timestamp(remote_at * 1_000));
    let shown = in_state(remote).map(|event| RemoteEvent { role, ..shown_as(event, stamp) });
    let side = shown.as_ref().map_or(Remote::Deleted, Remote::Present);
    let around = Timestamp(remote_at * 1_000 + 10);
    let context = Context {
        requested_at: around,
        listed_without_at: Some(Timestamp(around.0 - 100)),
        ..context(policy)
    };
    reconcile(Some(&stored), &side, &context)
}

#[test]
fn the_decision_table() {
    use ConflictPolicy::{AppWins, LastWriteWins, Manual, ProviderWins};
    use Decision as D;
    use Reason as R;
    use Role::{Attendee as Guest, None as Alone, Organizer};
    use State::{Answered, Deleted, Same, Text, Title};
    const EARLIER: i64 = 400;
    const LATER: i64 = 600;
    const MEANWHILE: i64 = 501;
    let cases = [
        (Same, Same, LastWriteWins, Alone, LATER, D::Nothing, R::Unchanged),
        (Same, Title(1), LastWriteWins, Alone, LATER, D::Take, R::RemoteChanged),
        (Same, Deleted, LastWriteWins, Alone, LATER, D::TakeDeletion, R::RemoteDeleted),
        (Title(1), Same, LastWriteWins, Alone, EARLIER, D::Push, R::LocalChanged),
        (Deleted, Same, LastWriteWins, Alone, EARLIER, D::PushDeletion, R::LocalDeleted),
        (Title(1), Title(1), LastWriteWins, Alone, LATER, D::Agree, R::SameChange),
        (Deleted, Deleted, LastWriteWins, Alone, LATER, D::Agree, R::BothDeleted),
        (Title(1), Text(1), LastWriteWins, Alone, LATER, D::Merge, R::DisjointChanges),
        (Title(1), Title(2), LastWriteWins, Alone, LATER, D::Take, R::Contested),
        (Title(1), Title(2), LastWriteWins, Alone, EARLIER, D::Push, R::Contested),
        (Title(1), Title(2), LastWriteWins, Alone, MEANWHILE, D::Take, R::Contested),
        (Title(1), Title(2), ProviderWins, Alone, EARLIER, D::Take, R::Contested),
        (Title(1), Title(2), AppWins, Alone, LATER, D::Push, R::Contested),
        (Title(1), Title(2), Manual, Alone, LATER, D::Conflict, R::LeftToPerson),
        (Title(1), Title(2), AppWins, Guest, EARLIER, D::Take, R::Contested),
        (Title(1), Same, AppWins, Guest, EARLIER, D::Take, R::Contested),
        (Answered, Same, LastWriteWins, Guest, EARLIER, D::Push, R::LocalChanged),
        (Answered, Title(1), LastWriteWins, Guest, LATER, D::Merge, R::DisjointChanges),
        (Deleted, Title(1), LastWriteWins, Alone, LATER, D::Revive, R::Contested),
        (Deleted, Title(1), LastWriteWins, Alone, EARLIER, D::PushDeletion, R::Contested),
        (Deleted, Title(1), LastWriteWins, Organizer, LATER, D::PushDeletion, R::Contested),
        (Deleted, Title(1), LastWriteWins, Guest, LATER, D::Revive, R::Contested),
        (Deleted, Answered, LastWriteWins, Alone, LATER, D::PushDeletion, R::Contested),
        (Deleted, Title(1), Manual, Alone, LATER, D::Conflict, R::LeftToPerson),
        (Title(1), Deleted, LastWriteWins, Alone, LATER, D::TakeDeletion, R::Contested),
        (Title(1), Deleted, LastWriteWins, Alone, EARLIER, D::Revive, R::Contested),
        (Title(1), Deleted, AppWins, Organizer, EARLIER, D::TakeDeletion, R::Contested),
        (Title(1), Deleted, AppWins, Guest, EARLIER, D::TakeDeletion, R::Contested),
        (Answered, Deleted, AppWins, Alone, EARLIER, D::TakeDeletion, R::Contested),
        (Title(1), Deleted, Manual, Alone, EARLIER, D::Conflict, R::LeftToPerson),
    ];
    for (local, remote, policy, role, remote_at, decision, reason) in cases {
        let plan = decide(local, remote, policy, role, remote_at);
        let case = format!("{local:?} here, {remote:?} there, {policy:?}, {role:?}, at {remote_at}");
        assert_eq!((plan.decision, plan.reason), (decision, reason), "{case}: {plan:#?}");
        assert_eq!(plan.loser.is_some(), reason == R::Contested, "{case}");
        assert_eq!(plan.conflict.is_some(), decision == D::Conflict, "{case}");
    }
}

#[test]
fn a_tie_is_noted_and_the_provider_stands() {
    let plan = decide(State::Title(1), State::Title(2), ConflictPolicy::LastWriteWins, Role::None, 501);

    let loser = plan.loser.unwrap();

    assert!(loser.is_tie);
    assert_eq!(loser.local, in_state(State::Title(1)));
    assert_eq!((loser.contests[0].winner, loser.contests[0].verdict), (Side::Remote, Verdict::Tie));
}

#[test]
fn what_was_edited_before_and_after_the_provider_is_a_tie() {
    let several = StoredEvent {
        edited_since: Some(Timestamp(400_000)),
        ..pending(in_state(State::Title(1)), in_state(State::Same).unwrap())
    };
    let verdict_at = |remote_at: i64| {
        let shown = shown_as(in_state(State::Title(2)).unwrap(), Some(Timestamp(remote_at)));
        let plan =
            reconcile(Some(&several), &Remote::Present(&shown), &context(ConflictPolicy::LastWriteWins));
        let loser = plan.loser.unwrap();
        (loser.contests[0].winner, loser.contests[0].verdict)
    };

    assert_eq!(verdict_at(390_000), (Side::Local, Verdict::Later));
    assert_eq!(verdict_at(450_000), (Side::Remote, Verdict::Tie));
    assert_eq!(verdict_at(510_000), (Side::Remote, Verdict::Later));
}

#[test]
fn a_page_from_before_the_last_answer_says_nothing() {
    let stored = StoredEvent { settled_at: Some(Timestamp(NOW.0 + 1)), ..held(in_state(State::Title(1))) };
    let in_flight = StoredEvent { is_in_flight: true, ..held(in_state(State::Title(1))) };
    let (old, now) = (shown_as(in_state(State::Same).unwrap(), None), context(ConflictPolicy::LastWriteWins));

    for (stored, reason) in [(stored, Reason::SettledSince), (in_flight, Reason::InFlight)] {
        for remote in [Remote::Present(&old), Remote::Deleted] {
            let plan = reconcile(Some(&stored), &remote, &now);
            assert_eq!((plan.decision, plan.reason), (Decision::Stale, reason));
            assert_eq!(plan.event, stored.event);
        }
    }
}

#[test]
fn a_create_that_never_reached_the_provider_is_not_deleted_by_its_absence() {
    let stored = StoredEvent { edited_at: Some(Timestamp(1)), ..held(in_state(State::Same)) };

    let plan = reconcile(Some(&stored), &Remote::Deleted, &context(ConflictPolicy::ProviderWins));

    assert_eq!((plan.decision, plan.reason, plan.must_push), (Decision::Push, Reason::NotYetCreated, true));
}

#[test]
fn overrides_follow_a_series_that_moves() {
    let mut base = plain_series();
    apply(&Edit::Instance(2, Box::new(Edit::Title(3))), &mut base);
    let local = edited(&base, &[Edit::CancelInstance(4)]);
    let remote = edited(&base, &[Edit::Hour(8)]);
    let expected = edited(&base, &[Edit::Hour(8), Edit::CancelInstance(4)]);
    let judge = Judge {
        policy: ConflictPolicy::LastWriteWins,
        role: Role::None,
        local_at: Interval::at(NOW),
        remote_at: Interval::at(NOW),
        answered_at: Interval::at(NOW),
    };

    let merged = merge::merge(Some(&base), &local, &remote, &judge);

    assert_eq!(diff::changes(Some(&expected), Some(&merged.event)), []);
    assert!(merged.contests.is_empty());
}
