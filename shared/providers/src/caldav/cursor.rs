//! What is written into cursors. They outlive the process and the version, so each says what it is.
//!
//! `dav:` + token of `sync-collection` · `ctag:` + tag of the collection. A page cursor says of which listing it
//! is a page: `full:` or `delta:` + token.

use calfleet_domain::model::{Listing, SyncToken};

use crate::driver::{ListingMode, Since};

/// Where a listing starts, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start<'a> {
    /// `sync-collection`; an empty token lists everything.
    Sync {
        /// The server's token.
        token: &'a str,
        /// What the pages of this listing are.
        listing: Listing,
    },
    /// By the collection's tag; `None` lists everything.
    Tag(Option<&'a str>),
    /// Names and entity tags of everything.
    Everything,
}

impl<'a> Start<'a> {
    /// Reads a cursor; `None` when it is not one of ours.
    pub(super) fn of(since: &'a Since, mode: ListingMode) -> Option<Self> {
        match since {
            Since::Beginning | Since::Again(_) => Some(match mode {
                ListingMode::SyncToken => Self::Sync { token: "", listing: Listing::Full },
                ListingMode::Ctag => Self::Tag(None),
                ListingMode::EntityTags | ListingMode::Document => Self::Everything,
            }),
            Since::Token(SyncToken(text)) => match text.split_once(':')? {
                ("dav", token) => Some(Self::Sync { token, listing: Listing::Delta }),
                ("ctag", tag) => Some(Self::Tag(Some(tag))),
                _ => None,
            },
            Since::Page(text) => match text.split_once(':')? {
                ("full", token) => Some(Self::Sync { token, listing: Listing::Full }),
                ("delta", token) => Some(Self::Sync { token, listing: Listing::Delta }),
                _ => None,
            },
        }
    }
}

/// The cursor of a `sync-collection` token.
pub(super) fn of_token(token: &str) -> SyncToken {
    SyncToken(format!("dav:{token}"))
}

/// The cursor of a collection's tag.
pub(super) fn of_tag(tag: &str) -> SyncToken {
    SyncToken(format!("ctag:{tag}"))
}

/// The cursor of the next page of a listing.
pub(super) fn of_page(listing: Listing, token: &str) -> String {
    let name = match listing {
        Listing::Full => "full",
        Listing::Delta => "delta",
    };
    format!("{name}:{token}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_back_and_foreign_ones_are_not() {
        let token = Since::Token(of_token("http://sabre.io/ns/sync/1"));
        let page = Since::Page(of_page(Listing::Full, "data:,1"));

        assert_eq!(
            Start::of(&token, ListingMode::Ctag),
            Some(Start::Sync { token: "http://sabre.io/ns/sync/1", listing: Listing::Delta })
        );
        assert_eq!(
            Start::of(&page, ListingMode::SyncToken),
            Some(Start::Sync { token: "data:,1", listing: Listing::Full })
        );
        assert_eq!(Start::of(&Since::Token(of_tag("x")), ListingMode::Ctag), Some(Start::Tag(Some("x"))));
        assert_eq!(Start::of(&Since::Again(of_tag("x")), ListingMode::Ctag), Some(Start::Tag(None)));
        assert_eq!(Start::of(&Since::Token(SyncToken::from("feed:x")), ListingMode::Ctag), None);
    }
}
