//! The job `watch`: sees to it that a calendar's provider tells of its changes, for as long as that is wanted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::{Claim, Finish};
use calfleet_domain::model::{CalendarId, CalendarState, ConnectionState, WatchId};
use calfleet_providers::driver::{self, CalendarRef, Driver, DriverError, WatchRequest};
use calfleet_service::drivers::{Drivers, OpenError};
use calfleet_service::tokens::{Access, TokenError, Tokens};
use calfleet_store::calendars::{self, Calendar};
use calfleet_store::connections::{self, Connection};
use calfleet_store::doors::{self, DoorKind, SecretHash};
use calfleet_store::watches::{self, Agreed, NewWatch, Watch};
use calfleet_store::{Priority, Scope, Store, StoreError, Tx, work};
use secrecy::ExposeSecret as _;
use url::Url;

use super::Handler;
use crate::outcome::{Ending, of_run};
use crate::watch::{Begin, Decision, Wish, decide, renewal};

/// The longest wait between two attempts: there is half of a watch's life for them.
const LONGEST_BACKOFF: Duration = Duration::from_hours(1);
/// How long a provider's "this calendar cannot be watched" is believed.
const REFUSAL_STANDS: Duration = Duration::from_hours(24);
/// How long a watch waits for somebody else's refresh.
const REFRESH_TAKES: Duration = Duration::from_secs(1);
/// What people read where nothing can be watched.
const UNREACHABLE: &str = "Providers cannot reach this installation because api.public_url is not set.";

/// The numbers of watches.
#[derive(Debug, Clone)]
pub struct WatchSettings {
    /// Where providers reach this installation; `None` where they cannot.
    pub public_url: Option<Url>,
    /// For how long a watch is asked for. Nothing that loses its owner and its credentials outlives them for longer.
    pub lifetime: Duration,
    /// How long a lease lasts from a commit on.
    pub lease: Duration,
}

/// The handler of `watch`.
#[derive(Debug)]
pub struct RenewWatch {
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
    pub settings: WatchSettings,
}

