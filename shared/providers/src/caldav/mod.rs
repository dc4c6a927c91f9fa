//! CalDAV (RFC 4791, RFC 6578, RFC 6764) as servers speak it.
//!
//! What is sent is built in [`request`], what comes back is read by [`multistatus`] into [`wire`] and turned into
//! our nouns by [`normalise`]; refusals become classes in [`error`], addresses are compared in [`href`], and
//! cursors are written in [`cursor`]. All of that is pure. [`exchange`] sends; [`discover`], [`probe`],
//! [`listing`], [`reading`] and [`writing`] say in which order, and [`driver`] puts them behind the trait. What a server can do
//! is found by asking it, never by its product's name.

pub mod driver;
pub mod services;

mod cursor;
mod discover;
pub(crate) mod error;
mod exchange;
mod href;
mod listing;
mod multistatus;
pub(crate) mod normalise;
mod probe;
mod reading;
mod render;
mod request;
mod source;
mod wire;
mod writing;
