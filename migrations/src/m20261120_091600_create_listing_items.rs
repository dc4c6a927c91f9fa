//! What a listing named and what is still to be fetched: the resumable cursor of a CalDAV import.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `listing_items`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "listing_items", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE listing_items").await
    }
}

const UP: &str = "CREATE TABLE listing_items (
    calendar_id {uuid} NOT NULL,
    generation bigint NOT NULL,
    provider_id text NOT NULL,
    organization_id {uuid} NOT NULL,
    revision text,
    PRIMARY KEY (calendar_id, generation, provider_id)
) {by_key}";
