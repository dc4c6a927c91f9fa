//! A child process that cannot outlive the test.
//!
//! The child is started through a shell that first leaves a watchdog behind: a subshell which blocks on a pipe
//! whose other end only the test process holds, then becomes the program itself, so that our child's id is the
//! program's. When the test process dies, by `kill -9` or with its statics undropped, the pipe closes and the
//! watchdog ends the program and removes its folder. An orderly stop writes a line into the pipe first, which sends
//! the watchdog away. (`PR_SET_PDEATHSIG` would need unsafe code, and fires when the starting *thread* ends.)

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// How long a server may take to start or to end before the test gives up; generous for a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// How long between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Arguments: the folder to remove, the signal that ends the program, then the program and its arguments.
///
/// Descriptor 3 is the pipe: a shell gives background commands `/dev/null` as standard input. The watchdog ends the
/// whole process group last, because it is a member of it.
const SCRIPT: &str = r#"
folder=$1 signal=$2
shift 2
exec 3<&0
(
  trap '' HUP INT QUIT TERM
  if read -r _ <&3; then exit 0; fi
  kill -s "$signal" $$
  kill -s CONT $$
  looks=0
  while kill -0 $$ 2>/dev/null && [ $looks -lt 20 ]; do
    looks=$((looks + 1))
    sleep 0.1
  done
  kill -s KILL $$
  rm -rf "$folder"
  kill -s KILL -- -$$
) &
exec "$@" 3<&- </dev/null
"#;

/// A running program that ends with this value, and with the test process however that dies.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pipe: Option<ChildStdin>,
    signal: &'static str,
    log: PathBuf,
}

impl Process {
    /// Starts `arguments` in `folder`, its output going to `folder/log`; `signal` is what ends it in order.
    ///
    /// When the test process dies, the folder is removed with the program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        folder: &Path,
        signal: &'static str,
        arguments: &[A],
    ) -> anyhow::Result<Self> {
        let log = folder.join("log");
        let output = File::options().create(true).append(true).open(&log)?;
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(folder)
            .arg(signal)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stderr(output.try_clone()?)
            .stdout(output)
            // Ctrl-C on the terminal of the test must reach the test, not its servers.
            .process_group(0)
            .spawn()
            .context("start a shell")?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe, signal, log })
    }

    /// The process id of the program itself.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `is_ready`, which is looked at again and again, blocking the thread.
    ///
    /// # Errors
    /// When the program ends, or is not ready within a minute: with its last words.
    pub fn wait_ready(&mut self, is_ready: impl Fn() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended at once ({status}): {}", self.log_tail());
            }
            if is_ready() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("not ready after {} s: {}", PATIENCE.as_secs(), self.log_tail());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Sends a signal by name, such as `STOP`.
    ///
    /// # Errors
    /// When the program has ended.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let status = Command::new("sh")
            .args(["-c", r#"kill -s "$1" "$2""#, "sh", name, &self.id().to_string()])
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            bail!("send {name} to process {}", self.id());
        }
        Ok(())
    }

    /// Ends the program with its own signal and waits for it, at most a minute; the folder stays.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.end(self.signal)
    }

    /// Ends the program with SIGKILL and waits for it; the folder stays.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        self.end("KILL")
    }

    fn end(&mut self, signal: &str) -> anyhow::Result<ExitStatus> {
        if self.child.try_wait()?.is_none() {
            self.signal(signal)?;
            // A program that was paused takes no other signal.
            drop(self.signal("CONT"));
        }
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill()?;
            }
            std::thread::sleep(LOOK_EVERY);
        };
        if let Some(mut pipe) = self.pipe.take() {
            // The watchdog may be gone already; then there is nobody to send away.
            drop(pipe.write_all(b"stopped\n"));
        }
        Ok(status)
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

/// Waits until the condition holds, looking every 5 ms; false when it does not within `patience`.
pub async fn wait_until(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        pause().await;
    }
    true
}

#[expect(clippy::disallowed_methods, reason = "real servers run in real time, which no test clock moves")]
async fn pause() {
    tokio::time::sleep(LOOK_EVERY).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_alive(id: u32) -> bool {
        Command::new("sh")
            .args(["-c", r#"kill -0 "$1" 2>/dev/null"#, "sh", &id.to_string()])
            .status()
            .unwrap()
            .success()
    }

    fn holds_soon(mut condition: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }

    #[test]
    fn a_program_ends_with_the_value_that_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(folder.path(), "TERM", &["sleep", "600"]).unwrap();
        let id = process.id();
        assert!(is_alive(id));

        drop(process);

        assert!(holds_soon(|| !is_alive(id)));
        assert!(folder.path().exists());
    }

    #[test]
    fn a_program_ends_and_its_folder_vanishes_when_the_test_process_dies() {
        let folder = tempfile::tempdir().unwrap().keep();
        let mut process = Process::start(&folder, "TERM", &["sleep", "600"]).unwrap();

        // The death of this process, as the watchdog sees it: the pipe closes and nothing was written.
        drop(process.pipe.take());

        assert!(process.child.wait().is_ok());
        assert!(holds_soon(|| !folder.exists()));
    }

    #[test]
    fn a_program_that_ends_at_once_is_reported_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut process =
            Process::start(folder.path(), "TERM", &["sh", "-c", "echo no such luck; exit 3"]).unwrap();

        let error = process.wait_ready(|| false).unwrap_err().to_string();

        assert!(error.contains("no such luck"), "{error}");
    }
}
