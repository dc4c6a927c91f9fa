//! One event as it is when its entries are taken up, and what follows from that. Pure.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Body, CalendarState, Event, EventId, Notify, OutboxId, Revision};
use calfleet_domain::reconcile::version;
use calfleet_providers::driver::{Agreed, CalendarRef, Change, DriverError, Errand, Problem, Write};
use calfleet_store::calendars::Calendar;
use calfleet_store::events::StoredRow;
use calfleet_store::outbox::OutboxEntry;

/// What came of an event's entries.
#[derive(Debug)]
pub(super) enum Step {
    /// The provider has what they asked for.
    Delivered,
    /// Nothing had to be written any more.
    Needless,
    /// They wait, with their reason; others go on.
    Deferred(FailureClass, String),
    /// Given up, or left to a person.
    SetAside(Option<(FailureClass, String)>),
    /// They wait, and so does everything else of the connection.
    Stop(FailureClass, String),
}

/// The entries of one event on their way.
#[derive(Debug)]
pub(super) struct Task<'e> {
    /// In the order of their receipt; never empty.
    pub(super) entries: &'e [OutboxEntry],
    /// The same.
    pub(super) ids: Vec<OutboxId>,
    /// Whether an earlier attempt may have been applied.
    pub(super) may_be_applied: bool,
    /// Whether something was sent.
    pub(super) is_delivered: bool,
    /// Whether it takes several requests: a refusal of one says nothing about those before it.
    pub(super) has_steps: bool,
    /// How often it was read again and repeated in this run.
    pub(super) repeats: u32,
    /// What came of it; `None` while it is under way.
    pub(super) step: Option<Step>,
}

impl<'e> Task<'e> {
    pub(super) fn of(entries: &'e [OutboxEntry]) -> Self {
        let may_be_applied = entries.iter().any(|entry| entry.sent_at.is_some());
        Self {
            entries,
            ids: entries.iter().map(|entry| entry.id).collect(),
            may_be_applied,
            is_delivered: may_be_applied,
            has_steps: false,
            repeats: 0,
            step: None,
        }
    }

    /// Of which event.
    pub(super) fn event(&self) -> Option<EventId> {
        self.entries.first().map(|entry| entry.event_id)
    }

    /// As widely as the widest of the entries asks for.
    pub(super) fn notify(&self) -> Notify {
        self.entries.iter().map(|entry| entry.notify).max().unwrap_or(Notify::None)
    }

    /// What the last of the entries that says something says to the guests.
    pub(super) fn message(&self) -> Option<&'e str> {
        self.entries.iter().rev().find_map(|entry| entry.message.as_deref())
    }
}

/// An event as it is when its entries are taken up.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) row: StoredRow,
    pub(super) calendar: Calendar,
    pub(super) place: CalendarRef,
    pub(super) raw: Option<String>,
    pub(super) is_in_conflict: bool,
    /// When the calendar was last listed: what the listing did not show has happened since.
    pub(super) listed_at: Option<Timestamp>,
    /// What an earlier attempt sent whose answer was lost.
    pub(super) unanswered: Option<Event>,
}

/// What there is to write.
pub(super) enum Wanted {
    /// Nothing.
    Nothing,
    /// To forget an event that was made and deleted before the provider heard of it.
    Forget,
    /// Something.
    Write,
}

impl Held {
    pub(super) fn wanted(&self) -> Wanted {
        let stored = &self.row.event;
        match (&stored.base, &stored.event) {
            (None, None) if stored.edited_at.is_some() => Wanted::Forget,
            (None, None) => Wanted::Nothing,
            (None, Some(_)) if stored.edited_at.is_none() => Wanted::Nothing,
            (Some(base), Some(event)) if version::is_same(base, event) => Wanted::Nothing,
            _ => Wanted::Write,
        }
    }

    /// Whether a write of it takes several requests, as instances that depart from their series do where they are
    /// objects of their own.
    pub(super) fn has_steps(&self) -> bool {
        let events = [&self.row.event.base, &self.row.event.event].into_iter().flatten();
        events.into_iter().any(|event| matches!(event.body, Body::Series(_)))
    }

    /// The event as both sides last agreed on it.
    fn agreed<'h>(&'h self, event: &'h Event) -> Agreed<'h> {
        let revision = self.row.event.revision.as_ref();
        Agreed {
            event,
            revision: revision.filter(|Revision(text)| !text.is_empty()),
            raw: self.raw.as_deref(),
            instances: &self.row.instances,
        }
    }

    /// The same of a series whose master is out of sight, so that its instances are all there is.
    fn agreed_instances(&self) -> Option<Agreed<'_>> {
        let stored = &self.row.event;
        let event = stored.base.as_ref().or(stored.event.as_ref())?;
        let is_detached = matches!(&event.body, Body::Series(series) if series.master.is_none());
        (is_detached && !self.row.instances.is_empty()).then(|| self.agreed(event))
    }

    /// A failure in the light of what is known of the calendar: one that is no longer listed is not found by waiting.
    /// Its entries are taken up again once it is listed.
    pub(super) fn judged(&self, error: DriverError) -> DriverError {
        if self.calendar.state == CalendarState::Gone && error.problem == Problem::NotFound {
            return DriverError { class: FailureClass::Permanent, ..error };
        }
        error
    }

    fn change(&self) -> Option<Change<'_>> {
        let stored = &self.row.event;
        let agreed = |event| self.agreed(event);
        match (&stored.base, &stored.event) {
            (Some(base), Some(after)) => Some(Change::Update { held: agreed(base), after }),
            (Some(base), None) => Some(Change::Delete { held: agreed(base) }),
            (None, Some(event)) => Some(Change::Create(event)),
            (None, None) => None,
        }
    }

    /// What the provider is asked.
    pub(super) fn errand<'h>(&'h self, task: &Task<'h>) -> Option<Errand<'h>> {
        let provider_id = &self.row.event.provider_id;
        if task.may_be_applied {
            return Some(match self.agreed_instances() {
                Some(held) => Errand::LookAtInstances(&self.place, provider_id, held),
                None => Errand::Look(&self.place, provider_id),
            });
        }
        let (notify, message) = (task.notify(), task.message());
        let write = Write { provider_id, change: self.change()?, notify, message };
        Some(Errand::Write(&self.place, write))
    }
}
