//! Laws 1, 2, 4, 5, 15, 46, 47 and 48 in the pure planner: over generated events, and over histories of two sides
//! with a provider that keeps one event.

use std::collections::{BTreeMap, BTreeSet};

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    Attendee, Body, CalendarId, Conference, ConferenceType, ConflictPolicy, DetailLevel, End, Event, EventId,
    Fields, Master, MeetingId, NominalDuration, OrganizationId, Override, ParticipationStatus, ProviderId,
    RecurrenceId, Reminder, RemoteEvent, Role, Rule, Series, Status, StoredEvent, Transparency, Uid, When,
    Zone,
};
use calfleet_domain::reconcile::invariants::{self, Broken, applied};
use calfleet_domain::reconcile::{
    Atom, Context, Decision, Interval, Judge, Plan, Reason, Remote, Side, Verdict, diff, merge, reconcile,
    version,
};
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
enum Form {
    Kyiv,
    Floating,
    Date,
}

fn at(form: Form, day: u8, hour: u8) -> When {
    match form {
        Form::Kyiv => When::Zoned { wall: wall(day, hour), zone: Zone::Iana(Tz::Europe__Kyiv) },
        Form::Floating => When::Floating(wall(day, hour)),
        Form::Date => When::Date(wall(day, 0).date()),
    }
}

fn single(fields: Fields) -> Event {
    Event { uid: Uid::from("meeting@example.com"), body: Body::Single(fields) }
}

fn meeting() -> Fields {
    let (start, end) = (at(Form::Kyiv, 0, 10), at(Form::Kyiv, 0, 11));
    Fields { title: Some("Review".into()), ..Fields::new(start, End::At(end)) }
}

