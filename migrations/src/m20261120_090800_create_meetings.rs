//! Meetings: what joins the copies of one event in an organization.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `meetings`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "meetings", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE meetings").await
    }
}

const UP: &str = "CREATE TABLE meetings (
    organization_id {uuid} NOT NULL,
    id {uuid} NOT NULL, -- derived from organization and normalised UID
    uid text NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (organization_id, id)
) {by_key}";
