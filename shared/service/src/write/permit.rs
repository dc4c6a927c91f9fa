//! What may be done to an event at all: by its organization, its calendar, its connection, its provider and the owner's
//! part in it.

use std::collections::BTreeSet;

use calfleet_domain::model::{
    Access, CalendarState, ConnectionState, DetailLevel, Event, Notify, Operation, OrganizationId, Role,
};
use calfleet_domain::reconcile::Atom;
use calfleet_domain::reconcile::diff::changed_atoms;
use calfleet_providers::driver::Capabilities;
use calfleet_providers::registry::unsayable;
use calfleet_store::calendars::Calendar;
use calfleet_store::connections::Connection;
use calfleet_store::events::{EventState, StoredRow};
use calfleet_store::{StoreError, organizations};
use serde::Serialize;

use super::findings::Invalid;
use super::limits::{Limits, Silence};
use super::text;
use crate::service::{Actor, Service};

/// Why something cannot be done, in words that a person can act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// A stable name of the reason.
    pub code: &'static str,
    /// What is the matter and what to do.
    pub message: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Where an event is written: its calendar and the account that it belongs to.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) calendar: Calendar,
    pub(super) connection: Connection,
    pub(super) capabilities: Capabilities,
    /// Whether its owner has allowed changes, where that was asked.
    pub(super) allows_changes: bool,
    /// Whether the organization writes events at all.
    pub(super) composes: bool,
}

impl Place {
    /// Mail addresses of the calendar's owner, as far as they are known, the surest first.
    pub(super) fn own_addresses(&self) -> Vec<String> {
        let settings = &self.connection.settings;
        let names = [
            Some(self.calendar.remote.provider_id.as_str()),
            Some(settings.account.as_str()),
            settings.username.as_deref(),
            Some(settings.label.as_str()),
        ];
        let mut addresses: Vec<String> = Vec::new();
        for address in names.into_iter().flatten().filter_map(text::address) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }
}

/// Whether anything can be written into the calendar.
pub(super) fn calendar(place: &Place) -> Result<(), Refusal> {
    let remote = &place.calendar.remote;
    if place.connection.state == ConnectionState::Disconnected {
        let message = "The account is disconnected; connect it again.";
        return Err(Refusal::new("disconnected", message));
    }
    if !place.composes {
        let message =
            "The feature calendar_compose is off for this organization; an operator can switch it on.";
        return Err(Refusal::new("feature_off", message));
    }
    if !place.capabilities.writes {
        let message = format!(
            "Nothing can be written at this provider ({}); it is only read.",
            place.connection.settings.provider
        );
        return Err(Refusal::new("provider_read_only", message));
    }
    if !place.allows_changes {
        let message = "The account was connected for reading only; connect it again with access \"write\".";
        return Err(Refusal::new("missing_scope", message));
    }
    if place.calendar.state == CalendarState::Gone {
        let message =
            format!("The calendar {:?} is no longer there; share it again, or choose another.", remote.name);
        return Err(Refusal::new("calendar_gone", message));
    }
    if remote.access != Access::Write {
        let message = format!(
            "The account may only read the calendar {:?}; its owner can give it the right to make changes.",
            remote.name
        );
        return Err(Refusal::new("calendar_read_only", message));
    }
    Ok(())
}

impl Service {
    /// Lets events be written for the people of an organization, or no longer; whether that was a change. What waits
    /// for a provider already is still told.
    ///
    /// # Errors
    /// When our database fails.
    pub async fn allow_writes(
        &self,
        organization: OrganizationId,
        allows: bool,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        let tx = self.begin(organization).await?;
        let changed = organizations::allow_writes(&tx, allows).await?;
        if changed {
            let detail = serde_json::json!({ "allows": allows });
            let target = ("organization", organization.0);
            self.audit_of(&tx, actor, "organization.allow_writes", target, Some(detail)).await?;
        }
        tx.commit().await?;
        Ok(changed)
    }
}

/// Whether the event can be written at all.
pub(super) fn event(row: &StoredRow) -> Result<&Event, Refusal> {
    if row.problem.is_some() {
        let message = "What the provider holds of this event cannot be read; change it in its own calendar.";
        return Err(Refusal::new("unreadable", message));
    }
    if row.event.detail == DetailLevel::FreeBusy {
        let message = "Only the busy time of this event is shown to the account; it cannot be changed here.";
        return Err(Refusal::new("free_busy_only", message));
    }
    if row.state == EventState::Missing {
        let message = "The event is no longer where it was and is being looked for; try again in a minute.";
        return Err(Refusal::new("missing", message));
    }
    row.event.event.as_ref().ok_or_else(|| {
        Refusal::new("unreadable", "Nothing readable is known of this event; change it in its own calendar.")
    })
}

