//! A fleet of real processes for one test: the executable, configured by its environment, on a database of its own.
//!
//! Every program listens on a port that the system gives it and says which in its log. Programs end with the
//! value that holds them, and with the test process however that dies.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use calfleet_harness::{Database, Postgres, Process, Redis, wait_until};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::api_client::{Api, get};

/// How long anything may take before a test gives up; generous, because many tests share two cores.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// A master key of the vault; the same for all programs of a fleet.
const KEY: &str = "test:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=";

/// The role with which the product logs in to Postgres.
const ROLE: &str = "calfleet";

/// The executable, which cargo puts into the folder above that of the test's own.
///
/// `cargo test --workspace` builds it; a run of this package alone does not.
pub(crate) fn executable() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let found = test.ancestors().nth(2).unwrap().join("calfleet");
    assert!(
        found.is_file(),
        "{} is missing: run `cargo build -p calfleet` (with --release for a release test) first",
        found.display()
    );
    found
}

/// Where a fleet keeps what it knows, and how its programs are configured.
#[derive(Debug)]
pub(crate) struct Fleet {
    folder: TempDir,
    settings: Vec<(String, String)>,
    started: AtomicU32,
}

impl Fleet {
    /// One SQLite file, for `solo`; `settings` are keys of the configuration with values as the environment has
    /// them.
    pub(crate) fn solo(settings: &[(&str, String)]) -> Self {
        let folder = tempfile::Builder::new().prefix("calfleet-e2e-").tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("calfleet.db").display());
        Self::with(folder, [("database.url", url)].iter().chain(settings))
    }

    /// A migrated database of Postgres and a Redis, for schedulers and workers.
    pub(crate) fn full(database: &Database<'_>, redis: &Redis, settings: &[(&str, String)]) -> Self {
        let folder = tempfile::Builder::new().prefix("calfleet-e2e-").tempdir().unwrap();
        let prefix: String = redis.key_prefix().chars().filter(char::is_ascii_alphanumeric).collect();
        let base = [
            ("database.url", database.url_as(ROLE)),
            ("queue.url", redis.url()),
            ("queue.prefix", format!("{prefix}-{}", database.name().replace('_', "-"))),
        ];
        Self::with(folder, base.iter().chain(settings))
    }

    fn with<'a>(folder: TempDir, settings: impl Iterator<Item = &'a (&'a str, String)>) -> Self {
        let base = [
            ("vault.keys", KEY.to_owned()),
            ("api.listen", "127.0.0.1:0".to_owned()),
            ("api.worker_listen", "127.0.0.1:0".to_owned()),
            ("telemetry.log_format", "json".to_owned()),
            ("database.max_connections", "6".to_owned()),
        ];
        let base = base.iter().map(|(key, value)| variable(key, value));
        let settings = base.chain(settings.map(|(key, value)| variable(key, value))).collect();
        Self { folder, settings, started: AtomicU32::new(0) }
    }

    /// The same fleet as others see it who are configured differently.
    pub(crate) fn settings_but(&self, changed: &[(&str, &str)]) -> Vec<(String, String)> {
        let changed: Vec<_> = changed.iter().map(|(key, value)| variable(key, value)).collect();
        let kept = self.settings.iter().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
        kept.chain(&changed).cloned().collect()
    }

    /// Its own folder, with the SQLite file and the logs.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts `solo`, `scheduler` or `worker`, and waits until it is ready.
    pub(crate) async fn start(&self, command: &str) -> Program {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder().join(format!("{command}-{number}"));
        std::fs::create_dir(&folder).unwrap();
        let mut arguments: Vec<OsString> = vec!["env".into()];
        arguments.extend(self.settings.iter().map(|(name, value)| format!("{name}={value}").into()));
        arguments.extend([executable().into(), command.into()]);
        let process = Process::start(&folder, "TERM", &arguments).unwrap();
        let mut program = Program { process, log: folder.join("log"), url: String::new() };
        program.wait_ready().await;
        program
    }

    /// What an `admin` command prints with `--json`; it must end well.
    pub(crate) async fn admin(&self, arguments: &[&str]) -> Value {
        self.admin_with(arguments, "").await
    }

    /// The same with standard input.
    pub(crate) async fn admin_with(&self, arguments: &[&str], input: &str) -> Value {
        let output = self.run(&self.settings, arguments, input).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "admin {arguments:?}: {errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        let last = text.lines().last().unwrap_or_else(|| panic!("admin {arguments:?} printed nothing"));
        serde_json::from_str(last).unwrap()
    }

    /// Runs `admin … --json` under other settings, whatever comes of it.
    pub(crate) async fn run(&self, settings: &[(String, String)], arguments: &[&str], input: &str) -> Output {
        let mut command = tokio::process::Command::new(executable());
        let mut child = command
            .arg("admin")
            .args(arguments)
            .arg("--json")
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // A program that does not read its input has closed it.
        drop(pipe.write_all(input.as_bytes()).await);
        drop(pipe);
        child.wait_with_output().await.unwrap()
    }

    /// What an `admin` command prints for people, on both streams; it must end well.
    pub(crate) async fn shown(&self, arguments: &[&str]) -> String {
        let mut command = tokio::process::Command::new(executable());
        let settings = self.settings.iter().map(|(name, value)| (name, value));
        command.arg("admin").args(arguments).envs(settings).current_dir(self.folder());
        let output = command.output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(output.status.success(), "admin {arguments:?}: {text}");
        text
    }

    /// The settings of this fleet, as [`Self::run`] takes them.
    pub(crate) fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// Connects a CalDAV account and gives the connection's id. `options` are more arguments.
    pub(crate) async fn connect(&self, url: &str, user: &str, password: &str, options: &[&str]) -> String {
        let mut arguments = vec!["connect", "caldav", url, "--username", user];
        arguments.extend(options);
        let answer = self.admin_with(&arguments, &format!("{password}\n")).await;
        answer["connection"].as_str().unwrap().to_owned()
    }

    /// Makes organizations of these names.
    pub(crate) async fn organizations(&self, names: &[&str]) {
        for name in names {
            self.admin(&["organization", "create", name]).await;
        }
    }

    /// A client of the API at `url` with a key of its own for the only organization, or for the one named.
    pub(crate) async fn api(&self, url: &str, organization: Option<&str>) -> Api {
        let mut arguments = vec!["key", "create", "test"];
        arguments.extend(organization.iter().flat_map(|name| ["--organization", name]));
        let answer = self.admin(&arguments).await;
        Api::new(url, answer["key"].as_str().unwrap())
    }

    /// Asks for a sync and waits until every calendar was proven fresh after that.
    pub(crate) async fn sync(&self, connection: &str) {
        let patience = format!("{}s", PATIENCE.as_secs());
        self.admin(&["sync", connection, "--wait", &patience]).await;
    }

    /// A connection as `admin list` shows it.
    pub(crate) async fn connection(&self, id: &str) -> Value {
        let listed = self.admin(&["list"]).await;
        let found = listed.as_array().unwrap().iter().find(|connection| connection["id"] == id);
        found.unwrap_or_else(|| panic!("{id} is not listed")).clone()
    }

    /// Every event of a connection, as `admin events` prints them.
    pub(crate) async fn events(&self, connection: &str) -> Vec<Value> {
        let answer = self.admin(&["events", "--connection", connection, "--limit", "1000000"]).await;
        answer.as_array().unwrap().clone()
    }
}

