//! The schema's history on Postgres; on SQLite it is tested beside itself.

use calfleet_harness::{Durability, Postgres};
use calfleet_migrations::{pending, revert, run};

#[tokio::test]
async fn databases_of_one_cluster_migrate_at_the_same_time_and_one_waits_for_another() {
    let Some(cluster) = Postgres::start(Durability::Relaxed) else { return };
    let databases = [cluster.empty_database().unwrap(), cluster.empty_database().unwrap()];
    let mut runs = tokio::task::JoinSet::new();
    for url in databases.iter().flat_map(|database| [database.url(), database.url(), database.url()]) {
        runs.spawn(async move { run(&url).await });
    }

    for result in runs.join_all().await {
        result.unwrap();
    }

    for database in &databases {
        let migrated = database.execute("SELECT count(*) FROM seaql_migrations").unwrap();
        assert_eq!(migrated.parse::<u32>().unwrap(), revert_and_repeat(&database.url()).await);
        assert_eq!(pending(&database.url_as("calfleet")).await.unwrap(), Vec::<String>::new());
    }
}

/// An owner that is no superuser but may create roles, as on a hosted Postgres.
#[tokio::test]
async fn an_owner_without_superuser_rights_can_migrate_and_work() {
    let Some(cluster) = Postgres::start(Durability::Relaxed) else { return };
    cluster.execute("CREATE ROLE hosted LOGIN CREATEROLE").unwrap();
    let database = cluster.empty_database().unwrap();
    database.execute("GRANT CREATE ON SCHEMA public TO hosted").unwrap();
    let url = database.url_as("hosted");

    run(&url).await.unwrap();

    let store = calfleet_store::Store::connect(&calfleet_store::Options::new(&url)).await.unwrap();
    let tx = store.begin(calfleet_store::Scope::Fleet, calfleet_store::Priority::Interactive).await.unwrap();
    assert!(calfleet_store::organizations::list(&tx).await.unwrap().is_empty());
}

/// Down to nothing and up again; how many migrations that were.
async fn revert_and_repeat(url: &str) -> u32 {
    let all = {
        revert(url, u32::MAX).await.unwrap();
        pending(url).await.unwrap()
    };
    assert_eq!(run(url).await.unwrap(), all);
    u32::try_from(all.len()).unwrap()
}
