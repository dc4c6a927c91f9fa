//! An application connects a user's Google account through the API of a real process: from the consent page to the
//! stored event, with everything that is refused on the way, and no secret in any log.

use calfleet_sandbox::{GoogleAccountSpec, Sandbox, SandboxOptions};
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::api::problem;
use crate::api_client::Api;
use crate::fleet::{Fleet, PATIENCE, Program, holds};

pub(crate) const ADA: &str = "ada@example.com";
const CLIENT_SECRET: &str = "canary-of-the-client-secret";
const SCOPES: [&str; 3] = ["openid", "email", "https://www.googleapis.com/auth/calendar.readonly"];

pub(crate) async fn google() -> Sandbox {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    sandbox.google().create_account(GoogleAccountSpec::new(ADA)).unwrap();
    let event = json!({
        "id": "review", "summary": "Review",
        "start": { "dateTime": "2026-12-01T10:00:00Z", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-12-01T11:00:00Z", "timeZone": "Europe/Paris" },
    });
    sandbox.google().plant(ADA, &event).unwrap();
    sandbox
}

pub(crate) fn fleet(sandbox: &Sandbox) -> Fleet {
    Fleet::solo(&settings(sandbox, "https://calfleet.example.com/"))
}

/// Settings of a deployment that is reached at `public_url` and has a client at the simulated Google.
pub(crate) fn settings(sandbox: &Sandbox, public_url: &str) -> Vec<(&'static str, String)> {
    let root = sandbox.google().url();
    vec![
        ("api.public_url", public_url.to_owned()),
        ("api.return_urls", r#"["https://app.example.com/calendar"]"#.to_owned()),
        ("providers.http.allowed_networks", r#"["127.0.0.0/8"]"#.to_owned()),
        ("providers.http.allowed_ports", format!("[{}]", sandbox.address().port())),
        ("providers.google.client_id", "calfleet".to_owned()),
        ("providers.google.client_secret", CLIENT_SECRET.to_owned()),
        ("providers.google.api_url", format!("{root}/calendar/v3/")),
        ("providers.google.authorize_url", format!("{root}/o/oauth2/v2/auth")),
        ("providers.google.token_url", format!("{root}/token")),
        ("providers.google.revoke_url", format!("{root}/revoke")),
        ("providers.google.jwks_url", format!("{root}/oauth2/v3/certs")),
        ("providers.google.issuer", root),
        ("telemetry.log_filter", "trace".to_owned()),
    ]
}

/// A person allows everything: the path and query to which the provider sends the browser back.
pub(crate) async fn agree(page: &str, account: &str) -> String {
    agree_to(page, account, &SCOPES).await
}

/// A person allows these scopes.
pub(crate) async fn agree_to(page: &str, account: &str, scopes: &[&str]) -> String {
    let page = Url::parse(page).unwrap();
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("request", page.query().unwrap()).append_pair("account", account);
    for scope in scopes {
        form.append_pair("scope", scope);
    }
    let body = form.append_pair("decision", "allow").finish();
    let answer = browser()
        .post(page)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send()
        .await
        .unwrap();
    let callback = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
    format!("{}?{}", callback.path(), callback.query().unwrap())
}

fn browser() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap()
}

pub(crate) async fn visit(solo: &Program, path: &str) -> (u16, Option<Url>, String) {
    let answer = browser().get(format!("{}{path}", solo.url())).send().await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    let location = answer.headers().get("location").map(|to| Url::parse(to.to_str().unwrap()).unwrap());
    (status, location, answer.text().await.unwrap())
}

pub(crate) async fn post(api: &Api, path: &str, body: &Value) -> crate::api_client::Answer {
    api.send_json(Method::POST, path, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_connects_a_google_account_and_reads_its_events() {
    let sandbox = google().await;
    let fleet = fleet(&sandbox);
    let solo = fleet.start("solo").await;
    let made = fleet.admin(&["key", "create", "app", "--connect"]).await;
    let api = Api::new(solo.url(), made["key"].as_str().unwrap());
    let user = "01890a5d-ac96-774b-bcce-b302099a8057";

    let wanted = json!({ "return_url": "https://app.example.com/calendar?x=1", "user_id": user });
    let begun = post(&api, "/calendar/google/connect", &wanted).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    let page = begun.body["authorize_url"].as_str().unwrap();
    assert!(page.contains("calfleet.example.com"), "{page}");
    let callback = agree(page, ADA).await;
    let (status, back, _) = visit(&solo, &callback).await;
    assert_eq!(status, 303);
    let back = back.unwrap();
    assert_eq!(back.host_str(), Some("app.example.com"));
    let ticket = back.query_pairs().find(|(name, _)| name == "connect").unwrap().1.into_owned();

    let other = post(&api, &format!("/connections/{ticket}/confirm"), &json!({})).await;
    assert_eq!(problem(&other, 403), "not_yours");
    let confirmed = post(&api, &format!("/connections/{ticket}/confirm"), &json!({ "user_id": user })).await;
    assert_eq!(confirmed.status, 201, "{}", confirmed.body);
    let range = "/events?from=2026-11-01&to=2027-01-01";
    let has_come = || async {
        let events = api.get(range).await;
        events["data"].as_array().is_some_and(|events| events.iter().any(|one| one["title"] == "Review"))
    };
    assert!(holds(PATIENCE, has_come).await);

    let (status, _, page) = visit(&solo, &callback).await;
    assert_eq!(status, 400, "a state is good for one return");
    assert!(page.contains("begin again"), "{page}");
    let log = solo.log();
    let code = callback.split("code=").nth(1).unwrap().split('&').next().unwrap();
    for secret in [CLIENT_SECRET, ticket.as_str(), code, "ya29.", "1//0", "eyJ"] {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_connected_is_refused_with_a_reason() {
    let sandbox = google().await;
    let fleet = fleet(&sandbox);
    let solo = fleet.start("solo").await;
    let reader = fleet.admin(&["key", "create", "reader"]).await;
    let reader = Api::new(solo.url(), reader["key"].as_str().unwrap());
    let app = fleet.admin(&["key", "create", "app", "--connect"]).await;
    let app = Api::new(solo.url(), app["key"].as_str().unwrap());
    let wanted = json!({ "return_url": "https://app.example.com/calendar" });

    let cases = [
        (post(&reader, "/calendar/google/connect", &wanted).await, 403, "forbidden"),
        (post(&app.stranger(), "/calendar/google/connect", &wanted).await, 401, "unauthorized"),
        (post(&app, "/calendar/nobody/connect", &wanted).await, 404, "not_found"),
        (post(&app, "/calendar/microsoft/connect", &wanted).await, 422, "not_offered"),
        (post(&app, "/calendar/google/connect", &json!({})).await, 400, "bad_body"),
        (
            post(&app, "/calendar/google/connect", &json!({ "return_url": "https://evil.example/" })).await,
            400,
            "bad_parameter",
        ),
        (post(&app, "/calendar/google/connect?scopes=read", &wanted).await, 400, "bad_parameter"),
        (post(&app, "/connections/unknown/confirm?user_id=7", &json!({})).await, 400, "bad_parameter"),
        (post(&app, "/connections/unknown/confirm", &json!({})).await, 403, "not_yours"),
    ];
    for (answer, status, code) in &cases {
        assert_eq!(problem(answer, *status), *code);
    }
    let begun = post(&app, "/calendar/google/connect", &wanted).await;
    let page = Url::parse(begun.body["authorize_url"].as_str().unwrap()).unwrap();
    let state = page.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let (status, back, _) =
        visit(&solo, &format!("/connect/google/callback?state={state}&error=access_denied")).await;
    assert_eq!(status, 303);
    assert_eq!(back.unwrap().as_str(), "https://app.example.com/calendar?connect_error=access_denied");
    for odd in ["?state=nobody&code=x", "", "?code=x"] {
        let (status, _, page) = visit(&solo, &format!("/connect/google/callback{odd}")).await;
        assert_eq!(status, 400, "{odd}");
        assert!(page.contains("The calendar was not connected"), "{page}");
    }
}
