//! From a request of the application to the event at Google and back: the service, the outbox, the jobs and the driver
//! against the simulated Google, on both databases.

use std::time::Duration;

use calfleet_domain::model::{CalendarId, ConnectionId, EventId, Notify, ParticipationStatus, ProviderId};
use calfleet_sandbox::{Fault, FaultRule};
use calfleet_service::Actor;
use calfleet_service::write::{Answer, EventInput, EventPatch, Outcome, Reach, Terms, WriteError};
use calfleet_store::events::{self, EventState, StoredRow};
use calfleet_store::outbox::{self, OutboxState};
use calfleet_store::{Scope, calendars};
use serde_json::{Value, json};

use super::fleet::{ADA, Fleet};
use crate::databases::{TestStore, on_both_databases};

on_both_databases![
    an_event_is_made_changed_and_deleted_at_google,
    a_lost_answer_of_a_create_makes_one_event_and_one_mail,
    one_instance_of_a_series_is_moved_and_one_called_off,
    both_sides_edit_different_fields_and_both_survive,
    an_invitation_is_answered_and_nothing_else_is_sent,
    an_account_connected_for_reading_refuses_writes_with_the_way_out,
];

pub(super) struct Desk<'a> {
    pub(super) fleet: Fleet<'a>,
    pub(super) connection: ConnectionId,
}

impl<'a> Desk<'a> {
    pub(super) async fn open(database: &'a TestStore) -> Self {
        let fleet = Fleet::start_writing(database).await;
        let connection = fleet.connect().await;
        fleet.sync(connection).await;
        Self { fleet, connection }
    }

    pub(super) async fn calendar(&self) -> CalendarId {
        let tx = self.fleet.database.store.read(self.scope()).await.unwrap();
        let calendars = calendars::list(&tx, self.connection).await.unwrap();
        calendars.into_iter().find(|calendar| calendar.remote.is_primary).unwrap().id
    }

    pub(super) fn scope(&self) -> Scope {
        Scope::Organization(self.fleet.database.here)
    }

    pub(super) fn terms(&self, notify: Notify) -> Terms {
        Terms { notify, ..Terms::of_person(self.fleet.database.here, Actor::operator()) }
    }

    pub(super) async fn create(&self, input: Value, notify: Notify) -> Result<Outcome, WriteError> {
        let input: EventInput = serde_json::from_value(input).unwrap();
        self.fleet.service.create_event(self.calendar().await, &input, &self.terms(notify)).await
    }

    pub(super) async fn edit(&self, id: EventId, patch: Value, reach: Reach) -> Outcome {
        let patch: EventPatch = serde_json::from_value(patch).unwrap();
        self.fleet.service.edit_event(id, &patch, reach, &self.terms(Notify::None)).await.unwrap()
    }

    pub(super) async fn delete(&self, id: EventId, reach: Reach) -> Outcome {
        self.fleet.service.delete_event(id, reach, &self.terms(Notify::None)).await.unwrap()
    }

    pub(super) async fn row(&self, id: EventId) -> StoredRow {
        let tx = self.fleet.database.store.read(self.scope()).await.unwrap();
        events::load(&tx, id).await.unwrap().unwrap()
    }

    pub(super) async fn remote(&self, id: EventId) -> Option<Value> {
        let ProviderId(name) = self.row(id).await.event.provider_id;
        self.fleet.google().event(ADA, &name).filter(|event| event["status"] != "cancelled")
    }

    pub(super) async fn push(&self) {
        self.fleet.push(self.connection).await;
    }

    pub(super) async fn is_settled(&self) -> bool {
        let tx = self.fleet.database.store.read(self.scope()).await.unwrap();
        outbox::list(&tx, OutboxState::Pending, None, 10).await.unwrap().is_empty()
            && outbox::list(&tx, OutboxState::Dead, None, 10).await.unwrap().is_empty()
    }

    /// Nothing is pending, and what Google shows is what we hold.
    pub(super) async fn is_in_step(&self, id: EventId) {
        assert!(self.is_settled().await);
        let before = self.row(id).await;
        assert_eq!((&before.event.base, before.event.edited_at), (&None, None));
        self.fleet.google().expire_sync_tokens(ADA).unwrap();
        self.fleet.sync(self.connection).await;
        assert_eq!(self.row(id).await, before);
    }
}

pub(super) fn review() -> Value {
    json!({
        "title": "Review", "time_zone": "Europe/Paris",
        "start": "2026-10-05T10:00:00", "end": "2026-10-05T11:00:00",
    })
}

async fn an_event_is_made_changed_and_deleted_at_google(database: &TestStore) {
    let desk = Desk::open(database).await;

    let id = desk.create(review(), Notify::None).await.unwrap().event_id;
    assert_eq!(desk.remote(id).await, None);
    desk.push().await;
    let remote = desk.remote(id).await.unwrap();
    assert_eq!(
        (&remote["summary"], &remote["start"]["timeZone"]),
        (&json!("Review"), &json!("Europe/Paris"))
    );
    desk.is_in_step(id).await;

    desk.edit(id, json!({ "title": "Retro", "location": "Room 1" }), Reach::ALL).await;
    desk.push().await;
    let remote = desk.remote(id).await.unwrap();
    assert_eq!((&remote["summary"], &remote["location"]), (&json!("Retro"), &json!("Room 1")));
    desk.is_in_step(id).await;

    desk.delete(id, Reach::ALL).await;
    desk.push().await;
    assert_eq!(desk.remote(id).await, None);
    assert_eq!(desk.row(id).await.state, EventState::Tombstone);
    assert!(desk.is_settled().await);
}

