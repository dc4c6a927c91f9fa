//! Random histories (law 1) of accounts at Google and Microsoft: an application edits through the service, another
//! client at the provider, while answers get lost, servers fail and workers die. When that stops, both sides hold the
//! same instances, what nobody deleted exists exactly once, nobody was mailed, and another round changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use calfleet_domain::model::{
    Body, EditScope, EventId, Master, Notify, ProviderKind, RecurrenceId, WatchId, When,
};
use calfleet_domain::recurrence::expand::id_of;
use calfleet_harness::Size;
use calfleet_providers::naming::unsent;
use calfleet_sandbox::FaultRule;
use calfleet_service::write::{EventPatch, Reach, WriteError};
use calfleet_store::doors::{DoorKind, SecretHash};
use calfleet_store::outbox::{self, OutboxEntry, OutboxState};
use calfleet_store::watches::{self, About, Agreed, NewWatch, Notice};
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::chance::{Chance, Plot, tell};
use crate::databases::TestStore;
use crate::google::desk::Desk;
use crate::google::fleet::{ADA, Fleet};
use crate::microsoft::{Outlook, held, live, start_writing};

/// What was done, as far as the end has to account for it.
#[derive(Default)]
struct Account {
    /// What the application made.
    made: BTreeSet<EventId>,
    /// What the application deleted at some time.
    deleted: BTreeSet<EventId>,
    /// What another client made, by the provider's ids.
    planted: BTreeSet<String>,
    /// What another client deleted at some time.
    taken: BTreeSet<String>,
    /// Notifications so far.
    notices: u64,
}

/// The secret of the watch, as its notifications bring it.
const SECRET: &[u8] = b"the secret of the watch";

