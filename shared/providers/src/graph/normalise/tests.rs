use calfleet_domain::model::{Reminder, Role, Zone};

use super::*;

const MASTER: &str = r#"{"id":"m","changeKey":"k1","type":"seriesMaster","iCalUId":"uid-of-series","subject":"Standup","isOrganizer":true,
    "start":{"dateTime":"2026-03-02T08:30:00.0000000","timeZone":"UTC"},"end":{"dateTime":"2026-03-02T09:00:00.0000000","timeZone":"UTC"},
    "originalStartTimeZone":"Romance Standard Time","originalEndTimeZone":"Romance Standard Time","isReminderOn":true,"reminderMinutesBeforeStart":15,
    "recurrence":{"pattern":{"type":"weekly","interval":1,"month":0,"dayOfMonth":0,"daysOfWeek":["monday"],"firstDayOfWeek":"sunday","index":"first"},
      "range":{"type":"noEnd","startDate":"2026-03-02","endDate":"0001-01-01","recurrenceTimeZone":"Romance Standard Time","numberOfOccurrences":0}},
    "cancelledOccurrences":["OID.m.2026-03-16"],
    "exceptionOccurrences":[{"id":"x1","changeKey":"k2","type":"exception","seriesMasterId":"m","iCalUId":"uid-of-instance","subject":"Standup, late","isOrganizer":true,
      "originalStart":"2026-04-06T07:30:00Z","originalStartTimeZone":"Romance Standard Time","start":{"dateTime":"2026-04-06T09:30:00.0000000","timeZone":"UTC"},
      "end":{"dateTime":"2026-04-06T10:00:00.0000000","timeZone":"UTC"},"recurrence":null}]}"#;

fn wall(text: &str) -> RecurrenceId {
    RecurrenceId::Wall(text.parse().unwrap())
}

fn read_whole(raw: &str) -> RemoteChange {
    let parts: wire::Departures<'_> = serde_json::from_str(raw).unwrap();
    whole(&serde_json::from_str(raw).unwrap(), raw, &Departed::of(&parts).unwrap(), &Setting::default())
}

fn series_of(change: RemoteChange) -> (RemoteEvent, Series) {
    let RemoteChange::Upsert(remote) = change else { panic!("{change:?}") };
    let Body::Series(series) = remote.event.body.clone() else { panic!("no series") };
    (*remote, series)
}

#[test]
fn a_series_is_its_rule_with_cancelled_days_and_exceptions() {
    let (remote, series) = series_of(read_whole(MASTER));

    assert_eq!((remote.event.uid.as_str(), remote.revision), ("uid-of-series", Some(Revision::from("k1"))));
    assert_eq!((remote.parts, remote.role), (Parts::Whole, Role::Organizer));
    let master = series.master.unwrap();
    assert_eq!(master.rules.iter().map(|rule| rule.0.as_str()).collect::<Vec<_>>(), ["FREQ=WEEKLY;BYDAY=MO"]);
    assert_eq!(master.fields.start.zone(), Some(&Zone::Iana(Tz::Europe__Paris)));
    assert_eq!(master.fields.reminders, [Reminder::BeforeStart(900)]);
    assert_eq!(master.exclusions.into_iter().collect::<Vec<_>>(), [wall("2026-03-16T09:30:00")]);
    let moved = wall("2026-04-06T09:30:00");
    let Some(Override::Changed(fields)) = series.overrides.get(&moved) else {
        panic!("{:?}", series.overrides)
    };
    assert_eq!(fields.start.wall().to_string(), "2026-04-06 11:30:00");
    assert_eq!(remote.instances[&moved].provider_id.as_str(), "x1");
    assert_eq!(remote.instances[&moved].revision, Some(Revision::from("k2")));
}

#[test]
fn an_all_day_series_is_keyed_by_days() {
    let raw = r#"{"id":"m","changeKey":"k","type":"seriesMaster","isAllDay":true,"subject":"Rota","originalStartTimeZone":"Romance Standard Time",
        "start":{"dateTime":"2026-03-02T00:00:00.0000000","timeZone":"UTC"},"end":{"dateTime":"2026-03-03T00:00:00.0000000","timeZone":"UTC"},
        "recurrence":{"pattern":{"type":"daily","interval":1},"range":{"type":"numbered","startDate":"2026-03-02","numberOfOccurrences":9}},
        "cancelledOccurrences":["OID.AAMk.x==.2026-03-04"],
        "exceptionOccurrences":[{"id":"x","isAllDay":true,"originalStart":"2026-03-04T23:00:00Z","originalStartTimeZone":"Romance Standard Time",
          "start":{"dateTime":"2026-03-05T00:00:00","timeZone":"UTC"},"end":{"dateTime":"2026-03-07T00:00:00","timeZone":"UTC"}}]}"#;

    let (_, series) = series_of(read_whole(raw));

    let day = |text: &str| RecurrenceId::Date(text.parse().unwrap());
    assert_eq!(series.overrides.keys().collect::<Vec<_>>(), [&day("2026-03-05")]);
    let master = series.master.unwrap();
    assert_eq!(master.exclusions.into_iter().collect::<Vec<_>>(), [day("2026-03-04")]);
    assert_eq!(master.rules[0].0, "FREQ=DAILY;COUNT=9");
}

