//! Transactions: what is committed, what is not, and what happens when two meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use calfleet_domain::model::{ConnectionId, ConnectionState};
use calfleet_store::{Priority, Scope, StoreError, connections, retry_when_busy};
use tokio::sync::Barrier;

use crate::databases::{NOW, TestStore, new_id, on_both_databases, settings};

on_both_databases! {
    what_is_dropped_changes_nothing,
    a_transaction_that_reads_cannot_write,
    many_writers_all_get_through,
    the_databases_clock_is_near_ours,
}

async fn what_is_dropped_changes_nothing(test: &TestStore) {
    let (dropped, kept) = (ConnectionId(new_id()), ConnectionId(new_id()));

    let tx = test.begin().await;
    connections::bind(&tx, dropped, &settings("dropped"), NOW).await.unwrap();
    drop(tx);
    let tx = test.store.begin(Scope::Organization(test.here), Priority::Background).await.unwrap();
    connections::bind(&tx, kept, &settings("kept"), NOW).await.unwrap();
    tx.commit().await.unwrap();

    let tx = test.store.read(Scope::Organization(test.here)).await.unwrap();
    assert_eq!(connections::load(&tx, dropped).await.unwrap(), None);
    assert!(connections::load(&tx, kept).await.unwrap().is_some());
}

async fn a_transaction_that_reads_cannot_write(test: &TestStore) {
    let tx = test.store.read(Scope::Organization(test.here)).await.unwrap();

    let refused = connections::bind(&tx, ConnectionId(new_id()), &settings("ada"), NOW).await;

    assert!(refused.as_ref().is_err_and(|error| !error.is_transient()), "{refused:?}");
}

async fn many_writers_all_get_through(test: &TestStore) {
    let shared = test.connection("shared").await;
    let mut writers = tokio::task::JoinSet::new();
    for index in 0..40 {
        let (store, here) = (test.store.clone(), test.here);
        let priority = if index % 2 == 0 { Priority::Interactive } else { Priority::Background };
        writers.spawn(async move {
            let tx = store.begin(Scope::Organization(here), priority).await?;
            // a read before the write: what a deferred transaction of SQLite would fail with
            connections::load(&tx, shared).await?;
            connections::bind(&tx, ConnectionId(new_id()), &settings(&index.to_string()), NOW).await?;
            tx.commit().await
        });
    }

    for result in writers.join_all().await {
        result.unwrap();
    }
    let tx = test.begin().await;
    assert_eq!(connections::list(&tx, None, 100).await.unwrap().len(), 41);
}

async fn the_databases_clock_is_near_ours(test: &TestStore) {
    let first = test.store.database_time().await.unwrap();
    let second = test.store.database_time().await.unwrap();

    assert!(second >= first && second.since(first).as_secs() < 60);
    assert!(first > NOW.minus(std::time::Duration::from_hours(366 * 24)));
}

#[tokio::test]
async fn two_that_lock_each_other_out_both_succeed_when_run_again() {
    let Some(test) = TestStore::postgres().await.unwrap() else { return };
    let (one, two) = (test.connection("one").await, test.connection("two").await);
    let (barrier, tries) = (Arc::new(Barrier::new(2)), Arc::new(AtomicU32::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for (first, second) in [(one, two), (two, one)] {
        let (store, here) = (test.store.clone(), test.here);
        let (barrier, tries) = (barrier.clone(), tries.clone());
        tasks.spawn(async move {
            let work = async || {
                let try_of_all = tries.fetch_add(1, Ordering::SeqCst);
                let tx = store.begin(Scope::Organization(here), Priority::Background).await?;
                connections::set_state(&tx, first, ConnectionState::Paused, NOW).await?;
                if try_of_all < 2 {
                    barrier.wait().await;
                }
                connections::set_state(&tx, second, ConnectionState::Paused, NOW).await?;
                tx.commit().await
            };
            retry_when_busy(work).await
        });
    }

    let results: Vec<Result<(), StoreError>> = tasks.join_all().await;

    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(tries.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn connections_that_the_database_cut_cost_the_next_transaction_nothing() {
    let Some(test) = TestStore::postgres().await.unwrap() else { return };
    let scope = Scope::Organization(test.here);
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(test.store.begin(scope, Priority::Interactive).await.unwrap());
    }
    for tx in open {
        tx.rollback().await.unwrap();
    }

    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'calfleet'
               AND datname = current_database()";
    let count = test.postgres.as_ref().unwrap().execute(cut).unwrap();

    assert!(count.parse::<u32>().unwrap() >= 5, "{count}");
    for _ in 0..10 {
        let tx = test.store.begin(scope, Priority::Interactive).await.unwrap();
        connections::list(&tx, None, 1).await.unwrap();
        tx.commit().await.unwrap();
    }
}
