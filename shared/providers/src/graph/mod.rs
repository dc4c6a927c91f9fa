//! Microsoft Graph v1.0: Microsoft 365 and Outlook.com.
//!
//! What is sent is built in [`request`], what comes back is read by [`wire`] and turned into our nouns by
//! [`normalise`], [`fields`], [`times`] and [`recurrence`]; refusals become classes in [`error`], cursors are
//! written in [`cursor`], and notifications are read by [`notification`]. The way back, from our nouns to what is
//! sent, is [`render`] with [`spans`], [`guests`] and [`body`]. All of that is pure. [`exchange`] sends, [`reading`]
//! reads events singly and in batches, [`writing`] and [`series`] say in which order they are written, and [`driver`]
//! puts it behind the trait.
//!
//! Graph says what changed inside a window only, instance by instance. An instance tells us no more than which
//! series to look at: each series is then read whole, with its rule, its exceptions and its cancelled days, in or
//! out of the window. So a series has the same instances here as anywhere else, and the window is only about what
//! is noticed, never about what is known.

pub mod driver;
pub mod notification;

mod body;
mod cursor;
mod error;
mod exchange;
mod fields;
mod guests;
#[cfg(test)]
mod hostile;
mod normalise;
mod reading;
mod recurrence;
mod render;
mod request;
mod series;
mod spans;
mod times;
mod wire;
mod writing;

use calfleet_domain::model::Event;

use self::render::Unsayable;

/// What Graph cannot be told of an event that says `before` and shall say `after`, with what to do instead; completes
/// "this provider cannot …".
pub(crate) fn unsayable(before: Option<&Event>, after: &Event) -> Option<String> {
    let what = render::check(before, after).err()?;
    let instead = match what {
        Unsayable::Revival => "make a new event",
        _ => "choose a simpler recurrence, or make several events",
    };
    Some(format!("{what}; {instead}"))
}
