//! An index of the few events that cannot be read: every look at a connection's status names them.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

/// Creates the index `events_problem`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "CREATE INDEX events_problem ON events (connection_id) WHERE problem IS NOT NULL").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP INDEX events_problem").await
    }
}
