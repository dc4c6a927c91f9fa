//! Series written to Google: the master, and instances that are objects of their own.

use std::collections::BTreeMap;

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{
    Attendee, Body, End, Event, Fields, Master, Notify, Override, ParticipationStatus, RecurrenceId,
    RemoteEvent, Rule, Series,
};
use calfleet_domain::reconcile::{found_again, version};
use calfleet_providers::driver::{CalendarRef, Change};
use calfleet_sandbox::{Fault, FaultRule};
use serde_json::{Value, json};

use super::desk::{ADA, BOB, CAROL, Desk, agreed, at, ours, review};

fn key(wall: &str) -> RecurrenceId {
    RecurrenceId::Wall(wall.parse().unwrap())
}

fn weekly() -> Series {
    let master = Master {
        fields: review(),
        rules: vec![Rule("FREQ=WEEKLY;COUNT=6".to_owned())],
        additions: BTreeMap::new(),
        exclusions: [key("2026-03-23T10:00:00")].into(),
    };
    Series { master: Some(master), overrides: BTreeMap::new() }
}

fn moved(start: &str, end: &str) -> Override {
    let mut fields = review();
    (fields.start, fields.end) = (at(start), End::At(at(end)));
    fields.title = Some("Review, moved".to_owned());
    Override::Changed(Box::new(fields))
}

fn series(event: &mut Event) -> &mut Series {
    match &mut event.body {
        Body::Series(series) => series,
        Body::Single(_) => panic!("no series"),
    }
}

fn master(event: &mut Event) -> &mut Fields {
    &mut series(event).master.as_mut().unwrap().fields
}

/// A weekly series with one instance moved by hand, as both sides agree on it.
async fn agreed_series(desk: &Desk) -> RemoteEvent {
    let mut wanted = weekly();
    wanted.overrides.insert(key("2026-03-30T10:00:00"), moved("2026-03-31T15:00:00", "2026-03-31T16:00:00"));
    let event = ours(1, Body::Series(wanted));
    let made = desk.create(&event, Notify::None).await.unwrap().unwrap();
    assert!(version::is_same(&event, &made.event), "{event:#?} became {:#?}", made.event);
    assert_eq!(made.instances.len(), 1);
    desk.relay.take();
    made
}

/// Starts of all instances as Google shows them.
fn starts(desk: &Desk, id: &str) -> Vec<String> {
    let path = format!("calendars/{ADA}/events/{id}/instances");
    let answer = desk.call(ADA, "GET", &path, &Value::Null);
    let items = answer["items"].as_array().unwrap();
    items.iter().map(|item| item["start"]["dateTime"].as_str().unwrap().chars().take(16).collect()).collect()
}

#[tokio::test]
async fn a_series_is_made_with_its_exclusions_and_what_departs_from_it() {
    let desk = Desk::open().await;

    let made = agreed_series(&desk).await;

    assert_eq!(
        starts(&desk, made.provider_id.as_str()),
        ["2026-03-16T10:00", "2026-03-31T15:00", "2026-04-06T10:00", "2026-04-13T10:00", "2026-04-20T10:00"]
    );
    desk.close();
}

#[tokio::test]
async fn one_instance_is_changed_another_cancelled_and_the_rest_left_alone() {
    let desk = Desk::open().await;
    let held = agreed_series(&desk).await;
    let mut after = held.event.clone();
    let overrides = &mut series(&mut after).overrides;
    overrides.insert(key("2026-03-30T10:00:00"), moved("2026-04-01T08:00:00", "2026-04-01T09:00:00"));
    overrides.insert(key("2026-04-06T10:00:00"), Override::Cancelled);
    overrides.insert(key("2026-04-13T10:00:00"), moved("2026-04-14T10:00:00", "2026-04-14T10:45:00"));
    series(&mut after).master.as_mut().unwrap().exclusions.insert(key("2026-04-20T10:00:00"));

    let now = desk.update(&held, &after, Notify::None).await.unwrap().unwrap();

    assert!(version::is_same(&after, &now.event), "{after:#?} became {:#?}", now.event);
    assert_eq!(
        starts(&desk, held.provider_id.as_str()),
        ["2026-03-16T10:00", "2026-04-01T08:00", "2026-04-14T10:00"]
    );
    let writes = desk.relay.take_writes();
    let methods: Vec<_> = writes.iter().map(|sent| sent.method.as_str()).collect();
    assert_eq!(methods, ["PATCH", "DELETE", "PATCH", "DELETE"]);
    assert!(
        writes.iter().all(|sent| sent.if_match.is_some() && !sent.path.ends_with(held.provider_id.as_str()))
    );
    desk.close();
}

