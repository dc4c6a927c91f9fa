//! What is wrong with a request, each thing by its field, and what had to be chosen for it.

use serde::Serialize;

/// Something in a request that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invalid {
    /// The field: `end`, `attendees.3.address`.
    pub field: String,
    /// A stable name of what is wrong.
    pub code: &'static str,
    /// What is wrong and what to do, in one sentence for people.
    pub message: String,
}

/// A time that could not be taken as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adjustment {
    /// `start` or `end`.
    pub field: &'static str,
    /// What was given.
    pub given: String,
    /// What was taken: the wall clock, and the instant in UTC.
    pub chosen: String,
    /// `gap`: the clocks skip that time, and it was read with the offset before the change; `overlap`: it happens
    /// twice, and the first was taken.
    pub reason: &'static str,
}

/// What was found while a request was read.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) invalid: Vec<Invalid>,
    pub(super) adjusted: Vec<Adjustment>,
}

impl Findings {
    /// Notes something that cannot be used.
    pub(super) fn refuse(
        &mut self,
        field: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
    ) {
        self.invalid.push(Invalid { field: field.into(), code, message: message.into() });
    }

    /// The value, if nothing was wrong with anything.
    pub(super) fn sound<T>(self, value: Option<T>) -> Result<(T, Vec<Adjustment>), Vec<Invalid>> {
        match value {
            Some(value) if self.invalid.is_empty() => Ok((value, self.adjusted)),
            _ => Err(self.invalid),
        }
    }
}
