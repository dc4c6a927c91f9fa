//! What a generation has seen: 16 bytes of hash for each provider id, one row for each page.

use sea_orm_migration::prelude::*;

use crate::dialect::{run, run_on_postgres};
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `listing_pages`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        run_on_postgres(manager, "ALTER TABLE listing_pages ALTER COLUMN hashes SET STORAGE EXTERNAL")
            .await?;
        protect(manager, "listing_pages", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE listing_pages").await
    }
}

const UP: &str = "CREATE TABLE listing_pages (
    calendar_id {uuid} NOT NULL,
    generation bigint NOT NULL,
    page integer NOT NULL,
    organization_id {uuid} NOT NULL,
    hashes {bytes} NOT NULL,
    PRIMARY KEY (calendar_id, generation, page)
)";
