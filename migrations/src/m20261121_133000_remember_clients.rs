//! Grants and sign-ins remember the client they were made with: a refresh token works with no other.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

/// Adds `client_id` to `grants` and `connect_attempts`, and `subject` to `grants`.
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
        let down = "ALTER TABLE connect_attempts DROP COLUMN client_id;
            ALTER TABLE grants DROP COLUMN subject;
            ALTER TABLE grants DROP COLUMN client_id";
        run(manager, down).await
    }
}

// client_id: null for the deployment's own client of the time before it was remembered
// subject: the address of the person whom a service account stands in for; null: the person agreed
const UP: &str = "ALTER TABLE grants ADD COLUMN client_id text;
    ALTER TABLE grants ADD COLUMN subject text;
    ALTER TABLE connect_attempts ADD COLUMN client_id text";
