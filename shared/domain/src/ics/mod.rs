//! iCalendar text (RFC 5545): read tolerantly, written strictly.
//!
//! [`read()`] takes what servers and feeds send and gives one item per `UID`: an event with its original text, or
//! the reason why it cannot be read, so that one bad object never hides its neighbours. Everything that was
//! repaired is said in the item's warnings.
//!
//! The reader is our own. The `icalendar` crate was measured first: it answers a whole document with one error
//! where a single line is odd (a blank line inside an object, a byte order mark, text after the calendar: 3 of
//! the 59 files of the corpus), and knows no zones but those of the IANA database.

mod component;
mod conference;
mod decode;
mod fault;
mod fields;
mod guests;
mod line;
mod lines;
mod parse;
mod patch;
mod reminders;
mod series;
mod timezones;
mod value;
mod write;

pub use conference::{conference, conference_in};
pub use decode::decode;
pub use lines::{LinesError, master, recurrence_lines};
pub use parse::{Document, Item, ReadObject, read};
pub use patch::{counterparts, patch};
pub use write::write;

/// What one document may cost. What is over a limit is kept verbatim and reported, never cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a document.
    pub bytes: usize,
    /// Components of a document, nested ones included.
    pub components: usize,
    /// Bytes of a line after unfolding.
    pub line_bytes: usize,
    /// Lines of one `VEVENT`, with those of its alarms.
    pub lines: usize,
    /// Depth of components inside each other.
    pub nesting: usize,
    /// Guests of one event.
    pub attendees: usize,
    /// Overrides, additions and exclusions of one series, each.
    pub instances: usize,
    /// Rules of one series, exception rules included.
    pub rules: usize,
    /// Bytes of headers and zones that are repeated in the texts of a document's objects, in all. What is over it is left
    /// out, and what cannot be read without it is reported.
    pub repeated_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 128 << 20,
            components: 200_000,
            line_bytes: 1 << 20,
            lines: 100_000,
            nesting: 5,
            attendees: 5_000,
            instances: 10_000,
            rules: 50,
            repeated_bytes: 64 << 20,
        }
    }
}

/// Why a text as a whole cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IcsError {
    /// It holds no iCalendar component at all: an error page, say.
    #[error("the text is no iCalendar document: it begins with {0:?}")]
    NotCalendar(String),
    /// It is larger than is allowed.
    #[error("the document has {bytes} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// It holds more components than are allowed.
    #[error("the document has more than the {0} components allowed")]
    TooManyComponents(usize),
}
