//! Everything that one request or one run of a job changed is taken back at once, or what cannot be is listed (law 11).

use calfleet_domain::model::{EventId, Notify, OrganizationId, ProviderKind};
use calfleet_service::write::{EventInput, EventPatch, Mode, Reach, Terms, UndoneView, WriteError};
use serde_json::{Value, json};
use uuid::Uuid;

use super::office::{ALL, Office};
use crate::databases::{TestStore, on_both_databases};

on_both_databases![what_a_run_took_over_is_taken_back_but_for_what_was_changed_since];

fn meeting(title: &str) -> Value {
    json!({ "title": title, "start": "2026-10-06T10:00:00", "end": "2026-10-06T11:00:00", "time_zone": "UTC" })
}

fn called(office: &Office<'_>, request: &str) -> Terms {
    Terms { request_id: Some(request.to_owned()), ..office.desk.terms(Notify::None) }
}

async fn make(office: &Office<'_>, title: &str) -> EventId {
    office.desk.create(meeting(title), Notify::None).await.unwrap().event_id
}

fn outcomes(undone: &[UndoneView]) -> Vec<&str> {
    undone.iter().map(|one| one.outcome.as_ref()).collect()
}

#[tokio::test]
async fn what_one_request_changed_is_taken_back_and_that_again() {
    for provider in ALL {
        let database = TestStore::sqlite().await.unwrap();
        let office = Office::open(&database, provider).await;
        let service = &office.fleet().service;
        let (edited, deleted) = (make(&office, "Review").await, make(&office, "Standup").await);
        make(&office, "Retro").await;
        office.desk.push().await;
        let terms = called(&office, "batch-7");
        let patch: EventPatch = serde_json::from_value(json!({ "title": "Preview" })).unwrap();
        let input: EventInput = serde_json::from_value(meeting("Lunch")).unwrap();
        service.edit_event(edited, &patch, Reach::ALL, &terms).await.unwrap();
        service.delete_event(deleted, Reach::ALL, &terms).await.unwrap();
        service.create_event(office.desk.calendar().await, &input, &terms).await.unwrap();
        office.desk.push().await;
        assert_eq!(office.titles(), ["Lunch", "Preview", "Retro"], "{provider}");

        let trial = Terms { mode: Mode::Explain, ..called(&office, "trial") };
        let asked = service.undo_cause("batch-7", &trial).await.unwrap();
        let undone = service.undo_cause("batch-7", &called(&office, "undo-7")).await.unwrap();
        office.desk.push().await;

        assert_eq!(
            (outcomes(&asked), outcomes(&undone)),
            (vec!["undoable"; 3], vec!["undone"; 3]),
            "{provider}"
        );
        assert_eq!(office.titles(), ["Retro", "Review", "Standup"], "{provider}");
        let again = service.undo_cause("undo-7", &called(&office, "redo-7")).await.unwrap();
        office.desk.push().await;
        assert_eq!(outcomes(&again), ["undone"; 3], "{provider}");
        assert_eq!(office.titles(), ["Lunch", "Preview", "Retro"], "{provider}");
        office.assert_settled("all of it is told").await;
    }
}

async fn what_a_run_took_over_is_taken_back_but_for_what_was_changed_since(store: &TestStore) {
    let office = Office::open(store, ProviderKind::Caldav).await;
    let (service, organization) = (&office.fleet().service, office.fleet().organization);
    let (review, retro) = (make(&office, "Review").await, make(&office, "Retro").await);
    office.desk.push().await;
    for resource in office.fleet().sandbox.resources("ada", "work").unwrap() {
        let body = resource.body.replace("SUMMARY:Re", "SUMMARY:Their re");
        office.fleet().sandbox.put("ada", "work", &resource.name, &body).unwrap();
    }
    office.list().await;
    office.desk.edit(retro, json!({ "title": "Retrospective" }), Reach::ALL).await;
    office.desk.push().await;
    let taken = service.event_history(organization, review, 1).await.unwrap().remove(0);
    assert_eq!((taken.side.as_str(), taken.cause.as_str()), ("remote", "full_sync"));
    let run = taken.cause_id.unwrap();

    let undone = service.undo_cause(&run, &called(&office, "undo")).await.unwrap();
    office.desk.push().await;

    let of = |id: EventId| undone.iter().find(|one| one.event_id == id).unwrap();
    assert_eq!((of(review).outcome.as_ref(), undone.len()), ("undone", 2));
    assert_eq!(of(retro).outcome, "refused");
    assert!(of(retro).error.as_ref().is_some_and(|why| why.contains("title")), "{undone:?}");
    assert_eq!(office.titles(), ["Retrospective", "Review"]);
    let stranger = Terms { organization_id: OrganizationId(Uuid::from_u128(9)), ..called(&office, "theirs") };
    for (cause, terms) in [("nothing", called(&office, "undo")), (&run, stranger)] {
        let refused = service.undo_cause(cause, &terms).await;
        assert!(matches!(refused, Err(WriteError::NotFound(_))), "{refused:?}");
    }
}
