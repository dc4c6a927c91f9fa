//! Doors: which organization a secret presented from outside belongs to.
//!
//! Keys of applications, addresses of notifications, callbacks and feeds are found here by their hash before any
//! organization is known; nothing else is said about them.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `doors`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "doors", Wall::OrganizationAndFleet, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE doors").await
    }
}

const UP: &str = "CREATE TABLE doors (
    secret_hash {bytes} PRIMARY KEY,
    organization_id {uuid} NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    kind text NOT NULL,
    target_id {uuid} NOT NULL,
    created_at bigint NOT NULL
) {by_key};
CREATE INDEX doors_target ON doors (organization_id, target_id)";
