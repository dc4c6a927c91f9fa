//! A transaction: the one thing through which queries are called.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    ApiKeyId, CalendarId, ConflictId, ConnectionId, EventId, HistoryId, LeaseOwner, MeetingId,
    OrganizationId, OutboxId, ProviderId, Revision, RunId, SyncToken, Uid, UserId, Version, WatchId,
    WorkerId,
};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, QueryResult, Statement,
    TryGetable, Value,
};
use uuid::Uuid;

use crate::bulk::Kind;
use crate::error::StoreError;
use crate::gate::Pass;
use crate::postgres::Limit;

/// Whose rows a transaction may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One organization's.
    Organization(OrganizationId),
    /// Everybody's, in the tables that the fleet itself works on: `work`, `calendar_sync`, `runs`, `workers`,
    /// `doors`, `watches`.
    Fleet,
}

/// A transaction. Dropped without [`Self::commit`], it changes nothing, unless it is one of [`crate::Store::single`].
#[derive(Debug)]
pub struct Tx {
    // declared before the pass, so that the rollback is on its way before the next writer is let in
    inner: Inner,
    scope: Scope,
    /// None on SQLite, which is a file of ours.
    limit: Option<Limit>,
    _pass: Option<Pass>,
}

/// What statements are sent through.
#[derive(Debug)]
enum Inner {
    Whole(DatabaseTransaction),
    /// Each statement is a transaction of its own.
    Single(DatabaseConnection),
}

impl Tx {
    pub(crate) fn new(inner: DatabaseTransaction, scope: Scope, pass: Option<Pass>) -> Self {
        Self { inner: Inner::Whole(inner), scope, limit: None, _pass: pass }
    }

    /// On Postgres, which may fall silent.
    pub(crate) fn limited(inner: DatabaseTransaction, scope: Scope, limit: Limit) -> Self {
        Self { inner: Inner::Whole(inner), scope, limit: Some(limit), _pass: None }
    }

    /// Of the fleet, on connections of which each statement takes one.
    pub(crate) fn single(inner: DatabaseConnection, limit: Limit) -> Self {
        Self { inner: Inner::Single(inner), scope: Scope::Fleet, limit: Some(limit), _pass: None }
    }

    /// Whose rows it may see.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Makes everything that was written in it last.
    ///
    /// # Errors
    /// When the database refuses, or cannot be reached: whether it was committed is then unknown.
    pub async fn commit(self) -> Result<(), StoreError> {
        let Self { inner: Inner::Whole(inner), limit, _pass, .. } = self else { return Ok(()) };
        within(limit.as_ref(), "commit a transaction", inner.commit()).await
    }

    /// Undoes everything that was written in it, and waits for that. Dropping does the same unattended.
    ///
    /// # Errors
    /// When the database cannot be reached; nothing is committed then either.
    pub async fn rollback(self) -> Result<(), StoreError> {
        let Self { inner: Inner::Whole(inner), limit, _pass, .. } = self else { return Ok(()) };
        within(limit.as_ref(), "roll a transaction back", inner.rollback()).await
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.backend() == DbBackend::Postgres
    }

    /// The end of a query whose rows are about to be changed. SQLite's writer is alone anyway.
    pub(crate) fn for_update(&self) -> &'static str {
        if self.is_postgres() { "FOR UPDATE" } else { "" }
    }

    /// The organization it belongs to; every query of an organization's rows names it.
    pub(crate) fn organization(&self, operation: &'static str) -> Result<OrganizationId, StoreError> {
        match self.scope {
            Scope::Organization(id) => Ok(id),
            Scope::Fleet => Err(StoreError::NoOrganization { operation }),
        }
    }

    /// Runs a statement with parameters `$1`, `$2`, …, which both databases understand; how many rows it changed.
    pub(crate) async fn execute(
        &self,
        operation: &'static str,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        let statement = self.statement(sql, values);
        let asked = async {
            match &self.inner {
                Inner::Whole(inner) => inner.execute_raw(statement).await,
                Inner::Single(inner) => inner.execute_raw(statement).await,
            }
        };
        within(self.limit.as_ref(), operation, asked).await.map(|done| done.rows_affected())
    }

    /// All rows of a query.
    pub(crate) async fn all(
        &self,
        operation: &'static str,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        let statement = self.statement(sql, values);
        let asked = async {
            match &self.inner {
                Inner::Whole(inner) => inner.query_all_raw(statement).await,
                Inner::Single(inner) => inner.query_all_raw(statement).await,
            }
        };
        let rows = within(self.limit.as_ref(), operation, asked).await?;
        Ok(rows.into_iter().map(|inner| Row { inner, operation }).collect())
    }

    /// The first row of a query.
    pub(crate) async fn one(
        &self,
        operation: &'static str,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<Option<Row>, StoreError> {
        let statement = self.statement(sql, values);
        let asked = async {
            match &self.inner {
                Inner::Whole(inner) => inner.query_one_raw(statement).await,
                Inner::Single(inner) => inner.query_one_raw(statement).await,
            }
        };
        let row = within(self.limit.as_ref(), operation, asked).await?;
        Ok(row.map(|inner| Row { inner, operation }))
    }

    fn statement(&self, sql: &str, values: Vec<Value>) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }

    fn backend(&self) -> DbBackend {
        match &self.inner {
            Inner::Whole(inner) => inner.get_database_backend(),
            Inner::Single(inner) => inner.get_database_backend(),
        }
    }
}

