//! When an event is read again whose provider still makes its conference.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::{Body, Conference, ConferenceStatus, Event, Fields};

/// Between two looks at first, and at most.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// A conference that takes longer comes with the next change, or never.
const PATIENCE: Duration = Duration::from_hours(24);

/// When to look for the conference of an event that has been waited for since `since`: as long again as it has been
/// waited for. `None` when the event awaits none, or has awaited it for a day.
pub fn look_again_at(event: &Event, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let fields = match &event.body {
        Body::Single(fields) => Some(fields),
        Body::Series(series) => series.master.as_ref().map(|master| &master.fields),
    };
    let waited = now.since(since);
    let is_awaited = fields.is_some_and(is_pending) && waited < PATIENCE;
    is_awaited.then(|| now.plus(waited.clamp(FIRST_LOOK, LONGEST_WAIT)))
}

fn is_pending(fields: &Fields) -> bool {
    matches!(fields.conference, Some(Conference { status: ConferenceStatus::Pending, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConferenceType, End, Uid, When};

    #[test]
    fn the_steps_grow_and_end() {
        let mut fields = Fields::new(When::Date("2026-03-16".parse().unwrap()), End::Unspecified);
        let event = |fields: &Fields| Event { uid: Uid("a".to_owned()), body: Body::Single(fields.clone()) };
        let at = |fields: &Fields, waited: i64| {
            look_again_at(&event(fields), Timestamp(0), Timestamp(waited)).map(|at| at.0 - waited)
        };

        assert_eq!(at(&fields, 0), None);
        fields.conference =
            Some(Conference::without_link(ConferenceType::GoogleMeet, ConferenceStatus::Pending));
        assert_eq!(at(&fields, 0), Some(1_000));
        assert_eq!(at(&fields, 5_000), Some(5_000));
        assert_eq!(at(&fields, 80_000_000), Some(3_600_000));
        assert_eq!(at(&fields, 86_400_000), None);
        fields.conference = Some(Conference::ready(ConferenceType::GoogleMeet, "https://meet.google.com/a"));
        assert_eq!(at(&fields, 0), None);
    }
}
