//! The names of instances as they are written and read again.

use chrono_tz::Tz;

use crate::ics::series::Keys;
use crate::model::{Body, Event, RecurrenceId, When};
use crate::recurrence::expand::{id_of, start_of};

/// Turns an id that an event has into the one that a reader gives to what is written for it: there is more than one way
/// to name an instance of a series in UTC.
#[derive(Clone, Copy)]
pub(super) struct Key<'e> {
    start: Option<&'e When>,
    zone: Option<Tz>,
}

impl<'e> Key<'e> {
    pub(super) fn of(event: &'e Event, zone: Option<Tz>) -> Self {
        let start = match &event.body {
            Body::Single(_) => None,
            Body::Series(series) => series.master.as_ref().map(|master| &master.fields.start),
        };
        Self { start, zone }
    }

    pub(super) fn of_id(self, id: RecurrenceId) -> RecurrenceId {
        self.start.map_or(id, |start| Keys::new(start, self.zone).id(&start_of(id, start)))
    }

    /// The names that an instance of this series may have in another one: its own, and one as far from the new start.
    pub(super) fn names_in(self, other: Self, id: RecurrenceId) -> Vec<RecurrenceId> {
        let mut names = vec![other.of_id(id)];
        if let (Some(from), Some(to)) = (self.start, other.start) {
            let wall = start_of(self.of_id(id), from).wall();
            let shifted = wall.checked_add_signed(to.wall() - from.wall());
            names.extend(shifted.map(|wall| id_of(&to.with_wall(wall))));
        }
        names
    }
}
