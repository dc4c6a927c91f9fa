//! The `VEVENT`s of one `UID` → one event: the master, what departs from it, and by which key.
//!
//! Recurrence ids, exclusions and additions come in whatever form a producer chose (UTC against a zone, a date
//! against a time). They are re-keyed to the master's form: by instant first, then by local date, where that day
//! has exactly one instance. What fits no instance keeps its own time and stands beside the series.
//! `STATUS:CANCELLED` on an override is an exclusion. `RANGE=THISANDFUTURE`, which few can write and fewer read,
//! becomes overrides, as many as are allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use chrono_tz::Tz;

use super::Limits;
use super::fault::Fault;
use super::fields::{self, Part};
use super::timezones::{Zones, warn_once};
use crate::clock::Timestamp;
use crate::model::{
    Body, End, Event, Fields, Master, Override, RecurrenceId, Rule, Series, Status, Uid, When,
};
use crate::recurrence::expand::{id_of, last_moment, master_walls, start_of};
use crate::recurrence::generate::{self, Walk};
use crate::recurrence::rule::{self, Recurrence};
use crate::recurrence::zone::{ZoneClock, instant_of};

/// Steps that matching ids to instances may cost for one series; some 50 ns each.
const MATCH_STEPS: u64 = 100_000;

/// Overrides and exclusions that a `RANGE` or an `EXRULE` is spread into.
const SPREAD: usize = 1000;
/// Bytes that all ranges of a series are spread into.
const SPREAD_BYTES: usize = 16 << 20;

/// What a document says about the reading of its events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'l> {
    pub(crate) limits: &'l Limits,
    /// The calendar's own zone.
    pub(crate) zone: Option<Tz>,
    /// Whether the document is a message (`METHOD`), whose `DTSTAMP` is the time of the message.
    pub(crate) is_message: bool,
}

/// Makes one event of its parts; also when it was last changed.
pub(crate) fn event(
    uid: Uid,
    mut parts: Vec<Part>,
    reading: Reading<'_>,
    warnings: &mut Vec<String>,
) -> Result<(Event, Option<Timestamp>), Fault> {
    if !reading.is_message {
        for part in &mut parts {
            part.fields.stamps.updated = part.fields.stamps.updated.or(part.stamped);
        }
    }
    let changed_at = parts.iter().filter_map(|part| part.fields.stamps.updated).max();
    sort(&mut parts);
    let master = parts.iter().rposition(is_master).map(|last| parts.remove(last));
    if parts.iter().any(is_master) {
        warn_once(warnings, "several events have this UID; the one of the latest version counts".to_owned());
        parts.retain(|part| !is_master(part));
    }
    let overrides = parts;
    if overrides.len() > reading.limits.instances {
        let (count, limit) = (overrides.len(), reading.limits.instances);
        return Err(Fault::TooManyInstances { what: "overrides", count, limit });
    }
    let body = match master {
        Some(master) if is_single(&master) && overrides.is_empty() => Body::Single(master.fields),
        Some(master) => {
            let (master, overrides) = series(master, overrides, reading, warnings);
            Body::Series(Series { master: Some(master), overrides })
        }
        None => Body::Series(Series { master: None, overrides: orphans(overrides, warnings) }),
    };
    Ok((Event { uid, body }, changed_at))
}

/// By version, the latest last (RFC 5546 §2.1.5): the higher `SEQUENCE`, then the later `DTSTAMP`.
fn sort(parts: &mut [Part]) {
    parts.sort_by_key(|part| (part.fields.stamps.sequence, part.stamped, part.position));
}

fn is_master(part: &Part) -> bool {
    part.recurrence_id.is_none()
}

