//! Organizations: the tenants. Everything else belongs to exactly one.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect_by};

/// Creates the table `organizations`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect_by(manager, "organizations", "id", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE organizations").await
    }
}

const UP: &str = "CREATE TABLE organizations (
    id {uuid} PRIMARY KEY,
    name text NOT NULL,
    created_at bigint NOT NULL
)";
