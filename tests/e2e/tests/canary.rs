//! Canaries: a secret that appears in the clear nowhere, and titles that no log repeats, at the most verbose level
//! and in any usual encoding (law 22).

use std::path::Path;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use calfleet_harness::{Postgres, Redis};
use calfleet_sandbox::{AccountSpec, CalendarSpec, FeedSpec, Sandbox};

use crate::fleet::{Fleet, Program, database, reaching};
use crate::provider::{an_event, start};

const PASSWORD: &str = "pelican~Quartz/7731";
const TITLE: &str = "Kingfisher-Obsidian-4417";
const GUEST: &str = "cormorant-basalt-2086@example.com";
const FEED: &str = "heron-marble-9954";

/// A text in the encodings in which it might escape: as it is, percent-encoded, hexadecimal, base64 at any offset.
fn spellings(text: &str) -> Vec<String> {
    let digit = |digit: u8| char::from_digit(digit.into(), 16).unwrap();
    let hex = |bytes: &[u8]| -> String {
        bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect()
    };
    let percent = text.replace('~', "%7E").replace('/', "%2F").replace('@', "%40");
    let mut spellings =
        vec![text.to_owned(), percent, hex(text.as_bytes()), hex(text.as_bytes()).to_uppercase()];
    for offset in 0..3 {
        let shifted = [&vec![b'x'; offset], text.as_bytes()].concat();
        for engine in [BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD] {
            // Without the letters that depend on what stands before and after.
            let whole = engine.encode(&shifted);
            spellings.push(whole.get([0, 2, 3][offset]..whole.len() - 1).unwrap().to_owned());
        }
    }
    spellings
}

fn assert_silent(what: &str, bytes: &[u8], canaries: &[&str]) {
    for canary in canaries {
        for spelling in spellings(canary) {
            let found = bytes.windows(spelling.len()).position(|window| window == spelling.as_bytes());
            if let Some(at) = found {
                let around = &bytes[at.saturating_sub(300)..bytes.len().min(at + 100)];
                panic!("{canary} appears in {what} as {spelling}: {}", String::from_utf8_lossy(around));
            }
        }
    }
}

fn fill(sandbox: &Sandbox) {
    let spec = AccountSpec::new("ada", PASSWORD).calendar(CalendarSpec::new("work").titled("Work"));
    sandbox.create_account(spec).unwrap();
    let guest = format!("ORGANIZER:mailto:ada@example.com\r\nATTENDEE:mailto:{GUEST}\r\n");
    for number in 0..5 {
        let event = an_event(&format!("{number}@example.com"), TITLE, &guest);
        sandbox.put("ada", "work", &format!("{number}.ics"), &event).unwrap();
    }
    sandbox.set_feed(FEED, FeedSpec::default());
    sandbox.put_in_feed(FEED, "one", &an_event("one@example.com", TITLE, &guest)).unwrap();
}

/// Everything that touches the secret and the titles: connect, sync, a wrong password, a probe, every list.
async fn live(fleet: &Fleet, sandbox: &Sandbox, api_at: &Program) -> Vec<u8> {
    let mut written = Vec::new();
    let mut run = async |arguments: &[&str], input: &str| {
        let output = fleet.run(fleet.settings(), arguments, input).await;
        written.extend(output.stderr);
        output.stdout
    };
    let login = ["connect", "caldav", sandbox.url(), "--username", "ada"];
    let connected = run(&login, &format!("{PASSWORD}\n")).await;
    let connected: serde_json::Value = serde_json::from_slice(&connected).unwrap();
    let connection = connected["connection"].as_str().unwrap();
    run(&login, &format!("{PASSWORD} but wrong\n")).await;
    let feed = format!("{}/feeds/{FEED}.ics", sandbox.url());
    run(&["connect", "feed", &feed], "").await;
    run(&["sync", connection, "--wait", "3m"], "").await;
    let printed = [run(&["probe", connection], "").await, run(&["list"], "").await].concat();
    assert_silent("what commands print", &printed, &[PASSWORD]);
    assert!(String::from_utf8_lossy(&run(&["events"], "").await).contains(TITLE));
    let api = fleet.api(api_at.url(), None).await;
    assert_eq!(api.all("/events?limit=100").await.len(), 6);
    assert_silent("the API", api.get("/connections").await.to_string().as_bytes(), &[PASSWORD]);
    written
}

fn files_in(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect()
}

fn is_log(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "log")
}

#[test]
fn a_canary_is_found_in_whatever_it_is_wrapped() {
    for user in ["ada", "adal", "adalo"] {
        let header = BASE64_STANDARD_NO_PAD.encode(format!("{user}:{PASSWORD}"));
        let found = std::panic::catch_unwind(|| assert_silent("a header", header.as_bytes(), &[PASSWORD]));
        assert!(found.is_err(), "{header}");
    }
    assert_silent("another text", b"pelican Quartz", &[PASSWORD]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_solo_installation_keeps_the_password_out_of_every_file_and_titles_out_of_every_log() {
    let sandbox = start().await;
    fill(&sandbox);
    let mut settings = reaching(&[sandbox.address().port()]);
    settings.push(("telemetry.log_filter", "trace".to_owned()));
    let fleet = Fleet::solo(&settings);
    let solo = fleet.start("solo").await;

    let written = live(&fleet, &sandbox, &solo).await;

    assert!(solo.log().contains("\"TRACE\""), "the log is not at its most verbose");
    assert!(solo.drain().success());
    assert_silent("what commands log", &written, &[PASSWORD, TITLE, GUEST, FEED]);
    let files = files_in(fleet.folder());
    assert!(files.iter().any(|path| path.ends_with("calfleet.db")));
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let canaries: &[&str] = if is_log(&path) { &[PASSWORD, TITLE, GUEST, FEED] } else { &[PASSWORD] };
        assert_silent(&path.display().to_string(), &bytes, canaries);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_keeps_the_password_out_of_postgres_and_redis_and_titles_out_of_logs_and_the_queue() {
    let (Some(postgres), Some(redis)) = (Postgres::shared(), Redis::start()) else { return };
    let (database, sandbox) = (database(postgres).await, start().await);
    fill(&sandbox);
    let mut settings = reaching(&[sandbox.address().port()]);
    settings.push(("telemetry.log_filter", "trace".to_owned()));
    let fleet = Fleet::full(&database, &redis, &settings);
    let (scheduler, worker) = (fleet.start("scheduler").await, fleet.start("worker").await);

    let written = live(&fleet, &sandbox, &scheduler).await;

    let logs = [written, scheduler.log().into_bytes(), worker.log().into_bytes()].concat();
    assert_silent("the logs", &logs, &[PASSWORD, TITLE, GUEST, FEED]);
    let tables = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").unwrap();
    for table in tables.lines() {
        let rows = database.execute(&format!("SELECT * FROM {table}")).unwrap();
        assert_silent(table, rows.as_bytes(), &[PASSWORD]);
    }
    assert!(scheduler.drain().success() && worker.drain().success());
}
