//! Which request or run wrote an entry of the history, so that all it wrote can be taken back.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

/// Names what wrote an entry.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP INDEX history_causes; ALTER TABLE history DROP COLUMN cause_id").await
    }
}

const UP: &str = "ALTER TABLE history ADD COLUMN cause_id text; -- the request as it was named, or the run
CREATE INDEX history_causes ON history (organization_id, cause_id, at) WHERE event_id IS NOT NULL";
