//! Instances that come back to their series, series that become single events, and instances without their series.

use std::collections::BTreeMap;

use calfleet_domain::model::{
    Body, End, Event, InstanceRef, Master, Notify, Override, ParticipationStatus, Parts, RecurrenceId,
    RemoteChange, RemoteEvent, Rule, Series, When,
};
use calfleet_domain::reconcile::version;
use calfleet_providers::driver::{CalendarRef, Change, Since};
use serde_json::json;
use tokio::sync::mpsc;

use super::desk::{ADA, BOB, CAROL, Desk, agreed, at, ours, review};

fn key(day: &str) -> RecurrenceId {
    RecurrenceId::Wall(format!("{day}T10:00:00").parse().unwrap())
}

/// Weekly on four Mondays: the second excluded, the third renamed, the fourth cancelled.
fn weekly() -> Series {
    let mut renamed = review();
    (renamed.start, renamed.end) = (at("2026-03-30T10:00:00"), End::At(at("2026-03-30T11:00:00")));
    renamed.title = Some("Retrospective".to_owned());
    let master = Master {
        fields: review(),
        rules: vec![Rule("FREQ=WEEKLY;COUNT=4".to_owned())],
        additions: BTreeMap::new(),
        exclusions: [key("2026-03-23")].into(),
    };
    let overrides = [(key("2026-03-30"), Override::Changed(Box::new(renamed)))].into();
    Series { master: Some(master), overrides }
}

fn series(event: &mut Event) -> &mut Series {
    match &mut event.body {
        Body::Series(series) => series,
        Body::Single(_) => panic!("no series"),
    }
}

fn shown(desk: &Desk, id: &str) -> Vec<(String, String)> {
    let path = format!("calendars/{ADA}/events/{id}/instances");
    let answer = desk.call(ADA, "GET", &path, &serde_json::Value::Null);
    let items = answer["items"].as_array().unwrap().iter();
    let said = |item: &serde_json::Value| {
        (
            item["start"]["dateTime"].as_str().unwrap().chars().take(10).collect(),
            item["summary"].as_str().unwrap().to_owned(),
        )
    };
    items.map(said).collect()
}

#[tokio::test]
async fn what_was_taken_out_of_a_series_comes_back() {
    let desk = Desk::open().await;
    let held = desk.create(&ours(1, Body::Series(weekly())), Notify::None).await.unwrap().unwrap();
    let mut after = held.event.clone();
    series(&mut after).overrides.insert(key("2026-04-06"), Override::Cancelled);
    let held = desk.update(&held, &after, Notify::None).await.unwrap().unwrap();
    let id = held.provider_id.as_str();
    assert_eq!(shown(&desk, id).len(), 2);

    let mut after = held.event.clone();
    series(&mut after).overrides.clear();
    series(&mut after).master.as_mut().unwrap().exclusions.clear();
    let now = desk.update(&held, &after, Notify::None).await.unwrap().unwrap();

    assert!(version::is_same(&after, &now.event), "{after:#?} became {:#?}", now.event);
    let days = ["2026-03-16", "2026-03-23", "2026-03-30", "2026-04-06"];
    assert_eq!(shown(&desk, id), days.map(|day| (day.to_owned(), "Review".to_owned())));
    desk.close();
}

#[tokio::test]
async fn a_single_event_becomes_a_series_and_single_again() {
    let desk = Desk::open().await;
    let held = desk.create(&ours(1, Body::Single(review())), Notify::None).await.unwrap().unwrap();
    let id = held.provider_id.clone();
    let event = |body| Event { uid: held.event.uid.clone(), body };

    let series = event(Body::Series(weekly()));
    let recurring = desk.update(&held, &series, Notify::None).await.unwrap().unwrap();
    let three = shown(&desk, id.as_str()).len();
    let single = event(Body::Single(review()));
    let again = desk.update(&recurring, &single, Notify::None).await.unwrap().unwrap();

    assert!(version::is_same(&series, &recurring.event), "{series:#?} became {:#?}", recurring.event);
    assert_eq!(three, 3);
    assert!(version::is_same(&single, &again.event), "{single:#?} became {:#?}", again.event);
    assert!(desk.relay.take_writes().iter().all(|sent| sent.method != "POST" || sent.if_match.is_none()));
    desk.close();
}

