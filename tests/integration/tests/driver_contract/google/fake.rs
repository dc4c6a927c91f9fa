//! As much of Google Calendar as the driver asks for, answering from one list of events. Every request is held
//! against the discovery document.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::contract::Contract;

/// One request: method, path, query.
pub(super) type Asked = (String, String, Vec<(String, String)>);

/// The state of the fake.
pub(super) struct State {
    contract: Contract,
    /// Events with the number of the change that they were made by.
    events: Vec<(u64, Value)>,
    change: u64,
    /// Events on a page.
    pub(super) page_size: usize,
    /// Answers that are given before anything else is looked at: status, `Retry-After`, body.
    pub(super) refusals: VecDeque<(u16, Option<u64>, Value)>,
    /// Whether the account still has the calendar.
    pub(super) is_shared: bool,
    /// What was asked.
    pub(super) asked: Vec<Asked>,
    /// Bodies of what was asked.
    pub(super) bodies: Vec<Value>,
    faults: Vec<String>,
}

/// A Google of one calendar, `ada@example.com`.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// An answer in Google's form of a refusal.
pub(super) fn refusal(status: u16, reason: &str, location: &str) -> Value {
    json!({ "error": { "code": status, "message": reason,
        "errors": [{ "domain": "global", "reason": reason, "message": reason, "location": location }] } })
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            contract: Contract::load(),
            events: Vec::new(),
            change: 0,
            page_size: 500,
            refusals: VecDeque::new(),
            is_shared: true,
            asked: Vec::new(),
            bodies: Vec::new(),
            faults: Vec::new(),
        }));
        let served = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, served.clone()));
            }
        });
        Self { address, state }
    }

    pub(super) fn base(&self) -> Url {
        format!("http://{}/calendar/v3/", self.address).parse().unwrap()
    }

    /// Puts an event as it is now.
    pub(super) fn put(&self, mut event: Value) {
        self.with(|state| {
            state.change += 1;
            event["etag"] = json!(format!("\"{}\"", state.change));
            state.events.retain(|(_, known)| known["id"] != event["id"]);
            state.events.push((state.change, event));
        });
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    /// What was asked and is not in the discovery document.
    pub(super) fn faults(&self) -> Vec<String> {
        self.with(|state| state.faults.clone())
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut read = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let head = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(count) => read.extend_from_slice(&chunk[..count]),
            }
        };
        let text = String::from_utf8_lossy(&read[..head]).to_string();
        let length = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.trim().parse::<usize>().unwrap());
        while read.len() < head + length {
            let count = stream.read(&mut chunk).await.unwrap();
            read.extend_from_slice(&chunk[..count]);
        }
        let body = serde_json::from_slice(&read[head..head + length]).unwrap_or(Value::Null);
        read.drain(..head + length);
        let is_authorized = text.to_ascii_lowercase().contains("authorization: bearer ada-token");
        let mut words = text.split(' ');
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let (status, wait, answer) = state.lock().unwrap().answer(&method, &target, &body, is_authorized);
        let answer = if answer.is_null() { String::new() } else { answer.to_string() };
        let wait = wait.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n{wait}content-length: {}\r\n\r\n",
            answer.len()
        );
        if stream.write_all(format!("{head}{answer}").as_bytes()).await.is_err() {
            return;
        }
    }
}

impl State {
    fn answer(
        &mut self,
        method: &str,
        target: &str,
        body: &Value,
        is_authorized: bool,
    ) -> (u16, Option<u64>, Value) {
        let url = Url::parse("http://x").unwrap().join(target).unwrap();
        let path = url.path().strip_prefix("/calendar/v3/").unwrap_or_default().to_owned();
        let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        self.faults.extend(self.contract.faults(method, &path, &query, body));
        self.asked.push((method.to_owned(), path.clone(), query.clone()));
        self.bodies.push(body.clone());
        if let Some(refusal) = self.refusals.pop_front() {
            return refusal;
        }
        if !is_authorized {
            return (401, None, refusal(401, "authError", "Authorization"));
        }
        let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let segments: Vec<&str> = path.split('/').collect();
        let (status, answer) = match (method, segments.as_slice()) {
            ("GET", ["users", "me", "calendarList"]) => (200, calendars(value("pageToken"))),
            _ if !self.is_shared => (404, refusal(404, "notFound", "")),
            ("GET", ["users", "me", "calendarList", "ada@example.com"]) => (200, entry()),
            ("GET", ["calendars", "ada@example.com", "events"]) => self.list(&value),
            ("GET", ["calendars", "ada@example.com", "events", id]) => {
                match self.events.iter().find(|(_, event)| event["id"] == *id) {
                    Some((_, event)) => (200, event.clone()),
                    None => (404, refusal(404, "notFound", "")),
                }
            }
            ("POST", ["calendars", "ada@example.com", "events", "watch"]) => (
                200,
                json!({ "kind": "api#channel", "id": body["id"], "resourceId": "res-1",
                    "resourceUri": "https://x", "token": body["token"], "expiration": "1772528400000" }),
            ),
            ("POST", ["channels", "stop"]) => (204, Value::Null),
            _ => (404, refusal(404, "notFound", "")),
        };
        (status, None, answer)
    }

    fn list<'v>(&self, value: &impl Fn(&str) -> Option<&'v str>) -> (u16, Value) {
        let since =
            match value("syncToken").map(|token| token.strip_prefix("sync-").and_then(|n| n.parse().ok())) {
                Some(None) => return (410, refusal(410, "fullSyncRequired", "syncToken")),
                Some(Some(since)) => since,
                None => 0_u64,
            };
        let is_delta = value("syncToken").is_some();
        let is_shown = |event: &Value| {
            is_delta
                || value("showDeleted") == Some("true")
                || event["status"] != "cancelled"
                || !event["recurringEventId"].is_null()
        };
        let uid = value("iCalUID");
        let found: Vec<&Value> = self
            .events
            .iter()
            .filter(|(change, event)| *change > since && is_shown(event))
            .map(|(_, event)| event)
            .filter(|event| uid.is_none_or(|uid| event["iCalUID"] == uid))
            .collect();
        let from: usize =
            value("pageToken").map_or(0, |page| page.strip_prefix("page-").unwrap().parse().unwrap());
        let items: Vec<&&Value> = found.iter().skip(from).take(self.page_size).collect();
        let mut list = json!({ "kind": "calendar#events", "timeZone": "Europe/Paris", "accessRole": "owner",
            "defaultReminders": [{ "method": "popup", "minutes": 10 }], "items": items });
        if from + self.page_size < found.len() {
            list["nextPageToken"] = json!(format!("page-{}", from + self.page_size));
        } else if uid.is_none() && value("timeMin").is_none() {
            list["nextSyncToken"] = json!(format!("sync-{}", self.change));
        }
        (200, list)
    }
}

fn entry() -> Value {
    json!({ "id": "ada@example.com", "summary": "ada@example.com", "timeZone": "Europe/Paris", "accessRole": "owner",
        "backgroundColor": "#9fe1e7", "primary": true, "defaultReminders": [{ "method": "popup", "minutes": 10 }] })
}

fn calendars(page: Option<&str>) -> Value {
    if page == Some("more") {
        return json!({ "items": [entry()] });
    }
    json!({ "nextPageToken": "more", "items": [
        { "id": "en.french#holiday@group.v.calendar.google.com", "summary": "Holidays", "timeZone": "Europe/Paris", "accessRole": "reader" },
        { "id": "old@group.calendar.google.com", "summary": "Old", "accessRole": "owner", "deleted": true },
    ] })
}
