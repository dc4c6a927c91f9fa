//! What came of a write, and why it could not be done.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{EventId, OutboxId};
use calfleet_store::StoreError;
use serde::{Deserialize, Serialize};

use super::findings::Invalid;
use super::permit::Refusal;
use super::plan::Plan;
use crate::drivers::OpenError;

/// What came of a write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The event that says what was asked for: of a split the second half.
    pub event_id: EventId,
    /// The event that it was split from.
    pub split_from: Option<EventId>,
    /// The intents to tell the provider; empty where nothing changes, or nothing was to be stored.
    pub intents: Vec<OutboxId>,
    /// What was planned; `None` where an earlier request with the same key had done it.
    #[serde(skip)]
    pub plan: Option<Plan>,
}

/// What has become of the intents of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// The provider has it.
    Done,
    /// It was given up.
    Failed,
    /// It waits.
    Pending,
}

/// A write could not be done; nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No such thing in this organization.
    #[error("find the {0}")]
    NotFound(&'static str),
    /// The request cannot be used.
    #[error("read the request")]
    Invalid(Vec<Invalid>),
    /// It may not be done.
    #[error("permit the write")]
    Refused(#[from] Refusal),
    /// The event is not the one that the request was made from.
    #[error("find the event as it was")]
    Outdated {
        /// Its [`etag`](crate::read::etag) now.
        etag: String,
        /// When it was last written.
        updated_at: Timestamp,
    },
    /// Others kept changing the event.
    #[error("change the event before others do")]
    Busy,
    /// The same request is being carried out elsewhere.
    #[error("carry the request out a second time")]
    Underway,
    /// Our database failed.
    #[error("store the write")]
    Store(#[from] StoreError),
    /// The account cannot be opened.
    #[error("open the account")]
    Open(#[from] OpenError),
}

impl From<Vec<Invalid>> for WriteError {
    fn from(invalid: Vec<Invalid>) -> Self {
        Self::Invalid(invalid)
    }
}
