//! What the API, the command line, the screens and the jobs share: connecting accounts, reading events, telling
//! people how things are.

pub mod cleanup;
pub mod clients;
pub mod connect;
pub mod control;
pub mod disconnect;
pub mod drivers;
pub mod explain;
pub mod import;
pub mod overview;
pub mod past;
pub mod read;
pub mod service;
pub mod service_accounts;
pub mod sign_in;
pub mod standing;
pub mod status;
pub mod tokens;
pub mod view;
pub mod watching;
pub mod write;

pub use service::{Actor, Nudge, Service};
