//! Which calendars a connection has: asked at the beginning, every now and then, and when one is not found.
//!
//! A calendar that is no longer listed becomes `gone`: a state of the calendar, never a deletion of its events.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::CalendarId;
use calfleet_store::calendars::{self, ListingChanges};
use calfleet_store::{Priority, Scope, connections, work};

use super::{Stop, Sync};

impl Sync<'_> {
    /// Whether the provider should be asked which calendars there are.
    pub(super) fn wants_calendars(&self, now: Timestamp) -> bool {
        let every = self.settings.calendars_every;
        self.connection.calendars_listed_at.is_none_or(|at| at.plus(every) <= now)
    }

    /// Asks the provider which calendars there are, and takes that over.
    pub(super) async fn refresh_calendars(&self) -> Result<ListingChanges, Stop> {
        let listed = self.driver.list_calendars().await?;
        let now = self.clock.now();
        let tx = self.store.begin(self.scope(), Priority::Background).await?;
        let new_id = || CalendarId(self.rng.uuid(now));
        let changes = calendars::apply_listing(&tx, self.connection.id, &listed, new_id, now).await?;
        connections::set_calendars_listed(&tx, self.connection.id, now).await?;
        work::fence(&tx, self.claim, self.settings.lease, now).await?;
        tx.commit().await?;
        Ok(changes)
    }

    pub(super) fn scope(&self) -> Scope {
        Scope::Organization(self.connection.organization_id)
    }
}
