//! What a driver says of a calendar, kept so that a push does not have to ask for it again.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

/// Keeps what drivers say of calendars; empty until the provider's list of calendars is read again.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "ALTER TABLE calendars ADD COLUMN setting text").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "ALTER TABLE calendars DROP COLUMN setting").await
    }
}
