//! Outbox: intents to write to a provider, in the order in which they were received; never content.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `outbox`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "outbox", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE outbox").await
    }
}

const UP: &str = "CREATE TABLE outbox (
    id {uuid} PRIMARY KEY,
    organization_id {uuid} NOT NULL,
    connection_id {uuid} NOT NULL,
    calendar_id {uuid} NOT NULL,
    event_id {uuid} NOT NULL,
    operation text NOT NULL,
    scope text NOT NULL,
    recurrence_key text,
    notify text NOT NULL,
    urgency smallint NOT NULL,
    idempotency_key text,
    state text NOT NULL, -- pending, done, folded, dead
    received_at bigint NOT NULL,
    sent_at bigint, -- committed before the call
    answered_at bigint,
    not_before bigint NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 0,
    last_class smallint,
    last_problem_code text,
    last_problem text,
    steps text -- JSON: the steps of a change in several writes, and which are done
);
CREATE UNIQUE INDEX outbox_idempotency ON outbox (organization_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX outbox_pending ON outbox (connection_id, urgency, received_at) WHERE state = 'pending';
CREATE INDEX outbox_event ON outbox (event_id) WHERE state = 'pending'";