#[tokio::test]
async fn another_frame_keeps_what_departs_from_the_series() {
    let desk = Desk::open().await;
    let held = agreed_series(&desk).await;
    let mut after = held.event.clone();
    (master(&mut after).start, master(&mut after).end) =
        (at("2026-03-17T11:00:00"), End::At(at("2026-03-17T12:00:00")));
    let series = series(&mut after);
    series.master.as_mut().unwrap().exclusions = [key("2026-03-24T11:00:00")].into();
    let over = series.overrides.remove(&key("2026-03-30T10:00:00")).unwrap();
    series.overrides.insert(key("2026-03-31T11:00:00"), over);
    series.overrides.insert(key("2026-04-07T11:00:00"), Override::Cancelled);

    desk.update(&held, &after, Notify::None).await.unwrap().unwrap();

    assert_eq!(
        starts(&desk, held.provider_id.as_str()),
        ["2026-03-17T11:00", "2026-03-31T15:00", "2026-04-14T11:00", "2026-04-21T11:00"]
    );
    assert_eq!(desk.sandbox.mails(), []);
    desk.close();
}

#[tokio::test]
async fn a_new_series_whose_making_was_interrupted_is_finished_by_making_it_again() {
    let desk = Desk::open().await;
    let mut wanted = weekly();
    wanted.overrides.insert(key("2026-03-30T10:00:00"), moved("2026-03-31T15:00:00", "2026-03-31T16:00:00"));
    let event = ours(1, Body::Series(wanted));
    desk.sandbox.inject(FaultRule::next(Fault::CutBefore).method("PATCH").times(2));

    let first = desk.create(&event, Notify::None).await;
    let second = desk.create(&event, Notify::None).await.unwrap().unwrap();

    assert_eq!(first.unwrap_err().0, FailureClass::Transient);
    assert!(version::is_same(&event, &second.event), "{event:#?} became {:#?}", second.event);
    desk.close();
}

#[tokio::test]
async fn a_frame_whose_writing_was_interrupted_is_finished_against_what_is_there_by_then() {
    let desk = Desk::open().await;
    let held = agreed_series(&desk).await;
    let mut after = held.event.clone();
    (master(&mut after).start, master(&mut after).end) =
        (at("2026-03-16T11:00:00"), End::At(at("2026-03-16T12:00:00")));
    series(&mut after).master.as_mut().unwrap().exclusions = [key("2026-03-23T11:00:00")].into();
    let over = series(&mut after).overrides.remove(&key("2026-03-30T10:00:00")).unwrap();
    series(&mut after).overrides.insert(key("2026-03-30T11:00:00"), over);
    desk.sandbox.inject(FaultRule::next(Fault::CutBefore).method("PATCH").after(1).times(2));

    let first = desk.update(&held, &after, Notify::All).await;
    let halfway = desk.held(held.provider_id.as_str()).await;
    let dropped = starts(&desk, held.provider_id.as_str());
    let base = found_again(Some(held.event.clone()), &after, &halfway.event).unwrap();
    desk.update(&halfway, &after, Notify::None).await.unwrap().unwrap();

    assert_eq!(first.unwrap_err().0, FailureClass::Transient);
    assert_eq!(dropped[2], "2026-04-06T11:00", "Google has dropped the moved instance");
    let Body::Series(base) = base.body else { panic!("no series") };
    assert!(base.overrides.is_empty(), "nobody took it away");
    assert_eq!(starts(&desk, held.provider_id.as_str())[1], "2026-03-31T15:00");
    desk.close();
}

