//! Events, edits and states for the laws of the planner.

use std::collections::{BTreeMap, BTreeSet};

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    Attendee, Body, CalendarId, Conference, ConferenceType, ConflictPolicy, DetailLevel, End, Event, EventId,
    Fields, Master, MeetingId, OrganizationId, Override, ParticipationStatus, Parts, ProviderId,
    RecurrenceId, Reminder, RemoteEvent, Role, Rule, Series, Status, StoredEvent, Transparency, Uid, When,
    Zone,
};
use calfleet_domain::reconcile::invariants::Broken;
use calfleet_domain::reconcile::{Atom, Context, Interval, Judge, diff, version};
use chrono::{Days, NaiveDate, NaiveDateTime};
use chrono_tz::Tz;
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

/// The first day of every generated event: the clocks of Kyiv change three days later.
fn first_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 3, 26).unwrap()
}

fn wall(day: u8, hour: u8) -> NaiveDateTime {
    let date = first_day().checked_add_days(Days::new(u64::from(day))).unwrap();
    date.and_hms_opt(u32::from(hour), 0, 0).unwrap()
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    Kyiv,
    Floating,
    Date,
}

pub(crate) fn at(form: Form, day: u8, hour: u8) -> When {
    match form {
        Form::Kyiv => When::Zoned { wall: wall(day, hour), zone: Zone::Iana(Tz::Europe__Kyiv) },
        Form::Floating => When::Floating(wall(day, hour)),
        Form::Date => When::Date(wall(day, 0).date()),
    }
}

pub(crate) fn single(fields: Fields) -> Event {
    Event { uid: Uid::from("meeting@example.com"), body: Body::Single(fields) }
}

pub(crate) fn meeting() -> Fields {
    let (start, end) = (at(Form::Kyiv, 0, 10), at(Form::Kyiv, 0, 11));
    Fields { title: Some("Review".into()), ..Fields::new(start, End::At(end)) }
}

/// One thing that a person does to an event.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    Title(u8),
    Text(u8),
    Place(u8),
    Meet(bool),
    Invite(u8),
    Uninvite(u8),
    Answer(u8, ParticipationStatus),
    Reminder(u8),
    Category(u8),
    Busy(bool),
    Tentative(bool),
    Hour(u8),
    Rule(u8),
    Instance(u8, Box<Edit>),
    CancelInstance(u8),
    RestoreInstance(u8),
}

fn field_edit() -> impl Strategy<Value = Edit> {
    let answer = select(vec![
        ParticipationStatus::Accepted,
        ParticipationStatus::Declined,
        ParticipationStatus::NeedsAction,
    ]);
    prop_oneof![
        (0..4_u8).prop_map(Edit::Title),
        (0..3_u8).prop_map(Edit::Text),
        (0..3_u8).prop_map(Edit::Place),
        any::<bool>().prop_map(Edit::Meet),
        (0..4_u8).prop_map(Edit::Invite),
        (0..4_u8).prop_map(Edit::Uninvite),
        (0..4_u8, answer).prop_map(|(guest, answer)| Edit::Answer(guest, answer)),
        (0..3_u8).prop_map(Edit::Reminder),
        (0..3_u8).prop_map(Edit::Category),
        any::<bool>().prop_map(Edit::Busy),
        any::<bool>().prop_map(Edit::Tentative),
    ]
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        6 => field_edit(),
        1 => (8..12_u8).prop_map(Edit::Hour),
        1 => (0..3_u8).prop_map(Edit::Rule),
        2 => (0..4_u8, field_edit()).prop_map(|(day, edit)| Edit::Instance(day, Box::new(edit))),
        1 => (0..4_u8, 8..12_u8).prop_map(|(day, hour)| Edit::Instance(day, Box::new(Edit::Hour(hour)))),
        1 => (0..4_u8).prop_map(Edit::CancelInstance),
        1 => (0..4_u8).prop_map(Edit::RestoreInstance),
    ]
}

pub(crate) fn guest(number: u8) -> String {
    format!("guest{number}@example.com")
}

