//! Connecting to the database, and beginning transactions.

use std::fmt;
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};

use crate::error::StoreError;
use crate::gate::{Gate, Priority};
use crate::postgres::Postgres;
use crate::transaction::{Scope, Tx};

/// Where the database is and how many connections may be made to it.
#[derive(Clone)]
pub struct Options {
    /// `sqlite:///path/to/file.db` or `postgres://user@host/database`; may hold a password, and is therefore never
    /// printed.
    pub url: String,
    /// Most connections of this process, at least two: to Postgres in all, to SQLite for reading, beside the one for
    /// writing.
    pub connections: u32,
    /// How long a transaction may wait for a connection.
    pub acquire_timeout: Duration,
    /// How long Postgres may take for one statement, before it is taken for silent and connected to anew.
    pub answer_timeout: Duration,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("connections", &self.connections).finish_non_exhaustive()
    }
}

impl Options {
    /// Ten connections, ten seconds for one to become free, half a minute for a statement.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections: 10,
            acquire_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
        }
    }

    /// Connecting so often.
    pub(crate) fn connect(&self, connections: u32) -> ConnectOptions {
        let mut connect = ConnectOptions::new(self.url.clone());
        connect
            .max_connections(connections)
            .min_connections(1)
            .acquire_timeout(self.acquire_timeout)
            // asking first would double the round trips; `begin` finds broken connections out by itself
            .test_before_acquire(false)
            .sqlx_logging(false);
        connect
    }
}

/// The database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    database: Databases,
}

#[derive(Debug, Clone)]
enum Databases {
    Postgres(Postgres),
    /// One connection writes, behind the gate; the others cannot.
    Sqlite {
        writer: DatabaseConnection,
        readers: DatabaseConnection,
        gate: Gate,
    },
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It writes.
    Write,
    /// It only reads.
    Read,
}

impl Store {
    /// Connects. The schema must be there already (`calfleet_migrations::run`).
    ///
    /// # Errors
    /// When the database cannot be reached, or the URL is of neither kind.
    pub async fn connect(options: &Options) -> Result<Self, StoreError> {
        let database = if options.url.starts_with("sqlite:") {
            let writer = connect_sqlite(options, 1, "OFF").await?;
            let readers = connect_sqlite(options, options.connections, "ON").await?;
            Databases::Sqlite { writer, readers, gate: Gate::default() }
        } else {
            Databases::Postgres(Postgres::connect(options).await?)
        };
        Ok(Self { database })
    }

    /// Whether the database is SQLite, which one process at a time works with and which has no wall between
    /// organizations.
    pub fn is_sqlite(&self) -> bool {
        matches!(self.database, Databases::Sqlite { .. })
    }

    /// Begins a transaction that writes. Dropped without [`Tx::commit`], it changes nothing.
    ///
    /// # Errors
    /// When the database cannot be reached or no connection becomes free in time.
    pub async fn begin(&self, scope: Scope, priority: Priority) -> Result<Tx, StoreError> {
        match &self.database {
            Databases::Postgres(postgres) => {
                let (inner, limit) = postgres.begin(scope, Mode::Write).await?;
                Ok(Tx::limited(inner, scope, limit))
            }
            Databases::Sqlite { writer, gate, .. } => {
                let pass = gate.enter(priority).await;
                // A deferred transaction that reads before it writes fails when another wrote in between.
                let options = TransactionOptions {
                    sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                    ..Default::default()
                };
                let inner = writer
                    .begin_with_options(options)
                    .await
                    .map_err(|error| StoreError::database("begin a transaction", error))?;
                Ok(Tx::new(inner, scope, Some(pass)))
            }
        }
    }

    /// For what the fleet says in one statement and may forget if the database's machine dies within a second:
    /// hand-outs, claims, finishes that changed nothing. Never for asks, nor for what a handler writes.
    ///
    /// On Postgres every statement commits by itself, in one round trip instead of four, and does not wait for the
    /// disk: only what stands in one statement happens together.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn single(&self, priority: Priority) -> Result<Tx, StoreError> {
        match &self.database {
            Databases::Postgres(postgres) => {
                let (pools, limit) = postgres.pools();
                Ok(Tx::single(pools.single, limit))
            }
            Databases::Sqlite { .. } => self.begin(Scope::Fleet, priority).await,
        }
    }

    /// Begins a transaction that only reads, from one snapshot on SQLite. There is nothing to commit.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn read(&self, scope: Scope) -> Result<Tx, StoreError> {
        match &self.database {
            Databases::Postgres(postgres) => {
                let (inner, limit) = postgres.begin(scope, Mode::Read).await?;
                Ok(Tx::limited(inner, scope, limit))
            }
            Databases::Sqlite { readers, .. } => {
                let inner =
                    readers.begin().await.map_err(|error| StoreError::database("begin to read", error))?;
                Ok(Tx::new(inner, scope, None))
            }
        }
    }

    /// What the database's clock shows; the fleet goes by it, whatever its machines' clocks show.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn database_time(&self) -> Result<Timestamp, StoreError> {
        const OPERATION: &str = "read the database's clock";
        let tx = match &self.database {
            Databases::Postgres(postgres) => {
                let (pools, limit) = postgres.pools();
                // no role is needed for it
                Tx::single(pools.whole, limit)
            }
            Databases::Sqlite { .. } => self.read(Scope::Fleet).await?,
        };
        let sql = if tx.is_postgres() {
            "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS at"
        } else {
            "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS integer) AS at"
        };
        let row = tx.one(OPERATION, sql, Vec::new()).await?;
        let row =
            row.ok_or_else(|| StoreError::database(OPERATION, DbErr::RecordNotFound(OPERATION.to_owned())))?;
        row.get("at").map(Timestamp)
    }

    /// Closes all connections once their transactions have ended.
    ///
    /// # Errors
    /// When the database library refuses.
    pub async fn close(self) -> Result<(), StoreError> {
        let failed = |error| StoreError::database("close the database", error);
        match self.database {
            Databases::Postgres(postgres) => postgres.close().await.map_err(failed),
            Databases::Sqlite { writer, readers, .. } => {
                readers.close().await.map_err(failed)?;
                writer.close().await.map_err(failed)
            }
        }
    }
}

/// Runs a whole transaction and, when it met another on its way (a deadlock, a busy file), once more.
///
/// # Errors
/// What `work` answers the second time, or at once if it was anything else.
pub async fn retry_when_busy<T, F, W>(mut work: W) -> Result<T, StoreError>
where
    W: FnMut() -> F,
    F: Future<Output = Result<T, StoreError>>,
{
    match work().await {
        Err(error) if error.is_busy() => work().await,
        other => other,
    }
}

async fn connect_sqlite(
    options: &Options,
    connections: u32,
    query_only: &'static str,
) -> Result<DatabaseConnection, StoreError> {
    let mut connect = options.connect(connections);
    connect.idle_timeout(None).max_lifetime(None).map_sqlx_sqlite_opts(move |options| {
        options
            .pragma("journal_mode", "WAL")
            .pragma("synchronous", "FULL")
            .pragma("foreign_keys", "ON")
            .pragma("query_only", query_only)
            // 16 MiB; the default of 2 MiB makes large pages of events spill
            .pragma("cache_size", "-16384")
            .pragma("temp_store", "MEMORY")
            // other processes, such as the command line, write rarely and briefly
            .busy_timeout(Duration::from_secs(5))
            .statement_cache_capacity(200)
    });
    Database::connect(connect).await.map_err(|error| StoreError::database("connect to the database", error))
}
