//! Answers as servers give them, and as attackers do.

use std::time::{Duration, Instant};

use bytes::Bytes;
use calfleet_domain::failure::FailureClass;
use futures_util::FutureExt as _;
use futures_util::stream;
use proptest::prelude::*;

use super::*;
use crate::driver::Problem;

/// Everything in `body`, which arrives in pieces of `piece` bytes.
fn read_in_pieces(body: &[u8], piece: usize) -> Result<Vec<Part>, XmlError> {
    let pieces: Vec<_> = body.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let mut multistatus = Multistatus::new(Box::pin(stream::iter(pieces)), 1 << 20);
    let mut parts = Vec::new();
    loop {
        match multistatus.next().now_or_never().expect("everything has arrived")? {
            Some(part) => parts.push(part),
            None => return Ok(parts),
        }
    }
}

fn read(body: &str) -> Result<Vec<Part>, XmlError> {
    let whole = read_in_pieces(body.as_bytes(), usize::MAX)?;
    assert_eq!(read_in_pieces(body.as_bytes(), 3)?, whole);
    Ok(whole)
}

fn responses(body: &str) -> Vec<Response> {
    let parts = read(body).expect("the body can be read").into_iter();
    let responses = parts.filter_map(|part| match part {
        Part::Response(response) => Some(*response),
        Part::SyncToken(_) => None,
    });
    responses.collect()
}

const SYNC: &str = r#"<?xml version='1.0' encoding='utf-8'?>
<multistatus xmlns="DAV:"><response><href>/ada/work/a.ics</href><propstat><prop><getetag>"1"</getetag></prop>
<status>HTTP/1.1 200 OK</status></propstat></response>
<response><href>/ada/work/b%20c.ics</href><status>HTTP/1.1 404 Not Found</status></response>
<response><href>/ada/work/</href><status>HTTP/1.1 507 Insufficient Storage</status>
<error><number-of-matches-within-limits/></error></response>
<sync-token>http://example.com/ns/sync/7?a=1&amp;b=2</sync-token></multistatus>
"#;

#[test]
fn members_removals_and_the_token_are_told_apart() {
    let parts = read(SYNC).unwrap();

    let Part::Response(first) = &parts[0] else { panic!("{parts:?}") };
    assert_eq!((first.href.as_str(), first.props.etag.as_deref()), ("/ada/work/a.ics", Some("\"1\"")));
    let Part::Response(second) = &parts[1] else { panic!("{parts:?}") };
    assert_eq!((second.href.as_str(), second.status), ("/ada/work/b%20c.ics", Some(404)));
    let Part::Response(third) = &parts[2] else { panic!("{parts:?}") };
    assert_eq!(third.status, Some(507));
    assert_eq!(parts[3], Part::SyncToken("http://example.com/ns/sync/7?a=1&b=2".to_owned()));
}

#[test]
fn elements_are_known_by_namespace_whatever_the_prefix() {
    let body = r#"<a:multistatus xmlns:a="DAV:" xmlns:x="urn:example"><a:response><a:href>/x</a:href><a:propstat>
        <a:prop><x:getetag>wrong</x:getetag><b:calendar-data xmlns:b="urn:ietf:params:xml:ns:caldav"><![CDATA[BEGIN:VCALENDAR
X:a]]>&amp;b&#13;
END</b:calendar-data></a:prop><a:status>200</a:status></a:propstat></a:response></a:multistatus>"#;

    let found = responses(body);

    assert_eq!(found[0].props.etag, None);
    let text = CalendarData::Text("BEGIN:VCALENDAR\nX:a&b\r\nEND".to_owned());
    assert_eq!(found[0].props.calendar_data, Some(text));
}

#[test]
fn properties_count_only_where_their_status_says_so() {
    let body = r#"<D:multistatus xmlns:D="DAV:" xmlns:CS="http://calendarserver.org/ns/"><D:response><D:href>/x/</D:href>
        <D:propstat><D:prop><CS:getctag>7</CS:getctag></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>
        <D:propstat><D:status>200 OK</D:status><D:prop><D:displayname> Work </D:displayname></D:prop></D:propstat>
        <D:propstat><D:prop><D:sync-token>t</D:sync-token></D:prop></D:propstat></D:response></D:multistatus>"#;

    let props = &responses(body)[0].props;

    assert_eq!((props.ctag.as_deref(), props.display_name.as_deref()), (None, Some("Work")));
    assert_eq!(props.sync_token.as_deref(), Some("t"));
}

#[test]
fn a_calendar_describes_itself() {
    let body = r#"<D:multistatus xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:response><D:href>/x/</D:href>
        <D:propstat><D:prop><D:resourcetype><D:collection/><C:calendar/></D:resourcetype>
        <C:supported-calendar-component-set><C:comp name="VEVENT"/><C:comp name="vtodo"></C:comp></C:supported-calendar-component-set>
        <D:current-user-privilege-set><D:privilege><D:read/></D:privilege><D:privilege><D:write-content></D:write-content></D:privilege></D:current-user-privilege-set>
        <D:supported-report-set><D:supported-report><D:report><D:sync-collection/></D:report></D:supported-report></D:supported-report-set>
        <D:current-user-principal><D:href>/p/</D:href></D:current-user-principal>
        <C:calendar-home-set><D:href>/a/</D:href><D:href>https://b.example.com/</D:href></C:calendar-home-set>
        <D:owner><D:href>/o/</D:href></D:owner>
        </D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>"#;

    let props = &responses(body)[0].props;

    let kind = ResourceType { is_collection: true, is_calendar: true, is_subscription: false };
    assert_eq!(props.resource_type, Some(kind));
    assert_eq!(props.components.as_deref(), Some(&["VEVENT".to_owned(), "VTODO".to_owned()][..]));
    assert!(props.privileges.unwrap().has_any(&[Privileges::WRITE_CONTENT]));
    assert_eq!(props.reports, Some(Reports { has_sync_collection: true, has_multiget: false }));
    assert_eq!(props.principal, Some(Principal::Href("/p/".to_owned())));
    assert_eq!(props.home_sets, ["/a/", "https://b.example.com/"]);
}

