//! The roles of Postgres: who may be what in a transaction.
//!
//! Roles belong to the whole cluster, so other databases may have made them, or be making them just now.

use sea_orm_migration::prelude::*;

use crate::dialect::run_on_postgres;

/// Creates the roles `calfleet`, `calfleet_app` and `calfleet_fleet` where they are absent.
#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run_on_postgres(manager, UP).await
    }

    /// The roles stay: other databases of the cluster may use them.
    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}

/// `calfleet` logs in and by itself may only see which migrations there were; an operator gives it a password. Whoever migrates may take
/// the two other roles too, so that a small installation can do with one login.
const UP: &str = "
DO $$
DECLARE tries integer := 0;
BEGIN
    LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'calfleet_app') THEN
                CREATE ROLE calfleet_app NOLOGIN NOINHERIT;
            END IF;
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'calfleet_fleet') THEN
                CREATE ROLE calfleet_fleet NOLOGIN NOINHERIT;
            END IF;
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'calfleet') THEN
                CREATE ROLE calfleet LOGIN NOINHERIT;
            END IF;
            IF NOT pg_has_role('calfleet', 'calfleet_app', 'MEMBER') THEN
                GRANT calfleet_app TO calfleet;
            END IF;
            IF NOT pg_has_role('calfleet', 'calfleet_fleet', 'MEMBER') THEN
                GRANT calfleet_fleet TO calfleet;
            END IF;
            -- an admin option alone, which Postgres 16 gives to whoever made a role, is no membership to use
            IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
                EXECUTE format('GRANT calfleet_app, calfleet_fleet TO %I', current_user);
            END IF;
            EXIT;
        -- another database of the cluster is doing the same; internal_error is 'tuple concurrently updated'
        EXCEPTION WHEN duplicate_object OR unique_violation OR internal_error THEN
            tries := tries + 1;
            IF tries > 50 THEN
                RAISE;
            END IF;
            PERFORM pg_sleep(0.02);
        END;
    END LOOP;
END
$$;
GRANT USAGE ON SCHEMA public TO calfleet, calfleet_app, calfleet_fleet;
GRANT SELECT ON seaql_migrations TO calfleet;
";
