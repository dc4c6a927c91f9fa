//! Which series an instance's id belongs to, for providers that give one to every instance and later name it alone
//! (Microsoft Graph): without this, the deletion of one instance could not be told from that of a stranger. And
//! the index that answers the same question for instances that have an override.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `occurrences` and the index `overrides_provider_id`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "occurrences", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP INDEX overrides_provider_id; DROP TABLE occurrences").await
    }
}

const UP: &str = "CREATE TABLE occurrences (
    calendar_id {uuid} NOT NULL,
    hash {bytes} NOT NULL, -- sixteen bytes of the instance's id
    organization_id {uuid} NOT NULL,
    series_id text NOT NULL, -- the provider's
    listed_at bigint NOT NULL, -- when the listing that last named it was asked for
    PRIMARY KEY (calendar_id, hash)
) {by_key};
CREATE INDEX overrides_provider_id ON overrides (calendar_id, provider_id) WHERE provider_id IS NOT NULL";
