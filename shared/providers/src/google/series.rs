//! Writes a series: its master, then the instances that depart from it, which are objects of their own at Google.
//!
//! Google drops instances whose original start the rule no longer has. So the frame is written first, then the
//! instances are read again, and what is missing of them is put back. Each step compares with what is there, so a
//! write that failed in the middle is finished by doing it again.

use std::collections::{BTreeMap, BTreeSet};

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{
    Event, Parts, ProviderId, RecurrenceId, RemoteChange, RemoteEvent, RemoteInstance, Series, Uid,
};
use calfleet_domain::reconcile::diff::has_same_frame;
use serde_json::json;

use super::exchange::{self, Reply};
use super::normalise;
use super::reading::Reader;
use super::render::{self, Body, Reach, Unsayable};
use super::times;
use super::wire;
use super::writing::{Mail, WRITE, Writer, changed_meanwhile, series_of, unsayable};
use crate::driver::{Agreed, DriverError, Problem, Written};
use crate::instances::{Objects, Wanted, changed, detached, is_disturbed, keyed, touched, wanted};

/// The series whose instances are written.
#[derive(Clone, Copy)]
struct Target<'s> {
    id: &'s ProviderId,
    series: &'s Series,
    reach: &'s Reach,
}

impl Writer<'_> {
    /// Puts the instances of a new series that are not there yet.
    pub(super) async fn complete(
        &self,
        made: RemoteEvent,
        series: &Series,
        mail: &mut Mail,
    ) -> Result<Written, DriverError> {
        let keys = changed(series);
        if keys.is_empty() {
            return Ok(Written::Held(Box::new(RemoteEvent { parts: Parts::Whole, ..made })));
        }
        let (id, reach) = (&made.provider_id, &Reach::Everything);
        let objects = self.objects(&made.event.uid, id, series).await?;
        for key in keys.iter().filter(|key| !objects.contains_key(key)) {
            self.step(Target { id, series, reach }, key, None, mail).await?;
        }
        self.read_back(id).await
    }

    /// Master first, then instances.
    pub(super) async fn update_series(
        &self,
        id: &ProviderId,
        held: Agreed<'_>,
        after: &Event,
        mail: &mut Mail,
    ) -> Result<Written, DriverError> {
        let there = self.grasp(id, held).await?;
        let (events, zone) = ((held.event, after), self.reader.setting.zone);
        let body = render::object_changes(events, (id, &there.revision), &there.raw, self.reader.setting)
            .map_err(unsayable)?;
        let (before, after) = (series_or_none(held.event), series_or_none(after));
        let reach = &Reach::of(&there.raw);
        let moves =
            body.contains_key("start") || body.contains_key("recurrence") && !has_frame_of(&before, &after);
        let mut keys = if moves { BTreeSet::new() } else { touched(&before, &after, zone) };
        if !body.is_empty() {
            keys.extend(changed(&after));
        }
        let has_instances = !keys.is_empty() || (moves && !before.overrides.is_empty());
        let mut objects = Objects::new();
        if has_instances {
            objects = self.objects(&held.event.uid, id, &before).await?;
            let watched: BTreeSet<RecurrenceId> = if body.is_empty() {
                keys.clone()
            } else {
                objects.keys().chain(before.overrides.keys()).copied().collect()
            };
            if is_disturbed(&objects, (&before, held.instances), &watched, zone) {
                return Err(changed_meanwhile());
            }
        }
        if !body.is_empty() {
            self.patch(id, &there.revision, &body, mail).await?;
            if has_instances {
                objects = self.objects(&held.event.uid, id, &after).await?;
            }
        }
        if moves {
            let alive = objects.iter().filter(|(_, object)| object.fields.is_some());
            keys.extend(alive.map(|(key, _)| *key));
        }
        for key in &keys {
            self.step(Target { id, series: &after, reach }, key, objects.get(key), mail).await?;
        }
        self.read_back(id).await
    }

    /// Instances whose series is not in the calendar: what is known of it are they.
    pub(super) async fn update_detached(
        &self,
        id: &ProviderId,
        held: Agreed<'_>,
        (before, after): (&Series, &Series),
        mail: &mut Mail,
    ) -> Result<Written, DriverError> {
        let zone = self.reader.setting.zone;
        let keys = touched(before, after, zone);
        let uid = &held.event.uid;
        let objects = self.objects(uid, id, before).await?;
        if is_disturbed(&objects, (before, held.instances), &keys, zone) {
            return Err(changed_meanwhile());
        }
        let reach = Reach::Everything;
        for key in &keys {
            let object = objects.get(key).ok_or_else(|| unsayable(Unsayable::NoMaster))?;
            self.step(Target { id, series: after, reach: &reach }, key, Some(object), mail).await?;
        }
        let found = self.reader.instances(uid, id).await?.ok_or_else(too_many)?;
        Ok(match detached(id, uid, found) {
            Some(event) => Written::Held(Box::new(event)),
            None => Written::Gone,
        })
    }

    pub(super) async fn delete_detached(
        &self,
        held: Agreed<'_>,
        mail: &mut Mail,
    ) -> Result<Written, DriverError> {
        for object in held.instances.values() {
            self.delete((&object.provider_id, object.revision.as_ref()), mail).await?;
        }
        Ok(Written::Gone)
    }

    async fn objects(&self, uid: &Uid, id: &ProviderId, series: &Series) -> Result<Objects, DriverError> {
        let found = self.reader.instances(uid, id).await?.ok_or_else(too_many)?;
        Ok(keyed(found, series))
    }

    /// Makes one instance what the series wants it to be.
    async fn step(
        &self,
        target: Target<'_>,
        key: &RecurrenceId,
        there: Option<&RemoteInstance>,
        mail: &mut Mail,
    ) -> Result<(), DriverError> {
        let Some(wanted) = wanted(target.series, key, self.reader.setting.zone) else { return Ok(()) };
        let is_own = target.series.overrides.contains_key(key) && wanted != Wanted::Cancelled;
        let found = match there {
            None if is_own || wanted == Wanted::Cancelled => self.find(target, *key).await?,
            _ => None,
        };
        match there.or(found.as_ref()) {
            Some(there) => self.make(there, wanted, target.reach, mail).await,
            // Nobody can make an instance that the rule of somebody else's series does not have.
            None if is_own && *target.reach == Reach::Everything => Err(unsayable(Unsayable::NoInstance)),
            // An excluded instance is none, and one that only follows its series needs no object.
            None => Ok(()),
        }
    }

    async fn make(
        &self,
        there: &RemoteInstance,
        wanted: Wanted<'_>,
        reach: &Reach,
        mail: &mut Mail,
    ) -> Result<(), DriverError> {
        let (id, setting) = (&there.provider_id, self.reader.setting);
        let raw: Body = serde_json::from_str(&there.raw).unwrap_or_default();
        let is_guest = [reach, &Reach::of(&raw)].iter().any(|reach| matches!(reach, Reach::Own(_)));
        let revision = there.revision.as_ref().ok_or_else(|| exchange::nameless(WRITE))?;
        let body = match (wanted, &there.fields) {
            (Wanted::Cancelled, None) => return Ok(()),
            // A guest declines, and neither cancels nor restores instances of somebody else's series.
            (Wanted::Cancelled, Some(_)) | (Wanted::Says(_), None) if is_guest => return Ok(()),
            (Wanted::Cancelled, Some(_)) => return self.delete((id, Some(revision)), mail).await,
            (Wanted::Says(fields), Some(said)) => {
                render::changes((said, &fields), &raw, setting).map_err(unsayable)?
            }
            (Wanted::Says(fields), None) => {
                let mut body = render::whole(&fields, setting);
                body.entry("status").or_insert(json!("confirmed"));
                body
            }
        };
        if !body.is_empty() {
            self.patch(id, revision, &body, mail).await?;
        }
        Ok(())
    }

    /// The instance that originally starts then; `None` when the series has none.
    async fn find(
        &self,
        target: Target<'_>,
        key: RecurrenceId,
    ) -> Result<Option<RemoteInstance>, DriverError> {
        let Some(master) = &target.series.master else { return Ok(None) };
        let Reader { exchange, api, calendar, setting } = self.reader;
        let original = times::original_start(key, &master.fields.start, setting.zone);
        let request = api.find_instance(WRITE.operation, (calendar, target.id.as_str()), &original)?;
        let body = match exchange.ask(WRITE, request).await? {
            Reply::Body(body) => body,
            Reply::Refused(refused) => return Err(self.refusal(&refused).await),
        };
        let list: wire::EventList<'_> = exchange::parse(WRITE, &body)?;
        let Some(item) = list.items.first() else { return Ok(None) };
        match normalise::change(item.get(), setting) {
            Some(RemoteChange::Instance(instance)) => Ok(Some(*instance)),
            _ => Err(exchange::nameless(WRITE)),
        }
    }
}

/// Whether both recur in the same way at the same time.
fn has_frame_of(before: &Series, after: &Series) -> bool {
    matches!((&before.master, &after.master), (Some(before), Some(after)) if has_same_frame(before, after))
}

/// A single event is a series of which nothing is known.
fn series_or_none(event: &Event) -> Series {
    series_of(event).cloned().unwrap_or_else(|| Series { master: None, overrides: BTreeMap::new() })
}

fn too_many() -> DriverError {
    let reason = "more of its instances depart from it than are allowed".to_owned();
    DriverError::new(WRITE.operation, FailureClass::Permanent, Problem::UnreadableAnswer { reason })
}
