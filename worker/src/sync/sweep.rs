//! What a complete listing did not name: whether that means deletion (laws 7 and 48), as rules without I/O.
//!
//! Absence is evidence only for rows that the listing could have named: agreed on before it began, with nothing
//! pending, and inside what the provider still shows; of what was made here and never got there it says nothing, and
//! such rows do not count among those that could be absent. Nor do the others that it says nothing of, named or not:
//! the past of a feed, or what waits to be sent, would make the loss of all the rest look small. And it is weak
//! evidence when it is about much at once: a server that lost its disk, an expired login answered with an empty page
//! and a half-written feed all look like a person who tidied up. So a large absence must be seen twice, by two
//! complete listings that agree, or be confirmed by a person; while it waits nothing is swept, and the calendar says
//! so.
//!
//! "Agree" is by a digest of exactly which rows were absent. A second listing that misses other rows starts the
//! wait anew: two different wrong answers confirm nothing.

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::EventId;
use calfleet_providers::driver::Coverage;
use calfleet_store::calendar_sync::SweepInDoubt;
use calfleet_store::events::Known;
use sha2::{Digest, Sha256};

/// Up to so many absent rows are believed at once, whatever their share (unless nothing would be left).
const BELIEVED_ROWS: usize = 5;

/// How long after the first listing the second one is asked for, and counts as one: a fault of a moment is over
/// then.
pub(super) const SECOND_LISTING_AFTER: Duration = Duration::from_mins(1);

/// What becomes of a row that was not named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The listing says nothing about it: a push was answered for it since, or it was never there.
    Keep,
    /// Has local edits: read singly, so that its deletion is certain before it meets them.
    Recheck,
    /// Outside what the provider shows; no deletion.
    OutOfWindow,
    /// Gone from this calendar.
    Missing,
}

/// What becomes of `row`, which is older than the listing begun at `began` that did not name it.
pub(super) fn fate(row: &Known, began: Timestamp, coverage: Coverage) -> Fate {
    if row.is_undelivered || row.settled_at.is_some_and(|settled| settled >= began) {
        return Fate::Keep;
    }
    if row.is_pending {
        return Fate::Recheck;
    }
    let ends_by = |at: Timestamp| row.span_end.is_some_and(|end| end <= at);
    let is_covered = match coverage {
        Coverage::Everything => true,
        Coverage::NotEnded => !ends_by(began),
        Coverage::Window { from, until } => {
            !ends_by(from) && row.span_start.is_none_or(|start| start < until)
        }
    };
    if is_covered { Fate::Missing } else { Fate::OutOfWindow }
}

/// Whether rows may be swept now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They may.
    Sweep,
    /// Too much at once: a second complete listing has to agree, or a person.
    Wait(SweepInDoubt),
}

/// Judges a sweep of `missing` out of `known` rows that the listing tells of; `earlier` is the doubt a listing
/// before this one left.
pub(super) fn judge(
    missing: &[EventId],
    known: usize,
    earlier: Option<&SweepInDoubt>,
    now: Timestamp,
) -> Verdict {
    let is_much = missing.len() * 2 > known && missing.len() > BELIEVED_ROWS;
    let is_all = missing.len() >= known;
    if missing.is_empty() || !(is_much || is_all) {
        return Verdict::Sweep;
    }
    let digest = digest(missing);
    match earlier {
        // a person's word covers what was shown to that person, no more
        Some(earlier) if earlier.is_approved && missing.len() <= earlier.missing => Verdict::Sweep,
        Some(earlier) if earlier.digest == digest && !earlier.is_approved => {
            // what answered wrongly a moment ago may answer as wrongly again
            let is_second = now.since(earlier.noticed_at) >= SECOND_LISTING_AFTER;
            if is_second { Verdict::Sweep } else { Verdict::Wait(earlier.clone()) }
        }
        _ => Verdict::Wait(SweepInDoubt {
            missing: missing.len(),
            known,
            digest,
            noticed_at: now,
            is_approved: false,
        }),
    }
}

