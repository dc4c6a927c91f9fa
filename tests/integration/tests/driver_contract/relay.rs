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
    /// How many requests each batch carried.
    batches: Vec<usize>,
    faults: Vec<String>,
}

impl Relay {
    pub(super) async fn start(upstream: SocketAddr, root: &'static str, check: Check) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Seen { root, check, sent: Vec::new(), batches: Vec::new(), faults: Vec::new() };
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

    /// How many requests each batch carried, since it was last asked.
    pub(super) fn take_batches(&self) -> Vec<usize> {
        std::mem::take(&mut self.seen.lock().unwrap().batches)
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
        let mut words = text.split_whitespace();
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let body = &request[head..];
        if target.ends_with("/batch/calendar/v3") {
            let kind = header(&text, "content-type").unwrap();
            let (_, boundary) = kind.split_once("boundary=").unwrap();
            let body = String::from_utf8_lossy(body);
            let parts: Vec<&str> = body.split(&format!("--{boundary}")).collect();
            for part in &parts[1..parts.len() - 1] {
                let (_, part) = part.split_once("\r\n\r\n").unwrap();
                self.note(format!("{}\r\n\r\n", part.trim_end()).as_bytes());
            }
            return self.batches.push(parts.len() - 2);
        }
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let if_match = header(&text, "if-match");
        let prefer = header(&text, "prefer").unwrap_or_default();
        self.hold((method, &target), (if_match, prefer), body);
    }

    fn hold(&mut self, (method, target): (String, &str), heads: (Option<String>, String), body: Value) {
        let url = Url::parse("http://x").unwrap().join(target).unwrap();
        // The parts of a batch at Microsoft are named below the service.
        let path =
            url.path().split_once(self.root).map_or(url.path().trim_start_matches('/'), |(_, path)| path);
        if path == "$batch" {
            let parts = body["requests"].as_array().unwrap();
            self.batches.push(parts.len());
            for part in parts {
                let text = |value: &Value| value.as_str().map(str::to_owned);
                let heads = (text(&part["headers"]["If-Match"]), text(&part["headers"]["Prefer"]).unwrap());
                let (method, target) = (text(&part["method"]).unwrap(), text(&part["url"]).unwrap());
                self.hold((method, &target), heads, part["body"].clone());
            }
        }
        let (if_match, prefer) = heads;
        let query = url.query_pairs().into_owned().collect();
        let sent = Sent { method, path: path.to_owned(), query, if_match, prefer, body };
        self.faults.extend((self.check)(&sent));
        self.sent.push(sent);
    }
}
