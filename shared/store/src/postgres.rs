//! The connections to Postgres, which are left behind when it falls silent.
//!
//! A machine that lost its power, or a firewall that forgot a connection, says nothing more, and the library waits for
//! it without end, even when a connection is given back. So each statement has a time limit; when one has passed it, the
//! pools as they are serve nobody any more, and the next transaction connects anew.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    RuntimeErr, Statement, TransactionTrait,
};

use crate::database::{Mode, Options};
use crate::error::StoreError;
use crate::transaction::Scope;

/// A tick, a batch of claims, one of finishes and a renewal at once.
const MOST_SINGLE: u32 = 4;

/// The pools in use.
#[derive(Debug, Clone)]
pub(crate) struct Postgres {
    options: Arc<Options>,
    current: Arc<RwLock<Pools>>,
}

/// Connections that were made together.
#[derive(Debug, Clone)]
pub(crate) struct Pools {
    pub(crate) whole: DatabaseConnection,
    /// A few of the connections: of the fleet's role, and for statements of which each commits by itself.
    pub(crate) single: DatabaseConnection,
    number: u64,
}

/// The limit of the statements of one transaction, and what becomes of the pools when it has passed.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    postgres: Postgres,
    /// The pools that the connection is of.
    number: u64,
}

impl Postgres {
    /// Connects.
    pub(crate) async fn connect(options: &Options) -> Result<Self, StoreError> {
        let pools = Pools {
            whole: Box::pin(connect(whole(options))).await?,
            single: Box::pin(connect(single(options))).await?,
            number: 0,
        };
        Ok(Self { options: Arc::new(options.clone()), current: Arc::new(RwLock::new(pools)) })
    }

    /// The pools, and the limit that holds for their statements.
    pub(crate) fn pools(&self) -> (Pools, Limit) {
        let pools = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let limit = Limit { postgres: self.clone(), number: pools.number };
        (pools, limit)
    }

    /// Begins a transaction. Connections that broke while they were idle are found out here, and must not cost the
    /// caller anything: after a restart of Postgres all of them are.
    pub(crate) async fn begin(
        &self,
        scope: Scope,
        mode: Mode,
    ) -> Result<(DatabaseTransaction, Limit), StoreError> {
        const OPERATION: &str = "begin a transaction";
        let mut broken = 0;
        loop {
            let (pools, limit) = self.pools();
            let error = match limit.hold(enter(&pools.whole, scope, mode)).await {
                Ok(inner) => return Ok((inner, limit)),
                Err(error) => error,
            };
            let is_acquired = !matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_));
            let error = StoreError::database(OPERATION, error);
            if broken >= self.options.connections || !is_acquired || !error.is_transient() {
                return Err(error);
            }
            broken += 1;
        }
    }

    /// Closes all connections once their transactions have ended.
    pub(crate) async fn close(&self) -> Result<(), DbErr> {
        let (pools, _) = self.pools();
        pools.single.close().await?;
        pools.whole.close().await
    }

    /// Leaves the pools of that number behind, unless somebody else did.
    async fn leave(&self, number: u64) -> Result<(), StoreError> {
        let mut whole = whole(&self.options);
        whole.connect_lazy(true);
        let number_of_new = number.saturating_add(1);
        let fresh = Pools {
            whole: Box::pin(connect(whole)).await?,
            single: Box::pin(connect(single(&self.options))).await?,
            number: number_of_new,
        };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.number == number {
            *current = fresh;
        }
        Ok(())
    }
}

impl Limit {
    /// What the database answers, if it does so in time.
    pub(crate) async fn hold<T>(&self, asked: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        let Postgres { options, .. } = &self.postgres;
        #[expect(clippy::disallowed_methods, reason = "the library has no limit of its own for statements")]
        let answered = tokio::time::timeout(options.answer_timeout, asked).await;
        if let Ok(answer) = answered {
            return answer;
        }
        tracing::warn!("the database fell silent; its connections are left behind");
        if let Err(error) = self.postgres.leave(self.number).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the database cannot be connected to anew"
            );
        }
        Err(DbErr::Conn(RuntimeErr::Internal("no answer in time".to_owned())))
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

fn few(options: &Options) -> u32 {
    (options.connections / 4).clamp(1, MOST_SINGLE)
}

fn whole(options: &Options) -> ConnectOptions {
    options.connect(options.connections.saturating_sub(few(options)).max(1))
}

/// Connects when the first statement comes: the role is there once the schema is.
fn single(options: &Options) -> ConnectOptions {
    let mut connect = options.connect(few(options));
    connect
        .connect_lazy(true)
        // no `begin` finds out for its caller that a connection broke while it was idle
        .test_before_acquire_if_idle_for(Duration::from_secs(1))
        .map_sqlx_postgres_opts(|options| {
            options.options([("role", "calfleet_fleet"), ("synchronous_commit", "off")])
        });
    connect
}

async fn connect(mut connect: ConnectOptions) -> Result<DatabaseConnection, StoreError> {
    connect
        // no longer than a firewall forgets an idle connection
        .idle_timeout(Duration::from_mins(5))
        .max_lifetime(Duration::from_mins(30));
    Database::connect(connect).await.map_err(|error| StoreError::database("connect to the database", error))
}
