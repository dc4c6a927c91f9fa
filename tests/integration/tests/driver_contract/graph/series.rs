//! Series written to Microsoft: the master, and instances that are objects of their own.

use std::collections::BTreeMap;

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{
    Body, End, Event, Fields, Master, Notify, Override, ParticipationStatus, RecurrenceId, RemoteEvent, Rule,
    Series,
};
use calfleet_domain::reconcile::{found_again, version};
use calfleet_providers::driver::Problem;
use calfleet_sandbox::{Fault, FaultRule};
use serde_json::{Value, json};

use super::desk::{ADA, CAROL, Desk, assert_same, at, ours, review};

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
    let moved = moved("2026-03-31T15:00:00", "2026-03-31T16:00:00");
    Series { master: Some(master), overrides: [(key("2026-03-30T10:00:00"), moved)].into() }
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

fn master(event: &mut Event) -> &mut Master {
    series(event).master.as_mut().unwrap()
}

/// A weekly series with one instance moved by hand and one left out, as both sides agree on it.
async fn agreed_series(desk: &Desk) -> RemoteEvent {
    let event = ours(Body::Series(weekly()));
    let made = desk.create(1, &event, Notify::None).await.unwrap().unwrap();
    assert_same(&event, &made);
    assert_eq!(made.instances.len(), 1);
    desk.relay.take();
    made
}

/// Starts of all instances as Outlook shows them, in UTC.
fn starts(desk: &Desk, held: &RemoteEvent) -> Vec<String> {
    let window = "startDateTime=2026-01-01T00:00:00Z&endDateTime=2027-01-01T00:00:00Z&$top=100";
    let path = format!("me/events/{}/instances?{window}", held.provider_id);
    let answer = desk.call(ADA, "GET", &path, &Value::Null);
    let items = answer["value"].as_array().unwrap();
    let start = |item: &Value| item["start"]["dateTime"].as_str().unwrap().chars().skip(5).take(11).collect();
    items.iter().map(start).collect()
}

