//! Each fault, as a client meets it.

use super::*;
use crate::{Edit, Fault, FaultRule, RetryAfter};

#[tokio::test]
async fn a_throttled_request_names_its_wait_in_seconds_or_as_a_date() {
    let bench = Bench::start().await;
    bench.sandbox.fail_next(Fault::Status { code: 429, retry_after: Some(RetryAfter::Seconds(30)) });
    bench.sandbox.inject(
        FaultRule::next(Fault::Status { code: 503, retry_after: Some(RetryAfter::DateIn(60)) })
            .method("REPORT"),
    );

    let first = bench.propfind(WORK, "0", "<displayname/>").await;
    let second = bench.sync("").await;
    let third = bench.sync("").await;

    assert_eq!((first.status.as_u16(), first.header("retry-after")), (429, "30"));
    assert_eq!(
        (second.status.as_u16(), second.header("retry-after")),
        (503, "Thu, 15 Jan 2026 12:01:00 GMT")
    );
    assert_eq!(second.header("date"), "Thu, 15 Jan 2026 12:00:00 GMT");
    assert_eq!(third.status, StatusCode::MULTI_STATUS);
}

#[tokio::test]
async fn an_answer_is_lost_after_the_write_and_a_cut_before_it_writes_nothing() {
    let bench = Bench::start().await;

    bench.sandbox.inject(FaultRule::next(Fault::AnswerLost).method("PUT"));
    let lost = bench.request("PUT", &format!("{WORK}a.ics")).body(event("a", "x")).send().await;
    bench.sandbox.inject(FaultRule::next(Fault::CutBefore).method("PUT"));
    let cut = bench.request("PUT", &format!("{WORK}b.ics")).body(event("b", "x")).send().await;

    assert!(lost.is_err() && cut.is_err());
    let stored = bench.sandbox.resources("ada", "work").unwrap();
    assert_eq!(stored.iter().map(|resource| resource.name.as_str()).collect::<Vec<_>>(), ["a.ics"]);
    assert!(bench.sandbox.log().entries().iter().all(|entry| entry.status == 0));
}

#[tokio::test]
async fn a_cut_body_gives_its_first_bytes_and_then_an_error() {
    let bench = Bench::start().await;
    bench.store("a.ics");
    bench.sandbox.fail_next(Fault::CutBody(40));

    let mut response = bench.request("REPORT", WORK).body(sync_body("")).send().await.unwrap();

    assert_eq!(response.status(), StatusCode::MULTI_STATUS);
    assert_eq!(response.chunk().await.unwrap().unwrap().len(), 40);
    assert!(response.chunk().await.is_err());
}

#[tokio::test]
async fn a_truncated_body_is_sound_http_and_unsound_xml() {
    let bench = Bench::start().await;
    bench.store("a.ics");
    bench.sandbox.fail_next(Fault::TruncatedBody);

    let read = bench.sync("").await;

    assert_eq!(read.status, StatusCode::MULTI_STATUS);
    assert!(read.text.starts_with("<?xml") && !read.text.contains("</D:multistatus>"));
}

