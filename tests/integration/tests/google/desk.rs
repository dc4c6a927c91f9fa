//! An application that writes into one connected account: through the service, the outbox and the jobs.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{CalendarId, ConnectionId, EventId, Notify};
use calfleet_service::Actor;
use calfleet_service::write::{EventInput, EventPatch, Outcome, Reach, Terms, WriteError};
use calfleet_store::events::{self, StoredRow};
use calfleet_store::outbox::{self, OutboxState};
use calfleet_store::{Scope, calendars};
use serde_json::Value;

use super::fleet::Fleet;

pub(crate) struct Desk<'a> {
    pub(crate) fleet: Fleet<'a>,
    pub(crate) connection: ConnectionId,
}

impl<'a> Desk<'a> {
    /// An account that is connected and in step.
    pub(crate) async fn over(fleet: Fleet<'a>) -> Self {
        let connection = fleet.connect().await;
        fleet.sync(connection).await;
        Self { fleet, connection }
    }

    pub(crate) async fn calendar(&self) -> CalendarId {
        let tx = self.fleet.database.store.read(self.scope()).await.unwrap();
        let calendars = calendars::list(&tx, self.connection).await.unwrap();
        let primary = calendars.iter().find(|calendar| calendar.remote.is_primary);
        primary.or(calendars.first()).unwrap().id
    }

    pub(crate) fn scope(&self) -> Scope {
        Scope::Organization(self.fleet.database.here)
    }

    pub(crate) fn terms(&self, notify: Notify) -> Terms {
        Terms { notify, ..Terms::of_person(self.fleet.database.here, Actor::operator()) }
    }

    pub(crate) async fn create(&self, input: Value, notify: Notify) -> Result<Outcome, WriteError> {
        let input: EventInput = serde_json::from_value(input).unwrap();
        self.fleet.service.create_event(self.calendar().await, &input, &self.terms(notify)).await
    }

    pub(crate) async fn edit(&self, id: EventId, patch: Value, reach: Reach) -> Outcome {
        let patch: EventPatch = serde_json::from_value(patch).unwrap();
        self.fleet.service.edit_event(id, &patch, reach, &self.terms(Notify::None)).await.unwrap()
    }

    pub(crate) async fn delete(&self, id: EventId, reach: Reach) -> Outcome {
        self.fleet.service.delete_event(id, reach, &self.terms(Notify::None)).await.unwrap()
    }

    pub(crate) async fn row(&self, id: EventId) -> StoredRow {
        let tx = self.fleet.database.store.read(self.scope()).await.unwrap();
        events::load(&tx, id).await.unwrap().unwrap()
    }

    pub(crate) async fn push(&self) {
        self.fleet.push(self.connection).await;
    }

    pub(crate) async fn is_settled(&self) -> bool {
        let tx = self.fleet.database.store.read(self.scope()).await.unwrap();
        outbox::list(&tx, OutboxState::Pending, None, 10).await.unwrap().is_empty()
            && outbox::list(&tx, OutboxState::Dead, None, 10).await.unwrap().is_empty()
    }

    /// Nothing is pending, and nothing of the row is changed by a complete listing.
    pub(crate) async fn assert_in_step(&self, id: EventId, forget: impl FnOnce(&Fleet<'_>)) {
        assert!(self.is_settled().await);
        let before = self.row(id).await;
        assert_eq!((&before.event.base, before.event.edited_at), (&None, None));
        forget(&self.fleet);
        self.fleet.sync(self.connection).await;
        assert_eq!(self.row(id).await, before);
    }

    /// The copy of that title.
    pub(crate) async fn titled(&self, title: &str) -> EventId {
        let tx = self.fleet.database.store.read(self.scope()).await.unwrap();
        let rows = events::known(&tx, self.calendar().await, Timestamp::NEVER, None, 10).await.unwrap();
        drop(tx);
        for known in rows {
            let row = self.row(known.id).await;
            if row.event.event.as_ref().and_then(|event| event.fields()?.title.as_deref()) == Some(title) {
                return known.id;
            }
        }
        panic!("{title} has not come in");
    }
}
