//! Watches: the wishes to be told of changes that providers have agreed to, one row for each.
//!
//! The fleet sees them because a notification arrives before any organization is known. There is no reference to
//! calendars and connections: a watch that has outlived them is still to be stopped.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `watches`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "watches", Wall::OrganizationAndFleet, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE watches").await
    }
}

const UP: &str = "CREATE TABLE watches (
    organization_id {uuid} NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    id {uuid} NOT NULL,
    connection_id {uuid} NOT NULL,
    calendar_id {uuid} NOT NULL,
    provider_id text, -- the provider's name for it; null until it is known
    resource text, -- the second name that Google gives it
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    renew_at bigint NOT NULL,
    verified_at bigint, -- the first notification; null: never proven alive
    notified_at bigint, -- the last one
    last_number bigint NOT NULL DEFAULT 0, -- of notifications, where the provider counts them
    doubted_at bigint, -- when a poll found what the watch had not told
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX watches_calendar ON watches (calendar_id);
CREATE INDEX watches_connection ON watches (organization_id, connection_id)";
