//! The sync job against Radicale and Xandikos.

use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::model::{Authentication, ProviderKind};
use calfleet_harness::{DavServer, Postgres, Radicale, Xandikos};
use calfleet_providers::driver::{Account, Driver, DriverError};
use calfleet_providers::http::HttpSettings;
use calfleet_providers::registry::Registry;
use calfleet_providers::surroundings::Endpoints;
use calfleet_service::drivers::OpenAccount;

use super::world::{Backend, World};
use crate::driver_contract::{connect, marks, settings};

/// Opens one account, whatever is stored.
#[derive(Debug)]
struct OneAccount {
    registry: Registry,
    account: Account,
}

impl OpenAccount for OneAccount {
    fn open(&self, _stored: Account) -> Result<Arc<dyn Driver>, DriverError> {
        self.registry.open(self.account.clone())
    }
}

fn event(number: usize, title: &str) -> (String, String) {
    let (day, hour) = (1 + number % 28, number % 24);
    let text = format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:e{number}@example.com\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:202603{day:02}T{hour:02}0000Z\r\nDTEND:202603{day:02}T{hour:02}3000Z\r\n\
         RRULE:FREQ=DAILY;COUNT=5\r\nSUMMARY:{title} {number}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    );
    (format!("e{number}.ics"), text)
}

async fn imports_and_follows(server: DavServer, on: Backend) {
    let url: url::Url = server.url().parse().unwrap();
    let work = server.create_calendar("work");
    server.fill(&work, (0..300).map(|number| event(number, "Event")));
    let patience = Duration::from_mins(5);
    let settings = settings(&[url.port().unwrap()]);
    let http = HttpSettings { total_timeout: patience, listing_timeout: patience, ..settings };
    let mut world = World::start(on).await;
    let registry =
        Registry::new(http, Endpoints::production().unwrap(), world.clock.clone(), world.rng.clone())
            .unwrap();
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
    let (account, _) = connect(&registry, typed).await.unwrap();
    world.accounts = Arc::new(OneAccount { registry, account });

    world.run_until_done().await;

    let found = world.calendars().await;
    let calendar = found.iter().find(|found| work.ends_with(found.remote.provider_id.as_str())).unwrap().id;
    assert_eq!(world.live(calendar).await.len(), 300);
    server.delete(&work, "e7.ics");
    let (name, text) = event(8, "Changed");
    server.put(&work, &name, &text);
    world.sync().await;

    let rows = world.live(calendar).await;
    assert_eq!(rows.len(), 299);
    let title = |row: &calfleet_store::events::StoredRow| row.event.event.as_ref()?.fields()?.title.clone();
    assert_eq!(rows.iter().filter(|row| title(row).as_deref() == Some("Changed 8")).count(), 1);
    world.sync_in_full().await;
    assert_eq!(world.live(calendar).await, rows, "a full comparison without change writes no event");
}

#[tokio::test(flavor = "multi_thread")]
async fn radicale_is_imported_and_followed() {
    let Some(server) = Radicale::start() else { return };
    let on = if Postgres::shared().is_some() { Backend::Postgres } else { Backend::Sqlite };
    imports_and_follows(server, on).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn xandikos_is_imported_and_followed() {
    let Some(server) = Xandikos::start() else { return };
    imports_and_follows(server, Backend::Sqlite).await;
}