#[tokio::test]
async fn a_series_is_made_with_its_exclusions_and_what_departs_from_it() {
    let desk = Desk::open().await;

    let made = agreed_series(&desk).await;

    assert_eq!(
        starts(&desk, &made),
        ["03-16T09:00", "03-31T13:00", "04-06T08:00", "04-13T08:00", "04-20T08:00"]
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
    master(&mut after).exclusions.insert(key("2026-04-20T10:00:00"));

    let now = desk.update(&held, &after, Notify::None).await.unwrap().unwrap();

    assert!(version::is_same(&after, &now.event), "{after:#?} became {:#?}", now.event);
    assert_eq!(starts(&desk, &held), ["03-16T09:00", "04-01T06:00", "04-14T08:00"]);
    let writes = desk.relay.take_writes();
    let writes: Vec<_> = writes.iter().filter(|sent| !sent.path.ends_with("$batch")).collect();
    let methods: Vec<_> = writes.iter().map(|sent| sent.method.as_str()).collect();
    assert_eq!(methods, ["PATCH", "DELETE", "PATCH", "DELETE"]);
    assert!(writes.iter().all(|sent| sent.if_match.is_some()));
    desk.close();
}

#[tokio::test]
async fn another_frame_keeps_what_departs_from_the_series() {
    let desk = Desk::open().await;
    let held = agreed_series(&desk).await;
    let mut after = held.event.clone();
    let fields = &mut master(&mut after).fields;
    (fields.start, fields.end) = (at("2026-03-17T11:00:00"), End::At(at("2026-03-17T12:00:00")));
    master(&mut after).rules = vec![Rule("FREQ=WEEKLY;COUNT=6".to_owned())];
    master(&mut after).exclusions = [key("2026-03-24T11:00:00")].into();
    let overrides = &mut series(&mut after).overrides;
    let over = overrides.remove(&key("2026-03-30T10:00:00")).unwrap();
    overrides.insert(key("2026-03-31T11:00:00"), over);

    let now = desk.update(&held, &after, Notify::None).await.unwrap().unwrap();

    assert!(version::is_same(&after, &now.event), "{after:#?} became {:#?}", now.event);
    assert_eq!(
        starts(&desk, &held),
        ["03-17T10:00", "03-31T13:00", "04-07T09:00", "04-14T09:00", "04-21T09:00"]
    );
    desk.close();
}

#[tokio::test]
async fn a_series_that_ends_sooner_keeps_what_is_left_of_it() {
    let desk = Desk::open().await;
    let held = agreed_series(&desk).await;
    let mut after = held.event.clone();
    master(&mut after).rules = vec![Rule("FREQ=WEEKLY;UNTIL=20260406T080000Z".to_owned())];

    let now = desk.update(&held, &after, Notify::None).await.unwrap().unwrap();

    assert!(version::is_same(&after, &now.event), "{after:#?} became {:#?}", now.event);
    assert_eq!(starts(&desk, &held), ["03-16T09:00", "03-31T13:00", "04-06T08:00"]);
    desk.close();
}

#[tokio::test]
async fn a_single_event_becomes_a_series_and_one_again() {
    let desk = Desk::open().await;
    let single = ours(Body::Single(review()));
    let held = desk.create(2, &single, Notify::None).await.unwrap().unwrap();
    let mut after = held.event.clone();
    after.body = Body::Series(weekly());

    let recurs = desk.update(&held, &after, Notify::None).await.unwrap().unwrap();
    assert!(version::is_same(&after, &recurs.event), "{after:#?} became {:#?}", recurs.event);
    let mut again = recurs.event.clone();
    again.body = Body::Single(review());
    let now = desk.update(&recurs, &again, Notify::None).await.unwrap().unwrap();

    assert!(version::is_same(&again, &now.event), "{again:#?} became {:#?}", now.event);
    assert_eq!(desk.count(), 1);
    desk.close();
}

/// Until it is done: as a worker does after each failure.
async fn finished(desk: &Desk, held: &RemoteEvent, after: &Event) -> RemoteEvent {
    let mut there = held.clone();
    for _ in 0..6 {
        let base = found_again(Some(held.event.clone()), after, &there.event).unwrap();
        let agreed = RemoteEvent { event: base, ..there.clone() };
        if let Ok(Some(now)) = desk.update(&agreed, after, Notify::None).await {
            return now;
        }
        there = desk.held(held.provider_id.as_str()).await;
    }
    panic!("it has no end");
}

#[tokio::test]
async fn a_change_of_a_series_that_is_interrupted_anywhere_is_finished_by_doing_it_again() {
    for fault in [Fault::AnswerLost, Fault::CutBefore] {
        for skip in 0..5 {
            let desk = Desk::open().await;
            let held = agreed_series(&desk).await;
            let mut after = held.event.clone();
            master(&mut after).fields.title = Some("Retro".to_owned());
            master(&mut after).rules = vec![Rule("FREQ=WEEKLY;COUNT=5".to_owned())];
            master(&mut after).exclusions.insert(key("2026-04-06T10:00:00"));
            for method in ["PATCH", "DELETE"] {
                desk.sandbox.inject(FaultRule::next(fault.clone()).method(method).after(skip));
            }

            let now = finished(&desk, &held, &after).await;

            assert!(version::is_same(&after, &now.event), "{after:#?} became {:#?}", now.event);
            assert_eq!(starts(&desk, &held), ["03-16T09:00", "03-31T13:00", "04-13T08:00"]);
            desk.close();
        }
    }
}

#[tokio::test]
async fn a_new_series_whose_making_was_interrupted_is_finished_by_making_it_again() {
    let desk = Desk::open().await;
    let event = ours(Body::Series(weekly()));
    desk.sandbox.inject(FaultRule::next(Fault::CutBefore).method("PATCH").times(2));

    let first = desk.create(3, &event, Notify::None).await;
    let made = desk.create(3, &event, Notify::None).await;
    desk.sandbox.clear_faults();
    let made = match made {
        Ok(made) => made,
        Err(_) => desk.create(3, &event, Notify::None).await.unwrap(),
    };

    assert_eq!(first.unwrap_err().0, FailureClass::Transient);
    assert_same(&event, &made.unwrap());
    assert_eq!(desk.count(), 1);
    desk.close();
}

#[tokio::test]
async fn an_instance_that_somebody_else_changed_meanwhile_is_not_overwritten() {
    let desk = Desk::open().await;
    let held = agreed_series(&desk).await;
    let theirs = held.instances.values().next().unwrap();
    let path = format!("me/events/{}", theirs.provider_id);
    desk.call(ADA, "PATCH", &path, &json!({ "subject": "Theirs" }));
    let mut after = held.event.clone();
    let ours = moved("2026-04-01T08:00:00", "2026-04-01T09:00:00");
    series(&mut after).overrides.insert(key("2026-03-30T10:00:00"), ours);

    let written = desk.update(&held, &after, Notify::None).await;

    assert_eq!(written.unwrap_err().0, FailureClass::Conflict);
    assert_eq!(desk.stored(&theirs.provider_id).unwrap()["subject"], "Theirs");
    desk.close();
}

#[tokio::test]
async fn an_instance_that_somebody_else_changed_meanwhile_is_not_lost_to_another_frame() {
    let desk = Desk::open().await;
    let mut plain = weekly();
    plain.overrides.clear();
    plain.master.as_mut().unwrap().exclusions.clear();
    let held = desk.create(4, &ours(Body::Series(plain)), Notify::None).await.unwrap().unwrap();
    let window = "startDateTime=2026-03-30T00:00:00Z&endDateTime=2026-03-31T00:00:00Z";
    let path = format!("me/events/{}/instances?{window}", held.provider_id);
    let instance = desk.call(ADA, "GET", &path, &Value::Null)["value"][0]["id"].clone();
    let path = format!("me/events/{}", instance.as_str().unwrap());
    desk.call(ADA, "PATCH", &path, &json!({ "subject": "Theirs" }));
    let mut after = held.event.clone();
    master(&mut after).rules = vec![Rule("FREQ=WEEKLY;COUNT=5".to_owned())];

    let written = desk.update(&held, &after, Notify::None).await;

    assert_eq!(written.unwrap_err().0, FailureClass::Conflict);
    let theirs = instance.as_str().unwrap().into();
    assert_eq!(desk.stored(&theirs).unwrap()["subject"], "Theirs");
    desk.close();
}

#[tokio::test]
async fn what_graph_cannot_do_is_refused_with_its_reason() {
    let desk = Desk::open().await;
    let held = agreed_series(&desk).await;
    let with = |edit: fn(&mut Event)| {
        let mut after = held.event.clone();
        edit(&mut after);
        after
    };
    for (after, reason) in [
        (with(|event| master(event).exclusions.clear()), "bring back a deleted instance of a series"),
        (
            with(|event| master(event).rules = vec![Rule("FREQ=WEEKLY;BYDAY=1MO".to_owned())]),
            "repeat an event by a rule of this kind",
        ),
        (
            with(|event| {
                let far: Fields = match moved("2026-04-07T08:00:00", "2026-04-07T09:00:00") {
                    Override::Changed(fields) => *fields,
                    Override::Cancelled => panic!("changed"),
                };
                let far = Override::Changed(Box::new(far));
                series(event).overrides.insert(key("2026-03-30T10:00:00"), far);
            }),
            "move an instance to or past the day of its neighbour",
        ),
    ] {
        let refused = desk.update(&held, &after, Notify::None).await;
        let Err((FailureClass::Permanent, Problem::Unsupported { action })) = refused else {
            panic!("{reason}: {refused:?}")
        };
        assert_eq!(action, reason);
    }
    desk.close();
}

#[tokio::test]
async fn a_guest_accepts_a_series_and_declines_one_instance_of_it() {
    let desk = Desk::of(CAROL).await;
    let at = |hour: u32| json!({ "dateTime": format!("2026-03-16T{hour}:00:00"), "timeZone": "Romance Standard Time" });
    let invitation = json!({ "subject": "Standup", "start": at(10), "end": at(11),
        "attendees": [{ "emailAddress": { "address": CAROL } }],
        "recurrence": {
            "pattern": { "type": "weekly", "interval": 1, "daysOfWeek": ["monday"] },
            "range": { "type": "numbered", "startDate": "2026-03-16", "numberOfOccurrences": 3 },
        } });
    desk.call(ADA, "POST", "me/events", &invitation);
    let events = desk.microsoft().events(desk.calendar.provider_id.as_str()).unwrap();
    let held = desk.held(events[0]["id"].as_str().unwrap()).await;
    let mut after = held.event.clone();
    let mut declined = master(&mut after).fields.clone();
    master(&mut after).fields.attendees[0].status = ParticipationStatus::Accepted;
    (declined.start, declined.end) =
        (super::desk::at("2026-03-23T10:00:00"), End::At(super::desk::at("2026-03-23T11:00:00")));
    declined.attendees[0].status = ParticipationStatus::Declined;
    series(&mut after).overrides.insert(key("2026-03-23T10:00:00"), Override::Changed(Box::new(declined)));
    desk.relay.take();

    let mut now = desk.update(&held, &after, Notify::None).await.unwrap().unwrap();

    let writes = desk.relay.take_writes();
    let verbs: Vec<_> = writes.iter().filter_map(|sent| sent.path.rsplit('/').next()).collect();
    assert_eq!(verbs, ["decline", "accept"]);
    assert_eq!(master(&mut now.event).fields.attendees[0].status, ParticipationStatus::Accepted);
    assert_eq!(master(&mut now.event).exclusions, [key("2026-03-23T10:00:00")].into());
    assert_eq!(desk.sandbox.mails().len(), 1, "the invitation");
    desk.close();
}
