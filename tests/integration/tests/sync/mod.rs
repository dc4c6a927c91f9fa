//! The sync job against a provider that does as it is told, on real databases.

mod freshness;
mod laws;
mod mishaps;
mod order;
mod pages;
mod parts;
mod real_servers;
mod server;
mod undelivered;
pub(crate) mod world;

/// Makes of `async fn name(on: Backend)` one test for SQLite and one for Postgres, where that is installed.
macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Backend::Sqlite).await;
            })*
        }

        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                if calfleet_harness::Postgres::shared().is_some() {
                    super::$name(super::Backend::Postgres).await;
                }
            })*
        }
    };
}
pub(crate) use on_both_databases;
