//! The decision table: what we hold and what the provider shows → what is to be done, as a value.
//!
//! | local vs base | remote vs base | decision |
//! |---|---|---|
//! | same | same | [`Decision::Nothing`] |
//! | same | changed / deleted | [`Decision::Take`] / [`Decision::TakeDeletion`] |
//! | changed / deleted | same | [`Decision::Push`] / [`Decision::PushDeletion`] |
//! | changed | changed to the same | [`Decision::Agree`] |
//! | changed | changed | [`Decision::Merge`], or `Take` / `Push` where one side won throughout |
//! | deleted | changed, or the other way round | the winner's: `TakeDeletion`, `PushDeletion` or [`Decision::Revive`] |
//!
//! A contest that the policy leaves to a person is a [`Decision::Conflict`].

use serde::{Deserialize, Serialize};

use super::diff::{Atom, FieldChange};
use crate::clock::Timestamp;
use crate::model::{ConflictPolicy, DetailLevel, Event, RecurrenceId, RemoteEvent, StoredEvent, Version};

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

/// One of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Ours: edits made through the application.
    Local,
    /// The provider's.
    Remote,
}

/// When a change was made, on our clock: after `after` (`None`: any time before) and not after `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// Exclusive bound, unless equal to `until`: then it is that instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Timestamp>,
    /// Inclusive bound.
    pub until: Timestamp,
}

/// By which rule a contest was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The later write.
    Later,
    /// The writes lie too close together to be told apart.
    Tie,
    /// The connection's policy names the side.
    Policy,
    /// A person decides; ours stays meanwhile.
    Person,
    /// The organizer's cancellation always wins.
    OrganizerCancelled,
    /// On a guest's copy only the own answer and personal fields are the guest's.
    NotTheOrganizer,
    /// Answers come from the provider, and so does who called it.
    ProvidersOwn,
    /// An answer or a personal field never revives what was deleted.
    NeverRevives,
}

/// One atom, or the whole, that both sides wanted otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contest {
    /// Which instance of a series; `None` for a single event or the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<RecurrenceId>,
    /// Which atom.
    pub atom: Atom,
    /// Who won; with [`Verdict::Person`] whose value stands meanwhile.
    pub winner: Side,
    /// By which rule.
    pub verdict: Verdict,
    /// What both agreed on before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<serde_json::Value>,
    /// What our side wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<serde_json::Value>,
    /// What the provider's side wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<serde_json::Value>,
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

/// Decides what is to be done about one copy.
///
/// `stored` is `None` for an object we do not know. An object that is deleted on both sides, and a plan that was
/// applied already, give a plan that changes nothing.
pub fn reconcile(stored: Option<&StoredEvent>, remote: &Remote<'_>, context: &Context) -> Plan {
    let local = stored.and_then(|stored| stored.event.as_ref());
    if let Some(stale) = stored.and_then(|stored| staleness(stored, context)) {
        return plan(Decision::Stale, stale, local.cloned());
    }
    let Some(local) = local else {
        return match remote {
            Remote::Present(shown) => plan(Decision::Insert, Reason::New, Some(shown.event.clone())),
            Remote::Deleted => plan(Decision::Nothing, Reason::AlreadyAbsent, None),
        };
    };
    match remote {
        Remote::Deleted => plan(Decision::TakeDeletion, Reason::RemoteDeleted, None),
        Remote::Present(shown) if super::version::is_same(local, &shown.event) => {
            plan(Decision::Nothing, Reason::Unchanged, Some(local.clone()))
        }
        Remote::Present(shown) => plan(Decision::Take, Reason::RemoteChanged, Some(shown.event.clone())),
    }
}

/// Why what was shown says nothing about this row, if so.
fn staleness(stored: &StoredEvent, context: &Context) -> Option<Reason> {
    if stored.is_in_flight {
        return Some(Reason::InFlight);
    }
    stored.settled_at.is_some_and(|settled| settled > context.requested_at).then_some(Reason::SettledSince)
}

/// A plan without anything contested or pending.
fn plan(decision: Decision, reason: Reason, event: Option<Event>) -> Plan {
    Plan {
        decision,
        reason,
        version: event.as_ref().map(super::version::of),
        event,
        detail: DetailLevel::Full,
        base: None,
        must_push: false,
        changes: Vec::new(),
        loser: None,
        conflict: None,
    }
}
