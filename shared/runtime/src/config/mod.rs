//! Configuration: what is compiled in (`default.toml`, the reference), a file over it, the environment over
//! that. Unknown keys are errors; rules between keys are checked by [`Config::complaints`].
//!
//! No other module of the project reads the environment.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::{Env, Format, Toml};
use serde::Deserialize;
use url::Url;

pub mod api;
pub mod database;
pub mod limits;
pub mod providers;
pub mod queue;
pub mod sync;
pub mod telemetry;
pub mod vault;
pub mod work;

/// The reference of all settings with their defaults, units and ranges.
pub const DEFAULTS: &str = include_str!("default.toml");

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept.
    pub database: database::DatabaseConfig,
    /// What carries hints.
    pub queue: queue::QueueConfig,
    /// The table of due work.
    pub work: work::WorkConfig,
    /// Running jobs.
    pub worker: work::WorkerConfig,
    /// Bringing calendars in.
    pub sync: sync::SyncConfig,
    /// How often providers may be asked.
    pub limits: limits::LimitsConfig,
    /// Reaching providers.
    pub providers: providers::ProvidersConfig,
    /// Being reached.
    pub api: api::ApiConfig,
    /// Secrets at rest.
    pub vault: vault::VaultConfig,
    /// Logs and measures.
    pub telemetry: telemetry::TelemetryConfig,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named is not there.
    #[error("read configuration file {0}: there is no such file")]
    Missing(PathBuf),
    /// A key is unknown or a value has the wrong form; the source says which, and nothing of the value.
    #[error("read the configuration")]
    Unreadable(#[source] Box<figment::Error>),
    /// The values do not fit together or are out of range.
    #[error("the configuration cannot be used: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))]
    Unusable(Vec<Complaint>),
}

/// One thing that is wrong with the configuration, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The key, such as `work.lease`.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub advice: String,
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.advice)
    }
}

impl Config {
    /// The defaults, then `file`, then the environment.
    ///
    /// # Errors
    /// When the file is missing, a key is unknown, a value has the wrong form, or [`Self::complaints`] has any.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(ConfigError::Missing(file.to_owned()));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        Self::extract(&figment.merge(Env::prefixed("CALFLEET__").split("__")))
    }

    /// The defaults with the text of a file over them, the environment left aside; for tests and the demo.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        Self::extract(&Figment::from(Toml::string(DEFAULTS)).merge(Toml::string(text)))
    }

    fn extract(figment: &Figment) -> Result<Self, ConfigError> {
        let config: Self =
            figment.extract().map_err(|error| ConfigError::Unreadable(Box::new(without_values(error))))?;
        let complaints = config.complaints();
        if complaints.is_empty() { Ok(config) } else { Err(ConfigError::Unusable(complaints)) }
    }

    /// Every value that is out of range or does not fit the others.
    pub fn complaints(&self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        self.database.check(&mut complaints);
        self.queue.check(&mut complaints);
        self.work.check(&mut complaints);
        self.worker.check(&mut complaints);
        self.sync.check(&mut complaints);
        self.limits.check(&mut complaints);
        self.providers.check(&mut complaints);
        self.api.check(&mut complaints);
        self.telemetry.check(&mut complaints);
        for (provider, key, client_id) in [
            ("Google", "providers.google.client_id", &self.providers.google.client_id),
            ("Microsoft", "providers.microsoft.client_id", &self.providers.microsoft.client_id),
        ] {
            if !client_id.is_empty() && self.api.public_url.is_none() {
                let advice = format!(
                    "{provider} sends people back to this address after they signed in; set it, or leave {key} empty."
                );
                complaints.push(Complaint { key: "api.public_url", advice });
            }
        }
        if self.database.is_sqlite() && self.queue.is_redis() {
            complaints.push(Complaint {
                key: "queue.url",
                advice: "Redis is for several programs, which SQLite cannot serve; use postgres:// in database.url or leave queue.url empty."
                    .to_owned(),
            });
        }
        complaints
    }
}

/// The error without what it quotes: any value may be a secret that was given the wrong form, such as a password of
/// digits, which the environment makes a number.
fn without_values(error: figment::Error) -> figment::Error {
    let mut errors: Vec<figment::Error> = error.into_iter().map(without_value).collect();
    errors.reverse();
    let all = errors.into_iter().reduce(figment::Error::chain);
    all.unwrap_or_else(|| figment::Error::from("a value has the wrong form".to_owned()))
}

fn without_value(mut error: figment::Error) -> figment::Error {
    error.kind = match error.kind {
        Kind::InvalidType(found, wanted) => {
            let wanted = if wanted == "a string" { "a text in quotes".to_owned() } else { wanted };
            Kind::InvalidType(form(&found), wanted)
        }
        Kind::InvalidValue(found, wanted) => Kind::InvalidValue(form(&found), wanted),
        Kind::Message(text) => Kind::Message(without_quotation(&text)),
        other => other,
    };
    error
}

/// Which kind of value was found.
fn form(found: &Actual) -> Actual {
    let name = match found {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "a text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "another kind of value",
    };
    Actual::Other(name.to_owned())
}

/// What a parser of TOML says, without the line of the file that it shows behind `3 |`.
fn without_quotation(text: &str) -> String {
    let is_quoted = |line: &str| {
        let line = line.trim_start().trim_start_matches(|digit: char| digit.is_ascii_digit());
        line.trim_start().starts_with('|')
    };
    text.lines().filter(|line| !is_quoted(line)).collect::<Vec<_>>().join(" ")
}

