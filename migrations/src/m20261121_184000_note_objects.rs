//! Objects that a provider keeps for instances of which our side says nothing of its own: what a pending edit has taken
//! out of its series or moved is still there at the provider, under the id it has.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

/// Adds `overrides.is_said`.
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
        run(manager, DOWN).await
    }
}

// False: no override, only the provider's object for that instance.
const UP: &str = "ALTER TABLE overrides ADD COLUMN is_said boolean NOT NULL DEFAULT TRUE";

const DOWN: &str = "DELETE FROM overrides WHERE NOT is_said;
ALTER TABLE overrides DROP COLUMN is_said";
