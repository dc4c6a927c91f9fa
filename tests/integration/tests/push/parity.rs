//! One calendar at three providers: the same events, the same two hundred edits by another client, the same store.
//!
//! What another client says is written here in each provider's own words, not by our writers. Where a provider cannot
//! say the same, that stands in `LIMITS`; a difference that does not stand there fails, and so does a limit that makes
//! none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use calfleet_domain::model::{Fields, ProviderKind, When};
use calfleet_domain::recurrence::{Budget, expand};
use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::chance::Chance;
use super::office::{ALL, Office, text};
use crate::databases::TestStore;
use crate::google::fleet::ADA;
use crate::microsoft::{Outlook, live};

/// Events at first.
const EVENTS: usize = 60;
/// Edits by another client, and how many of them come with one poll.
const EDITS: usize = 200;
const EDITS_OF_A_POLL: usize = 8;

/// IANA and Windows names of the same zones.
const ZONES: [(&str, &str); 4] = [
    ("Europe/Paris", "Romance Standard Time"),
    ("America/New_York", "Eastern Standard Time"),
    ("Asia/Tokyo", "Tokyo Standard Time"),
    ("UTC", "UTC"),
];

/// What a provider says of a part of an event where CalDAV says something else.
const LIMITS: &[(ProviderKind, &str, &str)] = &[
    // Who says nothing of reminders has those of the calendar.
    (ProviderKind::Google, "reminders", "[BeforeStart(600)]"),
    // A time in UTC is told as a time in the zone of that name.
    (ProviderKind::Google, "zone", "Etc/UTC"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Daily,
    Weekly,
    MonthlyByDate,
    MonthlyByWeekday,
    Yearly,
}

#[derive(Debug, Clone)]
struct Meeting {
    title: String,
    place: String,
    text: String,
    start: NaiveDateTime,
    minutes: i64,
    zone: usize,
    is_all_day: bool,
    is_free: bool,
    rule: Option<(Rule, usize)>,
    /// Instances that are called otherwise, by the day they are on.
    renamed: BTreeMap<NaiveDate, String>,
    cancelled: BTreeSet<NaiveDate>,
}

impl Meeting {
    fn new(chance: &mut Chance, serial: usize) -> Self {
        // Outlook has no fifth Monday, and takes the 30th for the last of a shorter month.
        let (month, day) = (10 + chance.below(3), 1 + chance.below(28));
        let day = format!("2026-{month}-{day:02}").parse::<NaiveDate>().unwrap();
        let is_all_day = chance.below(5) == 0;
        let time = NaiveTime::from_hms_opt(u32::try_from(8 + chance.below(8)).unwrap(), 15, 0).unwrap();
        let rules = [Rule::Daily, Rule::Weekly, Rule::MonthlyByDate, Rule::MonthlyByWeekday, Rule::Yearly];
        Self {
            title: format!("Treffen № {serial} – 打ち合わせ"),
            place: ["Room 4.12", "Grand Place 1; hinten, links"][chance.below(2)].to_owned(),
            text: ["", "Bring numbers.\nAnd coffee & <cake>."][chance.below(2)].to_owned(),
            start: day.and_time(if is_all_day { NaiveTime::MIN } else { time }),
            minutes: if is_all_day { 1440 * (1 + chance.small(3)) } else { 15 + 15 * chance.small(6) },
            zone: chance.below(ZONES.len()),
            is_all_day,
            is_free: chance.below(4) == 0,
            rule: (chance.below(2) == 0).then(|| (rules[chance.below(rules.len())], 3 + chance.below(8))),
            renamed: BTreeMap::new(),
            cancelled: BTreeSet::new(),
        }
    }

    fn end(&self) -> NaiveDateTime {
        self.start + TimeDelta::minutes(self.minutes)
    }

    fn rule_text(&self) -> Option<String> {
        let (rule, count) = self.rule?;
        let names = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];
        let weekday = names[usize::try_from(self.start.weekday().num_days_from_monday()).unwrap()];
        let nth = (self.start.day() - 1) / 7 + 1;
        Some(match rule {
            Rule::Daily => format!("FREQ=DAILY;INTERVAL=2;COUNT={count}"),
            Rule::Weekly => format!("FREQ=WEEKLY;BYDAY={weekday};COUNT={count}"),
            Rule::MonthlyByDate => format!("FREQ=MONTHLY;BYMONTHDAY={};COUNT={count}", self.start.day()),
            Rule::MonthlyByWeekday => format!("FREQ=MONTHLY;BYDAY={nth}{weekday};COUNT={count}"),
            Rule::Yearly => format!("FREQ=YEARLY;COUNT={count}"),
        })
    }

    fn pattern(&self) -> Value {
        let Some((rule, count)) = self.rule else { return Value::Null };
        let weekday = self.start.format("%A").to_string().to_lowercase();
        let index = ["first", "second", "third", "fourth"].get(((self.start.day() - 1) / 7) as usize);
        let pattern = match rule {
            Rule::Daily => json!({ "type": "daily", "interval": 2 }),
            Rule::Weekly => json!({ "type": "weekly", "interval": 1, "daysOfWeek": [weekday] }),
            Rule::MonthlyByDate => {
                json!({ "type": "absoluteMonthly", "interval": 1, "dayOfMonth": self.start.day() })
            }
            Rule::MonthlyByWeekday => {
                json!({ "type": "relativeMonthly", "interval": 1, "daysOfWeek": [weekday], "index": index })
            }
            Rule::Yearly => json!({ "type": "absoluteYearly", "interval": 1,
                "dayOfMonth": self.start.day(), "month": self.start.month() }),
        };
        let range = json!({ "type": "numbered", "numberOfOccurrences": count,
            "startDate": self.start.date().to_string() });
        json!({ "pattern": pattern, "range": range })
    }

    fn time(&self, name: &str, at: NaiveDateTime) -> String {
        match (self.is_all_day, ZONES[self.zone].0) {
            (true, _) => format!("{name};VALUE=DATE:{}\r\n", at.format("%Y%m%d")),
            (false, "UTC") => format!("{name}:{}Z\r\n", at.format("%Y%m%dT%H%M%S")),
            (false, zone) => format!("{name};TZID={zone}:{}\r\n", at.format("%Y%m%dT%H%M%S")),
        }
    }

    fn component(&self, uid: &str, title: &str, of: Option<NaiveDate>) -> String {
        let moved = of.map_or(TimeDelta::zero(), |day| day - self.start.date());
        let escaped = |text: &str| {
            let text = text.replace('\\', "\\\\").replace('\n', "\\n");
            text.replace(';', "\\;").replace(',', "\\,")
        };
        let mut lines = format!("BEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260901T000000Z\r\n");
        if of.is_some() {
            lines += &self.time("RECURRENCE-ID", self.start + moved);
        }
        lines += &self.time("DTSTART", self.start + moved);
        lines += &self.time("DTEND", self.end() + moved);
        lines += &["SUMMARY:", &escaped(title), "\r\nLOCATION:", &escaped(&self.place), "\r\n"].concat();
        if !self.text.is_empty() {
            lines += &["DESCRIPTION:", &escaped(&self.text), "\r\n"].concat();
        }
        lines += if self.is_free { "TRANSP:TRANSPARENT\r\n" } else { "TRANSP:OPAQUE\r\n" };
        if let (None, Some(rule)) = (of, self.rule_text()) {
            lines += &["RRULE:", &rule, "\r\n"].concat();
            for day in &self.cancelled {
                lines += &self.time("EXDATE", day.and_time(self.start.time()));
            }
        }
        lines + "END:VEVENT\r\n"
    }

    fn object(&self, uid: &str) -> String {
        let mut parts = self.component(uid, &self.title, None);
        for (day, title) in &self.renamed {
            parts += &self.component(uid, title, Some(*day));
        }
        format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:theirs\r\n{parts}END:VCALENDAR\r\n")
    }

    fn google(&self) -> Value {
        let at = |at: NaiveDateTime| {
            if self.is_all_day {
                return json!({ "date": at.date().to_string() });
            }
            let time = at.format("%Y-%m-%dT%H:%M:%S").to_string();
            json!({ "dateTime": time, "timeZone": ZONES[self.zone].0 })
        };
        let mut event = json!({ "summary": self.title, "location": self.place, "description": self.text,
            "start": at(self.start), "end": at(self.end()),
            "transparency": if self.is_free { "transparent" } else { "opaque" } });
        if let Some(rule) = self.rule_text() {
            event["recurrence"] = json!([format!("RRULE:{rule}")]);
        }
        event
    }

    fn graph(&self) -> Value {
        let zone = if self.is_all_day { "UTC" } else { ZONES[self.zone].1 };
        let at = |at: NaiveDateTime| json!({ "dateTime": at.format("%Y-%m-%dT%H:%M:%S").to_string(), "timeZone": zone });
        json!({ "subject": self.title, "location": { "displayName": self.place },
            "body": { "contentType": "text", "content": self.text }, "isAllDay": self.is_all_day,
            "start": at(self.start), "end": at(self.end()), "recurrence": self.pattern(),
            "showAs": if self.is_free { "free" } else { "busy" }, "isReminderOn": false })
    }
}

