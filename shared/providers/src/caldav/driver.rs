//! A CalDAV account behind the trait.

use std::sync::Arc;

use async_trait::async_trait;
use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Authentication, Listing, Member, ProviderId, RemoteCalendar, RemoteChange};
use calfleet_domain::recurrence::zone;
use tokio::sync::mpsc;
use url::Url;

use super::cursor::Start;
use super::discover::Discovery;
use super::exchange::Exchange;
use super::href::Collection;
use super::listing::Lister;
use super::probe::{self, READ_BATCH};
use super::reading::{Pace, Reader};
use super::services::Services;
use super::writing::Writer;
use crate::driver::{
    Account, CalendarRef, Capabilities, ChangePage, Driver, DriverError, ListingMode, ProbeReport, Problem,
    Since, Write, Written,
};
use crate::marker::Marks;
use crate::surroundings::Surroundings;

/// One account at a CalDAV server.
#[derive(Debug)]
pub struct CaldavDriver {
    exchange: Exchange,
    url: Url,
    capabilities: Option<Capabilities>,
    services: Arc<dyn Services>,
    has_credentials: bool,
    username: Option<String>,
    marks: Marks,
    pace: Pace,
}

impl CaldavDriver {
    /// Opens an account. Nothing is sent yet.
    pub fn open(account: Account, surroundings: &Surroundings) -> Self {
        let session = surroundings.session(&account.url, &account);
        Self {
            exchange: Exchange { session, clock: surroundings.clock.clone() },
            url: account.url,
            capabilities: account.capabilities,
            services: surroundings.services.clone(),
            has_credentials: account.authentication != Authentication::None,
            username: account.username,
            marks: account.marks,
            pace: Pace::unbounded(),
        }
    }

    fn discovery(&self) -> Discovery<'_> {
        Discovery {
            exchange: &self.exchange,
            start: &self.url,
            services: self.services.as_ref(),
            has_credentials: self.has_credentials,
        }
    }

    /// A calendar's id is its path at the account's origin, or a whole address that discovery has found.
    fn collection(&self, operation: &'static str, calendar: &CalendarRef) -> Result<Collection, DriverError> {
        let url = self.url.join(calendar.provider_id.as_str()).map_err(|error| {
            let problem = Problem::InvalidUrl { reason: "it is no calendar's address".to_owned() };
            DriverError::new(operation, FailureClass::Permanent, problem).caused_by(error)
        })?;
        self.exchange.session.trust(&url);
        Ok(Collection::new(url))
    }
}

/// Whether a refusal is of the question itself, in whatever it was asked about.
fn is_unsupported(error: &DriverError) -> bool {
    matches!(error.problem, Problem::Refused { status: 405 | 415 | 501 })
}

#[async_trait]
impl Driver for CaldavDriver {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone().unwrap_or(Capabilities {
            listing: ListingMode::EntityTags,
            reads_singly: true,
            read_batch: READ_BATCH,
            writes: false,
            write_batch: 1,
            schedules: false,
            watches: false,
        })
    }

    fn requests_sent(&self) -> u64 {
        self.exchange.session.requests_sent()
    }

    async fn probe(&self) -> Result<ProbeReport, DriverError> {
        probe::run(&self.discovery(), self.username.as_deref()).await
    }

    async fn list_calendars(&self) -> Result<Vec<RemoteCalendar>, DriverError> {
        let discovery = self.discovery();
        let site = discovery.site().await?;
        Ok(discovery.calendars(&site).await?.into_iter().map(|found| found.calendar).collect())
    }

    async fn list_changes(
        &self,
        calendar: &CalendarRef,
        since: &Since,
        members: &mpsc::Sender<Vec<Member>>,
    ) -> Result<ChangePage, DriverError> {
        let collection = self.collection("list changes", calendar)?;
        let lister = Lister { exchange: &self.exchange, collection: &collection, members };
        let start = Start::of(since, self.capabilities().listing)
            .ok_or_else(|| DriverError::new("list changes", FailureClass::Gone, Problem::CursorExpired))?;
        match start {
            Start::Sync { token, listing } => {
                let listing = if token.is_empty() { Listing::Full } else { listing };
                match lister.by_token(token, listing).await {
                    // Not this one of its calendars: the cursor of its tag says how it is listed from now on, until
                    // everything is compared again.
                    Err(error) if is_unsupported(&error) => lister.by_tag(None).await,
                    other => other,
                }
            }
            Start::Tag(known) => lister.by_tag(known).await,
            Start::Everything => lister.by_entity_tags().await,
        }
    }

    async fn list_within(
        &self,
        calendar: &CalendarRef,
        from: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<ProviderId>, DriverError> {
        let (Some(from), Some(until)) = (from.to_utc(), until.to_utc()) else { return Ok(Vec::new()) };
        let collection = self.collection("list changes", calendar)?;
        let (members, _) = mpsc::channel(1);
        let lister = Lister { exchange: &self.exchange, collection: &collection, members: &members };
        lister.within((from, until), most).await
    }

    async fn read(
        &self,
        calendar: &CalendarRef,
        ids: &[ProviderId],
    ) -> Result<Vec<RemoteChange>, DriverError> {
        let collection = self.collection("read events", calendar)?;
        let zone = calendar.time_zone.as_deref().and_then(zone::iana);
        Reader { exchange: &self.exchange, collection: &collection, zone, pace: &self.pace }.read(ids).await
    }

    async fn write(&self, calendar: &CalendarRef, write: &Write<'_>) -> Result<Written, DriverError> {
        let collection = self.collection("write an event", calendar)?;
        let zone = calendar.time_zone.as_deref().and_then(zone::iana);
        let reader = Reader { exchange: &self.exchange, collection: &collection, zone, pace: &self.pace };
        Writer { reader, calendar: calendar.provider_id.as_str(), marks: &self.marks }.write(write).await
    }
}
