//! Microsoft from the consent page to the stored event: the service and the jobs against the simulated Microsoft,
//! through the real HTTP stack, on both databases.

mod again;
mod horizon;
mod inbound;
mod outbound;
mod watches;

use std::time::Duration;

use calfleet_domain::model::{ConnectionId, ProviderKind};
use calfleet_domain::recurrence::{Budget, expand};
use calfleet_providers::oauth::OauthSettings;
use calfleet_providers::surroundings::Endpoints;
use calfleet_sandbox::{MicrosoftAccountSpec, MicrosoftControl, Sandbox};
use calfleet_store::events::{self, EventState, RangeQuery, StoredRow};
use calfleet_store::{Scope, calendars};
use chrono::{DateTime, TimeDelta};
use chrono_tz::Tz;
use serde_json::{Value, json};
use url::Url;

use crate::databases::TestStore;
use crate::google::fleet::{ADA, Fleet, sandbox};

pub(crate) const DAY: Duration = Duration::from_hours(24);

/// A deployment with a Microsoft client, and the account of Ada at the simulated Microsoft.
async fn start(database: &TestStore, past: Duration, future: Duration) -> Fleet<'_> {
    let sandbox = sandbox().await;
    let ada = MicrosoftAccountSpec::new(ADA).zone("Romance Standard Time");
    sandbox.microsoft().create_account(ada).unwrap();
    let microsoft = Url::parse(&sandbox.microsoft().api_url()).unwrap();
    let production = Endpoints::production().unwrap();
    let endpoints = Endpoints { microsoft, window_past: past, window_future: future, ..production };
    let client = client(&sandbox);
    let scopes = vec!["openid", "email", "profile", "offline_access", "Calendars.Read"];
    Fleet::of(database, sandbox, endpoints, client, scopes)
}

/// The same, where Ada lets the application make changes.
pub(crate) async fn start_writing(database: &TestStore) -> Fleet<'_> {
    start_writing_over(database, 30 * DAY, 365 * DAY).await
}

/// The same, with a window that reaches as far.
pub(crate) async fn start_writing_over(database: &TestStore, past: Duration, future: Duration) -> Fleet<'_> {
    let scopes = vec!["openid", "email", "profile", "offline_access", "Calendars.ReadWrite"];
    start(database, past, future).await.writing(scopes)
}

fn client(sandbox: &Sandbox) -> OauthSettings {
    let root = sandbox.microsoft().url();
    let url = |path: &str| Url::parse(&format!("{root}/common/{path}")).unwrap();
    OauthSettings {
        provider: ProviderKind::Microsoft,
        client_id: "calfleet".to_owned(),
        client_secret: "client secret".to_owned().into(),
        authorize_url: url("oauth2/v2.0/authorize"),
        token_url: url("oauth2/v2.0/token"),
        revoke_url: None,
        issuer: format!("{root}/{{tid}}/v2.0"),
        jwks_url: url("discovery/v2.0/keys"),
        redirect_url: Url::parse("https://calfleet.example.com/connect/microsoft/callback").unwrap(),
        extra: Vec::new(),
    }
}

/// Ada's own doings in Outlook.
pub(crate) struct Outlook(MicrosoftControl);

impl Outlook {
    pub(crate) fn of(fleet: &Fleet<'_>) -> Self {
        Self(fleet.sandbox.microsoft())
    }

    pub(crate) fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.0.call(ADA, method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Makes an event; its id.
    fn plant(&self, event: &Value) -> String {
        self.call("POST", "me/events", event)["id"].as_str().unwrap().to_owned()
    }

    fn patch(&self, id: &str, change: &Value) {
        self.call("PATCH", &format!("me/events/{id}"), change);
    }

    fn delete(&self, id: &str) {
        self.call("DELETE", &format!("me/events/{id}"), &Value::Null);
    }

    /// What Outlook shows of a year: instants and titles.
    pub(crate) fn year(&self) -> Vec<(String, String)> {
        let window = "startDateTime=2026-09-21T14:13:20Z&endDateTime=2027-09-21T14:13:20Z";
        let shown = self.call("GET", &format!("me/calendarView?{window}&$top=1000"), &Value::Null);
        assert!(shown["@odata.nextLink"].is_null(), "all of it");
        let one = |event: &Value| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let (start, title) = (text(&event["start"]["dateTime"]), text(&event["subject"]));
            (start.chars().skip(5).take(11).collect::<String>().replace('T', " "), title)
        };
        let mut shown: Vec<_> = shown["value"].as_array().unwrap().iter().map(one).collect();
        shown.sort();
        shown
    }

    /// The id of the instance of a series that begins on that day, in UTC.
    fn instance(&self, series: &str, day: &str) -> String {
        let path =
            format!("me/events/{series}/instances?startDateTime={day}T00:00:00Z&endDateTime={day}T23:59:59Z");
        self.call("GET", &path, &Value::Null)["value"][0]["id"].as_str().unwrap().to_owned()
    }
}

fn paris(wall: &str) -> Value {
    json!({ "dateTime": wall, "timeZone": "Romance Standard Time" })
}

fn event(title: &str, start: &str, end: &str) -> Value {
    json!({ "subject": title, "start": paris(start), "end": paris(end), "isReminderOn": false })
}

/// Copies that are not deleted.
async fn rows(fleet: &Fleet<'_>, id: ConnectionId) -> Vec<StoredRow> {
    let tx = fleet.database.store.read(Scope::Organization(fleet.database.here)).await.unwrap();
    let calendars = calendars::list(&tx, id).await.unwrap().into_iter().map(|calendar| calendar.id).collect();
    let query = RangeQuery { calendars, from: None, until: None, after: None, limit: 1000 };
    events::in_range(&tx, &query).await.unwrap().into_iter().map(|(_, row)| row).collect()
}

pub(crate) async fn live(fleet: &Fleet<'_>, id: ConnectionId) -> Vec<StoredRow> {
    rows(fleet, id).await.into_iter().filter(|row| row.state == EventState::Live).collect()
}

/// The instants and titles of all instances of a year.
pub(crate) async fn held(fleet: &Fleet<'_>, id: ConnectionId) -> Vec<(String, String)> {
    let mut held = Vec::new();
    for row in live(fleet, id).await {
        let event = row.event.event.as_ref().unwrap();
        let from = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let expansion = expand(event, from..from + TimeDelta::days(365), Tz::UTC, &Budget::default());
        for one in &expansion.instances {
            held.push((one.starts_at.format("%m-%d %H:%M").to_string(), one.fields.title.clone().unwrap()));
        }
    }
    held.sort();
    held
}

fn expected(instances: &[(&str, &str)]) -> Vec<(String, String)> {
    instances.iter().map(|(at, title)| ((*at).to_owned(), (*title).to_owned())).collect()
}
