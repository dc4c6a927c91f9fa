//! Calendars of connections, as their provider lists them.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `calendars`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "calendars", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE calendars").await
    }
}

const UP: &str = "CREATE TABLE calendars (
    organization_id {uuid} NOT NULL,
    id {uuid} NOT NULL,
    connection_id {uuid} NOT NULL,
    provider_id text NOT NULL,
    name text NOT NULL,
    description text,
    color text,
    time_zone text,
    access text NOT NULL,
    state text NOT NULL,
    is_selected boolean NOT NULL,
    is_primary boolean NOT NULL,
    position integer NOT NULL, -- in the provider's order
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, connection_id, provider_id),
    FOREIGN KEY (organization_id, connection_id) REFERENCES connections (organization_id, id) ON DELETE CASCADE
)";
