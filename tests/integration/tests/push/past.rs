//! What an event said is known at every instant since it came to be, and who changed it, why and from what (SPEC X4).

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{EventId, Notify, ProviderKind};
use calfleet_service::past::{PastError, PastView};
use calfleet_service::write::Reach;
use serde_json::{Value, json};

use super::office::Office;
use super::world::World;
use crate::databases::{TestStore, on_both_databases};

on_both_databases![
    what_an_event_said_is_known_at_every_instant,
    what_is_private_now_was_never_public,
    where_the_history_is_gone_it_is_said,
];

fn review() -> Value {
    json!({ "title": "Review", "start": "2026-10-06T10:00:00", "end": "2026-10-06T11:00:00", "time_zone": "UTC" })
}

/// The instant now, and a minute goes by.
fn mark(office: &Office<'_>) -> Timestamp {
    let now = office.fleet().service.now();
    office.fleet().advance(Duration::from_mins(1));
    now
}

async fn at(office: &Office<'_>, id: EventId, at: Timestamp) -> Result<PastView, PastError> {
    office.fleet().service.event_at(office.fleet().organization, id, at).await
}

async fn title_at(office: &Office<'_>, id: EventId, instant: Timestamp) -> Option<String> {
    at(office, id, instant).await.unwrap().content.details.unwrap().title
}

/// Another client changes text of the only object.
fn replace(office: &Office<'_>, from: &str, to: &str) {
    let [resource] = &office.fleet().sandbox.resources("ada", "work").unwrap()[..] else {
        panic!("one object")
    };
    let body = resource.body.replace(from, to);
    office.fleet().sandbox.put("ada", "work", &resource.name, &body).unwrap();
}

async fn what_an_event_said_is_known_at_every_instant(store: &TestStore) {
    let office = Office::open(store, ProviderKind::Caldav).await;
    let before = mark(&office);
    let id = office.desk.create(review(), Notify::None).await.unwrap().event_id;
    office.desk.push().await;
    let made = mark(&office);
    office.desk.edit(id, json!({ "title": "Retro", "recurrence": ["FREQ=DAILY;COUNT=5"] }), Reach::ALL).await;
    office.desk.push().await;
    let edited = mark(&office);
    replace(&office, "SUMMARY:Retro", "SUMMARY:Theirs");
    office.list().await;
    let taken = mark(&office);
    office.desk.delete(id, Reach::ALL).await;
    office.desk.push().await;
    let deleted = mark(&office);

    let Err(PastError::NotYet { since }) = at(&office, id, before).await else { panic!("it was not there") };
    assert!(before < since && since <= made);
    assert_eq!(title_at(&office, id, made).await.as_deref(), Some("Review"));
    assert_eq!(at(&office, id, made).await.unwrap().content.recurrence, Vec::<String>::new());
    assert_eq!(title_at(&office, id, edited).await.as_deref(), Some("Retro"));
    assert_eq!(at(&office, id, edited).await.unwrap().content.recurrence, ["RRULE:FREQ=DAILY;COUNT=5"]);
    let view = at(&office, id, taken).await.unwrap();
    assert_eq!(title_at(&office, id, taken).await.as_deref(), Some("Theirs"));
    assert!(edited < view.since && view.until.is_some_and(|until| taken <= until));
    let Err(PastError::Deleted { since }) = at(&office, id, deleted).await else { panic!("it was deleted") };
    assert!(taken <= since && since <= deleted);
    let later = Timestamp(i64::MAX / 2);
    assert!(matches!(at(&office, id, later).await, Err(PastError::ToCome)));

    let history = office.fleet().service.event_history(office.fleet().organization, id, 10).await.unwrap();
    let told: Vec<_> = history.iter().map(|one| (one.side.as_str(), one.decision.as_str())).collect();
    assert_eq!(told, [("local", "delete"), ("remote", "take"), ("local", "edit"), ("local", "create")]);
    let take = &history[1];
    assert_eq!((take.actor.as_str(), take.cause.as_str()), ("provider", "full_sync"));
    assert!(take.cause_id.is_some() && take.revision.is_some(), "{take:?}");
    let [field] = &take.fields.as_ref().unwrap()[..] else { panic!("{take:?}") };
    assert_eq!(
        (field.what.as_str(), &field.before, &field.after),
        ("title", &Some("Retro".into()), &Some("Theirs".into()))
    );
    assert_eq!(history[2].actor, "operator");
    assert!(history[2].revision.is_some(), "an edit is made from a state of the provider's");
}

async fn what_is_private_now_was_never_public(store: &TestStore) {
    let office = Office::open(store, ProviderKind::Caldav).await;
    let id = office.desk.create(review(), Notify::None).await.unwrap().event_id;
    office.desk.push().await;
    let made = mark(&office);
    assert_eq!(title_at(&office, id, made).await.as_deref(), Some("Review"));

    office.desk.edit(id, json!({ "visibility": "private", "title": "Surgery" }), Reach::ALL).await;

    assert_eq!(title_at(&office, id, made).await.as_deref(), Some("Busy"));
    let history = office.fleet().service.event_history(office.fleet().organization, id, 10).await.unwrap();
    assert!(history.iter().all(|change| change.fields.is_none()), "{history:?}");
    let shown = serde_json::to_string(&history).unwrap();
    assert!(!shown.contains("Surgery") && !shown.contains("Review"), "{shown}");
}

async fn where_the_history_is_gone_it_is_said(store: &TestStore) {
    // this world writes rows without a history, which is what a purged one leaves
    let world = World::start(store).await;
    let id = world.create("Review").await;
    world.push().await;
    let made = world.now();
    world.advance(Duration::from_mins(1));

    let found = world.service.event_at(store.here, id, made).await;

    assert!(matches!(found, Err(PastError::Unknown { since: None })), "{found:?}");
}
