//! Servers that are no calendar servers, and addresses where nobody is.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use calfleet_harness::Process;
use calfleet_harness::requirement::{Program, is_available};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// A server that answers every request in the same way and hangs up.
#[derive(Debug)]
pub(crate) struct Parrot {
    address: SocketAddr,
    task: AbortHandle,
}

impl Parrot {
    /// Answers with this status line, media type and body.
    pub(crate) async fn saying(status: &'static str, media_type: &'static str, body: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let task = tokio::spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let answer = answer.clone();
                tokio::spawn(async move {
                    // One read is enough of a request that is not looked at.
                    drop(stream.read(&mut vec![0; 65_536]).await);
                    drop(stream.write_all(answer.as_bytes()).await);
                    drop(stream.shutdown().await);
                });
            }
        });
        Self { address, task: task.abort_handle() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Parrot {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A TLS server whose certificate it has signed itself.
#[derive(Debug)]
pub(crate) struct SelfSigned {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl SelfSigned {
    /// `None`: `openssl` is not installed.
    pub(crate) fn start() -> Option<Self> {
        if !is_available(Program::Openssl) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        make_certificate(folder.path());
        let port = closed_port();
        let accept = format!("127.0.0.1:{port}");
        let arguments =
            ["openssl", "s_server", "-accept", &accept, "-key", "key.pem", "-cert", "cert.pem", "-www"];
        let mut process = Process::start(folder.path(), "TERM", &arguments).unwrap();
        process.wait_ready(|| std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()).unwrap();
        Some(Self { port, _process: process, _folder: folder })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

fn make_certificate(folder: &Path) {
    let output = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A port of this machine on which nobody listens.
pub(crate) fn closed_port() -> u16 {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
