//! From what Google says to our nouns: calendars, and events one by one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use calfleet_domain::ics::{self, Limits};
use calfleet_domain::model::{
    Access, Body, DetailLevel, Event, InstanceRef, Override, Parts, ProviderId, Reminder, RemoteCalendar,
    RemoteChange, RemoteEvent, RemoteInstance, Revision, Role, Series, Uid,
};
use calfleet_domain::reconcile::rekey;
use calfleet_domain::recurrence::zone;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::fields::{self, Fault};
use super::wire;

/// What Google says of a calendar wherever it speaks of one, as it is kept for later.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept<'a> {
    #[serde(borrow)]
    access_role: Option<Cow<'a, str>>,
    default_reminders: Cow<'a, [wire::Reminder]>,
}

/// What is known of the calendar that an event stands in.
#[derive(Debug, Clone, Default)]
pub(super) struct Setting {
    /// Its own zone.
    pub(super) zone: Option<Tz>,
    /// What the account may do in it; `None` where that is not known.
    role: Option<AccessRole>,
    /// Its default reminders.
    reminders: Vec<Reminder>,
}

/// What an account may do in a calendar, in Google's steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AccessRole {
    FreeBusy,
    Reader,
    WriterWithoutPrivate,
    Writer,
}

impl AccessRole {
    fn of(name: &str) -> Option<Self> {
        match name {
            "freeBusyReader" => Some(Self::FreeBusy),
            "reader" => Some(Self::Reader),
            "writerWithoutPrivateAccess" => Some(Self::WriterWithoutPrivate),
            "writer" | "owner" => Some(Self::Writer),
            _ => None,
        }
    }
}

impl Setting {
    fn new(zone: Option<&str>, role: Option<&str>, reminders: &[wire::Reminder]) -> Self {
        Self {
            zone: zone.and_then(zone::iana),
            role: role.and_then(AccessRole::of),
            reminders: fields::before_start(reminders),
        }
    }

    /// The calendar's default reminders.
    pub(super) fn reminders(&self) -> &[Reminder] {
        &self.reminders
    }

    /// As a listing of the calendar's events says.
    pub(super) fn of_list(list: &wire::EventList<'_>, zone: Option<&str>) -> Self {
        let zone = list.time_zone.as_deref().or(zone);
        Self::new(zone, list.access_role.as_deref(), &list.default_reminders)
    }

    /// As was kept of it; `None` for what cannot be read.
    pub(super) fn of_kept(text: &str, zone: Option<&str>) -> Option<Self> {
        let kept: Kept<'_> = serde_json::from_str(text).ok()?;
        Some(Self::new(zone, kept.access_role.as_deref(), &kept.default_reminders))
    }

    /// As the account's list of calendars says.
    pub(super) fn of_entry(entry: &wire::CalendarEntry, zone: Option<&str>) -> Self {
        let zone = entry.time_zone.as_deref().or(zone);
        Self::new(zone, entry.access_role.as_deref(), &entry.default_reminders)
    }

    /// How much Google was allowed to show of an event: of other people's private ones it shows times alone, and
    /// no one as their creator.
    fn detail(&self, event: &wire::Event) -> DetailLevel {
        let is_bare = event.summary.is_none() && event.organizer.is_none() && event.attendees.is_empty();
        let is_private = matches!(event.visibility.as_deref(), Some("private" | "confidential"));
        let is_hidden = is_bare && is_private && self.role != Some(AccessRole::Writer);
        if is_hidden || self.role == Some(AccessRole::FreeBusy) {
            DetailLevel::FreeBusy
        } else {
            DetailLevel::Full
        }
    }
}

/// What is kept of a calendar, by which [`Setting::of_kept`] knows it again.
pub(super) fn kept(role: Option<&str>, reminders: &[wire::Reminder]) -> Option<String> {
    let kept = Kept { access_role: role.map(Cow::from), default_reminders: Cow::from(reminders) };
    serde_json::to_string(&kept).ok()
}