/// The address of a server; `None` when a part of the password would be taken for something else, because `@`, `/`,
/// `?` or `#` stand in it as they are.
fn server_address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let has_lost_its_password =
        url.path().contains('@') || url.query().is_some_and(|query| query.contains('@'));
    (!has_lost_its_password && url.fragment().is_none_or(|fragment| !fragment.contains('@'))).then_some(url)
}

/// What to do about an address that [`server_address`] cannot read; never the address itself.
fn unreadable_address() -> String {
    "cannot be read as an address; percent-encode the special characters of the password (@ is %40, / is %2F, # is %23, ? is %3F).".to_owned()
}

/// Adds a complaint when `value` lies outside `range`.
fn within<T: PartialOrd + std::fmt::Debug>(
    complaints: &mut Vec<Complaint>,
    key: &'static str,
    value: &T,
    range: std::ops::RangeInclusive<T>,
) {
    if !range.contains(value) {
        let advice = format!("{value:?} is out of range; use {:?} to {:?}.", range.start(), range.end());
        complaints.push(Complaint { key, advice });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_used() {
        let config = Config::from_text("").unwrap();

        assert!(config.database.is_sqlite());
        assert_eq!(config.work.lease.as_secs(), 30);
        assert_eq!(config.limits.google.account.requests, 600);
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = Config::from_text("[work]\nleese = \"30s\"").unwrap_err();

        let ConfigError::Unreadable(cause) = error else { panic!("{error}") };
        assert!(cause.to_string().contains("leese"), "{cause}");
    }

    /// A refusal with everything that stands behind it, for people and for logs.
    fn told(text: &str) -> String {
        let error = Config::from_text(text).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause} {error:?}")
    }

    #[test]
    fn a_refusal_names_the_key_and_never_the_value() {
        for (text, key) in [
            ("[providers.google]\nclient_secret = 8675309123", "client_secret"),
            ("[vault]\nkeys = 8675309123", "keys"),
            ("[vault]\nkeys = 86753.09123", "keys"),
            ("[vault]\nkeys = pelican8675309123", "line 2"),
            ("[vault]\nkeys = \"pelican8675309123", "line 2"),
            ("[api]\npublic_url = \"pelican8675309123\"", "public_url"),
            ("[work]\nlease = \"pelican8675309123\"", "lease"),
            ("[database]\nurl = \"postgres://ada:pelican/86753@db/calfleet\"", "database.url"),
            ("[database]\nurl = \"postgres://ada:86753/09123@db/calfleet\"", "database.url"),
            ("[database]\nurl = \"postgres://ada:86753?09123@db/calfleet\"", "database.url"),
            ("[database]\nurl = \"postgres://ada:86753#09123@db/calfleet\"", "database.url"),
            ("[database]\nurl = \"sqlite://pelican 86753.db\"", "database.url"),
            ("[queue]\nurl = \"redis://ada:pelican/86753@redis\"", "queue.url"),
        ] {
            let told = told(text);
            assert!(told.contains(key), "{text}: {told}");
            for secret in ["86753", "09123", "pelican"] {
                assert!(!told.contains(secret), "{text}: {told}");
            }
        }
        assert!(told("[vault]\nkeys = 8675309123").contains("quotes"));
    }

    #[test]
    fn addresses_of_servers_are_read_as_their_drivers_read_them() {
        for url in [
            "postgres://owner@db/calfleet",
            "postgres://owner:p%40ss%2F%23@db:5433/calfleet?sslmode=require",
            "postgres://owner@%2Fvar%2Frun%2Fpostgresql/calfleet",
            "postgresql:///calfleet?host=/var/run/postgresql",
            "sqlite://calfleet.db",
            "sqlite:///srv/calfleet@home/calfleet.db?mode=rwc",
            "sqlite::memory:",
        ] {
            assert_eq!(complained(&format!("[database]\nurl = \"{url}\"")), Vec::<&str>::new(), "{url}");
        }
        let text = "[database]\nurl = \"postgres://db/x\"\n[queue]\nurl = \"redis://:p%2Fss@redis:6379/0\"";
        assert_eq!(complained(text), Vec::<&str>::new());
    }

    /// The keys that are complained of.
    fn complained(text: &str) -> Vec<&'static str> {
        match Config::from_text(text) {
            Ok(_) => Vec::new(),
            Err(ConfigError::Unusable(complaints)) => complaints.iter().map(|one| one.key).collect(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_public_address_to_which_paths_cannot_be_added_is_complained_of() {
        for (url, is_good) in [
            ("", true),
            ("https://example.com", true),
            ("https://example.com/calfleet/", true),
            ("http://127.0.0.1:8400/", true),
            ("https://example.com/calfleet", false),
            ("https://example.com/?tenant=1", false),
            ("https://example.com/#calfleet", false),
            ("ftp://example.com/", false),
            ("mailto:ada@example.com", false),
        ] {
            let complained = complained(&format!("[api]\npublic_url = \"{url}\""));
            assert_eq!(complained, if is_good { vec![] } else { vec!["api.public_url"] }, "{url}");
        }
    }

    #[test]
    fn a_log_filter_that_cannot_be_read_is_complained_of() {
        assert_eq!(complained("[telemetry]\nlog_filter = \"calfleet=verbose\""), ["telemetry.log_filter"]);
        assert_eq!(
            complained("[telemetry]\nlog_filter = \"calfleet_worker=debug,info\""),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn rules_between_keys_are_checked() {
        let error =
            Config::from_text("[work]\nlease = \"3s\"\n[queue]\nurl = \"redis://localhost\"").unwrap_err();

        let ConfigError::Unusable(complaints) = error else { panic!("{error}") };
        let keys: Vec<_> = complaints.iter().map(|complaint| complaint.key).collect();
        assert_eq!(keys, ["work.renew_every", "queue.url"]);
    }
}
