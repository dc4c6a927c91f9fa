//! Conflicts: two versions that only a person can join.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `conflicts`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "conflicts", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE conflicts").await
    }
}

const UP: &str = "CREATE TABLE conflicts (
    organization_id {uuid} NOT NULL,
    id {uuid} NOT NULL,
    connection_id {uuid} NOT NULL,
    calendar_id {uuid} NOT NULL,
    event_id {uuid} NOT NULL,
    base text, -- JSON, as are the next three
    local text,
    remote text,
    verdict text, -- the times of both sides and what was decided
    opened_at bigint NOT NULL,
    resolved_at bigint,
    resolved_by text,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX conflicts_event ON conflicts (event_id) WHERE resolved_at IS NULL";
