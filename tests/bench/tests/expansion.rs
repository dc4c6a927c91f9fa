//! Instances a second over the corpus and over generated calendars, beside python-dateutil; and what reading an
//! event and hashing it cost.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use calfleet_domain::clock::Timestamp;
use calfleet_domain::ics::{self, Item, Limits};
use calfleet_domain::model::Event;
use calfleet_domain::reconcile::version;
use calfleet_domain::recurrence::{Budget, expand};
use calfleet_harness::requirement::{Program, is_available};
use calfleet_harness::{python_interpreter, repository_root};
use chrono_tz::Tz;
use serde::Deserialize;

use crate::figure::{Bound, figure, median, number};
use crate::samples;

/// 2024-01-01 to 2034-01-01.
const TEN_YEARS: (i64, i64) = (1_704_067_200_000, 2_019_686_400_000);
const GENERATED: usize = 2_000;
const ROUNDS: usize = 5;

/// Expands with the oracle's own functions, and counts the time inside it: the start of the interpreter and the
/// loading of its libraries are not in it.
const PYTHON: &str = r#"
import json, sys, time
sys.path.insert(0, "tests/oracle")
import expand as oracle
from icalendar import Calendar
job = json.load(sys.stdin)
begin, end = (oracle.EPOCH + oracle.timedelta(milliseconds=job[name]) for name in ("from", "to"))
answer = {"names": [], "instances": 0, "reading": 1e9, "expanding": 1e9}
for round in range(job["rounds"] + 1):
    reading = expanding = 0.0
    for name, text in job["items"]:
        if round > 0 and name not in answer["names"]:
            continue
        try:
            start = time.perf_counter()
            by_uid = {}
            lengths = iter(oracle.durations(text))
            for calendar in Calendar.from_ical(text, multiple=True):
                for component in calendar.walk("VEVENT"):
                    by_uid.setdefault(str(component.get("UID", "")), []).append((component, next(lengths, None)))
            read = time.perf_counter()
            found = sum(len(oracle.expand_series(uid, parts, begin, end)) for uid, parts in by_uid.items())
            reading += read - start
            expanding += time.perf_counter() - read
        except Exception:
            continue
        if round == 0:
            answer["names"].append(name)
            answer["instances"] += found
    if round > 0:
        answer["reading"] = min(answer["reading"], reading)
        answer["expanding"] = min(answer["expanding"], expanding)
print(json.dumps(answer))
"#;

/// What the oracle did, best of its rounds, in seconds.
#[derive(Debug, Deserialize)]
struct Oracle {
    /// What it could expand; only that is compared.
    names: Vec<String>,
    instances: usize,
    reading: f64,
    expanding: f64,
}

#[tokio::test]
#[ignore = "measures; run with --release"]
async fn expansion_over_ten_years() {
    if !is_available(Program::Dateutil) {
        return;
    }
    compare("corpus", corpus());
    let generated = samples::resources(GENERATED).await;
    compare("generated", generated.into_iter().map(|one| (one.name, one.body.to_string())).collect());
}

#[tokio::test]
#[ignore = "measures; run with --release"]
async fn reading_and_hashing_of_events() {
    let texts = samples::resources(GENERATED).await;
    let bytes: usize = texts.iter().map(|text| text.body.len()).sum();
    let each = |took: Duration| took.as_secs_f64() * 1e6 / number(GENERATED);
    let (mut reading, mut hashing, mut comparing) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let events: Vec<Event> = texts.iter().flat_map(|text| events(text.body.as_bytes())).collect();
        reading.push(each(began.elapsed()));
        let copies = events.clone();
        let began = Instant::now();
        let versions: Vec<_> = events.iter().map(version::of).collect();
        hashing.push(each(began.elapsed()));
        let began = Instant::now();
        assert!(events.iter().zip(&copies).all(|(one, other)| version::is_same(one, other)));
        comparing.push(each(began.elapsed()));
        assert_eq!(versions.len(), GENERATED);
    }
    figure("event.bytes", number(bytes / GENERATED), "bytes", Bound::None);
    figure("event.read", median(reading), "us", Bound::None);
    figure("event.version", median(hashing), "us", Bound::AtMost(10.0));
    figure("event.is_same", median(comparing), "us", Bound::None);
}

/// Files of the corpus, by name; as text, because the oracle takes no bytes.
fn corpus() -> Vec<(String, String)> {
    let folder: PathBuf = repository_root().join("tests/data/ics");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ics"))
        .map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                String::from_utf8_lossy(&bytes).into_owned(),
            )
        })
        .collect();
    files.sort();
    files
}

fn compare(name: &str, mut items: Vec<(String, String)>) {
    let oracle = oracle(&items);
    items.retain(|(name, _)| oracle.names.contains(name));
    let (mut reading, mut expanding, mut found) = (f64::INFINITY, f64::INFINITY, 0);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let events: Vec<Event> = items.iter().flat_map(|(_, text)| events(text.as_bytes())).collect();
        reading = reading.min(began.elapsed().as_secs_f64());
        let began = Instant::now();
        found = events.iter().map(instances).sum();
        expanding = expanding.min(began.elapsed().as_secs_f64());
    }
    let name = |what: &str| format!("expansion.{name}.{what}");
    figure(&name("objects"), number(items.len()), "objects", Bound::None);
    figure(&name("instances"), number(found), "instances", Bound::None);
    figure(&name("instances_dateutil"), number(oracle.instances), "instances", Bound::None);
    figure(&name("rate"), number(found) / expanding, "instances/s", Bound::None);
    figure(&name("rate_dateutil"), number(oracle.instances) / oracle.expanding, "instances/s", Bound::None);
    figure(&name("times_dateutil"), oracle.expanding / expanding, "x as fast", Bound::None);
    figure(&name("reading_times_icalendar"), oracle.reading / reading, "x as fast", Bound::None);
}

fn oracle(items: &[(String, String)]) -> Oracle {
    let job = serde_json::json!({
        "from": TEN_YEARS.0, "to": TEN_YEARS.1, "rounds": ROUNDS, "items": items,
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.json");
    std::fs::write(&file, job.to_string()).unwrap();
    let output = Command::new(python_interpreter())
        .args(["-c", PYTHON])
        .current_dir(repository_root())
        .envs([("PYTHONTZPATH", ""), ("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONWARNINGS", "ignore")])
        .stdin(std::fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn events(text: &[u8]) -> Vec<Event> {
    let document = ics::read(&ics::decode(text), None, &Limits::default()).unwrap();
    let read = |item| match item {
        Item::Read(object) => Some(object.event),
        Item::Unreadable { .. } => None,
    };
    document.items.into_iter().filter_map(read).collect()
}

fn instances(event: &Event) -> usize {
    let window = Timestamp(TEN_YEARS.0).to_utc().unwrap()..Timestamp(TEN_YEARS.1).to_utc().unwrap();
    let budget = Budget { instances: 1_000_000, ..Budget::default() };
    expand(event, window, Tz::UTC, &budget).instances.len()
}
