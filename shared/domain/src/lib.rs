//! Calendars as values: what an event is, how a series recurs, how iCalendar text is read and written,
//! and what is to be done when two sides differ.
//!
//! Everything here is pure. The crate has no runtime, no client and no database among its dependencies, and
//! that is a wall: whoever decides something about events can be read and tested without any of them.
//! Inside, imports go downward only: `model` ← `recurrence`, `ics` ← `reconcile`.

pub mod clock;
pub mod failure;
pub mod ics;
pub mod job;
pub mod model;
pub mod reconcile;
pub mod recurrence;