pub(crate) fn apply_to_fields(edit: &Edit, fields: &mut Fields) {
    let text = |name: &str, number: u8| (number > 0).then(|| format!("{name} {number}"));
    match edit {
        Edit::Title(number) => fields.title = text("Title", *number),
        Edit::Text(number) => fields.description = text("Text\nof", *number),
        Edit::Place(number) => fields.location = text("Room", *number),
        Edit::Meet(true) => {
            let link = "https://meet.example.com/abc".to_owned();
            fields.conference = Some(Conference::ready(ConferenceType::GoogleMeet, link));
        }
        Edit::Meet(false) => fields.conference = None,
        Edit::Invite(number) if fields.attendees.iter().any(|one| one.address == guest(*number)) => {}
        Edit::Invite(number) => {
            fields.attendees.push(Attendee::new(guest(*number)));
            fields.attendees.sort_by(|one, other| one.address.cmp(&other.address));
        }
        Edit::Uninvite(number) => fields.attendees.retain(|one| one.address != guest(*number)),
        Edit::Answer(number, answer) => {
            for one in fields.attendees.iter_mut().filter(|one| one.address == guest(*number)) {
                one.status = *answer;
            }
        }
        Edit::Reminder(number) => {
            toggle(&mut fields.reminders, Reminder::BeforeStart(60 * i64::from(*number)));
        }
        Edit::Category(number) => toggle(&mut fields.categories, format!("Category {number}")),
        Edit::Busy(is_busy) => {
            fields.transparency = if *is_busy { Transparency::Opaque } else { Transparency::Transparent };
        }
        Edit::Tentative(is_tentative) => {
            fields.status = if *is_tentative { Status::Tentative } else { Status::Confirmed };
        }
        Edit::Hour(hour) => {
            let hour = u32::from(*hour);
            let date = fields.start.wall().date();
            fields.start = fields.start.with_wall(date.and_hms_opt(hour, 0, 0).unwrap());
            if let End::At(end) = &fields.end
                && !end.is_date()
            {
                fields.end = End::At(end.with_wall(date.and_hms_opt(hour + 1, 0, 0).unwrap()));
            }
        }
        _ => {}
    }
}

fn toggle<T: Ord>(set: &mut Vec<T>, element: T) {
    match set.iter().position(|one| *one == element) {
        Some(place) => drop(set.remove(place)),
        None => set.push(element),
    }
    set.sort();
}

/// Edits as a provider's or our own editor would: a moved series takes its exceptions along.
pub(crate) fn apply(edit: &Edit, event: &mut Event) {
    match (&mut event.body, edit) {
        (Body::Single(fields), edit) => apply_to_fields(edit, fields),
        (Body::Series(series), Edit::Instance(day, edit)) => {
            let master = series.master.as_mut().unwrap();
            let key = key_of(&master.fields.start, *day);
            if master.exclusions.contains(&key) {
                return;
            }
            let inherited = || instance_of(&master.fields, *day);
            let over =
                series.overrides.entry(key).or_insert_with(|| Override::Changed(Box::new(inherited())));
            if let Override::Changed(fields) = over {
                apply_to_fields(edit, fields);
            }
        }
        (Body::Series(series), Edit::CancelInstance(day)) => {
            let master = series.master.as_mut().unwrap();
            let key = key_of(&master.fields.start, *day);
            series.overrides.remove(&key);
            master.exclusions.insert(key);
        }
        (Body::Series(series), Edit::RestoreInstance(day)) => {
            let master = series.master.as_mut().unwrap();
            master.exclusions.remove(&key_of(&master.fields.start, *day));
        }
        (Body::Series(series), Edit::Rule(number)) => {
            let rule = ["FREQ=DAILY;COUNT=10", "FREQ=DAILY;COUNT=20", "FREQ=DAILY"][usize::from(*number)];
            series.master.as_mut().unwrap().rules = vec![Rule(rule.into())];
        }
        (Body::Series(series), Edit::Hour(hour)) => move_series(series, *hour),
        (Body::Series(series), edit) => apply_to_all(edit, series),
    }
}

/// An edit of the whole series reaches the exceptions that do not depart in that field.
fn apply_to_all(edit: &Edit, series: &mut Series) {
    let master = &mut series.master.as_mut().unwrap().fields;
    let before = master.clone();
    apply_to_fields(edit, master);
    for over in series.overrides.values_mut() {
        if let Override::Changed(fields) = over {
            let mut repeated = before.clone();
            apply_to_fields(edit, &mut repeated);
            let inherits = |atom: &Atom| {
                let placed = |fields: &Fields| Fields {
                    start: before.start.clone(),
                    end: before.end.clone(),
                    ..fields.clone()
                };
                !diff::changed_atoms(&single(placed(fields)), &single(before.clone()))
                    .contains(&(None, atom.clone()))
            };
            let touched = diff::changed_atoms(&single(before.clone()), &single(repeated));
            if touched.iter().all(|(_, atom)| inherits(atom)) {
                apply_to_fields(edit, fields);
            }
        }
    }
}

fn move_series(series: &mut Series, hour: u8) {
    let master = series.master.as_mut().unwrap();
    let old = master.fields.start.clone();
    if old.is_date() {
        return;
    }
    apply_to_fields(&Edit::Hour(hour), &mut master.fields);
    let rekey = |key: &RecurrenceId| match key {
        RecurrenceId::Wall(wall) => {
            RecurrenceId::Wall(wall.date().and_hms_opt(u32::from(hour), 0, 0).unwrap())
        }
        other => *other,
    };
    master.exclusions = master.exclusions.iter().map(rekey).collect();
    series.overrides = std::mem::take(&mut series.overrides)
        .into_iter()
        .map(|(key, mut over)| {
            if let Override::Changed(fields) = &mut over
                && fields.start.wall().time() == old.wall().time()
            {
                apply_to_fields(&Edit::Hour(hour), fields);
            }
            (rekey(&key), over)
        })
        .collect();
}

