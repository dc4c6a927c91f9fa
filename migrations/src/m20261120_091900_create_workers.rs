//! Workers: the processes of the fleet that take work.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `workers`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "workers", Wall::Fleet, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE workers").await
    }
}

const UP: &str = "CREATE TABLE workers (
    id {uuid} PRIMARY KEY,
    name text NOT NULL,
    version text NOT NULL,
    slots integer NOT NULL,
    running integer NOT NULL,
    is_draining boolean NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL
) {by_key}";
