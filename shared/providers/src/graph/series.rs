//! Writes a series: its master, then the instances that depart from it, which are objects of their own at Graph.
//!
//! Graph drops all that departs from a series when its frame changes. So the frame is written first, then the series
//! is read again, and what is missing is put back. An instance without an object is found among the instances of its
//! days. Each step compares with what is there, so a write that failed in the middle is finished by doing it again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{
    Event, Fields, InstanceRef, Override, ProviderId, RecurrenceId, RemoteChange, RemoteEvent,
    RemoteInstance, Role, Series,
};
use calfleet_domain::reconcile::diff::differing_fields;
use calfleet_domain::reconcile::rekey;
use calfleet_domain::recurrence::expand::start_of;
use calfleet_domain::recurrence::zone;
use chrono_tz::Tz;

use super::cursor::Window;
use super::render::{self, Answer, Reach, Unsayable};
use super::writing::{Held, Writer, changed_meanwhile, nameless, series_of, unsayable};
use super::{guests, normalise, wire};
use crate::driver::{Agreed, DriverError, Problem, Written};
use crate::instances::{Objects, Wanted, changed, detached, is_disturbed, keyed, touched, wanted};

/// How far from its original start an instance is looked for: any zone's days are among these.
const AROUND: Duration = Duration::from_hours(36);

