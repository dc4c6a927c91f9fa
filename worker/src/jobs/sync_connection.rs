//! The job `sync`: brings the calendars of one connection up to date with its provider.

use std::sync::Arc;

use async_trait::async_trait;
use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::job::{Claim, Finish};
use calfleet_domain::model::RunId;
use calfleet_providers::driver::Driver;
use calfleet_service::drivers::{Drivers, OpenError};
use calfleet_service::tokens::{TokenError, Tokens};
use calfleet_store::connections::{self, Connection};
use calfleet_store::runs::{self, Run};
use calfleet_store::{Priority, Scope, Store, StoreError, watches, work};

use super::Handler;
use super::account::{self, Opened};
use crate::outcome::{Ending, of_run};
use crate::sync::{self, Report, Sync, SyncSettings};
use crate::watch::{self, LATEST_NOTIFICATION};

/// The handler of `sync`.
#[derive(Debug)]
pub struct SyncConnection {
    /// The database.
    pub store: Store,
    /// The fleet's clock.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub rng: Arc<dyn Rng>,
    /// Where drivers come from.
    pub drivers: Drivers,
    /// Who sees to it that tokens are good.
    pub tokens: Tokens,
    /// The numbers.
    pub settings: SyncSettings,
}

#[async_trait]
impl Handler for SyncConnection {
    #[tracing::instrument(name = "job.sync_connection", skip_all, fields(connection.id = %claim.key.target))]
    async fn run(&self, claim: &Claim) -> Result<Finish, StoreError> {
        let started_at = self.clock.now();
        let id = RunId(self.rng.uuid(started_at));
        let connection = match account::connection(&self.store, claim).await? {
            Ok(connection) => connection,
            Err(finish) => return Ok(finish),
        };
        let opened = account::open(&self.tokens, &self.drivers, claim, &connection).await?;
        let opened_at = self.clock.now();
        let (report, requests) = match opened {
            Opened::Ready(driver) => {
                let report = self.sync((claim, id), &connection, &driver).await?;
                if report.has_refused_token {
                    self.distrust(&connection, opened_at).await?;
                }
                (report, driver.requests_sent())
            }
            Opened::Later(finish) => return Ok(finish),
            Opened::Unusable(error) => (self.unopened(claim, &connection, error).await?, 0),
        };
        self.record((claim, id), &connection, &report, started_at, requests).await?;
        let longest = connection.settings.poll_interval;
        Ok(of_run(&report.ending, claim.attempt, longest, self.clock.now(), self.rng.as_ref()))
    }
}

impl SyncConnection {
    async fn sync(
        &self,
        (claim, run): (&Claim, RunId),
        connection: &Connection,
        driver: &Arc<dyn Driver>,
    ) -> Result<Report, StoreError> {
        let run = Sync {
            store: &self.store,
            clock: &self.clock,
            rng: self.rng.as_ref(),
            driver,
            claim,
            run,
            connection,
            settings: &self.settings,
        };
        Box::pin(sync::connection(run)).await
    }

    /// The API refused the access token: the next run, in a moment, refreshes it first.
    async fn distrust(&self, connection: &Connection, opened_at: Timestamp) -> Result<(), StoreError> {
        match self.tokens.distrust(connection, opened_at).await {
            Ok(()) | Err(TokenError::Vault(_)) => Ok(()),
            Err(TokenError::Store(error)) => Err(error),
        }
    }

    /// What is stored of the account cannot be used: shown with the connection, tried again as any failure.
    async fn unopened(
        &self,
        claim: &Claim,
        connection: &Connection,
        error: OpenError,
    ) -> Result<Report, StoreError> {
        let now = self.clock.now();
        let (class, problem) = account::unusable(error, now);
        let scope = Scope::Organization(connection.organization_id);
        let tx = self.store.begin(scope, Priority::Background).await?;
        connections::set_problem(&tx, connection.id, Some(&problem), now).await?;
        work::fence(&tx, claim, self.settings.lease, now).await?;
        tx.commit().await?;
        let ending = Ending::Failed { class, problem: problem.text.clone() };
        let failure = Some(sync::Failure { class, problem: problem.text });
        let counts = sync::Counts::default();
        Ok(Report { ending, counts, failure, has_refused_token: false, found: Vec::new() })
    }

    /// A run that changed something or failed leaves a row; a poll without change does not.
    async fn record(
        &self,
        (claim, id): (&Claim, RunId),
        connection: &Connection,
        report: &Report,
        started_at: Timestamp,
        requests: u64,
    ) -> Result<(), StoreError> {
        if !report.counts.has_changes() && report.failure.is_none() {
            return Ok(());
        }
        let finished_at = self.clock.now();
        let run = Run {
            id,
            organization_id: connection.organization_id,
            connection_id: Some(connection.id),
            key: claim.key,
            started_at,
            finished_at,
            attempt: i32::try_from(claim.attempt).unwrap_or(i32::MAX),
            class: report.failure.as_ref().map(|failure| failure.class),
            message: report.failure.as_ref().map(|failure| failure.problem.clone()),
            requests: i32::try_from(requests).unwrap_or(i32::MAX),
            changes: serde_json::to_value(report.counts).ok(),
            trace: None,
        };
        let scope = Scope::Organization(connection.organization_id);
        let tx = self.store.begin(scope, Priority::Background).await?;
        runs::record(&tx, &[run]).await?;
        let doubted = watches::doubt(&tx, &report.found, finished_at).await?;
        work::fence(&tx, claim, self.settings.lease, finished_at).await?;
        let at = finished_at.plus(LATEST_NOTIFICATION);
        let asks = doubted.into_iter().map(|calendar| watch::ask(connection, calendar, at));
        work::ask(&tx, &asks.collect::<Vec<_>>()).await?;
        tx.commit().await
    }
}