/// The calendar that an entry describes; `None` for one that is hidden, deleted or shows nothing.
pub(super) fn calendar(entry: &wire::CalendarEntry) -> Option<RemoteCalendar> {
    let role = AccessRole::of(entry.access_role.as_deref().unwrap_or_default())?;
    if entry.hidden || entry.deleted || entry.id.is_empty() {
        return None;
    }
    let name = entry.summary_override.as_ref().or(entry.summary.as_ref()).filter(|name| !name.is_empty());
    Some(RemoteCalendar {
        provider_id: ProviderId(entry.id.clone()),
        name: name.unwrap_or(&entry.id).clone(),
        description: entry.description.clone().filter(|text| !text.is_empty()),
        color: entry.background_color.as_deref().and_then(color),
        time_zone: entry.time_zone.as_deref().and_then(zone::iana).map(|zone| zone.name().to_owned()),
        access: match role {
            AccessRole::FreeBusy => Access::FreeBusy,
            AccessRole::Reader => Access::Read,
            AccessRole::WriterWithoutPrivate | AccessRole::Writer => Access::Write,
        },
        is_primary: entry.primary,
        setting: kept(entry.access_role.as_deref(), &entry.default_reminders),
    })
}

fn color(text: &str) -> Option<String> {
    let digits = text.strip_prefix('#')?;
    let is_color = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_color.then(|| format!("#{}", digits.to_ascii_uppercase()))
}

/// What one item of a listing, or the answer to `events.get`, says. `None` when it does not even say which event
/// it is: then what was listed cannot be trusted to be complete.
pub(super) fn change(raw: &str, setting: &Setting) -> Option<RemoteChange> {
    let Ok(event) = serde_json::from_str::<wire::Event>(raw) else {
        let named: wire::Named = serde_json::from_str(raw).ok()?;
        return Some(RemoteChange::Unreadable {
            provider_id: ProviderId(named.id),
            revision: named.etag.map(Revision),
            reason: "what Google says of it could not be understood".to_owned(),
            raw: Some(raw.to_owned()),
        });
    };
    if event.id.is_empty() {
        return None;
    }
    Some(of_event(&event, raw, setting).unwrap_or_else(|reason| unreadable(&event, raw, reason)))
}

fn of_event(event: &wire::Event, raw: &str, setting: &Setting) -> Result<RemoteChange, String> {
    if let Some(series) = &event.recurring_event_id {
        let instance = instance(event, series, raw, setting).map_err(|fault| fault.to_string())?;
        return Ok(RemoteChange::Instance(Box::new(instance)));
    }
    if event.status.as_deref() == Some("cancelled") {
        return Ok(RemoteChange::Removed { provider_id: ProviderId(event.id.clone()) });
    }
    let mut warnings = Vec::new();
    let fields = fields::of(event, setting.zone, &setting.reminders, &mut warnings)
        .map_err(|fault| fault.to_string())?;
    let (body, parts) = if event.recurrence.is_empty() {
        (Body::Single(fields), Parts::Whole)
    } else {
        let lines = event.recurrence.iter().map(String::as_str);
        let master = ics::master(fields, lines, setting.zone, &Limits::default(), &mut warnings)
            .map_err(|error| error.to_string())?;
        (Body::Series(Series { master: Some(master), overrides: BTreeMap::new() }), Parts::MasterOnly)
    };
    let uid = event.ical_uid.clone().unwrap_or_else(|| format!("{}@google.com", event.id));
    Ok(RemoteChange::Upsert(Box::new(RemoteEvent {
        provider_id: ProviderId(event.id.clone()),
        created_as: None,
        revision: event.etag.clone().map(Revision),
        event: Event { uid: Uid(uid), body },
        parts,
        instances: BTreeMap::new(),
        role: fields::role(event),
        detail: setting.detail(event),
        raw: Some(raw.to_owned()),
        changed_at: event.updated.as_deref().and_then(fields::stamp),
        warnings,
    })))
}

fn instance(
    event: &wire::Event,
    series: &str,
    raw: &str,
    setting: &Setting,
) -> Result<RemoteInstance, Fault> {
    let recurrence_id = fields::recurrence_id(event, setting.zone)?;
    // Of a cancelled one little more than its place is certain.
    let is_cancelled = event.status.as_deref() == Some("cancelled");
    let fields = if is_cancelled {
        None
    } else {
        Some(fields::of(event, setting.zone, &setting.reminders, &mut Vec::new())?)
    };
    Ok(RemoteInstance {
        provider_id: ProviderId(event.id.clone()),
        series_id: ProviderId(series.to_owned()),
        uid: event.ical_uid.clone().map(Uid),
        recurrence_id,
        revision: event.etag.clone().map(Revision),
        fields,
        role: if is_cancelled { Role::None } else { fields::role(event) },
        detail: setting.detail(event),
        raw: raw.to_owned(),
        changed_at: event.updated.as_deref().and_then(fields::stamp),
    })
}