/// Which part of its event each of these is for [`event()`], `None` being the single event or the master. Of several for
/// one part the one that counts comes last.
pub(crate) fn names(mut parts: Vec<Part>, reading: Reading<'_>) -> Vec<(Option<RecurrenceId>, Part)> {
    sort(&mut parts);
    let master = parts.iter().rfind(|part| is_master(part)).cloned();
    let ids: Vec<When> = parts.iter().filter_map(|part| part.recurrence_id.clone()).collect();
    let names: Vec<RecurrenceId> = match master {
        Some(part) => {
            let start = part.fields.start.clone();
            let keyed = Keys::new(&start, reading.zone);
            let (master, _, mut steps) = keyed.master(part, reading.zone, &mut Vec::new());
            keyed.names(&ids, &master, &mut steps).into_iter().map(|name| name.key).collect()
        }
        None => ids.iter().map(orphan).collect(),
    };
    let mut names = names.into_iter();
    let named = |part: Part| (part.recurrence_id.as_ref().and_then(|_| names.next()), part);
    parts.into_iter().map(named).collect()
}

/// The master of a series whose rule, additions and exclusions come as property lines, as Google keeps them.
pub(crate) fn master<'l>(
    fields: Fields,
    lines: impl Iterator<Item = &'l str>,
    reading: Reading<'_>,
    warnings: &mut Vec<String>,
) -> Result<Master, Fault> {
    let mut zones = Zones::new(Vec::new(), reading.zone);
    let part = fields::recurring(fields, lines, &mut zones, reading.limits, warnings)?;
    Ok(series(part, Vec::new(), reading, warnings).0)
}

fn is_single(master: &Part) -> bool {
    master.rules.is_empty() && master.additions.is_empty()
}

/// The key of an override without its series: by instant, as nobody knows the master's zone.
fn orphan(id: &When) -> RecurrenceId {
    match id {
        When::Zoned { .. } => RecurrenceId::Utc(instant_of(id, Tz::UTC).0),
        id => id_of(id),
    }
}

/// Overrides without their series.
fn orphans(parts: Vec<Part>, warnings: &mut Vec<String>) -> BTreeMap<RecurrenceId, Override> {
    let mut overrides = BTreeMap::new();
    for part in parts {
        let Some(id) = part.recurrence_id.as_ref().map(orphan) else { continue };
        if !part.rules.is_empty() || !part.additions.is_empty() || part.is_range {
            warn_once(
                warnings,
                "an override stands for one instance; what it says about others is kept as text".to_owned(),
            );
        }
        overrides.insert(id, over(part.fields));
    }
    overrides
}

fn over(fields: Fields) -> Override {
    match fields.status {
        Status::Cancelled => Override::Cancelled,
        _ => Override::Changed(Box::new(fields)),
    }
}

fn series(
    part: Part,
    overrides: Vec<Part>,
    reading: Reading<'_>,
    warnings: &mut Vec<String>,
) -> (Master, BTreeMap<RecurrenceId, Override>) {
    let start = part.fields.start.clone();
    let exception_rules = part.exception_rules.clone();
    let keyed = Keys::new(&start, reading.zone);
    let (mut master, mut exclusions, mut steps) = keyed.master(part, reading.zone, warnings);
    spread_exception_rules(&exception_rules, &master, reading.zone, &mut exclusions, warnings);

    let (overrides, ranges) = keyed.overrides(overrides, &master, &mut steps);
    let mut overrides: BTreeMap<RecurrenceId, Override> = overrides;
    let mut spread = Spread {
        instances: reading.limits.instances.saturating_sub(overrides.len()),
        bytes: SPREAD_BYTES,
        steps: MATCH_STEPS,
    };
    for (index, (from, fields)) in ranges.iter().enumerate() {
        let until = ranges.get(index + 1).map(|(next, _)| *next);
        spread.range((*from, until), fields, &master, &exclusions, &mut overrides, warnings);
    }
    // an instance that is cancelled and says nothing else is an exclusion, one that has fields is none
    overrides.retain(|id, over| {
        let is_cancelled = *over == Override::Cancelled;
        if is_cancelled {
            exclusions.insert(*id);
        } else {
            exclusions.remove(id);
        }
        !is_cancelled
    });
    master.exclusions = exclusions;
    (master, overrides)
}

