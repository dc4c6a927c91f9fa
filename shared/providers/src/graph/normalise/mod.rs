//! From what Graph says to our nouns: calendars, and events one by one.

use std::collections::{BTreeMap, BTreeSet};

use calfleet_domain::ics::{self, Limits};
use calfleet_domain::model::{
    Access, Body, DetailLevel, Event, Fields, InstanceRef, Override, Parts, ProviderId, RecurrenceId,
    RemoteCalendar, RemoteChange, RemoteEvent, RemoteInstance, Revision, Series, Uid, Visibility, When,
};
use calfleet_domain::reconcile::rekey;
use calfleet_domain::recurrence::expand::id_of;
use calfleet_domain::recurrence::{Budget, expand, zone};
use chrono::NaiveDate;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::cursor::Window;
use super::wire::EventKind;
use super::{fields, recurrence, times, wire};
use crate::driver::Coverage;
use crate::naming;

/// What is known of the calendar that an event stands in.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Setting {
    /// Its own zone.
    #[serde(skip)]
    pub(super) zone: Option<Tz>,
    /// The address of whom it belongs to, lower case.
    pub(super) owner: Option<String>,
    /// Whether other people's private events are hidden.
    hides_private: bool,
}

impl Setting {
    /// Of a calendar that nobody has looked at: enough for events of its owner that everybody may see.
    pub(super) fn unseen(zone: Option<&str>) -> Self {
        Self { zone: zone.and_then(zone::iana), ..Self::default() }
    }

    /// As the calendar says.
    pub(super) fn of(calendar: &wire::Calendar, zone: Option<&str>) -> Self {
        Self {
            owner: calendar.owner.as_ref().and_then(fields::address),
            hides_private: calendar.can_view_private_items == Some(false),
            ..Self::unseen(zone)
        }
    }

    /// As was kept of it; `None` for what cannot be read.
    pub(super) fn of_kept(text: &str, zone: Option<&str>) -> Option<Self> {
        let kept: Self = serde_json::from_str(text).ok()?;
        Some(Self { zone: zone.and_then(zone::iana), ..kept })
    }

    /// How much Graph was allowed to show of an event.
    fn detail(&self, fields: &Fields) -> DetailLevel {
        if self.hides_private && fields.visibility != Visibility::Public {
            DetailLevel::FreeBusy
        } else {
            DetailLevel::Full
        }
    }
}

/// Whether more has to be known of the calendar before an event can be read.
pub(super) fn needs_setting(event: &wire::Event) -> bool {
    let is_open = matches!(event.sensitivity.as_deref(), None | Some("normal"));
    event.is_organizer == Some(false) || !is_open
}

/// The calendar that an entry describes; `None` for one without a name of its own.
pub(super) fn calendar(entry: &wire::Calendar) -> Option<RemoteCalendar> {
    let name = entry.name.as_deref().filter(|name| !name.is_empty());
    (!entry.id.is_empty()).then(|| RemoteCalendar {
        provider_id: ProviderId(entry.id.clone()),
        name: name.unwrap_or("Calendar").to_owned(),
        description: None,
        color: entry.hex_color.as_deref().and_then(color),
        // Graph keeps one for the mailbox only.
        time_zone: None,
        access: if entry.can_edit == Some(false) { Access::Read } else { Access::Write },
        is_primary: entry.is_default,
        setting: serde_json::to_string(&Setting::of(entry, None)).ok(),
    })
}

fn color(text: &str) -> Option<String> {
    let digits = text.strip_prefix('#')?;
    let is_color = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_color.then(|| format!("#{}", digits.to_ascii_uppercase()))
}

/// What an item of a listing tells.
#[derive(Debug)]
pub(super) enum Item {
    /// A single event, with all that it says.
    Single(Box<wire::Event>),
    /// A series: only the whole of it tells everything, which takes a request of its own.
    Series(ProviderId),
    /// An event that came too slim.
    Slim(ProviderId),
    /// An instance of a series.
    Instance {
        /// Its own id.
        id: ProviderId,
        /// The id of its series.
        series: ProviderId,
    },
    /// No longer shown, for whatever reason.
    Unlisted(ProviderId),
    /// It cannot be read.
    Unreadable(RemoteChange),
}

/// What an item of a listing tells; `None` when it does not even say which event it is: then what was listed cannot
/// be trusted to be complete.
pub(super) fn item(raw: &str) -> Option<Item> {
    let Ok(event) = serde_json::from_str::<wire::Event>(raw) else {
        return nameless(raw).map(Item::Unreadable);
    };
    if event.id.is_empty() {
        return None;
    }
    let id = ProviderId(event.id.clone());
    if event.removed.is_some() {
        return Some(Item::Unlisted(id));
    }
    Some(match (event.kind, &event.series_master_id) {
        (Some(EventKind::SingleInstance), _) if event.revision().is_some() => Item::Single(Box::new(event)),
        (Some(EventKind::Occurrence | EventKind::Exception), Some(series)) if !series.is_empty() => {
            Item::Instance { id, series: ProviderId(series.clone()) }
        }
        (Some(EventKind::SeriesMaster), _) => Item::Series(id),
        _ => Item::Slim(id),
    })
}

