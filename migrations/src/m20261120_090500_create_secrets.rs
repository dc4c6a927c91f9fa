//! Secrets of connections, sealed; what opens them is not in the database.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `secrets`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "secrets", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE secrets").await
    }
}

const UP: &str = "CREATE TABLE secrets (
    organization_id {uuid} NOT NULL,
    connection_id {uuid} NOT NULL,
    field text NOT NULL,
    generation bigint NOT NULL, -- rises with every value; bound into the seal
    key_id text NOT NULL,
    sealed {bytes} NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (organization_id, connection_id, field),
    FOREIGN KEY (organization_id, connection_id) REFERENCES connections (organization_id, id) ON DELETE CASCADE
)";
