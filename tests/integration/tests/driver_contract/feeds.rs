//! Published calendars with their habits.

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::Listing;
use calfleet_providers::driver::Problem;
use calfleet_sandbox::{Fault, FaultRule, FeedSpec, FeedState, Sandbox, UidHabit};

use super::mirror::Mirror;
use super::{connect, feed, registry, sandbox, settings};

fn event(uid: &str, title: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\n\
         DTSTART:20260302T090000Z\r\nDTEND:20260302T100000Z\r\nSUMMARY:{title}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

fn publish(sandbox: &Sandbox, spec: FeedSpec, events: usize) -> String {
    let url = sandbox.set_feed("news", spec);
    for number in 0..events {
        let text = event(&format!("e{number}@example.com"), &format!("Event {number}"));
        sandbox.put_in_feed("news", &format!("e{number}"), &text).unwrap();
    }
    url
}

#[tokio::test]
async fn a_feed_is_read_once_and_then_only_when_it_changes() {
    for (etag, last_modified, gzip) in
        [(true, false, false), (false, true, false), (true, true, true), (false, false, false)]
    {
        let sandbox = sandbox().await;
        let url = publish(&sandbox, FeedSpec { etag, last_modified, gzip, ..FeedSpec::default() }, 20);
        let registry = registry(settings(&[sandbox.address().port()]));
        let (_, driver) = connect(&registry, feed(&url)).await.unwrap();
        let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);

        assert_eq!(mirror.sync(driver.as_ref()).await.unwrap(), Listing::Full);
        let (cursor, sent) = (mirror.cursor.clone(), driver.requests_sent());
        assert_eq!(mirror.sync(driver.as_ref()).await.unwrap(), Listing::Delta);

        assert_eq!(mirror.objects.len(), 20);
        assert_eq!(driver.requests_sent(), sent + 1);
        assert_eq!(mirror.cursor, cursor);
        sandbox.clock().advance(std::time::Duration::from_mins(1));
        sandbox.remove_from_feed("news", "e3").unwrap();
        assert_eq!(mirror.sync(driver.as_ref()).await.unwrap(), Listing::Full);
        assert_eq!(mirror.objects.len(), 19);
    }
}

#[tokio::test]
async fn a_feed_that_is_not_sent_again_keeps_the_interval_its_publisher_asked_for() {
    for etag in [true, false] {
        let sandbox = sandbox().await;
        let refresh = Some("PT6H".to_owned());
        let url =
            publish(&sandbox, FeedSpec { refresh, etag, last_modified: false, ..FeedSpec::default() }, 3);
        let registry = registry(settings(&[sandbox.address().port()]));
        let (_, first) = connect(&registry, feed(&url)).await.unwrap();
        let mut mirror = Mirror::of(&first.list_calendars().await.unwrap()[0]);
        mirror.sync(first.as_ref()).await.unwrap();

        // each run opens a driver of its own, which has not seen the document
        let second = registry.open(feed(&url)).unwrap();
        let listing = mirror.sync(second.as_ref()).await.unwrap();

        assert_eq!(listing, Listing::Delta);
        assert_eq!(second.poll_interval(), Some(std::time::Duration::from_hours(6)), "etag: {etag}");
    }
}

#[tokio::test]
async fn uids_that_are_made_up_for_each_fetch_settle() {
    let sandbox = sandbox().await;
    let spec =
        FeedSpec { uids: UidHabit::PerFetch, etag: false, last_modified: false, ..FeedSpec::default() };
    let url = publish(&sandbox, spec, 20);
    let registry = registry(settings(&[sandbox.address().port()]));
    let (_, driver) = connect(&registry, feed(&url)).await.unwrap();
    let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);

    mirror.sync(driver.as_ref()).await.unwrap();
    mirror.sync(driver.as_ref()).await.unwrap();
    let ids: Vec<_> = mirror.objects.keys().cloned().collect();
    let listing = mirror.sync(driver.as_ref()).await.unwrap();

    assert_eq!(listing, Listing::Delta);
    assert_eq!(ids.len(), 20);
    assert_eq!(mirror.objects.into_keys().collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn made_up_uids_stay_settled_when_everything_is_listed_again() {
    for etag in [true, false] {
        let sandbox = sandbox().await;
        let spec = FeedSpec { uids: UidHabit::PerFetch, etag, last_modified: false, ..FeedSpec::default() };
        let url = publish(&sandbox, spec, 20);
        let registry = registry(settings(&[sandbox.address().port()]));
        let (_, driver) = connect(&registry, feed(&url)).await.unwrap();
        let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);
        mirror.sync(driver.as_ref()).await.unwrap();
        assert_eq!(mirror.sync_again(driver.as_ref()).await.unwrap(), Listing::Full);
        let settled: Vec<_> = mirror.objects.keys().cloned().collect();

        for _ in 0..2 {
            let listing = mirror.sync_again(driver.as_ref()).await.unwrap();

            assert_eq!(listing, Listing::Full);
            assert_eq!(mirror.objects.keys().cloned().collect::<Vec<_>>(), settled);
        }
        assert_eq!(settled.len(), 20);
    }
}