/// Another client of one provider, and what it calls the meetings.
struct Theirs<'a> {
    office: Office<'a>,
    names: BTreeMap<usize, String>,
}

impl Theirs<'_> {
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let fleet = self.office.fleet();
        if self.office.provider == ProviderKind::Microsoft {
            return Outlook::of(fleet).call(method, &format!("me/events{path}"), body);
        }
        let path = format!("calendars/{ADA}/events{path}");
        let (status, answer) = fleet.google().call(ADA, method, &path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    fn said(&self, meeting: &Meeting) -> Value {
        match self.office.provider {
            ProviderKind::Microsoft => meeting.graph(),
            _ => meeting.google(),
        }
    }

    fn put(&self, serial: usize, meeting: &Meeting) {
        let uid = format!("meeting-{serial}");
        let sandbox = &self.office.fleet().sandbox;
        sandbox.put("ada", "work", &format!("{uid}.ics"), &meeting.object(&uid)).unwrap();
    }

    fn make(&mut self, serial: usize, meeting: &Meeting) {
        if self.office.provider == ProviderKind::Caldav {
            return self.put(serial, meeting);
        }
        let made = self.call("POST", "", &self.said(meeting));
        self.names.insert(serial, text(&made["id"]));
    }

    fn delete(&mut self, serial: usize) {
        if self.office.provider == ProviderKind::Caldav {
            let sandbox = &self.office.fleet().sandbox;
            return sandbox.delete("ada", "work", &format!("meeting-{serial}.ics")).unwrap();
        }
        let name = self.names.remove(&serial).unwrap();
        self.call("DELETE", &format!("/{name}"), &Value::Null);
    }

    fn change(&self, serial: usize, meeting: &Meeting, fields: &[&str]) {
        if self.office.provider == ProviderKind::Caldav {
            return self.put(serial, meeting);
        }
        let mut said = self.said(meeting);
        said.as_object_mut().unwrap().retain(|name, _| fields.contains(&name.as_str()));
        self.call("PATCH", &format!("/{}", self.names[&serial]), &said);
    }

    /// The name of the instance of a day.
    fn instance(&self, serial: usize, meeting: &Meeting, day: NaiveDate) -> String {
        let name = &self.names[&serial];
        let zone: Tz = if meeting.is_all_day { Tz::UTC } else { ZONES[meeting.zone].0.parse().unwrap() };
        if self.office.provider == ProviderKind::Microsoft {
            let window = format!(
                "startDateTime={}T00:00:00Z&endDateTime={}T00:00:00Z",
                day - TimeDelta::days(1),
                day + TimeDelta::days(2)
            );
            let found = self.call("GET", &format!("/{name}/instances?{window}"), &Value::Null);
            let is_it = |item: &&Value| {
                let start: NaiveDateTime = item["start"]["dateTime"].as_str().unwrap().parse().unwrap();
                start.and_utc().with_timezone(&zone).date_naive() == day
            };
            return text(&found["value"].as_array().unwrap().iter().find(is_it).unwrap()["id"]);
        }
        let found = self.call("GET", &format!("/{name}/instances"), &Value::Null);
        let is_it = |item: &&Value| {
            let original = &item["originalStartTime"];
            let at = DateTime::parse_from_rfc3339(original["dateTime"].as_str().unwrap_or_default());
            original["date"] == day.to_string()
                || at.is_ok_and(|at| at.with_timezone(&zone).date_naive() == day)
        };
        let items = found["items"].as_array().unwrap();
        let one = items.iter().find(is_it).unwrap_or_else(|| panic!("no {day} of {meeting:?}: {found}"));
        text(&one["id"])
    }

    fn cancel(&self, serial: usize, meeting: &Meeting, day: NaiveDate) {
        if self.office.provider == ProviderKind::Caldav {
            return self.put(serial, meeting);
        }
        let instance = self.instance(serial, meeting, day);
        self.call("DELETE", &format!("/{instance}"), &Value::Null);
    }

    fn rename(&self, serial: usize, meeting: &Meeting, day: NaiveDate) {
        if self.office.provider == ProviderKind::Caldav {
            return self.put(serial, meeting);
        }
        let title = &meeting.renamed[&day];
        let name = if self.office.provider == ProviderKind::Microsoft { "subject" } else { "summary" };
        let instance = self.instance(serial, meeting, day);
        self.call("PATCH", &format!("/{instance}"), &json!({ name: title }));
    }

    /// What we hold: every instance of two years with what it says, by part.
    async fn held(&self) -> Vec<BTreeMap<&'static str, String>> {
        let mut held = Vec::new();
        let from: DateTime<chrono::Utc> = "2026-09-20T00:00:00Z".parse().unwrap();
        for row in live(self.office.fleet(), self.office.desk.connection).await {
            assert_eq!(row.problem, None, "{row:?}");
            let event = row.event.event.as_ref().unwrap();
            let expansion = expand(event, from..from + TimeDelta::days(365), Tz::UTC, &Budget::default());
            held.extend(expansion.instances.iter().map(|one| {
                let mut parts = said(one.fields);
                parts.insert("start", one.starts_at.to_rfc3339());
                parts.insert("end", one.ends_at.to_rfc3339());
                parts.insert("zone", zone(&one.start));
                parts
            }));
        }
        held.sort_by(|one, other| (&one["start"], &one["title"]).cmp(&(&other["start"], &other["title"])));
        held
    }
}