pub(crate) fn key_of(start: &When, day: u8) -> RecurrenceId {
    let wall = start.wall().checked_add_days(Days::new(u64::from(day))).unwrap();
    match start {
        When::Date(_) => RecurrenceId::Date(wall.date()),
        When::Utc(_) => RecurrenceId::Utc(wall.and_utc()),
        _ => RecurrenceId::Wall(wall),
    }
}

pub(crate) fn instance_of(master: &Fields, day: u8) -> Fields {
    let later =
        |when: &When| when.with_wall(when.wall().checked_add_days(Days::new(u64::from(day))).unwrap());
    let end = match &master.end {
        End::At(end) => End::At(later(end)),
        other => other.clone(),
    };
    Fields { start: later(&master.start), end, ..master.clone() }
}

fn plain_event() -> impl Strategy<Value = Event> {
    let form = select(vec![Form::Kyiv, Form::Floating, Form::Date]);
    (form, any::<bool>()).prop_map(|(form, recurs)| {
        let end = match form {
            Form::Date => End::Unspecified,
            _ => End::At(at(form, 0, 11)),
        };
        let fields = Fields { title: Some("Review".into()), ..Fields::new(at(form, 0, 10), end) };
        let uid = Uid::from("meeting@example.com");
        let master = |fields| Master {
            fields,
            rules: vec![Rule("FREQ=DAILY;COUNT=10".into())],
            additions: BTreeMap::new(),
            exclusions: BTreeSet::new(),
        };
        let body = if recurs {
            Body::Series(Series { master: Some(master(fields)), overrides: BTreeMap::new() })
        } else {
            Body::Single(fields)
        };
        Event { uid, body }
    })
}

pub(crate) fn edits(most: usize) -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec(edit(), 0..most)
}

pub(crate) fn edited(event: &Event, edits: &[Edit]) -> Event {
    let mut event = event.clone();
    for edit in edits {
        apply(edit, &mut event);
    }
    event
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    (plain_event(), edits(8)).prop_map(|(event, edits)| edited(&event, &edits))
}

pub(crate) fn judge() -> impl Strategy<Value = Judge> {
    let policy = select(vec![
        ConflictPolicy::LastWriteWins,
        ConflictPolicy::ProviderWins,
        ConflictPolicy::AppWins,
        ConflictPolicy::Manual,
    ]);
    let role = select(vec![Role::Organizer, Role::None]);
    (policy, role, 0..20_000_i64).prop_map(|(policy, role, local)| Judge {
        policy,
        role,
        local_at: Interval::at(Timestamp(local)),
        remote_at: Interval::at(Timestamp(10_000)),
        answered_at: Interval::at(Timestamp(10_000)),
    })
}

pub(crate) fn fails(broken: &Broken) -> TestCaseError {
    TestCaseError::fail(broken.to_string())
}

pub(crate) const NOW: Timestamp = Timestamp(1_000_000);

pub(crate) fn context(policy: ConflictPolicy) -> Context {
    Context { policy, requested_at: NOW, listed_without_at: Some(Timestamp(0)), provider_clock_offset_ms: 0 }
}

pub(crate) fn held(event: Option<Event>) -> StoredEvent {
    StoredEvent {
        id: EventId(Uuid::from_u128(1)),
        organization_id: OrganizationId(Uuid::from_u128(2)),
        calendar_id: CalendarId(Uuid::from_u128(3)),
        meeting_id: MeetingId(Uuid::from_u128(4)),
        provider_id: ProviderId::from("/calendar/meeting.ics"),
        revision: None,
        version: event.as_ref().map_or(version::of(&single(meeting())), version::of),
        lock_version: 0,
        event,
        base: None,
        edited_at: None,
        edited_since: None,
        settled_at: None,
        is_in_flight: false,
        role: Role::None,
        detail: DetailLevel::Full,
    }
}

pub(crate) fn pending(event: Option<Event>, base: Event) -> StoredEvent {
    StoredEvent { base: Some(base), edited_at: Some(Timestamp(500_000)), ..held(event) }
}

pub(crate) fn shown_as(event: Event, changed_at: Option<Timestamp>) -> RemoteEvent {
    RemoteEvent {
        parts: Parts::Whole,
        instances: BTreeMap::new(),
        provider_id: ProviderId::from("/calendar/meeting.ics"),
        created_as: None,
        revision: None,
        event,
        role: Role::None,
        detail: DetailLevel::Full,
        raw: None,
        changed_at,
        warnings: Vec::new(),
    }
}

pub(crate) fn plain_series() -> Event {
    let master = Master {
        fields: meeting(),
        rules: vec![Rule("FREQ=DAILY;COUNT=10".into())],
        additions: BTreeMap::new(),
        exclusions: BTreeSet::new(),
    };
    let body = Body::Series(Series { master: Some(master), overrides: BTreeMap::new() });
    Event { uid: Uid::from("meeting@example.com"), body }
}
