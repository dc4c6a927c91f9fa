//! What the API, the command line, the screens and the jobs share: connecting accounts, reading events, telling
//! people how things are.

pub mod drivers;
pub mod read;
pub mod status;
pub mod view;
