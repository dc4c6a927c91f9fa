//! Google over the wire: consent, tokens, listing, guests, channels.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::NOON;
use crate::{
    ConferenceHabit, Fault, GoogleAccountSpec, GoogleHabits, MailKind, Sandbox, SandboxClock, SandboxOptions,
};

const SCOPE: &str = "https://www.googleapis.com/auth/calendar";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const BACK: &str = "http://localhost/back";

struct Bench {
    sandbox: Sandbox,
    client: reqwest::Client,
    token: String,
}

impl Bench {
    async fn start() -> Self {
        let clock = SandboxClock::standing_at(NOON);
        let sandbox = Sandbox::start(SandboxOptions { clock, ..SandboxOptions::default() }).await.unwrap();
        for name in ["ada", "bob"] {
            let spec = GoogleAccountSpec::new(&format!("{name}@example.com")).zone("Europe/Paris");
            sandbox.google().create_account(spec).unwrap();
        }
        let (token, _) = sandbox.google().tokens("ada@example.com", "bench", &[SCOPE]).unwrap();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { sandbox, client, token }
    }

    async fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/calendar/v3/{path}", self.sandbox.google().url());
        let request = self.client.request(method.parse().unwrap(), url).bearer_auth(&self.token);
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }

    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let url = format!("{}/{path}", self.sandbox.google().url());
        self.client.post(url).body(body).send().await.unwrap()
    }

    async fn consent(&self, ticked: &str) -> String {
        let request = format!(
            "response_type=code&client_id=app&redirect_uri={BACK}&state=s1&nonce=n1&access_type=offline\
             &scope=openid+email+{SCOPE}&code_challenge={CHALLENGE}&code_challenge_method=S256"
        );
        let fields = [
            ("request", request.as_str()),
            ("account", "ada@example.com"),
            ("scope", ticked),
            ("decision", "allow"),
        ];
        let answer = self.form("o/oauth2/v2/auth", &fields).await;
        answer.headers()["location"].to_str().unwrap().to_owned()
    }

    async fn token(&self, fields: &[(&str, &str)]) -> Value {
        let answer = self.form("token", &[fields, &[("client_id", "app")]].concat()).await;
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }
}

fn meeting(hour: u32) -> Value {
    let at = |hour: u32| json!({ "dateTime": format!("2026-01-20T{hour:02}:00:00Z"), "timeZone": "UTC" });
    json!({ "summary": "Meeting", "start": at(hour), "end": at(hour + 1) })
}

