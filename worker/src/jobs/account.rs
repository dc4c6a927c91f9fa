//! From a claim to the driver of its connection, with a token that is good.

use std::sync::Arc;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::{Claim, Finish, Kind, Lane, WorkState};
use calfleet_domain::model::{ConnectionId, ConnectionState};
use calfleet_providers::driver::{Driver, Urgency};
use calfleet_service::drivers::{Drivers, OpenError};
use calfleet_service::tokens::{Access, REFRESH_TAKES, TokenError, Tokens};
use calfleet_store::connections::{self, Connection};
use calfleet_store::{LastProblem, Scope, Store, StoreError};

/// What came of opening a connection's account.
pub(super) enum Opened {
    /// Its driver.
    Ready(Arc<dyn Driver>),
    /// There is nothing to be done now.
    Later(Finish),
    /// It cannot be used.
    Unusable(OpenError),
}

/// The connection that a row is about, unless it is not to be worked for at present.
pub(super) async fn connection(
    store: &Store,
    claim: &Claim,
) -> Result<Result<Connection, Finish>, StoreError> {
    let tx = store.read(Scope::Organization(claim.organization_id)).await?;
    let Some(connection) = connections::load(&tx, ConnectionId(claim.key.target)).await? else {
        return Ok(Err(Finish::done(Timestamp::NEVER))); // disconnected meanwhile
    };
    let finish = Finish::done(Timestamp::NEVER);
    Ok(match connection.state {
        ConnectionState::Active => Ok(connection),
        ConnectionState::Paused => Err(Finish { state: WorkState::Paused, ..finish }),
        ConnectionState::NeedsReauth => Err(Finish { state: WorkState::Held, ..finish }),
        ConnectionState::Disconnected => Err(finish),
    })
}

/// Sees to the token and opens the driver.
pub(super) async fn open(
    tokens: &Tokens,
    drivers: &Drivers,
    claim: &Claim,
    connection: &Connection,
) -> Result<Opened, StoreError> {
    let error = match tokens.ensure(connection).await {
        Ok(Access::Ready { .. }) => match drivers.open_for(connection, urgency(claim)).await {
            Ok(driver) => return Ok(Opened::Ready(driver)),
            Err(error) => error,
        },
        // Somebody refreshes it just now: a moment, and no attempt.
        Ok(Access::Busy) => {
            let next = tokens.clock.now().plus(REFRESH_TAKES);
            return Ok(Opened::Later(Finish { attempt: claim.attempt, ..Finish::done(next) }));
        }
        Ok(Access::Ended(_)) => {
            let held = Finish { state: WorkState::Held, ..Finish::done(Timestamp::NEVER) };
            return Ok(Opened::Later(held));
        }
        Ok(Access::Failed(error)) => OpenError::Driver(error),
        Err(TokenError::Store(error)) => return Err(error),
        Err(TokenError::Vault(error)) => OpenError::Vault(error),
    };
    match error {
        OpenError::Store(error) => Err(error),
        error => Ok(Opened::Unusable(error)),
    }
}

/// A person waits for what he asked for, and for what he wrote to be at the provider.
fn urgency(claim: &Claim) -> Urgency {
    match (claim.key.kind, claim.lane) {
        (Kind::Push, _) | (_, Lane::Interactive) => Urgency::Interactive,
        _ => Urgency::Background,
    }
}

/// Why an account cannot be used, in a class and for people.
pub(super) fn unusable(error: OpenError, now: Timestamp) -> (FailureClass, LastProblem) {
    tracing::warn!(error = &error as &dyn std::error::Error, "a connection's driver could not be opened");
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
            "The stored credentials could not be opened; the operator has to look at the keys.".to_owned(),
        ),
    };
    (class, LastProblem { code: code.to_owned(), text, at: now })
}
