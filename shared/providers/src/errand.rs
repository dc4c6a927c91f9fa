//! What a driver is asked to do for several events at once.

use std::slice;

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{ProviderId, RemoteChange};

use crate::driver::{Agreed, CalendarRef, Driver, DriverError, Problem, Write, Written};
use crate::instances::detached;

/// One thing among several that are done together; each is about another event.
#[derive(Debug, Clone, Copy)]
pub enum Errand<'a> {
    /// The object is read before it is written again: an earlier attempt may have been applied.
    Look(&'a CalendarRef, &'a ProviderId),
    /// The same of a series whose master is out of sight: the objects of its instances are read, because of the series
    /// itself a provider only says that it is not there.
    LookAtInstances(&'a CalendarRef, &'a ProviderId, Agreed<'a>),
    /// It is written, as by [`Driver::write`].
    Write(&'a CalendarRef, Write<'a>),
}

impl<'a> Errand<'a> {
    /// In which calendar.
    pub fn calendar(&self) -> &'a CalendarRef {
        match self {
            Self::Look(calendar, _) | Self::LookAtInstances(calendar, ..) | Self::Write(calendar, _) => {
                calendar
            }
        }
    }

    /// Runs it by itself.
    ///
    /// # Errors
    /// As [`Driver::read`] and [`Driver::write`], and [`FailureClass::Transient`] for what cannot be read.
    pub(crate) async fn run<D: Driver + ?Sized>(&self, driver: &D) -> Result<Written, DriverError> {
        match self {
            Self::Write(calendar, write) => driver.write(calendar, write).await,
            Self::Look(calendar, id) => match driver.read(calendar, slice::from_ref(*id)).await?.pop() {
                // Under its own name by now, where it was asked for by ours.
                Some(RemoteChange::Upsert(remote)) => Ok(Written::Held(remote)),
                Some(RemoteChange::Removed { .. }) => Ok(Written::Gone),
                _ => Err(unread()),
            },
            Self::LookAtInstances(calendar, id, held) => {
                let ids: Vec<_> = held.instances.values().map(|object| object.provider_id.clone()).collect();
                let mut found = Vec::with_capacity(ids.len());
                for some in ids.chunks(driver.capabilities().read_batch.max(1)) {
                    for change in driver.read(calendar, some).await? {
                        match change {
                            RemoteChange::Instance(instance) => found.push(*instance),
                            RemoteChange::Removed { .. } => {}
                            _ => return Err(unread()),
                        }
                    }
                }
                let event = detached(id, &held.event.uid, found);
                Ok(event.map_or(Written::Gone, |event| Written::Held(Box::new(event))))
            }
        }
    }
}

fn unread() -> DriverError {
    let problem = Problem::UnreadableAnswer { reason: "the event cannot be read at present".to_owned() };
    DriverError::new("read an event", FailureClass::Transient, problem)
}