/// One thing that a person does to an event.
#[derive(Debug, Clone)]
enum Edit {
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

fn edit() -> impl Strategy<Value = Edit> {
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

fn guest(number: u8) -> String {
    format!("guest{number}@example.com")
}

fn apply_to_fields(edit: &Edit, fields: &mut Fields) {
    let text = |name: &str, number: u8| (number > 0).then(|| format!("{name} {number}"));
    match edit {
        Edit::Title(number) => fields.title = text("Title", *number),
        Edit::Text(number) => fields.description = text("Text\nof", *number),
        Edit::Place(number) => fields.location = text("Room", *number),
        Edit::Meet(true) => {
            let link = "https://meet.example.com/abc".to_owned();
            fields.conference = Some(Conference { kind: ConferenceType::GoogleMeet, link });
        }
        Edit::Meet(false) => fields.conference = None,
        Edit::Invite(number) => {
            if !fields.attendees.iter().any(|one| one.address == guest(*number)) {
                fields.attendees.push(Attendee::new(guest(*number)));
                fields.attendees.sort_by(|one, other| one.address.cmp(&other.address));
            }
        }
        Edit::Uninvite(number) => fields.attendees.retain(|one| one.address != guest(*number)),
        Edit::Answer(number, answer) => {
            for one in fields.attendees.iter_mut().filter(|one| one.address == guest(*number)) {
                one.status = *answer;
            }
        }
        Edit::Reminder(number) => {
            toggle(&mut fields.reminders, Reminder::BeforeStart(60 * i64::from(*number)))
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
fn apply(edit: &Edit, event: &mut Event) {
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

fn key_of(start: &When, day: u8) -> RecurrenceId {
    let wall = start.wall().checked_add_days(Days::new(u64::from(day))).unwrap();
    match start {
        When::Date(_) => RecurrenceId::Date(wall.date()),
        When::Utc(_) => RecurrenceId::Utc(wall.and_utc()),
        _ => RecurrenceId::Wall(wall),
    }
}

fn instance_of(master: &Fields, day: u8) -> Fields {
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
        let body = match recurs {
            false => Body::Single(fields),
            true => Body::Series(Series {
                master: Some(Master {
                    fields,
                    rules: vec![Rule("FREQ=DAILY;COUNT=10".into())],
                    additions: BTreeMap::new(),
                    exclusions: BTreeSet::new(),
                }),
                overrides: BTreeMap::new(),
            }),
        };
        Event { uid, body }
    })
}

fn edits(most: usize) -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec(edit(), 0..most)
}

fn edited(event: &Event, edits: &[Edit]) -> Event {
    let mut event = event.clone();
    edits.iter().for_each(|edit| apply(edit, &mut event));
    event
}

fn event() -> impl Strategy<Value = Event> {
    (plain_event(), edits(8)).prop_map(|(event, edits)| edited(&event, &edits))
}

fn judge() -> impl Strategy<Value = Judge> {
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

fn fails(broken: Broken) -> TestCaseError {
    TestCaseError::fail(broken.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_change_of_one_side_is_taken_whole(base in event(), edits in edits(6), judge in judge()) {
        let changed = edited(&base, &edits);

        invariants::merge_is_identity_on_one_change(&base, &changed, &judge).map_err(fails)?;
    }

    #[test]
    fn edits_of_different_atoms_commute(base in event(), ones in edits(4), others in edits(4), judge in judge()) {
        let (one, other) = (edited(&base, &ones), edited(&base, &others));

        invariants::disjoint_edits_commute(&base, &one, &other, &judge).map_err(fails)?;
    }

    #[test]
    fn order_defaults_and_spelling_make_no_version(event in event()) {
        let respelled = respelled(&event);

        prop_assert_eq!(version::of(&event), version::of(&respelled));
        prop_assert!(diff::changes(Some(&event), Some(&respelled)).is_empty());
    }

    #[test]
    fn a_version_changes_exactly_when_an_atom_does(event in event(), edits in edits(4)) {
        let changed = edited(&event, &edits);

        let is_same = version::of(&event) == version::of(&changed);

        prop_assert_eq!(is_same, diff::changed_atoms(&event, &changed).is_empty());
    }

    #[test]
    fn less_detail_is_no_edit(event in event()) {
        let shown = reduced(&event);
        let stored = StoredEvent { detail: DetailLevel::Full, ..held(Some(event)) };
        let remote = RemoteEvent { detail: DetailLevel::FreeBusy, ..shown_as(shown, None) };

        let plan = reconcile(Some(&stored), &Remote::Present(&remote), &context(ConflictPolicy::LastWriteWins));

        prop_assert_eq!((plan.decision, plan.detail), (Decision::Nothing, DetailLevel::Full), "{:#?}", plan.changes);
    }

    #[test]
    fn of_a_guests_edits_only_the_own_answer_and_personal_fields_survive(
        base in event(),
        ours in edits(5),
        theirs in edits(3),
        policy in select(vec![ConflictPolicy::LastWriteWins, ConflictPolicy::AppWins]),
    ) {
        let (local, remote) = (edited(&base, &ours), edited(&base, &theirs));
        let stored = StoredEvent { role: Role::Attendee, ..pending(Some(local), base) };
        let shown = RemoteEvent { role: Role::Attendee, ..shown_as(remote.clone(), None) };

        let plan = reconcile(Some(&stored), &Remote::Present(&shown), &context(policy));

        let sent = diff::changed_atoms(&remote, &plan.event.unwrap());
        let is_cancelled = |instance: &Option<RecurrenceId>| {
            instance.is_some() && sent.contains(&(*instance, Atom::Existence))
        };
        let refused: Vec<_> =
            sent.iter().filter(|(instance, atom)| !atom.is_personal() && !is_cancelled(instance)).collect();
        prop_assert!(refused.is_empty(), "{refused:?} would be sent");
    }
}

/// The same event, written otherwise.
fn respelled(event: &Event) -> Event {
    let mut event = event.clone();
    match &mut event.body {
        Body::Single(fields) => {
            respell(fields);
            if let End::Unspecified = fields.end {
                fields.end = End::After(NominalDuration { days: 1, seconds: 0 });
            }
        }
        Body::Series(series) => {
            let master = series.master.as_mut().unwrap();
            respell(&mut master.fields);
            for key in std::mem::take(&mut master.exclusions) {
                series.overrides.insert(key, Override::Cancelled);
            }
            for over in series.overrides.values_mut() {
                if let Override::Changed(fields) = over {
                    respell(fields);
                }
            }
            for day in 4..6 {
                let repeated = Override::Changed(Box::new(instance_of(&master.fields, day)));
                series.overrides.entry(key_of(&master.fields.start, day)).or_insert(repeated);
            }
        }
    }
    event
}

fn respell(fields: &mut Fields) {
    if let When::Zoned { zone, .. } = &mut fields.start {
        *zone = Zone::Iana(Tz::Europe__Kiev);
    }
    fields.attendees.reverse();
    fields.reminders.reverse();
    fields.reminders.extend(fields.reminders.clone());
    fields.categories.reverse();
    for one in &mut fields.attendees {
        one.address = one.address.to_uppercase();
    }
    for text in [&mut fields.title, &mut fields.description, &mut fields.location] {
        *text = Some(text.take().unwrap_or_default().replace('\n', "  \r\n") + " \r\n");
    }
    fields.stamps.sequence += 3;
    fields.stamps.updated = Some(Timestamp(77));
}

/// What free/busy access shows of an event.
fn reduced(event: &Event) -> Event {
    let mut event = event.clone();
    let busy_time = |fields: &mut Fields| {
        let (status, transparency) = (fields.status, fields.transparency);
        *fields = Fields { status, transparency, ..Fields::new(fields.start.clone(), fields.end.clone()) };
    };
    match &mut event.body {
        Body::Single(fields) => busy_time(fields),
        Body::Series(series) => {
            busy_time(&mut series.master.as_mut().unwrap().fields);
            for over in series.overrides.values_mut() {
                if let Override::Changed(fields) = over {
                    busy_time(fields);
                }
            }
        }
    }
    event
}

const NOW: Timestamp = Timestamp(1_000_000);

fn context(policy: ConflictPolicy) -> Context {
    Context { policy, requested_at: NOW, listed_without_at: Some(Timestamp(0)), provider_clock_offset_ms: 0 }
}

fn held(event: Option<Event>) -> StoredEvent {
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
        settled_at: None,
        is_in_flight: false,
        role: Role::None,
        detail: DetailLevel::Full,
    }
}

fn pending(event: Option<Event>, base: Event) -> StoredEvent {
    StoredEvent { base: Some(base), edited_at: Some(Timestamp(500_000)), ..held(event) }
}

fn shown_as(event: Event, changed_at: Option<Timestamp>) -> RemoteEvent {
    RemoteEvent {
        provider_id: ProviderId::from("/calendar/meeting.ics"),
        revision: None,
        event,
        role: Role::None,
        detail: DetailLevel::Full,
        raw: String::new(),
        changed_at,
        warnings: Vec::new(),
    }
}

/// What a case of the decision table has on each side.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Same,
    Title(u8),
    Text(u8),
    Answered,
    Deleted,
}

fn in_state(state: State) -> Option<Event> {
    let mut fields = Fields { attendees: vec![Attendee::new(guest(1))], ..meeting() };
    match state {
        State::Same => {}
        State::Title(number) => apply_to_fields(&Edit::Title(number), &mut fields),
        State::Text(number) => apply_to_fields(&Edit::Text(number), &mut fields),
        State::Answered => {
            apply_to_fields(&Edit::Answer(1, ParticipationStatus::Accepted), &mut fields);
        }
        State::Deleted => return None,
    }
    Some(single(fields))
}

/// Decides one case; ours was written at 500 s, the provider's at `remote_at` s.
fn decide(local: State, remote: State, policy: ConflictPolicy, role: Role, remote_at: i64) -> Plan {
    let stored = match local {
        State::Same => held(in_state(State::Same)),
        local => pending(in_state(local), in_state(State::Same).unwrap()),
    };
    let stored = StoredEvent { role, ..stored };
    let stamp = Some(Timestamp(remote_at * 1_000));
    let shown = in_state(remote).map(|event| RemoteEvent { role, ..shown_as(event, stamp) });
    let side = shown.as_ref().map_or(Remote::Deleted, Remote::Present);
    let around = Timestamp(remote_at * 1_000 + 10);
    let context = Context {
        requested_at: around,
        listed_without_at: Some(Timestamp(around.0 - 100)),
        ..context(policy)
    };
    reconcile(Some(&stored), &side, &context)
}

#[test]
fn the_decision_table() {
    use ConflictPolicy::{AppWins, LastWriteWins, Manual, ProviderWins};
    use Decision as D;
    use Reason as R;
    use Role::{Attendee as Guest, None as Alone, Organizer};
    use State::{Answered, Deleted, Same, Text, Title};
    const EARLIER: i64 = 400;
    const LATER: i64 = 600;
    const MEANWHILE: i64 = 501;
    let cases = [
        (Same, Same, LastWriteWins, Alone, LATER, D::Nothing, R::Unchanged),
        (Same, Title(1), LastWriteWins, Alone, LATER, D::Take, R::RemoteChanged),
        (Same, Deleted, LastWriteWins, Alone, LATER, D::TakeDeletion, R::RemoteDeleted),
        (Title(1), Same, LastWriteWins, Alone, EARLIER, D::Push, R::LocalChanged),
        (Deleted, Same, LastWriteWins, Alone, EARLIER, D::PushDeletion, R::LocalDeleted),
        (Title(1), Title(1), LastWriteWins, Alone, LATER, D::Agree, R::SameChange),
        (Deleted, Deleted, LastWriteWins, Alone, LATER, D::Agree, R::BothDeleted),
        (Title(1), Text(1), LastWriteWins, Alone, LATER, D::Merge, R::DisjointChanges),
        (Title(1), Title(2), LastWriteWins, Alone, LATER, D::Take, R::Contested),
        (Title(1), Title(2), LastWriteWins, Alone, EARLIER, D::Push, R::Contested),
        (Title(1), Title(2), LastWriteWins, Alone, MEANWHILE, D::Take, R::Contested),
        (Title(1), Title(2), ProviderWins, Alone, EARLIER, D::Take, R::Contested),
        (Title(1), Title(2), AppWins, Alone, LATER, D::Push, R::Contested),
        (Title(1), Title(2), Manual, Alone, LATER, D::Conflict, R::LeftToPerson),
        (Title(1), Title(2), AppWins, Guest, EARLIER, D::Take, R::Contested),
        (Title(1), Same, AppWins, Guest, EARLIER, D::Take, R::Contested),
        (Answered, Same, LastWriteWins, Guest, EARLIER, D::Push, R::LocalChanged),
        (Answered, Title(1), LastWriteWins, Guest, LATER, D::Merge, R::DisjointChanges),
        (Deleted, Title(1), LastWriteWins, Alone, LATER, D::Revive, R::Contested),
        (Deleted, Title(1), LastWriteWins, Alone, EARLIER, D::PushDeletion, R::Contested),
        (Deleted, Title(1), LastWriteWins, Organizer, LATER, D::PushDeletion, R::Contested),
        (Deleted, Title(1), LastWriteWins, Guest, LATER, D::Revive, R::Contested),
        (Deleted, Answered, LastWriteWins, Alone, LATER, D::PushDeletion, R::Contested),
        (Deleted, Title(1), Manual, Alone, LATER, D::Conflict, R::LeftToPerson),
        (Title(1), Deleted, LastWriteWins, Alone, LATER, D::TakeDeletion, R::Contested),
        (Title(1), Deleted, LastWriteWins, Alone, EARLIER, D::Revive, R::Contested),
        (Title(1), Deleted, AppWins, Organizer, EARLIER, D::TakeDeletion, R::Contested),
        (Title(1), Deleted, AppWins, Guest, EARLIER, D::TakeDeletion, R::Contested),
        (Answered, Deleted, AppWins, Alone, EARLIER, D::TakeDeletion, R::Contested),
        (Title(1), Deleted, Manual, Alone, EARLIER, D::Conflict, R::LeftToPerson),
    ];
    for (local, remote, policy, role, remote_at, decision, reason) in cases {
        let plan = decide(local, remote, policy, role, remote_at);
        let case = format!("{local:?} here, {remote:?} there, {policy:?}, {role:?}, at {remote_at}");
        assert_eq!((plan.decision, plan.reason), (decision, reason), "{case}: {plan:#?}");
        assert_eq!(plan.loser.is_some(), reason == R::Contested, "{case}");
        assert_eq!(plan.conflict.is_some(), decision == D::Conflict, "{case}");
    }
}

#[test]
fn a_tie_is_noted_and_the_provider_stands() {
    let plan = decide(State::Title(1), State::Title(2), ConflictPolicy::LastWriteWins, Role::None, 501);

    let loser = plan.loser.unwrap();

    assert!(loser.is_tie);
    assert_eq!(loser.local, in_state(State::Title(1)));
    assert_eq!((loser.contests[0].winner, loser.contests[0].verdict), (Side::Remote, Verdict::Tie));
}

#[test]
fn a_page_from_before_the_last_answer_says_nothing() {
    let stored = StoredEvent { settled_at: Some(Timestamp(NOW.0 + 1)), ..held(in_state(State::Title(1))) };
    let in_flight = StoredEvent { is_in_flight: true, ..held(in_state(State::Title(1))) };
    let (old, now) = (shown_as(in_state(State::Same).unwrap(), None), context(ConflictPolicy::LastWriteWins));

    for (stored, reason) in [(stored, Reason::SettledSince), (in_flight, Reason::InFlight)] {
        for remote in [Remote::Present(&old), Remote::Deleted] {
            let plan = reconcile(Some(&stored), &remote, &now);
            assert_eq!((plan.decision, plan.reason), (Decision::Stale, reason));
            assert_eq!(plan.event, stored.event);
        }
    }
}

#[test]
fn a_create_that_never_reached_the_provider_is_not_deleted_by_its_absence() {
    let stored = StoredEvent { edited_at: Some(Timestamp(1)), ..held(in_state(State::Same)) };

    let plan = reconcile(Some(&stored), &Remote::Deleted, &context(ConflictPolicy::ProviderWins));

    assert_eq!((plan.decision, plan.reason, plan.must_push), (Decision::Push, Reason::NotYetCreated, true));
}

#[test]
fn overrides_follow_a_series_that_moves() {
    let mut base = plain_series();
    apply(&Edit::Instance(2, Box::new(Edit::Title(3))), &mut base);
    let local = edited(&base, &[Edit::CancelInstance(4)]);
    let remote = edited(&base, &[Edit::Hour(8)]);
    let expected = edited(&base, &[Edit::Hour(8), Edit::CancelInstance(4)]);
    let judge = Judge {
        policy: ConflictPolicy::LastWriteWins,
        role: Role::None,
        local_at: Interval::at(NOW),
        remote_at: Interval::at(NOW),
        answered_at: Interval::at(NOW),
    };

    let merged = merge::merge(Some(&base), &local, &remote, &judge);

    assert_eq!(diff::changes(Some(&expected), Some(&merged.event)), []);
    assert!(merged.contests.is_empty());
}

fn plain_series() -> Event {
    let master = Master {
        fields: meeting(),
        rules: vec![Rule("FREQ=DAILY;COUNT=10".into())],
        additions: BTreeMap::new(),
        exclusions: BTreeSet::new(),
    };
    let body = Body::Series(Series { master: Some(master), overrides: BTreeMap::new() });
    Event { uid: Uid::from("meeting@example.com"), body }
}

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// A person edits through the application.
    Ours(Edit),
    /// A person edits at the provider.
    Theirs(Edit),
    DeleteOurs,
    DeleteTheirs,
    /// A listing shows what the provider has.
    Poll,
    /// A listing arrives that was asked for before the last three steps.
    StalePage,
    /// What is pending is sent with a precondition.
    Push,
    /// The same, and the answer is lost.
    PushUnanswered,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => edit().prop_map(Step::Ours),
        5 => edit().prop_map(Step::Theirs),
        1 => Just(Step::DeleteOurs),
        1 => Just(Step::DeleteTheirs),
        4 => Just(Step::Poll),
        2 => Just(Step::StalePage),
        4 => Just(Step::Push),
        1 => Just(Step::PushUnanswered),
    ]
}

/// A provider that keeps one event, and what we hold of it.
#[derive(Debug, Clone)]
struct Two {
    now: i64,
    provider: Option<Event>,
    changed_at: i64,
    /// The provider's state the last listing showed, which the next write has as its precondition.
    known: Option<Event>,
    stored: StoredEvent,
    listed_at: i64,
    /// What the provider had at each past time.
    past: Vec<(i64, Option<Event>)>,
    policy: ConflictPolicy,
}

impl Two {
    fn agreed(event: Event, policy: ConflictPolicy) -> Self {
        Self {
            now: 0,
            provider: Some(event.clone()),
            changed_at: 0,
            known: Some(event.clone()),
            stored: held(Some(event)),
            listed_at: 0,
            past: Vec::new(),
            policy,
        }
    }

