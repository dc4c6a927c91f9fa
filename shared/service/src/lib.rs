//! What the API, the command line, the screens and the jobs share: connecting accounts, reading events, telling
//! people how things are.

pub mod connect;
pub mod control;
pub mod drivers;
pub mod overview;
pub mod read;
pub mod service;
pub mod sign_in;
pub mod status;
pub mod tokens;
pub mod view;

pub use service::{Actor, Nudge, Service};
