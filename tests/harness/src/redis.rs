//! A real Redis that keeps nothing on disk.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::requirement::{Program, demand, is_available};
use crate::server::{Ending, Recipe, Server};

/// A Redis server of the test's own.
#[derive(Debug)]
pub struct Redis {
    server: Server,
}

impl Redis {
    /// The one Redis of this test binary; tests keep apart by key prefix. `None`: not installed.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: LazyLock<Option<Redis>> = LazyLock::new(Redis::start);
        SHARED.as_ref()
    }

    /// A Redis for one test, which may flush, stop or pause it. `None`: not installed.
    pub fn start() -> Option<Self> {
        is_available(Program::Redis).then(|| demand(Server::start(recipe))).map(|server| Self { server })
    }

    /// `redis://127.0.0.1:…/0`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.server.port())
    }

    /// A prefix for the keys of one test on the shared server, different at each call.
    pub fn key_prefix(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("test{}:", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Forgets every key of every database.
    pub fn flush(&self) {
        demand(self.command("FLUSHALL").map(drop));
    }

    /// Sends one command without arguments that hold spaces, such as `INFO memory`, and gives the answer's text.
    ///
    /// # Errors
    /// When Redis does not answer within five seconds, or answers with an error.
    pub fn command(&self, line: &str) -> anyhow::Result<String> {
        command(self.server.port(), line)
    }

    /// Ends the server; its keys are gone.
    pub fn stop(&self, ending: Ending) {
        demand(self.server.stop(ending));
    }

    /// Starts the stopped server, empty, on the same port.
    pub fn start_again(&self) {
        demand(self.server.start_again());
    }

    /// Freezes the server (SIGSTOP): connections open and nothing is answered.
    pub fn pause(&self) {
        demand(self.server.pause());
    }

    /// Lets the frozen server go on (SIGCONT).
    pub fn resume(&self) {
        demand(self.server.resume());
    }
}

fn recipe(folder: &Path, port: u16) -> anyhow::Result<Recipe> {
    let folder = folder.to_str().context("the folder's name")?;
    let port = port.to_string();
    let arguments = [
        "redis-server",
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        folder,
    ];
    Ok(Recipe {
        name: "redis",
        arguments: arguments.iter().map(Into::into).collect(),
        signal: "TERM",
        is_ready: |_, port, _| command(port, "PING").is_ok(),
    })
}

/// One inline command of the Redis protocol; a client library would bring its own reconnecting into the tests.
fn command(port: u16, line: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("{line}\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    reader.read_line(&mut head)?;
    let head = head.trim_end();
    match head.split_at_checked(1) {
        Some(("+" | ":", rest)) => Ok(rest.to_owned()),
        Some(("$", length)) => {
            let mut text = vec![0; length.parse().unwrap_or(0)];
            reader.read_exact(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        _ => bail!("redis answered {head:?} to {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flushed_redis_is_empty_and_a_restarted_one_has_the_same_port() {
        let Some(redis) = Redis::start() else { return };
        let url = redis.url();
        redis.command("SET a 1").unwrap();
        assert_eq!(redis.command("DBSIZE").unwrap(), "1");

        redis.flush();
        assert_eq!(redis.command("DBSIZE").unwrap(), "0");
        redis.stop(Ending::Kill);
        assert!(redis.command("PING").is_err());
        redis.start_again();

        assert_eq!(redis.command("PING").unwrap(), "PONG");
        assert_eq!(redis.url(), url);
    }

    #[test]
    fn a_paused_redis_is_silent_until_it_goes_on() {
        let Some(redis) = Redis::start() else { return };

        redis.pause();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.server.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        stream.write_all(b"PING\r\n").unwrap();
        assert!(stream.read(&mut [0; 8]).is_err());
        redis.resume();

        assert_eq!(redis.command("PING").unwrap(), "PONG");
    }
}
