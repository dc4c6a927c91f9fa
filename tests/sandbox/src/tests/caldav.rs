//! Discovery, reading, writing and syncing as the RFCs have them.

use super::*;
use crate::{Access, AuthScheme, GeneratorPlan, Reach};

#[tokio::test]
async fn a_client_finds_its_calendars_from_the_well_known_address() {
    let bench = Bench::start().await;

    let well_known = bench.send("PROPFIND", "/.well-known/caldav", &[("depth", "0")], "").await;
    let root = bench.propfind(well_known.header("location"), "0", "<current-user-principal/>").await;
    let home = bench.propfind("/dav/principals/ada/", "0", "<C:calendar-home-set/>").await;
    let calendars =
        bench.propfind("/dav/calendars/ada/", "1", "<displayname/><sync-token/><resourcetype/>").await;

    assert_eq!(well_known.status, StatusCode::MOVED_PERMANENTLY);
    assert!(root.text.contains("<D:href>/dav/principals/ada/</D:href>"));
    assert!(home.text.contains("<D:href>/dav/calendars/ada/</D:href>"));
    assert_eq!(calendars.status, StatusCode::MULTI_STATUS);
    assert!(calendars.text.contains("<D:displayname>Work &amp; play</D:displayname>"));
    assert!(calendars.text.contains("<C:calendar/>"));
    assert!(calendars.text.contains("HTTP/1.1 404 Not Found"), "the home set has no sync token");
}

