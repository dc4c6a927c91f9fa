//! Changes made by somebody else: the other clients of a calendar, as data.
//!
//! They go past rights, preconditions and habits, straight into the calendar, and show up in its next sync.

use serde::{Deserialize, Serialize};

/// One change by another client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// Stores a resource, new or not.
    Put {
        /// The account.
        account: String,
        /// The calendar's slug.
        calendar: String,
        /// The resource's name, such as `a.ics`.
        name: String,
        /// One VCALENDAR.
        body: String,
    },
    /// Removes a resource.
    Delete {
        /// The account.
        account: String,
        /// The calendar's slug.
        calendar: String,
        /// The resource's name.
        name: String,
    },
    /// Moves a resource to another calendar of the account, under the same name.
    Move {
        /// The account.
        account: String,
        /// The calendar's slug.
        calendar: String,
        /// The resource's name.
        name: String,
        /// The slug of the calendar it goes to.
        to: String,
    },
    /// Makes random edits, creates, moves and deletes; the same for the same seed and calendar.
    Mutate {
        /// The account.
        account: String,
        /// The calendar's slug.
        calendar: String,
        /// How many.
        changes: usize,
        /// The seed.
        seed: u64,
    },
}

/// What a random change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A new resource.
    Created,
    /// Another title, text, answer, override or exclusion.
    Edited,
    /// Another time.
    Moved,
    /// No longer there.
    Deleted,
}

/// One random change that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutation {
    /// What was done.
    pub change: Change,
    /// The resource's name.
    pub name: String,
    /// Its title afterwards, or before it was deleted.
    pub title: String,
}
