//! The history of the schema, one change a file, for SQLite and Postgres alike.
//!
//! A migration is history: it sees nothing of the code that uses the tables, so that it does the same for ever.

mod dialect;
mod tenancy;

mod m20261120_090000_create_roles;
mod m20261120_090100_create_organizations;
mod m20261120_090200_create_doors;
mod m20261120_090300_create_api_keys;
mod m20261120_090400_create_connections;
mod m20261120_090500_create_secrets;
mod m20261120_090600_create_calendars;
mod m20261120_090700_create_calendar_sync;
mod m20261120_090800_create_meetings;
mod m20261120_090900_create_events;
mod m20261120_091000_create_event_payloads;
mod m20261120_091100_create_overrides;
mod m20261120_091200_create_history;
mod m20261120_091300_create_conflicts;
mod m20261120_091400_create_outbox;
mod m20261120_091500_create_listing_pages;
mod m20261120_091600_create_listing_items;
mod m20261120_091700_create_runs;
mod m20261120_091800_create_audit;
mod m20261120_091900_create_workers;
mod m20261120_092000_create_work;
mod m20261120_092100_index_suspects;
mod m20261121_090000_index_problems;
mod m20261121_100000_create_occurrences;
mod m20261121_110000_create_grants;
mod m20261121_111000_create_connect_attempts;
mod m20261121_120000_create_watches;
mod m20261121_130000_create_departures;
mod m20261121_131000_create_grant_holders;
mod m20261121_132000_create_provider_clients;
mod m20261121_133000_remember_clients;
mod m20261121_134000_allow_service_accounts;
mod m20261121_160000_create_app_keys;
mod m20261121_170000_time_rechecks;
mod m20261121_180000_index_imports;
mod m20261121_181000_create_requests;
mod m20261121_182000_gate_writes;
mod m20261121_183000_carry_messages;
mod m20261121_184000_note_objects;
mod m20261121_190000_name_causes;
mod m20261121_200000_keep_settings;
mod m20261121_210000_keep_what_was_sent;

use std::error::Error;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm_migration::sea_orm::{ConnectOptions, Database, DatabaseConnection, DbBackend};

/// How long a server may take to be connected to; one that refuses is taken for one that is just starting.
const PATIENCE: Duration = Duration::from_secs(5);

/// All migrations, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261120_090000_create_roles::Migration),
            Box::new(m20261120_090100_create_organizations::Migration),
            Box::new(m20261120_090200_create_doors::Migration),
            Box::new(m20261120_090300_create_api_keys::Migration),
            Box::new(m20261120_090400_create_connections::Migration),
            Box::new(m20261120_090500_create_secrets::Migration),
            Box::new(m20261120_090600_create_calendars::Migration),
            Box::new(m20261120_090700_create_calendar_sync::Migration),
            Box::new(m20261120_090800_create_meetings::Migration),
            Box::new(m20261120_090900_create_events::Migration),
            Box::new(m20261120_091000_create_event_payloads::Migration),
            Box::new(m20261120_091100_create_overrides::Migration),
            Box::new(m20261120_091200_create_history::Migration),
            Box::new(m20261120_091300_create_conflicts::Migration),
            Box::new(m20261120_091400_create_outbox::Migration),
            Box::new(m20261120_091500_create_listing_pages::Migration),
            Box::new(m20261120_091600_create_listing_items::Migration),
            Box::new(m20261120_091700_create_runs::Migration),
            Box::new(m20261120_091800_create_audit::Migration),
            Box::new(m20261120_091900_create_workers::Migration),
            Box::new(m20261120_092000_create_work::Migration),
            Box::new(m20261120_092100_index_suspects::Migration),
            Box::new(m20261121_090000_index_problems::Migration),
            Box::new(m20261121_100000_create_occurrences::Migration),
            Box::new(m20261121_110000_create_grants::Migration),
            Box::new(m20261121_111000_create_connect_attempts::Migration),
            Box::new(m20261121_120000_create_watches::Migration),
            Box::new(m20261121_130000_create_departures::Migration),
            Box::new(m20261121_131000_create_grant_holders::Migration),
            Box::new(m20261121_132000_create_provider_clients::Migration),
            Box::new(m20261121_133000_remember_clients::Migration),
            Box::new(m20261121_134000_allow_service_accounts::Migration),
            Box::new(m20261121_160000_create_app_keys::Migration),
            Box::new(m20261121_170000_time_rechecks::Migration),
            Box::new(m20261121_180000_index_imports::Migration),
            Box::new(m20261121_181000_create_requests::Migration),
            Box::new(m20261121_182000_gate_writes::Migration),
            Box::new(m20261121_183000_carry_messages::Migration),
            Box::new(m20261121_184000_note_objects::Migration),
            Box::new(m20261121_190000_name_causes::Migration),
            Box::new(m20261121_200000_keep_settings::Migration),
            Box::new(m20261121_210000_keep_what_was_sent::Migration),
        ]
    }
}

