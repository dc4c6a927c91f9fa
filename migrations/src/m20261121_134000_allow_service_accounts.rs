//! Service accounts are for organizations that opted in.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

/// Adds `allows_service_accounts` to `organizations`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let up =
            "ALTER TABLE organizations ADD COLUMN allows_service_accounts boolean NOT NULL DEFAULT FALSE";
        run(manager, up).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "ALTER TABLE organizations DROP COLUMN allows_service_accounts").await
    }
}
