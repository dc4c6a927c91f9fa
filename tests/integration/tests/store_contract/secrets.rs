//! Secrets are bound to their row and to their generation (laws 22, 23).

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::ConnectionId;
use calfleet_store::vault::{self, KeyRing, SecretField, VaultError};
use secrecy::{ExposeSecret, SecretString};

use crate::databases::{NOW, TestStore, on_both_databases};

on_both_databases! {
    a_secret_is_read_back_and_replaced,
    swapped_values_do_not_open,
    an_older_value_does_not_open,
    keys_rotate_while_secrets_stay_readable,
    an_erased_secret_is_gone_and_its_value_never_opens_again,
    a_key_that_is_missing_or_another_of_its_id_is_found_out,
}

/// A ring on which both keys are and one seals.
pub(super) fn ring(current: &str) -> KeyRing {
    KeyRing::new(current, [("a".to_owned(), [1; 32]), ("b".to_owned(), [2; 32])]).unwrap()
}

const LATER: Timestamp = Timestamp(NOW.0 + 1);

async fn a_secret_is_read_back_and_replaced(test: &TestStore) {
    let id = test.connection("ada").await;
    assert_eq!(opened(test, id, &ring("a")).await.unwrap(), None);

    let first = sealed(test, id, "canary-é").await;
    assert_eq!(opened(test, id, &ring("a")).await.unwrap().as_deref(), Some("canary-é"));

    // the clock stands still, the generation rises all the same
    let second = sealed(test, id, "").await;
    assert!(second > first);
    assert_eq!(opened(test, id, &ring("a")).await.unwrap().as_deref(), Some(""));
    let shown = format!("{:?}", ring("a"));
    assert!(shown.contains("\"a\"") && !shown.contains("1, 1"), "{shown}");
}

async fn swapped_values_do_not_open(test: &TestStore) {
    let (ada, bob) = (test.connection("ada").await, test.connection("bob").await);
    sealed(test, ada, "hers").await;
    sealed(test, bob, "his").await;

    test.sql(
        "CREATE TABLE kept AS SELECT * FROM secrets;
         UPDATE secrets SET sealed =
             (SELECT kept.sealed FROM kept WHERE kept.connection_id <> secrets.connection_id)",
    )
    .await
    .unwrap();

    for id in [ada, bob] {
        let result = opened(test, id, &ring("a")).await;
        assert!(matches!(result, Err(VaultError::Broken { .. })), "{result:?}");
    }
}

async fn an_older_value_does_not_open(test: &TestStore) {
    let id = test.connection("ada").await;
    sealed(test, id, "old").await;
    test.sql("CREATE TABLE kept AS SELECT * FROM secrets").await.unwrap();
    sealed(test, id, "new").await;

    test.sql("UPDATE secrets SET sealed = (SELECT kept.sealed FROM kept)").await.unwrap();

    let result = opened(test, id, &ring("a")).await;
    assert!(matches!(result, Err(VaultError::Broken { .. })), "{result:?}");
}

async fn keys_rotate_while_secrets_stay_readable(test: &TestStore) {
    let mut ids = Vec::new();
    for account in ["a", "b", "c"] {
        let id = test.connection(account).await;
        sealed(test, id, account).await;
        ids.push((id, account));
    }
    let only_b = KeyRing::new("b", [("b".to_owned(), [2; 32])]).unwrap();
    let before = opened(test, ids[0].0, &only_b).await;
    assert!(matches!(before, Err(VaultError::UnknownKey { .. })), "{before:?}");

    let mut rotated = Vec::new();
    while rotated.last() != Some(&0) {
        let tx = test.begin().await;
        rotated.push(vault::rotate(&tx, &ring("b"), 2, LATER).await.unwrap());
        tx.commit().await.unwrap();
        for (id, text) in &ids {
            assert_eq!(opened(test, *id, &ring("b")).await.unwrap().as_deref(), Some(*text));
        }
    }

    assert_eq!(rotated, [2, 1, 0]);
    for (id, text) in ids {
        assert_eq!(opened(test, id, &only_b).await.unwrap().as_deref(), Some(text));
    }
}

async fn an_erased_secret_is_gone_and_its_value_never_opens_again(test: &TestStore) {
    let id = test.connection("ada").await;
    sealed(test, id, "old").await;
    test.sql("CREATE TABLE kept AS SELECT * FROM secrets").await.unwrap();

    let tx = test.begin().await;
    assert_eq!(vault::erase(&tx, id).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(opened(test, id, &ring("a")).await.unwrap(), None);
    let tx = test.begin().await;
    let secret = SecretString::from("new");
    vault::seal(&tx, &ring("a"), id, SecretField::Password, &secret, LATER).await.unwrap();
    tx.commit().await.unwrap();
    test.sql("UPDATE secrets SET sealed = (SELECT kept.sealed FROM kept)").await.unwrap();

    let result = opened(test, id, &ring("a")).await;
    assert!(matches!(result, Err(VaultError::Broken { .. })), "{result:?}");
}

async fn a_key_that_is_missing_or_another_of_its_id_is_found_out(test: &TestStore) {
    let ids = async || vault::key_ids(&test.begin().await).await.unwrap();
    assert!(ids().await.is_empty());
    let id = test.connection("ada").await;
    sealed(test, id, "hers").await;
    let other = |id: &str| KeyRing::new(id, [(id.to_owned(), [9; 32])]).unwrap();

    let opens = async |ring: &KeyRing, id| vault::opens(&test.begin().await, ring, id).await.unwrap();

    assert!(ids().await.iter().eq(["a"]));
    assert!(opens(&ring("b"), "a").await && opens(&other("a"), "b").await);
    assert!(!opens(&other("a"), "a").await && !opens(&other("b"), "a").await);
    let twice = KeyRing::new("a", [("a".to_owned(), [1; 32]), ("a".to_owned(), [2; 32])]);
    assert!(matches!(twice, Err(VaultError::DuplicateKey { .. })), "{twice:?}");
}

async fn sealed(test: &TestStore, id: ConnectionId, text: &str) -> i64 {
    let tx = test.begin().await;
    let secret = SecretString::from(text);
    let generation = vault::seal(&tx, &ring("a"), id, SecretField::Password, &secret, NOW).await.unwrap();
    tx.commit().await.unwrap();
    generation
}

async fn opened(test: &TestStore, id: ConnectionId, ring: &KeyRing) -> Result<Option<String>, VaultError> {
    let tx = test.begin().await;
    let opened = vault::open(&tx, ring, id, SecretField::Password).await?;
    Ok(opened.map(|opened| opened.secret.expose_secret().to_owned()))
}