    fn run(&mut self, step: &Step) -> Result<(), Broken> {
        self.now += 5_000;
        self.past.push((self.now, self.provider.clone()));
        self.now += 5_000;
        match step {
            Step::Ours(edit) => self.edit(|event| apply(edit, event)),
            Step::Theirs(edit) => {
                if let Some(event) = &mut self.provider {
                    apply(edit, event);
                    self.changed_at = self.now;
                }
            }
            Step::DeleteOurs => self.delete(),
            Step::DeleteTheirs => self.provider = None,
            Step::Poll => self.listing(self.now, self.provider.clone(), self.listed_at)?,
            Step::StalePage => {
                let (asked, shown) = self.past[self.past.len().saturating_sub(3)].clone();
                // The cursor moves with the data: a page older than the last one applied does not come again.
                if asked > self.listed_at {
                    self.listing(asked, shown, self.listed_at)?;
                }
            }
            Step::Push => self.push(true)?,
            Step::PushUnanswered => self.push(false)?,
        }
        Ok(())
    }

    fn edit(&mut self, change: impl FnOnce(&mut Event)) {
        let Some(before) = self.stored.event.clone() else { return };
        let mut after = before.clone();
        change(&mut after);
        self.stored.version = version::of(&after);
        self.stored.event = Some(after);
        if self.stored.base.is_none() && self.stored.edited_at.is_none() {
            self.stored.base = Some(before);
        }
        self.stored.edited_at = Some(Timestamp(self.now));
    }

