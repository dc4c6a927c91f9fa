//! Keys of applications: only their hash is kept.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `api_keys`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "api_keys", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE api_keys").await
    }
}

const UP: &str = "CREATE TABLE api_keys (
    organization_id {uuid} NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    id {uuid} NOT NULL,
    name text NOT NULL,
    secret_hash {bytes} NOT NULL,
    scopes text NOT NULL, -- JSON: a list of names
    created_at bigint NOT NULL,
    revoked_at bigint,
    PRIMARY KEY (organization_id, id)
)";