#[tokio::test]
async fn wrong_credentials_are_challenged_and_other_accounts_forbidden() {
    let bench = Bench::start().await;
    bench.sandbox.create_account(AccountSpec::new("eve", "other")).unwrap();

    let url = format!("{}{WORK}", bench.sandbox.url());
    let wrong = bench.client.get(&url).basic_auth("ada", Some("wrong")).send().await.unwrap();
    let other = bench.client.get(&url).basic_auth("eve", Some("other")).send().await.unwrap();

    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert!(wrong.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic "));
    assert_eq!(other.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn digest_and_bearer_let_in_whoever_knows_the_secret() {
    let bench = Bench::start().await;
    let schemes =
        [("md5", AuthScheme::DigestMd5), ("sha", AuthScheme::DigestSha256), ("oauth", AuthScheme::Bearer)];
    for (name, scheme) in schemes {
        bench.sandbox.create_account(AccountSpec::new(name, "se cret").scheme(scheme)).unwrap();
    }

    for name in ["md5", "sha"] {
        let path = format!("/dav/principals/{name}/");
        let url = format!("{}{path}", bench.sandbox.url());
        let propfind = Method::from_bytes(b"PROPFIND").unwrap();
        let asked = bench.client.request(propfind.clone(), &url).header("depth", "0").send().await.unwrap();
        let mut offered = digest_auth::parse(asked.headers()["www-authenticate"].to_str().unwrap()).unwrap();
        let method = digest_auth::HttpMethod::from("PROPFIND");
        for (secret, status) in [("se cret", StatusCode::MULTI_STATUS), ("wrong", StatusCode::UNAUTHORIZED)] {
            let context =
                digest_auth::AuthContext::new_with_method(name, secret, &path, None::<&[u8]>, method.clone());
            let answer = offered.respond(&context).unwrap().to_header_string();
            let request = bench.client.request(propfind.clone(), &url).header("depth", "0");
            let got = request.header("authorization", answer).send().await.unwrap();
            assert_eq!(got.status(), status, "{name} with {secret}");
        }
    }
    let url = format!("{}/dav/principals/oauth/", bench.sandbox.url());
    let request = bench.client.request(Method::from_bytes(b"PROPFIND").unwrap(), url).header("depth", "0");
    assert_eq!(request.bearer_auth("se cret").send().await.unwrap().status(), StatusCode::MULTI_STATUS);
}

#[tokio::test]
async fn a_delta_lists_what_was_created_changed_and_removed_and_nothing_else() {
    let bench = Bench::start().await;
    for name in ["a.ics", "b.ics", "c.ics"] {
        bench.store(name);
    }
    let first = bench.sync("").await;

    bench.store("b.ics");
    bench.sandbox.delete("ada", "work", "c.ics").unwrap();
    bench.store("d.ics");
    let second = bench.sync(first.element("sync-token")).await;
    let third = bench.sync(second.element("sync-token")).await;

    assert_eq!(first.count("<D:response>"), 3);
    assert_eq!(second.count("<D:response>"), 3);
    assert_eq!(second.count("HTTP/1.1 404 Not Found"), 1);
    assert!(second.text.contains("/c.ics</D:href><D:status>HTTP/1.1 404 Not Found"));
    assert!(!second.text.contains("/a.ics"));
    assert_eq!(third.count("<D:response>"), 0);
    assert_eq!(third.element("sync-token"), second.element("sync-token"));
}

#[tokio::test]
async fn expired_and_foreign_tokens_are_refused_by_name() {
    let bench = Bench::start().await;
    bench.store("a.ics");
    let token = bench.sync("").await.element("sync-token").to_owned();

    bench.sandbox.expire_tokens("ada", "work").unwrap();
    let expired = bench.sync(&token).await;
    let foreign = bench.sync("http://elsewhere.example/1").await;

    for refused in [expired, foreign] {
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert!(refused.text.contains("<D:valid-sync-token/>"));
    }
}

#[tokio::test]
async fn a_multiget_gives_the_stored_text_and_names_what_is_missing() {
    let bench = Bench::start().await;
    bench.sandbox.put("ada", "work", "a b&c.ics", &event("1", "Café <&> done")).unwrap();

    let got = bench.multiget(&["a%20b%26c.ics", "gone.ics"]).await;

    assert!(got.text.contains("<D:href>/dav/calendars/ada/work/a%20b%26c.ics</D:href>"));
    assert!(got.text.contains("SUMMARY:Café &lt;&amp;&gt; done&#13;\n"));
    assert!(got.text.contains("gone.ics</D:href><D:status>HTTP/1.1 404 Not Found"));
}

#[tokio::test]
async fn writes_heed_their_preconditions() {
    let bench = Bench::start().await;

    let created = bench.put("a.ics", "1", &[("if-none-match", "*")]).await;
    let etag = created.header("etag").to_owned();
    let again = bench.put("a.ics", "1", &[("if-none-match", "*")]).await;
    let stale = bench.put("a.ics", "1", &[("if-match", "\"old\"")]).await;
    let updated = bench.put("a.ics", "1", &[("if-match", &etag)]).await;
    let late = bench.send("DELETE", &format!("{WORK}a.ics"), &[("if-match", &etag)], "").await;
    let twin = bench.put("b.ics", "1", &[]).await;
    let broken = bench.send("PUT", &format!("{WORK}c.ics"), &[], "not a calendar").await;
    let lost = bench.send("PUT", "/dav/calendars/ada/nowhere/a.ics", &[], &event("9", "x")).await;

    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(again.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(updated.status, StatusCode::NO_CONTENT);
    assert_ne!(updated.header("etag"), etag);
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED);
    assert!(twin.text.contains("<C:no-uid-conflict><D:href>/dav/calendars/ada/work/a.ics</D:href>"));
    assert!(broken.text.contains("<C:valid-calendar-data/>"));
    assert_eq!(lost.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_query_finds_by_time_and_by_uid() {
    let bench = Bench::start().await;
    bench.store("a.ics");
    let series = event("b", "Series").replace("DTEND", "RRULE:FREQ=DAILY;UNTIL=20260201T090000Z\r\nDTEND");
    bench.sandbox.put("ada", "work", "b.ics", &series).unwrap();
    let ask = async |filter: &str| {
        let body = format!(
            "<C:calendar-query xmlns:C=\"urn:ietf:params:xml:ns:caldav\"><prop xmlns=\"DAV:\"><getetag/></prop>\
             <C:filter><C:comp-filter name=\"VCALENDAR\"><C:comp-filter name=\"VEVENT\">{filter}\
             </C:comp-filter></C:comp-filter></C:filter></C:calendar-query>"
        );
        let read = bench.send("REPORT", WORK, &[("depth", "1")], &body).await;
        (read.text.contains("/a.ics"), read.text.contains("/b.ics"))
    };

    let both = ask("<C:time-range start=\"20260120T093000Z\" end=\"20260121T000000Z\"/>").await;
    let series = ask("<C:time-range start=\"20260125T000000Z\" end=\"20260126T000000Z\"/>").await;
    let none = ask("<C:time-range start=\"20270101T000000Z\"/>").await;
    let named = ask("<C:prop-filter name=\"UID\"><C:text-match collation=\"i;octet\">a.ics</C:text-match></C:prop-filter>").await;

    assert_eq!((both, series, none, named), ((true, true), (false, true), (false, false), (true, false)));
}

#[tokio::test]
async fn calendars_are_made_renamed_and_deleted() {
    let bench = Bench::start().await;
    let body = "<C:mkcalendar xmlns=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\"><set><prop>\
        <displayname>Trips</displayname></prop></set></C:mkcalendar>";
    let rename = "<propertyupdate xmlns=\"DAV:\"><set><prop><displayname>Travel</displayname></prop></set></propertyupdate>";

    let made = bench.send("MKCALENDAR", "/dav/calendars/ada/trips/", &[], body).await;
    let first = bench.propfind("/dav/calendars/ada/trips/", "0", "<displayname/>").await;
    let changed = bench.send("PROPPATCH", "/dav/calendars/ada/trips/", &[], rename).await;
    let second = bench.propfind("/dav/calendars/ada/trips/", "0", "<displayname/>").await;
    let deleted = bench.send("DELETE", "/dav/calendars/ada/trips/", &[], "").await;

    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!(first.element("displayname"), "Trips");
    assert_eq!(changed.status, StatusCode::MULTI_STATUS);
    assert_eq!(second.element("displayname"), "Travel");
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.sandbox.calendars("ada").unwrap(), ["work"]);
}

#[tokio::test]
async fn a_move_is_a_removal_here_and_an_addition_there() {
    let bench = Bench::start().await;
    bench.sandbox.create_calendar("ada", CalendarSpec::new("home")).unwrap();
    bench.store("a.ics");
    let token = bench.sync("").await.element("sync-token").to_owned();

    let target = format!("{}/dav/calendars/ada/home/a.ics", bench.sandbox.url());
    let moved = bench.send("MOVE", &format!("{WORK}a.ics"), &[("destination", &target)], "").await;

    assert_eq!(moved.status, StatusCode::CREATED);
    assert!(bench.sync(&token).await.text.contains("a.ics</D:href><D:status>HTTP/1.1 404"));
    assert_eq!(bench.sandbox.resource_count("ada", "home").unwrap(), 1);
}

#[tokio::test]
async fn rights_and_reach_decide_what_is_given() {
    let bench = Bench::start().await;
    bench.store("a.ics");

    bench.sandbox.set_access("ada", "work", Access::Read).unwrap();
    let written = bench.put("b.ics", "b", &[]).await;
    let rights = bench.propfind(WORK, "0", "<current-user-privilege-set/>").await;
    bench.sandbox.set_access("ada", "work", Access::FreeBusy).unwrap();
    let hidden = bench.sync("").await;
    bench.sandbox.set_access("ada", "work", Access::Full).unwrap();
    bench.sandbox.set_reach("ada", "work", Reach::Gone).unwrap();
    let gone = bench.sync("").await;
    bench.sandbox.set_reach("ada", "work", Reach::Forbidden).unwrap();
    let forbidden = bench.sync("").await;

    assert_eq!(written.status, StatusCode::FORBIDDEN);
    assert!(rights.text.contains("<D:read/>") && !rights.text.contains("<D:write/>"));
    assert_eq!(hidden.status, StatusCode::FORBIDDEN);
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    assert_eq!(forbidden.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_large_calendar_is_listed_whole_and_read_back_in_chunks() {
    let bench = Bench::start().await;
    bench.sandbox.generate("ada", "work", GeneratorPlan { events: 3_000, seed: 5 }).unwrap();

    let listed = bench.propfind(WORK, "1", "<getetag/>").await;
    let stored = bench.sandbox.resources("ada", "work").unwrap();
    let names: Vec<&str> = stored.iter().take(300).map(|resource| resource.name.as_str()).collect();
    let got = bench.multiget(&names).await;

    assert_eq!(listed.count("<D:getetag>&quot;"), 3_000);
    assert_eq!(got.count("<C:calendar-data>"), 300);
    assert_eq!(bench.sandbox.log().count_of("PROPFIND"), 1);
    assert_eq!(bench.sandbox.log().entries().last().unwrap().hrefs, 300);
}
