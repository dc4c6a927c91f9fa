//! What is written into cursors. They outlive the process and the version, so each says which parameters it was
//! made with: Google leaves undefined what a token means to a request with other ones.
//!
//! `google:` + JSON, for tokens and for pages alike; a page's says to which listing it belongs.

use calfleet_domain::model::{Listing, SyncToken};
use serde::{Deserialize, Serialize};

use super::request;
use crate::driver::Since;

const PREFIX: &str = "google:";

/// Where a listing stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GoogleCursor {
    /// The parameters it was made with.
    #[serde(rename = "p")]
    parameters: String,
    /// The sync token the listing began at; `None` for a listing of everything.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(super) sync: Option<String>,
    /// The next page of the listing.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub(super) page: Option<String>,
}

impl GoogleCursor {
    /// A cursor under the parameters in use.
    pub(super) fn new(sync: Option<String>, page: Option<String>) -> Self {
        Self { parameters: request::parameters_id(), sync, page }
    }

    /// Reads where a listing starts; `None` when the cursor is none of ours or was made with other parameters.
    pub(super) fn of(since: &Since) -> Option<Self> {
        let read = |text: &str| -> Option<Self> { serde_json::from_str(text.strip_prefix(PREFIX)?).ok() };
        let cursor = match since {
            Since::Beginning | Since::Again(_) => return Some(Self::new(None, None)),
            Since::Token(token) => read(token.as_str()).filter(|cursor| cursor.sync.is_some())?,
            Since::Page(text) => read(text).filter(|cursor| cursor.page.is_some())?,
        };
        (cursor.parameters == request::parameters_id()).then_some(cursor)
    }

    /// What the listing is of.
    pub(super) fn listing(&self) -> Listing {
        if self.sync.is_some() { Listing::Delta } else { Listing::Full }
    }

    /// The cursor of the listing's next page.
    pub(super) fn next_page(&self, page: String) -> String {
        Self { page: Some(page), ..self.clone() }.to_text()
    }

    /// The cursor that the next listing starts at.
    pub(super) fn token(sync: String) -> SyncToken {
        SyncToken(Self::new(Some(sync), None).to_text())
    }

    fn to_text(&self) -> String {
        // Three texts cannot fail to be written; an empty cursor would only cost a full listing.
        format!("{PREFIX}{}", serde_json::to_string(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_back_with_the_listing_they_belong_to() {
        let token = GoogleCursor::token("CPj\"=".to_owned());
        let delta = GoogleCursor::of(&Since::Token(token)).unwrap();
        let page = GoogleCursor::of(&Since::Page(delta.next_page("p2".to_owned()))).unwrap();
        let full = GoogleCursor::of(&Since::Beginning).unwrap();

        assert_eq!(delta, GoogleCursor::new(Some("CPj\"=".to_owned()), None));
        assert_eq!((page.listing(), page.page.as_deref()), (Listing::Delta, Some("p2")));
        assert_eq!(page.sync, delta.sync);
        assert_eq!(full.listing(), Listing::Full);
    }

    #[test]
    fn foreign_cursors_and_those_of_other_parameters_are_dead() {
        let token = GoogleCursor::token("t".to_owned());
        let other = token.as_str().replace(&request::parameters_id(), "00000000");

        assert_eq!(GoogleCursor::of(&Since::Token(SyncToken(other))), None);
        assert_eq!(GoogleCursor::of(&Since::Token(SyncToken::from("dav:1"))), None);
        assert_eq!(GoogleCursor::of(&Since::Page(token.0)), None);
    }
}
