//! Feeds and their publishers' habits.

use super::*;
use crate::{FeedSpec, FeedState, UidHabit};

async fn feed(bench: &Bench, spec: FeedSpec) -> Read {
    let url = bench.sandbox.set_feed("team", spec);
    read(bench.client.get(url).send().await.unwrap()).await
}

#[tokio::test]
async fn an_unchanged_feed_answers_304_by_tag_and_by_date() {
    let bench = Bench::start().await;
    let first = feed(&bench, FeedSpec::default()).await;
    let url = format!("{}/feeds/team.ics", bench.sandbox.url());
    let ask = async |name: &str, value: &str| {
        bench.client.get(&url).header(name, value).send().await.unwrap().status().as_u16()
    };

    let by_tag = ask("if-none-match", first.header("etag")).await;
    let by_date = ask("if-modified-since", first.header("last-modified")).await;
    bench.sandbox.clock().shift(60_000);
    bench.sandbox.put_in_feed("team", "a", &event("a", "New")).unwrap();
    let changed = ask("if-none-match", first.header("etag")).await;
    let changed_by_date = ask("if-modified-since", first.header("last-modified")).await;

    assert_eq!((by_tag, by_date, changed, changed_by_date), (304, 304, 200, 200));
}

#[tokio::test]
async fn a_feed_shows_its_items_and_a_calendar_with_each_zone_once() {
    let bench = Bench::start().await;
    bench.sandbox.generate("ada", "work", crate::GeneratorPlan { events: 40, seed: 1 }).unwrap();
    let calendar = Some(("ada".to_owned(), "work".to_owned()));

    let shown = feed(&bench, FeedSpec { calendar: calendar.clone(), ..FeedSpec::default() }).await;
    let without = feed(&bench, FeedSpec { calendar, without_zones: true, ..FeedSpec::default() }).await;

    let masters = shown.count("\r\nUID:") - shown.count("\r\nRECURRENCE-ID");
    assert_eq!(masters, 40);
    assert_eq!(shown.count("TZID:Europe/Paris\r\n"), 1);
    assert_eq!(without.count("BEGIN:VTIMEZONE"), 0);
}

#[tokio::test]
async fn uids_change_with_every_fetch_when_the_publisher_is_careless() {
    let bench = Bench::start().await;
    let spec = FeedSpec { uids: UidHabit::PerFetch, ..FeedSpec::default() };
    feed(&bench, spec.clone()).await;
    bench.sandbox.put_in_feed("team", "a", &event("a", "x")).unwrap();

    let first = feed(&bench, spec.clone()).await;
    let second = feed(&bench, spec).await;

    assert!(first.text.contains("\r\nUID:"));
    assert_ne!(first.text, second.text);
}

#[tokio::test]
async fn a_window_moves_with_the_clock() {
    let bench = Bench::start().await;
    let spec = FeedSpec { window_days: Some((1, 7)), ..FeedSpec::default() };
    feed(&bench, spec.clone()).await;
    bench.sandbox.put_in_feed("team", "a", &event("a", "In five days")).unwrap();

    let before = feed(&bench, spec.clone()).await;
    bench.sandbox.clock().shift(10 * 86_400_000);
    let after = feed(&bench, spec).await;

    assert!(before.text.contains("UID:a") && !after.text.contains("UID:a"));
}

#[tokio::test]
async fn a_feed_may_be_gone_a_login_page_cut_large_or_locked() {
    let bench = Bench::start().await;
    let with = |state| FeedSpec { state, ..FeedSpec::default() };

    assert_eq!(feed(&bench, with(FeedState::Gone)).await.status.as_u16(), 410);
    assert_eq!(feed(&bench, with(FeedState::Missing)).await.status.as_u16(), 404);
    assert!(feed(&bench, with(FeedState::Html)).await.text.contains("<html>"));
    assert_eq!(feed(&bench, with(FeedState::Truncated(20))).await.text.len(), 20);
    let large = FeedSpec { pad_to: Some(100_000), ..FeedSpec::default() };
    assert!(feed(&bench, large).await.text.len() >= 100_000);
    let locked = FeedSpec { credentials: Some(("ada".to_owned(), "x".to_owned())), ..FeedSpec::default() };
    assert_eq!(feed(&bench, locked).await.status.as_u16(), 401);
}
