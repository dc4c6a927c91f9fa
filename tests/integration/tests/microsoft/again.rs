//! The same account again (law 42): connected twice, or after it had left: no write, no double, everything bound.

use std::time::Duration;

use calfleet_domain::model::ConnectionId;
use calfleet_service::Actor;
use calfleet_store::departures::Events;
use calfleet_store::events::StoredRow;
use calfleet_store::history;

use super::inbound::{Standup, with_standup};
use super::{held, live};
use crate::databases::{TestStore, on_both_databases};
use crate::google::fleet::Fleet;

on_both_databases![
    an_account_that_is_connected_again_is_the_same,
    an_account_that_comes_back_is_bound_to_what_was_kept,
];

/// Nothing was written since: not there, not here.
async fn assert_untouched(fleet: &Fleet<'_>, id: ConnectionId, before: &[StoredRow]) {
    let after = live(fleet, id).await;
    let told = |rows: &[StoredRow]| {
        rows.iter().map(|row| (row.event.id, row.event.event.clone())).collect::<Vec<_>>()
    };
    assert_eq!(told(&after), told(before));
    let tx = fleet.database.store.read(fleet.scope()).await.unwrap();
    for row in before {
        let entries = history::of_event(&tx, row.event.id, 10).await.unwrap();
        let is_old = |at| fleet.service.now().since(at) > Duration::from_hours(1);
        assert!(entries.iter().all(|entry| is_old(entry.at)), "{entries:?}");
    }
    let log = fleet.sandbox.log().entries();
    let is_write = |method: &str, path: &str| method != "GET" && path.contains("/events");
    assert!(!log.iter().any(|entry| is_write(&entry.method, &entry.path)));
}

async fn an_account_that_is_connected_again_is_the_same(database: &TestStore) {
    let Standup { fleet, id, .. } = with_standup(database).await;
    let (before, shown) = (live(&fleet, id).await, held(&fleet, id).await);
    fleet.advance(Duration::from_hours(2));
    fleet.sandbox.log().clear();

    assert_eq!(fleet.connect().await, id);
    fleet.sync(id).await;

    assert_untouched(&fleet, id, &before).await;
    assert_eq!(held(&fleet, id).await, shown);
}

async fn an_account_that_comes_back_is_bound_to_what_was_kept(database: &TestStore) {
    let Standup { fleet, id, .. } = with_standup(database).await;
    let (before, shown) = (live(&fleet, id).await, held(&fleet, id).await);
    let left = fleet.service.disconnect(fleet.organization, id, Events::Keep, &Actor::operator()).await;
    assert!(left.unwrap());
    fleet.leave(id).await;
    fleet.advance(Duration::from_hours(30));
    fleet.sandbox.log().clear();

    assert_eq!(fleet.connect().await, id);
    fleet.sync(id).await;

    assert_untouched(&fleet, id, &before).await;
    assert_eq!(held(&fleet, id).await, shown);
}
