//! Everything that puts work on the queue: the tick over what is due, and the API through which people and
//! programs ask.

pub mod api;
pub mod app;
mod connect;
mod intake;
pub mod loopback;
mod notifications;
pub mod serve;
pub mod tick;