/// A key of the configuration as the environment spells it.
fn variable(key: &str, value: &str) -> (String, String) {
    (format!("CALFLEET__{}", key.to_uppercase().replace('.', "__")), value.to_owned())
}

/// Settings that let a fleet reach servers of a test on these ports.
pub(crate) fn reaching(ports: &[u16]) -> Vec<(&'static str, String)> {
    vec![
        ("providers.http.allowed_networks", "[\"127.0.0.1/32\"]".to_owned()),
        ("providers.http.allowed_ports", format!("{ports:?}")),
    ]
}

/// A migrated database of the cluster. The executable itself migrates it.
pub(crate) async fn database(postgres: &Postgres) -> Database<'_> {
    let migrate = |url: String| async move {
        let mut command = tokio::process::Command::new(executable());
        let output = command.arg("migrate").env("CALFLEET__DATABASE__URL", url).output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "migrate: {errors}");
        Ok(())
    };
    postgres.database(migrate).await.unwrap()
}

/// A running program of a fleet.
#[derive(Debug)]
pub(crate) struct Program {
    process: Process,
    log: PathBuf,
    url: String,
}

impl Program {
    async fn wait_ready(&mut self) {
        let log = self.log.clone();
        self.process.wait_ready(|| address_in(&log).is_some()).unwrap();
        self.url = format!("http://{}", address_in(&self.log).unwrap());
        let url = format!("{}/readyz", self.url);
        let is_ready = holds(PATIENCE, async || get(&url).await.is_some_and(|(status, _)| status == 200));
        assert!(is_ready.await, "not ready: {}", self.log());
    }

    /// Where its API or its health pages are.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Ends it with SIGTERM and gives how it ended.
    pub(crate) fn drain(mut self) -> ExitStatus {
        self.process.stop().unwrap()
    }

    /// Sends it a signal by name, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name).unwrap();
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
    }
}

/// The address in the line that says where a program listens.
fn address_in(log: &Path) -> Option<String> {
    let text = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let says_where =
            line["message"].as_str()?.contains("running") || line["message"] == "health pages are served";
        if says_where { line["address"].as_str().map(str::to_owned) } else { None }
    })
}

/// Waits until something holds, for at most `patience`; whether it does.
pub(crate) async fn holds<F: Future<Output = bool>>(
    patience: Duration,
    mut check: impl FnMut() -> F,
) -> bool {
    let deadline = Instant::now() + patience;
    while !check().await {
        if Instant::now() > deadline {
            return false;
        }
        // Leaves the processor to the programs that are waited for.
        let next_look = Instant::now() + Duration::from_millis(50);
        wait_until(PATIENCE, || Instant::now() >= next_look).await;
    }
    true
}