/// What ends a run early.
#[derive(Debug, thiserror::Error)]
enum Stop {
    /// Our own store failed, or the lease was lost.
    #[error("keep a watch")]
    Store(#[from] StoreError),
    /// The provider failed or refused.
    #[error("ask the provider")]
    Driver(#[from] DriverError),
    /// The account cannot be opened for want of something of our own.
    #[error("open the account")]
    Unopened,
}

/// What the run is about, as it was read.
#[derive(Debug)]
struct Facts {
    calendar: Option<Calendar>,
    connection: Connection,
    watches: Vec<Watch>,
}

#[async_trait]
impl Handler for RenewWatch {
    #[tracing::instrument(name = "job.renew_watch", skip_all, fields(calendar.id = %claim.key.target))]
    async fn run(&self, claim: &Claim) -> Result<Finish, StoreError> {
        let Some(facts) = self.read(claim).await? else {
            return Ok(Finish::done(Timestamp::NEVER)); // disconnected meanwhile
        };
        let now = self.clock.now();
        let decision = decide(self.wish(&facts), &facts.watches, now);
        // Without credentials nothing can be asked; what is watched ends by itself, and a new sign-in asks again.
        let may_ask = matches!(facts.connection.state, ConnectionState::Active | ConnectionState::Paused);
        self.forget(claim, &decision.forget).await?;
        if decision.stop.is_empty() && decision.begin == Begin::Nothing || !may_ask {
            return Ok(self.rest(decision.next));
        }
        match self.tokens.ensure(&facts.connection).await {
            Ok(Access::Ready { .. }) => {}
            Ok(Access::Busy) => {
                let next = now.plus(REFRESH_TAKES);
                return Ok(Finish { attempt: claim.attempt, ..Finish::done(next) });
            }
            Ok(Access::Ended(_)) => return Ok(Finish::done(Timestamp::NEVER)),
            Ok(Access::Failed(error)) => return Ok(self.failed(claim, &Stop::Driver(error))),
            Err(TokenError::Store(error)) => return Err(error),
            Err(TokenError::Vault(_)) => return Ok(self.failed(claim, &Stop::Unopened)),
        }
        match self.work(claim, &facts, &decision).await {
            Ok(next) => Ok(self.rest(next)),
            Err(Stop::Store(error)) => Err(error),
            Err(stop) => Ok(self.failed(claim, &stop)),
        }
    }
}

impl RenewWatch {
    async fn read(&self, claim: &Claim) -> Result<Option<Facts>, StoreError> {
        let tx = self.store.read(scope(claim)).await?;
        let id = CalendarId(claim.key.target);
        let calendar = calendars::load(&tx, id).await?;
        let watches = watches::of_calendar(&tx, id).await?;
        let watched_by = watches.first().map(|watch| watch.connection_id);
        let Some(connection) = calendar.as_ref().map(|calendar| calendar.connection_id).or(watched_by) else {
            return Ok(None);
        };
        let connection = connections::load(&tx, connection).await?;
        Ok(connection.map(|connection| Facts { calendar, connection, watches }))
    }

    fn wish(&self, facts: &Facts) -> Wish {
        let is_synced = |calendar: &Calendar| calendar.is_selected && calendar.state != CalendarState::Gone;
        let is_wanted = facts.connection.state == ConnectionState::Active
            && facts.calendar.as_ref().is_some_and(is_synced)
            && self.settings.public_url.is_some();
        if is_wanted { Wish::Watched } else { Wish::Unwatched }
    }

    /// Does what was decided; when to look again.
    async fn work(&self, claim: &Claim, facts: &Facts, decision: &Decision) -> Result<Timestamp, Stop> {
        let driver = match self.drivers.open(&facts.connection).await {
            Ok(driver) => driver,
            Err(OpenError::Store(error)) => return Err(error.into()),
            Err(OpenError::Driver(error)) => return Err(error.into()),
            Err(_) => return Err(Stop::Unopened),
        };
        for watch in &decision.stop {
            driver.unwatch(&named(watch)).await?;
            self.forget(claim, &[watch.id]).await?;
        }
        let last = match &decision.begin {
            Begin::Nothing => return Ok(decision.next),
            _ if !driver.capabilities().watches => return Ok(Timestamp::NEVER),
            Begin::Fresh => None,
            Begin::Renewal(last) => Some(last),
        };
        match (&facts.calendar, &self.settings.public_url) {
            (Some(calendar), Some(url)) => {
                self.begin(claim, driver.as_ref(), facts, calendar, url, last).await
            }
            _ => Ok(decision.next),
        }
    }

    /// Writes the watch down, asks for it, and keeps what was agreed.
    async fn begin(
        &self,
        claim: &Claim,
        driver: &dyn Driver,
        facts: &Facts,
        calendar: &Calendar,
        url: &Url,
        last: Option<&Watch>,
    ) -> Result<Timestamp, Stop> {
        let now = self.clock.now();
        let until = now.plus(self.settings.lifetime);
        let id = WatchId(self.rng.uuid(now));
        let path = format!("notifications/{}", facts.connection.settings.provider);
        let (Ok(secret), Ok(url)) = (doors::new_secret(""), url.join(&path)) else {
            return Err(Stop::Unopened);
        };
        let hash = SecretHash::of(DoorKind::Watch, secret.expose_secret().as_bytes());
        let new = NewWatch {
            id,
            connection_id: facts.connection.id,
            calendar_id: calendar.id,
            until,
            renew_at: renewal(until, now, self.rng.as_ref()),
        };
        let tx = self.store.begin(scope(claim), Priority::Background).await?;
        watches::begin(&tx, &new, &hash, now).await?;
        self.commit(tx, claim).await?;

        let asked = WatchRequest { id: id.0, url, secret, until };
        let reference = CalendarRef::from(&calendar.remote);
        let answer = driver.watch(&reference, &asked, last.map(named).as_ref()).await;

        let watch = match answer {
            Ok(watch) => watch,
            Err(error) => {
                // after an answer that was lost the watch may be there: its first notification will tell
                if error.class != FailureClass::Transient {
                    self.forget(claim, &[id]).await?;
                }
                return Err(error.into());
            }
        };
        let now = self.clock.now();
        let agreed = Agreed {
            renew_at: renewal(watch.expires_at, now, self.rng.as_ref()),
            provider_id: watch.id,
            resource: watch.resource,
            expires_at: watch.expires_at,
        };
        let tx = self.store.begin(scope(claim), Priority::Background).await?;
        match last.filter(|last| last.provider_id.as_ref() == Some(&agreed.provider_id)) {
            Some(prolonged) => {
                watches::agree(&tx, prolonged.id, &agreed).await?;
                watches::forget(&tx, &[id]).await?;
            }
            None => watches::agree(&tx, id, &agreed).await?,
        }
        self.commit(tx, claim).await?;
        Ok(agreed.renew_at)
    }

    async fn forget(&self, claim: &Claim, ids: &[WatchId]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let tx = self.store.begin(scope(claim), Priority::Background).await?;
        watches::forget(&tx, ids).await?;
        watches::forget_ended(&tx, self.clock.now()).await?;
        self.commit(tx, claim).await
    }

    async fn commit(&self, tx: Tx, claim: &Claim) -> Result<(), StoreError> {
        work::fence(&tx, claim, self.settings.lease, self.clock.now()).await?;
        tx.commit().await
    }

    fn rest(&self, next: Timestamp) -> Finish {
        let error = self.settings.public_url.is_none().then(|| UNREACHABLE.to_owned());
        Finish { error, ..Finish::done(next) }
    }

    /// The reason is kept with the row of `work` and shown with the calendar; polling goes on meanwhile.
    fn failed(&self, claim: &Claim, stop: &Stop) -> Finish {
        let (class, problem) = match stop {
            Stop::Driver(error) => (error.class, error.problem.to_string()),
            Stop::Store(_) | Stop::Unopened => (
                FailureClass::Transient,
                "The stored credentials could not be opened; the operator has to look at the keys."
                    .to_owned(),
            ),
        };
        tracing::info!(
            error = stop as &dyn std::error::Error,
            class = class.as_str(),
            "a calendar is not watched"
        );
        let now = self.clock.now();
        let ending = Ending::Failed { class, problem };
        let finish = of_run(&ending, claim.attempt, LONGEST_BACKOFF, now, self.rng.as_ref());
        if class == FailureClass::Permanent {
            let stands = REFUSAL_STANDS.saturating_sub(self.rng.jitter(REFUSAL_STANDS / 10));
            return Finish { next: now.plus(stands), not_before: Timestamp::ZERO, ..finish };
        }
        finish
    }
}

fn scope(claim: &Claim) -> Scope {
    Scope::Organization(claim.organization_id)
}

/// The watch as its provider knows it.
fn named(watch: &Watch) -> driver::Watch {
    driver::Watch {
        id: watch.provider_id.clone().unwrap_or_default(),
        resource: watch.resource.clone(),
        expires_at: watch.expires_at,
    }
}
