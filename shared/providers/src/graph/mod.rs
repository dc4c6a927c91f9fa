//! Microsoft Graph v1.0: Microsoft 365 and Outlook.com.
//!
//! What is sent is built in [`request`], what comes back is read by [`wire`] and turned into our nouns by
//! [`normalise`], [`fields`], [`times`] and [`recurrence`]; refusals become classes in [`error`], cursors are
//! written in [`cursor`], and notifications are read by [`notification`]. All of that is pure. [`exchange`] sends,
//! [`reading`] reads events singly and in batches, and [`driver`] puts it behind the trait.
//!
//! Graph says what changed inside a window only, instance by instance. An instance tells us no more than which
//! series to look at: each series is then read whole, with its rule, its exceptions and its cancelled days, in or
//! out of the window. So a series has the same instances here as anywhere else, and the window is only about what
//! is noticed, never about what is known.

pub mod driver;
pub mod notification;

mod cursor;
mod error;
mod exchange;
mod fields;
#[cfg(test)]
mod hostile;
mod normalise;
mod reading;
mod recurrence;
mod request;
mod times;
mod wire;
