//! OAuth clients that organizations bring of their own, and the deployment's beside them.

use std::time::Duration;

use calfleet_domain::model::{ConnectionState, ProviderKind};
use calfleet_sandbox::GoogleHabits;
use calfleet_service::Actor;
use calfleet_service::service_accounts::ClientError;
use calfleet_store::departures::Events;
use calfleet_store::provider_clients::{self, ClientKind, Which};
use calfleet_store::vault::{KeyRing, VaultError};
use calfleet_store::{grants, vault};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::fleet::{ADA, Fleet, READ, USER};
use crate::databases::{NOW, TestStore, new_id, on_both_databases};

on_both_databases![
    an_organization_signs_in_refreshes_and_revokes_as_its_own_client_and_others_as_the_deployments,
    a_grant_goes_on_with_the_client_that_made_it,
    a_sign_in_is_finished_with_the_client_that_began_it,
    a_clients_secret_opens_in_its_own_place_only_and_its_key_can_be_changed,
];

fn client_of(page: &Url) -> String {
    page.query_pairs().find(|(name, _)| name == "client_id").unwrap().1.into_owned()
}

async fn set(fleet: &Fleet<'_>, name: &str, secret: &str) {
    let (at, secret) = (ProviderKind::Google, SecretString::from(secret));
    fleet.service.set_client(fleet.organization, at, name, &secret, &Actor::operator()).await.unwrap();
}

/// The simulated Google accepts this client secret only.
fn expect_secret(fleet: &Fleet<'_>, secret: &str) {
    let habits = GoogleHabits { client_secret: Some(secret.to_owned()), ..fleet.google().habits() };
    fleet.google().set_habits(habits);
}

async fn an_organization_signs_in_refreshes_and_revokes_as_its_own_client_and_others_as_the_deployments(
    database: &TestStore,
) {
    let mut fleet = Fleet::start(database).await;
    set(&fleet, "theirs", "their secret").await;
    expect_secret(&fleet, "their secret");

    assert_eq!(client_of(&fleet.begin(Some(USER)).await.unwrap()), "theirs");
    let id = fleet.connect().await;
    fleet.advance(Duration::from_hours(2));
    fleet.sync(id).await;

    let connection = fleet.connection(id).await;
    assert_eq!((connection.state, connection.last_problem), (ConnectionState::Active, None));
    fleet.organization = database.there;
    assert_eq!(client_of(&fleet.begin(Some(USER)).await.unwrap()), "calfleet");
    expect_secret(&fleet, "client secret");
    let other = fleet.connect().await;
    fleet.organization = database.here;
    fleet.service.disconnect(database.here, id, Events::Keep, &Actor::operator()).await.unwrap();
    fleet.leave(id).await;
    // the same account, but another client: another grant
    let revoked = fleet.sandbox.log().entries();
    assert_eq!(revoked.iter().filter(|entry| entry.path.ends_with("/google/revoke")).count(), 1);
    fleet.organization = database.there;
    fleet.advance(Duration::from_hours(2));
    fleet.sync(other).await;
    assert_eq!(fleet.connection(other).await.state, ConnectionState::Active);
}

async fn a_grant_goes_on_with_the_client_that_made_it(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    set(&fleet, "first", "1").await;
    let id = fleet.connect().await;
    set(&fleet, "second", "2").await;
    expect_secret(&fleet, "1");

    fleet.advance(Duration::from_hours(2));
    fleet.sync(id).await;

    assert_eq!(fleet.connection(id).await.last_problem, None);
    let names = async || {
        let clients = fleet.service.clients(fleet.organization).await.unwrap();
        clients
            .into_iter()
            .map(|one| (one.name, one.retired_at.is_none(), one.connections))
            .collect::<Vec<_>>()
    };
    assert_eq!(names().await, [("second".to_owned(), true, 0), ("first".to_owned(), false, 1)]);
    // a new secret of the same client serves the grants that it made
    set(&fleet, "first", "1 again").await;
    assert_eq!(names().await, [("first".to_owned(), true, 1)]);
    expect_secret(&fleet, "1 again");
    fleet.advance(Duration::from_hours(2));
    fleet.sync(id).await;
    assert_eq!(fleet.connection(id).await.last_problem, None);
    let (at, kind, actor) = (ProviderKind::Google, ClientKind::Oauth, Actor::operator());
    let remove = async || fleet.service.remove_client(fleet.organization, at, kind, &actor).await;
    assert!(matches!(remove().await, Err(ClientError::InUse(1))));
    fleet.service.disconnect(fleet.organization, id, Events::Keep, &actor).await.unwrap();
    assert!(matches!(remove().await, Err(ClientError::InUse(1))), "the grant is not revoked yet");
    fleet.leave(id).await;
    assert_eq!(remove().await.unwrap(), "first");
    assert!(matches!(remove().await, Err(ClientError::NotFound)));
}

