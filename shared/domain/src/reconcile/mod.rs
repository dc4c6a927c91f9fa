//! What is to be done when two sides differ, as a value.
//!
//! Data passes downward: `canonical` says when two values mean the same, `version` hashes that form, `diff` names
//! what changed, `merge` joins the changes of two sides, and `plan` decides by the table of cases. Nothing here
//! reads a clock or knows a provider.

mod canonical;
pub mod diff;
pub mod plan;
pub mod version;

pub use diff::{Atom, FieldChange};
pub use plan::{
    ConflictDraft, Contest, Context, Decision, Interval, Loser, Plan, Reason, Remote, Side, Verdict,
    reconcile,
};
