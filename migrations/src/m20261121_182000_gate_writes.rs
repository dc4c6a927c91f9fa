//! Whether an organization may write events at all: the feature `calendar_compose`.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

/// Adds `organizations.composes`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "ALTER TABLE organizations ADD COLUMN composes boolean NOT NULL DEFAULT TRUE").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "ALTER TABLE organizations DROP COLUMN composes").await
    }
}
