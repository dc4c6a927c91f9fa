//! Stands between a client and an HTTP server and writes down what the client asks, so that others can ask the same.
//!
//! Every request gets a connection of its own to the server, whose answer ends with that connection; that is how
//! Radicale answers anyhow.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Without those that belong to the connection.
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
}

/// Listens until dropped.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) port: u16,
    recorded: Arc<Mutex<Vec<Recorded>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Recorder {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&recorded);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let list = Arc::clone(&list);
                tokio::spawn(async move {
                    // A client that goes away is no affair of the recorder's.
                    drop(pass(client, server, &list).await);
                });
            }
        });
        Self { port, recorded, serving }
    }

    /// Everything so far.
    pub(crate) fn recorded(&self) -> Vec<Recorded> {
        self.recorded.lock().unwrap().clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass(mut client: TcpStream, server: u16, list: &Mutex<Vec<Recorded>>) -> anyhow::Result<()> {
    let mut input = Vec::new();
    let head_end = loop {
        anyhow::ensure!(client.read_buf(&mut input).await? > 0, "the client has left");
        if let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8(input[..head_end].to_vec())?;
    let mut lines = head.split("\r\n");
    let first = lines.next().context("a request line")?.to_owned();
    let headers: Vec<_> = lines.map(ToOwned::to_owned).collect();
    let length = headers.iter().find_map(|line| value(line, "content-length")?.parse().ok()).unwrap_or(0);
    let mut body = input.split_off(head_end + 4);
    while body.len() < length {
        anyhow::ensure!(client.read_buf(&mut body).await? > 0, "the client has left");
    }
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_own = |line: &String| {
        !["host", "content-length", "connection"].iter().any(|name| value(line, name).is_some())
    };
    list.lock().unwrap().push(Recorded {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: headers.iter().filter(|line| is_own(line)).cloned().collect(),
        body: body.clone(),
    });
    let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await?;
    let kept = headers.iter().filter(|line| value(line, "connection").is_none());
    let lines: Vec<_> = kept.map(String::as_str).collect();
    let head = format!("{first}\r\n{}\r\nConnection: close\r\n\r\n", lines.join("\r\n"));
    upstream.write_all(head.as_bytes()).await?;
    upstream.write_all(&body).await?;
    copy(&mut upstream, &mut client).await?;
    client.shutdown().await?;
    Ok(())
}

/// The value of a header line of that name.
fn value<'a>(line: &'a str, wanted: &str) -> Option<&'a str> {
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case(wanted).then(|| value.trim())
}
