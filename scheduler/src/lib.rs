//! Everything that puts work on the queue.

pub mod tick;
