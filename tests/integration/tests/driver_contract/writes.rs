//! Writes to CalDAV servers with all their habits, and to real ones: one effect, nothing overwritten unseen.

use std::collections::BTreeMap;

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::End;
use calfleet_domain::model::{
    Authentication, Body, Event, EventId, Fields, Notify, ProviderId, ProviderKind, RemoteChange,
    RemoteEvent, When,
};
use calfleet_domain::reconcile::version;
use calfleet_harness::{DavServer, Radicale, Xandikos};
use calfleet_providers::driver::{Account, Agreed, CalendarRef, Change, Driver, DriverError, Write, Written};
use calfleet_providers::naming;
use calfleet_sandbox::{AccountSpec, CalendarSpec, Profile};
use uuid::Uuid;

use super::{account, connect, marks, registry, sandbox, settings};

fn event(names: &naming::Names, title: &str) -> Event {
    let at = |hour: u32| {
        let day = chrono::NaiveDate::from_ymd_opt(2026, 7, 14).unwrap();
        When::Utc(day.and_hms_opt(hour, 0, 0).unwrap().and_utc())
    };
    let mut fields = Fields::new(at(9), End::At(at(10)));
    fields.title = Some(title.to_owned());
    fields.description = Some("Bring numbers,\nand \"coffee\"; please\\".to_owned());
    Event { uid: names.uid.clone(), body: Body::Single(fields) }
}

fn retitled(event: &Event, title: &str) -> Event {
    let mut event = event.clone();
    let Body::Single(fields) = &mut event.body else { panic!("a single event") };
    fields.title = Some(title.to_owned());
    event
}

/// One calendar, written to.
struct Desk<'a> {
    driver: &'a dyn Driver,
    calendar: CalendarRef,
}

impl Desk<'_> {
    async fn write(&self, id: &ProviderId, change: Change<'_>) -> Result<Written, DriverError> {
        let write = Write { provider_id: id, change, notify: Notify::None, message: None };
        self.driver.write(&self.calendar, &write).await
    }

    async fn held(&self, id: &ProviderId, change: Change<'_>) -> RemoteEvent {
        match self.write(id, change).await.unwrap() {
            Written::Held(remote) => *remote,
            Written::Gone => panic!("it is gone"),
        }
    }

    async fn read(&self, id: &ProviderId) -> RemoteChange {
        let changes = self.driver.read(&self.calendar, std::slice::from_ref(id)).await.unwrap();
        changes.into_iter().next().unwrap()
    }
}

/// What both sides agree on after an answer.
macro_rules! agreed {
    ($remote:expr) => {
        Agreed {
            event: &$remote.event,
            revision: $remote.revision.as_ref(),
            raw: $remote.raw.as_deref(),
            instances: &BTreeMap::new(),
        }
    };
}

