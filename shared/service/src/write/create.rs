//! Making events.

use calfleet_domain::model::{CalendarId, Event, EventId, Operation, OrganizationId, Organizer, Role};
use calfleet_providers::naming::{self, Names};
use calfleet_providers::registry::provider;
use calfleet_store::events::StoredRow;
use calfleet_store::{Scope, Tx, calendars, connections, grants, organizations, outbox};
use serde_json::{Value, json};

use super::commit::{Mode, RowChange, RowWrite, Terms, Written};
use super::compose::{self, Ground};
use super::findings::Adjustment;
use super::input::EventInput;
use super::limits::Limits;
use super::outcome::{Outcome, WriteError};
use super::permit::{self, Place, Refusal};
use super::plan::{Plan, Step, mailed, plan};
use super::scope::Reach;
use crate::service::Service;

/// A new event as it is to be stored.
pub(super) struct New {
    pub(super) id: EventId,
    pub(super) names: Names,
    pub(super) event: Event,
    pub(super) adjusted: Vec<Adjustment>,
    /// What the history calls it, and says besides.
    pub(super) decision: &'static str,
    pub(super) note: Value,
    /// The row of an event that was deleted and comes back.
    pub(super) held: Option<Box<StoredRow>>,
}

impl New {
    fn operation(&self) -> Operation {
        if self.held.is_some() { Operation::Update } else { Operation::Create }
    }

    fn row(&self) -> RowWrite {
        let event = self.event.clone();
        let row = match &self.held {
            Some(row) => RowChange::Update { row: row.clone(), event },
            None => RowChange::Insert { id: self.id, provider_id: self.names.provider_id.clone(), event },
        };
        RowWrite {
            row,
            operation: self.operation(),
            reach: Reach::ALL,
            decision: self.decision,
            note: self.note.clone(),
            resolves: None,
        }
    }
}

impl Service {
    /// Makes an event in a calendar and puts it on its way to the provider.
    ///
    /// # Errors
    /// When the request cannot be used or may not be done, or our database fails; nothing is stored then.
    pub async fn create_event(
        &self,
        calendar: CalendarId,
        input: &EventInput,
        terms: &Terms,
    ) -> Result<Outcome, WriteError> {
        let place = self.place(terms.organization_id, calendar).await?;
        let new = self.drafted(&place, input)?;
        let tx = self.begin(terms.organization_id).await?;
        if let Some(outcome) = repeated(&tx, terms, Operation::Create, None).await? {
            return Ok(outcome);
        }
        if let Some(outcome) = self.create_in(&tx, &place, &new, terms).await? {
            if terms.mode == Mode::Store {
                tx.commit().await?;
                self.nudge.nudge();
            }
            return Ok(outcome);
        }
        // the id is new, so only the key of the request can have been there
        tx.rollback().await?;
        let tx = self.store.read(Scope::Organization(terms.organization_id)).await?;
        repeated(&tx, terms, Operation::Create, None).await?.ok_or(WriteError::Busy)
    }

    /// Writes a new event in a transaction that the caller commits. `None` where another request was faster.
    pub(super) async fn create_in(
        &self,
        tx: &Tx,
        place: &Place,
        new: &New,
        terms: &Terms,
    ) -> Result<Option<Outcome>, WriteError> {
        let plan = planned(place, new, terms)?;
        let outcome = Outcome { event_id: new.id, split_from: None, intents: Vec::new(), plan: None };
        if terms.mode == Mode::Explain {
            return Ok(Some(Outcome { plan: Some(plan), ..outcome }));
        }
        match self.write_rows(tx, place, &[new.row()], &plan, terms).await? {
            Written::Done(intents) => Ok(Some(Outcome { intents, plan: Some(plan), ..outcome })),
            Written::Repeated | Written::Outdated => Ok(None),
        }
    }

    /// The new event that a request describes.
    pub(super) fn drafted(&self, place: &Place, input: &EventInput) -> Result<New, WriteError> {
        permit::calendar(place)?;
        let draft = compose::create(input, place.ground())?;
        let id: EventId = self.id();
        let names = place.names(id);
        let event = organized(Event { uid: names.uid.clone(), body: draft.body }, place);
        permit::expression(place, None, &event)?;
        Ok(New {
            id,
            names,
            event,
            adjusted: draft.adjusted,
            decision: "create",
            note: json!({}),
            held: None,
        })
    }