fn unreadable(event: &wire::Event, raw: &str, reason: String) -> RemoteChange {
    RemoteChange::Unreadable {
        provider_id: ProviderId(event.id.clone()),
        revision: event.etag.clone().map(Revision),
        reason,
        raw: Some(raw.to_owned()),
    }
}

/// A series and its instances, read together, as one whole.
pub(super) fn whole(mut master: RemoteEvent, instances: Vec<RemoteInstance>) -> RemoteChange {
    let limit = Limits::default().instances;
    if instances.len() > limit {
        return RemoteChange::Unreadable {
            provider_id: master.provider_id,
            revision: master.revision,
            reason: format!(
                "{} of its instances depart from it, more than the {limit} allowed",
                instances.len()
            ),
            raw: master.raw,
        };
    }
    if let Body::Series(series) = &mut master.event.body {
        let start = series.master.as_ref().map(|master| master.fields.start.clone());
        for instance in instances {
            let key = start
                .as_ref()
                .map_or(instance.recurrence_id, |start| rekey(None, start, &instance.recurrence_id));
            let over =
                instance.fields.map_or(Override::Cancelled, |fields| Override::Changed(Box::new(fields)));
            series.overrides.insert(key, over);
            let object = InstanceRef { provider_id: instance.provider_id, revision: instance.revision };
            master.instances.insert(key, object);
        }
    }
    master.parts = Parts::Whole;
    RemoteChange::Upsert(Box::new(master))
}

#[cfg(test)]
mod tests {
    use calfleet_domain::model::RecurrenceId;

    use super::*;

