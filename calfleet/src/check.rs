//! `calfleet check`: looks at everything an installation needs and says in plain words what is wrong.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::Clock;
use calfleet_domain::job::Kind;
use calfleet_queue::{Queue, RedisQueue, RedisSettings};
use calfleet_runtime::clock::{SystemClock, SystemRng};
use calfleet_runtime::config::{Config, ConfigError};
use calfleet_store::{Options, Scope, Store, organizations};
use serde::Serialize;
use url::{Host, Url};

use crate::{keys, print};

/// A clock that is further off than this makes leases and backoffs wrong before it is measured.
const WORST_CLOCK: Duration = Duration::from_secs(5);
/// How long Redis, or the machine of Postgres, may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Where Postgres listens when an address does not say.
const POSTGRES_PORT: u16 = 5432;
/// The bits of a file's mode that let its group and everybody read it.
const READ_BY_OTHERS: u32 = 0o044;

/// How to print what was found.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    format: print::Format,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// What.
    subject: &'static str,
    /// Whether it is as it should be.
    is_good: bool,
    /// What was seen, and what to do.
    detail: String,
}

/// Looks, prints, and fails when something is wrong.
pub(crate) async fn run(config: Option<&Path>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    match Config::load(config) {
        Ok(config) => {
            findings.good("configuration", "can be used");
            look(&config, &mut findings).await;
        }
        Err(ConfigError::Unusable(complaints)) => {
            for complaint in complaints {
                findings.bad("configuration", complaint.to_string());
            }
        }
        Err(error) => findings.failed("configuration", "mend the file or the variable named", &error),
    }
    let is_good = findings.0.iter().all(|finding| finding.is_good);
    if arguments.format.json {
        print::json(&findings.0)?;
    } else {
        let rows: Vec<[String; 3]> = findings
            .0
            .iter()
            .map(|finding| {
                let word = if finding.is_good { "ok" } else { "WRONG" };
                [finding.subject.to_owned(), word.to_owned(), finding.detail.clone()]
            })
            .collect();
        print::table(["LOOKED AT", "", "WHAT WAS SEEN"], &rows)?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn look(config: &Config, findings: &mut Findings) {
    look_at_keys(config, findings);
    look_at_queue(config, findings).await;
    findings.good("notifications", told(config));
    look_at_file(config, findings);
    if let Some(silence) = silence_of(config).await {
        return findings
            .bad("database", format!("{silence}; see that database.url is right and Postgres runs"));
    }
    match calfleet_migrations::pending(&config.database.url).await {
        Ok(pending) if pending.is_empty() => {
            findings.good("database", "answers, and its schema is up to date");
            look_inside(config, findings).await;
        }
        Ok(pending) => findings.bad(
            "database",
            format!("its schema is {} migrations behind; run 'calfleet migrate'", pending.len()),
        ),
        Err(error) => {
            findings.failed("database", "see that database.url is right and the server runs", &error);
        }
    }
}

fn look_at_keys(config: &Config, findings: &mut Findings) {
    let vault = &config.vault;
    let is_made_later = config.database.is_sqlite() && !keys::are_given(vault) && !vault.key_file.exists();
    match keys::ring(vault) {
        Err(_) if is_made_later => {
            findings.good(
                "master keys",
                "there is no key file; the first start makes one if nothing is sealed yet",
            );
        }
        Ok(ring) => {
            findings.good("master keys", format!("secrets are sealed under the key {:?}", ring.current()));
        }
        Err(error) => findings.bad("master keys", format!("{error:#}")),
    }
}

/// Whether every stored secret has its key.
async fn look_at_secrets(config: &Config, store: &Store, findings: &mut Findings) {
    let ring = keys::ring(&config.vault).ok();
    match keys::unopened(store, ring.as_ref()).await {
        Ok(ids) if ids.is_empty() => findings.good("secrets", "each has its master key"),
        Ok(ids) => findings.bad("secrets", keys::lost(&ids, &config.vault)),
        Err(error) => findings.failed("secrets", "their tables cannot be read", &error),
    }
}

/// Whether others than its owner can read what an SQLite file holds: titles and guests stand there as they are.
fn look_at_file(config: &Config, findings: &mut Findings) {
    let Some(file) = calfleet_migrations::sqlite_file(&config.database.url) else { return };
    let Ok(found) = std::fs::metadata(&file) else { return };
    if found.permissions().mode() & READ_BY_OTHERS != 0 {
        let file = file.display();
        let advice =
            format!("{file} can be read by other users of this machine; run 'chmod 600 {file} {file}-*'");
        findings.bad("database", advice);
    }
}

/// Why Postgres cannot be reached, if nobody listens there. The pool cannot say: it takes a server that refuses for one
/// that is starting, waits, and then knows only that it has waited.
async fn silence_of(config: &Config) -> Option<String> {
    if config.database.is_sqlite() {
        return None;
    }
    let url = Url::parse(&config.database.url).ok()?;
    if url.query_pairs().any(|(name, _)| name.starts_with("host")) {
        return None; // the address is not where addresses usually stand
    }
    let port = url.port().unwrap_or(POSTGRES_PORT);
    let host = match url.host()? {
        // the path of a socket
        Host::Domain(name) if name.is_empty() || name.starts_with('%') => return None,
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    let clock = SystemClock::default();
    tokio::select! {
        answer = tokio::net::TcpStream::connect((host.as_str(), port)) => {
            answer.err().map(|error| format!("{host}, port {port}, cannot be connected to: {error}"))
        }
        () = clock.sleep_until(clock.now().plus(PATIENCE)) => Some(format!("{host}, port {port}, does not answer")),
    }
}

/// Whether providers can tell of changes.
fn told(config: &Config) -> String {
    let sync = &config.sync;
    match &config.api.public_url {
        None => format!(
            "calendars are polled only, every {}, because api.public_url is not set: set it to the https address at which providers reach this installation, and Google and Microsoft tell of changes at once",
            humantime::format_duration(sync.poll_interval)
        ),
        Some(url) if url.scheme() != "https" => format!(
            "api.public_url is {url}: Google and Microsoft tell of changes to https addresses only, so calendars are polled every {}",
            humantime::format_duration(sync.poll_interval)
        ),
        Some(url) => format!(
            "providers are asked to tell {url} of changes; who does is polled every {} beside, the others every {}",
            humantime::format_duration(sync.watched_poll_interval.max(sync.poll_interval)),
            humantime::format_duration(sync.poll_interval)
        ),
    }
}

async fn look_at_queue(config: &Config, findings: &mut Findings) {
    if !config.queue.is_redis() && config.database.is_sqlite() {
        return findings.good("queue", "in this process (solo)");
    }
    if !config.queue.is_redis() {
        return findings.bad(
            "queue",
            "Postgres needs Redis: set queue.url, or use sqlite:// in database.url and 'calfleet solo'",
        );
    }
    let settings = RedisSettings { url: config.queue.url.clone(), prefix: config.queue.prefix.clone() };
    let queue = match RedisQueue::new(&settings, Arc::new(SystemRng)) {
        Ok(queue) => Queue::Redis(queue),
        Err(error) => return findings.failed("queue", "mend queue.url", &error),
    };
    let clock = SystemClock::default();
    let advice = "see that queue.url is right and Redis runs; until then work waits, and nothing is lost";
    tokio::select! {
        answer = queue.epoch() => match answer {
            Ok(_) => findings.good("queue", "Redis answers"),
            Err(error) => findings.failed("queue", advice, &error),
        },
        () = clock.sleep_until(clock.now().plus(PATIENCE)) => findings.bad("queue", format!("Redis does not answer; {advice}")),
    }
}

async fn look_inside(config: &Config, findings: &mut Findings) {
    let store = match Store::connect(&Options::new(&config.database.url)).await {
        Ok(store) => store,
        Err(error) => return findings.failed("database", "see that its user may log in", &error),
    };
    let clock = SystemClock::default();
    match store.database_time().await {
        Ok(at) => {
            let off = at.since(clock.now()).max(clock.now().since(at));
            let detail = format!("this machine and the database are {} ms apart", off.as_millis());
            if off > WORST_CLOCK {
                findings.bad("clock", format!("{detail}; switch time synchronisation on"));
            } else {
                findings.good("clock", detail);
            }
        }
        Err(error) => findings.failed("clock", "the database's clock cannot be read", &error),
    }
    look_at_secrets(config, &store, findings).await;
    if let Err(error) = look_at_fleet(&store, &clock, findings).await {
        findings.failed("fleet", "its tables cannot be read", &error);
    }
}

async fn look_at_fleet(
    store: &Store,
    clock: &SystemClock,
    findings: &mut Findings,
) -> Result<(), calfleet_store::StoreError> {
    let tx = store.read(Scope::Fleet).await?;
    let organizations = organizations::list(&tx).await?;
    findings.good("organizations", organizations.len().to_string());
    let counts = calfleet_store::work::counts(&tx, clock.now()).await?;
    let total = |of: fn(&calfleet_store::work::Count) -> i64| counts.iter().map(of).sum::<i64>();
    let detail = format!(
        "{} waiting, {} scheduled, {} running, {} retrying, {} held, {} paused, {} dead",
        total(|count| count.waiting),
        total(|count| count.scheduled),
        total(|count| count.running),
        total(|count| count.retrying),
        total(|count| count.held),
        total(|count| count.paused),
        total(|count| count.dead),
    );
    let dead: BTreeSet<Kind> = counts.iter().filter(|count| count.dead > 0).map(|count| count.kind).collect();
    if dead.is_empty() {
        findings.good("work", detail);
    } else {
        let remedies: Vec<String> = dead.into_iter().map(remedy).collect();
        findings.bad("work", format!("{detail}; {}", remedies.join(", ")));
    }
    Ok(())
}

/// What a person can do about work that was given up.
fn remedy(dead: Kind) -> String {
    let how = match dead {
        Kind::Sync => "'calfleet admin sync CONNECTION'",
        Kind::Push => "'calfleet admin outbox retry INTENT'",
        Kind::Watch => "'calfleet admin resume CONNECTION'",
        Kind::Refresh => "connecting the account again",
        Kind::Deliver | Kind::Remind | Kind::Purge | Kind::Revoke => {
            return format!("the log says why a {} died", dead.as_str());
        }
    };
    format!("a dead {} is tried again by {how}", dead.as_str())
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, subject: &'static str, detail: impl Into<String>) {
        self.0.push(Finding { subject, is_good: true, detail: detail.into() });
    }

    fn bad(&mut self, subject: &'static str, detail: impl Into<String>) {
        self.0.push(Finding { subject, is_good: false, detail: detail.into() });
    }

    fn failed(&mut self, subject: &'static str, advice: &str, error: &dyn std::error::Error) {
        self.bad(subject, format!("{advice} ({})", print::chain(error)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_cannot_be_used_are_wrong_also_where_a_file_would_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys").display().to_string();
        for (keys, is_good) in [("", true), ("2026:short", false)] {
            let text = format!("[vault]\nkeys = \"{keys}\"\nkey_file = \"{file}\"");
            let mut findings = Findings::default();

            look_at_keys(&Config::from_text(&text).unwrap(), &mut findings);

            let [finding] = &findings.0[..] else { panic!("{findings:?}") };
            assert_eq!(finding.is_good, is_good, "{findings:?}");
        }
    }

    #[tokio::test]
    async fn postgres_needs_redis_beside_it_and_a_file_does_not() {
        for (url, is_good) in [("postgres://db/calfleet", false), ("sqlite://calfleet.db", true)] {
            let config = Config::from_text(&format!("[database]\nurl = \"{url}\"")).unwrap();
            let mut findings = Findings::default();

            look_at_queue(&config, &mut findings).await;

            let [finding] = &findings.0[..] else { panic!("{findings:?}") };
            assert_eq!(finding.is_good, is_good, "{findings:?}");
        }
    }

    #[test]
    fn what_is_dead_has_a_remedy_of_its_own() {
        assert!(remedy(Kind::Sync).contains("admin sync CONNECTION"));
        assert!(remedy(Kind::Push).contains("admin outbox retry INTENT"));
    }
}