/// Whether the change is one that a guest may make on the own copy: nothing but the own answer and what is personal
/// is ever written there.
pub(super) fn guest(
    row: &StoredRow,
    operation: Operation,
    before: &Event,
    after: &Event,
    own: &[String],
) -> Result<(), Refusal> {
    if row.event.role != Role::Attendee {
        return if operation == Operation::Respond && row.event.role == Role::Organizer {
            Err(Refusal::new("organizer", "The organizer of an event does not answer an invitation to it."))
        } else {
            Ok(())
        };
    }
    let is_own = |address: &String| own.contains(address);
    let changed: BTreeSet<Atom> = changed_atoms(before, after).into_iter().map(|(_, atom)| atom).collect();
    let foreign = changed.iter().find(|atom| match atom {
        Atom::Answer(address) => operation != Operation::Respond || !is_own(address),
        atom => !atom.is_personal(),
    });
    match foreign {
        None => Ok(()),
        Some(atom) => {
            let message = format!(
                "Somebody else organizes this event: only the own answer and reminders, colour, visibility and busy state can be changed ({} is not among them); ask the organizer.",
                atom_name(atom)
            );
            Err(Refusal::new("not_the_organizer", message))
        }
    }
}

/// Whether the provider can do it without mailing anybody, where nobody is to be mailed. `role` is the owner's part in
/// the event.
pub(super) fn silence(place: &Place, role: Role, notify: Notify, mailed: &[String]) -> Result<(), Refusal> {
    let silence = Limits::of(place.connection.settings.provider).silence;
    let can_be_silent = match silence {
        Silence::Always => true,
        Silence::OfGuests => role == Role::Attendee,
        Silence::Never => false,
    };
    if notify == Notify::External && silence == Silence::OfGuests && !can_be_silent && !mailed.is_empty() {
        let message = "This provider mails all guests by itself and cannot be asked to leave some out; let it mail all, or leave the guests out.";
        return Err(Refusal::new("cannot_choose_whom", message));
    }
    if notify == Notify::None && place.capabilities.schedules && !can_be_silent && !mailed.is_empty() {
        let message = "This provider mails the guests by itself and cannot be asked not to; leave the guests out, or let it.";
        return Err(Refusal::new("cannot_be_silent", message));
    }
    Ok(())
}

/// Whether the provider has words for what an event shall say.
pub(super) fn expression(place: &Place, before: Option<&Event>, after: &Event) -> Result<(), Vec<Invalid>> {
    match unsayable(place.connection.settings.provider, before, after) {
        None => Ok(()),
        Some(message) => {
            Err(vec![Invalid { field: "recurrence".to_owned(), code: "not_supported", message }])
        }
    }
}

/// What a caller may do with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Allowed {
    /// Whether what it says can be changed.
    pub edit: bool,
    /// Whether it can be deleted; a guest's copy is declined by that.
    pub delete: bool,
    /// Whether an invitation can be answered.
    pub respond: bool,
}

/// What may be done with an event by whoever may write for its organization.
pub(crate) fn allowed(
    row: &StoredRow,
    calendar: &Calendar,
    connection: &Connection,
    writes: bool,
) -> Allowed {
    let can_be_written = writes
        && connection.state != ConnectionState::Disconnected
        && calendar.state != CalendarState::Gone
        && calendar.remote.access == Access::Write
        && event(row).is_ok();
    let is_guest = row.event.role == Role::Attendee;
    Allowed { edit: can_be_written && !is_guest, delete: can_be_written, respond: can_be_written && is_guest }
}

pub(super) fn atom_name(atom: &Atom) -> &'static str {
    match atom {
        Atom::Existence => "whether it takes place",
        Atom::When => "the time",
        Atom::Location => "the location",
        Atom::Conference => "the conference",
        Atom::Title => "the title",
        Atom::Text => "the description",
        Atom::Url => "the link",
        Atom::Organizer => "the organizer",
        Atom::Guest(_) => "the list of guests",
        Atom::Answer(_) => "an answer",
        Atom::Reminders => "a reminder",
        Atom::Status => "the status",
        Atom::Visibility => "the visibility",
        Atom::Transparency => "the busy state",
        Atom::Categories => "a category",
        Atom::Color => "the colour",
    }
}
