//! Events: the copies, one row for each object of a calendar.
//!
//! No foreign keys: they would cost a look-up and a row lock for every imported event. Calendars are never
//! deleted while they have events.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `events`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "events", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE events").await
    }
}

const UP: &str = "CREATE TABLE events (
    id {uuid} PRIMARY KEY,
    organization_id {uuid} NOT NULL,
    connection_id {uuid} NOT NULL,
    calendar_id {uuid} NOT NULL,
    meeting_id {uuid} NOT NULL,
    provider_id text NOT NULL,
    uid text NOT NULL,
    is_series boolean NOT NULL,
    body text, -- JSON: a single event's or master's content; null for a tombstone or what was never readable
    base text, -- JSON: what both sides last agreed on, only while local edits are pending
    version {bytes} NOT NULL, -- 16 bytes: the hash of the canonical form
    revision text,
    role text NOT NULL,
    detail text NOT NULL,
    state smallint NOT NULL, -- 0 live, 1 missing (waits for a pass to see whether it moved), 2 tombstone, 3 out of window
    problem text, -- why it cannot be read
    span_start bigint, -- UTC [start, end); null while nothing readable is known
    span_end bigint, -- null: endless
    zone_data text, -- the version of the zone data the span was derived with
    lock_version bigint NOT NULL DEFAULT 0,
    recheck boolean NOT NULL DEFAULT FALSE, -- to be read singly, because a page about it was stale
    edited_at bigint, -- receipt of the pending local edits
    settled_at bigint, -- when a push of it was last answered
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    deleted_at bigint,
    UNIQUE (organization_id, calendar_id, provider_id)
);
CREATE INDEX events_span ON events (calendar_id, span_start);
CREATE INDEX events_meeting ON events (meeting_id);
CREATE INDEX events_recheck ON events (calendar_id) WHERE recheck;
CREATE INDEX events_missing ON events (connection_id) WHERE state = 1";
