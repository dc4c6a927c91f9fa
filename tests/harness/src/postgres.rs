//! A real Postgres: one cluster per test binary, a database per test.
//!
//! Migrating takes seconds, so a cluster migrates one template and each test gets a copy of it. The harness does
//! not know the migrations: the first caller passes them in.

use std::ffi::OsString;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, bail};
use tokio::sync::OnceCell;

use crate::requirement::{Program, demand, is_available, runs};
use crate::server::{Ending, Recipe, Server};

/// The superuser of every cluster; it owns what migrations make.
const OWNER: &str = "postgres";

/// The migrated database that tests get copies of.
const TEMPLATE: &str = "calfleet_template";

/// Whether the cluster survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `fsync=off`: safe against the death of any process, and fast. For tests.
    Relaxed,
    /// As installed. For benchmarks, where the disk is part of what is measured.
    Full,
}

/// A Postgres cluster of the test's own, with trust authentication on 127.0.0.1.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    template: OnceCell<()>,
    databases: AtomicU32,
}

impl Postgres {
    /// The one cluster of this test binary. `None`: not installed.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: LazyLock<Option<Postgres>> = LazyLock::new(|| Postgres::start(Durability::Relaxed));
        SHARED.as_ref()
    }

    /// A cluster for one test, which may stop it. `None`: not installed.
    pub fn start(durability: Durability) -> Option<Self> {
        if !is_available(Program::Postgres) {
            return None;
        }
        let server = demand(Server::start(|folder, port| recipe(folder, port, durability)));
        Some(Self { server, template: OnceCell::new(), databases: AtomicU32::new(0) })
    }

    /// `postgres://postgres@127.0.0.1:…/{database}` as the owner, who may do everything.
    pub fn url(&self, database: &str) -> String {
        self.url_as(OWNER, database)
    }

    /// The same as a role that migrations made.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.server.port())
    }

    /// A new database, a copy of the one that `migrate` made when the first test of this cluster asked.
    ///
    /// `migrate` gets the URL of an empty database and must have closed its connections when it returns.
    ///
    /// # Errors
    /// When `migrate` fails, or Postgres is stopped.
    pub async fn database<M, F>(&self, migrate: M) -> anyhow::Result<Database<'_>>
    where
        M: FnOnce(String) -> F,
        F: Future<Output = anyhow::Result<()>>,
    {
        self.template
            .get_or_try_init(|| async {
                self.execute(&format!("DROP DATABASE IF EXISTS {TEMPLATE}"))?;
                self.execute(&format!("CREATE DATABASE {TEMPLATE}"))?;
                migrate(self.url(TEMPLATE)).await.context("migrate the template")
            })
            .await?;
        self.copy_of(TEMPLATE)
    }

    /// A new database without any table.
    ///
    /// # Errors
    /// When Postgres is stopped.
    pub fn empty_database(&self) -> anyhow::Result<Database<'_>> {
        self.copy_of("template1")
    }

    /// Runs statements as the owner, outside a transaction; gives what they print, unaligned, without headers.
    ///
    /// # Errors
    /// When a statement fails; the message is Postgres' own.
    pub fn execute(&self, sql: &str) -> anyhow::Result<String> {
        self.execute_in("postgres", sql)
    }

    /// The same inside one database.
    ///
    /// # Errors
    /// When a statement fails; the message is Postgres' own.
    pub fn execute_in(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let programs = programs().context("find psql")?;
        let output = Command::new(programs.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database), "-c", sql])
            .env("PGCONNECT_TIMEOUT", "20")
            .stdin(Stdio::null())
            .output()
            .context("run psql")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Ends the cluster: orderly is *immediate* (SIGQUIT, no checkpoint), as every restart of it must bear.
    ///
    /// `Ending::Kill` kills the postmaster alone; its backends notice within a second.
    pub fn stop(&self, ending: Ending) {
        demand(self.server.stop(ending));
    }

    /// Starts the stopped cluster on the same port and data; recovery included.
    pub fn start_again(&self) {
        demand(self.server.start_again());
    }

    /// The folder with the data, for tests that measure its size.
    pub fn folder(&self) -> &Path {
        self.server.folder()
    }

    fn copy_of(&self, template: &str) -> anyhow::Result<Database<'_>> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        // Copying files beats copying through the log only where nothing is flushed to disk.
        self.execute(&format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))?;
        Ok(Database { postgres: self, name })
    }
}

/// A database of one test, dropped with the value.
#[derive(Debug)]
pub struct Database<'a> {
    postgres: &'a Postgres,
    name: String,
}

impl Database<'_> {
    /// Its URL as the owner.
    pub fn url(&self) -> String {
        self.postgres.url(&self.name)
    }

    /// Its URL as another role, such as the one the product logs in with.
    pub fn url_as(&self, role: &str) -> String {
        self.postgres.url_as(role, &self.name)
    }

    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements as the owner; gives what they print, unaligned, without headers.
    ///
    /// # Errors
    /// When a statement fails; the message is Postgres' own.
    pub fn execute(&self, sql: &str) -> anyhow::Result<String> {
        self.postgres.execute_in(&self.name, sql)
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // Hundreds of copies would fill the disk; a cluster that is stopped takes its databases along anyway.
        drop(self.postgres.execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)));
    }
}

