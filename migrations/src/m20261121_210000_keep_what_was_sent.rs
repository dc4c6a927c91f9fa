//! What an event was to say when it was sent, kept until the provider has answered: when the answer is lost, and a
//! person has edited the event since, our own write must not be taken for somebody else's.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

/// Keeps what was sent; null in entries that old code sends, which are read again as before.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "ALTER TABLE outbox ADD COLUMN sent text").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "ALTER TABLE outbox DROP COLUMN sent").await
    }
}