/// A digest of which rows they are, whatever their order.
fn digest(rows: &[EventId]) -> String {
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    let mut hash = Sha256::new();
    for row in rows {
        hash.update(row.0.as_bytes());
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use calfleet_domain::model::ProviderId;
    use uuid::Uuid;

    use super::*;

    const BEGAN: Timestamp = Timestamp(1_000);

    fn ids(range: std::ops::Range<u128>) -> Vec<EventId> {
        range.map(|id| EventId(Uuid::from_u128(id))).collect()
    }

    fn known() -> Known {
        Known {
            id: EventId(Uuid::from_u128(1)),
            provider_id: ProviderId::from("/a.ics"),
            lock_version: 1,
            settled_at: None,
            is_pending: false,
            is_undelivered: false,
            span_start: Some(Timestamp(400)),
            span_end: Some(Timestamp(500)),
        }
    }

    #[test]
    fn a_few_deletions_are_believed_and_the_last_event_never_at_once() {
        assert_eq!(judge(&ids(0..5), 6, None, BEGAN), Verdict::Sweep);
        assert_eq!(judge(&ids(0..50), 100, None, BEGAN), Verdict::Sweep);
        assert!(matches!(judge(&ids(0..6), 11, None, BEGAN), Verdict::Wait(_)));
        assert!(matches!(judge(&ids(0..1), 1, None, BEGAN), Verdict::Wait(_)));
    }

    #[test]
    fn only_a_second_listing_that_misses_the_same_rows_confirms() {
        let Verdict::Wait(doubt) = judge(&ids(0..30), 40, None, BEGAN) else { panic!("must wait") };
        let later = BEGAN.plus(SECOND_LISTING_AFTER);

        assert_eq!(judge(&ids(0..30), 40, Some(&doubt), BEGAN), Verdict::Wait(doubt.clone()));
        assert_eq!(judge(&ids(0..30), 40, Some(&doubt), later), Verdict::Sweep);
        assert!(matches!(judge(&ids(1..31), 40, Some(&doubt), later), Verdict::Wait(_)));
    }

    #[test]
    fn the_word_of_a_person_covers_what_was_shown_and_no_more() {
        let Verdict::Wait(doubt) = judge(&ids(0..30), 40, None, BEGAN) else { panic!("must wait") };
        let approved = SweepInDoubt { is_approved: true, ..doubt };

        assert_eq!(judge(&ids(1..31), 40, Some(&approved), BEGAN), Verdict::Sweep);
        assert!(matches!(judge(&ids(0..40), 40, Some(&approved), BEGAN), Verdict::Wait(_)));
    }

    #[test]
    fn a_row_younger_than_the_listing_or_with_edits_is_not_swept() {
        assert_eq!(fate(&known(), BEGAN, Coverage::Everything), Fate::Missing);
        assert_eq!(
            fate(&Known { settled_at: Some(BEGAN), ..known() }, BEGAN, Coverage::Everything),
            Fate::Keep
        );
        assert_eq!(fate(&Known { is_pending: true, ..known() }, BEGAN, Coverage::Everything), Fate::Recheck);
    }

    #[test]
    fn the_absence_of_what_was_never_there_says_nothing() {
        for is_pending in [false, true] {
            let row = Known { is_undelivered: true, is_pending, ..known() };
            assert_eq!(fate(&row, BEGAN, Coverage::Everything), Fate::Keep);
        }
    }

    #[test]
    fn what_lies_outside_the_window_of_a_listing_is_not_deleted() {
        let window = |from, until| Coverage::Window { from: Timestamp(from), until: Timestamp(until) };

        assert_eq!(fate(&known(), BEGAN, window(450, 600)), Fate::Missing);
        assert_eq!(fate(&known(), BEGAN, window(100, 401)), Fate::Missing);
        assert_eq!(fate(&known(), BEGAN, window(500, 900)), Fate::OutOfWindow);
        assert_eq!(fate(&known(), BEGAN, window(100, 400)), Fate::OutOfWindow);
        assert_eq!(fate(&Known { span_end: None, ..known() }, BEGAN, window(900, 950)), Fate::Missing);
    }

    #[test]
    fn the_past_leaves_a_feed_without_being_deleted() {
        assert_eq!(fate(&known(), BEGAN, Coverage::NotEnded), Fate::OutOfWindow);
        assert_eq!(fate(&Known { span_end: None, ..known() }, BEGAN, Coverage::NotEnded), Fate::Missing);
    }
}