    const MASTER: &str = r#"{"id":"abc","etag":"\"1\"","iCalUID":"abc@google.com","status":"confirmed","summary":"Standup",
        "start":{"dateTime":"2026-03-02T09:30:00+01:00","timeZone":"Europe/Paris"},
        "end":{"dateTime":"2026-03-02T10:00:00+01:00","timeZone":"Europe/Paris"},
        "recurrence":["RRULE:FREQ=WEEKLY","EXDATE;TZID=Europe/Paris:20260309T093000"]}"#;
    const CANCELLED: &str = r#"{"kind":"calendar#event","etag":"\"2\"","id":"abc_20260316T083000Z","status":"cancelled",
        "recurringEventId":"abc","originalStartTime":{"dateTime":"2026-03-16T09:30:00+01:00","timeZone":"Europe/Paris"}}"#;
    const MOVED: &str = r#"{"id":"abc_20260406T073000Z","etag":"\"3\"","iCalUID":"abc@google.com","recurringEventId":"abc",
        "originalStartTime":{"dateTime":"2026-04-06T09:30:00+02:00","timeZone":"Europe/Paris"},"summary":"Standup, late",
        "start":{"dateTime":"2026-04-06T11:30:00+02:00","timeZone":"Europe/Paris"},"end":{"dateTime":"2026-04-06T12:00:00+02:00","timeZone":"Europe/Paris"}}"#;

    fn setting(role: &str) -> Setting {
        Setting::new(Some("Europe/Paris"), Some(role), &[])
    }

    fn upsert(text: &str) -> RemoteEvent {
        match change(text, &setting("owner")) {
            Some(RemoteChange::Upsert(event)) => *event,
            other => panic!("{other:?}"),
        }
    }

    fn instance(text: &str) -> RemoteInstance {
        match change(text, &setting("owner")) {
            Some(RemoteChange::Instance(instance)) => *instance,
            other => panic!("{other:?}"),
        }
    }

    fn wall(text: &str) -> RecurrenceId {
        RecurrenceId::Wall(text.parse().unwrap())
    }

    #[test]
    fn a_master_comes_alone_with_its_rule_and_exclusions() {
        let master = upsert(MASTER);

        assert_eq!(master.parts, Parts::MasterOnly);
        assert_eq!(master.revision, Some(Revision::from("\"1\"")));
        assert_eq!(master.raw.as_deref(), Some(MASTER));
        let Body::Series(Series { master: Some(series), overrides }) = master.event.body else {
            panic!("no series")
        };
        assert!(overrides.is_empty());
        assert_eq!(series.rules.iter().map(|rule| rule.0.as_str()).collect::<Vec<_>>(), ["FREQ=WEEKLY"]);
        assert_eq!(series.exclusions.into_iter().collect::<Vec<_>>(), [wall("2026-03-09T09:30:00")]);
    }

    #[test]
    fn instances_name_their_series_and_their_original_start() {
        let (cancelled, moved) = (instance(CANCELLED), instance(MOVED));

        assert_eq!(cancelled.series_id.as_str(), "abc");
        assert_eq!(cancelled.fields, None);
        assert_eq!(cancelled.recurrence_id, RecurrenceId::Utc("2026-03-16T08:30:00Z".parse().unwrap()));
        assert_eq!(moved.recurrence_id, RecurrenceId::Utc("2026-04-06T07:30:00Z".parse().unwrap()));
        assert_eq!(moved.fields.and_then(|fields| fields.title).as_deref(), Some("Standup, late"));
    }

    #[test]
    fn a_series_read_whole_has_its_instances_in_its_own_zone() {
        let read = whole(upsert(MASTER), vec![instance(CANCELLED), instance(MOVED)]);

        let RemoteChange::Upsert(read) = read else { panic!("{read:?}") };
        assert_eq!(read.parts, Parts::Whole);
        let keys = [wall("2026-03-16T09:30:00"), wall("2026-04-06T09:30:00")];
        assert_eq!(read.instances.keys().copied().collect::<Vec<_>>(), keys);
        let Body::Series(series) = read.event.body else { panic!("no series") };
        assert_eq!(series.overrides.keys().copied().collect::<Vec<_>>(), keys);
        assert_eq!(series.overrides.get(&keys[0]), Some(&Override::Cancelled));
    }

    #[test]
    fn a_deleted_event_is_removed_and_a_broken_one_is_unreadable() {
        let of = |text| change(text, &setting("owner"));

        assert!(matches!(of(r#"{"id":"x","status":"cancelled"}"#), Some(RemoteChange::Removed { .. })));
        assert!(matches!(of(r#"{"id":"x","etag":"1"}"#), Some(RemoteChange::Unreadable { .. })));
        assert!(matches!(of(r#"{"id":"x","attendees":7}"#), Some(RemoteChange::Unreadable { .. })));
        assert!(matches!(
            of(r#"{"id":"x","status":"cancelled","recurringEventId":"y"}"#),
            Some(RemoteChange::Unreadable { .. })
        ));
        assert!(of(r#"{"status":"cancelled"}"#).is_none());
    }

    #[test]
    fn how_much_is_shown_follows_from_access_and_privacy() {
        let bare = r#"{"id":"x","visibility":"private","start":{"date":"2026-03-02"}}"#;
        let open = r#"{"id":"x","summary":"Lunch","organizer":{"email":"a"},"start":{"date":"2026-03-02"}}"#;
        let detail = |text: &str, role: &str| match change(text, &setting(role)) {
            Some(RemoteChange::Upsert(event)) => event.detail,
            other => panic!("{other:?}"),
        };

        assert_eq!(detail(bare, "reader"), DetailLevel::FreeBusy);
        assert_eq!(detail(bare, "writerWithoutPrivateAccess"), DetailLevel::FreeBusy);
        assert_eq!(detail(bare, "owner"), DetailLevel::Full);
        assert_eq!(detail(open, "reader"), DetailLevel::Full);
        assert_eq!(detail(open, "freeBusyReader"), DetailLevel::FreeBusy);
    }

    #[test]
    fn calendars_are_described_and_hidden_ones_left_out() {
        let of = |text: &str| calendar(&serde_json::from_str(text).unwrap());

        let team = of(r##"{"id":"t@group.calendar.google.com","summary":"Team","summaryOverride":"My team","timeZone":"Europe/Paris",
            "colorId":"3","backgroundColor":"#f83a22","accessRole":"writerWithoutPrivateAccess","defaultReminders":[]}"##).unwrap();

        assert_eq!((team.name.as_str(), team.color.as_deref()), ("My team", Some("#F83A22")));
        assert_eq!((team.access, team.is_primary), (Access::Write, false));
        assert_eq!(
            of(r#"{"id":"x","accessRole":"freeBusyReader"}"#).map(|found| found.access),
            Some(Access::FreeBusy)
        );
        assert_eq!(of(r#"{"id":"x","accessRole":"reader","hidden":true}"#), None);
        assert_eq!(of(r#"{"id":"x","accessRole":"reader","deleted":true}"#), None);
        assert_eq!(of(r#"{"id":"x","accessRole":"none"}"#), None);
    }
}