/// The form in which a time is held.
fn zone(when: &When) -> String {
    match when {
        When::Date(_) => "a date".to_owned(),
        When::Floating(_) => "no zone".to_owned(),
        When::Utc(_) => "UTC".to_owned(),
        When::Zoned { zone, .. } => zone.to_string(),
    }
}

fn said(fields: &Fields) -> BTreeMap<&'static str, String> {
    let some = |text: &Option<String>| text.clone().unwrap_or_default();
    BTreeMap::from([
        ("title", some(&fields.title)),
        ("place", some(&fields.location)),
        ("text", some(&fields.description)),
        ("busy", format!("{:?}", fields.transparency)),
        ("status", format!("{:?}", fields.status)),
        ("visibility", format!("{:?}", fields.visibility)),
        ("reminders", format!("{:?}", fields.reminders)),
        ("guests", format!("{:?}", fields.attendees)),
    ])
}

/// The days of a meeting that can be changed by themselves.
fn days(meeting: &Meeting) -> Vec<NaiveDate> {
    let Some((rule, count)) = meeting.rule else { return Vec::new() };
    let (step, count) = match rule {
        Rule::Daily => (2, count),
        Rule::Weekly => (7, count),
        // their later days are another matter
        _ => (0, 1),
    };
    let all =
        (0..i64::try_from(count).unwrap()).map(|nth| meeting.start.date() + TimeDelta::days(nth * step));
    all.filter(|day| !meeting.cancelled.contains(day)).collect()
}

