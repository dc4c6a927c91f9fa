//! The sandbox over the wire: a plain HTTP client against a running sandbox, a subject a file.

mod caldav;
mod control;
mod faults;
mod feed;
mod google;
mod graph;
mod graph_contract;
mod graph_writes;
mod habits;

use reqwest::{Client, Method, Response, StatusCode};

use crate::{AccountSpec, CalendarSpec, Profile, Sandbox, SandboxClock, SandboxOptions};

/// 2026-01-15T12:00:00Z.
const NOON: i64 = 1_768_478_400_000;

/// A sandbox with the account `ada` and her calendar `work`, and a client that logs in as her.
struct Bench {
    sandbox: Sandbox,
    client: Client,
}

/// A status and a body.
struct Read {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Read {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The text of the first element of that local name.
    fn element(&self, local: &str) -> &str {
        let (_, rest) = self.text.split_once(&format!("{local}>")).unwrap();
        rest.split_once("</").unwrap().0
    }

    fn count(&self, text: &str) -> usize {
        self.text.matches(text).count()
    }
}

impl Bench {
    async fn with(profile: Profile) -> Self {
        let options =
            SandboxOptions { profile, clock: SandboxClock::standing_at(NOON), ..SandboxOptions::default() };
        let sandbox = Sandbox::start(options).await.unwrap();
        let ada = AccountSpec::new("ada", "secret").calendar(CalendarSpec::new("work").titled("Work & play"));
        sandbox.create_account(ada).unwrap();
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { sandbox, client }
    }

    async fn start() -> Self {
        Self::with(Profile::standard()).await
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("{}{path}", self.sandbox.url())).basic_auth("ada", Some("secret"))
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Read {
        let mut request = self.request(method, path).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send().await.unwrap()).await
    }

    async fn propfind(&self, path: &str, depth: &str, props: &str) -> Read {
        let body = format!(
            "<propfind xmlns=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\" \
             xmlns:CS=\"http://calendarserver.org/ns/\"><prop>{props}</prop></propfind>"
        );
        self.send("PROPFIND", path, &[("depth", depth)], &body).await
    }

    async fn sync(&self, token: &str) -> Read {
        self.send("REPORT", WORK, &[("depth", "0")], &sync_body(token)).await
    }

    async fn multiget(&self, names: &[&str]) -> Read {
        let href = |name: &&str| format!("<href xmlns=\"DAV:\">{WORK}{name}</href>");
        let body = format!(
            "<C:calendar-multiget xmlns:C=\"urn:ietf:params:xml:ns:caldav\"><prop xmlns=\"DAV:\"><getetag/>\
             <C:calendar-data/></prop>{}</C:calendar-multiget>",
            names.iter().map(href).collect::<String>()
        );
        self.send("REPORT", WORK, &[("depth", "1")], &body).await
    }

    async fn put(&self, name: &str, uid: &str, headers: &[(&str, &str)]) -> Read {
        self.send("PUT", &format!("{WORK}{name}"), headers, &event(uid, "Meeting")).await
    }

    fn store(&self, name: &str) {
        self.sandbox.put("ada", "work", name, &event(name, "Meeting")).unwrap();
    }
}

const WORK: &str = "/dav/calendars/ada/work/";

fn sync_body(token: &str) -> String {
    format!(
        "<sync-collection xmlns=\"DAV:\"><sync-token>{token}</sync-token><sync-level>1</sync-level>\
         <prop><getetag/></prop></sync-collection>"
    )
}

async fn read(response: Response) -> Read {
    Read {
        status: response.status(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

fn event(uid: &str, title: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n\
         DTSTAMP:20260101T000000Z\r\nDTSTART:20260120T090000Z\r\nDTEND:20260120T100000Z\r\n\
         SUMMARY:{title}\r\nX-OWN:kept\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}