    fn delete(&mut self) {
        let Some(before) = self.stored.event.take() else { return };
        if self.stored.edited_at.is_none() {
            self.stored.base = Some(before);
            self.stored.edited_at = Some(Timestamp(self.now));
        } else if self.stored.base.is_some() || self.stored.is_in_flight {
            self.stored.edited_at = Some(Timestamp(self.now));
        } else {
            // Made here and never sent: create and delete fold to nothing.
            self.stored.edited_at = None;
        }
    }

    fn listing(&mut self, asked: i64, shown: Option<Event>, before: i64) -> Result<(), Broken> {
        let context = Context {
            policy: self.policy,
            requested_at: Timestamp(asked),
            listed_without_at: Some(Timestamp(before)),
            provider_clock_offset_ms: 0,
        };
        let changed_at = (self.changed_at <= asked).then_some(Timestamp(self.changed_at));
        let remote_event = shown.clone().map(|event| shown_as(event, changed_at));
        let remote = remote_event.as_ref().map_or(Remote::Deleted, Remote::Present);
        let plan = reconcile(Some(&self.stored), &remote, &context);
        if plan.decision == Decision::Stale {
            return Ok(());
        }
        if let Some(shown) = &shown {
            invariants::nothing_is_lost(&self.stored, shown, &plan)?;
        }
        invariants::second_reconcile_is_idle(&self.stored, &remote, &context)?;
        let is_resolved = plan.conflict.is_some();
        self.stored = applied(&self.stored, &remote, &plan);
        self.known = shown;
        self.listed_at = asked;
        if is_resolved {
            // A person decides at once, for ours.
            self.stored.edited_at = Some(Timestamp(self.now));
        }
        Ok(())
    }