/// What the database answers, on Postgres if it does so in time.
async fn within<T>(
    limit: Option<&Limit>,
    operation: &'static str,
    asked: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, StoreError> {
    let answer = match limit {
        Some(limit) => limit.hold(asked).await,
        None => asked.await,
    };
    answer.map_err(|error| StoreError::database(operation, error))
}

/// A row of an answer.
#[derive(Debug)]
pub(crate) struct Row {
    inner: QueryResult,
    operation: &'static str,
}

impl Row {
    /// A column by name.
    pub(crate) fn get<T: TryGetable>(&self, column: &'static str) -> Result<T, StoreError> {
        self.inner.try_get("", column).map_err(|error| StoreError::database(self.operation, error))
    }

    /// A column by its place from zero: cheaper, for queries of many rows.
    pub(crate) fn at<T: TryGetable>(&self, index: usize) -> Result<T, StoreError> {
        self.inner.try_get_by_index(index).map_err(|error| StoreError::database(self.operation, error))
    }

    /// A text that stands for something.
    pub(crate) fn named<T>(
        &self,
        column: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        let text: String = self.get(column)?;
        read(&text).ok_or(StoreError::Unreadable { operation: self.operation, column })
    }

    /// A number that stands for something, or is of another width than the column.
    pub(crate) fn numbered<T, N>(
        &self,
        column: &'static str,
        read: impl FnOnce(N) -> Option<T>,
    ) -> Result<T, StoreError>
    where
        N: TryGetable,
    {
        read(self.get(column)?).ok_or(StoreError::Unreadable { operation: self.operation, column })
    }

    /// A JSON document; `None` where the column is null.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        let Some(text) = self.get::<Option<String>>(column)? else { return Ok(None) };
        let unreadable = StoreError::Unreadable { operation: self.operation, column };
        serde_json::from_str(&text).map(Some).map_err(|_| unreadable)
    }

    /// An instant that may be null.
    pub(crate) fn instant(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp))
    }
}

/// Writes a value down as JSON.
pub(crate) fn to_json<T: serde::Serialize + ?Sized>(
    operation: &'static str,
    column: &'static str,
    value: &T,
) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Unwritable { operation, column, source })
}

/// What can be a parameter of a statement.
pub(crate) trait Bind {
    /// The type of its column.
    const KIND: Kind;
    /// Whether it can be null.
    const IS_NULLABLE: bool = false;

    /// The parameter.
    fn bind(self) -> Value;
}

impl<T: Bind> Bind for Option<T>
where
    Value: From<Option<T::Plain>>,
    T: Plain,
{
    const KIND: Kind = T::KIND;
    const IS_NULLABLE: bool = true;

    fn bind(self) -> Value {
        Value::from(self.map(Plain::plain))
    }
}

/// What a parameter is to the database library.
pub(crate) trait Plain {
    /// Its type there.
    type Plain;

    /// The same value there.
    fn plain(self) -> Self::Plain;
}

macro_rules! bind {
    ($($type:ty => $kind:ident $plain:ty, $value:ident => $how:expr);* $(;)?) => {$(
        impl Plain for $type {
            type Plain = $plain;

            fn plain(self) -> $plain {
                let $value = self;
                $how
            }
        }

        impl Bind for $type {
            const KIND: Kind = Kind::$kind;

            fn bind(self) -> Value {
                Value::from(self.plain())
            }
        }
    )*};
}

bind! {
    Uuid => Uuid Uuid, id => id;
    OrganizationId => Uuid Uuid, id => id.0;
    UserId => Uuid Uuid, id => id.0;
    ConnectionId => Uuid Uuid, id => id.0;
    CalendarId => Uuid Uuid, id => id.0;
    EventId => Uuid Uuid, id => id.0;
    MeetingId => Uuid Uuid, id => id.0;
    OutboxId => Uuid Uuid, id => id.0;
    ConflictId => Uuid Uuid, id => id.0;
    HistoryId => Uuid Uuid, id => id.0;
    RunId => Uuid Uuid, id => id.0;
    ApiKeyId => Uuid Uuid, id => id.0;
    WatchId => Uuid Uuid, id => id.0;
    WorkerId => Uuid Uuid, id => id.0;
    LeaseOwner => Uuid Uuid, id => id.0;
    String => Text String, text => text;
    &str => Text String, text => text.to_owned();
    &String => Text String, text => text.clone();
    ProviderId => Text String, id => id.0;
    &ProviderId => Text String, id => id.0.clone();
    SyncToken => Text String, token => token.0;
    &SyncToken => Text String, token => token.0.clone();
    Revision => Text String, revision => revision.0;
    &Revision => Text String, revision => revision.0.clone();
    Uid => Text String, uid => uid.0;
    &Uid => Text String, uid => uid.0.clone();
    Vec<u8> => Bytes Vec<u8>, bytes => bytes;
    &[u8] => Bytes Vec<u8>, bytes => bytes.to_vec();
    Version => Bytes Vec<u8>, version => version.0.to_vec();
    Timestamp => BigInt i64, at => at.0;
    i64 => BigInt i64, number => number;
    i32 => Int i32, number => number;
    i16 => SmallInt i16, number => number;
    bool => Bool bool, is => is;
}

/// The parameters of a statement: `values![id, name, now]`.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::transaction::Bind::bind($value)),*] };
}
pub(crate) use values;
