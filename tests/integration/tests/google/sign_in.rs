//! From the consent page to a connection, and everything that ends on the way.

use std::time::Duration;

use calfleet_domain::model::UserId;
use calfleet_service::sign_in::SignInError;
use calfleet_store::doors::{self, DoorKind, SecretHash};
use uuid::Uuid;

use super::fleet::{ADA, Fleet, READ, USER};
use crate::databases::{TestStore, on_both_databases};
use calfleet_sandbox::GoogleAccountSpec;

on_both_databases![
    nobody_else_finishes_a_sign_in_and_no_token_is_asked_for,
    a_state_is_good_for_one_return_and_ten_minutes,
    a_person_who_says_no_comes_back_with_the_reason,
    a_permission_that_was_left_out_is_named_and_nothing_is_stored,
    the_same_account_is_bound_again_and_another_one_is_refused_for_it,
    people_are_sent_back_only_where_the_operator_allows,
    what_nobody_came_back_for_is_forgotten_with_its_door,
];

const SCOPES: &[&str] = &["openid", "email", READ];

fn token_requests(fleet: &Fleet<'_>) -> usize {
    fleet.sandbox.log().entries().iter().filter(|entry| entry.path.ends_with("/google/token")).count()
}

async fn nobody_else_finishes_a_sign_in_and_no_token_is_asked_for(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let page = fleet.begin(Some(USER)).await.unwrap();
    let back = fleet.come_back(&fleet.decide(&page, ADA, SCOPES, "allow").await).await.unwrap();

    let mallory = fleet.confirm(Some(UserId(Uuid::from_u128(13))), &back).await;

    assert!(matches!(mallory, Err(SignInError::NotYours)), "{mallory:?}");
    assert_eq!(token_requests(&fleet), 0);
    let id = fleet.confirm(Some(USER), &back).await.unwrap();
    assert_eq!(fleet.connection(id).await.settings.user_id, Some(USER));
    let again = fleet.confirm(Some(USER), &back).await;
    assert!(matches!(again, Err(SignInError::NotYours)), "{again:?}");
    assert_eq!(token_requests(&fleet), 1);
}

async fn a_state_is_good_for_one_return_and_ten_minutes(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let page = fleet.begin(Some(USER)).await.unwrap();
    let callback = fleet.decide(&page, ADA, SCOPES, "allow").await;
    fleet.come_back(&callback).await.unwrap();

    let replayed = fleet.come_back(&callback).await;
    let page = fleet.begin(Some(USER)).await.unwrap();
    let late = fleet.decide(&page, ADA, SCOPES, "allow").await;
    fleet.advance(Duration::from_mins(11));
    let late = fleet.come_back(&late).await;

    assert!(matches!(replayed, Err(SignInError::Unknown)), "{replayed:?}");
    assert!(matches!(late, Err(SignInError::Unknown)), "{late:?}");
}

async fn a_person_who_says_no_comes_back_with_the_reason(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let page = fleet.begin(Some(USER)).await.unwrap();

    let back = fleet.come_back(&fleet.decide(&page, ADA, &[], "deny").await).await.unwrap();

    assert_eq!(back.as_str(), "https://app.example.com/calendar?connect_error=access_denied");
    assert_eq!(token_requests(&fleet), 0);
}

async fn a_permission_that_was_left_out_is_named_and_nothing_is_stored(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let page = fleet.begin(Some(USER)).await.unwrap();
    let back = fleet.come_back(&fleet.decide(&page, ADA, &["openid", "email"], "allow").await).await.unwrap();

    let confirmed = fleet.confirm(Some(USER), &back).await;

    let Err(SignInError::MissingScope { missing }) = confirmed else { panic!("{confirmed:?}") };
    assert_eq!(missing, ["calendar.readonly"]);
}

async fn the_same_account_is_bound_again_and_another_one_is_refused_for_it(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    fleet.google().create_account(GoogleAccountSpec::new("bob@example.com")).unwrap();
    let first = fleet.connect().await;

    let again = fleet.connect().await;
    let page = fleet.begin_for(Some(USER), Some(first)).await.unwrap();
    let back = fleet.come_back(&fleet.decide(&page, "bob@example.com", SCOPES, "allow").await).await.unwrap();
    let other = fleet.confirm(Some(USER), &back).await;

    assert_eq!(again, first);
    assert!(matches!(other, Err(SignInError::OtherAccount)), "{other:?}");
}

async fn people_are_sent_back_only_where_the_operator_allows(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let wanted = calfleet_service::sign_in::BeginSignIn {
        access: calfleet_service::sign_in::SignInAccess::Read,
        organization_id: database.here,
        user_id: None,
        provider: calfleet_domain::model::ProviderKind::Google,
        return_url: "https://evil.example.com/".parse().unwrap(),
        connection_id: None,
    };

    let refused = fleet.service.begin_sign_in(&wanted).await;

    assert!(matches!(refused, Err(SignInError::ReturnUrl)), "{refused:?}");
}

async fn what_nobody_came_back_for_is_forgotten_with_its_door(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    let page = fleet.begin(Some(USER)).await.unwrap();
    let state = page.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let hash = SecretHash::of(DoorKind::ConnectState, state.as_bytes());
    let is_open = async || {
        let tx = database.begin_fleet().await;
        doors::enter(&tx, DoorKind::ConnectState, &hash).await.unwrap().is_some()
    };
    assert!(is_open().await);

    fleet.advance(Duration::from_mins(11));
    fleet.begin(Some(USER)).await.unwrap();

    assert!(!is_open().await);
}
