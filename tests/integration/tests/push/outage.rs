//! A provider that is away for an hour, and one that refuses for good (P8): what is written meanwhile waits in its
//! order and arrives once; what is refused is given up at once with its reason, and taken up again by hand.

use std::time::Duration;

use calfleet_domain::model::{EventId, Notify, ProviderKind};
use calfleet_sandbox::{Fault, FaultRule};
use calfleet_service::Actor;
use calfleet_service::write::Reach;
use calfleet_store::events::EventState;
use calfleet_store::outbox::OutboxState;
use serde_json::{Value, json};

use super::office::{ALL, Office};
use crate::databases::TestStore;

async fn create(office: &Office<'_>, title: &str) -> EventId {
    let input = json!({ "title": title, "time_zone": "Europe/Paris", "reminders": [],
        "start": "2026-10-05T10:00:00", "end": "2026-10-05T11:00:00" });
    office.desk.create(input, Notify::None).await.unwrap().event_id
}

async fn retitle(office: &Office<'_>, id: EventId, title: &str) {
    office.desk.edit(id, json!({ "title": title }), Reach::ALL).await;
}

/// Requests that wrote something.
fn writes(office: &Office<'_>) -> usize {
    let is_write = |method: &str| ["PUT", "POST", "PATCH", "DELETE"].contains(&method);
    let entries = office.fleet().sandbox.log().entries();
    entries.iter().filter(|entry| is_write(&entry.method) && !entry.path.ends_with("token")).count()
}

async fn away_for_an_hour(provider: ProviderKind) {
    let store = TestStore::sqlite().await.unwrap();
    let office = Office::open(&store, provider).await;
    let (kept, gone) = (create(&office, "Kept").await, create(&office, "Gone").await);
    office.desk.push().await;
    let away = Fault::Status { code: 503, retry_after: None };
    office.fleet().sandbox.inject(FaultRule::next(away).always());

    let never = create(&office, "Never").await;
    let new = create(&office, "New").await;
    retitle(&office, kept, "Kept and changed").await;
    for minute in 0..60 {
        match minute {
            10 => retitle(&office, new, "New and changed").await,
            20 => drop(office.desk.delete(never, Reach::ALL).await),
            30 => retitle(&office, kept, "Kept and changed again").await,
            40 => drop(office.desk.delete(gone, Reach::ALL).await),
            50 => retitle(&office, new, "New and changed again").await,
            _ => {}
        }
        office.fleet().advance(Duration::from_mins(1));
        office.desk.push().await;
    }
    assert_eq!(office.outbox(OutboxState::Dead).await, [], "{provider}");
    let waiting = office.outbox(OutboxState::Pending).await;
    let events: std::collections::BTreeSet<_> = waiting.iter().map(|entry| entry.event_id).collect();
    assert!([kept, gone, new].iter().all(|id| events.contains(id)), "{provider}: {waiting:?}");

    office.fleet().sandbox.clear_faults();
    let before = writes(&office);
    office.fleet().advance(Duration::from_mins(30));
    office.desk.push().await;

    office.assert_settled("the provider is back").await;
    assert_eq!(office.titles(), ["Kept and changed again", "New and changed again"], "{provider}");
    assert_eq!(office.ours().await, office.titles(), "{provider}");
    assert_eq!(office.desk.row(never).await.state, EventState::Tombstone);
    let sent = writes(&office) - before;
    assert_eq!(sent, 3, "{provider}: one edit, one creation, one deletion");
    office.list().await;
    office.desk.push().await;
    assert_eq!(
        (writes(&office) - before, office.titles().len()),
        (sent, 2),
        "{provider}: nothing is sent again"
    );
}

#[tokio::test]
async fn what_is_written_while_a_provider_is_away_for_an_hour_arrives_once_and_in_order() {
    for provider in ALL {
        away_for_an_hour(provider).await;
    }
}

async fn refused(provider: ProviderKind) {
    let store = TestStore::sqlite().await.unwrap();
    let office = Office::open(&store, provider).await;
    office.fleet().sandbox.inject(office.rule(Fault::Status { code: 400, retry_after: None }).always());
    let id = create(&office, "Refused").await;
    retitle(&office, id, "Refused and changed").await;

    let before = writes(&office);
    office.desk.push().await;

    assert_eq!(writes(&office) - before, 1, "{provider}");
    let dead = office.outbox(OutboxState::Dead).await;
    assert_eq!(dead.len(), 2, "{provider}: the later edit is given up with it");
    for entry in &dead {
        let (code, text) = entry.problem.as_ref().unwrap();
        assert!(!code.is_empty() && text.len() > 20, "{provider}: {code} {text}");
    }
    office.fleet().advance(Duration::from_hours(24));
    office.desk.push().await;
    assert_eq!(writes(&office) - before, 1, "{provider}: it costs nothing from then on");
    assert_eq!(office.held(), Vec::<Value>::new());

    office.fleet().sandbox.clear_faults();
    let (service, organization) = (&office.fleet().service, office.fleet().organization);
    service.retry_intent(organization, dead[0].id, &Actor::operator()).await.unwrap();
    assert_eq!(office.outbox(OutboxState::Dead).await, []);
    office.desk.push().await;

    office.assert_settled("it was taken up again").await;
    assert_eq!(office.titles(), ["Refused and changed"], "{provider}");
    office.list().await;
    assert_eq!(office.ours().await, ["Refused and changed"], "{provider}");
}

#[tokio::test]
async fn what_is_refused_for_good_is_given_up_at_once_and_taken_up_by_hand() {
    for provider in ALL {
        refused(provider).await;
    }
}
