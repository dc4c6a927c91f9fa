//! JSON that nobody sent: pages and events with bytes, values and structure changed end in an answer or an error,
//! in bounded time.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::error::Reasons;
use super::normalise::{self, Setting};
use super::{cursor::GoogleCursor, notification, wire};
use crate::driver::Since;
use crate::html;

const PAGE: &str = r#"{"kind":"calendar#events","timeZone":"Europe/Paris","accessRole":"owner","defaultReminders":[{"method":"popup","minutes":10}],"nextSyncToken":"CPj=","items":[
{"id":"abc","etag":"\"1\"","iCalUID":"abc@google.com","status":"confirmed","summary":"Standup","description":"<b>a</b>&amp;<br>","colorId":"11","sequence":2,
"start":{"dateTime":"2026-03-02T09:30:00+01:00","timeZone":"Europe/Paris"},"end":{"dateTime":"2026-03-02T10:00:00+01:00","timeZone":"Europe/Paris"},
"recurrence":["RRULE:FREQ=WEEKLY;COUNT=9","EXDATE;TZID=Europe/Paris:20260309T093000","RDATE:20260310T093000Z"],"attendees":[{"email":"a@example.com","self":true,"responseStatus":"accepted"}],
"organizer":{"email":"b@example.com"},"reminders":{"useDefault":false,"overrides":[{"method":"popup","minutes":30}]},"conferenceData":{"entryPoints":[{"entryPointType":"video","uri":"https://meet.google.com/abc-defg-hij"}]}},
{"id":"abc_20260316T083000Z","status":"cancelled","recurringEventId":"abc","originalStartTime":{"dateTime":"2026-03-16T09:30:00+01:00","timeZone":"Europe/Paris"}},
{"id":"day","status":"confirmed","start":{"date":"2026-03-02"},"end":{"date":"2026-03-03"},"visibility":"private","eventType":"outOfOffice"}]}"#;

/// Values that fit nowhere, or only just.
const ODD: [&str; 16] = [
    "null",
    "7",
    "-1",
    "9223372036854775807",
    "1e400",
    "\"\"",
    "\"9999-12-31T23:59:59-23:59\"",
    "\"0001-01-01\"",
    "\"+262142-12-31\"",
    "[]",
    "{}",
    "true",
    "\"\\u0000\"",
    "\"RRULE:FREQ=SECONDLY\"",
    "\"<b\"",
    "\"Mars/Olympus\"",
];

fn read(body: &[u8]) {
    let Ok(list) = serde_json::from_slice::<wire::EventList<'_>>(body) else { return };
    let setting = Setting::of_list(&list, None);
    let mut changes: Vec<_> = Vec::new();
    for item in &list.items {
        changes.extend(normalise::change(item.get(), &setting));
    }
    assert!(changes.len() <= list.items.len());
}

/// The places in the page where a value stands that is no list and no object.
fn values() -> Vec<(usize, usize)> {
    let starts = PAGE.match_indices("\":").map(|(at, _)| at + 2);
    let length = |at: usize| PAGE.get(at..).and_then(|rest| rest.find([',', '}', ']'])).unwrap_or(0);
    let is_simple = |at: &usize| PAGE.get(*at..).is_some_and(|rest| !rest.starts_with(['{', '[']));
    starts.filter(is_simple).map(|at| (at, at + length(at))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

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
        let _ = Reasons::of(&body);
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
    fn texts_cursors_and_headers_of_any_kind_are_read_or_refused(text in "\\PC{0,200}", tags in "[<>&;#a-z/b!-]{0,60}") {
        let _ = html::plain(&text);
        let _ = html::plain(&format!("<br>{tags}{text}{tags}"));
        let _ = GoogleCursor::of(&Since::Page(format!("google:{text}")));
        let mut headers = HeaderMap::new();
        for name in ["x-goog-channel-id", "x-goog-resource-state", "x-goog-channel-expiration", "x-goog-message-number"] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        prop_assert!(notification::read(&headers).is_err());
    }
}