impl Writer<'_> {
    /// Puts what departs from a new series and is not there yet.
    pub(super) async fn complete(&self, made: RemoteEvent, series: &Series) -> Result<Written, DriverError> {
        let mut keys = changed(series);
        keys.extend(cancelled(series));
        if !keys.is_empty() {
            let there = self.whole(&made.provider_id).await?;
            // What was changed there since it was made is somebody else's.
            let objects = objects(&there, series);
            keys.retain(|key| !objects.contains_key(key));
            self.steps(&made.provider_id, series, &keys, &objects).await?;
        }
        self.read_back(&made.provider_id).await
    }

    /// Master first, then instances.
    pub(super) async fn update_series(
        &self,
        id: &ProviderId,
        held: Agreed<'_>,
        after: &Event,
    ) -> Result<Written, DriverError> {
        let there = self.grasp(id, held).await?;
        let mut body =
            render::object_changes((held.event, after), &there.raw, self.setting).map_err(unsayable)?;
        let answer = self.answer_of(&there.raw, (held.event, after))?;
        let zone = self.setting.zone;
        let (before, after) = (series_or_none(held.event), series_or_none(after));
        let moves = body.contains_key("recurrence") || body.contains_key("start");
        let mut keys = if moves { BTreeSet::new() } else { touched(&before, &after, zone) };
        if !body.is_empty() {
            keys.extend(changed(&after));
        }
        if moves {
            keys.extend(cancelled(&after));
        }
        let mut known = Objects::new();
        // Another frame would drop what somebody else has changed since, too.
        if !keys.is_empty() || (moves && before.master.is_some()) {
            known = objects(&self.whole(id).await?, &before);
            let watched: BTreeSet<RecurrenceId> = if moves {
                known.keys().chain(before.overrides.keys()).copied().collect()
            } else {
                keys.clone()
            };
            if is_disturbed(&known, (&before, held.instances), &watched, zone) {
                return Err(changed_meanwhile());
            }
        }
        self.check_silence(&there.raw, &body)?;
        // The first guests come last: each step before would mail them.
        let are_first = departs(&after) && !guests::is_any(&there.raw);
        let first_guests = if are_first { body.remove("attendees") } else { None };
        if !body.is_empty() {
            self.patch(id, &there, &body).await?;
            if after.master.is_some() && !keys.is_empty() {
                known = objects(&self.whole(id).await?, &after);
            }
        }
        if moves {
            let alive = known.iter().filter(|(_, object)| object.fields.is_some());
            keys.extend(alive.map(|(key, _)| *key));
        }
        if let Some(guests) = first_guests {
            self.steps(id, &without_guests(&after), &keys, &known).await?;
            let there = self.read_now(id).await?;
            self.patch(id, &there, &[("attendees".to_owned(), guests)].into_iter().collect()).await?;
            known = objects(&self.whole(id).await?, &after);
        }
        if after.master.is_some() {
            self.steps(id, &after, &keys, &known).await?;
        }
        if let Some(answer) = answer {
            self.respond(id, &answer, body.is_empty().then_some(&there.revision)).await?;
        }
        self.read_back(id).await
    }

    /// Instances whose series is not in the calendar: what is known of it are they.
    pub(super) async fn update_detached(
        &self,
        id: &ProviderId,
        held: Agreed<'_>,
        (before, after): (&Series, &Series),
    ) -> Result<Written, DriverError> {
        let zone = self.setting.zone;
        let mut found = Vec::new();
        for object in held.instances.values() {
            match self.one(&object.provider_id).await? {
                RemoteChange::Instance(instance) => found.push(*instance),
                RemoteChange::Removed { .. } => {}
                _ => return Err(nameless()),
            }
        }
        let objects = keyed(found, before);
        let keys = touched(before, after, zone);
        if is_disturbed(&objects, (before, held.instances), &keys, zone) {
            return Err(changed_meanwhile());
        }
        self.steps(id, after, &keys, &objects).await?;
        let mut left = Vec::new();
        for object in objects.values() {
            if let RemoteChange::Instance(instance) = self.one(&object.provider_id).await? {
                left.push(*instance);
            }
        }
        Ok(detached(id, &held.event.uid, left).map_or(Written::Gone, |event| Written::Held(Box::new(event))))
    }

    pub(super) async fn delete_detached(&self, held: Agreed<'_>) -> Result<Written, DriverError> {
        for object in held.instances.values() {
            if matches!(self.one(&object.provider_id).await?, RemoteChange::Removed { .. }) {
                continue;
            }
            let there = self.read_now(&object.provider_id).await?;
            if object.revision.as_ref().is_some_and(|revision| *revision != there.revision) {
                return Err(changed_meanwhile());
            }
            self.remove(&object.provider_id, &there).await?;
        }
        Ok(Written::Gone)
    }

    /// The series with all that departs from it.
    async fn whole(&self, id: &ProviderId) -> Result<RemoteEvent, DriverError> {
        match self.one(id).await? {
            RemoteChange::Upsert(event) => Ok(*event),
            RemoteChange::Removed { .. } => Err(changed_meanwhile()),
            _ => Err(nameless()),
        }
    }

    /// Makes these instances what the series wants them to be.
    async fn steps(
        &self,
        id: &ProviderId,
        series: &Series,
        keys: &BTreeSet<RecurrenceId>,
        objects: &Objects,
    ) -> Result<(), DriverError> {
        let zone = self.setting.zone;
        let mut steps = Vec::new();
        for key in keys {
            let Some(wish) = wanted(series, key, zone) else { continue };
            let there = objects.get(key);
            match (&wish, there.map(|object| &object.fields)) {
                (Wanted::Cancelled, Some(None)) => {}
                (Wanted::Says(fields), Some(Some(said))) if differing_fields(said, fields).is_empty() => {}
                // A guest does not bring instances of somebody else's series back.
                (Wanted::Says(_), Some(None)) if there.is_some_and(|there| there.role == Role::Attendee) => {}
                (Wanted::Says(_), Some(None)) => return Err(unsayable(Unsayable::Revival)),
                // An instance that only follows its series needs no object.
                (Wanted::Says(_), None) if !series.overrides.contains_key(key) => {}
                _ => steps.push((key, wish)),
            }
        }
        let missing = steps.iter().map(|(key, _)| **key).filter(|key| !objects.contains_key(key)).collect();
        let plain = self.occurrences(id, series, &missing).await?;
        for (key, wish) in steps {
            match (objects.get(key).or_else(|| plain.get(key)), wish) {
                (Some(instance), wish) => self.make(instance, wish).await?,
                // An instance that is not there does not take place.
                (None, Wanted::Cancelled) => {}
                (None, Wanted::Says(_)) => return Err(unsayable(Unsayable::NoInstance)),
            }
        }
        Ok(())
    }

    /// The instances of a series that do not depart from it, by original start.
    async fn occurrences(
        &self,
        id: &ProviderId,
        series: &Series,
        keys: &BTreeSet<RecurrenceId>,
    ) -> Result<Objects, DriverError> {
        let Some(master) = &series.master else { return Ok(Objects::new()) };
        let reader = self.setting.zone.unwrap_or(Tz::UTC);
        let at = |key: &RecurrenceId| {
            Timestamp::from_utc(zone::instant_of(&start_of(*key, &master.fields.start), reader).0)
        };
        let times: Vec<Timestamp> = keys.iter().map(at).collect();
        let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else {
            return Ok(Objects::new());
        };
        let window = Window { from: first.minus(AROUND), until: last.plus(AROUND) };
        let listed = match self.reader.instances(id.as_str(), window).await {
            Err(error) if error.problem == Problem::NotFound => return Err(self.absent().await),
            listed => listed?,
        };
        let mut found = Vec::new();
        for raw in listed {
            let event: wire::Event = serde_json::from_slice(&raw).map_err(|_| nameless())?;
            let raw = std::str::from_utf8(&raw).unwrap_or_default();
            let instance = normalise::instance(&event, id.as_str(), raw, self.setting);
            let instance = instance.map_err(|_| nameless())?;
            if keys.contains(&rekey(None, &master.fields.start, &instance.recurrence_id)) {
                found.push(instance);
            }
        }
        Ok(keyed(found, series))
    }

    /// Makes one instance what it shall be. Its revision may be that of its series, and have moved on with the step
    /// before: as long as it says the same, nobody else has been there.
    async fn make(&self, instance: &RemoteInstance, wish: Wanted<'_>) -> Result<(), DriverError> {
        let mut there = Held::of(instance.raw.as_bytes());
        for _ in 0..2 {
            let now = match there.take() {
                Some(there) => there,
                None => self.unchanged(instance).await?,
            };
            match self.made(instance, &now, &wish).await {
                Err(error) if error.class == FailureClass::Conflict => {}
                other => return other,
            }
        }
        Err(changed_meanwhile())
    }

    async fn unchanged(&self, instance: &RemoteInstance) -> Result<Held, DriverError> {
        let there = self.read_now(&instance.provider_id).await?;
        let raw = serde_json::to_string(&there.raw).unwrap_or_default();
        let event: wire::Event = serde_json::from_str(&raw).map_err(|_| nameless())?;
        let now = normalise::instance(&event, instance.series_id.as_str(), &raw, self.setting);
        let is_same = match (now.map_err(|_| nameless())?.fields, &instance.fields) {
            (Some(now), Some(said)) => differing_fields(&now, said).is_empty(),
            _ => false,
        };
        if is_same { Ok(there) } else { Err(changed_meanwhile()) }
    }

    async fn made(
        &self,
        instance: &RemoteInstance,
        there: &Held,
        wish: &Wanted<'_>,
    ) -> Result<(), DriverError> {
        let id = &instance.provider_id;
        let (Wanted::Says(fields), Some(said)) = (wish, &instance.fields) else {
            return self.remove(id, there).await;
        };
        let fields: &Fields = fields;
        let body = render::changes((said, fields), &there.raw, self.setting).map_err(unsayable)?;
        if !body.is_empty() {
            self.patch(id, there, &body).await?;
        }
        let reach = Reach::of(&there.raw, self.setting);
        let answer: Option<Answer> = render::answer(&reach, (said, fields)).map_err(unsayable)?;
        match answer {
            Some(answer) => self.respond(id, &answer, body.is_empty().then_some(&there.revision)).await,
            None => Ok(()),
        }
    }
}