fn rules(part: &Part, zone: Option<Tz>, warnings: &mut Vec<String>) -> Vec<Rule> {
    let start = &part.fields.start;
    let mut rules = Vec::new();
    for text in part.rules.iter().filter(|text| !text.is_empty()) {
        match rule::canonical(text, start, zone) {
            Ok(rule) => {
                let is_matched = |rule: Recurrence| generate::is_match(&rule, start.wall());
                if !rule.0.parse().is_ok_and(is_matched) {
                    warn_once(
                        warnings,
                        "the rule does not match its own start, which is kept as an instance".to_owned(),
                    );
                }
                rules.push(rule);
            }
            Err(error) => {
                warn_once(warnings, format!("{error}: only the first instance is shown"));
                rules.push(rule::verbatim(text));
            }
        }
    }
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// Turns what names an instance into the form of the master's start.
pub(crate) struct Keys<'m> {
    start: &'m When,
    zone: Option<Tz>,
}

impl<'m> Keys<'m> {
    pub(crate) fn new(start: &'m When, zone: Option<Tz>) -> Self {
        Self { start, zone }
    }

    /// The id as it stands, in the master's form.
    pub(crate) fn id(&self, when: &When) -> RecurrenceId {
        let at_start_time = |date: NaiveDate| date.and_time(self.start.wall().time());
        let reader_zone = self.zone.unwrap_or(Tz::UTC);
        match (self.start, when) {
            (When::Date(_), When::Utc(instant)) => RecurrenceId::Date(rule::day_of(*instant, self.zone)),
            (When::Date(_), when) => RecurrenceId::Date(when.wall().date()),
            (start, When::Date(date)) => id_of(&start.with_wall(at_start_time(*date))),
            (start, When::Floating(wall)) => id_of(&start.with_wall(*wall)),
            (When::Floating(_), When::Utc(instant)) => {
                RecurrenceId::Wall(instant.with_timezone(&reader_zone).naive_local())
            }
            (When::Floating(_), when) => RecurrenceId::Wall(when.wall()),
            (When::Zoned { zone, .. }, When::Zoned { wall, zone: other }) if zone == other => {
                RecurrenceId::Wall(*wall)
            }
            (When::Zoned { zone, .. }, when) => {
                RecurrenceId::Wall(ZoneClock::new(zone).wall(instant_of(when, reader_zone).0))
            }
            (When::Utc(_), when) => RecurrenceId::Utc(instant_of(when, reader_zone).0),
        }
    }

    /// The instances of the master on the local day of `id`.
    fn instances_of_day(&self, id: RecurrenceId, master: &Master, steps: &mut u64) -> Vec<NaiveDateTime> {
        let date = start_of(id, self.start).wall().date();
        let end = date.and_hms_opt(23, 59, 59).unwrap_or_else(|| date.and_time(NaiveTime::MIN));
        master_walls(master, date.and_time(NaiveTime::MIN)..=end, steps, 100).0
    }

    /// The instance that `id` means: itself, one at the same instant, or the only one of its day.
    fn settle(&self, id: RecurrenceId, master: &Master, steps: &mut u64) -> (RecurrenceId, IsExact) {
        let wall = start_of(id, self.start).wall();
        // an id at the time of day of the series is taken at its word: looking is dear, and nothing follows from it
        if self.start.is_date() || wall.time() == self.start.wall().time() {
            return (id, IsExact::Yes);
        }
        let walls = self.instances_of_day(id, master, steps);
        if walls.contains(&wall) || master.additions.contains_key(&id) {
            return (id, IsExact::Yes);
        }
        let mut clock = ZoneClock::of(self.start, Tz::UTC);
        let (instant, _) = clock.instant(wall);
        if let Some(same) = walls.iter().find(|other| clock.instant(**other).0 == instant) {
            return (id_of(&self.start.with_wall(*same)), IsExact::Yes);
        }
        match walls.as_slice() {
            [only] => (id_of(&self.start.with_wall(*only)), IsExact::ByDay),
            _ => (id, IsExact::Yes),
        }
    }

