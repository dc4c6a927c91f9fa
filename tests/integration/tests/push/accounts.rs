//! Random histories (law 1) of accounts at Google and Microsoft: an application edits through the service, another
//! client at the provider, while answers get lost, servers fail and workers die. When that stops, both sides hold the
//! same instances, what nobody deleted exists exactly once, nobody was mailed, and another round changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use calfleet_domain::model::{Body, EditScope, EventId, Master, Notify, ProviderKind, RecurrenceId, When};
use calfleet_domain::recurrence::expand::id_of;
use calfleet_harness::Size;
use calfleet_providers::naming::unsent;
use calfleet_sandbox::{Fault, FaultRule, RetryAfter};
use calfleet_service::write::{EventPatch, Reach, WriteError};
use calfleet_store::outbox::{self, OutboxEntry, OutboxState};
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::histories::Chance;
use crate::databases::TestStore;
use crate::google::desk::Desk;
use crate::google::fleet::{ADA, Fleet};
use crate::microsoft::{Outlook, held, live, start_writing};

/// Steps of one history.
const STEPS: usize = 40;

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
    serial: usize,
}

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
        let change = match (self.provider, what) {
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

    async fn edit(&self, id: EventId, chance: &mut Chance, serial: usize) {
        let (what, instance) = (chance.below(6), chance.below(6));
        let row = self.desk.row(id).await;
        let Some(event) = &row.event.event else { return };
        let change = match what % 2 {
            0 => json!({ "title": format!("Ours {serial}") }),
            _ => json!({ "location": format!("Room {serial}") }),
        };
        let series = match &event.body {
            Body::Series(series) => series.master.as_ref(),
            Body::Single(_) => None,
        };
        let (Some(master), 2..) = (series, what) else { return self.patch(id, change, Reach::ALL).await };
        let reach = Reach { scope: EditScope::This, recurrence_id: Some(key(master, instance)) };
        match what {
            2 | 3 => self.patch(id, change, reach).await,
            4 => Self::tolerated(self.delete(id, reach).await),
            _ => {
                let longer = json!({ "recurrence": [format!("RRULE:FREQ=DAILY;COUNT={}", 4 + instance)] });
                self.patch(id, longer, Reach::ALL).await;
            }
        }
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

    async fn push(&self, chance: &mut Chance) {
        let fault = match chance.below(8) {
            0 | 1 => Some(Fault::AnswerLost),
            2 => Some(Fault::CutBefore),
            3 => Some(Fault::Status { code: 503, retry_after: None }),
            4 => Some(Fault::Status { code: 429, retry_after: Some(RetryAfter::Seconds(30)) }),
            _ => None,
        };
        if let Some(fault) = fault {
            let skip = u32::try_from(chance.below(3)).unwrap();
            self.fleet().sandbox.inject(FaultRule::next(fault).path("*/events*").after(skip));
        }
        let connection = self.desk.connection;
        match chance.below(3) {
            0 => self.fleet().push_for(connection, u32::try_from(1 + chance.below(60)).unwrap()).await,
            _ => drop(self.fleet().push(connection).await),
        }
    }

    async fn step(&self, chance: &mut Chance, account: &mut Account) {
        account.serial += 1;
        let serial = account.serial;
        match chance.below(13) {
            action @ (0 | 1) => drop(account.made.insert(self.create(serial, action == 1).await)),
            2..=4 => {
                if let Some(id) = chance.pick(&self.live().await) {
                    self.edit(*id, chance, serial).await;
                }
            }
            5 => {
                if let Some(id) = chance.pick(&self.live().await) {
                    account.deleted.insert(*id);
                    account.taken.insert(self.name(*id).await);
                    Self::tolerated(self.delete(*id, Reach::ALL).await);
                }
            }
            6 => {
                let recurs = chance.below(2) == 0;
                account.planted.insert(self.plant(&format!("Theirs {serial}"), recurs));
            }
            7 => {
                if let Some(id) = chance.pick(&self.ids()) {
                    // A series, or one of its instances.
                    let instances = if chance.below(2) == 0 { self.instances(id) } else { Vec::new() };
                    let what = chance.below(2);
                    self.touch(chance.pick(&instances).unwrap_or(id), what, serial);
                }
            }
            8 => {
                if let Some(id) = chance.pick(&self.ids()) {
                    account.taken.insert(id.clone());
                    account.taken.extend(self.former_name(id));
                    self.call("DELETE", &format!("/{id}"), &Value::Null);
                }
            }
            9 | 10 => self.push(chance).await,
            _ => drop(self.fleet().sync(self.desk.connection).await),
        }
        self.fleet().advance(Duration::from_secs(u64::try_from(chance.below(300)).unwrap()));
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

async fn history(provider: ProviderKind, seed: u64) {
    let store = TestStore::sqlite().await.unwrap();
    let fleet = match provider {
        ProviderKind::Microsoft => start_writing(&store).await,
        _ => Fleet::start_writing(&store).await,
    };
    let world = World { desk: Desk::over(fleet).await, provider };
    let mut chance = Chance::of(seed);
    let mut account = Account::default();
    for _ in 0..STEPS {
        world.step(&mut chance, &mut account).await;
    }
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

async fn histories(provider: ProviderKind) {
    for seed in 0..Size::of_this_run().pick(25, 3_000) {
        history(provider, seed).await;
    }
}

#[tokio::test]
async fn random_histories_with_google_converge() {
    histories(ProviderKind::Google).await;
}

#[tokio::test]
async fn random_histories_with_microsoft_converge() {
    histories(ProviderKind::Microsoft).await;
}
