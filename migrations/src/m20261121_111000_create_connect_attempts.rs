//! Sign-ins under way: from the consent page to the confirmation by whoever began.

use sea_orm_migration::prelude::*;

use crate::dialect::run;
use crate::tenancy::{Wall, Writes, protect};

/// Creates the table `connect_attempts`.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await?;
        protect(manager, "connect_attempts", Wall::Organization, Writes::Any).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP TABLE connect_attempts").await
    }
}

const UP: &str = "CREATE TABLE connect_attempts (
    organization_id {uuid} NOT NULL,
    id {uuid} NOT NULL,
    provider text NOT NULL,
    user_id {uuid}, -- for whom; null: the organization's own
    connection_id {uuid}, -- the connection that is to be renewed; null for any
    nonce text NOT NULL,
    return_url text NOT NULL,
    verifier_key text NOT NULL,
    verifier {bytes} NOT NULL, -- sealed
    code_key text,
    code {bytes}, -- sealed; null until the person is back
    ticket_hash {bytes}, -- of the one-time id that the person brings to the application
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    confirmed_at bigint, -- the code was taken for its exchange
    PRIMARY KEY (organization_id, id)
);
CREATE UNIQUE INDEX connect_attempts_ticket ON connect_attempts (ticket_hash) WHERE ticket_hash IS NOT NULL";
