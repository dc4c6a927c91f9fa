//! What is written down about jobs, people and workers.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::{Kind, WorkKey};
use calfleet_domain::model::{RunId, WorkerId};
use calfleet_store::audit::{self, AuditEntry};
use calfleet_store::runs::{self, Run};
use calfleet_store::workers::{self, Worker};

use crate::databases::{NOW, TestStore, new_id, on_both_databases};

on_both_databases! {
    a_thousand_runs_are_read_back_with_all_that_is_absent,
    the_audit_is_read_newest_first_and_cannot_be_changed,
    workers_report_themselves_and_are_forgotten,
}

async fn a_thousand_runs_are_read_back_with_all_that_is_absent(test: &TestStore) {
    let connection = test.connection("ada").await;
    let run = |index: i32| {
        let has = index % 3 != 0;
        Run {
            id: RunId(new_id()),
            organization_id: test.here,
            connection_id: Some(connection),
            key: WorkKey { kind: Kind::Sync, target: connection.0 },
            started_at: NOW,
            finished_at: Timestamp(NOW.0 + i64::from(index)),
            attempt: index,
            class: has.then_some(FailureClass::Transient),
            message: has.then(|| format!("'{index}' \u{1F4C5} \\ \"")),
            requests: index,
            changes: (!has).then(|| serde_json::json!({"created": index})),
            trace: None,
        }
    };
    let mut written: Vec<_> = (0..1_000).map(run).collect();

    let tx = test.begin().await;
    runs::record(&tx, &written).await.unwrap();
    runs::record(&tx, &written[..5]).await.unwrap();
    tx.commit().await.unwrap();

    let tx = test.begin().await;
    written.reverse();
    assert_eq!(runs::list(&tx, connection, 2_000).await.unwrap(), written);
    assert_eq!(runs::list(&tx, connection, 3).await.unwrap(), written[..3]);
}

async fn the_audit_is_read_newest_first_and_cannot_be_changed(test: &TestStore) {
    let mut written = Vec::new();
    let tx = test.begin().await;
    for action in ["connection.connect", "connection.pause"] {
        let entry = AuditEntry {
            id: new_id(),
            at: NOW,
            actor: "operator".to_owned(),
            action: action.to_owned(),
            target_kind: "connection".to_owned(),
            target: Some(new_id()),
            detail: Some(serde_json::json!({"why": "asked"})),
        };
        audit::record(&tx, &entry).await.unwrap();
        written.insert(0, entry);
    }
    tx.commit().await.unwrap();

    let tx = test.begin().await;
    assert_eq!(audit::list(&tx, None, 10).await.unwrap(), written);
    assert_eq!(audit::list(&tx, Some(written[0].id), 10).await.unwrap(), written[1..]);
    drop(tx);
    // on Postgres the owner of the tables may; the product's own roles may not (see `access`)
    if test.store.is_sqlite() {
        let refused = test.sql("UPDATE audit SET actor = 'nobody'").await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
}

async fn workers_report_themselves_and_are_forgotten(test: &TestStore) {
    let worker = |name: &str, seen_at: i64| Worker {
        id: WorkerId(new_id()),
        name: name.to_owned(),
        version: "1".to_owned(),
        slots: 8,
        running: 0,
        is_draining: false,
        started_at: NOW,
        seen_at: Timestamp(NOW.0 + seen_at),
    };
    let (silent, alive) = (worker("a", 0), worker("b", 5));
    let busy = Worker { running: 3, is_draining: true, seen_at: Timestamp(NOW.0 + 9), ..alive.clone() };
    let tx = test.begin_fleet().await;
    for worker in [&silent, &alive, &busy] {
        workers::report(&tx, worker).await.unwrap();
    }

    assert_eq!(workers::list(&tx, Timestamp(NOW.0 + 1)).await.unwrap(), std::slice::from_ref(&busy));
    assert_eq!(workers::forget(&tx, None, Timestamp(NOW.0 + 1)).await.unwrap(), 1);
    assert_eq!(workers::forget(&tx, Some(busy.id), Timestamp::ZERO).await.unwrap(), 1);
    assert!(workers::list(&tx, Timestamp::ZERO).await.unwrap().is_empty());
}