#[tokio::test]
async fn an_instance_that_somebody_else_changed_is_a_conflict_and_stays() {
    let desk = Desk::open().await;
    let held = agreed_series(&desk).await;
    let instance = held.instances.values().next().unwrap().provider_id.clone();
    let path = format!("calendars/{ADA}/events/{instance}");
    desk.call(ADA, "PATCH", &path, &json!({ "summary": "Theirs" }));
    let mut one = held.event.clone();
    series(&mut one).overrides.insert(key("2026-03-30T10:00:00"), Override::Cancelled);
    let mut frame = held.event.clone();
    master(&mut frame).start = at("2026-03-16T09:30:00");

    for after in [one, frame] {
        let written = desk.update(&held, &after, Notify::None).await;
        assert_eq!(written.unwrap_err().0, FailureClass::Conflict);
    }

    assert_eq!(desk.stored(instance.as_str())["summary"], "Theirs");
    assert!(desk.relay.take_writes().is_empty());
    desk.close();
}

#[tokio::test]
async fn guests_of_a_series_are_told_once() {
    let desk = Desk::open().await;
    let mut wanted = weekly();
    wanted.master.as_mut().unwrap().fields.attendees = vec![Attendee::new(BOB), Attendee::new(CAROL)];
    let held = desk.create(&ours(1, Body::Series(wanted)), Notify::None).await.unwrap().unwrap();
    let mut after = held.event.clone();
    master(&mut after).title = Some("Review, weekly".to_owned());
    for (day, original) in [("2026-03-31", "2026-03-30"), ("2026-04-07", "2026-04-06")] {
        let mut fields = master(&mut after).clone();
        fields.start = at(&format!("{day}T10:00:00"));
        fields.end = End::At(at(&format!("{day}T11:00:00")));
        let id = key(&format!("{original}T10:00:00"));
        series(&mut after).overrides.insert(id, Override::Changed(Box::new(fields)));
    }

    let now = desk.update(&held, &after, Notify::All).await.unwrap().unwrap();

    assert!(version::is_same(&after, &now.event), "{after:#?} became {:#?}", now.event);
    let told: Vec<_> = desk.mails().into_iter().collect();
    assert_eq!(told, [BOB, CAROL].map(|guest| (guest.to_owned(), "Update".to_owned())));
    let policies: Vec<_> = desk
        .relay
        .take_writes()
        .iter()
        .map(|sent| sent.parameter("sendUpdates").unwrap().to_owned())
        .collect();
    assert_eq!(policies, ["none", "all", "none", "none"]);
    desk.close();
}

#[tokio::test]
async fn a_guest_answers_one_instance_and_the_series_stays_as_it_is() {
    let desk = Desk::of(CAROL).await;
    let body = json!({ "id": "series01", "summary": "Review", "recurrence": ["RRULE:FREQ=WEEKLY;COUNT=4"],
        "start": { "dateTime": "2026-03-16T10:00:00+01:00", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-03-16T11:00:00+01:00", "timeZone": "Europe/Paris" },
        "attendees": [{ "email": ADA, "responseStatus": "accepted" }, { "email": CAROL }] });
    desk.call(ADA, "POST", &format!("calendars/{ADA}/events"), &body);
    let carols = CalendarRef { provider_id: CAROL.into(), time_zone: None, setting: None };
    let held = desk.read(&carols, "series01").await;
    let mut after = held.event.clone();
    let mut fields = master(&mut after).clone();
    (fields.start, fields.end) = (at("2026-03-23T10:00:00"), End::At(at("2026-03-23T11:00:00")));
    fields.title = Some("Hijacked".to_owned());
    fields.attendees.iter_mut().for_each(|guest| guest.status = ParticipationStatus::Declined);
    let id = key("2026-03-23T10:00:00");
    series(&mut after).overrides.insert(id, Override::Changed(Box::new(fields)));
    series(&mut after).overrides.insert(key("2026-03-30T10:00:00"), Override::Cancelled);
    desk.relay.take();

    let change = Change::Update { held: agreed(&held), after: &after };
    let now = desk.write(&carols, &held.provider_id, change, Notify::All).await.unwrap().unwrap();

    let writes = desk.relay.take_writes();
    let mentions: Vec<_> = writes.iter().map(|sent| sent.mentions()).collect();
    assert_eq!(mentions, [["attendees", "attendeesOmitted"]]);
    let Body::Series(now) = &now.event.body else { panic!("no series") };
    let Some(Override::Changed(instance)) = now.overrides.get(&id) else { panic!("{now:?}") };
    let own = instance.attendees.iter().find(|guest| guest.address == CAROL).unwrap();
    assert_eq!((own.status, instance.title.as_deref()), (ParticipationStatus::Declined, Some("Review")));
    desk.close();
}
