//! The push job on a simulated CalDAV server, and what people decide about its outcome, through the real driver and the real HTTP stack.

mod decisions;
mod effects;
mod histories;
mod meetings;
mod world;
