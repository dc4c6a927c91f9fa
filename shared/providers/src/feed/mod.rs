//! Published calendars: one iCalendar document behind one URL, polled and read only (RFC 5545, RFC 7986).
//!
//! [`request`] asks conditionally, [`cursor`] remembers what the last answer was, [`normalise`] turns the document
//! into items with ids that stay, and [`driver`] puts it behind the trait. What the absence of an item means is
//! not decided here: feeds often show a window that moves with time.

pub mod driver;

mod cursor;
mod normalise;
mod request;
