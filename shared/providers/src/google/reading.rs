//! Reads events singly; a series with all that departs from it.

use calfleet_domain::model::{Body, ProviderId, RemoteChange, RemoteEvent, RemoteInstance, Uid};
use futures_util::future::try_join_all;
use http::StatusCode;

use super::exchange::{self, Exchange, Reply};
use super::normalise::{self, Setting};
use super::request::Api;
use super::wire;
use crate::caldav::error::Attempt;
use crate::driver::DriverError;

/// Requests at once for one account: Google counts per minute, and other jobs of the account want their part.
const CONCURRENT: usize = 4;

/// Most pages of one series; more exceptions than fit into them are more than any series may have.
const MOST_PAGES: usize = 40;

const READ: Attempt = Attempt { operation: "read events", action: "read events of this calendar" };

/// Reads events of one calendar.
pub(super) struct Reader<'d> {
    pub(super) exchange: &'d Exchange,
    pub(super) api: &'d Api,
    pub(super) calendar: &'d str,
    pub(super) setting: &'d Setting,
}

impl Reader<'_> {
    /// Each id once, in their order.
    pub(super) async fn read(&self, ids: &[ProviderId]) -> Result<Vec<RemoteChange>, DriverError> {
        let mut changes = Vec::with_capacity(ids.len());
        for some in ids.chunks(CONCURRENT) {
            changes.extend(try_join_all(some.iter().map(|id| self.one(id))).await?);
        }
        Ok(changes)
    }

    pub(super) async fn one(&self, id: &ProviderId) -> Result<RemoteChange, DriverError> {
        let request = self.api.get_event(READ.operation, self.calendar, id.as_str())?;
        let body = match self.exchange.ask(READ, request).await? {
            Reply::Body(body) => body,
            Reply::Refused(refused) if matches!(refused.status, StatusCode::NOT_FOUND | StatusCode::GONE) => {
                return Ok(RemoteChange::Removed { provider_id: id.clone() });
            }
            Reply::Refused(refused) => return Err(self.exchange.refusal(READ, &refused)),
        };
        let raw: &serde_json::value::RawValue = exchange::parse(READ, &body)?;
        match normalise::change(raw.get(), self.setting).ok_or_else(|| exchange::nameless(READ))? {
            RemoteChange::Upsert(event) if matches!(event.event.body, Body::Series(_)) => {
                self.series(*event).await
            }
            change => Ok(change),
        }
    }

    async fn series(&self, master: RemoteEvent) -> Result<RemoteChange, DriverError> {
        if let Some(instances) = self.instances(&master.event.uid, &master.provider_id).await? {
            return Ok(normalise::whole(master, instances));
        }
        let (provider_id, revision, raw) = (master.provider_id, master.revision, master.raw);
        let reason = "more of its instances depart from it than are allowed".to_owned();
        Ok(RemoteChange::Unreadable { provider_id, revision, reason, raw })
    }

    /// What departs from a series; `None` when it is too much.
    pub(super) async fn instances(
        &self,
        uid: &Uid,
        series: &ProviderId,
    ) -> Result<Option<Vec<RemoteInstance>>, DriverError> {
        let mut instances: Vec<RemoteInstance> = Vec::new();
        let mut page: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let request =
                self.api.list_series(READ.operation, self.calendar, uid.as_str(), page.as_deref())?;
            let body = self.exchange.fetch(READ, request).await?;
            let list: wire::EventList<'_> = exchange::parse(READ, &body)?;
            for item in &list.items {
                match normalise::change(item.get(), self.setting).ok_or_else(|| exchange::nameless(READ))? {
                    RemoteChange::Instance(instance) if instance.series_id == *series => {
                        instances.push(*instance);
                    }
                    // Other parts of a series that was split have its UID too.
                    _ => {}
                }
            }
            page = list.next_page_token;
            if page.is_none() {
                return Ok(Some(instances));
            }
        }
        Ok(None)
    }
}