    fn excluded(&self, exclusion: &When, master: &Master, steps: &mut u64) -> Vec<RecurrenceId> {
        let id = self.id(exclusion);
        if exclusion.is_date() && !self.start.is_date() {
            let walls = self.instances_of_day(id, master, steps);
            if !walls.is_empty() {
                return walls.into_iter().map(|wall| id_of(&self.start.with_wall(wall))).collect();
            }
        }
        vec![self.settle(id, master, steps).0]
    }

    /// The master as it stands, its exclusions, and the steps that are left for matching overrides.
    fn master(
        &self,
        part: Part,
        zone: Option<Tz>,
        warnings: &mut Vec<String>,
    ) -> (Master, BTreeSet<RecurrenceId>, u64) {
        let rules = rules(&part, zone, warnings);
        let mut master =
            Master { fields: part.fields, rules, additions: BTreeMap::new(), exclusions: BTreeSet::new() };
        for (addition, end) in part.additions {
            let id = self.id(&addition);
            // a start that is listed again adds nothing
            if id != id_of(self.start) || end.is_some() {
                master.additions.insert(id, end);
            }
        }
        let mut steps = MATCH_STEPS;
        let exclusions = part.exclusions.iter();
        let exclusions =
            exclusions.flat_map(|exclusion| self.excluded(exclusion, &master, &mut steps)).collect();
        (master, exclusions, steps)
    }

    /// The names of overrides, later versions last. One that says only the day of its instance has that instance for a name
    /// unless others claim it too.
    fn names(&self, ids: &[When], master: &Master, steps: &mut u64) -> Vec<Name> {
        let own: Vec<RecurrenceId> = ids.iter().map(|id| self.id(id)).collect();
        let settled: Vec<_> = own.iter().map(|own| self.settle(*own, master, steps)).collect();
        let mut taken: BTreeSet<RecurrenceId> = BTreeSet::new();
        let mut by_day: BTreeMap<RecurrenceId, BTreeSet<RecurrenceId>> = BTreeMap::new();
        for (own, (id, is_exact)) in own.iter().zip(&settled) {
            match is_exact {
                IsExact::Yes => {
                    taken.insert(*id);
                }
                IsExact::ByDay => {
                    by_day.entry(*id).or_default().insert(*own);
                }
            }
        }
        let is_free = |instance: &RecurrenceId| {
            !taken.contains(instance) && by_day.get(instance).is_some_and(|claims| claims.len() == 1)
        };
        let name = |(own, (instance, is_exact)): (RecurrenceId, (RecurrenceId, IsExact))| {
            let is_settled = is_exact == IsExact::Yes || is_free(&instance);
            Name { instance, key: if is_settled { instance } else { own } }
        };
        own.into_iter().zip(settled).map(name).collect()
    }

    /// The overrides by the instance they mean; those for a range apart, by their beginning.
    fn overrides(
        &self,
        parts: Vec<Part>,
        master: &Master,
        steps: &mut u64,
    ) -> (BTreeMap<RecurrenceId, Override>, Vec<(RecurrenceId, Fields)>) {
        let ids: Vec<When> = parts.iter().filter_map(|part| part.recurrence_id.clone()).collect();
        let names = self.names(&ids, master, steps);
        let mut overrides = BTreeMap::new();
        let mut ranges = BTreeMap::new();
        for (part, name) in parts.into_iter().filter(|part| !is_master(part)).zip(names) {
            if part.is_range {
                ranges.insert(name.instance, part.fields.clone());
            }
            overrides.insert(name.key, over(part.fields));
        }
        (overrides, ranges.into_iter().collect())
    }
}

