//! Programs that we did not write, asked about the same calendars.
//!
//! [`expand`] gives the instances of calendar objects (python-dateutil), [`OtherClient`] works on a server beside us
//! (python-caldav). Both are the scripts in `tests/oracle`, started as children, told everything on the command line
//! and standard input, answering in JSON lines. What they do follows from the seed alone.

use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::dav::DavServer;
use crate::python::{interpreter, repository_root};
use crate::requirement::{Program, is_available};

/// How a time was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A calendar day.
    Date,
    /// A wall time without zone.
    Floating,
    /// An instant in UTC.
    Utc,
    /// A wall time in a zone.
    Zoned,
}

/// One instance of an event, as the oracle sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct Instance {
    /// The UID.
    pub uid: String,
    /// The original start as `20260302` or `20260302T093000` in the series' zone; `None` for a single event.
    pub recurrence_id: Option<String>,
    /// How the start was written.
    pub form: Form,
    /// Milliseconds since 1970 UTC; dates and floating times counted as if they were UTC.
    pub start: i64,
    /// The exclusive end, counted likewise.
    pub end: i64,
    /// SUMMARY, empty when absent.
    pub summary: String,
    /// STATUS in upper case, `CONFIRMED` when absent. Cancelled instances of a series are not listed at all.
    pub status: String,
    /// Whether an override stands for it.
    pub is_override: bool,
}

/// What the oracle says about one object.
#[derive(Debug, Clone, Deserialize)]
pub struct Expansion {
    /// The name under which the object was given.
    pub name: String,
    /// Its instances by start, UID, end; empty beside an error.
    #[serde(default)]
    pub instances: Vec<Instance>,
    /// Why the oracle has no opinion: it could not read the object, or does not know one of its features.
    pub error: Option<String>,
}

/// The instances that overlap `[from, to)`, in milliseconds, of each (name, text), in the order given.
///
/// `None`: not installed.
///
/// # Errors
/// When the script fails as a whole; an object that it cannot read has its own `error`.
pub async fn expand(
    items: &[(String, String)],
    from: i64,
    to: i64,
) -> anyhow::Result<Option<Vec<Expansion>>> {
    if !is_available(Program::Dateutil) {
        return Ok(None);
    }
    let items: Vec<_> =
        items.iter().map(|(name, ics)| serde_json::json!({"name": name, "ics": ics})).collect();
    let job = serde_json::json!({"from": from, "to": to, "items": items}).to_string();
    run("expand.py", &[], &[], job).await.map(Some)
}

/// What the other client did.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Done {
    /// `create`, `edit`, `edit guests`, `move`, `move instance`, `cancel instance`, `delete` or `transfer`.
    pub operation: String,
    /// The object's file name in the calendar.
    pub name: String,
}

/// An object as a server holds it, or as the generator made it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Object {
    /// As the server spells it; of a generated object the file name.
    pub href: String,
    /// With its quotes; `None` for a generated object.
    pub etag: Option<String>,
    /// Of the first VEVENT; `None` when there is none.
    pub uid: Option<String>,
    /// The text.
    pub ics: String,
}

/// Generated events: singles, series with overrides, all zones and forms; the same seed gives the same bytes.
///
/// `None`: not installed.
///
/// # Errors
/// When the script fails.
pub async fn generated_events(seed: &str, count: u32) -> anyhow::Result<Option<Vec<Object>>> {
    if !is_available(Program::PythonCaldav) {
        return Ok(None);
    }
    let count = count.to_string();
    run("other_client.py", &["print", "--seed", seed, "--count", &count], &[], String::new()).await.map(Some)
}

/// Another client of one server.
#[derive(Debug, Clone)]
pub struct OtherClient {
    user: String,
    password: String,
}

impl OtherClient {
    /// A client with the server's own user. `None`: not installed.
    pub fn of(server: &DavServer) -> Option<Self> {
        Self::with_credentials(server.user(), server.password())
    }

    /// A client for any server. `None`: not installed.
    pub fn with_credentials(user: &str, password: &str) -> Option<Self> {
        is_available(Program::PythonCaldav)
            .then(|| Self { user: user.to_owned(), password: password.to_owned() })
    }

    /// Stores `count` generated events in the calendar at this URL.
    ///
    /// # Errors
    /// When the server refuses one.
    pub async fn generate(&self, calendar: &str, seed: &str, count: u32) -> anyhow::Result<Vec<Done>> {
        self.run(&["generate", calendar, "--seed", seed, "--count", &count.to_string()]).await
    }

    /// Does `count` random creates, edits, moves and deletes; with a second calendar some events go over to it.
    ///
    /// # Errors
    /// When the server refuses one.
    pub async fn change(
        &self,
        calendar: &str,
        second: Option<&str>,
        seed: &str,
        count: u32,
    ) -> anyhow::Result<Vec<Done>> {
        let count = count.to_string();
        let mut arguments = vec!["change", calendar, "--seed", seed, "--count", &count];
        if let Some(second) = second {
            arguments.extend(["--second", second]);
        }
        self.run(&arguments).await
    }

    /// Everything that the calendar holds, by href.
    ///
    /// # Errors
    /// When the server refuses, or leaves one out.
    pub async fn dump(&self, calendar: &str) -> anyhow::Result<Vec<Object>> {
        self.run(&["dump", calendar]).await
    }

