//! How the database fails.

use std::error::Error;

use sea_orm::{DbErr, RuntimeErr, SqlxError};

/// A failure of our own database. What was attempted is in `Display`, the cause in `source`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be asked, or refused.
    #[error("{operation}")]
    Database {
        /// What was attempted.
        operation: &'static str,
        /// In which way it failed.
        failure: DatabaseFailure,
        /// What the database library said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A row holds what this version of the program cannot read.
    #[error("{operation}: column {column} holds a value that this version cannot read")]
    Unreadable {
        /// What was attempted.
        operation: &'static str,
        /// Which column.
        column: &'static str,
    },
    /// A value cannot be written down.
    #[error("{operation}: write {column} as JSON")]
    Unwritable {
        /// What was attempted.
        operation: &'static str,
        /// Which column.
        column: &'static str,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// A payload cannot be compressed.
    #[error("{operation}: compress a payload")]
    Uncompressed {
        /// What was attempted.
        operation: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A query about one organization was called in a transaction of the fleet.
    #[error("{operation}: the transaction belongs to no organization")]
    NoOrganization {
        /// What was attempted.
        operation: &'static str,
    },
    /// The row of `work` was claimed by another, or withdrawn: nothing of the transaction may be committed.
    #[error("{operation}: the lease was lost")]
    LeaseLost {
        /// What was attempted.
        operation: &'static str,
    },
}

/// In which way the database failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFailure {
    /// It cannot be reached, or the connection broke: nothing is known of what was attempted last.
    Unavailable,
    /// Two transactions were in each other's way (deadlock, serialisation, a locked file). Again at once.
    Busy,
    /// Something with that key is already there.
    Duplicate,
    /// Anything else: a mistake of ours, or a full disk.
    Other,
}

impl StoreError {
    /// Whether it may pass by itself.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Database { failure: DatabaseFailure::Unavailable | DatabaseFailure::Busy, .. })
    }

    /// Whether the same transaction may succeed if it is simply run again.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Database { failure: DatabaseFailure::Busy, .. })
    }

    /// Whether something with that key was already there.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Database { failure: DatabaseFailure::Duplicate, .. })
    }

    pub(crate) fn database(operation: &'static str, source: DbErr) -> Self {
        Self::Database { operation, failure: classify(&source), source: Box::new(source) }
    }
}

fn classify(error: &DbErr) -> DatabaseFailure {
    if let DbErr::ConnectionAcquire(_) | DbErr::Conn(_) = error {
        return DatabaseFailure::Unavailable;
    }
    let (DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause))) = error
    else {
        return DatabaseFailure::Other;
    };
    match cause.as_ref() {
        SqlxError::Io(_)
        | SqlxError::Tls(_)
        | SqlxError::Protocol(_)
        | SqlxError::PoolTimedOut
        | SqlxError::PoolClosed
        | SqlxError::WorkerCrashed => DatabaseFailure::Unavailable,
        SqlxError::Database(database) if database.is_unique_violation() => DatabaseFailure::Duplicate,
        SqlxError::Database(database) => match database.code().as_deref() {
            // Postgres: serialization_failure, deadlock_detected, lock_not_available
            Some("40001" | "40P01" | "55P03") => DatabaseFailure::Busy,
            // Postgres: connection exceptions, too many connections, shutdown, crash, starting up
            Some(code) if code.len() == 5 && (code.starts_with("08") || code.starts_with("57P")) => {
                DatabaseFailure::Unavailable
            }
            Some("53300") => DatabaseFailure::Unavailable,
            // SQLite: BUSY and LOCKED with their extended codes
            Some("5" | "6" | "261" | "262" | "517" | "518" | "773") => DatabaseFailure::Busy,
            _ => DatabaseFailure::Other,
        },
        _ => DatabaseFailure::Other,
    }
}
