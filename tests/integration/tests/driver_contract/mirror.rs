//! The simplest client there is: keeps what a driver says in a map.

use std::collections::{BTreeMap, BTreeSet};

use calfleet_domain::model::{Listing, Member, RemoteCalendar, RemoteChange, Revision, SyncToken};
use calfleet_providers::driver::{CalendarRef, ChangePage, Driver, DriverError, Next, Since};
use tokio::sync::mpsc;

/// A calendar as a driver tells it.
pub(super) struct Mirror {
    pub(super) calendar: CalendarRef,
    pub(super) cursor: Option<SyncToken>,
    /// UID and revision of each object, by id.
    pub(super) objects: BTreeMap<String, (String, Option<Revision>)>,
    pub(super) unreadable: BTreeMap<String, String>,
    pub(super) pages: usize,
}

impl Mirror {
    pub(super) fn of(calendar: &RemoteCalendar) -> Self {
        let calendar = CalendarRef {
            provider_id: calendar.provider_id.clone(),
            time_zone: calendar.time_zone.clone(),
            setting: None,
        };
        Self { calendar, cursor: None, objects: BTreeMap::new(), unreadable: BTreeMap::new(), pages: 0 }
    }

    /// The UIDs it holds, sorted.
    pub(super) fn uids(&self) -> Vec<String> {
        let mut uids: Vec<_> = self.objects.values().map(|(uid, _)| uid.clone()).collect();
        uids.sort();
        uids
    }

    /// Lists from the cursor to the end, and reads what is new.
    pub(super) async fn sync(&mut self, driver: &dyn Driver) -> Result<Listing, DriverError> {
        let since = self.cursor.clone().map_or(Since::Beginning, Since::Token);
        self.sync_since(driver, since).await
    }

    /// Lists everything, with the cursor for a memory.
    pub(super) async fn sync_again(&mut self, driver: &dyn Driver) -> Result<Listing, DriverError> {
        let since = self.cursor.clone().map_or(Since::Beginning, Since::Again);
        self.sync_since(driver, since).await
    }

    async fn sync_since(&mut self, driver: &dyn Driver, mut since: Since) -> Result<Listing, DriverError> {
        let mut listed = BTreeSet::new();
        loop {
            let (page, members) = list(driver, &self.calendar, &since).await?;
            self.pages += 1;
            let new: Vec<_> = members
                .iter()
                .filter(|member| {
                    let known = self.objects.get(member.provider_id.as_str());
                    member.revision.is_none() || known.is_none_or(|(_, known)| *known != member.revision)
                })
                .map(|member| member.provider_id.clone())
                .collect();
            listed.extend(members.into_iter().map(|member| member.provider_id.0));
            for change in page.changes {
                listed.insert(change.provider_id().as_str().to_owned());
                self.apply(change);
            }
            for batch in new.chunks(driver.capabilities().read_batch) {
                for change in driver.read(&self.calendar, batch).await? {
                    self.apply(change);
                }
            }
            match page.next {
                Next::Page(next) => {
                    since = Since::Page(next);
                    continue;
                }
                Next::Token(token) => self.cursor = Some(token),
                Next::NoToken => self.cursor = None,
            }
            if page.listing == Listing::Full {
                self.objects.retain(|id, _| listed.contains(id));
            }
            return Ok(page.listing);
        }
    }

    fn apply(&mut self, change: RemoteChange) {
        match change {
            RemoteChange::Upsert(event) => {
                let uid = event.event.uid.as_str().to_owned();
                self.unreadable.remove(event.provider_id.as_str());
                self.objects.insert(event.provider_id.0, (uid, event.revision));
            }
            RemoteChange::Removed { provider_id } => {
                self.objects.remove(provider_id.as_str());
            }
            RemoteChange::Unreadable { provider_id, reason, .. }
            | RemoteChange::Withheld { provider_id, reason } => {
                self.unreadable.insert(provider_id.0, reason);
            }
            RemoteChange::Instance(_) | RemoteChange::Occurrence { .. } | RemoteChange::Unlisted { .. } => {}
        }
    }
}

/// One page with all its members.
pub(super) async fn list(
    driver: &dyn Driver,
    calendar: &CalendarRef,
    since: &Since,
) -> Result<(ChangePage, Vec<Member>), DriverError> {
    let (sender, mut receiver) = mpsc::channel(2);
    let listing = async {
        let page = driver.list_changes(calendar, since, &sender).await;
        drop(sender);
        page
    };
    let collecting = async {
        let mut members = Vec::new();
        while let Some(batch) = receiver.recv().await {
            members.extend(batch);
        }
        members
    };
    let (page, members) = tokio::join!(listing, collecting);
    Ok((page?, members))
}
