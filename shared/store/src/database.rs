//! Connecting to the database, and beginning transactions.

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};

use crate::error::StoreError;
use crate::gate::{Gate, Priority};
use crate::transaction::{Scope, Tx};

/// Where the database is and how many connections may be made to it.
#[derive(Debug, Clone)]
pub struct Options {
    /// `sqlite:///path/to/file.db` or `postgres://user@host/database`.
    pub url: String,
    /// Most connections of this process, at least two: to Postgres in all, to SQLite for reading, beside the one for
    /// writing.
    pub connections: u32,
    /// How long a transaction may wait for a connection.
    pub acquire_timeout: Duration,
}

impl Options {
    /// Ten connections, ten seconds.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), connections: 10, acquire_timeout: Duration::from_secs(10) }
    }
}

/// A tick, a batch of claims, one of finishes and a renewal at once.
const MOST_SINGLE: u32 = 4;

/// The database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    database: Databases,
    connections: u32,
}

#[derive(Debug, Clone)]
enum Databases {
    Postgres {
        pool: DatabaseConnection,
        /// A few of the connections: of the fleet's role, and for statements of which each commits by itself.
        single: DatabaseConnection,
    },
    /// One connection writes, behind the gate; the others cannot.
    Sqlite { writer: DatabaseConnection, readers: DatabaseConnection, gate: Gate },
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
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
            let few = (options.connections / 4).clamp(1, MOST_SINGLE);
            let rest = options.connections.saturating_sub(few).max(1);
            let pool = Box::pin(connect_postgres(connect_options(options, rest))).await?;
            Databases::Postgres { pool, single: Box::pin(connect_single(options, few)).await? }
        };
        Ok(Self { database, connections: options.connections })
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
            Databases::Postgres { pool, .. } => {
                let inner = self.begin_postgres(pool, scope, Mode::Write).await?;
                Ok(Tx::new(inner, scope, None))
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
            Databases::Postgres { single, .. } => Ok(Tx::single(single.clone())),
            Databases::Sqlite { .. } => self.begin(Scope::Fleet, priority).await,
        }
    }

    /// Begins a transaction that only reads, from one snapshot on SQLite. There is nothing to commit.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub async fn read(&self, scope: Scope) -> Result<Tx, StoreError> {
        match &self.database {
            Databases::Postgres { pool, .. } => {
                let inner = self.begin_postgres(pool, scope, Mode::Read).await?;
                Ok(Tx::new(inner, scope, None))
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
        let (pool, sql) = match &self.database {
            Databases::Postgres { pool, .. } => {
                (pool, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS at")
            }
            Databases::Sqlite { readers, .. } => {
                (readers, "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS integer) AS at")
            }
        };
        let read = async {
            let row = pool.query_one_raw(Statement::from_string(pool.get_database_backend(), sql)).await?;
            let row = row.ok_or_else(|| DbErr::RecordNotFound("the clock".to_owned()))?;
            row.try_get::<i64>("", "at")
        };
        read.await.map(Timestamp).map_err(|error| StoreError::database("read the database's clock", error))
    }

    /// Closes all connections once their transactions have ended.
    ///
    /// # Errors
    /// When the database library refuses.
    pub async fn close(self) -> Result<(), StoreError> {
        let failed = |error| StoreError::database("close the database", error);
        match self.database {
            Databases::Postgres { pool, single } => {
                single.close().await.map_err(failed)?;
                pool.close().await.map_err(failed)
            }
            Databases::Sqlite { writer, readers, .. } => {
                readers.close().await.map_err(failed)?;
                writer.close().await.map_err(failed)
            }
        }
    }

    /// Connections that broke while they were idle are found out here, and must not cost the caller anything:
    /// after a restart of Postgres all of them are.
    async fn begin_postgres(
        &self,
        pool: &DatabaseConnection,
        scope: Scope,
        mode: Mode,
    ) -> Result<DatabaseTransaction, StoreError> {
        let mut broken = 0;
        loop {
            let error = match enter(pool, scope, mode).await {
                Ok(inner) => return Ok(inner),
                Err(error) => error,
            };
            let is_acquired = !matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_));
            let error = StoreError::database("begin a transaction", error);
            if broken >= self.connections || !is_acquired || !error.is_transient() {
                return Err(error);
            }
            broken += 1;
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

/// `BEGIN`, then role, organization and mode in one statement.
async fn enter(pool: &DatabaseConnection, scope: Scope, mode: Mode) -> Result<DatabaseTransaction, DbErr> {
    let inner = pool.begin().await?;
    let (role, organization) = match scope {
        Scope::Organization(id) => ("calfleet_app", id.to_string()),
        Scope::Fleet => ("calfleet_fleet", String::new()),
    };
    let sql = match mode {
        Mode::Write => "SELECT set_config('role', $1, true), set_config('calfleet.organization', $2, true)",
        Mode::Read => {
            "SELECT set_config('role', $1, true), set_config('calfleet.organization', $2, true),
                    set_config('transaction_read_only', 'on', true)"
        }
    };
    let values = [role.into(), organization.into()];
    inner.query_one_raw(Statement::from_sql_and_values(DbBackend::Postgres, sql, values)).await?;
    Ok(inner)
}

/// Connects when the first statement comes: the role is there once the schema is.
async fn connect_single(options: &Options, connections: u32) -> Result<DatabaseConnection, StoreError> {
    let mut connect = connect_options(options, connections);
    connect
        .connect_lazy(true)
        // no `begin` finds out for its caller that a connection broke while it was idle
        .test_before_acquire_if_idle_for(Duration::from_secs(1))
        .map_sqlx_postgres_opts(|options| {
            options.options([("role", "calfleet_fleet"), ("synchronous_commit", "off")])
        });
    connect_postgres(connect).await
}

async fn connect_postgres(mut connect: ConnectOptions) -> Result<DatabaseConnection, StoreError> {
    connect
        // no longer than a firewall forgets an idle connection
        .idle_timeout(Duration::from_mins(5))
        .max_lifetime(Duration::from_mins(30));
    Database::connect(connect).await.map_err(|error| StoreError::database("connect to the database", error))
}

async fn connect_sqlite(
    options: &Options,
    connections: u32,
    query_only: &'static str,
) -> Result<DatabaseConnection, StoreError> {
    let mut connect = connect_options(options, connections);
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

fn connect_options(options: &Options, connections: u32) -> ConnectOptions {
    let mut connect = ConnectOptions::new(options.url.clone());
    connect
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(options.acquire_timeout)
        // asking first would double the round trips; `begin` finds broken connections out by itself
        .test_before_acquire(false)
        .sqlx_logging(false);
    connect
}
