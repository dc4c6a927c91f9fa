//! Radicale and Xandikos are written to: what an application asks for is what another client (python-caldav) finds
//! there, object by object and instance by instance.

use calfleet_harness::oracle::{OtherClient, expand};
use calfleet_harness::{DavServer, Radicale, Xandikos};
use chrono::{DateTime, NaiveDate};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api_client::{Answer, Api};
use crate::fleet::{Fleet, reaching};
use crate::provider::port;
use crate::writes::{id, named, writer};

/// A title that every writer and reader has to mark and to unmark.
const MARKED: &str = r"Retro; with, marks \n and “ünïcode” of more than seventy-five octets in one long line";

#[tokio::test(flavor = "multi_thread")]
async fn radicale_holds_what_was_written() {
    let Some(server) = Radicale::start() else { return };
    write_all("Radicale", &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn xandikos_holds_what_was_written() {
    let Some(server) = Xandikos::start() else { return };
    write_all("Xandikos", &server).await;
}

/// An application, and another client of the server that it writes to.
struct Desk {
    api: Api,
    client: OtherClient,
    /// The calendar's id here, and its address there.
    calendar: (String, String),
}

impl Desk {
    async fn write(&self, method: Method, path: &str, body: &Value) -> Answer {
        let and = if path.contains('?') { '&' } else { '?' };
        let answer = self.api.send_json(method, &format!("{path}{and}wait=20s"), body).await;
        assert!(answer.status < 300 && answer.body["sync"] == "synced", "{path}: {}", answer.body);
        answer
    }

    async fn create(&self, event: Value) -> String {
        let path = format!("/calendars/{}/events", self.calendar.0);
        format!("/events/{}", id(&self.write(Method::POST, &path, &event).await))
    }

    /// How many objects the other client finds, and their instances: start in UTC, length in minutes and title.
    async fn found(&self) -> (usize, Vec<(String, i64, String)>) {
        let objects = self.client.dump(&self.calendar.1).await.unwrap();
        let texts: Vec<_> = objects.iter().map(|one| (one.href.clone(), one.ics.clone())).collect();
        let day = |day: &str| {
            let day: NaiveDate = day.parse().unwrap();
            day.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_millis()
        };
        let expanded = expand(&texts, day("2026-11-01"), day("2027-03-01")).await.unwrap().unwrap();
        let mut instances = Vec::new();
        for one in expanded {
            assert_eq!(one.error, None, "{}", one.name);
            for one in one.instances {
                let start = DateTime::from_timestamp_millis(one.start).unwrap();
                let minutes = (one.end - one.start) / 60_000;
                instances.push((start.format("%m-%d %H:%M").to_string(), minutes, one.summary));
            }
        }
        instances.sort();
        (objects.len(), instances)
    }

    async fn assert_found(&self, objects: usize, expected: &[(&str, i64, &str)]) {
        let mut expected: Vec<_> = expected
            .iter()
            .map(|(at, minutes, title)| ((*at).to_owned(), *minutes, (*title).to_owned()))
            .collect();
        expected.sort();
        assert_eq!(self.found().await, (objects, expected));
    }
}

fn at(title: &str, day: &str) -> Value {
    json!({
        "title": title, "time_zone": "Europe/Paris", "description": "One; two, three\\n\nfour",
        "start": format!("{day}T10:00:00"), "end": format!("{day}T11:00:00"), "reminders": [{ "before_start": 600 }],
    })
}

async fn write_all(name: &str, server: &DavServer) {
    let Some(client) = OtherClient::of(server) else { return };
    let address = server.create_calendar("work");
    let fleet = Fleet::solo(&reaching(&[port(&server.url())]));
    let solo = fleet.start("solo").await;
    let connection = fleet.connect(&server.url(), server.user(), server.password(), &[]).await;
    fleet.sync(&connection).await;
    let api = writer(&fleet, &solo, &[]).await;
    let desk = Desk { api, client, calendar: (named(&fleet, &connection, "work").await, address) };

    write_events(&desk).await;
    write_series(&desk).await;

    let kept = desk.found().await;
    fleet.sync(&connection).await;
    assert_eq!(fleet.events(&connection).await.len(), kept.0);
    assert_eq!(desk.found().await, kept, "a sync changes nothing there");
    let instances = desk.api.all("/instances?from=2026-11-01&to=2027-03-01&limit=100").await;
    let shown = instances.iter().map(|one| {
        let instant = |value: &Value| DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap().to_utc();
        let (start, end) = (instant(&one["starts_at"]), instant(&one["ends_at"]));
        let at = start.format("%m-%d %H:%M").to_string();
        (at, (end - start).num_minutes(), one["title"].as_str().unwrap().to_owned())
    });
    let mut shown: Vec<_> = shown.collect();
    shown.sort();
    assert_eq!(shown, kept.1, "{name} and the API show different instances");
    assert_eq!(desk.api.get("/outbox").await["data"], json!([]));
    assert_eq!(desk.api.get("/outbox?state=dead").await["data"], json!([]));
}

/// Single events: made, changed, deleted and brought back.
async fn write_events(desk: &Desk) {
    let review = desk.create(at("Review", "2026-12-03")).await;
    let fair = json!({ "title": "Fair", "is_all_day": true, "start": "2026-12-05", "end": "2026-12-08" });
    let fair = desk.create(fair).await;
    let gone = desk.create(at("Gone", "2026-12-04")).await;
    let day = 24 * 60;
    desk.assert_found(
        3,
        &[("12-03 09:00", 60, "Review"), ("12-04 09:00", 60, "Gone"), ("12-05 00:00", 3 * day, "Fair")],
    )
    .await;

    desk.write(Method::PATCH, &review, &json!({ "title": MARKED, "start": "2026-12-03T12:00:00" })).await;
    desk.write(Method::PATCH, &fair, &json!({ "start": "2026-12-06" })).await;
    desk.write(Method::DELETE, &gone, &Value::Null).await;
    desk.assert_found(2, &[("12-03 11:00", 60, MARKED), ("12-06 00:00", 3 * day, "Fair")]).await;

    desk.write(Method::POST, &format!("{gone}/undo"), &json!({})).await;
    desk.write(Method::POST, &format!("{fair}/undo"), &json!({})).await;
    desk.write(Method::DELETE, &review, &Value::Null).await;
    desk.assert_found(2, &[("12-04 09:00", 60, "Gone"), ("12-05 00:00", 3 * day, "Fair")]).await;
}

/// A series: one instance is changed, one called off, and all that follow are changed.
async fn write_series(desk: &Desk) {
    let mut weekly = at("Weekly", "2026-12-01");
    weekly["recurrence"] = json!(["FREQ=WEEKLY;COUNT=6"]);
    let weekly = desk.create(weekly).await;
    let others = [("12-04 09:00", 60, "Gone"), ("12-05 00:00", 3 * 24 * 60, "Fair")];
    let of_series = |days: &[(&'static str, i64, &'static str)]| [&others[..], days].concat();
    let rest = [("12-22 09:00", 60, "Weekly"), ("12-29 09:00", 60, "Weekly"), ("01-05 09:00", 60, "Weekly")];
    let first = ("12-01 09:00", 60, "Weekly");
    let plain = [first, ("12-08 09:00", 60, "Weekly"), ("12-15 09:00", 60, "Weekly")];
    desk.assert_found(3, &of_series(&[&plain[..], &rest].concat())).await;

    let moved = json!({ "title": MARKED, "start": "2026-12-09T15:00:00", "end": "2026-12-09T15:30:00" });
    desk.write(Method::PATCH, &format!("{weekly}?instance=20261208T100000"), &moved).await;
    desk.write(Method::DELETE, &format!("{weekly}?scope=this&instance=20261215T100000"), &Value::Null).await;
    let departed = [first, ("12-09 14:00", 30, MARKED)];
    desk.assert_found(3, &of_series(&[&departed[..], &rest].concat())).await;

    desk.write(Method::PATCH, &weekly, &json!({ "location": "Room 1" })).await;
    desk.assert_found(3, &of_series(&[&departed[..], &rest].concat())).await;

    let following = format!("{weekly}?scope=following&instance=20261229T100000");
    desk.write(Method::PATCH, &following, &json!({ "title": "Rest" })).await;
    let split = [rest[0], ("12-29 09:00", 60, "Rest"), ("01-05 09:00", 60, "Rest")];
    desk.assert_found(4, &of_series(&[&departed[..], &split].concat())).await;
}
