//! Programs as processes of their own, and what the kernel says of them.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Of `/proc/PID/stat`: `USER_HZ`, which Linux has fixed at 100.
const TICKS_A_SECOND: f64 = 100.0;

/// The release binary that stands beside this test.
fn executable() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let path = here.ancestors().nth(2).unwrap().join("calfleet");
    assert!(path.exists(), "{} is missing: run 'cargo build --release -p calfleet' first", path.display());
    path
}

/// A running `calfleet`, killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
}

impl Program {
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, String)]) -> Self {
        let child = Command::new(executable())
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("CALFLEET__TELEMETRY__LOG_FILTER", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> Duration {
        let [user, system, ..] = times(&self.child.id().to_string());
        user + system
    }

    /// A line of `/proc/PID/status`, such as `VmHWM`, in MiB.
    pub(crate) fn memory_mib(&self, line: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        let kib = found.unwrap().split_whitespace().next().unwrap();
        kib.parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a command to its end: how long it took, and its user and system time.
pub(crate) fn run(command: &mut Command) -> (Duration, Duration) {
    let [.., before_user, before_system] = times("self");
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap();
    let wall = began.elapsed();
    let [.., user, system] = times("self");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    (wall, (user + system).saturating_sub(before_user + before_system))
}

/// User and system time of a process, then those of its children that have ended.
fn times(process: &str) -> [Duration; 4] {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name of the program, in brackets, may hold anything.
    let (_, rest) = text.rsplit_once(')').unwrap();
    let fields: Vec<_> = rest.split_whitespace().collect();
    [11, 12, 13, 14].map(|place| {
        let ticks: f64 = fields[place].parse().unwrap();
        Duration::from_secs_f64(ticks / TICKS_A_SECOND)
    })
}
