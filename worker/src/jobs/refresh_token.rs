//! The job `refresh`: renews a connection's tokens ahead of time.

use std::sync::Arc;

use async_trait::async_trait;
use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::job::{Claim, Finish, WorkState};
use calfleet_domain::model::{ConnectionId, ConnectionState};
use calfleet_service::tokens::{Access, TokenError, Tokens};
use calfleet_store::{Scope, Store, StoreError, connections};

use super::Handler;
use crate::outcome::{Ending, LONGEST_BACKOFF, of_run};

/// The handler of `refresh`.
#[derive(Debug)]
pub struct RefreshToken {
    /// The database.
    pub store: Store,
    /// The fleet's clock.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub rng: Arc<dyn Rng>,
    /// Who refreshes.
    pub tokens: Tokens,
}

#[async_trait]
impl Handler for RefreshToken {
    #[tracing::instrument(name = "job.refresh_token", skip_all, fields(connection.id = %claim.key.target))]
    async fn run(&self, claim: &Claim) -> Result<Finish, StoreError> {
        let id = ConnectionId(claim.key.target);
        let tx = self.store.read(Scope::Organization(claim.organization_id)).await?;
        let connection = connections::load(&tx, id).await?;
        drop(tx);
        let Some(connection) = connection else {
            return Ok(Finish::done(Timestamp::NEVER)); // disconnected meanwhile
        };
        let held = Finish { state: WorkState::Held, ..Finish::done(Timestamp::NEVER) };
        match connection.state {
            // A paused connection keeps its grant alive: what is idle for too long dies at the provider.
            ConnectionState::Active | ConnectionState::Paused => {}
            ConnectionState::NeedsReauth => return Ok(held),
            ConnectionState::Disconnected => return Ok(Finish::done(Timestamp::NEVER)),
        }
        let now = || self.clock.now();
        match self.tokens.refresh(claim, &connection).await {
            Ok(Access::Ready { until }) => Ok(Finish::done(self.tokens.ahead(until))),
            Ok(Access::Busy) => Ok(Finish::done(now())),
            Ok(Access::Ended(error)) => Ok(Finish { error: Some(error.problem.to_string()), ..held }),
            Ok(Access::Failed(error)) => {
                tracing::info!(error = %error, class = error.class.as_str(), "a token could not be refreshed");
                let ending = Ending::Failed { class: error.class, problem: error.problem.to_string() };
                Ok(of_run(&ending, claim.attempt, LONGEST_BACKOFF, now(), self.rng.as_ref()))
            }
            Err(TokenError::Store(error)) => Err(error),
            Err(TokenError::Vault(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a stored token cannot be opened");
                let problem =
                    "The stored credentials could not be opened; the operator has to look at the keys.";
                let class = calfleet_domain::failure::FailureClass::Transient;
                let ending = Ending::Failed { class, problem: problem.to_owned() };
                Ok(of_run(&ending, claim.attempt, LONGEST_BACKOFF, now(), self.rng.as_ref()))
            }
        }
    }
}
