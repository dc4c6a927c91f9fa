//! Connections: one authorised account at one provider. Their secrets are in the `vault`.
//!
//! What the probe found is kept as JSON that only the providers' side understands.

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    Authentication, ConflictPolicy, ConnectionId, ConnectionState, OrganizationId, ProviderKind, UserId,
};

use crate::error::StoreError;
use crate::problem::LastProblem;
use crate::transaction::{Row, Tx, to_json, values};

/// One authorised account at one provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Its tenant.
    pub organization_id: OrganizationId,
    /// Where it leads and how it behaves.
    pub settings: ConnectionSettings,
    /// What it may do at present.
    pub state: ConnectionState,
    /// What the last probe found possible, as JSON; `None` before the first.
    pub capabilities: Option<serde_json::Value>,
    /// The last probe's report, as JSON.
    pub probe: Option<serde_json::Value>,
    /// What went wrong last and has not gone right since.
    pub last_problem: Option<LastProblem>,
    /// When its provider was last asked which calendars there are.
    pub calendars_listed_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When anything above last changed.
    pub updated_at: Timestamp,
}

impl Connection {
    /// Whether its provider can tell of changes, as the last probe found.
    pub fn can_be_watched(&self) -> bool {
        let found = self.capabilities.as_ref().and_then(|found| found.get("watches"));
        found.and_then(serde_json::Value::as_bool).unwrap_or(false)
    }
}

/// What is said when an account is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// Whose it is; `None` for the organization's own.
    pub user_id: Option<UserId>,
    /// Which provider.
    pub provider: ProviderKind,
    /// The provider's stable id of the account: unique with organization, environment and provider.
    pub account: String,
    /// Where it is reached.
    pub url: String,
    /// How it proves who it is.
    pub authentication: Authentication,
    /// User name for password authentication.
    pub username: Option<String>,
    /// What people call it.
    pub label: String,
    /// Which of the application's environments it belongs to.
    pub environment: Option<String>,
    /// How often it is polled.
    pub poll_interval: Duration,
    /// Who wins a conflict.
    pub conflict_policy: ConflictPolicy,
}

/// What became of a connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The account was not connected before.
    Created(ConnectionId),
    /// It was: this is its connection, with all that hangs on it, and it is active again.
    Rebound(ConnectionId),
}

impl Bound {
    /// The connection.
    pub fn id(self) -> ConnectionId {
        match self {
            Self::Created(id) | Self::Rebound(id) => id,
        }
    }
}

const COLUMNS: &str =
    "id, user_id, provider, account, url, authentication, username, label, environment, state,
    poll_interval_ms, conflict_policy, capabilities, probe, last_problem_code, last_problem, last_problem_at,
    calendars_listed_at, created_at, updated_at";

/// Connects an account, or binds it again to the connection it had. `id` is taken if it had none.
///
/// # Errors
/// When the database fails.
pub async fn bind(
    tx: &Tx,
    id: ConnectionId,
    settings: &ConnectionSettings,
    now: Timestamp,
) -> Result<Bound, StoreError> {
    let operation = "store a connection";
    let sql = "INSERT INTO connections (organization_id, id, user_id, provider, account, url, authentication,
            username, label, environment, state, poll_interval_ms, conflict_policy, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'active', $11, $12, $13, $13)
        ON CONFLICT (organization_id, coalesce(environment, ''), provider, account) DO UPDATE SET
            user_id = excluded.user_id, url = excluded.url, authentication = excluded.authentication,
            username = excluded.username, label = excluded.label, state = 'active',
            poll_interval_ms = excluded.poll_interval_ms, conflict_policy = excluded.conflict_policy,
            last_problem_code = NULL, last_problem = NULL, last_problem_at = NULL, calendars_listed_at = NULL,
            updated_at = excluded.updated_at
        RETURNING id";
    let values = values![
        tx.organization(operation)?,
        id,
        settings.user_id,
        settings.provider.as_str(),
        &settings.account,
        &settings.url,
        authentication_name(settings.authentication),
        settings.username.clone(),
        &settings.label,
        settings.environment.clone(),
        milliseconds(settings.poll_interval),
        settings.conflict_policy.as_str(),
        now,
    ];
    let row = tx.one(operation, sql, values).await?;
    let bound = row.map(|row| row.get("id").map(ConnectionId)).transpose()?;
    Ok(match bound {
        Some(bound) if bound != id => Bound::Rebound(bound),
        _ => Bound::Created(id),
    })
}

