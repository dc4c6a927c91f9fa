//! Events that are read singly are so from an instant on: at once after a stale page, later while their provider
//! still makes their conference.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

/// Replaces the flag `recheck` of events by `recheck_at`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, DOWN).await
    }
}

const UP: &str = "DROP INDEX events_recheck;
ALTER TABLE events ADD COLUMN recheck_at bigint; -- to be read singly from then on
UPDATE events SET recheck_at = 0 WHERE recheck;
ALTER TABLE events DROP COLUMN recheck;
CREATE INDEX events_recheck ON events (calendar_id, recheck_at) WHERE recheck_at IS NOT NULL";

const DOWN: &str = "DROP INDEX events_recheck;
ALTER TABLE events ADD COLUMN recheck boolean NOT NULL DEFAULT FALSE;
UPDATE events SET recheck = TRUE WHERE recheck_at IS NOT NULL;
ALTER TABLE events DROP COLUMN recheck_at;
CREATE INDEX events_recheck ON events (calendar_id) WHERE recheck";
