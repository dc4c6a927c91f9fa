//! One spelling of the schema for both databases.
//!
//! The two agree on everything the schema needs except a few type names, which are written as placeholders.
//! JSON is `text` on both: it is only stored and read whole, and Postgres' `jsonb` would parse every document
//! on the way in and bring its members into another order.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// Runs statements written with placeholders.
///
/// | placeholder | Postgres | SQLite |
/// |---|---|---|
/// | `{uuid}` | `uuid` | `blob` of 16 bytes |
/// | `{bytes}` | `bytea` | `blob` |
/// | `{greatest}` | `greatest` | `max` |
/// | `{by_key}` | nothing | `WITHOUT ROWID`, for narrow tables that are read by their key |
pub(crate) async fn run(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    let [uuid, bytes, greatest, by_key] = match manager.get_database_backend() {
        DbBackend::Postgres => ["uuid", "bytea", "greatest", ""],
        _ => ["blob", "blob", "max", "WITHOUT ROWID"],
    };
    let sql = sql
        .replace("{uuid}", uuid)
        .replace("{bytes}", bytes)
        .replace("{greatest}", greatest)
        .replace("{by_key}", by_key);
    manager.get_connection().execute_unprepared(&sql).await?;
    Ok(())
}

/// Runs statements that only Postgres needs.
pub(crate) async fn run_on_postgres(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::Postgres {
        manager.get_connection().execute_unprepared(sql).await?;
    }
    Ok(())
}

/// Runs statements that only SQLite needs.
pub(crate) async fn run_on_sqlite(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::Sqlite {
        manager.get_connection().execute_unprepared(sql).await?;
    }
    Ok(())
}
