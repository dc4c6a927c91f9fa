//! Google Calendar API v3.
//!
//! What is sent is built in [`request`], what comes back is read by [`wire`] and turned into our nouns by
//! [`normalise`] and [`fields`]; refusals become classes in [`error`], cursors are written in [`cursor`], and
//! pushes are read by [`notification`]. The way back, from our nouns to what is sent, is [`render`] with [`times`] and
//! [`guests`]; what becomes of the instances of a series is decided in [`instances`]. All of that is pure.
//! [`exchange`] sends, several at once by [`batch`]; [`reading`] says in which order events are read singly, [`writing`] and [`series`] in which
//! order they are written, and [`driver`] puts it behind the trait.
//!
//! Masters and the instances that depart from them are objects of their own here (`singleEvents=false`): an
//! unlimited series would else come as hundreds of instances, and one change of it as hundreds of changes.

pub mod driver;
pub mod notification;

mod batch;
mod cursor;
mod error;
mod exchange;
mod fields;
mod guests;
#[cfg(test)]
mod hostile;
mod normalise;
mod reading;
mod render;
mod request;
mod series;
mod times;
mod wire;
mod writing;

use calfleet_domain::model::Event;

/// What Google cannot be told of an event that says `before` and shall say `after`, with what to do instead; completes
/// "this provider cannot …".
pub(crate) fn unsayable(before: Option<&Event>, after: &Event) -> Option<String> {
    let what = render::check(before, after).err()?;
    Some(format!("{what}; choose a simpler recurrence, or make several events"))
}