/// The schema could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct MigrationError {
    /// What was attempted.
    operation: &'static str,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

/// Brings the database to the newest schema and says which migrations that took. Programs that do so at the
/// same time wait for one another.
///
/// `url` is `sqlite:///path/to/file.db` (created for its owner alone if absent) or `postgres://…`; on Postgres its role
/// owns the tables and must be allowed to create roles, or find them already there.
///
/// # Errors
/// When the database cannot be reached or refuses a statement; what was migrated before that stays.
pub async fn run(url: &str) -> Result<Vec<String>, MigrationError> {
    if let Some(file) = sqlite_file(url) {
        create(&file).map_err(failed("create the file of the database"))?;
    }
    let database = connect(url).await.map_err(failed("connect to the database"))?;
    lock(&database).await.map_err(failed("wait for other migrations to finish"))?;
    let pending = names(&database).await.map_err(failed("list pending migrations"))?;
    Migrator::up(&database, None).await.map_err(failed("migrate the database"))?;
    database.close().await.map_err(failed("close the database"))?;
    Ok(pending)
}

/// The migrations that the database lacks, oldest first; empty when its schema is the newest. A file that is not there
/// lacks them all, and is not made.
///
/// # Errors
/// When the database cannot be reached.
pub async fn pending(url: &str) -> Result<Vec<String>, MigrationError> {
    if sqlite_file(url).is_some_and(|file| !file.exists()) {
        return Ok(Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect());
    }
    let database = connect(url).await.map_err(failed("connect to the database"))?;
    let pending = names(&database).await.map_err(failed("list pending migrations"))?;
    database.close().await.map_err(failed("close the database"))?;
    Ok(pending)
}

/// Takes the last `steps` migrations back, newest first, and with them what their tables held.
///
/// # Errors
/// When the database cannot be reached or refuses a statement.
pub async fn revert(url: &str, steps: u32) -> Result<(), MigrationError> {
    let database = connect(url).await.map_err(failed("connect to the database"))?;
    lock(&database).await.map_err(failed("wait for other migrations to finish"))?;
    Migrator::down(&database, Some(steps)).await.map_err(failed("revert migrations"))?;
    database.close().await.map_err(failed("close the database"))
}

/// The file of an SQLite database; `None` for one in memory, or for Postgres.
pub fn sqlite_file(url: &str) -> Option<PathBuf> {
    if !url.starts_with("sqlite:") || url.contains(":memory:") || url.contains("mode=memory") {
        return None;
    }
    let options: SqliteConnectOptions = url.parse().ok()?;
    Some(options.get_filename().to_owned())
}

/// An empty file that only its owner can read; SQLite makes those beside it alike.
fn create(file: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created.map(drop),
    }
}

/// One connection, so that a lock of its session holds for everything that follows.
async fn connect(url: &str) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).acquire_timeout(PATIENCE).sqlx_logging(false);
    if url.starts_with("sqlite:") {
        options.map_sqlx_sqlite_opts(|options| options.pragma("journal_mode", "WAL"));
    }
    Database::connect(options).await
}

/// Held until the connection is closed. SQLite locks its file for each migration by itself.
async fn lock(database: &DatabaseConnection) -> Result<(), DbErr> {
    if database.get_database_backend() == DbBackend::Postgres {
        // the number is arbitrary, but must never change
        database.execute_unprepared("SELECT pg_advisory_lock(7221530)").await?;
    }
    Ok(())
}

async fn names(database: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let pending = Migrator::get_pending_migrations_read_only(database).await?;
    Ok(pending.iter().map(|migration| migration.name().to_owned()).collect())
}

fn failed<E: Error + Send + Sync + 'static>(operation: &'static str) -> impl FnOnce(E) -> MigrationError {
    move |source| MigrationError { operation, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_schema_goes_up_down_and_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("calfleet.db").display());

        let first = run(&url).await.unwrap();
        revert(&url, first.iter().map(|_| 1).sum()).await.unwrap();
        let again = pending(&url).await.unwrap();
        run(&url).await.unwrap();

        assert_eq!(first, again);
        assert_eq!(pending(&url).await.unwrap(), Vec::<String>::new());
        assert!(first.is_sorted());
    }
}
