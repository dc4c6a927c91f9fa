//! The database: everything Calfleet knows, in SQLite or Postgres, behind one type.
//!
//! [`Store::begin`] and [`Store::read`] give a [`Tx`], and queries can be called through nothing else. A
//! transaction is of one organization or of the fleet ([`Scope`]); on Postgres the database itself refuses the
//! rows of others. Queries are functions of the module of their aggregate: `connections::load(&tx, id)`. None of
//! the database library's types are seen outside this crate.
//!
//! In every transaction `work` comes last, in the order of its key, and events before it in the order of their
//! ids: whoever keeps to that never meets a deadlock.
//!
//! SQLite has no wall between organizations, so every query names the organization itself as well; that also
//! makes both databases answer alike.

pub mod api_keys;
pub mod app_keys;
pub mod apply;
pub mod audit;
mod bulk;
pub mod calendar_sync;
pub mod calendars;
pub mod conflicts;
pub mod connect_attempts;
pub mod connections;
mod database;
pub mod departures;
pub mod doors;
mod error;
pub mod events;
mod gate;
pub mod grants;
pub mod history;
pub mod listing;
mod meetings;
pub mod occurrences;
pub mod organizations;
pub mod outbox;
mod postgres;
mod problem;
pub mod provider_clients;
pub mod purge;
pub mod requests;
pub mod runs;
mod transaction;
pub mod unreadable;
pub mod vault;
pub mod watches;
pub mod work;
pub mod workers;

pub use database::{Options, Store, retry_when_busy};
pub use error::{DatabaseFailure, StoreError};
pub use gate::Priority;
pub use problem::LastProblem;
pub use transaction::{Scope, Tx};
