//! The job `push`: brings what waits in a connection's outbox to its provider.

use std::sync::Arc;

use async_trait::async_trait;
use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::{Claim, Finish};
use calfleet_domain::model::RunId;
use calfleet_providers::driver::Driver;
use calfleet_service::drivers::Drivers;
use calfleet_service::tokens::{TokenError, Tokens};
use calfleet_store::connections::Connection;
use calfleet_store::runs::{self, Run};
use calfleet_store::{Priority, Scope, Store, StoreError, work};

use super::Handler;
use super::account::{self, Opened};
use crate::outcome::{Ending, LONGEST_BACKOFF, of_run};
use crate::push::{self, Push, PushSettings, Pushed, Report};

/// The handler of `push`.
#[derive(Debug)]
pub struct PushOutbox {
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
    pub settings: PushSettings,
}

#[async_trait]
impl Handler for PushOutbox {
    #[tracing::instrument(name = "job.push_outbox", skip_all, fields(connection.id = %claim.key.target))]
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
                let report = self.push((claim, id), &connection, driver.as_ref()).await?;
                (report, driver.requests_sent())
            }
            Opened::Later(finish) => return Ok(finish),
            Opened::Unusable(error) => {
                let (class, problem) = account::unusable(error, started_at);
                let ending = Ending::Failed { class, problem: problem.text.clone() };
                let failure = Some((class, problem.text));
                (Report { ending, pushed: Pushed::default(), failure, has_refused_token: false }, 0)
            }
        };
        if report.has_refused_token {
            self.distrust(&connection, opened_at).await?;
        }
        self.record((claim, id), &connection, &report, started_at, requests).await?;
        let now = self.clock.now();
        Ok(match &report.ending {
            // The next run refreshes the token first; that it stays refused is for the sync to find out.
            Ending::Failed { class: FailureClass::Auth, .. } if claim.attempt == 0 => {
                Finish { attempt: 1, ..Finish::done(now) }
            }
            ending => of_run(ending, claim.attempt, LONGEST_BACKOFF, now, self.rng.as_ref()),
        })
    }
}

impl PushOutbox {
    async fn push(
        &self,
        (claim, run): (&Claim, RunId),
        connection: &Connection,
        driver: &dyn Driver,
    ) -> Result<Report, StoreError> {
        let run = Push {
            store: &self.store,
            clock: self.clock.as_ref(),
            rng: self.rng.as_ref(),
            driver,
            claim,
            run,
            connection,
            settings: &self.settings,
        };
        Box::pin(push::connection(run)).await
    }

    async fn distrust(&self, connection: &Connection, opened_at: Timestamp) -> Result<(), StoreError> {
        match self.tokens.distrust(connection, opened_at).await {
            Ok(()) | Err(TokenError::Vault(_)) => Ok(()),
            Err(TokenError::Store(error)) => Err(error),
        }
    }

    /// A run that wrote something or failed leaves a row.
    async fn record(
        &self,
        (claim, id): (&Claim, RunId),
        connection: &Connection,
        report: &Report,
        started_at: Timestamp,
        requests: u64,
    ) -> Result<(), StoreError> {
        if report.pushed == Pushed::default() && report.failure.is_none() {
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
            class: report.failure.as_ref().map(|(class, _)| *class),
            message: report.failure.as_ref().map(|(_, text)| text.clone()),
            requests: i32::try_from(requests).unwrap_or(i32::MAX),
            changes: serde_json::to_value(report.pushed).ok(),
            trace: None,
        };
        let scope = Scope::Organization(connection.organization_id);
        let tx = self.store.begin(scope, Priority::Background).await?;
        runs::record(&tx, &[run]).await?;
        work::fence(&tx, claim, self.settings.lease, finished_at).await?;
        tx.commit().await
    }
}