#[test]
fn what_is_missing_among_the_instances_does_not_take_place() {
    let raw = MASTER.split(r#","cancelled"#).next().unwrap().replace(r#""cancelledOccurrences""#, r#""x""#);
    let raw = format!("{}}}", raw.split(r#""x":"#).next().unwrap().trim_end().trim_end_matches(','));
    let at = |text: &str| calfleet_domain::clock::Timestamp::from_utc(text.parse().unwrap());
    let window = Window { from: at("2026-02-27T00:00:00Z"), until: at("2026-04-12T00:00:00Z") };
    let occurrence = |start: &str| {
        format!(
            r#"{{"id":"o{start}","type":"occurrence","seriesMasterId":"m","start":{{"dateTime":"{start}","timeZone":"UTC"}},"originalStartTimeZone":"Romance Standard Time"}}"#
        )
    };
    let exception = r#"{"id":"x1","type":"exception","seriesMasterId":"m","originalStart":"2026-03-30T07:30:00Z",
        "start":{"dateTime":"2026-03-31T09:30:00","timeZone":"UTC"},"end":{"dateTime":"2026-03-31T10:00:00","timeZone":"UTC"}}"#;
    let listed = ["2026-03-02T08:30:00", "2026-03-16T08:30:00", "2026-04-06T07:30:00"].map(occurrence);
    let mut listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    listed.push(exception);

    let change = compared(&serde_json::from_str(&raw).unwrap(), &raw, &listed, window, &Setting::default());

    let (_, series) = series_of(change);
    assert_eq!(series.overrides.keys().collect::<Vec<_>>(), [&wall("2026-03-30T09:30:00")]);
    let excluded: Vec<_> = series.master.unwrap().exclusions.into_iter().collect();
    assert_eq!(excluded, [wall("2026-03-09T09:30:00"), wall("2026-03-23T09:30:00")]);
}

#[test]
fn a_master_that_says_nothing_of_departures_is_told_from_one_without() {
    let of = |raw: &str| Departed::of(&serde_json::from_str(raw).unwrap()).is_some();

    assert!(of(r#"{"cancelledOccurrences":[],"exceptionOccurrences":[]}"#));
    assert!(of(r#"{"cancelledOccurrences":null,"exceptionOccurrences":null}"#));
    assert!(!of(r#"{"cancelledOccurrences":[]}"#));
    assert!(!of("{}"));
}

#[test]
fn items_say_what_is_to_be_done() {
    let of = |raw: &str| match item(raw) {
        None => "nameless",
        Some(Item::Single(_)) => "single",
        Some(Item::Series(_)) => "series",
        Some(Item::Slim(_)) => "slim",
        Some(Item::Instance { .. }) => "instance",
        Some(Item::Unlisted(_)) => "unlisted",
        Some(Item::Unreadable(_)) => "unreadable",
    };

    for (raw, expected) in [
        (r#"{"id":"a","changeKey":"k","type":"singleInstance"}"#, "single"),
        (r#"{"id":"a","type":"singleInstance"}"#, "slim"),
        (r#"{"id":"a","@odata.etag":"W/\"k\"","type":"singleInstance"}"#, "single"),
        (r#"{"id":"a","changeKey":"k","type":"seriesMaster"}"#, "series"),
        (r#"{"id":"a","type":"occurrence","seriesMasterId":"m"}"#, "instance"),
        (r#"{"id":"a","type":"exception","seriesMasterId":"m"}"#, "instance"),
        (r#"{"id":"a","type":"occurrence"}"#, "slim"),
        (
            r##"{"@odata.type":"#microsoft.graph.event","id":"a","@removed":{"reason":"deleted"}}"##,
            "unlisted",
        ),
        (r#"{"id":"a","attendees":7}"#, "unreadable"),
        (r#"{"attendees":7}"#, "nameless"),
        (r#"{"subject":"x"}"#, "nameless"),
        (r#"{"id":"","attendees":7}"#, "nameless"),
    ] {
        assert_eq!(of(raw), expected, "{raw}");
    }
}

#[test]
fn an_unreadable_exception_or_pattern_makes_its_series_unreadable_and_nothing_else() {
    let bad = MASTER.replace("2026-04-06T07:30:00Z", "soon");
    let lunar = MASTER.replace(r#""type":"weekly""#, r#""type":"lunar""#);

    assert!(matches!(read_whole(&bad), RemoteChange::Unreadable { .. }));
    assert!(matches!(read_whole(&lunar), RemoteChange::Unreadable { .. }));
}

#[test]
fn private_events_of_others_show_times_alone() {
    let calendar: wire::Calendar = serde_json::from_str(
        r#"{"id":"c","canViewPrivateItems":false,"owner":{"address":"Eve@example.com"}}"#,
    )
    .unwrap();
    let setting = Setting::of(&calendar, None);
    let detail = |sensitivity: &str| {
        let raw = format!(
            r#"{{"id":"a","changeKey":"k","type":"singleInstance","sensitivity":"{sensitivity}","start":{{"dateTime":"2026-03-02T08:30:00"}}}}"#
        );
        match change(&serde_json::from_str(&raw).unwrap(), &raw, &setting) {
            RemoteChange::Upsert(remote) => remote.detail,
            other => panic!("{other:?}"),
        }
    };

    assert_eq!((detail("private"), detail("normal")), (DetailLevel::FreeBusy, DetailLevel::Full));
}

#[test]
fn calendars_are_described() {
    let of = |text: &str| calendar(&serde_json::from_str(text).unwrap());

    let team = of(
        r##"{"id":"AAMk=","name":"Team","color":"auto","hexColor":"#f83a22","canEdit":false,"isDefaultCalendar":false,"owner":{"name":"Ada","address":"ada@example.com"}}"##,
    )
    .unwrap();
    let own =
        of(r#"{"id":"c","name":"Calendar","hexColor":"","canEdit":true,"isDefaultCalendar":true}"#).unwrap();

    assert_eq!((team.name.as_str(), team.color.as_deref()), ("Team", Some("#F83A22")));
    assert_eq!((team.access, team.is_primary), (Access::Read, false));
    assert_eq!((own.color, own.access, own.is_primary), (None, Access::Write, true));
    assert!(of(r#"{"name":"x"}"#).is_none());
}
