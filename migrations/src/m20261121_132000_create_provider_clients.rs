//! Who an organization is at a provider: its own OAuth client, or its service account. The secrets are sealed.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `provider_clients`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "provider_clients", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE provider_clients").await
    }
}

const UP: &str = "CREATE TABLE provider_clients (
    organization_id {uuid} NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    provider text NOT NULL,
    kind text NOT NULL, -- oauth or service_account
    name text NOT NULL, -- the client id, or the service account's address
    secret_id {uuid} NOT NULL, -- new with every secret; bound into the seal
    key_id text NOT NULL,
    secret {bytes} NOT NULL, -- sealed
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    retired_at bigint, -- another one took its place; kept for the grants that it made
    PRIMARY KEY (organization_id, provider, kind, name)
);
CREATE UNIQUE INDEX provider_clients_current ON provider_clients (organization_id, provider, kind)
    WHERE retired_at IS NULL";
