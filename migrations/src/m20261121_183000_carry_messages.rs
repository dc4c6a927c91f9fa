//! What is said to the guests of a meeting that is called off: part of no event, so that it stands with the intent.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

/// Adds `outbox.message`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "ALTER TABLE outbox ADD COLUMN message text").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "ALTER TABLE outbox DROP COLUMN message").await
    }
}