fn edit(
    theirs: &mut Theirs<'_>,
    meetings: &mut BTreeMap<usize, Meeting>,
    chance: &mut Chance,
    serial: usize,
) {
    let known: Vec<usize> = meetings.keys().copied().collect();
    let which = *chance.pick(&known).unwrap();
    match chance.below(8) {
        0 | 1 => {
            let meeting = Meeting::new(chance, serial);
            theirs.make(serial, &meeting);
            meetings.insert(serial, meeting);
        }
        2 => {
            meetings.remove(&which);
            theirs.delete(which);
        }
        what => {
            let meeting = meetings.get_mut(&which).unwrap();
            let day = chance.pick(&days(meeting)).copied();
            match (what, day) {
                (3, Some(day)) if meeting.cancelled.len() + 2 < meeting.rule.unwrap().1 => {
                    let found = meeting.clone();
                    meeting.cancelled.insert(day);
                    meeting.renamed.remove(&day);
                    let said =
                        if theirs.office.provider == ProviderKind::Caldav { &*meeting } else { &found };
                    theirs.cancel(which, said, day);
                }
                (4, Some(day)) => {
                    meeting.renamed.insert(day, format!("Anders {serial}"));
                    theirs.rename(which, meeting, day);
                }
                (5 | 6, None) if meeting.rule.is_none() => {
                    meeting.start += TimeDelta::days(1 + chance.small(6));
                    theirs.change(which, meeting, &["start", "end"]);
                }
                (7, _) => {
                    meeting.place = format!("Room {serial}");
                    meeting.is_free = !meeting.is_free;
                    theirs.change(which, meeting, &["location", "transparency", "showAs"]);
                }
                _ => {
                    meeting.text = format!("Told anew, {serial} times.");
                    theirs.change(which, meeting, &["description", "body"]);
                }
            }
        }
    }
}