/// The folder with `initdb`, `postgres` and `psql`: on Debian not on the path.
pub(crate) fn programs() -> Option<&'static Path> {
    static FOUND: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let mut folders: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
            .unwrap_or_default();
        // The newest version first; an empty folder name means the path.
        folders.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
        folders.push(PathBuf::new());
        folders.into_iter().find(|folder| {
            ["initdb", "postgres", "psql"]
                .iter()
                .all(|name| runs(Command::new(folder.join(name)).arg("--version")))
        })
    });
    FOUND.as_deref()
}

fn version(folder: &Path) -> u32 {
    let name = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).unwrap_or(0)
}

fn recipe(folder: &Path, port: u16, durability: Durability) -> anyhow::Result<Recipe> {
    let programs = programs().context("find initdb")?;
    let prefix = unprivileged(folder)?;
    let data = folder.join("data");
    let mut initdb = prefix.clone();
    initdb.push(programs.join("initdb").into());
    initdb
        .extend(["-U", OWNER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"].map(Into::into));
    initdb.push(data.clone().into());
    run(folder, &initdb)?;

    let mut arguments = prefix;
    arguments.push(programs.join("postgres").into());
    arguments.push("-D".into());
    arguments.push(data.into());
    let mut settings = vec![
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        "max_connections=300".to_owned(),
    ];
    if durability == Durability::Relaxed {
        settings.extend(["fsync=off", "full_page_writes=off"].map(str::to_owned));
    }
    for setting in settings {
        arguments.extend(["-c".into(), setting.into()]);
    }
    Ok(Recipe { name: "postgres", arguments, signal: "QUIT", is_ready })
}

/// The postmaster writes its state into its lock file: its id on the first line, its state on the eighth.
fn is_ready(folder: &Path, _port: u16, id: u32) -> bool {
    let text = fs::read_to_string(folder.join("data/postmaster.pid")).unwrap_or_default();
    let mut lines = text.lines();
    // A file left by a killed postmaster says "ready" too, under the id of the dead.
    lines.next() == Some(id.to_string().as_str()) && lines.nth(6).is_some_and(|state| state.trim() == "ready")
}

/// Postgres refuses to run as root: the command that steps down, with the folder given to that user.
fn unprivileged(folder: &Path) -> anyhow::Result<Vec<OsString>> {
    let id = Command::new("id").arg("-u").output().context("ask for the user's id")?;
    if id.stdout.trim_ascii() != b"0" {
        return Ok(Vec::new());
    }
    let user = if runs(Command::new("id").args(["-u", OWNER])) { OWNER } else { "nobody" };
    run(folder, &["chown".into(), user.into(), folder.into()])?;
    let group = Command::new("id").args(["-g", user]).output().context("ask for the user's group")?;
    let group = String::from_utf8_lossy(group.stdout.trim_ascii()).into_owned();
    let step = ["setpriv", &format!("--reuid={user}"), &format!("--regid={group}"), "--clear-groups"];
    Ok(step.map(Into::into).to_vec())
}

fn run(folder: &Path, arguments: &[OsString]) -> anyhow::Result<()> {
    let (program, rest) = arguments.split_first().context("a command")?;
    let output = Command::new(program)
        .args(rest)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {}", program.display()))?;
    if !output.status.success() {
        bail!("{} failed: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use super::*;

    fn migrate(postgres: &Postgres, url: &str) -> Ready<anyhow::Result<()>> {
        let name = url.rsplit('/').next().unwrap();
        ready(postgres.execute_in(name, "CREATE TABLE notes (text TEXT)").map(drop))
    }

    #[tokio::test]
    async fn each_test_gets_a_migrated_database_of_its_own() {
        let Some(postgres) = Postgres::shared() else { return };

        let first = postgres.database(|url| migrate(postgres, &url)).await.unwrap();
        let second = postgres.database(|url| migrate(postgres, &url)).await.unwrap();
        first.execute("INSERT INTO notes VALUES ('ours')").unwrap();

        assert_eq!(first.execute("SELECT text FROM notes").unwrap(), "ours");
        assert_eq!(second.execute("SELECT count(*) FROM notes").unwrap(), "0");
        assert!(postgres.empty_database().unwrap().execute("SELECT text FROM notes").is_err());
    }

    #[test]
    fn what_was_committed_outlives_an_immediate_stop_and_a_kill() {
        let Some(postgres) = Postgres::start(Durability::Relaxed) else { return };
        postgres.execute("CREATE TABLE notes (text TEXT)").unwrap();

        for ending in [Ending::Orderly, Ending::Kill] {
            postgres.execute("INSERT INTO notes VALUES ('kept')").unwrap();
            postgres.stop(ending);
            assert!(postgres.execute("SELECT 1").is_err());
            postgres.start_again();
        }

        assert_eq!(postgres.execute("SELECT count(*) FROM notes").unwrap(), "2");
    }
}