/// The connection of that id in the transaction's organization.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: ConnectionId) -> Result<Option<Connection>, StoreError> {
    let operation = "load a connection";
    let organization = tx.organization(operation)?;
    let sql = format!("SELECT {COLUMNS} FROM connections WHERE organization_id = $1 AND id = $2");
    let row = tx.one(operation, &sql, values![organization, id]).await?;
    row.map(|row| read(&row, organization)).transpose()
}

/// At most `limit` connections of the transaction's organization, oldest first, after the given one.
///
/// # Errors
/// When the database fails.
pub async fn list(tx: &Tx, after: Option<ConnectionId>, limit: u32) -> Result<Vec<Connection>, StoreError> {
    let operation = "list connections";
    let organization = tx.organization(operation)?;
    let after = after.unwrap_or(ConnectionId(uuid::Uuid::nil()));
    let sql = format!(
        "SELECT {COLUMNS} FROM connections WHERE organization_id = $1 AND id > $2 ORDER BY id LIMIT $3"
    );
    let rows = tx.all(operation, &sql, values![organization, after, i64::from(limit)]).await?;
    rows.iter().map(|row| read(row, organization)).collect()
}

/// All connections of one user at a provider, oldest first; without a user those of the organization itself.
///
/// # Errors
/// When the database fails.
pub async fn of_user(
    tx: &Tx,
    provider: ProviderKind,
    user: Option<UserId>,
) -> Result<Vec<Connection>, StoreError> {
    let operation = "list a user's connections";
    let organization = tx.organization(operation)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM connections
         WHERE organization_id = $1 AND provider = $2 AND user_id IS NOT DISTINCT FROM $3 ORDER BY id"
    );
    let rows = tx.all(operation, &sql, values![organization, provider.as_str(), user]).await?;
    rows.iter().map(|row| read(row, organization)).collect()
}

/// The connection of that account, of no particular environment.
///
/// # Errors
/// When the database fails.
pub async fn of_account(
    tx: &Tx,
    provider: ProviderKind,
    account: &str,
) -> Result<Option<Connection>, StoreError> {
    let operation = "look for the connection of an account";
    let organization = tx.organization(operation)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM connections WHERE organization_id = $1 AND coalesce(environment, '') = ''
            AND provider = $2 AND account = $3"
    );
    let row = tx.one(operation, &sql, values![organization, provider.as_str(), account]).await?;
    row.map(|row| read(&row, organization)).transpose()
}

/// The connection of an account that is known by that name, or by the id of its primary calendar in lower case; the
/// newest when there are several.
///
/// # Errors
/// When the database fails.
pub async fn of_address(
    tx: &Tx,
    provider: ProviderKind,
    account: &str,
    primary: &str,
) -> Result<Option<Connection>, StoreError> {
    let operation = "look for the connection of an address";
    let organization = tx.organization(operation)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM connections WHERE organization_id = $1 AND provider = $2
            AND (account = $3 OR id IN (SELECT connection_id FROM calendars
                WHERE organization_id = $1 AND is_primary AND lower(provider_id) = $4))
         ORDER BY id DESC LIMIT 1"
    );
    let row = tx.one(operation, &sql, values![organization, provider.as_str(), account, primary]).await?;
    row.map(|row| read(&row, organization)).transpose()
}

/// Gives an account another name, unless there is one of that name already: the provider's own id takes the place of
/// an address. Whether that was a change.
///
/// # Errors
/// When the database fails.
pub async fn rename_account(
    tx: &Tx,
    provider: ProviderKind,
    from: &str,
    to: &str,
) -> Result<bool, StoreError> {
    let operation = "rename an account";
    let organization = tx.organization(operation)?;
    let sql = "UPDATE connections SET account = $4
         WHERE organization_id = $1 AND provider = $2 AND account = $3 AND account <> $4 AND NOT EXISTS (
            SELECT 1 FROM connections other WHERE other.organization_id = $1 AND other.provider = $2
                AND other.account = $4
                AND coalesce(other.environment, '') = coalesce(connections.environment, ''))";
    Ok(tx.execute(operation, sql, values![organization, provider.as_str(), from, to]).await? > 0)
}

