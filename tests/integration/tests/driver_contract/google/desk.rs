//! Ada's calendar at the simulated Google, written through a relay; Carol is there too, Bob is elsewhere.

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
use calfleet_sandbox::{GoogleAccountSpec, GoogleControl, Sandbox};
use chrono_tz::Tz;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::relay::{Relay, Sent};
use super::super::sandbox;
use super::contract::Contract;
use super::{ada, open_at};

pub(super) const ADA: &str = "ada@example.com";
pub(super) const CAROL: &str = "carol@example.com";
pub(super) const BOB: &str = "bob@elsewhere.test";

const SCOPE: &str = "https://www.googleapis.com/auth/calendar.events https://www.googleapis.com/auth/calendar.calendarlist.readonly";

pub(super) struct Desk {
    pub(super) sandbox: Sandbox,
    pub(super) relay: Relay,
    pub(super) driver: Arc<dyn Driver>,
}

/// What came of a write, as far as tests ask.
pub(super) type Outcome = Result<Option<RemoteEvent>, (FailureClass, Problem)>;

impl Desk {
    pub(super) async fn open() -> Self {
        Self::of(ADA).await
    }

    /// With the eyes and hands of that account.
    pub(super) async fn of(who: &str) -> Self {
        let sandbox = sandbox().await;
        for account in [ADA, CAROL] {
            let spec = GoogleAccountSpec::new(account).zone("Europe/Paris");
            sandbox.google().create_account(spec).unwrap();
        }
        let contract = Contract::load();
        let check = move |sent: &Sent| contract.faults(&sent.method, &sent.path, &sent.query, &sent.body);
        let relay = Relay::start(sandbox.address(), "/calendar/v3/", Box::new(check)).await;
        let scopes: Vec<&str> = SCOPE.split(' ').collect();
        let (token, _) = sandbox.google().tokens(who, "calfleet", &scopes).unwrap();
        let base = format!("http://{}/google/calendar/v3/", relay.address).parse().unwrap();
        let driver = open_at(&base, &token);
        Self { sandbox, relay, driver }
    }

    pub(super) fn google(&self) -> GoogleControl {
        self.sandbox.google()
    }

    /// Somebody does something with another client.
    pub(super) fn call(&self, who: &str, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.google().call(who, method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// An event as Google holds it for Ada.
    pub(super) fn stored(&self, id: &str) -> Value {
        self.google().event(ADA, id).unwrap()
    }

    /// Whom the mails went to, and what they were about.
    pub(super) fn mails(&self) -> BTreeSet<(String, String)> {
        let mails = self.sandbox.mails();
        let count = mails.len();
        let told: BTreeSet<_> = mails.into_iter().map(|mail| (mail.to, format!("{:?}", mail.kind))).collect();
        assert_eq!(told.len(), count, "nobody is told twice");
        told
    }

    pub(super) async fn read(&self, calendar: &CalendarRef, id: &str) -> RemoteEvent {
        let read = self.driver.read(calendar, &[ProviderId::from(id)]).await.unwrap();
        match read.into_iter().next() {
            Some(RemoteChange::Upsert(event)) => *event,
            other => panic!("{other:?}"),
        }
    }

    /// Ada's event as it is now.
    pub(super) async fn held(&self, id: &str) -> RemoteEvent {
        self.read(&ada(), id).await
    }

    pub(super) async fn write(
        &self,
        calendar: &CalendarRef,
        id: &ProviderId,
        change: Change<'_>,
        notify: Notify,
    ) -> Outcome {
        let write = Write { provider_id: id, change, notify, message: None };
        outcome(self.driver.write(calendar, &write).await)
    }

    pub(super) async fn create(&self, event: &Event, notify: Notify) -> Outcome {
        let id = event.uid.as_str().trim_end_matches("@google.com");
        self.write(&ada(), &ProviderId::from(id), Change::Create(event), notify).await
    }

    pub(super) async fn update(&self, held: &RemoteEvent, after: &Event, notify: Notify) -> Outcome {
        let change = Change::Update { held: agreed(held), after };
        self.write(&ada(), &held.provider_id, change, notify).await
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
        self.write(&ada(), &held.provider_id, change, notify).await
    }

    /// Every request was one that Google documents.
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

/// An event of ours, with the names that a new one gets.
pub(super) fn ours(number: u128, body: Body) -> Event {
    let calendar = ProviderId::from(ADA);
    let names = names(ProviderKind::Google, &calendar, EventId(Uuid::from_u128(number)));
    Event { uid: Uid(names.uid.as_str().to_owned()), body }
}

pub(super) fn review() -> Fields {
    let mut fields = Fields::new(at("2026-03-16T10:00:00"), End::At(at("2026-03-16T11:00:00")));
    fields.title = Some("Review".to_owned());
    fields
}

/// An event with much that we do not model, as another client made it.
pub(super) fn foreign() -> Value {
    json!({ "id": "foreign01", "summary": "Review", "description": "<b>Bring</b> numbers",
        "start": { "dateTime": "2026-03-16T10:00:00+01:00", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-03-16T11:00:00+01:00", "timeZone": "Europe/Paris" },
        "attendees": [
            { "email": ADA, "organizer": true, "self": true, "responseStatus": "accepted" },
            { "email": BOB, "displayName": "Bob", "responseStatus": "tentative", "additionalGuests": 2, "comment": "late" },
            { "email": CAROL, "responseStatus": "needsAction", "optional": true },
        ],
        "attachments": [{ "fileUrl": "https://drive.example.com/1", "title": "Plan", "mimeType": "text/plain", "iconLink": "https://x.example.com/i", "fileId": "1" }],
        "hangoutLink": "https://meet.google.com/abc-defg-hij",
        "conferenceData": { "conferenceId": "abc-defg-hij", "signature": "s",
            "conferenceSolution": { "key": { "type": "hangoutsMeet" }, "name": "Google Meet" },
            "entryPoints": [{ "entryPointType": "video", "uri": "https://meet.google.com/abc-defg-hij", "label": "meet.google.com/abc-defg-hij" }] },
        "extendedProperties": { "private": { "theirs": "1" }, "shared": { "crm": "42" } },
        "gadget": { "title": "old" }, "guestsCanModify": true, "guestsCanInviteOthers": false,
        "reminders": { "useDefault": false, "overrides": [{ "method": "email", "minutes": 60 }, { "method": "popup", "minutes": 10 }] },
        "source": { "url": "https://app.example.com/1", "title": "App" } })
}
