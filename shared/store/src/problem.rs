//! What went wrong last, as it is shown to people.

use calfleet_domain::clock::Timestamp;
use sea_orm::Value;

use crate::error::StoreError;
use crate::transaction::{Row, values};

/// The last problem of a connection or a calendar. Free of secrets: it is shown as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastProblem {
    /// Its name for programs, such as `wrong_credentials`.
    pub code: String,
    /// One sentence that says what to do.
    pub text: String,
    /// When it was seen.
    pub at: Timestamp,
}

impl LastProblem {
    /// The columns `last_problem_code`, `last_problem`, `last_problem_at`.
    pub(crate) fn read(row: &Row) -> Result<Option<Self>, StoreError> {
        let (code, text) = (row.get("last_problem_code")?, row.get("last_problem")?);
        let at = row.instant("last_problem_at")?;
        Ok(match (code, text, at) {
            (Some(code), Some(text), Some(at)) => Some(Self { code, text, at }),
            _ => None,
        })
    }

    /// The same columns as parameters, in that order.
    pub(crate) fn bind(problem: Option<&Self>) -> Vec<Value> {
        values![
            problem.map(|problem| problem.code.clone()),
            problem.map(|problem| problem.text.clone()),
            problem.map(|problem| problem.at),
        ]
    }
}
