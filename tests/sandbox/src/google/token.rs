//! Page and sync tokens: where a listing stands, opaque to its reader.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a delta starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SyncToken {
    pub(crate) era: u64,
    /// Everything up to this revision is known.
    pub(crate) revision: u64,
    /// Parameters that belong to the token.
    pub(crate) parameters: String,
}

/// What a next page starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageToken {
    pub(crate) era: u64,
    /// The last revision that was listed, or how many items were.
    pub(crate) at: u64,
    /// What the sync token at the end will say.
    pub(crate) revision: u64,
    /// All other parameters.
    pub(crate) parameters: String,
}

pub(crate) fn write<T: Serialize>(token: &T) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(token).unwrap_or_default())
}

pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}
