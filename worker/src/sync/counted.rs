//! A driver that counts how often it was called, for the record of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use calfleet_domain::model::{Member, ProviderId, RemoteCalendar, RemoteChange};
use calfleet_providers::driver::{
    CalendarRef, Capabilities, ChangePage, Driver, DriverError, ProbeReport, Since,
};
use tokio::sync::mpsc;

/// A driver that counts calls; a call is one request, unless the driver had to ask again.
#[derive(Debug)]
pub struct Counted {
    driver: Arc<dyn Driver>,
    calls: AtomicU32,
}

impl Counted {
    /// Counts from zero.
    pub fn new(driver: Arc<dyn Driver>) -> Self {
        Self { driver, calls: AtomicU32::new(0) }
    }

    /// Calls so far.
    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    fn called(&self) -> &dyn Driver {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.driver.as_ref()
    }
}

#[async_trait]
impl Driver for Counted {
    fn capabilities(&self) -> Capabilities {
        self.driver.capabilities()
    }

    async fn probe(&self) -> Result<ProbeReport, DriverError> {
        self.called().probe().await
    }

    async fn list_calendars(&self) -> Result<Vec<RemoteCalendar>, DriverError> {
        self.called().list_calendars().await
    }

    async fn list_changes(
        &self,
        calendar: &CalendarRef,
        since: &Since,
        members: &mpsc::Sender<Vec<Member>>,
    ) -> Result<ChangePage, DriverError> {
        self.called().list_changes(calendar, since, members).await
    }

    async fn read(
        &self,
        calendar: &CalendarRef,
        ids: &[ProviderId],
    ) -> Result<Vec<RemoteChange>, DriverError> {
        self.called().read(calendar, ids).await
    }
}
