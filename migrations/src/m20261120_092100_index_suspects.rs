//! An index of the few rows that were claimed more than once and never finished, which run alone in the fleet:
//! without it every tick would look for them among all ready rows.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

/// Creates the index `work_suspect`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "CREATE INDEX work_suspect ON work (ready_at) WHERE deliveries >= 2").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP INDEX work_suspect").await
    }
}
