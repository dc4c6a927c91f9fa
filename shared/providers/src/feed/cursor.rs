//! What is remembered of a feed between polls: its validators, what it said, and how its items are named.

use calfleet_domain::model::SyncToken;
use serde::{Deserialize, Serialize};

/// Hashes kept of ids and of contents, the smallest ones: enough to see whether two documents overlap.
const SKETCH: usize = 24;

/// How items are named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Naming {
    /// By their `UID`.
    #[default]
    Uid,
    /// By their content, because this publisher makes new UIDs up. Kept from then on.
    Content,
}

/// The cursor of a feed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FeedCursor {
    /// `ETag`, as received.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    /// `Last-Modified`, as received.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(super) modified: Option<String>,
    /// Hash of the body.
    #[serde(rename = "h")]
    pub(super) body: String,
    /// Hash of all that it says, stamps left out.
    #[serde(rename = "s", default)]
    pub(super) content: String,
    /// How items were named.
    #[serde(rename = "n", default)]
    pub(super) naming: Naming,
    /// The smallest hashes of UIDs.
    #[serde(rename = "u", default)]
    pub(super) uids: Vec<u32>,
    /// The smallest hashes of contents without UID and stamps.
    #[serde(rename = "c", default)]
    pub(super) contents: Vec<u32>,
    /// Seconds between polls that the publisher asks for: a document that is not sent again cannot say so.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh_seconds: Option<u64>,
}

impl FeedCursor {
    /// Reads a cursor; `None` when it is not one of ours.
    pub(super) fn of(token: &SyncToken) -> Option<Self> {
        serde_json::from_str(token.as_str().strip_prefix("feed:")?).ok()
    }

    /// The cursor as text.
    pub(super) fn to_token(&self) -> SyncToken {
        // A struct of texts and numbers cannot fail to be written; an empty cursor would only cost a full listing.
        SyncToken(format!("feed:{}", serde_json::to_string(self).unwrap_or_default()))
    }

    /// Keeps the smallest hashes of what the document holds.
    pub(super) fn sketch(&mut self, uids: impl Iterator<Item = u32>, contents: impl Iterator<Item = u32>) {
        self.uids = smallest(uids);
        self.contents = smallest(contents);
    }

    /// How the items of this document are to be named after those of the last one: a publisher who kept most
    /// contents and not a single UID makes them up.
    pub(super) fn naming_after(&self, last: &Self) -> Naming {
        if last.naming == Naming::Content {
            return Naming::Content;
        }
        let kept_uids = overlap(&self.uids, &last.uids);
        let kept_contents = overlap(&self.contents, &last.contents);
        let is_made_up = kept_uids == 0 && kept_contents > 0 && kept_contents * 2 >= last.contents.len();
        if is_made_up { Naming::Content } else { Naming::Uid }
    }
}

fn smallest(hashes: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut hashes: Vec<_> = hashes.collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes.truncate(SKETCH);
    hashes
}

fn overlap(a: &[u32], b: &[u32]) -> usize {
    a.iter().filter(|hash| b.binary_search(hash).is_ok()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(uids: std::ops::Range<u32>, contents: std::ops::Range<u32>) -> FeedCursor {
        let mut cursor = FeedCursor::default();
        cursor.sketch(uids, contents);
        cursor
    }

    #[test]
    fn a_cursor_is_read_back() {
        let mut before = cursor(0..3, 5..9);
        before.etag = Some("W/\"1\"".to_owned());

        assert_eq!(FeedCursor::of(&before.to_token()), Some(before));
        assert_eq!(FeedCursor::of(&SyncToken::from("dav:1")), None);
    }

    #[test]
    fn uids_are_made_up_when_all_change_and_the_contents_stay() {
        let before = cursor(0..10, 100..110);

        assert_eq!(cursor(20..30, 100..110).naming_after(&before), Naming::Content);
        assert_eq!(cursor(20..30, 103..113).naming_after(&before), Naming::Content);
        assert_eq!(cursor(0..10, 200..210).naming_after(&before), Naming::Uid);
        // Another calendar altogether.
        assert_eq!(cursor(20..30, 200..210).naming_after(&before), Naming::Uid);
        assert_eq!(cursor(0..0, 0..0).naming_after(&before), Naming::Uid);
    }
}
