//! What can go wrong in the hands of whoever drives the sandbox.

use std::io;

/// A request to the sandbox's own interface that cannot be met.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address is taken or not ours.
    #[error("listen on {address}")]
    Listen {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no account of that name.
    #[error("find account {0:?}")]
    UnknownAccount(String),
    /// There is no calendar of that name.
    #[error("find calendar {slug:?} of account {account:?}")]
    UnknownCalendar {
        /// The account.
        account: String,
        /// The calendar.
        slug: String,
    },
    /// There is no resource of that name.
    #[error("find resource {0:?}")]
    UnknownResource(String),
    /// There is no feed of that name.
    #[error("find feed {0:?}")]
    UnknownFeed(String),
    /// The name is taken.
    #[error("create {0:?}, which exists")]
    Exists(String),
    /// The text is not one iCalendar object of one UID.
    #[error("read the calendar data of {0:?}")]
    NotACalendarObject(String),
}