/// `put` is another client's write of an object by name.
async fn is_written_to(name: &str, desk: &Desk<'_>, put: impl Fn(&str, &str)) {
    let id = EventId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
    let names = naming::names(ProviderKind::Caldav, &desk.calendar.provider_id, id);
    let ours = event(&names, "Review");

    // made once, however often it is made
    let first = desk.held(&names.provider_id, Change::Create(&ours)).await;
    let again = desk.held(&names.provider_id, Change::Create(&ours)).await;
    assert_eq!(version::of(&first.event), version::of(&ours), "{name}");
    assert_eq!(first.event, again.event, "{name}");

    // changed in place
    let retro = retitled(&first.event, "Retro");
    let change = Change::Update { held: agreed!(again), after: &retro };
    let second = desk.held(&names.provider_id, change).await;
    assert_eq!(version::of(&second.event), version::of(&retro), "{name}");

    // never over another client's change
    let theirs = second.raw.clone().unwrap().replace("SUMMARY:Retro", "SUMMARY:Theirs");
    put(names.provider_id.as_str().rsplit('/').next().unwrap(), &theirs);
    let ours = retitled(&second.event, "Ours");
    let change = Change::Update { held: agreed!(second), after: &ours };
    let error = desk.write(&names.provider_id, change).await.unwrap_err();
    assert_eq!(error.class, FailureClass::Conflict, "{name}");
    let change = Change::Delete { held: agreed!(second) };
    assert_eq!(
        desk.write(&names.provider_id, change).await.unwrap_err().class,
        FailureClass::Conflict,
        "{name}"
    );
    let RemoteChange::Upsert(found) = desk.read(&names.provider_id).await else { panic!("{name}") };
    assert_eq!(found.event.fields().unwrap().title.as_deref(), Some("Theirs"), "{name}");

    // deleted once, and then gone
    let change = Change::Delete { held: agreed!(found) };
    assert_eq!(desk.write(&names.provider_id, change).await.unwrap(), Written::Gone, "{name}");
    assert_eq!(desk.write(&names.provider_id, change).await.unwrap(), Written::Gone, "{name}");
    let change = Change::Update { held: agreed!(found), after: &ours };
    assert_eq!(
        desk.write(&names.provider_id, change).await.unwrap_err().class,
        FailureClass::Conflict,
        "{name}"
    );
    assert!(matches!(desk.read(&names.provider_id).await, RemoteChange::Removed { .. }), "{name}");
}

/// What a server that ignores preconditions cannot be asked to keep.
fn keeps_preconditions(profile: &Profile) -> bool {
    !profile.lax_if_match && !profile.ignores_if_none_match
}

#[tokio::test]
async fn every_server_takes_a_write_once_and_over_nothing_unseen() {
    let odd = [
        Profile { name: "no tag after put".to_owned(), etag_on_put: false, ..Profile::standard() },
        Profile { name: "closes".to_owned(), requests_per_connection: Some(2), ..Profile::standard() },
    ];
    for profile in Profile::presets().into_iter().filter(keeps_preconditions).chain(odd) {
        let name = profile.name.clone();
        let sandbox = sandbox().await;
        let spec = AccountSpec::new("ada", "secret").profile(profile).calendar(CalendarSpec::new("work"));
        let access = sandbox.create_account(spec).unwrap();
        let registry = registry(settings(&[sandbox.address().port()]));
        let mut typed = account(&access);
        typed.url = access.home.parse().unwrap();
        let (_, driver) = connect(&registry, typed).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let calendars = driver.list_calendars().await.unwrap();
        let provider_id = calendars[0].provider_id.clone();
        let desk = Desk {
            driver: driver.as_ref(),
            calendar: CalendarRef { provider_id, time_zone: None, setting: None },
        };

        is_written_to(&name, &desk, |object, text| {
            sandbox.put("ada", "work", object, text).unwrap();
        })
        .await;

        assert_eq!(sandbox.resources("ada", "work").unwrap(), [], "{name}");
    }
}

async fn a_real_server(name: &str, server: DavServer) {
    let url: url::Url = server.url().parse().unwrap();
    let work = server.create_calendar("work");
    let registry = registry(settings(&[url.port().unwrap()]));
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
    let (_, driver) = connect(&registry, typed).await.unwrap();
    let calendars = driver.list_calendars().await.unwrap();
    let found = calendars.iter().find(|found| work.ends_with(found.provider_id.as_str())).unwrap();
    let desk = Desk {
        driver: driver.as_ref(),
        calendar: CalendarRef { provider_id: found.provider_id.clone(), time_zone: None, setting: None },
    };

    is_written_to(name, &desk, |object, text| server.put(&work, object, text)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn radicale_takes_a_write_once_and_over_nothing_unseen() {
    let Some(server) = Radicale::start() else { return };
    a_real_server("radicale", server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn xandikos_takes_a_write_once_and_over_nothing_unseen() {
    let Some(server) = Xandikos::start() else { return };
    a_real_server("xandikos", server).await;
}
