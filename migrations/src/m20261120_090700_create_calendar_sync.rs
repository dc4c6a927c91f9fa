//! How far each calendar's sync has come: cursors, the generation under way, failures, freshness.
//!
//! Apart from `calendars` because it is written with every page and every poll. Only columns without an index
//! change then, so that Postgres can update the row in place.

use sea_orm_migration::prelude::*;

use crate::dialect::{run, run_on_postgres};
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `calendar_sync`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        run_on_postgres(manager, "ALTER TABLE calendar_sync SET (fillfactor = 60)").await?;
        protect(manager, "calendar_sync", Wall::OrganizationAndFleet, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE calendar_sync").await
    }
}

const UP: &str = "CREATE TABLE calendar_sync (
    calendar_id {uuid} PRIMARY KEY,
    organization_id {uuid} NOT NULL,
    connection_id {uuid} NOT NULL,
    sync_token text, -- where the last complete listing ended
    page_token text, -- where the listing under way goes on
    pending_token text, -- becomes the sync token when the listing under way is complete
    phase smallint NOT NULL DEFAULT 0, -- 0 idle, 1 listing, 2 fetching, 3 sweeping
    listing text, -- of the listing under way: full or delta
    generation bigint NOT NULL DEFAULT 0,
    generation_started_at bigint,
    pages integer NOT NULL DEFAULT 0, -- of the generation under way
    requires_full boolean NOT NULL DEFAULT FALSE, -- the next listing is of everything
    due_at bigint NOT NULL,
    not_before bigint NOT NULL DEFAULT 0,
    started_at bigint,
    attempt integer NOT NULL DEFAULT 0,
    last_class smallint,
    last_problem_code text,
    last_problem text,
    fresh_at bigint, -- when the last listing that was complete and applied was asked for
    full_at bigint, -- the same for listings of everything
    items_listed bigint NOT NULL DEFAULT 0,
    items_done bigint NOT NULL DEFAULT 0,
    sweep_seen text, -- JSON: a complete listing whose sweep waits for another that agrees
    FOREIGN KEY (organization_id, calendar_id) REFERENCES calendars (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX calendar_sync_connection ON calendar_sync (connection_id)";
