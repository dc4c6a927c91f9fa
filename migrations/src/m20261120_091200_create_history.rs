//! History: what happened to events, by whom, why, before and after.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `history`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "history", Wall::Organization, Writes::AppendOnly).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE history").await
    }
}

const UP: &str = "CREATE TABLE history (
    id {uuid} PRIMARY KEY,
    organization_id {uuid} NOT NULL,
    calendar_id {uuid} NOT NULL,
    event_id {uuid}, -- null: about the whole calendar, such as its first import
    at bigint NOT NULL,
    side text NOT NULL,
    cause text NOT NULL,
    decision text NOT NULL,
    changes text -- JSON: the fields before and after
);
CREATE INDEX history_event ON history (event_id, at) WHERE event_id IS NOT NULL";
