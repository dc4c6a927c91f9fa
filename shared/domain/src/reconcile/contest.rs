//! Who wins where both sides wanted otherwise, and by which rule.

use serde::{Deserialize, Serialize};

use super::diff::Atom;
use crate::clock::Timestamp;
use crate::model::{ConflictPolicy, RecurrenceId, Role};

/// One of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Ours: edits made through the application.
    Local,
    /// The provider's.
    Remote,
}

impl Side {
    /// The opposite side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Local => Self::Remote,
            Self::Remote => Self::Local,
        }
    }
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

impl Interval {
    /// One instant.
    pub fn at(instant: Timestamp) -> Self {
        Self { after: Some(instant), until: instant }
    }

    /// Whether all of it is later than all of `other`, by more than clocks and requests can blur.
    pub fn is_later_than(&self, other: &Self) -> bool {
        self.after.is_some_and(|after| after.0.saturating_sub(other.until.0) >= BLUR_MS)
    }
}

/// Writes closer together than this are a tie (milliseconds): clocks are compared by `Date` headers of whole seconds.
const BLUR_MS: i64 = 2_000;

/// By which rule a contest was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The later write.
    Later,
    /// The writes lie too close together to be told apart; the provider's stands.
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
    /// The other side's series has no such instance any more, so that what was edited of it has no place.
    Unanchored,
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

/// A deletion on one side against changes on the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deletion {
    /// Who deleted.
    pub(super) by: Side,
    /// Whether the other side changed nothing but answers and personal fields.
    pub(super) against_personal: bool,
    /// Whether there are guests, so that the organizer's deletion is a cancellation.
    pub(super) has_guests: bool,
}

/// The rules by which a merge decides.
pub(super) trait Rules {
    /// Whether our side may not change this atom at all.
    fn forbids(&self, atom: &Atom) -> bool;

    /// Who has the atom that both sides changed differently.
    fn decide(&self, atom: &Atom) -> (Side, Verdict);

    /// Who wins, the one who deleted or the other.
    fn decide_deletion(&self, deletion: Deletion) -> (Side, Verdict);
}

/// The rules of a connection for one copy, with the times of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judge {
    /// Who wins where both changed the same atom.
    pub policy: ConflictPolicy,
    /// The part the calendar's owner has in the event.
    pub role: Role,
    /// When ours was written.
    pub local_at: Interval,
    /// When the provider's was written.
    pub remote_at: Interval,
    /// When answers were written at the provider. A provider's stamp moves with them, so for other atoms it is
    /// then only the latest possible time.
    pub answered_at: Interval,
}

impl Judge {
    /// Whether a change of that atom by that side never revives what the other side deleted: answers, personal
    /// fields, and what a guest may not change at all.
    pub(super) fn is_too_little(&self, by: Side, atom: &Atom) -> bool {
        atom.is_personal() || by == Side::Local && self.forbids(atom)
    }

    fn by_policy(&self, remote_at: &Interval) -> (Side, Verdict) {
        match self.policy {
            ConflictPolicy::ProviderWins => (Side::Remote, Verdict::Policy),
            ConflictPolicy::AppWins => (Side::Local, Verdict::Policy),
            ConflictPolicy::Manual => (Side::Local, Verdict::Person),
            ConflictPolicy::LastWriteWins if self.local_at.is_later_than(remote_at) => {
                (Side::Local, Verdict::Later)
            }
            ConflictPolicy::LastWriteWins if remote_at.is_later_than(&self.local_at) => {
                (Side::Remote, Verdict::Later)
            }
            ConflictPolicy::LastWriteWins => (Side::Remote, Verdict::Tie),
        }
    }
}

impl Rules for Judge {
    fn forbids(&self, atom: &Atom) -> bool {
        self.role == Role::Attendee && *atom != Atom::Existence && !atom.is_personal()
    }

    fn decide(&self, atom: &Atom) -> (Side, Verdict) {
        match atom {
            Atom::Organizer => (Side::Remote, Verdict::ProvidersOwn),
            Atom::Answer(_) if self.role != Role::Attendee => (Side::Remote, Verdict::ProvidersOwn),
            Atom::Answer(_) => self.by_policy(&self.answered_at),
            _ => self.by_policy(&self.remote_at),
        }
    }

    fn decide_deletion(&self, deletion: Deletion) -> (Side, Verdict) {
        if deletion.against_personal {
            return (deletion.by, Verdict::NeverRevives);
        }
        let by_organizer = match deletion.by {
            Side::Remote => {
                self.role == Role::Attendee || self.role == Role::Organizer && deletion.has_guests
            }
            Side::Local => self.role == Role::Organizer && deletion.has_guests,
        };
        if by_organizer {
            return (deletion.by, Verdict::OrganizerCancelled);
        }
        self.by_policy(&self.remote_at)
    }
}

/// The rules by which a copy that shows less than it did is read: what it shows counts, the rest stays.
#[derive(Debug, Clone, Copy)]
pub(super) struct LessDetail;

impl Rules for LessDetail {
    fn forbids(&self, _: &Atom) -> bool {
        false
    }

    fn decide(&self, atom: &Atom) -> (Side, Verdict) {
        match atom {
            Atom::When | Atom::Status | Atom::Transparency | Atom::Existence => {
                (Side::Remote, Verdict::Policy)
            }
            _ => (Side::Local, Verdict::Policy),
        }
    }

    fn decide_deletion(&self, _: Deletion) -> (Side, Verdict) {
        (Side::Remote, Verdict::Policy)
    }
}
