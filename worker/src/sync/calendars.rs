//! Which calendars a connection has: asked at the beginning, every now and then, and when one is not found.
//!
//! A calendar that is no longer listed becomes `gone`: a state of the calendar, never a deletion of its events.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::job::{Ask, Asker, Kind, Lane, WorkKey};
use calfleet_domain::model::CalendarId;
use calfleet_store::calendars::{self, ListingChanges};
use calfleet_store::{Priority, Scope, StoreError, Tx, connections, outbox, watches, work};

use super::{Stop, Sync};
use crate::watch;

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
        let mut asks = self.watches_wanted(&tx, &changes, now).await?;
        let is_back = !changes.readdressed.is_empty() || !changes.restored.is_empty();
        if is_back && outbox::next_due(&tx, self.connection.id).await?.is_some() {
            asks.push(self.push_ask(now));
        }
        work::ask(&tx, &asks).await?;
        tx.commit().await?;
        Ok(changes)
    }

    /// Calendars that came or went are to be watched, or no longer; with them those that nobody looks after.
    async fn watches_wanted(
        &self,
        tx: &Tx,
        changes: &ListingChanges,
        now: Timestamp,
    ) -> Result<Vec<Ask>, StoreError> {
        if !self.settings.watches || !self.driver.capabilities().watches {
            return Ok(Vec::new());
        }
        let mut calendars = watches::neglected(tx, self.connection.id).await?;
        calendars.extend(changes.gone.iter().chain(&changes.restored).chain(&changes.readdressed));
        Ok(calendars.into_iter().map(|calendar| watch::ask(self.connection, calendar, now)).collect())
    }

    /// An ask for what waits in the connection's outbox.
    fn push_ask(&self, at: Timestamp) -> Ask {
        Ask {
            key: WorkKey { kind: Kind::Push, target: self.connection.id.0 },
            organization_id: self.connection.organization_id,
            connection_id: Some(self.connection.id),
            lane: Lane::Sync,
            at,
            asker: Asker::Machine,
        }
    }

    pub(super) fn scope(&self) -> Scope {
        Scope::Organization(self.connection.organization_id)
    }
}
