//! The wall between organizations on Postgres: row level security on every table, forced on its owner too.
//!
//! A transaction takes one of two roles. `calfleet_app` sees the rows of the one organization named in the
//! setting `calfleet.organization`, and none while that is unset. `calfleet_fleet` sees all rows of the few
//! tables that the fleet itself works on. SQLite has no such wall.

use sea_orm_migration::prelude::*;

use crate::dialect::{run_on_postgres, run_on_sqlite};

/// Who may see a table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wall {
    /// Only the organization named in the column `organization_id`.
    Organization,
    /// That organization, and the fleet for all of them.
    OrganizationAndFleet,
    /// Only the fleet: the rows belong to no organization.
    Fleet,
}

/// What may be done to a table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// Anything.
    Any,
    /// Rows are added and, when they have outlived their retention, removed; they are never changed.
    AppendOnly,
}

/// Puts the wall around a table.
pub(crate) async fn protect(
    manager: &SchemaManager<'_>,
    table: &str,
    wall: Wall,
    writes: Writes,
) -> Result<(), DbErr> {
    protect_by(manager, table, "organization_id", wall, writes).await
}

/// The same for a table whose organization is in another column.
pub(crate) async fn protect_by(
    manager: &SchemaManager<'_>,
    table: &str,
    column: &str,
    wall: Wall,
    writes: Writes,
) -> Result<(), DbErr> {
    // An unset setting reads as '' in a session that once had it.
    let ours = format!("{column} = nullif(current_setting('calfleet.organization', true), '')::uuid");
    let grant = match writes {
        Writes::Any => "SELECT, INSERT, UPDATE, DELETE",
        Writes::AppendOnly => "SELECT, INSERT, DELETE",
    };
    let admit = |policy: &str, role: &str, rows: &str| {
        format!(
            "CREATE POLICY {policy} ON {table} TO {role} USING ({rows}) WITH CHECK ({rows});
             GRANT {grant} ON {table} TO {role};"
        )
    };
    let mut sql = format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;");
    if wall != Wall::Fleet {
        sql += &admit("organization", "calfleet_app", &ours);
    }
    if wall != Wall::Organization {
        sql += &admit("fleet", "calfleet_fleet", "true");
    }
    run_on_postgres(manager, &sql).await?;
    if writes == Writes::AppendOnly {
        let trigger = format!(
            "CREATE TRIGGER {table}_is_append_only BEFORE UPDATE ON {table}
             BEGIN SELECT raise(ABORT, '{table} is append-only'); END;"
        );
        run_on_sqlite(manager, &trigger).await?;
    }
    Ok(())
}