/// What cannot be read as an event, as long as it says which.
fn nameless(raw: &str) -> Option<RemoteChange> {
    let named: wire::Named = serde_json::from_str(raw).ok()?;
    Some(RemoteChange::Unreadable {
        provider_id: ProviderId(Some(named.id).filter(|id| !id.is_empty())?),
        revision: named.change_key.map(Revision),
        reason: "what Microsoft says of it could not be understood".to_owned(),
        raw: Some(raw.to_owned()),
    })
}

/// What a single event, or an instance of a series out of sight, says. A series is [`whole`].
pub(super) fn change(event: &wire::Event, raw: &str, setting: &Setting) -> RemoteChange {
    let read = match (event.kind, &event.series_master_id) {
        (Some(EventKind::Exception), Some(series)) => {
            instance(event, series, raw, setting).map(|instance| RemoteChange::Instance(Box::new(instance)))
        }
        (Some(EventKind::Occurrence), Some(series)) => Ok(RemoteChange::Occurrence {
            provider_id: ProviderId(event.id.clone()),
            series_id: ProviderId(series.clone()),
        }),
        _ => single(event, raw, setting).map(|event| RemoteChange::Upsert(Box::new(event))),
    };
    read.unwrap_or_else(|reason| unreadable(event, raw, reason))
}

fn single(event: &wire::Event, raw: &str, setting: &Setting) -> Result<RemoteEvent, String> {
    let mut warnings = Vec::new();
    let fields = fields::of(event, setting.zone, setting.owner.as_deref(), &mut warnings)
        .map_err(|fault| fault.to_string())?;
    Ok(remote(event, raw, setting.detail(&fields), Body::Single(fields), warnings))
}

fn remote(
    event: &wire::Event,
    raw: &str,
    detail: DetailLevel,
    body: Body,
    warnings: Vec<String>,
) -> RemoteEvent {
    let uid = event.ical_uid.as_ref().filter(|uid| !uid.is_empty()).unwrap_or(&event.id);
    RemoteEvent {
        provider_id: ProviderId(event.id.clone()),
        created_as: event.transaction_id.as_deref().and_then(naming::unsent),
        revision: event.revision(),
        event: Event { uid: Uid(uid.clone()), body },
        parts: Parts::Whole,
        instances: BTreeMap::new(),
        role: fields::role(event),
        detail,
        raw: Some(raw.to_owned()),
        changed_at: event.last_modified_date_time.as_deref().and_then(times::timestamp),
        warnings,
    }
}

/// An instance of a series that is read by itself.
pub(super) fn instance(
    event: &wire::Event,
    series: &str,
    raw: &str,
    setting: &Setting,
) -> Result<RemoteInstance, String> {
    let recurrence_id = times::original_start(event)
        .ok_or_else(|| "it departs from a series and does not say from which instance".to_owned())?;
    let fields = fields::of(event, setting.zone, setting.owner.as_deref(), &mut Vec::new())
        .map_err(|fault| fault.to_string())?;
    Ok(RemoteInstance {
        provider_id: ProviderId(event.id.clone()),
        series_id: ProviderId(series.to_owned()),
        // that of an instance is another one in each
        uid: None,
        recurrence_id,
        revision: event.revision(),
        role: fields::role(event),
        detail: setting.detail(&fields),
        fields: Some(fields),
        raw: raw.to_owned(),
        changed_at: event.last_modified_date_time.as_deref().and_then(times::timestamp),
    })
}

fn unreadable(event: &wire::Event, raw: &str, reason: String) -> RemoteChange {
    RemoteChange::Unreadable {
        provider_id: ProviderId(event.id.clone()),
        revision: event.revision(),
        reason,
        raw: Some(raw.to_owned()),
    }
}

/// What departs from a series.
#[derive(Debug, Default)]
pub(super) struct Departed<'a> {
    /// Days on which an instance does not take place, in the series' own zone.
    pub(super) cancelled: Vec<NaiveDate>,
    /// Instances that differ, verbatim.
    pub(super) exceptions: Vec<&'a str>,
}

impl<'a> Departed<'a> {
    /// As the master says, if it does.
    pub(super) fn of(parts: &wire::Departures<'a>) -> Option<Self> {
        let cancelled = parts.cancelled_occurrences.as_ref()?;
        let exceptions = parts.exception_occurrences.as_ref()?;
        Some(Self {
            cancelled: cancelled.iter().filter_map(|id| cancelled_day(id)).collect(),
            exceptions: exceptions.iter().map(|raw| raw.get()).collect(),
        })
    }
}