async fn a_sign_in_is_finished_with_the_client_that_began_it(database: &TestStore) {
    let fleet = Fleet::start(database).await;
    set(&fleet, "first", "1").await;
    expect_secret(&fleet, "1");
    let page = fleet.begin(Some(USER)).await.unwrap();
    set(&fleet, "second", "2").await;

    let back = fleet.decide(&page, ADA, &["openid", "email", READ], "allow").await;
    let back = fleet.come_back(&back).await.unwrap();
    let id = fleet.confirm(Some(USER), &back).await.unwrap();

    let tx = database.begin().await;
    assert_eq!(grants::load(&tx, id).await.unwrap().unwrap().client_id.as_deref(), Some("first"));
}

async fn a_clients_secret_opens_in_its_own_place_only_and_its_key_can_be_changed(database: &TestStore) {
    let keys = |current: &str, ids: &[&str]| {
        let keys = ids.iter().map(|id| ((*id).to_owned(), [id.as_bytes()[0]; 32]));
        KeyRing::new(current, keys).unwrap()
    };
    let (a, both, b) = (keys("a", &["a"]), keys("b", &["a", "b"]), keys("b", &["b"]));
    let put = async |name: &str, secret: &str, kind| {
        let tx = database.begin().await;
        let (client, secret) = ((ProviderKind::Google, kind, name), SecretString::from(secret));
        provider_clients::set(&tx, &a, client, (new_id(), &secret), NOW).await.unwrap();
        tx.commit().await.unwrap();
    };
    let opened = async |ring: &KeyRing| -> Result<Option<String>, VaultError> {
        let tx = database.begin().await;
        let (at, kind) = (ProviderKind::Google, ClientKind::Oauth);
        let opened = provider_clients::open(&tx, ring, at, kind, Which::Current).await?;
        Ok(opened.map(|(_, secret)| secret.expose_secret().to_owned()))
    };
    put("client", "old", ClientKind::Oauth).await;
    database.sql("CREATE TABLE kept AS SELECT * FROM provider_clients").await.unwrap();
    put("client", "new", ClientKind::Oauth).await;
    put("robot@example.com", "key", ClientKind::ServiceAccount).await;

    let tx = database.begin().await;
    assert_eq!(provider_clients::rotate(&tx, &both).await.unwrap(), 2);
    assert_eq!(provider_clients::rotate(&tx, &both).await.unwrap(), 0);
    assert_eq!(vault::rotate(&tx, &both, 10, NOW).await.unwrap(), 0);
    tx.commit().await.unwrap();
    assert_eq!(opened(&b).await.unwrap().as_deref(), Some("new"));
    assert!(matches!(opened(&a).await, Err(VaultError::UnknownKey { .. })));
    for other in
        ["SELECT secret FROM kept", "SELECT secret FROM provider_clients WHERE kind = 'service_account'"]
    {
        let sql =
            format!("UPDATE provider_clients SET secret = ({other}), key_id = 'a' WHERE kind = 'oauth'");
        database.sql(&sql).await.unwrap();
        let broken = opened(&both).await;
        assert!(matches!(broken, Err(VaultError::Broken { .. })), "{other}: {broken:?}");
    }
}