#[tokio::test]
async fn a_feed_that_fails_keeps_what_was_read() {
    for (state, class, problem) in [
        (FeedState::Missing, FailureClass::Permanent, Problem::NotFound),
        (FeedState::Gone, FailureClass::Permanent, Problem::NotFound),
        (FeedState::Html, FailureClass::Transient, Problem::HtmlAnswer),
        (FeedState::Garbage, FailureClass::Transient, Problem::NotACalendar),
        (FeedState::Truncated(900), FailureClass::Transient, Problem::Truncated),
    ] {
        let sandbox = sandbox().await;
        let url = publish(&sandbox, FeedSpec::default(), 20);
        let registry = registry(settings(&[sandbox.address().port()]));
        let (_, driver) = connect(&registry, feed(&url)).await.unwrap();
        let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);
        mirror.sync(driver.as_ref()).await.unwrap();

        sandbox.clock().advance(std::time::Duration::from_mins(1));
        sandbox.remove_from_feed("news", "e3").unwrap();
        sandbox.set_feed("news", FeedSpec { state: state.clone(), ..FeedSpec::default() });
        let Err(error) = mirror.sync(driver.as_ref()).await else { panic!("{state:?}: it worked") };

        assert_eq!((error.class, error.problem), (class, problem), "{state:?}");
        assert_eq!(mirror.objects.len(), 20, "{state:?}");
    }
}

#[tokio::test]
async fn a_password_in_the_address_is_used_and_not_shown() {
    let sandbox = sandbox().await;
    let credentials = Some(("ada".to_owned(), "s3cret".to_owned()));
    let url = publish(&sandbox, FeedSpec { credentials, ..FeedSpec::default() }, 3);
    let registry = registry(settings(&[sandbox.address().port()]));

    let refused = connect(&registry, feed(&url)).await.expect_err("it wants a password");
    let opened = connect(&registry, feed(&url.replace("http://", "http://ada:s3cret@"))).await;

    assert_eq!(refused.class, FailureClass::Auth);
    assert!(opened.is_ok());
}

#[tokio::test]
async fn a_feed_that_has_moved_for_good_takes_its_password_along_and_not_to_strangers() {
    let (ours, strangers) = (sandbox().await, sandbox().await);
    let credentials = Some(("ada".to_owned(), "s3cret".to_owned()));
    let url = publish(&ours, FeedSpec { credentials, ..FeedSpec::default() }, 3);
    let elsewhere = publish(&strangers, FeedSpec::default(), 3);
    let registry = registry(settings(&[ours.address().port(), strangers.address().port()]));
    let signed = url.replace("http://", "http://ada:s3cret@");
    // who is not signed in yet is sent on as well
    let moved_to = |location: String| FaultRule::next(Fault::Redirect { code: 301, location }).times(2);

    ours.inject(moved_to(format!("{url}?moved")));
    let (moved, driver) = connect(&registry, feed(&signed)).await.unwrap();
    assert_eq!(moved.url.as_str(), format!("{signed}?moved"));
    driver.list_calendars().await.unwrap();

    ours.inject(moved_to(elsewhere));
    let (stays, _) = connect(&registry, feed(&signed)).await.unwrap();
    assert_eq!(stays.url.as_str(), signed, "nobody else is told the password");
}

#[tokio::test]
async fn a_password_that_is_kept_from_strangers_is_not_called_wrong() {
    let (ours, strangers) = (sandbox().await, sandbox().await);
    let credentials = Some(("ada".to_owned(), "s3cret".to_owned()));
    let url = publish(&ours, FeedSpec::default(), 3);
    let elsewhere = publish(&strangers, FeedSpec { credentials, ..FeedSpec::default() }, 3);
    let registry = registry(settings(&[ours.address().port(), strangers.address().port()]));
    ours.inject(FaultRule::next(Fault::Redirect { code: 302, location: elsewhere }).always());

    let signed = connect(&registry, feed(&url.replace("http://", "http://ada:s3cret@"))).await;
    let anonymous = connect(&registry, feed(&url)).await;

    let refused = signed.expect_err("strangers are not told the password");
    assert_eq!(refused.class, FailureClass::Permanent);
    assert!(matches!(refused.problem, Problem::RedirectRefused { .. }), "{refused}");
    assert_eq!(anonymous.expect_err("it wants a password").problem, Problem::WrongCredentials);
}
