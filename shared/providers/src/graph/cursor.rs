//! What is written into cursors. They outlive the process and the version, so each says which parameters it was
//! made with and which window its link is bound to.
//!
//! `graph:` + JSON, for tokens and for pages alike. Graph binds a link to its window for good, so a window moves by
//! listing the next one in full. That is done at the beginning of every complete listing, and of a listing of what
//! changed once a tenth of the future is used up: the worker compares in full once a day anyway, and an operator who
//! wants that less often has nine tenths of the horizon left at any time, without paying for a complete listing a
//! day. The past only grows until then.

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{Listing, SyncToken};
use serde::{Deserialize, Serialize};

use super::request;
use crate::driver::{Coverage, Since};

const PREFIX: &str = "graph:";

const DAY: Duration = Duration::from_hours(24);

/// What an all-day event in one zone and the same day in another may be apart, and a day to spare: so close to the
/// borders of a window absence proves nothing.
const BORDER: Duration = Duration::from_hours(48);

/// How much of a calendar is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Horizon {
    pub(super) past: Duration,
    pub(super) future: Duration,
}

/// What a listing is bound to: what touches `[from, until)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    #[serde(rename = "f")]
    pub(super) from: Timestamp,
    #[serde(rename = "u")]
    pub(super) until: Timestamp,
}

impl Window {
    /// Around the day of `now`.
    fn around(now: Timestamp, horizon: Horizon) -> Self {
        let day_ms = i64::try_from(DAY.as_millis()).unwrap_or(i64::MAX);
        let today = Timestamp(now.0 - now.0.rem_euclid(day_ms));
        Self { from: today.minus(horizon.past), until: today.plus(DAY).plus(horizon.future) }
    }

    /// Whether another one has to take its place: a tenth of the future is used up, or the operator wants to see
    /// more or less.
    fn is_worn(self, now: Timestamp, horizon: Horizon) -> bool {
        let fresh = Self::around(now, horizon);
        let is_shorter = fresh.until.since(self.until) > horizon.future / 10;
        let length = |window: Self| window.until.since(window.from);
        is_shorter || length(fresh) != length(self)
    }

    /// Where absence from a complete listing proves something.
    pub(super) fn coverage(self) -> Coverage {
        Coverage::Window { from: self.from.plus(BORDER), until: self.until.minus(BORDER) }
    }
}

/// Where a listing stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GraphCursor {
    /// The parameters it was made with.
    #[serde(rename = "p")]
    parameters: String,
    #[serde(flatten)]
    pub(super) window: Window,
    /// What the listing under way is of, or the one before the next.
    #[serde(rename = "k")]
    pub(super) listing: Listing,
    /// Where it goes on, exactly as Graph gave it; `None` at the beginning of everything.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub(super) link: Option<String>,
    /// Whether the listing ended there, and the next begins.
    #[serde(rename = "e")]
    is_end: bool,
}

impl GraphCursor {
    fn beginning(now: Timestamp, horizon: Horizon) -> Self {
        Self {
            parameters: request::parameters_id(),
            window: Window::around(now, horizon),
            listing: Listing::Full,
            link: None,
            is_end: false,
        }
    }

    /// Reads where a listing starts; `None` when the cursor is none of ours or was made with other parameters.
    pub(super) fn of(since: &Since, now: Timestamp, horizon: Horizon) -> Option<Self> {
        let (text, is_end) = match since {
            Since::Beginning | Since::Again(_) => return Some(Self::beginning(now, horizon)),
            Since::Token(token) => (token.as_str(), true),
            Since::Page(text) => (text.as_str(), false),
        };
        let cursor: Self = serde_json::from_str(text.strip_prefix(PREFIX)?).ok()?;
        if cursor.parameters != request::parameters_id() || cursor.link.is_none() || cursor.is_end != is_end {
            return None;
        }
        Some(match since {
            Since::Token(_) if cursor.window.is_worn(now, horizon) => Self::beginning(now, horizon),
            Since::Token(_) => Self { listing: Listing::Delta, ..cursor },
            _ => cursor,
        })
    }

    /// The cursor of the listing's next page.
    pub(super) fn next_page(&self, link: String) -> String {
        Self { link: Some(link), is_end: false, ..self.clone() }.to_text()
    }

    /// The cursor that the next listing starts at.
    pub(super) fn token(&self, link: String) -> SyncToken {
        SyncToken(Self { link: Some(link), is_end: true, ..self.clone() }.to_text())
    }

    fn to_text(&self) -> String {
        // Texts and numbers cannot fail to be written; an empty cursor would only cost a full listing.
        format!("{PREFIX}{}", serde_json::to_string(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_772_442_000_000);
    const HORIZON: Horizon =
        Horizon { past: Duration::from_hours(24), future: Duration::from_hours(100 * 24) };

    fn of(since: &Since, now: Timestamp) -> Option<GraphCursor> {
        GraphCursor::of(since, now, HORIZON)
    }

    fn token(now: Timestamp) -> SyncToken {
        of(&Since::Beginning, now).unwrap().token("https://x/delta?a=\"b".to_owned())
    }

    #[test]
    fn a_window_begins_and_ends_with_a_day() {
        let fresh = of(&Since::Beginning, NOW).unwrap();

        let day = |text: &str| Timestamp::from_utc(text.parse().unwrap());
        assert_eq!(
            fresh.window,
            Window { from: day("2026-03-01T00:00:00Z"), until: day("2026-06-11T00:00:00Z") }
        );
        let covered =
            Coverage::Window { from: day("2026-03-03T00:00:00Z"), until: day("2026-06-09T00:00:00Z") };
        assert_eq!(fresh.window.coverage(), covered);
    }

    #[test]
    fn cursors_are_read_back_with_the_listing_and_the_window_they_belong_to() {
        let full = of(&Since::Beginning, NOW).unwrap();
        let page = of(&Since::Page(full.next_page("https://x/p2".to_owned())), NOW.plus(DAY)).unwrap();
        let delta = of(&Since::Token(token(NOW)), NOW.plus(DAY)).unwrap();
        let second = of(&Since::Page(delta.next_page("https://x/p3".to_owned())), NOW).unwrap();

        assert_eq!((page.listing, page.link.as_deref()), (Listing::Full, Some("https://x/p2")));
        assert_eq!((delta.listing, delta.link.as_deref()), (Listing::Delta, Some("https://x/delta?a=\"b")));
        assert_eq!((second.listing, second.window), (Listing::Delta, full.window));
        assert_eq!(page.window, full.window);
    }

    #[test]
    fn a_window_moves_when_a_tenth_of_it_is_used_up_and_when_the_operator_wants_another() {
        let since = Since::Token(token(NOW));
        let listing = |days: u32| of(&since, NOW.plus(DAY * days)).unwrap().listing;

        assert_eq!((listing(10), listing(11)), (Listing::Delta, Listing::Full));
        let wider = Horizon { past: HORIZON.past * 2, ..HORIZON };
        assert_eq!(GraphCursor::of(&since, NOW, wider).unwrap().listing, Listing::Full);
    }

    #[test]
    fn foreign_cursors_and_those_of_other_parameters_are_dead() {
        let other = token(NOW).as_str().replace(&request::parameters_id(), "00000000");

        assert_eq!(of(&Since::Token(SyncToken(other)), NOW), None);
        assert_eq!(of(&Since::Token(SyncToken::from("google:{}")), NOW), None);
        assert_eq!(of(&Since::Page(token(NOW).0), NOW), None);
    }
}
