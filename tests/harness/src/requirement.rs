//! Which real programs a run insists on.
//!
//! `CALFLEET_TEST_REQUIRE` is a list separated by commas: `redis,postgres,radicale,xandikos,python-caldav,dateutil,
//! vdirsyncer,openssl,python-google,python-microsoft,node-clients`. A program that is missing skips the tests that want it, loudly; one that the list names fails them.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::{postgres, python};

/// A program that tests use and that a machine may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// `redis-server`.
    Redis,
    /// `initdb`, `postgres` and `psql`, 15 or later.
    Postgres,
    /// The Python package `radicale`.
    Radicale,
    /// The Python package `xandikos`.
    Xandikos,
    /// The Python packages `caldav` and `icalendar`: another client of the same server.
    PythonCaldav,
    /// The Python packages `dateutil` and `icalendar`: the oracle of expansion.
    Dateutil,
    /// The Python package `vdirsyncer`, which the benchmarks stand beside.
    Vdirsyncer,
    /// `openssl`: a server whose certificate nobody trusts.
    Openssl,
    /// The Python packages `google-api-python-client` and `google-auth`.
    PythonGoogle,
    /// The Python package `msgraph-sdk`.
    PythonMicrosoft,
    /// `node`, and the packages of `tests/e2e/clients/package-lock.json` beside that file.
    NodeClients,
}

impl Program {
    /// The word for it in `CALFLEET_TEST_REQUIRE`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Radicale => "radicale",
            Self::Xandikos => "xandikos",
            Self::PythonCaldav => "python-caldav",
            Self::Dateutil => "dateutil",
            Self::Vdirsyncer => "vdirsyncer",
            Self::Openssl => "openssl",
            Self::PythonGoogle => "python-google",
            Self::PythonMicrosoft => "python-microsoft",
            Self::NodeClients => "node-clients",
        }
    }

    fn is_installed(self) -> bool {
        match self {
            Self::Redis => runs(Command::new("redis-server").arg("--version")),
            Self::Postgres => postgres::programs().is_some(),
            Self::Radicale => python::has_modules("radicale"),
            Self::Xandikos => python::has_modules("xandikos"),
            Self::PythonCaldav => python::has_modules("caldav, icalendar"),
            Self::Dateutil => python::has_modules("dateutil, icalendar"),
            Self::Vdirsyncer => python::has_modules("vdirsyncer"),
            Self::Openssl => runs(Command::new("openssl").arg("version")),
            Self::PythonGoogle => python::has_modules("googleapiclient, google.oauth2"),
            Self::PythonMicrosoft => python::has_modules("msgraph, msgraph_core"),
            Self::NodeClients => {
                python::repository_root().join("tests/e2e/clients/node_modules").is_dir()
                    && runs(Command::new("node").arg("--version"))
            }
        }
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a test that wants the program can run; says on stderr why not.
///
/// # Panics
/// When the program is missing and `CALFLEET_TEST_REQUIRE` names it.
pub fn is_available(program: Program) -> bool {
    static KNOWN: LazyLock<Mutex<HashMap<Program, bool>>> = LazyLock::new(Mutex::default);

    let is_installed = *KNOWN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(program)
        .or_insert_with(|| program.is_installed());
    if is_installed {
        return true;
    }
    if is_required(program, &required()) {
        fail(&format!("{program} is required by CALFLEET_TEST_REQUIRE and is not installed"));
    }
    // Not `eprintln!`, which the test runner swallows while the test passes.
    drop(writeln!(
        std::io::stderr(),
        "SKIPPED: {program} is not installed; a test that needs it did nothing"
    ));
    false
}

/// The value, or the failure of the test with the whole chain of causes.
pub(crate) fn demand<T>(result: anyhow::Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => fail(&format!("{error:#}")),
    }
}

#[expect(clippy::panic, reason = "a test ends by panic; this is the only place that does it")]
fn fail(message: &str) -> ! {
    panic!("{message}")
}

fn is_required(program: Program, list: &str) -> bool {
    list.split(',').any(|name| name.trim() == program.name())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the switch of the test run is no configuration of the product"
)]
fn required() -> String {
    std::env::var("CALFLEET_TEST_REQUIRE").unwrap_or_default()
}

/// Whether the command exists and ends well.
pub(crate) fn runs(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_programs_between_commas_and_spaces() {
        let list = "redis, python-caldav";

        assert!(is_required(Program::Redis, list));
        assert!(is_required(Program::PythonCaldav, list));
        assert!(!is_required(Program::Postgres, list));
        assert!(!is_required(Program::Redis, ""));
    }

    #[test]
    fn a_command_that_does_not_exist_does_not_run() {
        assert!(!runs(&mut Command::new("no-such-program-anywhere")));
        assert!(runs(&mut Command::new("true")));
    }
}
