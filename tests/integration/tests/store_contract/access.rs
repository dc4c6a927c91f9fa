//! Organizations never see one another (laws 24, 37).

use calfleet_domain::model::{ConnectionId, ConnectionState};
use calfleet_store::vault::{self, SecretField};
use calfleet_store::{LastProblem, Scope, StoreError, api_keys, calendars, connections, organizations, work};
use secrecy::SecretString;

use super::secrets::ring;
use crate::databases::{NOW, TestStore, new_id, on_both_databases};

on_both_databases! {
    a_foreign_connection_is_answered_like_an_unknown_one,
    the_fleet_finds_organizations_by_name_and_sees_nothing_else_of_them,
    a_key_opens_its_own_organization_until_it_is_taken_back,
}

async fn a_foreign_connection_is_answered_like_an_unknown_one(test: &TestStore) {
    let theirs = test.connection("ada").await;
    let tx = test.begin().await;
    vault::seal(&tx, &ring("a"), theirs, SecretField::Password, &SecretString::from("s"), NOW).await.unwrap();
    tx.commit().await.unwrap();

    for id in [theirs, ConnectionId(new_id())] {
        let tx = test.begin_in(test.there).await;
        let problem = LastProblem { code: "x".to_owned(), text: "y".to_owned(), at: NOW };
        let secret = vault::open(&tx, &ring("a"), id, SecretField::Password).await.unwrap();

        assert_eq!(connections::load(&tx, id).await.unwrap(), None);
        assert!(!connections::set_state(&tx, id, ConnectionState::Paused, NOW).await.unwrap());
        assert!(!connections::set_problem(&tx, id, Some(&problem), NOW).await.unwrap());
        assert!(calendars::list(&tx, id).await.unwrap().is_empty());
        assert!(secret.is_none());
        assert_eq!(vault::erase(&tx, id).await.unwrap(), 0);
        assert!(connections::list(&tx, None, 10).await.unwrap().is_empty());
        tx.commit().await.unwrap();
    }

    let tx = test.begin().await;
    let connection = connections::load(&tx, theirs).await.unwrap().unwrap();
    assert_eq!((connection.state, connection.last_problem), (ConnectionState::Active, None));
}

async fn the_fleet_finds_organizations_by_name_and_sees_nothing_else_of_them(test: &TestStore) {
    let tx = test.begin_fleet().await;

    assert_eq!(organizations::find(&tx, "here").await.unwrap(), Some(test.here));
    assert_eq!(organizations::find(&tx, "nowhere").await.unwrap(), None);
    assert_eq!(organizations::list(&tx).await.unwrap(), [test.here, test.there]);
    let refused = connections::list(&tx, None, 10).await;
    assert!(matches!(refused, Err(StoreError::NoOrganization { .. })));
}

async fn a_key_opens_its_own_organization_until_it_is_taken_back(test: &TestStore) {
    let tx = test.begin().await;
    let id = new_id().into();
    let key = api_keys::create(&tx, id, "crm", &["events.read".to_owned()], NOW).await.unwrap();
    tx.commit().await.unwrap();

    let found = api_keys::authenticate(&test.store, &key).await.unwrap().unwrap();
    assert_eq!((found.id, found.organization_id), (id, test.here));
    assert_eq!(found.scopes, ["events.read"]);
    let wrong = SecretString::from("cf_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(api_keys::authenticate(&test.store, &wrong).await.unwrap(), None);

    let tx = test.begin_in(test.there).await;
    assert!(!api_keys::revoke(&tx, id, NOW).await.unwrap());
    tx.commit().await.unwrap();
    assert!(api_keys::authenticate(&test.store, &key).await.unwrap().is_some());

    let tx = test.begin().await;
    assert!(api_keys::revoke(&tx, id, NOW).await.unwrap());
    assert_eq!(api_keys::list(&tx).await.unwrap()[0].revoked_at, Some(NOW));
    tx.commit().await.unwrap();
    assert_eq!(api_keys::authenticate(&test.store, &key).await.unwrap(), None);
}

/// Every statement here is run past the store: the wall is Postgres' own.
#[tokio::test]
async fn without_an_organization_the_application_sees_no_rows_in_any_table() {
    let Some(test) = TestStore::postgres().await.unwrap() else { return };
    let database = test.postgres.as_ref().unwrap();
    test.connection("ada").await;
    let tables = database
        .execute(
            "SELECT table_name FROM information_schema.columns
             WHERE table_schema = 'public' AND column_name = 'organization_id' ORDER BY 1",
        )
        .unwrap();
    assert!(tables.lines().count() >= 18, "{tables}");

    for table in tables.lines() {
        let as_app = |setting: &str| {
            database
                .execute(&format!("SET ROLE calfleet_app; {setting} SELECT count(*) FROM {table}"))
                .unwrap()
        };
        let forced = format!("SELECT relforcerowsecurity FROM pg_class WHERE relname = '{table}'");

        assert_eq!(database.execute(&forced).unwrap(), "t", "{table}");
        assert_eq!(as_app("").trim(), "0", "{table}");
        assert_eq!(as_app("SET calfleet.organization = '';").trim(), "0", "{table}");
    }
    let here = format!("SET ROLE calfleet_app; SET calfleet.organization = '{}';", test.here);
    assert_eq!(database.execute(&format!("{here} SELECT count(*) FROM connections")).unwrap().trim(), "1");
}

#[tokio::test]
async fn no_role_of_ours_gets_around_the_wall() {
    let Some(test) = TestStore::postgres().await.unwrap() else { return };
    let database = test.postgres.as_ref().unwrap();
    let refused = |sql: &str| database.execute(sql).unwrap_err().to_string();
    let (here, there) = (test.here, test.there);

    let foreign = format!(
        "SET ROLE calfleet_app; SET calfleet.organization = '{here}';
         INSERT INTO meetings (organization_id, id, uid, created_at) VALUES ('{there}', '{there}', 'x', 1)"
    );
    assert!(refused(&foreign).contains("row-level security"));
    for table in ["connections", "events", "secrets", "api_keys", "audit"] {
        let as_fleet = format!("SET ROLE calfleet_fleet; SELECT count(*) FROM {table}");
        assert!(refused(&as_fleet).contains("permission denied"), "{table}");
    }
    let as_login = "SET ROLE calfleet; SELECT count(*) FROM doors";
    assert!(refused(as_login).contains("permission denied"));
    let append_only = "SET ROLE calfleet_app; UPDATE audit SET actor = 'nobody'";
    assert!(refused(append_only).contains("permission denied"));
    let tx =
        test.store.begin(Scope::Organization(here), calfleet_store::Priority::Interactive).await.unwrap();
    assert!(connections::list(&tx, None, 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn single_statements_take_the_role_of_the_fleet() {
    let Some(test) = TestStore::postgres().await.unwrap() else { return };
    work::recover(&test.store, 1, NOW).await.unwrap();

    test.postgres.as_ref().unwrap().execute("REVOKE UPDATE ON work FROM calfleet_fleet").unwrap();
    let refused = work::recover(&test.store, 1, NOW).await.unwrap_err();

    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(why.contains("permission denied"), "{why}");
}
