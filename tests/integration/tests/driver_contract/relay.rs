//! A relay in front of the sandbox that writes down each request and holds it against the provider's description.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// One request as it was sent.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) method: String,
    /// Relative to the service.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) if_match: Option<String>,
    pub(super) prefer: String,
    pub(super) body: Value,
}

/// What is wrong with a request.
pub(super) type Check = Box<dyn Fn(&Sent) -> Vec<String> + Send>;

impl Sent {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Names of the fields that the body mentions.
    pub(super) fn mentions(&self) -> Vec<&str> {
        self.body.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
    }
}

/// The relay.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    /// What paths of the service begin with.
    root: &'static str,
    check: Check,
    sent: Vec<Sent>,
    faults: Vec<String>,
}

impl Relay {
    pub(super) async fn start(upstream: SocketAddr, root: &'static str, check: Check) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Seen { root, check, sent: Vec::new(), faults: Vec::new() };
        let seen = Arc::new(Mutex::new(seen));
        let kept = seen.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, upstream, kept.clone()));
            }
        });
        Self { address, seen }
    }

    /// What was sent since it was last asked.
    pub(super) fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.seen.lock().unwrap().sent)
    }

    /// The writes among what was sent since it was last asked.
    pub(super) fn take_writes(&self) -> Vec<Sent> {
        self.take().into_iter().filter(|sent| sent.method != "GET").collect()
    }

    /// What was sent and is not in the description.
    pub(super) fn faults(&self) -> Vec<String> {
        self.seen.lock().unwrap().faults.clone()
    }
}

async fn pass(client: TcpStream, upstream: SocketAddr, seen: Arc<Mutex<Seen>>) {
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move {
        let _copied = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _closed = to_client.shutdown().await;
    });
    let mut read = Vec::new();
    let mut chunk = [0_u8; 8192];
    loop {
        while let Some(length) = whole(&read) {
            let request: Vec<u8> = read.drain(..length).collect();
            seen.lock().unwrap().note(&request);
            if to_server.write_all(&request).await.is_err() {
                return;
            }
        }
        match from_client.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(count) => read.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Bytes of the first request, once it is there to its end.
fn whole(read: &[u8]) -> Option<usize> {
    let head = read.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let length = header(&String::from_utf8_lossy(&read[..head]), "content-length");
    let length = head + length.map_or(0, |value| value.parse().unwrap());
    (read.len() >= length).then_some(length)
}

fn header(head: &str, name: &str) -> Option<String> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

impl Seen {
    fn note(&mut self, request: &[u8]) {
        let head = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let text = String::from_utf8_lossy(&request[..head]).to_string();
        let mut words = text.split(' ');
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let url = Url::parse("http://x").unwrap().join(&target).unwrap();
        let (_, path) = url.path().split_once(self.root).unwrap();
        let sent = Sent {
            method,
            path: path.to_owned(),
            query: url.query_pairs().into_owned().collect(),
            if_match: header(&text, "if-match"),
            prefer: header(&text, "prefer").unwrap_or_default(),
            body: serde_json::from_slice(&request[head..]).unwrap_or(Value::Null),
        };
        self.faults.extend((self.check)(&sent));
        self.sent.push(sent);
    }
}