#[tokio::test]
async fn an_endless_body_goes_on_until_the_client_leaves() {
    let bench = Bench::start().await;
    bench.sandbox.fail_next(Fault::Endless);

    let mut response = bench.request("REPORT", WORK).body(sync_body("")).send().await.unwrap();
    let mut taken = 0;
    while taken < 5_000_000 {
        taken += response.chunk().await.unwrap().unwrap().len();
    }
    drop(response);

    assert!(bench.sandbox.log().entries()[0].sent_bytes >= 5_000_000);
    bench.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_listing_is_emptied_doubled_and_shuffled_without_a_trace() {
    let bench = Bench::start().await;
    for name in ["a.ics", "b.ics", "c.ics"] {
        bench.store(name);
    }
    bench.sandbox.fail_next(Fault::EmptyListing);
    bench.sandbox.inject(FaultRule::next(Fault::Duplicates).after(1));
    bench.sandbox.inject(FaultRule::next(Fault::Shuffled(2)).after(2));

    let empty = bench.sync("").await;
    let doubled = bench.sync("").await;
    let shuffled = bench.sync("").await;
    let plain = bench.sync("").await;

    assert_eq!((empty.status, empty.count("<D:response>")), (StatusCode::MULTI_STATUS, 0));
    assert_eq!(doubled.count("<D:response>"), 5);
    assert_eq!(shuffled.count("<D:response>"), 3);
    assert_ne!(shuffled.text, plain.text);
}

#[tokio::test]
async fn somebody_writes_between_two_pages() {
    let bench = Bench::with(Profile { page_limit: Some(2), ..Profile::standard() }).await;
    for name in ["a.ics", "b.ics", "c.ics"] {
        bench.store(name);
    }
    let edit = Edit::Put {
        account: "ada".to_owned(),
        calendar: "work".to_owned(),
        name: "a.ics".to_owned(),
        body: event("a.ics", "Changed"),
    };
    bench.sandbox.inject(FaultRule::next(Fault::ThenEdit(vec![edit])).body("sync-collection"));

    let first = bench.sync("").await;
    let second = bench.sync(first.element("sync-token")).await;

    assert!(first.text.contains("/a.ics") && second.text.contains("/a.ics"));
    assert!(second.text.contains("/c.ics"));
}

#[tokio::test]
async fn an_unreadable_item_stands_among_sound_ones() {
    let bench = Bench::start().await;
    bench.store("a.ics");
    bench.store("b.ics");
    bench.sandbox.plant("ada", "work", "c.ics", "no calendar at all").unwrap();
    bench.sandbox.fail_next(Fault::Unreadable("b.*".to_owned()));

    let got = bench.multiget(&["a.ics", "b.ics", "c.ics"]).await;

    assert_eq!(got.count("<C:calendar-data>"), 3);
    assert_eq!(got.count("SUMMARY:Meeting"), 1);
    assert!(got.text.contains("FREQ=NEVER") && got.text.contains("no calendar at all"));
}

#[tokio::test]
async fn bombs_pages_and_redirects_come_as_asked() {
    let bench = Bench::start().await;
    for fault in [
        Fault::Html,
        Fault::EntityBomb,
        Fault::ExternalEntity,
        Fault::GzipBomb(20),
        Fault::Redirect { code: 308, location: "http://elsewhere.example/".to_owned() },
        Fault::Unauthorized,
        Fault::ExpiredToken,
    ] {
        bench.sandbox.fail_next(fault);
    }
    // All wait for any request, so the first one that can answers; the rest are used up with it.
    let html = bench.sync("").await;
    bench.sandbox.fail_next(Fault::EntityBomb);
    let entities = bench.sync("").await;
    bench.sandbox.fail_next(Fault::GzipBomb(20));
    let gzip = bench.request("REPORT", WORK).body(sync_body("")).send().await.unwrap();
    let (encoding, bytes) = (gzip.headers()["content-encoding"].clone(), gzip.bytes().await.unwrap());
    bench.sandbox.fail_next(Fault::Redirect { code: 308, location: "http://elsewhere.example/".to_owned() });
    let redirect = bench.sync("").await;
    bench.sandbox.fail_next(Fault::Unauthorized);
    let unauthorized = bench.sync("").await;

    assert_eq!((html.status, html.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    assert!(entities.text.contains("<!ENTITY e9 "));
    assert_eq!(encoding, "gzip");
    assert!(bytes.len() < 200_000);
    assert_eq!((redirect.status.as_u16(), redirect.header("location")), (308, "http://elsewhere.example/"));
    assert!(unauthorized.header("www-authenticate").starts_with("Basic"));
    assert!(bench.sandbox.faults().is_empty());
}