#[tokio::test]
async fn days_become_hours_and_a_series_of_days_keeps_its_exclusions() {
    let desk = Desk::open().await;
    let day = |text: &str| When::Date(text.parse().unwrap());
    let mut wanted = weekly();
    wanted.overrides.clear();
    let master = wanted.master.as_mut().unwrap();
    (master.fields.start, master.fields.end) = (day("2026-03-16"), End::At(day("2026-03-18")));
    master.rules = vec![Rule("FREQ=WEEKLY;UNTIL=20260406".to_owned())];
    master.exclusions = [RecurrenceId::Date("2026-03-23".parse().unwrap())].into();
    let event = ours(1, Body::Series(wanted));
    let held = desk.create(&event, Notify::None).await.unwrap().unwrap();
    assert!(version::is_same(&event, &held.event), "{event:#?} became {:#?}", held.event);

    let mut after = held.event.clone();
    let master = series(&mut after).master.as_mut().unwrap();
    (master.fields.start, master.fields.end) =
        (at("2026-03-16T10:00:00"), End::At(at("2026-03-16T11:00:00")));
    master.rules = vec![Rule("FREQ=WEEKLY;UNTIL=20260406T215959Z".to_owned())];
    master.exclusions = [key("2026-03-23")].into();
    let now = desk.update(&held, &after, Notify::None).await.unwrap().unwrap();

    assert!(version::is_same(&after, &now.event), "{after:#?} became {:#?}", now.event);
    assert_eq!(shown(&desk, held.provider_id.as_str()).len(), 3);
    desk.close();
}

#[tokio::test]
async fn a_deleted_series_is_gone_with_all_that_departed_from_it() {
    let desk = Desk::open().await;
    let held = desk.create(&ours(1, Body::Series(weekly())), Notify::None).await.unwrap().unwrap();

    let gone = desk.delete(&held, Notify::None).await;

    assert_eq!(gone, Ok(None));
    assert_eq!(desk.google().event_count(ADA).unwrap(), 0);
    desk.close();
}

/// What a guest holds who was asked to one instance only.
async fn invitation_to_one(desk: &Desk, carols: &CalendarRef) -> RemoteEvent {
    desk.google()
        .plant(
            CAROL,
            &json!({ "id": "series01_20260323T090000Z", "recurringEventId": "series01", "iCalUID": "series01@google.com",
                "originalStartTime": { "dateTime": "2026-03-23T10:00:00+01:00", "timeZone": "Europe/Paris" },
                "start": { "dateTime": "2026-03-23T10:00:00+01:00", "timeZone": "Europe/Paris" },
                "end": { "dateTime": "2026-03-23T11:00:00+01:00", "timeZone": "Europe/Paris" }, "summary": "Review",
                "organizer": { "email": ADA }, "attendees": [{ "email": BOB, "responseStatus": "accepted" },
                    { "email": CAROL, "self": true, "responseStatus": "needsAction" }] }),
        )
        .unwrap();
    let (members, _) = mpsc::channel(1);
    let page = desk.driver.list_changes(carols, &Since::Beginning, &members).await.unwrap();
    let Some(RemoteChange::Instance(instance)) = page.changes.into_iter().next() else {
        panic!("no instance")
    };
    let instance = *instance;
    let id = instance.recurrence_id;
    let over = Override::Changed(Box::new(instance.fields.unwrap()));
    let object = InstanceRef { provider_id: instance.provider_id, revision: instance.revision.clone() };
    RemoteEvent {
        provider_id: instance.series_id,
        created_as: None,
        revision: instance.revision,
        event: Event {
            uid: instance.uid.unwrap(),
            body: Body::Series(Series { master: None, overrides: [(id, over)].into() }),
        },
        parts: Parts::Whole,
        instances: [(id, object)].into(),
        role: instance.role,
        detail: instance.detail,
        raw: Some(instance.raw),
        changed_at: instance.changed_at,
        warnings: Vec::new(),
    }
}

#[tokio::test]
async fn an_invitation_to_one_instance_is_answered_and_declined_by_itself() {
    let desk = Desk::of(CAROL).await;
    let carols = CalendarRef { provider_id: CAROL.into(), time_zone: None, setting: None };
    let held = invitation_to_one(&desk, &carols).await;
    let mut after = held.event.clone();
    for over in series(&mut after).overrides.values_mut() {
        let Override::Changed(fields) = over else { panic!("cancelled") };
        fields.title = Some("Hijacked".to_owned());
        fields.attendees.iter_mut().for_each(|guest| guest.status = ParticipationStatus::Accepted);
    }
    desk.relay.take();

    let change = Change::Update { held: agreed(&held), after: &after };
    let answered = desk.write(&carols, &held.provider_id, change, Notify::None).await.unwrap().unwrap();
    let change = Change::Delete { held: agreed(&answered) };
    let deleted = desk.write(&carols, &held.provider_id, change, Notify::None).await;

    let fields = answered.event.fields().unwrap();
    let own = fields.attendees.iter().find(|guest| guest.address == CAROL).unwrap();
    assert_eq!((own.status, fields.title.as_deref()), (ParticipationStatus::Accepted, Some("Review")));
    assert_eq!((&answered.provider_id, answered.instances.len()), (&held.provider_id, 1));
    assert_eq!(deleted, Ok(None));
    let writes = desk.relay.take_writes();
    let sent: Vec<_> = writes.iter().map(|sent| (sent.method.as_str(), sent.mentions().len())).collect();
    assert_eq!(sent, [("PATCH", 2), ("DELETE", 0)]);
    desk.close();
}