    /// The calendar, its connection and what can be done there.
    pub(super) async fn place(
        &self,
        organization: OrganizationId,
        calendar: CalendarId,
    ) -> Result<Place, WriteError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let calendar = calendars::load(&tx, calendar).await?.ok_or(WriteError::NotFound("calendar"))?;
        let connection = connections::load(&tx, calendar.connection_id).await?;
        let connection = connection.ok_or(WriteError::NotFound("calendar"))?;
        let granted = grants::load(&tx, connection.id).await?.map(|grant| grant.scopes);
        let composes = organizations::load(&tx).await?.is_none_or(|organization| organization.composes);
        drop(tx);
        if connection.state == calfleet_domain::model::ConnectionState::Disconnected {
            let message = "The account is disconnected; connect it again.";
            return Err(Refusal::new("disconnected", message).into());
        }
        let capabilities = self.drivers.open(&connection).await?.capabilities();
        let scopes = provider(connection.settings.provider).map(|provider| provider.scopes);
        let allows_changes =
            granted.zip(scopes).is_none_or(|(granted, scopes)| scopes.allow_changes(&granted));
        Ok(Place { calendar, connection, capabilities, allows_changes, composes })
    }
}

impl Place {
    /// What a request is read against.
    pub(super) fn ground(&self) -> Ground {
        let zone = self.calendar.remote.time_zone.as_deref();
        let zone = zone.and_then(calfleet_domain::recurrence::zone::iana);
        Ground { provider: self.connection.settings.provider, zone }
    }

    /// What a new event is called here.
    pub(super) fn names(&self, id: EventId) -> Names {
        naming::names(self.connection.settings.provider, &self.calendar.remote.provider_id, id)
    }
}

/// The plan of making an event, if it may be made.
fn planned(place: &Place, new: &New, terms: &Terms) -> Result<Plan, WriteError> {
    let steps = [Step {
        operation: new.operation(),
        reach: Reach::ALL,
        event_id: new.id,
        provider_id: &new.names.provider_id,
        before: None,
        after: Some(&new.event),
    }];
    permit::silence(place, Role::Organizer, terms.notify, &mailed(place, &steps))?;
    Ok(plan(place, &steps, terms.notify, new.adjusted.clone(), Vec::new()))
}

/// The event with its owner as organizer, where it has guests and we have to write down who that is.
pub(super) fn organized(mut event: Event, place: &Place) -> Event {
    use calfleet_domain::model::Body;
    if !Limits::of(place.connection.settings.provider).names_organizer {
        return event;
    }
    let Some(address) = place.own_addresses().into_iter().next() else { return event };
    let fields = match &mut event.body {
        Body::Single(fields) => Some(fields),
        Body::Series(series) => series.master.as_mut().map(|master| &mut master.fields),
    };
    if let Some(fields) = fields.filter(|fields| !fields.attendees.is_empty() && fields.organizer.is_none()) {
        fields.organizer = Some(Organizer { address, name: None });
    }
    event
}

/// What an earlier request with the same key came to.
pub(super) async fn repeated(
    tx: &Tx,
    terms: &Terms,
    operation: Operation,
    event: Option<EventId>,
) -> Result<Option<Outcome>, WriteError> {
    let Some(key) = &terms.idempotency_key else { return Ok(None) };
    let Some(entry) = outbox::by_idempotency_key(tx, key).await? else { return Ok(None) };
    let is_other = event.is_some_and(|event| event != entry.event_id && entry.operation != Operation::Create);
    let is_split = entry.operation == Operation::Create && operation == Operation::Update;
    if is_other || (entry.operation != operation && !is_split) {
        let message = "This Idempotency-Key belongs to another request; use a new one for each.";
        return Err(Refusal::new("idempotency_key_used", message).into());
    }
    let split_from = event.filter(|event| *event != entry.event_id);
    Ok(Some(Outcome { event_id: entry.event_id, split_from, intents: vec![entry.id], plan: None }))
}