    /// Sends what is pending if the provider still has what we know of it; else reads it and decides again.
    fn push(&mut self, is_answered: bool) -> Result<(), Broken> {
        if self.stored.edited_at.is_none() {
            return Ok(());
        }
        if self.stored.is_in_flight {
            self.stored.is_in_flight = false;
            return self.listing(self.now, self.provider.clone(), self.listed_at);
        }
        if self.provider != self.known {
            return self.listing(self.now, self.provider.clone(), self.listed_at);
        }
        self.provider.clone_from(&self.stored.event);
        self.changed_at = self.now;
        if is_answered {
            self.known.clone_from(&self.provider);
            self.stored.base = None;
            self.stored.edited_at = None;
            self.stored.settled_at = Some(Timestamp(self.now));
        } else {
            self.stored.is_in_flight = true;
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn histories_of_two_sides_lose_nothing_and_converge(
        start in event(),
        steps in prop::collection::vec(step(), 1..14),
        policy in select(vec![
            ConflictPolicy::LastWriteWins,
            ConflictPolicy::ProviderWins,
            ConflictPolicy::AppWins,
            ConflictPolicy::Manual,
        ]),
    ) {
        let mut two = Two::agreed(start, policy);
        for step in &steps {
            two.run(step).map_err(fails)?;
        }

        for _ in 0..3 {
            two.run(&Step::Poll).map_err(fails)?;
            two.run(&Step::Push).map_err(fails)?;
        }

        let stored = &two.stored;
        prop_assert!(stored.edited_at.is_none() && stored.base.is_none(), "still pending: {:#?}", two);
        let is_same = match (&stored.event, &two.provider) {
            (Some(ours), Some(theirs)) => version::is_same(ours, theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        };
        prop_assert!(is_same, "the sides differ: {:#?}", two);
    }
}