struct World<'a> {
    desk: Desk<'a>,
    provider: ProviderKind,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl World<'_> {
    fn fleet(&self) -> &Fleet<'_> {
        &self.desk.fleet
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        if self.provider == ProviderKind::Microsoft {
            return Outlook::of(self.fleet()).call(method, &format!("me/events{path}"), body);
        }
        let path = format!("calendars/{ADA}/events{path}");
        let (status, answer) = self.fleet().google().call(ADA, method, &path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    fn calendar(&self) -> String {
        self.fleet().sandbox.microsoft().default_calendar(ADA).unwrap()
    }

    /// Ids of all events and series that the provider holds.
    fn ids(&self) -> Vec<String> {
        if self.provider == ProviderKind::Microsoft {
            let events = self.fleet().sandbox.microsoft().events(&self.calendar()).unwrap();
            return events.iter().map(|event| text(&event["id"])).collect();
        }
        let answer = self.call("GET", "?maxResults=2500", &Value::Null);
        let items = answer["items"].as_array().unwrap().iter();
        let whole = items.filter(|item| item["recurringEventId"].is_null() && item["status"] != "cancelled");
        whole.map(|item| text(&item["id"])).collect()
    }

    /// Instants and titles of all instances of a year.
    fn year(&self) -> Vec<(String, String)> {
        if self.provider == ProviderKind::Microsoft {
            return Outlook::of(self.fleet()).year();
        }
        let answer = self.call("GET", "?singleEvents=true&maxResults=2500", &Value::Null);
        let mut shown: Vec<_> = answer["items"].as_array().unwrap().iter().map(shown).collect();
        shown.sort();
        shown
    }

    /// Another client makes an event.
    fn plant(&self, title: &str, recurs: bool) -> String {
        let zone = if self.provider == ProviderKind::Microsoft { "UTC" } else { "Europe/Paris" };
        let at = |hour: u32| {
            let offset = if zone == "UTC" { "" } else { "+01:00" };
            json!({ "dateTime": format!("2026-11-02T{hour:02}:00:00{offset}"), "timeZone": zone })
        };
        let name = if self.provider == ProviderKind::Microsoft { "subject" } else { "summary" };
        let mut event = json!({ name: title, "start": at(9), "end": at(10) });
        if recurs && self.provider == ProviderKind::Microsoft {
            event["recurrence"] = json!({
                "pattern": { "type": "weekly", "interval": 1, "daysOfWeek": ["monday"] },
                "range": { "type": "numbered", "startDate": "2026-11-02", "numberOfOccurrences": 6 },
            });
        } else if recurs {
            event["recurrence"] = json!(["RRULE:FREQ=WEEKLY;COUNT=6"]);
        }
        text(&self.call("POST", "", &event)["id"])
    }

    /// Ids of the instances of a series.
    fn instances(&self, id: &str) -> Vec<String> {
        if self.provider == ProviderKind::Microsoft {
            let event = self.fleet().sandbox.microsoft().event(ADA, id).unwrap();
            if event["type"] != "seriesMaster" {
                return Vec::new();
            }
            let window = "startDateTime=2026-10-01T00:00:00Z&endDateTime=2027-02-01T00:00:00Z";
            let answer = self.call("GET", &format!("/{id}/instances?{window}"), &Value::Null);
            return answer["value"].as_array().unwrap().iter().map(|item| text(&item["id"])).collect();
        }
        if self.call("GET", &format!("/{id}"), &Value::Null)["recurrence"].is_null() {
            return Vec::new();
        }
        let answer = self.call("GET", &format!("/{id}/instances"), &Value::Null);
        answer["items"].as_array().unwrap().iter().map(|item| text(&item["id"])).collect()
    }

    /// Another client changes one thing or another.
    fn touch(&self, id: &str, what: usize, serial: usize) {
        let (title, room) = (format!("Theirs {serial}"), format!("Their room {serial}"));
        let at = |minute: usize| {
            let minute = (serial * 30 + minute) % (22 * 60);
            json!({ "dateTime": format!("2026-11-03T{:02}:{:02}:00", minute / 60, minute % 60), "timeZone": "UTC" })
        };
        let change = match (self.provider, what) {
            (_, 2) => json!({ "start": at(0), "end": at(45) }),
            (ProviderKind::Microsoft, 0) => json!({ "subject": title }),
            (ProviderKind::Microsoft, _) => json!({ "location": { "displayName": room } }),
            (_, 0) => json!({ "summary": title }),
            _ => json!({ "location": room }),
        };
        self.call("PATCH", &format!("/{id}"), &change);
    }

    /// What an event of ours went by before the provider named it.
    fn former_name(&self, id: &str) -> Option<String> {
        let event = self.fleet().sandbox.microsoft().event(ADA, id)?;
        unsent(event["transactionId"].as_str()?).map(|name| name.0)
    }

    /// The provider's next listing is a complete one.
    fn forget(&self) {
        if self.provider == ProviderKind::Microsoft {
            self.fleet().sandbox.microsoft().expire_deltas(&self.calendar()).unwrap();
        } else {
            self.fleet().google().expire_sync_tokens(ADA).unwrap();
        }
    }

    async fn live(&self) -> Vec<EventId> {
        live(self.fleet(), self.desk.connection).await.into_iter().map(|row| row.event.id).collect()
    }

    async fn entries(&self, state: OutboxState) -> Vec<OutboxEntry> {
        let tx = self.fleet().database.store.read(self.fleet().scope()).await.unwrap();
        outbox::list(&tx, state, None, 100).await.unwrap()
    }

    async fn name(&self, id: EventId) -> String {
        self.desk.row(id).await.event.provider_id.0
    }

    async fn create(&self, serial: usize, recurs: bool) -> EventId {
        let mut input = json!({ "title": format!("Ours {serial}"), "time_zone": "Europe/Paris",
            "start": "2026-10-22T10:00:00", "end": "2026-10-22T11:00:00", "reminders": [] });
        if recurs {
            input["recurrence"] = json!(["RRULE:FREQ=DAILY;COUNT=6"]);
        }
        self.desk.create(input, Notify::None).await.unwrap().event_id
    }

    async fn edit(&self, id: EventId, chance: &mut Chance, serial: usize) -> String {
        let (what, instance) = (chance.below(7), chance.below(6));
        let told = format!("we edit {id}, way {what}, instance {instance}");
        let row = self.desk.row(id).await;
        let Some(event) = &row.event.event else { return told };
        let change = match what {
            6 => moved("2026-10-23", serial),
            0 | 2 | 4 => json!({ "title": format!("Ours {serial}") }),
            _ => json!({ "location": format!("Room {serial}") }),
        };
        let series = match &event.body {
            Body::Series(series) => series.master.as_ref(),
            Body::Single(_) => None,
        };
        let (Some(master), 2..) = (series, what) else {
            self.patch(id, change, Reach::ALL).await;
            return told;
        };
        let instance_key = key(master, instance);
        // within its day: Outlook lets no instance pass its neighbour
        let later = moved(&day(&instance_key), serial);
        let reach = Reach { scope: EditScope::This, recurrence_id: Some(instance_key) };
        match what {
            6 => self.patch(id, later, reach).await,
            2 | 3 => self.patch(id, change, reach).await,
            4 => Self::tolerated(self.delete(id, reach).await),
            _ => {
                let longer = json!({ "recurrence": [format!("RRULE:FREQ=DAILY;COUNT={}", 4 + instance)] });
                self.patch(id, longer, Reach::ALL).await;
            }
        }
        told
    }

    async fn patch(&self, id: EventId, patch: Value, reach: Reach) {
        let patch: EventPatch = serde_json::from_value(patch).unwrap();
        let terms = self.desk.terms(Notify::None);
        Self::tolerated(self.fleet().service.edit_event(id, &patch, reach, &terms).await.map(drop));
    }

    async fn delete(&self, id: EventId, reach: Reach) -> Result<(), WriteError> {
        let terms = self.desk.terms(Notify::None);
        self.fleet().service.delete_event(id, reach, &terms).await.map(drop)
    }

    /// What cannot be asked for is refused, and that is all.
    fn tolerated(written: Result<(), WriteError>) {
        match written {
            Ok(()) | Err(WriteError::Refused(_) | WriteError::Invalid(_) | WriteError::NotFound(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }

    /// A push, with something in its way more often than not.
    async fn push(&self, chance: &mut Chance) -> String {
        let fault = chance.fault_of_write();
        if let Some((fault, skip)) = fault.clone() {
            self.fleet().sandbox.inject(FaultRule::next(fault).path("*/events*").after(skip));
        }
        let connection = self.desk.connection;
        let death = (chance.below(3) == 0).then(|| chance.death());
        match death {
            Some(steps) => self.fleet().push_for(connection, steps).await,
            None => drop(self.fleet().push(connection).await),
        }
        format!("a push, fault {fault:?}, death {death:?}")
    }

    /// A sync, likewise.
    async fn sync(&self, chance: &mut Chance) -> String {
        let fault = chance.fault_of_listing();
        if let Some((fault, skip)) = fault.clone() {
            let path = if self.provider == ProviderKind::Microsoft { "*/delta*" } else { "*/events" };
            self.fleet().sandbox.inject(FaultRule::next(fault).method("GET").path(path).after(skip));
        }
        let connection = self.desk.connection;
        let death = (chance.below(3) == 0).then(|| chance.death());
        match death {
            Some(steps) => self.fleet().sync_for(connection, steps).await,
            None => drop(self.fleet().sync(connection).await),
        }
        format!("a sync, fault {fault:?}, death {death:?}")
    }

    /// The calendar is watched.
    async fn watch(&self) {
        let (database, now) = (self.fleet().database, self.fleet().service.now());
        let until = now.plus(Duration::from_hours(24 * 365));
        let id = WatchId(uuid::Uuid::from_u128(44));
        let (connection_id, calendar_id) = (self.desk.connection, self.desk.calendar().await);
        let new = NewWatch { id, connection_id, calendar_id, until, renew_at: until };
        let agreed =
            Agreed { provider_id: "watch".to_owned(), resource: None, expires_at: until, renew_at: until };
        let tx = database.begin().await;
        watches::begin(&tx, &new, &SecretHash::of(DoorKind::Watch, SECRET), now).await.unwrap();
        watches::agree(&tx, id, &agreed).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Notifications arrive, of what happened now or long ago, once or more often; what they make due is done.
    async fn notified(&self, chance: &mut Chance, account: &mut Account) -> String {
        account.notices += 1;
        let number = account.notices - u64::try_from(chance.below(3)).unwrap().min(account.notices - 1);
        let times = 1 + chance.below(3);
        let notice = Notice {
            secret: SecretHash::of(DoorKind::Watch, SECRET),
            watch: "watch".to_owned(),
            resource: None,
            number: Some(number),
            about: About::Changed,
        };
        let (fleet, spacing) = (self.fleet(), Duration::from_secs(10));
        let notices = vec![notice; times];
        watches::notified(&fleet.database.store, &notices, spacing, fleet.service.now()).await.unwrap();
        let has_run = fleet.run_due(self.desk.connection).await;
        format!("{times} notifications {number}, a sync: {has_run}")
    }

    async fn step(&self, plot: &Plot, serial: usize, mut chance: Chance, account: &mut Account) {
        let chance = &mut chance;
        let nothing = || "nothing is there".to_owned();
        let told = match chance.below(17) {
            action @ (0 | 1) => {
                let id = self.create(serial, action == 1).await;
                account.made.insert(id);
                format!("we make {id}, series: {}", action == 1)
            }
            2..=4 => match chance.pick(&self.live().await) {
                Some(id) => self.edit(*id, chance, serial).await,
                None => nothing(),
            },
            5 => match chance.pick(&self.live().await) {
                Some(id) => {
                    account.deleted.insert(*id);
                    account.taken.insert(self.name(*id).await);
                    Self::tolerated(self.delete(*id, Reach::ALL).await);
                    format!("we delete {id}")
                }
                None => nothing(),
            },
            action @ 6..=8 => self.remote_edit(chance, serial, action, account),
            9..=11 => self.push(chance).await,
            12 | 13 => self.notified(chance, account).await,
            _ => self.sync(chance).await,
        };
        plot.tell(serial, &told);
        self.fleet().advance(Duration::from_secs(u64::try_from(chance.below(300)).unwrap()));
    }

    /// Another client makes, changes, moves or deletes an event, a series or one of its instances.
    fn remote_edit(
        &self,
        chance: &mut Chance,
        serial: usize,
        action: usize,
        account: &mut Account,
    ) -> String {
        if action == 6 {
            let recurs = chance.below(2) == 0;
            let id = self.plant(&format!("Theirs {serial}"), recurs);
            account.planted.insert(id.clone());
            return format!("they make {id}, series: {recurs}");
        }
        let ids = self.ids();
        let Some(id) = chance.pick(&ids) else { return "nothing of theirs is there".to_owned() };
        if action == 8 {
            account.taken.insert(id.clone());
            account.taken.extend(self.former_name(id));
            self.call("DELETE", &format!("/{id}"), &Value::Null);
            return format!("they delete {id}");
        }
        let all = self.instances(id);
        let of_series = if chance.below(2) == 0 { &all[..] } else { &[] };
        // the frame of a series stays where it is
        let ways = if all.is_empty() { 3 } else { 2 };
        let (what, touched) = (chance.below(ways), chance.pick(of_series).unwrap_or(id));
        self.touch(touched, what, serial);
        format!("they change {touched}, way {what}")
    }

    /// Both sides are the same, and stay so.
    async fn assert_converged(&self, account: &Account, seed: u64) {
        assert_eq!(self.entries(OutboxState::Pending).await, [], "seed {seed}");
        // What one side changed of an instance that the other side's frame no longer has is given up, with that reason.
        let dead = self.entries(OutboxState::Dead).await;
        let is_out = |entry: &&OutboxEntry| {
            let problem = entry.problem.as_ref();
            problem.is_some_and(|(_, text)| text.contains("an instance that its series does not have"))
        };
        assert_eq!(
            dead.iter().filter(|entry| !is_out(entry)).collect::<Vec<_>>(),
            [] as [&OutboxEntry; 0],
            "seed {seed}"
        );
        let mut ours = Vec::new();
        for id in self.live().await {
            let row = self.desk.row(id).await;
            assert!(row.event.base.is_none() && row.event.edited_at.is_none(), "seed {seed}: {row:?}");
            ours.push(row.event.provider_id.0);
        }
        let mut theirs = self.ids();
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "seed {seed}");
        assert_eq!(held(self.fleet(), self.desk.connection).await, self.year(), "seed {seed}");
        for id in account.made.difference(&account.deleted) {
            let name = self.name(*id).await;
            let count = theirs.iter().filter(|known| **known == name).count();
            assert!(count == 1 || account.taken.contains(&name), "seed {seed}: {id} exists {count} times");
        }
        for name in account.planted.difference(&account.taken) {
            assert!(theirs.contains(name), "seed {seed}: {name} is gone");
        }
        assert_eq!(self.fleet().sandbox.mails(), [], "seed {seed}");
    }
}

fn shown(item: &Value) -> (String, String) {
    let start = chrono::DateTime::parse_from_rfc3339(item["start"]["dateTime"].as_str().unwrap()).unwrap();
    (start.to_utc().format("%m-%d %H:%M").to_string(), text(&item["summary"]))
}

/// At another hour of that day.
fn moved(day: &str, serial: usize) -> Value {
    let hour = 10 + serial % 10;
    json!({ "start": format!("{day}T{hour}:00:00"), "end": format!("{day}T{hour}:30:00") })
}

fn day(key: &RecurrenceId) -> String {
    let date = match key {
        RecurrenceId::Date(date) => *date,
        RecurrenceId::Wall(wall) => wall.date(),
        RecurrenceId::Utc(at) => at.date_naive(),
    };
    date.to_string()
}

/// Where the instance of so many periods after the first starts originally.
fn key(master: &Master, instance: usize) -> RecurrenceId {
    let period = if master.rules[0].0.contains("WEEKLY") { 7 } else { 1 };
    let days = TimeDelta::days(i64::try_from(instance * period).unwrap());
    id_of(&match &master.fields.start {
        When::Utc(at) => When::Utc(*at + days),
        When::Zoned { wall, zone } => When::Zoned { wall: *wall + days, zone: zone.clone() },
        other => panic!("{other:?}"),
    })
}

async fn history(provider: ProviderKind, plot: Plot) {
    let seed = plot.seed;
    let store = TestStore::sqlite().await.unwrap();
    let fleet = match provider {
        ProviderKind::Microsoft => start_writing(&store).await,
        _ => Fleet::start_writing(&store).await,
    };
    let world = World { desk: Desk::over(fleet).await, provider };
    world.watch().await;
    let mut account = Account::default();
    for (serial, chance) in plot.steps() {
        world.step(&plot, serial, chance, &mut account).await;
    }
    plot.count(world.fleet().sandbox.log());
    world.fleet().sandbox.clear_faults();
    for _ in 0..4 {
        world.fleet().advance(Duration::from_mins(30));
        world.fleet().push(world.desk.connection).await;
        world.fleet().sync(world.desk.connection).await;
    }

    world.assert_converged(&account, seed).await;
    let rows = live(world.fleet(), world.desk.connection).await;
    let shown = world.year();
    world.forget();
    world.fleet().push(world.desk.connection).await;
    world.fleet().sync(world.desk.connection).await;
    assert_eq!(live(world.fleet(), world.desk.connection).await, rows, "seed {seed}");
    assert_eq!(world.year(), shown, "seed {seed}");
}

/// Answers that the histories are about: none at all, a dead cursor, a precondition, a throttle, a server in trouble.
const ANSWERS: [u16; 5] = [0, 410, 412, 429, 503];

#[tokio::test]
async fn random_histories_with_google_converge() {
    let seeds = 0..Size::of_this_run().pick(100, 3_333);
    tell(ProviderKind::Google, seeds, &ANSWERS, |plot| Box::pin(history(ProviderKind::Google, plot))).await;
}

#[tokio::test]
async fn random_histories_with_microsoft_converge() {
    let seeds = 0..Size::of_this_run().pick(100, 3_333);
    tell(ProviderKind::Microsoft, seeds, &ANSWERS, |plot| Box::pin(history(ProviderKind::Microsoft, plot)))
        .await;
}
