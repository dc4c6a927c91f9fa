//! Radicale and Xandikos: what the store holds is what the server holds, item for item and instance for instance,
//! after an import and after each round of changes by another client (laws 12 and 13).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use calfleet_harness::oracle::{Form, Instance, Object, OtherClient, expand, generated_events};
use calfleet_harness::{DavServer, Radicale, Size, Xandikos};
use chrono::{DateTime, NaiveDate};
use serde_json::Value;

use crate::api_client::Api;
use crate::fleet::{Fleet, reaching};
use crate::provider::port;

/// The ten years over which instances are compared.
const YEARS: std::ops::Range<i32> = 2025..2035;

/// An object by its calendar, its file name and its UID.
type Item = (String, String, String);

/// One instance, as far as both sides can say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Occurrence {
    uid: String,
    recurrence_id: Option<String>,
    form: &'static str,
    start: i64,
    end: i64,
    status: String,
    is_override: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn radicale_and_the_store_agree_after_an_import_and_after_every_round_of_changes() {
    let Some(server) = Radicale::start() else { return };
    follow("Radicale", &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn xandikos_and_the_store_agree_after_an_import_and_after_every_round_of_changes() {
    let Some(server) = Xandikos::start() else { return };
    follow("Xandikos", &server).await;
}

async fn follow(name: &str, server: &DavServer) {
    let Some(client) = OtherClient::of(server) else { return };
    let (events, rounds, changes) = Size::of_this_run().pick((300, 3, 20), (1_000, 10, 20));
    let Some(generated) = generated_events("first", events).await.unwrap() else { return };
    let calendars = [server.create_calendar("work"), server.create_calendar("home")];
    server.fill(&calendars[0], generated.into_iter().map(|event| (event.href, event.ics)));
    let fleet = Fleet::solo(&reaching(&[port(&server.url())]));
    let solo = fleet.start("solo").await;

    let connection = fleet.connect(&server.url(), server.user(), server.password(), &[]).await;
    fleet.sync(&connection).await;
    let api = fleet.api(solo.url(), None).await;
    let mut compared = compare(&fleet, &api, &client, &calendars, &connection).await;

    for round in 0..rounds {
        let seed = format!("round-{round}");
        let done = client.change(&calendars[0], Some(&calendars[1]), &seed, changes).await.unwrap();
        assert_eq!(done.len(), changes as usize);
        fleet.sync(&connection).await;
        compared = compare(&fleet, &api, &client, &calendars, &connection).await;
    }

    eprintln!(
        "{name}: {events} events imported, {rounds} rounds of {changes} changes followed; {compared} instances are equal at the end"
    );
}

/// Compares the store with the server, and gives how many instances were equal.
async fn compare(
    fleet: &Fleet,
    api: &Api,
    client: &OtherClient,
    calendars: &[String],
    connection: &str,
) -> usize {
    let mut held: Vec<(String, Object)> = Vec::new();
    for calendar in calendars {
        let name = calendar.trim_end_matches('/').rsplit('/').next().unwrap();
        held.extend(client.dump(calendar).await.unwrap().into_iter().map(|object| (name.to_owned(), object)));
    }
    let status = fleet.connection(connection).await;
    assert!(["healthy", "syncing"].contains(&status["health"].as_str().unwrap()), "{status}");

    let shown = fleet.events(connection).await;
    let at_server: BTreeSet<Item> = held.iter().map(item).collect();
    assert_eq!(at_server.len(), held.len());
    assert_same("items", &stored_items(&shown, &status), &at_server);
    assert_eq!(shown.len(), held.len(), "an event is stored twice");
    let served = api.all(&format!("/events?connection={connection}&limit=150")).await;
    assert!(by_id(&served) == by_id(&shown), "the API and the command line show different events");

    let theirs = expected(&held).await;
    let ours = fleet
        .admin(&[
            "events",
            "--instances",
            "--connection",
            connection,
            "--from",
            &format!("{}-01-01", YEARS.start),
            "--to",
            &format!("{}-01-01", YEARS.end),
            "--limit",
            "10000000",
        ])
        .await;
    let ours = ours.as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let uids = shown.iter().map(|event| (text(&event["id"]), text(&event["ical_uid"]))).collect();
    let stored = ours.iter().map(|one| of_store(one, &uids)).collect();
    assert_same("instances", &stored, &theirs.iter().map(of_oracle).collect());
    assert_eq!(ours.len(), theirs.len(), "an instance comes twice");
    compare_titles(ours, &theirs, &uids);
    compare_a_year(api, connection, ours).await;
    theirs.len()
}

/// What the API pages through for one year is what the command line printed of it.
async fn compare_a_year(api: &Api, connection: &str, all: &[Value]) {
    let (from, to) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let path = format!("/instances?from={from}&to={to}&connection={connection}&limit=1000");
    let paged: BTreeSet<String> = api.all(&path).await.iter().map(Value::to_string).collect();

    let within = |instance: &&Value| {
        let (start, end) = (instance["starts_at"].as_str().unwrap(), instance["ends_at"].as_str().unwrap());
        start < to && (end > from || (start == end && start >= from))
    };
    let printed: BTreeSet<String> = all.iter().filter(within).map(Value::to_string).collect();
    assert_same("instances of a year", &paged, &printed);
}

/// What the oracle says of every object.
async fn expected(held: &[(String, Object)]) -> Vec<Instance> {
    let items: Vec<_> = held.iter().map(|(_, object)| (object.href.clone(), object.ics.clone())).collect();
    let (from, to) = (midnight(YEARS.start), midnight(YEARS.end));
    let found = expand(&items, from, to).await.unwrap().expect("python-dateutil beside python-caldav");
    let failed: Vec<_> = found.iter().filter(|one| one.error.is_some()).collect();
    assert!(failed.is_empty(), "the oracle cannot read {failed:?}");
    found.into_iter().flat_map(|one| one.instances).collect()
}

fn of_oracle(one: &Instance) -> Occurrence {
    let form = match one.form {
        Form::Date => "date",
        Form::Floating => "floating",
        Form::Utc => "utc",
        Form::Zoned => "zoned",
    };
    Occurrence {
        uid: one.uid.clone(),
        recurrence_id: one.recurrence_id.clone(),
        form,
        start: one.start,
        end: one.end,
        status: one.status.to_lowercase(),
        is_override: one.is_override,
    }
}

fn of_store(one: &Value, uids: &HashMap<String, String>) -> Occurrence {
    let start = &one["start"];
    let form = match (start["date"].is_string(), start["time_zone"].as_str()) {
        (true, _) => "date",
        (false, None) => "floating",
        (false, Some("UTC")) => "utc",
        (false, Some(_)) => "zoned",
    };
    let id = |text: &str| text.trim_end_matches('Z').to_owned();
    Occurrence {
        uid: uids[one["event_id"].as_str().unwrap()].clone(),
        recurrence_id: one["recurrence_id"].as_str().map(id),
        form,
        start: instant(&one["starts_at"]),
        end: instant(&one["ends_at"]),
        status: one["status"].as_str().unwrap().to_owned(),
        is_override: one["is_override"].as_bool().unwrap(),
    }
}

/// Every title that is shown is the one of that instance; the others say nothing.
fn compare_titles(ours: &[Value], theirs: &[Instance], uids: &HashMap<String, String>) {
    let known: HashSet<(&str, i64, &str)> =
        theirs.iter().map(|one| (one.uid.as_str(), one.start, one.summary.as_str())).collect();
    for one in ours {
        let title = one["title"].as_str().unwrap_or_default();
        if one["is_reduced"] == true {
            assert_eq!(title, "Busy");
            continue;
        }
        let uid = &uids[one["event_id"].as_str().unwrap()];
        assert!(known.contains(&(uid, instant(&one["starts_at"]), title)), "{one}");
    }
}

fn item((calendar, object): &(String, Object)) -> Item {
    (calendar.clone(), file_name(&object.href), object.uid.clone().unwrap())
}

fn stored_items(shown: &[Value], connection: &Value) -> BTreeSet<Item> {
    let calendars = connection["calendars"].as_array().unwrap();
    let name = |id: &Value| {
        let found = calendars.iter().find(|calendar| calendar["id"] == *id).unwrap();
        found["name"].as_str().unwrap().to_owned()
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let item = |event: &Value| {
        (name(&event["calendar_id"]), file_name(&text(&event["provider_event_id"])), text(&event["ical_uid"]))
    };
    shown.iter().map(item).collect()
}

fn file_name(href: &str) -> String {
    href.rsplit('/').next().unwrap().replace("%40", "@")
}

fn by_id(events: &[Value]) -> BTreeMap<String, &Value> {
    events.iter().map(|event| (event["id"].as_str().unwrap().to_owned(), event)).collect()
}

/// Fails with the differences only: the sets are large.
fn assert_same<T: Ord + std::fmt::Debug>(what: &str, ours: &BTreeSet<T>, theirs: &BTreeSet<T>) {
    let missing: Vec<_> = theirs.difference(ours).take(5).collect();
    let surplus: Vec<_> = ours.difference(theirs).take(5).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "{what}: {} here, {} there; missing {missing:#?}, too many {surplus:#?}",
        ours.len(),
        theirs.len()
    );
}

fn instant(value: &Value) -> i64 {
    DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap().timestamp_millis()
}

fn midnight(year: i32) -> i64 {
    NaiveDate::from_yo_opt(year, 1).unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_millis()
}
