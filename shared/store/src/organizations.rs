//! Organizations: the tenants.
//!
//! The fleet cannot see their rows. What it can see are their doors, by which an organization is found from its
//! name.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::OrganizationId;

use crate::doors::{self, DoorKind, SecretHash};
use crate::error::StoreError;
use crate::transaction::{Tx, values};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// Its name, unique in the fleet.
    pub name: String,
    /// Whether it wants service accounts to stand in for its people.
    pub allows_service_accounts: bool,
    /// Whether events may be written for its people (the feature `calendar_compose`).
    pub composes: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Makes the organization that the transaction belongs to.
///
/// # Errors
/// [`StoreError::is_duplicate`] when there is one of that name.
pub async fn create(tx: &Tx, name: &str, now: Timestamp) -> Result<Organization, StoreError> {
    let operation = "create an organization";
    let id = tx.organization(operation)?;
    tx.execute(
        operation,
        "INSERT INTO organizations (id, name, created_at) VALUES ($1, $2, $3)",
        values![id, name, now],
    )
    .await?;
    doors::open(tx, DoorKind::Organization, &hash(name), id.0, now).await?;
    let (name, allows_service_accounts, composes) = (name.to_owned(), false, true);
    Ok(Organization { id, name, allows_service_accounts, composes, created_at: now })
}

/// The organization that the transaction belongs to.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx) -> Result<Option<Organization>, StoreError> {
    let operation = "load an organization";
    let id = tx.organization(operation)?;
    let sql = "SELECT name, allows_service_accounts, composes, created_at FROM organizations WHERE id = $1";
    let Some(row) = tx.one(operation, sql, values![id]).await? else { return Ok(None) };
    Ok(Some(Organization {
        id,
        name: row.get("name")?,
        allows_service_accounts: row.get("allows_service_accounts")?,
        composes: row.get("composes")?,
        created_at: Timestamp(row.get("created_at")?),
    }))
}

/// Lets service accounts stand in for the people of the transaction's organization, or no longer; whether that was a
/// change.
///
/// # Errors
/// When the database fails.
pub async fn allow_service_accounts(tx: &Tx, allows: bool) -> Result<bool, StoreError> {
    let operation = "allow service accounts";
    let id = tx.organization(operation)?;
    let sql = "UPDATE organizations SET allows_service_accounts = $2
         WHERE id = $1 AND allows_service_accounts <> $2";
    Ok(tx.execute(operation, sql, values![id, allows]).await? > 0)
}

/// Lets events be written for the people of the transaction's organization, or no longer; whether that was a change.
///
/// # Errors
/// When the database fails.
pub async fn allow_writes(tx: &Tx, allows: bool) -> Result<bool, StoreError> {
    let operation = "allow writes";
    let id = tx.organization(operation)?;
    let sql = "UPDATE organizations SET composes = $2 WHERE id = $1 AND composes <> $2";
    Ok(tx.execute(operation, sql, values![id, allows]).await? > 0)
}

/// The organization of that name; in a transaction of the fleet.
///
/// # Errors
/// When the database fails.
pub async fn find(tx: &Tx, name: &str) -> Result<Option<OrganizationId>, StoreError> {
    let door = doors::enter(tx, DoorKind::Organization, &hash(name)).await?;
    Ok(door.map(|door| door.organization_id))
}

/// All organizations, oldest first; in a transaction of the fleet.
///
/// # Errors
/// When the database fails.
pub async fn list(tx: &Tx) -> Result<Vec<OrganizationId>, StoreError> {
    let sql = "SELECT organization_id FROM doors WHERE kind = $1 ORDER BY created_at, organization_id";
    let rows = tx.all("list organizations", sql, values![DoorKind::Organization.as_str()]).await?;
    rows.iter().map(|row| Ok(OrganizationId(row.get("organization_id")?))).collect()
}

fn hash(name: &str) -> SecretHash {
    SecretHash::of(DoorKind::Organization, name.trim().to_lowercase().as_bytes())
}
