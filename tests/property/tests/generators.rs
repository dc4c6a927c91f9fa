//! Rules, events and series as proptest strategies: everything the model can say and iCalendar can hold.

use std::collections::{BTreeMap, BTreeSet};

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    Attendee, AttendeeKind, AttendeeRole, Body, Conference, ConferenceType, End, Event, Fields, Master,
    NominalDuration, Organizer, Override, ParticipationStatus, RecurrenceId, Reminder, Series, Stamps,
    Status, Transparency, Uid, Visibility, When, Zone,
};
use calfleet_domain::recurrence::expand::id_of;
use calfleet_domain::recurrence::rule::Recurrence;
use calfleet_domain::recurrence::{Budget, Expansion, expand, rule};
use chrono::{DateTime, Duration, NaiveDate, NaiveDateTime, Utc};
use chrono_tz::Tz;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Rules of days and more without positions and ordinals, which the naive oracle understands.
pub(crate) fn a_rule() -> impl Strategy<Value = String> {
    let days = subsequence(vec!["MO", "TU", "WE", "TH", "FR", "SA", "SU"], 0..4);
    (
        select(vec!["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]),
        select(vec![1, 1, 1, 2, 3, 7]),
        days,
        subsequence((1..=12).collect::<Vec<u8>>(), 0..4),
        subsequence(vec![-31, -1, 1, 13, 29, 30, 31], 0..3),
        option::of(1_u32..40),
        select(vec!["MO", "SU", "WE"]),
    )
        .prop_map(|(frequency, interval, days, months, month_days, count, week_start)| {
            let mut text = format!("FREQ={frequency};INTERVAL={interval};WKST={week_start}");
            let mut add = |name: &str, values: Vec<String>| {
                if !values.is_empty() {
                    text.extend([";", name, "=", &values.join(",")]);
                }
            };
            add("BYDAY", days.into_iter().map(str::to_owned).collect());
            add("BYMONTH", months.iter().map(ToString::to_string).collect());
            add("BYMONTHDAY", month_days.iter().map(ToString::to_string).collect());
            add("COUNT", count.into_iter().map(|count| count.to_string()).collect());
            text
        })
}

fn a_zone() -> impl Strategy<Value = Zone> {
    select(vec![
        Tz::Europe__Paris,
        Tz::America__New_York,
        Tz::Australia__Lord_Howe,
        Tz::Asia__Kolkata,
        Tz::Etc__UTC,
    ])
    .prop_map(Zone::Iana)
}

fn a_wall() -> impl Strategy<Value = NaiveDateTime> {
    (0_i64..900, 0_i64..288).prop_map(|(days, slots)| {
        NaiveDate::from_ymd_opt(2025, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap()
            + Duration::days(days)
            + Duration::minutes(5 * slots)
    })
}

fn a_start() -> impl Strategy<Value = When> {
    (a_wall(), a_zone(), 0..4).prop_map(|(wall, zone, form)| match form {
        0 => When::Date(wall.date()),
        1 => When::Floating(wall),
        2 => When::Utc(wall.and_utc()),
        _ => When::Zoned { wall, zone },
    })
}

fn an_end(start: &When) -> impl Strategy<Value = End> + use<> {
    let start = start.clone();
    (0..3, 1_u32..5, 0_u32..300).prop_map(move |(form, days, minutes)| match form {
        0 => End::Unspecified,
        1 if start.is_date() => End::After(NominalDuration { days, seconds: 0 }),
        1 => End::After(NominalDuration { days: days - 1, seconds: minutes * 60 }),
        _ => {
            let length = Duration::days(i64::from(days)) + Duration::minutes(i64::from(minutes));
            End::At(start.with_wall(start.wall() + length))
        }
    })
}

fn some_text() -> impl Strategy<Value = String> {
    // everything that iCalendar escapes, folds or quotes
    proptest::string::string_regex("[a-zé日🎉 ,;:\\\\\"^\n\t]{1,80}").unwrap()
}

fn a_line() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a-zé日,;:\"^]{1,30}").unwrap()
}

fn a_stamp() -> impl Strategy<Value = Timestamp> {
    (0_i64..2_000_000_000).prop_map(|seconds| Timestamp(seconds * 1000))
}

fn an_attendee() -> impl Strategy<Value = Attendee> {
    (
        "[a-z]{1,6}@example\\.(com|org)",
        option::of(a_line()),
        select(vec![
            ParticipationStatus::NeedsAction,
            ParticipationStatus::Accepted,
            ParticipationStatus::Declined,
            ParticipationStatus::Tentative,
            ParticipationStatus::Delegated,
        ]),
        select(vec![
            AttendeeRole::Chair,
            AttendeeRole::Required,
            AttendeeRole::Optional,
            AttendeeRole::NonParticipant,
        ]),
        select(vec![
            AttendeeKind::Individual,
            AttendeeKind::Group,
            AttendeeKind::Room,
            AttendeeKind::Unknown,
        ]),
        option::of(some_text()),
    )
        .prop_map(|(address, name, status, role, kind, comment)| Attendee {
            address,
            name,
            status,
            role,
            kind,
            comment,
        })
}

fn a_reminder() -> impl Strategy<Value = Reminder> {
    prop_oneof![
        (-100_000_i64..1_000_000).prop_map(Reminder::BeforeStart),
        (-100_000_i64..1_000_000).prop_map(Reminder::BeforeEnd),
        a_stamp().prop_map(Reminder::At),
    ]
}

fn a_conference() -> impl Strategy<Value = Conference> {
    select(vec![
        (ConferenceType::GoogleMeet, "https://meet.google.com/abc-defg-hij"),
        (ConferenceType::MicrosoftTeams, "https://teams.microsoft.com/l/meetup-join/19%3ameeting"),
        (ConferenceType::Custom, "https://meet.example.com/room,1;x=2"),
    ])
    .prop_map(|(kind, link)| Conference::ready(kind, link))
}

/// Fields as a reader leaves them: sorted, each once, with a time of change.
pub(crate) fn some_fields() -> impl Strategy<Value = Fields> {
    let when = a_start().prop_flat_map(|start| (Just(start.clone()), an_end(&start)));
    let texts = (option::of(some_text()), option::of(some_text()), option::of(some_text()));
    let flags = (
        select(vec![Status::Confirmed, Status::Tentative]),
        select(vec![Transparency::Opaque, Transparency::Transparent]),
        select(vec![Visibility::Public, Visibility::Private, Visibility::Confidential]),
    );
    let people = (option::of(an_attendee()), vec(an_attendee(), 0..4), vec(a_reminder(), 0..3));
    let rest = (
        option::of(a_conference()),
        btree_set("[a-zé,;\\\\]{1,8}", 0..4),
        option::of(select(vec!["turquoise", "#ff0000"])),
        (0_u32..9, option::of(a_stamp()), a_stamp()),
    );
    (when, texts, flags, people, rest).prop_map(|((start, end), texts, flags, people, rest)| {
        let mut fields = Fields::new(start, end);
        (fields.title, fields.description, fields.location) = texts;
        fields.url = fields.title.as_ref().map(|_| "https://example.com/a;b,c".to_owned());
        (fields.status, fields.transparency, fields.visibility) = flags;
        fields.organizer = people.0.map(|guest| Organizer { address: guest.address, name: guest.name });
        fields.attendees = people.1;
        fields.attendees.sort_by(|a, b| a.address.cmp(&b.address));
        fields.attendees.dedup_by(|a, b| a.address == b.address);
        fields.reminders = people.2;
        fields.reminders.sort_unstable();
        fields.reminders.dedup();
        fields.conference = rest.0;
        fields.categories = rest.1.into_iter().collect();
        fields.color = rest.2.map(str::to_owned);
        fields.stamps = Stamps { sequence: rest.3.0, created: rest.3.1, updated: Some(rest.3.2) };
        fields
    })
}

/// A series with a rule, additions, exclusions and overrides, in the form in which a reader leaves it.
pub(crate) fn a_series() -> impl Strategy<Value = Event> {
    let chances =
        (vec(any::<prop::sample::Index>(), 0..4), vec((any::<prop::sample::Index>(), some_fields()), 0..3));
    (some_fields(), a_rule(), option::of(0_i64..1500), vec(1_i64..900, 0..3), chances).prop_map(
        |(fields, text, until, additions, (excluded, overridden))| {
            let start = fields.start.clone();
            let mut recurrence: Recurrence = text.parse().unwrap();
            if let Some(days) = until
                && recurrence.count.is_none()
            {
                recurrence.until = Some(rule::Until::Date(start.wall().date() + Duration::days(days)));
            }
            let rule = rule::canonical(&recurrence.to_string(), &start, None).unwrap();
            let additions: BTreeMap<RecurrenceId, Option<End>> = additions
                .iter()
                .map(|days| (id_of(&start.with_wall(start.wall() + Duration::days(*days))), None))
                .collect();
            let master = Master { fields, rules: vec![rule], additions, exclusions: BTreeSet::new() };
            let mut series = Series { master: Some(master), overrides: BTreeMap::new() };
            let ids = known_ids(&series);
            let excluded: BTreeSet<RecurrenceId> = excluded.iter().map(|index| *index.get(&ids)).collect();
            for (index, fields) in overridden {
                let id = *index.get(&ids);
                if !excluded.contains(&id) {
                    series.overrides.insert(id, Override::Changed(Box::new(fields)));
                }
            }
            if let Some(master) = &mut series.master {
                master.exclusions = excluded;
            }
            Event { uid: Uid::from("series@example.com"), body: Body::Series(series) }
        },
    )
}

fn known_ids(series: &Series) -> Vec<RecurrenceId> {
    let event = Event { uid: Uid::from("x"), body: Body::Series(series.clone()) };
    let start = series.master.as_ref().unwrap().fields.start.wall().and_utc();
    let window = start - Duration::days(2)..start + Duration::days(400);
    let found = expand(&event, window, Tz::UTC, &Budget { steps: 1_000_000, instances: 40 });
    found.instances.iter().filter_map(|instance| instance.recurrence_id).collect()
}

/// A single event.
pub(crate) fn a_single() -> impl Strategy<Value = Event> {
    some_fields()
        .prop_map(|fields| Event { uid: Uid::from("single@example.com"), body: Body::Single(fields) })
}

/// An invitation to single instances of a series that is not there.
pub(crate) fn an_orphan() -> impl Strategy<Value = Event> {
    vec((a_start(), option::weighted(0.8, some_fields())), 1..3).prop_map(|parts| {
        let overrides = parts
            .into_iter()
            .map(|(start, fields)| {
                let id = match start {
                    When::Zoned { .. } => RecurrenceId::Utc(start.wall().and_utc()),
                    start => id_of(&start),
                };
                (id, fields.map_or(Override::Cancelled, |fields| Override::Changed(Box::new(fields))))
            })
            .collect();
        Event { uid: Uid::from("orphan@example.com"), body: Body::Series(Series { master: None, overrides }) }
    })
}

/// Original start, start, end and title of an instance.
type Seen = (Option<RecurrenceId>, DateTime<Utc>, DateTime<Utc>, Option<String>);

/// What can be compared of an expansion without its borrowed fields' stamps.
pub(crate) fn whole(expansion: &Expansion<'_>) -> Vec<Seen> {
    let row = |instance: &calfleet_domain::recurrence::Instance<'_>| {
        (instance.recurrence_id, instance.starts_at, instance.ends_at, instance.fields.title.clone())
    };
    expansion.instances.iter().map(row).collect()
}