fn parameter(address: &str, name: &str) -> String {
    let url = url::Url::parse(address).unwrap();
    url.query_pairs()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_consent_becomes_tokens_that_die_when_they_are_revoked() {
    let bench = Bench::start().await;
    let back = bench.consent(SCOPE).await;
    let code = parameter(&back, "code");
    let exchange = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", BACK)];

    let wrong = bench.token(&[&exchange[..], &[("code_verifier", "wrong")]].concat()).await;
    let given = bench.token(&[&exchange[..], &[("code_verifier", VERIFIER)]].concat()).await;
    let refresh = given["refresh_token"].as_str().unwrap();
    let renewed = bench.token(&[("grant_type", "refresh_token"), ("refresh_token", refresh)]).await;
    bench.sandbox.google().revoke("ada@example.com");
    let revoked = bench.token(&[("grant_type", "refresh_token"), ("refresh_token", refresh)]).await;

    assert_eq!(parameter(&back, "state"), "s1");
    assert_eq!(wrong["error"], "invalid_grant");
    assert!(given["scope"].as_str().unwrap().contains(SCOPE));
    let claims = crate::oauth::jwt::unverified_claims(given["id_token"].as_str().unwrap()).unwrap();
    assert_eq!((&claims["nonce"], &claims["email"]), (&json!("n1"), &json!("ada@example.com")));
    assert!(renewed["access_token"].is_string() && renewed["refresh_token"].is_null());
    assert_eq!(revoked["error"], "invalid_grant");
}

#[tokio::test]
async fn a_scope_that_was_not_ticked_is_not_granted() {
    let bench = Bench::start().await;

    let back = bench.consent("").await;

    assert_eq!(parameter(&back, "scope"), "openid https://www.googleapis.com/auth/userinfo.email");
}

#[tokio::test]
async fn an_access_token_ends_with_the_clock() {
    let mut bench = Bench::start().await;

    bench.sandbox.clock().shift(3_600_000);
    let (expired, answer) = bench.api("GET", "users/me/calendarList", &Value::Null).await;
    bench.token.clear();
    let (without, _) = bench.api("GET", "users/me/calendarList", &Value::Null).await;

    assert_eq!((expired, without), (401, 401));
    assert_eq!(answer["error"]["errors"][0]["reason"], "authError");
}

#[tokio::test]
async fn expired_sync_tokens_want_a_full_sync() {
    let bench = Bench::start().await;
    let (_, first) = bench.api("GET", "calendars/primary/events", &Value::Null).await;
    let path = format!("calendars/primary/events?syncToken={}", first["nextSyncToken"].as_str().unwrap());

    let (before, _) = bench.api("GET", &path, &Value::Null).await;
    bench.sandbox.google().expire_sync_tokens("ada@example.com").unwrap();
    let (after, answer) = bench.api("GET", &path, &Value::Null).await;

    assert_eq!((before, after), (200, 410));
    assert_eq!(answer["error"]["errors"][0]["reason"], "fullSyncRequired");
}

#[tokio::test]
async fn a_guest_has_a_copy_whose_answer_reaches_the_organizer() {
    let bench = Bench::start().await;
    let google = bench.sandbox.google();
    let mut body = meeting(9);
    body["attendees"] = json!([{ "email": "bob@example.com" }, { "email": "eve@elsewhere.test" }]);

    let (_, made) = bench.api("POST", "calendars/primary/events?sendUpdates=externalOnly", &body).await;
    let id = made["id"].as_str().unwrap();
    let copy = google.event("bob@example.com", id).unwrap();
    let answer = json!({ "attendees": [{ "email": "bob@example.com", "responseStatus": "accepted" }] });
    let (status, _) =
        google.call("bob@example.com", "PATCH", &format!("calendars/primary/events/{id}"), &answer);
    let original = google.event("ada@example.com", id).unwrap();

    assert_eq!(status, 200);
    assert_eq!(copy["attendees"][0]["self"], true);
    assert_eq!(original["attendees"][0]["responseStatus"], "accepted");
    assert_eq!(original["attendees"].as_array().unwrap().len(), 2);
    let mails = bench.sandbox.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!((mails[0].to.as_str(), mails[0].kind), ("eve@elsewhere.test", MailKind::Invitation));
}

#[tokio::test]
async fn a_conference_stays_pending_until_it_is_settled() {
    let bench = Bench::start().await;
    let google = bench.sandbox.google();
    google.set_habits(GoogleHabits { conference: ConferenceHabit::Pending, ..GoogleHabits::default() });
    let mut body = meeting(9);
    body["conferenceData"] = json!({ "createRequest": { "requestId": "r1" } });

    let (_, without) = bench.api("POST", "calendars/primary/events", &body).await;
    let (_, made) = bench.api("POST", "calendars/primary/events?conferenceDataVersion=1", &body).await;
    google.set_habits(GoogleHabits::default());
    let id = made["id"].as_str().unwrap();
    google.settle_conference("ada@example.com", id).unwrap();

    assert!(without["conferenceData"].is_null());
    assert_eq!(made["conferenceData"]["createRequest"]["status"]["statusCode"], "pending");
    let settled = google.event("ada@example.com", id).unwrap();
    assert!(settled["hangoutLink"].as_str().unwrap().starts_with("https://meet.google.com/"));
}

#[tokio::test]
async fn a_channel_says_sync_first_and_then_that_something_exists() {
    let bench = Bench::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/hook", listener.local_addr().unwrap());
    let body = json!({ "id": "channel-1", "type": "web_hook", "address": address, "token": "t1" });

    let (status, channel) = bench.api("POST", "calendars/primary/events/watch", &body).await;
    let first = heard(&listener).await;
    bench.api("POST", "calendars/primary/events", &meeting(9)).await;
    let second = heard(&listener).await;

    assert_eq!(status, 200);
    assert!(first.contains("x-goog-resource-state: sync"), "{first}");
    assert!(first.contains("x-goog-message-number: 1\r\n"));
    assert!(second.contains("x-goog-resource-state: exists"), "{second}");
    assert!(second.contains("x-goog-channel-token: t1"));
    assert!(second.contains(&format!("x-goog-resource-id: {}", channel["resourceId"].as_str().unwrap())));
}

async fn heard(listener: &tokio::net::TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut buffer = vec![0; 8_192];
    let read = stream.read(&mut buffer).await.unwrap();
    stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
    String::from_utf8_lossy(&buffer[..read]).to_lowercase()
}

#[tokio::test]
async fn quotas_and_made_refusals_speak_as_google_does() {
    let bench = Bench::start().await;
    let google = bench.sandbox.google();
    google.set_habits(GoogleHabits { requests_per_minute: Some(1), ..GoogleHabits::default() });

    let (first, _) = bench.api("GET", "users/me/calendarList", &Value::Null).await;
    let (second, limited) = bench.api("GET", "users/me/calendarList", &Value::Null).await;
    bench.sandbox.clock().shift(60_000);
    bench.sandbox.fail_next(Fault::Refused { code: 403, reason: "quotaExceeded".into() });
    let (third, refused) = bench.api("GET", "users/me/calendarList", &Value::Null).await;
    let (fourth, _) = bench.api("GET", "users/me/calendarList", &Value::Null).await;

    assert_eq!((first, second, third, fourth), (200, 403, 403, 200));
    assert_eq!(limited["error"]["errors"][0]["reason"], "userRateLimitExceeded");
    assert_eq!(refused["error"]["errors"][0]["reason"], "quotaExceeded");
}

#[tokio::test]
async fn the_controls_over_http_make_accounts_and_edits_of_other_people() {
    let bench = Bench::start().await;
    let post = async |path: &str, body: Value| {
        let url = format!("{}/control/google/{path}", bench.sandbox.url());
        let request = bench.client.post(url).header("content-type", "application/json");
        let text = request.body(body.to_string()).send().await.unwrap().text().await.unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };

    post("accounts", json!({ "email": "eve@example.com" })).await;
    let wish = json!({ "client": "app", "scopes": [SCOPE] });
    let tokens = post("accounts/eve@example.com/tokens", wish).await;
    let call = json!({ "method": "POST", "path": "calendars/primary/events", "body": meeting(9) });
    let made = post("accounts/eve@example.com/calls", call).await;
    let ended = post("accounts/eve@example.com/revoke", Value::Null).await;

    assert!(tokens["access_token"].is_string());
    assert_eq!(made["status"], 200);
    assert_eq!(ended["done"], true);
    assert_eq!(bench.sandbox.google().event_count("eve@example.com").unwrap(), 1);
}
