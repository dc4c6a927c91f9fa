//! What changed, in atoms: the smallest parts of an event that are taken from one side whole.

use serde::{Deserialize, Serialize};

use crate::model::RecurrenceId;

/// A part of an event that is never mixed from two sides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Atom {
    /// Whether the event or the instance is there at all: deleted or not, cancelled or not.
    Existence,
    /// Start, end, zone, all-day; of a series its whole frame, with rules and additions.
    When,
    /// Location and conference.
    Place,
    /// Title.
    Title,
    /// Description.
    Text,
    /// Link.
    Url,
    /// Who called it.
    Organizer,
    /// One guest, by lower-case address: on the list or not, name, role and kind.
    Guest(String),
    /// What that guest answered.
    Answer(String),
    /// Reminders; merged as a set.
    Reminders,
    /// Confirmed, tentative or cancelled.
    Status,
    /// Public, private or confidential.
    Visibility,
    /// Busy or free.
    Transparency,
    /// Categories; merged as a set.
    Categories,
    /// Colour.
    Color,
}

/// One changed atom, before and after, for the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Which instance of a series; `None` for a single event or the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<RecurrenceId>,
    /// Which atom.
    pub atom: Atom,
    /// What it said before; `None` where it said nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<serde_json::Value>,
    /// What it says now; `None` where it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<serde_json::Value>,
}
