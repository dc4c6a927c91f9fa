//! Ada's calendar at the simulated Microsoft, written through a relay; Carol is there too, Bob is elsewhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{
    Body, End, Event, EventId, Fields, Notify, ProviderId, ProviderKind, RemoteChange, RemoteEvent, Uid,
    When, Zone,
};
use calfleet_domain::reconcile::version;
use calfleet_providers::driver::{Agreed, CalendarRef, Change, Driver, DriverError, Problem, Write, Written};
use calfleet_providers::naming::names;
use calfleet_sandbox::{MicrosoftAccountSpec, MicrosoftControl, Sandbox};
use chrono_tz::Tz;
use serde_json::Value;
use uuid::Uuid;

use super::super::relay::{Relay, Sent};
use super::super::sandbox;
use super::contract::{Asked, Contract};
use super::open_at;

pub(super) const ADA: &str = "ada@example.com";
pub(super) const CAROL: &str = "carol@example.com";
pub(super) const BOB: &str = "bob@elsewhere.test";

pub(super) struct Desk {
    pub(super) sandbox: Sandbox,
    pub(super) relay: Relay,
    pub(super) driver: Arc<dyn Driver>,
    pub(super) calendar: CalendarRef,
    who: String,
}

/// What came of a write, as far as tests ask.
pub(super) type Outcome = Result<Option<RemoteEvent>, (FailureClass, Problem)>;

/// The parts of a batch have no names of their own in the description: each is a request.
fn check(contract: &Contract, sent: &Sent) -> Vec<String> {
    let path = format!("/{}", sent.path);
    if path == "/$batch" {
        return Vec::new();
    }
    let (method, prefer) = (sent.method.as_str(), sent.prefer.as_str());
    let asked = Asked { method, path: &path, query: &sent.query, prefer, body: &sent.body };
    contract.faults(&asked)
}

impl Desk {
    pub(super) async fn open() -> Self {
        Self::of(ADA).await
    }

    /// With the eyes and hands of that account.
    pub(super) async fn of(who: &str) -> Self {
        let sandbox = sandbox().await;
        for account in [ADA, CAROL] {
            let spec = MicrosoftAccountSpec::new(account).zone("Romance Standard Time");
            sandbox.microsoft().create_account(spec).unwrap();
        }
        let contract = Contract::load();
        let check = move |sent: &Sent| check(&contract, sent);
        let relay = Relay::start(sandbox.address(), "/v1.0/", Box::new(check)).await;
        let (token, _) = sandbox.microsoft().tokens(who, "calfleet", &["Calendars.ReadWrite"]).unwrap();
        let base = format!("http://{}/microsoft/v1.0/", relay.address).parse().unwrap();
        let driver = open_at(&base, &token);
        let calendar = CalendarRef {
            provider_id: ProviderId(sandbox.microsoft().default_calendar(who).unwrap()),
            time_zone: None,
            setting: None,
        };
        Self { sandbox, relay, driver, calendar, who: who.to_owned() }
    }

    pub(super) fn microsoft(&self) -> MicrosoftControl {
        self.sandbox.microsoft()
    }

    /// Somebody does something with another client.
    pub(super) fn call(&self, who: &str, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.microsoft().call(who, method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// An event as it is held for the account.
    pub(super) fn stored(&self, id: &ProviderId) -> Option<Value> {
        self.microsoft().event(&self.who, id.as_str())
    }

    pub(super) fn count(&self) -> usize {
        self.microsoft().event_count(self.calendar.provider_id.as_str()).unwrap()
    }

    /// Whom the mails went to, and what they were about.
    pub(super) fn mails(&self) -> BTreeSet<(String, String)> {
        let mails = self.sandbox.mails();
        let count = mails.len();
        let told: BTreeSet<_> = mails.into_iter().map(|mail| (mail.to, format!("{:?}", mail.kind))).collect();
        assert_eq!(told.len(), count, "nobody is told twice");
        told
    }

    /// The event as it is now.
    pub(super) async fn held(&self, id: &str) -> RemoteEvent {
        let read = self.driver.read(&self.calendar, &[ProviderId::from(id)]).await.unwrap();
        match read.into_iter().next() {
            Some(RemoteChange::Upsert(event)) => *event,
            other => panic!("{other:?}"),
        }
    }

    async fn write(&self, id: &ProviderId, change: Change<'_>, notify: Notify) -> Outcome {
        let write = Write { provider_id: id, change, notify, message: None };
        outcome(self.driver.write(&self.calendar, &write).await)
    }

    pub(super) async fn create(&self, number: u128, event: &Event, notify: Notify) -> Outcome {
        self.write(&name(number), Change::Create(event), notify).await
    }

    pub(super) async fn update(&self, held: &RemoteEvent, after: &Event, notify: Notify) -> Outcome {
        let change = Change::Update { held: agreed(held), after };
        self.write(&held.provider_id, change, notify).await
    }

    /// Edits a copy of what is held, writes it, and says what is held from then on: what was wanted.
    pub(super) async fn edit(&self, held: &RemoteEvent, edit: impl FnOnce(&mut Fields)) -> RemoteEvent {
        let mut after = held.event.clone();
        edit(fields(&mut after));
        let now = self.update(held, &after, Notify::None).await.unwrap().unwrap();
        assert!(version::is_same(&after, &now.event), "{after:#?} became {:#?}", now.event);
        now
    }

    pub(super) async fn delete(&self, held: &RemoteEvent, notify: Notify) -> Outcome {
        let change = Change::Delete { held: agreed(held) };
        self.write(&held.provider_id, change, notify).await
    }

    /// Every request was one that Microsoft documents.
    pub(super) fn close(self) {
        assert_eq!(self.relay.faults(), Vec::<String>::new());
    }
}

fn outcome(written: Result<Written, DriverError>) -> Outcome {
    match written {
        Ok(Written::Held(event)) => Ok(Some(*event)),
        Ok(Written::Gone) => Ok(None),
        Err(error) => Err((error.class, error.problem)),
    }
}

pub(super) fn agreed(held: &RemoteEvent) -> Agreed<'_> {
    Agreed {
        event: &held.event,
        revision: held.revision.as_ref(),
        raw: held.raw.as_deref(),
        instances: &held.instances,
    }
}

/// The fields of a single event or a master.
pub(super) fn fields(event: &mut Event) -> &mut Fields {
    match &mut event.body {
        Body::Single(fields) => fields,
        Body::Series(series) => &mut series.master.as_mut().unwrap().fields,
    }
}

/// In Paris.
pub(super) fn at(wall: &str) -> When {
    When::Zoned { wall: wall.parse().unwrap(), zone: Zone::Iana(Tz::Europe__Paris) }
}

/// The name that a new event gets.
pub(super) fn name(number: u128) -> ProviderId {
    let calendar = ProviderId::from("calendar");
    names(ProviderKind::Microsoft, &calendar, EventId(Uuid::from_u128(number))).provider_id
}

pub(super) fn ours(body: Body) -> Event {
    Event { uid: Uid::from("ours"), body }
}

pub(super) fn review() -> Fields {
    let mut fields = Fields::new(at("2026-03-16T10:00:00"), End::At(at("2026-03-16T11:00:00")));
    fields.title = Some("Review".to_owned());
    fields
}

/// Both under the same name: Microsoft gives a new event another one.
pub(super) fn assert_same(wanted: &Event, held: &RemoteEvent) {
    let wanted = Event { uid: held.event.uid.clone(), ..wanted.clone() };
    assert!(version::is_same(&wanted, &held.event), "{wanted:#?} became {:#?}", held.event);
}