/// What an override is called.
struct Name {
    /// The instance that it means.
    instance: RecurrenceId,
    /// What it is kept under.
    key: RecurrenceId,
}

/// Whether an id names its instance, or only the instance's day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IsExact {
    Yes,
    ByDay,
}

/// `EXRULE` (obsolete): the instances it takes away become exclusions.
fn spread_exception_rules(
    texts: &[String],
    master: &Master,
    zone: Option<Tz>,
    exclusions: &mut BTreeSet<RecurrenceId>,
    warnings: &mut Vec<String>,
) {
    let start = &master.fields.start;
    let mut steps = MATCH_STEPS;
    let (walls, is_complete) = match texts {
        [] => return,
        _ => master_walls(master, start.wall()..=NaiveDateTime::MAX, &mut steps, SPREAD),
    };
    let mut steps = MATCH_STEPS;
    for text in texts {
        let Some(rule) =
            rule::canonical(text, start, zone).ok().and_then(|rule| rule.0.parse::<Recurrence>().ok())
        else {
            warn_once(warnings, "an EXRULE is unreadable and left out".to_owned());
            continue;
        };
        let until = rule.until.map_or(NaiveDateTime::MAX, |until| last_moment(until, start));
        for wall in walls.iter().copied().filter(|wall| *wall <= until) {
            let mut is_taken = wall == start.wall() && generate::is_match(&rule, wall);
            if wall != start.wall() {
                Walk::new(&rule, start.wall(), wall, wall, &mut steps).run(&mut |_| {
                    is_taken = true;
                    ControlFlow::Break(())
                });
            }
            if is_taken {
                exclusions.insert(id_of(&start.with_wall(wall)));
            }
        }
        if !is_complete {
            warn_once(warnings, format!("an EXRULE is applied to the first {SPREAD} instances"));
        }
    }
}

/// What the ranges of a series may still be spread into, all together.
struct Spread {
    instances: usize,
    bytes: usize,
    steps: u64,
}

impl Spread {
    /// `RANGE=THISANDFUTURE`: the same shift and the same content for each later instance.
    fn range(
        &mut self,
        (from, until): (RecurrenceId, Option<RecurrenceId>),
        fields: &Fields,
        master: &Master,
        exclusions: &BTreeSet<RecurrenceId>,
        overrides: &mut BTreeMap<RecurrenceId, Override>,
        warnings: &mut Vec<String>,
    ) {
        let start = &master.fields.start;
        let begin = start_of(from, start).wall();
        let end = until.map_or(NaiveDateTime::MAX, |until| start_of(until, start).wall());
        let (walls, mut is_complete) = master_walls(master, begin..=end, &mut self.steps, SPREAD);
        let length = serde_json::to_string(fields).map_or(usize::MAX, |json| json.len());
        for wall in walls {
            let id = id_of(&start.with_wall(wall));
            if Some(id) == until || exclusions.contains(&id) || overrides.contains_key(&id) {
                continue;
            }
            let (Some(instances), Some(bytes)) =
                (self.instances.checked_sub(1), self.bytes.checked_sub(length))
            else {
                is_complete = false;
                break;
            };
            (self.instances, self.bytes) = (instances, bytes);
            let ahead = wall - begin;
            let moved =
                |when: &When| when.with_wall(when.wall().checked_add_signed(ahead).unwrap_or(when.wall()));
            let mut fields = fields.clone();
            fields.start = moved(&fields.start);
            if let End::At(end) = &fields.end {
                fields.end = End::At(moved(end));
            }
            overrides.insert(id, over(fields));
        }
        warn_once(
            warnings,
            if is_complete {
                "a change of this and all following instances is kept as a change of each".to_owned()
            } else {
                "a change of this and all following instances is kept for the next ones only".to_owned()
            },
        );
    }
}
