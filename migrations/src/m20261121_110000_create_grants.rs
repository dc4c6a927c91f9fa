//! What a person granted at an OAuth provider: how long it lasts and what it covers. The tokens are in `secrets`.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `grants`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "grants", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE grants").await
    }
}

const UP: &str = "CREATE TABLE grants (
    organization_id {uuid} NOT NULL,
    connection_id {uuid} NOT NULL,
    scopes text NOT NULL, -- JSON: what was granted
    access_expires_at bigint NOT NULL, -- zero: the access token was refused
    refreshed_at bigint NOT NULL,
    refresh_expires_at bigint, -- null: the provider does not say
    evidence text, -- JSON: the provider's refusal that ended the grant
    PRIMARY KEY (organization_id, connection_id),
    FOREIGN KEY (organization_id, connection_id) REFERENCES connections (organization_id, id) ON DELETE CASCADE
)";
