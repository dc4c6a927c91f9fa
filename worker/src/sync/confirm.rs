//! What a provider no longer shows: deleted, or out of its window only. Nothing is believed before it was read
//! singly, and nothing is read that was never held here: a provider says the same of what it never showed.
//!
//! Of an instance that is no longer shown the series is read, which tells whether it still takes place; where the
//! series is out of sight, the instance itself.

use std::collections::{BTreeSet, HashSet};

use calfleet_domain::model::{Body, Member, ProviderId, RemoteChange};
use calfleet_store::events::StoredRow;
use calfleet_store::occurrences;

use super::Stop;
use super::turn::Turn;

impl Turn<'_> {
    /// The page with what is true of everything that it says is no longer shown. `to_read` is read afterwards
    /// anyway.
    pub(super) async fn confirmed(
        &mut self,
        changes: Vec<RemoteChange>,
        to_read: &[Member],
    ) -> Result<Vec<RemoteChange>, Stop> {
        let (unlisted, mut changes): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| matches!(change, RemoteChange::Unlisted { .. }));
        if unlisted.is_empty() {
            return Ok(changes);
        }
        let mut ids = self.held_of(unlisted.iter().map(RemoteChange::provider_id).collect()).await?;
        let told = changes.iter().map(RemoteChange::provider_id);
        for id in told.chain(to_read.iter().map(|member| &member.provider_id)) {
            ids.remove(id);
        }
        let ids: Vec<ProviderId> = ids.into_iter().collect();
        for some in ids.chunks(self.sync.driver.capabilities().read_batch.max(1)) {
            changes.extend(self.sync.driver.read(&self.calendar, some).await?);
            self.budget.spend();
        }
        Ok(changes)
    }

    /// What has to be read to know these rows as they are: of a series whose master is out of sight the objects of
    /// its instances, because of the series itself a provider only says that it is not there.
    pub(super) async fn objects_of(&self, ids: Vec<ProviderId>) -> Result<Vec<ProviderId>, Stop> {
        let tx = self.sync.store.read(self.scope()).await?;
        let mut rows = self.rows(&tx, ids.iter().collect()).await?;
        let objects = ids.into_iter().flat_map(|id| match rows.remove(&id) {
            Some(row) if !has_master(&row) && !row.instances.is_empty() => {
                row.instances.into_values().map(|object| object.provider_id).collect()
            }
            _ => vec![id],
        });
        Ok(objects.collect())
    }

    /// What has to be read to know what became of these.
    async fn held_of(&self, unlisted: HashSet<&ProviderId>) -> Result<BTreeSet<ProviderId>, Stop> {
        let tx = self.sync.store.read(self.scope()).await?;
        let rows = self.rows(&tx, unlisted.iter().copied().collect()).await?;
        let instances: Vec<&ProviderId> =
            unlisted.iter().copied().filter(|id| !rows.contains_key(*id)).collect();
        let series = occurrences::series_of(&tx, self.key.calendar_id, &instances).await?;
        let series = self.rows(&tx, series.iter().collect()).await?;
        let mut ids: BTreeSet<ProviderId> = rows.into_keys().collect();
        for (id, row) in series {
            if has_master(&row) {
                ids.insert(id);
                continue;
            }
            let objects = row.instances.into_values().map(|object| object.provider_id);
            ids.extend(objects.filter(|object| unlisted.contains(object)));
        }
        Ok(ids)
    }
}

fn has_master(row: &StoredRow) -> bool {
    let agreed = row.event.base.as_ref().or(row.event.event.as_ref());
    match agreed.map(|event| &event.body) {
        Some(Body::Series(series)) => series.master.is_some(),
        Some(Body::Single(_)) | None => true,
    }
}
