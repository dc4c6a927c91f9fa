//! The table of due work: one row for every thing that ever needs attention.
//!
//! Instants are milliseconds UTC; 0 is unset, the greatest number is never. No column holds a clock of the
//! database's, and `ready_at` is generated because a partial index cannot contain `now()`.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `work`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "work", Wall::OrganizationAndFleet, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE work").await
    }
}

const UP: &str = "CREATE TABLE work (
    kind smallint NOT NULL,
    target_id {uuid} NOT NULL,
    organization_id {uuid} NOT NULL,
    connection_id {uuid},
    lane smallint NOT NULL,
    state smallint NOT NULL DEFAULT 0,
    due_at bigint NOT NULL,
    not_before bigint NOT NULL DEFAULT 0,
    asked bigint NOT NULL DEFAULT 1,
    served bigint NOT NULL DEFAULT 0,
    enqueued_until bigint NOT NULL DEFAULT 0, -- handed out until then
    enqueued_in bigint NOT NULL DEFAULT 0, -- in this epoch of the queue
    lease_owner {uuid}, -- random for each claim call
    lease_until bigint NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 0,
    deliveries integer NOT NULL DEFAULT 0,
    last_class smallint,
    last_error text,
    ready_at bigint NOT NULL GENERATED ALWAYS AS
        (CASE WHEN lease_until > 0 THEN lease_until ELSE {greatest}(due_at, not_before) END) STORED,
    PRIMARY KEY (kind, target_id)
) {by_key};
CREATE INDEX work_ready ON work (lane, ready_at) WHERE state = 0 AND enqueued_until = 0;
CREATE INDEX work_fair ON work (lane, organization_id, ready_at) WHERE state = 0 AND enqueued_until = 0;
CREATE INDEX work_out ON work (enqueued_until) WHERE enqueued_until > 0;
CREATE INDEX work_leased ON work (lease_until) WHERE lease_until > 0";