async fn store_of(provider: ProviderKind) -> Vec<BTreeMap<&'static str, String>> {
    let store = TestStore::sqlite().await.unwrap();
    let office = Office::open(&store, provider).await;
    let mut theirs = Theirs { office, names: BTreeMap::new() };
    let (mut chance, mut meetings) = (Chance::of(11), BTreeMap::new());
    for serial in 0..EVENTS {
        let meeting = Meeting::new(&mut chance, serial);
        theirs.make(serial, &meeting);
        meetings.insert(serial, meeting);
    }
    let connection = theirs.office.desk.connection;
    theirs.office.fleet().sync(connection).await;
    for number in 0..EDITS {
        edit(&mut theirs, &mut meetings, &mut chance, EVENTS + number);
        if number % EDITS_OF_A_POLL == EDITS_OF_A_POLL - 1 {
            theirs.office.fleet().advance(Duration::from_mins(5));
            theirs.office.fleet().sync(connection).await;
        }
    }
    let held = theirs.held().await;
    theirs.office.list().await;
    assert_eq!(theirs.held().await, held, "{provider}: a complete listing finds nothing new");
    held
}

#[tokio::test]
async fn the_same_events_and_edits_at_every_provider_end_in_the_same_store() {
    let mut stores = BTreeMap::new();
    for provider in ALL {
        stores.insert(provider.to_string(), (provider, store_of(provider).await));
    }
    let expected = stores["caldav"].1.clone();
    assert!(expected.len() > EVENTS, "{} instances prove little", expected.len());
    let mut found = BTreeSet::new();
    for (provider, held) in stores.values() {
        assert_eq!(held.len(), expected.len(), "{provider} holds another number of instances");
        for (one, wanted) in held.iter().zip(&expected) {
            let differing = one.iter().filter(|(part, value)| wanted[*part] != **value);
            found.extend(differing.map(|(part, value)| (*provider, *part, value.as_str())));
        }
    }
    assert_eq!(found, LIMITS.iter().copied().collect());
}
