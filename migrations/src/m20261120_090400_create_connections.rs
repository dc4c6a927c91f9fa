//! Connections: one authorised account at one provider.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `connections`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "connections", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE connections").await
    }
}

const UP: &str = "CREATE TABLE connections (
    organization_id {uuid} NOT NULL REFERENCES organizations (id),
    id {uuid} NOT NULL,
    user_id {uuid}, -- null: owned by the organization
    provider text NOT NULL,
    account text NOT NULL, -- the provider's stable id of the account
    url text NOT NULL,
    authentication text NOT NULL,
    username text,
    label text NOT NULL,
    environment text,
    state text NOT NULL,
    poll_interval_ms bigint NOT NULL,
    conflict_policy text NOT NULL,
    capabilities text, -- JSON: what the last probe found possible
    probe text, -- JSON: the last probe's report
    last_problem_code text,
    last_problem text,
    last_problem_at bigint,
    calendars_listed_at bigint,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE UNIQUE INDEX connections_account
    ON connections (organization_id, coalesce(environment, ''), provider, account)";