    async fn run<T: DeserializeOwned>(&self, arguments: &[&str]) -> anyhow::Result<Vec<T>> {
        let credentials = [("USER", self.user.as_str()), ("PASSWORD", self.password.as_str())];
        run("other_client.py", arguments, &credentials, String::new()).await
    }
}

async fn run<T: DeserializeOwned>(
    script: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
    input: String,
) -> anyhow::Result<Vec<T>> {
    let mut child = Command::new(interpreter())
        .arg(repository_root().join("tests/oracle").join(script))
        .args(arguments)
        .envs(environment.iter().copied())
        // The zones of the pinned `tzdata` package, not those of the machine; no compiled files in the tree.
        .envs([("PYTHONTZPATH", ""), ("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONWARNINGS", "ignore")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {script}"))?;
    let mut pipe = child.stdin.take().context("the input of the script")?;
    let feed = async {
        // A script that died is reported by its status.
        drop(pipe.write_all(input.as_bytes()).await);
        drop(pipe);
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output?;
    if !output.status.success() {
        bail!("{script} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("read {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Radicale, Xandikos};

    /// 2025-01-01 and 2035-01-01.
    const TEN_YEARS: (i64, i64) = (1_735_689_600_000, 2_051_222_400_000);

    async fn expanded(ics: &str) -> Option<Expansion> {
        let items = [("one".to_owned(), ics.to_owned())];
        expand(&items, TEN_YEARS.0, TEN_YEARS.1).await.unwrap().map(|mut found| found.remove(0))
    }

    fn event(lines: &str) -> String {
        format!(
            "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:test\nBEGIN:VEVENT\nUID:u\nDTSTAMP:20260101T000000Z\n{lines}\n\
             END:VEVENT\nEND:VCALENDAR\n"
        )
    }

    #[tokio::test]
    async fn a_start_in_a_gap_is_shifted_and_one_in_an_overlap_is_the_first() {
        let gap =
            event("DTSTART;TZID=Europe/Paris:20260328T023000\nDURATION:PT30M\nRRULE:FREQ=DAILY;COUNT=2");
        let overlap = event("DTSTART;TZID=Europe/Paris:20261025T023000\nDURATION:PT30M");

        let Some(gap) = expanded(&gap).await else { return };
        let overlap = expanded(&overlap).await.unwrap();

        let starts: Vec<_> = gap.instances.iter().map(|one| one.start).collect();
        assert_eq!(starts, [1_774_661_400_000, 1_774_747_800_000]);
        assert_eq!(overlap.instances[0].start, 1_792_888_200_000);
    }

    #[tokio::test]
    async fn a_nominal_day_and_24_hours_differ_over_a_change_of_offset() {
        let nominal = event("DTSTART;TZID=Europe/Paris:20260328T120000\nDURATION:P1D");
        let exact = event("DTSTART;TZID=Europe/Paris:20260328T120000\nDURATION:PT24H");

        let Some(nominal) = expanded(&nominal).await else { return };
        let exact = expanded(&exact).await.unwrap();

        assert_eq!(exact.instances[0].end - nominal.instances[0].end, 3_600_000);
    }

    #[tokio::test]
    async fn an_object_that_cannot_be_read_has_an_error_of_its_own() {
        let Some(broken) = expanded("BEGIN:VEVENT\nDTSTART:never").await else { return };

        assert!(broken.error.is_some());
        assert!(broken.instances.is_empty());
    }

    #[tokio::test]
    async fn a_filled_calendar_holds_what_was_generated() {
        let (Some(radicale), Some(xandikos)) = (Radicale::start(), Xandikos::start()) else { return };
        let Some(events) = generated_events("seed", 200).await.unwrap() else { return };
        for server in [radicale, xandikos] {
            let client = OtherClient::of(&server).unwrap();
            let calendar = server.create_calendar("work");

            server.fill(&calendar, events.iter().map(|event| (event.href.clone(), event.ics.clone())));

            let held = client.dump(&calendar).await.unwrap();
            assert!(held.iter().map(|object| &object.uid).eq(events.iter().map(|event| &event.uid)));
        }
    }

    #[tokio::test]
    async fn the_other_client_leaves_the_same_meaning_on_radicale_and_xandikos() {
        let (Some(radicale), Some(xandikos)) = (Radicale::start(), Xandikos::start()) else { return };
        let mut meanings = Vec::new();
        for server in [radicale, xandikos] {
            let Some(client) = OtherClient::of(&server) else { return };
            let (calendar, second) = (server.create_calendar("work"), server.create_calendar("home"));

            client.generate(&calendar, "seed", 40).await.unwrap();
            let done = client.change(&calendar, Some(&second), "seed", 30).await.unwrap();
            assert_eq!(done.len(), 30);

            let mut held = client.dump(&calendar).await.unwrap();
            held.extend(client.dump(&second).await.unwrap());
            assert!(held.iter().all(|object| object.etag.is_some()));
            let items: Vec<_> = held.into_iter().map(|object| (object.uid.unwrap(), object.ics)).collect();
            let mut found = expand(&items, TEN_YEARS.0, TEN_YEARS.1).await.unwrap().unwrap();
            found.sort_by(|one, other| one.name.cmp(&other.name));
            assert!(found.iter().all(|one| one.error.is_none()));
            meanings.push(found.into_iter().flat_map(|one| one.instances).collect::<Vec<_>>());
        }

        assert!(meanings[0].len() > 200);
        assert!(meanings[0] == meanings[1]);
    }
}
