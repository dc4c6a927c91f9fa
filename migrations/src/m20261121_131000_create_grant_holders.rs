//! Who holds a grant: connections of any organization that the same account granted to the same client. To end it for
//! one ends it for all, so the fleet has to see them together; it sees a hash and ids.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `grant_holders`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "grant_holders", Wall::OrganizationAndFleet, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE grant_holders").await
    }
}

const UP: &str = "CREATE TABLE grant_holders (
    organization_id {uuid} NOT NULL,
    connection_id {uuid} NOT NULL,
    grant_hash {bytes} NOT NULL, -- of provider, client and account
    PRIMARY KEY (organization_id, connection_id),
    FOREIGN KEY (organization_id, connection_id) REFERENCES connections (organization_id, id) ON DELETE CASCADE
);
CREATE INDEX grant_holders_hash ON grant_holders (grant_hash)";