/// `OID.{master's id}.{yyyy-MM-dd}`.
fn cancelled_day(id: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(id.rsplit('.').next()?, "%Y-%m-%d").ok()
}

/// A series with all that departs from it.
pub(super) fn whole(
    master: &wire::Event,
    raw: &str,
    departed: &Departed<'_>,
    setting: &Setting,
) -> RemoteChange {
    let limit = Limits::default().instances;
    let count = departed.exceptions.len().max(departed.cancelled.len());
    if count > limit {
        let reason = format!("{count} of its instances depart from it, more than the {limit} allowed");
        return unreadable(master, raw, reason);
    }
    match series(master, raw, departed, setting) {
        Ok(read) => RemoteChange::Upsert(Box::new(read)),
        Err(reason) => unreadable(master, raw, reason),
    }
}

fn series(
    event: &wire::Event,
    raw: &str,
    departed: &Departed<'_>,
    setting: &Setting,
) -> Result<RemoteEvent, String> {
    let mut read = single(event, raw, setting)?;
    let Body::Single(fields) = read.event.body else { return Ok(read) };
    let start = fields.start.clone();
    let pattern = event.recurrence.as_ref().ok_or("it is a series that does not say when it recurs")?;
    let rule = recurrence::rule(pattern, &start).map_err(|fault| fault.to_string())?;
    let lines = [format!("RRULE:{rule}")];
    let lines = lines.iter().map(String::as_str);
    let mut master = ics::master(fields, lines, setting.zone, &Limits::default(), &mut read.warnings)
        .map_err(|error| error.to_string())?;
    let mut overrides = BTreeMap::new();
    for raw in &departed.exceptions {
        let (key, fields, object) = exception(raw, &start, setting, &mut read.warnings)?;
        read.instances.insert(key, object);
        overrides.insert(key, Override::Changed(Box::new(fields)));
    }
    let cancelled = departed.cancelled.iter().map(|day| times::on_day(&start, *day));
    master.exclusions.extend(cancelled.filter(|key| !overrides.contains_key(key)));
    read.event.body = Body::Series(Series { master: Some(master), overrides });
    Ok(read)
}

/// The same of a series that does not say itself what departs from it: whatever its rule yields inside the window
/// and is not among its `instances` does not take place.
pub(super) fn compared(
    master: &wire::Event,
    raw: &str,
    instances: &[&str],
    window: Window,
    setting: &Setting,
) -> RemoteChange {
    let mut departed = Departed::default();
    let mut listed = BTreeSet::new();
    for raw in instances {
        let Ok(event) = serde_json::from_str::<wire::Event>(raw) else { continue };
        let original = times::original_start(&event);
        let start = times::span(&event, setting.zone, &mut Vec::new()).map(|(start, _)| id_of(&start));
        listed.extend(original.or(start));
        if event.kind == Some(EventKind::Exception) {
            departed.exceptions.push(raw);
        }
    }
    let mut change = whole(master, raw, &departed, setting);
    if let RemoteChange::Upsert(remote) = &mut change {
        exclude_unlisted(&mut remote.event, &listed, window);
    }
    change
}

fn exclude_unlisted(event: &mut Event, listed: &BTreeSet<RecurrenceId>, window: Window) {
    let Coverage::Window { from, until } = window.coverage() else { return };
    let (Some(from), Some(until)) = (from.to_utc(), until.to_utc()) else { return };
    let expansion = expand(event, from..until, Tz::UTC, &Budget::default());
    let rule_yields = expansion.instances.iter().filter(|instance| !instance.is_override);
    let yielded: Vec<RecurrenceId> = rule_yields.filter_map(|instance| instance.recurrence_id).collect();
    if let Body::Series(Series { master: Some(master), .. }) = &mut event.body {
        let start = &master.fields.start;
        let listed: BTreeSet<RecurrenceId> = listed.iter().map(|key| rekey(None, start, key)).collect();
        master.exclusions.extend(yielded.into_iter().filter(|key| !listed.contains(key)));
    }
}

/// One exception. One that cannot be read makes its series unreadable: shown as its rule says, it would be wrong.
fn exception(
    raw: &str,
    start: &When,
    setting: &Setting,
    warnings: &mut Vec<String>,
) -> Result<(RecurrenceId, Fields, InstanceRef), String> {
    let event: wire::Event = serde_json::from_str(raw)
        .map_err(|_| "what Microsoft says of one of its instances could not be understood".to_owned())?;
    let original =
        times::original_start(&event).ok_or("one of its instances does not say from which it departs")?;
    let fields = fields::of(&event, setting.zone, setting.owner.as_deref(), warnings)
        .map_err(|fault| format!("of one of its instances: {fault}"))?;
    let object = InstanceRef { provider_id: ProviderId(event.id.clone()), revision: event.revision() };
    Ok((rekey(None, start, &original), fields, object))
}

#[cfg(test)]
mod tests;
