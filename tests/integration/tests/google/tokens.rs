//! Tokens that run out, are refreshed once, or are refused.

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::job::{Finish, Kind, WorkKey, WorkState};
use calfleet_domain::model::ConnectionState;
use calfleet_sandbox::{Fault, FaultRule};
use calfleet_service::tokens::Access;
use calfleet_service::{Actor, overview};
use calfleet_store::{Scope, work};

use super::fleet::{ADA, Fleet};
use crate::databases::{TestStore, on_both_databases};

on_both_databases![
    a_hundred_that_need_a_token_refresh_it_once,
    an_authorization_that_was_taken_back_is_known_by_the_providers_word_and_comes_back_whole,
    a_provider_in_trouble_is_never_called_a_credential_problem,
    a_token_that_the_api_refuses_is_refreshed_once_and_the_sync_goes_on,
    a_refusal_of_the_token_before_says_nothing_of_the_one_that_took_its_place,
    a_paused_connection_keeps_its_tokens_fresh_and_promises_no_poll,
    a_refresh_that_was_given_up_is_tried_by_the_sync_that_needs_it,
];

fn refreshes(fleet: &Fleet<'_>) -> usize {
    fleet.sandbox.log().entries().iter().filter(|entry| entry.path.ends_with("/google/token")).count() - 1
}

async fn a_hundred_that_need_a_token_refresh_it_once(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let id = fleet.connect().await;
    let connection = fleet.connection(id).await;
    for generation in 1..=3 {
        fleet.advance(Duration::from_hours(2));

        let tokens = fleet.service.tokens();
        let mut looking = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (tokens, connection) = (tokens.clone(), connection.clone());
            looking.spawn(async move { tokens.ensure(&connection).await.unwrap() });
        }
        let found = looking.join_all().await;

        assert!(
            found.iter().all(|access| matches!(access, Access::Ready { .. } | Access::Busy)),
            "{found:?}"
        );
        assert!(found.iter().any(|access| matches!(access, Access::Ready { .. })));
        assert_eq!(refreshes(&fleet), generation);
        assert!(matches!(tokens.ensure(&connection).await.unwrap(), Access::Ready { .. }));
    }
}

async fn an_authorization_that_was_taken_back_is_known_by_the_providers_word_and_comes_back_whole(
    database: &TestStore,
) {
    let fleet = Fleet::start(database).await;
    let id = fleet.connect().await;
    fleet.sync(id).await;

    fleet.google().revoke(ADA);
    fleet.advance(Duration::from_hours(2));
    let finish = fleet.sync(id).await;

    assert_eq!(finish.state, WorkState::Held);
    let connection = fleet.connection(id).await;
    assert_eq!(connection.state, ConnectionState::NeedsReauth);
    assert_eq!(connection.last_problem.unwrap().code, "access_revoked");
    assert_eq!(fleet.connect().await, id);
    assert_eq!(fleet.connection(id).await.state, ConnectionState::Active);
    assert_eq!(fleet.sync(id).await.state, WorkState::Active);
}

async fn a_provider_in_trouble_is_never_called_a_credential_problem(database: &TestStore) {
    for trouble in [
        Fault::Status { code: 500, retry_after: None },
        Fault::Status { code: 429, retry_after: None },
        Fault::Refused { code: 503, reason: "invalid_grant".to_owned() },
        Fault::Html,
        Fault::CutBefore,
    ] {
        let database = match database.postgres {
            Some(_) => TestStore::postgres().await.unwrap().unwrap(),
            None => TestStore::sqlite().await.unwrap(),
        };
        let fleet = Fleet::start(&database).await;
        let id = fleet.connect().await;
        fleet.sync(id).await;
        fleet.advance(Duration::from_hours(2));

        let told = format!("{trouble:?}");
        fleet.sandbox.inject(FaultRule::next(trouble).path("/google/token").always());
        let finish = fleet.sync(id).await;

        let connection = fleet.connection(id).await;
        assert_eq!((finish.state, connection.state), (WorkState::Active, ConnectionState::Active), "{told}");
        assert!(connection.last_problem.is_some(), "{told}");
        fleet.sandbox.clear_faults();
        fleet.advance(Duration::from_hours(1));
        fleet.sync(id).await;
        assert_eq!(fleet.connection(id).await.last_problem, None, "{told}");
    }
}

async fn a_token_that_the_api_refuses_is_refreshed_once_and_the_sync_goes_on(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let id = fleet.connect().await;
    fleet.sync(id).await;

    fleet.google().expire_access_tokens(ADA);
    fleet.sync(id).await;
    fleet.sync(id).await;

    let connection = fleet.connection(id).await;
    assert_eq!((connection.state, connection.last_problem), (ConnectionState::Active, None));
    assert_eq!(refreshes(&fleet), 1);
}

async fn a_refusal_of_the_token_before_says_nothing_of_the_one_that_took_its_place(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let id = fleet.connect().await;
    let connection = fleet.connection(id).await;
    let tokens = fleet.service.tokens();
    let opened_at = fleet.service.now();
    fleet.advance(Duration::from_hours(2));
    tokens.ensure(&connection).await.unwrap();

    tokens.distrust(&connection, opened_at).await.unwrap();
    tokens.ensure(&connection).await.unwrap();
    assert_eq!(refreshes(&fleet), 1);

    tokens.distrust(&connection, fleet.service.now()).await.unwrap();
    tokens.ensure(&connection).await.unwrap();
    assert_eq!(refreshes(&fleet), 2);
}

async fn a_paused_connection_keeps_its_tokens_fresh_and_promises_no_poll(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let id = fleet.connect().await;
    let connection = fleet.connection(id).await;
    let organization = connection.organization_id;

    fleet.sync(id).await;
    let looked = async || {
        let now = fleet.service.now();
        overview::connection(&database.store, organization, id, now).await.unwrap().unwrap()
    };
    let before = looked().await;
    assert!(before.status.next_at.is_some() && before.calendars[0].next_at.is_some(), "{before:?}");

    fleet.service.pause(organization, id, &Actor::operator()).await.unwrap();
    let paused = looked().await;
    fleet.advance(Duration::from_hours(2));

    assert_eq!((paused.status.next_at, paused.calendars[0].next_at), (None, None));

    let tx = fleet.service.store.read(Scope::Organization(organization)).await.unwrap();
    let refresh = work::load(&tx, WorkKey { kind: Kind::Refresh, target: id.0 }).await.unwrap();
    drop(tx);
    assert_eq!(refresh.unwrap().state, WorkState::Active);
    let access = fleet.service.tokens().ensure(&connection).await.unwrap();
    assert!(matches!(access, Access::Ready { .. }), "{access:?}");
    assert_eq!(refreshes(&fleet), 1);
}

async fn a_refresh_that_was_given_up_is_tried_by_the_sync_that_needs_it(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let id = fleet.connect().await;
    fleet.sync(id).await;
    fleet.advance(Duration::from_hours(2));
    let claim = fleet.claim(Kind::Refresh, id).await;
    let given_up = Finish { state: WorkState::Dead, ..Finish::done(Timestamp::NEVER) };
    work::finish(&database.store, &[(&claim, &given_up)], fleet.service.now()).await.unwrap();

    fleet.sync(id).await;

    assert_eq!((refreshes(&fleet), fleet.connection(id).await.last_problem), (1, None));
    let tx = database.store.read(Scope::Organization(claim.organization_id)).await.unwrap();
    assert_eq!(work::load(&tx, claim.key).await.unwrap().unwrap().state, WorkState::Active);
}
