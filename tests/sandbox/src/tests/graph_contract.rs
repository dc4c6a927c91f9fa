//! Microsoft's answers, held field by field against the contract that is made from Graph's own metadata.

use serde_json::{Map, Value, json};

use super::graph::{Bench, meeting, series};

const CONTRACT: &str = include_str!("../../../data/contracts/graph-calendar-v1.0.openapi.json");

/// Says where a value does not fit its schema.
struct Contract {
    schemas: Map<String, Value>,
}

impl Contract {
    fn read() -> Self {
        let document: Value = serde_json::from_str(CONTRACT).unwrap();
        Self { schemas: document["components"]["schemas"].as_object().unwrap().clone() }
    }

    fn faults(&self, schema: &str, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(&self.schemas[schema], value, schema, &mut faults);
        faults
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => self.resolved(&self.schemas[reference.rsplit('/').next().unwrap()]),
            None => schema,
        }
    }

    /// All properties of an object's schema, those it inherits too.
    fn properties(&self, schema: &Value, all: &mut Map<String, Value>) {
        let schema = self.resolved(schema);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.properties(part, all);
        }
        all.extend(schema["properties"].as_object().cloned().unwrap_or_default());
    }

    fn enumeration<'a>(&'a self, schema: &'a Value) -> Option<&'a Vec<Value>> {
        let schema = self.resolved(schema);
        let parts = schema["allOf"]
            .as_array()
            .into_iter()
            .flatten()
            .chain(schema["anyOf"].as_array().into_iter().flatten());
        schema["enum"].as_array().or_else(|| parts.into_iter().find_map(|part| self.enumeration(part)))
    }

    fn check(&self, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
        let is_nullable = schema["nullable"] == json!(true);
        let schema = self.resolved(schema);
        if value.is_null() {
            if !is_nullable && schema["nullable"] != json!(true) {
                faults.push(format!("{place} is null"));
            }
            return;
        }
        if let Some(words) = self.enumeration(schema)
            && !words.contains(value)
        {
            faults.push(format!("{place} is {value}"));
        }
        match value {
            Value::Object(fields) => {
                let mut known = Map::new();
                self.properties(schema, &mut known);
                for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with('@')) {
                    match known.get(name) {
                        Some(schema) => self.check(schema, value, &format!("{place}.{name}"), faults),
                        None => faults.push(format!("{place}.{name} is unknown")),
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.check(&schema["items"], item, place, faults);
                }
            }
            Value::Bool(_) if schema["type"] != "boolean" => faults.push(format!("{place} is a truth")),
            Value::Number(_)
                if !["integer", "number"].contains(&schema["type"].as_str().unwrap_or("number")) =>
            {
                faults.push(format!("{place} is a number"));
            }
            Value::String(_) if !["string", ""].contains(&schema["type"].as_str().unwrap_or_default()) => {
                faults.push(format!("{place} is a text"));
            }
            _ => {}
        }
    }
}

#[test]
fn the_contract_is_one_that_can_be_broken() {
    let contract = Contract::read();

    let broken =
        json!({ "subject": 5, "colour": "red", "importance": "huge", "attendees": [{ "type": "guest" }] });

    assert_eq!(contract.faults("microsoft.graph.event", &broken).len(), 4);
}

#[tokio::test]
async fn every_kind_of_event_keeps_the_contract() {
    let bench = Bench::start().await;
    let contract = Contract::read();
    let mut rich = meeting(20);
    for (name, value) in [
        ("isOnlineMeeting", json!(true)),
        ("location", json!({ "displayName": "Room" })),
        ("attendees", json!([{ "emailAddress": { "address": "bob@example.com" } }])),
        ("categories", json!(["Blue category"])),
        ("recurrence", series()["recurrence"].clone()),
    ] {
        rich[name] = value;
    }
    rich["recurrence"]["range"]["startDate"] = json!("2026-01-20");
    rich["recurrence"]["pattern"]["daysOfWeek"] = json!(["tuesday"]);

    let master = bench.create(&rich).await;
    let window = "startDateTime=2026-01-01T00:00:00Z&endDateTime=2026-03-01T00:00:00Z";
    let view = format!("me/calendarView?{window}");
    let (_, occurrences) = bench.api("GET", &view, &Value::Null).await;
    let path = format!("me/events/{}", occurrences["value"][1]["id"].as_str().unwrap());
    let (_, exception) =
        bench.api("PATCH", &path, &json!({ "subject": "Other", "sensitivity": "private" })).await;
    let (_, delta) = bench.api("GET", &format!("me/calendarView/delta?{window}"), &Value::Null).await;
    let (_, copies) = bench.sandbox.microsoft().call("bob@example.com", "GET", "me/events", &Value::Null);

    let mut all = vec![master, exception];
    for page in [&occurrences, &delta, &copies] {
        all.extend(page["value"].as_array().unwrap().clone());
    }
    assert!(all.len() > 10);
    for event in &all {
        assert_eq!(contract.faults("microsoft.graph.event", event), Vec::<String>::new(), "{event}");
    }
}

#[tokio::test]
async fn what_is_around_events_keeps_the_contract() {
    let mut bench = Bench::start().await;
    let contract = Contract::read();
    bench.create(&meeting(20)).await;
    let scopes = ["User.Read", "Calendars.ReadWrite", "MailboxSettings.Read"];
    bench.token = bench.sandbox.microsoft().tokens("ada@example.com", "bench", &scopes).unwrap().0;
    let wish = json!({
        "schedules": ["ada@example.com", "nobody@example.com"],
        "startTime": meeting(20)["start"],
        "endTime": meeting(21)["start"],
    });

    let (_, calendars) = bench.api("GET", "me/calendars", &Value::Null).await;
    let (_, settings) = bench.api("GET", "me/mailboxSettings", &Value::Null).await;
    let (_, schedules) = bench.api("POST", "me/calendar/getSchedule", &wish).await;
    let (_, refusal) = bench.api("GET", "me/events/nonsense", &Value::Null).await;

    for (schema, value) in [
        ("microsoft.graph.calendar", &calendars["value"][0]),
        ("microsoft.graph.mailboxSettings", &settings),
        ("microsoft.graph.scheduleInformation", &schedules["value"][0]),
        ("microsoft.graph.scheduleInformation", &schedules["value"][1]),
        ("odataErrorEnvelope", &refusal),
    ] {
        assert!(value.is_object(), "{schema}");
        assert_eq!(contract.faults(schema, value), Vec::<String>::new(), "{value}");
    }
}
