//! An application, and an operator, disconnect accounts of a real process: what is answered, what is left of it.

use calfleet_sandbox::{GoogleAccountSpec, Sandbox};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::problem;
use crate::api_client::{Answer, Api};
use crate::fleet::{Fleet, PATIENCE, Program, holds};
use crate::sign_in::{ADA, agree, fleet, google, visit};

const USER: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Connects a Google account for the user; its id.
async fn connect(api: &Api, solo: &Program, account: &str) -> String {
    let wanted = json!({ "return_url": "https://app.example.com/calendar", "user_id": USER });
    let begun = api.send_json(Method::POST, "/calendar/google/connect", &wanted).await;
    let callback = agree(begun.body["authorize_url"].as_str().unwrap(), account).await;
    let (_, back, _) = visit(solo, &callback).await;
    let ticket = back.unwrap().query_pairs().find(|(name, _)| name == "connect").unwrap().1.into_owned();
    let path = format!("/connections/{ticket}/confirm");
    let confirmed = api.send_json(Method::POST, &path, &json!({ "user_id": USER })).await;
    assert_eq!(confirmed.status, 201, "{}", confirmed.body);
    confirmed.body["id"].as_str().unwrap().to_owned()
}

async fn delete(api: &Api, path: &str) -> Answer {
    api.send_json(Method::DELETE, path, &Value::Null).await
}

fn revocations(sandbox: &Sandbox) -> usize {
    sandbox.log().entries().iter().filter(|entry| entry.path.ends_with("/google/revoke")).count()
}

async fn start(sandbox: &Sandbox) -> (Fleet, Program, Api) {
    let fleet = fleet(sandbox);
    let solo = fleet.start("solo").await;
    let made = fleet.admin(&["key", "create", "app", "--connect"]).await;
    let api = Api::new(solo.url(), made["key"].as_str().unwrap());
    (fleet, solo, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_disconnects_its_users_account_once_and_events_go_as_asked() {
    let sandbox = google().await;
    let (_fleet, solo, api) = start(&sandbox).await;
    let id = connect(&api, &solo, ADA).await;
    let has = async |count: usize| {
        api.get("/events?from=2026-11-01&to=2027-01-01").await["data"]
            .as_array()
            .is_some_and(|data| data.len() == count)
    };
    assert!(holds(PATIENCE, || has(1)).await);

    let first = delete(&api, &format!("/calendar/google?user_id={USER}&events=purge")).await;

    assert_eq!((first.status, first.body["state"].as_str()), (202, Some("disconnected")), "{}", first.body);
    assert_eq!(first.body["departure"]["events"], "purge");
    let path = format!("/connections/{id}");
    let is_over = || async { api.get(&path).await["departure"]["is_over"] == true };
    assert!(holds(PATIENCE, is_over).await);
    assert!(has(0).await);
    assert_eq!(api.get(&path).await["departure"]["grant"], "revoked");
    for again in [format!("/calendar/google?user_id={USER}"), path.clone()] {
        let again = delete(&api, &again).await;
        assert_eq!((again.status, again.body["id"].as_str()), (200, Some(id.as_str())), "{}", again.body);
    }
    assert_eq!(revocations(&sandbox), 1);
    assert_eq!(connect(&api, &solo, ADA).await, id);
    assert!(holds(PATIENCE, || has(1)).await);
    assert_eq!(api.get(&path).await["departure"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_disconnected_is_refused_with_a_reason() {
    let sandbox = google().await;
    sandbox.google().create_account(GoogleAccountSpec::new("bob@example.com")).unwrap();
    let (fleet, solo, api) = start(&sandbox).await;
    let ada = connect(&api, &solo, ADA).await;
    let bob = connect(&api, &solo, "bob@example.com").await;
    let reader = fleet.admin(&["key", "create", "reader"]).await;
    let reader = Api::new(solo.url(), reader["key"].as_str().unwrap());
    fleet.organizations(&["other"]).await;
    let other = fleet.admin(&["key", "create", "other", "--connect", "--organization", "other"]).await;
    let other = Api::new(solo.url(), other["key"].as_str().unwrap());
    let mine = format!("/connections/{ada}");
    let several = delete(&api, &format!("/calendar/google?user_id={USER}")).await;

    for (answer, status, code) in [
        (delete(&reader, &mine).await, 403, "forbidden"),
        (delete(&api.stranger(), &mine).await, 401, "unauthorized"),
        (delete(&other, &mine).await, 404, "not_found"),
        (delete(&api, "/connections/01890a5d-ac96-774b-bcce-b302099a8057").await, 404, "not_found"),
        (delete(&api, "/connections/ada").await, 400, "bad_parameter"),
        (delete(&api, &format!("{mine}?events=burn")).await, 400, "bad_parameter"),
        (delete(&api, &format!("{mine}?events=keep&events=purge")).await, 400, "bad_parameter"),
        (delete(&api, "/calendar/nobody").await, 404, "not_found"),
        (delete(&api, "/calendar/google").await, 404, "not_found"),
        (delete(&other, &format!("/calendar/google?user_id={USER}")).await, 404, "not_found"),
    ] {
        assert_eq!(problem(&answer, status), code);
    }
    assert_eq!(problem(&several, 409), "several_connections");
    let named = several.body["connections"].as_array().unwrap();
    assert_eq!(named.iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>(), [&ada, &bob]);
    assert_eq!(api.get(&mine).await["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_what_a_disconnect_would_do_before_it_is_done() {
    let sandbox = google().await;
    let (fleet, solo, api) = start(&sandbox).await;
    let id = connect(&api, &solo, ADA).await;
    fleet.admin(&["sync", &id, "--wait", "1m"]).await;

    let plan = fleet.admin(&["disconnect", &id, "--purge-events", "--dry-run"]).await;
    assert_eq!(api.get(&format!("/connections/{id}")).await["state"], "active");
    let done = fleet.admin(&["disconnect", &id]).await;
    let again = fleet.admin(&["disconnect", &id]).await;

    assert_eq!((plan["event_count"].as_i64(), plan["grant"].as_str()), (Some(1), Some("revoked")), "{plan}");
    assert_eq!((&done["changed"], &again["changed"]), (&json!(true), &json!(false)));
    let path = format!("/connections/{id}");
    let is_over = || async { api.get(&path).await["departure"]["is_over"] == true };
    assert!(holds(PATIENCE, is_over).await);
    assert_eq!(revocations(&sandbox), 1);
    assert_eq!(api.get(&path).await["message"], "Disconnected; connect the account again to sync.");
}
