//! Why one object cannot be read, in words for people.

/// What is wrong with an object; it is kept verbatim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the text ends inside the event")]
    CutOff,
    #[error("the event is not closed: its END:VEVENT is missing")]
    NotClosed,
    #[error("components are nested deeper than the {0} levels allowed")]
    TooDeep(usize),
    #[error("{name} has {bytes} bytes, more than the {limit} allowed")]
    LineTooLong { name: String, bytes: usize, limit: usize },
    #[error("the event has more than the {0} lines allowed")]
    TooManyLines(usize),
    #[error("the time zone {0:?} is described at too great a length for so many events")]
    ZoneTooLarge(String),
    #[error("the event has no DTSTART")]
    NoStart,
    #[error("DTSTART is unreadable: {0:?}")]
    BadStart(String),
    #[error("RECURRENCE-ID is unreadable: {0:?}")]
    BadRecurrenceId(String),
    #[error("the event has {count} attendees, more than the {limit} allowed")]
    TooManyAttendees { count: usize, limit: usize },
    #[error("the series has {count} {what}, more than the {limit} allowed")]
    TooManyInstances { what: &'static str, count: usize, limit: usize },
}
