//! The application's own keys of events: what it saves twice under one key is one event.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `app_keys`, and the index by which the unsettled intents of events are found.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "app_keys", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP INDEX outbox_unsettled").await?;
        run(manager, "DROP TABLE app_keys").await
    }
}

const UP: &str = "CREATE TABLE app_keys (
    organization_id {uuid} NOT NULL,
    app_key text NOT NULL,
    event_id {uuid} NOT NULL,
    bound_at bigint NOT NULL,
    PRIMARY KEY (organization_id, app_key)
);
CREATE INDEX app_keys_event ON app_keys (event_id);
CREATE INDEX outbox_unsettled ON outbox (event_id) WHERE state IN ('pending', 'dead')";
