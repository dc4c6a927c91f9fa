//! When calendars were imported, so that the beginning of an event's history is found.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

/// Indexes what the history says of whole calendars.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "CREATE INDEX history_imports ON history (organization_id, at) WHERE event_id IS NULL")
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP INDEX history_imports").await
    }
}
