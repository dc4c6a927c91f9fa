//! Overrides: instances that depart from their series, beside the master's row.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `overrides`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "overrides", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE overrides").await
    }
}

const UP: &str = "CREATE TABLE overrides (
    calendar_id {uuid} NOT NULL,
    series_key text NOT NULL, -- the provider's series id, or UID within href
    recurrence_key text NOT NULL, -- DATE, or wall time in the master's start zone, or UTC with Z
    organization_id {uuid} NOT NULL,
    event_id {uuid}, -- the master's event; null while that is unknown
    provider_id text,
    revision text,
    body text, -- JSON; null: cancelled
    PRIMARY KEY (calendar_id, series_key, recurrence_key)
);
CREATE INDEX overrides_event ON overrides (event_id)";
