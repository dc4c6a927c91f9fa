//! What a write comes to before it is made: shown by `explain`, and executed as it is shown. Pure.

use calfleet_domain::model::{
    CalendarId, EditScope, Event, EventId, Notify, Operation, ProviderId, ProviderKind, RecurrenceId,
};
use calfleet_domain::reconcile::FieldChange;
use calfleet_domain::reconcile::diff::{changed_atoms, changes};
use serde::Serialize;

use super::findings::Adjustment;
use super::limits::{Limits, Silence};
use super::permit::Place;
use super::scope::Reach;
use crate::view::is_all_public;

/// What would be written, and whom the provider would mail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What is done to which copies, in order.
    pub writes: Vec<PlannedWrite>,
    /// Whom the provider may mail.
    pub mail: Mail,
    /// Times that could not be taken as they were given.
    pub adjusted: Vec<Adjustment>,
    /// Instances that departed from the series and have no place in it any more.
    pub lost: Vec<RecurrenceId>,
    /// Whether every version of every event in it is public: its guests are not told otherwise.
    pub is_public: bool,
}

/// One write of one copy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedWrite {
    /// What is done.
    pub operation: Operation,
    /// How much of a series is meant.
    pub scope: EditScope,
    /// Which instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recurrence_id: Option<RecurrenceId>,
    /// The copy.
    pub event_id: EventId,
    /// Its calendar.
    pub calendar_id: CalendarId,
    /// At which provider.
    pub provider: ProviderKind,
    /// The provider's id.
    pub provider_event_id: ProviderId,
    /// What changes, before and after.
    pub fields: Vec<FieldChange>,
}

/// Whom the provider may mail about a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mail {
    /// What it is asked: `none`, `external`, `all`.
    pub notify: Notify,
    /// The addresses that it may mail because of that.
    pub addresses: Vec<String>,
    /// What becomes of the message that was given; `None` where none was.
    pub message: Option<Carried>,
}

/// What becomes of a message to those who are mailed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// Whether it goes along.
    pub is_carried: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

impl Carried {
    /// What the provider does with a message.
    pub(super) fn by(place: &Place, mail: &Mail) -> Self {
        let reason = if mail.addresses.is_empty() {
            Some("Nobody is mailed about this, so that the message goes nowhere.")
        } else if Limits::of(place.connection.settings.provider).carries_messages {
            None
        } else {
            Some("This provider mails in its own words and takes no message along.")
        };
        Self { is_carried: reason.is_none(), reason }
    }
}

/// One write of one copy, with the event before and after.
pub(super) struct Step<'a> {
    pub(super) operation: Operation,
    pub(super) reach: Reach,
    pub(super) event_id: EventId,
    pub(super) provider_id: &'a ProviderId,
    pub(super) before: Option<&'a Event>,
    pub(super) after: Option<&'a Event>,
}

/// The plan of these steps.
pub(super) fn plan(
    place: &Place,
    steps: &[Step<'_>],
    notify: Notify,
    adjusted: Vec<Adjustment>,
    lost: Vec<RecurrenceId>,
) -> Plan {
    let writes = steps.iter().map(|step| PlannedWrite {
        operation: step.operation,
        scope: step.reach.scope,
        recurrence_id: step.reach.recurrence_id,
        event_id: step.event_id,
        calendar_id: place.calendar.id,
        provider: place.connection.settings.provider,
        provider_event_id: step.provider_id.clone(),
        fields: changes(step.before, step.after),
    });
    let mut addresses = mailed(place, steps);
    if notify == Notify::None {
        addresses.clear();
    }
    let mut versions = steps.iter().flat_map(|step| [step.before, step.after]).flatten();
    let is_public = versions.all(is_all_public);
    let mail = Mail { notify, addresses, message: None };
    Plan { writes: writes.collect(), mail, adjusted, lost, is_public }
}

/// Whom the provider would mail if it was allowed to mail all: the organizer about an answer, the guests about what
/// concerns them.
pub(super) fn mailed(place: &Place, steps: &[Step<'_>]) -> Vec<String> {
    if !place.capabilities.schedules {
        return Vec::new();
    }
    let own = place.own_addresses();
    let silence = Limits::of(place.connection.settings.provider).silence;
    let addresses = steps.iter().flat_map(|step| of_step(step, silence));
    let mut addresses: Vec<String> = addresses.filter(|one| !own.contains(one)).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

fn of_step(step: &Step<'_>, silence: Silence) -> Vec<String> {
    let organizer = |event: Option<&Event>| {
        let organizer = event.and_then(Event::fields).and_then(|fields| fields.organizer.as_ref());
        organizer.map(|organizer| organizer.address.clone()).into_iter().collect()
    };
    if step.operation == Operation::Respond {
        return organizer(step.after);
    }
    if let (Some(before), Some(after)) = (step.before, step.after) {
        let concerns_guests = changed_atoms(before, after).iter().any(|(_, atom)| !atom.is_personal());
        if !concerns_guests && silence != Silence::OfGuests {
            return Vec::new();
        }
    }
    [step.before, step.after].into_iter().flatten().flat_map(guests).collect()
}

/// Everybody who is invited to any of it.
fn guests(event: &Event) -> Vec<String> {
    use calfleet_domain::model::{Body, Override};
    let mut fields = Vec::new();
    match &event.body {
        Body::Single(single) => fields.push(single),
        Body::Series(series) => {
            fields.extend(series.master.as_ref().map(|master| &master.fields));
            fields.extend(series.overrides.values().filter_map(|over| match over {
                Override::Changed(fields) => Some(fields.as_ref()),
                Override::Cancelled => None,
            }));
        }
    }
    let guests = fields.into_iter().flat_map(|fields| &fields.attendees);
    guests.map(|guest| guest.address.clone()).collect()
}
