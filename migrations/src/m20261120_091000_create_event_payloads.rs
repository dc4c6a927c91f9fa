//! What providers sent, verbatim and compressed: updates patch it, so nothing we do not model is lost.
//!
//! Apart from `events`, so that range reads and merges stay narrow.

use sea_orm_migration::prelude::*;

use crate::dialect::{run, run_on_postgres};
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `event_payloads`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        run_on_postgres(manager, "ALTER TABLE event_payloads ALTER COLUMN payload SET STORAGE EXTERNAL")
            .await?;
        protect(manager, "event_payloads", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE event_payloads").await
    }
}

const UP: &str = "CREATE TABLE event_payloads (
    event_id {uuid} PRIMARY KEY,
    organization_id {uuid} NOT NULL,
    payload {bytes} NOT NULL -- zstd
)";
