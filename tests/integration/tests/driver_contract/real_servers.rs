//! Radicale and Xandikos themselves.

use std::time::Duration;

use calfleet_domain::model::{Authentication, Listing, ProviderKind};
use calfleet_harness::{DavServer, Radicale, Xandikos};
use calfleet_providers::driver::Account;
use calfleet_providers::http::HttpSettings;
use url::Url;

use super::mirror::Mirror;
use super::{connect, marks, registry, settings};

fn event(number: usize, title: &str) -> (String, String) {
    let (day, hour) = (1 + number % 28, number % 24);
    let text = format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:e{number}@example.com\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:202603{day:02}T{hour:02}0000Z\r\nDTEND:202603{day:02}T{hour:02}3000Z\r\n\
         SUMMARY:{title} & <{number}>\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    );
    (format!("e{number}.ics"), text)
}

async fn mirrors(server: DavServer) {
    let url: Url = server.url().parse().unwrap();
    let calendar = server.create_calendar("work");
    server.fill(&calendar, (0..1_000).map(|number| event(number, "Event")));
    // The first look at a calendar makes the server read all of it.
    let patience = Duration::from_mins(5);
    let settings = settings(&[url.port().unwrap()]);
    let registry = registry(HttpSettings { total_timeout: patience, listing_timeout: patience, ..settings });
    let typed = Account {
        provider: ProviderKind::Caldav,
        url,
        authentication: Authentication::Password,
        username: Some(server.user().to_owned()),
        secret: Some(server.password().to_owned().into()),
        capabilities: None,
        payer: calfleet_providers::driver::Payer::default(),
        marks: marks(),
    };
    let (stored, driver) = connect(&registry, typed).await.unwrap();
    let calendars = driver.list_calendars().await.unwrap();
    let work = calendars.iter().find(|found| calendar.ends_with(found.provider_id.as_str())).unwrap();
    let mut mirror = Mirror::of(work);

    // One listing and a quarter of it at a time.
    let import = registry.open(stored.clone()).unwrap();
    assert_eq!(mirror.sync(import.as_ref()).await.unwrap(), Listing::Full);
    assert_eq!((mirror.objects.len(), import.requests_sent()), (1_000, 5));

    let poll = registry.open(stored.clone()).unwrap();
    assert_eq!(mirror.sync(poll.as_ref()).await.unwrap(), Listing::Delta);
    assert_eq!(poll.requests_sent(), 1);

    server.delete(&calendar, "e7.ics");
    let (name, text) = event(8, "Changed");
    server.put(&calendar, &name, &text);
    let change = registry.open(stored).unwrap();
    assert_eq!(mirror.sync(change.as_ref()).await.unwrap(), Listing::Delta);
    assert_eq!((mirror.objects.len(), change.requests_sent()), (999, 2));
    assert!(!mirror.objects.keys().any(|id| id.ends_with("/e7.ics")));
    assert!(mirror.unreadable.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn radicale_is_mirrored_with_as_few_requests_as_can_be() {
    let Some(server) = Radicale::start() else { return };
    mirrors(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn xandikos_is_mirrored_with_as_few_requests_as_can_be() {
    let Some(server) = Xandikos::start() else { return };
    mirrors(server).await;
}
