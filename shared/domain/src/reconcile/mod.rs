//! What is to be done when two sides differ, as a value.
//!
//! Data passes downward: `canonical` says when two values mean the same, `version` hashes that form, `diff` names
//! what changed, `merge` joins the changes of two sides, and `table` decides by the cases and gives a `plan`. Nothing here
//! reads a clock or knows a provider.

mod anchor;
mod atoms;
mod awaiting;
mod broken_off;
mod canonical;
mod contest;
pub mod diff;
pub mod edit;
pub mod invariants;
pub mod merge;
pub mod plan;
mod point;
pub mod restore;
mod sheet;
mod table;
pub mod version;

pub use anchor::has_instance;
pub use awaiting::look_again_at;
pub use broken_off::found_again;
pub use contest::{Contest, Interval, Judge, Side, Verdict};
pub use diff::{Atom, FieldChange};
pub use plan::{ConflictDraft, Context, Decision, Loser, Plan, Reason, Remote};
pub use point::rekey;
pub use table::reconcile;
