//! Each habit of a server, as a client meets it.

use super::*;
use crate::{InvalidToken, Rewriting};

#[tokio::test]
async fn a_dead_token_is_refused_or_answered_with_everything_by_habit() {
    let cases = [
        (InvalidToken::Forbidden, 403, true),
        (InvalidToken::Conflict, 409, true),
        (InvalidToken::PreconditionFailed, 412, true),
        (InvalidToken::Gone, 410, false),
        (InvalidToken::BadRequest, 400, false),
        (InvalidToken::ServerError, 500, false),
        (InvalidToken::CompleteListing, 207, false),
    ];
    for (invalid_token, status, named) in cases {
        let bench = Bench::with(Profile { invalid_token, ..Profile::standard() }).await;
        bench.store("a.ics");

        let read = bench.sync("http://elsewhere.example/1").await;

        assert_eq!(read.status.as_u16(), status);
        assert_eq!(read.text.contains("valid-sync-token"), named);
        assert_eq!(read.text.contains("/a.ics"), status == 207);
    }
}

#[tokio::test]
async fn like_radicale_tombstones_come_in_an_initial_sync_and_large_reports_are_refused() {
    let bench = Bench::with(Profile { report_event_limit: Some(2), ..Profile::radicale() }).await;
    for name in ["a.ics", "b.ics", "c.ics"] {
        bench.store(name);
    }
    bench.sandbox.delete("ada", "work", "b.ics").unwrap();
    bench.store("d.ics");

    let initial = bench.sync("").await;
    let few = bench.multiget(&["a.ics", "c.ics"]).await;
    let many = bench.multiget(&["a.ics", "c.ics", "d.ics"]).await;

    assert!(initial.text.contains("<multistatus xmlns=\"DAV:\""));
    assert!(initial.text.contains("/b.ics</href><status>HTTP/1.1 404 Not Found"));
    assert_eq!(few.status, StatusCode::MULTI_STATUS);
    assert_eq!(many.status, StatusCode::BAD_REQUEST);
    assert!(many.text.contains("occurrences limit"));
}

#[tokio::test]
async fn like_xandikos_a_removed_member_has_an_absolute_address() {
    let bench = Bench::with(Profile::xandikos()).await;
    bench.store("a.ics");
    let token = bench.sync("").await.element("sync-token").to_owned();

    bench.sandbox.delete("ada", "work", "a.ics").unwrap();
    let delta = bench.sync(&token).await;

    let address = format!("<ns0:href>{}{WORK}a.ics</ns0:href>", bench.sandbox.url());
    assert!(delta.text.contains(&address), "{}", delta.text);
}

#[tokio::test]
async fn like_cyrus_a_long_delta_is_paged_with_507_and_strangers_see_the_root() {
    let bench = Bench::with(Profile { page_limit: Some(2), ..Profile::cyrus() }).await;
    for name in ["a.ics", "b.ics", "c.ics"] {
        bench.store(name);
    }

    let first = bench.sync("").await;
    let second = bench.sync(first.element("sync-token")).await;
    let root = format!("{}/", bench.sandbox.url());
    let body = "<propfind xmlns=\"DAV:\"><prop><current-user-principal/></prop></propfind>";
    let propfind = Method::from_bytes(b"PROPFIND").unwrap();
    let ask = || bench.client.request(propfind.clone(), &root).header("depth", "0").body(body);
    let stranger = ask().send().await.unwrap();
    let wrong = ask().basic_auth("ada", Some("wrong")).send().await.unwrap();

    assert!(first.text.contains("HTTP/1.1 507 Insufficient Storage"));
    assert_eq!(first.count("<D:getetag>"), 2);
    assert_eq!(second.count("<D:getetag>"), 1);
    assert!(!second.text.contains("507"));
    assert_eq!(stranger.status(), StatusCode::MULTI_STATUS);
    assert!(stranger.text().await.unwrap().contains("<D:unauthenticated/>"));
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn like_davical_a_missing_href_is_not_mentioned_and_a_uid_may_come_twice() {
    let bench = Bench::with(Profile::davical()).await;
    bench.store("a.ics");

    let got = bench.multiget(&["a.ics", "gone.ics"]).await;
    let twin = bench.put("b.ics", "a.ics", &[]).await;

    assert!(!got.text.contains("gone.ics"));
    assert_eq!(twin.status, StatusCode::CREATED);
}

#[tokio::test]
async fn like_sogo_a_token_is_a_second_and_a_used_connection_closes_without_an_answer() {
    let bench = Bench::with(Profile { requests_per_connection: Some(4), ..Profile::sogo() }).await;
    bench.store("a.ics");
    let token = bench.sync("").await.element("sync-token").to_owned();
    let again = bench.sync(&token).await;
    bench.sandbox.clock().shift(5_000);
    bench.store("b.ics");
    let later = bench.sync(&token).await;
    let overwritten = bench.put("a.ics", "a.ics", &[("if-none-match", "*")]).await;
    let cut = bench.request("REPORT", WORK).body(sync_body("")).send().await;

    assert!(again.text.contains("/a.ics"), "the last second comes again");
    assert!(later.text.contains("/b.ics"));
    assert_eq!(overwritten.status, StatusCode::NO_CONTENT);
    // The client may have opened a new connection by itself; the log shows the cut either way.
    assert!(cut.is_err() || bench.sandbox.log().count_where(|entry| entry.status == 0) == 1);
}

#[tokio::test]
async fn servers_without_sync_or_ctag_do_not_offer_them() {
    let props = "<sync-token/><CS:getctag/><supported-report-set/>";

    let ctag_only = Bench::with(Profile::ctag_only()).await.propfind(WORK, "0", props).await;
    let etag_only = Bench::with(Profile::etag_only()).await;
    let etag_props = etag_only.propfind(WORK, "0", props).await;
    let sync = etag_only.sync("").await;

    assert!(ctag_only.text.contains("<CS:getctag>\""));
    assert!(!ctag_only.text.contains("<D:sync-collection/>"));
    assert!(!etag_props.text.contains("<CS:getctag>\""));
    assert!(sync.text.contains("<D:supported-report/>"));
}

#[tokio::test]
async fn a_ctag_changes_with_every_change_and_only_then() {
    let bench = Bench::with(Profile::ctag_only()).await;
    let ctag = async || bench.propfind(WORK, "0", "<CS:getctag/>").await.element("getctag").to_owned();

    let first = ctag().await;
    let second = ctag().await;
    bench.store("a.ics");
    let third = ctag().await;

    assert_eq!(first, second);
    assert_ne!(second, third);
}

#[tokio::test]
async fn a_rewriting_server_gives_no_etag_and_another_text() {
    for (rewriting, kept) in [(Rewriting::Reserialised, true), (Rewriting::DropsUnknown, false)] {
        let bench = Bench::with(Profile { rewriting, ..Profile::standard() }).await;

        let put = bench.put("a.ics", "a", &[]).await;
        let got = bench.send("GET", &format!("{WORK}a.ics"), &[], "").await;

        assert_eq!(put.header("etag"), "");
        assert!(got.text.contains("PRODID:-//standard//EN\r\n"));
        assert_eq!(got.text.contains("X-OWN:kept"), kept);
    }
}
