//! As much of Graph as the driver asks for, answering from one list of events. Every request, and every part of a
//! batch, is held against the description.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::contract::{Asked, Contract};

/// What is answered: status, `Retry-After`, body.
pub(super) type Answer = (u16, Option<u64>, Value);

/// The state of the fake.
pub(super) struct State {
    contract: Contract,
    root: String,
    /// Events with the number of the change that they were made by.
    events: Vec<(u64, Value)>,
    change: u64,
    /// Items on a page of a delta.
    pub(super) page_size: usize,
    /// Answers that are given before anything else is looked at.
    pub(super) refusals: VecDeque<Answer>,
    /// Answers to parts of batches and single reads, by the event they are about.
    pub(super) refused_events: Vec<(String, Answer)>,
    /// Whether masters say what departs from them.
    pub(super) tells_departures: bool,
    /// Whether the account still has the calendar.
    pub(super) is_shared: bool,
    /// What the calendar says besides.
    pub(super) owner: Value,
    /// Method and path of what was asked, parts of batches included.
    pub(super) asked: Vec<(String, String)>,
    /// Bodies of what was asked.
    pub(super) bodies: Vec<Value>,
    faults: Vec<String>,
}

/// A Graph with the mailbox of Ada, whose calendar is `cal-1`.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// An answer in Graph's form of a refusal.
pub(super) fn refusal(code: &str) -> Value {
    json!({ "error": { "code": code, "message": code, "innerError": { "request-id": "r", "date": "2026-03-02T09:00:00" } } })
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            contract: Contract::load(),
            root: format!("http://{address}/v1.0"),
            events: Vec::new(),
            change: 0,
            page_size: 500,
            refusals: VecDeque::new(),
            refused_events: Vec::new(),
            tells_departures: true,
            is_shared: true,
            owner: json!({ "name": "Ada", "address": "ada@example.com" }),
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
        format!("http://{}/v1.0/", self.address).parse().unwrap()
    }

    /// Puts an event, or an item of it, as it is now.
    pub(super) fn put(&self, mut event: Value) {
        self.with(|state| {
            state.change += 1;
            event["changeKey"] = json!(format!("ck{}", state.change));
            event["@odata.etag"] = json!(format!("W/\"ck{}\"", state.change));
            state.events.retain(|(_, known)| known["id"] != event["id"]);
            state.events.push((state.change, event));
        });
    }

    /// No longer shows an event, because it is deleted or only out of the window.
    pub(super) fn unlist(&self, id: &str, is_deleted: bool) {
        self.with(|state| {
            state.change += 1;
            let change = state.change;
            let known = state.events.iter_mut().find(|(_, known)| known["id"] == id).unwrap();
            known.0 = change;
            known.1["@removed"] = json!({ "reason": "deleted" });
            known.1["isDeleted"] = json!(is_deleted);
        });
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    /// What was asked and is not in the description.
    pub(super) fn faults(&self) -> Vec<String> {
        self.with(|state| state.faults.clone())
    }

    /// How often something of that kind was asked, parts of batches included.
    pub(super) fn count(&self, method: &str, ending: &str) -> usize {
        self.with(|state| {
            let is_that = |(asked, path): &&(String, String)| asked == method && path.ends_with(ending);
            state.asked.iter().filter(is_that).count()
        })
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
        let header = |wanted: &str| {
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            let mut found = lines.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.next().map(|(_, value)| value.trim().to_owned())
        };
        let length = header("content-length").map_or(0, |value| value.parse::<usize>().unwrap());
        while read.len() < head + length {
            let count = stream.read(&mut chunk).await.unwrap();
            read.extend_from_slice(&chunk[..count]);
        }
        let body = serde_json::from_slice(&read[head..head + length]).unwrap_or(Value::Null);
        read.drain(..head + length);
        let is_authorized = header("authorization").is_some_and(|value| value == "Bearer ada-token");
        let mut words = text.split(' ');
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let prefer = header("prefer").unwrap_or_default();
        let (status, wait, answer) =
            state.lock().unwrap().answer(&method, &target, &prefer, &body, is_authorized);
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
        prefer: &str,
        body: &Value,
        is_authorized: bool,
    ) -> Answer {
        let url = Url::parse("http://x").unwrap().join(target).unwrap();
        let path = url.path().strip_prefix("/v1.0").unwrap_or_default().to_owned();
        let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let asked = Asked { method, path: &path, query: &query, prefer, body };
        self.faults.extend(self.contract.faults(&asked));
        self.asked.push((method.to_owned(), path.clone()));
        self.bodies.push(body.clone());
        if let Some(refusal) = self.refusals.pop_front() {
            return refusal;
        }
        if !is_authorized {
            return (401, None, refusal("InvalidAuthenticationToken"));
        }
        let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let (status, answer) = match (method, segments.as_slice()) {
            ("POST", ["$batch"]) => return self.batch(body),
            ("GET", ["me", "calendars"]) => (200, self.calendars(value("$skip"))),
            ("POST", ["subscriptions"]) => (
                201,
                json!({ "id": "sub-1", "resource": body["resource"],
                "expirationDateTime": "2026-03-03T09:00:00.0000000Z" }),
            ),
            ("PATCH", ["subscriptions", id]) => {
                (200, json!({ "id": id, "expirationDateTime": body["expirationDateTime"] }))
            }
            ("DELETE", ["subscriptions", _]) => (204, Value::Null),
            _ if !self.is_shared => (404, refusal("ErrorItemNotFound")),
            ("GET", ["me", "calendars", "cal-1"]) => (200, self.calendar()),
            ("GET", ["me", "calendars", "cal-1", "calendarView", "delta"]) => self.delta(&path, &value),
            ("GET", ["me", "calendars", "cal-1", "calendarView"]) => (200, json!({ "value": self.shown() })),
            ("GET", ["me", "calendars", "cal-1", "events", id]) => return self.event(id, &value),
            ("GET", ["me", "calendars", "cal-1", "events", id, "instances"]) => {
                let shown = self.shown().into_iter();
                let of_series = shown.filter(|event| event["seriesMasterId"] == *id).collect::<Vec<_>>();
                (200, json!({ "value": of_series }))
            }
            _ => (404, refusal("ResourceNotFound")),
        };
        (status, None, answer)
    }

    /// Parts are answered from the last to the first.
    fn batch(&mut self, body: &Value) -> Answer {
        let mut responses = Vec::new();
        for part in body["requests"].as_array().unwrap().iter().rev() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let target = format!("/v1.0{}", text(&part["url"]));
            let (method, prefer) = (text(&part["method"]), text(&part["headers"]["Prefer"]));
            let (status, wait, answer) = self.answer(&method, &target, &prefer, &part["body"], true);
            let headers = wait.map_or(json!({}), |seconds| json!({ "Retry-After": seconds.to_string() }));
            responses.push(json!({ "id": part["id"], "status": status, "headers": headers, "body": answer }));
        }
        (200, None, json!({ "responses": responses }))
    }

    fn shown(&self) -> Vec<Value> {
        let shown = self.events.iter().filter(|(_, event)| event["@removed"].is_null());
        shown.map(|(_, event)| event.clone()).collect()
    }

    fn event<'v>(&self, id: &str, value: &impl Fn(&str) -> Option<&'v str>) -> Answer {
        if let Some((_, answer)) = self.refused_events.iter().find(|(refused, _)| refused == id) {
            return answer.clone();
        }
        let known = self.events.iter().find(|(_, event)| event["id"] == id && event["isDeleted"] != true);
        let Some((_, event)) = known else { return (404, None, refusal("ErrorItemNotFound")) };
        let mut event = event.clone();
        let is_asked = value("$expand").is_some();
        if is_asked && event["type"] != "seriesMaster" {
            return (400, None, refusal("ErrorInvalidProperty"));
        }
        let fields = event.as_object_mut().unwrap();
        fields.remove("@removed");
        if !is_asked || !self.tells_departures {
            fields.remove("cancelledOccurrences");
            fields.remove("exceptionOccurrences");
        }
        (200, None, event)
    }

    fn delta<'v>(&self, path: &str, value: &impl Fn(&str) -> Option<&'v str>) -> (u16, Value) {
        let number = |text: &str| text.split('-').next_back().and_then(|n| n.parse::<u64>().ok());
        let token = value("$deltatoken").or(value("$skiptoken"));
        if token.is_some_and(|token| !token.starts_with("at-")) {
            return (410, refusal("syncStateNotFound"));
        }
        let since = value("$deltatoken").and_then(number).unwrap_or(0);
        let (since, from) = match value("$skiptoken") {
            Some(token) => {
                let mut numbers =
                    token.trim_start_matches("at-").split('-').map(|n| n.parse::<u64>().unwrap());
                (numbers.next().unwrap(), usize::try_from(numbers.next().unwrap()).unwrap())
            }
            None => (since, 0),
        };
        let is_first = since == 0;
        let changed = self
            .events
            .iter()
            .filter(|(change, event)| *change > since && (!is_first || event["@removed"].is_null()));
        let changed: Vec<Value> = changed.map(|(_, event)| item(event)).collect();
        let items: Vec<Value> = changed.iter().skip(from).take(self.page_size).cloned().collect();
        let mut page = json!({ "value": items });
        let link = |query: String| json!(format!("{}{path}?{query}", self.root));
        if from + self.page_size < changed.len() {
            page["@odata.nextLink"] = link(format!("$skiptoken=at-{since}-{}", from + self.page_size));
        } else {
            page["@odata.deltaLink"] = link(format!("$deltatoken=at-{}", self.change));
        }
        (200, page)
    }

    fn calendar(&self) -> Value {
        json!({ "id": "cal-1", "name": "Calendar", "hexColor": "", "canEdit": true, "canViewPrivateItems": true,
            "isDefaultCalendar": true, "owner": self.owner })
    }

    fn calendars(&self, skip: Option<&str>) -> Value {
        if skip.is_some() {
            return json!({ "value": [self.calendar()] });
        }
        let link = format!("{}/me/calendars?$skip=1", self.root);
        json!({ "@odata.nextLink": link, "value": [
            { "id": "cal-2", "name": "Birthdays", "hexColor": "#a6d1f5", "canEdit": false, "isDefaultCalendar": false },
        ] })
    }
}

/// An item of a delta: what is gone is a name, and departures are shown to nobody.
fn item(event: &Value) -> Value {
    if !event["@removed"].is_null() {
        return json!({ "@odata.type": "#microsoft.graph.event", "id": event["id"], "@removed": event["@removed"] });
    }
    let mut event = event.clone();
    let fields = event.as_object_mut().unwrap();
    fields.remove("cancelledOccurrences");
    fields.remove("exceptionOccurrences");
    event
}
