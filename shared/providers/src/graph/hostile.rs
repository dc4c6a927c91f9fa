//! JSON that nobody sent: pages and events with bytes, values and structure changed end in an answer or an error,
//! in bounded time.

use calfleet_domain::clock::Timestamp;
use proptest::prelude::*;

use super::cursor::{GraphCursor, Horizon, Window};
use super::error::Codes;
use super::normalise::{self, Departed, Item, Setting};
use super::{notification, wire};
use crate::driver::Since;
use crate::html;

const PAGE: &str = r#"{"@odata.deltaLink":"https://graph.microsoft.com/v1.0/me/x?$deltatoken=a","value":[
{"id":"a","@odata.etag":"W/\"k\"","changeKey":"k","type":"singleInstance","iCalUId":"u","subject":"Review","body":{"contentType":"html","content":"<div>a&amp;b</div>"},
"start":{"dateTime":"2026-03-16T08:30:00.0000000","timeZone":"UTC"},"end":{"dateTime":"2026-03-16T09:00:00.0000000","timeZone":"UTC"},"originalStartTimeZone":"Romance Standard Time",
"isAllDay":false,"isOrganizer":false,"organizer":{"emailAddress":{"name":"Ada","address":"ada@example.com"}},"attendees":[{"type":"optional","status":{"response":"accepted"},"emailAddress":{"address":"b@example.com"}}],
"locations":[{"displayName":"A"},{"displayName":"B"}],"isReminderOn":true,"reminderMinutesBeforeStart":15,"categories":["b","a"],"onlineMeeting":{"joinUrl":"https://teams.microsoft.com/l/meetup-join/1"},"lastModifiedDateTime":"2026-02-02T08:00:00.7654321Z"},
{"id":"m","changeKey":"k","type":"seriesMaster","start":{"dateTime":"2026-03-02T08:30:00","timeZone":"UTC"},"end":{"dateTime":"2026-03-02T09:00:00","timeZone":"UTC"},
"recurrence":{"pattern":{"type":"weekly","interval":2,"month":0,"dayOfMonth":0,"daysOfWeek":["monday"],"firstDayOfWeek":"sunday","index":"first"},"range":{"type":"endDate","startDate":"2026-03-02","endDate":"2026-12-31","recurrenceTimeZone":"Romance Standard Time","numberOfOccurrences":0}},
"cancelledOccurrences":["OID.m.2026-03-16"],"exceptionOccurrences":[{"id":"x","originalStart":"2026-03-30T07:30:00Z","isAllDay":false,"start":{"dateTime":"2026-03-30T09:30:00","timeZone":"UTC"},"end":{"dateTime":"2026-03-30T10:00:00","timeZone":"UTC"}}]},
{"id":"o","type":"occurrence","seriesMasterId":"m","start":{"dateTime":"2026-03-02T08:30:00","timeZone":"UTC"}},{"id":"r","@removed":{"reason":"deleted"}},
{"id":"d","changeKey":"k","type":"singleInstance","isAllDay":true,"sensitivity":"private","start":{"dateTime":"2026-03-16T00:00:00","timeZone":"UTC"},"end":{"dateTime":"2026-03-17T00:00:00","timeZone":"UTC"}}]}"#;

/// Values that fit nowhere, or only just.
const ODD: [&str; 18] = [
    "null",
    "7",
    "-1",
    "9223372036854775807",
    "1e400",
    "\"\"",
    "\"9999-12-31T23:59:59\"",
    "\"0001-01-01T00:00:00Z\"",
    "\"+262142-12-31T00:00:00Z\"",
    "\"absoluteMonthly\"",
    "\"relativeYearly\"",
    "\"numbered\"",
    "[]",
    "{}",
    "true",
    "\"\\u0000\"",
    "\"<b\"",
    "\"tzone://Microsoft/Custom\"",
];

/// All that is done with a page and what is read after it.
fn read(body: &[u8]) {
    let Ok(page) = serde_json::from_slice::<wire::EventPage<'_>>(body) else { return };
    let setting = Setting::default();
    let window = Window { from: Timestamp(1_772_323_200_000), until: Timestamp(1_800_000_000_000) };
    for raw in &page.value {
        if let Some(Item::Single(event)) = normalise::item(raw.get()) {
            normalise::change(&event, raw.get(), &setting);
        }
        let Ok(event) = serde_json::from_str::<wire::Event>(raw.get()) else { continue };
        normalise::change(&event, raw.get(), &setting);
        normalise::compared(&event, raw.get(), &[raw.get()], window, &setting);
        if let Ok(parts) = serde_json::from_str::<wire::Departures<'_>>(raw.get())
            && let Some(departed) = Departed::of(&parts)
        {
            normalise::whole(&event, raw.get(), &departed, &setting);
        }
    }
}

/// The places in the page where a value stands that is no list and no object.
fn values() -> Vec<(usize, usize)> {
    let starts = PAGE.match_indices("\":").map(|(at, _)| at + 2);
    let length = |at: usize| PAGE.get(at..).and_then(|rest| rest.find([',', '}', ']'])).unwrap_or(0);
    let is_simple = |at: &usize| PAGE.get(*at..).is_some_and(|rest| !rest.starts_with(['{', '[']));
    starts.filter(is_simple).map(|at| (at, at + length(at))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn a_page_with_changed_bytes_is_read_or_refused(
        changes in prop::collection::vec((0..PAGE.len(), any::<u8>()), 0..8),
        cut in 0..PAGE.len() * 2,
    ) {
        let mut body = PAGE.as_bytes().to_vec();
        for (at, byte) in changes {
            body[at] = byte;
        }
        body.truncate(cut);

        read(&body);
        let _ = Codes::of(&body);
        drop(notification::read(&body));
    }

    #[test]
    fn a_page_with_odd_values_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..ODD.len()), 1..4),
    ) {
        let places = values();
        let mut chosen: Vec<_> = changes.iter().map(|(place, odd)| (*place.get(&places), ODD[*odd])).collect();
        chosen.sort_unstable();
        chosen.dedup_by_key(|(place, _)| *place);
        let mut body = PAGE.to_owned();
        for ((from, until), odd) in chosen.into_iter().rev() {
            body.replace_range(from..until, odd);
        }

        read(body.as_bytes());
    }

    #[test]
    fn texts_cursors_and_queries_of_any_kind_are_read_or_refused(text in "\\PC{0,200}", tags in "[<>&;#a-z/b! \r\n-]{0,60}") {
        let _ = html::read(&text);
        let _ = html::read(&format!("{tags}{text}{tags}"));
        let horizon = Horizon { past: std::time::Duration::MAX, future: std::time::Duration::MAX };
        let _ = GraphCursor::of(&Since::Page(format!("graph:{text}")), Timestamp(i64::MAX), horizon);
        let _ = notification::word_to_repeat(&text);
        prop_assert!(notification::read(text.as_bytes()).is_err());
    }
}
