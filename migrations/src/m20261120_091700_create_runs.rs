//! Runs: jobs that changed something or failed.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `runs`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "runs", Wall::OrganizationAndFleet, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE runs").await
    }
}

const UP: &str = "CREATE TABLE runs (
    id {uuid} PRIMARY KEY,
    organization_id {uuid} NOT NULL,
    connection_id {uuid},
    kind smallint NOT NULL,
    target_id {uuid} NOT NULL,
    started_at bigint NOT NULL,
    finished_at bigint NOT NULL,
    attempt integer NOT NULL,
    class smallint, -- null: it did not fail
    message text,
    requests integer NOT NULL, -- to the provider
    changes text, -- JSON: what changed, counted
    trace text
);
CREATE INDEX runs_connection ON runs (organization_id, connection_id, id)";
