//! The push job on a simulated CalDAV server, through the real driver and the real HTTP stack.

mod effects;
mod histories;
mod meetings;
mod world;