/// What Graph keeps for instances of a series: objects, and the days that do not take place.
fn objects(there: &RemoteEvent, series: &Series) -> Objects {
    let Some(found) = series_of(&there.event) else { return Objects::new() };
    let object = |key: RecurrenceId, held: Option<&InstanceRef>, fields: Option<Fields>| RemoteInstance {
        provider_id: held.map_or_else(|| ProviderId(String::new()), |held| held.provider_id.clone()),
        series_id: there.provider_id.clone(),
        uid: None,
        recurrence_id: key,
        revision: held.and_then(|held| held.revision.clone()),
        fields,
        role: there.role,
        detail: there.detail,
        raw: String::new(),
        changed_at: None,
    };
    let departed = found.overrides.iter().map(|(key, over)| {
        let fields = match over {
            Override::Changed(fields) => Some((**fields).clone()),
            Override::Cancelled => None,
        };
        object(*key, there.instances.get(key), fields)
    });
    let excluded = found.master.iter().flat_map(|master| &master.exclusions);
    let all = departed.chain(excluded.map(|key| object(*key, None, None)));
    keyed(all.collect(), series)
}

/// Original starts of the instances that a series wants not to take place.
fn cancelled(series: &Series) -> BTreeSet<RecurrenceId> {
    let over = series.overrides.iter().filter(|(_, over)| **over == Override::Cancelled).map(|(key, _)| *key);
    over.chain(series.master.iter().flat_map(|master| &master.exclusions).copied()).collect()
}

/// Whether instances have to be written besides the master.
pub(super) fn departs(series: &Series) -> bool {
    !changed(series).is_empty() || !cancelled(series).is_empty()
}

/// The same series, to which nobody is invited.
pub(super) fn without_guests(series: &Series) -> Series {
    let mut bare = series.clone();
    let changed = bare.overrides.values_mut().filter_map(|over| match over {
        Override::Changed(fields) => Some(&mut **fields),
        Override::Cancelled => None,
    });
    for fields in bare.master.iter_mut().map(|master| &mut master.fields).chain(changed) {
        fields.attendees.clear();
    }
    bare
}

/// A single event is a series of which nothing is known.
fn series_or_none(event: &Event) -> Series {
    series_of(event).cloned().unwrap_or_else(|| Series { master: None, overrides: BTreeMap::new() })
}