#[test]
fn an_answer_without_its_end_is_truncated_wherever_it_breaks_off() {
    let whole = SYNC.trim_end();
    for end in 0..whole.len() {
        let error = read_in_pieces(&whole.as_bytes()[..end], 11).expect_err("it is cut");
        assert!(matches!(error, XmlError::Truncated), "cut at {end}: {error:?}");
    }
    assert!(read(whole).is_ok());
}

#[test]
fn pages_lists_of_others_and_tricks_are_refused_by_name() {
    let error = |body: &str| read_in_pieces(body.as_bytes(), usize::MAX).expect_err("it is refused");

    assert!(matches!(error("<!DOCTYPE html><html><body>Log in</body></html>"), XmlError::Html));
    assert!(matches!(error("<html xmlns='http://www.w3.org/1999/xhtml'/>"), XmlError::Html));
    assert!(matches!(error("<rss/>"), XmlError::NotMultistatus));
    assert!(matches!(error("<multistatus/>"), XmlError::NotMultistatus));
    assert!(matches!(
        error("<!DOCTYPE lolz [<!ENTITY lol 'lol'>]><multistatus xmlns='DAV:'>&lol;</multistatus>"),
        XmlError::Hostile(_)
    ));
    assert!(matches!(error("<multistatus xmlns='DAV:'>&lol;</multistatus>"), XmlError::Hostile(_)));
    assert!(matches!(
        error(&format!("<multistatus xmlns='DAV:'>{}", "<a>".repeat(100))),
        XmlError::Hostile(_)
    ));
    assert!(matches!(
        error(&format!("<multistatus xmlns='DAV:'><sync-token>{}</sync-token>", "a".repeat(70_000))),
        XmlError::Hostile(_)
    ));
}

#[test]
fn an_object_over_the_limit_is_too_large_and_its_neighbour_is_not() {
    let object = |text: &str| {
        format!(
            "<response><href>/x</href><propstat><prop><c:calendar-data>{text}</c:calendar-data></prop>\
             <status>HTTP/1.1 200 OK</status></propstat></response>"
        )
    };
    let body = format!(
        "<multistatus xmlns='DAV:' xmlns:c='urn:ietf:params:xml:ns:caldav'>{}{}</multistatus>",
        object(&"a".repeat(2 << 20)),
        object("b")
    );

    let found: Vec<_> = read_in_pieces(body.as_bytes(), 1 << 16).unwrap();

    let data: Vec<_> = found
        .into_iter()
        .map(|part| match part {
            Part::Response(response) => response.props.calendar_data.unwrap(),
            Part::SyncToken(_) => panic!("there is none"),
        })
        .collect();
    assert_eq!(data, [CalendarData::TooLarge, CalendarData::Text("b".to_owned())]);
}

#[test]
fn stray_bytes_and_control_characters_stay_inside_their_text() {
    let body = b"<multistatus xmlns='DAV:'><response><href>/caf\xe9\x07.ics</href><status>HTTP/1.1 200 OK</status></response></multistatus>";

    let parts = read_in_pieces(body, 5).unwrap();

    let Part::Response(response) = &parts[0] else { panic!("{parts:?}") };
    assert_eq!(response.href, "/caf\u{fffd}.ics");
}

#[test]
fn the_reason_why_a_body_broke_off_is_kept() {
    let failure =
        DriverError::new("read", FailureClass::Transient, Problem::Timeout { host: "x".to_owned() });
    let pieces = vec![Ok(Bytes::from_static(b"<multistatus xmlns='DAV:'>")), Err(failure)];
    let mut multistatus = Multistatus::new(Box::pin(stream::iter(pieces)), 1 << 20);

    let error = multistatus.next().now_or_never().unwrap().expect_err("it broke off");

    assert!(matches!(error, XmlError::Body(cause) if matches!(cause.problem, Problem::Timeout { .. })));
}

#[test]
fn conditions_are_found_in_refusals_only() {
    let refusal = b"<?xml version='1.0'?><D:error xmlns:D='DAV:'><D:valid-sync-token/></D:error>";

    assert!(conditions(refusal).contains(&Element::ValidSyncToken));
    assert!(conditions(b"<html>valid-sync-token</html>").is_empty());
    assert!(conditions(b"").is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_mutation_of_an_answer_makes_trouble(
        cuts in prop::collection::vec((0..SYNC.len(), 0_usize..40, any::<Option<u8>>()), 1..6),
        piece in 1_usize..200,
    ) {
        let mut body = SYNC.as_bytes().to_vec();
        for (at, length, replacement) in cuts {
            let at = at.min(body.len());
            let end = (at + length).min(body.len());
            let copy = body[at..end].to_vec();
            match replacement {
                // Cut out, doubled, or overwritten.
                None => drop(body.drain(at..end)),
                Some(byte) if byte % 3 == 0 => body.splice(at..at, copy.repeat(3)).for_each(drop),
                Some(byte) => body[at..end].fill(byte),
            }
        }
        let started = Instant::now();

        let _outcome = read_in_pieces(&body, piece);

        prop_assert!(started.elapsed() < Duration::from_secs(1));
    }
}
