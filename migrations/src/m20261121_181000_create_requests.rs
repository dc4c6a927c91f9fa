//! Requests that carry a key of their own: which one took it, and what came of it.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `requests`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "requests", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE requests").await
    }
}

const UP: &str = "CREATE TABLE requests (
    organization_id {uuid} NOT NULL,
    request_key text NOT NULL,
    fingerprint {bytes} NOT NULL, -- of the route and the body
    begun_at bigint NOT NULL,
    outcome text, -- JSON; null while it is being carried out
    PRIMARY KEY (organization_id, request_key)
);
CREATE INDEX requests_begun ON requests (organization_id, begun_at)";
