//! The job `sync`: brings the calendars of one connection up to date with its provider.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::{Claim, Finish, WorkState};
use calfleet_domain::model::{ConnectionId, ConnectionState, RunId};
use calfleet_providers::driver::Driver;
use calfleet_service::drivers::{Drivers, OpenError};
use calfleet_service::tokens::{Access, TokenError, Tokens};
use calfleet_store::connections::{self, Connection};
use calfleet_store::runs::{self, Run};
use calfleet_store::{LastProblem, Priority, Scope, Store, StoreError, work};

use super::Handler;
use crate::outcome::{Ending, of_sync};
use crate::sync::{self, Report, Sync, SyncSettings};

/// How long a sync waits for somebody else's refresh.
const REFRESH_TAKES: Duration = Duration::from_secs(1);

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
        let id = ConnectionId(claim.key.target);
        let scope = Scope::Organization(claim.organization_id);
        let connection = {
            let tx = self.store.read(scope).await?;
            connections::load(&tx, id).await?
        };
        let Some(connection) = connection else {
            return Ok(Finish::done(Timestamp::NEVER)); // disconnected meanwhile
        };
        if let Some(finish) = at_rest(connection.state) {
            return Ok(finish);
        }
        let opened = match self.tokens.ensure(&connection).await {
            Ok(Access::Ready { .. }) => self.drivers.open(&connection).await,
            // Somebody refreshes it just now: a moment, and no attempt.
            Ok(Access::Busy) => {
                let next = started_at.plus(REFRESH_TAKES);
                return Ok(Finish { attempt: claim.attempt, ..Finish::done(next) });
            }
            Ok(Access::Ended(_)) => {
                return Ok(Finish { state: WorkState::Held, ..Finish::done(Timestamp::NEVER) });
            }
            Ok(Access::Failed(error)) => Err(OpenError::Driver(error)),
            Err(TokenError::Store(error)) => return Err(error),
            Err(TokenError::Vault(error)) => Err(OpenError::Vault(error)),
        };
        let (report, requests) = match opened {
            Ok(driver) => {
                let report = self.sync(claim, &connection, driver.as_ref()).await?;
                if report.has_refused_token {
                    self.distrust(&connection).await?;
                }
                (report, driver.requests_sent())
            }
            Err(OpenError::Store(error)) => return Err(error),
            Err(error) => (self.unopened(claim, &connection, error).await?, 0),
        };
        self.record(claim, &connection, &report, started_at, requests).await?;
        let longest = connection.settings.poll_interval;
        Ok(of_sync(&report.ending, claim.attempt, longest, self.clock.now(), self.rng.as_ref()))
    }
}

impl SyncConnection {
    async fn sync(
        &self,
        claim: &Claim,
        connection: &Connection,
        driver: &dyn Driver,
    ) -> Result<Report, StoreError> {
        let run = Sync {
            store: &self.store,
            clock: self.clock.as_ref(),
            rng: self.rng.as_ref(),
            driver,
            claim,
            connection,
            settings: &self.settings,
        };
        Box::pin(sync::connection(run)).await
    }

    /// The API refused the access token: the next run, in a moment, refreshes it first.
    async fn distrust(&self, connection: &Connection) -> Result<(), StoreError> {
        match self.tokens.distrust(connection).await {
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
        tracing::warn!(error = &error as &dyn std::error::Error, "a connection's driver could not be opened");
        let now = self.clock.now();
        let (class, code, text) = match error {
            OpenError::Driver(error) => (error.class, error.problem.code(), error.problem.to_string()),
            OpenError::Url(_) | OpenError::Capabilities(_) => (
                FailureClass::Permanent,
                "unusable_account",
                "What is stored of this account cannot be used; connect it again.".to_owned(),
            ),
            OpenError::Store(_) | OpenError::Vault(_) => (
                FailureClass::Transient,
                "vault_closed",
                "The stored credentials could not be opened; the operator has to look at the keys."
                    .to_owned(),
            ),
        };
        let problem = LastProblem { code: code.to_owned(), text: text.clone(), at: now };
        let scope = Scope::Organization(connection.organization_id);
        let tx = self.store.begin(scope, Priority::Background).await?;
        connections::set_problem(&tx, connection.id, Some(&problem), now).await?;
        work::fence(&tx, claim, self.settings.lease, now).await?;
        tx.commit().await?;
        let ending = Ending::Failed { class, problem: text.clone() };
        let failure = Some(sync::Failure { class, problem: text });
        Ok(Report { ending, counts: sync::Counts::default(), failure, has_refused_token: false })
    }

    /// A run that changed something or failed leaves a row; a poll without change does not.
    async fn record(
        &self,
        claim: &Claim,
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
            id: RunId(self.rng.uuid(finished_at)),
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
        work::fence(&tx, claim, self.settings.lease, finished_at).await?;
        tx.commit().await
    }
}

/// What becomes of the row of a connection that is not to be synced.
fn at_rest(state: ConnectionState) -> Option<Finish> {
    let finish = Finish::done(Timestamp::NEVER);
    match state {
        ConnectionState::Active => None,
        ConnectionState::Paused => Some(Finish { state: WorkState::Paused, ..finish }),
        ConnectionState::NeedsReauth => Some(Finish { state: WorkState::Held, ..finish }),
        ConnectionState::Disconnected => Some(finish),
    }
}
