//! What is to be done about one copy, as a value that can be printed, stored and compared.

use serde::{Deserialize, Serialize};

use super::contest::{Contest, Interval};
use super::diff::FieldChange;
use super::version;
use crate::clock::Timestamp;
use crate::model::{ConflictPolicy, DetailLevel, Event, RemoteEvent, Version};

/// What the provider shows.
#[derive(Debug, Clone, Copy)]
pub enum Remote<'a> {
    /// It is there.
    Present(&'a RemoteEvent),
    /// It is not: the provider says so, or a complete generation did.
    Deleted,
}

/// Under which circumstances the two sides are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Who wins where both changed the same atom.
    pub policy: ConflictPolicy,
    /// Our clock before the request that showed this was sent.
    pub requested_at: Timestamp,
    /// When the last listing that did not show the change was asked for; `None` before the first. The change at
    /// the provider lies in `(listed_without_at, requested_at]`.
    pub listed_without_at: Option<Timestamp>,
    /// How far the provider's clock is ahead of ours.
    pub provider_clock_offset_ms: i64,
}

/// What is to be done about one copy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What.
    pub decision: Decision,
    /// Why, by name, for history and `explain`.
    pub reason: Reason,
    /// What we hold afterwards, with local edits that remain; `None` is a tombstone or nothing.
    pub event: Option<Event>,
    /// The version of `event`.
    pub version: Option<Version>,
    /// How much `event` knows. Stays [`DetailLevel::Full`] when the provider shows less than it did.
    pub detail: DetailLevel,
    /// What both sides agree on afterwards, to be stored: present only while local edits remain pending.
    pub base: Option<Event>,
    /// Whether `event` is not what the provider has and has to be brought there. An outbox entry that waits
    /// already is enough. `false` without `base` means that nothing is pending any more.
    pub must_push: bool,
    /// What changed in what we hold, before and after.
    pub changes: Vec<FieldChange>,
    /// What lost, with times and verdicts; restorable.
    pub loser: Option<Loser>,
    /// What a person has to decide.
    pub conflict: Option<ConflictDraft>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Store what was not known, or was known without content.
    Insert,
    /// Nothing.
    Nothing,
    /// Hold what the provider has.
    Take,
    /// Make it a tombstone.
    TakeDeletion,
    /// Bring ours to the provider.
    Push,
    /// Bring our deletion to the provider.
    PushDeletion,
    /// Both say the same: nothing is pending any more.
    Agree,
    /// Hold both sides' changes and bring ours to the provider.
    Merge,
    /// One side deleted it and the other side's change won: it is there again. With [`Plan::must_push`] it has to
    /// be created again at the provider.
    Revive,
    /// A person decides; until then ours stays as it is and is not pushed.
    Conflict,
    /// Cannot be told from what was shown: read it singly, once nothing of it is in flight.
    Stale,
}

/// Why, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// First seen.
    New,
    /// Known, but held without content: a tombstone or an object that could not be read.
    Appeared,
    /// Deleted, and never known or deleted here too.
    AlreadyAbsent,
    /// Neither side changed: an echo, or a rewrite without meaning.
    Unchanged,
    /// Only the provider's side changed.
    RemoteChanged,
    /// Only the provider's side was deleted.
    RemoteDeleted,
    /// Only our side changed.
    LocalChanged,
    /// Only our side was deleted.
    LocalDeleted,
    /// Made here and not yet at the provider, so that its absence there means nothing.
    NotYetCreated,
    /// Both sides changed to the same.
    SameChange,
    /// Both sides deleted it.
    BothDeleted,
    /// Both sides changed different atoms.
    DisjointChanges,
    /// Both sides changed the same atoms, or one deleted what the other changed; the loser is kept.
    Contested,
    /// The same, and the policy leaves it to a person.
    LeftToPerson,
    /// A push was answered after this was asked for.
    SettledSince,
    /// A push is under way.
    InFlight,
}

/// What lost, so that it can be restored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loser {
    /// The contested atoms, each with its winner and both values.
    pub contests: Vec<Contest>,
    /// The whole version of our side, where atoms of it lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Event>,
    /// The whole version of the provider's side, where atoms of it lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<Event>,
    /// When ours was written.
    pub local_at: Interval,
    /// When the provider's was written.
    pub remote_at: Interval,
    /// Whether any of it was a tie.
    pub is_tie: bool,
}

/// What a person has to decide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConflictDraft {
    /// What both agreed on before; `None` when they never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Event>,
    /// Our side; `None` is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Event>,
    /// The provider's side; `None` is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<Event>,
    /// The contested atoms.
    pub contests: Vec<Contest>,
    /// When ours was written.
    pub local_at: Interval,
    /// When the provider's was written.
    pub remote_at: Interval,
}

impl Plan {
    /// A plan without anything pending, changed or contested.
    pub(super) fn new(decision: Decision, reason: Reason, event: Option<Event>, detail: DetailLevel) -> Self {
        Self {
            decision,
            reason,
            version: event.as_ref().map(version::of),
            event,
            detail,
            base: None,
            must_push: false,
            changes: Vec::new(),
            loser: None,
            conflict: None,
        }
    }

    /// The same while edits of ours are pending against `base`; `None` when it has to be created at the provider.
    pub(super) fn pending(self, base: Option<Event>) -> Self {
        Self { base, must_push: true, ..self }
    }

    /// Whether nothing that we hold changes, so that there is nothing to write but bookkeeping.
    pub fn is_idle(&self) -> bool {
        match self.decision {
            Decision::Nothing | Decision::Stale => true,
            Decision::Push | Decision::PushDeletion => self.changes.is_empty() && self.loser.is_none(),
            _ => false,
        }
    }
}
