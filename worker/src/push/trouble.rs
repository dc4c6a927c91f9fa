//! From a failure of one write to what becomes of its entries. Pure.

use std::time::Duration;

use calfleet_domain::clock::{Rng, Timestamp};
use calfleet_domain::failure::FailureClass;
use calfleet_providers::driver::DriverError;
use calfleet_store::LastProblem;
use calfleet_store::outbox::{OutboxEntry, Setback};

use crate::outcome::{LONGEST_BACKOFF, wait_after};

/// What becomes of the entries of an event whose write failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It changed at the provider: read, reconcile, write again.
    ReadAgain,
    /// They wait; the other events go on.
    Defer(Setback),
    /// They wait, and so does everything else of the connection.
    Stop(Setback),
    /// They are given up.
    GiveUp(LastProblem),
}

/// Under which circumstances a write failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempted<'a> {
    /// The entries it was for, in the order of their receipt; never empty.
    pub(super) entries: &'a [OutboxEntry],
    /// Whether it takes several requests.
    pub(super) has_steps: bool,
    /// How often it was read again and repeated in this run.
    pub(super) repeats: u32,
    /// Entries older than this are given up.
    pub(super) give_up_after: Duration,
    /// The instant.
    pub(super) now: Timestamp,
}

/// How often a write that meets another client's is repeated in one run.
const REPEATS: u32 = 4;

/// What follows from a failure.
pub(super) fn of(error: &DriverError, attempted: &Attempted<'_>, rng: &dyn Rng) -> Trouble {
    let Attempted { entries, has_steps, repeats, give_up_after, now } = *attempted;
    let problem =
        LastProblem { code: error.problem.code().to_owned(), text: error.problem.to_string(), at: now };
    let failed_before = entries.iter().map(|entry| entry.attempt).max().unwrap_or_default();
    let was_sent = entries.iter().any(|entry| entry.sent_at.is_some());
    let wait = wait_after(error.class, failed_before, LONGEST_BACKOFF, now, rng);
    let setback = |may_be_applied| Setback {
        class: error.class,
        problem: problem.clone(),
        attempt: wait.attempt,
        not_before: wait.until,
        may_be_applied,
    };
    let received = entries.iter().map(|entry| entry.received_at).max().unwrap_or(now);
    let is_old = now.since(received) >= give_up_after;
    match error.class {
        // What was refused has had no effect; but the steps before it may have had theirs. The row waits, the entries
        // keep their place.
        FailureClass::Throttled { .. } | FailureClass::Auth => {
            Trouble::Stop(Setback { not_before: now, ..setback(was_sent || has_steps) })
        }
        FailureClass::Permanent | FailureClass::Gone => Trouble::GiveUp(problem),
        FailureClass::Conflict if repeats < REPEATS => Trouble::ReadAgain,
        // what was only held that long, by a pause or a lost grant, has not failed yet
        FailureClass::Transient | FailureClass::Conflict if is_old && failed_before > 0 => {
            Trouble::GiveUp(problem)
        }
        FailureClass::Transient | FailureClass::Conflict => Trouble::Defer(setback(true)),
    }
}

#[cfg(test)]
mod tests {
    use calfleet_domain::model::{CalendarId, ConnectionId, EditScope, EventId, Notify, Operation, OutboxId};
    use calfleet_providers::driver::Problem;
    use calfleet_store::outbox::OutboxState;
    use uuid::Uuid;

    use super::*;

    #[derive(Debug)]
    struct Fixed;

    impl Rng for Fixed {
        fn next_u64(&self) -> u64 {
            0
        }
    }

    const DAY: i64 = 86_400_000;

    fn entry(received_at: i64) -> OutboxEntry {
        OutboxEntry {
            id: OutboxId(Uuid::nil()),
            connection_id: ConnectionId(Uuid::nil()),
            calendar_id: CalendarId(Uuid::nil()),
            event_id: EventId(Uuid::nil()),
            operation: Operation::Update,
            scope: EditScope::All,
            recurrence_id: None,
            notify: Notify::None,
            message: None,
            urgency: 0,
            idempotency_key: None,
            state: OutboxState::Pending,
            received_at: Timestamp(received_at),
            sent_at: None,
            answered_at: None,
            not_before: Timestamp::ZERO,
            attempt: 2,
            class: None,
            problem: None,
        }
    }

    fn of_class(class: FailureClass, received_at: i64, repeats: u32) -> Trouble {
        of_entry(class, entry(received_at), repeats)
    }

    fn of_entry(class: FailureClass, entry: OutboxEntry, repeats: u32) -> Trouble {
        let error = DriverError::new("write an event", class, Problem::Truncated);
        let entries = [entry];
        let give_up_after = Duration::from_hours(72);
        let now = Timestamp(10 * DAY);
        let attempted = Attempted { entries: &entries, has_steps: false, repeats, give_up_after, now };
        of(&error, &attempted, &Fixed)
    }

    #[test]
    fn what_passes_by_itself_waits_until_it_is_too_old() {
        let Trouble::Defer(setback) = of_class(FailureClass::Transient, 9 * DAY, 0) else { panic!() };

        assert_eq!((setback.attempt, setback.may_be_applied), (3, true));
        assert!(setback.not_before > Timestamp(10 * DAY));
        assert!(matches!(of_class(FailureClass::Transient, 6 * DAY, 0), Trouble::GiveUp(_)));
    }

    #[test]
    fn what_was_held_for_long_is_not_given_up_at_its_first_stumble() {
        let held = |class, attempt, repeats| of_entry(class, OutboxEntry { attempt, ..entry(0) }, repeats);

        assert!(matches!(held(FailureClass::Transient, 0, 0), Trouble::Defer(_)));
        assert_eq!(held(FailureClass::Conflict, 3, 0), Trouble::ReadAgain);
        assert!(matches!(held(FailureClass::Conflict, 0, REPEATS), Trouble::Defer(_)));
        assert!(matches!(held(FailureClass::Conflict, 1, REPEATS), Trouble::GiveUp(_)));
    }

    #[test]
    fn a_throttle_stops_the_connection_and_is_no_attempt() {
        let throttled = FailureClass::Throttled { retry_after: Some(Duration::from_secs(7)) };

        let Trouble::Stop(setback) = of_class(throttled, 0, 0) else { panic!() };

        assert_eq!((setback.attempt, setback.may_be_applied), (2, false));
    }

    #[test]
    fn a_meeting_with_another_client_is_repeated_a_bounded_number_of_times() {
        assert_eq!(of_class(FailureClass::Conflict, 9 * DAY, 0), Trouble::ReadAgain);
        assert!(matches!(of_class(FailureClass::Conflict, 9 * DAY, REPEATS), Trouble::Defer(_)));
        assert!(matches!(of_class(FailureClass::Permanent, 9 * DAY, 0), Trouble::GiveUp(_)));
    }
}
