//! Writing events: what applications and people want changed, checked, stored and put on its way in one transaction.
//!
//! Data passes from the request (`input`) through reading and checking it (`text`, `times`, `people`, `repeat`,
//! `compose`, `scope`: all pure) to what may be done at all (`permit`) and to the rows. Nothing is stored before
//! everything was checked; what is stored is the event, its history, the intent to tell the provider and the ask for
//! the job that tells it, together or not at all. No provider is asked here.

mod by_key;
mod change;
mod commit;
mod compose;
pub(crate) mod confirm;
mod conflict;
mod create;
mod findings;
mod input;
mod limits;
mod once;
mod outcome;
mod people;
pub(crate) mod permit;
mod plan;
mod repeat;
mod resolve;
mod scope;
mod settle;
mod text;
mod times;
pub(crate) mod undo;
mod undo_all;

pub use by_key::Saved;
pub use commit::{Mode, Terms};
pub use confirm::{MailView, PlanView, PlannedView, WriteView};
pub use conflict::{ConflictView, ContestView, SideView};
pub use findings::{Adjustment, Invalid};
pub use input::{
    ConferenceInput, ConferenceName, EventInput, EventPatch, Given, GuestInput, TimeInput, TimeParts,
};
pub use outcome::{Outcome, Settlement, WriteError};
pub use permit::{Allowed, Refusal};
pub use plan::{Carried, Mail, Plan, PlannedWrite};
pub use resolve::{Choice, Mix};
pub use scope::{Answer, Reach};
pub use settle::IntentView;
pub use undo_all::UndoneView;