async fn a_lost_answer_of_a_create_makes_one_event_and_one_mail(database: &TestStore) {
    let desk = Desk::open(database).await;
    let before = desk.fleet.google().event_count(ADA).unwrap();
    let lost = FaultRule::next(Fault::AnswerLost).method("POST").path("*/events");
    desk.fleet.sandbox.inject(lost);
    let mut input = review();
    input["attendees"] = json!([{ "address": "bob@example.com" }]);

    let id = desk.create(input, Notify::All).await.unwrap().event_id;
    for _ in 0..3 {
        desk.push().await;
        desk.fleet.advance(Duration::from_mins(20));
    }

    assert_eq!(desk.fleet.google().event_count(ADA).unwrap(), before + 1);
    assert_eq!(desk.fleet.sandbox.mails().len(), 1, "{:?}", desk.fleet.sandbox.mails());
    desk.is_in_step(id).await;
}

async fn one_instance_of_a_series_is_moved_and_one_called_off(database: &TestStore) {
    let desk = Desk::open(database).await;
    let mut input = review();
    input["recurrence"] = json!(["RRULE:FREQ=WEEKLY;COUNT=4"]);
    let id = desk.create(input, Notify::None).await.unwrap().event_id;
    desk.push().await;
    let this = |day: &str| Reach {
        scope: calfleet_domain::model::EditScope::This,
        recurrence_id: Some(day.parse().unwrap()),
    };

    desk.edit(
        id,
        json!({ "start": "2026-10-13T15:00:00", "end": "2026-10-13T16:00:00" }),
        this("20261012T100000"),
    )
    .await;
    desk.delete(id, this("20261019T100000")).await;
    desk.push().await;

    let ProviderId(name) = desk.row(id).await.event.provider_id;
    let path = format!("calendars/{ADA}/events/{name}/instances");
    let (_, answer) = desk.fleet.google().call(ADA, "GET", &path, &Value::Null);
    let items = answer["items"].as_array().unwrap();
    let start = |item: &Value| item["start"]["dateTime"].as_str().unwrap().chars().take(16).collect();
    let starts: Vec<String> = items.iter().map(start).collect();
    assert_eq!(starts, ["2026-10-05T10:00", "2026-10-13T15:00", "2026-10-26T10:00"]);
    desk.is_in_step(id).await;
}

async fn both_sides_edit_different_fields_and_both_survive(database: &TestStore) {
    let desk = Desk::open(database).await;
    let id = desk.create(review(), Notify::None).await.unwrap().event_id;
    desk.push().await;
    let ProviderId(name) = desk.row(id).await.event.provider_id;
    let path = format!("calendars/{ADA}/events/{name}");
    let (status, _) = desk.fleet.google().call(ADA, "PATCH", &path, &json!({ "location": "Theirs" }));
    assert_eq!(status, 200);

    desk.edit(id, json!({ "title": "Ours" }), Reach::ALL).await;
    desk.push().await;

    let remote = desk.remote(id).await.unwrap();
    assert_eq!((&remote["summary"], &remote["location"]), (&json!("Ours"), &json!("Theirs")));
    desk.is_in_step(id).await;
}

async fn an_invitation_is_answered_and_nothing_else_is_sent(database: &TestStore) {
    let desk = Desk::open(database).await;
    let google = desk.fleet.google();
    google.create_account(calfleet_sandbox::GoogleAccountSpec::new("bob@example.com")).unwrap();
    let invitation = json!({
        "summary": "Theirs", "attendees": [{ "email": ADA }],
        "start": { "dateTime": "2026-10-06T12:00:00+02:00", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-10-06T13:00:00+02:00", "timeZone": "Europe/Paris" },
    });
    let (status, made) = google.call(
        "bob@example.com",
        "POST",
        "calendars/bob@example.com/events?sendUpdates=all",
        &invitation,
    );
    assert_eq!(status, 200, "{made}");
    desk.fleet.sync(desk.connection).await;
    let tx = desk.fleet.database.store.read(desk.scope()).await.unwrap();
    let rows = events::known(&tx, desk.calendar().await, None, 10).await.unwrap();
    drop(tx);
    let mut found = None;
    for known in rows {
        let row = desk.row(known.id).await;
        if row.event.event.as_ref().and_then(|event| event.fields()?.title.as_deref()) == Some("Theirs") {
            found = Some(known.id);
        }
    }
    let id = found.expect("the invitation has come in");
    desk.fleet.sandbox.clear_mails();

    let refused = desk
        .fleet
        .service
        .edit_event(
            id,
            &serde_json::from_value(json!({ "title": "Mine" })).unwrap(),
            Reach::ALL,
            &desk.terms(Notify::All),
        )
        .await;
    let answer = Answer { status: ParticipationStatus::Accepted, comment: Some("with pleasure".to_owned()) };
    desk.fleet.service.respond_to_event(id, &answer, Reach::ALL, &desk.terms(Notify::All)).await.unwrap();
    desk.push().await;

    assert!(matches!(refused, Err(WriteError::Refused(refusal)) if refusal.code == "not_the_organizer"));
    let event = google.event("bob@example.com", made["id"].as_str().unwrap()).unwrap();
    assert_eq!(event["attendees"][0]["responseStatus"], "accepted", "{event}");
    assert_eq!(event["summary"], "Theirs");
    assert_eq!(desk.fleet.sandbox.mails().len(), 1);
    desk.is_in_step(id).await;
}

async fn an_account_connected_for_reading_refuses_writes_with_the_way_out(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let connection = fleet.connect().await;
    fleet.sync(connection).await;
    let desk = Desk { fleet, connection };

    let refused = desk.create(review(), Notify::None).await.unwrap_err();

    assert!(
        matches!(&refused, WriteError::Refused(refusal) if refusal.code == "missing_scope"),
        "{refused:?}"
    );
    assert!(desk.is_settled().await);
}
