//! Departures: what is left to do for connections that were disconnected, and what came of it.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `departures`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "departures", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE departures").await
    }
}

const UP: &str = "CREATE TABLE departures (
    organization_id {uuid} NOT NULL,
    connection_id {uuid} NOT NULL,
    events text NOT NULL, -- keep or purge
    begun_at bigint NOT NULL,
    until bigint NOT NULL, -- how long the provider is tried
    not_before bigint NOT NULL DEFAULT 0, -- of the next attempt at the provider
    attempt integer NOT NULL DEFAULT 0,
    ending text, -- what became of the grant; null while the provider is still to be told
    purged bigint NOT NULL DEFAULT 0, -- events that are gone
    ended_at bigint, -- nothing is left to do
    PRIMARY KEY (organization_id, connection_id),
    FOREIGN KEY (organization_id, connection_id) REFERENCES connections (organization_id, id) ON DELETE CASCADE
)";