/// Changes what a connection may do; whether that was a change.
///
/// # Errors
/// When the database fails.
pub async fn set_state(
    tx: &Tx,
    id: ConnectionId,
    state: ConnectionState,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let operation = "change a connection's state";
    let sql = "UPDATE connections SET state = $3, updated_at = $4
               WHERE organization_id = $1 AND id = $2 AND state <> $3";
    let values = values![tx.organization(operation)?, id, state.as_str(), now];
    Ok(tx.execute(operation, sql, values).await? > 0)
}

/// Notes what went wrong, or (`None`) that all is well again. The same problem again is no write, so it keeps the
/// time when it was first seen.
///
/// # Errors
/// When the database fails.
pub async fn set_problem(
    tx: &Tx,
    id: ConnectionId,
    problem: Option<&LastProblem>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let operation = "note a connection's problem";
    let sql = "UPDATE connections
        SET last_problem_code = $3, last_problem = $4, last_problem_at = $5, updated_at = $6
        WHERE organization_id = $1 AND id = $2
          AND (coalesce(last_problem_code, '') <> coalesce($3, '') OR coalesce(last_problem, '') <> coalesce($4, ''))";
    let mut values = values![tx.organization(operation)?, id];
    values.extend(LastProblem::bind(problem));
    values.extend(values![now]);
    Ok(tx.execute(operation, sql, values).await? > 0)
}

/// Stores what a probe found: where the account lives now, and what its server can do.
///
/// # Errors
/// When the database fails.
pub async fn set_probe(
    tx: &Tx,
    id: ConnectionId,
    url: &str,
    capabilities: &serde_json::Value,
    probe: &serde_json::Value,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let operation = "store a probe";
    let sql = "UPDATE connections SET url = $3, capabilities = $4, probe = $5, updated_at = $6
               WHERE organization_id = $1 AND id = $2";
    let capabilities = to_json(operation, "capabilities", capabilities)?;
    let probe = to_json(operation, "probe", probe)?;
    let values = values![tx.organization(operation)?, id, url, capabilities, probe, now];
    Ok(tx.execute(operation, sql, values).await? > 0)
}

/// Notes that the provider was just asked which calendars there are.
///
/// # Errors
/// When the database fails.
pub async fn set_calendars_listed(tx: &Tx, id: ConnectionId, now: Timestamp) -> Result<(), StoreError> {
    let operation = "note a listing of calendars";
    let sql = "UPDATE connections SET calendars_listed_at = $3 WHERE organization_id = $1 AND id = $2";
    tx.execute(operation, sql, values![tx.organization(operation)?, id, now]).await?;
    Ok(())
}

fn read(row: &Row, organization_id: OrganizationId) -> Result<Connection, StoreError> {
    let settings = ConnectionSettings {
        user_id: row.get::<Option<uuid::Uuid>>("user_id")?.map(UserId),
        provider: row.named("provider", |name| name.parse().ok())?,
        account: row.get("account")?,
        url: row.get("url")?,
        authentication: row.named("authentication", authentication)?,
        username: row.get("username")?,
        label: row.get("label")?,
        environment: row.get("environment")?,
        poll_interval: row
            .numbered("poll_interval_ms", |ms: i64| u64::try_from(ms).ok().map(Duration::from_millis))?,
        conflict_policy: row.named("conflict_policy", ConflictPolicy::from_name)?,
    };
    Ok(Connection {
        id: ConnectionId(row.get("id")?),
        organization_id,
        settings,
        state: row.named("state", ConnectionState::from_name)?,
        capabilities: row.json("capabilities")?,
        probe: row.json("probe")?,
        last_problem: LastProblem::read(row)?,
        calendars_listed_at: row.instant("calendars_listed_at")?,
        created_at: Timestamp(row.get("created_at")?),
        updated_at: Timestamp(row.get("updated_at")?),
    })
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn authentication_name(authentication: Authentication) -> &'static str {
    match authentication {
        Authentication::None => "none",
        Authentication::Password => "password",
        Authentication::Bearer => "bearer",
        Authentication::Oauth => "oauth",
    }
}

fn authentication(name: &str) -> Option<Authentication> {
    [Authentication::None, Authentication::Password, Authentication::Bearer, Authentication::Oauth]
        .into_iter()
        .find(|kind| authentication_name(*kind) == name)
}
