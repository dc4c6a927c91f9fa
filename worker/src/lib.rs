//! Everything that takes work off the queue.
//!
//! The frame claims rows of the table of due work, runs the handler of their kind, keeps their leases and writes
//! down what came of them; a handler ([`jobs`]) works and says when to look again.

mod frame;
pub mod jobs;
pub mod outcome;
pub mod push;
pub mod sync;
pub mod watch;

pub use frame::{Frame, FrameError, FrameSettings, run};
